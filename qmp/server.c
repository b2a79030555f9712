/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server's clients: admission, what each may cost, time-outs, events. See server.h.
 *
 * One sweep source serves all time-outs, so a client costs no timer; it exists only while there are
 * clients. Times are therefore exceeded by at most one sweep.
 */
#include "qmp/server.h"

#include <string.h>
#include "qmp/server-private.h"

#define MAX_EVENTS 64
/* How long a flooding client rests before its allowance is looked at again. */
#define THROTTLE_MS 50

const HnQmpServerOptions hn_qmp_server_options_default = {
    .max_clients = 128,
    .max_clients_per_uid = 32,
    .max_requests = 8,
    .max_commands_per_sec = 200,
    .high_water_bytes = 256 * 1024,
    .max_reply_bytes = 16 * 1024 * 1024,
    .max_total_bytes = 64 * 1024 * 1024,
    .negotiate_timeout_ms = 10 * 1000,
    .message_timeout_ms = 30 * 1000,
    .stall_timeout_ms = 30 * 1000,
    .idle_timeout_ms = 10 * 60 * 1000,
    .limits = HN_QMP_LIMITS_CONTROL,
};

ServerClient *hn_qmp_server_client_ref(ServerClient *client)
{
    g_ref_count_inc(&client->refs);
    return client;
}

void hn_qmp_server_client_unref(ServerClient *client)
{
    if (g_ref_count_dec(&client->refs))
        g_free(client);
}

/* Brings the server's total up to date with this client's queue. */
static void count_bytes(ServerClient *client)
{
    size_t queued_bytes = client->stream ? hn_qmp_stream_queued_bytes(client->stream) : 0;

    client->server->total_bytes += queued_bytes - client->counted_bytes;
    client->counted_bytes = queued_bytes;
}

void hn_qmp_server_subscribe(ServerClient *client, guint64 events)
{
    HnQmpServerCounters *counters = &client->server->counters;

    counters->subscribers -= client->subscribed != 0;
    counters->subscribers += events != 0;
    client->subscribed = events;
    if (events == 0)
        client->events_lost = 0;
}

/* Disconnects, without a word. */
static void client_end(ServerClient *client)
{
    HnQmpServer *server = client->server;
    Listener *listener = client->listener;
    gpointer uid = GUINT_TO_POINTER(client->peer.uid);
    guint of_uid;

    if (client->state == CLIENT_GONE)
        return;
    client->state = CLIENT_GONE;
    hn_qmp_source_clear(&client->throttle);
    hn_qmp_server_orphan_requests(client);
    g_clear_pointer(&client->stream, hn_qmp_stream_free);
    count_bytes(client);
    hn_qmp_server_subscribe(client, 0);
    server->counters.clients--;
    listener->clients--;
    of_uid = GPOINTER_TO_UINT(g_hash_table_lookup(listener->clients_of_uid, uid));
    if (of_uid > 1)
        g_hash_table_insert(listener->clients_of_uid, uid, GUINT_TO_POINTER(of_uid - 1));
    else
        g_hash_table_remove(listener->clients_of_uid, uid);
    g_queue_unlink(&server->clients, &client->link);
    hn_qmp_server_client_unref(client);
}

static GBytes *error_line(const char *reason)
{
    json_object *message = hn_qmp_build_error(HN_QMP_CLASS_GENERIC, reason, NULL);
    GBytes *line = hn_qmp_serialize(message);

    json_object_put(message);
    return line;
}

void hn_qmp_server_drop(ServerClient *client, const char *reason)
{
    if (client->state == CLIENT_GONE)
        return;
    client->server->counters.dropped++;
    if (reason) {
        g_autoptr(GBytes) line = error_line(reason);

        hn_qmp_stream_send(client->stream, line);
    }
    client_end(client);
}

static gboolean on_throttle(gpointer user_data)
{
    ServerClient *client = user_data;

    hn_qmp_source_clear(&client->throttle);
    hn_qmp_server_update(client);
    return G_SOURCE_REMOVE;
}

/* Refills the allowance; TRUE if a command may be read. */
static gboolean has_allowance(ServerClient *client)
{
    double rate = client->server->options.max_commands_per_sec;
    gint64 now_us = g_get_monotonic_time();

    if (rate <= 0)
        return TRUE;
    client->tokens += rate * (double)(now_us - client->tokens_at_us) / G_USEC_PER_SEC;
    client->tokens = MIN(client->tokens, rate);
    client->tokens_at_us = now_us;
    return client->tokens >= 1;
}

void hn_qmp_server_update(ServerClient *client)
{
    const HnQmpServerOptions *options = &client->server->options;
    gboolean is_full;

    if (client->state == CLIENT_GONE)
        return;
    count_bytes(client);
    is_full = client->requests.length >= options->max_requests ||
              client->counted_bytes > options->high_water_bytes;
    if (!is_full && !client->throttle && !has_allowance(client)) {
        client->throttle = g_timeout_source_new(THROTTLE_MS);
        g_source_set_callback(client->throttle, on_throttle, client, NULL);
        g_source_attach(client->throttle, client->server->context);
    }
    hn_qmp_stream_set_paused(client->stream, is_full || client->throttle);
    if (client->counted_bytes == 0) {
        client->stalled_us = 0;
        if (client->state == CLIENT_ENDING && client->requests.length == 0)
            client_end(client);
    } else if (client->stalled_us == 0) {
        client->stalled_us = g_get_monotonic_time();
    }
}

void hn_qmp_server_send(ServerClient *client, json_object *message)
{
    const HnQmpServerOptions *options = &client->server->options;
    g_autoptr(GBytes) line = hn_qmp_serialize(message);
    size_t len_bytes = g_bytes_get_size(line);

    if (len_bytes > options->max_reply_bytes) {
        json_object *id = NULL;
        gboolean has_id = json_object_object_get_ex(message, "id", &id);
        g_autofree char *desc =
            g_strdup_printf("The reply of %zu bytes is longer than the limit of %zu; ask for less",
                            len_bytes, options->max_reply_bytes);

        json_object_get(id);
        json_object_put(message);
        message = hn_qmp_build_error(HN_QMP_CLASS_GENERIC, desc, id);
        if (has_id && !id)
            json_object_object_add(message, "id", NULL);
        g_bytes_unref(line);
        line = hn_qmp_serialize(message);
        len_bytes = g_bytes_get_size(line);
    }
    json_object_put(message);
    if (client->state == CLIENT_GONE)
        return;
    hn_qmp_stream_send(client->stream, line);
    count_bytes(client);
    if (client->server->total_bytes <= options->max_total_bytes)
        return;
    /* Only who does not read is to go: see first what is really left. */
    hn_qmp_stream_flush(client->stream);
    count_bytes(client);
    if (client->counted_bytes > 0 && client->server->total_bytes > options->max_total_bytes)
        hn_qmp_server_drop(client, NULL);
}

/* ---- the stream's callbacks ---- */

static void begin_message(ServerClient *client)
{
    client->messages++;
    client->tokens -= 1;
    client->active_us = g_get_monotonic_time();
}

static void on_message(gpointer owner, json_object *root)
{
    ServerClient *client = hn_qmp_server_client_ref(owner);

    begin_message(client);
    hn_qmp_server_dispatch(client, root);
    hn_qmp_server_update(client);
    hn_qmp_server_client_unref(client);
}

static void on_malformed(gpointer owner, const GError *error)
{
    ServerClient *client = hn_qmp_server_client_ref(owner);

    begin_message(client);
    client->server->counters.malformed++;
    hn_qmp_server_send(client, hn_qmp_build_error(HN_QMP_CLASS_GENERIC, error->message, NULL));
    hn_qmp_server_update(client);
    hn_qmp_server_client_unref(client);
}

static gboolean has_room_for_event(ServerClient *client)
{
    const HnQmpServer *server = client->server;

    count_bytes(client);
    return client->counted_bytes <= server->options.high_water_bytes &&
           server->total_bytes <= server->options.max_total_bytes;
}

/* Tells a subscriber that has caught up how many events it missed. */
static void send_lost_count(ServerClient *client)
{
    g_autoptr(GBytes) line = NULL;
    json_object *data, *message;

    if (client->events_lost == 0 || !has_room_for_event(client))
        return;
    data = json_object_new_object();
    json_object_object_add(data, "count", json_object_new_uint64(client->events_lost));
    client->events_lost = 0;
    message = hn_qmp_build_event("EVENTS_LOST", data, g_get_real_time());
    line = hn_qmp_serialize(message);
    json_object_put(message);
    hn_qmp_stream_send(client->stream, line);
    count_bytes(client);
}

static void on_progress(gpointer owner)
{
    ServerClient *client = hn_qmp_server_client_ref(owner);

    client->stalled_us = 0;
    send_lost_count(client);
    hn_qmp_server_update(client);
    hn_qmp_server_client_unref(client);
}

static void on_ended(gpointer owner, const GError *error)
{
    ServerClient *client = owner;

    if (error) {
        client_end(client);
        return;
    }
    client->state = CLIENT_ENDING;
    hn_qmp_server_subscribe(client, 0);
    hn_qmp_server_update(client);
}

/* ---- admission ---- */

/* One line, as far as the kernel takes it at once, and the connection is closed. */
static void refuse(HnQmpServer *server, GSocket *connection, const char *reason)
{
    g_autoptr(GBytes) line = error_line(reason);
    gsize len = 0;
    const char *data = g_bytes_get_data(line, &len);

    g_socket_set_blocking(connection, FALSE);
    g_socket_send(connection, data, len, NULL, NULL);
    g_socket_close(connection, NULL);
    server->counters.refused++;
}

/* Since when, as far as a sweep can tell, a client is half-way through one message. */
static gint64 mid_message_since(const ServerClient *client, gint64 now_us)
{
    if (!hn_qmp_stream_is_mid_message(client->stream))
        return 0;
    if (client->mid_message_us == 0 || client->messages != client->swept_messages)
        return now_us;
    return client->mid_message_us;
}

static gboolean is_over(gint64 since_us, gint64 now_us, guint timeout_ms)
{
    return since_us > 0 && timeout_ms > 0 && now_us - since_us >= (gint64)timeout_ms * 1000;
}

static void sweep_client(ServerClient *client, gint64 now_us)
{
    const HnQmpServerOptions *options = &client->server->options;
    gint64 idle_since_us;

    client->mid_message_us = mid_message_since(client, now_us);
    client->swept_messages = client->messages;
    idle_since_us = client->requests.length > 0 || client->subscribed ? 0 : client->active_us;

    if (is_over(client->stalled_us, now_us, options->stall_timeout_ms))
        hn_qmp_server_drop(client, NULL);
    else if (!client->is_ready &&
             is_over(client->connected_us, now_us, options->negotiate_timeout_ms))
        hn_qmp_server_drop(client, "No qmp_capabilities in time; disconnecting");
    else if (is_over(client->mid_message_us, now_us, options->message_timeout_ms))
        hn_qmp_server_drop(client, "The rest of a message did not come in time; disconnecting");
    else if (is_over(idle_since_us, now_us, options->idle_timeout_ms))
        hn_qmp_server_drop(client, "No command for too long; disconnecting");
}

static gboolean on_sweep(gpointer user_data)
{
    HnQmpServer *server = user_data;
    gint64 now_us = g_get_monotonic_time();
    GList *next;

    for (GList *link = server->clients.head; link; link = next) {
        next = link->next; /* a sweep ends no client but the one it looks at */
        sweep_client(link->data, now_us);
    }
    if (server->clients.length > 0)
        return G_SOURCE_CONTINUE;
    g_clear_pointer(&server->sweep, g_source_unref);
    return G_SOURCE_REMOVE;
}

/* A quarter of the shortest time-out, but at most once in 10 ms and at least once a second. */
static guint sweep_interval_ms(const HnQmpServerOptions *options)
{
    const guint timeouts_ms[] = {options->negotiate_timeout_ms, options->message_timeout_ms,
                                 options->stall_timeout_ms, options->idle_timeout_ms};
    guint shortest_ms = 4000;

    for (size_t i = 0; i < G_N_ELEMENTS(timeouts_ms); i++) {
        if (timeouts_ms[i] > 0)
            shortest_ms = MIN(shortest_ms, timeouts_ms[i]);
    }
    return MAX(shortest_ms / 4, 10);
}

static void greet(ServerClient *client)
{
    json_object *root = json_object_new_object();
    json_object *qmp = json_object_new_object();

    json_object_object_add(qmp, "version", hn_qmp_server_version(client->server));
    json_object_object_add(qmp, "capabilities", json_object_new_array());
    json_object_object_add(root, "QMP", qmp);
    hn_qmp_server_send(client, root);
}

void hn_qmp_server_admit(Listener *listener, GSocket *connection)
{
    static const HnQmpStreamFuncs funcs = {.message = on_message,
                                           .malformed = on_malformed,
                                           .progress = on_progress,
                                           .ended = on_ended};
    HnQmpServer *server = listener->server;
    const HnQmpServerOptions *options = &server->options;
    HnQmpStream *stream;
    ServerClient *client;
    HnQmpPeer peer;
    guint of_uid;

    server->counters.accepted++;
    if (listener->clients >= options->max_clients) {
        g_autofree char *reason = g_strdup_printf(
            "Too many connections: this socket allows %u; try again later", options->max_clients);

        refuse(server, connection, reason);
        return;
    }
    if (!hn_qmp_peer_of_socket(connection, &peer)) {
        refuse(server, connection, "The kernel does not say who you are");
        return;
    }
    of_uid =
        GPOINTER_TO_UINT(g_hash_table_lookup(listener->clients_of_uid, GUINT_TO_POINTER(peer.uid)));
    if (peer.uid != 0 && of_uid >= options->max_clients_per_uid) {
        g_autofree char *reason =
            g_strdup_printf("Too many connections of user %u: this socket allows %u; close some",
                            (guint)peer.uid, options->max_clients_per_uid);

        refuse(server, connection, reason);
        return;
    }

    client = g_new0(ServerClient, 1);
    g_ref_count_init(&client->refs);
    client->server = server;
    client->listener = listener;
    client->peer = peer;
    client->link.data = client;
    client->connected_us = client->active_us = client->tokens_at_us = g_get_monotonic_time();
    client->tokens = options->max_commands_per_sec;
    g_queue_init(&client->requests);
    g_queue_push_tail_link(&server->clients, &client->link);
    listener->clients++;
    g_hash_table_insert(listener->clients_of_uid, GUINT_TO_POINTER(peer.uid),
                        GUINT_TO_POINTER(of_uid + 1));
    server->counters.clients++;
    if (!server->sweep) {
        server->sweep = g_timeout_source_new(sweep_interval_ms(options));
        g_source_set_callback(server->sweep, on_sweep, server, NULL);
        g_source_attach(server->sweep, server->context);
    }
    stream = hn_qmp_stream_new(connection, &options->limits, server->context, &funcs, client);
    client->stream = stream;
    greet(client);
}

/* ---- the server ---- */

HnQmpServer *hn_qmp_server_new(const char *product, const char *version,
                               const HnQmpCommand *commands, const HnQmpEventInfo *events,
                               const HnQmpServerOptions *options, gpointer user_data)
{
    g_auto(GStrv) parts = g_strsplit(version, ".", 3);
    HnQmpServer *server = g_new0(HnQmpServer, 1);

    server->product = g_strdup(product);
    for (guint i = 0; i < G_N_ELEMENTS(server->version) && parts[i]; i++) {
        guint64 number = 0;

        if (!g_ascii_string_to_unsigned(parts[i], 10, 0, G_MAXINT, &number, NULL))
            g_warning("Version '%s' is not MAJOR.MINOR.MICRO; '%s' is taken for 0", version,
                      parts[i]);
        server->version[i] = (guint)number;
    }
    server->package = g_strdup_printf("%s %s", product, version);
    server->commands = commands;
    server->events = events;
    while (events && events[server->n_events].name)
        server->n_events++;
    g_assert(server->n_events <= MAX_EVENTS);
    for (const HnQmpCommand *command = commands; command->name; command++)
        g_assert(command->handler && !hn_qmp_server_is_builtin(command->name));
    server->options = options ? *options : hn_qmp_server_options_default;
    server->user_data = user_data;
    server->context = g_main_context_ref_thread_default();
    server->listeners = g_ptr_array_new_with_free_func((GDestroyNotify)hn_qmp_listener_free);
    g_queue_init(&server->clients);
    return server;
}

void hn_qmp_server_free(HnQmpServer *server)
{
    if (!server)
        return;
    while (server->clients.length > 0)
        client_end(g_queue_peek_head(&server->clients));
    hn_qmp_source_clear(&server->sweep);
    g_ptr_array_unref(server->listeners);
    g_main_context_unref(server->context);
    g_free(server->product);
    g_free(server->package);
    g_free(server);
}

void hn_qmp_server_set_audit(HnQmpServer *server, HnQmpAuditFunc func)
{
    server->audit = func;
}

void hn_qmp_server_emit(HnQmpServer *server, const char *name, json_object *data,
                        gint64 timestamp_us)
{
    json_object *message = hn_qmp_build_event(name, data, timestamp_us);
    g_autoptr(GBytes) line = NULL;
    guint index = 0;

    while (index < server->n_events && !g_str_equal(server->events[index].name, name))
        index++;
    g_return_if_fail(index < server->n_events);

    for (GList *link = server->clients.head; link; link = link->next) {
        ServerClient *client = link->data;

        if (!(client->subscribed & (G_GUINT64_CONSTANT(1) << index)))
            continue;
        send_lost_count(client);
        /* Nothing may overtake the count of lost events. */
        if (client->events_lost > 0 || !has_room_for_event(client)) {
            client->events_lost++;
            server->counters.events_lost++;
            continue;
        }
        if (!line)
            line = hn_qmp_serialize(message);
        hn_qmp_stream_send(client->stream, line);
        hn_qmp_server_update(client); /* does not end it: it is subscribed, so not ENDING */
    }
    json_object_put(message);
}

HnQmpServerCounters hn_qmp_server_counters(const HnQmpServer *server)
{
    return server->counters;
}
