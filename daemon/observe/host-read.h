/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host: nodes, CPUs, distances (read once, and again when nodes or CPUs come or go), room and
 * load (read every round).
 */
#pragma once

#include "observe/root.h"

#include <homenode/host.h>

/* nodeN/meminfo ("Node 0 MemFree: 12 kB") or /proc/meminfo (without "Node 0"). */
typedef struct {
    uint64_t total_bytes;
    uint64_t free_bytes;
    uint64_t reclaimable_bytes; /* Inactive(file) + KReclaimable, or SReclaimable on kernels
                                   before 4.20 */
} HnMeminfo;
bool hn_meminfo_parse(const char *text, size_t len, HnMeminfo *ret_meminfo, GError **error);

/* /proc/zoneinfo: adds up the zones' high watermarks. ret_bytes: [host->n_nodes]. */
bool hn_zoneinfo_parse(const char *text, size_t len, const HnHost *host, uint64_t *ret_bytes,
                       GError **error);

/* nodeN/distance: one number per online node, ascending id; there must be n. */
bool hn_distance_parse(const char *text, size_t len, uint32_t n, uint8_t *ret_distances,
                       GError **error);

/* /proc/stat: busy time of each CPU since boot in USER_HZ ticks (everything but idle and iowait;
 * guests are within user). ret_ticks: [n_cpus]; CPUs that are offline keep what was there. */
bool hn_proc_stat_parse(const char *text, size_t len, uint32_t n_cpus, uint64_t *ret_ticks,
                        GError **error);

/* A CPU list that may also be "(null)" or empty (isolated, nohz_full). */
bool hn_cpu_list_parse(const char *text, size_t len, HnCpuset *ret_cpus, GError **error);

/* A file with one number. */
bool hn_number_parse(const char *text, size_t len, uint64_t *ret_value, GError **error);

/* Reads the whole host time and again. */
typedef struct HnHostReader HnHostReader;
HnHostReader *hn_host_reader_new(const HnRoot *root);
void hn_host_reader_free(HnHostReader *reader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnHostReader, hn_host_reader_free)

/* *ret_host: caller frees; other_load_mcpu is 0, the caller computes it from what follows.
 * *ret_busy_ns (NULL allowed): [n_nodes], caller frees, busy time of each node's CPUs since the
 * last call, all 0 on the first and whenever the topology changed. */
bool hn_host_reader_read(HnHostReader *reader, HnHost **ret_host, uint64_t **ret_busy_ns,
                         GError **error);
/* Counts how often nodes or CPUs changed: what is cached by node index is void when it moves. */
uint64_t hn_host_reader_generation(const HnHostReader *reader);
