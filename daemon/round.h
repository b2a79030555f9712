/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One round as a value: what it is given, and, after hn_round_run(), what it saw and decided.
 *
 * Theory of operation. The manager fills the input in the main thread, hands the round to its one
 * worker thread, and gets it back there. While it runs nobody else looks into it, so it needs no
 * lock; the tools (back end, observer) are used by one round at a time because there is one worker.
 *
 *     filled by the manager → running in the worker (observe, override, decide, record) → back with
 * the manager
 *
 * A *trial* decides on a copy of the past and is never applied: `homenode plan`, `explain`,
 * `--dry-run`.
 *
 * Must not: act, log, or read a clock of its own (but for measuring how long the round itself
 * took).
 */
#pragma once

#include <homenode/policy.h>

#include "backend/backend.h"
#include "observe/observer.h"
#include "report/round_json.h"

/* What a domain would cost with another home: one forced decision on a copy of the past. */
typedef struct {
    int32_t node; /* index */
    HnPlan *plan; /* owned; NULL if undecidable */
} HnAlternative;

/* A dirty rate, kept from an earlier burst. */
typedef struct {
    uint64_t bytes_per_sec;
    uint64_t measured_ns;
} HnDirtyKept;

/* Why a domain is not tried again yet. */
typedef struct {
    HnReason reason;
    char *sentence;
    uint64_t wait_ns;
} HnWaiting;

typedef struct {
    /* Tools, borrowed. */
    HnBackend *backend;
    HnObserver *observer;

    /* Input. */
    bool is_trial;
    bool is_dry_run;          /* mode auto counts as advise */
    bool is_recorded;         /* leave a packed record in `record` */
    bool with_document;       /* leave the record as JSON in `document` */
    uint64_t now_ns;          /* CLOCK_BOOTTIME, read once by the manager */
    HnObserveOptions observe; /* fresh_uuids points into `fresh`, touch_uuids into `touched` */
    char **fresh, **touched;
    GArray *wishes;    /* HnObserveWish, ascending uuid: what each domain's doubt asks for */
    GHashTable *dirty; /* uuid → HnDirtyKept */
    GHashTable *heat;  /* uuid → HnHeatKept; NULL: nothing is known */
    HnPolicy policy;
    HnPast *past;          /* owned; before the decision, after hn_round_run() after it */
    GArray *forces;        /* HnForce */
    GArray *outcomes;      /* HnOutcome */
    GHashTable *in_flight; /* set of uuids */
    bool is_host_held;     /* every domain is held */
    GHashTable *held;      /* set of uuids: homenode pause */
    GHashTable *released;  /* set of uuids: homenode release */
    GHashTable *waiting; /* uuid → HnWaiting: an action failed, and is not to be tried again yet */
    char *explain_uuid;  /* not NULL: also fill `alternatives` for this domain */

    /* Result. */
    GError *error; /* set: nothing below is */
    HnSnapshot *snapshot;
    HnPlan *plan;
    GPtrArray *alternatives; /* HnAlternative * */
    const char
        *no_faults_because; /* of explain_uuid: a stable code, NULL if hinting faults can be had */
    uint32_t n_doubtful; /* managed domains that would give hinting faults, and are in doubt */
    GBytes *record;
    json_object *document;
    uint64_t took_ns;
} HnRound;

/* Everything empty, policy at its defaults. */
HnRound *hn_round_new(HnBackend *backend, HnObserver *observer, uint64_t now_ns);
void hn_round_free(HnRound *round);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnRound, hn_round_free)

/* Adds a domain to `waiting`. */
void hn_round_add_waiting(HnRound *round, const char *uuid, HnReason reason, const char *sentence,
                          uint64_t wait_ns);

/* Observes and decides; may block for as long as the back end does. Worker thread. */
void hn_round_run(HnRound *round);
