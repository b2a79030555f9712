/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest RAM in QEMU's address space: which mappings are it, which guest cell each belongs to, and
 * exact translation between host-virtual and guest-physical addresses, without asking QEMU
 * (docs/evidence.md; asking through libvirt taints the domain).
 *
 * QEMU maps each memory backend separately, with a guard page after it, excludes it from fork
 * (VmFlags "dc") and asks for huge pages ("hg"): a mapping with both flags and exactly the
 * configured length is that backend. Backends in files carry their object's name; among nameless
 * ones of equal length the order of creation decides (rising inodes of memfds, where they are
 * comparable, else top-down addresses), which hot-plugging can break: then, and where two signs
 * disagree, the region is marked ambiguous.
 */
#pragma once

#include "backend/backend.h"
#include "observe/root.h"

/* One mapping of /proc/PID/smaps. */
typedef struct {
    uint64_t start;
    uint64_t end;
    bool is_writable;
    bool is_shared;
    uint64_t inode;
    char *name; /* NULL: anonymous */
    uint64_t rss_bytes;
    uint64_t huge_bytes; /* mapped by huge entries: AnonHugePages + Shmem/FilePmdMapped */
    uint64_t kernel_page_bytes;
    uint64_t swap_bytes;
    bool is_dontcopy;         /* VmFlags dc */
    bool is_hugepage_advised; /* hg */
    bool is_hugetlb;          /* ht */
    bool is_locked;           /* lo */
    bool is_soft_dirty;       /* sd: all of it counts as written */
} HnMapping;

/* HnMapping, owned. Lines it does not know are skipped. Error: HN_MODEL_ERROR_SYNTAX. */
GArray *hn_smaps_parse(const char *text, size_t len, GError **error);
GArray *hn_smaps_read(const HnRoot *root, int64_t pid, GError **error);

/* Where a machine type puts boot RAM in guest-physical space. */
typedef struct {
    uint64_t ram_base;   /* 0 on x86, 1 GiB on ARM "virt" */
    uint64_t hole_start; /* boot RAM below 4 GiB ends here … */
    uint64_t hole_end;   /* … and goes on here; both 0: contiguous */
    bool is_certain;     /* false: machine type unknown, or memory beyond AMD's hole at 1 TiB */
} HnGpaLayout;
/* `boot_bytes`: RAM without hot-plugged memory. Source: QEMU 10.0 hw/i386/pc_q35.c:158,
 * pc_piix.c:119-131, hw/arm/virt.c base_memmap. */
HnGpaLayout hn_gpa_layout(const char *machine_type, uint64_t boot_bytes);

/* Guest RAM found and matched. */
typedef struct {
    HnRegion *regions; /* [n_regions], ascending gpa_base; resident_bytes are [n_nodes] and zero */
    uint32_t n_regions;
    uint64_t total_bytes;      /* Σ length */
    uint64_t configured_bytes; /* Σ of what was expected */
    uint64_t huge_bytes;       /* of them mapped by huge entries when this was read */
    uint64_t rss_bytes;
    char *problem; /* not NULL: a sentence; RAM that was configured and not found */
} HnRegionMap;
void hn_region_map_clear(HnRegionMap *map);

/* Pure: mappings and configuration in, regions out. movability is HN_MOVABLE or HN_MOVABLE_SHARED
 * only; what pins memory is found elsewhere (movability.h). Without `info->memory`, one backend of
 * info->configured_bytes is expected. */
void hn_regions_match(const GArray *mappings, const HnDomainInfo *info, uint32_t n_nodes,
                      HnRegionMap *ret_map);

/* Exact translations over a set of regions. False if the address is in none of them (a hole, MMIO).
 * *ret_region: index; *ret_offset: bytes from hva_start. */
bool hn_gpa_to_region(const HnRegion *regions, uint32_t n_regions, uint64_t gpa,
                      uint32_t *ret_region, uint64_t *ret_offset);
bool hn_hva_to_gpa(const HnRegion *regions, uint32_t n_regions, uint64_t hva, uint32_t *ret_region,
                   uint64_t *ret_gpa);
/* offset < region->length_bytes */
uint64_t hn_region_gpa_at(const HnRegion *region, uint64_t offset);
