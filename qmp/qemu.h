/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The QEMU commands homenode uses, as builders of arguments and decoders of replies.
 *
 * Both are pure. A builder's result goes to hn_qmp_client_call() (which takes it) with the
 * command's name below; commands without a builder take no arguments. A decoder gets the reply's
 * value (borrowed; what HnQmpReplyFunc is given) and writes its result only on success; a failure
 * is HN_QMP_ERROR_REPLY and names command and field. Fields unknown here are passed over: QEMU adds
 * some with every release. Arrays are GArray of the named struct; g_array_unref() frees them with
 * all they own. Tested on conversations recorded from QEMU 7.2, 10.0 and 11.1; shapes after QEMU's
 * qapi/ (machine.json, migration.json, stats.json, run-state.json).
 *
 * Must not: send anything, or know what the answers are good for.
 */
#pragma once

#include <json-c/json.h>
#include <sys/types.h>
#include "qmp/error.h"

#define HN_QEMU_QUERY_STATUS "query-status"
#define HN_QEMU_QUERY_NAME "query-name"
#define HN_QEMU_QUERY_UUID "query-uuid"
#define HN_QEMU_QUERY_KVM "query-kvm"
#define HN_QEMU_QUERY_CPUS_FAST "query-cpus-fast"
#define HN_QEMU_QUERY_HOTPLUGGABLE_CPUS "query-hotpluggable-cpus"
#define HN_QEMU_QUERY_MEMDEV "query-memdev"
#define HN_QEMU_QUERY_MEMORY_DEVICES "query-memory-devices"
#define HN_QEMU_CALC_DIRTY_RATE "calc-dirty-rate"
#define HN_QEMU_QUERY_DIRTY_RATE "query-dirty-rate"
#define HN_QEMU_QUERY_MIGRATE "query-migrate"
#define HN_QEMU_QUERY_STATS "query-stats"
#define HN_QEMU_HUMAN_MONITOR_COMMAND "human-monitor-command"

/* ---- query-status, query-name, query-uuid, query-kvm ---- */

typedef struct {
    char status[24]; /* QEMU's RunState: "running", "paused", "inmigrate", "postmigrate", … */
    gboolean is_running;
} HnQemuStatus;

gboolean hn_qemu_status_decode(json_object *value, HnQemuStatus *ret_status, GError **error);
/* ret_name: of "-name guest=…", owned by the caller; NULL if the guest has none. */
gboolean hn_qemu_name_decode(json_object *value, char **ret_name, GError **error);
/* ret_uuid: lower case, owned by the caller; NULL if it is all zeros, which is QEMU's "none". */
gboolean hn_qemu_uuid_decode(json_object *value, char **ret_uuid, GError **error);
/* Whether the guest runs on KVM. */
gboolean hn_qemu_kvm_decode(json_object *value, gboolean *ret_is_enabled, GError **error);

/* ---- query-cpus-fast, query-hotpluggable-cpus ---- */

typedef struct {
    guint cpu_index;
    pid_t thread_id;
    gint node_id; /* guest NUMA cell; -1 if the guest has none */
    char *qom_path;
} HnQemuCpu;

/* ret_cpus: HnQemuCpu, in the order of cpu_index. */
gboolean hn_qemu_cpus_decode(json_object *value, GArray **ret_cpus, GError **error);

typedef struct {
    guint vcpus_count; /* vCPUs that come with one such object */
    gint node_id;      /* -1 if none */
    gint socket_id;    /* the four ids: -1 if not given */
    gint die_id;
    gint core_id;
    gint thread_id;
    char *type;     /* for device_add */
    char *qom_path; /* NULL: not plugged */
} HnQemuHotpluggableCpu;

/* ret_cpus: HnQemuHotpluggableCpu, in QEMU's order. */
gboolean hn_qemu_hotpluggable_cpus_decode(json_object *value, GArray **ret_cpus, GError **error);

/* ---- query-memdev, query-memory-devices ---- */

typedef struct {
    char *id; /* NULL for a backend without id */
    guint64 size_bytes;
    gboolean is_shared;
    gboolean is_prealloc;
    char policy[16];    /* "default", "preferred", "bind", "interleave" */
    GArray *host_nodes; /* guint, as QEMU lists them */
} HnQemuMemdev;

/* ret_memdevs: HnQemuMemdev. */
gboolean hn_qemu_memdevs_decode(json_object *value, GArray **ret_memdevs, GError **error);

typedef enum {
    HN_QEMU_MEMORY_DIMM,
    HN_QEMU_MEMORY_NVDIMM,
    HN_QEMU_MEMORY_VIRTIO_PMEM,
    HN_QEMU_MEMORY_VIRTIO_MEM,
    HN_QEMU_MEMORY_OTHER, /* a kind of later QEMUs, or one without plain RAM */
} HnQemuMemoryKind;

typedef struct {
    HnQemuMemoryKind kind;
    char *id;               /* the device's; NULL if it has none */
    char *memdev;           /* id of its backend, as query-memdev gives it; NULL for OTHER */
    guint64 address;        /* guest-physical */
    guint64 size_bytes;     /* plugged now */
    guint64 max_size_bytes; /* the region's; differs from size_bytes for virtio-mem only */
    guint64 requested_size_bytes;
    gint node_id; /* guest NUMA cell; -1 if not given */
} HnQemuMemoryDevice;

/* ret_devices: HnQemuMemoryDevice. */
gboolean hn_qemu_memory_devices_decode(json_object *value, GArray **ret_devices, GError **error);

/* ---- calc-dirty-rate, query-dirty-rate ---- */

typedef enum {
    HN_QEMU_DIRTY_PAGE_SAMPLING,
    HN_QEMU_DIRTY_BITMAP, /* KVM only */
    HN_QEMU_DIRTY_RING,   /* KVM only, and only where the guest was started with a ring */
} HnQemuDirtyMode;

/*
 * Two ways to kill a guest of QEMU 7.2, both seen while recording:
 *  - a mode other than page sampling on a TCG guest crashes it: ask hn_qemu_kvm_decode() first;
 *  - a second calc-dirty-rate within milliseconds of the first is not refused but starts a second
 *    thread, and QEMU crashes: send one only when query-dirty-rate says "unstarted" or "measured",
 * and none within a second of the last. calc_time_s: 1 to 60, what all versions take. sample_pages:
 * pages hashed per GiB, 128 to 16384, or 0 for QEMU's default; only with page sampling.
 */
json_object *hn_qemu_calc_dirty_rate_build(guint calc_time_s, HnQemuDirtyMode mode,
                                           guint sample_pages);

typedef enum {
    HN_QEMU_DIRTY_UNSTARTED,
    HN_QEMU_DIRTY_MEASURING,
    HN_QEMU_DIRTY_MEASURED,
} HnQemuDirtyStatus;

typedef struct {
    guint vcpu;
    guint64 rate_mib_per_s;
} HnQemuVcpuDirtyRate;

typedef struct {
    HnQemuDirtyStatus status;
    gboolean has_rate; /* MEASURED, and QEMU succeeded */
    guint64 rate_mib_per_s;
    HnQemuDirtyMode mode;
    guint64 calc_time_ms;
    GArray *vcpus; /* HnQemuVcpuDirtyRate; empty but with the ring */
} HnQemuDirtyRate;

gboolean hn_qemu_dirty_rate_decode(json_object *value, HnQemuDirtyRate *ret_rate, GError **error);
void hn_qemu_dirty_rate_clear(HnQemuDirtyRate *rate);

/* ---- query-migrate ---- */

typedef struct {
    char status[24];        /* QEMU's MigrationStatus; "none" if there never was a migration */
    gboolean is_active;     /* from setup until it completed, failed or was cancelled */
    gint64 ram_total_bytes; /* -1 if not given */
    gint64 ram_remaining_bytes;
} HnQemuMigration;

gboolean hn_qemu_migration_decode(json_object *value, HnQemuMigration *ret_migration,
                                  GError **error);

/* ---- query-stats ---- */

typedef enum { HN_QEMU_STATS_VM, HN_QEMU_STATS_VCPU } HnQemuStatsTarget;

/* KVM's statistics. names: NULL-terminated, the ones wanted; NULL: all. */
json_object *hn_qemu_stats_build(HnQemuStatsTarget target, const char *const *names);

typedef struct {
    char *name;
    guint64 value; /* a boolean is 0 or 1 */
} HnQemuStat;

typedef struct {
    char *provider; /* "kvm", "cryptodev" */
    char *qom_path; /* of the vCPU; NULL for the VM */
    GArray *stats;  /* HnQemuStat; histograms are left out */
} HnQemuStats;

/* ret_stats: HnQemuStats; empty under TCG. */
gboolean hn_qemu_stats_decode(json_object *value, GArray **ret_stats, GError **error);

/* ---- human-monitor-command: optional verification of where guest RAM lies ---- */

json_object *hn_qemu_info_ramblock_build(void);

typedef struct {
    char *name; /* "ram-node0", "pc.ram", "/rom@etc/acpi/tables" */
    guint64 page_size_bytes;
    guint64 offset;
    guint64 used_bytes;
    guint64 total_bytes;
    guint64 host_address; /* 0 if this QEMU does not say (before 8.1) */
} HnQemuRamBlock;

/* ret_blocks: HnQemuRamBlock. value: the reply, a string of lines. */
gboolean hn_qemu_ramblocks_decode(json_object *value, GArray **ret_blocks, GError **error);

json_object *hn_qemu_gpa2hva_build(guint64 guest_address);

typedef struct {
    gboolean is_ram; /* FALSE: nothing, or no RAM, at this address; the rest is empty */
    guint64 host_address;
    char *block; /* owner of the memory, as "info ramblock" names it */
} HnQemuGpa2Hva;

gboolean hn_qemu_gpa2hva_decode(json_object *value, HnQemuGpa2Hva *ret_answer, GError **error);
void hn_qemu_gpa2hva_clear(HnQemuGpa2Hva *answer);
