/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Soft-dirty pages: which of a guest's RAM was written since a moment, exactly. A diagnostic, never evidence of a
 * round.
 *
 * Theory. "4" written to /proc/PID/clear_refs takes the soft-dirty bit from every page of the process and
 * write-protects it; the next write faults and sets the bit (bit 55 of /proc/PID/pagemap), for KVM's second page table
 * as well, because MMU notifiers take its entries away. What the kernel does for it is dear and falls upon the whole
 * process: it holds the mmap lock for writing while it walks all page tables, and vCPUs that fault meanwhile wait.
 * There is one such bit: whoever else tracks the process by it (CRIU, memtierd) loses what it had gathered.
 *
 * Granularity is the page that is mapped: a transparent huge page counts 2 MiB once anything in it was written. Not
 * seen: hugetlb (the kernel keeps no such bit there), and what devices and other processes write into shared memory.
 * A mapping that carries the flag "sd" in smaps (new, or changed since) counts as written in full: it is left out.
 *
 * A kernel without CONFIG_MEM_SOFT_DIRTY takes the write to clear_refs all the same and never sets a bit; that is found
 * out by a look at a page of our own first.
 *
 * Must not: be called by a round, or for a guest whose size exceeds HN_SOFT_DIRTY_MAX_ENTRIES.
 */
#pragma once

#include "observe/root.h"

#include <homenode/domain.h>

/* Entries of page tables that are walked at most: 16 GiB of small pages, 8 TiB of huge ones. Reading as many from
 * pagemap takes 0.15 s (35 ns each, Linux 6.18); the guest may stall for about as long. */
#define HN_SOFT_DIRTY_MAX_ENTRIES ((uint64_t)4 << 20)

/* What was found of a region. */
typedef struct {
    uint32_t region;         /* index into the domain's */
    const char *left_out;    /* static; not NULL: nothing below is known: "hugetlb", "whole-mapping" */
    uint64_t written_bytes;
    uint64_t present_bytes;
    uint64_t chunk_bytes;
    uint32_t n_chunks;
    uint64_t *chunk_written; /* [n_chunks] bytes */
} HnWritten;
void hn_written_free(HnWritten *written);

/* Does this kernel keep soft-dirty bits? Maps a page, writes it, looks, unmaps. Error: pagemap cannot be read. */
bool hn_soft_dirty_is_kept(const HnRoot *root, bool *ret_is_kept, GError **error);
/* Why the domain's RAM cannot be looked at so, as a sentence; NULL: it can. Pure. Caller frees. */
char *hn_soft_dirty_refusal(const HnDomain *domain);
/* Takes the bits from all pages of the process. Error: G_FILE_ERROR; CAP_DAC_OVERRIDE is needed where the process is
 * another user's. */
bool hn_soft_dirty_clear(const HnRoot *root, int64_t pid, GError **error);
/* What was written since. GPtrArray of HnWritten, owned, one per region. Error: G_FILE_ERROR, or what smaps has. */
GPtrArray *hn_soft_dirty_read(const HnRoot *root, int64_t pid, const HnDomain *domain, GError **error);

/* Adds entries of pagemap, the first of them for the page at `offset_bytes` into the region, to what was found.
 * Pure. */
void hn_pagemap_count(const uint64_t *entries, size_t n_entries, uint64_t page_bytes, uint64_t offset_bytes,
                      HnWritten *written);
