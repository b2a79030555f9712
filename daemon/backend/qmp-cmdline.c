/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU's command line; see qmp-cmdline.h.
 *
 * Options come as "kind,key=value,…" with commas doubled inside values, or as a JSON object; both
 * are brought to one list of "key=value", the kind standing alone, before anything looks at them.
 *
 * Must not: read files, or complain.
 */
#include "qmp-cmdline.h"

#include <json-c/json.h>
#include <string.h>

#define MAX_CELLS 128 /* QEMU's MAX_NODES */

static void add_json_options(GPtrArray *list, const char *text)
{
    json_object *object = json_tokener_parse(text);
    if (json_object_is_type(object, json_type_object)) {
        json_object_object_foreach(object, key, value)
        {
            bool is_kind = strcmp(key, "qom-type") == 0 || strcmp(key, "driver") == 0 ||
                           strcmp(key, "type") == 0;
            const char *word = json_object_get_string(value);
            g_ptr_array_add(list, is_kind ? g_strdup(word) : g_strconcat(key, "=", word, NULL));
        }
    }
    json_object_put(object);
}

/* char *, owned. */
static GPtrArray *split_options(const char *text)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(g_free);
    if (*text == '{') {
        add_json_options(list, text);
        return list;
    }
    g_autoptr(GString) word = g_string_new(NULL);
    for (const char *at = text;; at++) {
        if (*at == ',' && at[1] == ',') {
            g_string_append_c(word, *at++);
        } else if (*at == ',' || *at == '\0') {
            g_ptr_array_add(list, g_strdup(word->str));
            g_string_truncate(word, 0);
            if (*at == '\0')
                return list;
        } else {
            g_string_append_c(word, *at);
        }
    }
}

/* The value after "key=" in one option; NULL: it is another. */
static const char *value_of(const char *option, const char *key)
{
    size_t len = strlen(key);
    return strncmp(option, key, len) == 0 && option[len] == '=' ? option + len + 1 : NULL;
}

static const char *find(const GPtrArray *options, const char *key)
{
    for (guint i = 0; i < options->len; i++) {
        const char *value = value_of(g_ptr_array_index(options, i), key);
        if (value)
            return value;
    }
    return NULL;
}

static bool has_kind(const GPtrArray *options, const char *prefix)
{
    for (guint i = 0; i < options->len; i++) {
        const char *option = g_ptr_array_index(options, i);
        if (!strchr(option, '=') && g_str_has_prefix(option, prefix))
            return true;
    }
    return false;
}

static void take_object(HnQmpCmdline *cmdline, const GPtrArray *options)
{
    const char *id = find(options, "id");
    if (id && has_kind(options, "memory-backend-"))
        g_ptr_array_add(cmdline->memory_objects, g_strdup(id));
}

static void take_numa(HnQmpCmdline *cmdline, const GPtrArray *options)
{
    const char *id = find(options, "nodeid");
    HnQmpCell cell = {.id = cmdline->cells->len, .memdev = g_strdup(find(options, "memdev"))};
    guint64 number;
    if (!has_kind(options, "node") || cmdline->cells->len >= MAX_CELLS) {
        g_free(cell.memdev); /* -numa dist, cpu, hmat-lb … */
        return;
    }
    if (id && g_ascii_string_to_unsigned(id, 10, 0, MAX_CELLS - 1, &number, NULL))
        cell.id = (uint32_t)number;
    for (guint i = 0; i < options->len; i++) {
        const char *cpus = value_of(g_ptr_array_index(options, i), "cpus");
        HnCpuset set;
        if (cpus && hn_cpuset_parse(cpus, strlen(cpus), &set, NULL))
            hn_cpuset_or(&cell.vcpus, &set);
    }
    g_array_append_val(cmdline->cells, cell);
}

static void take_machine(HnQmpCmdline *cmdline, const GPtrArray *options)
{
    const char *memdev = find(options, "memory-backend");
    if (memdev) {
        g_free(cmdline->boot_memdev);
        cmdline->boot_memdev = g_strdup(memdev);
    }
    cmdline->has_launch_security |= find(options, "confidential-guest-support") != NULL;
}

static void take_device(HnQmpCmdline *cmdline, const GPtrArray *options)
{
    const char *host = find(options, "host");
    if (!has_kind(options, "vfio-") && !has_kind(options, "vhost-vdpa"))
        return;
    cmdline->has_passthrough = true;
    if (host && has_kind(options, "vfio-pci")) /* "3b:00.0" means domain 0000 */
        g_ptr_array_add(cmdline->host_devices, strlen(host) == strlen("3b:00.0")
                                                   ? g_strconcat("0000:", host, NULL)
                                                   : g_strdup(host));
}

static void take_accel(HnQmpCmdline *cmdline, const GPtrArray *options)
{
    const char *size = find(options, "dirty-ring-size");
    cmdline->has_dirty_ring |= size && strcmp(size, "0") != 0;
}

static const struct {
    const char *option;
    void (*take)(HnQmpCmdline *cmdline, const GPtrArray *options);
} takers[] = {
    {"object", take_object}, {"numa", take_numa},     {"machine", take_machine},
    {"M", take_machine},     {"device", take_device}, {"netdev", take_device},
    {"accel", take_accel},
};

static void clear_cell(void *data)
{
    g_free(((HnQmpCell *)data)->memdev);
}

HnQmpCmdline *hn_qmp_cmdline_parse(const char *text, size_t len)
{
    HnQmpCmdline *cmdline = g_new0(HnQmpCmdline, 1);
    const char *option = NULL;
    cmdline->memory_objects = g_ptr_array_new_with_free_func(g_free);
    cmdline->host_devices = g_ptr_array_new_with_free_func(g_free);
    cmdline->cells = g_array_new(FALSE, TRUE, sizeof(HnQmpCell));
    g_array_set_clear_func(cmdline->cells, clear_cell);
    for (size_t at = 0; at < len; at += strnlen(text + at, len - at) + 1) {
        g_autofree char *argument = g_strndup(text + at, strnlen(text + at, len - at));
        for (size_t i = 0; option && i < G_N_ELEMENTS(takers); i++) {
            if (strcmp(option, takers[i].option) != 0)
                continue;
            g_autoptr(GPtrArray) options = split_options(argument);
            takers[i].take(cmdline, options);
        }
        option = NULL;
        for (size_t i = 0; argument[0] == '-' && i < G_N_ELEMENTS(takers); i++)
            if (strcmp(argument + (argument[1] == '-' ? 2 : 1), takers[i].option) == 0)
                option = takers[i].option;
    }
    return cmdline;
}

void hn_qmp_cmdline_free(HnQmpCmdline *cmdline)
{
    if (!cmdline)
        return;
    g_ptr_array_unref(cmdline->memory_objects);
    g_ptr_array_unref(cmdline->host_devices);
    g_array_unref(cmdline->cells);
    g_free(cmdline->boot_memdev);
    g_free(cmdline);
}
