/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The contract between the agent and whatever runs guests: libvirt, bare QEMU over QMP, or a fake.
 *
 * A back end tells which domains exist and what their configuration says (HnDomainInfo: facts, no
 * judgement), carries out pins and nodesets in the way that keeps its own tools truthful, and
 * reports that something changed. It knows no policy and reads no /proc beyond finding the process.
 *
 * Threads: every operation may block (libvirt waits up to 30 s for a busy domain) and may be called
 * from any thread; none is called from the main loop's thread except watch() and is_connected().
 * The change callback runs in the default main context.
 *
 * Errors: HN_BACKEND_ERROR. A domain that is gone is HN_BACKEND_ERROR_GONE, one that is busy
 * HN_BACKEND_ERROR_BUSY: ordinary conditions that the caller turns into reasons.
 */
#pragma once

#include <homenode/cpuset.h>
#include <homenode/domain.h>

#define HN_BACKEND_ERROR (hn_backend_error_quark())
typedef enum {
    HN_BACKEND_ERROR_GONE,         /* no such domain (any more) */
    HN_BACKEND_ERROR_BUSY,         /* another job holds it; try later */
    HN_BACKEND_ERROR_DISCONNECTED, /* the hypervisor's daemon does not answer */
    HN_BACKEND_ERROR_DENIED,       /* missing privilege or ACL */
    HN_BACKEND_ERROR_UNSUPPORTED,  /* not possible on this back end or domain */
    HN_BACKEND_ERROR_FAILED,       /* anything else, message untouched */
} HnBackendError;
GQuark hn_backend_error_quark(void);

typedef enum {
    HN_NUMATUNE_NONE,
    HN_NUMATUNE_STRICT,
    HN_NUMATUNE_PREFERRED,
    HN_NUMATUNE_INTERLEAVE,
    HN_NUMATUNE_RESTRICTIVE
} HnNumatuneMode;

typedef struct {
    uint32_t id;
    int32_t guest_cell; /* -1 */
    bool has_pin;       /* a pin is set on it now, ours or the admin's */
    HnCpuset pin;       /* valid if has_pin */
} HnVcpuInfo;

typedef struct {
    uint32_t id;
    bool has_pin;
    HnCpuset pin;
} HnIothreadInfo;

/* A piece of guest RAM as configured. */
typedef struct {
    char *object_id;    /* "ram-node0", "pc.ram", "memdimm0": QEMU's memory backend */
    int32_t guest_cell; /* -1 */
    uint64_t length_bytes;
    uint64_t gpa_base; /* hot-plugged memory: its address; UINT64_MAX: boot memory, in order */
    bool is_virtio_mem;
} HnMemoryInfo;

typedef struct {
    char uuid[HN_UUID_LEN + 1];
    char *name;
    bool is_bare_qemu;
    char *monitor; /* path of the QMP socket it is managed through; NULL: libvirt manages it */
    bool is_kvm;
    int64_t pid; /* verified: the process' command line names this domain; 0 unknown */
    HnDomainState state;
    HnJob job;
    char *machine_type;  /* "pc-q35-10.0": decides where the hole below 4 GiB begins; may be NULL */
    char *placement_xml; /* the opt-in element's text, NULL: none */
    uint64_t configured_bytes;
    uint64_t current_bytes;
    GArray *vcpus;           /* HnVcpuInfo, online ones */
    GArray *iothreads;       /* HnIothreadInfo */
    GArray *cells;           /* HnGuestCell */
    GPtrArray *memory;       /* HnMemoryInfo *, in creation order */
    bool has_default_cpuset; /* <vcpu cpuset='…'> */
    HnCpuset default_cpuset;
    bool has_emulator_pin;
    HnCpuset emulator_pin;
    HnNumatuneMode numatune_mode;
    HnCpuset numatune_nodes; /* kernel node ids */
    bool is_shared_memory;   /* memfd or file, share='yes' */
    bool is_locked;          /* <locked/>: movable all the same */
    bool has_launch_security;
    bool has_dirty_ring;     /* KVM dirty ring configured: rates per vCPU possible, bitmap is not */
    uint64_t hugepage_bytes; /* 0: none; HN_HUGEPAGE_HOST_DEFAULT: on, size not named */
    bool has_passthrough; /* some device pins guest RAM for DMA (VFIO, vDPA, mdev, user-space NVMe)
                           */
    GPtrArray *host_devices; /* char * PCI addresses "0000:3b:00.0" of passthrough devices */
    char *unobservable; /* not NULL: why its configuration could not be read; then only uuid, name,
                         * state and job are valid */
} HnDomainInfo;

#define HN_HUGEPAGE_HOST_DEFAULT UINT64_MAX

/* Empty, with all arrays allocated. */
HnDomainInfo *hn_domain_info_new(void);
HnDomainInfo *hn_domain_info_copy(const HnDomainInfo *info); /* deep */
void hn_domain_info_free(HnDomainInfo *info);                /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnDomainInfo, hn_domain_info_free)
void hn_memory_info_free(HnMemoryInfo *memory);

/* Changes are hints, not history: several may stand for one event, and each says "look again". */
typedef enum {
    HN_CHANGE_CONNECTED,    /* (re)connected: enumerate */
    HN_CHANGE_DISCONNECTED, /* connection lost, or the first attempt failed; `value` says why */
    HN_CHANGE_STARTED,
    HN_CHANGE_STOPPED,
    HN_CHANGE_STATE,    /* suspended, resumed, job began or ended */
    HN_CHANGE_METADATA, /* of the placement namespace */
    HN_CHANGE_TUNABLE,  /* pins; `key` and `value` tell which (ours or the admin's) */
    HN_CHANGE_MEMORY,   /* device added, removed, resized */
    HN_CHANGE_REMARK,   /* nothing changed, but `value` is a sentence for the log: each is told once */
} HnChangeKind;

typedef struct {
    HnChangeKind kind;
    char uuid[HN_UUID_LEN + 1]; /* "" for (dis)connected */
    const char *key;            /* "cputune.vcpupin0"; NULL if not TUNABLE */
    const char *value;          /* "0-1"; DISCONNECTED, REMARK: a sentence; NULL otherwise */
} HnChange;

typedef void (*HnChangeFunc)(const HnChange *change, void *user_data);

typedef struct {
    double calc_seconds;
    bool is_measured;
    uint64_t bytes_per_sec;
    GArray
        *vcpu_bytes_per_sec; /* uint64_t per vCPU, NULL unless by dirty ring; owned by the caller */
} HnDirtyRate;

typedef enum { HN_DIRTY_PAGE_SAMPLING, HN_DIRTY_BITMAP, HN_DIRTY_RING } HnDirtyMode;

typedef struct HnBackend HnBackend;

typedef struct {
    const char *name; /* "libvirt", "qmp", "fake" */
    void (*free)(HnBackend *backend);
    /* Begin to connect and to report changes; reconnects by itself with back-off. Main thread. */
    void (*watch)(HnBackend *backend, HnChangeFunc func, void *user_data);
    bool (*is_connected)(HnBackend *backend);
    /* Version of the hypervisor's daemon as libvirt counts (major * 1000000 + minor * 1000 + release),
     * 0 if it cannot be had. NULL where there is no such daemon. */
    uint64_t (*version)(HnBackend *backend);
    /* All active domains; *ret_infos: HnDomainInfo *, owned, ascending uuid. */
    bool (*list)(HnBackend *backend, GPtrArray **ret_infos, GError **error);
    bool (*get)(HnBackend *backend, const char *uuid, HnDomainInfo **ret_info, GError **error);
    /* Live only, never persistent. */
    bool (*pin_vcpu)(HnBackend *backend, const char *uuid, uint32_t vcpu, const HnCpuset *cpus,
                     GError **error);
    bool (*pin_emulator)(HnBackend *backend, const char *uuid, const HnCpuset *cpus,
                         GError **error);
    bool (*pin_iothread)(HnBackend *backend, const char *uuid, uint32_t iothread,
                         const HnCpuset *cpus, GError **error);
    /* Restrictive mode and nodeset (kernel ids) in one call: without its mode libvirt would record
     * "strict". */
    bool (*set_nodeset)(HnBackend *backend, const char *uuid, const HnCpuset *node_ids,
                        GError **error);
    /* The statistics element's text (root element "stats", no prefix), NULL removes it. Live only.
     */
    bool (*set_stats)(HnBackend *backend, const char *uuid, const char *xml, GError **error);
    /* The opt-in element, as `homenode enable` writes it; NULL removes it. Written to the running
     * domain if it runs, and to its stored configuration too if is_persistent and it has one. */
    bool (*set_placement)(HnBackend *backend, const char *uuid, const char *xml, bool is_persistent,
                          GError **error);
    /* seconds 1..60. Refused (UNSUPPORTED) where it could end the guest: the bitmap under TCG, the
     * ring unless the domain has one and the administrator allows it. */
    bool (*start_dirty_rate)(HnBackend *backend, const char *uuid, HnDirtyMode mode,
                             uint32_t seconds, GError **error);
    bool (*get_dirty_rate)(HnBackend *backend, const char *uuid, HnDirtyRate *ret_rate,
                           GError **error);
    /* NULL where monitors cannot be attached. Manages the guest behind a QMP socket (absolute path),
     * and remembers it for the next start; *ret_uuid is its. Waits for its first answer. */
    bool (*attach)(HnBackend *backend, const char *socket, char ret_uuid[HN_UUID_LEN + 1],
                   GError **error);
    /* Lets go of it (its pins stay as they are: restore them first), also if the socket lies in the
     * watched directory. NULL where attach is. */
    bool (*detach)(HnBackend *backend, const char *socket, GError **error);
} HnBackendOps;

struct HnBackend {
    const HnBackendOps *ops;
};

/* NULL is fine. No callback runs after it returns; operations must have ended. Main thread. */
void hn_backend_free(HnBackend *backend);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnBackend, hn_backend_free)
