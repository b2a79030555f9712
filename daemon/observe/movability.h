/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What keeps guest memory where it is (docs/evidence.md), and where passthrough devices sit.
 *
 * Memory that a device may write to at any time is pinned for as long as the device is attached;
 * private memory of confidential guests is not mapped in QEMU at all; hugetlb pages move like
 * others as long as a page of their size can be had elsewhere. Locked memory (mlock) moves.
 */
#pragma once

#include "backend/backend.h"
#include "observe/root.h"

#include <homenode/host.h>

/* What the open files of a QEMU say. */
typedef struct {
    bool is_complete; /* the list could be read */
    bool has_vfio;    /* a VFIO group or device, iommufd, or a vDPA device: RAM is pinned for DMA */
    bool has_vhost_net; /* in-kernel workers exist that touch guest RAM */
} HnOpenFiles;
/* Pure: the target of one link of /proc/PID/fd ("/dev/vfio/12"). */
void hn_open_files_account(HnOpenFiles *files, const char *target);
HnOpenFiles hn_open_files_read(const HnRoot *root, int64_t pid);

/* Classifies one region whose resident_bytes are known. `has_vfio`: seen among open files, or
 * configured in info->host_devices. */
HnMovability hn_region_movability(const HnRegion *region, const HnDomainInfo *info, bool has_vfio,
                                  const HnHost *host);

/* Nodes of the passthrough devices (…/numa_node ≥ 0), by index; 0: none or not known. */
HnNodemask hn_device_nodes_read(const HnRoot *root, const HnHost *host,
                                const GPtrArray *pci_addresses);
