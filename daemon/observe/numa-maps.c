/* SPDX-License-Identifier: GPL-2.0-or-later */
/* numa_maps; see numa-maps.h. */
#include "observe/numa-maps.h"
#include "observe/text.h"

#include <string.h>

#define MAX_NUMA_MAPS_BYTES (64u << 20)

static uint32_t region_at(const HnRegion *regions, uint32_t n_regions, uint64_t hva)
{
    for (uint32_t i = 0; i < n_regions; i++)
        if (hva >= regions[i].hva_start && hva - regions[i].hva_start < regions[i].length_bytes)
            return i;
    return UINT32_MAX;
}

/* "… N0=8704 N1=7680 kernelpagesize_kB=4": adds bytes by node index. */
static bool parse_counts(HnText line, const HnHost *host, uint64_t *node_pages,
                         uint64_t *ret_page_bytes)
{
    HnText word;
    uint64_t page_bytes = 0;

    while (hn_text_word(&line, &word)) {
        HnText name = word;
        uint32_t id;
        uint64_t value;

        if (hn_text_take(&name, "kernelpagesize_kB=")) {
            if (!hn_text_u64(&name, &value) || value == 0 || value > (1u << 24))
                return false;
            page_bytes = value * 1024;
            continue;
        }
        /* "N0=…" and not a file's name, which comes as "file=…" */
        if (!hn_text_take(&name, "N") || !hn_text_u32(&name, &id) || !hn_text_take(&name, "="))
            continue;
        if (!hn_text_u64(&name, &value) || !hn_text_is_empty(&name) || value > (UINT64_MAX >> 40))
            return false;
        if (id <= INT32_MAX && hn_host_index_of_id(host, (int32_t)id) != HN_NODE_NONE)
            node_pages[hn_host_index_of_id(host, (int32_t)id)] += value;
    }
    *ret_page_bytes = page_bytes ? page_bytes : 4096;
    return true;
}

bool hn_numa_maps_parse(const char *text, size_t len, const HnHost *host, HnRegion *regions,
                        uint32_t n_regions, bool *ret_is_bound, GError **error)
{
    size_t n = host->n_nodes;
    g_autofree uint64_t *bytes = g_new0(uint64_t, MAX(n * n_regions, (size_t)1));
    g_autofree uint64_t *pages = g_new0(uint64_t, n);
    HnText rest = hn_text(text, len);
    HnText line;
    bool is_bound = false;

    while (hn_text_line(&rest, &line)) {
        HnText whole = line;
        HnText policy;
        uint64_t start, page_bytes;
        uint32_t region;

        if (!hn_text_hex(&line, &start) || !hn_text_word(&line, &policy))
            return hn_text_fail(error, "numa_maps", "not a mapping", &whole);
        region = region_at(regions, n_regions, start);
        if (region == UINT32_MAX)
            continue;
        is_bound |= !hn_text_equal(&policy, "default");
        memset(pages, 0, n * sizeof(uint64_t));
        if (!parse_counts(line, host, pages, &page_bytes))
            return hn_text_fail(error, "numa_maps", "bad count", &whole);
        for (size_t node = 0; node < n; node++)
            bytes[region * n + node] += pages[node] * page_bytes;
    }
    for (uint32_t i = 0; i < n_regions; i++)
        memcpy(regions[i].resident_bytes, bytes + i * n, n * sizeof(uint64_t));
    if (ret_is_bound)
        *ret_is_bound = is_bound;
    return true;
}

bool hn_numa_maps_read(const HnRoot *root, int64_t pid, const HnHost *host, HnRegion *regions,
                       uint32_t n_regions, GError **error)
{
    g_autofree char *path = g_strdup_printf("proc/%" G_GINT64_FORMAT "/numa_maps", pid);
    g_autofree char *text = NULL;
    size_t len;

    return hn_root_read(root, path, MAX_NUMA_MAPS_BYTES, &text, &len, error) &&
           hn_numa_maps_parse(text, len, host, regions, n_regions, NULL, error);
}
