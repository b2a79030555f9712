/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading the configuration file: see config.h.
 *
 * GKeyFile knows the format but not where a value stood, so the text is walked once beforehand for
 * the line number of every key; that walk also finds malformed lines and keys given twice, which
 * GKeyFile would take.
 */
#include "config.h"
#include "config_keys.h"
#include "metrics_http.h"
#include "report/fields.h"

#include <string.h>

/* Far above what all keys with long comments need. */
#define MAX_FILE_BYTES (256 * 1024)

G_DEFINE_QUARK(hn - config - error - quark, hn_config_error)

/* What "auto" comes to at least, whatever the host. */
#define LEAST_AUTO_RATE (UINT64_C(1) << 30)

/* What one move may take at most, and what it leaves free, is known by apply; plans follow from it. A move goes
 * to one node: what all together may take matters only where it is less. */
static void derive(HnConfig *config)
{
    uint64_t host = config->limits.host_bytes_per_sec, node = config->limits.node_bytes_per_sec;
    HnPolicy defaults;

    if (host == HN_RATE_AUTO)
        host = LEAST_AUTO_RATE;
    uint64_t rate = host && node ? MIN(host, node) : MAX(host, node);
    hn_policy_init(&defaults);
    config->policy.move_bytes_per_sec =
        rate ? CLAMP(rate, UINT64_C(1) << 20, UINT64_C(1) << 40) : defaults.move_bytes_per_sec;
    config->policy.headroom_bytes = config->limits.headroom_bytes;
}

HnConfig *hn_config_new(void)
{
    HnConfig *config = g_new0(HnConfig, 1);
    const uint64_t second = UINT64_C(1000000000);

    config->connect = g_strdup("qemu:///system");
    config->control_group = g_strdup("");
    config->round_interval_ns = 2 * second;
    config->idle_interval_ns = 300 * second;
    config->event_delay_ns = second / 10;
    config->on_start = HN_ON_START_ADOPT;
    config->on_stop = HN_ON_STOP_RESTORE;
    config->stop_timeout_ns = 45 * second;
    config->is_stats_written = true;
    config->stats_interval_ns = 10 * second;
    config->history_entries = 200;
    config->record_bytes = UINT64_C(8) << 20;
    config->metrics_file = g_strdup("");
    config->metrics_listen = g_strdup("");
    config->qemu_sockets = g_strdup("/run/homenode/qemu");
    config->probe_max_age_ns = 10 * second;
    config->probe_ceiling_ns = 120 * second;
    config->n_probes = 1024;
    config->exact_max_bytes = UINT64_C(256) << 20;
    config->with_hinting_faults = true;
    config->touch_matrix = HN_TOUCH_WIDE;
    config->is_balancing_switched = true;
    config->dirty_mode = HN_DIRTY_WISH_SAMPLING;
    config->dirty_window_ns = second;
    hn_policy_init(&config->policy);
    hn_limits_init(&config->limits);
    derive(config);
    return config;
}

HnConfig *hn_config_copy(const HnConfig *config)
{
    HnConfig *copy = g_memdup2(config, sizeof *config);
    copy->connect = g_strdup(config->connect);
    copy->control_group = g_strdup(config->control_group);
    copy->metrics_file = g_strdup(config->metrics_file);
    copy->metrics_listen = g_strdup(config->metrics_listen);
    copy->qemu_sockets = g_strdup(config->qemu_sockets);
    return copy;
}

void hn_config_free(HnConfig *config)
{
    if (!config)
        return;
    g_free(config->connect);
    g_free(config->control_group);
    g_free(config->metrics_file);
    g_free(config->metrics_listen);
    g_free(config->qemu_sockets);
    g_free(config);
}

static bool is_group_known(const char *group)
{
    for (const HnKey *key = hn_config_keys; key->group; key++)
        if (strcmp(key->group, group) == 0)
            return true;
    return false;
}

static char *allowed_groups(void)
{
    g_autoptr(GString) text = g_string_new(NULL);
    const char *last = "";
    for (const HnKey *key = hn_config_keys; key->group; key++) {
        if (strcmp(key->group, last) != 0)
            g_string_append_printf(text, "%s[%s]", text->len ? ", " : "", key->group);
        last = key->group;
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static bool line_error(const char *file, guint line, HnConfigError code, GError **error,
                       const char *format, ...) G_GNUC_PRINTF(5, 6);

static bool line_error(const char *file, guint line, HnConfigError code, GError **error,
                       const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, HN_CONFIG_ERROR, code, "%s:%u: %s", file, line, message);
    return false;
}

/* One line: nothing, a comment, "[group]" or "key=value". Keeps the group and notes "group.key" →
 * line. */
static bool walk_line(const char *file, guint number, char *line, char **group, GHashTable *lines,
                      GError **error)
{
    g_strstrip(line);
    if (!*line || *line == '#')
        return true;
    size_t len = strlen(line);
    if (*line == '[') {
        if (line[len - 1] != ']')
            return line_error(file, number, HN_CONFIG_ERROR_SYNTAX, error,
                              "'%s' lacks the closing ]", line);
        g_free(*group);
        *group = g_strndup(line + 1, len - 2);
        if (is_group_known(*group))
            return true;
        g_autofree char *allowed = allowed_groups();
        return line_error(file, number, HN_CONFIG_ERROR_UNKNOWN, error,
                          "no section [%s]; there are %s", *group, allowed);
    }
    char *equals = strchr(line, '=');
    if (!equals)
        return line_error(file, number, HN_CONFIG_ERROR_SYNTAX, error,
                          "'%s' is neither a [section], nor key = value, nor a # comment", line);
    if (!*group)
        return line_error(file, number, HN_CONFIG_ERROR_SYNTAX, error,
                          "'%s' stands before any [section]", line);
    *equals = '\0';
    g_strchomp(line);
    g_autofree char *key = g_strdup_printf("%s.%s", *group, line);
    if (!hn_key_find(key))
        return line_error(file, number, HN_CONFIG_ERROR_UNKNOWN, error,
                          "section [%s] has no key '%s'; see homenode.conf(5)", *group, line);
    guint before = GPOINTER_TO_UINT(g_hash_table_lookup(lines, key));
    if (before)
        return line_error(file, number, HN_CONFIG_ERROR_SYNTAX, error,
                          "%s is given again, first in line %u", key, before);
    g_hash_table_insert(lines, g_steal_pointer(&key), GUINT_TO_POINTER(number));
    return true;
}

static bool walk_lines(const char *text, size_t len, const char *file, GHashTable *lines,
                       GError **error)
{
    g_autofree char *copy = g_strndup(text, len);
    g_auto(GStrv) split = g_strsplit(copy, "\n", -1);
    g_autofree char *group = NULL;
    for (guint i = 0; split[i]; i++)
        if (!walk_line(file, i + 1, split[i], &group, lines, error))
            return false;
    return true;
}

/* Policy and limits as a whole: relations between keys that one key's bounds cannot express. */
static bool validate(const HnConfig *config, GError **error)
{
    if (config->probe_ceiling_ns < config->probe_max_age_ns) {
        g_set_error(error, HN_CONFIG_ERROR, HN_CONFIG_ERROR_VALUE,
                    "observe.probe-ceiling is smaller than observe.probe-max-age");
        return false;
    }
    if (*config->metrics_listen &&
        !hn_metrics_address_check(config->metrics_listen, config->is_metrics_remote, error)) {
        g_prefix_error(error, "metrics.listen ");
        return false;
    }
    return hn_policy_validate(&config->policy, error) && hn_limits_validate(&config->limits, error);
}

HnConfig *hn_config_parse(const char *text, size_t len, const char *file, GError **error)
{
    g_autoptr(HnConfig) config = hn_config_new();
    g_autoptr(GHashTable) lines = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GKeyFile) keys = g_key_file_new();

    if (len > MAX_FILE_BYTES) {
        g_set_error(error, HN_CONFIG_ERROR, HN_CONFIG_ERROR_SYNTAX,
                    "%s: has %zu bytes, at most %d are allowed", file, len, MAX_FILE_BYTES);
        return NULL;
    }
    if (!walk_lines(text, len, file, lines, error))
        return NULL;
    if (len > 0 && !g_key_file_load_from_data(keys, text, len, G_KEY_FILE_NONE, error)) {
        g_prefix_error(error, "%s: ", file);
        return NULL;
    }
    for (const HnKey *key = hn_config_keys; key->group; key++) {
        g_autofree char *name = g_strdup_printf("%s.%s", key->group, key->name);
        guint line = GPOINTER_TO_UINT(g_hash_table_lookup(lines, name));
        if (!line)
            continue;
        g_autofree char *value = g_key_file_get_string(keys, key->group, key->name, error);
        if (!value || !hn_key_parse(key, g_strstrip(value), config, error)) {
            g_prefix_error(error, "%s:%u: ", file, line);
            return NULL;
        }
    }
    if (!validate(config, error)) {
        g_prefix_error(error, "%s: ", file);
        return NULL;
    }
    derive(config);
    return g_steal_pointer(&config);
}

HnConfig *hn_config_read(const char *file, bool is_optional, GError **error)
{
    g_autofree char *text = NULL;
    gsize len = 0;
    g_autoptr(GError) local = NULL;

    if (!g_file_get_contents(file, &text, &len, &local)) {
        if (is_optional && g_error_matches(local, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            return hn_config_new();
        g_propagate_error(error, g_steal_pointer(&local));
        return NULL;
    }
    return hn_config_parse(text, len, file, error);
}

bool hn_config_set(HnConfig *config, const char *key, const char *value, GError **error)
{
    const HnKey *found = hn_key_find(key);
    if (!found) {
        g_set_error(error, HN_CONFIG_ERROR, HN_CONFIG_ERROR_UNKNOWN,
                    "no key '%s'; query-config and homenode.conf(5) list them", key);
        return false;
    }
    g_autoptr(HnConfig) trial = hn_config_copy(config);
    if (!hn_key_parse(found, value, trial, error) || !validate(trial, error))
        return false;
    /* Cannot fail: the same value has just been taken. */
    hn_key_parse(found, value, config, NULL);
    derive(config);
    return true;
}

char *hn_config_get(const HnConfig *config, const char *key)
{
    const HnKey *found = hn_key_find(key);
    return found ? hn_key_format(found, config) : NULL;
}

bool hn_config_needs_restart(const char *key)
{
    const HnKey *found = hn_key_find(key);
    return found && found->needs_restart;
}

char *hn_config_first_restart_difference(const HnConfig *a, const HnConfig *b)
{
    for (const HnKey *key = hn_config_keys; key->group; key++) {
        if (!key->needs_restart)
            continue;
        g_autofree char *one = hn_key_format(key, a);
        g_autofree char *other = hn_key_format(key, b);
        if (strcmp(one, other) != 0)
            return g_strdup_printf("%s.%s", key->group, key->name);
    }
    return NULL;
}

json_object *hn_config_to_json(const HnConfig *config)
{
    g_autoptr(HnConfig) defaults = hn_config_new();
    json_object *array = json_object_new_array();
    for (const HnKey *key = hn_config_keys; key->group; key++) {
        g_autofree char *name = g_strdup_printf("%s.%s", key->group, key->name);
        g_autofree char *value = hn_key_format(key, config);
        g_autofree char *standard = hn_key_format(key, defaults);
        json_object *row = json_object_new_object();
        hn_put_string(row, "key", name);
        hn_put_string(row, "value", value);
        hn_put_string(row, "default", standard);
        hn_put_bool(row, "is-default", strcmp(value, standard) == 0);
        hn_put_bool(row, "needs-restart", key->needs_restart);
        hn_put_string(row, "help", key->help);
        json_object_array_add(array, row);
    }
    return array;
}
