/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A cursor over text that somebody else wrote: the few steps from which the parsers of /proc, /sys
 * and cgroup files are made.
 *
 * A cursor is a pair of pointers into a buffer it does not own. Every step either consumes what it
 * names and returns true, or consumes nothing and returns false; none reads beyond the end, none
 * needs a terminating NUL, none allocates. Numbers that do not fit are refused, not wrapped.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const char *at;
    const char *end;
} HnText;

HnText hn_text(const char *text, size_t len);
bool hn_text_is_empty(const HnText *text);
size_t hn_text_len(const HnText *text);

/* Cuts off the next line, without its newline (the last line needs none). False at the end. */
bool hn_text_line(HnText *text, HnText *ret_line);
/* Cuts off the next word, after blanks and tabs. False if only blanks are left (they are consumed).
 */
bool hn_text_word(HnText *text, HnText *ret_word);
void hn_text_skip_blanks(HnText *text);
/* Consumes `literal` if the text begins with it. */
bool hn_text_take(HnText *text, const char *literal);
/* Cuts off everything before the first `separator`, and consumes the separator. False if there is
 * none. */
bool hn_text_until(HnText *text, char separator, HnText *ret_before);

/* Digits only, no sign, no blanks before. */
bool hn_text_u64(HnText *text, uint64_t *ret_value);
bool hn_text_u32(HnText *text, uint32_t *ret_value);
/* With an optional minus sign. */
bool hn_text_i64(HnText *text, int64_t *ret_value);
/* Hexadecimal digits without 0x, at most 16. */
bool hn_text_hex(HnText *text, uint64_t *ret_value);
/* "93.41" as 9341: exactly two digits after the point. */
bool hn_text_centi(HnText *text, uint64_t *ret_hundredths);

bool hn_text_equal(const HnText *text, const char *literal);
bool hn_text_ends_with(const HnText *text, const char *literal);
char *hn_text_dup(const HnText *text);

/* HN_MODEL_ERROR_SYNTAX: "<file>: <what> in line "<line, shortened>"". Always returns false. */
bool hn_text_fail(GError **error, const char *file, const char *what, const HnText *line);
