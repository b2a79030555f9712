/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The past as a container and as text.
 */
#include "world.h"

#include "past.h"

#include <string.h>

#define SECOND_NS UINT64_C(1000000000)

static void test_round_trip(void)
{
    uint64_t seed = 3;

    for (uint32_t k = 0; k < 20; k++) {
        WorldMix mix = {.min_nodes = 2,
                        .max_nodes = 4,
                        .n_domains = 6,
                        .cpu_load_permille = 1500,
                        .memory_fill_permille = 600,
                        .pinned_permille = 500,
                        .is_odd = true,
                        .has_wishes = true};
        g_autoptr(World) world = world_new_random(&mix, &seed);
        g_autoptr(HnPast) past = hn_past_new();
        HnPolicy policy;
        hn_policy_init(&policy);
        for (uint32_t i = 0; i < 6; i++) {
            g_autoptr(HnPlan) plan =
                hn_decide(world->snapshot, &policy, past, NULL, 0, NULL, 0, NULL, NULL);
            world_apply(world, plan);
            world_step(world, 2 * SECOND_NS, 50, &seed);
        }
        g_autofree char *text = hn_past_format(past);
        g_autoptr(GError) error = NULL;
        g_autoptr(HnPast) back = hn_past_parse(text, strlen(text), &error);
        g_assert_no_error(error);
        g_autofree char *again = hn_past_format(back);
        g_assert_cmpstr(again, ==, text);
        g_autoptr(HnPast) copy = hn_past_copy(back);
        g_autofree char *copied = hn_past_format(copy);
        g_assert_cmpstr(copied, ==, text);
    }
}

#define UUID "11111111-1111-1111-1111-111111111111"
#define HEAD "homenode-past 2\nhost 5 1000 2\n"
#define DOMAIN HEAD "domain " UUID " 10 20 0 1000 1 0 0 0\n"

static void test_text(void)
{
    static const struct {
        const char *text, *error; /* error NULL: must be read */
    } cases[] = {
        {DOMAIN, NULL},
        {DOMAIN "future things we do not know\n\n", NULL},
        {DOMAIN "client 5 1 -1 0 1\nseen 1 500 500\n", NULL},
        {"homenode-past 2", NULL},
        {"homenode-past 1", NULL},
        {"", "past is empty"},
        {"homenode-past 3\n", "line 1: homenode-past of version 3 (allowed: 1 to 2)"},
        {"homenode-past 0\n", "version 0 (allowed"},
        {"homenode-past -1\n", "(allowed: 1 to 2)"},
        {"homenode-past\n", "line 1: not 'homenode-past ' and a version"},
        {"homenode-past x\n", "line 1: not"},
        {DOMAIN "audit 0 0 0 0 0 0 0 0\n", "line 4: too few numbers"},
        {DOMAIN "audit 0 0 0 0 0 0 0 0 0 0\n", "line 4: more numbers"},
        {DOMAIN "residue 1 2 3\n", "line 4: more numbers"},
        {DOMAIN "doubt 2 3 4 5 6 7 8 9 1 11\nreference 1 2 3 4 5 6 7 8 9 10\naccesses 1 2 3 "
                "4\ntrusted 5\n",
         NULL},
        {DOMAIN "doubt 7 0 0 0 0 0 0 0 0 0\n", "line 4: no such state"},
        {DOMAIN "reference 0 0 0 1001 0 0 0 0 0 0\n", "line 4: shares are at most"},
        {DOMAIN "accesses 0 0 1001 0\n", "line 4: shares are at most"},
        {HEAD "doubt 0 0 0 0 0 0 0 0 0 0\n", "before the domain"},
        {HEAD "host 5 1000 2\n", "second 'host'"},
        {"homenode-past 2\nhost 5 1000 65\n", "more than 64 nodes"},
        {HEAD "other 2 1 1\n", "line 3: node number out of range"},
        {HEAD "client 5 1 0 0 0\n", "before the domain"},
        {DOMAIN "seen 0 1 1\n", "before the domain or client"},
        {DOMAIN "client 5 1 0 0 2\n", "home out of range"},
        {DOMAIN "client 5 1 0 0 -2\n", "home out of range"},
        {DOMAIN "client 5 1\n", "too few numbers"},
        {DOMAIN "thread x 1 1 1 1 1\n", "something that is not one"},
        {DOMAIN "thread 1 99999999999999999999999 1 1 1 1\n", "something that is not one"},
        {DOMAIN "move 50\nmove 40\n", "must ascend"},
        {DOMAIN "audit 0 0 0 0 0 0 0 4 0\n", "marked nodes outside"},
        {HEAD "domain short 10 20 0 1000 1 0 0 0\n", "uuid of 36"},
        {DOMAIN "domain " UUID " 10 20 0 1000 1 0 0 0\n", "did not occur before"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(HnPast) past = hn_past_parse(cases[i].text, strlen(cases[i].text), &error);
        g_test_message("case %u", i);
        if (!cases[i].error) {
            g_assert_no_error(error);
            g_assert_nonnull(past);
            continue;
        }
        g_assert_null(past);
        g_assert_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX);
        g_assert_nonnull(strstr(error->message, cases[i].error));
    }
}

/* What an older homenode left is read for what it meant then. */
static void test_older(void)
{
    static const char head[] =
        "homenode-past 1\nhost 5 1000 2\ndomain " UUID " 10 20 0 1000 1 0 0 0\n";
    static const struct {
        const char *audit;
        uint32_t audit_left;
        bool has_baseline, is_undoing;
        HnNodemask marked_worse;
        uint64_t marked_until_ns;
    } cases[] = {
        {"audit 1 900 100 200 300 1 2 7000\n", 0, false, true, 2,
         7000}, /* eight: no HAS_BASELINE */
        {"audit 3 900 100 200 300 1 0 2 7000\n", 3, true, false, 2, 7000},
        {"audit 3 900 100 200 300 0 1 1 7000\n", 3, false, true, 1, 7000},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = g_strconcat(head, cases[i].audit, NULL);
        g_autoptr(GError) error = NULL;
        g_autoptr(HnPast) past = hn_past_parse(text, strlen(text), &error);
        g_assert_no_error(error);
        const HnPastDomain *r = hn_past_find(past, UUID);
        g_assert_nonnull(r);
        g_assert_cmpuint(r->audit_left, ==, cases[i].audit_left);
        g_assert_cmpuint(r->audit_due_ns, ==, 900);
        g_assert_cmpuint(r->delay_permille, ==, 100);
        g_assert_cmpint(r->stall_permille, ==, 200);
        g_assert_cmpint(r->stall_before_permille, ==, 300);
        g_assert_cmpint(r->has_baseline, ==, cases[i].has_baseline);
        g_assert_cmpint(r->is_undoing, ==, cases[i].is_undoing);
        g_assert_cmpuint(r->marked_worse, ==, cases[i].marked_worse);
        g_assert_cmpuint(r->marked_until_ns, ==, cases[i].marked_until_ns);
        /* Written anew it is of today's version. */
        g_autofree char *again = hn_past_format(past);
        g_assert_true(g_str_has_prefix(again, "homenode-past 2\n"));
        g_autoptr(HnPast) back = hn_past_parse(again, strlen(again), &error);
        g_assert_no_error(error);
    }
}

/* The layout of the present version, every kind of line: a change of it that does not count the
 * version up fails here. */
static void test_layout(void)
{
    static const char text[] = "homenode-past 2\nhost 5 1000 2\nother 0 10 11\nother 1 20 21\n"
                               "domain " UUID " 10 20 30 1000 4 2 900 800\n"
                               "residue 4096 600\n"
                               "audit 3 950 100 -200 300 1 1 2 7000\n"
                               "doubt 1 2 3 4 5 6 7 8 1 10\n"
                               "move 900\n"
                               "thread 11 12 13 14 15 1\n"
                               "client 500 1 -1 1 0\n"
                               "seen 0 400 401\nseen 1 600 599\n";
    g_autoptr(GError) error = NULL;
    g_autoptr(HnPast) past = hn_past_parse(text, strlen(text), &error);

    g_assert_no_error(error);
    g_autofree char *again = hn_past_format(past);
    g_assert_cmpstr(again, ==, text);
}

static void test_moves(void)
{
    HnPastDomain record = {0};

    for (uint64_t i = 1; i <= 100; i++)
        hn_past_domain_add_move(&record, i * 60 * SECOND_NS);
    g_assert_cmpuint(record.n_moves, ==, HN_PAST_MAX_MOVES);
    /* Of the last hour: minutes 41 to 100. */
    g_assert_cmpuint(hn_past_domain_moves_in_hour(&record, 100 * 60 * SECOND_NS), ==, 60);
    g_assert_cmpuint(hn_past_domain_moves_in_hour(&record, 130 * 60 * SECOND_NS), ==, 30);
    g_assert_cmpuint(record.last_rehome_ns, ==, 6000 * SECOND_NS);
}

/* Domains come and go; a change of the number of nodes forgets what was said in node numbers. */
static void test_container(void)
{
    g_autoptr(HnPast) past = hn_past_new();
    g_autoptr(HnDomain) domain = hn_domain_new(2);

    hn_past_begin(past, 2);
    for (int i = 9; i >= 0; i--) {
        g_snprintf(domain->uuid, sizeof(domain->uuid), "%d0000000-0000-0000-0000-000000000000", i);
        HnPastDomain *record = hn_past_domain(past, domain, 5);
        record->last_seen_ns = i % 2 ? 7 : 5;
        hn_past_domain_set_clients(record, 1, 2);
        record->clients[0].wanted = 1;
        record->marked_worse = 2;
    }
    g_assert_cmpuint(past->domains->len, ==, 10);
    for (uint32_t i = 1; i < 10; i++)
        g_assert_cmpstr(((HnPastDomain *)past->domains->pdata[i - 1])->uuid, <,
                        ((HnPastDomain *)past->domains->pdata[i])->uuid);
    hn_past_sweep(past, 7);
    g_assert_cmpuint(past->domains->len, ==, 5);
    g_assert_null(hn_past_find(past, "20000000-0000-0000-0000-000000000000"));
    hn_past_begin(past, 3);
    const HnPastDomain *record = hn_past_find(past, "30000000-0000-0000-0000-000000000000");
    g_assert_cmpuint(record->n_clients, ==, 0);
    g_assert_cmpuint(record->marked_worse, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/past/round-trip", test_round_trip);
    g_test_add_func("/past/text", test_text);
    g_test_add_func("/past/older", test_older);
    g_test_add_func("/past/layout", test_layout);
    g_test_add_func("/past/moves", test_moves);
    g_test_add_func("/past/container", test_container);
    return g_test_run();
}
