/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fence; see fence.h.
 */
#include "fence.h"

#include "journal-private.h"

bool hn_fence_open_set(const HnControl *control, const HnPiece *piece, HnCpuset *ret_node_ids, GError **error)
{
    if (piece->has_original) {
        *ret_node_ids = piece->original;
        return true;
    }
    return hn_control_read_list(control, "sys/devices/system/node/has_memory", ret_node_ids, error);
}

/* Did the admin change the nodeset since we set it? Then it is his. */
static bool is_admins(const HnControl *control, const HnDomainInfo *info, const HnPiece *piece)
{
    if (piece->is_yielded)
        return true;
    if (!piece->has_set || info->numatune_mode == HN_NUMATUNE_NONE || hn_piece_owns(piece, &info->numatune_nodes) ||
        (piece->has_original && hn_cpuset_equal(&piece->original, &info->numatune_nodes)))
        return false;
    hn_journal_yield(control->journal, info->uuid, HN_PIECE_NODESET, 0);
    return true;
}

static HnEnd set_nodeset(const HnControl *control, const HnDomainInfo *info, HnPiece *piece)
{
    g_autofree char *nodes = hn_cpuset_format(&piece->set);
    g_autoptr(GError) error = NULL;
    HnPiece old;

    piece->has_previous = info->numatune_mode != HN_NUMATUNE_NONE &&
                          hn_journal_lookup(control->journal, info->uuid, HN_PIECE_NODESET, 0, &old) &&
                          hn_piece_owns(&old, &info->numatune_nodes);
    piece->previous = info->numatune_nodes;
    if (!hn_journal_will_set(control->journal, info->uuid, piece, 1, &error))
        return hn_end(HN_REASON_KERNEL_REFUSED, "%s; nothing was changed", error->message);
    if (!control->backend->ops->set_nodeset(control->backend, info->uuid, &piece->set, &error))
        return hn_end_of_error("setting the restrictive nodeset", error);
    return hn_end(HN_REASON_DONE, "restrictive nodeset %s", nodes);
}

HnEnd hn_fence(const HnControl *control, const HnFenceRequest *request)
{
    g_autoptr(HnDomainInfo) info = NULL;
    const uint64_t all_bytes = request->inside_bytes + request->outside_bytes;
    HnEnd end = hn_control_open(control, &request->identity, &info);
    HnPiece piece = {.kind = HN_PIECE_NODESET, .set = request->node_ids};
    HnPiece old;

    if (end.reason != HN_REASON_DONE)
        return end;
    if (all_bytes == 0 || (unsigned __int128)request->outside_bytes * 1000 >
                              (unsigned __int128)all_bytes * HN_FENCE_OUTSIDE_PERMILLE)
        return hn_end(HN_REASON_EVIDENCE_THIN,
                      "%.1f of %.1f MiB lie outside: a fence would move them in one go, unthrottled",
                      (double)request->outside_bytes / (1 << 20), (double)all_bytes / (1 << 20));
    hn_journal_begin(control->journal, info, request->identity.start_ticks);
    if (hn_journal_lookup(control->journal, info->uuid, HN_PIECE_NODESET, 0, &old)) {
        if (is_admins(control, info, &old))
            return hn_end(HN_REASON_NODESET_BY_ADMIN, "the admin has set a nodeset since");
    } else if (info->numatune_mode != HN_NUMATUNE_NONE && info->numatune_mode != HN_NUMATUNE_RESTRICTIVE) {
        return hn_end(HN_REASON_UNSUPPORTED,
                      "the domain's numatune mode is not restrictive: it cannot be changed while it runs");
    } else if (info->numatune_mode == HN_NUMATUNE_RESTRICTIVE) {
        piece.has_original = true;
        piece.original = info->numatune_nodes;
        piece.original_mode = info->numatune_mode;
        if (!hn_cpuset_is_subset(&piece.set, &piece.original))
            return hn_end(HN_REASON_NODESET_BY_ADMIN, "the admin's nodeset leaves no room for that fence");
    }
    if (info->numatune_mode == HN_NUMATUNE_RESTRICTIVE && hn_cpuset_equal(&info->numatune_nodes, &piece.set))
        return hn_end(HN_REASON_DONE, "already so");
    return set_nodeset(control, info, &piece);
}

HnEnd hn_unfence(const HnControl *control, const HnIdentity *identity)
{
    g_autoptr(HnDomainInfo) info = NULL;
    g_autoptr(GError) error = NULL;
    HnEnd end = hn_control_open(control, identity, &info);
    HnPiece piece;
    HnCpuset open_set;

    if (end.reason != HN_REASON_DONE)
        return end;
    if (!hn_journal_lookup(control->journal, info->uuid, HN_PIECE_NODESET, 0, &piece) || !piece.has_set)
        return hn_end(HN_REASON_DONE, "there is no fence");
    if (is_admins(control, info, &piece))
        return hn_end(HN_REASON_DONE, "the nodeset is the admin's");
    if (!hn_fence_open_set(control, &piece, &open_set, &error))
        return hn_end(HN_REASON_KERNEL_REFUSED, "cannot tell which nodes have memory: %s", error->message);
    if (hn_cpuset_equal(&info->numatune_nodes, &open_set))
        return hn_end(HN_REASON_DONE, "already open");
    piece.set = open_set;
    return set_nodeset(control, info, &piece);
}
