/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the manager remembers of each domain from one round to the next: its account, what the
 * operator said of it (pause, release), the job it is in, and the statistics element last written.
 *
 * Plain bookkeeping in the main thread: no I/O, no clock, no decision.
 *
 * A domain's operator state:
 *     normal → held      pause            held → normal      resume
 *     normal → released  release          released → normal  rebalance, enable, resume, new opt-in
 * metadata
 * Both end with the guest's process as well; a restart of the daemon they outlive (operator_state.h).
 */
#pragma once

#include <homenode/policy.h>

#include "report/status.h"

typedef struct {
    char uuid[HN_UUID_LEN + 1];
    char *name;
    int64_t pid;          /* of the process that orders and counters belong to; 0: not known */
    uint64_t start_ticks; /* likewise */
    HnAccount account;
    bool is_held;
    bool is_released;
    HnMode mode; /* as last seen, before any override */
    HnJob job;
    char *invalid; /* the complaint about its metadata that was last logged */

    /* Release under way: asked for, not answered; asked again not before retry_ns. */
    bool is_left_over; /* pinned by an earlier run, to be restored (config on-start) */
    bool is_releasing;
    uint64_t release_retry_ns;

    /* The plan now being carried out for it. */
    uint64_t generation;
    bool is_move_counted;
    HnReason decided_for;
    char *from, *to; /* kernel node ids as text, NULL: none */
    uint32_t score_before, score_predicted;

    /* Failed actions are tried again after a wait that doubles; retry_ns 0: nothing stands against
     * trying. */
    uint32_t n_failures; /* in a row */
    uint64_t retry_ns;
    HnReason failure_reason;
    char *failure;

    /* Statistics element. */
    char *stats_xml; /* last written, NULL: none there */
    char *stats_key; /* the same without the times */
    uint64_t stats_written_ns;
    bool is_stats_busy; /* a write is under way */

    /* Dirty rate (dirty.c). */
    bool is_dirty_busy;          /* a burst is under way */
    uint64_t dirty_ns;           /* when it was measured, 0: never */
    uint64_t dirty_bytes_per_sec;
    uint64_t dirty_retry_ns;     /* not asked for before this */
    char *dirty_problem;         /* why the last burst came to nothing, NULL: it did not */

    /* Counters of the round before, for rates. */
    uint64_t seen_ns;
    uint64_t exec_ns, run_delay_ns;
} HnGuest;

typedef struct HnGuests HnGuests;
HnGuests *hn_guests_new(void);
void hn_guests_free(HnGuests *guests);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnGuests, hn_guests_free)

/* NULL if unknown. */
HnGuest *hn_guests_get(const HnGuests *guests, const char *uuid);
/* Creates it when unknown. name may be NULL. */
HnGuest *hn_guests_want(HnGuests *guests, const char *uuid, const char *name);
void hn_guests_remove(HnGuests *guests, const char *uuid);
/* All, ascending uuid; container owned by the caller (g_ptr_array_unref). */
GPtrArray *hn_guests_list(const HnGuests *guests);

/* Takes over names, processes, CPU use and run delay of a new snapshot, ends the orders to a guest that
 * has another process now, and forgets domains that are not in it: unless a release of theirs is under
 * way, or an order stands whose process is known and may still run (a monitor that does not answer yet);
 * those whoever can tell removes. */
void hn_guests_observe(HnGuests *guests, const HnSnapshot *snapshot);
/* Remembers what `plan` decided for the domain, for the outcomes to come. */
void hn_guest_decided(HnGuest *guest, const HnVerdict *verdict, uint64_t generation,
                      const HnHost *host);
/* An action of the domain ended. True if this completed a re-home. */
bool hn_guest_outcome(HnGuest *guest, const HnOutcome *outcome);
/* Keeps count of failures: an action that failed for a reason that will still hold in two seconds
 * (the admin's pin, a missing privilege, a busy libvirt) is not tried again at once. */
void hn_guest_note_failure(HnGuest *guest, const HnOutcome *outcome, const char *sentence,
                           uint64_t now_ns);
/* Something about the domain changed: it may be tried again now. */
void hn_guest_forget_failures(HnGuest *guest);
/* Notes the last thing done, for statistics and tables. */
void hn_guest_note(HnGuest *guest, HnReason reason, const char *sentence, int64_t unix_s);

/* Sets of uuids (owned strings) of the held and of the released domains, added to `set`. */
void hn_guests_add_held(const HnGuests *guests, GHashTable *set);
void hn_guests_add_released(const HnGuests *guests, GHashTable *set);
