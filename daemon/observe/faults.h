/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * NUMA hinting faults: the kernel's own count of which nodes each vCPU thread touches
 * (docs/evidence.md), and why there may be none.
 *
 * The counts are in 4 KiB pages, decay by half and restart when mm->numa_scan_seq advances, and
 * name the node on which the page is *after* the fault. Only shares mean something, and only while
 * the sequence moves. Judging that is placement's; here they are read as they are.
 */
#pragma once

#include "backend/backend.h"
#include "observe/memcg.h"

/* What /proc/PID/task/TID/sched says of NUMA. */
typedef struct {
    bool is_valid; /* the kernel has the lines at all (CONFIG_NUMA_BALANCING) */
    uint64_t scan_seq;
    uint64_t pages_migrated; /* the only one that never falls */
    int32_t preferred_node;  /* index, HN_NODE_NONE */
    uint64_t total_faults;
    int64_t group_id;
    uint64_t *task_private; /* [n_nodes] pages */
    uint64_t *task_shared;
    uint64_t *group_private;
    uint64_t *group_shared;
} HnSchedNuma;
void hn_sched_numa_init(HnSchedNuma *numa, uint32_t n_nodes);
void hn_sched_numa_clear(HnSchedNuma *numa);
/* Overwrites `numa` (made for host->n_nodes). Nodes that the host does not list are skipped. */
bool hn_sched_numa_parse(const char *text, size_t len, const HnHost *host, HnSchedNuma *numa,
                         GError **error);
/* What placement uses of it: faults' arrays are [host->n_nodes]. */
void hn_hint_faults_from(const HnSchedNuma *numa, uint32_t n_nodes, HnHintFaults *faults);

/* kernel.numa_balancing: 0 off, bit 0 balancing, bit 1 tiering. False if the kernel has no such
 * thing. */
bool hn_numa_balancing_read(const HnRoot *root, uint64_t *ret_mode);

/* What decides whether faults can say anything of a domain. */
typedef struct {
    uint32_t n_memory_nodes; /* of the host */
    bool has_sched_numa;     /* HnSchedNuma.is_valid of its threads */
    bool has_balancing;      /* hn_numa_balancing_read() succeeded … */
    uint64_t balancing_mode; /* … and said this */
    HnNumatuneMode numatune_mode;
    uint32_t n_allowed_nodes; /* the threads may allocate on (Mems_allowed) */
    bool is_hugetlb;          /* all of its RAM */
    bool is_shmem;            /* all of its RAM is memfd or a file */
    uint64_t scan_seq;        /* highest of its threads */
    uint64_t total_faults;    /* Σ of its threads, pages of 4 KiB */
    uint64_t resident_bytes;  /* of its RAM */
} HnFaultConditions;

/* A stable code, or NULL if nothing stands against faults:
 * - "one-node-host": a host with one node has nothing to tell apart
 * - "no-kernel-support": CONFIG_NUMA_BALANCING is off
 * - "balancing-off": kernel.numa_balancing is 0, or tiering only
 * - "hugetlb": huge page pools are never scanned
 * - "bound-policy": numatune strict, preferred or interleave binds the mapping: never scanned
 * - "one-node-nodeset": the domain may use one node only: not scanned from 6.16 on, never migrated
 *   before
 * - "not-scanned-yet": the kernel has not begun: wait
 * - "shared-memory": memfd or file: not scanned before 7.2 (told by behaviour: scans pass, and what
 *   faults there are cover less than a quarter of the RAM: they are those of QEMU's own heap)
 */
const char *hn_faults_impediment(const HnFaultConditions *conditions);
/* Would hinting faults come if kernel.numa_balancing were on? `impediment` as above, may be NULL. */
bool hn_faults_can_be_switched_on(const char *impediment);
/* One English sentence for a code: what it means and what would help. */
const char *hn_faults_impediment_sentence(const char *code);
