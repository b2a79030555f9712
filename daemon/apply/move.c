/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A move as a whole: what is next, and how it ended; see move.h. Looking is in move-look.c, the calls in move-call.c.
 *
 * `pending` holds pages known to lie elsewhere, `busy` those set aside for a later round. Both are bounded:
 * looking stops while enough is pending, and busy pages beyond a bound become residue untried again.
 *
 * Must not: sleep, look at the clock, know of nodes other than by kernel id.
 */
#include "move-private.h"

#include <errno.h>

#define MIB (1024ull * 1024)
#define ENOUGH_BYTES (128 * MIB)  /* stop looking ahead: twice the largest default batch */

HnMove *hn_move_new(const HnMoveSpec *spec)
{
    HnMove *move = g_new0(HnMove, 1);

    move->spec = *spec;
    move->pending = g_array_new(FALSE, FALSE, sizeof(HnPageRun));
    move->busy = g_array_new(FALSE, FALSE, sizeof(HnPageRun));
    move->huge = g_array_new(FALSE, FALSE, sizeof(uint64_t));
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
    g_array_unref(move->huge);
    g_free(move->collapse_note);
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

void hn_move_end_by_errno(HnMove *move, int err)
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

/* ---- what is next ---- */

static uint64_t left_bytes(const HnMove *move)
{
    return move->busy_left_bytes + move->shared_left_bytes + move->other_left_bytes;
}

static bool wants_second_pass(const HnMove *move)
{
    const uint64_t expected = MIN(move->spec.expected_bytes, move->spec.limit_bytes);
    const uint64_t seen = move->moved_bytes + left_bytes(move);

    if (move->is_second_pass || seen >= expected || expected - seen < MAX(HN_MOVE_BLOCK_BYTES, expected / 100))
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
                    g_strdup_printf("%.1f MiB moved to node %d%s", (double)move->moved_bytes / MIB,
                                    move->spec.to_node_id, move->collapse_note ? move->collapse_note : ""));
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
    if (move->collapse_note)
        g_string_append(text, move->collapse_note);
    hn_move_end(move, HN_REASON_DONE_WITH_RESIDUE, g_string_free(text, FALSE));
}

static void busy_to_residue(HnMove *move)
{
    for (guint i = 0; i < move->busy->len; i++)
        move->busy_left_bytes += g_array_index(move->busy, HnPageRun, i).bytes;
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
        const HnPageRun page = g_array_index(move->busy, HnPageRun, i);

        g_array_append_val(move->pending, page);
        move->pending_bytes += page.bytes;
    }
    g_array_set_size(move->busy, 0);
    return HN_NEXT_READY;
}

HnNext hn_move_next(HnMove *move, const HnSyscalls *sys, const HnLimits *limits, uint64_t now_ns,
                    uint64_t *ret_wait_ns)
{
    *ret_wait_ns = 0;
    if (move->reason != HN_REASON_IN_PROGRESS)
        return HN_NEXT_END;
    if (move->moved_bytes >= move->spec.limit_bytes) {
        if (move->huge_at < move->huge->len)
            return HN_NEXT_COLLAPSE;
        busy_to_residue(move);
        finish(move);
        return HN_NEXT_END;
    }
    if (move->pending_bytes < ENOUGH_BYTES && move->round == 0 && hn_move_look(move, sys))
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
    if (move->huge_at < move->huge->len)
        return HN_NEXT_COLLAPSE;
    finish(move);
    return HN_NEXT_END;
}

/* What was tried and would not move; where enough was tried to know, all of it. */
static uint64_t stayed_bytes(const HnMove *move)
{
    const uint64_t expected = MIN(move->spec.expected_bytes, move->spec.limit_bytes);
    const uint64_t tried = left_bytes(move);

    if (move->reason != HN_REASON_IMMOVABLE)
        return tried;
    return MAX(tried + move->pending_bytes, expected - MIN(expected, move->moved_bytes));
}

void hn_move_result(HnMove *move, HnMoveResult *ret_result)
{
    busy_to_residue(move);
    *ret_result = (HnMoveResult){
        .reason = move->reason,
        .sentence = move->sentence ? move->sentence : "",
        .moved_bytes = move->moved_bytes,
        .left_bytes = stayed_bytes(move),
    };
}
