/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files of the machine's control group; see memcg.h. */
#include "observe/memcg.h"
#include "observe/text.h"

#include <string.h>
#include <unistd.h>

#define MAX_STAT_BYTES 262144
#define MAX_PRESSURE_BYTES 4096

void hn_numa_stat_init(HnNumaStat *stat, uint32_t n_nodes)
{
    *stat = (HnNumaStat){.anon_bytes = g_new0(uint64_t, n_nodes),
                         .shmem_bytes = g_new0(uint64_t, n_nodes)};
}

void hn_numa_stat_clear(HnNumaStat *stat)
{
    g_free(stat->anon_bytes);
    g_free(stat->shmem_bytes);
    *stat = (HnNumaStat){0};
}

/* " N0=4096 N3=0": adds to node_bytes by index (NULL: only the sum). */
static bool parse_nodes(HnText line, uint64_t unit_bytes, const HnHost *host, uint64_t *node_bytes,
                        uint64_t *ret_sum_bytes)
{
    HnText word;
    uint64_t sum_bytes = 0;

    if (node_bytes)
        memset(node_bytes, 0, host->n_nodes * sizeof(uint64_t));
    while (hn_text_word(&line, &word)) {
        uint32_t id;
        uint64_t value;
        int32_t index;

        if (!hn_text_take(&word, "N") || !hn_text_u32(&word, &id) || !hn_text_take(&word, "=") ||
            !hn_text_u64(&word, &value) || !hn_text_is_empty(&word) || id > INT32_MAX ||
            value > (UINT64_MAX >> 12) / unit_bytes)
            return false;
        index = hn_host_index_of_id(host, (int32_t)id);
        if (index == HN_NODE_NONE)
            continue;
        if (node_bytes)
            node_bytes[index] = value * unit_bytes;
        sum_bytes += value * unit_bytes;
    }
    *ret_sum_bytes = sum_bytes;
    return true;
}

bool hn_numa_stat_parse(const char *text, size_t len, bool is_v2, const HnHost *host,
                        HnNumaStat *stat, GError **error)
{
    HnText rest = hn_text(text, len);
    HnText line;
    uint64_t anon_bytes = 0, shmem_bytes = 0, huge_bytes = 0, sum_bytes;
    bool has_anon = false, has_hierarchical = false;

    memset(stat->shmem_bytes, 0, host->n_nodes * sizeof(uint64_t));
    while (hn_text_line(&rest, &line)) {
        HnText whole = line;
        HnText name = {line.at, line.at};
        uint64_t ignored;
        bool is_good = true;

        while (!hn_text_is_empty(&line) && *line.at != ' ' && *line.at != '=')
            line.at++;
        name.end = line.at;
        if (!is_v2) {
            bool is_hierarchical = hn_text_equal(&name, "hierarchical_anon");

            if (!is_hierarchical && (has_hierarchical || !hn_text_equal(&name, "anon")))
                continue;
            is_good = hn_text_take(&line, "=") && hn_text_u64(&line, &ignored) &&
                      parse_nodes(line, host->page_bytes, host, stat->anon_bytes, &anon_bytes);
            has_anon = true;
            has_hierarchical |= is_hierarchical;
        } else if (hn_text_equal(&name, "anon")) {
            is_good = parse_nodes(line, 1, host, stat->anon_bytes, &anon_bytes);
            has_anon = true;
        } else if (hn_text_equal(&name, "shmem")) {
            is_good = parse_nodes(line, 1, host, stat->shmem_bytes, &shmem_bytes);
        } else if (hn_text_equal(&name, "anon_thp") || hn_text_equal(&name, "shmem_thp")) {
            is_good = parse_nodes(line, 1, host, NULL, &sum_bytes);
            huge_bytes += is_good ? sum_bytes : 0;
        }
        if (!is_good)
            return hn_text_fail(error, "memory.numa_stat", "bad value", &whole);
    }
    if (!has_anon) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX, "memory.numa_stat: no line anon");
        return false;
    }
    stat->total_bytes = anon_bytes + shmem_bytes;
    stat->huge_bytes = huge_bytes;
    return true;
}

bool hn_numa_stat_read(const HnRoot *root, const HnCgroup *cgroup, const HnHost *host,
                       HnNumaStat *stat, GError **error)
{
    g_autofree char *path = g_strconcat(cgroup->dir, "/memory.numa_stat", NULL);
    g_autofree char *text = NULL;
    size_t len;

    return hn_root_read(root, path, MAX_STAT_BYTES, &text, &len, error) &&
           hn_numa_stat_parse(text, len, cgroup->is_v2, host, stat, error);
}

bool hn_numa_counters_parse(const char *text, size_t len, HnNumaCounters *ret_counters,
                            GError **error)
{
    HnText rest = hn_text(text, len);
    HnText line;
    HnNumaCounters counters = {0};

    while (hn_text_line(&rest, &line)) {
        HnText whole = line;
        HnText name;
        uint64_t *value = NULL;

        if (!hn_text_until(&line, ' ', &name))
            continue;
        if (hn_text_equal(&name, "numa_hint_faults"))
            value = &counters.hint_faults;
        else if (hn_text_equal(&name, "numa_pte_updates"))
            value = &counters.pte_updates;
        else if (hn_text_equal(&name, "numa_pages_migrated"))
            value = &counters.pages_migrated;
        if (!value)
            continue;
        if (!hn_text_u64(&line, value) || !hn_text_is_empty(&line))
            return hn_text_fail(error, "memory.stat", "not a number", &whole);
        counters.is_valid |= value == &counters.hint_faults;
    }
    *ret_counters = counters;
    return true;
}

bool hn_numa_counters_read(const HnRoot *root, const HnCgroup *cgroup, HnNumaCounters *ret_counters,
                           GError **error)
{
    g_autofree char *path = g_strconcat(cgroup->dir, "/memory.stat", NULL);
    g_autofree char *text = NULL;
    size_t len;

    return hn_root_read(root, path, MAX_STAT_BYTES, &text, &len, error) &&
           hn_numa_counters_parse(text, len, ret_counters, error);
}

/* " avg10=93.41 avg60=… avg300=… total=123" */
static bool parse_averages(HnText line, uint32_t *ret_avg10_bp, uint32_t *ret_avg60_bp,
                           uint64_t *ret_total_us)
{
    HnText word;
    uint64_t avg10_bp = 0, avg60_bp = 0, total_us = 0;
    uint32_t n_found = 0;

    while (hn_text_word(&line, &word)) {
        uint64_t *value = NULL;
        bool is_total = false;

        if (hn_text_take(&word, "avg10="))
            value = &avg10_bp;
        else if (hn_text_take(&word, "avg60="))
            value = &avg60_bp;
        else if ((is_total = hn_text_take(&word, "total=")))
            value = &total_us;
        if (!value)
            continue;
        if (!(is_total ? hn_text_u64(&word, value) : hn_text_centi(&word, value)) ||
            !hn_text_is_empty(&word))
            return false;
        n_found++;
    }
    if (n_found != 3 || avg10_bp > 10000 || avg60_bp > 10000)
        return false;
    *ret_avg10_bp = (uint32_t)avg10_bp;
    *ret_avg60_bp = (uint32_t)avg60_bp;
    *ret_total_us = total_us;
    return true;
}

bool hn_stall_parse(const char *text, size_t len, HnStallInfo *ret_pressure, GError **error)
{
    HnText rest = hn_text(text, len);
    HnText line;
    HnStallInfo pressure = {0};
    bool has_some = false;

    while (hn_text_line(&rest, &line)) {
        HnText whole = line;
        bool is_good = true;

        if (hn_text_take(&line, "some ")) {
            has_some = true;
            is_good = parse_averages(line, &pressure.some_avg10_bp, &pressure.some_avg60_bp,
                                     &pressure.some_total_us);
        } else if (hn_text_take(&line, "full ")) {
            is_good = parse_averages(line, &pressure.full_avg10_bp, &pressure.full_avg60_bp,
                                     &pressure.full_total_us);
        }
        if (!is_good)
            return hn_text_fail(error, "pressure", "bad averages", &whole);
    }
    if (!has_some) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX, "pressure: no line some");
        return false;
    }
    *ret_pressure = pressure;
    return true;
}

bool hn_stall_read(const HnRoot *root, const char *path, HnStallInfo *ret_pressure, GError **error)
{
    g_autofree char *text = NULL;
    size_t len;

    return hn_root_read(root, path, MAX_PRESSURE_BYTES, &text, &len, error) &&
           hn_stall_parse(text, len, ret_pressure, error);
}
