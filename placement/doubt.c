/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The doubt machine: see doubt.h. The table is the machine; the rest turns facts into events and
 * keeps the books.
 */
#include "doubt.h"

/* A load differs from a known one by this part of it, and by at least so much: a guest's tick, or
 * one more light process, is no news. */
#define LOAD_DIVISOR 4
#define LOAD_MIN_MCPU 150
/* Share of memory that must have moved, besides the error of both measurements. */
#define LOCAL_MIN_PERMILLE 20
/* Growth or ballooning that counts: this part of what was resident, and at least so much. */
#define RESIDENT_DIVISOR 8
#define RESIDENT_MIN_BYTES (UINT64_C(16) << 20)
/* A guest that uses no CPU but writes this much is not idle (its devices work). */
#define IDLE_DIRTY_BYTES_PER_SEC (UINT64_C(1) << 20)
/* Rounds without a change before evidence can be enough. */
#define MIN_ROUNDS 3
/* Accesses local are known well enough with an interval of this half width. */
#define ACCESSES_ERROR_PERMILLE 100
/* The kernel halves a thread's counts at each scan: three scans after the last page of a re-home seven
 * eighths of them are of the new home. */
#define STALE_SCANS 3
/* The same for touches of another source, whose half-life is 30 s (docs/evidence.md). */
#define STALE_NS (60 * UINT64_C(1000000000))
/* Looked at together with others when so much of the interval has passed (numerator of 4): hinting
 * is then switched on once for all of them. */
#define EARLY_QUARTERS 3

/* Row: state before. Column: event, in the order of HN_DOUBT_EVENTS. */
#define O HN_DOUBT_UNMANAGED
#define U HN_DOUBT_UNKNOWN
#define S HN_DOUBT_SAMPLING
#define T HN_DOUBT_SETTLED
#define F HN_DOUBT_FENCED
#define D HN_DOUBT_DISTURBED
#define A HN_DOUBT_ASLEEP
/* clang-format off */
static const uint8_t table[HN_N_DOUBT_STATES][HN_N_DOUBT_EVENTS] = {
    /*              unmanaged blind certain idle suspect enough fenced due calm neighbour */
    /* unmanaged */ {O,       U,    U,      U,   U,      U,     U,     U,  U,   O},
    /* unknown   */ {O,       U,    S,      S,   S,      S,     F,     S,  S,   U},
    /* sampling  */ {O,       U,    S,      A,   S,      T,     S,     S,  S,   S},
    /* settled   */ {O,       T,    S,      A,   D,      T,     F,     S,  T,   S},
    /* fenced    */ {O,       F,    S,      F,   D,      F,     F,     F,  T,   D},
    /* disturbed */ {O,       T,    S,      A,   S,      T,     F,     S,  T,   S},
    /* asleep    */ {O,       A,    S,      A,   D,      D,     D,     D,  D,   A},
};
/* clang-format on */
#undef O
#undef U
#undef S
#undef T
#undef F
#undef D
#undef A

const char *hn_doubt_state_name(HnDoubtState state)
{
    static const char *const names[] = {
#define X(code, name) name,
        HN_DOUBT_STATES(X)
#undef X
    };
    return (unsigned)state < HN_N_DOUBT_STATES ? names[state] : "?";
}

const char *hn_doubt_cause_name(HnDoubtCause cause)
{
    static const char *const names[] = {
#define X(code, name) name,
        HN_DOUBT_CAUSES(X)
#undef X
    };
    return (unsigned)cause < HN_N_DOUBT_CAUSES ? names[cause] : "?";
}

HnDoubtState hn_doubt_next(HnDoubtState state, HnDoubtEvent event)
{
    return (HnDoubtState)table[state][event];
}

/* ---- facts → event ---- */

static bool is_load_strange(const HnDoubt *doubt)
{
    if (!doubt->has_load)
        return false;
    uint64_t below = MAX(doubt->low_mcpu / LOAD_DIVISOR, LOAD_MIN_MCPU);
    uint64_t above = MAX(doubt->high_mcpu / LOAD_DIVISOR, LOAD_MIN_MCPU);

    return doubt->load_mcpu > doubt->high_mcpu + above ||
           doubt->load_mcpu + below < doubt->low_mcpu;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

static bool is_residency_strange(const HnDoubt *doubt, const HnDoubtFacts *facts)
{
    uint64_t tolerated_bytes = MAX(doubt->resident_bytes / RESIDENT_DIVISOR, RESIDENT_MIN_BYTES);
    uint32_t tolerated = LOCAL_MIN_PERMILLE + doubt->error_permille + facts->error_permille;

    return distance(doubt->local_permille, facts->local_permille) > tolerated ||
           distance(doubt->resident_bytes, facts->resident_bytes) > tolerated_bytes;
}

/* A change that cannot be a whim of measurement. */
static bool find_certain(const HnDoubt *doubt, const HnDoubtFacts *facts, HnDoubtCause *ret_cause)
{
    const struct {
        bool is_so;
        HnDoubtCause cause;
    } changes[] = {
        {facts->is_forced, HN_DOUBT_BY_ORDER},
        {facts->topology != doubt->topology, HN_DOUBT_BY_TOPOLOGY},
        {facts->wish != doubt->wish, HN_DOUBT_BY_WISH},
        {facts->shape != doubt->shape, HN_DOUBT_BY_SHAPE},
        {facts->moved_ns != doubt->moved_ns, HN_DOUBT_BY_MOVED},
        {facts->will_act, HN_DOUBT_BY_DECISION},
        /* Only that it came, or is another one: advice that nobody follows must not keep the doubt
         * alive. */
        {facts->proposal != 0 && facts->proposal != doubt->proposal, HN_DOUBT_BY_DECISION},
    };

    for (unsigned i = 0; doubt->has_reference && i < G_N_ELEMENTS(changes); i++) {
        if (!changes[i].is_so)
            continue;
        *ret_cause = changes[i].cause;
        return true;
    }
    return false;
}

/* Has enough been seen since the doubt began, or since the last change? */
static bool is_enough(const HnDoubt *doubt, const HnDoubtFacts *facts, const HnPolicy *policy,
                      HnDoubtCause *ret_cause)
{
    uint64_t began_ns = MAX(doubt->since_ns, doubt->changed_ns);
    bool is_seen = doubt->accesses_ns > began_ns && !facts->is_split &&
                   doubt->accesses_error_permille <= ACCESSES_ERROR_PERMILLE;

    *ret_cause = is_seen ? HN_DOUBT_BY_EVIDENCE : HN_DOUBT_BY_BUDGET;
    return doubt->n_rounds + 1 >= policy->doubt_rounds || (is_seen && doubt->n_rounds + 1 >= MIN_ROUNDS);
}

static bool is_due(const HnDoubt *doubt, const HnDoubtFacts *facts)
{
    uint64_t waited_ns = facts->now_ns - MIN(doubt->checked_ns, facts->now_ns);

    return waited_ns >= doubt->recheck_ns ||
           (facts->is_window_open && waited_ns >= doubt->recheck_ns / 4 * EARLY_QUARTERS);
}

static HnDoubtEvent find_event(const HnDoubt *doubt, const HnDoubtFacts *facts,
                               const HnPolicy *policy, bool has_woken, HnDoubtCause *ret_cause)
{
    *ret_cause = doubt->cause;
    if (!facts->is_managed) {
        *ret_cause = HN_DOUBT_BY_OPTED_OUT;
        return HN_DOUBT_EVENT_UNMANAGED;
    }
    if (!facts->is_measured) {
        *ret_cause = HN_DOUBT_BY_UNMEASURED;
        return HN_DOUBT_EVENT_BLIND;
    }
    if (find_certain(doubt, facts, ret_cause))
        return HN_DOUBT_EVENT_CERTAIN;
    if (doubt->n_idle >= HN_DOUBT_IDLE_ROUNDS) {
        *ret_cause = HN_DOUBT_BY_IDLE;
        return HN_DOUBT_EVENT_IDLE;
    }
    if (doubt->has_reference && (is_load_strange(doubt) || is_residency_strange(doubt, facts))) {
        /* The second look confirms what the first one saw, under its name. */
        if (doubt->state != HN_DOUBT_DISTURBED)
            *ret_cause = has_woken                ? HN_DOUBT_BY_WOKE
                         : is_load_strange(doubt) ? HN_DOUBT_BY_LOAD
                                                  : HN_DOUBT_BY_RESIDENCY;
        return HN_DOUBT_EVENT_SUSPECT;
    }
    if (doubt->state == HN_DOUBT_SAMPLING && facts->is_full_round &&
        is_enough(doubt, facts, policy, ret_cause))
        return HN_DOUBT_EVENT_ENOUGH;
    if (facts->is_fenced && doubt->state != HN_DOUBT_SAMPLING) {
        *ret_cause = HN_DOUBT_BY_FENCE;
        return HN_DOUBT_EVENT_FENCED;
    }
    if (doubt->state == HN_DOUBT_SETTLED && is_due(doubt, facts)) {
        *ret_cause = HN_DOUBT_BY_RECHECK;
        return HN_DOUBT_EVENT_DUE;
    }
    return HN_DOUBT_EVENT_CALM;
}

/* What led out of a state is told by the state where the event alone does not say it. */
static HnDoubtCause cause_of(HnDoubtState state, HnDoubtEvent event, HnDoubtCause cause)
{
    bool is_quiet = event == HN_DOUBT_EVENT_CALM || event == HN_DOUBT_EVENT_BLIND;

    switch (state) {
    case HN_DOUBT_UNMANAGED:
        return HN_DOUBT_BY_FIRST_SEEN;
    case HN_DOUBT_UNKNOWN:
        return event == HN_DOUBT_EVENT_FENCED || event == HN_DOUBT_EVENT_UNMANAGED
                   ? cause
                   : HN_DOUBT_BY_MEASURED;
    case HN_DOUBT_FENCED:
        return is_quiet ? HN_DOUBT_BY_FENCE_GONE : cause;
    case HN_DOUBT_DISTURBED:
        return is_quiet ? HN_DOUBT_BY_FALSE_ALARM : cause;
    case HN_DOUBT_ASLEEP:
        return event == HN_DOUBT_EVENT_CERTAIN || event == HN_DOUBT_EVENT_UNMANAGED
                   ? cause
                   : HN_DOUBT_BY_WOKE;
    default:
        return cause;
    }
}

/* ---- the books ---- */

static void widen_band(HnDoubt *doubt)
{
    if (!doubt->has_load)
        return;
    doubt->low_mcpu = MIN(doubt->low_mcpu, doubt->load_mcpu);
    doubt->high_mcpu = MAX(doubt->high_mcpu, doubt->load_mcpu);
}

static void take_residency(HnDoubt *doubt, const HnDoubtFacts *facts)
{
    doubt->resident_bytes = facts->resident_bytes;
    doubt->local_permille = facts->local_permille;
    doubt->error_permille = facts->error_permille;
}

static void take_identity(HnDoubt *doubt, const HnDoubtFacts *facts)
{
    doubt->shape = facts->shape;
    doubt->wish = facts->wish;
    doubt->topology = facts->topology;
    doubt->moved_ns = facts->moved_ns;
    doubt->has_reference = true;
}

/* Something is not as it was: sampling counts from here, and intervals begin small again. */
static void note_change(HnDoubt *doubt, const HnDoubtFacts *facts, const HnPolicy *policy)
{
    doubt->changed_ns = facts->now_ns;
    doubt->recheck_ns = policy->recheck_min_ns;
    doubt->n_rounds = 0;
    take_residency(doubt, facts);
    take_identity(doubt, facts);
}

/* A guest whose load swings is known by its swings: a new look soon after the last one adds to what
 * is known instead of replacing it. */
static void begin_sampling(HnDoubt *doubt, const HnDoubtFacts *facts, const HnPolicy *policy)
{
    bool is_soon = doubt->has_reference && doubt->checked_ns != 0 &&
                   facts->now_ns - MIN(doubt->checked_ns, facts->now_ns) < policy->recheck_min_ns;

    if (!is_soon) {
        doubt->low_mcpu = doubt->has_load ? doubt->load_mcpu : 0;
        doubt->high_mcpu = doubt->low_mcpu;
    }
    doubt->n_rounds = 0;
    take_residency(doubt, facts);
    take_identity(doubt, facts);
}

static void end_sampling(HnDoubt *doubt, const HnDoubtFacts *facts, const HnPolicy *policy)
{
    bool was_recheck = doubt->cause == HN_DOUBT_BY_RECHECK;

    doubt->checked_ns = facts->now_ns;
    doubt->recheck_ns = !was_recheck ? policy->recheck_min_ns
                                     : CLAMP(doubt->recheck_ns * 2, policy->recheck_min_ns,
                                             policy->recheck_ceiling_ns);
    take_residency(doubt, facts);
}

static void move_to(HnDoubt *doubt, HnDoubtState next, HnDoubtCause cause,
                    const HnDoubtFacts *facts, const HnPolicy *policy)
{
    if (doubt->state == HN_DOUBT_SAMPLING)
        end_sampling(doubt, facts, policy);
    if (next == HN_DOUBT_SAMPLING)
        begin_sampling(doubt, facts, policy);
    if (next == HN_DOUBT_ASLEEP)
        doubt->low_mcpu = doubt->high_mcpu = 0; /* any load is news */
    if (next == HN_DOUBT_UNMANAGED || next == HN_DOUBT_UNKNOWN)
        doubt->has_reference = false;
    if (next == HN_DOUBT_FENCED && !doubt->has_reference)
        begin_sampling(doubt, facts, policy); /* adopted with its fence: this is what it is like */
    doubt->state = next;
    doubt->cause = cause;
    doubt->since_ns = facts->now_ns;
}

/* Are the touches counted still those from before the last re-home? */
static bool are_touches_stale(const HnDoubt *doubt, const HnDoubtFacts *facts)
{
    if (doubt->trusted_seq == 0)
        return false;
    return facts->scan_seq != 0 ? facts->scan_seq < doubt->trusted_seq
                                : facts->now_ns - MIN(MAX(facts->moved_ns, doubt->arrived_ns),
                                                      facts->now_ns) < STALE_NS;
}

/* Load, idleness and touches of this round. Returns whether it slept until now. */
static bool take_measurements(HnDoubt *doubt, const HnDoubtFacts *facts)
{
    bool has_slept = doubt->n_idle >= HN_DOUBT_IDLE_ROUNDS;

    if (facts->has_load && facts->is_full_round) {
        bool writes = facts->has_dirty && facts->dirty_bytes_per_sec >= IDLE_DIRTY_BYTES_PER_SEC;
        doubt->has_load = true;
        doubt->load_mcpu = facts->load_mcpu;
        doubt->n_idle = facts->load_mcpu < HN_DOUBT_IDLE_MCPU && !writes
                            ? MIN(doubt->n_idle + 1, 1000000)
                            : 0;
    }
    if (facts->is_moving || (doubt->has_reference && facts->moved_ns != doubt->moved_ns)) {
        doubt->trusted_seq = facts->scan_seq + STALE_SCANS;
        doubt->arrived_ns = facts->now_ns;
        doubt->accesses_ns = 0; /* how local it was where it is no more */
    }
    if (facts->has_accesses && facts->touch_mark != doubt->touch_mark &&
        !are_touches_stale(doubt, facts)) {
        doubt->touch_mark = facts->touch_mark;
        doubt->accesses_ns = facts->now_ns;
        doubt->accesses_permille = facts->accesses_permille;
        doubt->accesses_error_permille = facts->accesses_error_permille;
    }
    return has_slept && doubt->n_idle == 0;
}

HnDoubtEvent hn_doubt_step(HnDoubt *doubt, const HnDoubtFacts *facts, const HnPolicy *policy)
{
    HnDoubtCause cause;
    bool has_woken = take_measurements(doubt, facts);
    HnDoubtEvent event = find_event(doubt, facts, policy, has_woken, &cause);
    HnDoubtState next = hn_doubt_next(doubt->state, event);
    bool is_change = event == HN_DOUBT_EVENT_CERTAIN || event == HN_DOUBT_EVENT_SUSPECT;

    if (doubt->since_ns == 0)
        doubt->since_ns = doubt->changed_ns = facts->now_ns;
    if (doubt->recheck_ns == 0)
        doubt->recheck_ns = policy->recheck_min_ns;
    if (next != doubt->state)
        move_to(doubt, next, cause_of(doubt->state, event, cause), facts, policy);
    else if (next == HN_DOUBT_SAMPLING && is_change)
        doubt->cause = cause;
    else if (next == HN_DOUBT_SAMPLING && facts->is_full_round)
        doubt->n_rounds++;
    if (is_change && next == HN_DOUBT_SAMPLING)
        note_change(doubt, facts, policy);
    if (next == HN_DOUBT_SAMPLING)
        widen_band(doubt);
    doubt->proposal = facts->proposal;
    return event;
}

void hn_doubt_neighbour(HnDoubt *doubt, const HnDoubtFacts *facts, const HnPolicy *policy)
{
    HnDoubtState next = hn_doubt_next(doubt->state, HN_DOUBT_EVENT_NEIGHBOUR);

    if (next == doubt->state)
        return;
    move_to(doubt, next, HN_DOUBT_BY_NEIGHBOUR, facts, policy);
    if (next == HN_DOUBT_SAMPLING)
        note_change(doubt, facts, policy);
}

/* ---- state → rungs ---- */

HnDoubtAnswer hn_doubt_answer(const HnDoubt *doubt, const HnDoubtFacts *facts)
{
    bool is_sampling = doubt->state == HN_DOUBT_SAMPLING;
    bool is_settled = doubt->state == HN_DOUBT_SETTLED;
    uint64_t waited_ns = facts->now_ns - MIN(doubt->checked_ns, facts->now_ns);
    uint64_t began_ns = MAX(doubt->since_ns, doubt->changed_ns);
    /* One burst per doubt: what was measured since it began is enough. */
    bool is_dirty_known =
        facts->has_dirty && facts->dirty_age_ns <= facts->now_ns - MIN(began_ns, facts->now_ns);
    bool is_disputed = doubt->accesses_ns != 0 &&
                       distance(doubt->accesses_permille, facts->local_permille) >
                           ACCESSES_ERROR_PERMILLE + doubt->accesses_error_permille;

    return (HnDoubtAnswer){
        .state = doubt->state,
        .cause = doubt->cause,
        .since_ns = doubt->since_ns,
        .calm_ns = facts->now_ns - MIN(doubt->changed_ns, facts->now_ns),
        .recheck_ns = !is_settled                      ? UINT64_MAX
                      : waited_ns < doubt->recheck_ns ? doubt->recheck_ns - waited_ns
                                                      : 0,
        .wants_fresh = doubt->state == HN_DOUBT_DISTURBED,
        .wants_hinting = is_sampling && facts->is_running,
        .wants_dirty = is_sampling && facts->is_running && !facts->is_busy && !is_dirty_known,
        .wants_touch = is_sampling && facts->is_running && (facts->is_split || is_disputed),
        .may_fence = is_settled && facts->has_room && !facts->is_split &&
                     facts->local_permille >= HN_DOUBT_FENCE_PERMILLE &&
                     waited_ns >= HN_DOUBT_FENCE_CALM_NS,
    };
}

uint64_t hn_doubt_probe_age(const HnDoubtAnswer *answer, uint64_t min_ns, uint64_t ceiling_ns)
{
    switch (answer->state) {
    case HN_DOUBT_UNKNOWN:
    case HN_DOUBT_SAMPLING:
    case HN_DOUBT_DISTURBED:
        return min_ns;
    default:
        return CLAMP(answer->calm_ns / 2, min_ns, MAX(ceiling_ns, min_ns));
    }
}

/* ---- text ---- */

void hn_doubt_format(const HnDoubt *doubt, GString *text)
{
#define U64 "%" G_GUINT64_FORMAT
    if (doubt->since_ns == 0)
        return; /* nothing was ever asked of it */
    g_string_append_printf(text,
                           "doubt %d %d " U64 " " U64 " " U64 " " U64 " %u %u %d " U64 "\n",
                           doubt->state, doubt->cause, doubt->since_ns, doubt->changed_ns,
                           doubt->checked_ns, doubt->recheck_ns, doubt->n_rounds, doubt->n_idle,
                           doubt->has_load, doubt->load_mcpu);
    if (doubt->has_reference)
        g_string_append_printf(
            text, "reference " U64 " " U64 " " U64 " %u %u " U64 " " U64 " " U64 " " U64 " " U64 "\n",
            doubt->low_mcpu, doubt->high_mcpu, doubt->resident_bytes, doubt->local_permille,
            doubt->error_permille, doubt->shape, doubt->wish, doubt->topology, doubt->moved_ns,
            doubt->proposal);
    if (doubt->accesses_ns)
        g_string_append_printf(text, "accesses " U64 " %u %u " U64 "\n", doubt->accesses_ns,
                               doubt->accesses_permille, doubt->accesses_error_permille,
                               doubt->touch_mark);
    if (doubt->trusted_seq)
        g_string_append_printf(text, "trusted " U64 "\n", doubt->trusted_seq);
#undef U64
}

bool hn_doubt_read(HnDoubt *doubt, const uint64_t *field)
{
    if (field[0] >= HN_N_DOUBT_STATES || field[1] >= HN_N_DOUBT_CAUSES)
        return false;
    doubt->state = (HnDoubtState)field[0];
    doubt->cause = (HnDoubtCause)field[1];
    doubt->since_ns = field[2];
    doubt->changed_ns = field[3];
    doubt->checked_ns = field[4];
    doubt->recheck_ns = MIN(field[5], (uint64_t)INT64_MAX);
    doubt->n_rounds = (uint32_t)MIN(field[6], 1000000);
    doubt->n_idle = (uint32_t)MIN(field[7], 1000000);
    doubt->has_load = field[8] != 0;
    doubt->load_mcpu = MIN(field[9], (uint64_t)HN_MAX_CPUS * 1000);
    return true;
}

bool hn_doubt_read_reference(HnDoubt *doubt, const uint64_t *field)
{
    if (field[3] > 1000 || field[4] > 1000)
        return false;
    doubt->has_reference = true;
    doubt->low_mcpu = MIN(field[0], (uint64_t)HN_MAX_CPUS * 1000);
    doubt->high_mcpu = MIN(field[1], (uint64_t)HN_MAX_CPUS * 1000);
    doubt->resident_bytes = field[2];
    doubt->local_permille = (uint32_t)field[3];
    doubt->error_permille = (uint32_t)field[4];
    doubt->shape = field[5];
    doubt->wish = field[6];
    doubt->topology = field[7];
    doubt->moved_ns = field[8];
    doubt->proposal = field[9];
    return true;
}

bool hn_doubt_read_accesses(HnDoubt *doubt, const uint64_t *field)
{
    if (field[1] > 1000 || field[2] > 1000)
        return false;
    doubt->accesses_ns = field[0];
    doubt->accesses_permille = (uint32_t)field[1];
    doubt->accesses_error_permille = (uint32_t)field[2];
    doubt->touch_mark = field[3];
    return true;
}

bool hn_doubt_read_trusted(HnDoubt *doubt, const uint64_t *field)
{
    doubt->trusted_seq = field[0];
    return true;
}
