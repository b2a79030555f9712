/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The thread that keeps guests and the watched directory: which sockets are wanted, which of two
 * that are one guest counts, what is told of all this.
 *
 * Must not: block, or be called from another thread.
 */
#include "qmp-private.h"

#include "qmp-sidecar.h"

#include <string.h>

/* ---- guests ---- */

static void remark(HnQmp *qmp, const char *sentence)
{
    hn_change_queue_push(qmp->changes, HN_CHANGE_REMARK, NULL, sentence);
}

GList *hn_qmp_keeper_sorted(HnQmp *qmp)
{
    GList *sockets = g_list_sort(g_hash_table_get_keys(qmp->guests), (GCompareFunc)strcmp);
    for (GList *link = sockets; link; link = link->next)
        link->data = g_hash_table_lookup(qmp->guests, link->data);
    return sockets;
}

/* Is another socket's guest the same one, and before it? */
static const HnQmpEntry *find_shadow(const GList *entries, const HnQmpEntry *entry)
{
    const HnQmpView *view = hn_qmp_guest_view(entry->guest);
    for (; entries && entries->data != entry; entries = entries->next) {
        const HnQmpEntry *other = entries->data;
        const HnQmpView *theirs = hn_qmp_guest_view(other->guest);
        if (theirs && (theirs->info->pid == view->info->pid ||
                       strcmp(theirs->info->uuid, view->info->uuid) == 0))
            return other;
    }
    return NULL;
}

GPtrArray *hn_qmp_keeper_list(HnQmp *qmp)
{
    GPtrArray *list = g_ptr_array_new();
    g_autoptr(GList) entries = hn_qmp_keeper_sorted(qmp);
    for (GList *link = entries; link; link = link->next) {
        HnQmpEntry *entry = link->data;
        if (!hn_qmp_guest_view(entry->guest))
            continue;
        const HnQmpEntry *shadow = find_shadow(entries, entry);
        if (!shadow) {
            g_ptr_array_add(list, entry);
            continue;
        }
        g_autofree char *sentence = g_strdup_printf(
            "'%s' is left alone: its guest has the process or the uuid of that behind '%s'",
            hn_qmp_guest_socket(entry->guest), hn_qmp_guest_socket(shadow->guest));
        if (g_strcmp0(sentence, entry->shadow_remark) != 0)
            remark(qmp, sentence);
        g_free(entry->shadow_remark);
        entry->shadow_remark = g_steal_pointer(&sentence);
    }
    return list;
}

HnQmpEntry *hn_qmp_keeper_find(HnQmp *qmp, const char *uuid)
{
    g_autoptr(GPtrArray) entries = hn_qmp_keeper_list(qmp);
    for (guint i = 0; i < entries->len; i++) {
        HnQmpEntry *entry = g_ptr_array_index(entries, i);
        if (strcmp(hn_qmp_guest_view(entry->guest)->info->uuid, uuid) == 0)
            return entry;
    }
    return NULL;
}

static void on_guest_changed(HnQmpGuest *guest, bool is_new, void *user_data)
{
    HnQmpEntry *entry = user_data;
    const HnQmpView *view = hn_qmp_guest_view(guest);
    if (!is_new)
        return;
    g_free(entry->element);
    entry->element = hn_qmp_sidecar_read(hn_qmp_guest_socket(guest));
    hn_change_queue_push(entry->qmp->changes, HN_CHANGE_STARTED, view->info->uuid, NULL);
}

static void on_guest_gone(HnQmpGuest *guest, const char *uuid, void *user_data)
{
    HnQmpEntry *entry = user_data;
    if (!entry->qmp->is_read_only)
        hn_qmp_stats_write(hn_qmp_guest_socket(guest), NULL, NULL); /* of a guest that is no more */
    hn_change_queue_push(entry->qmp->changes, HN_CHANGE_STOPPED, uuid, NULL);
}

static void on_guest_event(HnQmpGuest *guest, HnChangeKind kind, void *user_data)
{
    HnQmpEntry *entry = user_data;
    hn_change_queue_push(entry->qmp->changes, kind, hn_qmp_guest_view(guest)->info->uuid, NULL);
}

static void on_guest_remark(HnQmpGuest *guest, const char *sentence, void *user_data)
{
    remark(((HnQmpEntry *)user_data)->qmp, sentence);
}

void hn_qmp_entry_free(gpointer data)
{
    HnQmpEntry *entry = data;
    hn_qmp_guest_free(entry->guest);
    g_free(entry->identity);
    g_free(entry->element);
    g_free(entry->shadow_remark);
    g_free(entry);
}

HnQmpEntry *hn_qmp_keeper_begin(HnQmp *qmp, const char *socket)
{
    static const HnQmpGuestCallbacks callbacks = {.changed = on_guest_changed,
                                                  .gone = on_guest_gone,
                                                  .event = on_guest_event,
                                                  .remark = on_guest_remark};
    HnQmpEntry *entry = g_new0(HnQmpEntry, 1);
    entry->qmp = qmp;
    entry->identity = hn_qmp_socket_identity(socket);
    entry->guest = hn_qmp_guest_new(socket, qmp->root, &callbacks, entry);
    g_hash_table_insert(qmp->guests, g_strdup(socket), entry);
    return entry;
}

void hn_qmp_keeper_end(HnQmp *qmp, const char *socket)
{
    const HnQmpEntry *entry = g_hash_table_lookup(qmp->guests, socket);
    const HnQmpView *view = entry ? hn_qmp_guest_view(entry->guest) : NULL;
    if (view)
        on_guest_gone(entry->guest, view->info->uuid, (void *)entry);
    g_hash_table_remove(qmp->guests, socket);
}

/* ---- the directory ---- */

bool hn_qmp_keeper_wants(HnQmp *qmp, const char *socket)
{
    if (g_hash_table_contains(qmp->attached, socket))
        return true;
    const char *identity = g_hash_table_lookup(hn_qmp_directory_sockets(qmp->directory), socket);
    return identity && g_strcmp0(identity, g_hash_table_lookup(qmp->let_go, socket)) != 0;
}

static void drop_ended(HnQmp *qmp)
{
    g_autoptr(GList) entries = hn_qmp_keeper_sorted(qmp);
    for (GList *link = entries; link; link = link->next) {
        HnQmpEntry *entry = link->data;
        g_autofree char *socket = g_strdup(hn_qmp_guest_socket(entry->guest));
        g_autofree char *identity = hn_qmp_socket_identity(socket);
        hn_qmp_guest_check_alive(entry->guest);
        /* While the connection stands it does not matter what became of the file. */
        if (hn_qmp_guest_is_connected(entry->guest) || hn_qmp_guest_view(entry->guest))
            continue;
        if (!hn_qmp_keeper_wants(qmp, socket))
            hn_qmp_keeper_end(qmp, socket);
        else if (g_strcmp0(identity, entry->identity) != 0)
            hn_qmp_keeper_end(qmp,
                              socket); /* made anew: not to wait for the back-off of the old one */
    }
}

static void begin_wanted(HnQmp *qmp, GHashTable *sockets)
{
    GHashTableIter iter;
    gpointer socket;
    g_hash_table_iter_init(&iter, sockets);
    while (g_hash_table_iter_next(&iter, &socket, NULL)) {
        if (g_hash_table_contains(qmp->guests, socket) || !hn_qmp_keeper_wants(qmp, socket))
            continue;
        g_autofree char *problem = hn_qmp_socket_problem(socket);
        if (problem && g_hash_table_add(qmp->refused, g_strdup(socket)))
            remark(qmp, problem);
        if (!problem)
            hn_qmp_keeper_begin(qmp, socket);
    }
}

void hn_qmp_keeper_note_elements(HnQmp *qmp)
{
    g_autoptr(GPtrArray) entries = hn_qmp_keeper_list(qmp);
    for (guint i = 0; i < entries->len; i++) {
        HnQmpEntry *entry = g_ptr_array_index(entries, i);
        char *element = hn_qmp_sidecar_read(hn_qmp_guest_socket(entry->guest));
        if (g_strcmp0(element, entry->element) != 0)
            hn_change_queue_push(qmp->changes, HN_CHANGE_METADATA,
                                 hn_qmp_guest_view(entry->guest)->info->uuid, NULL);
        g_free(entry->element);
        entry->element = element;
    }
}

static void on_directory(void *user_data)
{
    HnQmp *qmp = user_data;
    const char *problem = hn_qmp_directory_problem(qmp->directory);
    if (problem && g_strcmp0(problem, qmp->directory_remark) != 0)
        remark(qmp, problem);
    g_free(qmp->directory_remark);
    qmp->directory_remark = g_strdup(problem);
    drop_ended(qmp);
    begin_wanted(qmp, hn_qmp_directory_sockets(qmp->directory));
    begin_wanted(qmp, qmp->attached);
    hn_qmp_keeper_note_elements(qmp);
}

static void load_attached(HnQmp *qmp)
{
    g_autofree char *text = NULL;
    if (!qmp->attached_file || !g_file_get_contents(qmp->attached_file, &text, NULL, NULL))
        return;
    g_auto(GStrv) lines = g_strsplit(text, "\n", HN_QMP_MAX_ATTACHED);
    for (guint i = 0; lines[i]; i++)
        if (g_path_is_absolute(lines[i]))
            g_hash_table_add(qmp->attached, g_strdup(lines[i]));
}

void hn_qmp_keeper_save_attached(HnQmp *qmp)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(GList) sockets =
        g_list_sort(g_hash_table_get_keys(qmp->attached), (GCompareFunc)strcmp);
    g_autoptr(GError) error = NULL;
    for (GList *link = sockets; link; link = link->next)
        g_string_append_printf(text, "%s\n", (const char *)link->data);
    if (qmp->attached_file && !g_file_set_contents(qmp->attached_file, text->str, -1, &error))
        remark(qmp, error->message);
}

gpointer hn_qmp_keeper_main(gpointer data)
{
    HnQmp *qmp = data;
    g_main_context_push_thread_default(qmp->context);
    qmp->directory = hn_qmp_directory_new(qmp->directory_path, on_directory, qmp);
    load_attached(qmp);
    hn_qmp_directory_scan(qmp->directory);
    on_directory(qmp);
    hn_change_queue_push(qmp->changes, HN_CHANGE_CONNECTED, NULL, NULL);
    g_main_loop_run(qmp->loop);
    g_hash_table_remove_all(qmp->guests);
    hn_qmp_directory_free(qmp->directory);
    /* Sources of clients that were closed just now. */
    while (g_main_context_iteration(qmp->context, FALSE))
        ;
    g_main_context_pop_thread_default(qmp->context);
    return NULL;
}
