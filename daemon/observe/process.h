/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What /proc says of one process and its threads: identity, kinds of threads, times, where its
 * control group is. Parsers here are pure; the readers beside them open one file each.
 */
#pragma once

#include "observe/root.h"

#include <homenode/cpuset.h>

/* /proc/…/stat: what is used of it. */
typedef struct {
    char state;           /* field 3: 'R', 'S', 'Z' … */
    uint32_t n_threads;   /* field 20 */
    uint64_t start_ticks; /* field 22, since boot; with the id, an identity */
    uint64_t vsize_bytes; /* field 23: changes whenever something is mapped or unmapped */
    int32_t last_cpu;     /* field 39 */
} HnTaskStat;
bool hn_task_stat_parse(const char *text, size_t len, HnTaskStat *ret_stat, GError **error);

/* /proc/…/schedstat: nanoseconds on a CPU and waiting for one, since the thread began. */
bool hn_schedstat_parse(const char *text, size_t len, uint64_t *ret_exec_ns,
                        uint64_t *ret_run_delay_ns, GError **error);

/* /proc/…/status: what is used of it. */
typedef struct {
    HnCpuset cpus_allowed;
    HnCpuset mems_allowed; /* kernel node ids */
    uint64_t locked_bytes; /* VmLck: mlock, or VFIO type 1 */
    uint64_t pinned_bytes; /* VmPin: long-term pins accounted so (iommufd, RDMA) */
} HnTaskStatus;
bool hn_task_status_parse(const char *text, size_t len, HnTaskStatus *ret_status, GError **error);

/* What a thread of QEMU is, by its name (docs/evidence.md). */
typedef enum {
    HN_THREAD_VCPU,      /* "CPU 3/KVM", "CPU 3/TCG": one vCPU */
    HN_THREAD_ALL_VCPUS, /* "ALL CPUs/TCG": they take turns on one thread */
    HN_THREAD_IOTHREAD,  /* "IO iothread1" */
    HN_THREAD_VHOST,     /* "vhost-<pid>": works on the guest's rings and pages */
    HN_THREAD_EMULATOR,  /* everything else */
} HnThreadKind;
/* `name`: content of /proc/…/comm, newline allowed. *ret_id: the vCPU's or iothread's number (an
 * iothread named without one has 0), otherwise 0. */
HnThreadKind hn_thread_classify(const char *name, size_t len, uint32_t *ret_id);

/* Does this command line (/proc/PID/cmdline) belong to the domain? */
typedef enum {
    HN_CMDLINE_OTHER,   /* it names another domain, or is no QEMU */
    HN_CMDLINE_UNNAMED, /* it is a QEMU without -name and -uuid */
    HN_CMDLINE_MATCH,
} HnCmdlineMatch;
HnCmdlineMatch hn_cmdline_match(const char *text, size_t len, const char *name, const char *uuid);

/* The control group whose memory counters cover the whole machine. */
typedef struct {
    char *dir; /* below the root: "sys/fs/cgroup/machine.slice/machine-qemu….scope" */
    bool is_v2;
    bool is_machine; /* made for one machine (libvirt's layout); else it may hold other processes */
} HnCgroup;
void hn_cgroup_clear(HnCgroup *cgroup);
/* From /proc/PID/cgroup: the path of the v2 group and of v1's memory group (either may be NULL),
 * already cut back from the thread's own group to the machine's (docs/evidence.md). Caller frees. */
bool hn_cgroup_parse(const char *text, size_t len, char **ret_v2, char **ret_v1_memory,
                     bool *ret_is_machine, GError **error);
/* Finds it for process pid: v2 where its memory controller is on, else v1. Error: nothing found. */
bool hn_cgroup_find(const HnRoot *root, int64_t pid, HnCgroup *ret_cgroup, GError **error);

bool hn_task_stat_read(const HnRoot *root, const char *dir, HnTaskStat *ret_stat, GError **error);
bool hn_task_status_read(const HnRoot *root, const char *dir, HnTaskStatus *ret_status,
                         GError **error);

/* Ticks of /proc (field 22) as nanoseconds since boot. */
uint64_t hn_ticks_to_ns(uint64_t ticks);
