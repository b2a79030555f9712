/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The self-healing connection of libvirt-connection.h.
 *
 * Everything but what `lock` guards belongs to the main thread. `conn` is handed to worker threads
 * under it, with a reference, so that a connection that is replaced lives until its last call
 * returns. That it ended is told by whichever thread libvirt lets read the socket just then, often a
 * worker waiting for a reply: so `idle_id` is guarded as well, or the main thread could have run
 * the source before its number is noted, and would remove, at the end, what is long gone. The object
 * itself is reference counted because a connect in progress cannot be interrupted, only disowned.
 */
#include "libvirt-connection.h"

#include "libvirt-error.h"
#include "qmp/backoff.h"
#include "wish.h"

#include <errno.h>
#include <gio/gio.h>
#include <string.h>

/* Dead peers (a stopped daemon, a lost tunnel) are noticed after 5 s · (3 + 1). */
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_COUNT 3
/* In libvirt's headers from 12.4 on; libraries before refuse the number, which is tolerated. */
#define EVENT_ID_VCPU_REMOVED 28

#define N_EVENTS 9

/* One established connection with its registrations. */
typedef struct {
    virConnectPtr conn;
    int callback_ids[N_EVENTS]; /* -1: not supported here */
} Link;

struct HnLibvirtConnection {
    char *uri;
    bool is_read_only;
    GMutex lock;
    virConnectPtr conn; /* guarded by lock; == link->conn while up */
    Link *link;
    HnQmpBackoff backoff; /* when to connect again; nothing in it is about QMP */
    guint timer_id;       /* 0: none */
    guint idle_id;        /* guarded by lock; 0: none */
    HnChangeFunc func;
    void *user_data;
    bool is_closed; /* guarded by lock */
    bool is_down_reported;
};

static gboolean on_timer(gpointer data);

/* The main loop's clock; nothing below takes time from anywhere else. */
static uint64_t now_ns(void)
{
    return (uint64_t)g_get_monotonic_time() * 1000;
}

static void emit(HnLibvirtConnection *connection, HnChangeKind kind, virDomainPtr domain,
                 const char *key, const char *value)
{
    HnChange change = {.kind = kind, .key = key, .value = value};
    /* Events between registration and hand-over are covered by the enumeration that CONNECTED
     * causes. */
    if (!connection->func || (domain && connection->backoff.state != HN_QMP_BACKOFF_UP))
        return;
    if (domain && virDomainGetUUIDString(domain, change.uuid) < 0)
        return;
    connection->func(&change, connection->user_data);
}

/* ---- events: each translates, none decides ---- */

static int on_lifecycle(virConnectPtr conn, virDomainPtr domain, int event, int detail,
                        void *opaque)
{
    switch (event) {
    case VIR_DOMAIN_EVENT_STARTED:
        emit(opaque, HN_CHANGE_STARTED, domain, NULL, NULL);
        break;
    case VIR_DOMAIN_EVENT_STOPPED:
        emit(opaque, HN_CHANGE_STOPPED, domain, NULL, NULL);
        break;
    case VIR_DOMAIN_EVENT_DEFINED: /* stored configuration only */
    case VIR_DOMAIN_EVENT_UNDEFINED:
        break;
    default:
        emit(opaque, HN_CHANGE_STATE, domain, NULL, NULL);
        break;
    }
    return 0;
}

static void on_tunable(virConnectPtr conn, virDomainPtr domain, virTypedParameterPtr params,
                       int n_params, void *opaque)
{
    for (int i = 0; i < n_params; i++) {
        const char *value = params[i].type == VIR_TYPED_PARAM_STRING ? params[i].value.s : NULL;
        emit(opaque, HN_CHANGE_TUNABLE, domain, params[i].field, value);
    }
}

static void on_metadata(virConnectPtr conn, virDomainPtr domain, int type, const char *uri,
                        void *opaque)
{
    if (type == VIR_DOMAIN_METADATA_ELEMENT && g_strcmp0(uri, HN_PLACEMENT_URI) == 0)
        emit(opaque, HN_CHANGE_METADATA, domain, NULL, NULL);
}

/* Any device: memory changes what can be moved, passthrough whether it can. */
static void on_device(virConnectPtr conn, virDomainPtr domain, const char *alias, void *opaque)
{
    emit(opaque, HN_CHANGE_MEMORY, domain, NULL, NULL);
}

static void on_memory_size(virConnectPtr conn, virDomainPtr domain, const char *alias,
                           unsigned long long size, void *opaque)
{
    emit(opaque, HN_CHANGE_MEMORY, domain, NULL, NULL);
}

static void on_migration_iteration(virConnectPtr conn, virDomainPtr domain, int iteration,
                                   void *opaque)
{
    emit(opaque, HN_CHANGE_STATE, domain, NULL, NULL);
}

static void on_job_completed(virConnectPtr conn, virDomainPtr domain, virTypedParameterPtr params,
                             int n_params, void *opaque)
{
    emit(opaque, HN_CHANGE_STATE, domain, NULL, NULL);
}

static void on_vcpu_removed(virConnectPtr conn, virDomainPtr domain, unsigned int vcpu,
                            void *opaque)
{
    emit(opaque, HN_CHANGE_STATE, domain, NULL, NULL);
}

static const struct {
    int id;
    virConnectDomainEventGenericCallback callback;
} events[N_EVENTS] = {
    {VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle)},
    {VIR_DOMAIN_EVENT_ID_TUNABLE, VIR_DOMAIN_EVENT_CALLBACK(on_tunable)},
    {VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_metadata)},
    {VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, VIR_DOMAIN_EVENT_CALLBACK(on_device)},
    {VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, VIR_DOMAIN_EVENT_CALLBACK(on_device)},
    {VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_memory_size)},
    {VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, VIR_DOMAIN_EVENT_CALLBACK(on_job_completed)},
    {VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, VIR_DOMAIN_EVENT_CALLBACK(on_migration_iteration)},
    {EVENT_ID_VCPU_REMOVED, VIR_DOMAIN_EVENT_CALLBACK(on_vcpu_removed)},
};

/* ---- opening and closing ---- */

static void on_conn_closed(virConnectPtr conn, int reason, void *opaque);

/* Blocks. NULL with HN_BACKEND_ERROR set; the error is one line for the administrator. */
static Link *link_open(HnLibvirtConnection *connection, GError **error)
{
    const char *uri = connection->uri;
    virConnectPtr conn =
        connection->is_read_only ? virConnectOpenReadOnly(uri) : virConnectOpen(uri);
    if (!conn) {
        const virError *last = virGetLastError();
        bool is_denied = last && last->code == VIR_ERR_SYSTEM_ERROR &&
                         (last->int1 == EACCES || last->int1 == EPERM);
        HnBackendError condition = hn_libvirt_error_classify(last ? last->code : 0, NULL);
        if (condition == HN_BACKEND_ERROR_FAILED)
            condition = is_denied ? HN_BACKEND_ERROR_DENIED : HN_BACKEND_ERROR_DISCONNECTED;
        g_set_error(error, HN_BACKEND_ERROR, condition, "cannot connect to libvirt at %s: %s", uri,
                    last && last->message ? last->message : "unknown error");
        virResetLastError();
        return NULL;
    }
    Link *link = g_new0(Link, 1);
    link->conn = conn;
    for (size_t i = 0; i < N_EVENTS; i++)
        link->callback_ids[i] = virConnectDomainEventRegisterAny(
            conn, NULL, events[i].id, events[i].callback, connection, NULL);
    /* Both unsupported by the test driver, which cannot break either. */
    virConnectRegisterCloseCallback(conn, on_conn_closed, connection, NULL);
    virConnectSetKeepAlive(conn, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT);
    virResetLastError();
    return link;
}

static void link_close(Link *link)
{
    if (!link)
        return;
    for (size_t i = 0; i < N_EVENTS; i++)
        if (link->callback_ids[i] >= 0)
            virConnectDomainEventDeregisterAny(link->conn, link->callback_ids[i]);
    virConnectUnregisterCloseCallback(link->conn, on_conn_closed);
    virConnectClose(link->conn);
    virResetLastError();
    g_free(link);
}

static void install(HnLibvirtConnection *connection, Link *link)
{
    connection->link = link;
    g_mutex_lock(&connection->lock);
    connection->conn = link->conn;
    g_mutex_unlock(&connection->lock);
    hn_qmp_backoff_connected(&connection->backoff, now_ns());
    connection->is_down_reported = false;
    emit(connection, HN_CHANGE_CONNECTED, NULL, NULL, NULL);
}

static Link *uninstall(HnLibvirtConnection *connection)
{
    g_mutex_lock(&connection->lock);
    connection->conn = NULL;
    g_mutex_unlock(&connection->lock);
    return g_steal_pointer(&connection->link);
}

/* The connection broke, or could not be made: says so once, and sets the timer. */
static void retry_later(HnLibvirtConnection *connection, const char *reason)
{
    uint64_t wait_ns = hn_qmp_backoff_failed(&connection->backoff, now_ns());
    if (!connection->is_down_reported) {
        connection->is_down_reported = true;
        emit(connection, HN_CHANGE_DISCONNECTED, NULL, NULL, reason);
    }
    connection->timer_id = g_timeout_add((guint)(wait_ns / 1000000 + 1), on_timer, connection);
}

static gboolean after_conn_closed(gpointer data)
{
    HnLibvirtConnection *connection = data;
    g_mutex_lock(&connection->lock);
    connection->idle_id = 0;
    g_mutex_unlock(&connection->lock);
    if (connection->backoff.state == HN_QMP_BACKOFF_UP) {
        link_close(uninstall(connection));
        retry_later(connection, "the connection to libvirt ended");
    }
    return G_SOURCE_REMOVE;
}

/* Any thread. A connection must not be closed from its own callback. Libvirt unregisters the callback
 * only between two calls of it, so the connection lives as long as this runs. */
static void on_conn_closed(virConnectPtr conn, int reason, void *opaque)
{
    HnLibvirtConnection *connection = opaque;
    g_mutex_lock(&connection->lock);
    if (reason != VIR_CONNECT_CLOSE_REASON_CLIENT && !connection->is_closed &&
        connection->idle_id == 0)
        connection->idle_id = g_idle_add(after_conn_closed, connection);
    g_mutex_unlock(&connection->lock);
}

/* ---- connecting in the background ---- */

static void connection_clear(gpointer data)
{
    HnLibvirtConnection *connection = data;
    g_free(connection->uri);
    g_mutex_clear(&connection->lock);
}

static void connection_unref(gpointer data)
{
    g_atomic_rc_box_release_full(data, connection_clear);
}

static void connect_thread(GTask *opening, gpointer source, gpointer data,
                           GCancellable *cancellable)
{
    GError *error = NULL;
    Link *link = link_open(data, &error);
    if (link)
        g_task_return_pointer(opening, link, NULL);
    else
        g_task_return_error(opening, error);
}

static void on_connect_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
    HnLibvirtConnection *connection = user_data;
    g_autoptr(GError) error = NULL;
    Link *link = g_task_propagate_pointer(G_TASK(result), &error);
    if (connection->is_closed) {
        link_close(link);
    } else if (!link) {
        retry_later(connection, error->message);
    } else {
        install(connection, link);
        /* It may have ended between its thread's registration and now. */
        if (virConnectIsAlive(link->conn) != 1)
            on_conn_closed(link->conn, VIR_CONNECT_CLOSE_REASON_EOF, connection);
    }
}

static void connect_in_background(HnLibvirtConnection *connection)
{
    g_autoptr(GTask) opening = g_task_new(NULL, NULL, on_connect_done, connection);
    g_task_set_task_data(opening, g_atomic_rc_box_acquire(connection), connection_unref);
    g_task_run_in_thread(opening, connect_thread);
}

static gboolean on_timer(gpointer data)
{
    HnLibvirtConnection *connection = data;
    if (!hn_qmp_backoff_tick(&connection->backoff, now_ns()))
        return G_SOURCE_CONTINUE; /* a hair too early */
    connection->timer_id = 0;
    connect_in_background(connection);
    return G_SOURCE_REMOVE;
}

/* ---- public ---- */

HnLibvirtConnection *hn_libvirt_connection_new(const char *uri, bool is_read_only)
{
    HnLibvirtConnection *connection = g_atomic_rc_box_new0(HnLibvirtConnection);
    connection->uri = g_strdup(uri);
    connection->is_read_only = is_read_only;
    g_mutex_init(&connection->lock);
    hn_qmp_backoff_init(&connection->backoff, &hn_qmp_backoff_default, 0);
    return connection;
}

void hn_libvirt_connection_close(HnLibvirtConnection *connection)
{
    g_mutex_lock(&connection->lock);
    connection->is_closed = true; /* from here on no idle source is made */
    g_clear_handle_id(&connection->idle_id, g_source_remove);
    g_mutex_unlock(&connection->lock);
    connection->func = NULL;
    g_clear_handle_id(&connection->timer_id, g_source_remove);
    link_close(uninstall(connection));
    connection_unref(connection);
}

void hn_libvirt_connection_watch(HnLibvirtConnection *connection, HnChangeFunc func,
                                 void *user_data)
{
    connection->func = func;
    connection->user_data = user_data;
    if (connection->backoff.state == HN_QMP_BACKOFF_UP)
        emit(connection, HN_CHANGE_CONNECTED, NULL, NULL, NULL);
    else if (hn_qmp_backoff_start(&connection->backoff))
        connect_in_background(connection);
}

bool hn_libvirt_connection_connect(HnLibvirtConnection *connection, GError **error)
{
    if (connection->backoff.state == HN_QMP_BACKOFF_UP)
        return true;
    if (!hn_qmp_backoff_start(&connection->backoff)) {
        g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_BUSY,
                    "connecting to libvirt at %s is under way already", connection->uri);
        return false;
    }
    Link *link = link_open(connection, error);
    if (link)
        install(connection, link);
    else
        hn_qmp_backoff_stop(&connection->backoff);
    return link != NULL;
}

bool hn_libvirt_connection_is_up(HnLibvirtConnection *connection)
{
    g_mutex_lock(&connection->lock);
    bool is_up = connection->conn != NULL;
    g_mutex_unlock(&connection->lock);
    return is_up;
}

virConnectPtr hn_libvirt_connection_borrow(HnLibvirtConnection *connection, GError **error)
{
    g_mutex_lock(&connection->lock);
    virConnectPtr conn = connection->conn;
    if (conn)
        virConnectRef(conn);
    g_mutex_unlock(&connection->lock);
    if (!conn)
        g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_DISCONNECTED,
                    "not connected to libvirt at %s", connection->uri);
    return conn;
}
