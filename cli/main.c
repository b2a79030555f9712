/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command `homenode`: finds out what the terminal can do and runs the verb. Everything else is
 * in the library beside it, which the tests link.
 */
#include "cli.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* The terminal's columns; a pipe has none unless COLUMNS says otherwise. */
static uint32_t find_width(bool is_terminal)
{
    struct winsize size;
    const char *columns = g_getenv("COLUMNS");
    guint64 width;
    if (columns && g_ascii_string_to_unsigned(columns, 10, 20, 10000, &width, NULL))
        return (uint32_t)width;
    if (!is_terminal)
        return 0;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20 ? size.ws_col : 80;
}

int main(int argc, char **argv)
{
    setlocale(LC_ALL, "");
    setlocale(LC_NUMERIC, "C"); /* figures are for scripts as well */
    bool is_terminal = isatty(STDOUT_FILENO);
    const char *no_colour = g_getenv("NO_COLOR"); /* https://no-color.org */
    const char *terminal = g_getenv("TERM");
    HnStyle style = {
        .width = find_width(is_terminal),
        .has_colour = is_terminal && !(no_colour && *no_colour) && g_strcmp0(terminal, "dumb") != 0,
        .is_utf8 = g_get_charset(NULL),
    };
    g_autoptr(HnCli) cli = hn_cli_new(&style);
    HnExit code = hn_cli_main(cli, argc, argv);
    if (fflush(stdout) != 0 && code == HN_EXIT_OK) {
        perror("homenode: standard output");
        code = HN_EXIT_FAILED;
    }
    return (int)code;
}
