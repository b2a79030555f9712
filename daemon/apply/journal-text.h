/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Journal entries as text and back: what is in DIR/UUID and DIR/host. Pure.
 *
 *     # homenode journal: …
 *     version 1
 *     uuid 2f0c…
 *     name "web1"                        (C escapes)
 *     boot-id 5d3b…
 *     process pid=4711 start-ticks=91833
 *     allowed 0-7                        (or none)
 *     vcpu 0 original=none set=0-3 previous=none owner=homenode
 *     emulator 0 original=0-7 set=0-3 previous=none owner=admin
 *     vhost 4716 start-ticks=91901 original=0-7 set=0-3 previous=none owner=homenode
 *     nodeset 0 mode=restrictive original=0-1 set=0 previous=none owner=homenode
 *     end
 *
 * Everything is checked on reading, because it is acted upon as root: an unknown word, a missing line or a
 * missing "end" makes the whole text corrupt.
 */
#pragma once

#include "journal.h"

typedef struct {
    char *path;
    char *original;
    char *set;
} HnSysctl;

void hn_sysctl_free(HnSysctl *sysctl);

/* Caller frees. */
char *hn_journal_entry_format(const HnJournalEntry *entry);
/* `file` only for messages. Error: HN_JOURNAL_ERROR_CORRUPT. */
HnJournalEntry *hn_journal_entry_parse(const char *text, size_t len, const char *file, GError **error);

/* sysctls: GPtrArray of HnSysctl *. */
char *hn_journal_host_format(const char *boot_id, const GPtrArray *sysctls);
/* *ret_boot_id: caller frees. */
GPtrArray *hn_journal_host_parse(const char *text, size_t len, const char *file, char **ret_boot_id,
                                 GError **error);

const char *hn_piece_kind_name(HnPieceKind kind); /* "vcpu" "emulator" "iothread" "vhost" "nodeset" */
