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

typedef enum {
    OUTSIDE,   /* → IN_STRING at '"' */
    IN_STRING, /* → OUTSIDE at '"'; → IN_ESCAPE at '\\' */
    IN_ESCAPE, /* → IN_HEX at 'u'; else → IN_STRING */
    IN_HEX,    /* → IN_STRING after four bytes */
} Text;

/* Outside strings: what is being spelled. RFC 8259, section 6; json-c alone takes "13-1.5e3" for
 * different things depending on where a chunk ends. Any non-token byte → NOTHING. */
typedef enum {
    NOTHING,  /* → LITERAL by a letter; → MINUS, ZERO or INTEGER */
    LITERAL,  /* true, false, null: json-c knows how they are spelled */
    MINUS,    /* → ZERO or INTEGER */
    ZERO,     /* → POINT or EXPONENT */
    INTEGER,  /* → POINT or EXPONENT */
    POINT,    /* → FRACTION */
    FRACTION, /* → EXPONENT */
    EXPONENT, /* → SIGN or POWER */
    SIGN,     /* → POWER */
    POWER,
} Token;

typedef struct {
    guint depth;
    guint values;
    size_t bytes; /* of this message so far */
    Text text;
    Token token;
    guint8 hex_left;
    gboolean is_hex_zero;
    guint8 utf8_left; /* continuation bytes still due */
    guint8 utf8_low;  /* bounds of the next one (RFC 3629, table 3-7 of Unicode) */
    guint8 utf8_high;
} Scan;

typedef enum {
    SCAN_MORE,
    SCAN_END, /* brackets balanced by the last byte accepted */
    SCAN_BAD_BYTE,
    SCAN_BAD_UTF8,
    SCAN_NUL_ESCAPE,
    SCAN_TOO_DEEP,
    SCAN_TOO_MANY,
    SCAN_TOO_LONG,
} ScanResult;

struct HnQmpCodec {
    HnQmpLimits limits;
    json_tokener *tokener;
    Phase phase;
    Scan scan;
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
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS);
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

/* What a byte means outside strings. */
enum { BAD, SPACE, TOKEN, COLON, COMMA, QUOTE, OPEN, CLOSE };

static const guint8 byte_class[256] = {
    ['\t'] = SPACE,
    ['\n'] = SPACE,
    ['\r'] = SPACE,
    [' '] = SPACE,
    ['"'] = QUOTE,
    [','] = COMMA,
    [':'] = COLON,
    ['{'] = OPEN,
    ['['] = OPEN,
    ['}'] = CLOSE,
    [']'] = CLOSE,
    /* numbers, and the letters of true, false and null */
    ['0' ... '9'] = TOKEN,
    ['+'] = TOKEN,
    ['-'] = TOKEN,
    ['.'] = TOKEN,
    ['E'] = TOKEN,
    ['a'] = TOKEN,
    ['e'] = TOKEN,
    ['f'] = TOKEN,
    ['l'] = TOKEN,
    ['n'] = TOKEN,
    ['r'] = TOKEN,
    ['s'] = TOKEN,
    ['t'] = TOKEN,
    ['u'] = TOKEN,
};

/* Sixteen bytes at a time, by the vector extension of GCC and Clang: SSE2, NEON, or plain words. */
typedef gint8 Bytes16 __attribute__((vector_size(16)));
typedef guint64 Words2 __attribute__((vector_size(16)));

/* Length of the run of string bytes that need no look: no quote, backslash, control or 8-bit byte.
 */
static size_t plain_run(const char *bytes, size_t len)
{
    size_t i = 0;

    for (; len - i >= sizeof(Bytes16); i += sizeof(Bytes16)) {
        Bytes16 chunk;
        Words2 special;

        memcpy(&chunk, bytes + i, sizeof chunk);
        /* Signed: bytes of 0x80 and above are negative, so below 0x20 too. */
        special = (Words2)((chunk < 0x20) | (chunk == '"') | (chunk == '\\'));
        if (special[0])
            return i + (size_t)__builtin_ctzll(GUINT64_FROM_LE(special[0])) / 8;
        if (special[1])
            return i + 8 + (size_t)__builtin_ctzll(GUINT64_FROM_LE(special[1])) / 8;
    }
    for (; i < len; i++) {
        gint8 byte = (gint8)bytes[i];

        if (byte < 0x20 || byte == '"' || byte == '\\')
            break;
    }
    return i;
}

/* The first byte of a multi-byte character: how many follow, and the bounds of the first of them.
 */
static gboolean utf8_begin(Scan *scan, guint8 byte)
{
    scan->utf8_low = 0x80;
    scan->utf8_high = 0xBF;
    if (byte >= 0xC2 && byte <= 0xDF) {
        scan->utf8_left = 1;
    } else if (byte >= 0xE0 && byte <= 0xEF) {
        scan->utf8_left = 2;
        if (byte == 0xE0)
            scan->utf8_low = 0xA0; /* overlong below */
        if (byte == 0xED)
            scan->utf8_high = 0x9F; /* surrogates above */
    } else if (byte >= 0xF0 && byte <= 0xF4) {
        scan->utf8_left = 3;
        if (byte == 0xF0)
            scan->utf8_low = 0x90;
        if (byte == 0xF4)
            scan->utf8_high = 0x8F; /* beyond U+10FFFF */
    } else {
        return FALSE;
    }
    return TRUE;
}

/* One byte inside a string that plain_run() did not take. */
static ScanResult scan_string_byte(Scan *scan, guint8 byte)
{
    if (scan->utf8_left > 0) {
        if (byte < scan->utf8_low || byte > scan->utf8_high)
            return SCAN_BAD_UTF8;
        scan->utf8_left--;
        scan->utf8_low = 0x80;
        scan->utf8_high = 0xBF;
        return SCAN_MORE;
    }
    if (byte < 0x20)
        return SCAN_BAD_BYTE;
    if (byte >= 0x80) {
        /* After a backslash json-c would refuse it anyway; say the same for every cut. */
        if (scan->text != IN_STRING)
            return SCAN_BAD_BYTE;
        return utf8_begin(scan, byte) ? SCAN_MORE : SCAN_BAD_UTF8;
    }
    switch (scan->text) {
    case IN_ESCAPE:
        scan->text = byte == 'u' ? IN_HEX : IN_STRING;
        scan->hex_left = 4;
        scan->is_hex_zero = TRUE;
        return SCAN_MORE;
    case IN_HEX:
        scan->is_hex_zero &= byte == '0';
        if (scan->hex_left == 1 && scan->is_hex_zero)
            return SCAN_NUL_ESCAPE;
        if (--scan->hex_left == 0)
            scan->text = IN_STRING;
        return SCAN_MORE;
    case OUTSIDE:
    case IN_STRING:
        break;
    }
    if (byte == '"')
        scan->text = OUTSIDE;
    else if (byte == '\\')
        scan->text = IN_ESCAPE;
    return SCAN_MORE;
}

/* One more byte of a literal or number; it is of class TOKEN. */
static gboolean scan_token_byte(Token *token, guint8 byte)
{
    gboolean is_digit = g_ascii_isdigit(byte);
    gboolean is_exponent = byte == 'e' || byte == 'E';

    switch (*token) {
    case NOTHING:
        *token = byte == '-' ? MINUS : byte == '0' ? ZERO : is_digit ? INTEGER : LITERAL;
        return *token != LITERAL || g_ascii_islower(byte);
    case LITERAL:
        return g_ascii_islower(byte);
    case MINUS:
        *token = byte == '0' ? ZERO : INTEGER;
        return is_digit;
    case INTEGER:
        if (is_digit)
            return TRUE;
        G_GNUC_FALLTHROUGH;
    case ZERO:
        *token = byte == '.' ? POINT : EXPONENT;
        return byte == '.' || is_exponent;
    case POINT:
        *token = FRACTION;
        return is_digit;
    case FRACTION:
        if (is_digit)
            return TRUE;
        *token = EXPONENT;
        return is_exponent;
    case EXPONENT:
        *token = is_digit ? POWER : SIGN;
        return is_digit || byte == '+' || byte == '-';
    case SIGN:
        *token = POWER;
        return is_digit;
    case POWER:
        return is_digit;
    }
    return FALSE;
}

/* One byte outside strings. */
static ScanResult scan_plain_byte(Scan *scan, const HnQmpLimits *limits, guint8 byte)
{
    guint8 class = byte_class[byte];

    if (class == TOKEN)
        return scan_token_byte(&scan->token, byte) ? SCAN_MORE : SCAN_BAD_BYTE;
    if (scan->token != NOTHING) {
        if (scan->token == MINUS || scan->token == POINT || scan->token == EXPONENT ||
            scan->token == SIGN)
            return SCAN_BAD_BYTE;
        scan->token = NOTHING;
    }
    switch (class) {
    case SPACE:
    case COLON:
        return SCAN_MORE;
    case QUOTE:
        scan->text = IN_STRING;
        return SCAN_MORE;
    case COMMA:
        return ++scan->values > limits->max_values ? SCAN_TOO_MANY : SCAN_MORE;
    case OPEN:
        if (scan->depth >= limits->max_depth)
            return SCAN_TOO_DEEP;
        if (++scan->values > limits->max_values)
            return SCAN_TOO_MANY;
        scan->depth++;
        return SCAN_MORE;
    case CLOSE:
        return --scan->depth == 0 ? SCAN_END : SCAN_MORE;
    default:
        return SCAN_BAD_BYTE;
    }
}

/*
 * Walks bytes of one message. ret_good_bytes: how many were accepted; the byte after them is the
 * bad one unless the result is SCAN_MORE or SCAN_END.
 */
static ScanResult scan_message(Scan *scan, const HnQmpLimits *limits, const char *bytes, size_t len,
                               size_t *ret_good_bytes)
{
    ScanResult result = SCAN_MORE;
    size_t room = limits->max_message_bytes - scan->bytes;
    size_t end = MIN(len, room);
    size_t i = 0;

    while (i < end && result == SCAN_MORE) {
        if (scan->text == OUTSIDE) {
            result = scan_plain_byte(scan, limits, (guint8)bytes[i]);
            i++;
        } else {
            if (scan->text == IN_STRING && scan->utf8_left == 0) {
                i += plain_run(bytes + i, end - i);
                if (i == end)
                    break;
            }
            result = scan_string_byte(scan, (guint8)bytes[i]);
            i++;
        }
    }
    if (result == SCAN_MORE && i == room && len > room)
        result = SCAN_TOO_LONG;
    else if (result != SCAN_MORE && result != SCAN_END)
        i--;
    scan->bytes += i;
    *ret_good_bytes = i;
    return result;
}

/* Skips bytes in recovery. Returns how many; the phase is BETWEEN when a resynchronisation point
 * was found, and the byte behind those skipped then starts afresh. */
static size_t recover(HnQmpCodec *codec, const char *bytes, size_t len)
{
    Scan *scan = &codec->scan;

    for (size_t i = 0; i < len; i++) {
        guint8 byte = (guint8)bytes[i];

        if (byte == '\n') {
            codec->is_line_start = TRUE;
            scan->text = OUTSIDE;
            continue;
        }
        if (byte_class[byte] == SPACE)
            continue;
        if (byte < 0x20 || byte >= 0xFE) {
            codec->phase = BETWEEN;
            return i + 1;
        }
        if (scan->text == OUTSIDE && byte == '{' && (codec->is_line_start || scan->depth == 0)) {
            codec->phase = BETWEEN;
            return i;
        }
        codec->is_line_start = FALSE;
        if (scan->text == IN_ESCAPE)
            scan->text = IN_STRING;
        else if (scan->text == IN_STRING || scan->text == IN_HEX)
            scan->text = byte == '"' ? OUTSIDE : byte == '\\' ? IN_ESCAPE : IN_STRING;
        else if (byte == '"')
            scan->text = IN_STRING;
        else if (byte_class[byte] == OPEN)
            scan->depth = MIN(scan->depth + 1, G_MAXUINT - 1);
        else if (byte_class[byte] == CLOSE && scan->depth > 0 && --scan->depth == 0) {
            codec->phase = BETWEEN;
            return i + 1;
        }
    }
    return len;
}

/* Builds the sentence for an error found at byte "offset" of the message. */
static void set_scan_error(const HnQmpCodec *codec, ScanResult result, guint8 byte, size_t offset,
                           GError **error)
{
    const HnQmpLimits *limits = &codec->limits;

    switch (result) {
    case SCAN_BAD_UTF8:
        g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_SYNTAX,
                    "Invalid UTF-8 at byte %zu of the message: 0x%02x", offset, byte);
        break;
    case SCAN_NUL_ESCAPE:
        g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_SYNTAX,
                    "JSON error at byte %zu of the message: \\u0000 is not allowed", offset);
        break;
    case SCAN_TOO_DEEP:
        g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_TOO_LARGE,
                    "Message nests deeper than the limit of %u at byte %zu", limits->max_depth,
                    offset);
        break;
    case SCAN_TOO_MANY:
        g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_TOO_LARGE,
                    "Message has more than the limit of %u values at byte %zu", limits->max_values,
                    offset);
        break;
    case SCAN_TOO_LONG:
        g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_TOO_LARGE,
                    "Message is longer than the limit of %zu bytes", limits->max_message_bytes);
        break;
    case SCAN_BAD_BYTE:
    case SCAN_MORE:
    case SCAN_END:
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
    const Scan before = codec->scan;
    HnQmpProgress progress = HN_QMP_NEED_MORE;
    g_autoptr(GError) json_error = NULL;
    size_t good = 0, used = 0;
    ScanResult result = scan_message(&codec->scan, &codec->limits, bytes, len, &good);

    if (good > 0)
        progress =
            tokenize(codec, bytes, good, result == SCAN_END, &used, ret_message, &json_error);

    *ret_used_bytes = used;
    codec->stream_bytes += used;
    if (progress == HN_QMP_GOT_ERROR) {
        size_t ignored;

        codec->scan = before;
        scan_message(&codec->scan, &codec->limits, bytes, used, &ignored);
        g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_SYNTAX,
                    "JSON error at byte %zu of the message: %s", before.bytes + used,
                    json_error->message);
        start_recovery(codec);
    } else if (progress == HN_QMP_GOT_MESSAGE) {
        codec->phase = BETWEEN;
        if (codec->scan.bytes > TOKENER_KEEP_BYTES) {
            json_tokener_free(codec->tokener);
            codec->tokener = new_tokener(&codec->limits);
        }
    } else if (result != SCAN_MORE) {
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
            if (byte_class[(guint8)bytes[pos]] == SPACE) {
                codec->stream_bytes++;
                pos++;
                continue;
            }
            memset(&codec->scan, 0, sizeof codec->scan);
            if (byte_class[(guint8)bytes[pos]] != OPEN) {
                set_scan_error(codec, SCAN_BAD_BYTE, (guint8)bytes[pos], 0, error);
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
