/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The built `homenode` against a control server that answers from tests/fixtures/control: what each
 * verb sends, prints and returns, and what each mistake says.
 *
 * The command is a real process; the server is canned-daemon.h's.
 */
#include "canned-daemon.h"
#include "cli.h"
#include "run-homenode.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the tests ---- */

/* What is sent, and what of the answer must be seen. */
static void test_verbs(void)
{
    static const struct {
        const char *line;
        HnExit code;
        const char *calls;     /* what the daemon gets */
        const char *pieces[9]; /* of standard output */
    } cases[] = {
        {"list",
         0,
         "query-domains {}\n",
         {"NAME", "web", "99.8%", "98.7%", "moving", "database-with-a-rather-long-name",
          "bad-metadata", "1.99"}},
        {"list --managed", 0, "query-domains {\"managed-only\":true}\n", {"web"}},
        {"list --names",
         0,
         "query-domains {}\n",
         {"batch\ndatabase-with-a-rather-long-name\nlegacy\ntypo\nweb\n"}},
        {"status",
         0,
         "query-host {}\nquery-domains {}\n",
         {"lab: homenoded 0.1.0, libvirt connected; score 72, moving 1G/s",
          "Memory keeps 1 guest", "batch left", "memory only", "10,20,40", "in-progress"}},
        {"status web",
         0,
         "query-domain {\"domain\":\"web\"}\n",
         {"web (11111111-2222-4333-8444-555555555550)", "Bytes local:     99.8%",
          "node 0: 127M, node 2: 1M", "2 vCPUs, demand 1.99, used 1.95, waiting 12.0%",
          "2026-03-01 16:04:59 locality-gain"}},
        {"host", 0, "query-host {}\n", {"DISTANCE", "3.98", "4 domains, 2 at home"}},
        {"plan",
         0,
         "query-plan {}\n",
         {"1 of 4 domains is to move", "72 now, 97 after", "0 → 2", "41 → 99", "127M", "2.5 s",
          "move-memory", "64 ms"}},
        {"plan web batch --node 2",
         0,
         "query-plan {\"domains\":[\"web\",\"batch\"],\"node\":2}\n",
         {"Score"}},
        {"explain web",
         0,
         "explain {\"domain\":\"web\"}\n",
         {"home 0, bytes local 99.8%", "Why here", "Node 0 holds 99.8 %", "- More than 1.2 CPUs",
          "120.0 ms/s", "gain-below-threshold", "never", "2 → 0"}},
        {"rebalance", 0, "rebalance {}\n", {"Started as job 7"}},
        {"rebalance web --node 2", 0, "rebalance {\"domains\":[\"web\"],\"node\":2}\n", {"job 7"}},
        {"rebalance web --wait",
         0,
         "rebalance {\"domains\":[\"web\"]}\nquery-job {\"job\":7}\nquery-job {\"job\":7}\n",
         {"127 MiB moved to node 2.", "1 domain moved, 127 MiB in 0.4 s."}},
        {"rebalance --wait --node 5",
         1,
         "rebalance {\"node\":5}\nquery-job {\"job\":8}\n",
         {"forced"}},
        {"rebalance web --dry-run", 0, "query-plan {\"domains\":[\"web\"]}\n", {"127M"}},
        {"release web",
         0,
         "release {\"domains\":[\"web\"]}\n",
         {"web: released: The pins of 2 vCPUs"}},
        {"release --all", 0, "release {}\n", {"released"}},
        {"pause", 0, "pause {}\n", {"not paused"}},
        {"pause web", 0, "pause {\"domains\":[\"web\"]}\n", {"web: held"}},
        {"resume web", 0, "resume {\"domains\":[\"web\"]}\n", {"web: acted upon"}},
        {"enable web",
         0,
         "set-mode {\"domain\":\"web\",\"mode\":\"auto\",\"persistent\":true}\n",
         {"web: mode auto, also for its next start"}},
        {"advise web --temporary",
         0,
         "set-mode {\"domain\":\"web\",\"mode\":\"advise\",\"persistent\":false}\n",
         {"web"}},
        {"disable web",
         0,
         "set-mode {\"domain\":\"web\",\"mode\":\"off\",\"persistent\":true}\n",
         {"web"}},
        {"disable web --remove",
         0,
         "set-mode {\"domain\":\"web\",\"mode\":\"none\",\"persistent\":true}\n",
         {"web"}},
        {"history",
         0,
         "history {\"limit\":20}\n",
         {"2026-03-01 16:04:59", "outcome", "2 → 0", "rebalance of all"}},
        {"history web -n 3", 0, "history {\"limit\":3,\"domain\":\"web\"}\n", {"done"}},
        {"doctor",
         1,
         "doctor {}\n",
         {"warn  numa-balancing", "fail  capabilities", "Remedy: Start homenoded"}},
        {"snapshot", 0, "snapshot {}\n", {"\"format\": \"homenode-round\""}},
        {"snapshot --last 5", 0, "snapshot {\"last\":5}\n", {"homenode-snapshot"}},
        {"report",
         0,
         "history {\"limit\":1000}\nquery-host {}\nquery-series {}\n",
         {"<!DOCTYPE html>", "homenode on lab", "<h3>web</h3>", "</html>\n"}},
        {"metrics", 0, "metrics {}\n", {"homenode_score 72\n# EOF\n"}},
        {"set", 0, "query-config {}\n", {"daemon.round-interval", "8%"}},
        {"set placement.min-gain",
         0,
         "query-config {}\n",
         {"placement.min-gain", "Least improvement"}},
        {"set placement.min-gain 5%",
         0,
         "set {\"key\":\"placement.min-gain\",\"value\":\"5%\"}\n",
         {"placement.min-gain = 5%, until homenoded restarts"}},
    };
    CannedDaemon *daemon = canned_daemon_start();
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s", cases[i].line);
        g_string_truncate(daemon->calls, 0);
        daemon->n_job_polls = 0;
        g_auto(Result) result = run_homenode(daemon->dir, NULL, cases[i].line);
        g_assert_cmpstr(result.err, ==, "");
        g_assert_cmpint(result.code, ==, (int)cases[i].code);
        g_assert_cmpstr(daemon->calls->str, ==, cases[i].calls);
        for (size_t j = 0; j < G_N_ELEMENTS(cases[i].pieces) && cases[i].pieces[j]; j++)
            assert_contains(result.out, cases[i].pieces[j]);
        g_assert_null(strchr(result.out, '\033')); /* no colour into a pipe */
    }
    canned_daemon_stop(daemon);
}

/* Verbs whose output is tables or text. */
static const char *const shown[] = {"list",
                                    "status",
                                    "status web",
                                    "host",
                                    "plan",
                                    "explain web",
                                    "history",
                                    "doctor",
                                    "set",
                                    "pause",
                                    "rebalance web --wait",
                                    "release web"};

static void test_width(void)
{
    static const char *const widths[] = {"80", "60", "200"};
    CannedDaemon *daemon = canned_daemon_start();
    for (size_t i = 0; i < G_N_ELEMENTS(shown); i++) {
        for (size_t j = 0; j < G_N_ELEMENTS(widths); j++) {
            g_auto(Result) result = run_homenode(daemon->dir, widths[j], shown[i]);
            g_auto(GStrv) lines = g_strsplit(result.out, "\n", -1);
            guint64 width = g_ascii_strtoull(widths[j], NULL, 10);
            for (char **line = lines; *line; line++) {
                if (hn_text_columns(*line) > width)
                    g_error("'%s' at %s columns: %s", shown[i], widths[j], *line);
                g_assert_false(g_str_has_suffix(*line, " "));
            }
        }
    }
    canned_daemon_stop(daemon);
}

/* --json is the daemon's answer, whole; before or after the verb. */
static void test_json(void)
{
    static const struct {
        const char *line, *fixture;
    } cases[] = {
        {"list --json", "query-domains"},  {"--json list", "query-domains"},
        {"host -j", "query-host"},         {"status web --json", "query-domain"},
        {"plan --json", "query-plan"},     {"explain web --json", "explain"},
        {"rebalance --json", "rebalance"}, {"release web --json", "release"},
        {"pause --json", "pause"},         {"history --json", "history"},
        {"doctor --json", "doctor"},       {"snapshot --json", "snapshot"},
        {"metrics --json", "metrics"},     {"set --json", "query-config"},
        {"set k v --json", "set"},         {"report --json", "query-series"},
    };
    CannedDaemon *daemon = canned_daemon_start();
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s", cases[i].line);
        g_auto(Result) result = run_homenode(daemon->dir, "80", cases[i].line);
        json_object *printed = json_tokener_parse(result.out),
                    *expected = canned_read_fixture(cases[i].fixture);
        g_assert_nonnull(printed);
        g_assert_true(json_object_equal(printed, expected));
        json_object_put(printed);
        json_object_put(expected);
    }
    g_auto(Result) both = run_homenode(daemon->dir, NULL, "status --json");
    json_object *status = json_tokener_parse(both.out);
    g_assert_cmpint(hn_reply_int(status, "schema", 0), ==, 1);
    g_assert_cmpstr(hn_reply_string(hn_reply_object(status, "host"), "host-name"), ==, "lab");
    g_assert_cmpuint(hn_reply_count(status, "domains"), ==, 5);
    json_object_put(status);
    g_auto(Result) modes = run_homenode(daemon->dir, NULL, "enable web batch --json");
    json_object *enabled = json_tokener_parse(modes.out);
    g_assert_cmpuint(hn_reply_count(enabled, "domains"), ==, 2);
    json_object_put(enabled);
    canned_daemon_stop(daemon);
}

/* One line on standard error that says what to do; nothing on standard output, nothing sent. */
static void test_usage(void)
{
    static const struct {
        const char *line, *error;
    } cases[] = {
        {"",
         "homenode: a verb is missing (list, status, plan, explain, …); see 'homenode --help'\n"},
        {"lst", "homenode: unknown verb 'lst' (did you mean list?); see 'homenode --help'\n"},
        {"ralease web", "homenode: unknown verb 'ralease' (did you mean release?); see 'homenode --help'\n"},
        {"otp", "homenode: unknown verb 'otp' (did you mean top?); see 'homenode --help'\n"},
        {"frobnicate", "homenode: unknown verb 'frobnicate'; see 'homenode --help'\n"},
        {"help frobnicate-very-much-indeed", "homenode: unknown verb 'frobnicate-very-much-indeed'; see 'homenode --help'\n"},
        {"--frob list", "homenode: Unknown option --frob; see 'homenode --help'\n"},
        {"list --frob", "homenode list: Unknown option --frob; see 'homenode list --help'\n"},
        {"list web", "homenode list: unexpected argument 'web'; see 'homenode list --help'\n"},
        {"host 0", "homenode host: unexpected argument '0'; see 'homenode host --help'\n"},
        {"explain",
         "homenode explain: an argument is missing: DOMAIN; see 'homenode explain --help'\n"},
        {"explain ''", "homenode explain: argument 1 is empty; see 'homenode explain --help'\n"},
        {"explain a b",
         "homenode explain: unexpected argument 'b'; see 'homenode explain --help'\n"},
        {"plan --node -1", "homenode plan: --node -1 is not allowed: use a node of 'homenode "
                           "host'; see 'homenode plan --help'\n"},
        {"rebalance --node -1",
         "homenode rebalance: --node -1 is not allowed: use a node of 'homenode host'; "
         "see 'homenode rebalance --help'\n"},
        {"rebalance --timeout 5",
         "homenode rebalance: --timeout needs --wait and a number of seconds; "
         "see 'homenode rebalance --help'\n"},
        {"release",
         "homenode release: name the domains, or use --all; see 'homenode release --help'\n"},
        {"release --all web", "homenode release: --all does not go with names of domains; see "
                              "'homenode release --help'\n"},
        {"enable",
         "homenode enable: an argument is missing: DOMAIN…; see 'homenode enable --help'\n"},
        {"enable web --remove",
         "homenode enable: Unknown option --remove; see 'homenode enable --help'\n"},
        {"history a b",
         "homenode history: unexpected argument 'b'; see 'homenode history --help'\n"},
        {"history --limit 0", "homenode history: --limit 0 is not allowed: use 1 or more; see "
                              "'homenode history --help'\n"},
        {"report --last 0", "homenode report: --last 0 is not allowed: use 1 or more; see "
                            "'homenode report --help'\n"},
        {"snapshot --last 0", "homenode snapshot: --last 0 is not allowed: use 1 or more; see "
                              "'homenode snapshot --help'\n"},
        {"top",
         "homenode top: it needs a terminal: use 'homenode status'; see 'homenode top --help'\n"},
        {"top --json", "homenode top: --json does not go with it: use 'homenode status --json'; "
                       "see 'homenode top --help'\n"},
        {"top -i 0", "homenode top: --interval 0 is not allowed: use 0.1 to 3600 seconds; "
                     "see 'homenode top --help'\n"},
        {"set a b c", "homenode set: unexpected argument 'c'; see 'homenode set --help'\n"},
    };
    CannedDaemon *daemon = canned_daemon_start();
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(Result) result = run_homenode(daemon->dir, NULL, cases[i].line);
        g_assert_cmpstr(result.err, ==, cases[i].error);
        g_assert_cmpint(result.code, ==, HN_EXIT_USAGE);
        g_assert_cmpstr(result.out, ==, "");
    }
    g_auto(Result) number = run_homenode(daemon->dir, NULL, "rebalance --node two");
    g_assert_cmpint(number.code, ==, HN_EXIT_USAGE);
    assert_contains(number.err, "two");
    g_assert_cmpstr(daemon->calls->str, ==, "");
    canned_daemon_stop(daemon);
}

static void test_refusals(void)
{
    static const struct {
        const char *line;
        HnExit code;
        const char *error;
    } cases[] = {
        {"explain wbe", HN_EXIT_NO_DOMAIN,
         "homenode: No running domain 'wbe'; did you mean: web?\n"},
        {"status wbe", HN_EXIT_NO_DOMAIN,
         "homenode: No running domain 'wbe'; did you mean: web?\n"},
        {"rebalance wbe --wait", HN_EXIT_NO_DOMAIN,
         "homenode: No running domain 'wbe'; did you mean: web?\n"},
        {"release wbe", HN_EXIT_NO_DOMAIN,
         "homenode: No running domain 'wbe'; did you mean: web?\n"},
        {"enable wbe", HN_EXIT_NO_DOMAIN,
         "homenode: No running domain 'wbe'; did you mean: web?\n"},
        {"history wbe", HN_EXIT_NO_DOMAIN,
         "homenode: No running domain 'wbe'; did you mean: web?\n"},
        {"release busy", HN_EXIT_FAILED, "homenode: busy: libvirt is saving it; try later\n"},
        /* The class decides, not the sentence. */
        {"status early", HN_EXIT_FAILED, "homenode: No running domain 'early' is known yet\n"},
        {"set no.such-key", HN_EXIT_FAILED,
         "homenode: no key 'no.such-key': 'homenode set' lists them\n"},
    };
    CannedDaemon *daemon = canned_daemon_start();
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s", cases[i].line);
        g_auto(Result) result = run_homenode(daemon->dir, NULL, cases[i].line);
        g_assert_cmpstr(result.err, ==, cases[i].error);
        g_assert_cmpint(result.code, ==, (int)cases[i].code);
        g_assert_cmpstr(result.out, ==, "");
    }
    /* A job that goes on longer than somebody cares to wait. */
    g_auto(Result) slow = run_homenode(daemon->dir, NULL, "rebalance --node 4 --wait --timeout 1");
    g_assert_cmpint(slow.code, ==, HN_EXIT_FAILED);
    g_assert_cmpstr(slow.err, ==,
                    "homenode: not done after 1 s; it goes on: see 'homenode status'\n");
    /* One that fails does not keep the others from being done. */
    g_auto(Result) mixed = run_homenode(daemon->dir, NULL, "enable wbe web");
    g_assert_cmpint(mixed.code, ==, HN_EXIT_NO_DOMAIN);
    assert_contains(mixed.out, "web: mode auto");
    /* The read-only socket, given by path, refuses what changes something. */
    g_autofree char *read_only = g_build_filename(daemon->dir, "control-ro", NULL);
    g_auto(Result) refused = run_homenode(read_only, NULL, "pause");
    g_assert_cmpint(refused.code, ==, HN_EXIT_DENIED);
    assert_contains(refused.err,
                    "is read-only: use the socket 'control', as root or as a member of its group");
    canned_daemon_stop(daemon);
}

/* Questions need no more than the read-only socket, although their verb may be a mutating one. */
static void test_reading_without_rights(void)
{
    static const char *const lines[] = {"list", "plan", "rebalance --dry-run", "set", "doctor"};
    CannedDaemon *daemon = canned_daemon_start();
    g_autofree char *control = g_build_filename(daemon->dir, "control", NULL);
    g_assert_cmpint(g_unlink(control), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_auto(Result) result = run_homenode(daemon->dir, NULL, lines[i]);
        g_assert_cmpstr(result.err, ==, "");
    }
    g_auto(Result) refused = run_homenode(daemon->dir, NULL, "pause");
    g_assert_cmpint(refused.code, ==, HN_EXIT_NO_DAEMON);
    canned_daemon_stop(daemon);
}

static void test_no_daemon(void)
{
    g_autofree char *dir = g_dir_make_tmp("homenode-cli-XXXXXX", NULL);
    g_autofree char *expected =
        g_strdup_printf("homenode: homenoded does not run (no socket %s/control-ro): start it with "
                        "'systemctl start homenoded'\n",
                        dir);
    g_auto(Result) absent = run_homenode(dir, NULL, "list");
    g_assert_cmpint(absent.code, ==, HN_EXIT_NO_DAEMON);
    g_assert_cmpstr(absent.err, ==, expected);

    /* A socket nobody serves any more. */
    CannedDaemon *daemon = canned_daemon_start();
    g_autofree char *dead = g_build_filename(dir, "control-ro", NULL);
    g_autofree char *alive = g_build_filename(daemon->dir, "control-ro", NULL);
    g_assert_cmpint(link(alive, dead), ==, 0);
    canned_daemon_stop(daemon);
    g_auto(Result) left_over = run_homenode(dir, NULL, "list");
    g_assert_cmpint(left_over.code, ==, HN_EXIT_NO_DAEMON);
    assert_contains(left_over.err, "homenode: homenoded does not run (Cannot connect to '");
    assert_contains(left_over.err, "nobody listens there");
    g_assert_cmpint(strcspn(left_over.err, "\n"), ==, strlen(left_over.err) - 1); /* one line */
    g_unlink(dead);
    g_rmdir(dir);
}

static void test_snapshot_to_file(void)
{
    CannedDaemon *daemon = canned_daemon_start();
    g_autofree char *path = g_build_filename(daemon->dir, "round.json", NULL);
    g_autofree char *line = g_strdup_printf("snapshot --output '%s'", path);
    g_auto(Result) result = run_homenode(daemon->dir, NULL, line);
    json_object *written = json_object_from_file(path), *expected = canned_read_fixture("snapshot");
    g_assert_cmpint(result.code, ==, 0);
    g_assert_cmpstr(result.out, ==, "");
    g_assert_true(json_object_equal(written, expected));
    json_object_put(written);
    json_object_put(expected);
    g_auto(Result) impossible =
        run_homenode(daemon->dir, NULL, "snapshot -o /nonexistent/round.json");
    g_assert_cmpint(impossible.code, ==, HN_EXIT_FAILED);
    assert_contains(impossible.err, "/nonexistent/round.json");
    canned_daemon_stop(daemon);
}

static void test_report_to_file(void)
{
    CannedDaemon *daemon = canned_daemon_start();
    g_autofree char *path = g_build_filename(daemon->dir, "page.html", NULL);
    g_autofree char *line = g_strdup_printf("report --last 60 --output '%s'", path);
    g_autofree char *written = NULL;
    g_auto(Result) result = run_homenode(daemon->dir, NULL, line);
    g_auto(Result) printed = run_homenode(daemon->dir, NULL, "report");
    g_assert_cmpstr(result.err, ==, "");
    g_assert_cmpstr(result.out, ==, "");
    g_assert_cmpint(result.code, ==, 0);
    g_assert_true(g_file_get_contents(path, &written, NULL, NULL));
    assert_contains(written, "2026-03-01 16:00:00 to 2026-03-01 16:05:00, 6 samples.");
    assert_contains(printed.out, "2026-03-01 16:04:59"); /* the decisions */
    g_auto(Result) impossible = run_homenode(daemon->dir, NULL, "report -o /nonexistent/page.html");
    g_assert_cmpint(impossible.code, ==, HN_EXIT_FAILED);
    assert_contains(impossible.err, "/nonexistent/page.html");
    canned_daemon_stop(daemon);
}

/* --help of everything: exit 0, standard output, the verb's options in it. */
static void test_help(void)
{
    g_auto(Result) all = run_homenode(NULL, NULL, "--help");
    g_auto(Result) version = run_homenode(NULL, NULL, "--version");
    g_assert_cmpint(all.code, ==, 0);
    g_assert_cmpstr(version.out, ==, "homenode " HN_VERSION "\n");
    for (const HnVerb *verb = hn_verbs; verb->name; verb++) {
        g_autofree char *line = g_strconcat(verb->name, " --help", NULL);
        g_autofree char *other = g_strconcat("help ", verb->name, NULL);
        g_autofree char *usage = g_strdup_printf("Usage: homenode %s ", verb->name);
        g_auto(Result) help = run_homenode(NULL, NULL, line);
        g_auto(Result) same = run_homenode(NULL, NULL, other);
        assert_contains(all.out, verb->summary);
        g_assert_cmpint(help.code, ==, 0);
        g_assert_cmpstr(help.err, ==, "");
        assert_contains(help.out, usage);
        assert_contains(help.out, verb->summary);
        assert_contains(help.out, "--socket=PATH");
        g_assert_cmpstr(help.out, ==, same.out);
    }
}

/* Every verb and option that --help knows is in the manual. */
static void test_manual(void)
{
    g_autofree char *path =
        g_test_build_filename(G_TEST_DIST, "..", "docs", "man", "homenode.1", NULL);
    g_autofree char *source = NULL;
    g_auto(GStrv) escaped = NULL;
    g_autoptr(GRegex) option = g_regex_new("(?:^|\\s)(--[a-z-]+)", G_REGEX_MULTILINE, 0, NULL);
    g_assert_true(g_file_get_contents(path, &source, NULL, NULL));
    escaped = g_strsplit(source, "\\-", -1);
    g_autofree char *manual = g_strjoinv("-", escaped);
    for (const HnVerb *verb = hn_verbs; verb->name; verb++) {
        g_autofree char *line = g_strconcat(verb->name, " --help", NULL);
        g_auto(Result) help = run_homenode(NULL, NULL, line);
        g_autoptr(GMatchInfo) match = NULL;
        assert_contains(manual, verb->name);
        g_regex_match(option, help.out, 0, &match);
        g_assert_true(g_match_info_matches(match));
        for (; g_match_info_matches(match); g_match_info_next(match, NULL)) {
            g_autofree char *name = g_match_info_fetch(match, 1);
            assert_contains(manual, name);
        }
    }
}

/* Completion in a real bash: words of the program, names of the daemon. */
static void test_completion(void)
{
    static const struct {
        const char *words, *expected; /* `homenode` and what is typed; candidates, sorted */
    } cases[] = {
        {"homenode re", "rebalance release replay report resume"},
        {"homenode help di", "disable"},
        {"homenode rebalance --t", "--timeout"},
        {"homenode --socket DIR explain ",
         "batch database-with-a-rather-long-name legacy typo web"},
        {"homenode --socket DIR enable web b", "batch"},
        {"homenode --socket DIR release x", ""},
        {"homenode --socket DIR set pl", "placement.min-gain"},
        {"homenode rebalance --node ", ""},
    };
    g_autofree char *bash = g_find_program_in_path("bash");
    if (!bash) {
        g_test_skip("machine: there is no bash");
        return;
    }
    CannedDaemon *daemon = canned_daemon_start();
    g_autofree char *script =
        g_test_build_filename(G_TEST_DIST, "..", "data", "completions", "homenode.bash", NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(GStrv) parts = g_strsplit(cases[i].words, "DIR", 2);
        g_autofree char *words = g_strjoinv(daemon->dir, parts);
        g_autofree char *command =
            g_strdup_printf("homenode() { \"$HOMENODE\" \"$@\"; }; source '%s'; line='%s'; read "
                            "-ra COMP_WORDS <<< \"$line\";"
                            "[[ $line == *' ' ]] && COMP_WORDS+=(''); "
                            "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _homenode;"
                            "printf '%%s\\n' \"${COMPREPLY[@]}\" | sort | xargs",
                            script, words);
        const char *argv[] = {bash, "--norc", "-c", command, NULL};
        g_autofree char *out = NULL, *err = NULL;
        g_assert_true(
            g_spawn_sync(NULL, (char **)argv, NULL, 0, NULL, NULL, &out, &err, NULL, NULL));
        g_test_message("%s", words);
        g_assert_cmpstr(err, ==, "");
        g_assert_cmpstr(g_strstrip(out), ==, cases[i].expected);
    }
    canned_daemon_stop(daemon);
}

/* The same in a real zsh; its completion system's ends (compadd, _describe, _files) print instead,
 * so that what is offered can be read without a terminal. */
static void test_zsh_completion(void)
{
    static const struct {
        const char *words,
            *expected; /* words in quotes; what is offered, sorted; the shell filters it */
    } cases[] = {
        {"'homenode' 'rebalance' '--t'",
         "--connect --dry-run --help --json --node --socket --timeout --version --wait"},
        {"'homenode' '--socket' 'DIR' 'explain' ''",
         "batch database-with-a-rather-long-name legacy typo web"},
        {"'homenode' '--socket=DIR' 'release' ''",
         "batch database-with-a-rather-long-name legacy typo web"},
        {"'homenode' 'release' '--all' '--node' ''", ""},
        {"'homenode' 'simulate' '--policies' ''", "all bind homenode inverse kernel numad off"},
        {"'homenode' 'replay' ''", "FILES"},
        {"'homenode' '-o' ''", "FILES"},
    };
    g_autofree char *zsh = g_find_program_in_path("zsh");
    if (!zsh) {
        g_test_skip("machine: there is no zsh");
        return;
    }
    CannedDaemon *daemon = canned_daemon_start();
    g_autofree char *script =
        g_test_build_filename(G_TEST_DIST, "..", "data", "completions", "homenode.zsh", NULL);
    g_autofree char *begin =
        g_strdup_printf("homenode() { \"$HOMENODE\" \"$@\" }; compadd() { shift; print -rl -- "
                        "\"$@\" }; _files() { print FILES };"
                        "_describe() { print -rl -- ${(P)2%%%%:*} }; source '%s'; words=(",
                        script);
    for (size_t i = 0; i <= G_N_ELEMENTS(cases); i++) {
        bool is_verbs = i == G_N_ELEMENTS(cases); /* all of them, whatever they are */
        g_auto(GStrv) parts = g_strsplit(is_verbs ? "'homenode' ''" : cases[i].words, "DIR", 2);
        g_autofree char *words = g_strjoinv(daemon->dir, parts);
        g_autofree char *command =
            g_strconcat(begin, words, "); CURRENT=$#words; _homenode | sort | xargs", NULL);
        const char *argv[] = {zsh, "-f", "-c", command, NULL};
        g_autofree char *out = NULL, *err = NULL;
        g_assert_true(
            g_spawn_sync(NULL, (char **)argv, NULL, 0, NULL, NULL, &out, &err, NULL, NULL));
        g_test_message("%s", words);
        g_assert_cmpstr(err, ==, "");
        g_auto(GStrv) offered = g_strsplit(g_strstrip(out), " ", -1);
        if (!is_verbs)
            g_assert_cmpstr(out, ==, cases[i].expected);
        for (const HnVerb *verb = hn_verbs; is_verbs && verb->name; verb++)
            g_assert_true(g_strv_contains((const char *const *)offered, verb->name));
    }
    canned_daemon_stop(daemon);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/verbs", test_verbs);
    g_test_add_func("/cli/width", test_width);
    g_test_add_func("/cli/json", test_json);
    g_test_add_func("/cli/usage", test_usage);
    g_test_add_func("/cli/refusals", test_refusals);
    g_test_add_func("/cli/reading-without-rights", test_reading_without_rights);
    g_test_add_func("/cli/no-daemon", test_no_daemon);
    g_test_add_func("/cli/snapshot-to-file", test_snapshot_to_file);
    g_test_add_func("/cli/report-to-file", test_report_to_file);
    g_test_add_func("/cli/help", test_help);
    g_test_add_func("/cli/manual", test_manual);
    g_test_add_func("/cli/completion", test_completion);
    g_test_add_func("/cli/zsh-completion", test_zsh_completion);
    return g_test_run();
}
