/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Room on a node; see room.h.
 */
#include "room.h"

#include "observe/text.h"

#define MAX_FILE_BYTES 65536

bool hn_room_parse_meminfo(const char *text, size_t len, uint64_t *ret_free_bytes, GError **error)
{
    HnText all = hn_text(text, len), line, word;
    uint64_t kib;

    while (hn_text_line(&all, &line)) {
        const HnText whole = line;

        /* "Node 0 MemFree:        123 kB" */
        if (!hn_text_word(&line, &word) || !hn_text_word(&line, &word) || !hn_text_word(&line, &word) ||
            !hn_text_equal(&word, "MemFree:"))
            continue;
        hn_text_skip_blanks(&line);
        if (!hn_text_u64(&line, &kib) || kib > UINT64_MAX / 1024 || !hn_text_take(&line, " kB"))
            return hn_text_fail(error, "node meminfo", "no size in kB", &whole);
        *ret_free_bytes = kib * 1024;
        return true;
    }
    all = hn_text(text, len);
    return hn_text_fail(error, "node meminfo", "no MemFree", &all);
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
                  const HnLimits *limits, uint64_t *ret_room_bytes, GError **error)
{
    g_autofree char *path = g_strdup_printf("sys/devices/system/node/node%d/meminfo", node_id);
    g_autofree char *text = NULL;
    uint64_t free_bytes, kept_bytes = watermark_bytes + limits->headroom_bytes;
    size_t len;

    if (!hn_root_read(root, path, MAX_FILE_BYTES, &text, &len, error) ||
        !hn_room_parse_meminfo(text, len, &free_bytes, error))
        return false;
    *ret_room_bytes = free_bytes > kept_bytes ? free_bytes - kept_bytes : 0;
    if (hugetlb_page_bytes != 0)
        *ret_room_bytes += read_pool_bytes(root, node_id, hugetlb_page_bytes);
    return true;
}
