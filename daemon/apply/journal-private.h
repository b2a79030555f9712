/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What journal.c and journal-host.c share. Nobody else includes it, except the restorer for hn_piece_owns().
 * Functions here expect the lock to be held.
 */
#pragma once

#include "journal-text.h"
#include "observe/text.h"

#include <unistd.h>

struct HnJournal {
    GMutex lock;
    char *dir;
    char *boot_id;
    GHashTable *entries; /* HnJournalEntry.uuid → HnJournalEntry, owned */
    GPtrArray *sysctls;  /* HnSysctl *, owned */
};

bool hn_journal_write_file(HnJournal *journal, const char *file, const char *text, GError **error);
bool hn_journal_delete_file(HnJournal *journal, const char *file, GError **error);
HnJournalFound *hn_journal_set_aside(HnJournal *journal, const char *file, const char *why);
/* Reads DIR/host; not NULL if it is corrupt. */
HnJournalFound *hn_journal_load_host(HnJournal *journal);

/* Is `value` what we set on this piece last, or just before? Needs no lock. */
bool hn_piece_owns(const HnPiece *piece, const HnCpuset *value);
