/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the three parts of a move share: move.c (what is next, how it ended), move-look.c (what lies elsewhere) and
 * move-call.c (one move_pages call and what became of its pages).
 */
#pragma once

#include "move.h"

#include <limits.h>

#define HN_MOVE_SMALL_BYTES 4096ull
#define HN_MOVE_BLOCK_BYTES (2ull << 20) /* a huge page where small ones have 4 KiB */
#define HN_MOVE_BLOCK_PAGES 512
#define HN_MOVE_LOOK_PAGES 2048 /* addresses per query: 0.3 ms */
#define HN_MOVE_THP_SAMPLES 4
#define HN_MOVE_SENTINEL INT_MIN

/* Pages of one kind in a row. */
typedef struct {
    uint64_t address;
    uint64_t bytes;  /* of one page */
    uint32_t n;
    bool is_block;   /* each is taken for one transparent huge page */
    bool is_hugetlb;
    bool needs_all;
    bool is_cold;
} HnPageRun;

struct HnMove {
    HnMoveSpec spec;
    guint range;      /* index of the range being looked at */
    uint64_t offset;  /* into it */
    bool is_second_pass;
    GArray *pending;  /* HnPageRun, from `head` on */
    guint head;
    uint64_t pending_bytes;
    GArray *busy;     /* HnPageRun of one page each */
    uint32_t round;   /* of retrying */
    uint64_t due_ns;  /* of the next round; 0: not waiting */
    uint64_t moved_bytes;
    GArray *huge;     /* uint64_t, blocks that should be huge afterwards, from `huge_at` on */
    guint huge_at;
    char *collapse_note;
    uint64_t busy_left_bytes, shared_left_bytes, other_left_bytes;
    uint64_t futile_bytes; /* asked for since something last moved */
    int other_errno;
    HnReason reason;
    char *sentence;
    /* for one call, kept from call to call */
    guint capacity;
    void **addresses;
    int *nodes, *status;
};

/* Ends the move for what a whole call failed with. */
void hn_move_end_by_errno(HnMove *move, int err);

/* Where n addresses lie; what the kernel leaves unwritten is HN_MOVE_SENTINEL. False: the move ended. */
bool hn_move_query(HnMove *move, const HnSyscalls *sys, guint n, void **addresses, int *ret_status);
/* One look further into the ranges. False when all have been looked at. */
bool hn_move_look(HnMove *move, const HnSyscalls *sys);
/* Lists n pages of one size from `start`; those elsewhere become pending. Returns the bytes found on the
 * destination. */
uint64_t hn_move_list_pages(HnMove *move, const HnSyscalls *sys, uint64_t start, guint n, const HnRange *range);
/* Where to look into a block: first and last page, and evenly between. */
void hn_move_sample(uint64_t block, guint n_samples, void **ret_addresses);
/* Notes a block that should be one huge page in the end. */
void hn_move_want_huge(HnMove *move, uint64_t block);
bool hn_move_is_uniform(const int *status, guint n_samples);
