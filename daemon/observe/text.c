/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text cursor; see text.h. Pure: no file, no clock, no allocation except where a copy is asked
 * for. */
#include "observe/text.h"

#include <homenode/cpuset.h>

#include <string.h>

HnText hn_text(const char *text, size_t len)
{
    return (HnText){text, text + len};
}

bool hn_text_is_empty(const HnText *text)
{
    return text->at == text->end;
}

size_t hn_text_len(const HnText *text)
{
    return (size_t)(text->end - text->at);
}

bool hn_text_line(HnText *text, HnText *ret_line)
{
    const char *newline;

    if (hn_text_is_empty(text))
        return false;
    newline = memchr(text->at, '\n', hn_text_len(text));
    *ret_line = (HnText){text->at, newline ? newline : text->end};
    text->at = newline ? newline + 1 : text->end;
    return true;
}

void hn_text_skip_blanks(HnText *text)
{
    while (text->at < text->end && (*text->at == ' ' || *text->at == '\t'))
        text->at++;
}

bool hn_text_word(HnText *text, HnText *ret_word)
{
    const char *start;

    hn_text_skip_blanks(text);
    start = text->at;
    while (text->at < text->end && *text->at != ' ' && *text->at != '\t')
        text->at++;
    if (text->at == start)
        return false;
    *ret_word = (HnText){start, text->at};
    return true;
}

bool hn_text_take(HnText *text, const char *literal)
{
    size_t len = strlen(literal);

    if (hn_text_len(text) < len || memcmp(text->at, literal, len) != 0)
        return false;
    text->at += len;
    return true;
}

bool hn_text_until(HnText *text, char separator, HnText *ret_before)
{
    const char *found;

    if (hn_text_is_empty(text))
        return false;
    found = memchr(text->at, separator, hn_text_len(text));
    if (!found)
        return false;
    *ret_before = (HnText){text->at, found};
    text->at = found + 1;
    return true;
}

/* The one loop behind all numbers; refuses overflow. */
static bool take_digits(HnText *text, unsigned base, uint64_t *ret_value)
{
    const char *at = text->at;
    uint64_t value = 0;

    for (; at < text->end; at++) {
        int digit = g_ascii_xdigit_value(*at);

        if (digit < 0 || (unsigned)digit >= base)
            break;
        if (value > (UINT64_MAX - (unsigned)digit) / base)
            return false;
        value = value * base + (unsigned)digit;
    }
    if (at == text->at)
        return false;
    text->at = at;
    *ret_value = value;
    return true;
}

bool hn_text_u64(HnText *text, uint64_t *ret_value)
{
    return take_digits(text, 10, ret_value);
}

bool hn_text_u32(HnText *text, uint32_t *ret_value)
{
    HnText rest = *text;
    uint64_t value;

    if (!take_digits(&rest, 10, &value) || value > UINT32_MAX)
        return false;
    *text = rest;
    *ret_value = (uint32_t)value;
    return true;
}

bool hn_text_i64(HnText *text, int64_t *ret_value)
{
    HnText rest = *text;
    bool is_negative = hn_text_take(&rest, "-");
    uint64_t value;

    if (!take_digits(&rest, 10, &value) || value > (uint64_t)INT64_MAX)
        return false;
    *text = rest;
    *ret_value = is_negative ? -(int64_t)value : (int64_t)value;
    return true;
}

bool hn_text_hex(HnText *text, uint64_t *ret_value)
{
    return take_digits(text, 16, ret_value);
}

bool hn_text_centi(HnText *text, uint64_t *ret_hundredths)
{
    HnText rest = *text;
    HnText digits;
    uint64_t whole;
    uint64_t hundredths;

    if (!hn_text_u64(&rest, &whole) || whole > UINT64_MAX / 100 - 1 || !hn_text_take(&rest, "."))
        return false;
    if (hn_text_len(&rest) < 2)
        return false;
    digits = (HnText){rest.at, rest.at + 2};
    if (!hn_text_u64(&digits, &hundredths) || !hn_text_is_empty(&digits))
        return false;
    rest.at += 2;
    if (!hn_text_is_empty(&rest) && g_ascii_isdigit(*rest.at))
        return false;
    *text = rest;
    *ret_hundredths = whole * 100 + hundredths;
    return true;
}

bool hn_text_equal(const HnText *text, const char *literal)
{
    size_t len = strlen(literal);

    return hn_text_len(text) == len && memcmp(text->at, literal, len) == 0;
}

bool hn_text_ends_with(const HnText *text, const char *literal)
{
    size_t len = strlen(literal);

    return hn_text_len(text) >= len && memcmp(text->end - len, literal, len) == 0;
}

char *hn_text_dup(const HnText *text)
{
    return g_strndup(text->at, hn_text_len(text));
}

bool hn_text_fail(GError **error, const char *file, const char *what, const HnText *line)
{
    /* Whatever is in the file may end up on a terminal: printable ASCII only, and not much of it.
     */
    char shown[65];
    size_t n = MIN(hn_text_len(line), sizeof shown - 1);

    for (size_t i = 0; i < n; i++)
        shown[i] = g_ascii_isprint(line->at[i]) ? line->at[i] : '?';
    shown[n] = '\0';
    g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX, "%s: %s in line \"%s%s\"", file, what,
                shown, hn_text_len(line) > n ? "…" : "");
    return false;
}
