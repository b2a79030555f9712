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

#include "observe/process.h"
#include "qmp-private.h"
#include "qmp-sidecar.h"

#include <string.h>

#define LIST_WAIT_MS 1500 /* more than a guest may be overdue (qmp-guest.c) */

/* ---- looking at guests ---- */

typedef struct {
    HnQmpErrand errand;
    char *uuid;       /* NULL: all */
    GPtrArray *views; /* HnQmpView *, owned */
} Look;

static void look_clear(HnQmpErrand *errand)
{
    Look *look = (Look *)errand;
    g_free(look->uuid);
    g_ptr_array_unref(look->views);
}

static void look_collect(Look *look)
{
    g_autoptr(GPtrArray) entries = hn_qmp_keeper_list(look->errand.qmp);
    for (guint i = 0; i < entries->len; i++) {
        const HnQmpView *view =
            hn_qmp_guest_view(((HnQmpEntry *)g_ptr_array_index(entries, i))->guest);
        if (!look->uuid || strcmp(view->info->uuid, look->uuid) == 0)
            g_ptr_array_add(look->views, hn_qmp_view_copy(view));
    }
    hn_qmp_errand_done(&look->errand);
}

static void on_looked(void *user_data)
{
    Look *look = user_data;
    if (--look->errand.n_waiting == 0)
        look_collect(look);
    hn_qmp_errand_unref(&look->errand);
}

/* Asks the guests that answer, and takes what is known of the others. */
static void look_run(HnQmpErrand *errand)
{
    Look *look = (Look *)errand;
    gint64 now_us = g_get_monotonic_time();
    g_autoptr(GList) entries = hn_qmp_keeper_sorted(errand->qmp);
    errand->n_waiting = 1; /* ours, so that the last answer cannot come before the last question */
    for (GList *link = entries; link; link = link->next) {
        HnQmpGuest *guest = ((HnQmpEntry *)link->data)->guest;
        hn_qmp_guest_check_alive(guest); /* or its view ends here */
        const HnQmpView *view = hn_qmp_guest_view(guest);
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
static void glance_run(HnQmpErrand *errand)
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

bool hn_qmp_check_started(const HnQmp *qmp, GError **error)
{
    if (qmp->thread)
        return true;
    g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_DISCONNECTED, "not connected");
    return false;
}

/* HnQmpView *, owned. uuid NULL: all, else that one or none. NULL with an error: no answer in time.
 */
static GPtrArray *look(HnQmp *qmp, const char *uuid, HnQmpErrandFunc run, GError **error)
{
    if (!hn_qmp_check_started(qmp, error))
        return NULL;
    Look *errand = hn_qmp_errand_new(qmp, sizeof *errand, run, look_clear);
    errand->uuid = g_strdup(uuid);
    errand->views = g_ptr_array_new_with_free_func((GDestroyNotify)hn_qmp_view_free);
    GPtrArray *views = NULL;
    if (hn_qmp_errand_wait(&errand->errand, LIST_WAIT_MS))
        views = g_ptr_array_ref(errand->views);
    hn_qmp_errand_unref(&errand->errand);
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

HnQmpView *hn_qmp_find_view(HnQmp *qmp, const char *uuid, bool is_asked, GError **error)
{
    g_autoptr(GPtrArray) views = look(qmp, uuid, is_asked ? look_run : glance_run, error);
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
    g_autoptr(HnQmpView) view = hn_qmp_find_view(qmp, uuid, true, error);
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
    HnQmpView *view = hn_qmp_find_view(qmp, uuid, false, error);
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

bool hn_qmp_refuse(const HnQmpView *view, GError **error, const char *sentence)
{
    g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_UNSUPPORTED, "domain %s: %s",
                view->info->name, sentence);
    return false;
}

static bool qmp_set_nodeset(HnBackend *backend, const char *uuid, const HnCpuset *node_ids,
                            GError **error)
{
    g_autoptr(HnQmpView) view = find_writable(backend, uuid, error);
    return view && hn_qmp_refuse(view, error,
                                 "a nodeset needs a control group of its own, which libvirt makes");
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
    HnQmpErrand errand;
} Nudge;

static void nudge_run(HnQmpErrand *errand)
{
    hn_qmp_keeper_note_elements(errand->qmp);
    hn_qmp_errand_done(errand);
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
    Nudge *nudge = hn_qmp_errand_new(qmp, sizeof *nudge, nudge_run, NULL);
    hn_qmp_errand_wait(&nudge->errand, LIST_WAIT_MS);
    hn_qmp_errand_unref(&nudge->errand);
    return true;
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
    g_hash_table_unref(qmp->refused);
    g_hash_table_unref(qmp->let_go);
    g_free(qmp->directory_remark);
    g_free(qmp->directory_path);
    g_free(qmp->attached_file);
    g_free(qmp);
}

static void start(HnQmp *qmp)
{
    if (!qmp->thread)
        qmp->thread = g_thread_new("qmp", hn_qmp_keeper_main, qmp);
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
    .start_dirty_rate = hn_qmp_start_dirty_rate,
    .get_dirty_rate = hn_qmp_get_dirty_rate,
    .attach = hn_qmp_attach,
    .detach = hn_qmp_detach,
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
    qmp->guests = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, hn_qmp_entry_free);
    qmp->attached = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    qmp->refused = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    qmp->let_go = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return &qmp->base;
}

/* Done when no guest is on its way any more. */
static gboolean settle_poll(gpointer data)
{
    HnQmpErrand *errand = data;
    GHashTableIter iter;
    gpointer entry;
    g_hash_table_iter_init(&iter, errand->qmp->guests);
    while (g_hash_table_iter_next(&iter, NULL, &entry))
        if (!hn_qmp_guest_view(((HnQmpEntry *)entry)->guest) &&
            !hn_qmp_guest_problem(((HnQmpEntry *)entry)->guest))
            return G_SOURCE_CONTINUE;
    hn_qmp_errand_done(errand);
    return G_SOURCE_REMOVE;
}

static void settle_run(HnQmpErrand *errand)
{
    GSource *source = g_timeout_source_new(10);
    g_atomic_int_inc(&errand->n_refs);
    g_source_set_callback(source, settle_poll, errand, hn_qmp_errand_unref);
    g_source_attach(source, errand->qmp->context);
    g_source_unref(source);
}

void hn_backend_qmp_start(HnBackend *backend, uint32_t timeout_ms)
{
    HnQmp *qmp = (HnQmp *)backend;
    start(qmp);
    HnQmpErrand *errand = hn_qmp_errand_new(qmp, sizeof *errand, settle_run, NULL);
    hn_qmp_errand_wait(errand, timeout_ms);
    hn_qmp_errand_unref(errand);
}
