/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A connected socket with a codec on the reading side and a queue on the writing side: what client
 * and server have in common. Internal to qmp/.
 *
 * Never blocks. A read event takes at most one buffer, so one busy peer cannot keep the main loop.
 * Reading can be paused; bytes already read wait (at most one buffer). Everything else, policy above
 * all, is the owner's.
 */
#pragma once

#include <gio/gio.h>
#include "qmp/codec.h"

typedef struct HnQmpStream HnQmpStream;

typedef struct {
    /* message: the callee's. The callee may pause, close or unref the stream in each of these. */
    void (*message)(gpointer owner, json_object *message);
    /* A message could not be read; the stream goes on behind it. */
    void (*malformed)(gpointer owner, const GError *error);
    /* Some queued bytes were taken by the kernel. May be NULL. */
    void (*progress)(gpointer owner);
    /* The peer is gone; nothing else will be called. error: NULL for an orderly end. */
    void (*ended)(gpointer owner, const GError *error);
} HnQmpStreamFuncs;

/* socket: taken over by reference, set non-blocking. Reading starts at once, in context. */
HnQmpStream *hn_qmp_stream_new(GSocket *socket, const HnQmpLimits *limits, GMainContext *context,
                               const HnQmpStreamFuncs *funcs, gpointer owner);
/* Closes the socket, drops what is queued; no callback runs any more. */
void hn_qmp_stream_free(HnQmpStream *stream);

/* Queues line (borrowed) and tries to write at once. Errors surface later, by "ended". */
void hn_qmp_stream_send(HnQmpStream *stream, GBytes *line);
size_t hn_qmp_stream_queued_bytes(const HnQmpStream *stream);

/* Paused: no message is delivered and nothing is read. */
void hn_qmp_stream_set_paused(HnQmpStream *stream, gboolean is_paused);

/* A message has begun and not ended, or bytes wait. */
gboolean hn_qmp_stream_is_mid_message(const HnQmpStream *stream);
GSocket *hn_qmp_stream_socket(const HnQmpStream *stream);
