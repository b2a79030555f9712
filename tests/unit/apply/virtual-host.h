/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A host of two nodes on which time is made up: each call costs what the test says, waiting makes the clock leap, and
 * nothing depends on this machine's speed. The movers' threads run as they are; with one of them at work, a test's
 * course is the same each time. (fake-kernel.c is the richer kernel, in real time and with one process.)
 *
 * May be used from any thread.
 */
#pragma once

#include "apply/syscalls.h"
#include "observe/root.h"

#define VIRTUAL_BASE 0x7f0000000000ull /* where each process's memory begins, 2 MiB aligned */

typedef struct {
    uint64_t fixed_ns, ns_per_mib;   /* of a call that moves */
    uint32_t spread_permille;        /* evenly around that */
    uint32_t outlier_permille, outlier_factor;
    uint64_t dear_from_ns, dear_until_ns; /* of virtual time: calls cost dear_factor as much */
    uint32_t dear_factor;
    uint64_t oversleep_ns;           /* by which a wait takes longer */
    uint64_t pressed_from_ns, pressed_until_ns; /* memory pressure, PSI "some avg10", is psi_percent; else 0 */
    uint32_t psi_percent;
} VirtualCosts;

/* One call that was to move something. */
typedef struct {
    uint64_t start_ns, call_ns, moved_bytes;
} VirtualCall;

typedef struct VirtualHost VirtualHost;

/* Both nodes have so much free. is_room_told: meminfo follows what moves (else it stays as it is, which is faster). */
VirtualHost *virtual_host_new(uint64_t free_bytes, const VirtualCosts *costs, bool is_room_told);
void virtual_host_free(VirtualHost *host);
/* bytes of memory on one node, of huge pages or small ones; taken from what is free there. */
void virtual_host_add_process(VirtualHost *host, int64_t pid, uint64_t bytes, int node, bool is_huge);

/* The node has so much more; before anything moves. */
void virtual_host_add_free(VirtualHost *host, int node, uint64_t bytes);
/* None of its pages can move, as with long-term pins. */
void virtual_host_set_pinned(VirtualHost *host, int64_t pid, bool is_pinned);

const HnSyscalls *virtual_host_syscalls(VirtualHost *host);
HnRoot *virtual_host_root(VirtualHost *host);
const char *virtual_host_dir(VirtualHost *host);
uint64_t virtual_host_bytes_on(VirtualHost *host, int64_t pid, int node);
uint64_t virtual_host_free_bytes(VirtualHost *host, int node);
guint virtual_host_splats(VirtualHost *host); /* calls that found no memory */
/* VirtualCall, in order; when nothing moves any more. */
const GArray *virtual_host_calls(VirtualHost *host);
