/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode top: the live view. Asks the daemon every interval, draws what top-view.c makes of it,
 * reads keys. The only file that includes curses.
 *
 * A daemon that goes away is said so on the first line and asked again until it is back. The
 * terminal is given back on every way out that a program can see (also SIGTERM and SIGINT).
 */
#include "cli.h"
#include "top-view.h"

#include <curses.h>
#include <signal.h>
#include <unistd.h>

#define INTERVAL_DEFAULT_S 2.0
#define CALL_TIMEOUT_MS 5000 /* keys wait that long for a daemon that hangs */
#define MAX_WAIT_MS 250      /* a signal is noticed at the latest after this */

typedef struct {
    json_object *host, *domains; /* of the last good answer */
    char *error;
    HnTopState state;
} View;

static volatile sig_atomic_t is_interrupted;

static void on_signal(int number)
{
    is_interrupted = 1;
}

static void ask(HnCli *cli, View *view)
{
    HnExit code;
    json_object *host, *domains;
    g_clear_pointer(&view->error, g_free);
    if (!hn_cli_try(cli, "query-host", NULL, &host, &code, &view->error))
        return;
    if (!hn_cli_try(cli, "query-domains", NULL, &domains, &code, &view->error)) {
        json_object_put(host);
        return;
    }
    json_object_put(view->host);
    json_object_put(view->domains);
    view->host = host;
    view->domains = domains;
}

static attr_t attributes_of(const HnTopLine *line, const HnStyle *style)
{
    static const int pairs[] = {0, 1, 2, 3, 0, 0}; /* by HnColour */
    attr_t attributes = line->is_heading ? A_REVERSE : 0;
    if (line->colour == HN_COLOUR_BOLD)
        attributes |= A_BOLD;
    if (line->colour == HN_COLOUR_DIM)
        attributes |= A_DIM;
    bool has_pairs = style->has_colour && has_colors();
    return attributes | (has_pairs ? (attr_t)COLOR_PAIR(pairs[line->colour]) : 0);
}

static void draw(HnCli *cli, View *view)
{
    HnStyle style = *hn_cli_style(cli);
    int height, width;
    getmaxyx(stdscr, height, width);
    style.width = (uint32_t)MAX(width, 1);
    g_autoptr(GPtrArray) lines = hn_top_render(view->host, view->domains, view->error, &view->state,
                                               (uint32_t)MAX(height, 0), &style);
    erase();
    for (guint i = 0; i < lines->len; i++) {
        const HnTopLine *line = g_ptr_array_index(lines, i);
        attrset(attributes_of(line, &style));
        mvaddstr((int)i, 0, line->text);
        if (line->is_heading)
            for (int x = (int)hn_text_columns(line->text); x < width; x++)
                addch(' ');
    }
    attrset(0);
    refresh();
}

static int translate_key(int key)
{
    switch (key) {
    case KEY_UP:
        return HN_TOP_KEY_UP;
    case KEY_DOWN:
        return HN_TOP_KEY_DOWN;
    case KEY_PPAGE:
        return HN_TOP_KEY_PAGE_UP;
    case KEY_NPAGE:
        return HN_TOP_KEY_PAGE_DOWN;
    case KEY_HOME:
        return HN_TOP_KEY_HOME;
    default:
        return key;
    }
}

static void run(HnCli *cli, View *view, gint64 interval_us)
{
    gint64 due_us = 0;
    while (!is_interrupted) {
        gint64 now_us = g_get_monotonic_time();
        if (now_us >= due_us) {
            ask(cli, view);
            now_us = g_get_monotonic_time();
            due_us = now_us + interval_us;
        }
        draw(cli, view);
        timeout((int)CLAMP((due_us - now_us) / 1000, 1, MAX_WAIT_MS));
        int key = getch();
        if (key == ERR)
            continue;
        HnTopVerdict verdict =
            hn_top_key(&view->state, translate_key(key), (uint32_t)MAX(LINES / 2, 1));
        if (verdict == HN_TOP_QUIT)
            return;
        if (verdict == HN_TOP_REFRESH)
            due_us = 0;
    }
}

/* NULL: a terminal that curses does not know, or cannot draw on. */
static SCREEN *open_screen(const HnStyle *style)
{
    SCREEN *screen = newterm(NULL, stdout, stdin); /* initscr() would exit */
    if (!screen)
        return NULL;
    if (!tigetstr("cup")) {
        endwin();
        delscreen(screen);
        return NULL;
    }
    cbreak();
    noecho();
    curs_set(0);
    keypad(stdscr, TRUE);
    if (style->has_colour && has_colors()) {
        start_color();
        use_default_colors();
        init_pair(1, COLOR_GREEN, -1);
        init_pair(2, COLOR_YELLOW, -1);
        init_pair(3, COLOR_RED, -1);
    }
    return screen;
}

HnExit hn_verb_top(HnCli *cli, int argc, char **argv)
{
    double interval_s = INTERVAL_DEFAULT_S;
    const GOptionEntry entries[] = {
        {"interval", 'i', 0, G_OPTION_ARG_DOUBLE, &interval_s, "Time between questions (2)",
         "SECONDS"},
        {NULL},
    };
    const struct sigaction action = {.sa_handler = on_signal};
    HnExit code;
    View view = {.state = {.sort = HN_TOP_BY_NAME}};
    if (!hn_cli_parse(cli, entries, &argc, &argv, 0, 0, &code))
        return code;
    if (!(interval_s >= 0.1 && interval_s <= 3600))
        return hn_cli_usage(cli, "--interval %g is not allowed: use 0.1 to 3600 seconds",
                            interval_s);
    if (hn_cli_is_json(cli))
        return hn_cli_usage(cli, "--json does not go with it: use 'homenode status --json'");
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return hn_cli_usage(cli, "it needs a terminal: use 'homenode status'");

    hn_cli_set_timeout(cli, CALL_TIMEOUT_MS);
    /* No daemon at the start is an error like any other; later it is waited for. */
    if (!hn_cli_call(cli, "query-host", NULL, &view.host, &code))
        return code;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    SCREEN *screen = open_screen(hn_cli_style(cli));
    if (screen) {
        run(cli, &view, (gint64)(interval_s * G_USEC_PER_SEC));
        endwin();
        delscreen(screen);
    } else {
        const char *terminal = g_getenv("TERM");
        code = hn_cli_fail(cli,
                           "it cannot draw on a terminal of type '%s': set TERM to what it is, or use "
                           "'homenode status'",
                           terminal ? terminal : "");
    }
    json_object_put(view.host);
    json_object_put(view.domains);
    g_free(view.error);
    return code;
}
