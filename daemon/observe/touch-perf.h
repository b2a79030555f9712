/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading page faults of one thread: the trace event's format from tracefs, and a perf ring of the
 * thread, opened and drained. What the records mean is touch-events.h's.
 *
 * One ring per vCPU thread: the kernel lets events of different threads share none. A ring that is
 * full loses what comes (and says how much); nobody is woken, the vCPU never waits.
 */
#pragma once

#include "observe/root.h"
#include "observe/touch-events.h"

/* A ring as the kernel shares it: struct perf_event_mmap_page, then n_pages pages of records. */
typedef struct {
    int fd; /* -1: not open */
    void *base;
    size_t n_pages; /* of 4 KiB … the host's page size; a power of two, without the first page */
    uint32_t n_every; /* one of so many faults is recorded */
    uint32_t n_every_before; /* the same between the last two drains: what is told lost was lost then */
    uint64_t peak;    /* faults between two drains lately; hn_perf_next_every() keeps it */
} HnPerfRing;
#define HN_PERF_RING_NONE ((HnPerfRing){.fd = -1})

/* The kernel, behind pointers so that tests can be it. */
typedef struct {
    /* hn_touch_format_read() */
    const char *(*find_event)(void *user_data, const HnRoot *root, bool is_kvm,
                              const HnTouchEvent **ret_event, HnTouchFormat *ret_format);
    /* Opens the trace event `id` for thread tid, recording one of n_every events: 0 or -errno.
     * ret_ring's descriptor and memory are the caller's until close. */
    int (*open)(void *user_data, int32_t tid, uint64_t id, uint32_t n_every, size_t n_pages,
                HnPerfRing *ret_ring);
    /* 0 or -errno; then the ring goes on as it did. */
    int (*set_every)(void *user_data, HnPerfRing *ring, uint32_t n_every);
    void (*close)(void *user_data, HnPerfRing *ring);
    void *user_data;
} HnPerfOps;
const HnPerfOps *hn_perf_ops_kernel(void);

/* Pages of records per vCPU for a domain with so many: 64 KiB each up to 64 vCPUs, 16 KiB each from
 * 256 on, a power of two between (docs/evidence.md: what that costs). */
size_t hn_perf_ring_pages(uint32_t n_vcpus);

/* Takes everything out of the ring and parses it. `buffer` is for its use (content lost). */
void hn_perf_ring_drain(HnPerfRing *ring, const HnTouchFormat *format, const HnTouchEvent *event,
                        GByteArray *buffer, HnTouchFunc func, void *user_data, HnTouchTally *tally);

/* One of how many events to record from now on, after a drain: the smallest of 1, 3, 7, 17, 41, 101
 * with which the most that came lately (`peak`, which loses an eighth per drain) fills three quarters
 * of the ring. Faults come in bursts, a scan or a window of dirty logging at a time: the quiet between
 * says nothing of the next. Odd steps: one touch can be two or three faults in a row, of which an even
 * step would always pick the same. */
uint32_t hn_perf_next_every(HnPerfRing *ring, const HnTouchTally *drained);

/* Why touches cannot be sampled, as a stable code; NULL: they can.
 * - "captured-machine": a captured machine has no threads to watch
 * - "no-trace-event": tracefs is not mounted, or KVM is not loaded, or the kernel has no such event
 * - "tracefs-denied": the event's format may not be read
 * - "perf-denied": perf_event_open(2) was refused: CAP_PERFMON is missing; where Debian's or Ubuntu's
 *   kernel.perf_event_paranoid is above 2, CAP_SYS_ADMIN
 * - "no-perf": the kernel has no perf events
 * - "no-descriptors": the limit of open files (LimitNOFILE=) is reached
 * - "no-ring-memory": the limit of locked memory (LimitMEMLOCK=, kernel.perf_event_mlock_kb) is
 *   reached
 * - "shared-thread": all vCPUs take turns on one thread (round-robin TCG): who touched is not known
 * - "no-chunk-map": the guest's RAM was not found or not probed yet */
#define HN_TOUCH_SHARED_THREAD "shared-thread"
#define HN_TOUCH_NO_CHUNK_MAP "no-chunk-map"
#define HN_TOUCH_CAPTURED "captured-machine"
#define HN_TOUCH_NO_DESCRIPTORS "no-descriptors"

/* What an errno of HnPerfOps.open means; NULL for ESRCH: the thread ended, which is ordinary. */
const char *hn_perf_impediment(int error_number);
/* One English sentence for a code: what it means and what would help. */
const char *hn_touch_impediment_sentence(const char *code);

/* Finds the first event of the kind that this kernel has. Returns NULL, or a code from above. */
const char *hn_touch_format_read(const HnRoot *root, bool is_kvm, const HnTouchEvent **ret_event,
                                 HnTouchFormat *ret_format);

/* May this process sample page faults of KVM guests? Opens and closes a ring on the calling thread.
 * For `homenode doctor`. */
const char *hn_touch_check(const HnRoot *root, const HnPerfOps *ops);
