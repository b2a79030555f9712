/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What sampled touches are worth: is the share that is told of them within the error that is told? Guests of few and
 * of many pages whose truth is known, touched in bursts as huge pages are, observed again and again.
 */
#include "observe/touch-matrix.h"

#include "evidence.h"

#define N_RUNS 500
#define MAX_TOUCHES 512
#define MIN_COVERED_PERMILLE 950
/* Below so many nothing is told, and a touch can be three faults (placement/evidence.c). */
#define MIN_TOUCHES 100
#define FAULTS_PER_TOUCH 3

typedef struct {
    uint64_t covered_permille;
    uint64_t error_permille; /* mean */
} Result;

typedef enum { ALL_ALIKE, HALF_ARE_HOT } Habit;

/* One guest: n_pages of which n_local, the first or any, are local; n_visits, each to a page drawn freely and leaving up to
 * `burst` touches. `is_naive`: each touch taken for a sample. */
static bool observe_once(GRand *random, uint32_t n_pages, uint32_t n_local, uint32_t n_visits, uint32_t burst,
                         Habit habit, bool is_naive, uint64_t *error_permille)
{
    HnTouchedPage touches[MAX_TOUCHES];
    uint64_t all = 0, local = 0;
    uint32_t n = MIN(n_visits, MAX_TOUCHES);
    /* Every second page is three times as hot as the others; as many of them are local as of those. */
    uint32_t truth_permille = (uint32_t)((uint64_t)n_local * 1000 / n_pages);

    for (uint32_t i = 0; i < n; i++) {
        uint32_t page = (uint32_t)g_rand_int_range(random, 0, (gint32)n_pages);
        if (habit == HALF_ARE_HOT && page % 2 && g_rand_int_range(random, 0, 3))
            page--;
        touches[i] = (HnTouchedPage){page, (uint64_t)g_rand_int_range(random, 1, (gint32)burst + 1)};
        all += touches[i].n_touches;
        local += page < n_local ? touches[i].n_touches : 0;
    }
    uint64_t worth = is_naive ? all : MIN(hn_touch_independent(touches, n, 1), all / FAULTS_PER_TOUCH);
    uint32_t permille = (uint32_t)(local * 1000 / all);
    uint32_t error = hn_evidence_error_permille(worth * permille / 1000, worth);
    *error_permille += error;
    return ABS((int32_t)permille - (int32_t)truth_permille) <= (int32_t)error;
}

static Result observe(uint32_t n_pages, uint32_t n_local, uint32_t n_visits, uint32_t burst, Habit habit, bool is_naive)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(n_pages * 1000003 + n_local * 101 + n_visits + burst);
    Result result = {0};

    for (uint32_t run = 0; run < N_RUNS; run++)
        result.covered_permille += observe_once(random, n_pages, n_local, n_visits, burst, habit, is_naive,
                                                &result.error_permille);
    result.covered_permille = result.covered_permille * 1000 / N_RUNS;
    result.error_permille /= N_RUNS;
    return result;
}

/* In every case the truth is within what is told in at least 95 % of the runs. */
static void test_covers(void)
{
    static const uint32_t pages[] = {4, 8, 16, 64, 512};
    static const uint32_t locals[] = {0, 100, 250, 500, 900, 970, 1000};
    static const uint32_t visits[] = {8, 16, 40, 120};
    static const uint32_t bursts[] = {1, 512};
    uint64_t least = 1000;

    for (unsigned p = 0; p < G_N_ELEMENTS(pages); p++)
        for (unsigned l = 0; l < G_N_ELEMENTS(locals); l++)
            for (unsigned v = 0; v < G_N_ELEMENTS(visits); v++)
                for (unsigned b = 0; b < G_N_ELEMENTS(bursts); b++)
                    for (Habit habit = ALL_ALIKE; habit <= HALF_ARE_HOT; habit++) {
                        if (visits[v] * (bursts[b] + 1) / 2 < MIN_TOUCHES)
                            continue;
                        /* An even number: of hot and of cold ones as many. */
                        uint32_t n_local = (uint32_t)((uint64_t)pages[p] * locals[l] / 1000) / 2 * 2;
                        Result result = observe(pages[p], n_local, visits[v], bursts[b], habit, false);
                        least = MIN(least, result.covered_permille);
                        if (result.covered_permille < MIN_COVERED_PERMILLE)
                            g_test_message("%u pages, %u local, %u visits of up to %u touches: %" G_GUINT64_FORMAT
                                           " permille covered",
                                           pages[p], n_local, visits[v], bursts[b], result.covered_permille);
                    }
    g_test_message("at least %" G_GUINT64_FORMAT " permille", least);
    g_assert_cmpuint(least, >=, MIN_COVERED_PERMILLE);
}

/* Eight huge pages, half of them local, ten visits: to take every touch for a sample promises what it does not keep. */
static void test_bursts_are_one(void)
{
    Result clustered = observe(8, 4, 10, 512, ALL_ALIKE, false);
    Result naive = observe(8, 4, 10, 512, ALL_ALIKE, true);

    g_test_message("told +-%" G_GUINT64_FORMAT " permille; each touch taken for a sample +-%" G_GUINT64_FORMAT
                   ", true in %" G_GUINT64_FORMAT " of 1000",
                   clustered.error_permille, naive.error_permille, naive.covered_permille);
    g_assert_cmpuint(naive.covered_permille, <, 500);
    g_assert_cmpuint(clustered.covered_permille, >=, MIN_COVERED_PERMILLE);
}

static void test_worth(void)
{
    HnTouchedPage one_page[] = {{4096, 7}, {4096, 1}, {4096, 300}};
    HnTouchedPage four[] = {{0, 5}, {8192, 5}, {4096, 2}, {4096, 3}, {12288, 5}};
    HnTouchedPage uneven[] = {{0, 30}, {4096, 10}};

    g_assert_cmpuint(hn_touch_independent(NULL, 0, 1), ==, 0);
    g_assert_cmpuint(hn_touch_independent(one_page, 3, 256), ==, 256);
    g_assert_cmpuint(hn_touch_independent(four, 5, 1), ==, 4);
    g_assert_cmpuint(hn_touch_independent(uneven, 2, 1000), ==, 1600); /* 40² / (30² + 10²) */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/touch-worth/worth", test_worth);
    g_test_add_func("/touch-worth/covers", test_covers);
    g_test_add_func("/touch-worth/bursts-are-one", test_bursts_are_one);
    return g_test_run();
}
