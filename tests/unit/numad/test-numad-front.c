/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * numad's command line as libvirt and people use it, and the answers without a daemon, from captured
 * machines.
 */
#include "front.h"

#include <glib/gstdio.h>
#include <string.h>

static HnNumadWhat parse(const char *line, HnNumadRequest *request, GError **error)
{
    g_autofree char *full = g_strconcat("numad ", line, NULL);
    g_auto(GStrv) argv = NULL;
    int argc;
    g_assert_true(g_shell_parse_argv(full, &argc, &argv, NULL));
    return hn_numad_parse(argc, argv, request, error);
}

static void test_command_line(void)
{
    static const struct {
        const char *line;
        HnNumadWhat what;
        uint32_t n_vcpus;
        uint64_t mib;
        const char *complaint;
    } cases[] = {
        {"-w 2:128", HN_NUMAD_ASK, 2, 128, NULL}, /* what libvirt writes */
        {"-w2:128", HN_NUMAD_ASK, 2, 128, NULL},
        {"-w 4", HN_NUMAD_ASK, 4, 0, NULL},
        {"-w 4:0", HN_NUMAD_ASK, 4, 0, NULL},
        {"-v -w 1:1", HN_NUMAD_ASK, 1, 1, NULL},
        {"-i 15 -u 85 -w 1:1", HN_NUMAD_ASK, 1, 1, NULL}, /* numad's other options */
        {"-w 99999:99999999999999999", HN_NUMAD_ASK, 8192, UINT64_C(1) << 30, NULL},
        {"-h", HN_NUMAD_HELP, 0, 0, NULL},
        {"--help", HN_NUMAD_HELP, 0, 0, NULL},
        {"-V", HN_NUMAD_VERSION, 0, 0, NULL},
        {"", HN_NUMAD_WRONG, 0, 0, "no balancing daemon"},
        {"-i 15", HN_NUMAD_WRONG, 0, 0, "no balancing daemon"}, /* numad.service */
        {"-w", HN_NUMAD_WRONG, 0, 0, "'-w' needs a value"},
        {"-w 0:128", HN_NUMAD_WRONG, 0, 0, "-w is '0:128', allowed is VCPUS[:MIB]"},
        {"-w 2:", HN_NUMAD_WRONG, 0, 0, "-w is '2:'"},
        {"-w two", HN_NUMAD_WRONG, 0, 0, "-w is 'two'"},
        {"-w ''", HN_NUMAD_WRONG, 0, 0, "-w is ''"},
        {"-w 2:128:3", HN_NUMAD_WRONG, 0, 0, "-w is '2:128:3'"},
        {"-w -2", HN_NUMAD_WRONG, 0, 0, "-w is '-2'"},
        {"-w 2:128 now", HN_NUMAD_WRONG, 0, 0, "unexpected argument 'now'"},
        {"-w 2:128 --frob", HN_NUMAD_WRONG, 0, 0, "unknown option '--frob'"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        HnNumadRequest request;
        g_test_message("%s", cases[i].line);
        g_assert_cmpint(parse(cases[i].line, &request, &error), ==, cases[i].what);
        if (cases[i].complaint) {
            g_assert_nonnull(error);
            g_test_message("%s", error->message);
            g_assert_nonnull(strstr(error->message, cases[i].complaint));
        } else {
            g_assert_no_error(error);
            g_assert_cmpuint(request.n_vcpus, ==, cases[i].n_vcpus);
            g_assert_cmpuint(request.mib, ==, cases[i].mib);
        }
        hn_numad_request_clear(&request);
    }
}

static char *answer(const char *line, char **ret_source)
{
    g_autoptr(GError) error = NULL;
    HnNumadRequest request;
    g_assert_cmpint(parse(line, &request, &error), ==, HN_NUMAD_ASK);
    char *nodeset = hn_numad_answer(&request, ret_source);
    hn_numad_request_clear(&request);
    return nodeset;
}

static void test_without_daemon(void)
{
    static const struct {
        const char *host, *size, *expected, *source;
    } cases[] = {
        {"two-nodes", "2:128", "0", "load and free memory"},
        {"two-nodes", "4:128", "0-1", "load and free memory"}, /* two CPUs each */
        {"two-nodes", "1:100000", "0-1", "load and free memory"},
        {"one-node-v1", "2:128", "0", "load and free memory"},
        {"one-node-v1", "500:9999999", "0", "load and free memory"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *root = g_test_build_filename(G_TEST_DIST, "fixtures", "hosts",
                                                      cases[i].host, "root", NULL);
        g_autofree char *line =
            g_strdup_printf("--socket=/nonexistent --sysroot='%s' -w %s", root, cases[i].size);
        g_autofree char *source = NULL, *nodeset = answer(line, &source);
        g_test_message("%s %s: %s by %s", cases[i].host, cases[i].size, nodeset, source);
        g_assert_cmpstr(nodeset, ==, cases[i].expected);
        g_assert_nonnull(strstr(source, cases[i].source));
        g_assert_nonnull(strstr(source, "/nonexistent/control"));
    }
}

/* Sparse ids are the kernel's in the answer, and only nodes with CPUs are in it. */
static void test_sparse_nodes(void)
{
    g_autofree char *root =
        g_test_build_filename(G_TEST_DIST, "fixtures", "hosts", "four-nodes-sparse", "root", NULL);
    g_autofree char *online_file = g_build_filename(root, "sys/devices/system/node/has_cpu", NULL);
    g_autofree char *with_cpu = NULL;
    g_assert_true(g_file_get_contents(online_file, &with_cpu, NULL, NULL));
    g_autofree char *line =
        g_strdup_printf("--socket=/nonexistent --sysroot='%s' -w 64:9999999", root);
    g_autofree char *source = NULL, *nodeset = answer(line, &source);
    g_assert_cmpstr(nodeset, ==, g_strstrip(with_cpu));
}

/* Worse and worse machines: always an answer. */
static void test_never_fails(void)
{
    g_autofree char *dir = g_dir_make_tmp("numad-XXXXXX", NULL);
    g_autofree char *nodes = g_build_filename(dir, "sys", "devices", "system", "node", NULL);
    g_autofree char *online = g_build_filename(nodes, "online", NULL);
    g_autofree char *line =
        g_strdup_printf("--socket=/nonexistent --sysroot='%s' -w 2:128", dir);
    g_assert_cmpint(g_mkdir_with_parents(nodes, 0700), ==, 0);

    static const struct {
        const char *online, *expected;
    } cases[] = {{"0-2\n", "0-2"}, {"nonsense\n", "0"}, {"", "0"}, {NULL, "0"}};
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_unlink(online);
        if (cases[i].online)
            g_assert_true(g_file_set_contents(online, cases[i].online, -1, NULL));
        g_autofree char *source = NULL, *nodeset = answer(line, &source);
        g_assert_cmpstr(nodeset, ==, cases[i].expected);
        g_assert_nonnull(strstr(source, "every node"));
    }
    g_autofree char *source = NULL,
                    *nodeset = answer("--socket=/nonexistent --sysroot=/nonexistent -w 2:128", &source);
    g_assert_cmpstr(nodeset, ==, "0");
    static const char *const below[] = {"sys/devices/system/node", "sys/devices/system",
                                        "sys/devices", "sys", ""};
    for (guint i = 0; i < G_N_ELEMENTS(below); i++) {
        g_autofree char *path = g_build_filename(dir, below[i], NULL);
        g_assert_cmpint(g_rmdir(path), ==, 0);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/numad/command-line", test_command_line);
    g_test_add_func("/numad/without-daemon", test_without_daemon);
    g_test_add_func("/numad/sparse-nodes", test_sparse_nodes);
    g_test_add_func("/numad/never-fails", test_never_fails);
    return g_test_run();
}
