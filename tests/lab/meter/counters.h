/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: what the meter counts: accesses of each vCPU of the emulated host, by guest and node.
 *
 * Theory of operation: a *space* is the address space of one process of the emulated host, known by
 * the root of its page table: a KVM guest runs in the space of its VMM. Space 0 is everything else.
 * Each vCPU has counters of its own, which only its thread writes; readers take them as they are
 * (64-bit loads are whole). A direct-mapped cache of line tags per vCPU stands for a processor's
 * cache: only a miss counts as a memory access, because a hit would not reach any node.
 *
 * Which guest a space is, is found by votes: the reader announces some physical pages of each
 * guest, and a counted access to an announced page is a vote of its space. Nothing here knows of
 * QEMU: it is linked into unit tests as well.
 */
#ifndef METER_COUNTERS_H
#define METER_COUNTERS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define METER_MAX_VCPUS 64
#define METER_MAX_NODES 16   /* the last one: memory that no node range holds */
#define METER_MAX_SPACES 128 /* the last one: all that found no place */
#define METER_MAX_GUESTS 64  /* announced; 0 is none */
#define METER_MAX_RANGES 64
#define METER_NO_NODE (METER_MAX_NODES - 1)
#define METER_LINE_SHIFT 6
#define METER_PAGE_SHIFT 12
#define METER_VOTES_ENOUGH 1024 /* per space: no look-ups beyond */

/* Of one vCPU in one space; 256 bytes, a multiple of a cache line. */
typedef struct {
    uint64_t nodes[METER_MAX_NODES]; /* counted accesses by node */
    uint64_t accesses;               /* all, cache hits too */
    uint64_t insns;                  /* of translated blocks entered in guest mode */
    uint64_t entries;                /* times it entered guest mode */
    uint64_t unused[13];
} MeterCell;

/* A range of virtual addresses of space 0 that counts for an announced guest. */
typedef struct {
    uint64_t start, end;
    unsigned guest;
} MeterRange;

typedef struct {
    MeterCell cells[METER_MAX_SPACES];
    uint64_t range_nodes[METER_MAX_GUESTS][METER_MAX_NODES]; /* space 0, by guest of the range */
    uint64_t *tags;                                          /* n_lines of them */
} MeterVcpu;

typedef struct {
    MeterVcpu *vcpus[METER_MAX_VCPUS]; /* made when the vCPU appears */
    uint64_t n_lines;                 /* of each tag cache, a power of two; 0: count every access */
    uint64_t roots[METER_MAX_SPACES]; /* page table roots; 0: free; index 0 unused */
    uint32_t votes[METER_MAX_SPACES][METER_MAX_GUESTS];
    uint32_t n_votes[METER_MAX_SPACES];
    uint8_t *node_of_mib; /* physical address >> 20 → node */
    uint64_t n_mib;
    uint8_t *guest_of_page; /* physical address >> 12 → announced guest */
    uint64_t n_pages;
    MeterRange ranges[METER_MAX_RANGES];
    unsigned n_ranges; /* written last, read first */
} Meter;

/* Zeroed counters for physical addresses below max_phys_bytes and caches of cache_bytes per vCPU (a
 * power of two of at least one line, or 0 to count every access). NULL if cache_bytes is not one.
 */
Meter *meter_new(uint64_t max_phys_bytes, uint64_t cache_bytes);
void meter_free(Meter *meter);

/* Makes the counters of a vCPU; false if vcpu_index is METER_MAX_VCPUS or more. */
bool meter_add_vcpu(Meter *meter, unsigned vcpu_index);

/* The space of a page table root (not 0), found or made; the last space when there is no place.
 * Any thread. */
unsigned meter_space(Meter *meter, uint64_t root);

/* Sets the node of physical [start, end) bytes, in whole MiB; false if out of bounds. */
bool meter_set_node(Meter *meter, uint64_t start, uint64_t end, unsigned node);

/* Announces physical page numbers [first, end) of a guest; false if out of bounds. */
bool meter_announce_pages(Meter *meter, unsigned guest, uint64_t first_page, uint64_t end_page);

/* Announces a range of virtual addresses of space 0; false if out of bounds or full. */
bool meter_announce_range(Meter *meter, unsigned guest, uint64_t start, uint64_t end);

/* Forgets announced pages, ranges and votes; counters go on. */
void meter_forget(Meter *meter);

/*
 * An access by a vCPU in a space: true if it counts, that is if it misses the tag cache; then its
 * physical address must be given to meter_count().
 */
static inline bool meter_is_miss(const Meter *meter, MeterVcpu *vcpu, unsigned space,
                                 uint64_t vaddr)
{
    uint64_t line = vaddr >> METER_LINE_SHIFT, tag;
    uint64_t *slot;

    vcpu->cells[space].accesses++;
    if (meter->n_lines == 0) {
        return true;
    }
    /* A canonical address has 57 - 6 significant bits; the space fills the top. Never 0. */
    tag = (line & (((uint64_t)1 << 52) - 1)) | (uint64_t)(space + 1) << 52;
    slot = &vcpu->tags[line & (meter->n_lines - 1)];
    if (*slot == tag) {
        return false;
    }
    *slot = tag;
    return true;
}

/* Counts one access to a physical address. */
void meter_count(Meter *meter, MeterVcpu *vcpu, unsigned space, uint64_t vaddr, uint64_t phys);

/* Whether virtual addresses of space 0 can count at all. */
static inline bool meter_has_ranges(const Meter *meter)
{
    return __atomic_load_n(&meter->n_ranges, __ATOMIC_ACQUIRE) > 0;
}

/* Whether some announced range of space 0 holds vaddr. */
bool meter_in_range(const Meter *meter, uint64_t vaddr, unsigned *ret_guest);

/* Appends all counters as one JSON object (docs/meter.md lists its members). */
void meter_to_json(const Meter *meter, bool is_armed, int64_t now_ns, GString *json);

#endif
