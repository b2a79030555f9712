/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The journal: what a domain was before homenode changed it, and what homenode set.
 *
 * Theory. One text file per domain, DIR/UUID, and one for the host, DIR/host (sysctls); DIR is
 * /run/homenode/journal on a real host, so a reboot clears it together with what it describes. Every file
 * is replaced atomically (temporary file, fsync, rename) and is written *before* the change it describes
 * (write-ahead): whatever instant the daemon dies at, the file says at least as much as was changed.
 * Restoring is idempotent, so saying too much is harmless.
 *
 * Each *piece* of a domain (vCPU, emulator, iothread, vhost thread, nodeset) has its original value, what we
 * set last and what we had set before that (the last change may not have happened), and whether the admin
 * has since taken it over ("yielded"): then it is his, is not touched again and not restored.
 *
 * A file that cannot be understood is moved to DIR/corrupt/ and never acted upon.
 *
 * Threads: every function may be called from any thread; one mutex inside.
 * Must not: pin, move or decide. The only thing it changes outside DIR is a sysctl it is told to set.
 */
#pragma once

#include "backend/backend.h"
#include "observe/root.h"

#define HN_JOURNAL_DEFAULT_DIR "/run/homenode/journal"

#define HN_JOURNAL_ERROR (hn_journal_error_quark())
typedef enum {
    HN_JOURNAL_ERROR_CORRUPT, /* a file that cannot be understood */
    HN_JOURNAL_ERROR_IO,      /* cannot read or write DIR */
    HN_JOURNAL_ERROR_UNKNOWN, /* no such entry or piece */
} HnJournalError;
GQuark hn_journal_error_quark(void);

typedef enum {
    HN_PIECE_VCPU,
    HN_PIECE_EMULATOR, /* id 0 */
    HN_PIECE_IOTHREAD,
    HN_PIECE_VHOST,    /* id: the thread's tid */
    HN_PIECE_NODESET,  /* id 0; the sets are kernel node ids */
} HnPieceKind;

typedef struct {
    HnPieceKind kind;
    uint32_t id;
    uint64_t start_ticks; /* VHOST: of the thread; else 0 */
    bool has_original;    /* false: it had no pin or nodeset of its own */
    HnCpuset original;
    HnNumatuneMode original_mode; /* NODESET only */
    bool has_set;         /* we changed it and have not restored it */
    HnCpuset set;
    bool has_previous;    /* what was in force before `set`, if that was ours too */
    HnCpuset previous;
    bool is_yielded;      /* the admin's now */
} HnPiece;

typedef struct {
    char uuid[HN_UUID_LEN + 1];
    char *name;
    char *boot_id;
    int64_t pid;
    uint64_t start_ticks;
    bool has_allowed;  /* <vcpu cpuset='…'> */
    HnCpuset allowed;
    GArray *pieces;    /* HnPiece */
} HnJournalEntry;

HnJournalEntry *hn_journal_entry_copy(const HnJournalEntry *entry);
void hn_journal_entry_free(HnJournalEntry *entry);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnJournalEntry, hn_journal_entry_free)
/* NULL if the entry has no such piece. */
HnPiece *hn_journal_entry_piece(const HnJournalEntry *entry, HnPieceKind kind, uint32_t id);

typedef struct HnJournal HnJournal;

/* Creates DIR (0700) if needed. boot_id: text of proc/sys/kernel/random/boot_id, white space ignored.
 * Error: HN_JOURNAL_ERROR_IO. */
HnJournal *hn_journal_new(const char *dir, const char *boot_id, GError **error);
void hn_journal_free(HnJournal *journal);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnJournal, hn_journal_free)

/* What hn_journal_load() found in one file. */
typedef enum {
    HN_JOURNAL_SAME,    /* that very process still runs: adopt (do nothing) or hn_actuator_release() */
    HN_JOURNAL_GONE,    /* it ended, was restarted or the host was rebooted: the file is deleted */
    HN_JOURNAL_CORRUPT, /* moved to DIR/corrupt/, message says what is wrong */
} HnJournalState;

typedef struct {
    HnJournalState state;
    char *uuid;    /* the file's name */
    char *name;    /* NULL if corrupt */
    char *message; /* one English sentence */
} HnJournalFound;

void hn_journal_found_free(HnJournalFound *found);

/* At start, before anything else: reads DIR and checks each entry against the processes below `root`.
 * Returns GPtrArray of HnJournalFound * (owned, ascending uuid), NULL with HN_JOURNAL_ERROR_IO if DIR
 * cannot be read. Temporary files of an interrupted write are deleted. */
GPtrArray *hn_journal_load(HnJournal *journal, const HnRoot *root, GError **error);

/* Uuids of all entries, ascending. Free with g_strfreev. */
char **hn_journal_list(HnJournal *journal);
/* A copy of the entry, NULL if none. */
HnJournalEntry *hn_journal_get(HnJournal *journal, const char *uuid);

/* Opens an entry for the running process (pid, start_ticks) of `info`, in memory only: the file appears
 * with the first hn_journal_will_set(). An entry of the same process is kept, one of an earlier process of
 * the same uuid is dropped (its pins died with it). */
void hn_journal_begin(HnJournal *journal, const HnDomainInfo *info, uint64_t start_ticks);

/* Before pieces are changed to their `set`: records it, and for a piece touched for the first time also
 * `original`, `original_mode`, `start_ticks` as given; writes the file once for all. `previous` as given: what is in force
 * of ours; where it is not given, what was set last is taken to be in force (it is not if it was written down and never
 * done). Yielded pieces are left as they are. Nothing may be changed if this fails.
 * Errors: HN_JOURNAL_ERROR_IO, HN_JOURNAL_ERROR_UNKNOWN (no hn_journal_begin). */
bool hn_journal_will_set(HnJournal *journal, const char *uuid, const HnPiece *pieces, guint n_pieces,
                         GError **error);
/* A piece is back at its original: it is dropped, so that a later change asks for the original anew. */
bool hn_journal_restored(HnJournal *journal, const char *uuid, HnPieceKind kind, uint32_t id, GError **error);
/* The admin changed a piece: his from now on. True if it was ours until now. */
bool hn_journal_yield(HnJournal *journal, const char *uuid, HnPieceKind kind, uint32_t id);
/* Deletes entry and file; the domain is untouched again (or gone). */
bool hn_journal_forget(HnJournal *journal, const char *uuid, GError **error);

/* One piece, as it is now. False if that domain or piece was never touched. */
bool hn_journal_lookup(HnJournal *journal, const char *uuid, HnPieceKind kind, uint32_t id, HnPiece *ret_piece);
/* Whose is a value now in force? True if `cpus` is what we set last on that piece, or just before. `key` is
 * libvirt's ("cputune.vcpupin3", "cputune.emulatorpin", "cputune.iothreadpin1"). */
bool hn_journal_owns_pin(HnJournal *journal, const char *uuid, const char *key, const HnCpuset *cpus);
/* The same for a nodeset (kernel node ids). */
bool hn_journal_owns_nodeset(HnJournal *journal, const char *uuid, const HnCpuset *node_ids);
/* The pin the admin wants for a piece that we changed: true and *ret_cpus if he had set one before us; false
 * if he had none, if we never touched the piece, or if it is yielded (then what is in force is his). */
bool hn_journal_admin_pin(HnJournal *journal, const char *uuid, HnPieceKind kind, uint32_t id,
                          HnCpuset *ret_cpus);
/* Parses libvirt's key of a TUNABLE event. */
bool hn_journal_parse_key(const char *key, HnPieceKind *ret_kind, uint32_t *ret_id);

/* Host-wide settings. `path` is relative to the root ("proc/sys/kernel/numa_balancing"). Records the value
 * read now (first time only), writes the journal, then the setting. */
bool hn_journal_set_sysctl(HnJournal *journal, const HnRoot *root, const char *path, const char *value,
                           GError **error);
/* What is journalled of a setting: true, and copies of the value before us and of ours (caller frees). */
bool hn_journal_lookup_sysctl(HnJournal *journal, const char *path, char **ret_original, char **ret_set);
/* Puts back one setting, if it still has the value we set; one that is not journalled is none of ours, and one that
 * the kernel does not have any more is forgotten. */
bool hn_journal_restore_sysctl(HnJournal *journal, const HnRoot *root, const char *path, GError **error);
/* The setting is the admin's now, or was never changed: it is left as it is, and not restored later. */
bool hn_journal_forget_sysctl(HnJournal *journal, const char *path, GError **error);
/* Puts back every setting that still has the value we set; one that the admin changed since is left and
 * forgotten. False with the first error; the rest is tried all the same. */
bool hn_journal_restore_sysctls(HnJournal *journal, const HnRoot *root, GError **error);
