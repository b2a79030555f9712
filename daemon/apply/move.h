/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Moving one domain's memory to one node, step by step: which addresses, what move_pages answered, what is
 * left. No thread, no clock, no rate, no room: the mover (mover.c) asks what is next, sees to all that, and
 * then says go.
 *
 * Theory (semantics of move_pages as seen on Linux 6.1 to 7.2).
 *   - Look first: a query (nodes NULL) costs 0.15 us per address and holds no page; only what lies elsewhere is
 *     moved. One address per folio: with a step of 4 KiB through a 2 MiB page the kernel reports one spurious
 *     EBUSY per page and stops batching. Regions of transparent huge pages are looked at by four samples per
 *     2 MiB: all on one wrong node, and the block is moved by its first address and checked by the other three;
 *     mixed, and it is listed page by page. Where the snapshot knew of more bytes elsewhere than were found so,
 *     a second pass lists every page. Small pages are looked at by 16 samples per 2 MiB first: all on one
 *     wrong node, and all 512 are asked for unseen, because a query for each would cost a tenth of the move
 *     (0.15 of 1.2 us); the few among them that were at home already are then counted as moved.
 *   - Status is not to be trusted blindly: it is filled with a sentinel before the call, because for a batch
 *     with an unmovable page the call returns a positive number and leaves status unwritten. Whatever is
 *     unwritten or busy is asked for again by a query.
 *   - With a positive number the kernel has stopped somewhere, and the pages it did not come to are no busier than others:
 *     they are the next. (How far it came is known from the number and the last status written.)
 *   - A folio of some other size (64 KiB …) moves with the first of its addresses; the second is called busy, the others
 *     are found at home. The query settles it: nothing has to be known of folio sizes.
 *   - Busy pages are set aside and tried again at the end, in rounds, each after a wait twice as long and in
 *     batches a quarter as large (in a failed batch pages may not even have been tried); then they are residue.
 *   - A page mapped by other processes answers EACCES to MPOL_MF_MOVE: once more with MPOL_MF_MOVE_ALL.
 *   - Huge pages that the kernel splits on the way (it does when the node has no free huge page at hand) are asked
 *     to be rebuilt when all has moved: every block that was one huge page, or whose 512 pages were all present.
 *     None that has holes: filling them would take memory. (MADV_COLLAPSE of another process: platform-collapse.c.)
 *   - If 32 MiB in a row stay busy, nothing of this memory moves (long-term pins): the move ends as IMMOVABLE
 *     instead of trying the rest.
 */
#pragma once

#include <homenode/reason.h>

#include "limits.h"
#include "syscalls.h"

typedef struct {
    uint64_t start;        /* virtual address in the process, multiple of page_bytes */
    uint64_t length_bytes;
    uint64_t page_bytes;   /* of the backing: base page, or hugetlb size */
    bool is_thp;
    bool is_shared;        /* needs MPOL_MF_MOVE_ALL */
    bool is_cold;          /* nobody was seen to touch it, where others were: the slow lane */
} HnRange;

typedef struct {
    int64_t pid;
    uint64_t base_page_bytes; /* of the machine */
    int32_t to_node_id;       /* kernel id, like all node ids here */
    HnCpuset from_node_ids;   /* empty: from any node */
    GArray *ranges;           /* HnRange, in the order in which they should move; taken over */
    uint64_t limit_bytes;     /* stop after so much */
    uint64_t expected_bytes;  /* what the snapshot said lies elsewhere; decides about the second pass */
} HnMoveSpec;

typedef struct HnMove HnMove;

HnMove *hn_move_new(const HnMoveSpec *spec);
void hn_move_free(HnMove *move);

typedef enum {
    HN_NEXT_LOOKED, /* asked the kernel about some pages; call again */
    HN_NEXT_READY,  /* pages wait for hn_move_go() */
    HN_NEXT_COLLAPSE, /* all has moved, and huge pages may have been split: hn_move_collapse() or _skip_collapse() */
    HN_NEXT_WAIT,   /* only busy pages are left; again after *ret_wait_ns */
    HN_NEXT_END,    /* nothing more; see hn_move_result() */
} HnNext;

/* One query at most, then what to do. now_ns: any clock that does not go back. */
HnNext hn_move_next(HnMove *move, const HnSyscalls *sys, const HnLimits *limits, uint64_t now_ns,
                    uint64_t *ret_wait_ns);
/* READY: size of the first page (a 4 KiB page, 2 MiB, 1 GiB), and whether it comes from hugetlb. */
uint64_t hn_move_page_bytes(const HnMove *move, bool *ret_is_hugetlb);
/* READY: do the first pages belong to the slow lane? A call takes pages of one lane. */
bool hn_move_is_cold(const HnMove *move);
/* READY: bytes a call of at most batch_bytes would ask for (at least one page). */
uint64_t hn_move_batch_bytes(const HnMove *move, uint64_t batch_bytes);

typedef struct {
    uint64_t asked_bytes;
    uint64_t tried_bytes; /* the kernel came to; the others are the next again */
    uint64_t moved_bytes;
    uint64_t call_ns; /* of move_pages itself */
    bool is_node_full; /* ENOMEM */
} HnMoved;

/* READY: one move_pages call and what is needed to know its effect. */
void hn_move_go(HnMove *move, const HnSyscalls *sys, uint64_t batch_bytes, HnMoved *ret_moved);

typedef struct {
    uint64_t done_bytes; /* huge now (also if they were before) */
    uint64_t call_ns;
    int err;             /* of the block after those; 0: none */
} HnCollapsed;

/* COLLAPSE: one process_madvise(MADV_COLLAPSE) over blocks in a row, of at most batch_bytes. A block that the
 * kernel refuses is left as it is. */
void hn_move_collapse(HnMove *move, const HnSyscalls *sys, int pidfd, uint64_t batch_bytes, HnCollapsed *ret_collapsed);
/* COLLAPSE: leaves it; `why` (may be NULL) is told in the sentence. */
void hn_move_skip_collapse(HnMove *move, const char *why);

/* Ends it from outside (vanished, superseded, node full, …); `sentence` is taken over. The first end counts. */
void hn_move_end(HnMove *move, HnReason reason, char *sentence);

/* The process has turned out to have ended: what the kernel refused for (a process without memory answers EINVAL)
 * is no longer the reason. */
void hn_move_vanished(HnMove *move);

typedef struct {
    HnReason reason;       /* DONE, DONE_WITH_RESIDUE, or why it ended; IN_PROGRESS before that */
    const char *sentence;  /* valid until the next call with this move */
    uint64_t moved_bytes;
    uint64_t left_bytes;   /* tried, and would not move; IMMOVABLE: all that has not */
} HnMoveResult;

void hn_move_result(HnMove *move, HnMoveResult *ret_result);
