/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pinning one client: its vCPUs and, with the first client, emulator, iothreads and vhost threads, to all CPUs of
 * its nodes, as far as the admin allows.
 *
 * Per piece: what is in force is compared first. Already so: nothing is done. The admin's (he changed it since we
 * set it, or he had pinned it and nothing of that lies on the wanted nodes): left alone. Otherwise journalled (all
 * pieces in one write, before the first change), set through the back end, and the threads' affinity read back.
 *
 * vhost threads of kernels before 6.4 are kernel threads that no libvirt call reaches: sched_setaffinity, after a
 * look at their name. Newer ones follow the emulator's cpuset, so they are found in place already.
 *
 * Must not: move memory, widen what the admin set.
 */
#pragma once

#include "control.h"

typedef struct {
    HnPieceKind kind; /* VCPU, EMULATOR, IOTHREAD or VHOST */
    uint32_t id;      /* of the vCPU or iothread */
    int32_t tid;      /* 0: unknown, then it is not verified */
    bool is_admin_pinned; /* as the plan knew it; what the pin is now is asked anew */
} HnPinThread;

typedef struct {
    HnIdentity identity;
    HnCpuset cpus;     /* all CPUs of the nodes; isolated ones are not among them */
    bool is_all_vcpus; /* the only client: vCPUs plugged since the snapshot come along */
    bool has_workers;  /* emulator, iothreads, vhost too */
    HnCpuset vcpus;    /* numbers of this client's */
    GArray *threads;   /* HnPinThread, from the snapshot; owned */
} HnPinRequest;

void hn_pin_request_clear(HnPinRequest *request);

/* DONE (also when nothing had to be done), PINNED_BY_ADMIN (a pin the plan did not know of: plan anew),
 * CONSTRAINT_EMPTY, KERNEL_REFUSED (journal not writable, or the affinity read back is another), or what
 * hn_control_open() and hn_end_of_error() say. After a failure the pieces set so far stay, journalled. */
HnEnd hn_pin(const HnControl *control, const HnPinRequest *request);
