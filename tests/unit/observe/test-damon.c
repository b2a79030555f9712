/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DAMON's regions as text, the slices it is given, and the heat that follows.
 */
#include "observe/damon.h"
#include "scratch.h"

#include <string.h>

#define MIB ((uint64_t)1 << 20)
#define TRIED HN_DAMON_SCHEME "/tried_regions/"

typedef struct {
    char *dir;
    HnRoot *root;
} Fixture;

static void setup(Fixture *f, gconstpointer data)
{
    f->dir = g_dir_make_tmp("hn-damon-XXXXXX", NULL);
    f->root = hn_root_open_scratch(f->dir, NULL);
    g_assert_nonnull(f->root);
}

static void teardown(Fixture *f, gconstpointer data)
{
    hn_root_free(f->root);
    scratch_remove(f->dir);
    g_free(f->dir);
}

/* ---- may it be used? ---- */

static void test_check(Fixture *f, gconstpointer data)
{
    g_autoptr(HnRoot) captured = hn_root_open(f->dir, NULL);

    g_assert_cmpstr(hn_damon_check(f->root, false), ==, "no-damon");
    scratch_put(f->dir, HN_DAMON_ADMIN "/nr_kdamonds", "0\n");
    g_assert_null(hn_damon_check(f->root, false));
    g_assert_cmpstr(hn_damon_check(captured, false), ==, "captured-machine");
    scratch_put(f->dir, HN_DAMON_ADMIN "/nr_kdamonds", "1\n");
    g_assert_cmpstr(hn_damon_check(f->root, false), ==, "damon-in-use");
    g_assert_null(hn_damon_check(f->root, true));
    scratch_put(f->dir, HN_DAMON_ADMIN "/nr_kdamonds", "absurd\n");
    g_assert_cmpstr(hn_damon_check(f->root, false), ==, "damon-in-use");
    scratch_put(f->dir, HN_DAMON_ADMIN "/nr_kdamonds", "0\n");
    scratch_put(f->dir, "sys/module/damon_stat/parameters/enabled", "N\n");
    g_assert_null(hn_damon_check(f->root, false));
    scratch_put(f->dir, "sys/module/damon_stat/parameters/enabled", "Y\n");
    g_assert_cmpstr(hn_damon_check(f->root, false), ==, "damon-exclusive");
    /* Every code that can come has a sentence of its own. */
    static const char *const codes[] = {HN_DAMON_CAPTURED,  HN_DAMON_NONE,   HN_DAMON_NO_FVADDR, HN_DAMON_IN_USE,
                                        HN_DAMON_EXCLUSIVE, HN_DAMON_DENIED, HN_DAMON_REFUSED};
    for (guint i = 0; i < G_N_ELEMENTS(codes); i++)
        g_assert_cmpstr(hn_damon_sentence(codes[i]), !=, "unknown");
}

/* ---- slices ---- */

static const struct {
    const char *name;
    uint64_t regions[4][2]; /* start, length in MiB; length 0: no more */
    uint32_t max_slices;
    guint n_slices;
} cuts[] = {
    {"one", {{4096, 1024}}, 64, 64},
    {"small", {{4096, 10}}, 64, 5},        /* no slice below 2 MiB */
    {"odd-end", {{4096, 11}}, 64, 6},      /* the last one is shorter */
    {"two", {{8192, 1024}, {4096, 512}}, 64, 63},
    {"unequal", {{8192, 65536}, {4096, 2}}, 64, 63}, /* each at least one */
    {"too-many", {{8192, 2}, {4096, 2}, {0, 2}}, 2, 0},
    {"nothing", {{0, 0}}, 64, 0},
};

static void test_slices(gconstpointer data)
{
    guint n = GPOINTER_TO_UINT(data);
    HnRegion regions[4] = {0};
    uint32_t n_regions = 0;
    uint64_t total_bytes = 0, sliced_bytes = 0;

    for (; n_regions < 4 && cuts[n].regions[n_regions][1]; n_regions++) {
        regions[n_regions].hva_start = cuts[n].regions[n_regions][0] * MIB;
        regions[n_regions].length_bytes = cuts[n].regions[n_regions][1] * MIB;
        total_bytes += regions[n_regions].length_bytes;
    }
    g_autoptr(GArray) slices = hn_damon_slices(regions, n_regions, cuts[n].max_slices);
    g_assert_cmpuint(slices->len, ==, cuts[n].n_slices);
    for (guint i = 0; i < slices->len; i++) {
        const HnDamonRange *slice = &g_array_index(slices, HnDamonRange, i);

        g_assert_cmpuint(slice->start, <, slice->end);
        g_assert_cmpuint(slice->start % (2 * MIB), ==, 0);
        if (i > 0) /* the kernel refuses what overlaps */
            g_assert_cmpuint(slice->start, >=, g_array_index(slices, HnDamonRange, i - 1).end);
        sliced_bytes += slice->end - slice->start;
    }
    if (slices->len)
        g_assert_cmpuint(sliced_bytes, ==, total_bytes);
}

/* ---- reading ---- */

static void test_numbers(void)
{
    static const struct {
        const char *text;
        bool is_good;
        uint64_t value;
    } cases[] = {
        {"0\n", true, 0}, {"18446744073709551615\n", true, UINT64_MAX}, {"17", true, 17}, {"", false, 0},
        {"-1\n", false, 0}, {"18446744073709551616\n", false, 0}, {"7 8\n", false, 0}, {"7\n8\n", false, 0},
        {"seven\n", false, 0},
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        uint64_t value = 0;

        g_assert_cmpint(hn_damon_number_parse(cases[i].text, strlen(cases[i].text), &value, &error), ==,
                        cases[i].is_good);
        g_assert_cmpint(error == NULL, ==, cases[i].is_good);
        g_assert_cmpuint(value, ==, cases[i].value);
    }
}

static void put_region(Fixture *f, guint n, uint64_t start, uint64_t end, guint n_accesses, guint age)
{
    const struct {
        const char *name;
        uint64_t value;
    } files[] = {{"start", start}, {"end", end}, {"nr_accesses", n_accesses}, {"age", age}};

    for (guint i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_strdup_printf(TRIED "%u/%s", n, files[i].name);
        g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT "\n", files[i].value);

        scratch_put(f->dir, path, text);
    }
}

static void test_ranges(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(hn_damon_ranges_read(f->root, &error));
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT);
    g_clear_error(&error);
    scratch_put(f->dir, TRIED "total_bytes", "1\n");
    put_region(f, 1, 20 * MIB, 40 * MIB, 1000000, 3); /* more than can be: as many as can be */
    put_region(f, 0, 10 * MIB, 20 * MIB, 0, 9);
    put_region(f, 2, 50 * MIB, 50 * MIB, 4, 0); /* nothing */
    {
        g_autoptr(GArray) ranges = hn_damon_ranges_read(f->root, &error);

        g_assert_no_error(error);
        g_assert_cmpuint(ranges->len, ==, 2);
        g_assert_cmpuint(g_array_index(ranges, HnDamonRange, 0).end, ==, 20 * MIB);
        g_assert_cmpuint(g_array_index(ranges, HnDamonRange, 0).age, ==, 9);
        g_assert_cmpuint(g_array_index(ranges, HnDamonRange, 1).n_accesses, ==, HN_DAMON_SAMPLES);
    }
    scratch_put(f->dir, TRIED "1/age", "old\n");
    g_assert_null(hn_damon_ranges_read(f->root, &error));
    g_assert_nonnull(error);
}

/* ---- heat ---- */

/* 16 chunks of 4 MiB from 100 MiB on. */
static HnDomain *guest_new(void)
{
    HnDomain *domain = hn_domain_new(2);
    HnRegion *region = hn_domain_add_region(domain, 2);

    region->hva_start = 100 * MIB;
    region->length_bytes = 64 * MIB;
    region->chunk_bytes = 4 * MIB;
    region->n_chunks = 16;
    region->chunks = g_new0(HnChunk, 16);
    return domain;
}

static GArray *two_ranges(void)
{
    const HnDamonRange ranges[] = {
        {100 * MIB, 108 * MIB, 0, 5},
        {108 * MIB, 118 * MIB, HN_DAMON_SAMPLES, 5}, /* chunks 2 and 3, and half of 4 */
        {118 * MIB, 164 * MIB, 0, 5},
        {900 * MIB, 901 * MIB, 3, 5}, /* none of its RAM */
    };
    GArray *array = g_array_new(FALSE, FALSE, sizeof(HnDamonRange));

    return g_array_append_vals(array, ranges, G_N_ELEMENTS(ranges));
}

static void test_lay(void)
{
    g_autoptr(HnDomain) domain = guest_new();
    g_autoptr(GArray) ranges = two_ranges();
    static const uint32_t expected[16] = {0, 0, 1000, 1000, 500};

    hn_damon_lay(ranges, 0, domain);
    for (guint i = 0; i < 16; i++)
        g_assert_cmpuint(domain->regions[0].chunks[i].heat, ==, expected[i]);
    g_assert_true(domain->heat.is_used);
    g_assert_cmpuint(domain->heat.n_ranges, ==, 4);
    g_assert_cmpuint(domain->heat.hot_bytes, ==, 11 * MIB);
    g_assert_cmpuint(domain->heat.age_ns, ==, 0);
}

static void test_fades(void)
{
    g_autoptr(HnDomain) domain = guest_new(), later = guest_new();
    g_autoptr(GArray) ranges = two_ranges();

    hn_damon_lay(ranges, UINT64_C(30) * 1000 * 1000 * 1000, domain);
    g_assert_cmpuint(domain->regions[0].chunks[2].heat, ==, 500);
    g_assert_cmpuint(domain->regions[0].chunks[4].heat, ==, 250);
    hn_damon_lay(ranges, UINT64_C(3600) * 1000 * 1000 * 1000, later);
    g_assert_cmpuint(later->regions[0].chunks[2].heat, ==, 0);
    g_assert_false(later->heat.is_used);
    g_assert_cmpuint(later->heat.n_ranges, ==, 4); /* it is told all the same */
}

/* Who touches it is known: that is better. */
static void test_touches_stay(void)
{
    g_autoptr(HnDomain) domain = guest_new();
    g_autoptr(GArray) ranges = two_ranges();

    domain->regions[0].chunks[9].heat = 7;
    hn_damon_lay(ranges, 0, domain);
    g_assert_cmpuint(domain->regions[0].chunks[9].heat, ==, 7);
    g_assert_cmpuint(domain->regions[0].chunks[2].heat, ==, 0);
    g_assert_false(domain->heat.is_used);
    domain->regions[0].chunks[9].heat = 0; /* faded meanwhile: who touches it is known all the same */
    domain->touches.n_touches = 7;
    hn_damon_lay(ranges, 0, domain);
    g_assert_cmpuint(domain->regions[0].chunks[2].heat, ==, 0);
}

/* The least that was seen keeps a chunk warm. */
static void test_least(void)
{
    g_autoptr(HnDomain) domain = guest_new();
    const HnDamonRange range = {100 * MIB, 100 * MIB + 4096, 1, 0};
    g_autoptr(GArray) ranges = g_array_new(FALSE, FALSE, sizeof(HnDamonRange));

    g_array_append_val(ranges, range);
    hn_damon_lay(ranges, 0, domain);
    g_assert_cmpuint(domain->regions[0].chunks[0].heat, ==, 1);
    g_assert_cmpuint(domain->regions[0].chunks[1].heat, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/observe/damon/check", Fixture, NULL, setup, test_check, teardown);
    for (guint i = 0; i < G_N_ELEMENTS(cuts); i++) {
        g_autofree char *path = g_strdup_printf("/observe/damon/slices/%s", cuts[i].name);

        g_test_add_data_func(path, GUINT_TO_POINTER(i), test_slices);
    }
    g_test_add_func("/observe/damon/numbers", test_numbers);
    g_test_add("/observe/damon/ranges", Fixture, NULL, setup, test_ranges, teardown);
    g_test_add_func("/observe/damon/lay", test_lay);
    g_test_add_func("/observe/damon/fades", test_fades);
    g_test_add_func("/observe/damon/touches-stay", test_touches_stay);
    g_test_add_func("/observe/damon/least", test_least);
    return g_test_run();
}
