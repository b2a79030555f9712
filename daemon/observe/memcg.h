/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine's control group: bytes per node in constant time, NUMA fault counters, pressure.
 *
 * Two traps (docs/evidence.md): the counters include what QEMU itself uses (heap, stacks, page cache of
 * disk images), and pages stay charged where they were first touched, so that a process moved into
 * the group later is not counted fully. The observer therefore uses them for *changes* since the
 * last probes.
 */
#pragma once

#include "observe/process.h"

#include <homenode/host.h>

/* memory.numa_stat: what can be guest RAM. */
typedef struct {
    uint64_t *anon_bytes;  /* [n_nodes]; on v1 memfd pages are in here too */
    uint64_t *shmem_bytes; /* [n_nodes] memfd and /dev/shm; v2 only, else 0 */
    uint64_t total_bytes;  /* Σ of both */
    uint64_t huge_bytes;   /* anon_thp + shmem_thp, v2 only */
} HnNumaStat;
void hn_numa_stat_init(HnNumaStat *stat, uint32_t n_nodes);
void hn_numa_stat_clear(HnNumaStat *stat);

/* v2: "anon N0=4096 N1=0" in bytes; v1: "anon=3 N0=3 N1=0" in pages, the hierarchical lines
 * preferred. `stat` has been made by hn_numa_stat_init(.., host->n_nodes) and is overwritten. Nodes
 * that the host does not list are skipped. Error: HN_MODEL_ERROR_SYNTAX, also if there is no line
 * "anon". */
bool hn_numa_stat_parse(const char *text, size_t len, bool is_v2, const HnHost *host,
                        HnNumaStat *stat, GError **error);
bool hn_numa_stat_read(const HnRoot *root, const HnCgroup *cgroup, const HnHost *host,
                       HnNumaStat *stat, GError **error);

/* numa_* of memory.stat, since the group was made. */
typedef struct {
    bool is_valid; /* kernels before 6.12 do not have them */
    uint64_t hint_faults;
    uint64_t pte_updates;
    uint64_t pages_migrated;
} HnNumaCounters;
bool hn_numa_counters_parse(const char *text, size_t len, HnNumaCounters *ret_counters,
                            GError **error);
bool hn_numa_counters_read(const HnRoot *root, const HnCgroup *cgroup, HnNumaCounters *ret_counters,
                           GError **error);

/* Pressure stall information, in hundredths of a percent of time. */
typedef struct {
    uint32_t some_avg10_bp, some_avg60_bp;
    uint32_t full_avg10_bp, full_avg60_bp;
    uint64_t some_total_us, full_total_us;
} HnStallInfo;
bool hn_stall_parse(const char *text, size_t len, HnStallInfo *ret_pressure, GError **error);
/* path: "proc/pressure/memory", or "<cgroup dir>/cpu.pressure". Error: G_FILE_ERROR_NOENT or
 * _OPNOTSUPP where the kernel has no PSI (psi=0), v1 groups have none. */
bool hn_stall_read(const HnRoot *root, const char *path, HnStallInfo *ret_pressure, GError **error);
