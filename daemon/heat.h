/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whom DAMON watches: heat of chunks for domains that give no touches (observe.damon, off by default).
 *
 * Theory of operation. There is one kdamond, so one domain is watched at a time: one that is in doubt, that may be
 * acted upon, and of which no touch is known. It is watched as long as that holds; if others wait, for LOOK_NS, and
 * then it is the turn of who has waited longest. After each round one errand at most is sent into a thread of the GTask
 * pool, because each may wait for the kernel: switch on and ask, ask again, or switch off. What was told is kept per
 * domain and laid over the snapshots of the next rounds (observe/damon.h), where it fades.
 *
 *     off → (errand: on, ask) → watching → (errand: ask) → watching → (errand: off) → off
 *     on refused: not tried again for RETRY_NS
 *
 * Must not: switch anything in a dry run; watch a domain of mode advise, or one that is paused or has a job.
 */
#pragma once

#include "damon_switch.h"

#include <homenode/plan.h>
#include <homenode/snapshot.h>

/* What is known of one domain; shared with rounds, never changed once it is made. */
typedef struct {
    gatomicrefcount n_refs;
    int64_t pid; /* with start_ticks: the process that it is about */
    uint64_t start_ticks;
    GArray *ranges; /* HnDamonRange; NULL: it was never told */
    uint64_t told_ns;
    bool is_on;
    const char *impediment; /* static; NULL: none */
} HnHeatKept;
void hn_heat_kept_unref(HnHeatKept *kept);
/* Lays it over a domain of a new snapshot; nothing if it is about another process. */
void hn_heat_kept_lay(const HnHeatKept *kept, uint64_t now_ns, HnDomain *domain);

typedef struct HnHeat HnHeat;
/* journal and root are borrowed. What an earlier daemon left switched on is switched off, unless this is a dry run. */
HnHeat *hn_heat_new(HnJournal *journal, const HnRoot *root, bool is_dry_run);
/* No errand of it may be under way any more. */
void hn_heat_free(HnHeat *heat);

/* After a round. `held` (set of uuids) are not to be watched; nobody is, if is_allowed is false. *n_calls counts
 * errands under way. */
void hn_heat_want(HnHeat *heat, const HnPlan *plan, const HnSnapshot *snapshot, GHashTable *held, bool is_allowed,
                  guint *n_calls);
/* The configuration was read again: what was refused is tried again. */
void hn_heat_reset(HnHeat *heat);
/* At the end, when no errand is under way: switches off. */
bool hn_heat_end(HnHeat *heat, GError **error);

/* For a round: uuid → HnHeatKept, to be filled in before the round; caller unrefs. */
GHashTable *hn_heat_known(const HnHeat *heat);
/* True while a kdamond is set up that is ours. */
bool hn_heat_is_on(const HnHeat *heat);
/* Why DAMON was refused last, as a code; NULL: it was not. */
const char *hn_heat_impediment(const HnHeat *heat);

/* The next domain to watch (index into the snapshot's domains), -1: none. Pure; `current` (NULL: none) is being watched
 * since look_ns; looks: uuid → *uint64_t, when it was watched last. For tests. */
int hn_heat_choose(const HnPlan *plan, const HnSnapshot *snapshot, GHashTable *held, const char *current,
                   uint64_t look_ns, GHashTable *looks);
