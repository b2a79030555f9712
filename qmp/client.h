/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP client over a unix socket, driven by a GMainContext.
 *
 * Theory of operation. The client belongs to the thread-default main context of the moment it was
 * created, and every callback runs there. hn_qmp_client_connect() connects, awaits the greeting and
 * sends qmp_capabilities; commands may be called at any time and are sent once the peer is ready.
 * Callbacks of one client never nest but by its own cancel and close.
 * Replies are matched by id, events are handed on as they come between them.
 *
 *   IDLE → CONNECTING → GREETING → NEGOTIATING → READY
 *   CONNECTING, GREETING, NEGOTIATING, READY → WAITING (connection failed or lost, reconnect is on)
 *                                            → IDLE    (the same, reconnect is off or given up)
 *   WAITING → CONNECTING
 *   any → CLOSED by hn_qmp_client_close()
 *
 * The trap of a second client: a QEMU monitor serves one client at a time; another's connect()
 * succeeds, and then nothing comes. Hence the time-out for the greeting, with a text that says so.
 *
 * A message that cannot be read fails every outstanding command (whose reply it was can no longer
 * be told) and the connection goes on. When the connection is lost all outstanding commands fail;
 * none is sent twice.
 *
 * Must not: interpret commands, block (but for the *_sync functions, which say so).
 */
#pragma once

#include <json-c/json.h>
#include "qmp/backoff.h"
#include "qmp/codec.h"
#include "qmp/message.h"
#include "qmp/peer.h"

typedef struct HnQmpClient HnQmpClient;

typedef struct {
    guint connect_timeout_ms;
    guint greeting_timeout_ms; /* greeting and negotiation */
    guint command_timeout_ms;  /* for calls that give 0 */
    guint max_outstanding;     /* commands sent or waiting; one more fails at once, with BUSY */
    HnQmpLimits limits;        /* for what the peer sends */
    gboolean has_reconnect;
    HnQmpBackoffPolicy backoff; /* used if has_reconnect */
} HnQmpClientOptions;

/* 2 s, 3 s, 10 s, 256 commands, monitor limits, no reconnect. */
extern const HnQmpClientOptions hn_qmp_client_options_default;

/* Each may be NULL. In any of them the client may be closed and unreferenced. */
typedef struct {
    /* The connection is ready, also after each reconnect. greeting is borrowed. */
    void (*ready)(HnQmpClient *client, const HnQmpGreeting *greeting, gpointer user_data);
    /* data: the event's data, borrowed, or NULL. timestamp_us: the peer's wall clock, or -1. */
    void (*event)(HnQmpClient *client, const char *name, json_object *data, gint64 timestamp_us,
                  gpointer user_data);
    /* Connecting failed or the connection ended; outstanding commands have failed already.
     * error is never NULL. will_retry: the client connects again by itself. */
    void (*lost)(HnQmpClient *client, const GError *error, gboolean will_retry, gpointer user_data);
} HnQmpClientCallbacks;

/*
 * A client, idle. path: of the unix socket, copied. options and callbacks are copied; NULL takes
 * the defaults, or no callbacks. Free with hn_qmp_client_unref(), after hn_qmp_client_close() if
 * user_data of callbacks or calls goes away sooner than the client.
 */
HnQmpClient *hn_qmp_client_new(const char *path, const HnQmpClientOptions *options,
                               const HnQmpClientCallbacks *callbacks, gpointer user_data);
HnQmpClient *hn_qmp_client_ref(HnQmpClient *client);
/* The last one closes. */
void hn_qmp_client_unref(HnQmpClient *client);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnQmpClient, hn_qmp_client_unref)

/* Starts connecting; returns at once. Failures too come by the callback "lost", later. */
void hn_qmp_client_connect(HnQmpClient *client);

/* Disconnects for good. Outstanding commands fail with HN_QMP_ERROR_CLOSED before it returns;
 * "lost" is not called. */
void hn_qmp_client_close(HnQmpClient *client);

gboolean hn_qmp_client_is_ready(const HnQmpClient *client);
const char *hn_qmp_client_path(const HnQmpClient *client);
/* NULL until the first greeting. */
const HnQmpGreeting *hn_qmp_client_greeting(const HnQmpClient *client);
/* FALSE unless connected. */
gboolean hn_qmp_client_peer(const HnQmpClient *client, HnQmpPeer *ret_peer);

/*
 * Called exactly once per hn_qmp_client_call(). On success error is NULL and value the reply's
 * "return" (borrowed; json_object_get() keeps it; NULL is a JSON null). On failure error is set, of
 * HN_QMP_ERROR, prefixed with the command's name.
 */
typedef void (*HnQmpReplyFunc)(HnQmpClient *client, json_object *value, const GError *error,
                               gpointer user_data);

/*
 * Sends a command. arguments: an object or NULL; taken. timeout_ms: from now to the reply, 0 takes
 * the option's. func: may be NULL; never called before this function returns. Returns the id to
 * cancel by, never 0.
 */
guint64 hn_qmp_client_call(HnQmpClient *client, const char *command, json_object *arguments,
                           guint timeout_ms, HnQmpReplyFunc func, gpointer user_data);

/* Withdraws a call: its callback runs now, with HN_QMP_ERROR_CANCELLED; a later reply is dropped.
 * (QMP cannot stop a command the peer has received.) Unknown ids are ignored. */
void hn_qmp_client_cancel(HnQmpClient *client, guint64 call_id);

/* ---- Blocking forms, for the command line and tests; never in a daemon's loop. ---- */

/*
 * Connects (if need be) and awaits the reply, iterating the client's main context meanwhile, so its
 * other callbacks run too. timeout_ms: for all of it. ret_value: owned by the caller, NULL for a
 * JSON null; may be NULL. arguments: taken.
 */
gboolean hn_qmp_client_call_sync(HnQmpClient *client, const char *command, json_object *arguments,
                                 guint timeout_ms, json_object **ret_value, GError **error);

/* One conversation: connect, one command, disconnect, in a main context of its own. */
gboolean hn_qmp_call_sync(const char *path, const char *command, json_object *arguments,
                          guint timeout_ms, json_object **ret_value, GError **error);
