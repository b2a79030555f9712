/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bookkeeping of a move: looking, moving, reading back; see move.h.
 *
 * `pending` holds pages known to lie elsewhere, `busy` those set aside for a later round. Both are bounded:
 * looking stops while enough is pending, and busy pages beyond MAX_BUSY become residue untried again.
 *
 * Must not: sleep, look at the clock (but for timing its own call), know of nodes other than by kernel id.
 */
#include "move.h"

#include <errno.h>
#include <limits.h>
#include <numaif.h>
#include <string.h>

#define MIB (1024ull * 1024)
#define SMALL_BYTES 4096ull
#define BLOCK_BYTES (2 * MIB) /* a huge page where small ones have 4 KiB */
#define BLOCK_PAGES 512
#define LOOK_PAGES 2048           /* addresses per query: 0.3 ms */
#define ENOUGH_BYTES (128 * MIB)  /* stop looking ahead: twice the largest default batch */
#define MAX_BUSY 65536
#define FUTILE_BYTES (32 * MIB)
#define SENTINEL INT_MIN

/* Pages of one kind in a row. */
typedef struct {
    uint64_t address;
    uint64_t bytes;  /* of one page */
    uint32_t n;
    bool is_block;   /* each is taken for one transparent huge page */
    bool is_hugetlb;
    bool needs_all;
} Run;

struct HnMove {
    HnMoveSpec spec;
    guint range;      /* index of the range being looked at */
    uint64_t offset;  /* into it */
    bool is_second_pass;
    GArray *pending;  /* Run, from `head` on */
    guint head;
    uint64_t pending_bytes;
    GArray *busy;     /* Run of one page each */
    uint32_t round;   /* of retrying */
    uint64_t due_ns;  /* of the next round; 0: not waiting */
    uint64_t moved_bytes;
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

HnMove *hn_move_new(const HnMoveSpec *spec)
{
    HnMove *move = g_new0(HnMove, 1);

    move->spec = *spec;
    move->pending = g_array_new(FALSE, FALSE, sizeof(Run));
    move->busy = g_array_new(FALSE, FALSE, sizeof(Run));
    move->reason = HN_REASON_IN_PROGRESS;
    return move;
}

void hn_move_free(HnMove *move)
{
    if (!move)
        return;
    g_array_unref(move->spec.ranges);
    g_array_unref(move->pending);
    g_array_unref(move->busy);
    g_free(move->addresses);
    g_free(move->nodes);
    g_free(move->status);
    g_free(move->sentence);
    g_free(move);
}

void hn_move_end(HnMove *move, HnReason reason, char *sentence)
{
    if (move->reason != HN_REASON_IN_PROGRESS) {
        g_free(sentence);
        return;
    }
    move->reason = reason;
    move->sentence = sentence;
}

void hn_move_vanished(HnMove *move)
{
    g_free(move->sentence);
    move->reason = HN_REASON_VANISHED;
    move->sentence =
        g_strdup_printf("process %" G_GINT64_FORMAT " ended while its memory moved", move->spec.pid);
}

/* ---- what a failed call means ---- */

static void end_by_errno(HnMove *move, int err)
{
    const int64_t pid = move->spec.pid;
    const int node = move->spec.to_node_id;

    switch (err) {
    case ESRCH:
        hn_move_end(move, HN_REASON_VANISHED,
                    g_strdup_printf("process %" G_GINT64_FORMAT " ended while its memory moved", pid));
        break;
    case EPERM:
        hn_move_end(move, HN_REASON_PERMISSION_DENIED,
                    g_strdup_printf("move_pages of process %" G_GINT64_FORMAT " is not permitted: it takes "
                                    "CAP_SYS_PTRACE, for shared memory CAP_SYS_NICE too, and no objection of "
                                    "the security module", pid));
        break;
    case ENOMEM:
        hn_move_end(move, HN_REASON_NODE_FULL,
                    g_strdup_printf("the kernel found no free page on node %d", node));
        break;
    case EACCES:
        hn_move_end(move, HN_REASON_NODESET_BY_ADMIN,
                    g_strdup_printf("node %d is outside the domain's cpuset.mems", node));
        break;
    case ENODEV:
        hn_move_end(move, HN_REASON_KERNEL_REFUSED,
                    g_strdup_printf("node %d is offline or has no memory (ENODEV)", node));
        break;
    default:
        hn_move_end(move, HN_REASON_KERNEL_REFUSED,
                    g_strdup_printf("move_pages of process %" G_GINT64_FORMAT " to node %d: %s (errno %d)", pid,
                                    node, g_strerror(err), err));
        break;
    }
}

/* ---- looking ---- */

/* False: ended. */
static bool query(HnMove *move, const HnSyscalls *sys, guint n, void **addresses, int *ret_status)
{
    long result;

    for (guint i = 0; i < n; i++)
        ret_status[i] = SENTINEL;
    do
        result = sys->move_pages(sys->user_data, move->spec.pid, n, addresses, NULL, ret_status, 0);
    while (result < 0 && (errno == EINTR || errno == EAGAIN));
    if (result == 0)
        return true;
    end_by_errno(move, result < 0 ? errno : EIO);
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
    const Run run = {
        .address = address,
        .bytes = bytes,
        .n = n,
        .is_block = is_block,
        .is_hugetlb = range->page_bytes > move->spec.base_page_bytes,
        .needs_all = range->is_shared,
    };
    Run *last = move->pending->len > move->head ? &g_array_index(move->pending, Run, move->pending->len - 1) : NULL;

    move->pending_bytes += bytes * n;
    if (last && last->address + last->bytes * last->n == address && last->bytes == bytes &&
        last->is_block == is_block && last->needs_all == run.needs_all && last->n < G_MAXUINT32 - n)
        last->n += n;
    else
        g_array_append_val(move->pending, run);
}

/* Lists n pages of one size from `start`; those elsewhere become pending. Returns the bytes found on the
 * destination. */
static uint64_t list_pages(HnMove *move, const HnSyscalls *sys, uint64_t start, guint n, const HnRange *range)
{
    void *addresses[LOOK_PAGES];
    int status[LOOK_PAGES];
    uint64_t at_home_bytes = 0;

    for (guint i = 0; i < n; i++)
        addresses[i] = GSIZE_TO_POINTER(start + i * range->page_bytes);
    if (!query(move, sys, n, addresses, status))
        return 0;
    for (guint i = 0; i < n; i++) {
        if (is_elsewhere(move, status[i]))
            add_pending(move, start + i * range->page_bytes, range->page_bytes, 1, false, range);
        else if (status[i] == move->spec.to_node_id)
            at_home_bytes += range->page_bytes;
    }
    return at_home_bytes;
}

#define THP_SAMPLES 4
#define SMALL_SAMPLES 16

/* Where to look into a block: first and last page, and evenly between. */
static void sample_addresses(uint64_t block, guint n_samples, void **ret_addresses)
{
    for (guint i = 0; i < n_samples; i++)
        ret_addresses[i] = GSIZE_TO_POINTER(block + i * (BLOCK_PAGES - 1) / (n_samples - 1) * SMALL_BYTES);
}

static bool is_uniform(const int *status, guint n_samples)
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
    const guint n_samples = is_thp ? THP_SAMPLES : SMALL_SAMPLES;
    void *addresses[LOOK_PAGES];
    int status[LOOK_PAGES];

    for (guint i = 0; i < n; i++)
        sample_addresses(start + i * BLOCK_BYTES, n_samples, &addresses[i * n_samples]);
    if (!query(move, sys, n * n_samples, addresses, status))
        return;
    for (guint i = 0; i < n && move->reason == HN_REASON_IN_PROGRESS; i++) {
        const int *s = &status[i * n_samples];
        const uint64_t block = start + i * BLOCK_BYTES;
        const bool is_all_elsewhere = is_uniform(s, n_samples) && is_elsewhere(move, s[0]);

        if (is_all_elsewhere && is_thp)
            add_pending(move, block, BLOCK_BYTES, 1, true, range);
        else if (is_all_elsewhere && !move->is_second_pass)
            add_pending(move, block, SMALL_BYTES, BLOCK_PAGES, false, range);
        else if (!is_thp || !is_uniform(s, n_samples))
            list_pages(move, sys, block, BLOCK_PAGES, range);
    }
}

/* One look further. False when all ranges have been looked at. */
static bool look(HnMove *move, const HnSyscalls *sys)
{
    while (move->range < move->spec.ranges->len) {
        const HnRange *range = &g_array_index(move->spec.ranges, HnRange, move->range);
        const uint64_t at = range->start + move->offset, left = range->length_bytes - move->offset;
        const bool has_blocks = range->page_bytes == SMALL_BYTES;
        uint64_t n, bytes;

        if (left < range->page_bytes || (move->is_second_pass && !range->is_thp)) {
            move->range++;
            move->offset = 0;
            continue;
        }
        if (has_blocks && at % BLOCK_BYTES == 0 && left >= BLOCK_BYTES) {
            n = MIN(left / BLOCK_BYTES, LOOK_PAGES / SMALL_SAMPLES);
            bytes = n * BLOCK_BYTES;
            look_at_blocks(move, sys, at, (guint)n, range);
        } else {
            n = MIN(left / range->page_bytes, LOOK_PAGES);
            if (has_blocks) /* up to the next block only */
                n = MIN(n, (BLOCK_BYTES - at % BLOCK_BYTES) / SMALL_BYTES);
            bytes = n * range->page_bytes;
            list_pages(move, sys, at, (guint)n, range);
        }
        move->offset += bytes;
        return true;
    }
    return false;
}

/* ---- what is next ---- */

static uint64_t left_bytes(const HnMove *move)
{
    return move->busy_left_bytes + move->shared_left_bytes + move->other_left_bytes;
}

static bool wants_second_pass(const HnMove *move)
{
    const uint64_t expected = MIN(move->spec.expected_bytes, move->spec.limit_bytes);
    const uint64_t seen = move->moved_bytes + left_bytes(move);

    if (move->is_second_pass || seen >= expected || expected - seen < MAX(BLOCK_BYTES, expected / 100))
        return false;
    for (guint i = 0; i < move->spec.ranges->len; i++) {
        if (g_array_index(move->spec.ranges, HnRange, i).is_thp)
            return true;
    }
    return false;
}

static void finish(HnMove *move)
{
    const uint64_t left = left_bytes(move);
    GString *text;

    if (left == 0) {
        hn_move_end(move, HN_REASON_DONE,
                    g_strdup_printf("%.1f MiB moved to node %d", (double)move->moved_bytes / MIB,
                                    move->spec.to_node_id));
        return;
    }
    text = g_string_new(NULL);
    g_string_append_printf(text, "%.1f MiB moved to node %d, %.1f MiB would not:", (double)move->moved_bytes / MIB,
                           move->spec.to_node_id, (double)left / MIB);
    if (move->busy_left_bytes > 0)
        g_string_append_printf(text, " %.1f MiB stayed busy", (double)move->busy_left_bytes / MIB);
    if (move->shared_left_bytes > 0)
        g_string_append_printf(text, " %.1f MiB are mapped by other processes too (MOVE_ALL was refused)",
                               (double)move->shared_left_bytes / MIB);
    if (move->other_left_bytes > 0)
        g_string_append_printf(text, " %.1f MiB: %s", (double)move->other_left_bytes / MIB,
                               g_strerror(move->other_errno));
    hn_move_end(move, HN_REASON_DONE_WITH_RESIDUE, g_string_free(text, FALSE));
}

static void busy_to_residue(HnMove *move)
{
    for (guint i = 0; i < move->busy->len; i++)
        move->busy_left_bytes += g_array_index(move->busy, Run, i).bytes;
    g_array_set_size(move->busy, 0);
}

/* Only busy pages are left: wait for their round, begin it, or give them up. */
static HnNext next_of_busy(HnMove *move, const HnLimits *limits, uint64_t now_ns, uint64_t *ret_wait_ns)
{
    if (move->round >= limits->busy_retries) {
        busy_to_residue(move);
        return HN_NEXT_LOOKED;
    }
    if (move->due_ns == 0)
        move->due_ns = now_ns + (limits->busy_wait_ns << move->round);
    if (now_ns < move->due_ns) {
        *ret_wait_ns = move->due_ns - now_ns;
        return HN_NEXT_WAIT;
    }
    move->due_ns = 0;
    move->round++;
    for (guint i = 0; i < move->busy->len; i++) {
        const Run page = g_array_index(move->busy, Run, i);

        g_array_append_val(move->pending, page);
        move->pending_bytes += page.bytes;
    }
    g_array_set_size(move->busy, 0);
    return HN_NEXT_READY;
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

HnNext hn_move_next(HnMove *move, const HnSyscalls *sys, const HnLimits *limits, uint64_t now_ns,
                    uint64_t *ret_wait_ns)
{
    *ret_wait_ns = 0;
    if (move->reason != HN_REASON_IN_PROGRESS)
        return HN_NEXT_END;
    if (move->moved_bytes >= move->spec.limit_bytes) {
        busy_to_residue(move);
        finish(move);
        return HN_NEXT_END;
    }
    if (move->pending_bytes < ENOUGH_BYTES && move->round == 0 && look(move, sys))
        return move->reason == HN_REASON_IN_PROGRESS ? HN_NEXT_LOOKED : HN_NEXT_END;
    if (move->head < move->pending->len)
        return HN_NEXT_READY;
    if (move->busy->len > 0)
        return next_of_busy(move, limits, now_ns, ret_wait_ns);
    if (wants_second_pass(move)) {
        move->is_second_pass = true;
        move->range = 0;
        move->offset = 0;
        move->round = 0;
        return HN_NEXT_LOOKED;
    }
    finish(move);
    return HN_NEXT_END;
}

uint64_t hn_move_page_bytes(const HnMove *move, bool *ret_is_hugetlb)
{
    const Run *run = &g_array_index(move->pending, Run, move->head);

    *ret_is_hugetlb = run->is_hugetlb;
    return run->bytes;
}

/* How many pages the next call takes: as many as fit, at least one, all with the same flag. */
static guint count_batch(const HnMove *move, uint64_t batch_bytes, uint64_t *ret_bytes)
{
    const uint64_t open_bytes = move->spec.limit_bytes - move->moved_bytes;
    const Run *first = &g_array_index(move->pending, Run, move->head);
    uint64_t bytes = first->bytes;
    guint n = 1;

    batch_bytes = MIN(batch_bytes >> MIN(2 * move->round, 32), open_bytes);
    for (guint i = move->head; i < move->pending->len; i++) {
        const Run *run = &g_array_index(move->pending, Run, i);
        const uint64_t room_bytes = batch_bytes > bytes ? batch_bytes - bytes : 0;
        const uint64_t n_left = i == move->head ? run->n - 1 : run->n;
        const uint64_t n_fit = MIN(n_left, room_bytes / run->bytes);

        if (run->needs_all != first->needs_all)
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

static void set_aside(HnMove *move, const Run *page)
{
    if (move->busy->len >= MAX_BUSY)
        move->busy_left_bytes += page->bytes;
    else
        g_array_append_vals(move->busy, page, 1);
}

static void leave(HnMove *move, const Run *page, int err)
{
    move->other_left_bytes += page->bytes;
    move->other_errno = err;
}

/* Blocks whose head arrived: did the rest come along? Where not, they were small pages: listed. */
static void check_blocks(HnMove *move, const HnSyscalls *sys, const GArray *blocks)
{
    const int to = move->spec.to_node_id;

    for (guint from = 0; from < blocks->len; from += LOOK_PAGES / THP_SAMPLES) {
        const guint n = MIN(blocks->len - from, LOOK_PAGES / THP_SAMPLES);
        void *addresses[LOOK_PAGES];
        int status[LOOK_PAGES];

        for (guint i = 0; i < n; i++)
            sample_addresses(g_array_index(blocks, Run, from + i).address, THP_SAMPLES,
                             &addresses[i * THP_SAMPLES]);
        if (!query(move, sys, n * THP_SAMPLES, addresses, status))
            return;
        for (guint i = 0; i < n && move->reason == HN_REASON_IN_PROGRESS; i++) {
            const int *s = &status[i * THP_SAMPLES];
            const Run *page = &g_array_index(blocks, Run, from + i);
            const HnRange small = {.page_bytes = SMALL_BYTES, .is_shared = page->needs_all};

            if (s[0] == to && is_uniform(s, THP_SAMPLES))
                move->moved_bytes += page->bytes;
            else
                move->moved_bytes += list_pages(move, sys, page->address, BLOCK_PAGES, &small);
        }
    }
}

/* One page's status after the call (page.n is 1). `arrived`: blocks to check. */
static void take_status(HnMove *move, Run page, int status, GArray *arrived)
{
    if (status == move->spec.to_node_id) {
        g_array_append_val(arrived, page); /* a block: its head is there */
    } else if (status >= 0 || status == -EBUSY || status == SENTINEL) {
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
        n_again += move->status[i] == SENTINEL || move->status[i] == -EBUSY;
    if (n_again == 0)
        return;
    again = g_new(void *, n_again);
    index = g_new(guint, n_again);
    again_status = g_new(int, n_again);
    n_again = 0;
    for (guint i = 0; i < n; i++) {
        if (move->status[i] == SENTINEL || move->status[i] == -EBUSY) {
            index[n_again] = i;
            again[n_again++] = move->addresses[i];
        }
    }
    if (!query(move, sys, n_again, again, again_status))
        return;
    for (guint i = 0; i < n_again; i++)
        move->status[index[i]] = again_status[i];
}

/* Takes n pages off `pending` into the arrays of the call; returns their runs. */
static GArray *take_batch(HnMove *move, guint n)
{
    GArray *batch = g_array_new(FALSE, FALSE, sizeof(Run));
    guint at = 0;

    if (n > move->capacity) {
        move->capacity = n;
        move->addresses = g_renew(void *, move->addresses, n);
        move->nodes = g_renew(int, move->nodes, n);
        move->status = g_renew(int, move->status, n);
    }
    while (at < n) {
        Run *run = &g_array_index(move->pending, Run, move->head);
        Run part = *run;

        part.n = MIN(run->n, n - at);
        for (guint i = 0; i < part.n; i++, at++) {
            move->addresses[at] = GSIZE_TO_POINTER(part.address + i * part.bytes);
            move->nodes[at] = move->spec.to_node_id;
            move->status[at] = SENTINEL;
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

/* All statuses of a batch. Returns what err is then: a page without memory for it makes it ENOMEM. */
static int take_statuses(HnMove *move, const GArray *batch, int err, GArray *arrived)
{
    guint at = 0;

    for (guint i = 0; i < batch->len; i++) {
        const Run *run = &g_array_index(batch, Run, i);

        for (guint k = 0; k < run->n; k++, at++) {
            const int status = move->status[at];
            Run page;

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
    const bool needs_all = g_array_index(move->pending, Run, move->head).needs_all;
    g_autoptr(GArray) batch = take_batch(move, n);
    g_autoptr(GArray) arrived = g_array_new(FALSE, FALSE, sizeof(Run));
    long result;
    int err;

    start_ns = sys->now_ns(sys->user_data);
    result = sys->move_pages(sys->user_data, move->spec.pid, n, move->addresses, move->nodes, move->status,
                             needs_all ? MPOL_MF_MOVE_ALL : MPOL_MF_MOVE);
    err = result < 0 ? errno : 0;
    ret_moved->asked_bytes = asked_bytes;
    ret_moved->call_ns = sys->now_ns(sys->user_data) - start_ns;

    if (err != ESRCH)
        requery(move, sys, n);
    err = take_statuses(move, batch, err, arrived);
    ret_moved->is_node_full = err == ENOMEM;
    if (err != ESRCH)
        check_blocks(move, sys, arrived);
    if (err != 0 && err != EINTR && err != EAGAIN)
        end_by_errno(move, err);

    ret_moved->moved_bytes = move->moved_bytes - moved_before;
    move->futile_bytes = ret_moved->moved_bytes > 0 ? 0 : move->futile_bytes + asked_bytes;
    if (move->futile_bytes >= FUTILE_BYTES && move->round == 0)
        hn_move_end(move, HN_REASON_IMMOVABLE,
                    g_strdup_printf("%.0f MiB in a row stayed where they are: this memory is pinned",
                                    (double)move->futile_bytes / MIB));
}

void hn_move_result(HnMove *move, HnMoveResult *ret_result)
{
    busy_to_residue(move);
    *ret_result = (HnMoveResult){
        .reason = move->reason,
        .sentence = move->sentence ? move->sentence : "",
        .moved_bytes = move->moved_bytes,
        .left_bytes = left_bytes(move),
    };
}
