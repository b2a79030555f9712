/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door to acting: a plan goes in, outcomes come out.
 *
 * Theory. All state of an actuator belongs to the thread that made it (the main loop's). Whatever may block
 * runs elsewhere and only sends a result back: pins and nodesets in a small pool of threads, one at a time per
 * domain; memory in one mover thread per destination node. A plan's actions run step by step: those of one
 * step together, the next step when all of the step before have ended, however they ended. When an action of
 * a domain fails, the later ones of that domain are given up for the same reason (memory is never moved
 * against vCPUs that could not be pinned); other domains go on.
 *
 * Several plans may be under way. A new plan overtakes the older ones only for the domains it has actions for:
 * their queued work ends as SUPERSEDED, a running kernel call is finished first; all other domains continue.
 *
 * An action's life (HnOutcome is reported once, at the end):
 *
 *     waiting -> running -> ended (DONE, DONE_WITH_RESIDUE, NODE_FULL, VANISHED, BACKED_OFF, …)
 *     waiting -> ended            (SUPERSEDED, RELEASED, MIGRATING, DOMAIN_BUSY, VANISHED, an earlier failure)
 *
 * A pause keeps work waiting; a job of the domain (migration, save, …) ends it, for the world will have
 * changed afterwards.
 *
 * Must not: decide where anything belongs; act on a captured machine (every action ends as ADVISE_ONLY there).
 */
#pragma once

#include <homenode/plan.h>
#include <homenode/policy.h>

#include "backend/backend.h"
#include "observe/root.h"
#include "journal.h"
#include "batch.h"
#include "limits.h"
#include "syscalls.h"

typedef struct HnActuator HnActuator;

/* One action ended. Called in the main context that was the thread's default when the actuator was made, never
 * from inside a function of this header except hn_actuator_release_wait(). `outcome->kind` is the action's;
 * for a release, HN_ACTION_UNFENCE with generation 0. `sentence`: English, with numbers, errno and the
 * missing capability. Both belong to the caller. */
typedef void (*HnOutcomeFunc)(const HnOutcome *outcome, const char *sentence, void *user_data);

/* Backend, root and journal are borrowed and must outlive the actuator; limits are copied. */
HnActuator *hn_actuator_new(HnBackend *backend, const HnRoot *root, HnJournal *journal, const HnLimits *limits,
                            HnOutcomeFunc func, void *user_data);
/* The same with another kernel (tests): a captured root is then acted upon through these calls. */
HnActuator *hn_actuator_new_full(HnBackend *backend, const HnRoot *root, HnJournal *journal, const HnLimits *limits,
                                 HnOutcomeFunc func, void *user_data, const HnSyscalls *syscalls);
/* Ends all work after the kernel or libvirt call now running (no outcomes any more) and joins the threads.
 * Restores nothing: hn_actuator_release_wait() comes first where that is wanted. */
void hn_actuator_free(HnActuator *actuator);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnActuator, hn_actuator_free)

/* Takes what it needs from both; they may be freed at once. A plan older than the last one is refused whole
 * (each action SUPERSEDED). */
void hn_actuator_submit(HnActuator *actuator, const HnPlan *plan, const HnSnapshot *snapshot);

/* Optional, once a round, also when there is no plan: what the guests' run delay is while nothing moves, against
 * which back-off then measures. (hn_actuator_submit() does it too.) */
void hn_actuator_observe(HnActuator *actuator, const HnSnapshot *snapshot);

/* Uuids with work waiting or running, ascending: hn_decide()'s `in_flight`. Free with g_strfreev. */
char **hn_actuator_in_flight(HnActuator *actuator);

typedef struct {
    bool is_moving;          /* a memory action waits or runs */
    HnReason reason;         /* IN_PROGRESS; BACKED_OFF, PAUSED_BY_ADMIN: why it is slow or halted */
    uint64_t bytes_done;     /* of the actions under way, else of the last ones */
    uint64_t bytes_total;    /* asked for; less may turn out to be elsewhere */
    uint64_t cold_bytes_done; /* of bytes_done, in the slow lane: memory nobody was seen to touch */
    bool is_cold;            /* that is what moves now */
    uint64_t bytes_per_sec;  /* mean since the first byte, pauses included */
    uint64_t calls;          /* move_pages calls that moved something */
    uint64_t call_p50_ns, call_p99_ns, call_max_ns; /* upper bound of the histogram's bucket (12 % steps) */
    uint64_t residue_bytes;  /* would not move */
    uint32_t speed_permille; /* what back-off leaves of the allowed rate; 0: paused by pressure */
} HnProgress;

/* False if nothing was ever moved for that domain. */
bool hn_actuator_progress(HnActuator *actuator, const char *uuid, HnProgress *ret_progress);

/* How long the calls of move_pages took since the beginning, of all domains. */
void hn_actuator_call_times(HnActuator *actuator, HnCallTimes *ret_times);

/* uuid NULL: the whole host. Running kernel calls end, nothing new begins, until resumed. Pauses of the host and
 * of a domain are independent; work continues when neither holds. Pins are held back too. */
void hn_actuator_set_paused(HnActuator *actuator, const char *uuid, bool is_paused);
bool hn_actuator_is_paused(HnActuator *actuator, const char *uuid);

/* Take effect with the next batch. */
void hn_actuator_set_limits(HnActuator *actuator, const HnLimits *limits);

/* A migration, save, snapshot … of the domain began: its work ends as MIGRATING or DOMAIN_BUSY, and so does
 * whatever is submitted until it ended. */
void hn_actuator_job_began(HnActuator *actuator, const char *uuid, HnJob job);
void hn_actuator_job_ended(HnActuator *actuator, const char *uuid);
/* The domain is gone: its work ends as VANISHED, its journal entry is deleted. */
void hn_actuator_domain_stopped(HnActuator *actuator, const char *uuid);

/* Pins changed (HN_CHANGE_TUNABLE): tells ours from the admin's. True if this is the admin's and the piece was
 * ours until now; it is yielded: not pinned and not restored by us from now on. */
bool hn_actuator_note_tunable(HnActuator *actuator, const char *uuid, const char *key, const char *value);
/* True if this value on that piece was set by us (thread-safe, = hn_journal_owns_pin()). */
bool hn_actuator_owns_pin(HnActuator *actuator, const char *uuid, const char *key, const HnCpuset *cpus);

/* Puts pins and nodeset back and forgets the domain; its queued work ends as RELEASED. Outcome RELEASED, or why
 * not (the journal entry then stays, and release may be asked for again). Memory stays where it is. */
void hn_actuator_release(HnActuator *actuator, const char *uuid);
void hn_actuator_release_all(HnActuator *actuator);
/* The same and waits until all have ended or timeout_ns is over; outcomes are reported from inside. uuid NULL:
 * all. True if everything was restored; else the error tells the first failure: G_IO_ERROR_FAILED with the domain and
 * the sentence, or G_IO_ERROR_TIMED_OUT. Sysctls are restored too when uuid is NULL. */
bool hn_actuator_release_wait(HnActuator *actuator, const char *uuid, uint64_t timeout_ns, GError **error);
