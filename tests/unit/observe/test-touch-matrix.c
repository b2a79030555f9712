/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The touch matrix: places exact to the byte (hole below 4 GiB, hot-plugged memory, cells), patterns
 * whose truth is known, the two-stage filter, and what it costs in memory.
 */
#include "observe/touch-matrix.h"

#include <string.h>

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define TIB ((uint64_t)1 << 40)
#define SECOND_NS UINT64_C(1000000000)
#define MAX_VCPUS 256

typedef struct {
    HnRegion regions[4];
    uint32_t n_regions;
    uint32_t ids[MAX_VCPUS];
    uint32_t n_vcpus;
    HnTouchMatrix *matrix;
    uint64_t now_ns;
    uint64_t random;
} Guest;

static void add_region(Guest *guest, uint64_t gpa, uint64_t length, uint64_t chunk, int32_t cell)
{
    HnRegion *region = &guest->regions[guest->n_regions++];

    region->hva_start = 0x7f0000000000 + guest->n_regions * 64 * TIB / 64;
    region->length_bytes = length;
    region->gpa_base = gpa;
    region->guest_cell = cell;
    region->chunk_bytes = chunk;
    region->n_chunks = (uint32_t)((length + chunk - 1) / chunk);
    region->chunks = g_new0(HnChunk, region->n_chunks);
}

static void start(Guest *guest, uint32_t n_vcpus)
{
    guest->n_vcpus = n_vcpus;
    for (uint32_t i = 0; i < n_vcpus; i++)
        guest->ids[i] = i;
    guest->matrix =
        hn_touch_matrix_new(guest->regions, guest->n_regions, guest->ids, guest->n_vcpus);
    g_assert_nonnull(guest->matrix);
    guest->now_ns = 1000 * SECOND_NS;
    guest->random = 88172645463325252u;
    hn_touch_matrix_tick(guest->matrix, guest->now_ns);
}

static void clear(Guest *guest)
{
    hn_touch_matrix_free(guest->matrix);
    for (uint32_t i = 0; i < guest->n_regions; i++)
        g_free(guest->regions[i].chunks);
}

static uint32_t draw(Guest *guest, uint32_t n)
{
    guest->random ^= guest->random << 13;
    guest->random ^= guest->random >> 7;
    guest->random ^= guest->random << 17;
    return (uint32_t)(guest->random % n);
}

static void touch(Guest *guest, uint32_t vcpu, uint64_t gpa)
{
    HnTouchPlace place;

    g_assert_true(hn_touch_matrix_add(guest->matrix, vcpu, gpa, true, 1, &place));
}

/* Two seconds pass, as between two rounds; returns the number of chunks with touchers. */
static uint32_t next_round(Guest *guest)
{
    uint32_t n_known;

    guest->now_ns += 2 * SECOND_NS;
    hn_touch_matrix_tick(guest->matrix, guest->now_ns);
    hn_touch_matrix_fill(guest->matrix, guest->regions, guest->n_regions, &n_known);
    return n_known;
}

/* ---- places ---- */

static void test_places(void)
{
    Guest guest = {0};
    HnTouchPlace place;
    const struct {
        uint64_t gpa;
        int32_t region; /* -1: no RAM */
        uint64_t offset;
    } cases[] = {
        {0, 0, 0},
        {2 * GIB - 1, 0, 2 * GIB - 1}, /* the last byte below the hole … */
        {2 * GIB, -1, 0},
        {0xfec00000, -1, 0}, /* MMIO */
        {4 * GIB - 1, -1, 0},
        {4 * GIB, 0, 2 * GIB}, /* … and the first above it */
        {5 * GIB - 1, 0, 3 * GIB - 1},
        {5 * GIB, 1, 0}, /* the second cell */
        {8 * GIB - 1, 1, 3 * GIB - 1},
        {8 * GIB, -1, 0},
        {64 * GIB, 2, 0}, /* hot-plugged */
        {64 * GIB + 256 * MIB - 1, 2, 256 * MIB - 1},
        {64 * GIB + 256 * MIB, -1, 0},
        {UINT64_MAX, -1, 0},
    };

    add_region(&guest, 0, 3 * GIB, 16 * MIB, 0);
    guest.regions[0].gpa_hole_start = 2 * GIB;
    guest.regions[0].gpa_hole_end = 4 * GIB;
    add_region(&guest, 5 * GIB, 3 * GIB, 16 * MIB, 1);
    add_region(&guest, 64 * GIB, 256 * MIB, 16 * MIB, 1);
    start(&guest, 2);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        bool is_ram = hn_touch_matrix_add(guest.matrix, 0, cases[i].gpa, true, 1, &place);

        g_assert_cmpint(is_ram, ==, cases[i].region >= 0);
        if (!is_ram)
            continue;
        g_assert_cmpuint(place.region, ==, (uint32_t)cases[i].region);
        g_assert_cmpuint(place.chunk, ==, cases[i].offset / (16 * MIB));
        g_assert_cmpuint(place.hva, ==, guest.regions[place.region].hva_start + cases[i].offset);
        /* The same place by its address in QEMU. */
        HnTouchPlace again;
        g_assert_true(hn_touch_matrix_add(guest.matrix, 0, place.hva, false, 1, &again));
        g_assert_cmpuint(again.region, ==, place.region);
        g_assert_cmpuint(again.chunk, ==, place.chunk);
        g_assert_cmpuint(again.hva, ==, place.hva);
    }
    /* QEMU's own heap, and a vCPU that is none of the guest's. */
    g_assert_false(hn_touch_matrix_add(guest.matrix, 0, 0x555500001000, false, 1, &place));
    g_assert_false(hn_touch_matrix_add(guest.matrix, 2, 0, true, 1, &place));
    clear(&guest);
}

/* ---- patterns ---- */

static Guest *small_guest(uint32_t n_vcpus)
{
    Guest *guest = g_new0(Guest, 1);

    add_region(guest, 0, 64 * MIB, 2 * MIB, -1);
    start(guest, n_vcpus);
    return guest;
}

static void free_guest(Guest *guest)
{
    clear(guest);
    g_free(guest);
}

/* vCPU v touches chunks of its own. Known after two rounds, and only then. */
static void test_private(void)
{
    Guest *guest = small_guest(4);

    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t k = 0; k < 32; k++)
            touch(guest, k / 8, k * 2 * MIB + 4096 * draw(guest, 512));
        g_assert_cmpuint(next_round(guest), ==, round == 0 ? 0 : 32);
    }
    for (uint32_t k = 0; k < 32; k++)
        g_assert_cmpuint(guest->regions[0].chunks[k].touch_clients, ==, UINT64_C(1) << (k / 8));
    free_guest(guest);
}

/* One vCPU, drawn at random, is the first at each huge page after each scan: all four touch all. No
 * chunk may come out as one vCPU's in the long run, and hardly any on the way. */
static void test_shared(void)
{
    Guest *guest = small_guest(4);
    uint32_t n_owned = 0, n_rounds = 60, n_all = 0;

    for (uint32_t round = 0; round < n_rounds; round++) {
        for (uint32_t k = 0; k < 32; k++)
            touch(guest, draw(guest, 4), k * 2 * MIB);
        next_round(guest);
        for (uint32_t k = 0; k < 32; k++) {
            uint64_t touchers = guest->regions[0].chunks[k].touch_clients;
            n_owned += touchers != 0 && (touchers & (touchers - 1)) == 0;
            n_all += touchers != 0 && (touchers & (touchers - 1)) != 0;
        }
    }
    g_test_message("%u of %u chunk rounds owned by one, %u shared", n_owned, 32 * n_rounds, n_all);
    g_assert_cmpuint(n_owned, <, 32 * n_rounds / 25);
    g_assert_cmpuint(n_all, >, 32 * n_rounds * 3 / 4);
    free_guest(guest);
}

/* Four vCPUs, two halves: a wide domain's case. Every known chunk names only vCPUs of its half. */
static void test_halves(void)
{
    Guest *guest = small_guest(4);

    for (uint32_t round = 0; round < 12; round++) {
        for (uint32_t k = 0; k < 32; k++)
            touch(guest, (k < 16 ? 0 : 2) + draw(guest, 2), k * 2 * MIB);
        next_round(guest);
    }
    for (uint32_t k = 0; k < 32; k++) {
        uint64_t touchers = guest->regions[0].chunks[k].touch_clients;
        g_assert_cmpuint(touchers, !=, 0);
        g_assert_cmpuint(touchers & (k < 16 ? 0xc : 0x3), ==, 0);
    }
    free_guest(guest);
}

/* vCPU 0 touches all at boot, then everybody keeps to its own: the first touch is forgotten. */
static void test_false_sharing(void)
{
    Guest *guest = small_guest(4);

    for (uint32_t k = 0; k < 32; k++)
        for (uint32_t i = 0; i < 20; i++)
            touch(guest, 0, k * 2 * MIB + i * 4096);
    g_assert_cmpuint(next_round(guest), ==, 0); /* seen once: nobody's */
    for (uint32_t round = 0; round < 8; round++) {
        for (uint32_t k = 0; k < 32; k++)
            for (uint32_t i = 0; i < 20; i++)
                touch(guest, 1 + k % 3, k * 2 * MIB + i * 4096);
        next_round(guest);
        for (uint32_t k = 0; k < 32; k++) {
            uint64_t touchers = guest->regions[0].chunks[k].touch_clients;
            g_assert_cmpuint(touchers & 1, ==, 0); /* at no time vCPU 0's */
        }
    }
    for (uint32_t k = 0; k < 32; k++)
        g_assert_cmpuint(guest->regions[0].chunks[k].touch_clients, ==, UINT64_C(1) << (1 + k % 3));
    free_guest(guest);
}

/* One stray touch in ten does not make a chunk shared. */
static void test_stray_touches(void)
{
    Guest *guest = small_guest(2);

    for (uint32_t round = 0; round < 40; round++) {
        for (uint32_t k = 0; k < 32; k++)
            for (uint32_t i = 0; i < 10; i++)
                touch(guest, i == 9 ? 1 : 0, k * 2 * MIB);
        next_round(guest);
    }
    for (uint32_t k = 0; k < 32; k++)
        g_assert_cmpuint(guest->regions[0].chunks[k].touch_clients, ==, 1);
    free_guest(guest);
}

/* The slices change hands: followed within ten rounds in which a chunk is touched. */
static void test_phase_shift(void)
{
    Guest *guest = small_guest(4);

    for (uint32_t phase = 0; phase < 4; phase++) {
        for (uint32_t round = 0; round < 10; round++) {
            for (uint32_t k = 0; k < 32; k++)
                touch(guest, (k / 8 + phase) % 4, k * 2 * MIB);
            next_round(guest);
        }
        for (uint32_t k = 0; k < 32; k++)
            g_assert_cmpuint(guest->regions[0].chunks[k].touch_clients, ==,
                             UINT64_C(1) << ((k / 8 + phase) % 4));
    }
    free_guest(guest);
}

/* Nothing is touched for long: heat fades away, what is known stays. */
static void test_idle(void)
{
    Guest *guest = small_guest(2);

    for (uint32_t round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < 100; i++)
            touch(guest, 1, 4 * MIB);
        next_round(guest);
    }
    uint32_t hot = guest->regions[0].chunks[2].heat;
    g_assert_cmpuint(hot, >, 300);
    guest->now_ns += HN_TOUCH_HALFLIFE_NS - 2 * SECOND_NS;
    next_round(guest);
    g_assert_cmpuint(guest->regions[0].chunks[2].heat, <=, hot / 2);
    g_assert_cmpuint(guest->regions[0].chunks[2].heat, >=, hot / 2 - 2);
    for (uint32_t round = 0; round < 300; round++)
        next_round(guest);
    g_assert_cmpuint(guest->regions[0].chunks[2].heat, ==, 0);
    g_assert_cmpuint(guest->regions[0].chunks[2].touch_clients, ==, 2);
    free_guest(guest);
}

/* Two looks within a second are one window: a burst seen in two parts is still seen once. */
static void test_window(void)
{
    Guest *guest = small_guest(2);
    uint32_t n_known;

    for (uint32_t look = 0; look < 4; look++) {
        touch(guest, 0, 0);
        guest->now_ns += SECOND_NS / 5;
        hn_touch_matrix_tick(guest->matrix, guest->now_ns);
        hn_touch_matrix_fill(guest->matrix, guest->regions, 1, &n_known);
        g_assert_cmpuint(n_known, ==, 0);
    }
    next_round(guest);
    touch(guest, 0, 0);
    g_assert_cmpuint(next_round(guest), ==, 1);
    /* A clock that goes backwards begins a new window and breaks nothing. */
    hn_touch_matrix_tick(guest->matrix, 1);
    touch(guest, 0, 0);
    g_assert_cmpuint(next_round(guest), ==, 1);
    free_guest(guest);
}

/* Weights do not wrap, whatever comes. */
static void test_floods(void)
{
    Guest *guest = small_guest(2);
    HnTouchPlace place;

    for (uint32_t round = 0; round < 5; round++) {
        for (uint32_t i = 0; i < 5000; i++) {
            g_assert_true(
                hn_touch_matrix_add(guest->matrix, 0, 0, true, i % 7 ? 101 : UINT32_MAX, &place));
            g_assert_true(hn_touch_matrix_add(guest->matrix, 1, 4096, true, 101, &place));
        }
        next_round(guest);
    }
    g_assert_cmpuint(guest->regions[0].chunks[0].touch_clients & 1, ==, 1);
    g_assert_cmpuint(guest->regions[0].chunks[0].heat, >, UINT32_MAX / 64);
    free_guest(guest);
}

/* ---- shape ---- */

static void test_fits(void)
{
    Guest *guest = small_guest(2);
    const uint32_t others[] = {0, 2};
    HnRegion changed = guest->regions[0];
    uint32_t n_known;

    g_assert_true(
        hn_touch_matrix_fits(guest->matrix, guest->regions, 1, guest->ids, guest->n_vcpus));
    g_assert_false(hn_touch_matrix_fits(guest->matrix, guest->regions, 1, others, 2));
    g_assert_false(hn_touch_matrix_fits(guest->matrix, guest->regions, 1, guest->ids, 1));
    changed.gpa_base = 4 * GIB;
    g_assert_false(hn_touch_matrix_fits(guest->matrix, &changed, 1, guest->ids, 2));
    changed = guest->regions[0];
    changed.chunk_bytes *= 2;
    g_assert_false(hn_touch_matrix_fits(guest->matrix, &changed, 1, guest->ids, 2));
    changed = guest->regions[0];
    changed.chunks = NULL; /* the map is gone */
    g_assert_false(hn_touch_matrix_fits(guest->matrix, &changed, 1, guest->ids, 2));
    g_assert_null(hn_touch_matrix_new(&changed, 1, guest->ids, 2));
    g_assert_null(hn_touch_matrix_new(guest->regions, 1, guest->ids, 0));
    /* What was known before the matrix was made stays until it knows better. */
    guest->regions[0].chunks[5].touch_clients = 2;
    guest->regions[0].chunks[6].heat = 77;
    hn_touch_matrix_free(guest->matrix);
    guest->matrix = hn_touch_matrix_new(guest->regions, 1, guest->ids, 2);
    hn_touch_matrix_fill(guest->matrix, guest->regions, 1, &n_known);
    g_assert_cmpuint(n_known, ==, 1);
    g_assert_cmpuint(guest->regions[0].chunks[5].touch_clients, ==, 2);
    g_assert_cmpuint(guest->regions[0].chunks[6].heat, ==, 77);
    free_guest(guest);
}

/* The largest guest there is: its matrix has a fixed size (docs/evidence.md tells it), and a bit
 * stands for four neighbouring vCPUs. */
static void test_largest(void)
{
    Guest *guest = g_new0(Guest, 1);
    uint64_t before_bytes;

    /* hn_chunk_bytes() of 12 TiB: 4 GiB, 3,072 chunks; 4,096 is the most any size gets. */
    add_region(guest, 0, 12 * TIB, 4 * GIB, -1);
    guest->regions[0].gpa_hole_start = 2 * GIB;
    guest->regions[0].gpa_hole_end = 4 * GIB;
    start(guest, 256);
    before_bytes = hn_touch_matrix_bytes(guest->matrix);
    g_test_message("256 vCPUs, 12 TiB: %" G_GUINT64_FORMAT " bytes", before_bytes);
    g_assert_cmpuint(before_bytes, <=, 4096 * (40 + 2 * 64) + 4096);
    g_assert_cmpuint(hn_touch_matrix_vcpus_per_bit(guest->matrix), ==, 4);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t k = 0; k < 3072; k++)
            touch(guest, k / 12, k * 4 * GIB + (k > 0 ? 2 * GIB : 0));
        next_round(guest);
    }
    for (uint32_t k = 0; k < 3072; k++)
        g_assert_cmpuint(guest->regions[0].chunks[k].touch_clients, ==,
                         UINT64_C(1) << (k / 12 / 4));
    g_assert_cmpuint(hn_touch_matrix_bytes(guest->matrix), ==, before_bytes);
    free_guest(guest);
}

static void test_faded(void)
{
    g_assert_cmpuint(hn_touch_faded(1000, 0), ==, 1000);
    g_assert_cmpuint(hn_touch_faded(1000, HN_TOUCH_HALFLIFE_NS / 2), ==, 750);
    g_assert_cmpuint(hn_touch_faded(1000, HN_TOUCH_HALFLIFE_NS), ==, 500);
    g_assert_cmpuint(hn_touch_faded(1, 1), ==, 0);
    g_assert_cmpuint(hn_touch_faded(0, 1), ==, 0);
    g_assert_cmpuint(hn_touch_faded(UINT64_MAX, HN_TOUCH_HALFLIFE_NS), ==, UINT64_MAX / 2);
    g_assert_cmpuint(hn_touch_faded(UINT64_MAX, UINT64_MAX), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/touch-matrix/places", test_places);
    g_test_add_func("/touch-matrix/private", test_private);
    g_test_add_func("/touch-matrix/shared", test_shared);
    g_test_add_func("/touch-matrix/halves", test_halves);
    g_test_add_func("/touch-matrix/false-sharing", test_false_sharing);
    g_test_add_func("/touch-matrix/stray-touches", test_stray_touches);
    g_test_add_func("/touch-matrix/phase-shift", test_phase_shift);
    g_test_add_func("/touch-matrix/idle", test_idle);
    g_test_add_func("/touch-matrix/window", test_window);
    g_test_add_func("/touch-matrix/floods", test_floods);
    g_test_add_func("/touch-matrix/fits", test_fits);
    g_test_add_func("/touch-matrix/largest", test_largest);
    g_test_add_func("/touch-matrix/faded", test_faded);
    return g_test_run();
}
