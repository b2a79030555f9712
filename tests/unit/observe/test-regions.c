/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which mappings are guest RAM, whose they are, and exact translation of addresses. */
#include "observe/regions.h"

#include <string.h>

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* A mapping in smaps' words. */
static void add_mapping(GString *smaps, uint64_t start, uint64_t length_bytes, const char *perms,
                        uint64_t inode, const char *name, const char *flags)
{
    g_string_append_printf(
        smaps,
        "%" G_GINT64_MODIFIER "x-%" G_GINT64_MODIFIER "x %s 00000000 00:01 %" G_GUINT64_FORMAT
        "   %s\nSize:  %" G_GUINT64_FORMAT " kB\nKernelPageSize:        4 kB\nRss:    1024 kB\n"
        "AnonHugePages:         0 kB\nVmFlags: %s \n",
        start, start + length_bytes, perms, inode, name, length_bytes / 1024, flags);
}

#define RAM "rd wr mr mw me dc ac sd hg mg"

typedef struct {
    GString *smaps;
    HnDomainInfo info;
    HnRegionMap map;
} Guest;

static void guest_init(Guest *guest, const char *machine_type)
{
    *guest = (Guest){.smaps = g_string_new(NULL)};
    guest->info.machine_type = (char *)machine_type;
    guest->info.memory = g_ptr_array_new_with_free_func(g_free);
}

static void guest_add(Guest *guest, const char *object_id, int32_t cell, uint64_t length_bytes,
                      uint64_t gpa_base)
{
    HnMemoryInfo *memory = g_new0(HnMemoryInfo, 1);

    memory->object_id = (char *)object_id;
    memory->guest_cell = cell;
    memory->length_bytes = length_bytes;
    memory->gpa_base = gpa_base;
    guest->info.configured_bytes += length_bytes;
    g_ptr_array_add(guest->info.memory, memory);
}

static void guest_match(Guest *guest)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) mappings = hn_smaps_parse(guest->smaps->str, guest->smaps->len, &error);

    g_assert_no_error(error);
    hn_regions_match(mappings, &guest->info, 2, &guest->map);
}

static void guest_clear(Guest *guest)
{
    g_string_free(guest->smaps, TRUE);
    g_ptr_array_unref(guest->info.memory);
    hn_region_map_clear(&guest->map);
}

static const HnRegion *region_of_cell(const Guest *guest, int32_t cell)
{
    for (uint32_t i = 0; i < guest->map.n_regions; i++)
        if (guest->map.regions[i].guest_cell == cell)
            return &guest->map.regions[i];
    g_assert_not_reached();
}

static void test_smaps(void)
{
    static const char *const bad[] = {
        "Rss: 4 kB\n",                         /* before any mapping */
        "zzz-7f rw-p 0 0:0 0\n",               /* no address */
        "7f00-7e00 rw-p 0 0:0 0\n",            /* ends before it begins */
        "7f00-7f10 rw-p 0 0:0 0\nRss: x kB\n", /* no number */
        "7f00-7f10 rw-p 0 0:0 0\nRss: 99999999999999999999 kB\n",
        "7f00-7f10 rw 0 0:0 0\n",
    };
    static const char good[] =
        "7f0000000000-7f0000200000 rw-s 00000000 00:01 2049   /memfd:memory-backend-memfd "
        "(deleted)\n"
        "Rss:                 1024 kB\nShmemPmdMapped:        512 kB\nKernelPageSize:        4 kB\n"
        "FutureKey:   whatever\nVmFlags: rd wr sh mr mw me ms dc hg \n"
        "7ffe00000000-7ffe00021000 rw-p 00000000 00:00 0                          [stack]\n";
    g_autoptr(GArray) mappings = hn_smaps_parse(good, strlen(good), NULL);
    const HnMapping *first;

    g_assert_cmpuint(mappings->len, ==, 2);
    first = &g_array_index(mappings, HnMapping, 0);
    g_assert_cmphex(first->start, ==, 0x7f0000000000);
    g_assert_cmpuint(first->end - first->start, ==, 2 * MIB);
    g_assert_true(first->is_shared && first->is_writable && first->is_dontcopy &&
                  first->is_hugepage_advised);
    g_assert_cmpuint(first->inode, ==, 2049);
    g_assert_cmpstr(first->name, ==, "/memfd:memory-backend-memfd (deleted)");
    g_assert_cmpuint(first->rss_bytes, ==, MIB);
    g_assert_cmpuint(first->huge_bytes, ==, MIB / 2);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(hn_smaps_parse(bad[i], strlen(bad[i]), &error));
        g_assert_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX);
    }
}

/* Equal anonymous cells: the first created lies highest. Video RAM carries the same flags and is no
 * cell. */
static void test_anonymous_cells(void)
{
    Guest guest;

    guest_init(&guest, "pc-i440fx-10.0");
    add_mapping(guest.smaps, 0x7f8527c00000, 64 * MIB, "rw-p", 0, "", RAM);
    add_mapping(guest.smaps, 0x7f852be00000, 64 * MIB, "rw-p", 0, "", RAM);
    add_mapping(guest.smaps, 0x7f8540000000, 16 * MIB, "rw-p", 0, "", RAM); /* vga.vram */
    add_mapping(guest.smaps, 0x7f8550000000, 64 * MIB, "rw-p", 0, "",
                "rd wr mr ac"); /* a heap as large */
    guest_add(&guest, "ram-node0", 0, 64 * MIB, UINT64_MAX);
    guest_add(&guest, "ram-node1", 1, 64 * MIB, UINT64_MAX);
    guest_match(&guest);
    g_assert_null(guest.map.problem);
    g_assert_cmpuint(guest.map.n_regions, ==, 2);
    g_assert_cmphex(region_of_cell(&guest, 0)->hva_start, ==, 0x7f852be00000);
    g_assert_cmphex(region_of_cell(&guest, 1)->hva_start, ==, 0x7f8527c00000);
    g_assert_cmphex(region_of_cell(&guest, 1)->gpa_base, ==, 64 * MIB);
    g_assert_false(region_of_cell(&guest, 0)->is_ambiguous);
    guest_clear(&guest);
}

static void test_memfd_cells(void)
{
    Guest guest;

    guest_init(&guest, "pc-q35-10.0");
    /* Addresses tell the wrong order; inodes tell the right one. */
    add_mapping(guest.smaps, 0x7f8527c00000, 64 * MIB, "rw-s", 20,
                "/memfd:memory-backend-memfd (deleted)", RAM);
    add_mapping(guest.smaps, 0x7f852be00000, 64 * MIB, "rw-s", 21,
                "/memfd:memory-backend-memfd (deleted)", RAM);
    guest_add(&guest, "ram-node0", 0, 64 * MIB, UINT64_MAX);
    guest_add(&guest, "ram-node1", 1, 64 * MIB, UINT64_MAX);
    guest_match(&guest);
    g_assert_cmphex(region_of_cell(&guest, 0)->hva_start, ==, 0x7f8527c00000);
    g_assert_cmpint(region_of_cell(&guest, 0)->backing, ==, HN_BACKING_MEMFD);
    g_assert_cmpint(region_of_cell(&guest, 0)->movability, ==, HN_MOVABLE_SHARED);
    g_assert_false(region_of_cell(&guest, 0)->is_ambiguous);
    guest_clear(&guest);
    /* Inodes of different batches, drawn on different CPUs: they may rise by chance, as here, … */
    guest_init(&guest, "pc-q35-10.0");
    add_mapping(guest.smaps, 0x7f8527c00000, 64 * MIB, "rw-s", 5000,
                "/memfd:memory-backend-memfd (deleted)", RAM);
    add_mapping(guest.smaps, 0x7f852be00000, 64 * MIB, "rw-s", 21,
                "/memfd:memory-backend-memfd (deleted)", RAM);
    guest_add(&guest, "ram-node0", 0, 64 * MIB, UINT64_MAX);
    guest_add(&guest, "ram-node1", 1, 64 * MIB, UINT64_MAX);
    guest_match(&guest);
    g_assert_cmphex(region_of_cell(&guest, 0)->hva_start, ==, 0x7f852be00000);
    g_assert_false(region_of_cell(&guest, 0)->is_ambiguous);
    guest_clear(&guest);
    /* … or contradict the addresses: then nobody knows. */
    guest_init(&guest, "pc-q35-10.0");
    add_mapping(guest.smaps, 0x7f8527c00000, 64 * MIB, "rw-s", 21,
                "/memfd:memory-backend-memfd (deleted)", RAM);
    add_mapping(guest.smaps, 0x7f852be00000, 64 * MIB, "rw-s", 5000,
                "/memfd:memory-backend-memfd (deleted)", RAM);
    guest_add(&guest, "ram-node0", 0, 64 * MIB, UINT64_MAX);
    guest_add(&guest, "ram-node1", 1, 64 * MIB, UINT64_MAX);
    guest_match(&guest);
    g_assert_cmphex(region_of_cell(&guest, 0)->hva_start, ==, 0x7f852be00000);
    g_assert_true(region_of_cell(&guest, 0)->is_ambiguous);
    g_assert_true(region_of_cell(&guest, 1)->is_ambiguous);
    guest_clear(&guest);
}

/* hugetlbfs files carry the object's name: it overrules any order. Lengths are rounded up to a
 * page. */
static void test_named_cells(void)
{
    Guest guest;

    guest_init(&guest, "pc-q35-10.0");
    add_mapping(guest.smaps, 0x7f8520000000, 64 * MIB, "rw-p", 31,
                "/dev/hugepages/libvirt/qemu/1-web/qemu_back_mem.ram-node1.aB3dE6 (deleted)",
                "rd wr mr mw me dc de ht");
    add_mapping(guest.smaps, 0x7f8530000000, 64 * MIB, "rw-p", 30,
                "/dev/hugepages/libvirt/qemu/1-web/qemu_back_mem.ram-node10.aB3dE6 (deleted)",
                "rd wr mr mw me dc de ht");
    guest_add(&guest, "ram-node10", 10, 64 * MIB, UINT64_MAX);
    guest_add(&guest, "ram-node1", 1, 64 * MIB, UINT64_MAX);
    guest_match(&guest);
    g_assert_cmphex(region_of_cell(&guest, 1)->hva_start, ==, 0x7f8520000000);
    g_assert_cmphex(region_of_cell(&guest, 10)->hva_start, ==, 0x7f8530000000);
    g_assert_cmpint(region_of_cell(&guest, 1)->backing, ==, HN_BACKING_HUGETLB);
    g_assert_false(region_of_cell(&guest, 1)->is_ambiguous);
    guest_clear(&guest);
}

/* A hot-plugged dimm as large as the cells: nothing tells it from them. */
static void test_ambiguous(void)
{
    Guest guest;

    guest_init(&guest, "pc-q35-10.0");
    add_mapping(guest.smaps, 0x7f8520000000, 64 * MIB, "rw-p", 0, "", RAM);
    add_mapping(guest.smaps, 0x7f8530000000, 64 * MIB, "rw-p", 0, "", RAM);
    guest_add(&guest, "ram-node0", 0, 64 * MIB, UINT64_MAX);
    guest_add(&guest, "memdimm0", 1, 64 * MIB, 4 * GIB);
    guest_match(&guest);
    g_assert_true(region_of_cell(&guest, 0)->is_ambiguous);
    g_assert_true(region_of_cell(&guest, 1)->is_ambiguous);
    g_assert_cmphex(region_of_cell(&guest, 1)->gpa_base, ==, 4 * GIB);
    guest_clear(&guest);
    /* … but a dimm of another size is certain. */
    guest_init(&guest, "pc-q35-10.0");
    add_mapping(guest.smaps, 0x7f8520000000, 64 * MIB, "rw-p", 0, "", RAM);
    add_mapping(guest.smaps, 0x7f8530000000, 32 * MIB, "rw-p", 0, "", RAM);
    guest_add(&guest, "ram-node0", 0, 64 * MIB, UINT64_MAX);
    guest_add(&guest, "memdimm0", 1, 32 * MIB, 4 * GIB);
    guest_match(&guest);
    g_assert_false(region_of_cell(&guest, 0)->is_ambiguous);
    g_assert_false(region_of_cell(&guest, 1)->is_ambiguous);
    guest_clear(&guest);
}

/* mlock of a part splits a mapping: the pieces are one region. Video RAM as large as the cell:
 * ambiguous. */
static void test_split_and_twin(void)
{
    Guest guest;

    guest_init(&guest, "pc-q35-10.0");
    add_mapping(guest.smaps, 0x7f8520000000, 16 * MIB, "rw-p", 0, "", RAM " lo");
    add_mapping(guest.smaps, 0x7f8521000000, 48 * MIB, "rw-p", 0, "", RAM);
    guest_add(&guest, "pc.ram", -1, 64 * MIB, UINT64_MAX);
    guest_match(&guest);
    g_assert_null(guest.map.problem);
    g_assert_cmphex(guest.map.regions[0].hva_start, ==, 0x7f8520000000);
    guest_clear(&guest);
    guest_init(&guest, "pc-q35-10.0");
    add_mapping(guest.smaps, 0x7f8520000000, 16 * MIB, "rw-p", 0, "",
                RAM); /* vga.vram, made later */
    add_mapping(guest.smaps, 0x7f8530000000, 16 * MIB, "rw-p", 0, "", RAM);
    guest_add(&guest, "pc.ram", -1, 16 * MIB, UINT64_MAX);
    guest_match(&guest);
    g_assert_cmphex(guest.map.regions[0].hva_start, ==, 0x7f8530000000);
    g_assert_true(guest.map.regions[0].is_ambiguous);
    guest_clear(&guest);
}

static void test_missing(void)
{
    Guest guest;

    guest_init(&guest, "pc-q35-10.0");
    add_mapping(guest.smaps, 0x7f8520000000, 64 * MIB, "rw-p", 0, "", RAM);
    guest_add(&guest, "ram-node0", 0, 64 * MIB, UINT64_MAX);
    guest_add(&guest, "ram-node1", 1, 128 * MIB, UINT64_MAX);
    guest_match(&guest);
    g_assert_cmpuint(guest.map.n_regions, ==, 1);
    g_assert_nonnull(strstr(guest.map.problem, "192 MiB"));
    g_assert_nonnull(strstr(guest.map.problem, "64 MiB"));
    guest_clear(&guest);
    /* no mapping at all, and no list of memory: configured_bytes is what is expected */
    guest_init(&guest, NULL);
    guest.info.configured_bytes = 64 * MIB;
    guest_match(&guest);
    g_assert_cmpuint(guest.map.n_regions, ==, 0);
    g_assert_nonnull(guest.map.problem);
    guest_clear(&guest);
}

/* A kernel without transparent huge pages never shows "hg". */
static void test_without_hugepage_flag(void)
{
    Guest guest;

    guest_init(&guest, "pc");
    add_mapping(guest.smaps, 0x7f8520000000, 64 * MIB, "rw-p", 0, "", "rd wr mr mw me dc ac");
    guest_add(&guest, "pc.ram", -1, 64 * MIB, UINT64_MAX);
    guest_match(&guest);
    g_assert_null(guest.map.problem);
    guest_clear(&guest);
}

static void test_layout(void)
{
    static const struct {
        const char *machine;
        uint64_t boot_bytes, base, hole_start;
        bool is_certain;
    } cases[] = {
        {"pc-q35-10.0", GIB, 0, 0, true},
        {"pc-q35-10.0", 0xb0000000 - MIB, 0, 0, true},
        {"pc-q35-10.0", 0xb0000000, 0, 0x80000000, true},
        {"pc-q35-10.0", 8 * GIB, 0, 0x80000000, true},
        {"q35", 8 * GIB, 0, 0x80000000, true},
        {"pc-i440fx-10.0", 3 * GIB, 0, 0, true},
        {"pc-i440fx-10.0", 0xe0000000 - MIB, 0, 0, true},
        {"pc-i440fx-10.0", 0xe0000000, 0, 0xc0000000, true},
        {"pc", 8 * GIB, 0, 0xc0000000, true},
        {"virt-10.0", 64 * GIB, GIB, 0, true},
        {"pc-q35-10.0", 2048 * GIB, 0, 0x80000000, false}, /* AMD guests differ there */
        {"microvm", 2 * GIB, 0, 0, true},
        {"microvm", 8 * GIB, 0, 0xc0000000, false},
        {NULL, 8 * GIB, 0, 0xc0000000, false},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        HnGpaLayout layout = hn_gpa_layout(cases[i].machine, cases[i].boot_bytes);

        g_assert_cmphex(layout.ram_base, ==, cases[i].base);
        g_assert_cmphex(layout.hole_start, ==, cases[i].hole_start);
        g_assert_cmphex(layout.hole_end, ==, cases[i].hole_start ? 4 * GIB : 0);
        g_assert_cmpint(layout.is_certain, ==, cases[i].is_certain);
    }
}

/* Two cells of 2 GiB and a dimm on q35: the hole at 2 GiB falls exactly between the cells. */
static void test_translation_at_hole(void)
{
    Guest guest;
    uint32_t region;
    uint64_t offset, gpa;

    guest_init(&guest, "pc-q35-10.0");
    add_mapping(guest.smaps, 0x7f0000000000, 2 * GIB, "rw-p", 0, "", RAM);
    add_mapping(guest.smaps, 0x7f1000000000, 2 * GIB, "rw-p", 0, "", RAM);
    add_mapping(guest.smaps, 0x7e0000000000, GIB, "rw-p", 0, "", RAM);
    guest_add(&guest, "ram-node0", 0, 2 * GIB, UINT64_MAX);
    guest_add(&guest, "ram-node1", 1, 2 * GIB, UINT64_MAX);
    guest_add(&guest, "memdimm0", 1, GIB, 16 * GIB);
    guest_match(&guest);
    g_assert_cmphex(guest.map.regions[0].gpa_base, ==, 0);
    g_assert_cmphex(guest.map.regions[0].gpa_hole_end, ==, 0);
    g_assert_cmphex(guest.map.regions[1].gpa_base, ==, 4 * GIB);
    g_assert_cmphex(guest.map.regions[2].gpa_base, ==, 16 * GIB);
    g_assert_true(hn_gpa_to_region(guest.map.regions, 3, 2 * GIB - 1, &region, &offset));
    g_assert_cmpuint(region, ==, 0);
    g_assert_false(
        hn_gpa_to_region(guest.map.regions, 3, 2 * GIB, &region, &offset)); /* the hole */
    g_assert_false(hn_gpa_to_region(guest.map.regions, 3, 0xfee00000, &region, &offset));
    g_assert_true(hn_gpa_to_region(guest.map.regions, 3, 4 * GIB, &region, &offset));
    g_assert_cmpuint(region, ==, 1);
    g_assert_cmpuint(offset, ==, 0);
    g_assert_false(hn_gpa_to_region(guest.map.regions, 3, 6 * GIB, &region, &offset));
    g_assert_true(hn_gpa_to_region(guest.map.regions, 3, 17 * GIB - 1, &region, &offset));
    g_assert_cmpuint(region, ==, 2);
    g_assert_false(hn_gpa_to_region(guest.map.regions, 3, 17 * GIB, &region, &offset));
    g_assert_true(hn_hva_to_gpa(guest.map.regions, 3, 0x7f0000000000, &region, &gpa));
    g_assert_cmphex(gpa, ==, 4 * GIB); /* the lower address is the second cell */
    g_assert_false(hn_hva_to_gpa(guest.map.regions, 3, 0x7f0000000000 - 1, &region, &gpa));
    g_assert_false(hn_hva_to_gpa(guest.map.regions, 3, 0x7f0000000000 + 2 * GIB, &region, &gpa));
    guest_clear(&guest);
}

/* A region that the hole cuts: both ways agree everywhere, and the hole itself is nowhere. */
static void test_translation_across_hole(void)
{
    static const uint64_t offsets[] = {0,       4095,        2 * GIB - 4096, 2 * GIB - 1,
                                       2 * GIB, 2 * GIB + 1, 3 * GIB,        6 * GIB - 1};
    Guest guest;
    uint32_t region;
    uint64_t offset, gpa;

    guest_init(&guest, "pc-q35-10.0");
    add_mapping(guest.smaps, 0x7f0000000000, 6 * GIB, "rw-p", 0, "", RAM);
    guest_add(&guest, "pc.ram", -1, 6 * GIB, UINT64_MAX);
    guest_match(&guest);
    for (size_t i = 0; i < G_N_ELEMENTS(offsets); i++) {
        g_assert_true(
            hn_hva_to_gpa(guest.map.regions, 1, 0x7f0000000000 + offsets[i], &region, &gpa));
        g_assert_cmphex(gpa, ==, offsets[i] < 2 * GIB ? offsets[i] : offsets[i] + 2 * GIB);
        g_assert_true(hn_gpa_to_region(guest.map.regions, 1, gpa, &region, &offset));
        g_assert_cmpuint(offset, ==, offsets[i]);
    }
    g_assert_false(hn_gpa_to_region(guest.map.regions, 1, 2 * GIB, &region, &offset));
    g_assert_false(hn_gpa_to_region(guest.map.regions, 1, 4 * GIB - 1, &region, &offset));
    g_assert_false(hn_gpa_to_region(guest.map.regions, 1, 8 * GIB, &region, &offset));
    guest_clear(&guest);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/observe/regions/smaps", test_smaps);
    g_test_add_func("/observe/regions/anonymous-cells", test_anonymous_cells);
    g_test_add_func("/observe/regions/memfd-cells", test_memfd_cells);
    g_test_add_func("/observe/regions/named-cells", test_named_cells);
    g_test_add_func("/observe/regions/ambiguous", test_ambiguous);
    g_test_add_func("/observe/regions/split-and-twin", test_split_and_twin);
    g_test_add_func("/observe/regions/missing", test_missing);
    g_test_add_func("/observe/regions/without-hugepage-flag", test_without_hugepage_flag);
    g_test_add_func("/observe/regions/layout", test_layout);
    g_test_add_func("/observe/regions/translation-at-hole", test_translation_at_hole);
    g_test_add_func("/observe/regions/translation-across-hole", test_translation_across_hole);
    return g_test_run();
}
