/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One domain's touches from round to round; see touch-watch.h. */
#include "observe/touch-watch.h"
#include "observe/residency.h"
#include "observe/touch-matrix.h"
#include "observe/touch-perf.h"

#include <string.h>
#include <unistd.h>

/* Counts per node are kept finer than they are told, else few touches would never fade. */
#define NODE_SCALE 256u
#define BASE_BYTES UINT64_C(4096)
#define HUGE_BYTES (UINT64_C(2) << 20)

typedef struct {
    uint32_t id;
    int32_t tid;
    uint64_t start_ticks;
    HnPerfRing ring;
    uint64_t *node_touches; /* [n_nodes] × NODE_SCALE */
} Vcpu;

/* A touched address whose node is asked for. */
typedef struct {
    uint64_t hva;
    uint64_t page; /* where the page begins that it is in, as far as its region tells */
    uint32_t vcpu; /* index */
    uint32_t n_touches;
} Place;

struct HnTouchWatch {
    HnWatchContext *context;
    int64_t pid;
    bool is_on;
    const HnTouchEvent *event; /* NULL: not known */
    HnTouchFormat format;
    HnTouchMatrix *matrix;
    uint32_t n_vcpus;
    Vcpu *vcpus;
    uint32_t n_nodes; /* of node_touches */
    HnTouchSummary totals; /* counters only */
    uint64_t touched_ns;   /* 0: never */
    uint64_t faded_ns;
    uint64_t n_independent; /* × NODE_SCALE, fading with the touches */
};

HnTouchWatch *hn_touch_watch_new(HnWatchContext *context, int64_t pid)
{
    HnTouchWatch *watch = g_new0(HnTouchWatch, 1);

    watch->context = context;
    watch->pid = pid;
    return watch;
}

static void close_ring(HnTouchWatch *watch, Vcpu *vcpu)
{
    const HnPerfOps *ops = watch->context->perf_ops;

    if (vcpu->ring.fd < 0)
        return;
    ops->close(ops->user_data, &vcpu->ring);
    watch->context->budget->n_open--;
    vcpu->ring = HN_PERF_RING_NONE;
}

static void forget_vcpus(HnTouchWatch *watch)
{
    for (uint32_t i = 0; i < watch->n_vcpus; i++) {
        close_ring(watch, &watch->vcpus[i]);
        g_free(watch->vcpus[i].node_touches);
    }
    g_clear_pointer(&watch->vcpus, g_free);
    watch->n_vcpus = 0;
    watch->n_independent = 0;
}

void hn_touch_watch_free(HnTouchWatch *watch)
{
    if (!watch)
        return;
    forget_vcpus(watch);
    hn_touch_matrix_free(watch->matrix);
    g_free(watch);
}

void hn_touch_watch_forget_nodes(HnTouchWatch *watch)
{
    forget_vcpus(watch);
    g_clear_pointer(&watch->matrix, hn_touch_matrix_free);
}

uint64_t hn_touch_watch_bytes(const HnTouchWatch *watch)
{
    uint64_t bytes = sizeof *watch + (watch->matrix ? hn_touch_matrix_bytes(watch->matrix) : 0);

    for (uint32_t i = 0; i < watch->n_vcpus; i++) {
        bytes += sizeof(Vcpu) + watch->n_nodes * sizeof(uint64_t);
        if (watch->vcpus[i].ring.fd >= 0)
            bytes += (watch->vcpus[i].ring.n_pages + 1) * (uint64_t)sysconf(_SC_PAGESIZE);
    }
    return bytes;
}

/* ---- who is watched ---- */

static bool is_same_vcpus(const HnTouchWatch *watch, const HnDomain *domain, uint32_t n_nodes)
{
    if (watch->n_vcpus != domain->n_vcpus || watch->n_nodes != n_nodes)
        return false;
    for (uint32_t i = 0; i < domain->n_vcpus; i++)
        if (watch->vcpus[i].id != domain->vcpus[i].id)
            return false;
    return true;
}

/* Other vCPUs than before: evidence begins anew, it would be another's. */
static void match_vcpus(HnTouchWatch *watch, const HnDomain *domain, uint32_t n_nodes)
{
    if (is_same_vcpus(watch, domain, n_nodes))
        return;
    forget_vcpus(watch);
    watch->n_vcpus = domain->n_vcpus;
    watch->n_nodes = n_nodes;
    watch->vcpus = g_new0(Vcpu, domain->n_vcpus);
    for (uint32_t i = 0; i < domain->n_vcpus; i++) {
        watch->vcpus[i].id = domain->vcpus[i].id;
        watch->vcpus[i].ring = HN_PERF_RING_NONE;
        watch->vcpus[i].node_touches = g_new0(uint64_t, n_nodes);
    }
}

static uint32_t *list_ids(const HnTouchWatch *watch)
{
    uint32_t *ids = g_new0(uint32_t, MAX(watch->n_vcpus, 1u));

    for (uint32_t i = 0; i < watch->n_vcpus; i++)
        ids[i] = watch->vcpus[i].id;
    return ids;
}

static bool is_matrix_current(const HnTouchWatch *watch, const HnRegion *regions,
                              uint32_t n_regions)
{
    g_autofree uint32_t *ids = list_ids(watch);

    return watch->matrix &&
           hn_touch_matrix_fits(watch->matrix, regions, n_regions, ids, watch->n_vcpus);
}

static void match_matrix(HnTouchWatch *watch, const HnRegion *regions, uint32_t n_regions)
{
    g_autofree uint32_t *ids = list_ids(watch);

    if (is_matrix_current(watch, regions, n_regions))
        return;
    hn_touch_matrix_free(watch->matrix);
    watch->matrix = hn_touch_matrix_new(regions, n_regions, ids, watch->n_vcpus);
}

/* Opens what is not open. Returns the first thing in the way, NULL if nothing is. */
static const char *open_rings(HnTouchWatch *watch, HnTasks *tasks, const HnDomain *domain)
{
    const HnPerfOps *ops = watch->context->perf_ops;
    HnKeptBudget *budget = watch->context->budget;
    size_t n_pages = hn_perf_ring_pages(watch->n_vcpus);

    for (uint32_t i = 0; i < watch->n_vcpus; i++) {
        Vcpu *vcpu = &watch->vcpus[i];
        bool is_shared;
        int result;

        if (!hn_tasks_find_vcpu(tasks, vcpu->id, &is_shared))
            continue;
        if (is_shared && watch->n_vcpus > 1)
            return HN_TOUCH_SHARED_THREAD;
        if (vcpu->tid != domain->vcpus[i].tid || vcpu->start_ticks != domain->vcpus[i].start_ticks)
            close_ring(watch, vcpu);
        if (vcpu->ring.fd >= 0)
            continue;
        vcpu->tid = domain->vcpus[i].tid;
        vcpu->start_ticks = domain->vcpus[i].start_ticks;
        if (budget->n_open >= budget->n_max)
            return HN_TOUCH_NO_DESCRIPTORS;
        result = ops->open(ops->user_data, vcpu->tid, watch->format.id, 1, n_pages, &vcpu->ring);
        if (result == 0) {
            budget->n_open++;
        } else {
            vcpu->ring = HN_PERF_RING_NONE;
            if (hn_perf_impediment(-result))
                return hn_perf_impediment(-result);
        }
    }
    return NULL;
}

/* Everything that sampling needs. Returns the first thing in the way. */
static const char *switch_on(HnTouchWatch *watch, HnTasks *tasks, const HnRegion *regions,
                             uint32_t n_regions, const HnDomain *domain, uint32_t n_nodes)
{
    const HnPerfOps *ops = watch->context->perf_ops;
    const char *problem = NULL;

    if (!ops)
        return HN_TOUCH_CAPTURED;
    match_vcpus(watch, domain, n_nodes);
    match_matrix(watch, regions, n_regions);
    if (!watch->matrix)
        return HN_TOUCH_NO_CHUNK_MAP;
    if (!watch->event)
        problem = ops->find_event(ops->user_data, watch->context->root, domain->is_kvm,
                                  &watch->event, &watch->format);
    return problem ? problem : open_rings(watch, tasks, domain);
}

static void switch_off(HnTouchWatch *watch)
{
    for (uint32_t i = 0; i < watch->n_vcpus; i++)
        close_ring(watch, &watch->vcpus[i]);
    g_clear_pointer(&watch->matrix, hn_touch_matrix_free);
    watch->event = NULL; /* its number changes when its module is loaded again */
    watch->is_on = false;
}

/* ---- what the rings say ---- */

typedef struct {
    HnTouchWatch *watch;
    const HnRegion *regions; /* the matrix is about */
    uint32_t vcpu;
    uint32_t n_every;
    uint64_t now_ns;
    /* A sample of all places, each as likely as any other (Vitter's algorithm R): guests sweep their
     * memory in order and memory is interleaved in order, so that every n-th touch may be all on one node. */
    Place places[HN_TOUCH_PLACES];
    uint32_t n_places;
    uint32_t n_offered;
    GRand *random; /* seeded by what was seen: the same rounds give the same sample */
} Drain;

static void keep_place(Drain *drain, const HnTouchPlace *place)
{
    const HnRegion *region = &drain->regions[place->region];
    uint64_t page_bytes = MAX(region->page_bytes, region->is_thp ? HUGE_BYTES : BASE_BYTES);
    uint32_t at = drain->n_places;

    drain->n_offered++;
    if (at == HN_TOUCH_PLACES) {
        at = (uint32_t)(g_rand_double(drain->random) * drain->n_offered);
        if (at >= HN_TOUCH_PLACES)
            return;
    } else {
        drain->n_places++;
    }
    drain->places[at] =
        (Place){.hva = place->hva / BASE_BYTES * BASE_BYTES,
                .page = place->hva / page_bytes * page_bytes,
                .vcpu = drain->vcpu,
                .n_touches = drain->n_every};
}

static void take_touch(const HnTouch *touch, void *user_data)
{
    Drain *drain = user_data;
    HnTouchWatch *watch = drain->watch;
    HnTouchPlace place;

    if (!hn_touch_matrix_add(watch->matrix, drain->vcpu, touch->address, watch->event->is_gpa,
                             drain->n_every, &place)) {
        watch->totals.n_elsewhere += drain->n_every;
        return;
    }
    watch->totals.n_touches += drain->n_every;
    watch->totals.n_writes += touch->is_write ? drain->n_every : 0;
    watch->touched_ns = drain->now_ns;
    keep_place(drain, &place);
}

/* Where the pages lie now: after the fault, and after the kernel moved them, if it did. */
static void ask_nodes(HnTouchWatch *watch, const Drain *drain, const HnHost *host)
{
    void *addresses[HN_TOUCH_PLACES];
    int status[HN_TOUCH_PLACES];
    HnTouchedPage found[HN_TOUCH_PLACES];
    uint32_t n_found = 0;

    if (drain->n_places == 0 || !watch->context->probe_ops)
        return;
    for (uint32_t i = 0; i < drain->n_places; i++)
        addresses[i] = (void *)(uintptr_t)drain->places[i].hva;
    if (!hn_residency_query(watch->context->probe_ops, watch->pid, drain->n_places, addresses,
                            status, NULL))
        return;
    for (uint32_t i = 0; i < drain->n_places; i++) {
        const Place *place = &drain->places[i];
        int32_t node = status[i] < 0 ? HN_NODE_NONE : hn_host_index_of_id(host, status[i]);

        if (node == HN_NODE_NONE)
            continue;
        watch->vcpus[place->vcpu].node_touches[node] +=
            (uint64_t)place->n_touches * NODE_SCALE * drain->n_offered / drain->n_places;
        found[n_found++] = (HnTouchedPage){place->page, place->n_touches};
    }
    /* Rounds are not added up: the next one meets the same pages again. */
    watch->n_independent = MAX(watch->n_independent, hn_touch_independent(found, n_found, NODE_SCALE));
}

static void fade_nodes(HnTouchWatch *watch, uint64_t now_ns)
{
    uint64_t elapsed_ns =
        watch->faded_ns && now_ns > watch->faded_ns ? now_ns - watch->faded_ns : 0;

    watch->faded_ns = now_ns;
    watch->n_independent = hn_touch_faded(watch->n_independent, elapsed_ns);
    for (uint32_t i = 0; i < watch->n_vcpus; i++)
        for (uint32_t n = 0; n < watch->n_nodes; n++)
            watch->vcpus[i].node_touches[n] =
                hn_touch_faded(watch->vcpus[i].node_touches[n], elapsed_ns);
}

static void drain_rings(HnTouchWatch *watch, const HnHost *host, const HnRegion *regions,
                        uint64_t now_ns)
{
    const HnPerfOps *ops = watch->context->perf_ops;
    g_autoptr(GByteArray) buffer = g_byte_array_new();
    g_autofree Drain *drain = g_new0(Drain, 1);

    drain->watch = watch;
    drain->regions = regions;
    drain->now_ns = now_ns;
    drain->random = g_rand_new_with_seed((guint32)(watch->pid ^ (int64_t)watch->totals.n_touches));
    fade_nodes(watch, now_ns);
    for (uint32_t i = 0; i < watch->n_vcpus; i++) {
        HnPerfRing *ring = &watch->vcpus[i].ring;
        HnTouchTally tally = {0};
        uint32_t n_every;

        if (ring->fd < 0)
            continue;
        drain->vcpu = i;
        drain->n_every = ring->n_every;
        hn_perf_ring_drain(ring, &watch->format, watch->event, buffer, take_touch, drain, &tally);
        /* A ring gets room only by being drained: what was lost was lost before the last drain. */
        watch->totals.n_lost += tally.n_lost * ring->n_every_before;
        n_every = hn_perf_next_every(ring, &tally);
        if (n_every != ring->n_every)
            ops->set_every(ops->user_data, ring, n_every); /* refused: it stays as it is */
    }
    ask_nodes(watch, drain, host);
    g_rand_free(drain->random);
    hn_touch_matrix_tick(watch->matrix, now_ns);
}

/* ---- out ---- */

static void copy_chunks(const HnRegion *from, uint32_t n_regions, HnDomain *domain)
{
    for (uint32_t r = 0; r < MIN(n_regions, domain->n_regions); r++) {
        for (uint32_t k = 0; k < MIN(from[r].n_chunks, domain->regions[r].n_chunks); k++) {
            domain->regions[r].chunks[k].heat = from[r].chunks[k].heat;
            domain->regions[r].chunks[k].touch_clients = from[r].chunks[k].touch_clients;
        }
    }
}

static void fill_domain(HnTouchWatch *watch, uint64_t now_ns, const char *problem, HnDomain *domain)
{
    HnTouchSummary *summary = &domain->touches;
    bool has_counts = is_same_vcpus(watch, domain, watch->n_nodes);

    *summary = watch->totals;
    summary->is_on = watch->is_on;
    summary->impediment = g_strdup(problem);
    summary->vcpus_per_bit = (domain->n_vcpus + HN_TOUCH_MAX_COLUMNS - 1) / HN_TOUCH_MAX_COLUMNS;
    summary->n_independent = (uint32_t)(watch->n_independent / NODE_SCALE);
    summary->age_ns = watch->touched_ns == 0 || now_ns < watch->touched_ns
                          ? UINT64_MAX
                          : now_ns - watch->touched_ns;
    for (uint32_t i = 0; has_counts && i < domain->n_vcpus; i++)
        for (uint32_t n = 0; n < watch->n_nodes; n++)
            domain->vcpus[i].touches[n] = watch->vcpus[i].node_touches[n] / NODE_SCALE;
}

void hn_touch_watch_observe(HnTouchWatch *watch, HnTasks *tasks, const HnHost *host,
                            uint64_t now_ns, bool is_on, HnRegion *regions, uint32_t n_regions,
                            HnDomain *domain)
{
    const char *problem = NULL;
    /* Switched off: what came since the last round counts, unless it is about something else. */
    bool is_drained = !is_on && watch->is_on && is_same_vcpus(watch, domain, host->n_nodes) &&
                      is_matrix_current(watch, regions, n_regions);

    if (is_on) {
        problem = switch_on(watch, tasks, regions, n_regions, domain, host->n_nodes);
        watch->is_on = false;
        for (uint32_t i = 0; watch->matrix && i < watch->n_vcpus; i++)
            watch->is_on |= watch->vcpus[i].ring.fd >= 0;
        is_drained = watch->is_on;
    }
    if (is_drained) {
        drain_rings(watch, host, regions, now_ns);
        hn_touch_matrix_fill(watch->matrix, regions, n_regions, &watch->totals.n_chunks_known);
        copy_chunks(regions, n_regions, domain);
    }
    if (!is_on || !watch->is_on)
        switch_off(watch);
    fill_domain(watch, now_ns, problem, domain);
}
