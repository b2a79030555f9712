/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: which guest-physical bytes belong to which vCPU under a pattern: the truth that tests of
 * the placement agent compare with.
 *
 * Theory of operation: guest RAM may have a hole below 4 GiB, so the program counts in RAM offsets:
 * an offset equals the guest-physical address (GPA) below the hole and skips the hole above it. A
 * layout is three adjacent areas (working set, cold, rest); a slice is a part of the working set
 * cut at 4 KiB, in whole pages, the larger slices last. Slices become GPA ranges only at the end.
 * Pure: no I/O, no time; linked into the guest and into unit tests.
 */
#ifndef DEMO_LAYOUT_H
#define DEMO_LAYOUT_H

#include "options.h"

#define MAX_VCPUS 64
#define MAX_RANGES 8

/* [start, end) in bytes; GPAs or RAM offsets, as the holder says. */
typedef struct {
    uint64_t start, end;
} Range;

/* GPA ranges of RAM from 1 MiB up, ascending, not touching each other. */
typedef struct {
    Range ranges[MAX_RANGES];
    unsigned n_ranges;
} RamMap;

typedef struct {
    RamMap ram;
    unsigned n_vcpus;
    uint64_t pattern;
    Range ws, cold, rest; /* RAM offsets; rest is what no other area holds above the image */
} Layout;

/* Part of an area with the vCPUs that share it: this vCPU is number rank of n_sharers. */
typedef struct {
    Range offsets; /* RAM offsets */
    unsigned rank, n_sharers;
} Slice;

/*
 * Lays the areas out in ram for n_vcpus vCPUs that the machine has. own_end is the first GPA the
 * program does not use itself. False with *ret_error set if the wish does not fit the machine.
 */
bool layout_make(const Options *options, const RamMap *ram, unsigned n_vcpus, uint64_t own_end,
                 Layout *ret_layout, OptionError *ret_error);

/* What vCPU sweeps in the given phase (0 and counting; only PATTERN_PHASE looks at it). */
Slice layout_slice(const Layout *layout, unsigned vcpu, uint64_t phase);

/* Part `rank` of n_parts of an area, cut at 4 KiB; parts are disjoint and cover the area. */
Range layout_part(Range area, unsigned rank, unsigned n_parts);

/* Turns RAM offsets into at most MAX_RANGES GPA ranges; returns how many. Empty in: 0. */
unsigned layout_resolve(const RamMap *ram, Range offsets, Range ret_ranges[MAX_RANGES]);

/* Appends " key=0xA-0xB" or, around the hole, " key=0xA-0xB+0xC-0xD"; nothing in: " key=none". */
void layout_add_ranges(Text *text, const char *key, const RamMap *ram, Range offsets);

/*
 * The index of the next of n_words ≥ 1 words in the order that a seed other than 0 gives. *state
 * starts at 0 with each sweep; n_words calls return each index exactly once. Full-period linear congruential generator modulo the next power of two (Hull and
 * Dobell 1962: multiplier ≡ 1 mod 4, odd increment), skipping values out of range.
 */
uint64_t layout_next_index(uint64_t seed, uint64_t n_words, uint64_t *state);

#endif
