/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a round knows of the host: nodes, CPUs, distances, room.
 *
 * Nodes are addressed by index (dense, in order of ascending kernel id) everywhere; the kernel's id is
 * only in HnNode.id, for the edge. All of it is observed afresh each round; nothing points outside.
 */
#pragma once

#include <homenode/cpuset.h>

#define HN_MAX_HUGE_POOLS 4

typedef struct {
    uint64_t page_bytes;
    uint64_t total_pages;
    uint64_t free_pages;
} HnHugePool;

typedef struct {
    int32_t id;     /* the kernel's node id; sparse ids are ordinary */
    HnCpuset cpus;  /* online CPUs of this node, isolated ones left out */
    uint32_t n_cpus;  /* count of `cpus`; 0: memory-only node, never a home */
    uint32_t n_cores; /* distinct cores among them; n_cpus/n_cores = SMT width */
    uint64_t mem_total_bytes; /* 0: CPU-only node */
    uint64_t mem_free_bytes;
    uint64_t mem_reclaimable_bytes; /* inactive file pages and reclaimable slab */
    uint64_t mem_watermark_bytes;   /* sum of the zones' high watermarks: never allocate below */
    uint64_t bandwidth_bytes_per_sec; /* from HMAT or configuration; 0: unknown */
    uint64_t other_load_mcpu; /* CPU use by tasks that are not vCPUs or workers of the snapshot's domains */
    uint32_t n_huge_pools;
    HnHugePool huge_pools[HN_MAX_HUGE_POOLS];
} HnNode;

typedef struct {
    uint32_t n_nodes;  /* 1..HN_MAX_NODES */
    HnNode *nodes;     /* [n_nodes] */
    uint8_t *distance; /* [n_nodes * n_nodes], row = from; 10 = local, may be asymmetric (SLIT) */
    HnCpuset isolated; /* isolcpus/nohz_full: never used */
    uint64_t page_bytes; /* base page size, 4096 on x86-64 */
} HnHost;

HnHost *hn_host_new(uint32_t n_nodes); /* all zero, distances 10 on the diagonal, 20 elsewhere */
HnHost *hn_host_copy(const HnHost *host);
void hn_host_free(HnHost *host);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnHost, hn_host_free)

uint8_t hn_host_distance(const HnHost *host, uint32_t from, uint32_t to);
/* Index of the node that holds `cpu`, HN_NODE_NONE if none does (isolated, offline). */
int32_t hn_host_node_of_cpu(const HnHost *host, uint32_t cpu);
/* Index of the node with the kernel's id `node_id`, HN_NODE_NONE if there is none. */
int32_t hn_host_index_of_id(const HnHost *host, int32_t node_id);
/* Nodes that can be a home: with CPUs and with memory. */
HnNodemask hn_host_home_nodes(const HnHost *host);
/* Bytes per second that all movers together may copy where nobody says otherwise: moves into different
 * nodes use different memory controllers, so it is half a GiB for each node with memory; at least 1 GiB,
 * the cap of a single destination, and at most 4, because all of it may come out of one node, whose
 * controller has a guest or two to serve (9.4 GiB/s in the slowest published figures we know). */
uint64_t hn_host_auto_move_bytes_per_sec(const HnHost *host);
/* All CPUs of the nodes in `nodes`. */
void hn_host_cpus_of(const HnHost *host, HnNodemask nodes, HnCpuset *ret_cpus);
/* The kernel's ids of the nodes in `nodes`, in its list format: "0", "0-1,3"; "" for none. Caller frees. */
char *hn_host_format_nodes(const HnHost *host, HnNodemask nodes);
/* Checks the sense of it (1..64 nodes, diagonal 10, distances 10..254, some CPU, some memory …). */
bool hn_host_validate(const HnHost *host, GError **error);
