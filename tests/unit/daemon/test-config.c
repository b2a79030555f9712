/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The configuration: values with units, errors with file, line, key and what is allowed; and that
 * the sample file and the manual know exactly the keys there are.
 */
#include "config.h"
#include "config_keys.h"

#include <string.h>

static const struct {
    const char *key, *text, *shown; /* shown NULL: refused */
} values[] = {
    {"daemon.round-interval", "2s", "2s"},
    {"daemon.round-interval", "1500ms", "1500ms"},
    {"daemon.round-interval", "60s", "1min"},
    {"daemon.round-interval", "2", NULL},    /* a unit is needed */
    {"daemon.round-interval", "10ms", NULL}, /* below the least */
    {"daemon.round-interval", "-1s", NULL},
    {"daemon.round-interval", "1.5s", NULL},
    {"daemon.round-interval", "2 s", "2s"},
    {"daemon.round-interval", "99999999999999999999s", NULL},
    {"daemon.stats-interval", "18446744073709551615h", NULL}, /* overflows */
    {"placement.min-gain", "5%", "5%"},
    {"placement.min-gain", "2.5%", "2.5%"},
    {"placement.min-gain", "2.55%", NULL},
    {"placement.min-gain", "101%", NULL},
    {"placement.min-gain", "50", NULL},
    {"placement.fence", "yes", "yes"},
    {"placement.fence", "true", "yes"},
    {"placement.fence", "maybe", NULL},
    {"apply.host-rate", "1GiB/s", "1GiB/s"},
    {"apply.host-rate", "1536MiB/s", "1536MiB/s"},
    {"apply.host-rate", "0", "0"},
    {"apply.host-rate", "auto", "auto"},
    {"apply.host-rate", "autobahn", NULL},
    {"apply.host-rate", "2TiB/s", NULL},
    {"apply.node-rate", "auto", NULL},
    {"apply.host-rate", "1GB/s", NULL},
    {"apply.batch-floor", "4096", "4KiB"},
    {"apply.batch-floor", "1KiB", NULL},
    {"apply.batch-floor", "1GiB", NULL}, /* above the ceiling: refused as a whole */
    {"daemon.on-stop", "keep", "keep"},
    {"daemon.on-stop", "leave", NULL},
    {"daemon.metrics-file", "/a/b.prom", "/a/b.prom"},
    {"observe.probes", "2048", "2048"},
    {"observe.probes", "x", NULL},
    {"evidence.rounds", "2", NULL},
    {"evidence.recheck", "10min", "10min"},
    {"evidence.recheck", "2h", NULL}, /* above its ceiling: refused as a whole */
    {"observe.probe-ceiling", "1s", NULL}, /* below probe-max-age */
};

static void test_value(gconstpointer data)
{
    guint i = GPOINTER_TO_UINT(data);
    g_autoptr(HnConfig) config = hn_config_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *before = hn_config_get(config, values[i].key);
    bool is_good = hn_config_set(config, values[i].key, values[i].text, &error);
    g_autofree char *after = hn_config_get(config, values[i].key);

    if (values[i].shown) {
        g_assert_no_error(error);
        g_assert_cmpstr(after, ==, values[i].shown);
    } else {
        g_assert_false(is_good);
        g_assert_nonnull(error);
        g_assert_cmpstr(after, ==, before); /* unchanged */
    }
}

static const struct {
    const char *text, *complaint;
} files[] = {
    {"[daemon]\nround-interval = fast\n",
     "F:2: daemon.round-interval is 'fast', allowed: 100ms to 1h"},
    {"# c\n\n[daemon]\nround = 2s\n", "F:4: section [daemon] has no key 'round'"},
    {"[demon]\n", "F:1: no section [demon]; there are [daemon], [metrics], [qemu], [observe], [evidence], [placement], [apply]"},
    {"[daemon\n", "F:1: '[daemon' lacks the closing ]"},
    {"[daemon]\nround-interval\n", "F:2: 'round-interval' is neither"},
    {"round-interval = 2s\n", "F:1: 'round-interval = 2s' stands before any [section]"},
    {"[daemon]\non-stop=keep\non-stop=keep\n",
     "F:3: daemon.on-stop is given again, first in line 2"},
    {"[apply]\nbatch-floor=128MiB\n", "F: limit batch_ceiling_bytes is"},
    {"[daemon]\non-stop = sometimes\n",
     "F:2: daemon.on-stop is 'sometimes', allowed: restore, keep"},
};

static void test_file_error(gconstpointer data)
{
    guint i = GPOINTER_TO_UINT(data);
    g_autoptr(GError) error = NULL;
    g_assert_null(hn_config_parse(files[i].text, strlen(files[i].text), "F", &error));
    g_assert_nonnull(error);
    if (!strstr(error->message, files[i].complaint))
        g_error("'%s' does not contain '%s'", error->message, files[i].complaint);
}

static void test_good_file(void)
{
    const char *text =
        "# comment\n[daemon]\n  round-interval = 3s \non-stop=keep\n[apply]\nhost-rate=256MiB/s\n";
    g_autoptr(GError) error = NULL;
    g_autoptr(HnConfig) config = hn_config_parse(text, strlen(text), "F", &error);
    g_assert_no_error(error);
    g_assert_cmpuint(config->round_interval_ns, ==, UINT64_C(3000000000));
    g_assert_cmpint(config->on_stop, ==, HN_ON_STOP_KEEP);
    g_assert_cmpuint(config->policy.move_bytes_per_sec, ==,
                     256 << 20); /* predictions follow the rate */
    g_autoptr(HnConfig) empty = hn_config_parse("", 0, "F", &error);
    g_assert_no_error(error);
    g_assert_cmpuint(empty->limits.host_bytes_per_sec, ==, HN_RATE_AUTO);
    g_assert_cmpuint(empty->policy.move_bytes_per_sec, ==, 1 << 30); /* that of one destination */
    g_assert_true(hn_config_set(empty, "apply.node-rate", "128MiB/s", &error));
    g_assert_cmpuint(empty->policy.move_bytes_per_sec, ==, 128 << 20);
    g_assert_true(hn_config_set(empty, "apply.node-rate", "0", &error));
    g_assert_cmpuint(empty->policy.move_bytes_per_sec, ==, 1 << 30); /* auto is at least that */
    g_assert_cmpuint(empty->round_interval_ns, ==, UINT64_C(2000000000));
}

static void test_missing_file(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(HnConfig) defaults = hn_config_read("/nonexistent/homenode.conf", true, &error);
    g_assert_no_error(error);
    g_assert_nonnull(defaults);
    g_assert_null(hn_config_read("/nonexistent/homenode.conf", false, &error));
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT);
}

static void test_restart_difference(void)
{
    g_autoptr(HnConfig) a = hn_config_new();
    g_autoptr(HnConfig) b = hn_config_copy(a);
    g_assert_true(hn_config_set(b, "daemon.round-interval", "5s", NULL));
    g_assert_null(hn_config_first_restart_difference(a, b));
    g_assert_true(hn_config_set(b, "daemon.control-group", "wheel", NULL));
    g_autofree char *key = hn_config_first_restart_difference(a, b);
    g_assert_cmpstr(key, ==, "daemon.control-group");
}

static char *read_source(const char *path)
{
    g_autofree char *file = g_build_filename(g_getenv("HN_SOURCE_ROOT"), path, NULL);
    g_autoptr(GError) error = NULL;
    char *text = NULL;
    g_file_get_contents(file, &text, NULL, &error);
    g_assert_no_error(error);
    return text;
}

/* The sample names every key with its default, commented out; with the marks removed it is the
 * defaults. */
static void test_sample(void)
{
    g_autofree char *text = read_source("data/homenode.conf");
    g_autoptr(HnConfig) defaults = hn_config_new();
    g_autoptr(GString) active = g_string_new(NULL);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (guint i = 0; lines[i]; i++) {
        bool is_key =
            lines[i][0] == '#' && lines[i][1] && lines[i][1] != ' ' && strchr(lines[i], '=');
        g_string_append_printf(active, "%s\n", is_key ? lines[i] + 1 : lines[i]);
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(HnConfig) sample = hn_config_parse(active->str, active->len, "sample", &error);
    g_assert_no_error(error);
    for (const HnKey *key = hn_config_keys; key->group; key++) {
        g_autofree char *value = hn_key_format(key, defaults);
        g_autofree char *line = g_strdup_printf("\n#%s = %s\n", key->name, value);
        if (!*value)
            line[strlen(line) - 2] = '\n', line[strlen(line) - 1] = '\0';
        if (!strstr(text, line))
            g_error("the sample has no line '%s'", g_strstrip(line));
        g_autofree char *in_sample = hn_key_format(key, sample);
        g_assert_cmpstr(in_sample, ==, value);
    }
}

static void test_manual(void)
{
    g_autofree char *text = read_source("docs/man/homenode.conf.5");
    g_autoptr(HnConfig) defaults = hn_config_new();
    for (const HnKey *key = hn_config_keys; key->group; key++) {
        g_auto(GStrv) parts = g_strsplit(key->name, "-", -1);
        g_autofree char *escaped = g_strjoinv("\\-", parts);
        g_autofree char *item = g_strdup_printf(".B %s\n", escaped);
        if (!strstr(text, item))
            g_error("homenode.conf(5) does not document %s.%s", key->group, key->name);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(values); i++) {
        g_autofree char *path = g_strdup_printf("/daemon/config/value/%u:%s", i, values[i].key);
        g_test_add_data_func(path, GUINT_TO_POINTER(i), test_value);
    }
    for (guint i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_strdup_printf("/daemon/config/error/%u", i);
        g_test_add_data_func(path, GUINT_TO_POINTER(i), test_file_error);
    }
    g_test_add_func("/daemon/config/good", test_good_file);
    g_test_add_func("/daemon/config/missing", test_missing_file);
    g_test_add_func("/daemon/config/restart-difference", test_restart_difference);
    g_test_add_func("/daemon/config/sample", test_sample);
    g_test_add_func("/daemon/config/manual", test_manual);
    return g_test_run();
}
