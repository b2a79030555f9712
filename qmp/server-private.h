/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the three files of the server share: server.c (clients and what they may cost),
 * server-dispatch.c (commands, arguments, answers), server-listen.c (sockets).
 */
#pragma once

#include <gio/gio.h>
#include "qmp/message.h"
#include "qmp/server.h"
#include "qmp/stream.h"

typedef struct {
    HnQmpServer *server;
    GSocket *socket;
    GSource *accept; /* absent while accepting pauses for want of descriptors */
    GSource *pause;
    gboolean is_read_only;
    guint clients;
    GHashTable *clients_of_uid; /* uid → count */
    /* Only for a socket bound here: */
    char *path;
    dev_t device;
    ino_t inode;
    int lock_fd;
} Listener;

struct HnQmpServer {
    char *product;
    guint version[3];
    char *package;
    const HnQmpCommand *commands;
    const HnQmpEventInfo *events;
    guint n_events;
    HnQmpServerOptions options;
    gpointer user_data;
    HnQmpAuditFunc audit;
    GMainContext *context;
    GPtrArray *listeners;
    GQueue clients;     /* ServerClient */
    GSource *sweep;     /* time-outs; present iff there are clients */
    size_t total_bytes; /* queued to all clients */
    HnQmpServerCounters counters;
};

typedef enum {
    CLIENT_NEGOTIATING, /* → READY by qmp_capabilities */
    CLIENT_READY,       /* → ENDING when the peer has sent its last */
    CLIENT_ENDING,      /* → GONE when all is answered and read */
    CLIENT_GONE,
} ClientState;

typedef struct {
    grefcount refs;
    HnQmpServer *server;
    Listener *listener;
    HnQmpStream *stream;
    ClientState state;
    gboolean is_ready; /* has negotiated, whatever the state is now */
    HnQmpPeer peer;
    GList link; /* in server->clients */
    GQueue requests;
    guint64 subscribed; /* bit per entry of the event table */
    guint64 events_lost;
    size_t counted_bytes; /* this client's part of server->total_bytes */
    double tokens;        /* commands it may send at once */
    gint64 tokens_at_us;
    GSource *throttle; /* present iff it is not read from for flooding */
    guint64 messages;
    guint64 swept_messages; /* messages at the last sweep */
    gint64 connected_us;
    gint64 active_us;      /* last command, or last answer */
    gint64 mid_message_us; /* since when, 0 = not */
    gint64 stalled_us;     /* since when nothing queued is read, 0 = not */
} ServerClient;

struct HnQmpRequest {
    ServerClient *client; /* NULL once it has gone */
    GList link;           /* in client->requests */
    const HnQmpCommand *command;
    json_object *id; /* NULL: none, or null */
    gboolean has_id;
    HnQmpPeer peer;
    gboolean is_read_only;
};

/* server.c */
ServerClient *hn_qmp_server_client_ref(ServerClient *client);
void hn_qmp_server_client_unref(ServerClient *client);
/* A connection was accepted. */
void hn_qmp_server_admit(Listener *listener, GSocket *connection);
/* Disconnects. reason: told to the client first, as an error, unless NULL. */
void hn_qmp_server_drop(ServerClient *client, const char *reason);
/* Queues message (taken). Enforces the limits on replies. */
void hn_qmp_server_send(ServerClient *client, json_object *message);
/* Sets the bits of the events the client is sent. */
void hn_qmp_server_subscribe(ServerClient *client, guint64 events);
/* To be called whenever a request ended or bytes left. */
void hn_qmp_server_update(ServerClient *client);

/* server-dispatch.c */
void hn_qmp_server_dispatch(ServerClient *client, json_object *root);
void hn_qmp_server_orphan_requests(ServerClient *client);
json_object *hn_qmp_server_version(const HnQmpServer *server);
gboolean hn_qmp_server_is_builtin(const char *name);

/* server-listen.c */
void hn_qmp_listener_free(Listener *listener);
