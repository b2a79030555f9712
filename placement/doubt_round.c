/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One round seen by the doubt machine: the facts of every domain, gathered from snapshot, standing
 * and verdict, and the machine's answers put into the verdicts.
 *
 * What must not change unnoticed (topology, wish, shape) is kept as a hash: the past need not hold a
 * copy of all of it, and a difference is all that counts.
 */
#include "decide.h"

#include <string.h>

/* Rounds closer together than this say nothing about load. */
#define FULL_ROUND_NS UINT64_C(500000000)
/* A dirty rate older than this says nothing about now. */
#define DIRTY_RECENT_NS (600 * UINT64_C(1000000000))
/* One that wakes is big if it holds this part of the smallest home node's memory … */
#define BIG_MEMORY_DIVISOR 8
/* … or has this part of its CPUs. */
#define BIG_CPUS_DIVISOR 4
/* A fence leaves this part of the node free for what QEMU still allocates. */
#define FENCE_ROOM_DIVISOR 50
/* Memory of a node counts in these steps: the kernel frees and takes a little at run time. */
#define MEMORY_STEP_BYTES (UINT64_C(128) << 20)

/* FNV-1a, 64 bits (http://www.isthe.com/chongo/tech/comp/fnv/). */
#define FNV_OFFSET UINT64_C(14695981039346656037)
#define FNV_PRIME UINT64_C(1099511628211)

static uint64_t mix_bytes(uint64_t hash, const void *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ ((const uint8_t *)data)[i]) * FNV_PRIME;
    return hash;
}

/* A whole word at a time, its high half folded in: all domains pass here in every round. */
static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * FNV_PRIME;
    return hash ^ hash >> 32;
}

static uint64_t mix_text(uint64_t hash, const char *text)
{
    return text ? mix_bytes(hash, text, strlen(text) + 1) : mix(hash, 0);
}

/* By its members: a set has room for thousands of CPUs. */
static uint64_t mix_cpus(uint64_t hash, const HnCpuset *cpus)
{
    for (int32_t cpu = hn_cpuset_next(cpus, 0); cpu >= 0;
         cpu = hn_cpuset_next(cpus, (uint32_t)cpu + 1))
        hash = (hash ^ (uint64_t)(cpu + 1)) * FNV_PRIME;
    return mix(hash, UINT64_MAX); /* where the set ends */
}

static uint64_t hash_topology(const HnHost *host)
{
    uint64_t hash = mix(FNV_OFFSET, host->n_nodes);

    for (uint32_t n = 0; n < host->n_nodes; n++) {
        const HnNode *node = &host->nodes[n];
        hash = mix(hash, (uint64_t)node->id);
        hash = mix_cpus(hash, &node->cpus);
        hash = mix(hash, node->mem_total_bytes / MEMORY_STEP_BYTES);
    }
    hash = mix_bytes(hash, host->distance, (size_t)host->n_nodes * host->n_nodes);
    return mix_cpus(hash, &host->isolated);
}

static uint64_t hash_wish(const HnDomain *domain)
{
    const HnWish *wish = &domain->wish;
    uint64_t hash = mix(FNV_OFFSET, wish->mode);

    hash = mix(hash, wish->memory);
    hash = mix(hash, wish->has_nodeset ? wish->nodeset : 0);
    hash = mix_text(hash, wish->group);
    hash = mix_text(hash, wish->anti_group);
    for (uint32_t i = 0; i < domain->n_vcpus; i++)
        if (domain->vcpus[i].is_admin_pinned)
            hash = mix_cpus(mix(hash, domain->vcpus[i].id), &domain->vcpus[i].admin_cpus);
    for (uint32_t i = 0; i < domain->n_workers; i++)
        if (domain->workers[i].is_admin_pinned && domain->workers[i].kind != HN_WORKER_VHOST)
            hash = mix_cpus(mix(hash, domain->workers[i].id), &domain->workers[i].admin_cpus);
    return mix(hash, domain->is_numatune_admin ? domain->admin_nodeset : 0);
}

static uint64_t hash_shape(const HnDomain *domain)
{
    uint64_t hash = mix(FNV_OFFSET, domain->configured_bytes);

    for (uint32_t i = 0; i < domain->n_vcpus; i++)
        hash = mix(hash, domain->vcpus[i].id);
    for (uint32_t i = 0; i < domain->n_regions; i++)
        hash = mix(mix(hash, domain->regions[i].hva_start), domain->regions[i].length_bytes);
    return mix(hash, domain->n_cells);
}

/* The homes the search wants for it, whether or not the gate lets them pass; 0: no other. */
static uint64_t hash_proposal(const HnStanding *s)
{
    uint64_t hash = FNV_OFFSET;

    if (!s->is_changed)
        return 0;
    for (uint32_t c = 0; c < s->split->n_clients; c++)
        hash = mix(hash, (uint64_t)s->record->clients[c].proposed);
    return MAX(hash, 1);
}

static uint64_t resident_of(const HnRound *round, const HnDomain *domain)
{
    uint64_t bytes = 0;

    for (uint32_t n = 0; n < round->snapshot->host->n_nodes; n++)
        bytes += domain->resident_bytes[n];
    return bytes;
}

/* What the domains at home on each node may still allocate. */
static void sum_growth(const HnRound *round, uint64_t *growth_bytes)
{
    for (uint32_t d = 0; d < round->n_domains; d++) {
        const HnSplit *split = &round->splits[d];
        for (uint32_t c = 0; c < split->n_clients; c++)
            if (split->clients[c].home_now != HN_NODE_NONE)
                growth_bytes[split->clients[c].home_now] += split->clients[c].growth_bytes;
    }
}

/* Behind a fence there is no other node to allocate from: the home must hold all that is to come. */
static bool has_room(const HnRound *round, const HnStanding *s, const uint64_t *growth_bytes)
{
    int32_t home = s->split->clients[0].home_now;

    if (home == HN_NODE_NONE)
        return false;
    const HnNode *node = &round->snapshot->host->nodes[home];
    return node->mem_free_bytes + node->mem_reclaimable_bytes >
           node->mem_watermark_bytes + node->mem_total_bytes / FENCE_ROOM_DIVISOR +
               growth_bytes[home];
}

/* New touches change the counts or the scan they were counted in. */
static uint64_t mark_touches(const HnDomain *domain, uint32_t n_nodes)
{
    uint64_t hash = mix(FNV_OFFSET, domain->touches.n_touches);

    for (uint32_t i = 0; i < domain->n_vcpus; i++) {
        const HnHintFaults *faults = &domain->vcpus[i].faults;
        hash = mix(hash, faults->is_valid ? faults->scan_seq : 0);
        for (uint32_t n = 0; faults->is_valid && n < n_nodes; n++)
            hash = mix(hash, faults->private_pages[n] + faults->shared_pages[n]);
    }
    return hash;
}

static uint64_t scan_seq_of(const HnDomain *domain)
{
    uint64_t seq = 0;

    for (uint32_t i = 0; i < domain->n_vcpus; i++)
        if (domain->vcpus[i].faults.is_valid)
            seq = MAX(seq, domain->vcpus[i].faults.scan_seq);
    return seq;
}

void hn_doubt_look(const HnHost *host, const HnSplit *split, HnLook *ret_look)
{
    *ret_look = (HnLook){
        .locality = hn_evidence_locality(host, split),
        .shape = hash_shape(split->domain),
        .wish = hash_wish(split->domain),
        .touch_mark = mark_touches(split->domain, host->n_nodes),
        .scan_seq = scan_seq_of(split->domain),
    };
}

static void gather(const HnRound *round, const HnStanding *s, const HnVerdict *verdict,
                   uint64_t topology, const uint64_t *growth_bytes, HnDoubtFacts *facts)
{
    const HnDomain *domain = s->domain;
    const HnPastDomain *record = s->record;
    const HnHost *host = round->snapshot->host;
    const HnLocality *locality = &s->look.locality;

    *facts = (HnDoubtFacts){
        .now_ns = round->now_ns,
        .is_full_round = round->elapsed_ns >= FULL_ROUND_NS,
        .is_managed = s->is_managed && host->n_nodes > 1,
        .is_measured = record->n_samples > 0 && domain->resident_source != HN_SOURCE_NONE &&
                       !domain->unobservable,
        .is_busy = domain->job != HN_JOB_NONE || s->is_in_flight,
        .is_moving = s->is_in_flight,
        .is_running = domain->state == HN_STATE_RUNNING,
        .has_load = record->has_load,
        .load_mcpu = record->load_mcpu,
        .has_dirty = domain->dirty_age_ns <= DIRTY_RECENT_NS,
        .dirty_bytes_per_sec = domain->dirty_bytes_per_sec,
        .dirty_age_ns = domain->dirty_age_ns,
        .resident_bytes = resident_of(round, domain),
        .local_permille = locality->bytes_local_permille,
        .error_permille = MIN(domain->resident_error_permille, 1000),
        .shape = s->look.shape,
        .wish = s->look.wish,
        .topology = topology,
        .moved_ns = record->last_rehome_ns,
        .proposal = hash_proposal(s),
        .will_act = verdict->will_act,
        .is_forced = s->is_forced,
        .is_fenced = domain->is_fenced,
        .has_room = has_room(round, s, growth_bytes),
        .is_split = s->split->is_wide || s->split->exceeds_cores || s->split->n_clients > 1,
        .has_accesses = locality->has_accesses_local,
        .accesses_permille = locality->accesses_local_permille,
        .accesses_error_permille = locality->accesses_error_permille,
        .scan_seq = s->look.scan_seq,
        .touch_mark = s->look.touch_mark,
    };
}

static bool is_big(const HnRound *round, const HnDomain *domain)
{
    const HnHost *host = round->snapshot->host;
    uint64_t least_bytes = UINT64_MAX;
    uint32_t least_cpus = UINT32_MAX;

    for (HnNodemask rest = hn_host_home_nodes(host); rest; rest &= rest - 1) {
        const HnNode *node = &host->nodes[__builtin_ctzll(rest)];
        least_bytes = MIN(least_bytes, node->mem_total_bytes);
        least_cpus = MIN(least_cpus, node->n_cpus);
    }
    return domain->configured_bytes >= least_bytes / BIG_MEMORY_DIVISOR ||
           domain->n_vcpus >= MAX(least_cpus / BIG_CPUS_DIVISOR, 1);
}

static void put_answer(const HnStanding *s, const HnDoubtFacts *facts, HnVerdict *verdict)
{
    const HnDoubt *doubt = &s->record->doubt;

    verdict->doubt = hn_doubt_answer(doubt, facts);
    verdict->bytes_local_age_ns = s->domain->resident_age_ns;
    verdict->bytes_local_error_permille = facts->error_permille;
    verdict->has_accesses_local = doubt->accesses_ns != 0;
    verdict->accesses_local_permille = doubt->accesses_permille;
    verdict->accesses_local_error_permille = doubt->accesses_error_permille;
    verdict->accesses_local_age_ns =
        facts->now_ns - MIN(doubt->accesses_ns, facts->now_ns);
}

void hn_doubts(HnRound *round, HnPlan *plan)
{
    g_autofree HnDoubtFacts *facts = g_new0(HnDoubtFacts, round->n_domains + 1);
    uint64_t topology = hash_topology(round->snapshot->host);
    const HnStanding *waker = NULL;
    bool is_window_open = false;
    uint64_t growth_bytes[HN_MAX_NODES] = {0};

    sum_growth(round, growth_bytes);
    for (uint32_t d = 0; d < round->n_domains; d++)
        is_window_open |= round->standings[d].record->doubt.state == HN_DOUBT_SAMPLING;
    for (uint32_t d = 0; d < round->n_domains; d++) {
        HnStanding *s = &round->standings[d];
        HnDoubt *doubt = &s->record->doubt;
        HnDoubtState before = doubt->state;
        gather(round, s, g_ptr_array_index(plan->verdicts, d), topology, growth_bytes,
               &facts[d]);
        facts[d].is_window_open = is_window_open;
        hn_doubt_step(doubt, &facts[d], round->policy);
        if (before != HN_DOUBT_SAMPLING && doubt->state == HN_DOUBT_SAMPLING &&
            doubt->cause == HN_DOUBT_BY_WOKE && is_big(round, s->domain))
            waker = s;
    }
    for (uint32_t d = 0; d < round->n_domains; d++) {
        HnStanding *s = &round->standings[d];
        if (waker && s != waker)
            hn_doubt_neighbour(&s->record->doubt, &facts[d], round->policy);
        put_answer(s, &facts[d], g_ptr_array_index(plan->verdicts, d));
    }
}
