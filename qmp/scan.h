/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The scanner of the codec: one walk over the bytes of a message, before json-c sees them. Internal
 * to qmp/.
 *
 * It checks what can be told byte by byte, in any chunks: which bytes may stand where, UTF-8, how
 * numbers, literals and escapes are spelled, surrogate pairs, trailing commas; it counts bytes,
 * values and depth against the limits; and it finds the end. Colons, keys and matching brackets are
 * left to json-c.
 *
 * Must not: allocate, or look at bytes twice.
 */
#pragma once

#include "qmp/codec.h"

/* What a byte means outside strings. */
typedef enum {
    HN_QMP_BYTE_BAD,
    HN_QMP_BYTE_SPACE,
    HN_QMP_BYTE_TOKEN, /* of a number or literal */
    HN_QMP_BYTE_COLON,
    HN_QMP_BYTE_COMMA,
    HN_QMP_BYTE_QUOTE,
    HN_QMP_BYTE_OPEN,
    HN_QMP_BYTE_CLOSE,
} HnQmpByte;

extern const guint8 hn_qmp_byte_class[256];

typedef enum {
    HN_QMP_TEXT_OUTSIDE, /* → STRING at '"' */
    HN_QMP_TEXT_STRING,  /* → OUTSIDE at '"'; → ESCAPE at '\\' */
    HN_QMP_TEXT_ESCAPE,  /* → HEX at 'u'; else → STRING */
    HN_QMP_TEXT_HEX,     /* → STRING after four digits, or → HALF */
    HN_QMP_TEXT_HALF, /* behind the first half of a surrogate pair: → ESCAPE at '\\', nothing else
                       */
} HnQmpText;

/* Outside strings: what is being spelled. RFC 8259, section 6; json-c alone takes "13-1.5e3" for
 * different things depending on where a chunk ends. Any non-token byte → NOTHING. */
typedef enum {
    HN_QMP_TOKEN_NOTHING,  /* → LITERAL by a letter; → MINUS, ZERO or INTEGER */
    HN_QMP_TOKEN_LITERAL,  /* true, false, null */
    HN_QMP_TOKEN_MINUS,    /* → ZERO or INTEGER */
    HN_QMP_TOKEN_ZERO,     /* → POINT or EXPONENT */
    HN_QMP_TOKEN_INTEGER,  /* → POINT or EXPONENT */
    HN_QMP_TOKEN_POINT,    /* → FRACTION */
    HN_QMP_TOKEN_FRACTION, /* → EXPONENT */
    HN_QMP_TOKEN_EXPONENT, /* → SIGN or POWER */
    HN_QMP_TOKEN_SIGN,     /* → POWER */
    HN_QMP_TOKEN_POWER,
} HnQmpToken;

/* All zeros: before the first byte of a message. */
typedef struct {
    guint depth;
    guint values;
    guint members; /* colons: names of members so far, the same one twice counted twice */
    size_t bytes;  /* of this message so far */
    HnQmpText text;
    HnQmpToken token;
    gboolean is_after_comma;
    const char *literal;  /* LITERAL: the letters still due */
    gboolean is_negative; /* MINUS, ZERO, INTEGER: the number so far */
    gboolean is_beyond;   /* its integer part does not fit 64 bits */
    guint64 magnitude;
    guint8 hex_left;
    guint16 hex;
    gboolean is_half; /* ESCAPE, HEX: the second half of a surrogate pair is due */
    guint8 utf8_left; /* continuation bytes still due */
    guint8 utf8_low;  /* bounds of the next one (RFC 3629; table 3-7 of the Unicode standard) */
    guint8 utf8_high;
} HnQmpScan;

typedef enum {
    HN_QMP_SCAN_MORE,
    HN_QMP_SCAN_END, /* brackets balanced by the last byte accepted */
    HN_QMP_SCAN_BAD_BYTE,
    HN_QMP_SCAN_BAD_UTF8,
    HN_QMP_SCAN_BAD_INTEGER,
    HN_QMP_SCAN_NUL_ESCAPE,
    HN_QMP_SCAN_HALF_PAIR,
    HN_QMP_SCAN_TOO_DEEP,
    HN_QMP_SCAN_TOO_MANY,
    HN_QMP_SCAN_TOO_LONG,
} HnQmpScanResult;

/*
 * Walks bytes of one message. ret_good_bytes: how many were accepted; unless the result is MORE or
 * END, the byte after them is the bad one.
 */
HnQmpScanResult hn_qmp_scan_message(HnQmpScan *scan, const HnQmpLimits *limits, const char *bytes,
                                    size_t len, size_t *ret_good_bytes);
