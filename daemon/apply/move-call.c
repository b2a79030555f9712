/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One move_pages call: how much of what is pending, what the kernel answered, what has to be asked again. What the
 * answers mean is told in move.h and docs/acting.md.
 *
 * Must not: look at the clock but for timing its own call.
 */
#include "move-private.h"

#include <errno.h>
#include <numaif.h>

#define MAX_BUSY 65536
#define FUTILE_BYTES (32ull << 20)
#define MIB (1024ull * 1024)

uint64_t hn_move_page_bytes(const HnMove *move, bool *ret_is_hugetlb)
{
    const HnPageRun *run = &g_array_index(move->pending, HnPageRun, move->head);

    *ret_is_hugetlb = run->is_hugetlb;
    return run->bytes;
}

bool hn_move_is_cold(const HnMove *move)
{
    return g_array_index(move->pending, HnPageRun, move->head).is_cold;
}

/* How many pages the next call takes: as many as fit, at least one, all with the same flag. */
static guint count_batch(const HnMove *move, uint64_t batch_bytes, uint64_t *ret_bytes)
{
    const uint64_t open_bytes = move->spec.limit_bytes - move->moved_bytes;
    const HnPageRun *first = &g_array_index(move->pending, HnPageRun, move->head);
    uint64_t bytes = first->bytes;
    guint n = 1;

    batch_bytes = MIN(batch_bytes >> MIN(2 * move->round, 32), open_bytes);
    for (guint i = move->head; i < move->pending->len; i++) {
        const HnPageRun *run = &g_array_index(move->pending, HnPageRun, i);
        const uint64_t room_bytes = batch_bytes > bytes ? batch_bytes - bytes : 0;
        const uint64_t n_left = i == move->head ? run->n - 1 : run->n;
        const uint64_t n_fit = MIN(n_left, room_bytes / run->bytes);

        if (run->needs_all != first->needs_all || run->is_cold != first->is_cold)
            break;
        bytes += n_fit * run->bytes;
        n += (guint)n_fit;
        if (n_fit < n_left)
            break;
    }
    *ret_bytes = bytes;
    return n;
}

uint64_t hn_move_batch_bytes(const HnMove *move, uint64_t batch_bytes)
{
    uint64_t bytes;

    count_batch(move, batch_bytes, &bytes);
    return bytes;
}

/* ---- moving ---- */

static void set_aside(HnMove *move, const HnPageRun *page)
{
    if (move->busy->len >= MAX_BUSY)
        move->busy_left_bytes += page->bytes;
    else
        g_array_append_vals(move->busy, page, 1);
}

static void leave(HnMove *move, const HnPageRun *page, int err)
{
    move->other_left_bytes += page->bytes;
    move->other_errno = err;
}

/* Blocks whose head arrived: did the rest come along? Where not, they were small pages: listed. */
static void check_blocks(HnMove *move, const HnSyscalls *sys, const GArray *blocks)
{
    const int to = move->spec.to_node_id;

    for (guint from = 0; from < blocks->len; from += HN_MOVE_LOOK_PAGES / HN_MOVE_THP_SAMPLES) {
        const guint n = MIN(blocks->len - from, HN_MOVE_LOOK_PAGES / HN_MOVE_THP_SAMPLES);
        void *addresses[HN_MOVE_LOOK_PAGES];
        int status[HN_MOVE_LOOK_PAGES];

        for (guint i = 0; i < n; i++)
            hn_move_sample(g_array_index(blocks, HnPageRun, from + i).address, HN_MOVE_THP_SAMPLES,
                             &addresses[i * HN_MOVE_THP_SAMPLES]);
        if (!hn_move_query(move, sys, n * HN_MOVE_THP_SAMPLES, addresses, status))
            return;
        for (guint i = 0; i < n && move->reason == HN_REASON_IN_PROGRESS; i++) {
            const int *s = &status[i * HN_MOVE_THP_SAMPLES];
            const HnPageRun *page = &g_array_index(blocks, HnPageRun, from + i);
            const HnRange small = {.page_bytes = HN_MOVE_SMALL_BYTES, .is_shared = page->needs_all,
                                   .is_cold = page->is_cold};

            if (s[0] == to && hn_move_is_uniform(s, HN_MOVE_THP_SAMPLES)) {
                move->moved_bytes += page->bytes;
                hn_move_want_huge(move, page->address);
            } else
                move->moved_bytes += hn_move_list_pages(move, sys, page->address, HN_MOVE_BLOCK_PAGES, &small);
        }
    }
}

/* One page's status after the call (page.n is 1). `arrived`: blocks to check. */
static void take_status(HnMove *move, HnPageRun page, int status, GArray *arrived)
{
    if (status == move->spec.to_node_id) {
        g_array_append_val(arrived, page); /* a block: its head is there */
    } else if (status >= 0 || status == -EBUSY || status == HN_MOVE_SENTINEL) {
        set_aside(move, &page);
    } else if (status == -EACCES) {
        if (page.needs_all) {
            move->shared_left_bytes += page.bytes;
        } else {
            page.needs_all = true;
            set_aside(move, &page);
        }
    } else if (status == -ENOENT || status == -EFAULT) {
        /* Gone, swapped out or the zero page by now: nothing of it lies anywhere. */
        if (page.is_block)
            g_array_append_val(arrived, page);
    } else {
        leave(move, &page, -status);
    }
}

/* Asks again for whatever the call left unwritten or called busy: the kernel says so of pages that did move. */
static void requery(HnMove *move, const HnSyscalls *sys, guint n)
{
    g_autofree void **again = NULL;
    g_autofree guint *index = NULL;
    g_autofree int *again_status = NULL;
    guint n_again = 0;

    for (guint i = 0; i < n; i++)
        n_again += move->status[i] == HN_MOVE_SENTINEL || move->status[i] == -EBUSY;
    if (n_again == 0)
        return;
    again = g_new(void *, n_again);
    index = g_new(guint, n_again);
    again_status = g_new(int, n_again);
    n_again = 0;
    for (guint i = 0; i < n; i++) {
        if (move->status[i] == HN_MOVE_SENTINEL || move->status[i] == -EBUSY) {
            index[n_again] = i;
            again[n_again++] = move->addresses[i];
        }
    }
    if (!hn_move_query(move, sys, n_again, again, again_status))
        return;
    for (guint i = 0; i < n_again; i++)
        move->status[index[i]] = again_status[i];
}

static void compact(HnMove *move)
{
    if (move->head == move->pending->len) {
        g_array_set_size(move->pending, 0);
        move->head = 0;
    } else if (move->head > 1024) {
        g_array_remove_range(move->pending, 0, move->head);
        move->head = 0;
    }
}

/* Takes n pages off `pending` into the arrays of the call; returns their runs. */
static GArray *take_batch(HnMove *move, guint n)
{
    GArray *batch = g_array_new(FALSE, FALSE, sizeof(HnPageRun));
    guint at = 0;

    if (n > move->capacity) {
        move->capacity = n;
        move->addresses = g_renew(void *, move->addresses, n);
        move->nodes = g_renew(int, move->nodes, n);
        move->status = g_renew(int, move->status, n);
    }
    while (at < n) {
        HnPageRun *run = &g_array_index(move->pending, HnPageRun, move->head);
        HnPageRun part = *run;

        part.n = MIN(run->n, n - at);
        for (guint i = 0; i < part.n; i++, at++) {
            move->addresses[at] = GSIZE_TO_POINTER(part.address + i * part.bytes);
            move->nodes[at] = move->spec.to_node_id;
            move->status[at] = HN_MOVE_SENTINEL;
        }
        move->pending_bytes -= part.bytes * part.n;
        run->address += part.bytes * part.n;
        run->n -= part.n;
        if (run->n == 0)
            move->head++;
        g_array_append_val(batch, part);
    }
    compact(move);
    return batch;
}

/* How many of the n pages of a call that returned `result` (positive) the kernel came to. It isolates pages one after the
 * other and migrates those that wait when it meets one that cannot be isolated or need not, whose status it writes first; where
 * some of them do not move it stops, and returns how many did not, and those not come to (do_pages_move() in linux/mm/migrate.c).
 * So more than the pages after the last status written means: it stopped there. */
static guint count_tried(const HnMove *move, guint n, long result)
{
    guint n_after = 0;

    while (n_after < n && move->status[n - 1 - n_after] == HN_MOVE_SENTINEL)
        n_after++;
    return n_after < n && result > (long)n_after ? n - n_after : n;
}

/* Pages that a call did not come to, from page `skip` of a batch on, are the next again. Returns their bytes. */
static uint64_t give_back(HnMove *move, const GArray *batch, guint skip)
{
    g_autoptr(GArray) runs = g_array_new(FALSE, FALSE, sizeof(HnPageRun));
    uint64_t bytes = 0;

    for (guint i = 0; i < batch->len; i++) {
        HnPageRun run = g_array_index(batch, HnPageRun, i);
        const guint n_tried = MIN(skip, run.n);

        skip -= n_tried;
        run.address += n_tried * run.bytes;
        run.n -= n_tried;
        bytes += run.n * run.bytes;
        if (run.n > 0)
            g_array_append_val(runs, run);
    }
    if (runs->len > 0)
        g_array_insert_vals(move->pending, move->head, runs->data, runs->len);
    move->pending_bytes += bytes;
    return bytes;
}

/* The statuses of the first n pages of a batch. Returns what err is then: a page without memory for it makes it ENOMEM. */
static int take_statuses(HnMove *move, const GArray *batch, guint n, int err, GArray *arrived)
{
    guint at = 0;

    for (guint i = 0; i < batch->len; i++) {
        const HnPageRun *run = &g_array_index(batch, HnPageRun, i);

        for (guint k = 0; k < run->n && at < n; k++, at++) {
            const int status = move->status[at];
            HnPageRun page;

            if (status == move->spec.to_node_id && !run->is_block) {
                move->moved_bytes += run->bytes;
                continue;
            }
            page = *run;
            page.address += k * run->bytes;
            page.n = 1;
            if (status == -ENOMEM)
                err = ENOMEM;
            take_status(move, page, status, arrived);
        }
    }
    return err;
}

void hn_move_go(HnMove *move, const HnSyscalls *sys, uint64_t batch_bytes, HnMoved *ret_moved)
{
    const uint64_t moved_before = move->moved_bytes;
    uint64_t asked_bytes, start_ns;
    const guint n = count_batch(move, batch_bytes, &asked_bytes);
    const bool needs_all = g_array_index(move->pending, HnPageRun, move->head).needs_all;
    g_autoptr(GArray) batch = take_batch(move, n);
    g_autoptr(GArray) arrived = g_array_new(FALSE, FALSE, sizeof(HnPageRun));
    uint64_t tried_bytes;
    guint n_tried;
    long result;
    int err;

    start_ns = sys->now_ns(sys->user_data);
    result = sys->move_pages(sys->user_data, move->spec.pid, n, move->addresses, move->nodes, move->status,
                             needs_all ? MPOL_MF_MOVE_ALL : MPOL_MF_MOVE);
    err = result < 0 ? errno : 0;
    ret_moved->asked_bytes = asked_bytes;
    ret_moved->call_ns = sys->now_ns(sys->user_data) - start_ns;

    n_tried = result > 0 ? count_tried(move, n, result) : n;
    if (err != ESRCH)
        requery(move, sys, n_tried);
    err = take_statuses(move, batch, n_tried, err, arrived);
    tried_bytes = ret_moved->tried_bytes = asked_bytes - give_back(move, batch, n_tried);
    ret_moved->is_node_full = err == ENOMEM;
    if (err != ESRCH)
        check_blocks(move, sys, arrived);
    if (err != 0 && err != EINTR && err != EAGAIN)
        hn_move_end_by_errno(move, err);

    ret_moved->moved_bytes = move->moved_bytes - moved_before;
    move->futile_bytes = ret_moved->moved_bytes > 0 ? 0 : move->futile_bytes + tried_bytes;
    if (move->futile_bytes >= FUTILE_BYTES && move->round == 0)
        hn_move_end(move, HN_REASON_IMMOVABLE,
                    g_strdup_printf("%.0f MiB in a row stayed where they are: this memory is pinned",
                                    (double)move->futile_bytes / MIB));
}

