/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The scanner, the tokener behind it, and recovery. See codec.h for the theory of operation.
 *
 * Every byte passes scan_byte()'s rules exactly once on the good path. When json-c finds an error
 * the scanner, which ran ahead to the end of the chunk, is put back to where the chunk began and
 * run again up to the bad byte: recovery must start from the brackets open *there*, or its outcome
 * would depend on how the bytes were cut.
 */
#include "qmp/codec.h"

#include "qmp/scan.h"

#include <string.h>

const HnQmpLimits hn_qmp_limits_monitor = HN_QMP_LIMITS_MONITOR;
const HnQmpLimits hn_qmp_limits_control = HN_QMP_LIMITS_CONTROL;

/* json_tokener_parse_ex() takes an int. */
#define MAX_CHUNK_BYTES ((size_t)1 << 24)
/* A tokener keeps its largest string's buffer; past this size it is replaced between messages. */
#define TOKENER_KEEP_BYTES ((size_t)1 << 20)
#define MAX_DEPTH 1024

typedef enum {
    BETWEEN,    /* → IN_MESSAGE at '{' or '['; → RECOVERING at any other byte but white space */
    IN_MESSAGE, /* → BETWEEN when brackets balance; → RECOVERING at an error */
    RECOVERING, /* → BETWEEN at one of the points listed in codec.h */
} Phase;

struct HnQmpCodec {
    HnQmpLimits limits;
    json_tokener *tokener;
    Phase phase;
    HnQmpScan scan;
    gboolean is_line_start; /* recovery: only white space since the last newline */
    guint64 stream_bytes;   /* consumed since the start */
    guint64 error_offset;
};

GQuark hn_qmp_error_quark(void)
{
    return g_quark_from_static_string("hn-qmp-error");
}

static json_tokener *new_tokener(const HnQmpLimits *limits)
{
    /* json-c counts one level more than there are brackets. */
    json_tokener *tokener = json_tokener_new_ex((int)limits->max_depth + 2);

    if (!tokener)
        g_error("Out of memory for a JSON tokener of depth %u", limits->max_depth);
    return tokener;
}

HnQmpCodec *hn_qmp_codec_new(const HnQmpLimits *limits)
{
    HnQmpCodec *codec;

    /* Zeros would refuse even the first bracket, and recovery would meet it again for ever. */
    g_return_val_if_fail(limits->max_depth > 0 && limits->max_depth <= MAX_DEPTH, NULL);
    g_return_val_if_fail(limits->max_message_bytes > 0 && limits->max_values > 0, NULL);

    codec = g_new0(HnQmpCodec, 1);
    codec->limits = *limits;
    codec->tokener = new_tokener(limits);
    return codec;
}

void hn_qmp_codec_free(HnQmpCodec *codec)
{
    if (!codec)
        return;
    json_tokener_free(codec->tokener);
    g_free(codec);
}

/* Skips bytes in recovery. Returns how many; the phase is BETWEEN when a resynchronisation point
 * was found, and the byte behind those skipped then starts afresh. */
static size_t recover(HnQmpCodec *codec, const char *bytes, size_t len)
{
    HnQmpScan *scan = &codec->scan;

    for (size_t i = 0; i < len; i++) {
        guint8 byte = (guint8)bytes[i];

        if (byte == '\n') {
            codec->is_line_start = TRUE;
            scan->text = HN_QMP_TEXT_OUTSIDE;
            continue;
        }
        if (hn_qmp_byte_class[byte] == HN_QMP_BYTE_SPACE)
            continue;
        if (byte < 0x20 || byte >= 0xFE) {
            codec->phase = BETWEEN;
            return i + 1;
        }
        if (scan->text == HN_QMP_TEXT_OUTSIDE && byte == '{' &&
            (codec->is_line_start || scan->depth == 0)) {
            codec->phase = BETWEEN;
            return i;
        }
        codec->is_line_start = FALSE;
        if (scan->text == HN_QMP_TEXT_ESCAPE)
            scan->text = HN_QMP_TEXT_STRING;
        else if (scan->text != HN_QMP_TEXT_OUTSIDE)
            scan->text = byte == '"'    ? HN_QMP_TEXT_OUTSIDE
                         : byte == '\\' ? HN_QMP_TEXT_ESCAPE
                                        : HN_QMP_TEXT_STRING;
        else if (byte == '"')
            scan->text = HN_QMP_TEXT_STRING;
        else if (hn_qmp_byte_class[byte] == HN_QMP_BYTE_OPEN)
            scan->depth = MIN(scan->depth + 1, G_MAXUINT - 1);
        else if (hn_qmp_byte_class[byte] == HN_QMP_BYTE_CLOSE && scan->depth > 0 &&
                 --scan->depth == 0) {
            codec->phase = BETWEEN;
            return i + 1;
        }
    }
    return len;
}

/* Builds the sentence for an error found at byte "offset" of the message. */
static void set_scan_error(const HnQmpCodec *codec, HnQmpScanResult result, guint8 byte,
                           size_t offset, GError **error)
{
    const HnQmpLimits *limits = &codec->limits;

    switch (result) {
    case HN_QMP_SCAN_BAD_UTF8:
        g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_SYNTAX,
                    "Invalid UTF-8 at byte %zu of the message: 0x%02x", offset, byte);
        break;
    case HN_QMP_SCAN_BAD_INTEGER:
        g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_SYNTAX,
                    "JSON error at byte %zu of the message: the integer before it does not fit "
                    "64 bits",
                    offset);
        break;
    case HN_QMP_SCAN_NUL_ESCAPE:
        g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_SYNTAX,
                    "JSON error at byte %zu of the message: \\u0000 is not allowed", offset);
        break;
    case HN_QMP_SCAN_HALF_PAIR:
        g_set_error(
            error, HN_QMP_ERROR, HN_QMP_ERROR_SYNTAX,
            "JSON error at byte %zu of the message: a \\u escape is half of a surrogate pair",
            offset);
        break;
    case HN_QMP_SCAN_TOO_DEEP:
        g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_TOO_LARGE,
                    "Message nests deeper than the limit of %u at byte %zu", limits->max_depth,
                    offset);
        break;
    case HN_QMP_SCAN_TOO_MANY:
        g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_TOO_LARGE,
                    "Message has more than the limit of %u values at byte %zu", limits->max_values,
                    offset);
        break;
    case HN_QMP_SCAN_TOO_LONG:
        g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_TOO_LARGE,
                    "Message is longer than the limit of %zu bytes", limits->max_message_bytes);
        break;
    case HN_QMP_SCAN_BAD_BYTE:
    case HN_QMP_SCAN_MORE:
    case HN_QMP_SCAN_END:
        if (byte > 0x20 && byte < 0x7f)
            g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_SYNTAX,
                        "JSON error at byte %zu of the message: unexpected '%c'", offset, byte);
        else
            g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_SYNTAX,
                        "JSON error at byte %zu of the message: unexpected byte 0x%02x", offset,
                        byte);
        break;
    }
}

static void start_recovery(HnQmpCodec *codec)
{
    codec->phase = RECOVERING;
    codec->is_line_start = FALSE;
    codec->error_offset = codec->stream_bytes;
    json_tokener_reset(codec->tokener);
}

/* Names of members in value and below it. Not deeper than the limit on nesting. */
static guint64 count_members(json_object *value)
{
    guint64 members = 0;

    if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(value); i++)
            members += count_members(json_object_array_get_idx(value, i));
    } else if (json_object_is_type(value, json_type_object)) {
        members = (guint64)json_object_object_length(value);
        json_object_object_foreach(value, name, member)
        {
            (void)name;
            members += count_members(member);
        }
    }
    return members;
}

/* Feeds accepted bytes to json-c. *ret_used_bytes: up to and without the byte it objects to. */
static HnQmpProgress tokenize(HnQmpCodec *codec, const char *bytes, size_t len, gboolean is_end,
                              size_t *ret_used_bytes, json_object **ret_message, GError **error)
{
    json_object *message = json_tokener_parse_ex(codec->tokener, bytes, (int)len);
    enum json_tokener_error result = json_tokener_get_error(codec->tokener);
    size_t parsed = MIN(json_tokener_get_parse_end(codec->tokener), len);

    if (result == json_tokener_continue && !is_end) {
        *ret_used_bytes = len;
        return HN_QMP_NEED_MORE;
    }
    if (result == json_tokener_success && message && is_end && parsed == len) {
        *ret_used_bytes = len;
        *ret_message = message;
        return HN_QMP_GOT_MESSAGE;
    }
    json_object_put(message);
    *ret_used_bytes = parsed;
    g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_SYNTAX, "%s",
                result > json_tokener_continue ? json_tokener_error_desc(result)
                                               : "brackets do not match");
    return HN_QMP_GOT_ERROR;
}

/* The phase is IN_MESSAGE: one chunk of it. */
static HnQmpProgress feed_message(HnQmpCodec *codec, const char *bytes, size_t len,
                                  size_t *ret_used_bytes, json_object **ret_message, GError **error)
{
    const HnQmpScan before = codec->scan;
    HnQmpProgress progress = HN_QMP_NEED_MORE;
    g_autoptr(GError) json_error = NULL;
    size_t good = 0, used = 0;
    HnQmpScanResult result = hn_qmp_scan_message(&codec->scan, &codec->limits, bytes, len, &good);

    if (good > 0)
        progress = tokenize(codec, bytes, good, result == HN_QMP_SCAN_END, &used, ret_message,
                            &json_error);

    *ret_used_bytes = used;
    codec->stream_bytes += used;
    if (progress == HN_QMP_GOT_ERROR) {
        size_t ignored;

        codec->scan = before;
        hn_qmp_scan_message(&codec->scan, &codec->limits, bytes, used, &ignored);
        g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_SYNTAX,
                    "JSON error at byte %zu of the message: %s", before.bytes + used,
                    json_error->message);
        start_recovery(codec);
    } else if (progress == HN_QMP_GOT_MESSAGE) {
        codec->phase = BETWEEN;
        /* json-c keeps the last of two members with one name; which was meant nobody can tell. */
        if (codec->limits.has_unique_names && count_members(*ret_message) != codec->scan.members) {
            json_object_put(g_steal_pointer(ret_message));
            codec->error_offset = codec->stream_bytes - 1;
            g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_SYNTAX,
                        "JSON error at byte %zu of the message: an object in it has two members of "
                        "one name",
                        codec->scan.bytes - 1);
            progress = HN_QMP_GOT_ERROR;
        }
        if (codec->scan.bytes > TOKENER_KEEP_BYTES) {
            json_tokener_free(codec->tokener);
            codec->tokener = new_tokener(&codec->limits);
        }
    } else if (result != HN_QMP_SCAN_MORE) {
        set_scan_error(codec, result, (guint8)bytes[good], before.bytes + good, error);
        start_recovery(codec);
        progress = HN_QMP_GOT_ERROR;
    }
    return progress;
}

HnQmpProgress hn_qmp_codec_feed(HnQmpCodec *codec, const char *bytes, size_t len_bytes,
                                size_t *ret_used_bytes, json_object **ret_message, GError **error)
{
    size_t pos = 0;

    while (pos < len_bytes) {
        HnQmpProgress progress;
        size_t used = 0;

        switch (codec->phase) {
        case RECOVERING:
            used = recover(codec, bytes + pos, len_bytes - pos);
            codec->stream_bytes += used;
            pos += used;
            continue;
        case BETWEEN:
            if (hn_qmp_byte_class[(guint8)bytes[pos]] == HN_QMP_BYTE_SPACE) {
                codec->stream_bytes++;
                pos++;
                continue;
            }
            memset(&codec->scan, 0, sizeof codec->scan);
            if (hn_qmp_byte_class[(guint8)bytes[pos]] != HN_QMP_BYTE_OPEN) {
                set_scan_error(codec, HN_QMP_SCAN_BAD_BYTE, (guint8)bytes[pos], 0, error);
                start_recovery(codec);
                *ret_used_bytes = pos;
                return HN_QMP_GOT_ERROR;
            }
            codec->phase = IN_MESSAGE;
            break;
        case IN_MESSAGE:
            break;
        }

        progress = feed_message(codec, bytes + pos, MIN(len_bytes - pos, MAX_CHUNK_BYTES), &used,
                                ret_message, error);
        pos += used;
        if (progress != HN_QMP_NEED_MORE) {
            *ret_used_bytes = pos;
            return progress;
        }
    }
    *ret_used_bytes = len_bytes;
    return HN_QMP_NEED_MORE;
}

gboolean hn_qmp_codec_end(HnQmpCodec *codec, GError **error)
{
    if (codec->phase != IN_MESSAGE)
        return TRUE;
    g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_SYNTAX,
                "The stream ended inside a message, after %zu bytes of it", codec->scan.bytes);
    codec->error_offset = codec->stream_bytes;
    return FALSE;
}

gboolean hn_qmp_codec_is_mid_message(const HnQmpCodec *codec)
{
    return codec->phase != BETWEEN;
}

guint64 hn_qmp_codec_error_offset(const HnQmpCodec *codec)
{
    return codec->error_offset;
}
