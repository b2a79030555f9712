/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whose pin is it: see ownership.h.
 */
#include "ownership.h"

static HnPieceKind piece_of(HnOwnedKind kind)
{
    switch (kind) {
    case HN_OWNED_VCPU:
        return HN_PIECE_VCPU;
    case HN_OWNED_EMULATOR:
        return HN_PIECE_EMULATOR;
    case HN_OWNED_IOTHREAD:
        return HN_PIECE_IOTHREAD;
    case HN_OWNED_NODESET:
        break;
    }
    return HN_PIECE_NODESET;
}

static bool lookup(void *user_data, const char *uuid, HnOwnedKind kind, uint32_t id,
                   HnOwned *ret_owned)
{
    g_autoptr(HnJournalEntry) entry = hn_journal_get(user_data, uuid);
    const HnPiece *piece = entry ? hn_journal_entry_piece(entry, piece_of(kind), id) : NULL;

    if (!piece || !piece->has_set || piece->is_yielded)
        return false;
    *ret_owned = (HnOwned){
        .ours = piece->set,
        .has_previous = piece->has_previous,
        .previous = piece->previous,
        .has_original = piece->has_original,
        .original = piece->original,
    };
    return true;
}

HnOwnership hn_ownership_of(HnJournal *journal)
{
    return (HnOwnership){.lookup = lookup, .user_data = journal};
}
