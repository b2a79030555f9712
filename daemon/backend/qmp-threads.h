/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads of a QEMU process and where they may run: without libvirt, a thread's affinity is its
 * pin.
 *
 * A thread "has a pin" when it may not run on every online CPU. That needs no memory of ours, so it
 * means the same after a restart; whose pin it is the journal knows.
 *
 * Threads may come and go at any moment: one that ended is no error. Only threads that /proc lists
 * below the process are ever touched, whatever number a monitor gave.
 */
#pragma once

#include "backend.h"
#include "observe/root.h"

/* sched_setaffinity(2) and back; -1 with errno. Injected by tests. */
typedef struct {
    int (*get)(void *user_data, int32_t tid, HnCpuset *ret_cpus);
    int (*set)(void *user_data, int32_t tid, const HnCpuset *cpus);
    void *user_data;
} HnQmpAffinity;

extern const HnQmpAffinity hn_qmp_affinity_kernel;

typedef struct {
    const HnRoot *root;
    const HnQmpAffinity *affinity;
    int64_t pid;
    const GArray *vcpu_tids; /* int32_t, beside info->vcpus */
} HnQmpThreads;

/* Fills pins of vCPUs, of iothreads (which it finds) and of the emulator. */
void hn_qmp_threads_read(const HnQmpThreads *threads, HnDomainInfo *info);

/* Each sets and reads back. Errors: HN_BACKEND_ERROR, GONE, DENIED, UNSUPPORTED (no CPU) or FAILED.
 */
bool hn_qmp_threads_pin_vcpu(const HnQmpThreads *threads, const HnDomainInfo *info, uint32_t vcpu,
                             const HnCpuset *cpus, GError **error);
bool hn_qmp_threads_pin_iothread(const HnQmpThreads *threads, const HnDomainInfo *info,
                                 uint32_t iothread, const HnCpuset *cpus, GError **error);
/* All threads that are neither vCPU nor iothread. */
bool hn_qmp_threads_pin_emulator(const HnQmpThreads *threads, const HnDomainInfo *info,
                                 const HnCpuset *cpus, GError **error);
