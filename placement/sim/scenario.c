/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Scenario text → HnSimScenario. GKeyFile does the syntax; here are the keys, their ranges and the
 * sense of it all. An unknown group or key is an error: a misspelt key must not silently simulate
 * something else.
 */
#include "scenario.h"

#include <homenode/topology.h>

#include <math.h>
#include <string.h>

#define GIB (1024.0 * 1024.0 * 1024.0)

/* More than this is a slip of the pen, and would take hours or more memory than there is. */
#define MAX_GUESTS 4096
#define MAX_VCPUS 65536
#define MAX_STEPS 1e7

static const char *const scenario_keys[] = {"title", "duration-s", "step-s", "seed", NULL};
static const char *const host_keys[] = {"topology", "kappa", "node-gib-per-s", "smt-yield", NULL};
static const char *const guest_keys[] = {
    "count",        "vcpus",          "memory-gib", "pattern",   "busy",
    "memory-bound", "vcpu-gib-per-s", "work-gib",   "start-s",   "boot-s",
    "wake-s",       "noise",          "memory-on",  "bind-node", "immovable",
    "device-node",  "group",          "anti-group", NULL};

static void sim_guest_free(gpointer data)
{
    HnSimGuest *guest = data;
    g_free(guest->name);
    g_free(guest->group);
    g_free(guest->anti_group);
    g_free(guest);
}

void hn_sim_scenario_free(HnSimScenario *scenario)
{
    if (!scenario)
        return;
    g_free(scenario->title);
    hn_host_free(scenario->host);
    g_ptr_array_unref(scenario->guests);
    g_free(scenario);
}

static bool check_keys(GKeyFile *file, const char *group, const char *const *allowed,
                       GError **error)
{
    g_auto(GStrv) keys = g_key_file_get_keys(file, group, NULL, NULL);
    for (char **key = keys; key && *key; key++) {
        if (g_strv_contains(allowed, *key))
            continue;
        g_autofree char *list = g_strjoinv(", ", (char **)allowed);
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX,
                    "[%s]: unknown key '%s'; allowed: %s", group, *key, list);
        return false;
    }
    return true;
}

/* A number within [min, max]; absent: *value stays (the default), unless it is NaN: then it is
 * required. */
static bool read_number(GKeyFile *file, const char *group, const char *key, double min, double max,
                        double *value, GError **error)
{
    g_autofree char *text = g_key_file_get_value(file, group, key, NULL);
    if (!text) {
        if (!isnan(*value))
            return true;
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE, "[%s]: the key '%s' is missing",
                    group, key);
        return false;
    }
    char *end = NULL;
    double number = g_ascii_strtod(text, &end);
    if (end == text || *end || !isfinite(number)) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX, "[%s]: %s = %s is not a number",
                    group, key, text);
        return false;
    }
    if (number < min || number > max) {
        char low[G_ASCII_DTOSTR_BUF_SIZE], high[G_ASCII_DTOSTR_BUF_SIZE];
        g_ascii_formatd(low, sizeof low, "%.10g", min);
        g_ascii_formatd(high, sizeof high, "%.10g", max);
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_RANGE,
                    "[%s]: %s = %s is outside %s to %s", group, key, text, low, high);
        return false;
    }
    *value = number;
    return true;
}

static bool read_count(GKeyFile *file, const char *group, const char *key, double min, double max,
                       double *value, GError **error)
{
    if (!read_number(file, group, key, min, max, value, error))
        return false;
    if (*value == floor(*value))
        return true;
    g_autofree char *text = g_key_file_get_value(file, group, key, NULL);
    g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_RANGE, "[%s]: %s = %s must be a whole number",
                group, key, text);
    return false;
}

static bool read_choice(GKeyFile *file, const char *group, const char *key,
                        const char *const *choices, int *value, GError **error)
{
    g_autofree char *text = g_key_file_get_value(file, group, key, NULL);
    if (!text)
        return true;
    for (int i = 0; choices[i]; i++) {
        if (strcmp(text, choices[i]) == 0) {
            *value = i;
            return true;
        }
    }
    g_autofree char *list = g_strjoinv(", ", (char **)choices);
    g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_RANGE, "[%s]: %s = %s; allowed: %s", group,
                key, text, list);
    return false;
}

/* A node id of the scenario's host; "none" where that is allowed. */
static bool read_node(GKeyFile *file, const char *group, const char *key, const HnHost *host,
                      bool needs_cpus, int32_t *ret_node, GError **error)
{
    g_autofree char *text = g_key_file_get_value(file, group, key, NULL);
    if (!text || strcmp(text, "none") == 0)
        return true;
    guint64 id;
    int32_t node = HN_NODE_NONE;
    if (g_ascii_string_to_unsigned(text, 10, 0, G_MAXINT32, &id, NULL))
        node = hn_host_index_of_id(host, (int32_t)id);
    if (node != HN_NODE_NONE && (!needs_cpus || host->nodes[node].n_cpus > 0)) {
        *ret_node = node;
        return true;
    }
    g_autoptr(GString) ids = g_string_new(NULL);
    for (uint32_t i = 0; i < host->n_nodes; i++) {
        if (!needs_cpus || host->nodes[i].n_cpus > 0)
            g_string_append_printf(ids, "%s%d", ids->len ? ", " : "", host->nodes[i].id);
    }
    g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_RANGE,
                "[%s]: %s = %s is no such node; allowed: %s", group, key, text, ids->str);
    return false;
}

static bool read_layout(GKeyFile *file, const char *group, const HnHost *host, HnSimGuest *guest,
                        GError **error)
{
    g_autofree char *text = g_key_file_get_value(file, group, "memory-on", NULL);
    if (!text || strcmp(text, "first-touch") == 0) {
        guest->layout = HN_SIM_FIRST_TOUCH;
    } else if (strcmp(text, "interleaved") == 0) {
        guest->layout = HN_SIM_INTERLEAVED;
    } else if (read_node(file, group, "memory-on", host, false, &guest->start_node, NULL) &&
               guest->start_node != HN_NODE_NONE &&
               host->nodes[guest->start_node].mem_total_bytes > 0) {
        guest->layout = HN_SIM_ON_NODE;
    } else {
        g_set_error(
            error, HN_MODEL_ERROR, HN_MODEL_ERROR_RANGE,
            "[%s]: memory-on = %s; allowed: first-touch, interleaved, or a node with memory", group,
            text);
        return false;
    }
    return true;
}

static bool read_guest(GKeyFile *file, const char *group, HnSimScenario *scenario, GError **error)
{
    static const char *const patterns[] = {"private", "shared", "half", NULL};
    static const char *const booleans[] = {"no", "yes", NULL};
    if (!check_keys(file, group, guest_keys, error))
        return false;

    g_autofree HnSimGuest *guest = g_new0(HnSimGuest, 1);
    double count = 1, vcpus = NAN, memory_gib = NAN;
    int pattern = HN_SIM_SHARED, is_immovable = 0;
    guest->busy = 1;
    guest->memory_bound = 1;
    guest->vcpu_gib_per_s = 0.5;
    guest->start_node = guest->bind_node = guest->device_node = HN_NODE_NONE;
    if (!read_count(file, group, "count", 1, MAX_GUESTS, &count, error) ||
        !read_count(file, group, "vcpus", 1, 4096, &vcpus, error) ||
        !read_number(file, group, "memory-gib", 0.001, 65536, &memory_gib, error) ||
        !read_choice(file, group, "pattern", patterns, &pattern, error) ||
        !read_number(file, group, "busy", 0, 1, &guest->busy, error) ||
        !read_number(file, group, "memory-bound", 0, 1, &guest->memory_bound, error) ||
        !read_number(file, group, "vcpu-gib-per-s", 0, 1000, &guest->vcpu_gib_per_s, error) ||
        !read_number(file, group, "work-gib", 0, 1e9, &guest->work_gib, error) ||
        !read_number(file, group, "start-s", 0, 1e6, &guest->start_s, error) ||
        !read_number(file, group, "boot-s", 0, 1e6, &guest->boot_s, error) ||
        !read_number(file, group, "wake-s", 0, 1e6, &guest->wake_s, error) ||
        !read_number(file, group, "noise", 0, 0.5, &guest->noise, error) ||
        !read_choice(file, group, "immovable", booleans, &is_immovable, error) ||
        !read_layout(file, group, scenario->host, guest, error) ||
        !read_node(file, group, "bind-node", scenario->host, true, &guest->bind_node, error) ||
        !read_node(file, group, "device-node", scenario->host, false, &guest->device_node, error))
        return false;
    guest->n_vcpus = (uint32_t)vcpus;
    guest->memory_bytes = (uint64_t)(memory_gib * GIB);
    guest->pattern = (HnSimPattern)pattern;
    guest->is_immovable = is_immovable;
    if (guest->work_gib > 0 && guest->vcpu_gib_per_s == 0) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE,
                    "[%s]: work-gib is set, but vcpu-gib-per-s = 0 would never finish it", group);
        return false;
    }
    for (uint32_t i = 0; i < (uint32_t)count; i++) {
        HnSimGuest *copy = g_memdup2(guest, sizeof *guest);
        const char *name = group + strlen("guest ");
        copy->name = count > 1 ? g_strdup_printf("%s%u", name, i + 1) : g_strdup(name);
        copy->group = g_key_file_get_value(file, group, "group", NULL);
        copy->anti_group = g_key_file_get_value(file, group, "anti-group", NULL);
        g_ptr_array_add(scenario->guests, copy);
    }
    return true;
}

static bool check_size(const HnSimScenario *scenario, GError **error)
{
    uint64_t n_vcpus = 0;
    for (guint i = 0; i < scenario->guests->len; i++)
        n_vcpus += ((const HnSimGuest *)scenario->guests->pdata[i])->n_vcpus;
    if (scenario->guests->len > MAX_GUESTS || n_vcpus > MAX_VCPUS) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_RANGE,
                    "%u guests with %" G_GUINT64_FORMAT " vCPUs in all; allowed: %d and %d",
                    scenario->guests->len, n_vcpus, MAX_GUESTS, MAX_VCPUS);
        return false;
    }
    if (scenario->duration_s / scenario->step_s > MAX_STEPS) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_RANGE,
                    "[scenario]: duration-s over step-s is %.0f steps; allowed: %.0f",
                    scenario->duration_s / scenario->step_s, MAX_STEPS);
        return false;
    }
    return true;
}

/* What does not fit at the start cannot be simulated. */
static bool check_sense(const HnSimScenario *scenario, GError **error)
{
    const HnHost *host = scenario->host;
    double total = 0, wanted = 0;
    for (uint32_t i = 0; i < host->n_nodes; i++)
        total += (double)host->nodes[i].mem_total_bytes;
    g_autofree double *on_node = g_new0(double, host->n_nodes);
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < scenario->guests->len; i++) {
        const HnSimGuest *guest = scenario->guests->pdata[i];
        wanted += (double)guest->memory_bytes;
        if (guest->layout == HN_SIM_ON_NODE)
            on_node[guest->start_node] += (double)guest->memory_bytes;
        if (!g_hash_table_add(names, guest->name)) {
            g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE, "two guests are named '%s'",
                        guest->name);
            return false;
        }
    }
    if (scenario->guests->len == 0) {
        g_set_error_literal(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE,
                            "no guest: at least one group [guest NAME] is needed");
        return false;
    }
    if (wanted > total) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE,
                    "the guests want %" G_GUINT64_FORMAT " MiB, the host has %" G_GUINT64_FORMAT
                    " MiB",
                    (guint64)(wanted / 1048576), (guint64)(total / 1048576));
        return false;
    }
    for (uint32_t i = 0; i < host->n_nodes; i++) {
        if (on_node[i] <= (double)host->nodes[i].mem_total_bytes)
            continue;
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE,
                    "memory-on = %d puts %" G_GUINT64_FORMAT " MiB on a node of %" G_GUINT64_FORMAT
                    " MiB",
                    host->nodes[i].id, (guint64)(on_node[i] / 1048576),
                    host->nodes[i].mem_total_bytes / 1048576);
        return false;
    }
    return true;
}

HnSimScenario *hn_sim_scenario_parse(const char *text, size_t len, GError **error)
{
    /* Titles, names and the words in errors go into documents; the key file's reader lets all bytes
     * pass. */
    if (!g_utf8_validate_len(text, len, NULL)) {
        g_set_error_literal(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX,
                            "not a scenario: it is not UTF-8 text");
        return NULL;
    }
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GError) cause = NULL;
    if (len == 0 || !g_key_file_load_from_data(file, text, len, G_KEY_FILE_NONE, &cause)) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX, "not a scenario: %s",
                    cause ? cause->message : "it is empty");
        return NULL;
    }
    g_autoptr(HnSimScenario) scenario = g_new0(HnSimScenario, 1);
    scenario->guests = g_ptr_array_new_with_free_func(sim_guest_free);
    scenario->duration_s = 600;
    scenario->step_s = 0.1;
    scenario->kappa = 0.93;
    scenario->smt_yield = 0.2;
    double seed = 1;
    if (!g_key_file_has_group(file, "host")) {
        g_set_error_literal(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE,
                            "the group [host] is missing");
        return NULL;
    }
    if (!check_keys(file, "scenario", scenario_keys, error) ||
        !check_keys(file, "host", host_keys, error) ||
        !read_number(file, "scenario", "duration-s", 1, 1e6, &scenario->duration_s, error) ||
        !read_number(file, "scenario", "step-s", 0.01, 10, &scenario->step_s, error) ||
        !read_count(file, "scenario", "seed", 0, 4294967295.0, &seed, error) ||
        !read_number(file, "host", "kappa", 0, 20, &scenario->kappa, error) ||
        !read_number(file, "host", "node-gib-per-s", 0, 1e5, &scenario->node_gib_per_s, error) ||
        !read_number(file, "host", "smt-yield", 0, 1, &scenario->smt_yield, error))
        return NULL;
    scenario->seed = (uint32_t)seed;
    scenario->title = g_key_file_get_value(file, "scenario", "title", NULL);
    g_autofree char *topology = g_key_file_get_value(file, "host", "topology", NULL);
    if (!topology) {
        g_set_error_literal(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE,
                            "[host]: the key 'topology' is missing");
        return NULL;
    }
    scenario->host = hn_topology_parse_host(topology, strlen(topology), error);
    if (!scenario->host) {
        g_prefix_error(error, "[host]: topology: ");
        return NULL;
    }
    g_auto(GStrv) groups = g_key_file_get_groups(file, NULL);
    for (char **group = groups; *group; group++) {
        if (g_str_has_prefix(*group, "guest ") && (*group)[6]) {
            if (!read_guest(file, *group, scenario, error))
                return NULL;
        } else if (strcmp(*group, "scenario") != 0 && strcmp(*group, "host") != 0) {
            g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX,
                        "unknown group [%s]; allowed: [scenario], [host], [guest NAME]", *group);
            return NULL;
        }
    }
    if (!check_size(scenario, error) || !check_sense(scenario, error))
        return NULL;
    return g_steal_pointer(&scenario);
}
