/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The doubt machine: every transition brought about by facts (not read from the table), what each
 * state asks for, the books, and whole rounds through hn_decide().
 */
#include "world.h"

#include "past.h"

#include <string.h>

#define SECOND_NS UINT64_C(1000000000)
#define MIB UINT64_C(1048576)
#define GIB (UINT64_C(1024) * MIB)
#define NOW_NS (1000 * SECOND_NS)

/* A domain as it is when nothing is the matter. */
static HnDoubtFacts ordinary(void)
{
    return (HnDoubtFacts){
        .now_ns = NOW_NS,
        .is_full_round = true,
        .is_managed = true,
        .is_measured = true,
        .is_running = true,
        .has_load = true,
        .load_mcpu = 1000,
        .dirty_age_ns = UINT64_MAX,
        .resident_bytes = GIB,
        .local_permille = 1000,
        .shape = 1,
        .wish = 2,
        .topology = 3,
        .has_room = true,
    };
}

/* Known as ordinary() tells it, for 10 s in that state. */
static HnDoubt known(HnDoubtState state)
{
    HnDoubt doubt = {
        .state = state,
        .cause = HN_DOUBT_BY_MEASURED,
        .since_ns = NOW_NS - 10 * SECOND_NS,
        .changed_ns = NOW_NS - 10 * SECOND_NS,
        .checked_ns = NOW_NS - 10 * SECOND_NS,
        .recheck_ns = 120 * SECOND_NS,
        .has_load = true,
        .load_mcpu = 1000,
        .has_reference = state != HN_DOUBT_UNMANAGED && state != HN_DOUBT_UNKNOWN,
        .low_mcpu = 1000,
        .high_mcpu = 1000,
        .resident_bytes = GIB,
        .local_permille = 1000,
        .shape = 1,
        .wish = 2,
        .topology = 3,
    };
    if (state == HN_DOUBT_ASLEEP) {
        doubt.n_idle = HN_DOUBT_IDLE_ROUNDS;
        doubt.low_mcpu = doubt.high_mcpu = doubt.load_mcpu = 0;
    }
    return doubt;
}

typedef struct {
    HnDoubtState from;
    const char *what; /* happens: see happen() */
    HnDoubtEvent event;
    HnDoubtState to;
    HnDoubtCause cause; /* afterwards; MEASURED, as known() has it, where nothing new is to be said */
} Case;

#define S(name) HN_DOUBT_##name
#define E(name) HN_DOUBT_EVENT_##name
#define BY(name) HN_DOUBT_BY_##name
static const Case cases[] = {
    {S(UNMANAGED), "opted-out", E(UNMANAGED), S(UNMANAGED), BY(MEASURED)},
    {S(UNMANAGED), "blind", E(BLIND), S(UNKNOWN), BY(FIRST_SEEN)},
    {S(UNMANAGED), "nothing", E(CALM), S(UNKNOWN), BY(FIRST_SEEN)},
    {S(UNMANAGED), "long-idle", E(IDLE), S(UNKNOWN), BY(FIRST_SEEN)},
    {S(UNMANAGED), "fence", E(FENCED), S(UNKNOWN), BY(FIRST_SEEN)},
    {S(UNMANAGED), "topology", E(CALM), S(UNKNOWN), BY(FIRST_SEEN)}, /* nothing to compare with */

    {S(UNKNOWN), "opted-out", E(UNMANAGED), S(UNMANAGED), BY(OPTED_OUT)},
    {S(UNKNOWN), "blind", E(BLIND), S(UNKNOWN), BY(MEASURED)},
    {S(UNKNOWN), "nothing", E(CALM), S(SAMPLING), BY(MEASURED)},
    {S(UNKNOWN), "long-idle", E(IDLE), S(SAMPLING), BY(MEASURED)},
    {S(UNKNOWN), "fence", E(FENCED), S(FENCED), BY(FENCE)},

    {S(SAMPLING), "opted-out", E(UNMANAGED), S(UNMANAGED), BY(OPTED_OUT)},
    {S(SAMPLING), "blind", E(BLIND), S(UNKNOWN), BY(UNMEASURED)},
    {S(SAMPLING), "nothing", E(CALM), S(SAMPLING), BY(MEASURED)},
    {S(SAMPLING), "topology", E(CERTAIN), S(SAMPLING), BY(TOPOLOGY)},
    {S(SAMPLING), "load", E(SUSPECT), S(SAMPLING), BY(LOAD)},
    {S(SAMPLING), "long-idle", E(IDLE), S(ASLEEP), BY(IDLE)},
    {S(SAMPLING), "evidence", E(ENOUGH), S(SETTLED), BY(EVIDENCE)},
    {S(SAMPLING), "budget", E(ENOUGH), S(SETTLED), BY(BUDGET)},
    {S(SAMPLING), "fence", E(CALM), S(SAMPLING), BY(MEASURED)},
    {S(SAMPLING), "neighbour", E(NEIGHBOUR), S(SAMPLING), BY(MEASURED)},

    {S(SETTLED), "opted-out", E(UNMANAGED), S(UNMANAGED), BY(OPTED_OUT)},
    {S(SETTLED), "blind", E(BLIND), S(SETTLED), BY(MEASURED)},
    {S(SETTLED), "nothing", E(CALM), S(SETTLED), BY(MEASURED)},
    {S(SETTLED), "topology", E(CERTAIN), S(SAMPLING), BY(TOPOLOGY)},
    {S(SETTLED), "wish", E(CERTAIN), S(SAMPLING), BY(WISH)},
    {S(SETTLED), "shape", E(CERTAIN), S(SAMPLING), BY(SHAPE)},
    {S(SETTLED), "moved", E(CERTAIN), S(SAMPLING), BY(MOVED)},
    {S(SETTLED), "order", E(CERTAIN), S(SAMPLING), BY(ORDER)},
    {S(SETTLED), "act", E(CERTAIN), S(SAMPLING), BY(DECISION)},
    {S(SETTLED), "proposal", E(CERTAIN), S(SAMPLING), BY(DECISION)},
    {S(SETTLED), "load", E(SUSPECT), S(DISTURBED), BY(LOAD)},
    {S(SETTLED), "less-load", E(SUSPECT), S(DISTURBED), BY(LOAD)},
    {S(SETTLED), "residency", E(SUSPECT), S(DISTURBED), BY(RESIDENCY)},
    {S(SETTLED), "growth", E(SUSPECT), S(DISTURBED), BY(RESIDENCY)},
    {S(SETTLED), "long-idle", E(IDLE), S(ASLEEP), BY(IDLE)},
    {S(SETTLED), "fence", E(FENCED), S(FENCED), BY(FENCE)},
    {S(SETTLED), "due", E(DUE), S(SAMPLING), BY(RECHECK)},
    {S(SETTLED), "due-together", E(DUE), S(SAMPLING), BY(RECHECK)},
    {S(SETTLED), "neighbour", E(NEIGHBOUR), S(SAMPLING), BY(NEIGHBOUR)},

    {S(FENCED), "opted-out", E(UNMANAGED), S(UNMANAGED), BY(OPTED_OUT)},
    {S(FENCED), "blind", E(BLIND), S(FENCED), BY(MEASURED)},
    {S(FENCED), "fence", E(FENCED), S(FENCED), BY(MEASURED)},
    {S(FENCED), "fence+due", E(FENCED), S(FENCED), BY(MEASURED)}, /* no look costs a fault here */
    {S(FENCED), "fence+long-idle", E(IDLE), S(FENCED), BY(MEASURED)},
    {S(FENCED), "fence+load", E(SUSPECT), S(DISTURBED), BY(LOAD)},
    {S(FENCED), "fence+wish", E(CERTAIN), S(SAMPLING), BY(WISH)},
    {S(FENCED), "nothing", E(CALM), S(SETTLED), BY(FENCE_GONE)},
    {S(FENCED), "neighbour", E(NEIGHBOUR), S(DISTURBED), BY(NEIGHBOUR)},

    {S(DISTURBED), "opted-out", E(UNMANAGED), S(UNMANAGED), BY(OPTED_OUT)},
    {S(DISTURBED), "blind", E(BLIND), S(SETTLED), BY(FALSE_ALARM)},
    {S(DISTURBED), "nothing", E(CALM), S(SETTLED), BY(FALSE_ALARM)},
    {S(DISTURBED), "load", E(SUSPECT), S(SAMPLING), BY(MEASURED)}, /* the first look's cause stays */
    {S(DISTURBED), "topology", E(CERTAIN), S(SAMPLING), BY(TOPOLOGY)},
    {S(DISTURBED), "long-idle", E(IDLE), S(ASLEEP), BY(IDLE)},
    {S(DISTURBED), "fence", E(FENCED), S(FENCED), BY(FENCE)},
    {S(DISTURBED), "neighbour", E(NEIGHBOUR), S(SAMPLING), BY(NEIGHBOUR)},

    {S(ASLEEP), "opted-out", E(UNMANAGED), S(UNMANAGED), BY(OPTED_OUT)},
    {S(ASLEEP), "blind", E(BLIND), S(ASLEEP), BY(MEASURED)},
    {S(ASLEEP), "long-idle", E(IDLE), S(ASLEEP), BY(MEASURED)},
    {S(ASLEEP), "nothing", E(SUSPECT), S(DISTURBED), BY(WOKE)}, /* its ordinary load: it woke */
    {S(ASLEEP), "little", E(CALM), S(DISTURBED), BY(WOKE)},
    {S(ASLEEP), "fence+little", E(FENCED), S(DISTURBED), BY(WOKE)},
    {S(ASLEEP), "topology", E(CERTAIN), S(SAMPLING), BY(TOPOLOGY)},
    {S(ASLEEP), "neighbour", E(NEIGHBOUR), S(ASLEEP), BY(MEASURED)},
};

static bool has(const char *what, const char *word)
{
    g_auto(GStrv) words = g_strsplit(what, "+", -1);
    return g_strv_contains((const char *const *)words, word);
}

static void happen(const char *what, HnDoubt *doubt, HnDoubtFacts *facts)
{
    facts->is_managed = !has(what, "opted-out");
    facts->is_measured = !has(what, "blind");
    facts->topology += has(what, "topology");
    facts->wish += has(what, "wish");
    facts->shape += has(what, "shape");
    facts->moved_ns += has(what, "moved");
    facts->is_forced = has(what, "order");
    facts->will_act = has(what, "act");
    facts->proposal = has(what, "proposal") ? 7 : 0;
    facts->is_fenced = has(what, "fence");
    if (has(what, "load"))
        facts->load_mcpu = 2000;
    if (has(what, "less-load"))
        facts->load_mcpu = 500;
    if (has(what, "little"))
        facts->load_mcpu = HN_DOUBT_IDLE_MCPU * 2;
    if (has(what, "residency"))
        facts->local_permille = 900;
    if (has(what, "growth"))
        facts->resident_bytes += GIB / 4;
    if (has(what, "long-idle")) {
        facts->load_mcpu = 0;
        doubt->n_idle = MAX(doubt->n_idle, HN_DOUBT_IDLE_ROUNDS - 1);
    }
    if (has(what, "due"))
        doubt->checked_ns = NOW_NS - 120 * SECOND_NS;
    if (has(what, "due-together")) {
        doubt->checked_ns = NOW_NS - 100 * SECOND_NS;
        facts->is_window_open = true;
    }
    if (has(what, "evidence")) {
        doubt->n_rounds = 2;
        facts->has_accesses = true;
        facts->touch_mark = 5;
        facts->accesses_permille = 950;
        facts->accesses_error_permille = 20;
    }
    if (has(what, "budget"))
        doubt->n_rounds = 29;
}

static void test_transition(gconstpointer data)
{
    const Case *c = data;
    HnDoubt doubt = known(c->from);
    HnDoubtFacts facts = ordinary();
    HnPolicy policy;

    hn_policy_init(&policy);
    happen(c->what, &doubt, &facts);
    if (has(c->what, "neighbour"))
        hn_doubt_neighbour(&doubt, &facts, &policy);
    else
        g_assert_cmpint(hn_doubt_step(&doubt, &facts, &policy), ==, c->event);
    g_assert_cmpstr(hn_doubt_state_name(doubt.state), ==, hn_doubt_state_name(c->to));
    g_assert_cmpint(hn_doubt_next(c->from, c->event), ==, c->to);
    g_assert_cmpstr(hn_doubt_cause_name(doubt.cause), ==, hn_doubt_cause_name(c->cause));
    g_assert_cmpuint(doubt.since_ns, ==, NOW_NS - (c->from == c->to ? 10 * SECOND_NS : 0));
}

/* Every pair of state and event leads somewhere, and every state is left and entered by a case. */
static void test_complete(void)
{
    bool is_entered[HN_N_DOUBT_STATES] = {false}, is_left[HN_N_DOUBT_STATES] = {false};
    bool is_seen[HN_N_DOUBT_EVENTS] = {false};

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        is_entered[cases[i].to] |= cases[i].from != cases[i].to;
        is_left[cases[i].from] |= cases[i].from != cases[i].to;
        is_seen[cases[i].event] = true;
    }
    for (unsigned s = 0; s < HN_N_DOUBT_STATES; s++) {
        g_assert_true(is_entered[s] && is_left[s]);
        g_assert_cmpstr(hn_doubt_state_name((HnDoubtState)s), !=, "?");
        for (unsigned e = 0; e < HN_N_DOUBT_EVENTS; e++)
            g_assert_cmpint(hn_doubt_next((HnDoubtState)s, (HnDoubtEvent)e), <, HN_N_DOUBT_STATES);
        /* Opting out ends everything at once. */
        g_assert_cmpint(hn_doubt_next((HnDoubtState)s, HN_DOUBT_EVENT_UNMANAGED), ==,
                        HN_DOUBT_UNMANAGED);
    }
    for (unsigned e = 0; e < HN_N_DOUBT_EVENTS; e++)
        g_assert_true(is_seen[e]);
    g_assert_cmpstr(hn_doubt_state_name(HN_N_DOUBT_STATES), ==, "?");
    g_assert_cmpstr(hn_doubt_cause_name(HN_N_DOUBT_CAUSES), ==, "?");
}

/* Which rungs a state asks for. */
static void test_answers(void)
{
    static const struct {
        HnDoubtState state;
        bool is_split, is_busy, is_paused, has_dirty;
        bool wants_fresh, wants_hinting, wants_dirty, wants_touch;
    } rows[] = {
        {HN_DOUBT_UNMANAGED, true, false, false, false, false, false, false, false},
        {HN_DOUBT_UNKNOWN, true, false, false, false, false, false, false, false},
        {HN_DOUBT_SAMPLING, false, false, false, false, false, true, true, false},
        {HN_DOUBT_SAMPLING, true, false, false, false, false, true, true, true},
        {HN_DOUBT_SAMPLING, false, true, false, false, false, true, false, false},
        {HN_DOUBT_SAMPLING, true, false, true, false, false, false, false, false},
        {HN_DOUBT_SAMPLING, false, false, false, true, false, true, false, false},
        {HN_DOUBT_SETTLED, true, false, false, false, false, false, false, false},
        {HN_DOUBT_FENCED, true, false, false, false, false, false, false, false},
        {HN_DOUBT_DISTURBED, true, false, false, false, true, false, false, false},
        {HN_DOUBT_ASLEEP, true, false, false, false, false, false, false, false},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        HnDoubt doubt = known(rows[i].state);
        HnDoubtFacts facts = ordinary();
        facts.is_split = rows[i].is_split;
        facts.is_busy = rows[i].is_busy;
        facts.is_running = !rows[i].is_paused;
        facts.has_dirty = rows[i].has_dirty;
        facts.dirty_age_ns = rows[i].has_dirty ? 5 * SECOND_NS : UINT64_MAX;
        HnDoubtAnswer answer = hn_doubt_answer(&doubt, &facts);
        g_assert_cmpint(answer.state, ==, rows[i].state);
        g_assert_cmpint(answer.wants_fresh, ==, rows[i].wants_fresh);
        g_assert_cmpint(answer.wants_hinting, ==, rows[i].wants_hinting);
        g_assert_cmpint(answer.wants_dirty, ==, rows[i].wants_dirty);
        g_assert_cmpint(answer.wants_touch, ==, rows[i].wants_touch);
    }
    /* A burst from before the doubt began is asked for again; a disputed domain is looked at closely. */
    HnDoubt doubt = known(HN_DOUBT_SAMPLING);
    HnDoubtFacts facts = ordinary();
    facts.has_dirty = true;
    facts.dirty_age_ns = 20 * SECOND_NS;
    g_assert_true(hn_doubt_answer(&doubt, &facts).wants_dirty);
    doubt.accesses_ns = NOW_NS;
    doubt.accesses_permille = 500;
    g_assert_true(hn_doubt_answer(&doubt, &facts).wants_touch);
}

static void test_fence_answer(void)
{
    static const struct {
        HnDoubtState state;
        uint32_t local_permille;
        uint64_t settled_s;
        bool is_split, is_full, may_fence;
    } rows[] = {
        {HN_DOUBT_SETTLED, 990, 30, false, false, true},
        {HN_DOUBT_SETTLED, 989, 30, false, false, false},
        {HN_DOUBT_SETTLED, 1000, 29, false, false, false},
        {HN_DOUBT_SETTLED, 1000, 30, true, false, false},
        {HN_DOUBT_SETTLED, 1000, 30, false, true, false},
        {HN_DOUBT_SAMPLING, 1000, 60, false, false, false},
        {HN_DOUBT_FENCED, 1000, 60, false, false, false}, /* it has one */
        {HN_DOUBT_ASLEEP, 1000, 60, false, false, false},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        HnDoubt doubt = known(rows[i].state);
        HnDoubtFacts facts = ordinary();
        doubt.checked_ns = NOW_NS - rows[i].settled_s * SECOND_NS;
        facts.local_permille = rows[i].local_permille;
        facts.is_split = rows[i].is_split;
        facts.has_room = !rows[i].is_full;
        g_assert_cmpint(hn_doubt_answer(&doubt, &facts).may_fence, ==, rows[i].may_fence);
    }
}

/* 10, 20, 40, 80, 120 s: the interval between two probes doubles up to the ceiling. */
static void test_probe_age(void)
{
    static const uint64_t expected_s[] = {10, 20, 40, 80, 160, 280, 400};
    HnDoubtAnswer answer = {.state = HN_DOUBT_SETTLED};
    uint64_t probed_s = 0;
    unsigned n = 0;

    for (uint64_t t = 1; n < G_N_ELEMENTS(expected_s); t++) {
        answer.calm_ns = t * SECOND_NS;
        if (t * SECOND_NS - probed_s * SECOND_NS <
            hn_doubt_probe_age(&answer, 10 * SECOND_NS, 120 * SECOND_NS))
            continue;
        g_assert_cmpuint(t, ==, expected_s[n++]);
        probed_s = t;
    }
    answer.state = HN_DOUBT_SAMPLING;
    g_assert_cmpuint(hn_doubt_probe_age(&answer, 10 * SECOND_NS, 120 * SECOND_NS), ==,
                     10 * SECOND_NS);
}

/* A guest whose load swings is disturbed by the swing once, not at every swing. */
static void test_swings(void)
{
    HnDoubt doubt = known(HN_DOUBT_SETTLED);
    HnDoubtFacts facts = ordinary();
    HnPolicy policy;
    uint32_t n_sampled = 0;

    hn_policy_init(&policy);
    for (unsigned i = 0; i < 50; i++) { /* 100 s: no re-check falls due */
        HnDoubtState before = doubt.state;
        facts.load_mcpu = i / 3 % 2 ? 3000 : 1000;
        hn_doubt_step(&doubt, &facts, &policy);
        n_sampled += before != HN_DOUBT_SAMPLING && doubt.state == HN_DOUBT_SAMPLING;
        facts.now_ns += 2 * SECOND_NS;
        doubt.n_rounds += doubt.state == HN_DOUBT_SAMPLING ? 10 : 0; /* a short budget */
    }
    g_assert_cmpuint(n_sampled, ==, 1);
    g_assert_cmpuint(doubt.low_mcpu, ==, 1000);
    g_assert_cmpuint(doubt.high_mcpu, ==, 3000);
}

/* Counts from before the last page arrived say nothing of the new home: three scans must have passed since. */
static void test_stale_touches(void)
{
    HnDoubt doubt = known(HN_DOUBT_SETTLED);
    HnDoubtFacts facts = ordinary();
    HnPolicy policy;

    hn_policy_init(&policy);
    doubt.accesses_ns = NOW_NS - SECOND_NS;
    doubt.accesses_permille = 990;
    facts.moved_ns = NOW_NS; /* seen in this round */
    facts.has_accesses = true;
    facts.accesses_permille = 0;
    for (uint64_t seq = 7; seq < 12; seq++) {
        facts.scan_seq = seq;
        facts.touch_mark = seq;
        facts.accesses_permille = seq < 11 ? 0 : 950;
        facts.is_moving = seq == 8; /* the kernel scans on while pages are on their way */
        hn_doubt_step(&doubt, &facts, &policy);
        g_assert_cmpint(doubt.accesses_ns != 0, ==, seq >= 11);
        facts.now_ns += 2 * SECOND_NS;
    }
    g_assert_cmpuint(doubt.accesses_permille, ==, 950);
    /* A first home has nothing to differ from: that it is on its way is what tells. */
    doubt.has_reference = false;
    facts.is_moving = true;
    hn_doubt_step(&doubt, &facts, &policy);
    g_assert_cmpuint(doubt.accesses_ns, ==, 0);
    facts.is_moving = false;
    doubt.has_reference = true;
    /* Without scans, time must have passed. */
    facts.scan_seq = 0;
    facts.moved_ns = facts.now_ns;
    for (unsigned i = 0; i < 40; i++) {
        facts.touch_mark++;
        hn_doubt_step(&doubt, &facts, &policy);
        g_assert_cmpint(doubt.accesses_ns != 0, ==, i >= 30);
        facts.now_ns += 2 * SECOND_NS;
    }
}

static void test_text(void)
{
    HnDoubt doubt = known(HN_DOUBT_FENCED);
    static const struct {
        uint64_t field[HN_DOUBT_LINE_FIELDS];
        bool (*read)(HnDoubt *doubt, const uint64_t *field);
    } bad[] = {
        {{HN_N_DOUBT_STATES}, hn_doubt_read},
        {{0, HN_N_DOUBT_CAUSES}, hn_doubt_read},
        {{0, 0, 0, 1001}, hn_doubt_read_reference},
        {{0, 0, 0, 0, 1001}, hn_doubt_read_reference},
        {{0, 1001}, hn_doubt_read_accesses},
        {{0, 0, 1001}, hn_doubt_read_accesses},
    };
    g_autoptr(GString) text = g_string_new(NULL);

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        HnDoubt read = {0};
        g_assert_false(bad[i].read(&read, bad[i].field));
    }
    hn_doubt_format(&doubt, text);
    g_assert_cmpstr(text->str, ==,
                    "doubt 4 2 990000000000 990000000000 990000000000 120000000000 0 0 1 1000\n"
                    "reference 1000 1000 1073741824 1000 0 1 2 3 0 0\n");
}

/* ---- through whole rounds ---- */

static HnPlan *round_of(World *world, HnPast *past, const HnPolicy *policy)
{
    uint64_t seed = 1;
    g_autoptr(GError) error = NULL;
    HnPlan *plan = hn_decide(world->snapshot, policy, past, NULL, 0, NULL, 0, NULL, &error);

    g_assert_no_error(error);
    world_apply(world, plan);
    world_step(world, 2 * SECOND_NS, 0, &seed);
    return plan;
}

static HnDoubtState state_of(const HnPast *past, const HnDomain *domain)
{
    return hn_past_find(past, domain->uuid)->doubt.state;
}

static void run_rounds(World *world, HnPast *past, const HnPolicy *policy, uint32_t n)
{
    while (n-- > 0)
        hn_plan_free(round_of(world, past, policy));
}

/* What AutoNUMA promised: a big one that slept and wakes makes everybody be looked at anew. */
static void test_big_sleeper(void)
{
    g_autoptr(World) world = world_new(world_host(2, 8, 1, 16 * GIB));
    g_autoptr(HnPast) past = hn_past_new();
    HnPolicy policy;
    HnDomain *sleeper = world_add(world, 4, 4 * GIB, 0, 0);
    HnDomain *small = world_add(world, 1, GIB / 2, 0, 1);
    HnDomain *other = world_add(world, 2, GIB, 2000, 1);

    hn_policy_init(&policy);
    world_pin(world, sleeper, 0);
    world_pin(world, small, 1);
    world_pin(world, other, 1);
    run_rounds(world, past, &policy, 40);
    g_assert_cmpint(state_of(past, sleeper), ==, HN_DOUBT_ASLEEP);
    g_assert_cmpint(state_of(past, small), ==, HN_DOUBT_ASLEEP);
    g_assert_cmpint(state_of(past, other), ==, HN_DOUBT_SETTLED);

    world->load_mcpu[1] = 1000; /* the small one: its own affair */
    run_rounds(world, past, &policy, 4);
    g_assert_cmpint(state_of(past, small), ==, HN_DOUBT_SAMPLING);
    g_assert_cmpint(state_of(past, other), ==, HN_DOUBT_SETTLED);

    world->load_mcpu[0] = 4000;
    run_rounds(world, past, &policy, 2); /* the round that could not know yet, and the first look */
    g_assert_cmpint(state_of(past, sleeper), ==, HN_DOUBT_DISTURBED);
    run_rounds(world, past, &policy, 1);
    g_assert_cmpint(state_of(past, sleeper), ==, HN_DOUBT_SAMPLING);
    g_assert_cmpint(hn_past_find(past, sleeper->uuid)->doubt.cause, ==, HN_DOUBT_BY_WOKE);
    g_assert_cmpint(state_of(past, other), ==, HN_DOUBT_SAMPLING);
    g_assert_cmpint(hn_past_find(past, other->uuid)->doubt.cause, ==, HN_DOUBT_BY_NEIGHBOUR);
}

/* Fenced when known to be at home; opened as soon as it is in doubt again, before anything moves. */
static void test_fence_and_doubt(void)
{
    g_autoptr(World) world = world_new(world_host(2, 8, 1, 16 * GIB));
    g_autoptr(HnPast) past = hn_past_new();
    HnPolicy policy;
    HnDomain *domain = world_add(world, 2, GIB, 2000, 0);
    uint32_t n_fences = 0, n_unfences = 0;

    hn_policy_init(&policy);
    policy.fence_when_converged = true;
    world_pin(world, domain, 0);
    run_rounds(world, past, &policy, 60);
    g_assert_true(domain->is_fenced);
    g_assert_cmpint(state_of(past, domain), ==, HN_DOUBT_FENCED);
    run_rounds(world, past, &policy, 400); /* and stays so: nothing re-checks behind a fence */
    g_assert_cmpint(state_of(past, domain), ==, HN_DOUBT_FENCED);

    domain->wish.weight = 100;
    domain->wish.memory = HN_MEMORY_KEEP;
    for (uint32_t i = 0; i < 3; i++) {
        g_autoptr(HnPlan) plan = round_of(world, past, &policy);
        for (guint k = 0; k < plan->actions->len; k++) {
            HnActionKind kind = g_array_index(plan->actions, HnAction, k).kind;
            n_fences += kind == HN_ACTION_FENCE;
            n_unfences += kind == HN_ACTION_UNFENCE;
        }
    }
    g_assert_cmpuint(n_unfences, ==, 1);
    g_assert_cmpuint(n_fences, ==, 0);
    g_assert_false(domain->is_fenced);
    g_assert_cmpint(state_of(past, domain), ==, HN_DOUBT_SAMPLING);
}

/* The two numbers carry their age and error; what was measured stays, and grows older. */
static void test_two_numbers(void)
{
    g_autoptr(World) world = world_new(world_host(2, 8, 1, 16 * GIB));
    g_autoptr(HnPast) past = hn_past_new();
    HnPolicy policy;
    HnDomain *domain = world_add(world, 1, GIB, 1000, 0);

    hn_policy_init(&policy);
    world_pin(world, domain, 0);
    domain->resident_error_permille = 7;
    domain->vcpus[0].faults.is_valid = true;
    domain->vcpus[0].faults.private_pages[0] = 900;
    domain->vcpus[0].faults.private_pages[1] = 100;
    {
        g_autoptr(HnPlan) plan = round_of(world, past, &policy);
        const HnVerdict *v = g_ptr_array_index(plan->verdicts, 0);
        g_assert_true(v->has_accesses_local);
        g_assert_cmpuint(v->accesses_local_permille, ==, 900);
        g_assert_cmpuint(v->accesses_local_age_ns, ==, 0);
        /* Wilson, aimed at 97.5 %: 900 of 1000 is 0.877 to 0.919. */
        g_assert_cmpuint(v->accesses_local_error_permille, >=, 23);
        g_assert_cmpuint(v->accesses_local_error_permille, <=, 25);
        g_assert_cmpuint(v->bytes_local_error_permille, ==, 7);
    }
    domain->vcpus[0].faults.is_valid = false;
    hn_plan_free(round_of(world, past, &policy));
    g_autoptr(HnPlan) plan = round_of(world, past, &policy);
    const HnVerdict *v = g_ptr_array_index(plan->verdicts, 0);
    g_assert_cmpuint(v->accesses_local_permille, ==, 900);
    g_assert_cmpuint(v->accesses_local_age_ns, ==, 4 * SECOND_NS);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strdup_printf(
            "/doubt/transition/%s/%s", hn_doubt_state_name(cases[i].from), cases[i].what);
        g_test_add_data_func(path, &cases[i], test_transition);
    }
    g_test_add_func("/doubt/complete", test_complete);
    g_test_add_func("/doubt/answers", test_answers);
    g_test_add_func("/doubt/fence-answer", test_fence_answer);
    g_test_add_func("/doubt/probe-age", test_probe_age);
    g_test_add_func("/doubt/swings", test_swings);
    g_test_add_func("/doubt/stale-touches", test_stale_touches);
    g_test_add_func("/doubt/text", test_text);
    g_test_add_func("/doubt/big-sleeper", test_big_sleeper);
    g_test_add_func("/doubt/fence-and-doubt", test_fence_and_doubt);
    g_test_add_func("/doubt/two-numbers", test_two_numbers);
    return g_test_run();
}
