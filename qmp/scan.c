/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The scanner. See scan.h.
 */
#include "qmp/scan.h"

#include <string.h>

const guint8 hn_qmp_byte_class[256] = {
    ['\t'] = HN_QMP_BYTE_SPACE,
    ['\n'] = HN_QMP_BYTE_SPACE,
    ['\r'] = HN_QMP_BYTE_SPACE,
    [' '] = HN_QMP_BYTE_SPACE,
    ['"'] = HN_QMP_BYTE_QUOTE,
    [','] = HN_QMP_BYTE_COMMA,
    [':'] = HN_QMP_BYTE_COLON,
    ['{'] = HN_QMP_BYTE_OPEN,
    ['['] = HN_QMP_BYTE_OPEN,
    ['}'] = HN_QMP_BYTE_CLOSE,
    [']'] = HN_QMP_BYTE_CLOSE,
    /* numbers, and the letters of true, false and null */
    ['0' ... '9'] = HN_QMP_BYTE_TOKEN,
    ['+'] = HN_QMP_BYTE_TOKEN,
    ['-'] = HN_QMP_BYTE_TOKEN,
    ['.'] = HN_QMP_BYTE_TOKEN,
    ['E'] = HN_QMP_BYTE_TOKEN,
    ['a'] = HN_QMP_BYTE_TOKEN,
    ['e'] = HN_QMP_BYTE_TOKEN,
    ['f'] = HN_QMP_BYTE_TOKEN,
    ['l'] = HN_QMP_BYTE_TOKEN,
    ['n'] = HN_QMP_BYTE_TOKEN,
    ['r'] = HN_QMP_BYTE_TOKEN,
    ['s'] = HN_QMP_BYTE_TOKEN,
    ['t'] = HN_QMP_BYTE_TOKEN,
    ['u'] = HN_QMP_BYTE_TOKEN,
};

/* Sixteen bytes at a time, by the vector extension of GCC and Clang: SSE2, NEON, or plain words. */
typedef gint8 Bytes16 __attribute__((vector_size(16)));
typedef guint64 Words2 __attribute__((vector_size(16)));

/* Length of the run of string bytes that need no look: no quote, control or 8-bit byte, and no
 * backslash but those of short escapes, which end the lines of a long text; whether these exist is
 * json-c's to say. */
static size_t plain_run(const char *bytes, size_t len)
{
    size_t i = 0;

    while (len - i >= sizeof(Bytes16)) {
        Bytes16 chunk;
        Words2 special;

        memcpy(&chunk, bytes + i, sizeof chunk);
        /* Signed: bytes of 0x80 and above are negative, so below 0x20 too. */
        special = (Words2)((chunk < 0x20) | (chunk == '"') | (chunk == '\\'));
        if (!(special[0] | special[1])) {
            i += sizeof(Bytes16);
            continue;
        }
        if (special[0])
            i += (size_t)__builtin_ctzll(GUINT64_FROM_LE(special[0])) / 8;
        else
            i += 8 + (size_t)__builtin_ctzll(GUINT64_FROM_LE(special[1])) / 8;
        if (bytes[i] != '\\' || len - i < 2 || bytes[i + 1] == 'u' || (gint8)bytes[i + 1] < 0x20)
            return i;
        i += 2;
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
static gboolean utf8_begin(HnQmpScan *scan, guint8 byte)
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

/* One digit of a \u escape. json-c turns half a surrogate pair into U+FFFD, so that two different
 * texts become one; QEMU refuses it, and so is done here. */
static HnQmpScanResult scan_hex_digit(HnQmpScan *scan, guint8 byte)
{
    gint digit = g_ascii_xdigit_value((char)byte);

    if (digit < 0)
        return HN_QMP_SCAN_BAD_BYTE;
    scan->hex = (guint16)(scan->hex << 4 | digit);
    if (scan->hex_left > 1) {
        scan->hex_left--;
        return HN_QMP_SCAN_MORE;
    }
    if (scan->hex == 0 && !scan->is_half)
        return HN_QMP_SCAN_NUL_ESCAPE;
    if (scan->is_half != (scan->hex >= 0xDC00 && scan->hex <= 0xDFFF))
        return HN_QMP_SCAN_HALF_PAIR;
    scan->is_half = scan->hex >= 0xD800 && scan->hex <= 0xDBFF;
    scan->text = scan->is_half ? HN_QMP_TEXT_HALF : HN_QMP_TEXT_STRING;
    return HN_QMP_SCAN_MORE;
}

/* One byte inside a string that plain_run() did not take. */
static HnQmpScanResult scan_string_byte(HnQmpScan *scan, guint8 byte)
{
    if (scan->utf8_left > 0) {
        if (byte < scan->utf8_low || byte > scan->utf8_high)
            return HN_QMP_SCAN_BAD_UTF8;
        scan->utf8_left--;
        scan->utf8_low = 0x80;
        scan->utf8_high = 0xBF;
        return HN_QMP_SCAN_MORE;
    }
    if (byte < 0x20)
        return HN_QMP_SCAN_BAD_BYTE;
    if (byte >= 0x80) {
        /* After a backslash json-c would refuse it anyway; say the same for every cut. */
        if (scan->text != HN_QMP_TEXT_STRING)
            return HN_QMP_SCAN_BAD_BYTE;
        return utf8_begin(scan, byte) ? HN_QMP_SCAN_MORE : HN_QMP_SCAN_BAD_UTF8;
    }
    switch (scan->text) {
    case HN_QMP_TEXT_ESCAPE:
        if (scan->is_half && byte != 'u')
            return HN_QMP_SCAN_HALF_PAIR;
        scan->text = byte == 'u' ? HN_QMP_TEXT_HEX : HN_QMP_TEXT_STRING;
        scan->hex_left = 4;
        scan->hex = 0;
        return HN_QMP_SCAN_MORE;
    case HN_QMP_TEXT_HEX:
        return scan_hex_digit(scan, byte);
    case HN_QMP_TEXT_HALF:
        if (byte != '\\')
            return HN_QMP_SCAN_HALF_PAIR;
        scan->text = HN_QMP_TEXT_ESCAPE;
        return HN_QMP_SCAN_MORE;
    case HN_QMP_TEXT_OUTSIDE:
    case HN_QMP_TEXT_STRING:
        break;
    }
    if (byte == '"')
        scan->text = HN_QMP_TEXT_OUTSIDE;
    else if (byte == '\\')
        scan->text = HN_QMP_TEXT_ESCAPE;
    return HN_QMP_SCAN_MORE;
}

static void add_digit(HnQmpScan *scan, guint8 byte)
{
    guint digit = byte - '0';

    scan->is_beyond |= scan->magnitude > (G_MAXUINT64 - digit) / 10;
    scan->magnitude = scan->magnitude * 10 + digit;
}

static void begin_token(HnQmpScan *scan, guint8 byte)
{
    scan->is_negative = byte == '-';
    scan->is_beyond = FALSE;
    scan->magnitude = 0;
    if (scan->is_negative) {
        scan->token = HN_QMP_TOKEN_MINUS;
    } else if (g_ascii_isdigit(byte)) {
        scan->token = byte == '0' ? HN_QMP_TOKEN_ZERO : HN_QMP_TOKEN_INTEGER;
        add_digit(scan, byte);
    } else {
        scan->token = HN_QMP_TOKEN_LITERAL;
        scan->literal = byte == 't' ? "rue" : byte == 'f' ? "alse" : byte == 'n' ? "ull" : NULL;
    }
}

/* One more byte of a literal or number; it is of class TOKEN. */
static gboolean scan_token_byte(HnQmpScan *scan, guint8 byte)
{
    gboolean is_digit = g_ascii_isdigit(byte);
    gboolean is_exponent = byte == 'e' || byte == 'E';

    switch (scan->token) {
    case HN_QMP_TOKEN_NOTHING:
        begin_token(scan, byte);
        return scan->token != HN_QMP_TOKEN_LITERAL || scan->literal;
    case HN_QMP_TOKEN_LITERAL:
        return byte == (guint8)*scan->literal && *scan->literal++;
    case HN_QMP_TOKEN_MINUS:
        scan->token = byte == '0' ? HN_QMP_TOKEN_ZERO : HN_QMP_TOKEN_INTEGER;
        add_digit(scan, byte);
        return is_digit;
    case HN_QMP_TOKEN_INTEGER:
        if (is_digit) {
            add_digit(scan, byte);
            return TRUE;
        }
        G_GNUC_FALLTHROUGH;
    case HN_QMP_TOKEN_ZERO:
        scan->token = byte == '.' ? HN_QMP_TOKEN_POINT : HN_QMP_TOKEN_EXPONENT;
        return byte == '.' || is_exponent;
    case HN_QMP_TOKEN_POINT:
        scan->token = HN_QMP_TOKEN_FRACTION;
        return is_digit;
    case HN_QMP_TOKEN_FRACTION:
        if (is_digit)
            return TRUE;
        scan->token = HN_QMP_TOKEN_EXPONENT;
        return is_exponent;
    case HN_QMP_TOKEN_EXPONENT:
        scan->token = is_digit ? HN_QMP_TOKEN_POWER : HN_QMP_TOKEN_SIGN;
        return is_digit || byte == '+' || byte == '-';
    case HN_QMP_TOKEN_SIGN:
        scan->token = HN_QMP_TOKEN_POWER;
        return is_digit;
    case HN_QMP_TOKEN_POWER:
        return is_digit;
    }
    return FALSE;
}

/* A byte of another class stands behind the token. json-c before 0.17 turns integers beyond 64 bits
 * into the nearest that fits; later ones refuse them, so they are refused here. */
static HnQmpScanResult end_token(HnQmpScan *scan)
{
    HnQmpToken token = scan->token;

    scan->token = HN_QMP_TOKEN_NOTHING;
    if (token == HN_QMP_TOKEN_MINUS || token == HN_QMP_TOKEN_POINT ||
        token == HN_QMP_TOKEN_EXPONENT || token == HN_QMP_TOKEN_SIGN ||
        (token == HN_QMP_TOKEN_LITERAL && *scan->literal))
        return HN_QMP_SCAN_BAD_BYTE;
    if (token == HN_QMP_TOKEN_INTEGER &&
        (scan->is_beyond || (scan->is_negative && scan->magnitude > (guint64)G_MAXINT64 + 1)))
        return HN_QMP_SCAN_BAD_INTEGER;
    return HN_QMP_SCAN_MORE;
}

/* One byte outside strings. */
static HnQmpScanResult scan_plain_byte(HnQmpScan *scan, const HnQmpLimits *limits, guint8 byte)
{
    guint8 class = hn_qmp_byte_class[byte];

    if (class == HN_QMP_BYTE_TOKEN) {
        scan->is_after_comma = FALSE;
        return scan_token_byte(scan, byte) ? HN_QMP_SCAN_MORE : HN_QMP_SCAN_BAD_BYTE;
    }
    if (scan->token != HN_QMP_TOKEN_NOTHING) {
        HnQmpScanResult result = end_token(scan);

        if (result != HN_QMP_SCAN_MORE)
            return result;
    }
    if (class == HN_QMP_BYTE_SPACE)
        return HN_QMP_SCAN_MORE;
    if (class == HN_QMP_BYTE_CLOSE && scan->is_after_comma)
        return HN_QMP_SCAN_BAD_BYTE; /* json-c would let "[1,]" pass */
    scan->is_after_comma = class == HN_QMP_BYTE_COMMA;
    switch (class) {
    case HN_QMP_BYTE_COLON:
        scan->members++;
        return HN_QMP_SCAN_MORE;
    case HN_QMP_BYTE_QUOTE:
        scan->text = HN_QMP_TEXT_STRING;
        return HN_QMP_SCAN_MORE;
    case HN_QMP_BYTE_COMMA:
        return ++scan->values > limits->max_values ? HN_QMP_SCAN_TOO_MANY : HN_QMP_SCAN_MORE;
    case HN_QMP_BYTE_OPEN:
        if (scan->depth >= limits->max_depth)
            return HN_QMP_SCAN_TOO_DEEP;
        if (++scan->values > limits->max_values)
            return HN_QMP_SCAN_TOO_MANY;
        scan->depth++;
        return HN_QMP_SCAN_MORE;
    case HN_QMP_BYTE_CLOSE:
        return --scan->depth == 0 ? HN_QMP_SCAN_END : HN_QMP_SCAN_MORE;
    default:
        return HN_QMP_SCAN_BAD_BYTE;
    }
}

HnQmpScanResult hn_qmp_scan_message(HnQmpScan *scan, const HnQmpLimits *limits, const char *bytes,
                                    size_t len, size_t *ret_good_bytes)
{
    HnQmpScanResult result = HN_QMP_SCAN_MORE;
    size_t room = limits->max_message_bytes - scan->bytes;
    size_t end = MIN(len, room);
    size_t i = 0;

    while (i < end && result == HN_QMP_SCAN_MORE) {
        if (scan->text == HN_QMP_TEXT_OUTSIDE) {
            result = scan_plain_byte(scan, limits, (guint8)bytes[i]);
            i++;
        } else {
            if (scan->text == HN_QMP_TEXT_STRING && scan->utf8_left == 0) {
                i += plain_run(bytes + i, end - i);
                if (i == end)
                    break;
            }
            result = scan_string_byte(scan, (guint8)bytes[i]);
            i++;
        }
    }
    if (result == HN_QMP_SCAN_MORE && i == room && len > room)
        result = HN_QMP_SCAN_TOO_LONG;
    else if (result != HN_QMP_SCAN_MORE && result != HN_QMP_SCAN_END)
        i--;
    scan->bytes += i;
    *ret_good_bytes = i;
    return result;
}
