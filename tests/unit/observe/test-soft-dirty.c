/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Soft-dirty bits: entries of pagemap as numbers, files that stand for a process, and this process itself.
 */
#include "observe/soft-dirty.h"
#include "scratch.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)
#define PRESENT ((uint64_t)1 << 63)
#define SWAPPED ((uint64_t)1 << 62)
#define DIRTY ((uint64_t)1 << 55)
#define PID "4711"

/* A guest with one region of 8 MiB at 4 MiB, in 4 chunks, and as many more as are asked for. */
static HnDomain *guest_new(uint32_t n_regions)
{
    HnDomain *domain = hn_domain_new(1);

    for (uint32_t i = 0; i < n_regions; i++) {
        HnRegion *region = hn_domain_add_region(domain, 1);

        region->hva_start = (4 + 16 * i) * MIB;
        region->length_bytes = 8 * MIB;
        region->page_bytes = 4096;
        region->chunk_bytes = 2 * MIB;
        region->n_chunks = 4;
        region->chunks = g_new0(HnChunk, 4);
    }
    return domain;
}

static void test_count(void)
{
    const uint64_t entries[] = {
        PRESENT | DIRTY, PRESENT,
        DIRTY,           /* absent: its mapping's bit, not a page's */
        SWAPPED | DIRTY, /* written, and swapped out since */
        SWAPPED,         0,
        UINT64_MAX,      /* every bit there is */
    };
    g_autofree uint64_t *chunks = g_new0(uint64_t, 2);
    HnWritten written = {.chunk_bytes = 3 * 4096, .n_chunks = 2, .chunk_written = chunks};

    hn_pagemap_count(entries, G_N_ELEMENTS(entries), 4096, 0, &written);
    g_assert_cmpuint(written.present_bytes, ==, 2 * 4096);
    g_assert_cmpuint(written.written_bytes, ==, 2 * 4096);
    g_assert_cmpuint(chunks[0], ==, 4096);
    g_assert_cmpuint(chunks[1], ==, 4096); /* the last entry lies behind the last chunk */
    hn_pagemap_count(entries, 1, 4096, 5 * 4096, &written); /* goes on where it left off */
    g_assert_cmpuint(chunks[1], ==, 2 * 4096);
}

static void test_refusals(void)
{
    g_autoptr(HnDomain) none = guest_new(0), plain = guest_new(1), huge = guest_new(2), large = guest_new(2);
    g_autofree char *no_ram = hn_soft_dirty_refusal(none), *good = hn_soft_dirty_refusal(plain);

    g_assert_nonnull(strstr(no_ram, "not found"));
    g_assert_null(good);
    plain->regions[0].n_chunks = 0;
    g_autofree char *unprobed = hn_soft_dirty_refusal(plain);
    g_assert_nonnull(strstr(unprobed, "not probed"));
    huge->regions[0].backing = huge->regions[1].backing = HN_BACKING_HUGETLB;
    g_autofree char *hugetlb = hn_soft_dirty_refusal(huge);
    g_assert_nonnull(strstr(hugetlb, "hugetlb"));
    huge->regions[1].backing = HN_BACKING_ANON; /* the other region can be looked at */
    g_autofree char *half = hn_soft_dirty_refusal(huge);
    g_assert_null(half);
    /* 16 GiB of small pages are the most; of huge pages it is no more than 8 Ki entries. */
    large->regions[0].length_bytes = large->regions[1].length_bytes = 8192 * MIB;
    g_autofree char *most = hn_soft_dirty_refusal(large);
    g_assert_null(most);
    large->regions[0].length_bytes += 2 * MIB;
    g_autofree char *too_large = hn_soft_dirty_refusal(large);
    g_assert_nonnull(strstr(too_large, "4194816 pages"));
    large->regions[0].is_thp = large->regions[1].is_thp = true;
    g_autofree char *thp = hn_soft_dirty_refusal(large);
    g_assert_null(thp);
}

/* ---- files that stand for a process ---- */

typedef struct {
    char *dir;
    HnRoot *root;
} Fixture;

static char *path_of(Fixture *f, const char *path)
{
    g_autofree char *full = g_build_filename(f->dir, path, NULL);
    g_autofree char *parent = g_path_get_dirname(full);

    g_assert_cmpint(g_mkdir_with_parents(parent, 0755), ==, 0);
    return g_steal_pointer(&full);
}

/* The pages [first, first + n) of pagemap get that entry. */
static void put_entries(Fixture *f, uint64_t first, guint n, uint64_t entry)
{
    g_autofree char *full = path_of(f, "proc/" PID "/pagemap");
    int fd = g_open(full, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    g_assert_cmpint(fd, >=, 0);
    for (guint i = 0; i < n; i++)
        g_assert_cmpint(pwrite(fd, &entry, sizeof entry, (off_t)((first + i) * sizeof entry)), ==, sizeof entry);
    close(fd);
}

static void put_smaps(Fixture *f, const char *flags)
{
    g_autofree char *text =
        g_strdup_printf("400000-c00000 rw-p 00000000 00:00 0 \nRss: 8192 kB\nVmFlags: rd wr %s \n"
                        "1400000-1c00000 rw-p 00000000 00:00 0 \nRss: 8192 kB\nVmFlags: rd wr ht \n",
                        flags);

    scratch_put(f->dir, "proc/" PID "/smaps", text);
}

static void setup(Fixture *f, gconstpointer data)
{
    f->dir = g_dir_make_tmp("hn-soft-dirty-XXXXXX", NULL);
    f->root = hn_root_open_scratch(f->dir, NULL);
    g_assert_nonnull(f->root);
}

static void teardown(Fixture *f, gconstpointer data)
{
    hn_root_free(f->root);
    scratch_remove(f->dir);
    g_free(f->dir);
}

static void test_read(Fixture *f, gconstpointer data)
{
    g_autoptr(HnDomain) domain = guest_new(2);
    g_autoptr(GError) error = NULL;

    domain->regions[1].backing = HN_BACKING_HUGETLB;
    g_assert_null(hn_soft_dirty_read(f->root, 4711, domain, &error)); /* no such process */
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT);
    g_clear_error(&error);
    put_entries(f, 1024, 2048, PRESENT);        /* 4 MiB … 12 MiB */
    put_entries(f, 1024 + 512, 300, PRESENT | DIRTY);
    put_entries(f, 1024 + 2047, 1, PRESENT | DIRTY);
    put_smaps(f, "");
    {
        g_autoptr(GPtrArray) all = hn_soft_dirty_read(f->root, 4711, domain, &error);

        g_assert_no_error(error);
        g_assert_cmpuint(all->len, ==, 2);
        const HnWritten *written = all->pdata[0], *other = all->pdata[1];
        g_assert_null(written->left_out);
        g_assert_cmpuint(written->present_bytes, ==, 8 * MIB);
        g_assert_cmpuint(written->written_bytes, ==, 301 * 4096);
        g_assert_cmpuint(written->chunk_written[0], ==, 0);
        g_assert_cmpuint(written->chunk_written[1], ==, 300 * 4096);
        g_assert_cmpuint(written->chunk_written[3], ==, 4096);
        g_assert_cmpstr(other->left_out, ==, "hugetlb");
    }
    put_smaps(f, "sd"); /* changed meanwhile: all of it counts as written, so nothing is known */
    {
        g_autoptr(GPtrArray) all = hn_soft_dirty_read(f->root, 4711, domain, &error);

        g_assert_no_error(error);
        g_assert_cmpstr(((const HnWritten *)all->pdata[0])->left_out, ==, "whole-mapping");
    }
    domain->regions[0].hva_start = 600 * MIB; /* behind the end of the file: told, not guessed */
    g_assert_null(hn_soft_dirty_read(f->root, 4711, domain, &error));
    g_assert_nonnull(error);
}

static void test_clear(Fixture *f, gconstpointer data)
{
    g_autoptr(HnRoot) captured = hn_root_open(f->dir, NULL);
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;

    g_assert_false(hn_soft_dirty_clear(f->root, 4711, &error));
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT);
    g_clear_error(&error);
    scratch_put(f->dir, "proc/" PID "/clear_refs", "");
    g_assert_true(hn_soft_dirty_clear(f->root, 4711, &error));
    g_assert_true(hn_root_read(f->root, "proc/" PID "/clear_refs", 10, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "4");
    g_assert_false(hn_soft_dirty_clear(captured, 4711, &error)); /* a captured machine is never written to */
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_ROFS);
    bool is_kept;
    g_clear_error(&error);
    g_assert_false(hn_soft_dirty_is_kept(f->root, &is_kept, &error)); /* no pagemap */
    g_assert_nonnull(error);
}

/* The real thing: exactly what was written, or, on a kernel that keeps no bits, nothing at all, which is why that is
 * asked first. */
static void test_this_process(void)
{
    g_autoptr(HnRoot) root = hn_root_open("/", NULL);
    g_autoptr(HnDomain) domain = guest_new(1);
    g_autoptr(GError) error = NULL;
    uint64_t size = (uint64_t)sysconf(_SC_PAGESIZE);
    char *ram = mmap(NULL, 10 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool is_kept = false;

    g_assert_true(ram != MAP_FAILED);
    madvise(ram, 10 * MIB, MADV_NOHUGEPAGE);
    memset(ram, 1, 10 * MIB);
    g_assert_true(hn_soft_dirty_is_kept(root, &is_kept, &error));
    g_assert_no_error(error);
    domain->regions[0].hva_start = (uintptr_t)ram;
    g_assert_true(hn_soft_dirty_clear(root, getpid(), &error));
    g_assert_no_error(error);
    for (uint64_t i = 0; i < 100; i++)
        ((volatile char *)ram)[3 * MIB + i * size] = 2;
    (void)((volatile char *)ram)[7 * MIB]; /* read, not written */
    g_autoptr(GPtrArray) all = hn_soft_dirty_read(root, getpid(), domain, &error);
    g_assert_no_error(error);
    const HnWritten *written = all->pdata[0];
    g_assert_null(written->left_out);
    g_assert_cmpuint(written->present_bytes, ==, 8 * MIB);
    g_assert_cmpuint(written->written_bytes, ==, is_kept ? 100 * size : 0);
    g_assert_cmpuint(written->chunk_written[3], ==, 0);
    g_test_message("this kernel %s soft-dirty bits", is_kept ? "keeps" : "keeps no");
    munmap(ram, 10 * MIB);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/observe/soft-dirty/count", test_count);
    g_test_add_func("/observe/soft-dirty/refusals", test_refusals);
    g_test_add("/observe/soft-dirty/read", Fixture, NULL, setup, test_read, teardown);
    g_test_add("/observe/soft-dirty/clear", Fixture, NULL, setup, test_clear, teardown);
    g_test_add_func("/observe/soft-dirty/this-process", test_this_process);
    return g_test_run();
}
