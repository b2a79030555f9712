/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bare QEMUs behind the contract of backend.h.
 *
 * Theory of operation. One thread with a main context of its own runs all connections and the
 * watched directory; guests (qmp-guest.h) belong to it. An operation is an errand:
 * a function that is run in that thread and may end later, while its caller waits, with a
 * limit. What leaves the thread is a copy of a guest's view; pins, iothreads and the opt-in element
 * are added to it by the caller from /proc and the file beside the socket, and pins are set by the
 * caller itself: that takes no monitor, so a guest can be given back its affinities even when its
 * monitor does not answer any more.
 *
 * Of two sockets of one process, or two guests of one uuid, the one known first is used.
 *
 * Must not: use libvirt's monitors, send QEMU anything that changes it, or log.
 */
#include "backend-qmp.h"

#include "change-queue.h"
#include "observe/process.h"
#include "qmp-directory.h"
#include "qmp-guest.h"
#include "qmp-sidecar.h"
#include "qmp/qemu.h"

#include <string.h>

#define LIST_WAIT_MS 1500               /* more than a guest may be overdue (qmp-guest.c) */
#define ASK_WAIT_MS 5000                /* connecting, greeting and the first answers */
#define DIRTY_SPACING_US G_USEC_PER_SEC /* two at a time crash QEMU 7.2 (qmp/qemu.h) */
#define MIB UINT64_C(1048576)
#define MAX_ATTACHED 4096

typedef struct {
    HnBackend base;
    char *directory_path, *attached_file;
    const HnRoot *root;
    const HnQmpAffinity *affinity;
    bool is_read_only, is_dirty_ring_allowed;
    HnChangeQueue *changes;
    GThread *thread;
    GMainContext *context;
    GMainLoop *loop;
    /* The rest belongs to the thread. */
    HnQmpDirectory *directory;
    GHashTable *guests;     /* socket → Entry */
    GHashTable *attached;   /* set of sockets */
    GHashTable *let_go;     /* sockets of the directory that were detached → identity then */
    char *directory_remark; /* said last */
} HnQmp;

/* A guest and what is remembered beside it. */
typedef struct {
    HnQmp *qmp;
    HnQmpGuest *guest;
    char *identity; /* of the socket's file when the connection was begun; NULL: there was none */
    char *element;  /* the opt-in element seen last */
    char *shadow_remark; /* why it is not used although it answers, said last */
    gint64 dirty_us;     /* when its dirty rate was last asked to be measured; 0: never */
} Entry;

/* ---- errands ---- */

typedef struct Errand Errand;
typedef void (*ErrandFunc)(Errand *errand);

/* Waits in the caller's thread for what happens in ours. Whoever leaves last frees it: a caller
 * that has waited long enough does not stay for the answer. Derived structs begin with it;
 * everything in them must be owned. */
struct Errand {
    HnQmp *qmp;
    ErrandFunc run;
    void (*clear)(Errand *errand);
    gint n_refs;
    GMutex lock;
    GCond cond;
    bool is_done;
    guint n_waiting; /* used by errands that ask several guests */
};

static void errand_unref(gpointer data)
{
    Errand *errand = data;
    if (!g_atomic_int_dec_and_test(&errand->n_refs))
        return;
    if (errand->clear)
        errand->clear(errand);
    g_mutex_clear(&errand->lock);
    g_cond_clear(&errand->cond);
    g_free(errand);
}

static gboolean errand_run(gpointer data)
{
    Errand *errand = data;
    errand->run(errand);
    return G_SOURCE_REMOVE;
}

static void errand_done(Errand *errand)
{
    g_mutex_lock(&errand->lock);
    errand->is_done = true;
    g_cond_signal(&errand->cond);
    g_mutex_unlock(&errand->lock);
}

static gpointer errand_new(HnQmp *qmp, gsize size, ErrandFunc run, void (*clear)(Errand *errand))
{
    Errand *errand = g_malloc0(size);
    errand->qmp = qmp;
    errand->run = run;
    errand->clear = clear;
    errand->n_refs = 1;
    g_mutex_init(&errand->lock);
    g_cond_init(&errand->cond);
    return errand;
}

/* False: the time is up, and the errand goes on without its caller, who must look at nothing in it.
 */
static bool errand_wait(Errand *errand, guint limit_ms)
{
    gint64 until = g_get_monotonic_time() + (gint64)limit_ms * 1000;
    GSource *source = g_idle_source_new();
    bool is_done;
    g_source_set_priority(source, G_PRIORITY_DEFAULT);
    g_atomic_int_inc(&errand->n_refs);
    g_source_set_callback(source, errand_run, errand, errand_unref);
    g_source_attach(source, errand->qmp->context);
    g_source_unref(source);
    g_mutex_lock(&errand->lock);
    while (!errand->is_done && g_cond_wait_until(&errand->cond, &errand->lock, until))
        ;
    is_done = errand->is_done;
    g_mutex_unlock(&errand->lock);
    return is_done;
}

/* ---- guests (in the thread) ---- */

static void remark(HnQmp *qmp, const char *sentence)
{
    hn_change_queue_push(qmp->changes, HN_CHANGE_REMARK, NULL, sentence);
}

/* Entries in the order of their sockets: the same one wins whenever two are the same guest. */
static GList *sorted_entries(HnQmp *qmp)
{
    GList *sockets = g_list_sort(g_hash_table_get_keys(qmp->guests), (GCompareFunc)strcmp);
    for (GList *link = sockets; link; link = link->next)
        link->data = g_hash_table_lookup(qmp->guests, link->data);
    return sockets;
}

/* Is another socket's guest the same one, and before it? */
static const Entry *find_shadow(const GList *entries, const Entry *entry)
{
    const HnQmpView *view = hn_qmp_guest_view(entry->guest);
    for (; entries && entries->data != entry; entries = entries->next) {
        const Entry *other = entries->data;
        const HnQmpView *theirs = hn_qmp_guest_view(other->guest);
        if (theirs && (theirs->info->pid == view->info->pid ||
                       strcmp(theirs->info->uuid, view->info->uuid) == 0))
            return other;
    }
    return NULL;
}

/* Entries that count: those with a view that no other one stands before. GPtrArray of Entry *. */
static GPtrArray *list_entries(HnQmp *qmp)
{
    GPtrArray *list = g_ptr_array_new();
    g_autoptr(GList) entries = sorted_entries(qmp);
    for (GList *link = entries; link; link = link->next) {
        Entry *entry = link->data;
        if (!hn_qmp_guest_view(entry->guest))
            continue;
        const Entry *shadow = find_shadow(entries, entry);
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

static Entry *find_entry(HnQmp *qmp, const char *uuid)
{
    g_autoptr(GPtrArray) entries = list_entries(qmp);
    for (guint i = 0; i < entries->len; i++) {
        Entry *entry = g_ptr_array_index(entries, i);
        if (strcmp(hn_qmp_guest_view(entry->guest)->info->uuid, uuid) == 0)
            return entry;
    }
    return NULL;
}

static void on_guest_changed(HnQmpGuest *guest, bool is_new, void *user_data)
{
    Entry *entry = user_data;
    const HnQmpView *view = hn_qmp_guest_view(guest);
    if (!is_new)
        return;
    g_free(entry->element);
    entry->element = hn_qmp_sidecar_read(hn_qmp_guest_socket(guest));
    hn_change_queue_push(entry->qmp->changes, HN_CHANGE_STARTED, view->info->uuid, NULL);
}

static void on_guest_gone(HnQmpGuest *guest, const char *uuid, void *user_data)
{
    Entry *entry = user_data;
    if (!entry->qmp->is_read_only)
        hn_qmp_stats_write(hn_qmp_guest_socket(guest), NULL, NULL); /* of a guest that is no more */
    hn_change_queue_push(entry->qmp->changes, HN_CHANGE_STOPPED, uuid, NULL);
}

static void on_guest_event(HnQmpGuest *guest, HnChangeKind kind, void *user_data)
{
    Entry *entry = user_data;
    hn_change_queue_push(entry->qmp->changes, kind, hn_qmp_guest_view(guest)->info->uuid, NULL);
}

static void on_guest_remark(HnQmpGuest *guest, const char *sentence, void *user_data)
{
    remark(((Entry *)user_data)->qmp, sentence);
}

static void entry_free(gpointer data)
{
    Entry *entry = data;
    hn_qmp_guest_free(entry->guest);
    g_free(entry->identity);
    g_free(entry->element);
    g_free(entry->shadow_remark);
    g_free(entry);
}

static Entry *begin(HnQmp *qmp, const char *socket)
{
    static const HnQmpGuestCallbacks callbacks = {.changed = on_guest_changed,
                                                  .gone = on_guest_gone,
                                                  .event = on_guest_event,
                                                  .remark = on_guest_remark};
    Entry *entry = g_new0(Entry, 1);
    entry->qmp = qmp;
    entry->identity = hn_qmp_socket_identity(socket);
    entry->guest = hn_qmp_guest_new(socket, qmp->root, &callbacks, entry);
    g_hash_table_insert(qmp->guests, g_strdup(socket), entry);
    return entry;
}

/* Stops looking at a socket; says that its guest is gone, for nobody manages it any more. */
static void end(HnQmp *qmp, const char *socket)
{
    const Entry *entry = g_hash_table_lookup(qmp->guests, socket);
    const HnQmpView *view = entry ? hn_qmp_guest_view(entry->guest) : NULL;
    if (view)
        on_guest_gone(entry->guest, view->info->uuid, (void *)entry);
    g_hash_table_remove(qmp->guests, socket);
}

/* ---- the directory (in the thread) ---- */

static bool is_wanted(HnQmp *qmp, const char *socket)
{
    if (g_hash_table_contains(qmp->attached, socket))
        return true;
    const char *identity = g_hash_table_lookup(hn_qmp_directory_sockets(qmp->directory), socket);
    return identity && g_strcmp0(identity, g_hash_table_lookup(qmp->let_go, socket)) != 0;
}

static void drop_ended(HnQmp *qmp)
{
    g_autoptr(GList) entries = sorted_entries(qmp);
    for (GList *link = entries; link; link = link->next) {
        Entry *entry = link->data;
        g_autofree char *socket = g_strdup(hn_qmp_guest_socket(entry->guest));
        g_autofree char *identity = hn_qmp_socket_identity(socket);
        hn_qmp_guest_check_alive(entry->guest);
        /* While the connection stands it does not matter what became of the file. */
        if (hn_qmp_guest_is_connected(entry->guest) || hn_qmp_guest_view(entry->guest))
            continue;
        if (!is_wanted(qmp, socket))
            end(qmp, socket);
        else if (g_strcmp0(identity, entry->identity) != 0)
            end(qmp, socket); /* made anew: not to wait for the back-off of the old one */
    }
}

static void begin_wanted(HnQmp *qmp, GHashTable *sockets)
{
    GHashTableIter iter;
    gpointer socket;
    g_hash_table_iter_init(&iter, sockets);
    while (g_hash_table_iter_next(&iter, &socket, NULL)) {
        if (g_hash_table_contains(qmp->guests, socket) || !is_wanted(qmp, socket))
            continue;
        g_autofree char *problem = hn_qmp_socket_problem(socket);
        if (problem)
            remark(qmp, problem);
        else
            begin(qmp, socket);
    }
}

static void note_elements(HnQmp *qmp)
{
    g_autoptr(GPtrArray) entries = list_entries(qmp);
    for (guint i = 0; i < entries->len; i++) {
        Entry *entry = g_ptr_array_index(entries, i);
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
    note_elements(qmp);
}

static void load_attached(HnQmp *qmp)
{
    g_autofree char *text = NULL;
    if (!qmp->attached_file || !g_file_get_contents(qmp->attached_file, &text, NULL, NULL))
        return;
    g_auto(GStrv) lines = g_strsplit(text, "\n", MAX_ATTACHED);
    for (guint i = 0; lines[i]; i++)
        if (g_path_is_absolute(lines[i]))
            g_hash_table_add(qmp->attached, g_strdup(lines[i]));
}

static void save_attached(HnQmp *qmp)
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

static gpointer thread_main(gpointer data)
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

/* ---- looking at guests ---- */

typedef struct {
    Errand errand;
    char *uuid;       /* NULL: all */
    GPtrArray *views; /* HnQmpView *, owned */
} Look;

static void look_clear(Errand *errand)
{
    Look *look = (Look *)errand;
    g_free(look->uuid);
    g_ptr_array_unref(look->views);
}

static void look_collect(Look *look)
{
    g_autoptr(GPtrArray) entries = list_entries(look->errand.qmp);
    for (guint i = 0; i < entries->len; i++) {
        const HnQmpView *view = hn_qmp_guest_view(((Entry *)g_ptr_array_index(entries, i))->guest);
        if (!look->uuid || strcmp(view->info->uuid, look->uuid) == 0)
            g_ptr_array_add(look->views, hn_qmp_view_copy(view));
    }
    errand_done(&look->errand);
}

static void on_looked(void *user_data)
{
    Look *look = user_data;
    if (--look->errand.n_waiting == 0)
        look_collect(look);
    errand_unref(&look->errand);
}

/* Asks the guests that answer, and takes what is known of the others. */
static void look_run(Errand *errand)
{
    Look *look = (Look *)errand;
    gint64 now_us = g_get_monotonic_time();
    g_autoptr(GList) entries = sorted_entries(errand->qmp);
    errand->n_waiting = 1; /* ours, so that the last answer cannot come before the last question */
    for (GList *link = entries; link; link = link->next) {
        HnQmpGuest *guest = ((Entry *)link->data)->guest;
        const HnQmpView *view = hn_qmp_guest_view(guest);
        hn_qmp_guest_check_alive(guest);
        if (hn_qmp_guest_is_overdue(guest, now_us) ||
            (look->uuid && !(view && strcmp(view->info->uuid, look->uuid) == 0)))
            continue;
        errand->n_waiting++;
        g_atomic_int_inc(&errand->n_refs);
        hn_qmp_guest_ask(guest, on_looked, look);
    }
    g_atomic_int_inc(&errand->n_refs);
    on_looked(look);
}

/* Without asking. */
static void glance_run(Errand *errand)
{
    look_collect((Look *)errand);
}

/* What only /proc and the file beside the socket tell. Takes the view's info. */
static HnDomainInfo *complete(const HnQmp *qmp, HnQmpView *view)
{
    HnQmpThreads threads = {qmp->root, qmp->affinity, view->info->pid, view->vcpu_tids};
    hn_qmp_threads_read(&threads, view->info);
    view->info->placement_xml = hn_qmp_sidecar_read(view->info->monitor);
    return g_steal_pointer(&view->info);
}

static bool check_started(const HnQmp *qmp, GError **error)
{
    if (qmp->thread)
        return true;
    g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_DISCONNECTED, "not connected");
    return false;
}

/* HnQmpView *, owned. uuid NULL: all, else that one or none. NULL with an error: no answer in time.
 */
static GPtrArray *look(HnQmp *qmp, const char *uuid, ErrandFunc run, GError **error)
{
    if (!check_started(qmp, error))
        return NULL;
    Look *errand = errand_new(qmp, sizeof *errand, run, look_clear);
    errand->uuid = g_strdup(uuid);
    errand->views = g_ptr_array_new_with_free_func((GDestroyNotify)hn_qmp_view_free);
    GPtrArray *views = NULL;
    if (errand_wait(&errand->errand, LIST_WAIT_MS))
        views = g_ptr_array_ref(errand->views);
    errand_unref(&errand->errand);
    /* A guest that is silent for the first time: what is known of it, and next time it is overdue.
     */
    if (!views && run != glance_run)
        return look(qmp, uuid, glance_run, error);
    if (!views)
        g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_BUSY,
                    "the monitors' thread does not answer within %d ms", LIST_WAIT_MS);
    return views;
}

static int compare_infos(gconstpointer a, gconstpointer b)
{
    return strcmp((*(HnDomainInfo *const *)a)->uuid, (*(HnDomainInfo *const *)b)->uuid);
}

static bool qmp_list(HnBackend *backend, GPtrArray **ret_infos, GError **error)
{
    HnQmp *qmp = (HnQmp *)backend;
    g_autoptr(GPtrArray) views = look(qmp, NULL, look_run, error);
    if (!views)
        return false;
    GPtrArray *infos = g_ptr_array_new_with_free_func((GDestroyNotify)hn_domain_info_free);
    for (guint i = 0; i < views->len; i++)
        g_ptr_array_add(infos, complete(qmp, g_ptr_array_index(views, i)));
    g_ptr_array_sort(infos, compare_infos);
    *ret_infos = infos;
    return true;
}

/* The view of one guest, of a process that is still the same. GONE if there is none. */
static HnQmpView *find_view(HnQmp *qmp, const char *uuid, ErrandFunc run, GError **error)
{
    g_autoptr(GPtrArray) views = look(qmp, uuid, run, error);
    if (!views)
        return NULL;
    HnQmpView *view = views->len ? g_ptr_array_index(views, 0) : NULL;
    HnTaskStat stat;
    g_autofree char *dir = g_strdup_printf("proc/%" G_GINT64_FORMAT, view ? view->info->pid : 0);
    if (view && hn_task_stat_read(qmp->root, dir, &stat, NULL) &&
        stat.start_ticks == view->start_ticks)
        return hn_qmp_view_copy(view);
    g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_GONE, "domain %s: no such domain", uuid);
    return NULL;
}

static bool qmp_get(HnBackend *backend, const char *uuid, HnDomainInfo **ret_info, GError **error)
{
    HnQmp *qmp = (HnQmp *)backend;
    g_autoptr(HnQmpView) view = find_view(qmp, uuid, look_run, error);
    if (!view)
        return false;
    *ret_info = complete(qmp, view);
    return true;
}

/* ---- pins ---- */

/* A guest that may be changed. */
static HnQmpView *find_writable(HnBackend *backend, const char *uuid, GError **error)
{
    HnQmp *qmp = (HnQmp *)backend;
    HnQmpView *view = find_view(qmp, uuid, glance_run, error);
    if (view && qmp->is_read_only) {
        g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_DENIED,
                    "domain %s: nothing is changed in a dry run", view->info->name);
        g_clear_pointer(&view, hn_qmp_view_free);
    }
    return view;
}

static HnQmpThreads threads_of(HnBackend *backend, const HnQmpView *view)
{
    const HnQmp *qmp = (const HnQmp *)backend;
    return (HnQmpThreads){qmp->root, qmp->affinity, view->info->pid, view->vcpu_tids};
}

static bool qmp_pin_vcpu(HnBackend *backend, const char *uuid, uint32_t vcpu, const HnCpuset *cpus,
                         GError **error)
{
    g_autoptr(HnQmpView) view = find_writable(backend, uuid, error);
    if (!view)
        return false;
    HnQmpThreads threads = threads_of(backend, view);
    return hn_qmp_threads_pin_vcpu(&threads, view->info, vcpu, cpus, error);
}

static bool qmp_pin_emulator(HnBackend *backend, const char *uuid, const HnCpuset *cpus,
                             GError **error)
{
    g_autoptr(HnQmpView) view = find_writable(backend, uuid, error);
    if (!view)
        return false;
    HnQmpThreads threads = threads_of(backend, view);
    return hn_qmp_threads_pin_emulator(&threads, view->info, cpus, error);
}

static bool qmp_pin_iothread(HnBackend *backend, const char *uuid, uint32_t iothread,
                             const HnCpuset *cpus, GError **error)
{
    g_autoptr(HnQmpView) view = find_writable(backend, uuid, error);
    if (!view)
        return false;
    HnQmpThreads threads = threads_of(backend, view);
    return hn_qmp_threads_pin_iothread(&threads, view->info, iothread, cpus, error);
}

static bool refuse(const HnQmpView *view, GError **error, const char *sentence)
{
    g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_UNSUPPORTED, "domain %s: %s",
                view->info->name, sentence);
    return false;
}

static bool qmp_set_nodeset(HnBackend *backend, const char *uuid, const HnCpuset *node_ids,
                            GError **error)
{
    g_autoptr(HnQmpView) view = find_writable(backend, uuid, error);
    return view &&
           refuse(view, error, "a nodeset needs a control group of its own, which libvirt makes");
}

/* ---- files beside the socket ---- */

static bool fail_file(const HnQmpView *view, const GError *cause, GError **error)
{
    bool is_denied = g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_ACCES) ||
                     g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_PERM) ||
                     g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_ROFS);
    g_set_error(error, HN_BACKEND_ERROR,
                is_denied ? HN_BACKEND_ERROR_DENIED : HN_BACKEND_ERROR_FAILED, "domain %s: %s",
                view->info->name, cause->message);
    return false;
}

static bool qmp_set_stats(HnBackend *backend, const char *uuid, const char *xml, GError **error)
{
    g_autoptr(HnQmpView) view = find_writable(backend, uuid, error);
    g_autoptr(GError) cause = NULL;
    return view &&
           (hn_qmp_stats_write(view->info->monitor, xml, &cause) || fail_file(view, cause, error));
}

typedef struct {
    Errand errand;
} Nudge;

static void nudge_run(Errand *errand)
{
    note_elements(errand->qmp);
    errand_done(errand);
}

static bool qmp_set_placement(HnBackend *backend, const char *uuid, const char *xml,
                              bool is_persistent, GError **error)
{
    HnQmp *qmp = (HnQmp *)backend;
    g_autoptr(HnQmpView) view = find_writable(backend, uuid, error);
    g_autoptr(GError) cause = NULL;
    if (!view)
        return false;
    if (!hn_qmp_sidecar_write(view->info->monitor, xml, &cause))
        return fail_file(view, cause, error);
    Nudge *nudge = errand_new(qmp, sizeof *nudge, nudge_run, NULL);
    errand_wait(&nudge->errand, LIST_WAIT_MS);
    errand_unref(&nudge->errand);
    return true;
}

/* ---- dirty rate ---- */

typedef struct {
    Errand errand;
    char *uuid;
    bool is_start;
    HnDirtyMode mode;
    uint32_t seconds;
    HnQemuDirtyRate rate; /* answer */
    int code;             /* HnBackendError; -1: none */
    char *failure;
} Dirty;

static void dirty_clear(Errand *errand)
{
    Dirty *dirty = (Dirty *)errand;
    g_free(dirty->uuid);
    g_free(dirty->failure);
    if (dirty->rate.vcpus)
        hn_qemu_dirty_rate_clear(&dirty->rate);
}

static void dirty_end(Dirty *dirty, HnBackendError code, const char *failure)
{
    if (failure) {
        dirty->code = (int)code;
        dirty->failure = g_strdup(failure);
    }
    errand_done(&dirty->errand);
    errand_unref(&dirty->errand);
}

static void on_dirty_started(HnQmpClient *client, json_object *value, const GError *error,
                             gpointer data)
{
    dirty_end(data, HN_BACKEND_ERROR_FAILED, error ? error->message : NULL);
}

static void on_dirty_state(HnQmpClient *client, json_object *value, const GError *error,
                           gpointer data)
{
    static const HnQemuDirtyMode modes[] = {[HN_DIRTY_PAGE_SAMPLING] = HN_QEMU_DIRTY_PAGE_SAMPLING,
                                            [HN_DIRTY_BITMAP] = HN_QEMU_DIRTY_BITMAP,
                                            [HN_DIRTY_RING] = HN_QEMU_DIRTY_RING};
    Dirty *dirty = data;
    g_autoptr(GError) own = NULL;
    gint64 now_us = g_get_monotonic_time();
    if (!error && !hn_qemu_dirty_rate_decode(value, &dirty->rate, &own))
        error = own;
    if (error || !dirty->is_start) {
        dirty_end(dirty, HN_BACKEND_ERROR_FAILED, error ? error->message : NULL);
        return;
    }
    Entry *entry = find_entry(dirty->errand.qmp, dirty->uuid);
    if (!entry) {
        dirty_end(dirty, HN_BACKEND_ERROR_GONE, "no such domain");
    } else if (dirty->rate.status == HN_QEMU_DIRTY_MEASURING ||
               (entry->dirty_us && now_us - entry->dirty_us < DIRTY_SPACING_US)) {
        dirty_end(dirty, HN_BACKEND_ERROR_BUSY, "its dirty rate is being measured already");
    } else {
        entry->dirty_us = now_us;
        hn_qmp_guest_call(entry->guest, HN_QEMU_CALC_DIRTY_RATE,
                          hn_qemu_calc_dirty_rate_build(dirty->seconds, modes[dirty->mode], 0),
                          on_dirty_started, dirty);
    }
}

static void dirty_run(Errand *errand)
{
    Dirty *dirty = (Dirty *)errand;
    const Entry *entry = find_entry(errand->qmp, dirty->uuid);
    g_atomic_int_inc(&errand->n_refs);
    if (!entry)
        dirty_end(dirty, HN_BACKEND_ERROR_GONE, "no such domain");
    else
        hn_qmp_guest_call(entry->guest, HN_QEMU_QUERY_DIRTY_RATE, NULL, on_dirty_state, dirty);
}

/* True: answered, *ret_rate is filled for a question. */
static bool ask_dirty(HnQmp *qmp, const HnQmpView *view, bool is_start, HnDirtyMode mode,
                      uint32_t seconds, HnDirtyRate *ret_rate, GError **error)
{
    Dirty *dirty = errand_new(qmp, sizeof *dirty, dirty_run, dirty_clear);
    dirty->uuid = g_strdup(view->info->uuid);
    dirty->is_start = is_start;
    dirty->mode = mode;
    dirty->seconds = seconds;
    dirty->code = -1;
    bool is_done = errand_wait(&dirty->errand, ASK_WAIT_MS);
    if (!is_done)
        g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_BUSY,
                    "domain %s: its monitor does not answer within %d ms", view->info->name,
                    ASK_WAIT_MS);
    else if (dirty->code >= 0)
        g_set_error(error, HN_BACKEND_ERROR, dirty->code, "domain %s: %s", view->info->name,
                    dirty->failure);
    bool is_good = is_done && dirty->code < 0;
    if (is_good && ret_rate) {
        const HnQemuDirtyRate *from = &dirty->rate;
        HnDirtyRate rate = {.calc_seconds = (double)from->calc_time_ms / 1000,
                            .is_measured = from->has_rate,
                            .bytes_per_sec = from->has_rate ? from->rate_mib_per_s * MIB : 0};
        for (guint i = 0; from->has_rate && i < from->vcpus->len; i++) {
            const HnQemuVcpuDirtyRate *vcpu = &g_array_index(from->vcpus, HnQemuVcpuDirtyRate, i);
            if (vcpu->vcpu >= HN_MAX_CPUS)
                continue;
            if (!rate.vcpu_bytes_per_sec)
                rate.vcpu_bytes_per_sec = g_array_new(FALSE, TRUE, sizeof(uint64_t));
            if (vcpu->vcpu >= rate.vcpu_bytes_per_sec->len)
                g_array_set_size(rate.vcpu_bytes_per_sec, vcpu->vcpu + 1);
            g_array_index(rate.vcpu_bytes_per_sec, uint64_t, vcpu->vcpu) =
                vcpu->rate_mib_per_s * MIB;
        }
        *ret_rate = rate;
    }
    errand_unref(&dirty->errand);
    return is_good;
}

static bool qmp_start_dirty_rate(HnBackend *backend, const char *uuid, HnDirtyMode mode,
                                 uint32_t seconds, GError **error)
{
    HnQmp *qmp = (HnQmp *)backend;
    g_autoptr(HnQmpView) view = find_view(qmp, uuid, look_run, error);
    if (!view)
        return false;
    const HnDomainInfo *info = view->info;
    if (seconds < 1 || seconds > 60)
        return refuse(view, error, "a dirty rate takes 1 to 60 seconds to measure");
    if (mode == HN_DIRTY_BITMAP && !info->is_kvm)
        return refuse(view, error, "the dirty bitmap needs KVM");
    if (mode == HN_DIRTY_BITMAP && info->has_dirty_ring)
        return refuse(view, error, "it uses the dirty ring, so it has no dirty bitmap");
    if (mode == HN_DIRTY_RING && !qmp->is_dirty_ring_allowed)
        return refuse(view, error, "measuring by dirty ring is not allowed in the configuration");
    if (mode == HN_DIRTY_RING && (!info->is_kvm || !info->has_dirty_ring))
        return refuse(view, error, "it was started without a dirty ring");
    if (info->job != HN_JOB_NONE) {
        g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_BUSY,
                    "domain %s: it is being migrated or saved", info->name);
        return false;
    }
    return ask_dirty(qmp, view, true, mode, seconds, NULL, error);
}

static bool qmp_get_dirty_rate(HnBackend *backend, const char *uuid, HnDirtyRate *ret_rate,
                               GError **error)
{
    HnQmp *qmp = (HnQmp *)backend;
    g_autoptr(HnQmpView) view = find_view(qmp, uuid, glance_run, error);
    return view && ask_dirty(qmp, view, false, HN_DIRTY_PAGE_SAMPLING, 0, ret_rate, error);
}

/* ---- attach and detach ---- */

typedef struct {
    Errand errand;
    char *socket;
    char uuid[HN_UUID_LEN + 1];
    char *failure;
} Attach;

static void attach_clear(Errand *errand)
{
    g_free(((Attach *)errand)->socket);
    g_free(((Attach *)errand)->failure);
}

/* Looks again every 20 ms until the guest has answered; the caller's patience ends it. */
static gboolean attach_poll(gpointer data)
{
    Attach *attach = data;
    HnQmp *qmp = attach->errand.qmp;
    const Entry *entry = g_hash_table_lookup(qmp->guests, attach->socket);
    const HnQmpView *view = entry ? hn_qmp_guest_view(entry->guest) : NULL;
    const char *problem = entry ? hn_qmp_guest_problem(entry->guest) : "it was detached meanwhile";
    if (!view && !problem)
        return G_SOURCE_CONTINUE;
    if (view) {
        g_strlcpy(attach->uuid, view->info->uuid, sizeof attach->uuid);
        save_attached(qmp);
    } else {
        attach->failure = g_strdup(problem);
        g_hash_table_remove(qmp->attached, attach->socket);
        if (!is_wanted(qmp, attach->socket))
            end(qmp, attach->socket);
    }
    errand_done(&attach->errand);
    return G_SOURCE_REMOVE;
}

static void attach_run(Errand *errand)
{
    Attach *attach = (Attach *)errand;
    HnQmp *qmp = errand->qmp;
    const Entry *entry = g_hash_table_lookup(qmp->guests, attach->socket);
    if (g_hash_table_size(qmp->attached) >= MAX_ATTACHED) {
        attach->failure =
            g_strdup_printf("%d sockets are attached, more are not possible", MAX_ATTACHED);
        errand_done(errand);
        return;
    }
    g_hash_table_add(qmp->attached, g_strdup(attach->socket));
    g_hash_table_remove(qmp->let_go, attach->socket);
    if (entry && !hn_qmp_guest_view(entry->guest))
        end(qmp, attach->socket); /* at once, not when its back-off has passed */
    if (!g_hash_table_contains(qmp->guests, attach->socket))
        begin(qmp, attach->socket);
    g_atomic_int_inc(&errand->n_refs);
    GSource *source = g_timeout_source_new(20);
    g_source_set_callback(source, attach_poll, attach, errand_unref);
    g_source_attach(source, qmp->context);
    g_source_unref(source);
}

static void detach_run(Errand *errand)
{
    Attach *attach = (Attach *)errand;
    HnQmp *qmp = errand->qmp;
    if (!g_hash_table_contains(qmp->guests, attach->socket)) {
        attach->failure = g_strdup_printf("'%s' is not attached", attach->socket);
    } else {
        char *identity = hn_qmp_socket_identity(attach->socket);
        g_hash_table_remove(qmp->attached, attach->socket);
        if (identity)
            g_hash_table_replace(qmp->let_go, g_strdup(attach->socket), identity);
        end(qmp, attach->socket);
        save_attached(qmp);
    }
    errand_done(errand);
}

static bool run_attach(HnQmp *qmp, const char *socket, ErrandFunc run, char *ret_uuid,
                       GError **error)
{
    g_autofree char *problem = hn_qmp_socket_problem(socket);
    g_autofree char *canonical = NULL;
    g_autoptr(GError) cause = NULL;
    if (!check_started(qmp, error))
        return false;
    if (!problem) {
        canonical = hn_qmp_socket_canonical(socket, &cause);
        problem = canonical ? hn_qmp_socket_problem(canonical) : g_strdup(cause->message);
    }
    if (!problem && strchr(canonical, '\n'))
        problem = g_strdup("a path with a line break in it cannot be attached");
    if (problem) {
        g_set_error_literal(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_FAILED, problem);
        return false;
    }
    Attach *attach = errand_new(qmp, sizeof *attach, run, attach_clear);
    attach->socket = g_steal_pointer(&canonical);
    bool is_good = errand_wait(&attach->errand, ASK_WAIT_MS);
    if (!is_good)
        g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_BUSY,
                    "'%s' has not answered within %d ms; it stays attached", socket, ASK_WAIT_MS);
    else if (attach->failure)
        g_set_error_literal(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_FAILED, attach->failure);
    is_good = is_good && !attach->failure;
    if (is_good && ret_uuid)
        g_strlcpy(ret_uuid, attach->uuid, HN_UUID_LEN + 1);
    errand_unref(&attach->errand);
    return is_good;
}

static bool qmp_attach(HnBackend *backend, const char *socket, char ret_uuid[HN_UUID_LEN + 1],
                       GError **error)
{
    return run_attach((HnQmp *)backend, socket, attach_run, ret_uuid, error);
}

static bool qmp_detach(HnBackend *backend, const char *socket, GError **error)
{
    return run_attach((HnQmp *)backend, socket, detach_run, NULL, error);
}

/* ---- life ---- */

static gboolean quit(gpointer loop)
{
    g_main_loop_quit(loop);
    return G_SOURCE_REMOVE;
}

static void qmp_free(HnBackend *backend)
{
    HnQmp *qmp = (HnQmp *)backend;
    if (qmp->thread) {
        g_main_context_invoke(qmp->context, quit, qmp->loop);
        g_thread_join(qmp->thread);
    }
    hn_change_queue_free(qmp->changes);
    g_main_loop_unref(qmp->loop);
    g_main_context_unref(qmp->context);
    g_hash_table_unref(qmp->guests);
    g_hash_table_unref(qmp->attached);
    g_hash_table_unref(qmp->let_go);
    g_free(qmp->directory_remark);
    g_free(qmp->directory_path);
    g_free(qmp->attached_file);
    g_free(qmp);
}

static void start(HnQmp *qmp)
{
    if (!qmp->thread)
        qmp->thread = g_thread_new("qmp", thread_main, qmp);
}

static void qmp_watch(HnBackend *backend, HnChangeFunc func, void *user_data)
{
    HnQmp *qmp = (HnQmp *)backend;
    hn_change_queue_watch(qmp->changes, func, user_data);
    if (qmp->thread)
        hn_change_queue_push(qmp->changes, HN_CHANGE_CONNECTED, NULL, NULL);
    start(qmp);
}

static bool qmp_is_connected(HnBackend *backend)
{
    return ((HnQmp *)backend)->thread != NULL;
}

static const HnBackendOps qmp_ops = {
    .name = "qmp",
    .free = qmp_free,
    .watch = qmp_watch,
    .is_connected = qmp_is_connected,
    .list = qmp_list,
    .get = qmp_get,
    .pin_vcpu = qmp_pin_vcpu,
    .pin_emulator = qmp_pin_emulator,
    .pin_iothread = qmp_pin_iothread,
    .set_nodeset = qmp_set_nodeset,
    .set_stats = qmp_set_stats,
    .set_placement = qmp_set_placement,
    .start_dirty_rate = qmp_start_dirty_rate,
    .get_dirty_rate = qmp_get_dirty_rate,
    .attach = qmp_attach,
    .detach = qmp_detach,
};

HnBackend *hn_backend_qmp_new(const HnQmpOptions *options)
{
    HnQmp *qmp = g_new0(HnQmp, 1);
    qmp->base.ops = &qmp_ops;
    if (options->directory && *options->directory)
        qmp->directory_path = g_strdup(options->directory);
    qmp->attached_file = g_strdup(options->attached_file);
    qmp->root = options->root;
    qmp->affinity = options->affinity ? options->affinity : &hn_qmp_affinity_kernel;
    qmp->is_read_only = options->is_read_only;
    qmp->is_dirty_ring_allowed = options->is_dirty_ring_allowed;
    qmp->changes = hn_change_queue_new();
    qmp->context = g_main_context_new();
    qmp->loop = g_main_loop_new(qmp->context, FALSE);
    qmp->guests = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, entry_free);
    qmp->attached = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    qmp->let_go = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return &qmp->base;
}

/* Done when no guest is on its way any more. */
static gboolean settle_poll(gpointer data)
{
    Errand *errand = data;
    GHashTableIter iter;
    gpointer entry;
    g_hash_table_iter_init(&iter, errand->qmp->guests);
    while (g_hash_table_iter_next(&iter, NULL, &entry))
        if (!hn_qmp_guest_view(((Entry *)entry)->guest) &&
            !hn_qmp_guest_problem(((Entry *)entry)->guest))
            return G_SOURCE_CONTINUE;
    errand_done(errand);
    return G_SOURCE_REMOVE;
}

static void settle_run(Errand *errand)
{
    GSource *source = g_timeout_source_new(10);
    g_atomic_int_inc(&errand->n_refs);
    g_source_set_callback(source, settle_poll, errand, errand_unref);
    g_source_attach(source, errand->qmp->context);
    g_source_unref(source);
}

void hn_backend_qmp_start(HnBackend *backend, uint32_t timeout_ms)
{
    HnQmp *qmp = (HnQmp *)backend;
    start(qmp);
    Errand *errand = errand_new(qmp, sizeof *errand, settle_run, NULL);
    errand_wait(errand, timeout_ms);
    errand_unref(errand);
}
