/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Room on a node; see room.h.
 */
#include "room.h"

#include "observe/text.h"

#define MAX_FILE_BYTES 65536

bool hn_room_parse_meminfo(const char *text, size_t len, uint64_t *ret_free_bytes, uint64_t *ret_clean_bytes,
                           GError **error)
{
    enum { FREE, INACTIVE_FILE, DIRTY, WRITEBACK, N_NAMES };
    static const char *const names[N_NAMES] = {"MemFree:", "Inactive(file):", "Dirty:", "Writeback:"};
    HnText all = hn_text(text, len), line, word;
    uint64_t bytes[N_NAMES] = {0};
    bool has_free = false;

    while (hn_text_line(&all, &line)) {
        const HnText whole = line;
        uint64_t kib;
        guint i;

        /* "Node 0 MemFree:        123 kB" */
        if (!hn_text_word(&line, &word) || !hn_text_word(&line, &word) || !hn_text_word(&line, &word))
            continue;
        for (i = 0; i < N_NAMES && !hn_text_equal(&word, names[i]); i++)
            ;
        if (i == N_NAMES)
            continue;
        hn_text_skip_blanks(&line);
        if (!hn_text_u64(&line, &kib) || kib > UINT64_MAX / 1024 || !hn_text_take(&line, " kB"))
            return hn_text_fail(error, "node meminfo", "no size in kB", &whole);
        bytes[i] = kib * 1024;
        has_free |= i == FREE;
    }
    if (!has_free) {
        all = hn_text(text, len);
        return hn_text_fail(error, "node meminfo", "no MemFree", &all);
    }
    *ret_free_bytes = bytes[FREE];
    *ret_clean_bytes = bytes[INACTIVE_FILE] - MIN(bytes[INACTIVE_FILE], bytes[DIRTY]);
    *ret_clean_bytes -= MIN(*ret_clean_bytes, bytes[WRITEBACK]);
    return true;
}

static uint64_t read_pool_bytes(const HnRoot *root, int32_t node_id, uint64_t page_bytes)
{
    g_autofree char *path = g_strdup_printf("sys/devices/system/node/node%d/hugepages/hugepages-%" G_GUINT64_FORMAT
                                            "kB/free_hugepages",
                                            node_id, page_bytes / 1024);
    g_autofree char *text = NULL;
    uint64_t n_pages = 0;
    size_t len;
    HnText cursor;

    if (!hn_root_read(root, path, MAX_FILE_BYTES, &text, &len, NULL))
        return 0; /* no pool of that size */
    cursor = hn_text(text, len);
    if (!hn_text_u64(&cursor, &n_pages) || n_pages > UINT64_MAX / page_bytes)
        return 0;
    return n_pages * page_bytes;
}

bool hn_room_read(const HnRoot *root, int32_t node_id, uint64_t watermark_bytes, uint64_t hugetlb_page_bytes,
                  uint64_t small_bytes, const HnLimits *limits, uint64_t *ret_room_bytes, GError **error)
{
    g_autofree char *path = g_strdup_printf("sys/devices/system/node/node%d/meminfo", node_id);
    g_autofree char *text = NULL;
    uint64_t free_bytes, clean_bytes, sum_bytes, kept_bytes = watermark_bytes + limits->headroom_bytes;
    size_t len;

    if (!hn_root_read(root, path, MAX_FILE_BYTES, &text, &len, error) ||
        !hn_room_parse_meminfo(text, len, &free_bytes, &clean_bytes, error))
        return false;
    *ret_room_bytes = free_bytes > kept_bytes ? free_bytes - kept_bytes : 0;
    sum_bytes = free_bytes + clean_bytes;
    if (hugetlb_page_bytes != 0)
        *ret_room_bytes += read_pool_bytes(root, node_id, hugetlb_page_bytes);
    else if (*ret_room_bytes < small_bytes && sum_bytes > kept_bytes)
        *ret_room_bytes = MIN(sum_bytes - kept_bytes, small_bytes);
    return true;
}
