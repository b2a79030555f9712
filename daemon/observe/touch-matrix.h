/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The touch matrix: which vCPU touches which chunk of a guest's RAM. Pure: touches and the time
 * come in, HnChunk.heat and HnChunk.touch_clients go out.
 *
 * Theory of operation. A row per chunk, a column per vCPU; above 64 vCPUs a column stands for
 * neighbouring ones, so that a row's touchers always fit one word. Touches are gathered in windows
 * of about a second. The first touch of a chunk in a window takes an eighth of the row's weights
 * away, then each touch adds to its column: old habits fade by being overtaken, not by the clock,
 * because how often the kernel unmaps a chunk depends on the guest's size. A chunk that one column
 * alone touched in four windows running fades faster (a half per window): that is a change of
 * owner, not company.
 *
 * Two stages (AutoNUMA's last_nid, the kernel's two-stage filter): a column counts for a chunk only
 * when it was seen there in two windows; one stray touch makes nobody an owner. A row says
 * something only if the columns that passed hold three quarters of its weight (else it is
 * undecided and says nothing), and then names those with at least a quarter of the heaviest one's:
 * a chunk that all touch comes out as touched by all, not as owned by whoever was seen first.
 *
 * Memory is fixed when the matrix is made: 40 bytes a row and 2 a cell (docs/evidence.md).
 */
#pragma once

#include <homenode/domain.h>

/* A window is closed by the first look at least this long after it began. */
#define HN_TOUCH_WINDOW_NS G_GUINT64_CONSTANT(1000000000)
/* Heat, and counts per node, lose half in this time. */
#define HN_TOUCH_HALFLIFE_NS G_GUINT64_CONSTANT(30000000000)
#define HN_TOUCH_MAX_COLUMNS 64u

typedef struct HnTouchMatrix HnTouchMatrix;

/* For `regions` as they are now (place, hole and chunks are copied) and these vCPUs (ids, in the
 * order of HnDomain.vcpus). NULL if no region has a chunk map or there is no vCPU. */
HnTouchMatrix *hn_touch_matrix_new(const HnRegion *regions, uint32_t n_regions,
                                   const uint32_t *vcpu_ids, uint32_t n_vcpus);
void hn_touch_matrix_free(HnTouchMatrix *matrix); /* NULL is allowed */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnTouchMatrix, hn_touch_matrix_free)
/* False: regions, chunks or vCPUs are others now, and a new matrix is needed. */
bool hn_touch_matrix_fits(const HnTouchMatrix *matrix, const HnRegion *regions, uint32_t n_regions,
                          const uint32_t *vcpu_ids, uint32_t n_vcpus);
uint64_t hn_touch_matrix_bytes(const HnTouchMatrix *matrix);
/* vCPUs that one bit of HnChunk.touch_clients stands for: 1 up to 64 vCPUs. */
uint32_t hn_touch_matrix_vcpus_per_bit(const HnTouchMatrix *matrix);

/* Where a touch fell. */
typedef struct {
    uint32_t region;
    uint32_t chunk; /* of the region */
    uint64_t hva;   /* in QEMU's address space */
} HnTouchPlace;

/* Takes n_touches of one place by one vCPU (index, not id). `address` is guest-physical (is_gpa) or
 * in QEMU's address space. False: it is no RAM (MMIO, the hole, QEMU's own memory), and nothing is
 * counted. */
bool hn_touch_matrix_add(HnTouchMatrix *matrix, uint32_t vcpu, uint64_t address, bool is_gpa,
                         uint32_t n_touches, HnTouchPlace *ret_place);

/* Closes the window if it is old enough, and lets heat fade. Call once after each drain. */
void hn_touch_matrix_tick(HnTouchMatrix *matrix, uint64_t now_ns);

/* value × 2^(-elapsed / HN_TOUCH_HALFLIFE_NS), rounded down: by halves, then linearly within one
 * (at most 6 % too much). */
uint64_t hn_touch_faded(uint64_t value, uint64_t elapsed_ns);

/* A sampled touch: of which page, and how many it stands for. */
typedef struct {
    uint64_t page; /* its first address */
    uint64_t n_touches;
} HnTouchedPage;

/* How many independent samples these touches are worth, times `scale`: those of one page lie on one node
 * and come in a row. Kish's effective size of a sample in clusters, (Σw)² / Σw² over the pages (L. Kish, Survey
 * Sampling, 1965). Sorts them. Sums up to 2³² touches. */
uint64_t hn_touch_independent(HnTouchedPage *touches, uint32_t n, uint32_t scale);

/* Writes heat and touch_clients into the chunks of `regions` (which the matrix must fit). Chunks of
 * which nothing is known keep the touchers they have. *ret_n_decided: chunks with touchers. */
void hn_touch_matrix_fill(const HnTouchMatrix *matrix, HnRegion *regions, uint32_t n_regions,
                          uint32_t *ret_n_decided);
