/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Canonical order, so that renumbering nodes, CPUs or domains changes nothing but names.
 *
 * Ties in a search are broken by order. If the order came from node ids or uuids, two hosts that
 * differ only in numbering could get different plans. So nodes and domains get signatures from
 * their content, and in rounds each takes in the signatures of what it is related to (nodes by
 * distance, domains by bytes and residence): colour refinement (Weisfeiler and Leman 1968). What
 * still ties is, but for contrived graphs, exchangeable, and names may decide among those. Sums of
 * mixed hashes are used because they do not depend on the order of summing.
 */
#include "canonical.h"

#include <stdlib.h>
#include <string.h>

#define N_REFINEMENTS 3

/* splitmix64's finaliser (Steele, Lea, Flood 2014): spreads every bit over the word. */
static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static uint64_t join(uint64_t a, uint64_t b)
{
    return mix(a ^ mix(b));
}

static uint64_t text_signature(const char *text)
{
    uint64_t sum = 7;

    for (; text && *text; text++)
        sum = join(sum, (uint8_t)*text);
    return sum;
}

static uint64_t node_signature(const HnNode *node, uint64_t other_mcpu)
{
    uint64_t s = join(node->n_cpus, node->n_cores);

    s = join(s, node->mem_total_bytes);
    s = join(s, node->mem_free_bytes);
    s = join(s, node->mem_reclaimable_bytes);
    s = join(s, node->mem_watermark_bytes);
    s = join(s, node->bandwidth_bytes_per_sec);
    s = join(s, other_mcpu);
    for (uint32_t p = 0; p < node->n_huge_pools; p++)
        s += join(node->huge_pools[p].page_bytes,
                  join(node->huge_pools[p].total_pages, node->huge_pools[p].free_pages));
    return s;
}

static uint64_t split_signature(const HnSplit *split)
{
    const HnDomain *domain = split->domain;
    uint64_t s = join(split->n_clients, split->huge_page_bytes);

    s = join(s, (uint64_t)domain->wish.mode * 8 + (uint64_t)domain->wish.memory * 4 +
                    (uint64_t)domain->state);
    s = join(s, domain->wish.weight);
    s = join(s, text_signature(domain->wish.group) ^ mix(text_signature(domain->wish.anti_group)));
    s = join(s, domain->n_vcpus);
    s = join(s, domain->configured_bytes);
    for (uint32_t c = 0; c < split->n_clients; c++) {
        s = join(s, split->clients[c].held_mcpu);
        s = join(s, split->clients[c].growth_bytes);
        s = join(s, split->clients[c].resident_bytes);
    }
    return s;
}

/* How a client relates to a node: bytes there, home, permitted, share of its time. */
static uint64_t relation(const HnSplit *split, uint32_t client, uint32_t n)
{
    const HnClient *c = &split->clients[client];
    uint64_t bits = (c->allowed >> n & 1) | (uint64_t)(c->home_now == (int32_t)n) << 1 |
                    (split->domain->device_nodes >> n & 1) << 2;

    if (c->share_permille)
        bits |= (uint64_t)c->share_permille[n] << 8;
    if ((c->movable_bytes[n] | c->immovable_bytes[n]) == 0)
        return bits;
    return bits ^ mix(c->movable_bytes[n] ^ mix(c->immovable_bytes[n]));
}

typedef struct {
    uint64_t signature;
    uint32_t index;
} Ranked;

static int compare_ranked(const void *a, const void *b)
{
    const Ranked *left = a, *right = b;

    if (left->signature != right->signature)
        return left->signature < right->signature ? -1 : 1;
    return left->index < right->index ? -1 : left->index > right->index;
}

static void rank(Ranked *ranked, uint32_t count, uint32_t *ret_order)
{
    qsort(ranked, count, sizeof(Ranked), compare_ranked);
    for (uint32_t i = 0; i < count; i++)
        ret_order[i] = ranked[i].index;
}

static void add_distances(const HnHost *host, const Ranked *nodes, uint64_t *next)
{
    for (uint32_t n = 0; n < host->n_nodes; n++) {
        next[n] = nodes[n].signature;
        for (uint32_t m = 0; m < host->n_nodes; m++)
            next[n] += join(nodes[m].signature, (uint64_t)hn_host_distance(host, n, m) << 8 |
                                                    hn_host_distance(host, m, n));
    }
}

static uint64_t domain_signature(const HnDomain *domain)
{
    uint64_t s = join(domain->n_vcpus, domain->configured_bytes);

    s = join(s, (uint64_t)domain->wish.mode * 8 + (uint64_t)domain->wish.memory * 4 +
                    (uint64_t)domain->state);
    return join(s, join(domain->wish.weight, text_signature(domain->wish.group)));
}

/* How an unsplit domain relates to a node. */
static uint64_t raw_relation(const HnDomain *domain, uint32_t n, uint32_t n_seen)
{
    uint64_t bits = (domain->device_nodes >> n & 1) |
                    (uint64_t)(domain->wish.has_nodeset && (domain->wish.nodeset >> n & 1)) << 1 |
                    (uint64_t)(domain->is_numatune_admin && (domain->admin_nodeset >> n & 1)) << 2 |
                    (uint64_t)n_seen << 8;

    return bits ^ mix(domain->resident_bytes[n] ^ mix(domain->immovable_bytes[n]));
}

static void count_seen(const HnHost *host, const HnDomain *domain, uint32_t *seen)
{
    int32_t node = HN_NODE_NONE;

    memset(seen, 0, sizeof(uint32_t) * host->n_nodes);
    for (uint32_t v = 0; v < domain->n_vcpus; v++) {
        int32_t cpu = domain->vcpus[v].last_cpu;
        if (cpu < 0)
            continue;
        if (node == HN_NODE_NONE || !hn_cpuset_has(&host->nodes[node].cpus, (uint32_t)cpu))
            node = hn_host_node_of_cpu(host, (uint32_t)cpu);
        if (node != HN_NODE_NONE)
            seen[node]++;
    }
}

void hn_canonical_nodes(const HnHost *host, const GPtrArray *domains, const uint64_t *other_mcpu,
                        uint32_t *node_rank)
{
    Ranked nodes[HN_MAX_NODES];
    uint64_t next[HN_MAX_NODES];
    uint32_t seen[HN_MAX_NODES], order[HN_MAX_NODES];
    g_autofree uint64_t *signature = g_new(uint64_t, domains->len + 1);
    g_autofree uint64_t *relations = g_new(uint64_t, (size_t)domains->len * host->n_nodes + 1);

    for (uint32_t n = 0; n < host->n_nodes; n++)
        nodes[n] = (Ranked){node_signature(&host->nodes[n], other_mcpu ? other_mcpu[n] : 0), n};
    for (guint d = 0; d < domains->len; d++) {
        const HnDomain *domain = g_ptr_array_index(domains, d);
        signature[d] = domain_signature(domain);
        count_seen(host, domain, seen);
        for (uint32_t n = 0; n < host->n_nodes; n++)
            relations[(size_t)d * host->n_nodes + n] = raw_relation(domain, n, seen[n]);
    }
    for (uint32_t round = 0; round < N_REFINEMENTS; round++) {
        add_distances(host, nodes, next);
        for (guint d = 0; d < domains->len; d++) {
            const uint64_t *how_of = &relations[(size_t)d * host->n_nodes];
            uint64_t sum = 0;
            for (uint32_t n = 0; n < host->n_nodes; n++) {
                uint64_t how = how_of[n];
                sum += mix(how ^ nodes[n].signature);
                next[n] += mix(how + signature[d]);
            }
            signature[d] = join(signature[d], sum);
        }
        for (uint32_t n = 0; n < host->n_nodes; n++)
            nodes[n].signature = mix(next[n]);
    }
    rank(nodes, host->n_nodes, order);
    for (uint32_t n = 0; n < host->n_nodes; n++)
        node_rank[order[n]] = n;
}

void hn_canonical_order(const HnHost *host, const HnSplit *splits, uint32_t n_splits,
                        const uint64_t *other_mcpu, uint32_t *node_index, uint32_t *split_order)
{
    uint32_t n_nodes = host->n_nodes;
    Ranked nodes[HN_MAX_NODES];
    uint64_t next[HN_MAX_NODES];
    g_autofree Ranked *domains = g_new(Ranked, n_splits + 1);
    size_t n_relations = 0, at = 0;

    for (uint32_t s = 0; s < n_splits; s++)
        n_relations += (size_t)splits[s].n_clients * n_nodes;
    g_autofree uint64_t *relations = g_new(uint64_t, n_relations + 1);
    for (uint32_t s = 0; s < n_splits; s++)
        for (uint32_t c = 0; c < splits[s].n_clients; c++)
            for (uint32_t n = 0; n < n_nodes; n++)
                relations[at++] = join(relation(&splits[s], c, n), c);
    for (uint32_t n = 0; n < n_nodes; n++)
        nodes[n] = (Ranked){node_signature(&host->nodes[n], other_mcpu ? other_mcpu[n] : 0), n};
    for (uint32_t s = 0; s < n_splits; s++)
        domains[s] = (Ranked){split_signature(&splits[s]), s};

    for (uint32_t round = 0; round < N_REFINEMENTS; round++) {
        add_distances(host, nodes, next);
        at = 0;
        for (uint32_t s = 0; s < n_splits; s++) {
            uint64_t sum = 0;
            for (uint32_t c = 0; c < splits[s].n_clients; c++)
                for (uint32_t n = 0; n < n_nodes; n++) {
                    uint64_t how = relations[at++];
                    sum += mix(how ^ nodes[n].signature);
                    next[n] += mix(how + domains[s].signature);
                }
            domains[s].signature = join(domains[s].signature, sum);
        }
        for (uint32_t n = 0; n < n_nodes; n++)
            nodes[n].signature = mix(next[n]);
    }
    rank(nodes, n_nodes, node_index);
    rank(domains, n_splits, split_order);
}
