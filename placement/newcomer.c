/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Initial placement of guests that are about to start: see homenode/newcomer.h.
 *
 * Theory of operation. There is one way to decide, hn_decide(), and it knows young domains: nothing
 * measured counts as full demand, nothing resident as growth up to the configured size. So a newcomer
 * is put into a copy of the snapshot as such a domain, every other domain is frozen where it is, each
 * open promise is a frozen young domain on the nodes it was promised, and the decision is asked. Where
 * that leaves the newcomer roaming (all nodes are as good, or as bad), each node is tried in turn; where
 * none has room, memory alone decides.
 *
 * Must not: change snapshot, past or ledger while placing.
 */
#include <homenode/newcomer.h>

#include "client.h"

#include <string.h>

/* No libvirt domain has it: version and variant bits are those of no UUID. Sorts after the others. */
#define UUID_PREFIX "ffffffff-0000-0000-0000-"
#define NEWCOMER_UUID UUID_PREFIX "ffffffffffff"
/* libvirt rounds up to MiB, the process starts some clock ticks after the question. */
#define SIZE_SLACK_BYTES (UINT64_C(1) << 20)
#define START_SLACK_NS UINT64_C(1000000000)

/* ---- The ledger. ---- */

static bool is_kept_by(const GArray *promises, const char *uuid)
{
    for (guint i = 0; i < promises->len; i++)
        if (strcmp(g_array_index(promises, HnPromise, i).uuid, uuid) == 0)
            return true;
    return false;
}

static bool keeps(const HnDomain *domain, const HnPromise *promise)
{
    uint64_t wanted = promise->guest.bytes, got = domain->configured_bytes;

    return domain->n_vcpus == promise->guest.n_vcpus &&
           (got > wanted ? got - wanted : wanted - got) <= SIZE_SLACK_BYTES &&
           domain->started_ns + START_SLACK_NS >= promise->promised_ns;
}

void hn_promises_settle(GArray *promises, const HnSnapshot *snapshot, uint64_t now_ns)
{
    for (guint i = 0; snapshot && i < promises->len; i++) {
        HnPromise *promise = &g_array_index(promises, HnPromise, i);
        for (guint d = 0; !promise->uuid[0] && d < snapshot->domains->len; d++) {
            const HnDomain *domain = g_ptr_array_index(snapshot->domains, d);
            if (keeps(domain, promise) && !is_kept_by(promises, domain->uuid))
                g_strlcpy(promise->uuid, domain->uuid, sizeof promise->uuid);
        }
    }
    /* Kept ones stay, too: they say that their domain keeps no other. */
    for (guint i = promises->len; i-- > 0;) {
        uint64_t end_ns = g_array_index(promises, HnPromise, i).promised_ns + HN_PROMISE_TTL_NS;
        if (now_ns >= end_ns && (!snapshot || snapshot->taken_ns >= end_ns))
            g_array_remove_index(promises, i);
    }
}

void hn_promises_add(GArray *promises, const HnNewcomer *guest, HnNodemask nodes, uint64_t now_ns)
{
    HnPromise promise = {.guest = *guest, .nodes = nodes, .promised_ns = now_ns};

    if (promises->len >= HN_MAX_PROMISES)
        g_array_remove_range(promises, 0, promises->len - HN_MAX_PROMISES + 1);
    g_array_append_val(promises, promise);
}

/* ---- The snapshot with the newcomer in it. ---- */

typedef struct {
    HnSnapshot snapshot;  /* domains: borrowed or in the two below */
    HnDomain *frozen;     /* shallow copies: their pointers belong to the original */
    GPtrArray *phantoms;  /* HnDomain *, owned */
    GPtrArray *in_flight; /* const char *, NULL-terminated */
} Scene;

/* A young domain with nothing measured, that may run on the CPUs of `nodes`. */
static HnDomain *phantom_new(const HnHost *host, const HnNewcomer *guest, const char *uuid,
                             HnNodemask nodes, uint64_t now_ns)
{
    HnDomain *domain = hn_domain_new(host->n_nodes);
    HnCpuset cpus;

    hn_host_cpus_of(host, nodes, &cpus);
    g_strlcpy(domain->uuid, uuid, sizeof domain->uuid);
    domain->name = g_strdup("newcomer");
    domain->is_kvm = true;
    domain->started_ns = now_ns;
    domain->wish.mode = HN_MODE_AUTO;
    domain->configured_bytes = domain->current_bytes = guest->bytes;
    for (uint32_t v = 0; v < guest->n_vcpus; v++) {
        HnVcpu *vcpu = hn_domain_add_vcpu(domain, host->n_nodes);
        vcpu->id = v;
        vcpu->guest_cell = -1;
        vcpu->last_cpu = -1;
        vcpu->affinity = cpus;
    }
    return domain;
}

static bool is_listed(const char *const *list, const char *uuid)
{
    for (; list && *list; list++)
        if (strcmp(*list, uuid) == 0)
            return true;
    return false;
}

static void scene_init(Scene *scene, const HnSnapshot *snapshot, const char *const *in_flight,
                       const HnNewcomer *guest, const GArray *promises)
{
    guint n = snapshot->domains->len;

    scene->snapshot =
        (HnSnapshot){snapshot->taken_ns, snapshot->host, g_ptr_array_sized_new(n + 8)};
    scene->frozen = g_new0(HnDomain, n + 1);
    scene->phantoms = g_ptr_array_new();
    scene->in_flight = g_ptr_array_new();
    for (guint d = 0; d < n; d++) {
        HnDomain *domain = g_ptr_array_index(snapshot->domains, d);
        if (is_listed(in_flight, domain->uuid)) {
            g_ptr_array_add(scene->snapshot.domains, domain);
            g_ptr_array_add(scene->in_flight, domain->uuid);
            continue;
        }
        scene->frozen[d] = *domain;
        scene->frozen[d].wish.mode = HN_MODE_NONE;
        g_ptr_array_add(scene->snapshot.domains, &scene->frozen[d]);
    }
    for (guint p = 0; promises && p < promises->len; p++) {
        const HnPromise *promise = &g_array_index(promises, HnPromise, p);
        if (promise->uuid[0])
            continue;
        g_autofree char *uuid = g_strdup_printf(UUID_PREFIX "%012u", p);
        HnDomain *phantom = phantom_new(snapshot->host, &promise->guest, uuid, promise->nodes,
                                        snapshot->taken_ns);
        phantom->wish.mode = HN_MODE_NONE;
        g_ptr_array_add(scene->phantoms, phantom);
        g_ptr_array_add(scene->snapshot.domains, phantom);
    }
    HnDomain *newcomer = phantom_new(snapshot->host, guest, NEWCOMER_UUID,
                                     hn_host_home_nodes(snapshot->host), snapshot->taken_ns);
    g_ptr_array_add(scene->phantoms, newcomer);
    g_ptr_array_add(scene->snapshot.domains, newcomer);
    g_ptr_array_add(scene->in_flight, NULL);
    hn_snapshot_sort(&scene->snapshot);
}

static void scene_clear(Scene *scene)
{
    for (guint i = 0; i < scene->phantoms->len; i++)
        hn_domain_free(g_ptr_array_index(scene->phantoms, i));
    g_ptr_array_unref(scene->phantoms);
    g_ptr_array_unref(scene->snapshot.domains);
    g_ptr_array_unref(scene->in_flight);
    g_free(scene->frozen);
}

/* ---- The decision. ---- */

typedef struct {
    HnNodemask nodes; /* 0: it would roam, or fits nowhere */
    bool is_wide;
    int64_t cost_ns_per_sec; /* of the whole host */
} Answer;

static bool ask(const Scene *scene, const HnPolicy *policy, const HnPast *past, int32_t node,
                Answer *ret_answer, GError **error)
{
    g_autoptr(HnPast) copy = past ? hn_past_copy(past) : hn_past_new();
    HnForce force = {.node = node};

    g_strlcpy(force.uuid, NEWCOMER_UUID, sizeof force.uuid);
    g_autoptr(HnPlan) plan =
        hn_decide(&scene->snapshot, policy, copy, &force, 1, NULL, 0,
                  (const char *const *)scene->in_flight->pdata, error);
    if (!plan)
        return false;
    const HnVerdict *verdict = hn_plan_find(plan, NEWCOMER_UUID);
    *ret_answer =
        (Answer){.is_wide = verdict->is_wide, .cost_ns_per_sec = plan->cost_after.total_ns_per_sec};
    for (uint32_t c = 0; c < verdict->n_clients; c++) {
        if (verdict->clients[c].home_wanted == HN_NODE_NONE) {
            ret_answer->nodes = 0;
            break;
        }
        ret_answer->nodes |= UINT64_C(1) << verdict->clients[c].home_wanted;
    }
    return true;
}

/* Room of each node that nobody has been promised, from memory alone. */
static void read_room(const Scene *scene, const HnPolicy *policy, int64_t *ret_room)
{
    const HnHost *host = scene->snapshot.host;

    for (uint32_t n = 0; n < host->n_nodes; n++) {
        const HnNode *node = &host->nodes[n];
        ret_room[n] = (int64_t)(node->mem_free_bytes + node->mem_reclaimable_bytes) -
                      (int64_t)(hn_node_reserve_bytes(node, policy) + node->mem_watermark_bytes);
    }
    for (guint d = 0; d < scene->snapshot.domains->len; d++) {
        const HnDomain *domain = g_ptr_array_index(scene->snapshot.domains, d);
        bool is_newcomer = strcmp(domain->uuid, NEWCOMER_UUID) == 0;
        bool is_young =
            scene->snapshot.taken_ns < domain->started_ns + policy->boot_window_ns;
        uint64_t resident = 0, reach = 0;
        for (uint32_t n = 0; n < host->n_nodes; n++)
            resident += domain->resident_bytes[n];
        if (is_newcomer || !is_young || domain->configured_bytes <= resident || !domain->n_vcpus)
            continue;
        for (uint32_t n = 0; n < host->n_nodes; n++)
            if (hn_cpuset_intersects(&domain->vcpus[0].affinity, &host->nodes[n].cpus))
                reach |= UINT64_C(1) << n;
        for (uint32_t n = 0; n < host->n_nodes; n++)
            if (reach >> n & 1)
                ret_room[n] -= (int64_t)((domain->configured_bytes - resident) /
                                         (uint32_t)__builtin_popcountll(reach));
    }
}

/* From `start` outwards, nearest first, until memory and CPUs suffice; 0 if they never do. */
static HnNodemask gather(const HnHost *host, const HnNewcomer *guest, const int64_t *room,
                         uint32_t start, int64_t *ret_room)
{
    HnNodemask homes = hn_host_home_nodes(host), taken = 0;
    uint64_t n_cpus = 0;

    *ret_room = 0;
    while (homes & ~taken) {
        uint32_t best = HN_MAX_NODES;
        for (uint32_t n = 0; n < host->n_nodes; n++) {
            if (!((homes & ~taken) >> n & 1))
                continue;
            uint8_t distance = hn_host_distance(host, start, n);
            if (best == HN_MAX_NODES || distance < hn_host_distance(host, start, best) ||
                (distance == hn_host_distance(host, start, best) && room[n] > room[best]))
                best = n;
        }
        taken |= UINT64_C(1) << best;
        *ret_room += MAX(room[best], 0);
        n_cpus += host->nodes[best].n_cpus;
        if (*ret_room >= (int64_t)guest->bytes && n_cpus >= guest->n_vcpus)
            return taken;
    }
    return 0;
}

/* The fewest near nodes that hold it; of as many, those with the most room. All homes if none do. */
static HnNodemask place_by_room(const Scene *scene, const HnPolicy *policy, const HnNewcomer *guest)
{
    const HnHost *host = scene->snapshot.host;
    HnNodemask homes = hn_host_home_nodes(host), best = 0;
    int64_t room[HN_MAX_NODES], best_room = 0;

    read_room(scene, policy, room);
    for (uint32_t n = 0; n < host->n_nodes; n++) {
        int64_t sum;
        HnNodemask nodes = homes >> n & 1 ? gather(host, guest, room, n, &sum) : 0;
        if (!nodes)
            continue;
        int more = best ? __builtin_popcountll(best) - __builtin_popcountll(nodes) : 1;
        if (more > 0 || (more == 0 && sum > best_room)) {
            best = nodes;
            best_room = sum;
        }
    }
    return best ? best : homes;
}

static bool check(const HnNewcomer *guest, GError **error)
{
    if (guest->n_vcpus >= 1 && guest->n_vcpus <= HN_NEWCOMER_MAX_VCPUS &&
        guest->bytes <= HN_NEWCOMER_MAX_BYTES)
        return true;
    g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_RANGE,
                "a guest of %u vCPUs and %" G_GUINT64_FORMAT
                " MiB; allowed are 1 to %d vCPUs and at most %" G_GUINT64_FORMAT " MiB",
                guest->n_vcpus, guest->bytes >> 20, HN_NEWCOMER_MAX_VCPUS,
                HN_NEWCOMER_MAX_BYTES >> 20);
    return false;
}

/* Each node in turn, for a guest that would roam; the host's cost decides, the first of equals. */
static bool try_each(const Scene *scene, const HnPolicy *policy, const HnPast *past,
                     Answer *ret_best, GError **error)
{
    HnNodemask homes = hn_host_home_nodes(scene->snapshot.host);

    for (uint32_t n = 0; n < scene->snapshot.host->n_nodes; n++) {
        Answer answer;
        if (!(homes >> n & 1))
            continue;
        if (!ask(scene, policy, past, (int32_t)n, &answer, error))
            return false;
        if (answer.nodes &&
            (!ret_best->nodes || answer.cost_ns_per_sec < ret_best->cost_ns_per_sec))
            *ret_best = answer;
    }
    return true;
}

HnNodemask hn_newcomer_place(const HnSnapshot *snapshot, const HnPolicy *policy, const HnPast *past,
                             const char *const *in_flight, const HnNewcomer *guest,
                             const GArray *promises, HnReason *ret_reason, GError **error)
{
    HnNodemask homes;
    Answer answer = {0};
    Scene scene;

    if (!check(guest, error))
        return 0;
    if (snapshot->host && (homes = hn_host_home_nodes(snapshot->host)) && !(homes & (homes - 1))) {
        *ret_reason = HN_REASON_SINGLE_NODE_HOST;
        return homes;
    }
    if (!snapshot->host || !hn_host_validate(snapshot->host, error)) {
        if (!snapshot->host)
            g_set_error_literal(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE,
                                "snapshot without a host");
        return 0;
    }
    scene_init(&scene, snapshot, in_flight, guest, promises);
    bool is_answered = ask(&scene, policy, past, HN_NODE_NONE, &answer, error);
    if (is_answered && !answer.nodes && !answer.is_wide)
        is_answered = try_each(&scene, policy, past, &answer, error);
    *ret_reason = !answer.nodes    ? HN_REASON_NODE_FULL
                  : answer.is_wide ? HN_REASON_SPLIT_WIDE
                                   : HN_REASON_INITIAL_PLACEMENT;
    if (is_answered && !answer.nodes)
        answer.nodes = place_by_room(&scene, policy, guest);
    scene_clear(&scene);
    return is_answered ? answer.nodes : 0;
}
