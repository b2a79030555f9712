/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The small world; see world.h.
 */
#include "world.h"

#include <string.h>

/* ---- the wrapped back end ---- */

typedef struct {
    HnBackend base;
    World *world;
} Wrapper;

static World *world_of(HnBackend *backend)
{
    return ((Wrapper *)backend)->world;
}

static bool wrapped_get(HnBackend *backend, const char *uuid, HnDomainInfo **ret_info, GError **error)
{
    HnBackend *inner = world_of(backend)->inner;

    return inner->ops->get(inner, uuid, ret_info, error);
}

static void call_hook(World *world)
{
    if (world->hook)
        world->hook(world->hook_data);
}

static void follow(World *world, int32_t tid, const HnCpuset *cpus)
{
    g_autofree char *text = hn_cpuset_format(cpus);

    if (!world->is_affinity_ignored)
        fake_kernel_set_affinity(world->kernel, tid, text);
}

static bool wrapped_pin_vcpu(HnBackend *backend, const char *uuid, uint32_t vcpu, const HnCpuset *cpus,
                             GError **error)
{
    World *world = world_of(backend);

    call_hook(world);
    if (!world->inner->ops->pin_vcpu(world->inner, uuid, vcpu, cpus, error))
        return false;
    follow(world, WORLD_TID(vcpu), cpus);
    call_hook(world);
    return true;
}

static bool wrapped_pin_emulator(HnBackend *backend, const char *uuid, const HnCpuset *cpus, GError **error)
{
    World *world = world_of(backend);

    call_hook(world);
    if (!world->inner->ops->pin_emulator(world->inner, uuid, cpus, error))
        return false;
    follow(world, WORLD_PID, cpus);
    call_hook(world);
    return true;
}

static bool wrapped_pin_iothread(HnBackend *backend, const char *uuid, uint32_t iothread, const HnCpuset *cpus,
                                 GError **error)
{
    World *world = world_of(backend);

    call_hook(world);
    if (!world->inner->ops->pin_iothread(world->inner, uuid, iothread, cpus, error))
        return false;
    call_hook(world);
    return true;
}

static bool wrapped_set_nodeset(HnBackend *backend, const char *uuid, const HnCpuset *node_ids, GError **error)
{
    World *world = world_of(backend);

    call_hook(world);
    if (!world->inner->ops->set_nodeset(world->inner, uuid, node_ids, error))
        return false;
    fake_kernel_allow(world->kernel, (uint32_t)node_ids->words[0]);
    call_hook(world);
    return true;
}

static const HnBackendOps wrapped_ops = {
    .name = "wrapped",
    .get = wrapped_get,
    .pin_vcpu = wrapped_pin_vcpu,
    .pin_emulator = wrapped_pin_emulator,
    .pin_iothread = wrapped_pin_iothread,
    .set_nodeset = wrapped_set_nodeset,
};

/* ---- making ---- */

HnCpuset world_set(const char *text)
{
    HnCpuset set;

    g_assert_true(hn_cpuset_parse(text, strlen(text), &set, NULL));
    return set;
}

static HnDomainInfo *make_info(void)
{
    HnDomainInfo *info = g_new0(HnDomainInfo, 1);
    const HnIothreadInfo iothread = {.id = 1};

    g_strlcpy(info->uuid, WORLD_UUID, sizeof(info->uuid));
    info->name = g_strdup("web");
    info->is_kvm = true;
    info->pid = WORLD_PID;
    info->vcpus = g_array_new(FALSE, TRUE, sizeof(HnVcpuInfo));
    info->iothreads = g_array_new(FALSE, TRUE, sizeof(HnIothreadInfo));
    info->cells = g_array_new(FALSE, TRUE, sizeof(HnGuestCell));
    info->memory = g_ptr_array_new();
    info->host_devices = g_ptr_array_new_with_free_func(g_free);
    for (uint32_t i = 0; i < WORLD_VCPUS; i++) {
        const HnVcpuInfo vcpu = {.id = i, .guest_cell = -1};

        g_array_append_val(info->vcpus, vcpu);
    }
    g_array_append_val(info->iothreads, iothread);
    return info;
}

static HnSnapshot *make_snapshot(World *world)
{
    HnSnapshot *snapshot = hn_snapshot_new();
    HnDomain *domain = hn_domain_new(FAKE_NODES);
    HnRegion *region;
    HnWorker *worker;

    snapshot->taken_ns = 1000000000;
    snapshot->host = hn_host_new(FAKE_NODES);
    snapshot->host->page_bytes = FAKE_PAGE;
    for (uint32_t i = 0; i < FAKE_NODES; i++) {
        HnNode *node = &snapshot->host->nodes[i];

        node->id = (int32_t)i;
        hn_cpuset_add(&node->cpus, 2 * i);
        hn_cpuset_add(&node->cpus, 2 * i + 1);
        node->n_cpus = node->n_cores = 2;
        node->mem_total_bytes = 8ull << 30;
        node->mem_watermark_bytes = 16 << 20;
    }
    g_strlcpy(domain->uuid, WORLD_UUID, sizeof(domain->uuid));
    domain->name = g_strdup("web");
    domain->pid = WORLD_PID;
    domain->start_ticks = WORLD_START;
    for (uint32_t i = 0; i < WORLD_VCPUS; i++) {
        HnVcpu *vcpu = hn_domain_add_vcpu(domain, FAKE_NODES);

        vcpu->id = i;
        vcpu->tid = WORLD_TID(i);
        vcpu->guest_cell = -1;
        fake_kernel_set_affinity(world->kernel, vcpu->tid, "0-7");
    }
    worker = hn_domain_add_worker(domain);
    worker->kind = HN_WORKER_EMULATOR;
    worker->tid = WORLD_PID;
    worker = hn_domain_add_worker(domain);
    worker->kind = HN_WORKER_IOTHREAD;
    worker->id = 1;
    worker = hn_domain_add_worker(domain);
    worker->kind = HN_WORKER_VHOST;
    worker->tid = WORLD_VHOST;
    region = hn_domain_add_region(domain, FAKE_NODES);
    region->hva_start = FAKE_BASE;
    region->length_bytes = WORLD_PAGES * FAKE_PAGE;
    region->page_bytes = FAKE_PAGE;
    region->guest_cell = -1;
    region->resident_bytes[0] = region->length_bytes;
    domain->resident_bytes[0] = region->length_bytes;
    g_ptr_array_add(snapshot->domains, domain);
    world->domain = domain;
    return snapshot;
}

World *world_new(void)
{
    World *world = g_new0(World, 1);
    Wrapper *wrapper = g_new0(Wrapper, 1);

    world->kernel = fake_kernel_new(WORLD_PID, WORLD_PAGES, 2ull << 30);
    fake_kernel_set_affinity(world->kernel, WORLD_PID, "0-7");
    fake_kernel_set_affinity(world->kernel, WORLD_VHOST, "0-7");
    fake_kernel_write(world->kernel, "proc/4900/comm", "vhost-4711\n");
    fake_kernel_write(world->kernel, "proc/4900/stat",
                      "4900 (vhost-4711) S 2 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 6000 0 0 "
                      "18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n");
    world->inner = hn_backend_fake_new();
    hn_fake_put_domain(world->inner, make_info());
    wrapper->base.ops = &wrapped_ops;
    wrapper->world = world;
    world->backend = &wrapper->base;
    world->journal_dir = g_build_filename(fake_kernel_dir(world->kernel), "journal", NULL);
    world->journal = hn_journal_new(world->journal_dir, "boot-1", NULL);
    world->snapshot = make_snapshot(world);
    world->control = (HnControl){
        .backend = world->backend,
        .root = fake_kernel_root(world->kernel),
        .journal = world->journal,
        .sys = fake_kernel_syscalls(world->kernel),
    };
    return world;
}

void world_free(World *world)
{
    hn_snapshot_free(world->snapshot);
    hn_journal_free(world->journal);
    world->inner->ops->free(world->inner);
    g_free(world->backend);
    g_assert_cmpuint(fake_kernel_open_pidfds(world->kernel), ==, 0);
    fake_kernel_free(world->kernel);
    g_free(world->journal_dir);
    g_free(world);
}

void world_reopen_journal(World *world)
{
    g_autoptr(GPtrArray) found = NULL;

    hn_journal_free(world->journal);
    world->journal = hn_journal_new(world->journal_dir, "boot-1", NULL);
    world->control.journal = world->journal;
    found = hn_journal_load(world->journal, fake_kernel_root(world->kernel), NULL);
    g_assert_nonnull(found);
}

HnPlan *world_plan(World *world, uint64_t generation)
{
    HnPlan *plan = hn_plan_new();
    HnVerdict *verdict = g_new0(HnVerdict, 1);

    plan->generation = generation;
    g_strlcpy(verdict->uuid, WORLD_UUID, sizeof(verdict->uuid));
    verdict->name = g_strdup("web");
    verdict->n_clients = 1;
    verdict->clients = g_new0(HnClientVerdict, 1);
    verdict->clients[0].guest_cell = -1;
    for (uint32_t i = 0; i < WORLD_VCPUS; i++)
        hn_cpuset_add(&verdict->clients[0].vcpus, i);
    g_ptr_array_add(plan->verdicts, verdict);
    return plan;
}

HnAction *world_add_action(HnPlan *plan, HnActionKind kind, uint32_t step, HnNodemask to_nodes, uint64_t bytes)
{
    HnAction action = {.kind = kind, .step = step, .to_nodes = to_nodes, .bytes = bytes,
                       .reason = HN_REASON_LOCALITY_GAIN};

    g_strlcpy(action.uuid, WORLD_UUID, sizeof(action.uuid));
    g_array_append_val(plan->actions, action);
    return &g_array_index(plan->actions, HnAction, plan->actions->len - 1);
}

/* ---- looking ---- */

static void put(GString *out, const char *what, bool has, const HnCpuset *set)
{
    g_autofree char *text = has ? hn_cpuset_format(set) : g_strdup("-");

    g_string_append_printf(out, "%s%s:%s", out->len ? " " : "", what, text);
}

char *world_pins(World *world)
{
    g_autoptr(HnDomainInfo) info = NULL;
    GString *out = g_string_new(NULL);
    const HnIothreadInfo *iothread;

    g_assert_true(world->inner->ops->get(world->inner, WORLD_UUID, &info, NULL));
    for (guint i = 0; i < info->vcpus->len; i++) {
        const HnVcpuInfo *vcpu = &g_array_index(info->vcpus, HnVcpuInfo, i);
        g_autofree char *name = g_strdup_printf("%u", vcpu->id);

        put(out, name, vcpu->has_pin, &vcpu->pin);
    }
    put(out, "emulator", info->has_emulator_pin, &info->emulator_pin);
    iothread = &g_array_index(info->iothreads, HnIothreadInfo, 0);
    put(out, "io1", iothread->has_pin, &iothread->pin);
    put(out, "nodeset", info->numatune_mode != HN_NUMATUNE_NONE, &info->numatune_nodes);
    return g_string_free(out, FALSE);
}

void world_admin_pins(World *world, uint32_t vcpu, const char *cpus)
{
    const HnCpuset set = world_set(cpus);

    g_assert_true(world->inner->ops->pin_vcpu(world->inner, WORLD_UUID, vcpu, &set, NULL));
    fake_kernel_set_affinity(world->kernel, WORLD_TID(vcpu), cpus);
}

void world_restart_domain(World *world)
{
    hn_fake_put_domain(world->inner, make_info());
    fake_kernel_restart(world->kernel, WORLD_START + 1000);
}

static void take_pin(const char *text, bool *ret_has, HnCpuset *ret_set)
{
    *ret_has = strcmp(text, "-") != 0;
    if (*ret_has)
        *ret_set = world_set(text);
}

void world_set_pins(World *world, const char *pins)
{
    HnDomainInfo *info = make_info();
    g_auto(GStrv) words = g_strsplit(pins, " ", -1);

    for (guint i = 0; words[i]; i++) {
        const char *value = strchr(words[i], ':') + 1;
        bool has_nodeset;

        if (i < WORLD_VCPUS) {
            HnVcpuInfo *vcpu = &g_array_index(info->vcpus, HnVcpuInfo, i);

            take_pin(value, &vcpu->has_pin, &vcpu->pin);
        } else if (g_str_has_prefix(words[i], "emulator")) {
            take_pin(value, &info->has_emulator_pin, &info->emulator_pin);
        } else if (g_str_has_prefix(words[i], "io1")) {
            HnIothreadInfo *iothread = &g_array_index(info->iothreads, HnIothreadInfo, 0);

            take_pin(value, &iothread->has_pin, &iothread->pin);
        } else {
            take_pin(value, &has_nodeset, &info->numatune_nodes);
            info->numatune_mode = has_nodeset ? HN_NUMATUNE_RESTRICTIVE : HN_NUMATUNE_NONE;
        }
    }
    hn_fake_put_domain(world->inner, info);
}
