/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Huge pages after a move; see move.h. Only remembers blocks and asks; whether it is worth it is the mover's.
 */
#include "move-private.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/uio.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

#define MAX_HUGE 262144 /* blocks remembered: 512 GiB in 2 MiB of addresses */

void hn_move_want_huge(HnMove *move, uint64_t block)
{
    if (move->huge->len < MAX_HUGE)
        g_array_append_val(move->huge, block);
}

void hn_move_collapse(HnMove *move, const HnSyscalls *sys, int pidfd, uint64_t batch_bytes, HnCollapsed *ret_collapsed)
{
    const uint64_t first = g_array_index(move->huge, uint64_t, move->huge_at);
    const uint64_t most = MAX(batch_bytes / HN_MOVE_BLOCK_BYTES, 1);
    struct iovec range = {.iov_base = GSIZE_TO_POINTER(first), .iov_len = HN_MOVE_BLOCK_BYTES};
    uint64_t n = 1, start_ns;
    int64_t done;

    /* In a row only: the kernel drains all CPUs' LRU caches once for each range. */
    while (n < most && move->huge_at + n < move->huge->len &&
           g_array_index(move->huge, uint64_t, move->huge_at + n) == first + n * HN_MOVE_BLOCK_BYTES)
        n++;
    range.iov_len = n * HN_MOVE_BLOCK_BYTES;
    start_ns = sys->now_ns(sys->user_data);
    done = sys->process_madvise(sys->user_data, pidfd, &range, 1, MADV_COLLAPSE);
    *ret_collapsed = (HnCollapsed){
        .done_bytes = done > 0 ? (uint64_t)done / HN_MOVE_BLOCK_BYTES * HN_MOVE_BLOCK_BYTES : 0,
        .call_ns = sys->now_ns(sys->user_data) - start_ns,
        .err = done < 0 ? errno : 0,
    };
    /* For a range in which one block failed the kernel tells the failure, and did the others before and after it
     * all the same; they are asked for again one by one, which costs little where nothing is left to do. */
    if (done < 0 && n > 1 && ret_collapsed->err != ESRCH && ret_collapsed->err != EPERM) {
        for (uint64_t i = 0; i < n; i++) {
            range = (struct iovec){GSIZE_TO_POINTER(first + i * HN_MOVE_BLOCK_BYTES), HN_MOVE_BLOCK_BYTES};
            if (sys->process_madvise(sys->user_data, pidfd, &range, 1, MADV_COLLAPSE) > 0)
                ret_collapsed->done_bytes += HN_MOVE_BLOCK_BYTES;
        }
        ret_collapsed->call_ns = sys->now_ns(sys->user_data) - start_ns;
    }
    move->huge_at += (guint)n;
}

void hn_move_skip_collapse(HnMove *move, const char *why)
{
    move->huge_at = move->huge->len;
    if (why && !move->collapse_note)
        move->collapse_note = g_strdup_printf("; huge pages that were split on the way stay split: %s", why);
}
