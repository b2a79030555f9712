/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The QMP client. See client.h for states and promises.
 *
 * Calls stand in one queue, oldest first, sent or not; replies nearly always belong to the first,
 * so the queue is searched from there. Each call has its own time-out source; a call that cannot
 * even be queued gets one of 0 ms with its error set, so that no callback runs inside
 * hn_qmp_client_call().
 */
#include "qmp/client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "qmp/stream.h"

/* A listener whose queue is full answers EAGAIN at once and offers nothing to wait on. */
#define RETRY_FULL_QUEUE_MS 20

const HnQmpClientOptions hn_qmp_client_options_default = {
    .connect_timeout_ms = 2000,
    .greeting_timeout_ms = 3000,
    .command_timeout_ms = 10000,
    .max_outstanding = 256,
    .limits = HN_QMP_LIMITS_MONITOR,
    .has_reconnect = FALSE,
    .backoff = HN_QMP_BACKOFF_DEFAULT,
};

typedef enum { IDLE, CONNECTING, GREETING, NEGOTIATING, READY, WAITING, CLOSED } State;

typedef struct {
    HnQmpClient *client; /* not owned: the client frees its calls */
    guint64 id;
    char *command;
    GBytes *line; /* until sent; unsent calls stand behind all sent ones */
    HnQmpReplyFunc func;
    gpointer user_data;
    GSource *timeout;
    guint timeout_ms;
    GError *refusal; /* set: the outcome, whatever else happens; never sent */
} Call;

struct HnQmpClient {
    grefcount refs;
    char *path;
    HnQmpClientOptions options;
    HnQmpClientCallbacks callbacks;
    gpointer user_data;
    GMainContext *context;
    State state;
    HnQmpBackoff backoff;
    HnQmpStream *stream;  /* GREETING to READY */
    GSource *attempt;     /* the next connect() */
    GSource *state_timer; /* CONNECTING, or GREETING and NEGOTIATING */
    HnQmpGreeting greeting;
    gboolean has_greeting;
    guint64 last_id;
    guint64 negotiate_id;
    GQueue calls; /* Call, oldest first */
};

static guint64 now_ns(void)
{
    return (guint64)g_get_monotonic_time() * 1000;
}

static void set_timer(HnQmpClient *client, GSource **source, guint ms, GSourceFunc func,
                      gpointer data)
{
    hn_qmp_source_clear(source);
    *source = g_timeout_source_new(ms);
    g_source_set_callback(*source, func, data, NULL);
    g_source_attach(*source, client->context);
}

/* ---- calls ---- */

static void call_free(Call *call)
{
    hn_qmp_source_clear(&call->timeout);
    g_clear_pointer(&call->line, g_bytes_unref);
    g_clear_error(&call->refusal);
    g_free(call->command);
    g_free(call);
}

/* Ends a call that stands in no queue any more. */
static void call_end(Call *call, json_object *value, const GError *error)
{
    HnQmpClient *client = hn_qmp_client_ref(call->client);

    if (call->func && call->refusal)
        call->func(client, NULL, call->refusal, call->user_data);
    else if (call->func)
        call->func(client, value, error, call->user_data);
    call_free(call);
    hn_qmp_client_unref(client);
}

static void call_fail(Call *call, HnQmpError code, const char *text)
{
    g_autoptr(GError) error = g_error_new(HN_QMP_ERROR, code, "%s: %s", call->command, text);

    call_end(call, NULL, error);
}

static Call *take_call(HnQmpClient *client, guint64 id)
{
    for (GList *link = client->calls.head; link; link = link->next) {
        Call *call = link->data;

        if (call->id == id) {
            g_queue_delete_link(&client->calls, link);
            return call;
        }
    }
    return NULL;
}

/* Fails the calls there are now; those their callbacks make meanwhile stay. */
static void fail_calls(HnQmpClient *client, gboolean only_sent, HnQmpError code, const char *text)
{
    guint64 last_id = client->last_id;

    hn_qmp_client_ref(client);
    for (;;) {
        Call *call = g_queue_peek_head(&client->calls);

        if (!call || call->id > last_id || (only_sent && call->line))
            break;
        g_queue_pop_head(&client->calls);
        call_fail(call, code, text);
    }
    hn_qmp_client_unref(client);
}

static gboolean on_call_timeout(gpointer user_data)
{
    Call *call = user_data;
    g_autofree char *text = NULL;

    take_call(call->client, call->id);
    text = g_strdup_printf("no reply from '%s' within %u ms", call->client->path, call->timeout_ms);
    call_fail(call, HN_QMP_ERROR_TIMEOUT, text);
    return G_SOURCE_REMOVE;
}

static void send_call(HnQmpClient *client, Call *call)
{
    hn_qmp_stream_send(client->stream, call->line);
    g_clear_pointer(&call->line, g_bytes_unref);
}

guint64 hn_qmp_client_call(HnQmpClient *client, const char *command, json_object *arguments,
                           guint timeout_ms, HnQmpReplyFunc func, gpointer user_data)
{
    Call *call = g_new0(Call, 1);
    json_object *message;

    call->client = client;
    call->id = ++client->last_id;
    call->command = g_strdup(command);
    call->func = func;
    call->user_data = user_data;
    call->timeout_ms = timeout_ms > 0 ? timeout_ms : client->options.command_timeout_ms;
    message = hn_qmp_build_command(command, arguments, json_object_new_uint64(call->id));
    call->line = hn_qmp_serialize(message);
    json_object_put(message);

    if (client->state == CLOSED)
        call->refusal = g_error_new(HN_QMP_ERROR, HN_QMP_ERROR_CLOSED,
                                    "%s: the connection to '%s' was closed", command, client->path);
    else if (client->calls.length >= client->options.max_outstanding)
        call->refusal = g_error_new(HN_QMP_ERROR, HN_QMP_ERROR_BUSY,
                                    "%s: %u commands to '%s' are outstanding already, the limit",
                                    command, client->calls.length, client->path);
    if (call->refusal)
        g_clear_pointer(&call->line, g_bytes_unref);
    g_queue_push_tail(&client->calls, call);
    set_timer(client, &call->timeout, call->refusal ? 0 : call->timeout_ms, on_call_timeout, call);
    if (client->state == READY && call->line)
        send_call(client, call);
    return call->id;
}

void hn_qmp_client_cancel(HnQmpClient *client, guint64 call_id)
{
    Call *call = take_call(client, call_id);

    if (call)
        call_fail(call, HN_QMP_ERROR_CANCELLED, "cancelled");
}

/* ---- the connection ---- */

static gboolean on_attempt(gpointer user_data);

static void drop_connection(HnQmpClient *client)
{
    hn_qmp_source_clear(&client->attempt);
    hn_qmp_source_clear(&client->state_timer);
    g_clear_pointer(&client->stream, hn_qmp_stream_free);
}

/* The connection failed or ended: next state, outstanding calls, callback. Takes error. */
static void lose(HnQmpClient *client, GError *error)
{
    gboolean will_retry = FALSE;

    hn_qmp_client_ref(client);
    drop_connection(client);
    client->state = IDLE;
    if (client->options.has_reconnect) {
        guint64 wait_ns = hn_qmp_backoff_failed(&client->backoff, now_ns());

        if (wait_ns != G_MAXUINT64) {
            will_retry = TRUE;
            client->state = WAITING;
            /* Rounded up: the tick must not come before its time. */
            set_timer(client, &client->attempt, (guint)(wait_ns / 1000000 + 1), on_attempt, client);
        }
    }
    fail_calls(client, FALSE, (HnQmpError)error->code, error->message);
    if (client->callbacks.lost && client->state != CLOSED)
        client->callbacks.lost(client, error, will_retry, client->user_data);
    g_error_free(error);
    hn_qmp_client_unref(client);
}

static gboolean on_state_timeout(gpointer user_data)
{
    HnQmpClient *client = user_data;

    if (client->state == CONNECTING)
        lose(client, g_error_new(HN_QMP_ERROR, HN_QMP_ERROR_TIMEOUT,
                                 "'%s' accepts no connection within %u ms: its queue is full",
                                 client->path, client->options.connect_timeout_ms));
    else
        lose(client,
             g_error_new(HN_QMP_ERROR, HN_QMP_ERROR_TIMEOUT,
                         "No %s from '%s' within %u ms; a monitor serves one client at a "
                         "time, and another one may hold it",
                         client->state == GREETING ? "greeting" : "reply to qmp_capabilities",
                         client->path, client->options.greeting_timeout_ms));
    return G_SOURCE_REMOVE;
}

static void become_ready(HnQmpClient *client)
{
    hn_qmp_source_clear(&client->state_timer);
    client->state = READY;
    hn_qmp_backoff_connected(&client->backoff, now_ns());
    for (GList *link = client->calls.head; link; link = link->next) {
        Call *call = link->data;

        if (call->line)
            send_call(client, call);
    }
    if (client->callbacks.ready)
        client->callbacks.ready(client, &client->greeting, client->user_data);
}

static void negotiate(HnQmpClient *client, const HnQmpMessage *message)
{
    GError *error = NULL;
    HnQmpGreeting greeting = {0};
    json_object *command;
    g_autoptr(GBytes) line = NULL;

    if (message->kind == HN_QMP_KIND_ERROR) {
        lose(client, g_error_new(HN_QMP_ERROR, HN_QMP_ERROR_CONNECT, "'%s' refuses: %s",
                                 client->path, message->error_desc));
        return;
    }
    if (message->kind != HN_QMP_KIND_GREETING)
        return;
    if (!hn_qmp_greeting_decode(message, &greeting, &error)) {
        lose(client, error);
        return;
    }
    hn_qmp_greeting_clear(&client->greeting);
    client->greeting = greeting;
    client->has_greeting = TRUE;
    client->negotiate_id = ++client->last_id;
    command = hn_qmp_build_command("qmp_capabilities", NULL,
                                   json_object_new_uint64(client->negotiate_id));
    line = hn_qmp_serialize(command);
    json_object_put(command);
    client->state = NEGOTIATING;
    hn_qmp_stream_send(client->stream, line);
}

static void on_malformed(gpointer owner, const GError *error);

/* A RETURN or ERROR in NEGOTIATING or READY. */
static void handle_reply(HnQmpClient *client, const HnQmpMessage *message)
{
    g_autoptr(GError) error = NULL;
    guint64 id =
        json_object_is_type(message->id, json_type_int) ? json_object_get_uint64(message->id) : 0;
    Call *call;

    if (message->kind == HN_QMP_KIND_ERROR && !message->has_id) {
        /* The peer could not read something of ours, and cannot say what. */
        error = hn_qmp_error_from_reply("the peer could not read a command", message);
        on_malformed(client, error);
        return;
    }
    if (client->state == NEGOTIATING && id == client->negotiate_id) {
        if (message->kind == HN_QMP_KIND_RETURN)
            become_ready(client);
        else
            lose(client, hn_qmp_error_from_reply("qmp_capabilities", message));
        return;
    }
    call = take_call(client, id);
    if (!call)
        return; /* the late reply to a call that timed out or was cancelled */
    if (message->kind == HN_QMP_KIND_ERROR)
        error = hn_qmp_error_from_reply(call->command, message);
    call_end(call, error ? NULL : message->data, error);
}

static void on_message(gpointer owner, json_object *root)
{
    HnQmpClient *client = hn_qmp_client_ref(owner);
    g_auto(HnQmpMessage) message = {0};
    g_autoptr(GError) error = NULL;

    if (!hn_qmp_message_classify(root, &message, &error)) {
        on_malformed(client, error);
    } else if (client->state == GREETING) {
        negotiate(client, &message);
    } else if (message.kind == HN_QMP_KIND_EVENT) {
        if (client->callbacks.event)
            client->callbacks.event(client, message.name, message.data, message.timestamp_us,
                                    client->user_data);
    } else if (message.kind == HN_QMP_KIND_RETURN || message.kind == HN_QMP_KIND_ERROR) {
        handle_reply(client, &message);
    }
    hn_qmp_client_unref(client);
}

static void on_malformed(gpointer owner, const GError *error)
{
    HnQmpClient *client = owner;

    if (client->state == READY)
        fail_calls(client, TRUE, (HnQmpError)error->code, error->message);
    else
        lose(client, g_error_new(HN_QMP_ERROR, error->code, "'%s' does not speak QMP: %s",
                                 client->path, error->message));
}

static void on_ended(gpointer owner, const GError *error)
{
    HnQmpClient *client = owner;

    lose(client, g_error_new(HN_QMP_ERROR, HN_QMP_ERROR_CLOSED, "'%s' closed the connection%s%s",
                             client->path, error ? ": " : "", error ? error->message : ""));
}

/* connect(2), once. Returns the socket; NULL with *error, or without if the queue is full. */
static GSocket *connect_once(const char *path, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    GSocket *socket_object;
    int fd;

    if (strlen(path) >= sizeof address.sun_path) {
        g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_CONNECT,
                    "The path '%s' is longer than the %zu bytes a unix socket may have", path,
                    sizeof address.sun_path - 1);
        return NULL;
    }
    g_strlcpy(address.sun_path, path, sizeof address.sun_path);

    /* Not GSocketClient: it takes EAGAIN of a unix socket for "in progress", sees the unconnected
     * socket writable, and reports success. */
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        int code = errno;

        if (fd >= 0)
            close(fd);
        if (fd >= 0 && (code == EAGAIN || code == EINTR))
            return NULL;
        g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_CONNECT, "Cannot connect to '%s': %s%s", path,
                    g_strerror(code), code == ECONNREFUSED ? " (nobody listens there)" : "");
        return NULL;
    }
    socket_object = g_socket_new_from_fd(fd, error);
    if (!socket_object)
        close(fd);
    return socket_object;
}

static gboolean on_attempt(gpointer user_data)
{
    static const HnQmpStreamFuncs funcs = {
        .message = on_message, .malformed = on_malformed, .ended = on_ended};
    HnQmpClient *client = user_data;
    g_autoptr(GSocket) connection = NULL;
    GError *error = NULL;

    hn_qmp_source_clear(&client->attempt);
    if (client->state == WAITING) {
        if (!hn_qmp_backoff_tick(&client->backoff, now_ns())) {
            set_timer(client, &client->attempt, 1, on_attempt, client);
            return G_SOURCE_REMOVE;
        }
        client->state = CONNECTING;
        set_timer(client, &client->state_timer, client->options.connect_timeout_ms,
                  on_state_timeout, client);
    }
    connection = connect_once(client->path, &error);
    if (error) {
        lose(client, error);
    } else if (!connection) {
        set_timer(client, &client->attempt, RETRY_FULL_QUEUE_MS, on_attempt, client);
    } else {
        client->state = GREETING;
        client->stream =
            hn_qmp_stream_new(connection, &client->options.limits, client->context, &funcs, client);
        set_timer(client, &client->state_timer, client->options.greeting_timeout_ms,
                  on_state_timeout, client);
    }
    return G_SOURCE_REMOVE;
}

/* ---- the client ---- */

HnQmpClient *hn_qmp_client_new(const char *path, const HnQmpClientOptions *options,
                               const HnQmpClientCallbacks *callbacks, gpointer user_data)
{
    HnQmpClient *client = g_new0(HnQmpClient, 1);

    g_ref_count_init(&client->refs);
    client->path = g_strdup(path);
    client->options = options ? *options : hn_qmp_client_options_default;
    if (callbacks)
        client->callbacks = *callbacks;
    client->user_data = user_data;
    client->context = g_main_context_ref_thread_default();
    hn_qmp_backoff_init(&client->backoff, &client->options.backoff, g_str_hash(path));
    g_queue_init(&client->calls);
    return client;
}

HnQmpClient *hn_qmp_client_ref(HnQmpClient *client)
{
    g_ref_count_inc(&client->refs);
    return client;
}

void hn_qmp_client_unref(HnQmpClient *client)
{
    if (!client)
        return;
    if (client->state != CLOSED && g_ref_count_compare(&client->refs, 1))
        hn_qmp_client_close(client); /* its callbacks may take references of their own */
    if (!g_ref_count_dec(&client->refs))
        return;
    while (client->calls.length > 0) /* made by callbacks during close */
        call_free(g_queue_pop_head(&client->calls));
    hn_qmp_greeting_clear(&client->greeting);
    g_main_context_unref(client->context);
    g_free(client->path);
    g_free(client);
}

void hn_qmp_client_connect(HnQmpClient *client)
{
    if (client->state != IDLE)
        return;
    hn_qmp_backoff_start(&client->backoff);
    client->state = CONNECTING;
    set_timer(client, &client->state_timer, client->options.connect_timeout_ms, on_state_timeout,
              client);
    set_timer(client, &client->attempt, 0, on_attempt, client);
}

void hn_qmp_client_close(HnQmpClient *client)
{
    g_autofree char *text = NULL;

    if (client->state == CLOSED)
        return;
    drop_connection(client);
    hn_qmp_backoff_stop(&client->backoff);
    client->state = CLOSED;
    text = g_strdup_printf("the connection to '%s' was closed", client->path);
    fail_calls(client, FALSE, HN_QMP_ERROR_CLOSED, text);
}

gboolean hn_qmp_client_is_ready(const HnQmpClient *client)
{
    return client->state == READY;
}

const char *hn_qmp_client_path(const HnQmpClient *client)
{
    return client->path;
}

const HnQmpGreeting *hn_qmp_client_greeting(const HnQmpClient *client)
{
    return client->has_greeting ? &client->greeting : NULL;
}

gboolean hn_qmp_client_peer(const HnQmpClient *client, HnQmpPeer *ret_peer)
{
    return client->stream && hn_qmp_stream_peer(client->stream, ret_peer);
}

/* ---- blocking forms ---- */

typedef struct {
    gboolean is_done;
    json_object *value;
    GError *error;
} SyncReply;

static void on_sync_reply(HnQmpClient *client, json_object *value, const GError *error,
                          gpointer user_data)
{
    SyncReply *reply = user_data;

    reply->is_done = TRUE;
    reply->value = json_object_get(value);
    reply->error = error ? g_error_copy(error) : NULL;
}

gboolean hn_qmp_client_call_sync(HnQmpClient *client, const char *command, json_object *arguments,
                                 guint timeout_ms, json_object **ret_value, GError **error)
{
    SyncReply reply = {0};

    hn_qmp_client_ref(client);
    hn_qmp_client_connect(client);
    hn_qmp_client_call(client, command, arguments, timeout_ms, on_sync_reply, &reply);
    while (!reply.is_done)
        g_main_context_iteration(client->context, TRUE);
    hn_qmp_client_unref(client);
    if (reply.error) {
        g_propagate_error(error, reply.error);
        return FALSE;
    }
    if (ret_value)
        *ret_value = reply.value;
    else
        json_object_put(reply.value);
    return TRUE;
}

gboolean hn_qmp_call_sync(const char *path, const char *command, json_object *arguments,
                          guint timeout_ms, json_object **ret_value, GError **error)
{
    g_autoptr(GMainContext) context = g_main_context_new();
    HnQmpClient *client;
    gboolean is_ok;

    g_main_context_push_thread_default(context);
    client = hn_qmp_client_new(path, NULL, NULL, NULL);
    is_ok = hn_qmp_client_call_sync(client, command, arguments, timeout_ms, ret_value, error);
    hn_qmp_client_unref(client);
    g_main_context_pop_thread_default(context);
    return is_ok;
}
