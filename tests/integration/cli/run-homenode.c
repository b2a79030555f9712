/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See run-homenode.h. Locale and time zone are fixed, so that output can be compared.
 */
#include "run-homenode.h"

#include <string.h>
#include <sys/wait.h>

void result_clear(Result *result)
{
    g_free(result->out);
    g_free(result->err);
}

Result run_homenode(const char *socket, const char *columns, const char *line)
{
    Result result;
    int wait_status;
    g_autoptr(GError) error = NULL;
    g_autofree char *command =
        g_strdup_printf("%s%s %s", socket ? "--socket " : "", socket ? socket : "", line);
    g_auto(GStrv) words = NULL;
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_auto(GStrv) environment = g_get_environ();
    g_shell_parse_argv(command, NULL, &words, &error);
    g_assert_no_error(error);
    g_ptr_array_add(argv, (gpointer)g_getenv("HOMENODE"));
    for (char **word = words; *word; word++)
        g_ptr_array_add(argv, *word);
    g_ptr_array_add(argv, NULL);
    environment = g_environ_setenv(environment, "LC_ALL", "C.UTF-8", TRUE);
    environment = g_environ_setenv(environment, "TZ", "UTC", TRUE);
    environment = columns ? g_environ_setenv(environment, "COLUMNS", columns, TRUE)
                          : g_environ_unsetenv(environment, "COLUMNS");
    g_spawn_sync(NULL, (char **)argv->pdata, environment, 0, NULL, NULL, &result.out, &result.err,
                 &wait_status, &error);
    g_assert_no_error(error);
    g_assert_true(WIFEXITED(wait_status));
    result.code = WEXITSTATUS(wait_status);
    return result;
}

void assert_contains(const char *text, const char *piece)
{
    if (!strstr(text, piece))
        g_error("'%s' is not in:\n%s", piece, text);
}
