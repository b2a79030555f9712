/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who of a domain's clients has how much of the memory that is nobody's in particular. See
 * claims.h.
 */
#include "claims.h"

#define HUGE_BYTES (UINT64_C(2) << 20)

/* Nodes by bytes, most first; the canonical rank breaks ties. */
static void order_by_bytes(uint32_t n_nodes, const uint32_t *node_rank, const uint64_t *bytes,
                           uint32_t *order)
{
    for (uint32_t n = 0; n < n_nodes; n++) {
        uint32_t at = n;
        for (; at > 0; at--) {
            uint32_t prior = order[at - 1];
            if (bytes[prior] != bytes[n] ? bytes[prior] > bytes[n]
                                         : node_rank[prior] < node_rank[n])
                break;
            order[at] = prior;
        }
        order[at] = n;
    }
}

/* What each client may claim of `sum` bytes; the parts add up to it. */
static void claim(const HnSplit *split, uint64_t sum, uint64_t *ret_left)
{
    unsigned __int128 claims = 0;
    uint64_t given = 0;

    for (uint32_t c = 0; c < split->n_clients; c++)
        claims += split->clients[c].claim_bytes;
    for (uint32_t c = 0; c < split->n_clients; c++) {
        ret_left[c] =
            claims ? (uint64_t)((unsigned __int128)sum * split->clients[c].claim_bytes / claims)
                   : sum / split->n_clients;
        if (c + 1 == split->n_clients)
            ret_left[c] = sum - given;
        given += ret_left[c];
    }
}

/* Gives the bytes of one node to some clients in proportion to what each still claims, `only_home`
 * to those at home there. */
static void give_in_proportion(HnSplit *split, uint32_t node, bool only_home, bool is_loose,
                               uint64_t *bytes, uint64_t *left)
{
    uint64_t wanted = 0, given = 0, all = bytes[node];
    int32_t last = -1;

    for (uint32_t c = 0; c < split->n_clients; c++) {
        if (left[c] == 0 || (only_home && split->clients[c].home_now != (int32_t)node))
            continue;
        wanted += left[c];
        last = (int32_t)c;
    }
    all = MIN(all, wanted);
    for (int32_t c = 0; c <= last; c++) {
        if (left[c] == 0 || (only_home && split->clients[c].home_now != (int32_t)node))
            continue;
        uint64_t part = c == last ? MIN(all - given, left[c])
                                  : (uint64_t)((unsigned __int128)all * left[c] / wanted);
        (is_loose ? split->clients[c].movable_bytes : split->clients[c].immovable_bytes)[node] +=
            part;
        left[c] -= part;
        bytes[node] -= part;
        given += part;
    }
}

/* What lies at a client's home beyond its claim is not fetched from there if it is no more than the
 * probes' error and a page: it would be fetched to and fro. */
static void leave_crumbs(HnSplit *split, uint32_t n_nodes, uint64_t *bytes)
{
    uint64_t resident = 0, crumbs = MAX(split->huge_page_bytes, HUGE_BYTES);

    for (uint32_t n = 0; n < n_nodes; n++)
        resident += split->domain->resident_bytes[n];
    crumbs += resident / 1000 * split->domain->resident_error_permille;
    for (uint32_t c = 0; c < split->n_clients; c++) {
        int32_t home = split->clients[c].home_now;
        if (home == HN_NODE_NONE || bytes[home] > crumbs)
            continue;
        split->clients[c].movable_bytes[home] += bytes[home];
        bytes[home] = 0;
    }
}

void hn_claims_divide(HnSplit *split, const HnHost *host, const uint32_t *node_rank,
                      uint64_t *bytes, bool is_loose)
{
    uint64_t left[HN_MAX_CLIENTS], sum = 0;
    uint32_t order[HN_MAX_NODES];
    bool has_homeless = false;

    if (split->n_clients == 1) {
        for (uint32_t n = 0; n < host->n_nodes; n++)
            (is_loose ? split->clients[0].movable_bytes : split->clients[0].immovable_bytes)[n] +=
                bytes[n];
        return;
    }
    for (uint32_t n = 0; n < host->n_nodes; n++)
        sum += bytes[n];
    for (uint32_t c = 0; c < split->n_clients; c++)
        has_homeless |= split->clients[c].home_now == HN_NODE_NONE;
    claim(split, sum, left);
    order_by_bytes(host->n_nodes, node_rank, bytes, order);
    for (uint32_t i = 0; i < host->n_nodes; i++)
        give_in_proportion(split, order[i], is_loose, is_loose, bytes, left);
    if (is_loose)
        leave_crumbs(split, host->n_nodes, bytes);
    order_by_bytes(host->n_nodes, node_rank, bytes, order);
    for (uint32_t i = 0, c = 0; i < host->n_nodes; i++) {
        if (!has_homeless)
            give_in_proportion(split, order[i], false, is_loose, bytes, left);
        for (; c < split->n_clients && bytes[order[i]] > 0; c += left[c] == 0) {
            uint64_t part = MIN(left[c], bytes[order[i]]);
            (is_loose ? split->clients[c].movable_bytes
                      : split->clients[c].immovable_bytes)[order[i]] += part;
            bytes[order[i]] -= part;
            left[c] -= part;
        }
    }
}
