/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What must hold of the doubt machine whatever happens to a domain. Every failure prints the seed of
 * its case; HN_PROPERTY_SEED=n starts from another one.
 */
#include "world.h"

#include "doubt.h"

#include <string.h>

#define SECOND_NS UINT64_C(1000000000)
#define ROUND_NS (2 * SECOND_NS)
#define GIB (UINT64_C(1) << 30)

static uint64_t first_seed = 20261121;

static bool chance(uint64_t *seed, uint32_t permille)
{
    return world_random(seed) % 1000 < permille;
}

static HnDoubtFacts random_facts(uint64_t *seed, uint64_t now_ns)
{
    return (HnDoubtFacts){
        .now_ns = now_ns,
        .is_full_round = true,
        .is_managed = true,
        .is_measured = true,
        .is_running = true,
        .has_load = true,
        .load_mcpu = HN_DOUBT_IDLE_MCPU + world_random(seed) % 16000,
        .dirty_age_ns = UINT64_MAX,
        .resident_bytes = GIB + world_random(seed) % (64 * GIB),
        .local_permille = (uint32_t)(world_random(seed) % 1001),
        .error_permille = (uint32_t)(world_random(seed) % 32),
        .shape = world_random(seed),
        .wish = world_random(seed),
        .topology = world_random(seed),
        .is_split = chance(seed, 200),
        .has_room = true,
    };
}

static HnDoubt random_doubt(uint64_t *seed, uint64_t now_ns)
{
    return (HnDoubt){
        .state = (HnDoubtState)(world_random(seed) % HN_N_DOUBT_STATES),
        .cause = (HnDoubtCause)(world_random(seed) % HN_N_DOUBT_CAUSES),
        .since_ns = 1 + world_random(seed) % now_ns,
        .changed_ns = 1 + world_random(seed) % now_ns,
        .checked_ns = world_random(seed) % now_ns,
        .recheck_ns = world_random(seed) % (50 * SECOND_NS),
        .n_rounds = (uint32_t)(world_random(seed) % 40),
        .n_idle = (uint32_t)(world_random(seed) % 10),
        .has_load = chance(seed, 800),
        .load_mcpu = world_random(seed) % 16000,
        .has_reference = chance(seed, 800),
        .low_mcpu = world_random(seed) % 4000,
        .high_mcpu = 4000 + world_random(seed) % 8000,
        .resident_bytes = world_random(seed) % (64 * GIB),
        .local_permille = (uint32_t)(world_random(seed) % 1001),
        .shape = world_random(seed) % 3,
        .wish = world_random(seed) % 3,
        .topology = world_random(seed) % 3,
    };
}

/* From any state, with any facts that stay as they are: sampling ends within its budget, and the
 * machine comes to rest in a state that asks for nothing dear. */
static void test_sampling_ends(void)
{
    HnPolicy policy;

    hn_policy_init(&policy);
    for (uint64_t i = 0; i < 2000; i++) {
        uint64_t seed = first_seed + i, now_ns = 5000 * SECOND_NS;
        HnDoubt doubt = random_doubt(&seed, now_ns);
        HnDoubtFacts facts = random_facts(&seed, now_ns);
        uint32_t n_in_row = 0;
        /* The re-checks far apart, so that what is counted is one doubt. */
        policy.recheck_min_ns = policy.recheck_ceiling_ns = 3600 * SECOND_NS;
        policy.doubt_rounds = 3 + (uint32_t)(world_random(&seed) % 40);
        for (uint32_t r = 0; r < 3 * policy.doubt_rounds + 60; r++) {
            uint32_t before = doubt.n_rounds;
            HnDoubtEvent event = hn_doubt_step(&doubt, &facts, &policy);
            bool is_change = event == HN_DOUBT_EVENT_CERTAIN || event == HN_DOUBT_EVENT_SUSPECT;
            n_in_row = doubt.state != HN_DOUBT_SAMPLING || is_change ? 0 : n_in_row + 1;
            if (n_in_row > policy.doubt_rounds)
                g_error("seed %" G_GUINT64_FORMAT ": %u rounds of sampling without a change, %u are "
                        "allowed (%u)", first_seed + i, n_in_row, policy.doubt_rounds, before);
            facts.now_ns += ROUND_NS;
        }
        /* A look that fell due at the very end may have its rounds. */
        for (uint32_t r = 0; r < policy.doubt_rounds && doubt.state == HN_DOUBT_SAMPLING; r++) {
            hn_doubt_step(&doubt, &facts, &policy);
            facts.now_ns += ROUND_NS;
        }
        HnDoubtAnswer answer = hn_doubt_answer(&doubt, &facts);
        if (answer.state == HN_DOUBT_SAMPLING || answer.wants_hinting || answer.wants_touch)
            g_error("seed %" G_GUINT64_FORMAT ": still %s", first_seed + i,
                    hn_doubt_state_name(doubt.state));
    }
}

/* While nothing changes, the time between two looks doubles up to the ceiling, and stays there. */
static void test_interval_doubles(void)
{
    for (uint64_t i = 0; i < 100; i++) {
        uint64_t seed = first_seed + i, now_ns = 5000 * SECOND_NS;
        HnDoubt doubt = {0};
        HnDoubtFacts facts = random_facts(&seed, now_ns);
        HnPolicy policy;
        uint64_t settled_ns = 0, expected_ns = 0;
        uint32_t n_looks = 0;

        hn_policy_init(&policy);
        policy.recheck_min_ns = (10 + world_random(&seed) % 100) * SECOND_NS;
        policy.recheck_ceiling_ns = policy.recheck_min_ns * (1 + world_random(&seed) % 20);
        while (n_looks < 8) {
            HnDoubtState before = doubt.state;
            hn_doubt_step(&doubt, &facts, &policy);
            if (before == HN_DOUBT_SETTLED && doubt.state == HN_DOUBT_SAMPLING) {
                uint64_t waited_ns = facts.now_ns - settled_ns;
                if (waited_ns < expected_ns || waited_ns >= expected_ns + ROUND_NS)
                    g_error("seed %" G_GUINT64_FORMAT ": look %u after %" G_GUINT64_FORMAT
                            " s, expected %" G_GUINT64_FORMAT, first_seed + i, n_looks,
                            waited_ns / SECOND_NS, expected_ns / SECOND_NS);
                n_looks++;
            }
            if (before == HN_DOUBT_SAMPLING && doubt.state == HN_DOUBT_SETTLED) {
                settled_ns = facts.now_ns;
                expected_ns = expected_ns ? MIN(expected_ns * 2, policy.recheck_ceiling_ns)
                                          : policy.recheck_min_ns;
            }
            facts.now_ns += ROUND_NS;
        }
    }
}

/* Whatever changes in a domain that was known, two rounds later it is in doubt. */
static void test_doubt_returns(void)
{
    uint32_t n_fenced = 0, n_asleep = 0;

    for (uint64_t i = 0; i < 3000; i++) {
        uint64_t seed = first_seed + i, now_ns = 5000 * SECOND_NS;
        HnDoubt doubt = {0};
        HnDoubtFacts facts = random_facts(&seed, now_ns);
        HnPolicy policy;
        bool is_idle = chance(&seed, 300);

        hn_policy_init(&policy);
        facts.load_mcpu = is_idle ? 0 : MAX(facts.load_mcpu, 400);
        facts.local_permille = 200 + facts.local_permille / 2;
        facts.error_permille = 10;
        while (doubt.state != HN_DOUBT_SETTLED && doubt.state != HN_DOUBT_ASLEEP) {
            hn_doubt_step(&doubt, &facts, &policy);
            facts.now_ns += ROUND_NS;
        }
        if (!is_idle && chance(&seed, 500)) {
            facts.is_fenced = true;
            hn_doubt_step(&doubt, &facts, &policy);
            facts.now_ns += ROUND_NS;
            g_assert_cmpint(doubt.state, ==, HN_DOUBT_FENCED);
        }
        n_fenced += doubt.state == HN_DOUBT_FENCED;
        n_asleep += doubt.state == HN_DOUBT_ASLEEP;
        uint32_t what = (uint32_t)(world_random(&seed) % 8);
        switch (what) {
        case 0:
            facts.load_mcpu = facts.load_mcpu * 3 + 500;
            break;
        case 1:
            facts.load_mcpu = is_idle ? 500 : facts.load_mcpu / 4;
            break;
        case 2:
            facts.topology++;
            break;
        case 3:
            facts.wish++;
            break;
        case 4:
            facts.shape++;
            break;
        case 5:
            facts.moved_ns = facts.now_ns;
            break;
        case 6:
            facts.local_permille -= 100;
            facts.load_mcpu = is_idle ? 500 : facts.load_mcpu; /* a sleeper's memory is asleep too */
            break;
        default:
            facts.resident_bytes += facts.resident_bytes / 4 + GIB;
            facts.load_mcpu = is_idle ? 500 : facts.load_mcpu;
        }
        for (uint32_t r = 0; r < 2 && doubt.state != HN_DOUBT_SAMPLING; r++) {
            hn_doubt_step(&doubt, &facts, &policy);
            facts.now_ns += ROUND_NS;
        }
        if (doubt.state != HN_DOUBT_SAMPLING)
            g_error("seed %" G_GUINT64_FORMAT ": change %u left it %s", first_seed + i, what,
                    hn_doubt_state_name(doubt.state));
        g_assert_true(hn_doubt_answer(&doubt, &facts).wants_hinting);
    }
    g_assert_cmpuint(n_fenced, >, 100);
    g_assert_cmpuint(n_asleep, >, 100);
}

/* Noise below the bands never disturbs. */
static void test_noise_is_no_news(void)
{
    for (uint64_t i = 0; i < 200; i++) {
        uint64_t seed = first_seed + i;
        HnDoubt doubt = {0};
        HnDoubtFacts facts = random_facts(&seed, 5000 * SECOND_NS), still;
        HnPolicy policy;

        hn_policy_init(&policy);
        facts.load_mcpu = MAX(facts.load_mcpu, 400);
        facts.local_permille = CLAMP(facts.local_permille, 10, 990);
        still = facts;
        for (uint32_t r = 0; r < 1000; r++) {
            uint64_t band = MIN(still.load_mcpu / 10, 140);
            facts.load_mcpu = still.load_mcpu - band + world_random(&seed) % (2 * band + 1);
            facts.local_permille = still.local_permille - 4 + (uint32_t)(world_random(&seed) % 9);
            hn_doubt_step(&doubt, &facts, &policy);
            if (doubt.state == HN_DOUBT_DISTURBED)
                g_error("seed %" G_GUINT64_FORMAT ": disturbed by noise in round %u", first_seed + i,
                        r);
            facts.now_ns += ROUND_NS;
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (g_getenv("HN_PROPERTY_SEED"))
        first_seed = g_ascii_strtoull(g_getenv("HN_PROPERTY_SEED"), NULL, 10);
    g_test_message("seed %" G_GUINT64_FORMAT, first_seed);
    g_test_add_func("/doubt/sampling-ends", test_sampling_ends);
    g_test_add_func("/doubt/interval-doubles", test_interval_doubles);
    g_test_add_func("/doubt/returns", test_doubt_returns);
    g_test_add_func("/doubt/noise", test_noise_is_no_news);
    return g_test_run();
}
