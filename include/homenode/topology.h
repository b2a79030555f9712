/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clang-format off */
/*
 * Synthetic hosts and fleets on one line, for tests, scenarios and what-ifs.
 *
 * A host is words separated by blanks, in any order, each at most once:
 *
 *   4n               nodes (1 to 64)
 *   16c              CPUs (hardware threads) of the whole host, evenly over the nodes
 *   smt2             threads per core (1, 2, 4, 8; default 1)
 *   64G              memory of the whole host, evenly over the nodes (suffix M, G or T: powers of 1024)
 *   cpus=8,4,0       CPUs per node instead; with a total, they must add up to it
 *   mem=12G,6G,0     memory per node instead; with a total, they must add up to it
 *   free=4G,5G,0     free memory per node (default: all of it)
 *   ids=0,1,8        the kernel's node ids (default 0, 1, 2, …)
 *   dist=10,21,31    distance to oneself, to the next node, to the one after it, …: nodes stand in a line,
 *                    the last value holds for all farther ones (default 10,20)
 *   dist=10,21/17,10 or the whole matrix, rows separated by '/', row = from
 *   isolated=0-1,8   CPUs that are never used
 *   bw=40,40         memory bandwidth per node in GiB/s (default: unknown)
 *   huge2M=512,0     free hugepages of 2 MiB per node; huge1G likewise
 *
 * A fleet is groups of guests separated by ';', each of words:
 *
 *   8x               that many guests alike (default 1)
 *   4v               vCPUs each
 *   8G               memory each
 *   load=3.5         CPUs' worth of demand each (default: all vCPUs busy)
 *   on=2             memory on the node with that index (default: over all nodes with memory)
 *   home=2           vCPUs pinned to the node with that index (default: unpinned)
 *   mode=auto        none, off, advise or auto (default auto)
 *   weight=100       1 to 1000
 *   group=NAME  anti=NAME
 *   keep             memory='keep'
 *   stuck            memory that cannot move
 *
 * Errors: HN_MODEL_ERROR, naming the word and what is allowed.
 */
/* clang-format on */
#pragma once

#include <homenode/snapshot.h>

HnHost *hn_topology_parse_host(const char *text, size_t len, GError **error);

/* One group of a fleet. */
typedef struct {
    uint32_t count;
    uint32_t n_vcpus;
    uint64_t memory_bytes;
    uint64_t load_mcpu;
    int32_t memory_node; /* index; HN_NODE_NONE: over all */
    int32_t home_node;   /* index; HN_NODE_NONE: unpinned */
    HnMode mode;
    uint32_t weight;
    char *group, *anti_group; /* NULL: none */
    bool is_kept, is_stuck;
} HnFleetGroup;

/* The groups (HnFleetGroup; free with g_array_unref(), which releases the names). */
GArray *hn_topology_parse_fleet(const char *text, size_t len, GError **error);

/* A snapshot of that fleet on a copy of the host at `now_ns`: guests named g0, g1, … that have run for an
 * hour, with zero counters. Fails if memory does not fit or a node index is not the host's. */
HnSnapshot *hn_topology_populate(const HnHost *host, const GArray *fleet, uint64_t now_ns, GError **error);
/* Lets time pass for such a snapshot: counters grow by each guest's load, evenly over its vCPUs. */
void hn_topology_advance(HnSnapshot *snapshot, const GArray *fleet, uint64_t elapsed_ns);
