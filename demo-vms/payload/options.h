/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: the guest's command line as a value, and the one refusal it can end in.
 *
 * Theory of operation: words `key=value` separated by blanks, looked up in one table that holds
 * each key's kind, bounds and place in Options. The loader puts the file name in front: everything
 * up to a lone `--` is skipped, or the first word if there is none. Bounds that need the machine
 * (RAM size, number of vCPUs) are checked by layout.h. Pure: linked into the guest and into unit
 * tests.
 */
#ifndef DEMO_OPTIONS_H
#define DEMO_OPTIONS_H

#include "text.h"

#define MIB_BYTES ((uint64_t)1 << 20)
#define PAGE_BYTES ((uint64_t)4096)

typedef enum {
    PATTERN_PRIVATE,   /* vCPU i sweeps slice i of n */
    PATTERN_SHARED,    /* every vCPU sweeps the whole working set */
    PATTERN_HALF,      /* lower half of the vCPUs: lower half of it; the others: the upper half */
    PATTERN_PHASE,     /* private, and every phase_s seconds (0: at an NMI) slices rotate by one vCPU */
    PATTERN_IDLE_WAKE, /* private, after idle_s seconds asleep; again after busy_s if not 0 */
    PATTERN_NUMA01,    /* autonuma-benchmark numa01: every vCPU sweeps everything */
    PATTERN_THREAD_ALLOC, /* its THREAD_ALLOC: one sweep of everything, then private slices */
    PATTERN_NUMA02,       /* its numa02: vCPU 0 touches all of it first, then private slices */
} Pattern;

typedef enum { ACCESS_WRITE, ACCESS_READ, ACCESS_RW } Access;
typedef enum { TOUCH_WS, TOUCH_ALL, TOUCH_NONE } Touch;
typedef enum { FIRST_OWN, FIRST_CPU0, FIRST_INTERLEAVE } First;
typedef enum { WAIT_HLT, WAIT_PAUSE } Wait;
typedef enum { END_OFF, END_HALT } End;

/* All members are uint64_t so that one table can address them; enums hold their value. */
typedef struct {
    uint64_t pattern;
    uint64_t access;
    uint64_t ws_mib;   /* 0: all RAM above base less cold */
    uint64_t base_mib; /* counted in RAM, that is without the PCI hole */
    uint64_t cold_mib; /* directly above the working set */
    uint64_t stride_bytes;
    uint64_t duty_percent;
    uint64_t period_ms;    /* of the duty cycle */
    uint64_t rate_per_sec; /* touches per vCPU, 0: no limit */
    uint64_t phase_s;
    uint64_t idle_s;
    uint64_t busy_s;
    uint64_t seed;   /* 0: ascending addresses */
    uint64_t sweeps; /* 0: for ever */
    uint64_t vcpus;  /* 0: all there are */
    uint64_t report_ms;
    uint64_t touch;
    uint64_t first;
    uint64_t wait;
    uint64_t end;
} Options;

/* What was refused: the key and value as given (cut to fit) and what would have been accepted. */
typedef struct {
    char key[32];
    char value[64];
    char allowed[192];
} OptionError;

/* Parses a multiboot command line. On false *ret_error is set and *ret_options is unspecified. */
bool options_parse(const char *line, Options *ret_options, OptionError *ret_error);

/* Names of enum values as the command line spells them; valid for values options_parse() made. */
const char *options_pattern_name(uint64_t pattern);
const char *options_access_name(uint64_t access);
const char *options_touch_name(uint64_t touch);
const char *options_first_name(uint64_t first);

/* Fills *ret_error for a number outside low..high, in the given unit ("" for none). */
void options_refuse_range(OptionError *ret_error, const char *key, uint64_t value, uint64_t low,
                          uint64_t high, const char *unit);

#endif
