/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guests without libvirt, each through a QMP socket of its own: those in a watched directory and
 * those that were attached. homenoded(8), GUESTS WITHOUT LIBVIRT, is
 * the user's side of it.
 *
 * A QEMU monitor serves one client at a time: the socket given to homenode must be for it alone.
 */
#pragma once

#include "backend.h"
#include "observe/root.h"
#include "qmp-threads.h"

typedef struct {
    const char *directory;     /* NULL or "": none */
    const char *attached_file; /* remembers attached sockets over a restart; NULL: nothing does */
    const HnRoot *root;        /* borrowed: outlives the back end */
    bool is_read_only;         /* pins, statistics and elements are refused (DENIED) */
    bool is_dirty_ring_allowed;
    const HnQmpAffinity *affinity; /* NULL: the kernel's */
} HnQmpOptions;

/* Connects from watch() on. Main thread. */
HnBackend *hn_backend_qmp_new(const HnQmpOptions *options);

/* What watch() does, waiting until what is there now has answered, at most timeout_ms. */
void hn_backend_qmp_start(HnBackend *backend, uint32_t timeout_ms);
