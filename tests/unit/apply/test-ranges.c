/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ranges.c: which addresses an action is about, in which order, for which node.
 */
#include "apply/ranges.h"
#include "world.h"

#define MIB (1ull << 20)

/* A region of 8 chunks of 4 MiB with heats and nodes, in a world whose domain has nothing else. */
static HnRegion *use_chunks(World *world)
{
    HnRegion *region = &world->domain->regions[0];

    region->chunk_bytes = 4 * MIB;
    region->n_chunks = 8;
    region->chunks = g_new0(HnChunk, 8);
    for (uint32_t i = 0; i < 8; i++)
        region->chunks[i] = (HnChunk){.n_probes = 4, .n_probes_on_node = 4, .heat = i * 10};
    return region;
}

/* "node:offset+length …" in MiB, with a c where it is cold, parts separated by " | ". */
static char *show(const HnDomain *domain, GPtrArray *parts)
{
    GString *out = g_string_new(NULL);

    for (guint i = 0; i < parts->len; i++) {
        const HnPart *part = parts->pdata[i];

        g_string_append_printf(out, "%s%d:", i ? " | " : "", part->to_node);
        for (guint k = 0; k < part->ranges->len; k++) {
            const HnRange *range = &g_array_index(part->ranges, HnRange, k);

            g_string_append_printf(out, " %g+%g%s", (double)(range->start - domain->regions[0].hva_start) / MIB,
                                   (double)range->length_bytes / MIB, range->is_cold ? "c" : "");
        }
    }
    return g_string_free(out, FALSE);
}

static char *ranges(World *world, HnPlan *plan, uint64_t *ret_immovable)
{
    g_autoptr(GPtrArray) parts = hn_ranges_of(world->snapshot->host, world->domain, plan->verdicts->pdata[0],
                                              &g_array_index(plan->actions, HnAction, 0), ret_immovable);

    return show(world->domain, parts);
}

static void split_in_two(HnPlan *plan)
{
    HnVerdict *verdict = plan->verdicts->pdata[0];

    g_free(verdict->clients);
    verdict->n_clients = 2;
    verdict->clients = g_new0(HnClientVerdict, 2);
    verdict->clients[0].guest_cell = verdict->clients[1].guest_cell = -1;
    verdict->clients[0].vcpus = world_set("0");
    verdict->clients[1].vcpus = world_set("1-3");
}

static void test_whole(void)
{
    World *world = world_new();
    g_autoptr(HnPlan) plan = world_plan(world, 1);
    g_autofree char *text = NULL;
    uint64_t immovable;

    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 2, 32 * MIB);
    text = ranges(world, plan, &immovable);
    g_assert_cmpstr(text, ==, "1: 0+32");
    g_assert_cmpuint(immovable, ==, 0);
    world_free(world);
}

static void test_hottest_first(void)
{
    World *world = world_new();
    g_autoptr(HnPlan) plan = world_plan(world, 1);
    HnRegion *region = use_chunks(world);
    g_autofree char *by_address = NULL, *by_heat = NULL, *without_heat = NULL;
    HnAction *action;
    uint64_t immovable;

    region->chunks[6].node = 1;            /* there already: last, though hot */
    region->chunks[7].node = HN_NODE_NONE; /* nothing in it: last */
    region->chunks[2].node = 1;
    region->chunks[2].n_probes_on_node = 3; /* not all of it */
    action = world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 2, 32 * MIB);
    by_address = ranges(world, plan, &immovable);
    g_assert_cmpstr(by_address, ==, "1: 0+32");
    action->hottest_first = true;
    by_heat = ranges(world, plan, &immovable);
    g_assert_cmpstr(by_heat, ==, "1: 20+4 16+4 12+4 8+4 4+4 0+4c 28+4 24+4");
    for (guint i = 0; i < 8; i++) /* of none is known that it is touched: then none is cold */
        region->chunks[i].heat = 0;
    without_heat = ranges(world, plan, &immovable);
    g_assert_cmpstr(without_heat, ==, "1: 0+32");
    world_free(world);
}

static void test_cells(void)
{
    World *world = world_new();
    g_autoptr(HnPlan) plan = world_plan(world, 1);
    HnVerdict *verdict = plan->verdicts->pdata[0];
    HnRegion *second = hn_domain_add_region(world->domain, FAKE_NODES);
    g_autofree char *text = NULL;
    uint64_t immovable;

    *second = (HnRegion){.hva_start = FAKE_BASE + 100 * MIB, .length_bytes = 16 * MIB, .page_bytes = FAKE_PAGE,
                         .guest_cell = 1, .resident_bytes = second->resident_bytes};
    world->domain->regions[0].guest_cell = 0;
    split_in_two(plan);
    verdict->clients[0].guest_cell = 0;
    verdict->clients[1].guest_cell = 1;
    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 2, 32 * MIB)->client = 1;
    text = ranges(world, plan, &immovable);
    g_assert_cmpstr(text, ==, "1: 100+16");
    world_free(world);
}

/* No cells, no map: by position, in proportion to vCPUs; together exactly everything. */
static void test_divided_without_map(void)
{
    World *world = world_new();
    g_autoptr(HnPlan) plan = world_plan(world, 1);
    g_autofree char *first = NULL, *second = NULL;
    HnAction *action;
    uint64_t immovable;

    split_in_two(plan);
    action = world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 2, 32 * MIB);
    first = ranges(world, plan, &immovable);
    action->client = 1;
    second = ranges(world, plan, &immovable);
    g_assert_cmpstr(first, ==, "1: 0+8");
    g_assert_cmpstr(second, ==, "1: 8+24");
    world_free(world);
}

static void test_divided_by_touches(void)
{
    World *world = world_new();
    g_autoptr(HnPlan) plan = world_plan(world, 1);
    HnRegion *region = use_chunks(world);
    g_autofree char *first = NULL, *second = NULL, *shared = NULL;
    HnAction *action;
    uint64_t immovable;

    region->chunks[7].touch_clients = 1;      /* vCPU 0: the first client's */
    region->chunks[0].touch_clients = 2 | 8;  /* vCPUs 1 and 3: the second's alone */
    region->chunks[3].touch_clients = 1 | 4;  /* both: shared */
    region->chunks[4].touch_clients = 1 | 2;
    split_in_two(plan);
    action = world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 2, 32 * MIB);
    first = ranges(world, plan, &immovable);
    /* Untouched: chunk 1 of the first quarter, and the other client's if that is not enough. */
    g_assert_cmpstr(first, ==, "1: 4+4 28+4 8+4 20+8");
    action->client = 1;
    second = ranges(world, plan, &immovable);
    g_assert_cmpstr(second, ==, "1: 0+4 8+4 20+8 4+4");
    action->is_spread = true;
    action->to_nodes = 2 | 4;
    shared = ranges(world, plan, &immovable);
    g_assert_cmpstr(shared, ==, "1: 12+4 | 2: 16+4");
    world_free(world);
}

/* Whose a chunk is the plan says: three of four touchers are enough, and above 64 vCPUs a bit is several. */
static void test_divided_by_the_plan(void)
{
    World *world = world_new();
    g_autoptr(HnPlan) plan = world_plan(world, 1);
    HnRegion *region = use_chunks(world);
    HnVerdict *verdict = plan->verdicts->pdata[0];
    const uint8_t owners[8] = {0, 0, 1, 1, HN_CHUNK_SHARED, HN_CHUNK_SHARED, HN_CHUNK_ANY, HN_CHUNK_ANY};
    g_autofree char *first = NULL, *shared = NULL;
    HnAction *action;
    uint64_t immovable;

    for (guint i = 0; i < 8; i++)
        region->chunks[i].touch_clients = 1 | 2; /* of both, as it seems */
    split_in_two(plan);
    verdict->n_chunk_maps = 1;
    verdict->chunk_maps = g_new0(HnChunkMap, 1);
    verdict->chunk_maps[0] = (HnChunkMap){.n_chunks = 8, .client = g_memdup2(owners, sizeof owners)};
    action = world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 2, 32 * MIB);
    first = ranges(world, plan, &immovable);
    g_assert_cmpstr(first, ==, "1: 0+8 24+8"); /* nobody's: spare, by position they are the second's */
    action->is_spread = true;
    shared = ranges(world, plan, &immovable);
    g_assert_cmpstr(shared, ==, "1: 16+8");
    world_free(world);
}

/* Equal shares; what lies on one of the nodes stays there. */
static void test_spread(void)
{
    World *world = world_new();
    g_autoptr(HnPlan) plan = world_plan(world, 1);
    HnRegion *region = use_chunks(world);
    g_autofree char *text = NULL;
    HnAction *action;
    uint64_t immovable;

    for (uint32_t i = 0; i < 3; i++)
        region->chunks[i].node = 2;
    action = world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 2 | 4, 32 * MIB);
    action->is_spread = true;
    text = ranges(world, plan, &immovable);
    g_assert_cmpstr(text, ==, "1: 12+16 | 2: 28+4 0+12");
    world_free(world);
}

static void test_immovable(void)
{
    static const HnMovability kinds[] = {HN_IMMOVABLE_VFIO, HN_IMMOVABLE_PRIVATE, HN_IMMOVABLE_HUGETLB};

    for (guint i = 0; i < G_N_ELEMENTS(kinds); i++) {
        World *world = world_new();
        g_autoptr(HnPlan) plan = world_plan(world, 1);
        g_autofree char *text = NULL;
        uint64_t immovable;

        world->domain->regions[0].movability = kinds[i];
        world->domain->regions[0].resident_bytes[1] = 5 * MIB; /* at home: no matter */
        world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 2, 32 * MIB);
        text = ranges(world, plan, &immovable);
        g_assert_cmpstr(text, ==, "");
        g_assert_cmpuint(immovable, ==, 32 * MIB);
        world_free(world);
    }
}

/* 1 GiB pages and chunks of 4 MiB: no range may be shorter than a page. */
static void test_giant_pages(void)
{
    World *world = world_new();
    g_autoptr(HnPlan) plan = world_plan(world, 1);
    HnRegion *region = use_chunks(world);
    g_autofree char *text = NULL;
    uint64_t immovable;

    region->page_bytes = 1024 * MIB;
    region->length_bytes = 4096 * MIB;
    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 2, 4096 * MIB);
    text = ranges(world, plan, &immovable);
    g_assert_cmpstr(text, ==, "1: 0+4096");
    world_free(world);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/apply/ranges/whole", test_whole);
    g_test_add_func("/apply/ranges/hottest-first", test_hottest_first);
    g_test_add_func("/apply/ranges/cells", test_cells);
    g_test_add_func("/apply/ranges/divided-without-map", test_divided_without_map);
    g_test_add_func("/apply/ranges/divided-by-touches", test_divided_by_touches);
    g_test_add_func("/apply/ranges/divided-by-the-plan", test_divided_by_the_plan);
    g_test_add_func("/apply/ranges/spread", test_spread);
    g_test_add_func("/apply/ranges/immovable", test_immovable);
    g_test_add_func("/apply/ranges/giant-pages", test_giant_pages);
    return g_test_run();
}
