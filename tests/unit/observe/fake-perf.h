/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Perf rings without a kernel: memory laid out like the kernel's, filled by the test.
 */
#pragma once

#include "observe/touch-perf.h"

/* As many bytes as the kernel writes for kvm:kvm_page_fault with PERF_SAMPLE_RAW. */
#define FAKE_RECORD_BYTES 56

typedef struct {
    int32_t tid;
    HnPerfRing *ring; /* of whoever opened it */
    uint64_t n_waiting_lost;
} FakePerfRing;

typedef struct {
    GPtrArray *rings;      /* FakePerfRing *, open ones */
    const char *no_event;  /* not NULL: a code, there is no event */
    int fail_with;         /* errno for every open; 0: none */
    uint32_t fail_after;   /* … from this many open rings on */
    uint32_t n_opened, n_closed;
    uint64_t last_id;
} FakePerf;

FakePerf *fake_perf_new(void);
void fake_perf_free(FakePerf *perf); /* all rings must be closed */
HnPerfOps fake_perf_ops(FakePerf *perf);

/* A fault of thread tid, as kvm_page_fault's raw data of Linux 6.12 (error code: 2 is a write). Lost
 * if the ring is full or nobody watches the thread. */
void fake_perf_fault(FakePerf *perf, int32_t tid, uint64_t address, uint64_t error_code);
/* Writes one record into a ring, false if there is no room. */
bool fake_ring_write(HnPerfRing *ring, const void *record, size_t len);
/* A sample record; returns its length (FAKE_RECORD_BYTES). */
size_t fake_sample(uint8_t *ret_record, uint64_t address, uint64_t error_code);

/* Text of events/kvm/kvm_page_fault/format and events/exceptions/page_fault_user/format, Linux
 * 6.12. */
extern const char *const fake_kvm_format;
extern const char *const fake_tcg_format;
