/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Attaching and detaching single sockets. What is attached is wanted like what lies in the
 * directory; what is detached stays let go until it is attached again or its file is made anew.
 */
#include "qmp-private.h"

#include "qmp-sidecar.h"

#include <string.h>

typedef struct {
    HnQmpErrand errand;
    char *socket;
    char uuid[HN_UUID_LEN + 1];
    char *failure;
} Attach;

static void attach_clear(HnQmpErrand *errand)
{
    g_free(((Attach *)errand)->socket);
    g_free(((Attach *)errand)->failure);
}

/* Looks again every 20 ms until the guest has answered; the caller's patience ends it. */
static gboolean attach_poll(gpointer data)
{
    Attach *attach = data;
    HnQmp *qmp = attach->errand.qmp;
    const HnQmpEntry *entry = g_hash_table_lookup(qmp->guests, attach->socket);
    const HnQmpView *view = entry ? hn_qmp_guest_view(entry->guest) : NULL;
    const char *problem = entry ? hn_qmp_guest_problem(entry->guest) : "it was detached meanwhile";
    if (!view && !problem)
        return G_SOURCE_CONTINUE;
    if (view) {
        g_strlcpy(attach->uuid, view->info->uuid, sizeof attach->uuid);
        hn_qmp_keeper_save_attached(qmp);
    } else {
        attach->failure = g_strdup(problem);
        g_hash_table_remove(qmp->attached, attach->socket);
        if (!hn_qmp_keeper_wants(qmp, attach->socket))
            hn_qmp_keeper_end(qmp, attach->socket);
    }
    hn_qmp_errand_done(&attach->errand);
    return G_SOURCE_REMOVE;
}

static void attach_run(HnQmpErrand *errand)
{
    Attach *attach = (Attach *)errand;
    HnQmp *qmp = errand->qmp;
    const HnQmpEntry *entry = g_hash_table_lookup(qmp->guests, attach->socket);
    if (g_hash_table_size(qmp->attached) >= HN_QMP_MAX_ATTACHED) {
        attach->failure =
            g_strdup_printf("%d sockets are attached, more are not possible", HN_QMP_MAX_ATTACHED);
        hn_qmp_errand_done(errand);
        return;
    }
    g_hash_table_add(qmp->attached, g_strdup(attach->socket));
    g_hash_table_remove(qmp->let_go, attach->socket);
    if (entry && !hn_qmp_guest_view(entry->guest))
        hn_qmp_keeper_end(qmp, attach->socket); /* at once, not when its back-off has passed */
    if (!g_hash_table_contains(qmp->guests, attach->socket))
        hn_qmp_keeper_begin(qmp, attach->socket);
    g_atomic_int_inc(&errand->n_refs);
    GSource *source = g_timeout_source_new(20);
    g_source_set_callback(source, attach_poll, attach, hn_qmp_errand_unref);
    g_source_attach(source, qmp->context);
    g_source_unref(source);
}

static void detach_run(HnQmpErrand *errand)
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
        hn_qmp_keeper_end(qmp, attach->socket);
        hn_qmp_keeper_save_attached(qmp);
    }
    hn_qmp_errand_done(errand);
}

static bool run_attach(HnQmp *qmp, const char *socket, HnQmpErrandFunc run, char *ret_uuid,
                       GError **error)
{
    g_autofree char *problem = hn_qmp_socket_problem(socket);
    g_autofree char *canonical = NULL;
    g_autoptr(GError) cause = NULL;
    if (!hn_qmp_check_started(qmp, error))
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
    Attach *attach = hn_qmp_errand_new(qmp, sizeof *attach, run, attach_clear);
    attach->socket = g_steal_pointer(&canonical);
    bool is_good = hn_qmp_errand_wait(&attach->errand, HN_QMP_ASK_WAIT_MS);
    if (!is_good)
        g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_BUSY,
                    "'%s' has not answered within %d ms; it stays attached", socket,
                    HN_QMP_ASK_WAIT_MS);
    else if (attach->failure)
        g_set_error_literal(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_FAILED, attach->failure);
    is_good = is_good && !attach->failure;
    if (is_good && ret_uuid)
        g_strlcpy(ret_uuid, attach->uuid, HN_UUID_LEN + 1);
    hn_qmp_errand_unref(&attach->errand);
    return is_good;
}

bool hn_qmp_attach(HnBackend *backend, const char *socket, char ret_uuid[HN_UUID_LEN + 1],
                   GError **error)
{
    return run_attach((HnQmp *)backend, socket, attach_run, ret_uuid, error);
}

bool hn_qmp_detach(HnBackend *backend, const char *socket, GError **error)
{
    return run_attach((HnQmp *)backend, socket, detach_run, NULL, error);
}
