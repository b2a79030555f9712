/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Killed at any instant: what a guest goes through (pins, memory, a fence, a second home, the release) is recorded
 * before and after every single change to it: each back-end call, affinity, move and, between them, each write of
 * the journal, whole and torn. From every such state a new daemon starts twice: once to put everything back, once
 * to go on first.
 *
 * Stronger than kills at random: no instant between two changes is left out, and it is counted what each fell into.
 */
#include "world.h"

#include "observe/pins.h"
#include "ownership.h"

#include <glib/gstdio.h>
#include <string.h>

#define MIB (1ull << 20)
#define SEC 1000000000ull
#define ALL_MIB (WORLD_PAGES * FAKE_PAGE)
/* What the admin has set before; the rest has no pin, which is restored to all CPUs. */
#define HIS_VCPU 1
#define HIS_CPUS "0-3"
#define RESTORED "0:0-7 1:0-3 2:0-7 3:0-7 emulator:0-7 io1:0-7 nodeset:0-3"

typedef struct {
    char *pins;     /* world_pins() */
    char *vhost;    /* affinity */
    char *journal;  /* the file's text, NULL: none */
    guint on_node[FAKE_NODES];
} Instant;

typedef struct {
    World *world;
    GMutex lock;
    GPtrArray *instants;
    guint n_told;
} Record;

static void instant_free(gpointer data)
{
    Instant *instant = data;

    g_free(instant->pins);
    g_free(instant->vhost);
    g_free(instant->journal);
    g_free(instant);
}

static char *journal_path(World *world)
{
    return g_build_filename(world->journal_dir, WORLD_UUID, NULL);
}

static void note_instant(void *user_data)
{
    Record *record = user_data;
    World *world = record->world;
    g_autofree char *path = journal_path(world);
    Instant *instant = g_new0(Instant, 1);

    g_mutex_lock(&record->lock);
    instant->pins = world_pins(world);
    instant->vhost = fake_kernel_affinity(world->kernel, WORLD_VHOST);
    g_file_get_contents(path, &instant->journal, NULL, NULL);
    for (int node = 0; node < FAKE_NODES; node++)
        instant->on_node[node] = fake_kernel_count(world->kernel, node);
    g_ptr_array_add(record->instants, instant);
    g_mutex_unlock(&record->lock);
}

static void on_outcome(const HnOutcome *outcome, const char *sentence, void *user_data)
{
    Record *record = user_data;

    if (outcome->reason != HN_REASON_DONE && outcome->reason != HN_REASON_RELEASED)
        g_test_message("%s %s: %s", hn_action_kind_name(outcome->kind), hn_reason_name(outcome->reason), sentence);
    g_assert_true(outcome->reason == HN_REASON_DONE || outcome->reason == HN_REASON_RELEASED);
    record->n_told++;
}

static HnActuator *start_actuator(Record *record)
{
    World *world = record->world;
    HnLimits limits;

    hn_limits_init(&limits);
    limits.host_bytes_per_sec = limits.node_bytes_per_sec = 0;
    limits.batch_ceiling_bytes = 2 * MIB;
    limits.call_target_ns = 1000000000; /* calls of one size, however slow this machine is just now */
    limits.is_backoff_enabled = false;
    return hn_actuator_new_full(world->backend, world->control.root, world->journal, &limits, on_outcome, record,
                                world->control.sys);
}

/* Pins, memory and, if asked for, the fence; waits for all of it. The snapshot says where the memory lies. */
static void go_home(Record *record, HnActuator *actuator, uint64_t generation, uint32_t node, bool has_fence)
{
    World *world = record->world;
    g_autoptr(HnPlan) plan = world_plan(world, generation);
    const guint n_told = record->n_told + 2 + has_fence;

    for (uint32_t n = 0; n < FAKE_NODES; n++) {
        const uint64_t bytes = fake_kernel_count(world->kernel, (int)n) * FAKE_PAGE;

        world->domain->resident_bytes[n] = world->domain->regions[0].resident_bytes[n] = bytes;
    }
    world_add_action(plan, HN_ACTION_PIN, 0, UINT64_C(1) << node, 0);
    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 1, UINT64_C(1) << node, ALL_MIB);
    if (has_fence) {
        world_add_action(plan, HN_ACTION_FENCE, 2, UINT64_C(1) << node, 0);
        world->domain->resident_bytes[node] = ALL_MIB; /* by then */
        world->domain->resident_bytes[0] = 0;
    }
    hn_actuator_submit(actuator, plan, world->snapshot);
    while (record->n_told < n_told)
        g_main_context_iteration(NULL, TRUE);
}

static void release(HnActuator *actuator)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(hn_actuator_release_wait(actuator, NULL, 30 * SEC, &error));
    g_assert_no_error(error);
}

/* The whole course, recorded. */
static void record_course(Record *record)
{
    World *world = record->world;
    HnActuator *actuator = start_actuator(record);

    world_admin_pins(world, HIS_VCPU, HIS_CPUS);
    world->domain->vcpus[HIS_VCPU].is_admin_pinned = true;
    note_instant(record);
    world->hook = note_instant;
    world->hook_data = record;
    fake_kernel_on_change(world->kernel, note_instant, record);
    go_home(record, actuator, 1, 1, true);
    go_home(record, actuator, 2, 0, false); /* opens the fence by itself */
    release(actuator);
    world->hook = NULL;
    fake_kernel_on_change(world->kernel, NULL, NULL);
    note_instant(record);
    hn_actuator_free(actuator);
}

/* The world as it was at an instant. torn: the journal's next text, cut off, as an interrupted write leaves it
 * beside. */
static void go_back(World *world, const Instant *instant, const char *torn)
{
    g_autofree char *path = journal_path(world);
    g_autofree char *temporary = g_strconcat(path, ".4Z7Q2X", NULL);
    const char *nodeset = strstr(instant->pins, "nodeset:") + strlen("nodeset:");
    guint first = 0;

    world_set_pins(world, instant->pins);
    for (guint i = 0; i < WORLD_VCPUS; i++) {
        g_autofree char *key = g_strdup_printf("%u:", i);
        g_auto(GStrv) words = g_strsplit(instant->pins, " ", -1);

        g_assert_true(g_str_has_prefix(words[i], key));
        fake_kernel_set_affinity(world->kernel, WORLD_TID(i), words[i][2] == '-' ? "0-7" : words[i] + 2);
    }
    fake_kernel_set_affinity(world->kernel, WORLD_VHOST, instant->vhost);
    for (int node = 0; node < FAKE_NODES; node++) {
        fake_kernel_set_node(world->kernel, first, instant->on_node[node], node);
        fake_kernel_set_free(world->kernel, node, 2048 * MIB);
        first += instant->on_node[node];
    }
    g_assert_cmpuint(first, ==, WORLD_PAGES);
    if (*nodeset == '-') {
        fake_kernel_allow(world->kernel, UINT32_MAX);
    } else {
        const HnCpuset nodes = world_set(nodeset);

        fake_kernel_allow(world->kernel, (uint32_t)nodes.words[0]);
    }
    g_unlink(path);
    if (instant->journal)
        g_assert_true(g_file_set_contents(path, instant->journal, -1, NULL));
    if (torn)
        g_assert_true(g_file_set_contents(temporary, torn, (gssize)strlen(torn) / 2, NULL));
    world_reopen_journal(world); /* the new daemon reads what the killed one left */
}

static void assert_restored(World *world, const Instant *instant)
{
    g_autofree char *pins = world_pins(world), *vhost = fake_kernel_affinity(world->kernel, WORLD_VHOST);
    g_autoptr(GString) all = g_string_new(pins);
    g_autoptr(GDir) dir = g_dir_open(world->journal_dir, 0, NULL);
    const char *name;

    /* No pin and all CPUs are the same thing; so are no nodeset and all nodes. */
    g_string_replace(all, "nodeset:-", "nodeset:0-3", 0);
    g_string_replace(all, ":-", ":0-7", 0);
    if (strcmp(all->str, RESTORED) != 0)
        g_test_message("from: %s vhost %s, journal:\n%s", instant->pins, instant->vhost, instant->journal);
    g_assert_cmpstr(all->str, ==, RESTORED);
    g_assert_cmpstr(vhost, ==, "0-7");
    while ((name = g_dir_read_name(dir)))
        g_assert_cmpstr(name, ==, "corrupt");
    {
        g_autofree char *corrupt = g_build_filename(world->journal_dir, "corrupt", NULL);
        g_autoptr(GDir) none = g_dir_open(corrupt, 0, NULL);

        g_assert_true(!none || !g_dir_read_name(none));
    }
}

static bool is_his(const HnOwnership *ownership, HnOwnedKind kind, uint32_t id, bool has_pin, const HnCpuset *pin,
                   HnCpuset *ret_allowed)
{
    const HnPinState state = {.has_pin = has_pin, .pin = *pin};
    const HnCpuset everything = world_set("0-7");

    return hn_pin_judge(ownership, WORLD_UUID, kind, id, &state, &everything, ret_allowed);
}

/* What the new daemon's first round takes for the admin's is the one pin he has set, and that as he has set it. */
static void assert_admin_known(World *world, const Instant *instant)
{
    const HnOwnership ownership = hn_ownership_of(world->journal);
    const HnCpuset his = world_set(HIS_CPUS);
    g_autoptr(HnDomainInfo) info = NULL;
    HnCpuset allowed;
    HnNodemask nodes;
    bool is_admin, is_fenced;

    g_test_message("%s, journal:\n%s", instant->pins, instant->journal ? instant->journal : "none");
    g_assert_true(world->backend->ops->get(world->backend, WORLD_UUID, &info, NULL));
    for (guint i = 0; i < info->vcpus->len; i++) {
        const HnVcpuInfo *vcpu = &g_array_index(info->vcpus, HnVcpuInfo, i);

        is_admin = is_his(&ownership, HN_OWNED_VCPU, vcpu->id, vcpu->has_pin, &vcpu->pin, &allowed);
        g_assert_cmpint(is_admin, ==, vcpu->id == HIS_VCPU);
        g_assert_true(!is_admin || hn_cpuset_equal(&allowed, &his));
    }
    g_assert_false(is_his(&ownership, HN_OWNED_EMULATOR, 0, info->has_emulator_pin, &info->emulator_pin, &allowed));
    for (guint i = 0; i < info->iothreads->len; i++) {
        const HnIothreadInfo *iothread = &g_array_index(info->iothreads, HnIothreadInfo, i);

        g_assert_false(is_his(&ownership, HN_OWNED_IOTHREAD, iothread->id, iothread->has_pin, &iothread->pin, &allowed));
    }
    hn_nodeset_judge(&ownership, info, world->snapshot->host, &is_admin, &nodes, &is_fenced);
    g_assert_false(is_admin);
}

/* A new daemon that restores, or takes the guest over, gives it a third home, and is stopped. */
static void start_again(Record *record, const Instant *instant, const char *torn, bool is_adopting)
{
    HnActuator *actuator;

    go_back(record->world, instant, torn);
    assert_admin_known(record->world, instant);
    actuator = start_actuator(record);
    if (is_adopting) {
        go_home(record, actuator, 1, 3, false);
        g_assert_cmpuint(fake_kernel_count(record->world->kernel, 3), ==, WORLD_PAGES);
    }
    release(actuator);
    hn_actuator_free(actuator);
    assert_restored(record->world, instant);
}

static bool is_mid_pin(const Instant *instant)
{
    /* The pieces do not agree: some are pinned to the home, some not yet, or not any more. */
    const char *emulator = strstr(instant->pins, "emulator:") + strlen("emulator:"), *vcpu0 = instant->pins + 2;

    return strncmp(emulator, vcpu0, strcspn(vcpu0, " ") + 1) != 0;
}

static bool is_mid_move(const Instant *instant)
{
    guint n_used = 0;

    for (int node = 0; node < FAKE_NODES; node++)
        n_used += instant->on_node[node] > 0;
    return n_used > 1;
}

static void test_every_instant(gconstpointer data)
{
    const bool is_adopting = data != NULL;
    Record record = {.world = world_new(), .instants = g_ptr_array_new_with_free_func(instant_free)};
    guint n_pin = 0, n_move = 0, n_torn = 0, n_fenced = 0;

    record_course(&record);
    for (guint i = 0; i < record.instants->len; i++) {
        const Instant *instant = record.instants->pdata[i];
        const Instant *next = i + 1 < record.instants->len ? record.instants->pdata[i + 1] : instant;

        n_pin += is_mid_pin(instant);
        n_move += is_mid_move(instant);
        n_fenced += strstr(instant->pins, "nodeset:1") != NULL;
        start_again(&record, instant, NULL, is_adopting);
        if (g_strcmp0(instant->journal, next->journal) == 0)
            continue;
        /* The journal is written between the two: torn, then whole with the change not made yet. */
        n_torn++;
        start_again(&record, instant, next->journal ? next->journal : "", is_adopting);
        {
            Instant written = *instant;

            written.journal = next->journal;
            if (next->journal)
                start_again(&record, &written, NULL, is_adopting);
        }
    }
    g_test_message("%u instants: %u in mid-pin, %u in mid-move, %u fenced; %u writes of the journal, torn and whole",
                   record.instants->len, n_pin, n_move, n_fenced, n_torn);
    g_assert_cmpuint(n_pin, >=, 10);
    g_assert_cmpuint(n_move, >=, 50);
    g_assert_cmpuint(n_fenced, >=, 2);
    g_assert_cmpuint(n_torn, >=, 8);
    g_ptr_array_unref(record.instants);
    world_free(record.world);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/apply/crash/then-restored", NULL, test_every_instant);
    g_test_add_data_func("/apply/crash/then-adopted", "adopt", test_every_instant);
    return g_test_run();
}
