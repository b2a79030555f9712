/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A connected socket with a codec on the reading side and a queue on the writing side: what client
 * and server have in common. Internal to qmp/.
 *
 * Never blocks. A read event takes at most one buffer, so one busy peer cannot keep the main loop.
 * Reading can be paused; bytes already read wait (at most one buffer). Everything else, policy
 * above all, is the owner's.
 */
#pragma once

#include <gio/gio.h>
#include "qmp/codec.h"
#include "qmp/peer.h"

typedef struct HnQmpStream HnQmpStream;

typedef struct {
    /* message: the callee's. The callee may pause, close or unref the stream in each of these. */
    void (*message)(gpointer owner, json_object *message);
    /* A message could not be read; the stream goes on behind it. */
    void (*malformed)(gpointer owner, const GError *error);
    /* Some queued bytes were taken by the kernel. May be NULL. */
    void (*progress)(gpointer owner);
    /* error NULL: the peer sends no more (it may still read: "echo … | socat" closes only its
     * writing half), so what is queued still goes out. Else the connection is broken, and this is
     * the last call; it may come after the former. */
    void (*ended)(gpointer owner, const GError *error);
} HnQmpStreamFuncs;

/* socket: taken over by reference, set non-blocking. Reading starts at once, in context. */
HnQmpStream *hn_qmp_stream_new(GSocket *socket, const HnQmpLimits *limits, GMainContext *context,
                               const HnQmpStreamFuncs *funcs, gpointer owner);
/* Closes the socket, drops what is queued; no callback runs any more. Allowed in callbacks. */
void hn_qmp_stream_free(HnQmpStream *stream);

/* Queues line (borrowed) and tries to write: at once, or, within a callback, after it, together
 * with all else that is queued by then. Errors surface later, by "ended". */
void hn_qmp_stream_send(HnQmpStream *stream, GBytes *line);
/* Writes what the kernel takes now, also within a callback. */
void hn_qmp_stream_flush(HnQmpStream *stream);
size_t hn_qmp_stream_queued_bytes(const HnQmpStream *stream);

/* Paused: no message is delivered and nothing is read. */
void hn_qmp_stream_set_paused(HnQmpStream *stream, gboolean is_paused);

/* A message has begun and not ended. */
gboolean hn_qmp_stream_is_mid_message(const HnQmpStream *stream);
/* SO_PEERCRED. FALSE if the kernel does not tell. */
gboolean hn_qmp_peer_of_socket(GSocket *socket, HnQmpPeer *ret_peer);
gboolean hn_qmp_stream_peer(const HnQmpStream *stream, HnQmpPeer *ret_peer);

/* Detaches and releases a source, if there is one. */
void hn_qmp_source_clear(GSource **source);
