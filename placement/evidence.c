/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two numbers per domain, because they differ: bytes local says where memory lies, accesses local
 * says what the guest touches. A guest can have 95 % of its memory near and most of its accesses
 * far, and the other way round.
 *
 * Accesses come from the kernel's NUMA hinting faults per vCPU thread. They decay by half per scan
 * and are charged to the node where the page ended up; read as shares they remain usable. Where
 * the kernel has none to tell, sampled page faults (the touch matrix) do instead.
 */
#include "evidence.h"

#define MIN_TOUCHES 100

/* Pages that one hinting fault on a huge page is counted as: they are one sample. */
#define PAGES_PER_HUGE_FAULT 512
/* Sampled page faults that one touch may cause: a read, its second try, a write. */
#define FAULTS_PER_TOUCH 3
#define BASE_BYTES UINT64_C(4096)
#define HUGE_BYTES (UINT64_C(2) << 20)

static uint64_t square_root(uint64_t value)
{
    uint64_t root = 0;

    for (uint64_t bit = UINT64_C(1) << 31; bit; bit >>= 1)
        if ((root | bit) * (root | bit) <= value)
            root |= bit;
    return root;
}

uint32_t hn_evidence_error_permille(uint64_t k, uint64_t n)
{
    if (n == 0)
        return 1000;
    /* More than a million samples say no more; the sums stay small. */
    if (n > 1000000) {
        k = (uint64_t)((unsigned __int128)k * 1000000 / n);
        n = 1000000;
    }
    k = MIN(k, n);
    /* z sqrt(n p (1 - p) + z² / 4) / (n + z²), z = 2.2414, under the root in millionths, n + z² a little too
     * small; and how far the interval's middle is from p: z² |1/2 - p| / (n + z²). All in millionths. */
    uint64_t variance = k * (n - k) * UINT64_C(1000000) / n + 1255970;
    uint64_t half = square_root(variance) * 2242 / (n + 5);
    uint64_t shift = UINT64_C(2511950) * (n > 2 * k ? n - 2 * k : 2 * k - n) / n / (n + 5);

    return (uint32_t)MIN((half + shift) / 1000 + 1, 1000);
}

/* Hinting faults as independent samples. They are counted in small pages: where pages are huge, a fault is one
 * sample all the same, and the next scan meets the same pages again, so there are never more samples than pages. */
static uint64_t fault_samples(const HnDomain *domain, uint32_t n_nodes, uint64_t n_touches)
{
    uint64_t huge_bytes = 0, all_bytes = 0, n_pages = 0;

    for (uint32_t i = 0; i < domain->n_regions; i++) {
        const HnRegion *region = &domain->regions[i];
        uint64_t page_bytes = MAX(region->page_bytes, region->is_thp ? HUGE_BYTES : BASE_BYTES);
        uint64_t resident = 0;

        for (uint32_t n = 0; n < n_nodes; n++)
            resident += region->resident_bytes[n];
        all_bytes += region->length_bytes;
        huge_bytes += region->is_thp ? region->length_bytes : 0;
        n_pages += (resident ? resident : region->length_bytes) / page_bytes;
    }
    if (huge_bytes > all_bytes / 2)
        n_touches /= PAGES_PER_HUGE_FAULT;
    return MAX(n_pages ? MIN(n_touches, n_pages) : n_touches, 1);
}

/* Sampled page faults likewise. However many there were, no more pages were asked about in a round. */
static uint64_t touch_samples(const HnDomain *domain, uint64_t n_touches)
{
    uint64_t most = domain->touches.n_independent ? domain->touches.n_independent : HN_TOUCH_PLACES;

    return MAX(MIN(n_touches / FAULTS_PER_TOUCH, most), 1);
}

/* Node a vCPU runs on: its client's home, or where it was last seen. */
static int32_t node_of_vcpu(const HnHost *host, const HnClient *client, const HnVcpu *vcpu)
{
    if (client->home_now != HN_NODE_NONE)
        return client->home_now;
    return vcpu->last_cpu >= 0 ? hn_host_node_of_cpu(host, (uint32_t)vcpu->last_cpu) : HN_NODE_NONE;
}

/* A wide domain's memory is local on any of its homes: bytes are not anybody's there. */
static bool local_on_homes(const HnSplit *split, __int128 *ret_bytes)
{
    HnNodemask homes = 0;

    *ret_bytes = 0;
    for (uint32_t c = 0; c < split->n_clients; c++) {
        if (split->clients[c].home_now == HN_NODE_NONE)
            return false;
        homes |= UINT64_C(1) << split->clients[c].home_now;
    }
    for (uint32_t c = 0; c < split->n_clients; c++)
        for (HnNodemask rest = homes; rest; rest &= rest - 1) {
            uint32_t n = (uint32_t)__builtin_ctzll(rest);
            *ret_bytes += split->clients[c].movable_bytes[n] + split->clients[c].immovable_bytes[n];
        }
    return split->n_clients > 1;
}

/* Touches of one kind, of all vCPUs of a domain. */
typedef struct {
    uint64_t all, local;
} Touches;

static void count_touches(const HnVcpu *vcpu, uint32_t node, uint32_t n_nodes, Touches *faults,
                          Touches *samples)
{
    for (uint32_t n = 0; vcpu->faults.is_valid && n < n_nodes; n++) {
        uint64_t touches = vcpu->faults.private_pages[n] + vcpu->faults.shared_pages[n];
        faults->all += touches;
        faults->local += n == node ? touches : 0;
    }
    for (uint32_t n = 0; n < n_nodes; n++) {
        samples->all += vcpu->touches[n];
        samples->local += n == node ? vcpu->touches[n] : 0;
    }
}

HnLocality hn_evidence_locality(const HnHost *host, const HnSplit *split)
{
    const HnDomain *domain = split->domain;
    __int128 local_bytes = 0;
    uint64_t all_bytes = 0;
    Touches faults = {0}, samples = {0};
    HnLocality result = {0};

    for (uint32_t c = 0; c < split->n_clients; c++) {
        const HnClient *client = &split->clients[c];
        uint64_t at_vcpus = 0; /* sum over its vCPUs of the bytes on their node */
        uint32_t n_placed = 0;
        for (uint32_t i = 0; i < domain->n_vcpus; i++) {
            const HnVcpu *vcpu = &domain->vcpus[i];
            int32_t node = hn_cpuset_has(&client->vcpus, vcpu->id)
                               ? node_of_vcpu(host, client, vcpu)
                               : HN_NODE_NONE;
            if (node == HN_NODE_NONE)
                continue;
            n_placed++;
            at_vcpus += client->movable_bytes[node] + client->immovable_bytes[node];
            count_touches(vcpu, (uint32_t)node, host->n_nodes, &faults, &samples);
        }
        all_bytes += client->resident_bytes;
        local_bytes += n_placed ? at_vcpus / n_placed : 0;
    }
    __int128 on_homes = 0;
    if (local_on_homes(split, &on_homes))
        local_bytes = on_homes;
    result.bytes_local_permille = all_bytes ? (uint32_t)(local_bytes * 1000 / all_bytes) : 1000;
    const Touches *best = faults.all >= MIN_TOUCHES ? &faults : &samples;
    result.n_touches = best->all;
    result.has_accesses_local = best->all >= MIN_TOUCHES;
    if (result.has_accesses_local)
        result.accesses_local_permille = (uint32_t)((__int128)best->local * 1000 / best->all);
    uint64_t n_samples = best == &faults ? fault_samples(domain, host->n_nodes, best->all)
                                         : touch_samples(domain, best->all);
    if (result.has_accesses_local)
        result.accesses_error_permille = hn_evidence_error_permille(
            (uint64_t)((unsigned __int128)n_samples * result.accesses_local_permille / 1000),
            n_samples);
    return result;
}
