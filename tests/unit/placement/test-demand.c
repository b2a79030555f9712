/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Demand: smoothing, waiting, restart and wrap of counters, the dead band; and the two locality
 * numbers.
 */
#include "world.h"

#include "demand.h"
#include "evidence.h"

#define SECOND_NS UINT64_C(1000000000)

typedef struct {
    uint64_t exec_ms, delay_ms; /* by which the counters advance in 2 s */
    uint64_t at_least, at_most; /* mcpu afterwards */
} Step;

static void run_steps(const Step *steps, unsigned n_steps)
{
    g_autoptr(HnPast) past = hn_past_new();
    g_autoptr(HnDomain) domain = hn_domain_new(1);
    HnVcpu *vcpu = hn_domain_add_vcpu(domain, 1);
    HnPolicy policy;

    hn_policy_init(&policy);
    vcpu->tid = 7;
    HnPastDomain *record = hn_past_domain(past, domain, 1);
    hn_demand_update(record, domain, 0, &policy);
    g_assert_cmpuint(record->n_samples, ==, 0);
    g_assert_cmpuint(hn_demand_of_vcpu(record, domain, 0), ==,
                     1000); /* running and unknown: all of a CPU */
    for (unsigned i = 0; i < n_steps; i++) {
        vcpu->exec_ns += steps[i].exec_ms * 1000000;
        vcpu->run_delay_ns += steps[i].delay_ms * 1000000;
        hn_demand_update(record, domain, 2 * SECOND_NS, &policy);
        g_assert_cmpuint(hn_demand_of_vcpu(record, domain, 0), >=, steps[i].at_least);
        g_assert_cmpuint(hn_demand_of_vcpu(record, domain, 0), <=, steps[i].at_most);
    }
}

static void test_smoothing(void)
{
    static const Step busy[] = {{2000, 0, 1000, 1000}, {2000, 0, 1000, 1000}};
    /* On an overcommitted node it runs half of the time and waits the other half: it wants all of
     * it. */
    static const Step waits[] = {
        {1000, 1000, 1000, 1000}, {500, 1500, 1000, 1000}, {500, 2500, 1000, 1000}};
    static const Step half[] = {{1000, 0, 500, 500}, {1000, 0, 500, 500}};
    /* From idle to busy: a third after one round, more than half after two. */
    static const Step wakes[] = {
        {0, 0, 0, 0}, {2000, 0, 330, 380}, {2000, 0, 550, 610}, {2000, 0, 700, 780}};

    run_steps(busy, G_N_ELEMENTS(busy));
    run_steps(waits, G_N_ELEMENTS(waits));
    run_steps(half, G_N_ELEMENTS(half));
    run_steps(wakes, G_N_ELEMENTS(wakes));
}

/* Counters that run backwards, and threads that are not the same any more, give no sample and no
 * nonsense. */
static void test_restart(void)
{
    g_autoptr(HnPast) past = hn_past_new();
    g_autoptr(HnDomain) domain = hn_domain_new(1);
    HnVcpu *vcpu = hn_domain_add_vcpu(domain, 1);
    HnPolicy policy;

    hn_policy_init(&policy);
    vcpu->exec_ns = 100 * SECOND_NS;
    HnPastDomain *record = hn_past_domain(past, domain, 1);
    hn_demand_update(record, domain, 0, &policy);
    vcpu->exec_ns += SECOND_NS;
    hn_demand_update(record, domain, 2 * SECOND_NS, &policy);
    g_assert_cmpuint(hn_demand_of_vcpu(record, domain, 0), ==, 500);
    vcpu->exec_ns = 5;
    hn_demand_update(record, domain, 2 * SECOND_NS, &policy);
    g_assert_cmpuint(hn_demand_of_vcpu(record, domain, 0), ==, 500);
    g_assert_cmpuint(record->n_samples, ==, 1);
    vcpu->start_ticks = 99; /* same tid, other thread */
    vcpu->exec_ns = 50 * SECOND_NS;
    hn_demand_update(record, domain, 2 * SECOND_NS, &policy);
    g_assert_cmpuint(hn_demand_of_vcpu(record, domain, 0), ==, 1000);
    vcpu->exec_ns = UINT64_MAX - 10;
    hn_demand_update(record, domain, 2 * SECOND_NS, &policy);
    g_assert_cmpuint(hn_demand_of_vcpu(record, domain, 0), ==, 1000);
    vcpu->exec_ns = 10; /* wrapped: not a sample */
    hn_demand_update(record, domain, 2 * SECOND_NS, &policy);
    g_assert_cmpuint(hn_demand_of_vcpu(record, domain, 0), ==, 1000);
    domain->state = HN_STATE_PAUSED;
    g_assert_cmpuint(hn_demand_of_vcpu(record, domain, 0), ==, 0);
    /* Another process under the same uuid starts afresh. */
    domain->pid = 4711;
    g_assert_cmpuint(hn_past_domain(past, domain, 2)->n_samples, ==, 0);
}

static void test_hold(void)
{
    static const struct {
        uint64_t held, smoothed, want;
        bool is_held;
    } cases[] = {
        {0, 700, 700, false},     {1000, 1124, 1000, true}, {1000, 876, 1000, true},
        {1000, 1126, 1126, true}, {1000, 874, 874, true},   {10, 29, 10, true},
        {10, 31, 31, true},       {0, 15, 0, true},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++)
        g_assert_cmpuint(hn_demand_hold(cases[i].held, cases[i].is_held, cases[i].smoothed), ==,
                         cases[i].want);
}

static void test_weight(void)
{
    g_assert_cmpuint(hn_demand_weight(0, SECOND_NS), ==, 0);
    g_assert_cmpuint(hn_demand_weight(SECOND_NS, SECOND_NS), ==, 32768);
    g_assert_cmpuint(hn_demand_weight(3 * SECOND_NS, SECOND_NS), ==, 57344);
    g_assert_cmpuint(hn_demand_weight(100 * SECOND_NS, SECOND_NS), ==, 65536);
    for (uint64_t t = 0; t < 3000; t++)
        g_assert_cmpuint(hn_demand_weight(t * 1000000, SECOND_NS), <=,
                         hn_demand_weight((t + 1) * 1000000, SECOND_NS));
}

/* Bytes and accesses are two numbers and may disagree. */
static void test_locality(void)
{
    g_autoptr(World) world = world_new(world_host(2, 4, 1, UINT64_C(4) << 30));
    HnDomain *domain = world_add(world, 2, UINT64_C(1) << 30, 2000, 0);
    HnCpuset both = {0};
    uint64_t movable[2] = {UINT64_C(950) << 20, UINT64_C(50) << 20}, stuck[2] = {0};
    HnClient client = {.n_vcpus = 2,
                       .home_now = 0,
                       .movable_bytes = movable,
                       .immovable_bytes = stuck,
                       .resident_bytes = UINT64_C(1000) << 20};
    HnSplit split = {.domain = domain, .n_clients = 1, .clients = &client};

    hn_cpuset_add(&both, 0);
    hn_cpuset_add(&both, 1);
    client.vcpus = both;
    HnLocality locality = hn_evidence_locality(world->snapshot->host, &split);
    g_assert_cmpuint(locality.bytes_local_permille, ==, 950);
    g_assert_false(locality.has_accesses_local);
    for (uint32_t v = 0; v < 2; v++) {
        domain->vcpus[v].faults.is_valid = true;
        domain->vcpus[v].faults.private_pages[0] = 300;
        domain->vcpus[v].faults.shared_pages[1] = 700;
    }
    locality = hn_evidence_locality(world->snapshot->host, &split);
    g_assert_true(locality.has_accesses_local);
    g_assert_cmpuint(locality.accesses_local_permille, ==, 300);
    g_assert_cmpuint(locality.n_touches, ==, 2000);
    /* Unpinned, one vCPU seen on each node: half of each. */
    client.home_now = HN_NODE_NONE;
    domain->vcpus[0].last_cpu = 0;
    domain->vcpus[1].last_cpu = 5;
    g_assert_cmpuint(hn_evidence_locality(world->snapshot->host, &split).bytes_local_permille, ==,
                     500);
}

/* Sampled touches stand in where the kernel has no hinting faults to tell, and only there. */
static void test_locality_by_touches(void)
{
    g_autoptr(World) world = world_new(world_host(2, 4, 1, UINT64_C(4) << 30));
    HnDomain *domain = world_add(world, 2, UINT64_C(1) << 30, 2000, 0);
    uint64_t movable[2] = {UINT64_C(1000) << 20, 0}, stuck[2] = {0};
    HnClient client = {.n_vcpus = 2,
                       .home_now = 0,
                       .movable_bytes = movable,
                       .immovable_bytes = stuck,
                       .resident_bytes = UINT64_C(1000) << 20};
    HnSplit split = {.domain = domain, .n_clients = 1, .clients = &client};

    hn_cpuset_add(&client.vcpus, 0);
    hn_cpuset_add(&client.vcpus, 1);
    domain->vcpus[0].touches[0] = 20;
    domain->vcpus[1].touches[1] = 60;
    HnLocality locality = hn_evidence_locality(world->snapshot->host, &split);
    g_assert_false(locality.has_accesses_local); /* 80 are too few */
    domain->vcpus[0].touches[0] = 40;
    locality = hn_evidence_locality(world->snapshot->host, &split);
    g_assert_true(locality.has_accesses_local);
    g_assert_cmpuint(locality.accesses_local_permille, ==, 400);
    g_assert_cmpuint(locality.n_touches, ==, 100);
    domain->vcpus[0].faults.is_valid = true;
    domain->vcpus[0].faults.private_pages[0] = 900;
    domain->vcpus[0].faults.private_pages[1] = 100;
    locality = hn_evidence_locality(world->snapshot->host, &split);
    g_assert_cmpuint(locality.accesses_local_permille, ==, 900);
    g_assert_cmpuint(locality.n_touches, ==, 1000);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/demand/smoothing", test_smoothing);
    g_test_add_func("/demand/restart", test_restart);
    g_test_add_func("/demand/hold", test_hold);
    g_test_add_func("/demand/weight", test_weight);
    g_test_add_func("/evidence/locality", test_locality);
    g_test_add_func("/evidence/locality-by-touches", test_locality_by_touches);
    return g_test_run();
}
