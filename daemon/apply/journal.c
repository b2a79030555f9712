/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The journal in memory and on disk; see journal.h. The text is journal-text.c's, sysctls are in
 * journal-host.c.
 *
 * In memory is what is on disk, plus entries that were begun and have no piece yet. A change is made on a
 * copy of the entry, the copy is written, and only then put in place: a failed write leaves both as they were.
 */
#include "journal-private.h"

#include "observe/process.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

G_DEFINE_QUARK(hn-journal-error-quark, hn_journal_error)

/* ---- entries ---- */

HnJournalEntry *hn_journal_entry_copy(const HnJournalEntry *entry)
{
    HnJournalEntry *copy = g_new0(HnJournalEntry, 1);

    *copy = *entry;
    copy->name = g_strdup(entry->name);
    copy->boot_id = g_strdup(entry->boot_id);
    copy->pieces = g_array_copy(entry->pieces);
    return copy;
}

void hn_journal_entry_free(HnJournalEntry *entry)
{
    if (!entry)
        return;
    g_free(entry->name);
    g_free(entry->boot_id);
    g_array_unref(entry->pieces);
    g_free(entry);
}

HnPiece *hn_journal_entry_piece(const HnJournalEntry *entry, HnPieceKind kind, uint32_t id)
{
    for (guint i = 0; i < entry->pieces->len; i++) {
        HnPiece *piece = &g_array_index(entry->pieces, HnPiece, i);

        if (piece->kind == kind && piece->id == id)
            return piece;
    }
    return NULL;
}

static bool is_same_process(const HnJournalEntry *entry, const char *boot_id, int64_t pid, uint64_t start_ticks)
{
    return entry->pid == pid && entry->start_ticks == start_ticks && g_strcmp0(entry->boot_id, boot_id) == 0;
}

/* ---- opening ---- */

HnJournal *hn_journal_new(const char *dir, const char *boot_id, GError **error)
{
    HnJournal *journal;
    g_autofree char *corrupt_dir = g_build_filename(dir, "corrupt", NULL);

    if (g_mkdir_with_parents(corrupt_dir, 0700) < 0) {
        g_set_error(error, HN_JOURNAL_ERROR, HN_JOURNAL_ERROR_IO, "cannot create the journal directory %s: %s",
                    corrupt_dir, g_strerror(errno));
        return NULL;
    }
    journal = g_new0(HnJournal, 1);
    g_mutex_init(&journal->lock);
    journal->dir = g_strdup(dir);
    journal->boot_id = g_strstrip(g_strdup(boot_id));
    journal->entries =
        g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)hn_journal_entry_free);
    journal->sysctls = g_ptr_array_new_with_free_func((GDestroyNotify)hn_sysctl_free);
    return journal;
}

void hn_journal_free(HnJournal *journal)
{
    if (!journal)
        return;
    g_hash_table_unref(journal->entries);
    g_ptr_array_unref(journal->sysctls);
    g_free(journal->dir);
    g_free(journal->boot_id);
    g_mutex_clear(&journal->lock);
    g_free(journal);
}

/* ---- files ---- */

bool hn_journal_write_file(HnJournal *journal, const char *file, const char *text, GError **error)
{
    g_autofree char *path = g_build_filename(journal->dir, file, NULL);
    g_autoptr(GError) inner = NULL;

    if (g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE,
                                 0600, &inner))
        return true;
    g_set_error(error, HN_JOURNAL_ERROR, HN_JOURNAL_ERROR_IO, "cannot write the journal %s: %s", path,
                inner->message);
    return false;
}

bool hn_journal_delete_file(HnJournal *journal, const char *file, GError **error)
{
    g_autofree char *path = g_build_filename(journal->dir, file, NULL);

    if (unlink(path) == 0 || errno == ENOENT)
        return true;
    g_set_error(error, HN_JOURNAL_ERROR, HN_JOURNAL_ERROR_IO, "cannot delete the journal %s: %s", path,
                g_strerror(errno));
    return false;
}

static bool write_entry(HnJournal *journal, const HnJournalEntry *entry, GError **error)
{
    g_autofree char *text = hn_journal_entry_format(entry);

    return hn_journal_write_file(journal, entry->uuid, text, error);
}

/* Writes `copy` (or deletes the file if nothing of ours is left in it), then puts it in place. */
static bool replace_entry(HnJournal *journal, HnJournalEntry *copy, GError **error)
{
    g_autoptr(HnJournalEntry) owned = copy;

    if (copy->pieces->len > 0 ? !write_entry(journal, copy, error)
                              : !hn_journal_delete_file(journal, copy->uuid, error))
        return false;
    owned = NULL;
    g_hash_table_replace(journal->entries, copy->uuid, copy);
    return true;
}

/* ---- reading at start ---- */

void hn_journal_found_free(HnJournalFound *found)
{
    if (!found)
        return;
    g_free(found->uuid);
    g_free(found->name);
    g_free(found->message);
    g_free(found);
}

static HnJournalFound *found_new(HnJournalState state, const char *uuid, const char *name, char *message)
{
    HnJournalFound *found = g_new0(HnJournalFound, 1);

    found->state = state;
    found->uuid = g_strdup(uuid);
    found->name = g_strdup(name);
    found->message = message;
    return found;
}

HnJournalFound *hn_journal_set_aside(HnJournal *journal, const char *file, const char *why)
{
    g_autofree char *from = g_build_filename(journal->dir, file, NULL);
    g_autofree char *to = g_build_filename(journal->dir, "corrupt", file, NULL);

    if (rename(from, to) < 0)
        return found_new(HN_JOURNAL_CORRUPT, file, NULL,
                         g_strdup_printf("%s; it could not be moved to %s (%s) and is ignored", why, to,
                                         g_strerror(errno)));
    return found_new(HN_JOURNAL_CORRUPT, file, NULL,
                     g_strdup_printf("%s; it is kept as %s and was not acted upon", why, to));
}

static HnJournalFound *judge(HnJournal *journal, const HnRoot *root, HnJournalEntry *entry)
{
    g_autofree char *dir = g_strdup_printf("proc/%" G_GINT64_FORMAT, entry->pid);
    HnTaskStat stat;
    const char *why = NULL;

    if (g_strcmp0(entry->boot_id, journal->boot_id) != 0)
        why = "the host was rebooted since";
    else if (!hn_task_stat_read(root, dir, &stat, NULL) || stat.state == 'Z')
        why = "its process has ended";
    else if (stat.start_ticks != entry->start_ticks)
        why = "its process id belongs to another process now";
    if (why) {
        hn_journal_delete_file(journal, entry->uuid, NULL);
        return found_new(HN_JOURNAL_GONE, entry->uuid, entry->name,
                         g_strdup_printf("%s: %s; nothing to restore", entry->name, why));
    }
    return found_new(HN_JOURNAL_SAME, entry->uuid, entry->name,
                     g_strdup_printf("%s: still running as pid %" G_GINT64_FORMAT ", %u pieces are journalled",
                                     entry->name, entry->pid, entry->pieces->len));
}

static HnJournalFound *load_one(HnJournal *journal, const HnRoot *root, const char *file)
{
    g_autofree char *path = g_build_filename(journal->dir, file, NULL);
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    HnJournalEntry *entry;
    HnJournalFound *found;
    gsize len;

    if (!g_file_get_contents(path, &text, &len, &error))
        return hn_journal_set_aside(journal, file, error->message);
    entry = hn_journal_entry_parse(text, len, path, &error);
    if (!entry)
        return hn_journal_set_aside(journal, file, error->message);
    if (strcmp(entry->uuid, file) != 0) {
        g_autofree char *why = g_strdup_printf("%s: is about domain %s", path, entry->uuid);

        hn_journal_entry_free(entry);
        return hn_journal_set_aside(journal, file, why);
    }
    found = judge(journal, root, entry);
    if (found->state == HN_JOURNAL_SAME)
        g_hash_table_replace(journal->entries, entry->uuid, entry);
    else
        hn_journal_entry_free(entry);
    return found;
}

static gint compare_found(gconstpointer a, gconstpointer b)
{
    return strcmp((*(const HnJournalFound *const *)a)->uuid, (*(const HnJournalFound *const *)b)->uuid);
}

GPtrArray *hn_journal_load(HnJournal *journal, const HnRoot *root, GError **error)
{
    g_autoptr(GDir) dir = NULL;
    g_autoptr(GError) inner = NULL;
    g_autoptr(GPtrArray) founds = g_ptr_array_new_with_free_func((GDestroyNotify)hn_journal_found_free);
    const char *file;

    dir = g_dir_open(journal->dir, 0, &inner);
    if (!dir) {
        g_set_error(error, HN_JOURNAL_ERROR, HN_JOURNAL_ERROR_IO, "cannot read the journal directory %s: %s",
                    journal->dir, inner->message);
        return NULL;
    }
    g_mutex_lock(&journal->lock);
    while ((file = g_dir_read_name(dir))) {
        HnJournalFound *found;

        if (strcmp(file, "corrupt") == 0)
            continue;
        if (strcmp(file, "host") == 0) {
            found = hn_journal_load_host(journal);
            if (found)
                g_ptr_array_add(founds, found);
        } else if (strchr(file, '.')) {
            /* GLib's temporary file of an interrupted write: "UUID.XXXXXX". The file itself is whole. */
            hn_journal_delete_file(journal, file, NULL);
        } else {
            g_ptr_array_add(founds, load_one(journal, root, file));
        }
    }
    g_mutex_unlock(&journal->lock);
    g_ptr_array_sort(founds, compare_found);
    return g_steal_pointer(&founds);
}

/* ---- changes ---- */

static gint compare_strings(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

char **hn_journal_list(HnJournal *journal)
{
    GPtrArray *uuids = g_ptr_array_new();
    GHashTableIter iter;
    gpointer value;

    g_mutex_lock(&journal->lock);
    g_hash_table_iter_init(&iter, journal->entries);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const HnJournalEntry *entry = value;

        if (entry->pieces->len > 0)
            g_ptr_array_add(uuids, g_strdup(entry->uuid));
    }
    g_mutex_unlock(&journal->lock);
    g_ptr_array_sort(uuids, compare_strings);
    g_ptr_array_add(uuids, NULL);
    return (char **)g_ptr_array_free(uuids, FALSE);
}

HnJournalEntry *hn_journal_get(HnJournal *journal, const char *uuid)
{
    HnJournalEntry *entry;

    g_mutex_lock(&journal->lock);
    entry = g_hash_table_lookup(journal->entries, uuid);
    if (entry)
        entry = hn_journal_entry_copy(entry);
    g_mutex_unlock(&journal->lock);
    return entry;
}

void hn_journal_begin(HnJournal *journal, const HnDomainInfo *info, uint64_t start_ticks)
{
    HnJournalEntry *entry;

    g_mutex_lock(&journal->lock);
    entry = g_hash_table_lookup(journal->entries, info->uuid);
    if (!entry || !is_same_process(entry, journal->boot_id, info->pid, start_ticks)) {
        if (entry && entry->pieces->len > 0)
            hn_journal_delete_file(journal, info->uuid, NULL);
        entry = g_new0(HnJournalEntry, 1);
        g_strlcpy(entry->uuid, info->uuid, sizeof(entry->uuid));
        entry->name = g_strdup(info->name && *info->name ? info->name : info->uuid);
        entry->boot_id = g_strdup(journal->boot_id);
        entry->pid = info->pid;
        entry->start_ticks = start_ticks;
        entry->has_allowed = info->has_default_cpuset && !hn_cpuset_is_empty(&info->default_cpuset);
        entry->allowed = info->default_cpuset;
        entry->pieces = g_array_new(FALSE, TRUE, sizeof(HnPiece));
        g_hash_table_replace(journal->entries, entry->uuid, entry);
    }
    g_mutex_unlock(&journal->lock);
}

/* `wish` into the entry: first touch, a change of what we set, or nothing if it is the admin's. */
static void merge_piece(HnJournalEntry *entry, const HnPiece *wish)
{
    HnPiece *piece = hn_journal_entry_piece(entry, wish->kind, wish->id);

    /* A vhost thread that ended and whose tid came back is another piece. */
    if (piece && piece->start_ticks != wish->start_ticks) {
        *piece = *wish;
        piece->has_set = true;
        piece->has_previous = piece->is_yielded = false;
        return;
    }
    if (!piece) {
        HnPiece new_piece = *wish;

        new_piece.has_set = true;
        new_piece.has_previous = new_piece.is_yielded = false;
        g_array_append_val(entry->pieces, new_piece);
        return;
    }
    if (piece->is_yielded)
        return;
    if (wish->has_previous) {
        piece->has_previous = true;
        piece->previous = wish->previous;
    } else if (piece->has_set && !hn_cpuset_equal(&piece->set, &wish->set)) {
        piece->has_previous = true;
        piece->previous = piece->set;
    }
    piece->has_set = true;
    piece->set = wish->set;
}

bool hn_journal_will_set(HnJournal *journal, const char *uuid, const HnPiece *pieces, guint n_pieces,
                         GError **error)
{
    HnJournalEntry *entry, *copy;
    bool is_good;

    g_mutex_lock(&journal->lock);
    entry = g_hash_table_lookup(journal->entries, uuid);
    if (!entry) {
        g_mutex_unlock(&journal->lock);
        g_set_error(error, HN_JOURNAL_ERROR, HN_JOURNAL_ERROR_UNKNOWN, "domain %s has no journal entry", uuid);
        return false;
    }
    copy = hn_journal_entry_copy(entry);
    for (guint i = 0; i < n_pieces; i++)
        merge_piece(copy, &pieces[i]);
    is_good = replace_entry(journal, copy, error);
    g_mutex_unlock(&journal->lock);
    return is_good;
}

bool hn_journal_restored(HnJournal *journal, const char *uuid, HnPieceKind kind, uint32_t id, GError **error)
{
    HnJournalEntry *entry, *copy;
    bool is_good = true;

    g_mutex_lock(&journal->lock);
    entry = g_hash_table_lookup(journal->entries, uuid);
    if (entry && hn_journal_entry_piece(entry, kind, id)) {
        copy = hn_journal_entry_copy(entry);
        for (guint i = 0; i < copy->pieces->len; i++) {
            const HnPiece *piece = &g_array_index(copy->pieces, HnPiece, i);

            if (piece->kind == kind && piece->id == id) {
                g_array_remove_index(copy->pieces, i);
                break;
            }
        }
        is_good = replace_entry(journal, copy, error);
    }
    g_mutex_unlock(&journal->lock);
    return is_good;
}

bool hn_journal_yield(HnJournal *journal, const char *uuid, HnPieceKind kind, uint32_t id)
{
    HnJournalEntry *entry;
    HnPiece *piece = NULL;
    bool was_ours = false;

    g_mutex_lock(&journal->lock);
    entry = g_hash_table_lookup(journal->entries, uuid);
    if (entry)
        piece = hn_journal_entry_piece(entry, kind, id);
    if (piece && !piece->is_yielded) {
        was_ours = true;
        /* In memory first: the admin wins even if it cannot be written down. */
        piece->is_yielded = true;
        write_entry(journal, entry, NULL);
    }
    g_mutex_unlock(&journal->lock);
    return was_ours;
}

bool hn_journal_forget(HnJournal *journal, const char *uuid, GError **error)
{
    bool is_good;

    g_mutex_lock(&journal->lock);
    is_good = hn_journal_delete_file(journal, uuid, error);
    if (is_good)
        g_hash_table_remove(journal->entries, uuid);
    g_mutex_unlock(&journal->lock);
    return is_good;
}

/* ---- whose is it? ---- */

bool hn_journal_lookup(HnJournal *journal, const char *uuid, HnPieceKind kind, uint32_t id, HnPiece *ret_piece)
{
    const HnJournalEntry *entry;
    const HnPiece *piece = NULL;

    g_mutex_lock(&journal->lock);
    entry = g_hash_table_lookup(journal->entries, uuid);
    if (entry)
        piece = hn_journal_entry_piece(entry, kind, id);
    if (piece)
        *ret_piece = *piece;
    g_mutex_unlock(&journal->lock);
    return piece != NULL;
}

bool hn_piece_owns(const HnPiece *piece, const HnCpuset *value)
{
    if (piece->is_yielded)
        return false;
    return (piece->has_set && hn_cpuset_equal(&piece->set, value)) ||
           (piece->has_previous && hn_cpuset_equal(&piece->previous, value));
}

bool hn_journal_parse_key(const char *key, HnPieceKind *ret_kind, uint32_t *ret_id)
{
    HnText text = hn_text(key, strlen(key));
    uint32_t id = 0;

    if (!hn_text_take(&text, "cputune."))
        return false;
    if (hn_text_equal(&text, "emulatorpin")) {
        *ret_kind = HN_PIECE_EMULATOR;
        *ret_id = 0;
        return true;
    }
    if (hn_text_take(&text, "vcpupin"))
        *ret_kind = HN_PIECE_VCPU;
    else if (hn_text_take(&text, "iothreadpin"))
        *ret_kind = HN_PIECE_IOTHREAD;
    else
        return false;
    if (!hn_text_u32(&text, &id) || !hn_text_is_empty(&text))
        return false;
    *ret_id = id;
    return true;
}

bool hn_journal_owns_pin(HnJournal *journal, const char *uuid, const char *key, const HnCpuset *cpus)
{
    HnPieceKind kind;
    HnPiece piece;
    uint32_t id;

    return hn_journal_parse_key(key, &kind, &id) && hn_journal_lookup(journal, uuid, kind, id, &piece) &&
           hn_piece_owns(&piece, cpus);
}

bool hn_journal_owns_nodeset(HnJournal *journal, const char *uuid, const HnCpuset *node_ids)
{
    HnPiece piece;

    return hn_journal_lookup(journal, uuid, HN_PIECE_NODESET, 0, &piece) && hn_piece_owns(&piece, node_ids);
}

bool hn_journal_admin_pin(HnJournal *journal, const char *uuid, HnPieceKind kind, uint32_t id,
                          HnCpuset *ret_cpus)
{
    HnPiece piece;

    if (!hn_journal_lookup(journal, uuid, kind, id, &piece) || piece.is_yielded || !piece.has_original)
        return false;
    *ret_cpus = piece.original;
    return true;
}
