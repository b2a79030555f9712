/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The non-blocking socket under client and server. See stream.h.
 *
 * Re-entrancy: callbacks may free the stream. Each entry point that calls back holds it by "busy";
 * hn_qmp_stream_free() then only disarms it, and the last holder releases the memory. Work that
 * must not happen inside a caller's own call (reporting a write error, going on after a pause) is
 * left to an idle source, "kick".
 */
#include "qmp/stream.h"

#include <string.h>
#include <sys/socket.h>

/* One read. Linux queues up to 208 KiB on a unix socket by default; a third of it keeps a flood
 * from filling a main-loop iteration while a 64 MiB reply still needs only a thousand. */
#define READ_BYTES (64 * 1024)
/* Messages handed on in one turn of the main loop: 64 KiB hold 2,000 short commands, and what
 * stands behind each is the owner's time. The rest takes its turn after the other sources. */
#define MESSAGES_PER_TURN 16

struct HnQmpStream {
    GSocket *socket;
    GMainContext *context;
    HnQmpCodec *codec;
    HnQmpStreamFuncs funcs;
    gpointer owner;
    GSource *in;   /* present iff reading */
    GSource *out;  /* present iff something is queued */
    GSource *kick; /* present iff due */
    GQueue lines;  /* GBytes */
    size_t head_sent_bytes;
    size_t queued_bytes;
    GBytes *waiting; /* read, but not handed on when the owner paused or the turn was over */
    GError *write_error;
    gboolean is_paused;
    gboolean is_input_over;
    gboolean is_freed;
    guint busy;
};

static void arm(HnQmpStream *stream);
static void end_turn(HnQmpStream *stream);

void hn_qmp_source_clear(GSource **source)
{
    if (*source) {
        g_source_destroy(*source);
        g_source_unref(*source);
        *source = NULL;
    }
}

static void disarm(HnQmpStream *stream)
{
    hn_qmp_source_clear(&stream->in);
    hn_qmp_source_clear(&stream->out);
    hn_qmp_source_clear(&stream->kick);
}

static void clear_queue(HnQmpStream *stream)
{
    g_queue_clear_full(&stream->lines, (GDestroyNotify)g_bytes_unref);
    stream->head_sent_bytes = 0;
    stream->queued_bytes = 0;
}

static void release(HnQmpStream *stream)
{
    if (--stream->busy > 0 || !stream->is_freed)
        return;
    g_clear_pointer(&stream->waiting, g_bytes_unref);
    g_clear_error(&stream->write_error);
    hn_qmp_codec_free(stream->codec);
    g_main_context_unref(stream->context);
    g_object_unref(stream->socket);
    g_free(stream);
}

void hn_qmp_stream_free(HnQmpStream *stream)
{
    if (!stream || stream->is_freed)
        return;
    disarm(stream);
    clear_queue(stream);
    g_socket_close(stream->socket, NULL);
    stream->is_freed = TRUE;
    stream->busy++;
    release(stream);
}

static void report_end(HnQmpStream *stream, const GError *error)
{
    disarm(stream);
    stream->is_input_over = TRUE;
    if (error)
        clear_queue(stream);
    stream->funcs.ended(stream->owner, error);
    if (!error)
        end_turn(stream);
}

/* Hands bytes to the codec and messages to the owner, until the owner pauses or the turn is over;
 * keeps the rest. */
static void deliver(HnQmpStream *stream, GBytes *bytes)
{
    gsize len = 0;
    const char *data = g_bytes_get_data(bytes, &len);
    size_t pos = 0;
    guint delivered = 0;

    while (pos < len && delivered < MESSAGES_PER_TURN && !stream->is_paused && !stream->is_freed) {
        g_autoptr(GError) error = NULL;
        json_object *message = NULL;
        size_t used = 0;

        switch (hn_qmp_codec_feed(stream->codec, data + pos, len - pos, &used, &message, &error)) {
        case HN_QMP_GOT_MESSAGE:
            stream->funcs.message(stream->owner, message);
            delivered++;
            break;
        case HN_QMP_GOT_ERROR:
            stream->funcs.malformed(stream->owner, error);
            delivered++;
            break;
        case HN_QMP_NEED_MORE:
            break;
        }
        pos += used;
    }
    if (pos < len && !stream->is_freed)
        stream->waiting = g_bytes_new_from_bytes(bytes, pos, len - pos);
}

static gboolean on_readable(GSocket *socket, GIOCondition condition, gpointer user_data)
{
    HnQmpStream *stream = user_data;
    g_autoptr(GError) error = NULL;
    char buffer[READ_BYTES];
    gssize n = g_socket_receive(socket, buffer, sizeof buffer, NULL, &error);

    if (n < 0 && g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK))
        return G_SOURCE_CONTINUE;

    stream->busy++;
    if (n > 0) {
        /* Static for the call; what a pause leaves over is copied. */
        g_autoptr(GBytes) bytes = g_bytes_new_static(buffer, (gsize)n);

        deliver(stream, bytes);
        if (stream->waiting && !stream->is_freed) {
            gsize len = 0;
            gconstpointer rest = g_bytes_get_data(stream->waiting, &len);
            GBytes *copy = g_bytes_new(rest, len);

            g_bytes_unref(stream->waiting);
            stream->waiting = copy;
        }
        end_turn(stream);
    } else if (n == 0) {
        if (!hn_qmp_codec_end(stream->codec, &error))
            stream->funcs.malformed(stream->owner, error);
        g_clear_error(&error);
        if (!stream->is_freed)
            report_end(stream, NULL);
        /* Both directions are shut: nobody is left to write to. A half-closed peer gives no HUP. */
        if (!stream->is_freed && (g_socket_condition_check(socket, G_IO_HUP) & G_IO_HUP)) {
            g_set_error_literal(&error, G_IO_ERROR, G_IO_ERROR_CLOSED, "closed by the peer");
            report_end(stream, error);
        }
    } else {
        report_end(stream, error);
    }
    release(stream);
    return G_SOURCE_CONTINUE; /* arm() and disarm() decide */
}

/* Writes what the kernel takes. FALSE on a broken connection, which "kick" reports. */
static gboolean flush(HnQmpStream *stream, gboolean *ret_is_progress)
{
    GBytes *head;

    while ((head = g_queue_peek_head(&stream->lines))) {
        g_autoptr(GError) error = NULL;
        gsize len = 0;
        const char *data = g_bytes_get_data(head, &len);
        gssize n = g_socket_send(stream->socket, data + stream->head_sent_bytes,
                                 len - stream->head_sent_bytes, NULL, &error);

        if (n < 0 && g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK))
            return TRUE;
        if (n < 0) {
            stream->write_error = g_steal_pointer(&error);
            clear_queue(stream);
            return FALSE;
        }
        *ret_is_progress = TRUE;
        stream->head_sent_bytes += (size_t)n;
        stream->queued_bytes -= (size_t)n;
        if (stream->head_sent_bytes == len) {
            g_bytes_unref(g_queue_pop_head(&stream->lines));
            stream->head_sent_bytes = 0;
        }
    }
    return TRUE;
}

static gboolean on_writable(GSocket *socket, GIOCondition condition, gpointer user_data)
{
    HnQmpStream *stream = user_data;

    stream->busy++;
    end_turn(stream);
    release(stream);
    return G_SOURCE_CONTINUE;
}

static gboolean on_kick(gpointer user_data)
{
    HnQmpStream *stream = user_data;

    stream->busy++;
    hn_qmp_source_clear(&stream->kick);
    if (stream->write_error) {
        g_autoptr(GError) error = g_steal_pointer(&stream->write_error);

        report_end(stream, error);
    } else if (stream->waiting && !stream->is_paused) {
        g_autoptr(GBytes) bytes = g_steal_pointer(&stream->waiting);

        deliver(stream, bytes);
        end_turn(stream);
    }
    release(stream);
    return G_SOURCE_REMOVE;
}

static void add_socket_source(HnQmpStream *stream, GSource **source, GIOCondition condition,
                              GSocketSourceFunc func)
{
    if (*source)
        return;
    *source = g_socket_create_source(stream->socket, condition, NULL);
    g_source_set_callback(*source, G_SOURCE_FUNC(func), stream, NULL);
    g_source_attach(*source, stream->context);
}

/* After callbacks: writes what they queued, and makes the sources agree with the state. */
static void end_turn(HnQmpStream *stream)
{
    gboolean is_progress = FALSE;

    if (stream->is_freed)
        return;
    if (!stream->write_error)
        flush(stream, &is_progress);
    if (is_progress && stream->funcs.progress)
        stream->funcs.progress(stream->owner);
    if (!stream->is_freed)
        arm(stream);
}

/* Makes the sources agree with the state. */
static void arm(HnQmpStream *stream)
{
    gboolean is_broken = stream->write_error != NULL;

    if (!is_broken && !stream->is_paused && !stream->is_input_over && !stream->waiting)
        add_socket_source(stream, &stream->in, G_IO_IN, on_readable);
    else
        hn_qmp_source_clear(&stream->in);

    if (!is_broken && !g_queue_is_empty(&stream->lines))
        add_socket_source(stream, &stream->out, G_IO_OUT, on_writable);
    else
        hn_qmp_source_clear(&stream->out);

    if (is_broken || (stream->waiting && !stream->is_paused)) {
        if (!stream->kick) {
            stream->kick = g_idle_source_new();
            g_source_set_priority(stream->kick, G_PRIORITY_DEFAULT);
            g_source_set_callback(stream->kick, on_kick, stream, NULL);
            g_source_attach(stream->kick, stream->context);
        }
    } else {
        hn_qmp_source_clear(&stream->kick);
    }
}

HnQmpStream *hn_qmp_stream_new(GSocket *socket, const HnQmpLimits *limits, GMainContext *context,
                               const HnQmpStreamFuncs *funcs, gpointer owner)
{
    HnQmpStream *stream = g_new0(HnQmpStream, 1);

    stream->socket = g_object_ref(socket);
    stream->context = g_main_context_ref(context);
    stream->codec = hn_qmp_codec_new(limits);
    stream->funcs = *funcs;
    stream->owner = owner;
    g_queue_init(&stream->lines);
    g_socket_set_blocking(socket, FALSE);
    arm(stream);
    return stream;
}

void hn_qmp_stream_send(HnQmpStream *stream, GBytes *line)
{
    gboolean is_progress = FALSE;
    gboolean was_empty = g_queue_is_empty(&stream->lines);

    if (stream->is_freed || stream->write_error)
        return;
    g_queue_push_tail(&stream->lines, g_bytes_ref(line));
    stream->queued_bytes += g_bytes_get_size(line);
    if (stream->busy > 0)
        return; /* end_turn() sends all that the turn brought at once */
    if (was_empty)
        flush(stream, &is_progress);
    arm(stream);
}

void hn_qmp_stream_flush(HnQmpStream *stream)
{
    gboolean is_progress = FALSE;

    if (!stream->is_freed && !stream->write_error)
        flush(stream, &is_progress);
    if (stream->busy == 0)
        arm(stream);
}

size_t hn_qmp_stream_queued_bytes(const HnQmpStream *stream)
{
    return stream->queued_bytes;
}

void hn_qmp_stream_set_paused(HnQmpStream *stream, gboolean is_paused)
{
    if (stream->is_freed || stream->is_paused == is_paused)
        return;
    stream->is_paused = is_paused;
    if (stream->busy == 0)
        arm(stream);
}

gboolean hn_qmp_stream_is_mid_message(const HnQmpStream *stream)
{
    return hn_qmp_codec_is_mid_message(stream->codec);
}

gboolean hn_qmp_peer_of_socket(GSocket *socket, HnQmpPeer *ret_peer)
{
    struct ucred ucred;
    socklen_t len_bytes = sizeof ucred;

    if (getsockopt(g_socket_get_fd(socket), SOL_SOCKET, SO_PEERCRED, &ucred, &len_bytes) < 0)
        return FALSE;
    *ret_peer = (HnQmpPeer){.pid = ucred.pid, .uid = ucred.uid, .gid = ucred.gid};
    return TRUE;
}

gboolean hn_qmp_stream_peer(const HnQmpStream *stream, HnQmpPeer *ret_peer)
{
    return hn_qmp_peer_of_socket(stream->socket, ret_peer);
}
