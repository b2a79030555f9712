/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The reconnect state machine: waits, bounds, forgiveness, giving up, and what it ignores.
 */
#include "qmp/backoff.h"

#define MS G_GUINT64_CONSTANT(1000000)

static const HnQmpBackoffPolicy policy = {
    .first_ns = 100 * MS, .max_ns = 1000 * MS, .stable_ns = 5000 * MS, .max_failures = 0};

/* A wait is at most what the policy says and at least three quarters of it. */
static void assert_wait(guint64 wait_ns, guint64 full_ns)
{
    g_assert_cmpuint(wait_ns, <=, full_ns);
    g_assert_cmpuint(wait_ns, >=, full_ns - full_ns / 4);
}

static void test_doubles_to_the_maximum(void)
{
    static const guint full_ms[] = {100, 200, 400, 800, 1000, 1000, 1000};
    guint64 now_ns = 7;
    HnQmpBackoff backoff;

    hn_qmp_backoff_init(&backoff, &policy, 1);
    g_assert_true(hn_qmp_backoff_start(&backoff));
    for (size_t i = 0; i < G_N_ELEMENTS(full_ms); i++) {
        guint64 wait_ns = hn_qmp_backoff_failed(&backoff, now_ns);

        assert_wait(wait_ns, full_ms[i] * MS);
        g_assert_cmpint(backoff.state, ==, HN_QMP_BACKOFF_WAITING);
        g_assert_cmpuint(backoff.due_ns, ==, now_ns + wait_ns);
        g_assert_false(hn_qmp_backoff_tick(&backoff, now_ns + wait_ns - 1));
        now_ns += wait_ns;
        g_assert_true(hn_qmp_backoff_tick(&backoff, now_ns));
        g_assert_false(hn_qmp_backoff_tick(&backoff, now_ns)); /* once */
    }
}

static void test_forgives(void)
{
    HnQmpBackoff backoff;

    hn_qmp_backoff_init(&backoff, &policy, 1);
    hn_qmp_backoff_start(&backoff);
    for (guint i = 0; i < 4; i++) {
        hn_qmp_backoff_failed(&backoff, 0);
        hn_qmp_backoff_tick(&backoff, G_MAXUINT64 / 2);
    }
    /* Up for less than stable_ns: one more failure. */
    hn_qmp_backoff_connected(&backoff, 0);
    assert_wait(hn_qmp_backoff_failed(&backoff, 4999 * MS), 1000 * MS);
    hn_qmp_backoff_tick(&backoff, G_MAXUINT64 / 2);
    /* For as long: the first failure. */
    hn_qmp_backoff_connected(&backoff, 0);
    assert_wait(hn_qmp_backoff_failed(&backoff, 5000 * MS), 100 * MS);
}

static void test_gives_up(void)
{
    HnQmpBackoffPolicy three = policy;
    HnQmpBackoff backoff;

    three.max_failures = 3;
    hn_qmp_backoff_init(&backoff, &three, 1);
    hn_qmp_backoff_start(&backoff);
    for (guint i = 0; i < 2; i++) {
        g_assert_cmpuint(hn_qmp_backoff_failed(&backoff, 0), !=, G_MAXUINT64);
        hn_qmp_backoff_tick(&backoff, G_MAXUINT64 / 2);
    }
    g_assert_cmpuint(hn_qmp_backoff_failed(&backoff, 0), ==, G_MAXUINT64);
    g_assert_cmpint(backoff.state, ==, HN_QMP_BACKOFF_GIVEN_UP);
    g_assert_false(hn_qmp_backoff_tick(&backoff, G_MAXUINT64));
    /* Asked again, it begins anew. */
    g_assert_true(hn_qmp_backoff_start(&backoff));
    assert_wait(hn_qmp_backoff_failed(&backoff, 0), 100 * MS);
}

/* What does not belong to a state changes nothing. */
static void test_ignores(void)
{
    HnQmpBackoff backoff;

    hn_qmp_backoff_init(&backoff, &policy, 1);
    hn_qmp_backoff_connected(&backoff, 0);
    g_assert_cmpuint(hn_qmp_backoff_failed(&backoff, 0), ==, G_MAXUINT64);
    g_assert_false(hn_qmp_backoff_tick(&backoff, 0));
    g_assert_cmpint(backoff.state, ==, HN_QMP_BACKOFF_STOPPED);
    g_assert_true(hn_qmp_backoff_start(&backoff));
    g_assert_false(hn_qmp_backoff_start(&backoff));
    hn_qmp_backoff_failed(&backoff, 0);
    g_assert_false(hn_qmp_backoff_start(&backoff)); /* the wait is not cut short */
    hn_qmp_backoff_stop(&backoff);
    g_assert_false(hn_qmp_backoff_tick(&backoff, G_MAXUINT64));
    g_assert_cmpint(backoff.state, ==, HN_QMP_BACKOFF_STOPPED);
}

/* A thousand peers lost together do not come back together. */
static void test_spreads(void)
{
    guint in_first_tenth = 0;

    for (guint64 seed = 0; seed < 1000; seed++) {
        HnQmpBackoff backoff;
        guint64 wait_ns;

        hn_qmp_backoff_init(&backoff, &policy, seed);
        hn_qmp_backoff_start(&backoff);
        wait_ns = hn_qmp_backoff_failed(&backoff, 0);
        assert_wait(wait_ns, 100 * MS);
        in_first_tenth += wait_ns < 77500000;
    }
    g_assert_cmpuint(in_first_tenth, >, 60);
    g_assert_cmpuint(in_first_tenth, <, 140);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qmp/backoff/doubles-to-the-maximum", test_doubles_to_the_maximum);
    g_test_add_func("/qmp/backoff/forgives", test_forgives);
    g_test_add_func("/qmp/backoff/gives-up", test_gives_up);
    g_test_add_func("/qmp/backoff/ignores", test_ignores);
    g_test_add_func("/qmp/backoff/spreads", test_spreads);
    return g_test_run();
}
