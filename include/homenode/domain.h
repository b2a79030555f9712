/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a round knows of one domain: what its admin asks for, its threads, its RAM, and the evidence of
 * who touches what. Raw counters, not conclusions: smoothing and judging happen in placement/, so that a
 * recorded snapshot can be replayed.
 *
 * Arrays "[n_nodes]" are indexed like HnHost.nodes. Counters are cumulative since the thread started;
 * placement/ handles restart and wrap.
 */
#pragma once

#include <homenode/cpuset.h>
#include <homenode/reason.h>

#define HN_UUID_LEN 36

typedef enum { HN_MODE_NONE, HN_MODE_OFF, HN_MODE_ADVISE, HN_MODE_AUTO } HnMode;
typedef enum { HN_MEMORY_FOLLOW, HN_MEMORY_KEEP } HnMemoryWish;

/* The urn:homenode:placement:1 element, decoded. */
typedef struct {
    HnMode mode; /* HN_MODE_NONE: no element */
    HnMemoryWish memory;
    bool has_nodeset;
    HnNodemask nodeset;       /* valid if has_nodeset */
    char *group;              /* NULL: none; domains of one group are drawn together */
    char *anti_group;         /* NULL: none; domains of one anti-group are kept apart */
    uint32_t max_mib_per_sec; /* 0: no cap of its own */
    uint32_t weight;          /* 1..1000, default 100: how much its stall counts against others' */
    char *invalid;            /* not NULL: the element is wrong, this sentence says how; leave it alone */
} HnWish;

typedef enum {
    HN_STATE_RUNNING,
    HN_STATE_PAUSED,
    HN_STATE_SHUTDOWN, /* going away */
} HnDomainState;

/* Jobs during which nothing of the domain may be moved. */
typedef enum { HN_JOB_NONE, HN_JOB_MIGRATION, HN_JOB_OTHER /* save, dump, snapshot, backup */ } HnJob;

/* The kernel's NUMA hinting statistics of one thread (docs/evidence.md): they decay and restart. */
typedef struct {
    bool is_valid;
    uint64_t scan_seq;
    int32_t preferred_node; /* index, HN_NODE_NONE */
    uint64_t *private_pages; /* [n_nodes] */
    uint64_t *shared_pages;  /* [n_nodes] */
} HnHintFaults;

/* What every round reads of each vCPU stands together, before the sets: they are a KiB each. */
typedef struct {
    uint32_t id; /* libvirt's and QEMU's vCPU number */
    int32_t tid;
    uint64_t start_ticks; /* /proc/…/stat field 22, tells a reused tid */
    uint64_t exec_ns;
    uint64_t run_delay_ns;
    int32_t guest_cell;   /* -1: the guest has no cells */
    int32_t last_cpu;
    bool is_admin_pinned; /* the admin restricts it: admin_cpus is a hard constraint */
    uint64_t *touches;    /* [n_nodes] sampled touches of pages that lay there, half-life 30 s; the kernel
                           * was asked about HN_TOUCH_PLACES of a domain's in a round, at most */
    HnHintFaults faults;
    HnCpuset affinity;    /* in force now */
    HnCpuset admin_cpus;
} HnVcpu;

typedef enum { HN_WORKER_EMULATOR, HN_WORKER_IOTHREAD, HN_WORKER_VHOST } HnWorkerKind;

typedef struct {
    HnWorkerKind kind;
    uint32_t id; /* iothread number; 0 for the others */
    int32_t tid; /* the emulator is one entry for all of its threads: tid of the main thread */
    uint64_t exec_ns;
    uint64_t run_delay_ns;
    int32_t last_cpu;
    HnCpuset affinity;
    bool is_admin_pinned;
    HnCpuset admin_cpus;
} HnWorker;

typedef enum { HN_BACKING_ANON, HN_BACKING_MEMFD, HN_BACKING_HUGETLB, HN_BACKING_FILE } HnBacking;

/* Why memory cannot move, or how it must be moved. */
typedef enum {
    HN_MOVABLE,           /* private pages: MPOL_MF_MOVE */
    HN_MOVABLE_SHARED,    /* mapped by several processes: needs MPOL_MF_MOVE_ALL */
    HN_IMMOVABLE_VFIO,    /* long-term pinned for DMA */
    HN_IMMOVABLE_PRIVATE, /* guest_memfd of confidential guests */
    HN_IMMOVABLE_HUGETLB, /* no room for its pages anywhere else */
} HnMovability;

/* A fixed slice of a region: the unit of evidence and of movement. */
typedef struct {
    int32_t node;           /* where most probes found it; HN_NODE_NONE: absent or not probed */
    uint16_t n_probes;
    uint16_t n_probes_on_node;
    uint32_t heat;          /* recent sampled touches, decayed; without any, permille of DAMON's looks */
    uint64_t touch_clients; /* bit i: vcpus[i] (or several: HnTouchSummary.vcpus_per_bit) touches it
                             * and passed the filter (docs/evidence.md); 0: not known */
} HnChunk;

typedef struct {
    uint64_t hva_start; /* in QEMU's address space */
    uint64_t length_bytes;
    uint64_t gpa_base;   /* guest-physical address of its start */
    uint64_t gpa_hole_start; /* ram below 4 GiB ends here … */
    uint64_t gpa_hole_end;   /* … and goes on here; both 0: contiguous */
    int32_t guest_cell;  /* -1: the guest has no cells */
    uint64_t page_bytes; /* of the backing: 4096, 2 MiB, 1 GiB */
    bool is_thp;         /* mostly transparent huge pages */
    HnBacking backing;
    HnMovability movability;
    bool is_ambiguous;   /* matched by order, not by name: cell may be wrong */
    uint64_t *resident_bytes; /* [n_nodes] */
    uint64_t chunk_bytes;     /* 0: no map yet */
    uint32_t n_chunks;
    HnChunk *chunks; /* [n_chunks] */
} HnRegion;

typedef enum { HN_SOURCE_NONE, HN_SOURCE_CGROUP, HN_SOURCE_PROBE, HN_SOURCE_NUMA_MAPS } HnSource;

typedef struct {
    uint32_t id;
    uint64_t memory_bytes;
    HnCpuset vcpus;
} HnGuestCell;

/* Touched pages of a domain whose node is asked for in a round: half the cost of a chunk map's 1,024 probes. */
#define HN_TOUCH_PLACES 512

/* Sampled page faults: what the touch matrix (HnChunk, HnVcpu.touches) stands on. */
typedef struct {
    bool is_on;              /* sampled in this round */
    char *impediment;        /* not NULL: wished, but not (or not for all vCPUs) to be had: a stable code */
    uint32_t vcpus_per_bit;  /* bit i of touch_clients: vcpus[i * n] to [i * n + n - 1]; 0 like 1 */
    uint32_t n_chunks_known; /* chunks with touchers */
    /* Since the domain was first sampled. */
    uint64_t n_touches;      /* of RAM */
    uint64_t n_writes;       /* of them */
    uint64_t n_elsewhere;    /* faults outside of RAM (MMIO, QEMU's own memory): left out */
    uint64_t n_lost;         /* not recorded for want of room */
    uint64_t age_ns;         /* since the last one; UINT64_MAX: none so far */
    /* How many independent samples HnVcpu.touches are worth: touches of one huge page are one. Half-life 30 s as
     * they; 0: not known (an older recording). */
    uint32_t n_independent;
} HnTouchSummary;

/* What DAMON told of a domain's RAM, where the configuration asks for it (docs/evidence.md). */
typedef struct {
    bool is_on;         /* it watches this domain in this round */
    bool is_used;       /* HnChunk.heat is from it: there were no touches */
    char *impediment;   /* not NULL: wished, but not to be had: a stable code */
    uint32_t n_ranges;  /* address ranges it told apart */
    uint64_t hot_bytes; /* of those that it found accessed */
    uint64_t age_ns;    /* since it was asked; UINT64_MAX: never */
} HnHeatSummary;

typedef struct {
    char uuid[HN_UUID_LEN + 1];
    char *name;
    bool is_bare_qemu; /* by QMP socket, not by libvirt */
    bool is_kvm;       /* false: TCG */
    int64_t pid;
    uint64_t start_ticks; /* of the process: with the pid, its identity */
    uint64_t started_ns;  /* host clock when first seen running; tells a booting domain */
    HnWish wish;
    HnDomainState state;
    HnJob job;

    uint64_t configured_bytes; /* what it may grow to */
    uint64_t current_bytes;    /* balloon target */

    uint32_t n_vcpus;
    HnVcpu *vcpus; /* [n_vcpus], ascending id */
    uint32_t n_workers;
    HnWorker *workers;
    uint32_t n_cells;
    HnGuestCell *cells;
    uint32_t n_regions;
    HnRegion *regions;

    /* Totals over the guest's RAM, from the cheapest source that was complete. */
    HnSource resident_source;
    uint64_t resident_age_ns;
    uint32_t resident_error_permille; /* half width of the 95 % interval; 0: exact */
    uint64_t *resident_bytes;         /* [n_nodes] */
    uint64_t *immovable_bytes;        /* [n_nodes], part of the above */

    bool is_numatune_admin;      /* the admin set a nodeset: a hard constraint */
    HnNodemask admin_nodeset;    /* valid if is_numatune_admin */
    bool is_fenced;              /* our own restrictive nodeset is in force */
    HnNodemask device_nodes;     /* nodes of passthrough devices; 0: none */

    uint64_t dirty_bytes_per_sec; /* write intensity, where measured */
    uint64_t dirty_age_ns;        /* UINT64_MAX: never measured */
    HnTouchSummary touches;
    HnHeatSummary heat;
    /* Where a counter knows them (resctrl MBM, PMU, a simulator); 0: not measured, placement/ assumes
     * HnPolicy.memory_bound_permille of the demand and a bandwidth in proportion. */
    uint32_t memory_bound_permille;   /* share of its CPU time spent waiting for memory */
    uint64_t bandwidth_bytes_per_sec; /* what it draws from memory controllers */
    char *unobservable;           /* not NULL: why this domain cannot be seen fully this round */
} HnDomain;

HnDomain *hn_domain_new(uint32_t n_nodes);
void hn_domain_free(HnDomain *domain);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnDomain, hn_domain_free)
/* Grow helpers: append zeroed elements whose [n_nodes] arrays are allocated; the pointer is valid until
 * the next append. */
HnVcpu *hn_domain_add_vcpu(HnDomain *domain, uint32_t n_nodes);
HnWorker *hn_domain_add_worker(HnDomain *domain);
HnRegion *hn_domain_add_region(HnDomain *domain, uint32_t n_nodes);
HnGuestCell *hn_domain_add_cell(HnDomain *domain);

void hn_wish_clear(HnWish *wish); /* frees strings, leaves HN_MODE_NONE, weight 100 */
const char *hn_mode_name(HnMode mode); /* "none" "off" "advise" "auto" */
