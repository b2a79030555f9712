/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a QEMU's command line says that its monitor does not: which memory backend belongs to which
 * guest cell, in what order backends were created, and which devices pin guest RAM. Pure.
 */
#pragma once

#include <homenode/cpuset.h>

typedef struct {
    uint32_t id;
    char *memdev; /* NULL: the cell has no memory of its own */
    HnCpuset vcpus;
} HnQmpCell;

typedef struct {
    GPtrArray *memory_objects; /* char *: ids of memory backends, in order */
    GArray *cells;             /* HnQmpCell, in order */
    char *boot_memdev;         /* -machine memory-backend=; NULL: not given */
    GPtrArray *host_devices;   /* char *: PCI addresses "0000:3b:00.0" */
    bool has_passthrough;
    bool has_launch_security;
    bool has_dirty_ring;
} HnQmpCmdline;

/* text: /proc/PID/cmdline, arguments ended by NUL. Never fails: what cannot be understood is passed
 * over, because QEMU has understood it. */
HnQmpCmdline *hn_qmp_cmdline_parse(const char *text, size_t len);
void hn_qmp_cmdline_free(HnQmpCmdline *cmdline);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnQmpCmdline, hn_qmp_cmdline_free)
