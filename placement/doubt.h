/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The doubt machine: one state per domain that says which evidence is worth its price now.
 *
 * Theory of operation. A rung of the ladder (docs/evidence.md) is climbed only while the placement of
 * a domain is in doubt. Each round the machine is given facts; the most telling one becomes an event,
 * and the table in doubt.c says where it leads. What can be a whim of the measurement (load,
 * residency) is looked at twice: DISTURBED is the first look. What cannot (another topology, another
 * wish) leads to SAMPLING at once. SAMPLING ends when enough was seen or when a number of rounds
 * passed without a change; then the domain is SETTLED, is looked at again after an interval that
 * doubles while nothing changes (AutoNUMA's scan_sleep_pass, and the kernel's scan period, are the
 * ancestors), and may be fenced.
 *
 * Pure: time and facts are arguments. All of its state is HnDoubt, kept in the past.
 */
#pragma once

#include <homenode/doubt.h>
#include <homenode/policy.h>

/* Rounds without load after which a domain sleeps: a guest that only ticks must not be watched. */
#define HN_DOUBT_IDLE_ROUNDS 5
/* Below this it has no load (thousandths of a CPU): an idle Linux guest stays below it. */
#define HN_DOUBT_IDLE_MCPU 20
/* At least so much of the memory must be local for the fence. */
#define HN_DOUBT_FENCE_PERMILLE 990
/* A settled domain is fenced this long after sampling ended: a fence that is put up and taken down writes the
 * cpuset of every thread each time. */
#define HN_DOUBT_FENCE_CALM_NS (UINT64_C(30) * 1000000000)

typedef struct {
    HnDoubtState state;
    HnDoubtCause cause;
    uint64_t since_ns;   /* the state was entered then */
    uint64_t changed_ns; /* the last change of anything (but for being looked at) */
    uint64_t checked_ns; /* SAMPLING ended last then */
    uint64_t recheck_ns; /* after that time it is looked at again */
    uint32_t n_rounds;   /* SAMPLING: in a row without a change */
    uint32_t n_idle;     /* rounds in a row without load */
    bool has_load;
    uint64_t load_mcpu; /* of the last round that was long enough, unsmoothed */

    /* What it was like while it was known: a change is measured against that. */
    bool has_reference;
    uint64_t low_mcpu, high_mcpu; /* least and most load while sampling */
    uint64_t resident_bytes;
    uint32_t local_permille;
    uint32_t error_permille;
    uint64_t shape, wish, topology; /* hashes */
    uint64_t moved_ns;              /* last re-home */
    uint64_t proposal;              /* hash of the homes proposed; 0: none */

    /* Accesses local, as last measured. */
    uint64_t accesses_ns; /* 0: never */
    uint32_t accesses_permille;
    uint32_t accesses_error_permille;
    uint64_t touch_mark; /* differs when there are new touches */
    /* After a re-home: what is counted before this scan of its memory is about the home before.
     * 0: no such limit. */
    uint64_t trusted_seq;
    uint64_t arrived_ns; /* when it was last seen on its way; not kept over a restart */
} HnDoubt;

/* What one round knows. */
typedef struct {
    uint64_t now_ns;
    bool is_full_round; /* long enough after the last one to count, and for rates to mean something */
    bool is_managed;
    bool is_measured; /* rates and residency are there */
    bool is_busy;     /* a job of the domain runs: nothing that needs its monitor */
    bool is_moving; /* a re-home of it is being carried out: pins, memory */
    bool is_running;
    bool has_load;
    uint64_t load_mcpu;
    bool has_dirty; /* a recent dirty rate … */
    uint64_t dirty_bytes_per_sec;
    uint64_t dirty_age_ns; /* UINT64_MAX: never measured */
    uint64_t resident_bytes;
    uint32_t local_permille;
    uint32_t error_permille; /* half width of the 95 % interval of the former */
    uint64_t shape, wish, topology;
    uint64_t moved_ns;
    uint64_t proposal;
    bool will_act;  /* the plan has actions for it */
    bool is_forced; /* by an order */
    bool is_fenced;
    bool has_room; /* its home has memory to spare: a fence cannot starve it */
    bool is_split; /* its vCPUs and memory belong to several clients, or it fits no node */
    bool is_window_open; /* some other domain is being sampled: hinting is on anyway */
    /* Touches of this round (accesses local); 0: none. */
    bool has_accesses;
    uint32_t accesses_permille;
    uint32_t accesses_error_permille;
    uint64_t touch_mark;
    uint64_t scan_seq; /* the kernel's scans of its memory so far; 0: touches of another source */
} HnDoubtFacts;

/* What the facts amount to: the first that applies, in this order. */
#define HN_DOUBT_EVENTS(X)                                                                         \
    X(UNMANAGED) /* it is not ours to judge */                                                     \
    X(BLIND)     /* not measured in this round */                                                  \
    X(CERTAIN)   /* a change that cannot be a whim: topology, wish, shape, decision, move, order */\
    X(IDLE)      /* no load for HN_DOUBT_IDLE_ROUNDS */                                            \
    X(SUSPECT)   /* load or residency is not what it was */                                        \
    X(ENOUGH)    /* SAMPLING: enough seen, or the budget of rounds is used up */                   \
    X(FENCED)    /* its nodeset is closed */                                                       \
    X(DUE)       /* SETTLED: time to look again */                                                 \
    X(CALM)      /* none of these */                                                               \
    X(NEIGHBOUR) /* given by hn_doubt_neighbour() only */

typedef enum {
#define X(code) HN_DOUBT_EVENT_##code,
    HN_DOUBT_EVENTS(X)
#undef X
    HN_N_DOUBT_EVENTS
} HnDoubtEvent;

/* Where an event leads: the table itself, for tests and for the manual. */
HnDoubtState hn_doubt_next(HnDoubtState state, HnDoubtEvent event);
/* One round. Returns the event that counted. */
HnDoubtEvent hn_doubt_step(HnDoubt *doubt, const HnDoubtFacts *facts, const HnPolicy *policy);
/* Another domain, a big one, woke in this round: whatever was known was known without it. */
void hn_doubt_neighbour(HnDoubt *doubt, const HnDoubtFacts *facts, const HnPolicy *policy);
/* Which rungs are worth their price now. */
HnDoubtAnswer hn_doubt_answer(const HnDoubt *doubt, const HnDoubtFacts *facts);

/* The state as text, lines "doubt …", "reference …", "accesses …", "trusted …" (past_text.c has the format). */
#define HN_DOUBT_LINE_FIELDS 10
void hn_doubt_format(const HnDoubt *doubt, GString *text);
/* The numbers of one such line; false: out of range. */
bool hn_doubt_read(HnDoubt *doubt, const uint64_t *field);
bool hn_doubt_read_reference(HnDoubt *doubt, const uint64_t *field);
bool hn_doubt_read_accesses(HnDoubt *doubt, const uint64_t *field);
bool hn_doubt_read_trusted(HnDoubt *doubt, const uint64_t *field);
