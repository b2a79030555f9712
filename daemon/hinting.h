/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The duty cycle of the kernel's NUMA balancing: kernel.numa_balancing is on while a managed domain
 * is in doubt, and as it was before otherwise.
 *
 * Theory of operation. Hinting faults cost every process of the host something, so they are wanted
 * only while they tell something. Each round says whether they are (hn_hinting_want()); what follows
 * from that, from the value in force and from the journal is one pure function
 * (hn_hinting_decide()). The value before is journalled before it is changed (apply/journal.h): after
 * a crash the next start finds it and puts it back when the doubt has ended, or at once if switching
 * is not allowed any more.
 *
 *     as found → on          wanted, allowed, off           on → as found     not wanted any more
 *     on → the admin's       somebody else changed it: left alone until the daemon restarts or its
 *                            configuration is read again
 *
 * An admin who has it on keeps it on: it is never switched off by us. Values above 1 (memory
 * tiering) keep their other bits.
 *
 * Must not: be used from two threads; decide what is in doubt (placement/doubt.h does).
 */
#pragma once

#include "apply/journal.h"

#define HN_HINTING_PATH "proc/sys/kernel/numa_balancing"
/* How much of a guest one scan covers, in MiB: debugfs, since Linux 5.13. */
#define HN_HINTING_SCAN_PATH "sys/kernel/debug/sched/numa_balancing/scan_size_mb"

typedef enum {
    HN_HINTING_AS_FOUND, /* not wanted: as the host has it */
    HN_HINTING_ON,       /* switched on by us */
    HN_HINTING_NATIVE,   /* wanted, and on anyway */
    HN_HINTING_DENIED,   /* wanted, off, and the configuration forbids to switch it on */
    HN_HINTING_ADMINS,   /* somebody changed it while it was ours: left alone */
    HN_HINTING_REFUSED,  /* the kernel did not let us */
    HN_HINTING_ABSENT,   /* this kernel has no such thing */
} HnHintingState;

typedef enum { HN_HINTING_NOTHING, HN_HINTING_SET, HN_HINTING_RESTORE, HN_HINTING_FORGET } HnHintingAct;

/* What is known when a switch is decided. */
typedef struct {
    bool is_wanted, is_allowed;
    const char *value;    /* in force; NULL: the kernel has no such setting */
    const char *original; /* journalled: before us; NULL: we have not touched it */
    const char *set;      /* journalled: ours; NULL with the former */
    bool was_seen_set;    /* this run has seen our value in force */
    bool is_yielded;      /* the admin has taken it over in this run */
    bool has_failed;      /* the kernel refused it while it has been wanted */
} HnHintingFacts;

typedef struct {
    HnHintingState state; /* after the act has succeeded */
    HnHintingAct act;
    uint64_t value; /* SET: to this */
} HnHintingStep;

/* Pure. FORGET is followed by another decision without the journal's entry. */
HnHintingStep hn_hinting_decide(const HnHintingFacts *facts);

typedef struct HnHinting HnHinting;
/* journal and root are borrowed. A dry run changes nothing, whatever is wanted. */
HnHinting *hn_hinting_new(HnJournal *journal, const HnRoot *root, bool is_dry_run);
void hn_hinting_free(HnHinting *hinting);
/* Wanted by n_doubtful domains (0: not wanted); scan_mib 0: the kernel's. Returns a sentence for the
 * log when something was switched or went wrong, else NULL; caller frees. */
char *hn_hinting_want(HnHinting *hinting, uint32_t n_doubtful, bool is_allowed, uint64_t scan_mib);
/* The configuration was read again: who had taken it over, or refused it, is asked anew. */
void hn_hinting_reset(HnHinting *hinting);
/* Puts everything back; false with the first error. */
bool hn_hinting_end(HnHinting *hinting, GError **error);

HnHintingState hn_hinting_state(const HnHinting *hinting);
const char *hn_hinting_state_name(HnHintingState state); /* "on", "the-admins", … */
/* One English sentence: how the setting stands, and why. Caller frees. */
char *hn_hinting_sentence(const HnHinting *hinting);
