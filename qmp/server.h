/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP server: unix sockets, a dispatch table, and clients nobody has to trust.
 *
 * Theory of operation. The server runs in the thread-default main context of the moment it was
 * created; handlers run there too. Each listening socket has a mode: a command whose table entry is
 * mutating is refused on a read-only socket, before its handler is looked at. Arguments are checked
 * against the table first; query-commands, help and query-version are answered from the table, so
 * they cannot disagree with it.
 *
 * A client costs at most: one message being read (limits), max_requests requests not yet answered,
 * and high_water_bytes + max_reply_bytes waiting to be read by it. Who does not read its replies is
 * not read from; who stalls, idles half-way through a message or never negotiates is disconnected.
 * Who floods is slowed down to max_commands_per_sec by not being read from. Connections are limited
 * per socket and, but for root, per user, and each socket has its own limit, so nobody on the
 * world-readable one can shut the administrators out.
 *
 * The protocol is QEMU's (docs/control-protocol.md has the differences).
 *
 * Must not: know any command of the daemon; block; log (it has counters and a callback).
 */
#pragma once

#include <json-c/json.h>
#include <sys/types.h>
#include "qmp/codec.h"
#include "qmp/peer.h"

typedef struct HnQmpServer HnQmpServer;
/* One command being served: the token to answer it by, now or later. */
typedef struct HnQmpRequest HnQmpRequest;

typedef enum {
    HN_QMP_ARG_BOOL,
    HN_QMP_ARG_INT,    /* fits int64 */
    HN_QMP_ARG_NUMBER, /* int or double */
    HN_QMP_ARG_STRING,
    HN_QMP_ARG_STRING_LIST, /* array of strings */
    HN_QMP_ARG_OBJECT,
} HnQmpArgType;

typedef struct {
    const char *name; /* NULL ends the list */
    HnQmpArgType type;
    gboolean is_required;
    const char *help; /* one sentence */
} HnQmpArg;

/*
 * args: the command's arguments, checked against the table; borrowed; never NULL (an empty object
 * if none came). The handler, or whoever it hands request to, answers exactly once.
 */
typedef void (*HnQmpHandler)(HnQmpRequest *request, json_object *args, gpointer user_data);

typedef struct {
    const char *name; /* NULL ends the table */
    gboolean is_mutating;
    HnQmpHandler handler;
    const HnQmpArg *args; /* NULL: none */
    const char *help;     /* one sentence */
    const char *returns;  /* one sentence or shape; NULL: an empty object */
} HnQmpCommand;

typedef struct {
    const char *name; /* NULL ends the table */
    const char *help;
} HnQmpEventInfo;

typedef struct {
    guint max_clients;         /* per listening socket */
    guint max_clients_per_uid; /* per listening socket; root is exempt */
    guint max_requests;        /* unanswered per client; more are not read until one is answered */
    guint
        max_commands_per_sec; /* per client, averaged; bursts of as many are let through; 0: any */
    size_t high_water_bytes;  /* replies queued to a client: above, it is not read from; events
                               * to it are dropped and counted */
    size_t max_reply_bytes;   /* a longer reply becomes an error reply */
    size_t max_total_bytes;   /* replies queued to all clients: above, the client that would
                               * receive one more is disconnected */
    guint negotiate_timeout_ms; /* connect → qmp_capabilities */
    guint message_timeout_ms;   /* first byte → last byte of a message */
    guint stall_timeout_ms;     /* replies queued and none of it read */
    guint idle_timeout_ms;      /* no command, nothing unanswered, no subscription; 0 = never */
    HnQmpLimits limits;
} HnQmpServerOptions;

/* 128 clients, 32 a user, 8 requests, 200/s, 256 KiB, 16 MiB, 64 MiB, 10 s, 30 s, 30 s, 10 min,
 * control limits. */
extern const HnQmpServerOptions hn_qmp_server_options_default;

typedef struct {
    guint64 accepted;
    guint64 refused; /* over a connection limit */
    guint64 dropped; /* disconnected for misbehaviour or stalling */
    guint64 commands;
    guint64 malformed; /* messages that could not be read */
    guint64 read_only_refusals;
    guint64 events_lost; /* event copies dropped for slow subscribers */
    guint clients;       /* now */
    guint subscribers;   /* now */
} HnQmpServerCounters;

/*
 * A server with no sockets. product: name in greeting and query-version ("homenode"); version:
 * "MAJOR.MINOR.MICRO". commands and events: static tables, not copied; must not use the names of
 * the built-in commands (qmp_capabilities, query-commands, query-events, query-version, help,
 * subscribe, unsubscribe). user_data goes to every handler. events: at most 64, may be NULL.
 * options NULL: defaults.
 */
HnQmpServer *hn_qmp_server_new(const char *product, const char *version,
                               const HnQmpCommand *commands, const HnQmpEventInfo *events,
                               const HnQmpServerOptions *options, gpointer user_data);
/* Closes and removes the sockets it bound, disconnects everybody. Requests still held by handlers
 * stay valid to be answered, into the void. Not to be called by a handler. */
void hn_qmp_server_free(HnQmpServer *server);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnQmpServer, hn_qmp_server_free)

/* Called for each mutating command, before its handler runs or the refusal is sent: for the audit
 * log. refusal is NULL if the command goes through. (A flood of other commands cannot fill a log.)
 */
typedef void (*HnQmpAuditFunc)(const char *command, json_object *args, const HnQmpPeer *peer,
                               gboolean is_read_only, const char *refusal, gpointer user_data);
void hn_qmp_server_set_audit(HnQmpServer *server, HnQmpAuditFunc func);

/*
 * Binds path and listens. mode_bits: the socket's permissions (0660, 0666), in force before anyone
 * can connect. gid: its group, or (gid_t)-1 to leave it. A socket file nobody listens on is
 * replaced atomically; one that is served, or anything that is not a socket, is left alone:
 * HN_QMP_ERROR_ADDRESS. "PATH.lock" keeps two servers apart; it stays behind, empty.
 */
gboolean hn_qmp_server_listen_path(HnQmpServer *server, const char *path, gboolean is_read_only,
                                   mode_t mode_bits, gid_t gid, GError **error);

/* Serves a socket that listens already (socket activation). Takes fd on success. The file is left
 * in place at the end: it belongs to who made it. */
gboolean hn_qmp_server_listen_fd(HnQmpServer *server, int fd, gboolean is_read_only,
                                 GError **error);

/* Sends an event to every client subscribed to it. data: taken, may be NULL. name must stand in the
 * event table. timestamp_us: wall clock. A subscriber too slow for it gets EVENTS_LOST with a count
 * once it has caught up. */
void hn_qmp_server_emit(HnQmpServer *server, const char *name, json_object *data,
                        gint64 timestamp_us);

HnQmpServerCounters hn_qmp_server_counters(const HnQmpServer *server);

/* ---- Answering. Each of the two ends the request: the pointer is gone afterwards. ---- */

/* value: taken; NULL gives {}. */
void hn_qmp_request_return(HnQmpRequest *request, json_object *value);
/* error_class: one of HN_QMP_CLASS_*. */
void hn_qmp_request_fail(HnQmpRequest *request, const char *error_class, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/* Of the client that asked; stays valid after it has gone. */
const HnQmpPeer *hn_qmp_request_peer(const HnQmpRequest *request);
const char *hn_qmp_request_command(const HnQmpRequest *request);
gboolean hn_qmp_request_is_read_only(const HnQmpRequest *request);
/* FALSE once the client has gone: a handler that waits may give up (and still answers). */
gboolean hn_qmp_request_is_wanted(const HnQmpRequest *request);
