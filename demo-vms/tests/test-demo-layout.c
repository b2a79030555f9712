/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: the demo guest's pure parts (command line, layout) on the host: every accepted and
 * refused form, and the properties that make its slices a truth to test against.
 */
#include <glib.h>
#include <string.h>

#include "layout.h"

#define GPA_4G ((uint64_t)4 << 30)

/* A q35-like guest: 6 GiB, 2 of them below the hole. */
static const RamMap ram_with_hole = {
    .ranges = {{MIB_BYTES, 2048 * MIB_BYTES}, {GPA_4G, GPA_4G + 4096 * MIB_BYTES}},
    .n_ranges = 2,
};
static const RamMap ram_small = {.ranges = {{MIB_BYTES, 128 * MIB_BYTES}}, .n_ranges = 1};

static void test_parse_accepts(void)
{
    Options options;
    OptionError error;

    g_assert_true(options_parse("/boot/a=b.elf", &options, &error));
    g_assert_cmpuint(options.pattern, ==, PATTERN_PRIVATE);
    g_assert_cmpuint(options.stride_bytes, ==, 64);
    g_assert_cmpuint(options.base_mib, ==, 16);

    g_assert_true(options_parse("/my dir/k.elf -- pattern=idle-wake  stride=page idle=3\taccess=rw "
                                "first=interleave touch=all seed=4294967295",
                                &options, &error));
    g_assert_cmpuint(options.pattern, ==, PATTERN_IDLE_WAKE);
    g_assert_cmpuint(options.stride_bytes, ==, 4096);
    g_assert_cmpuint(options.idle_s, ==, 3);
    g_assert_cmpuint(options.access, ==, ACCESS_RW);
    g_assert_cmpuint(options.first, ==, FIRST_INTERLEAVE);
    g_assert_cmpuint(options.touch, ==, TOUCH_ALL);
    g_assert_cmpuint(options.seed, ==, UINT32_MAX);

    g_assert_true(options_parse("k pattern=phase phase=0", &options, &error));
    g_assert_cmpuint(options.phase_s, ==, 0);

    g_assert_true(options_parse("k pattern=numa02 first=own stride=128", &options, &error));
    g_assert_cmpuint(options.first, ==, FIRST_CPU0);
    g_assert_cmpuint(options.stride_bytes, ==, 128);
}

static void test_parse_refuses(void)
{
    static const struct {
        const char *words, *key, *value, *allowed;
    } cases[] = {
        {"pattern=privat", "pattern", "privat", "private|shared|half|phase|"},
        {"pattern=", "pattern", "", "private|"},
        {"stride=12", "stride", "12", "line|page|8..1073741824 multiple of 8"},
        {"stride=4", "stride", "4", "line|page|8.."},
        {"duty=0", "duty", "0", "1..100"},
        {"duty=101", "duty", "101", "1..100"},
        {"ws=-1", "ws", "-1", "1..524288"},
        {"ws=99999999999999999999", "ws", "99999999999999999999", "1..524288"},
        {"ws=8 ws=9", "ws", "9", "each key once"},
        {"ws", "ws", "", "1..524288"},
        {"=5", "", "5", "keys pattern|"},
        {"colour=red", "colour", "red", "keys pattern|access|"},
        {"touch=some", "touch", "some", "ws|all|none"},
        {"base=3", "base", "3", "4..524288"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *line = g_strdup_printf("kernel %s", cases[i].words);
        Options options;
        OptionError error;

        g_assert_false(options_parse(line, &options, &error));
        g_assert_cmpstr(error.key, ==, cases[i].key);
        g_assert_cmpstr(error.value, ==, cases[i].value);
        g_assert_true(g_str_has_prefix(error.allowed, cases[i].allowed));
    }
}

/* Values longer than the buffers are cut, not written past the end. */
static void test_parse_cuts_long_words(void)
{
    g_autofree char *word = g_strnfill(500, 'x');
    g_autofree char *line = g_strdup_printf("kernel %s=%s", word, word);
    Options options;
    OptionError error;

    g_assert_false(options_parse(line, &options, &error));
    g_assert_cmpuint(strlen(error.key), ==, sizeof error.key - 1);
    g_assert_cmpuint(strlen(error.value), ==, sizeof error.value - 1);
}

static Layout make(const char *words, const RamMap *ram, unsigned n_vcpus)
{
    g_autofree char *line = g_strdup_printf("kernel %s", words);
    Options options;
    OptionError error;
    Layout layout;

    g_assert_true(options_parse(line, &options, &error));
    g_assert_true(layout_make(&options, ram, n_vcpus, 2 * MIB_BYTES, &layout, &error));
    return layout;
}

static void test_layout_refuses(void)
{
    static const struct {
        const char *words, *key, *allowed;
    } cases[] = {
        {"ws=113", "ws", "1..112 MiB"},
        {"ws=100 cold=13", "ws", "1..99 MiB"},
        {"cold=112", "cold", "0..111 MiB"},
        {"base=128", "base", "4..127 MiB"},
        {"vcpus=5", "vcpus", "1..4"},
        {"ws=1 stride=524288", "stride", "8..262144 (a vCPU's slice)"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *line = g_strdup_printf("kernel %s", cases[i].words);
        Options options;
        OptionError error;
        Layout layout;

        g_assert_true(options_parse(line, &options, &error));
        g_assert_false(layout_make(&options, &ram_small, 4, 4 * MIB_BYTES, &layout, &error));
        g_assert_cmpstr(error.key, ==, cases[i].key);
        g_assert_cmpstr(error.allowed, ==, cases[i].allowed);
    }
}

/* Private slices are disjoint, ascending, and cover the working set, for any number of vCPUs. */
static void test_private_slices_cover(void)
{
    for (unsigned n = 1; n <= MAX_VCPUS; n++) {
        Layout layout = make("ws=101", &ram_small, n);
        uint64_t at = layout.ws.start;

        for (unsigned i = 0; i < n; i++) {
            Slice slice = layout_slice(&layout, i, 7);

            g_assert_cmpuint(slice.offsets.start, ==, at);
            g_assert_cmpuint(slice.offsets.end % PAGE_BYTES, ==, 0);
            at = slice.offsets.end;
        }
        g_assert_cmpuint(at, ==, layout.ws.end);
    }
}

static void test_other_slices(void)
{
    Layout layout = make("pattern=half ws=100", &ram_small, 5);
    uint64_t middle = (16 + 50) * MIB_BYTES;
    Slice slice = layout_slice(&layout, 2, 0);

    g_assert_cmpuint(slice.offsets.end, ==, middle);
    g_assert_cmpuint(slice.rank, ==, 2);
    g_assert_cmpuint(slice.n_sharers, ==, 3);
    slice = layout_slice(&layout, 4, 0);
    g_assert_cmpuint(slice.offsets.start, ==, middle);
    g_assert_cmpuint(slice.rank, ==, 1);
    g_assert_cmpuint(slice.n_sharers, ==, 2);

    layout = make("pattern=shared ws=100", &ram_small, 5);
    slice = layout_slice(&layout, 4, 0);
    g_assert_cmpuint(slice.offsets.start, ==, layout.ws.start);
    g_assert_cmpuint(slice.offsets.end, ==, layout.ws.end);
    g_assert_cmpuint(slice.n_sharers, ==, 5);

    layout = make("pattern=phase ws=90", &ram_small, 3);
    g_assert_cmpuint(layout_slice(&layout, 2, 1).offsets.start, ==, layout.ws.start);
    g_assert_cmpuint(layout_slice(&layout, 0, 4).offsets.start, ==,
                     layout_slice(&layout, 1, 0).offsets.start);
}

static void test_resolve_around_hole(void)
{
    Layout layout = make("ws=4000 cold=8", &ram_with_hole, 2);
    Range ranges[MAX_RANGES];
    char buffer[128];
    Text text = text_begin(buffer, sizeof buffer);

    g_assert_cmpuint(layout_resolve(&ram_with_hole, layout.ws, ranges), ==, 2);
    g_assert_cmpuint(ranges[0].start, ==, 16 * MIB_BYTES);
    g_assert_cmpuint(ranges[0].end, ==, 2048 * MIB_BYTES);
    g_assert_cmpuint(ranges[1].start, ==, GPA_4G);
    g_assert_cmpuint(ranges[1].end, ==, GPA_4G + (4000 - 2032) * MIB_BYTES);
    layout_add_ranges(&text, "cold", &ram_with_hole, layout.cold);
    g_assert_cmpstr(buffer, ==, " cold=0x17b000000-0x17b800000");
    text = text_begin(buffer, sizeof buffer);
    layout_add_ranges(&text, "none", &ram_with_hole, (Range){5, 5});
    g_assert_cmpstr(buffer, ==, " none=none");
}

/* Every index exactly once per sweep, and not in ascending order. */
static void test_seeded_order_is_a_permutation(void)
{
    static const uint64_t sizes[] = {1, 2, 3, 1000, 1024, 1025};

    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree uint8_t *seen = g_new0(uint8_t, sizes[i]);
        uint64_t state = 0, n_ascending = 0, last = 0;

        for (uint64_t k = 0; k < sizes[i]; k++) {
            uint64_t index = layout_next_index(42, sizes[i], &state);

            g_assert_cmpuint(index, <, sizes[i]);
            g_assert_cmpuint(seen[index]++, ==, 0);
            n_ascending += index == last + 1;
            last = index;
        }
        g_assert_true(sizes[i] < 1000 || n_ascending < sizes[i] / 10);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/demo/parse/accepts", test_parse_accepts);
    g_test_add_func("/demo/parse/refuses", test_parse_refuses);
    g_test_add_func("/demo/parse/cuts-long-words", test_parse_cuts_long_words);
    g_test_add_func("/demo/layout/refuses", test_layout_refuses);
    g_test_add_func("/demo/layout/private-covers", test_private_slices_cover);
    g_test_add_func("/demo/layout/other-patterns", test_other_slices);
    g_test_add_func("/demo/layout/hole", test_resolve_around_hole);
    g_test_add_func("/demo/layout/seeded-order", test_seeded_order_is_a_permutation);
    return g_test_run();
}
