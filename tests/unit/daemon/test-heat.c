/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DAMON switched on and off in a directory that stands for sysfs: what is written, what is refused, what a crash leaves
 * behind; and whose turn it is.
 */
#include "heat.h"
#include "scratch.h"

#include <string.h>

#define BOOT "b0b0b0b0-0000-0000-0000-000000000001"
#define MIB ((uint64_t)1 << 20)
#define NR_KDAMONDS HN_DAMON_ADMIN "/nr_kdamonds"
#define STATE HN_DAMON_KDAMOND "/state"
#define PID_TARGET HN_DAMON_CONTEXT "/targets/0/pid_target"
#define MODULE "sys/module/damon_stat/parameters/enabled"

typedef struct {
    char *dir, *journal_dir;
    HnRoot *root;
    HnJournal *journal;
} Fixture;

static void assert_text(Fixture *f, const char *path, const char *expected)
{
    g_autofree char *text = NULL;
    g_assert_true(hn_root_read(f->root, path, 4096, &text, NULL, NULL));
    g_assert_cmpstr(g_strstrip(text), ==, expected);
}

/* The files as Linux 6.12 has them once all the numbers are written, at their first values. */
static void put_damon(Fixture *f)
{
    static const char *const files[][2] = {
        {NR_KDAMONDS, "0\n"},
        {STATE, "off\n"},
        {HN_DAMON_KDAMOND "/contexts/nr_contexts", "0\n"},
        {HN_DAMON_CONTEXT "/avail_operations", "vaddr\nfvaddr\npaddr\n"},
        {HN_DAMON_CONTEXT "/operations", "vaddr\n"},
        {HN_DAMON_CONTEXT "/monitoring_attrs/intervals/sample_us", "5000\n"},
        {HN_DAMON_CONTEXT "/monitoring_attrs/intervals/aggr_us", "100000\n"},
        {HN_DAMON_CONTEXT "/monitoring_attrs/nr_regions/min", "10\n"},
        {HN_DAMON_CONTEXT "/monitoring_attrs/nr_regions/max", "1000\n"},
        {HN_DAMON_CONTEXT "/targets/nr_targets", "0\n"},
        {PID_TARGET, "0\n"},
        {HN_DAMON_CONTEXT "/targets/0/regions/nr_regions", "0\n"},
        {HN_DAMON_CONTEXT "/targets/0/regions/0/start", "0\n"},
        {HN_DAMON_CONTEXT "/targets/0/regions/0/end", "0\n"},
        {HN_DAMON_CONTEXT "/targets/0/regions/1/start", "0\n"},
        {HN_DAMON_CONTEXT "/targets/0/regions/1/end", "0\n"},
        {HN_DAMON_CONTEXT "/schemes/nr_schemes", "0\n"},
        {HN_DAMON_SCHEME "/action", "willneed\n"},
        {HN_DAMON_SCHEME "/access_pattern/sz/max", "0\n"},
        {HN_DAMON_SCHEME "/access_pattern/nr_accesses/max", "0\n"},
        {HN_DAMON_SCHEME "/access_pattern/age/max", "0\n"},
        {HN_DAMON_SCHEME "/tried_regions/total_bytes", "0\n"},
        {HN_DAMON_SCHEME "/tried_regions/0/start", "104857600\n"},
        {HN_DAMON_SCHEME "/tried_regions/0/end", "106954752\n"},
        {HN_DAMON_SCHEME "/tried_regions/0/nr_accesses", "20\n"},
        {HN_DAMON_SCHEME "/tried_regions/0/age", "2\n"},
        {MODULE, "N\n"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(files); i++)
        scratch_put(f->dir, files[i][0], files[i][1]);
}

static void reopen(Fixture *f)
{
    g_clear_pointer(&f->journal, hn_journal_free);
    f->journal = hn_journal_new(f->journal_dir, BOOT, NULL);
    g_assert_nonnull(f->journal);
    g_autoptr(GPtrArray) found = hn_journal_load(f->journal, f->root, NULL);
    g_assert_nonnull(found);
    g_assert_cmpuint(found->len, ==, 0);
}

static void setup(Fixture *f, gconstpointer data)
{
    f->dir = g_dir_make_tmp("hn-heat-XXXXXX", NULL);
    f->journal_dir = g_build_filename(f->dir, "journal", NULL);
    f->root = hn_root_open_scratch(f->dir, NULL);
    g_assert_nonnull(f->root);
    put_damon(f);
    reopen(f);
}

static void teardown(Fixture *f, gconstpointer data)
{
    hn_journal_free(f->journal);
    hn_root_free(f->root);
    scratch_remove(f->dir);
    g_free(f->dir);
    g_free(f->journal_dir);
}

static GArray *two_slices(void)
{
    const HnDamonRange slices[] = {{100 * MIB, 102 * MIB, 0, 0}, {102 * MIB, 104 * MIB, 0, 0}};
    return g_array_append_vals(g_array_new(FALSE, FALSE, sizeof(HnDamonRange)), slices, 2);
}

static bool start(Fixture *f, const char **ret_code)
{
    g_autoptr(GArray) slices = two_slices();
    *ret_code = NULL;
    return hn_damon_start(f->journal, f->root, 4711, slices, ret_code, NULL);
}

static void assert_as_found(Fixture *f)
{
    g_autofree char *host = g_build_filename(f->journal_dir, "host", NULL);
    assert_text(f, STATE, "off");
    assert_text(f, NR_KDAMONDS, "0");
    g_assert_false(g_file_test(host, G_FILE_TEST_EXISTS));
}

static void test_on_and_off(Fixture *f, gconstpointer data)
{
    static const char *const written[][2] = {
        {NR_KDAMONDS, "1"},
        {STATE, "on"},
        {PID_TARGET, "4711"},
        {HN_DAMON_CONTEXT "/operations", "fvaddr"},
        {HN_DAMON_CONTEXT "/monitoring_attrs/intervals/sample_us", "25000"},
        {HN_DAMON_CONTEXT "/monitoring_attrs/intervals/aggr_us", "500000"},
        {HN_DAMON_CONTEXT "/monitoring_attrs/nr_regions/min", "32"},
        {HN_DAMON_CONTEXT "/monitoring_attrs/nr_regions/max", "256"},
        {HN_DAMON_CONTEXT "/targets/0/regions/nr_regions", "2"},
        {HN_DAMON_CONTEXT "/targets/0/regions/0/start", "104857600"},
        {HN_DAMON_CONTEXT "/targets/0/regions/1/end", "109051904"},
        {HN_DAMON_SCHEME "/action", "stat"},
        {HN_DAMON_SCHEME "/access_pattern/sz/max", "18446744073709551615"},
        {HN_DAMON_SCHEME "/access_pattern/age/max", "4294967295"},
    };
    const char *code;
    g_assert_true(start(f, &code));
    for (guint i = 0; i < G_N_ELEMENTS(written); i++)
        assert_text(f, written[i][0], written[i][1]);
    g_autoptr(GArray) ranges = hn_damon_ask(f->root, NULL);
    assert_text(f, STATE, "update_schemes_tried_regions");
    g_assert_cmpuint(ranges->len, ==, 1);
    scratch_put(f->dir, STATE, "on\n"); /* what the kernel shows after an order */
    g_assert_true(hn_damon_stop(f->journal, f->root, NULL));
    assert_as_found(f);
    g_assert_true(hn_damon_stop(f->journal, f->root, NULL)); /* nothing left to do */
}

/* Whatever was written when it was killed, the next start puts it back. */
static void test_crash(Fixture *f, gconstpointer data)
{
    static const char *const last_written[] = {STATE, HN_DAMON_SCHEME "/action", PID_TARGET, NR_KDAMONDS, NULL};
    for (guint i = 0; i < G_N_ELEMENTS(last_written); i++) {
        const char *code;
        put_damon(f);
        g_assert_true(start(f, &code));
        /* As if it had been killed before the later ones: the journal is always ahead of the file. */
        if (g_strcmp0(last_written[i], STATE) != 0)
            scratch_put(f->dir, STATE, "off\n");
        if (i >= 3)
            scratch_put(f->dir, PID_TARGET, "0\n");
        if (!last_written[i])
            scratch_put(f->dir, NR_KDAMONDS, "0\n");
        reopen(f);
        HnHeat *heat = hn_heat_new(f->journal, f->root, false);
        assert_as_found(f);
        hn_heat_free(heat);
    }
}

static void test_dry_run_leaves_it(Fixture *f, gconstpointer data)
{
    const char *code;
    g_assert_true(start(f, &code));
    HnHeat *heat = hn_heat_new(f->journal, f->root, true);
    assert_text(f, STATE, "on");
    hn_heat_free(heat);
}

/* Killed, and by the time of the next start somebody else uses DAMON: his. */
static void test_taken_over(Fixture *f, gconstpointer data)
{
    const char *code;
    g_assert_true(start(f, &code));
    scratch_put(f->dir, PID_TARGET, "999\n");
    reopen(f);
    g_assert_true(hn_damon_stop(f->journal, f->root, NULL));
    assert_text(f, STATE, "on");
    assert_text(f, NR_KDAMONDS, "1");
    /* And it stays his: there is nothing of ours in the journal any more. */
    g_assert_true(hn_damon_stop(f->journal, f->root, NULL));
    assert_text(f, STATE, "on");
    g_assert_false(start(f, &code));
    g_assert_cmpstr(code, ==, "damon-in-use");
}

/* The guest ended: the kernel has switched it off by itself. */
static void test_process_ended(Fixture *f, gconstpointer data)
{
    const char *code;
    g_assert_true(start(f, &code));
    scratch_put(f->dir, STATE, "off\n");
    g_assert_true(hn_damon_stop(f->journal, f->root, NULL));
    assert_as_found(f);
}

/* Somebody reset everything: what is not there any more needs no putting back. */
static void test_vanished(Fixture *f, gconstpointer data)
{
    const char *code;
    g_autofree char *kdamond = g_build_filename(f->dir, HN_DAMON_KDAMOND, NULL);
    g_assert_true(start(f, &code));
    scratch_remove(kdamond);
    scratch_put(f->dir, NR_KDAMONDS, "0\n");
    g_assert_true(hn_journal_restore_sysctls(f->journal, f->root, NULL));
    g_assert_true(hn_damon_stop(f->journal, f->root, NULL));
    assert_text(f, NR_KDAMONDS, "0");
}

static const struct {
    const char *name, *path, *text, *code; /* text NULL: the file is not there */
} refusals[] = {
    {"in-use", NR_KDAMONDS, "1\n", "damon-in-use"},
    {"exclusive", MODULE, "Y\n", "damon-exclusive"},
    {"no-damon", NR_KDAMONDS, NULL, "no-damon"},
    {"no-fvaddr", HN_DAMON_CONTEXT "/avail_operations", "paddr\n", "no-fvaddr"},
    {"too-old", HN_DAMON_SCHEME "/tried_regions", NULL, "no-damon"},
    {"odd", HN_DAMON_SCHEME "/action", NULL, "damon-refused"},
    {"odd-state", HN_DAMON_CONTEXT "/schemes/nr_schemes", NULL, "damon-refused"},
};

static void test_refusal(Fixture *f, gconstpointer data)
{
    guint i = GPOINTER_TO_UINT(data);
    g_autofree char *full = g_build_filename(f->dir, refusals[i].path, NULL);
    g_autofree char *host = g_build_filename(f->journal_dir, "host", NULL);
    const char *code;
    if (refusals[i].text)
        scratch_put(f->dir, refusals[i].path, refusals[i].text);
    else
        scratch_remove(full);
    g_assert_false(start(f, &code));
    g_assert_cmpstr(code, ==, refusals[i].code);
    assert_text(f, STATE, "off"); /* nothing is left switched on */
    if (g_strcmp0(refusals[i].path, NR_KDAMONDS) != 0)
        assert_text(f, NR_KDAMONDS, "0");
    else if (refusals[i].text)
        assert_text(f, NR_KDAMONDS, "1"); /* his */
    g_assert_false(g_file_test(host, G_FILE_TEST_EXISTS));
}

static void test_captured(Fixture *f, gconstpointer data)
{
    g_autoptr(HnRoot) captured = hn_root_open(f->dir, NULL);
    g_autoptr(GArray) slices = two_slices();
    const char *code = NULL;
    g_assert_false(hn_damon_start(f->journal, captured, 4711, slices, &code, NULL));
    g_assert_cmpstr(code, ==, "captured-machine");
    assert_as_found(f);
}

/* ---- whose turn ---- */

typedef struct {
    HnPlan *plan;
    HnSnapshot *snapshot;
    GHashTable *held, *looks;
} Scene;

static void add_domain(Scene *scene, guint n)
{
    HnDomain *domain = hn_domain_new(2);
    g_snprintf(domain->uuid, sizeof domain->uuid, "00000000-0000-4000-8000-%012u", n);
    domain->pid = 100 + n;
    domain->start_ticks = n;
    domain->wish.mode = HN_MODE_AUTO;
    HnRegion *region = hn_domain_add_region(domain, 2);
    *region = (HnRegion){.hva_start = 100 * MIB, .length_bytes = 4 * MIB, .chunk_bytes = 2 * MIB, .n_chunks = 2,
                         .chunks = g_new0(HnChunk, 2), .resident_bytes = region->resident_bytes};
    HnVerdict *verdict = g_new0(HnVerdict, 1);
    g_ptr_array_add(scene->plan->verdicts, verdict);
    g_strlcpy(verdict->uuid, domain->uuid, sizeof verdict->uuid);
    verdict->is_managed = true;
    verdict->doubt.wants_hinting = true;
    g_ptr_array_add(scene->snapshot->domains, domain);
}

static void scene_init(Scene *scene)
{
    *scene = (Scene){.plan = hn_plan_new(),
                     .snapshot = hn_snapshot_new(),
                     .held = g_hash_table_new(g_str_hash, g_str_equal),
                     .looks = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free)};
    scene->snapshot->taken_ns = 1000 * UINT64_C(1000000000);
    for (guint n = 0; n < 3; n++)
        add_domain(scene, n);
}

static void scene_clear(Scene *scene)
{
    hn_plan_free(scene->plan);
    hn_snapshot_free(scene->snapshot);
    g_hash_table_unref(scene->held);
    g_hash_table_unref(scene->looks);
}

static HnDomain *domain_of(Scene *scene, guint n)
{
    return g_ptr_array_index(scene->snapshot->domains, n);
}

static int choose(Scene *scene, const char *current, uint64_t since_s)
{
    return hn_heat_choose(scene->plan, scene->snapshot, scene->held, current, since_s * UINT64_C(1000000000),
                          scene->looks);
}

static void looked(Scene *scene, guint n, uint64_t at_s)
{
    uint64_t at_ns = at_s * UINT64_C(1000000000);
    g_hash_table_replace(scene->looks, g_strdup(domain_of(scene, n)->uuid), g_memdup2(&at_ns, sizeof at_ns));
}

static void test_turns(void)
{
    Scene scene;
    scene_init(&scene);
    g_assert_cmpint(choose(&scene, NULL, 0), ==, 0);
    looked(&scene, 0, 985);
    g_assert_cmpint(choose(&scene, domain_of(&scene, 0)->uuid, 985), ==, 0); /* 15 s: its turn goes on */
    looked(&scene, 0, 980);
    g_assert_cmpint(choose(&scene, domain_of(&scene, 0)->uuid, 980), ==, 1); /* 20 s: others wait */
    looked(&scene, 1, 900);
    looked(&scene, 2, 800);
    g_assert_cmpint(choose(&scene, domain_of(&scene, 0)->uuid, 980), ==, 2); /* who has waited longest */
    g_hash_table_add(scene.held, domain_of(&scene, 1)->uuid);
    g_hash_table_add(scene.held, domain_of(&scene, 2)->uuid);
    g_assert_cmpint(choose(&scene, domain_of(&scene, 0)->uuid, 100), ==, 0); /* nobody waits: for as long as it takes */
    g_hash_table_add(scene.held, domain_of(&scene, 0)->uuid);
    g_assert_cmpint(choose(&scene, domain_of(&scene, 0)->uuid, 999), ==, -1);
    scene_clear(&scene);
}

static void test_not_watched(void)
{
    Scene scene;
    scene_init(&scene);
    g_ptr_array_set_size(scene.snapshot->domains, 1);
    HnDomain *domain = domain_of(&scene, 0);
    HnVerdict *verdict = hn_plan_find(scene.plan, domain->uuid);
    g_assert_cmpint(choose(&scene, NULL, 0), ==, 0);
#define NOT_WITH(place, value)                             \
    do {                                                   \
        typeof(place) before = (place);                    \
        (place) = (value);                                 \
        g_assert_cmpint(choose(&scene, NULL, 0), ==, -1);  \
        (place) = before;                                  \
    } while (0)
    NOT_WITH(verdict->is_managed, false);
    NOT_WITH(verdict->doubt.wants_hinting, false);
    NOT_WITH(domain->wish.mode, HN_MODE_ADVISE);
    NOT_WITH(domain->state, HN_STATE_PAUSED);
    NOT_WITH(domain->job, HN_JOB_OTHER);
    NOT_WITH(domain->pid, 0);
    NOT_WITH(domain->touches.n_touches, 1);
    NOT_WITH(domain->regions[0].n_chunks, 0);
#undef NOT_WITH
    g_assert_cmpint(choose(&scene, NULL, 0), ==, 0);
    scene_clear(&scene);
}

/* ---- errands ---- */

static void serve(guint *n_calls)
{
    while (*n_calls > 0)
        g_main_context_iteration(NULL, TRUE);
}

static void want(HnHeat *heat, Scene *scene, bool is_allowed)
{
    guint n_calls = 0;
    hn_heat_want(heat, scene->plan, scene->snapshot, scene->held, is_allowed, &n_calls);
    serve(&n_calls);
}

/* A look from beginning to end: what was told is laid over the next snapshot of that process, and of no other. */
static void test_look(Fixture *f, gconstpointer data)
{
    HnHeat *heat = hn_heat_new(f->journal, f->root, false);
    Scene scene;
    scene_init(&scene);
    HnDomain *domain = domain_of(&scene, 0);
    want(heat, &scene, false);
    assert_as_found(f);
    want(heat, &scene, true);
    assert_text(f, PID_TARGET, "100");
    scratch_put(f->dir, STATE, "on\n"); /* what the kernel shows after an order */
    {
        g_autoptr(GHashTable) known = hn_heat_known(heat);
        const HnHeatKept *kept = g_hash_table_lookup(known, domain->uuid);
        g_assert_nonnull(kept);
        hn_heat_kept_lay(kept, scene.snapshot->taken_ns, domain);
        g_assert_true(domain->heat.is_on);
        g_assert_true(domain->heat.is_used);
        g_assert_cmpuint(domain->regions[0].chunks[0].heat, ==, 1000);
        g_assert_cmpuint(domain->regions[0].chunks[1].heat, ==, 0);
        domain_of(&scene, 1)->pid = domain->pid; /* the number was used again */
        hn_heat_kept_lay(kept, scene.snapshot->taken_ns, domain_of(&scene, 1));
        g_assert_cmpuint(domain_of(&scene, 1)->heat.n_ranges, ==, 0);
        domain_of(&scene, 1)->pid = 101;
    }
    want(heat, &scene, true); /* asked again, not switched on again */
    assert_text(f, STATE, "update_schemes_tried_regions");
    scratch_put(f->dir, STATE, "on\n");
    /* It is known now: the others' turn, one after the other, and each process only once switched off. */
    hn_plan_find(scene.plan, domain->uuid)->doubt.wants_hinting = false;
    want(heat, &scene, true);
    assert_as_found(f);
    {
        g_autoptr(GHashTable) known = hn_heat_known(heat);
        const HnHeatKept *kept = g_hash_table_lookup(known, domain->uuid);
        g_assert_false(kept->is_on);
        g_assert_nonnull(kept->ranges); /* what was learnt stays */
    }
    want(heat, &scene, true);
    assert_text(f, PID_TARGET, "101");
    scratch_put(f->dir, STATE, "on\n");
    g_assert_true(hn_heat_end(heat, NULL));
    assert_as_found(f);
    hn_heat_free(heat);
    scene_clear(&scene);
}

static void test_look_refused(Fixture *f, gconstpointer data)
{
    HnHeat *heat = hn_heat_new(f->journal, f->root, false);
    Scene scene;
    scene_init(&scene);
    scratch_put(f->dir, MODULE, "Y\n");
    want(heat, &scene, true);
    g_assert_cmpstr(hn_heat_impediment(heat), ==, "damon-exclusive");
    {
        g_autoptr(GHashTable) known = hn_heat_known(heat);
        HnDomain *domain = domain_of(&scene, 0);
        hn_heat_kept_lay(g_hash_table_lookup(known, domain->uuid), scene.snapshot->taken_ns, domain);
        g_assert_cmpstr(domain->heat.impediment, ==, "damon-exclusive");
        g_assert_false(domain->heat.is_on);
    }
    scratch_put(f->dir, MODULE, "N\n");
    want(heat, &scene, true); /* not before five minutes … */
    assert_as_found(f);
    hn_heat_reset(heat); /* … or a new configuration */
    want(heat, &scene, true);
    assert_text(f, NR_KDAMONDS, "1");
    g_assert_null(hn_heat_impediment(heat));
    scratch_put(f->dir, STATE, "on\n");
    /* No domain any more: off, and nothing is remembered of those that went. */
    g_ptr_array_set_size(scene.snapshot->domains, 0);
    want(heat, &scene, true);
    assert_as_found(f);
    {
        g_autoptr(GHashTable) known = hn_heat_known(heat);
        g_assert_cmpuint(g_hash_table_size(known), ==, 0);
    }
    hn_heat_free(heat);
    scene_clear(&scene);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, func) g_test_add("/daemon/heat/" name, Fixture, NULL, setup, func, teardown)
    ADD("on-and-off", test_on_and_off);
    ADD("crash", test_crash);
    ADD("dry-run-leaves-it", test_dry_run_leaves_it);
    ADD("taken-over", test_taken_over);
    ADD("process-ended", test_process_ended);
    ADD("vanished", test_vanished);
    for (guint i = 0; i < G_N_ELEMENTS(refusals); i++) {
        g_autofree char *path = g_strdup_printf("/daemon/heat/refused/%s", refusals[i].name);
        g_test_add(path, Fixture, GUINT_TO_POINTER(i), setup, test_refusal, teardown);
    }
    ADD("captured", test_captured);
    ADD("look", test_look);
    ADD("look-refused", test_look_refused);
    g_test_add_func("/daemon/heat/turns", test_turns);
    g_test_add_func("/daemon/heat/not-watched", test_not_watched);
    return g_test_run();
}
