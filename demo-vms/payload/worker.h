/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: what every vCPU does after start-up, and the counters it leaves in memory.
 *
 * Theory of operation: each vCPU first-touches its part of memory, waits for the others, then works
 * in blocks of some hundred touches and looks at the TSC between blocks: phase changes, sleeping
 * for duty, rate or idleness, and (vCPU 0 only) the progress line. No locks: each vCPU writes one
 * cache line of statistics and nothing else outside the layout. Time is counted from the moment
 * each vCPU passed the barrier, so TSCs need not agree.
 *
 * Allowed states: BOOT → TOUCH → BUSY ⇄ IDLE, BUSY → DONE.
 */
#ifndef DEMO_WORKER_H
#define DEMO_WORKER_H

#include "layout.h"

typedef enum { STATE_BOOT, STATE_TOUCH, STATE_BUSY, STATE_IDLE, STATE_DONE } State;

typedef struct {
    volatile uint64_t touches; /* loads or stores of the pattern; a read-and-write counts once */
    volatile uint64_t sweeps;  /* complete passes over the slice */
    volatile uint64_t phase;
    volatile uint64_t state;         /* State */
    volatile uint64_t first_touches; /* pages touched before the barrier */
    uint64_t unused[3];
} VcpuStats;

/* Readable from outside at the GPA that the first serial line gives as stats=. */
typedef struct {
    char magic[8]; /* "HNGUEST1" */
    uint64_t n_vcpus;
    uint64_t stride_bytes;
    uint64_t unused[5];
    VcpuStats vcpu[MAX_VCPUS];
} Stats;

/*
 * Every word the pattern stores tells who stored it and when: 0x484E in the top 16 bits ("HN"), the
 * vCPU in the next 16, the number of its sweep counted from 1 in the low 32; 0 there: first touch.
 */
#define WORD_TAG ((uint64_t)0x484E << 48)
#define WORD_VCPU_SHIFT 32
#define WORD_SWEEPS_MASK UINT32_MAX

/* Hands options and layout, which must outlive the workers, to all of them. origin_tsc is time 0 of
 * the progress lines. */
void worker_prepare(const Options *options, const Layout *layout, uint64_t origin_tsc);

const Stats *worker_stats(void);

/* Runs one vCPU's part. Returns on vCPUs other than 0 when options->sweeps are done; on vCPU 0 when
 * all are. */
void worker_run(unsigned vcpu);

#endif
