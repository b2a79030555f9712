/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The libvirt back end: qemu:///system in production, test:///default (libvirt's own in-process
 * test driver) in tests.
 */
#pragma once

#include "backend.h"
#include "observe/root.h"

typedef struct {
    const char *uri;    /* NULL: "qemu:///system" */
    const HnRoot *root; /* where pid files and command lines are read; outlives the back end */
    bool is_read_only;  /* connect read-only: every change is refused by libvirt itself (dry run) */
    bool is_dirty_ring_allowed; /* see start_dirty_rate() */
} HnLibvirtOptions;

/* Registers libvirt's event loop with the default main context, so it must be called before any
 * other use of libvirt in the process. Never connects; watch() does. */
HnBackend *hn_backend_libvirt_new(const HnLibvirtOptions *options);

/* Connects at once and blocks until that worked or failed; for programs without a main loop, and
 * tests. May be followed by watch(), which then reports CONNECTED at once. */
bool hn_backend_libvirt_connect(HnBackend *backend, GError **error);
