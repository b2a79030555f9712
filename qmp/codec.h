/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP codec: bytes in, JSON messages out. No socket, no clock, no main loop.
 *
 * Theory of operation. A small scanner walks the bytes once, ahead of json-c: it finds where a
 * message ends (brackets outside strings), validates UTF-8, and enforces the limits before anything
 * is allocated. What it lets through goes to json-c's incremental tokener, so a message may arrive
 * in any chunks, and several may stand in one chunk, with or without newlines between them.
 * json-c's own UTF-8 check is not used: it forgets its state between two calls and accepts
 * surrogates.
 *
 * Stricter than json-c, like QEMU: no comments, NaN, Infinity, single quotes, control characters;
 * no halves of surrogate pairs, and, where the limits say so, no two members of one name in an
 * object (told at the end of the message, which json-c has then read); and stricter than QEMU: no
 * "\u0000", since every string is handled as a C string. Integers have 64 bits, signed or unsigned;
 * those beyond are refused.
 *
 * After an error the stream is in recovery: bytes are skipped, and nothing is stored, until
 *  - the brackets of the bad message balance, or
 *  - a line begins with '{', or, outside all brackets, a '{' is met, or
 *  - a control character other than tab, CR, LF, or a byte 0xFE or 0xFF is met (the way the QMP
 *    specification gives clients to force a parser into a known-good state).
 * So one bad message is one error, and the messages after it are read. The same bytes give the same
 * messages and errors however they are cut into chunks.
 *
 * Must not: know commands, keep parsed messages, read or write anything.
 */
#pragma once

#include <json-c/json.h>
#include "qmp/error.h"

typedef struct {
    size_t max_message_bytes; /* from '{' to '}', both included */
    guint max_depth;          /* nested objects and arrays; '{}' has depth 1; at most 1024 */
    guint max_values;         /* objects, arrays and separators: bounds what json-c allocates, for
                               * "[[],[],…" costs a hundred times its length */
    gboolean has_unique_names; /* refuse two members of one name in an object; else the last counts.
                                * Costs a walk through what was read, a fifth of the throughput */
} HnQmpLimits;

/* For what QEMU sends, which makes its objects from dictionaries. The longest seen is
 * query-qmp-schema's 250 KB with 20,000 values; query-stats of 1,000 vCPUs has 180,000. */
#define HN_QMP_LIMITS_MONITOR                                                                      \
    {                                                                                              \
        .max_message_bytes = 64 * 1024 * 1024, .max_depth = 128, .max_values = 1024 * 1024         \
    }
/* For what clients send to a control socket. */
#define HN_QMP_LIMITS_CONTROL                                                                      \
    {                                                                                              \
        .max_message_bytes = 64 * 1024, .max_depth = 32, .max_values = 4096,                       \
        .has_unique_names = TRUE                                                                   \
    }
extern const HnQmpLimits hn_qmp_limits_monitor;
extern const HnQmpLimits hn_qmp_limits_control;

typedef struct HnQmpCodec HnQmpCodec;

typedef enum {
    HN_QMP_NEED_MORE,   /* all bytes used, no message complete */
    HN_QMP_GOT_MESSAGE, /* *ret_message is set and the caller's */
    HN_QMP_GOT_ERROR,   /* *error is set; feeding goes on behind the bad message */
} HnQmpProgress;

/* A codec at the start of a stream. limits is copied. Free with hn_qmp_codec_free(). */
HnQmpCodec *hn_qmp_codec_new(const HnQmpLimits *limits);
void hn_qmp_codec_free(HnQmpCodec *codec);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnQmpCodec, hn_qmp_codec_free)

/*
 * Consumes bytes up to the end of one message, one error, or the end of bytes.
 * ret_used_bytes: how many were consumed; call again with the rest while it is less than len_bytes.
 * ret_message: a json-c object or array, owned by the caller (json_object_put()).
 * error: HN_QMP_ERROR_SYNTAX or _TOO_LARGE; the text gives the offset within the message, counted
 * from 0; hn_qmp_codec_error_offset() the one within the stream.
 */
HnQmpProgress hn_qmp_codec_feed(HnQmpCodec *codec, const char *bytes, size_t len_bytes,
                                size_t *ret_used_bytes, json_object **ret_message, GError **error);

/* To be called when the stream has ended. FALSE and HN_QMP_ERROR_SYNTAX if a message is incomplete.
 */
gboolean hn_qmp_codec_end(HnQmpCodec *codec, GError **error);

/* Whether a message has begun and not ended (recovery counts). A server limits how long this lasts.
 */
gboolean hn_qmp_codec_is_mid_message(const HnQmpCodec *codec);

/* Offset in the stream, from 0, of the byte at which the last error was found. */
guint64 hn_qmp_codec_error_offset(const HnQmpCodec *codec);
