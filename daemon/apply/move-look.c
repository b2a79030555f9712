/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Looking: which pages of the ranges lie elsewhere; see move.h for how, and why not page by page.
 */
#include "move-private.h"

#include <errno.h>

#define SMALL_SAMPLES 16

bool hn_move_query(HnMove *move, const HnSyscalls *sys, guint n, void **addresses, int *ret_status)
{
    long result;

    for (guint i = 0; i < n; i++)
        ret_status[i] = HN_MOVE_SENTINEL;
    do
        result = sys->move_pages(sys->user_data, move->spec.pid, n, addresses, NULL, ret_status, 0);
    while (result < 0 && (errno == EINTR || errno == EAGAIN));
    if (result == 0)
        return true;
    hn_move_end_by_errno(move, result < 0 ? errno : EIO);
    return false;
}

/* Does a page with this status have to move? */
static bool is_elsewhere(const HnMove *move, int status)
{
    if (status < 0 || status == move->spec.to_node_id)
        return false;
    return hn_cpuset_is_empty(&move->spec.from_node_ids) ||
           hn_cpuset_has(&move->spec.from_node_ids, (uint32_t)status);
}

static void add_pending(HnMove *move, uint64_t address, uint64_t bytes, uint32_t n, bool is_block,
                        const HnRange *range)
{
    const HnPageRun run = {
        .address = address,
        .bytes = bytes,
        .n = n,
        .is_block = is_block,
        .is_hugetlb = range->page_bytes > move->spec.base_page_bytes,
        .needs_all = range->is_shared,
        .is_cold = range->is_cold,
    };
    HnPageRun *last = move->pending->len > move->head
                          ? &g_array_index(move->pending, HnPageRun, move->pending->len - 1)
                          : NULL;

    move->pending_bytes += bytes * n;
    if (last && last->address + last->bytes * last->n == address && last->bytes == bytes &&
        last->is_block == is_block && last->needs_all == run.needs_all && last->is_cold == run.is_cold &&
        last->n < G_MAXUINT32 - n)
        last->n += n;
    else
        g_array_append_val(move->pending, run);
}

uint64_t hn_move_list_pages(HnMove *move, const HnSyscalls *sys, uint64_t start, guint n, const HnRange *range)
{
    void *addresses[HN_MOVE_LOOK_PAGES];
    int status[HN_MOVE_LOOK_PAGES];
    uint64_t at_home_bytes = 0;

    for (guint i = 0; i < n; i++)
        addresses[i] = GSIZE_TO_POINTER(start + i * range->page_bytes);
    if (!hn_move_query(move, sys, n, addresses, status))
        return 0;
    for (guint i = 0; i < n; i++) {
        if (is_elsewhere(move, status[i]))
            add_pending(move, start + i * range->page_bytes, range->page_bytes, 1, false, range);
        else if (status[i] == move->spec.to_node_id)
            at_home_bytes += range->page_bytes;
    }
    return at_home_bytes;
}

void hn_move_sample(uint64_t block, guint n_samples, void **ret_addresses)
{
    for (guint i = 0; i < n_samples; i++)
        ret_addresses[i] =
            GSIZE_TO_POINTER(block + i * (HN_MOVE_BLOCK_PAGES - 1) / (n_samples - 1) * HN_MOVE_SMALL_BYTES);
}

bool hn_move_is_uniform(const int *status, guint n_samples)
{
    for (guint i = 1; i < n_samples; i++) {
        if (status[i] != status[0])
            return false;
    }
    return true;
}

/* Looks at n blocks of 2 MiB by samples. Blocks with nothing to move in sight are believed only of huge pages:
 * among small ones a few may still lie elsewhere. */
static void look_at_blocks(HnMove *move, const HnSyscalls *sys, uint64_t start, guint n, const HnRange *range)
{
    const bool is_thp = range->is_thp && !move->is_second_pass;
    const guint n_samples = is_thp ? HN_MOVE_THP_SAMPLES : SMALL_SAMPLES;
    void *addresses[HN_MOVE_LOOK_PAGES];
    int status[HN_MOVE_LOOK_PAGES];

    for (guint i = 0; i < n; i++)
        hn_move_sample(start + i * HN_MOVE_BLOCK_BYTES, n_samples, &addresses[i * n_samples]);
    if (!hn_move_query(move, sys, n * n_samples, addresses, status))
        return;
    for (guint i = 0; i < n && move->reason == HN_REASON_IN_PROGRESS; i++) {
        const int *s = &status[i * n_samples];
        const uint64_t block = start + i * HN_MOVE_BLOCK_BYTES;
        const bool is_all_elsewhere = hn_move_is_uniform(s, n_samples) && is_elsewhere(move, s[0]);

        if (is_all_elsewhere && is_thp)
            add_pending(move, block, HN_MOVE_BLOCK_BYTES, 1, true, range);
        else if (is_all_elsewhere && !move->is_second_pass)
            add_pending(move, block, HN_MOVE_SMALL_BYTES, HN_MOVE_BLOCK_PAGES, false, range);
        else if (!is_thp || !hn_move_is_uniform(s, n_samples)) {
            const uint64_t before_bytes = move->pending_bytes;
            const uint64_t at_home_bytes = hn_move_list_pages(move, sys, block, HN_MOVE_BLOCK_PAGES, range);

            if (range->is_thp && move->pending_bytes > before_bytes &&
                at_home_bytes + move->pending_bytes - before_bytes == HN_MOVE_BLOCK_BYTES)
                hn_move_want_huge(move, block);
        }
    }
}

bool hn_move_look(HnMove *move, const HnSyscalls *sys)
{
    while (move->range < move->spec.ranges->len) {
        const HnRange *range = &g_array_index(move->spec.ranges, HnRange, move->range);
        const uint64_t at = range->start + move->offset, left = range->length_bytes - move->offset;
        const bool has_blocks = range->page_bytes == HN_MOVE_SMALL_BYTES;
        uint64_t n, bytes;

        if (left < range->page_bytes || (move->is_second_pass && !range->is_thp)) {
            move->range++;
            move->offset = 0;
            continue;
        }
        if (has_blocks && at % HN_MOVE_BLOCK_BYTES == 0 && left >= HN_MOVE_BLOCK_BYTES) {
            n = MIN(left / HN_MOVE_BLOCK_BYTES, HN_MOVE_LOOK_PAGES / SMALL_SAMPLES);
            bytes = n * HN_MOVE_BLOCK_BYTES;
            look_at_blocks(move, sys, at, (guint)n, range);
        } else {
            n = MIN(left / range->page_bytes, HN_MOVE_LOOK_PAGES);
            if (has_blocks) /* up to the next block only */
                n = MIN(n, (HN_MOVE_BLOCK_BYTES - at % HN_MOVE_BLOCK_BYTES) / HN_MOVE_SMALL_BYTES);
            bytes = n * range->page_bytes;
            hn_move_list_pages(move, sys, at, (guint)n, range);
        }
        move->offset += bytes;
        return true;
    }
    return false;
}

