/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Page faults of vCPU threads as the kernel's trace events tell them: which event for which guest,
 * where its fields lie, and what the records of a perf ring say. Pure: nothing here opens a file.
 *
 * A fault is a touch: with NUMA hinting or dirty logging on, the kernel has unmapped (or
 * write-protected) pages, and the first vCPU that needs one of them faults. Without either there
 * are next to none (docs/evidence.md).
 *
 * Bytes of a ring are the kernel's, but they are treated like anybody's: every length is checked,
 * unknown records are skipped, malformed ones end the walk and are counted.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* A trace event that tells touches. */
typedef struct {
    const char *path;          /* below tracefs' events folder: "kvm/kvm_page_fault" */
    const char *address_field; /* of the format file */
    const char *flags_field;
    uint64_t write_mask; /* of the flags: the access was a write */
    bool is_gpa;         /* the address is guest-physical; else in QEMU's address space */
} HnTouchEvent;

/* Events to try in this order for a guest of this kind; ends with a NULL path.
 * KVM: kvm_page_fault (x86: the error code of AMD and the exit qualification of Intel both say
 * "write" in bit 1), kvm_guest_fault (arm64: bit 6 of ESR_EL2 is WnR). TCG: page_fault_user.
 * Sources: Linux 6.12 arch/x86/kvm/trace.h, arch/arm64/kvm/trace_arm.h,
 * arch/x86/include/asm/trace/exceptions.h. */
const HnTouchEvent *hn_touch_events(bool is_kvm);

/* Where an event's fields lie in the raw data of a sample. */
typedef struct {
    uint64_t id; /* for perf_event_attr.config */
    uint32_t address_offset;
    uint32_t flags_offset;
    uint32_t flags_bytes; /* 4 or 8; the address has 8 */
} HnTouchFormat;

/* Parses EVENT/format of tracefs. Unknown lines and fields are skipped. Error:
 * HN_MODEL_ERROR_SYNTAX if the id or one of the two fields is missing or has an impossible place. */
bool hn_touch_format_parse(const char *text, size_t len, const HnTouchEvent *event,
                           HnTouchFormat *ret_format, GError **error);

typedef struct {
    uint64_t address;
    bool is_write;
} HnTouch;
typedef void (*HnTouchFunc)(const HnTouch *touch, void *user_data);

/* What was in a ring. */
typedef struct {
    uint64_t n_touches;
    uint64_t n_lost;      /* the kernel found no room for them */
    uint64_t n_malformed; /* records that make no sense; what followed the last one is dropped */
} HnTouchTally;

/* Walks `len` bytes of records made with sample_type PERF_SAMPLE_RAW alone and sample_id_all 0, and
 * calls `func` for each sample. Adds to *tally. */
void hn_touch_records_parse(const uint8_t *data, size_t len, const HnTouchFormat *format,
                            const HnTouchEvent *event, HnTouchFunc func, void *user_data,
                            HnTouchTally *tally);
