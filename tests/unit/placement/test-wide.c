/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Wide domains: guest cells to host nodes, or vCPUs and chunks cut by who touches what.
 */
#include "world.h"

#include "wide.h"

#include <string.h>

#define SECOND_NS UINT64_C(1000000000)
#define GIB (UINT64_C(1) << 30)
#define MIB (UINT64_C(1) << 20)

static HnPlan *third_plan(World *world)
{
    g_autoptr(HnPast) past = hn_past_new();
    HnPolicy policy;
    uint64_t seed = 1;
    HnPlan *plan = NULL;

    hn_policy_init(&policy);
    for (uint32_t i = 0; i < 3; i++) {
        g_clear_pointer(&plan, hn_plan_free);
        plan = hn_decide(world->snapshot, &policy, past, NULL, 0, NULL, 0, NULL, NULL);
        world_step(world, 2 * SECOND_NS, 0, &seed);
    }
    return plan;
}

/* Two cells, each with its memory on the other's node: each cell gets one node, and its own memory.
 */
static void test_cells(void)
{
    g_autoptr(World) world = world_new(world_host(2, 8, 1, 32 * GIB));
    HnDomain *domain = world_add(world, 12, 16 * GIB, 12000, HN_NODE_NONE);

    for (uint32_t c = 0; c < 2; c++) {
        HnGuestCell *cell = hn_domain_add_cell(domain);
        cell->id = c;
        cell->memory_bytes = 8 * GIB;
        for (uint32_t v = 0; v < 6; v++)
            hn_cpuset_add(&cell->vcpus, c * 6 + v);
        HnRegion *region = hn_domain_add_region(domain, 2);
        region->guest_cell = (int32_t)c;
        region->length_bytes = 8 * GIB;
        region->page_bytes = 4096;
        region->resident_bytes[c == 0] = 8 * GIB;
    }
    g_autoptr(HnPlan) plan = third_plan(world);
    const HnVerdict *v = g_ptr_array_index(plan->verdicts, 0);
    g_test_message("%s", v->sentence);
    g_assert_true(v->is_wide);
    g_assert_cmpint(v->reason, ==, HN_REASON_SPLIT_WIDE);
    g_assert_cmpuint(v->n_clients, ==, 2);
    /* Cell 0 lies on node 1: it goes there, and nothing has to move. */
    g_assert_cmpint(v->clients[0].home_wanted, ==, 1);
    g_assert_cmpint(v->clients[1].home_wanted, ==, 0);
    g_assert_cmpuint(v->bytes_to_move, ==, 0);
    g_assert_cmpint(v->clients[1].guest_cell, ==, 1);
    g_assert_true(world_apply(world, plan));
    for (uint32_t i = 0; i < 12; i++)
        g_assert_true(hn_cpuset_is_subset(&domain->vcpus[i].affinity,
                                          &world->snapshot->host->nodes[i < 6].cpus));
}

/* Without cells or evidence: the fewest nodes that hold it, near each other. */
static void test_fewest_near(void)
{
    g_autoptr(World) world = world_new(world_host(4, 8, 1, 32 * GIB));
    HnHost *host = world->snapshot->host;

    for (uint32_t a = 0; a < 4; a++)
        for (uint32_t b = 0; b < 4; b++)
            host->distance[a * 4 + b] = a == b ? 10 : a / 2 == b / 2 ? 12 : 32;
    world_add(world, 14, 20 * GIB, 14000, HN_NODE_NONE);
    g_autoptr(HnPlan) plan = third_plan(world);
    const HnVerdict *v = g_ptr_array_index(plan->verdicts, 0);
    g_test_message("%s", v->sentence);
    g_assert_cmpuint(v->n_clients, ==, 2);
    g_assert_true(v->will_act);
    g_assert_cmpint(v->clients[0].home_wanted, !=, v->clients[1].home_wanted);
    g_assert_cmpint(v->clients[0].home_wanted / 2, ==, v->clients[1].home_wanted / 2);
    g_assert_cmpuint(v->n_chunk_maps, ==, 0);
}

/* vCPUs that touch the same chunks stay together even if their numbers say otherwise; chunks
 * touched from both sides are shared and not chased. */
static void test_touch_matrix(void)
{
    g_autoptr(World) world = world_new(world_host(2, 8, 1, 32 * GIB));
    HnDomain *domain = world_add(world, 12, 16 * GIB, 12000, HN_NODE_NONE);
    HnRegion *region = hn_domain_add_region(domain, 2);
    uint64_t even = 0x555, odd = 0xaaa;

    region->length_bytes = 16 * GIB;
    region->page_bytes = 4096;
    region->resident_bytes[0] = region->resident_bytes[1] = 8 * GIB;
    region->chunk_bytes = 64 * MIB;
    region->n_chunks = 256;
    region->chunks = g_new0(HnChunk, 256);
    for (uint32_t i = 0; i < 256; i++) {
        HnChunk *chunk = &region->chunks[i];
        chunk->node = i % 2 ? 0 : 1;
        chunk->heat = 10;
        /* Even vCPUs share the first half, odd ones the second; ten chunks are everybody's, ten
         * nobody's. */
        chunk->touch_clients = i < 10 ? even | odd : i < 20 ? 0 : i < 138 ? even : odd;
    }
    g_autoptr(HnPlan) plan = third_plan(world);
    const HnVerdict *v = g_ptr_array_index(plan->verdicts, 0);
    g_test_message("%s", v->sentence);
    g_assert_cmpuint(v->n_clients, ==, 2);
    uint32_t side = hn_cpuset_has(&v->clients[0].vcpus, 0) ? 0 : 1;
    for (uint32_t i = 0; i < 12; i++)
        g_assert_true(hn_cpuset_has(&v->clients[i % 2 ? 1 - side : side].vcpus, i));
    g_assert_cmpuint(v->n_chunk_maps, ==, 1);
    g_assert_cmpuint(v->chunk_maps[0].client[0], ==, HN_CHUNK_SHARED);
    g_assert_cmpuint(v->chunk_maps[0].client[15], ==, HN_CHUNK_ANY);
    g_assert_cmpuint(v->chunk_maps[0].client[20], ==, side);
    g_assert_cmpuint(v->chunk_maps[0].client[200], ==, 1 - side);
    g_assert_true(v->will_act);
    g_assert_cmpint(v->clients[0].home_wanted, !=, v->clients[1].home_wanted);
    /* Each part's chunks lie half on either node: about a quarter of it all has to come over to
     * each. */
    g_assert_cmpuint(v->bytes_to_move, >, 7 * GIB);
    g_assert_cmpuint(v->bytes_to_move, <, 9 * GIB);
}

/* More vCPUs than bits: a bit stands for four neighbours, which stay together. */
static void test_many_vcpus(void)
{
    g_autoptr(World) world = world_new(world_host(2, 160, 1, 320 * GIB));
    HnDomain *domain = world_add(world, 256, 512 * GIB, 250000, HN_NODE_NONE);
    HnRegion *region = hn_domain_add_region(domain, 2);

    domain->touches.vcpus_per_bit = 4;
    domain->touches.n_touches = 12345;
    region->length_bytes = 512 * GIB;
    region->page_bytes = 4096;
    region->resident_bytes[0] = region->resident_bytes[1] = 256 * GIB;
    region->chunk_bytes = GIB;
    region->n_chunks = 512;
    region->chunks = g_new0(HnChunk, 512);
    for (uint32_t i = 0; i < 512; i++) {
        region->chunks[i].node = i % 2 ? 0 : 1;
        region->chunks[i].heat = 10;
        /* Every other four of the vCPUs share the first half. */
        region->chunks[i].touch_clients =
            i < 256 ? UINT64_C(0x5555555555555555) : UINT64_C(0xaaaaaaaaaaaaaaaa);
    }
    g_autoptr(HnPlan) plan = third_plan(world);
    const HnVerdict *v = g_ptr_array_index(plan->verdicts, 0);
    g_test_message("%s", v->sentence);
    g_assert_cmpuint(v->n_clients, ==, 2);
    uint32_t side = hn_cpuset_has(&v->clients[0].vcpus, 0) ? 0 : 1;
    for (uint32_t i = 0; i < 256; i++)
        g_assert_true(hn_cpuset_has(&v->clients[i / 4 % 2 ? 1 - side : side].vcpus, i));
    g_assert_cmpuint(v->chunk_maps[0].client[0], ==, side);
    g_assert_cmpuint(v->chunk_maps[0].client[511], ==, 1 - side);
    g_assert_nonnull(strstr(v->sentence, "12345 touches"));
}

/* Without a matrix the sentence says why there is none. */
static void test_says_why_not(void)
{
    g_autoptr(World) world = world_new(world_host(2, 8, 1, 32 * GIB));
    HnDomain *domain = world_add(world, 12, 16 * GIB, 12000, HN_NODE_NONE);

    domain->touches.impediment = g_strdup("perf-denied");
    g_autoptr(HnPlan) plan = third_plan(world);
    const HnVerdict *v = g_ptr_array_index(plan->verdicts, 0);
    g_assert_cmpint(v->reason, ==, HN_REASON_SPLIT_WIDE);
    g_assert_nonnull(strstr(v->sentence, "cut by vCPU number"));
    g_assert_nonnull(strstr(v->sentence, "perf-denied"));
}

/* A guest on three nodes' hosts whose first `n_shared` chunks are touched from both halves, the rest by one
 * half each; everything lies on `node`. */
static HnRegion *add_sharing_guest(World *world, uint32_t n_nodes, uint32_t node, uint32_t n_shared, uint64_t sharers,
                                   uint64_t load_mcpu)
{
    HnDomain *domain = world_add(world, 12, 16 * GIB, load_mcpu, node == 2 ? 2 : HN_NODE_NONE);
    HnRegion *region = hn_domain_add_region(domain, n_nodes);

    memset(domain->resident_bytes, 0, n_nodes * sizeof *domain->resident_bytes);
    domain->resident_bytes[node] = region->resident_bytes[node] = 16 * GIB;
    region->length_bytes = 16 * GIB;
    region->page_bytes = 4096;
    region->chunk_bytes = 64 * MIB;
    region->n_chunks = 256;
    region->chunks = g_new0(HnChunk, 256);
    for (uint32_t i = 0; i < 256; i++)
        region->chunks[i] = (HnChunk){.node = (int32_t)node, .n_probes = 4, .n_probes_on_node = 4, .heat = 10,
                                      .touch_clients = i < n_shared ? sharers : i < 144 ? 0x03f : 0xfc0};
    return region;
}

/* Bytes that spread actions bring to each node; everything comes from `from`. */
static void sum_spread(const HnPlan *plan, uint32_t from, uint64_t ret_bytes[3])
{
    memset(ret_bytes, 0, 3 * sizeof *ret_bytes);
    for (guint i = 0; i < plan->actions->len; i++) {
        const HnAction *action = &g_array_index(plan->actions, HnAction, i);
        if (!action->is_spread)
            continue;
        g_assert_cmpuint(action->from_nodes, ==, UINT64_C(1) << from);
        g_assert_cmpuint(__builtin_popcountll(action->to_nodes), ==, 1);
        ret_bytes[__builtin_ctzll(action->to_nodes)] += action->bytes;
    }
}

/* Shared chunks on a node that is nobody's home are spread over the homes by who touches them. */
static void test_spread(void)
{
    static const struct {
        uint64_t sharers;
        uint32_t on_first; /* permille that comes to the home of vCPU 0 */
    } cases[] = {{0xfff, 500}, {0x0ff, 0 /* an owner: six of eight */}, {0x3ff, 600}, {0xffc, 400}};

    for (unsigned k = 0; k < G_N_ELEMENTS(cases); k++) {
        g_autoptr(World) world = world_new(world_host(3, 8, 1, 32 * GIB));
        uint64_t spread[3];

        add_sharing_guest(world, 3, 2, 32, cases[k].sharers, 12000);
        world->snapshot->host->nodes[2].other_load_mcpu = 8000; /* not a place to be */
        g_autoptr(HnPlan) plan = third_plan(world);
        const HnVerdict *v = g_ptr_array_index(plan->verdicts, 0);
        uint32_t side = hn_cpuset_has(&v->clients[0].vcpus, 0) ? 0 : 1;
        int32_t home = v->clients[side].home_wanted;
        sum_spread(plan, 2, spread);
        if (cases[k].on_first == 0) {
            g_assert_cmpuint(spread[0] + spread[1] + spread[2], ==, 0);
            g_assert_cmpuint(v->bytes_to_move, ==, 16 * GIB);
            continue;
        }
        g_assert_cmpuint(spread[0] + spread[1], ==, 32 * 64 * MIB);
        g_assert_cmpuint(spread[home] / (32 * 64 * MIB / 1000), >=, cases[k].on_first - 1);
        g_assert_cmpuint(spread[home] / (32 * 64 * MIB / 1000), <=, cases[k].on_first + 1);
        /* What belongs to one part goes with it, the rest is not counted as its. */
        g_assert_cmpuint(v->bytes_to_move, ==, 14 * GIB);
    }
}

/* One odd chunk among many does not make a chunk shared, nor one toucher an owner of all. */
static void test_one_part_only(void)
{
    g_autoptr(World) world = world_new(world_host(2, 8, 1, 32 * GIB));
    HnDomain *domain = world_add(world, 12, 16 * GIB, 12000, 0);

    /* Only one node may be used: wide, but there is nothing to spread over. */
    domain->wish.has_nodeset = true;
    domain->wish.nodeset = 1;
    g_autoptr(HnPlan) plan = third_plan(world);
    const HnVerdict *v = g_ptr_array_index(plan->verdicts, 0);
    g_assert_true(v->is_wide);
    g_assert_cmpuint(v->n_clients, ==, 1);
}

/* After a plan was applied: chunks are where their first toucher's home is. */
static void chunks_follow(World *world)
{
    HnDomain *domain = g_ptr_array_index(world->snapshot->domains, 0);
    HnRegion *region = &domain->regions[0];

    for (uint32_t i = 0; i < region->n_chunks; i++)
        if (region->chunks[i].touch_clients) {
            uint32_t v = (uint32_t)__builtin_ctzll(region->chunks[i].touch_clients);
            region->chunks[i].node = hn_host_node_of_cpu(
                world->snapshot->host, (uint32_t)hn_cpuset_next(&domain->vcpus[v].affinity, 0));
        }
}

/* 32 vCPUs on nodes of 16 cores with 32 threads (xen-api#6763): where the touches fall apart, it is
 * cut by cores; where they do not, it stays one. Once cut it stays so without evidence and with a
 * little less load; ordered to one node it goes there. */
static HnPlan *rounds(World *world, HnPast *past, const HnForce *force, uint32_t n_rounds,
                      uint32_t *ret_n_acting)
{
    HnPlan *plan = NULL;
    HnPolicy policy;
    uint64_t seed = 1;

    hn_policy_init(&policy);
    *ret_n_acting = 0;
    for (uint32_t i = 0; i < n_rounds; i++) {
        g_clear_pointer(&plan, hn_plan_free);
        plan = hn_decide(world->snapshot, &policy, past, force, force ? 1 : 0, NULL, 0, NULL, NULL);
        *ret_n_acting += plan->actions->len > 0;
        g_assert_true(world_apply(world, plan));
        if (plan->actions->len > 0)
            chunks_follow(world);
        world_step(world, 2 * SECOND_NS, 0, &seed);
    }
    return plan;
}

static HnDomain *add_sibling_guest(World *world, uint64_t first_half, uint64_t second_half)
{
    HnDomain *domain = world_add(world, 32, 64 * GIB, 32000, HN_NODE_NONE);
    HnRegion *region = hn_domain_add_region(domain, 2);

    region->length_bytes = 64 * GIB;
    region->page_bytes = 4096;
    region->resident_bytes[0] = region->resident_bytes[1] = 32 * GIB;
    region->chunk_bytes = 256 * MIB;
    region->n_chunks = 256;
    region->chunks = g_new0(HnChunk, 256);
    for (uint32_t i = 0; i < 256; i++) {
        region->chunks[i].node = i % 2;
        region->chunks[i].heat = 10;
        region->chunks[i].touch_clients = i < 128 ? first_half : second_half;
    }
    for (uint32_t v = 0; v < 32; v++)
        domain->vcpus[v].last_cpu = (int32_t)(v < 16 ? v : v + 16);
    return domain;
}

static void test_cut_by_cores(void)
{
    g_autoptr(World) world = world_new(world_host(2, 32, 2, 128 * GIB));
    g_autoptr(HnPast) past = hn_past_new();
    HnDomain *domain = add_sibling_guest(world, 0x55555555, 0xaaaaaaaa);
    uint32_t n_acting = 0;

    g_autoptr(HnPlan) cut = rounds(world, past, NULL, 6, &n_acting);
    const HnVerdict *v = g_ptr_array_index(cut->verdicts, 0);
    g_assert_cmpuint(n_acting, ==, 1);
    g_assert_cmpuint(v->n_clients, ==, 2);
    g_assert_cmpint(v->clients[0].home_now, !=, v->clients[1].home_now);
    for (uint32_t i = 0; i < 32; i++)
        g_assert_cmpint(
            hn_host_node_of_cpu(world->snapshot->host,
                                (uint32_t)hn_cpuset_next(&domain->vcpus[i].affinity, 0)),
            ==, v->clients[hn_cpuset_has(&v->clients[1].vcpus, i)].home_now);
    /* The evidence goes, the load eases: nothing moves for ten minutes. */
    for (uint32_t i = 0; i < 256; i++)
        domain->regions[0].chunks[i].touch_clients = 0;
    world->load_mcpu[0] = 17000;
    g_autoptr(HnPlan) later = rounds(world, past, NULL, 300, &n_acting);
    g_assert_cmpuint(n_acting, ==, 0);
    v = g_ptr_array_index(later->verdicts, 0);
    g_assert_cmpuint(v->n_clients, ==, 2);
    g_assert_cmpint(v->reason, ==, HN_REASON_CONVERGED);
    /* An order is carried out. */
    HnForce force = {.node = 1};
    g_strlcpy(force.uuid, domain->uuid, sizeof(force.uuid));
    g_autoptr(HnPlan) sent = rounds(world, past, &force, 1, &n_acting);
    v = g_ptr_array_index(sent->verdicts, 0);
    g_assert_cmpuint(v->n_clients, ==, 1);
    g_assert_cmpint(v->clients[0].home_wanted, ==, 1);
    g_assert_cmpint(v->reason, ==, HN_REASON_FORCED);
}

static void test_shared_is_not_cut(void)
{
    g_autoptr(World) world = world_new(world_host(2, 32, 2, 128 * GIB));
    g_autoptr(HnPast) past = hn_past_new();
    uint32_t n_acting = 0;

    add_sibling_guest(world, 0xffffffff, 0xffffffff);
    g_autoptr(HnPlan) plan = rounds(world, past, NULL, 6, &n_acting);
    const HnVerdict *v = g_ptr_array_index(plan->verdicts, 0);
    g_assert_cmpuint(n_acting, ==, 0);
    g_assert_cmpuint(v->n_clients, ==, 1);
    g_assert_cmpint(v->reason, ==, HN_REASON_SMT_CONTENTION);
}

/* After a plan: what was spread lies where it was brought, as the next probes will show. */
static void spread_lands(World *world, HnRegion *region, const HnPlan *plan)
{
    HnDomain *domain = g_ptr_array_index(world->snapshot->domains, 0);

    for (guint i = 0; i < plan->actions->len; i++) {
        const HnAction *action = &g_array_index(plan->actions, HnAction, i);
        uint32_t to = (uint32_t)__builtin_ctzll(action->to_nodes);
        for (uint32_t k = 0; action->is_spread && k < action->bytes / region->chunk_bytes; k++)
            for (uint32_t c = 0; c < region->n_chunks; c++) {
                HnChunk *chunk = &region->chunks[c];
                if (!(action->from_nodes >> chunk->node & 1))
                    continue;
                domain->resident_bytes[chunk->node] -= region->chunk_bytes;
                domain->resident_bytes[to] += region->chunk_bytes;
                chunk->node = (int32_t)to;
                break;
            }
    }
}

/* All touch everything, and all of it lies on one node: it gets two homes, its memory is spread over them
 * by who touches it, and then nothing moves for ten minutes, though who was seen where changes with every round. */
static void test_shared_is_spread_once(void)
{
    g_autoptr(World) world = world_new(world_host(2, 8, 1, 32 * GIB));
    g_autoptr(HnPast) past = hn_past_new();
    HnRegion *region = add_sharing_guest(world, 2, 0, 256, 0xfff, 12000);
    HnDomain *domain = g_ptr_array_index(world->snapshot->domains, 0);
    g_autoptr(GRand) random = g_rand_new_with_seed(3);
    uint64_t spread[3], seed = 1;
    uint32_t n_acting = 0;
    HnPolicy policy;

    hn_policy_init(&policy);
    for (uint32_t round = 0; round < 300; round++) {
        g_autoptr(HnPlan) plan =
            hn_decide(world->snapshot, &policy, past, NULL, 0, NULL, 0, NULL, NULL);
        const HnVerdict *v = g_ptr_array_index(plan->verdicts, 0);
        if (plan->actions->len > 0) {
            g_test_message("round %u: %s", round, v->sentence);
            sum_spread(plan, 0, spread);
            /* Half, but for what the noise adds to one side. */
            g_assert_cmpuint(spread[1], >, 8 * GIB - GIB / 4);
            g_assert_cmpuint(spread[1], <, 8 * GIB + GIB / 4);
            g_assert_cmpuint(v->bytes_to_move, ==, 0);
            n_acting++;
            uint64_t resident[2] = {domain->resident_bytes[0], domain->resident_bytes[1]};
            g_assert_true(world_apply(world, plan));
            memcpy(domain->resident_bytes, resident, sizeof resident);
            spread_lands(world, region, plan);
        }
        /* Other chunks in each round seem to be somebody's, twice as many as were measured (docs/evidence.md). */
        for (uint32_t i = 0; i < 256; i++) {
            region->chunks[i].heat = 5 + g_rand_int_range(random, 0, 10);
            region->chunks[i].touch_clients = g_rand_int_range(random, 0, 25)
                                                  ? 0xfff
                                                  : UINT64_C(1) << g_rand_int_range(random, 0, 12);
        }
        world_step(world, 2 * SECOND_NS, 0, &seed);
        if (round == 299) {
            g_assert_cmpint(v->reason, ==, HN_REASON_CONVERGED);
            g_assert_cmpint(v->clients[0].home_now, !=, v->clients[1].home_now);
            g_assert_nonnull(strstr(v->sentence, " Its 2 parts: cut by who touches what, from "));
        }
    }
    g_assert_cmpuint(n_acting, ==, 1);
}

/* Touches on what is shared cost where that lies, and not once more because others touch it too: however little its
 * vCPUs do, two homes cost no more than to roam with everything on one node. */
static void test_shared_counts_once(void)
{
    for (uint64_t mcpu = 600; mcpu <= 12000; mcpu += 1900) {
        g_autoptr(World) world = world_new(world_host(2, 8, 1, 32 * GIB));
        HnRegion *region = add_sharing_guest(world, 2, 0, 256, 0xfff, mcpu);
        HnDomain *domain = g_ptr_array_index(world->snapshot->domains, 0);

        domain->started_ns = world->snapshot->taken_ns;
        /* One of eight seems to be somebody's: what they share is the greater part by far. */
        for (uint32_t i = 0; i < region->n_chunks; i += 8)
            region->chunks[i].touch_clients = UINT64_C(1) << i / 8 % 12;
        g_autoptr(HnPlan) plan = third_plan(world);
        const HnVerdict *v = g_ptr_array_index(plan->verdicts, 0);
        g_test_message("%" G_GUINT64_FORMAT " mcpu: %s", mcpu, v->sentence);
        g_assert_cmpint(v->clients[0].home_wanted, !=, v->clients[1].home_wanted);
        g_assert_cmpint(v->clients[0].home_wanted, >=, 0);
        g_assert_cmpint(v->clients[1].home_wanted, >=, 0);
        g_assert_cmpint(v->cost_after.company_ns_per_sec, <=, v->cost_after.remote_ns_per_sec / 4);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/wide/cells", test_cells);
    g_test_add_func("/wide/fewest-near", test_fewest_near);
    g_test_add_func("/wide/touch-matrix", test_touch_matrix);
    g_test_add_func("/wide/many-vcpus", test_many_vcpus);
    g_test_add_func("/wide/says-why-not", test_says_why_not);
    g_test_add_func("/wide/spread", test_spread);
    g_test_add_func("/wide/shared-is-spread-once", test_shared_is_spread_once);
    g_test_add_func("/wide/shared-counts-once", test_shared_counts_once);
    g_test_add_func("/wide/one-part-only", test_one_part_only);
    g_test_add_func("/wide/cut-by-cores", test_cut_by_cores);
    g_test_add_func("/wide/shared-is-not-cut", test_shared_is_not_cut);
    return g_test_run();
}
