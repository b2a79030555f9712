/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which pages were written: see soft-dirty.h.
 */
#include "observe/soft-dirty.h"
#include "observe/regions.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_PRESENT ((uint64_t)1 << 63)
#define PAGEMAP_SWAPPED ((uint64_t)1 << 62)
#define PAGEMAP_SOFT_DIRTY ((uint64_t)1 << 55)
#define BATCH_ENTRIES 8192
#define HUGE_BYTES ((uint64_t)2 << 20)

void hn_written_free(HnWritten *written)
{
    if (!written)
        return;
    g_free(written->chunk_written);
    g_free(written);
}

static uint64_t page_bytes(void)
{
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

static bool set_error(GError **error, int saved_errno, const char *path)
{
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(saved_errno), "cannot read %s: %s", path,
                g_strerror(saved_errno));
    return false;
}

/* Entries [first, first + n); fewer at the end of the address space are an error. */
static bool read_entries(int fd, uint64_t first, size_t n, uint64_t *entries, const char *path, GError **error)
{
    size_t done = 0;

    while (done < n * sizeof *entries) {
        ssize_t got = pread(fd, (char *)entries + done, n * sizeof *entries - done,
                            (off_t)(first * sizeof *entries + done));

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return set_error(error, got < 0 ? errno : EIO, path);
        done += (size_t)got;
    }
    return true;
}

bool hn_soft_dirty_is_kept(const HnRoot *root, bool *ret_is_kept, GError **error)
{
    uint64_t size = page_bytes(), entry = 0;
    char *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd;
    bool is_good;

    if (page == MAP_FAILED)
        return set_error(error, errno, "a page of memory");
    *(volatile char *)page = 1;
    fd = hn_root_open_file(root, "proc/self/pagemap", error);
    is_good = fd >= 0 && read_entries(fd, (uintptr_t)page / size, 1, &entry, "proc/self/pagemap", error);
    if (fd >= 0)
        close(fd);
    munmap(page, size);
    if (is_good) /* a new mapping counts as written */
        *ret_is_kept = (entry & PAGEMAP_SOFT_DIRTY) != 0;
    return is_good;
}

char *hn_soft_dirty_refusal(const HnDomain *domain)
{
    uint64_t n_entries = 0;
    bool is_all_hugetlb = true;

    if (domain->n_regions == 0)
        return g_strdup("its RAM was not found");
    for (uint32_t i = 0; i < domain->n_regions; i++) {
        const HnRegion *region = &domain->regions[i];

        if (region->backing == HN_BACKING_HUGETLB)
            continue;
        is_all_hugetlb = false;
        if (region->n_chunks == 0)
            return g_strdup("its RAM was not probed yet");
        n_entries += region->length_bytes / (region->is_thp ? HUGE_BYTES : page_bytes());
    }
    if (is_all_hugetlb)
        return g_strdup("the kernel keeps no soft-dirty bits of hugetlb pages");
    if (n_entries > HN_SOFT_DIRTY_MAX_ENTRIES)
        return g_strdup_printf("clearing the bits of %" G_GUINT64_FORMAT " pages would stall it: at most "
                               "%" G_GUINT64_FORMAT " are allowed",
                               n_entries, HN_SOFT_DIRTY_MAX_ENTRIES);
    return NULL;
}

bool hn_soft_dirty_clear(const HnRoot *root, int64_t pid, GError **error)
{
    g_autofree char *path = g_strdup_printf("proc/%" G_GINT64_FORMAT "/clear_refs", pid);

    return hn_root_write(root, path, "4", error);
}

void hn_pagemap_count(const uint64_t *entries, size_t n_entries, uint64_t size, uint64_t offset_bytes,
                      HnWritten *written)
{
    for (size_t i = 0; i < n_entries; i++, offset_bytes += size) {
        uint64_t chunk = offset_bytes / written->chunk_bytes;

        /* The bit of a page that is absent is its mapping's. */
        if (!(entries[i] & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED)) || chunk >= written->n_chunks)
            continue;
        written->present_bytes += entries[i] & PAGEMAP_PRESENT ? size : 0;
        if (!(entries[i] & PAGEMAP_SOFT_DIRTY))
            continue;
        written->written_bytes += size;
        written->chunk_written[chunk] += size;
    }
}

static bool read_region(int fd, const char *path, const HnRegion *region, HnWritten *written, GError **error)
{
    g_autofree uint64_t *entries = g_new(uint64_t, BATCH_ENTRIES);
    uint64_t size = page_bytes();
    uint64_t n_pages = region->length_bytes / size;

    for (uint64_t at = 0; at < n_pages; at += BATCH_ENTRIES) {
        size_t n = (size_t)MIN(n_pages - at, BATCH_ENTRIES);

        if (!read_entries(fd, region->hva_start / size + at, n, entries, path, error))
            return false;
        hn_pagemap_count(entries, n, size, at * size, written);
    }
    return true;
}

static const HnMapping *find_mapping(const GArray *mappings, uint64_t hva)
{
    for (guint i = 0; i < mappings->len; i++) {
        const HnMapping *mapping = &g_array_index(mappings, HnMapping, i);

        if (mapping->start <= hva && hva < mapping->end)
            return mapping;
    }
    return NULL;
}

GPtrArray *hn_soft_dirty_read(const HnRoot *root, int64_t pid, const HnDomain *domain, GError **error)
{
    g_autofree char *path = g_strdup_printf("proc/%" G_GINT64_FORMAT "/pagemap", pid);
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func((GDestroyNotify)hn_written_free);
    g_autoptr(GArray) mappings = NULL;
    int fd = hn_root_open_file(root, path, error);
    bool is_good = fd >= 0;

    for (uint32_t i = 0; is_good && i < domain->n_regions; i++) {
        const HnRegion *region = &domain->regions[i];
        HnWritten *written = g_new0(HnWritten, 1);

        g_ptr_array_add(all, written);
        written->region = i;
        if (region->backing == HN_BACKING_HUGETLB) {
            written->left_out = "hugetlb";
            continue;
        }
        written->chunk_bytes = region->chunk_bytes;
        written->n_chunks = region->n_chunks;
        written->chunk_written = g_new0(uint64_t, region->n_chunks);
        is_good = read_region(fd, path, region, written, error);
    }
    if (fd >= 0)
        close(fd);
    /* The flags after the bits: what was flagged meanwhile is not believed. */
    if (!is_good || !(mappings = hn_smaps_read(root, pid, error)))
        return NULL;
    for (guint i = 0; i < all->len; i++) {
        HnWritten *written = g_ptr_array_index(all, i);
        const HnMapping *mapping = find_mapping(mappings, domain->regions[written->region].hva_start);

        if (!written->left_out && (!mapping || mapping->is_soft_dirty))
            written->left_out = "whole-mapping";
    }
    return g_steal_pointer(&all);
}
