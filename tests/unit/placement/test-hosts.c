/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the host is like decides: its CPUs, siblings, odd nodes, huge pages, congestion, and when it is too small.
 */
#include "scene.h"

#include <string.h>

/* T2: light load, everything on one node after an incoming migration: some of it leaves. */
static void test_light_load(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 16, 1, 64 * GIB));
    uint32_t n_left = 0;

    for (uint32_t i = 0; i < 8; i++)
        world_pin(scene->world, world_add(scene->world, 2, 4 * GIB, 1000, 0), 0);
    g_autoptr(HnPlan) plan = scene_after(scene, 3);
    g_assert_true(world_apply(scene->world, plan));
    for (uint32_t i = 0; i < 8; i++)
        n_left +=
            world_home(scene->world, g_ptr_array_index(scene->world->snapshot->domains, i)) == 1;
    g_assert_cmpuint(n_left, >=, 3);
    g_assert_cmpuint(n_left, <=, 4);
}

/* T6: 32 vCPUs, nodes of 16 cores with 32 threads: not squeezed onto siblings. */
static void test_siblings(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 32, 2, 128 * GIB));
    HnDomain *domain = world_add(scene->world, 32, 64 * GIB, 32000, HN_NODE_NONE);

    for (uint32_t v = 0; v < 32; v++)
        domain->vcpus[v].last_cpu = (int32_t)(v < 16 ? v : v + 16);
    g_autoptr(HnPlan) plan = scene_after(scene, 4);
    assert_reason(plan, domain, SMT_CONTENTION);
    g_assert_cmpuint(plan->actions->len, ==, 0);
    /* With half the load there is a core for each busy vCPU, and it is gathered. */
    scene->world->load_mcpu[0] = 12000;
    g_autoptr(HnPlan) idle = scene_after(scene, 12);
    g_assert_cmpint(verdict_of(idle, domain)->clients[0].home_wanted, >=, 0);
}

/* T7: a node without CPUs, one without memory, sparse ids: never a home. */
static void test_odd_nodes(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(4, 4, 1, 8 * GIB));
    HnHost *host = scene->world->snapshot->host;

    hn_cpuset_zero(&host->nodes[2].cpus);
    host->nodes[2].n_cpus = host->nodes[2].n_cores = 0;
    host->nodes[3].mem_total_bytes = host->nodes[3].mem_free_bytes = 0;
    for (uint32_t n = 0; n < 4; n++)
        host->nodes[n].id = (int32_t)(n * n * 4);
    HnDomain *domain = world_add(scene->world, 2, GIB, 2000, 2);
    g_autoptr(HnPlan) plan = scene_after(scene, 3);
    g_assert_cmpint(verdict_of(plan, domain)->clients[0].home_wanted, >=, 0);
    g_assert_cmpint(verdict_of(plan, domain)->clients[0].home_wanted, <=, 1);
    g_assert_true(world_apply(scene->world, plan));
    g_assert_cmpuint(domain->resident_bytes[2], ==, 0);
}

/* Groups together, anti-groups apart, devices drawn. */
static void test_company(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(4, 8, 1, 32 * GIB));
    HnDomain *together[2], *apart[2], *device;

    for (uint32_t i = 0; i < 2; i++) {
        together[i] = world_add(scene->world, 2, GIB, 1000, (int32_t)i);
        together[i]->wish.group = g_strdup("shop");
        world_pin(scene->world, together[i], (int32_t)i);
        apart[i] = world_add(scene->world, 2, GIB, 1000, 2);
        apart[i]->wish.anti_group = g_strdup("replicas");
        world_pin(scene->world, apart[i], 2);
    }
    device = world_add(scene->world, 2, GIB, 1000, 0);
    device->device_nodes = 1 << 3;
    world_pin(scene->world, device, 0);
    g_autoptr(HnPlan) plan = scene_after(scene, 3);
    g_assert_true(world_apply(scene->world, plan));
    g_assert_cmpint(world_home(scene->world, together[0]), ==,
                    world_home(scene->world, together[1]));
    g_assert_cmpint(world_home(scene->world, apart[0]), !=, world_home(scene->world, apart[1]));
    g_assert_cmpint(world_home(scene->world, device), ==, 3);
    assert_reason(plan, device, DEVICE_LOCALITY);
}

/* A node whose memory controllers are asked for more than they serve lets some guests go. */
static void test_congestion(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 32, 1, 64 * GIB));

    for (uint32_t n = 0; n < 2; n++)
        scene->world->snapshot->host->nodes[n].bandwidth_bytes_per_sec = 10 * GIB;
    for (uint32_t i = 0; i < 4; i++) {
        HnDomain *domain = world_add(scene->world, 2, GIB, 2000, 0);
        domain->memory_bound_permille = 1000;
        domain->bandwidth_bytes_per_sec = 5 * GIB;
        world_pin(scene->world, domain, 0);
    }
    g_autoptr(HnPlan) plan = scene_after(scene, 3);
    g_assert_true(world_apply(scene->world, plan));
    uint32_t n_gone = 0, n_congestion = 0;
    for (uint32_t i = 0; i < 4; i++) {
        const HnDomain *domain = g_ptr_array_index(scene->world->snapshot->domains, i);
        n_gone += world_home(scene->world, domain) == 1;
        n_congestion += verdict_of(plan, domain)->reason == HN_REASON_CONGESTION;
    }
    g_assert_cmpuint(n_gone, ==, 2);
    g_assert_cmpuint(n_congestion, ==, 2);
}

/* Ordinary memory does not count for hugepage guests, nor theirs for others. */
static void test_hugepages(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 8, 1, 32 * GIB));
    HnHost *host = scene->world->snapshot->host;
    HnDomain *domain = world_add(scene->world, 4, 4 * GIB, 4000, 0);
    HnRegion *region = hn_domain_add_region(domain, 2);

    region->backing = HN_BACKING_HUGETLB;
    region->page_bytes = 2 * MIB;
    region->length_bytes = 4 * GIB;
    region->resident_bytes[0] = 4 * GIB;
    for (uint32_t n = 0; n < 2; n++) {
        host->nodes[n].n_huge_pools = 1;
        host->nodes[n].huge_pools[0] = (HnHugePool){2 * MIB, 4096, n == 0 ? 0 : 1024};
    }
    world_pin(scene->world, domain, 1);
    /* The node's own CPUs are busy with something else, so going back is no way out. */
    host->nodes[0].other_load_mcpu = 8000;
    g_autoptr(HnPlan) full = scene_after(scene, 4);
    g_assert_cmpuint(count_actions(full, domain, HN_ACTION_MOVE_MEMORY), ==, 0);
    host->nodes[1].huge_pools[0].free_pages = 2048;
    g_autoptr(HnPlan) plan = scene_after(scene, 3);
    g_assert_cmpuint(count_actions(plan, domain, HN_ACTION_MOVE_MEMORY), ==, 1);
}

/* Overcommitted CPUs are no alarm; beyond threefold those are named whose departure helps most. */
static void test_departures(void)
{
    static const struct {
        uint32_t load_mcpu;
        bool is_overfull;
    } cases[] = {{1800, false}, {2500, false}, {3300, true}};

    for (unsigned k = 0; k < G_N_ELEMENTS(cases); k++) {
        g_autoptr(Scene) scene = scene_new(world_host(2, 4, 1, 64 * GIB));
        for (uint32_t i = 0; i < 8; i++)
            world_add(scene->world, 4, GIB, i == 5 ? 4000 : cases[k].load_mcpu, 0);
        g_autoptr(HnPlan) plan = scene_after(scene, 3);
        uint32_t permille = (7 * cases[k].load_mcpu + 4000) / 8;
        g_test_message("%s", plan->summary);
        g_assert_cmpuint(plan->n_kept_out, ==, 0);
        g_assert_cmpint(ABS((int32_t)plan->cpu_load_permille - (int32_t)permille), <=, 150);
        g_assert_cmpint(plan->is_overfull, ==, cases[k].is_overfull);
        g_assert_cmpuint(plan->departures->len, ==, cases[k].is_overfull ? 3 : 0);
        g_assert_cmpint(strstr(plan->summary, "times the CPUs") != NULL, ==, cases[k].is_overfull);
        if (cases[k].is_overfull)
            g_assert_cmpstr(g_ptr_array_index(plan->departures, 0), ==,
                            "00000000-0000-0000-0000-000000000005");
    }
}

/* Where memory keeps a guest out, the one is named whose leaving lets it in, and no other. */
static void test_kept_out(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 8, 1, 16 * GIB));

    /* Node 0: a big guest and a small one. Node 1: one whose device is on node 0, and a filler. */
    HnDomain *big = world_add(scene->world, 4, 12 * GIB, 100, 0);
    HnDomain *small = world_add(scene->world, 1, GIB, 100, 0);
    HnDomain *drawn = world_add(scene->world, 4, 6 * GIB, 4000, 1);
    HnDomain *filler = world_add(scene->world, 1, 8 * GIB, 100, 1);
    world_pin(scene->world, big, 0);
    world_pin(scene->world, small, 0);
    world_pin(scene->world, drawn, 1);
    world_pin(scene->world, filler, 1);
    big->wish.memory = filler->wish.memory = HN_MEMORY_KEEP;
    drawn->device_nodes = 1;
    g_autoptr(HnPlan) plan = scene_after(scene, 3);
    g_test_message("%s", plan->summary);
    assert_reason(plan, drawn, NODE_FULL);
    g_assert_true(plan->is_overfull);
    g_assert_cmpuint(plan->n_kept_out, ==, 1);
    g_assert_nonnull(strstr(plan->summary, "Memory keeps 1 guest from a better node"));
    g_assert_cmpuint(plan->departures->len, ==, 1);
    g_assert_cmpstr(g_ptr_array_index(plan->departures, 0), ==, big->uuid);
    g_assert_nonnull(strstr(plan->summary, "it would help most if g0 left."));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hosts/light-load", test_light_load);
    g_test_add_func("/hosts/siblings", test_siblings);
    g_test_add_func("/hosts/odd-nodes", test_odd_nodes);
    g_test_add_func("/hosts/company", test_company);
    g_test_add_func("/hosts/congestion", test_congestion);
    g_test_add_func("/hosts/hugepages", test_hugepages);
    g_test_add_func("/hosts/departures", test_departures);
    g_test_add_func("/hosts/kept-out", test_kept_out);
    return g_test_run();
}
