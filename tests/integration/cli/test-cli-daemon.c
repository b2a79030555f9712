/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The built `homenode` against the built homenoded on libvirt's in-process test driver: both must
 * mean the same by every verb, by "no such domain" and by the exit status. What replies look like
 * in full is test-cli's matter; this runs on any machine, with one node or more.
 */
#include "cli.h"
#include "run-homenode.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#define START_LIMIT_US (20 * G_USEC_PER_SEC)

typedef struct {
    char *dir;
    GPid pid;
} Daemon;

/* Started, and the driver's domain seen. */
static Daemon daemon_start(void)
{
    Daemon daemon = {.dir = g_dir_make_tmp("homenode-cli-XXXXXX", NULL)};
    const char *argv[] = {g_getenv("HOMENODED"),
                          "--connect",
                          "test:///default",
                          "--runtime-dir",
                          daemon.dir,
                          "--config",
                          "/dev/null",
                          "--log-level",
                          "warning",
                          NULL};
    g_autoptr(GError) error = NULL;
    const gint64 deadline_us = g_get_monotonic_time() + START_LIMIT_US;
    g_spawn_async(NULL, (char **)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &daemon.pid,
                  &error);
    g_assert_no_error(error);
    for (;;) {
        g_auto(Result) names = run_homenode(daemon.dir, NULL, "list --names");
        if (names.code == 0 && strcmp(names.out, "test\n") == 0)
            return daemon;
        if (g_get_monotonic_time() > deadline_us)
            g_error("homenoded did not see its domain: %s%s", names.out, names.err);
        g_usleep(50 * 1000);
    }
}

static void daemon_stop(Daemon *daemon)
{
    int wait_status;
    g_assert_cmpint(kill(daemon->pid, SIGTERM), ==, 0);
    g_assert_cmpint(waitpid(daemon->pid, &wait_status, 0), ==, daemon->pid);
    g_assert_true(WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0);
    g_autofree char *remove = g_strdup_printf("rm -r '%s'", daemon->dir);
    g_assert_true(g_spawn_command_line_sync(remove, NULL, NULL, NULL, NULL));
    g_free(daemon->dir);
}

static void test_agreement(void)
{
    static const struct {
        const char *line;
        HnExit code;
        const char *out, *err; /* pieces; NULL: nothing there */
    } cases[] = {
        {"list", HN_EXIT_OK, "test", NULL},
        {"status", HN_EXIT_OK, "libvirt connected", NULL},
        {"status test", HN_EXIT_OK, "test (6695eb01-f6a4-8304-79aa-97f2502e193f)", NULL},
        {"status 6695eb01-f6a4-8304-79aa-97f2502e193f", HN_EXIT_OK, "test (6695eb01", NULL},
        {"host", HN_EXIT_OK, "DEMAND", NULL},
        {"plan", HN_EXIT_OK, "Score of the host", NULL},
        {"explain test", HN_EXIT_OK, "Why here", NULL},
        {"history", HN_EXIT_OK, "", NULL},
        {"set", HN_EXIT_OK, "placement.min-gain", NULL},
        {"set placement.min-gain 7%", HN_EXIT_OK, "placement.min-gain = 7%", NULL},
        {"set placement.min-gain", HN_EXIT_OK, "7%", NULL},
        {"metrics", HN_EXIT_OK, "# EOF", NULL},
        {"snapshot", HN_EXIT_OK, "homenode-snapshot", NULL},
        {"report", HN_EXIT_OK, "</html>", NULL},
        {"report --last 5", HN_EXIT_OK, "Score of the host", NULL},
        {"rebalance --dry-run", HN_EXIT_OK, "Score of the host", NULL},
        {"release test", HN_EXIT_OK, "test: released", NULL},
        {"pause test", HN_EXIT_OK, "test: held", NULL},
        {"resume test", HN_EXIT_OK, "test: acted upon", NULL},
        {"enable test", HN_EXIT_OK, "test: mode auto, also for its next start", NULL},
        {"disable test --remove", HN_EXIT_OK, "test: mode none", NULL},
        {"explain tset", HN_EXIT_NO_DOMAIN, NULL, "homenode: No running domain 'tset'; did you"},
        {"status nope", HN_EXIT_NO_DOMAIN, NULL, "homenode: No running domain 'nope'"},
        {"plan nope", HN_EXIT_NO_DOMAIN, NULL, "homenode: No running domain 'nope'"},
        {"rebalance nope", HN_EXIT_NO_DOMAIN, NULL, "homenode: No running domain 'nope'"},
        {"release nope", HN_EXIT_NO_DOMAIN, NULL, "homenode: No running domain 'nope'"},
        {"pause nope", HN_EXIT_NO_DOMAIN, NULL, "homenode: No running domain 'nope'"},
        {"rebalance test --node 999", HN_EXIT_FAILED, NULL, "999"},
        {"set no.such-key 1", HN_EXIT_FAILED, NULL, "no.such-key"},
        {"set placement.min-gain much", HN_EXIT_FAILED, NULL, "much"},
    };
    Daemon daemon = daemon_start();
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s", cases[i].line);
        g_auto(Result) result = run_homenode(daemon.dir, "80", cases[i].line);
        if (cases[i].err)
            assert_contains(result.err, cases[i].err);
        else
            g_assert_cmpstr(result.err, ==, "");
        if (cases[i].out)
            assert_contains(result.out, cases[i].out);
        else
            g_assert_cmpstr(result.out, ==, "");
        g_assert_cmpint(result.code, ==, (int)cases[i].code);
    }
    daemon_stop(&daemon);
}

/* What the daemon records it decides again alike, a fresh round and the kept ones. */
static void test_replay(void)
{
    static const char *const whats[] = {"", "--last 3"};
    Daemon daemon = daemon_start();
    g_autofree char *path = g_build_filename(daemon.dir, "rounds.json", NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(whats); i++) {
        g_autofree char *take = g_strdup_printf("snapshot %s -o '%s'", whats[i], path);
        g_autofree char *again = g_strdup_printf("replay '%s'", path);
        g_auto(Result) taken = run_homenode(daemon.dir, NULL, take);
        g_assert_cmpint(taken.code, ==, HN_EXIT_OK);
        g_auto(Result) replayed = run_homenode(NULL, NULL, again);
        g_assert_cmpstr(replayed.err, ==, "");
        assert_contains(replayed.out, "1 domain: same\n");
        g_assert_cmpint(replayed.code, ==, HN_EXIT_OK);
    }
    daemon_stop(&daemon);
}

/* Every reply of the daemon keeps the width that the canned ones keep. */
static void test_width(void)
{
    static const char *const lines[] = {"list",         "status",      "plan",
                                        "explain test", "history",     "doctor",
                                        "set",          "status test", "rebalance test --wait"};
    Daemon daemon = daemon_start();
    for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_auto(Result) result = run_homenode(daemon.dir, "80", lines[i]);
        g_auto(GStrv) printed = g_strsplit(result.out, "\n", -1);
        for (char **line = printed; *line; line++)
            if (hn_text_columns(*line) > 80)
                g_error("'%s': %s", lines[i], *line);
    }
    daemon_stop(&daemon);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/daemon/agreement", test_agreement);
    g_test_add_func("/cli/daemon/replay", test_replay);
    g_test_add_func("/cli/daemon/width", test_width);
    return g_test_run();
}
