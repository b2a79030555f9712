/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parsers of the host's files; see host-read.h. Pure. */
#include "observe/host-read.h"
#include "observe/text.h"

#include <string.h>

bool hn_meminfo_parse(const char *text, size_t len, HnMeminfo *ret_meminfo, GError **error)
{
    HnText rest = hn_text(text, len);
    HnText line;
    uint64_t total_bytes = 0, free_bytes = 0, inactive_bytes = 0, kreclaimable_bytes = 0,
             sreclaimable_bytes = 0;
    bool has_total = false, has_free = false, has_kreclaimable = false;

    while (hn_text_line(&rest, &line)) {
        HnText whole = line;
        HnText key;
        uint64_t *value = NULL;
        uint64_t kib;

        if (hn_text_take(&line, "Node ")) {
            HnText id;

            if (!hn_text_word(&line, &id))
                return hn_text_fail(error, "meminfo", "no node", &whole);
            hn_text_skip_blanks(&line);
        }
        if (!hn_text_until(&line, ':', &key))
            continue;
        if (hn_text_equal(&key, "MemTotal")) {
            value = &total_bytes;
            has_total = true;
        } else if (hn_text_equal(&key, "MemFree")) {
            value = &free_bytes;
            has_free = true;
        } else if (hn_text_equal(&key, "Inactive(file)")) {
            value = &inactive_bytes;
        } else if (hn_text_equal(&key, "KReclaimable")) {
            value = &kreclaimable_bytes;
            has_kreclaimable = true;
        } else if (hn_text_equal(&key, "SReclaimable")) {
            value = &sreclaimable_bytes;
        }
        if (!value)
            continue;
        hn_text_skip_blanks(&line);
        if (!hn_text_u64(&line, &kib) || kib > (UINT64_MAX >> 12) || !hn_text_take(&line, " kB"))
            return hn_text_fail(error, "meminfo", "not a size in kB", &whole);
        *value = kib * 1024;
    }
    if (!has_total || !has_free) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX,
                    "meminfo: no MemTotal or no MemFree");
        return false;
    }
    /* A little more than all is seen while the kernel counts (per-CPU lists); double is nonsense.
     */
    if (free_bytes / 2 > total_bytes) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE,
                    "meminfo: MemFree %" G_GUINT64_FORMAT
                    " kB is more than MemTotal %" G_GUINT64_FORMAT " kB",
                    free_bytes / 1024, total_bytes / 1024);
        return false;
    }
    free_bytes = MIN(free_bytes, total_bytes);
    *ret_meminfo = (HnMeminfo){
        .total_bytes = total_bytes,
        .free_bytes = free_bytes,
        .reclaimable_bytes =
            MIN(inactive_bytes + (has_kreclaimable ? kreclaimable_bytes : sreclaimable_bytes),
                total_bytes - free_bytes),
    };
    return true;
}

bool hn_zoneinfo_parse(const char *text, size_t len, const HnHost *host, uint64_t *ret_bytes,
                       GError **error)
{
    g_autofree uint64_t *bytes = g_new0(uint64_t, host->n_nodes);
    HnText rest = hn_text(text, len);
    HnText line;
    int32_t index = HN_NODE_NONE;

    while (hn_text_line(&rest, &line)) {
        HnText whole = line;
        HnText word;
        uint32_t id;
        uint64_t pages;

        if (hn_text_take(&line, "Node ")) {
            if (!hn_text_u32(&line, &id) || id > INT32_MAX || !hn_text_take(&line, ", zone"))
                return hn_text_fail(error, "zoneinfo", "not a zone", &whole);
            index = hn_host_index_of_id(host, (int32_t)id);
            continue;
        }
        /* "high:" belongs to per-CPU lists, "high" to the zone. */
        if (!hn_text_word(&line, &word) || !hn_text_equal(&word, "high"))
            continue;
        hn_text_skip_blanks(&line);
        if (!hn_text_u64(&line, &pages) || pages > (UINT64_MAX >> 20) / host->page_bytes)
            return hn_text_fail(error, "zoneinfo", "not a number of pages", &whole);
        if (index != HN_NODE_NONE)
            bytes[index] += pages * host->page_bytes;
    }
    memcpy(ret_bytes, bytes, host->n_nodes * sizeof(uint64_t));
    return true;
}

bool hn_distance_parse(const char *text, size_t len, uint32_t n, uint8_t *ret_distances,
                       GError **error)
{
    HnText rest = hn_text(text, len);
    HnText line, word;
    uint32_t n_found = 0;

    if (!hn_text_line(&rest, &line))
        line = rest;
    rest = line;
    while (hn_text_word(&line, &word)) {
        uint32_t distance;

        if (!hn_text_u32(&word, &distance) || !hn_text_is_empty(&word) || distance > 255)
            return hn_text_fail(error, "distance", "not a distance of 0 to 255", &rest);
        if (n_found < n)
            ret_distances[n_found] = (uint8_t)distance;
        n_found++;
    }
    if (n_found != n) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE,
                    "distance: %u numbers for %u online nodes", n_found, n);
        return false;
    }
    return true;
}

bool hn_proc_stat_parse(const char *text, size_t len, uint32_t n_cpus, uint64_t *ret_ticks,
                        GError **error)
{
    HnText rest = hn_text(text, len);
    HnText line;
    bool has_cpu = false;

    while (hn_text_line(&rest, &line)) {
        HnText whole = line;
        uint64_t busy_ticks = 0;
        uint32_t cpu;

        /* CPUs come first; what follows (intr …) is long and of no use here. */
        if (!hn_text_take(&line, "cpu"))
            break;
        if (!hn_text_u32(&line, &cpu))
            continue; /* the sum */
        /* user nice system idle iowait irq softirq steal; guest time is within user */
        for (uint32_t field = 0; field < 8; field++) {
            uint64_t ticks;

            hn_text_skip_blanks(&line);
            if (!hn_text_u64(&line, &ticks) || ticks > (UINT64_MAX >> 4))
                return hn_text_fail(error, "stat", "fewer than 8 times", &whole);
            if (field != 3 && field != 4)
                busy_ticks += ticks;
        }
        has_cpu = true;
        if (cpu < n_cpus)
            ret_ticks[cpu] = busy_ticks;
    }
    if (!has_cpu) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX, "stat: no line cpu0");
        return false;
    }
    return true;
}

bool hn_cpu_list_parse(const char *text, size_t len, HnCpuset *ret_cpus, GError **error)
{
    HnText rest = hn_text(text, len);
    HnText line = rest;

    hn_text_line(&rest, &line);
    hn_text_skip_blanks(&line);
    /* What printk makes of a mask that was never allocated; some kernels pad it: "  (null)". */
    if (hn_text_take(&line, "(null)")) {
        hn_cpuset_zero(ret_cpus);
        return true;
    }
    return hn_cpuset_parse(text, len, ret_cpus, error);
}

bool hn_number_parse(const char *text, size_t len, uint64_t *ret_value, GError **error)
{
    HnText rest = hn_text(text, len);
    HnText line = rest;
    uint64_t value;

    hn_text_line(&rest, &line);
    rest = line;
    hn_text_skip_blanks(&line);
    if (!hn_text_u64(&line, &value))
        return hn_text_fail(error, "number", "not a number", &rest);
    hn_text_skip_blanks(&line);
    if (!hn_text_is_empty(&line))
        return hn_text_fail(error, "number", "not a number", &rest);
    *ret_value = value;
    return true;
}
