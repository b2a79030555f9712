/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Quantities and sentences for people. Pure: numbers in, text out. Caller frees every result.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* How output looks; decided once, in main(). */
typedef struct {
    uint32_t width;  /* columns of the terminal; 0: nobody is to be cut short (a pipe) */
    bool has_colour; /* ANSI sequences wanted */
    bool is_utf8;    /* the terminal can show more than ASCII */
} HnStyle;

typedef enum {
    HN_COLOUR_NONE,
    HN_COLOUR_GOOD,
    HN_COLOUR_BUSY,
    HN_COLOUR_BAD,
    HN_COLOUR_DIM,
    HN_COLOUR_BOLD
} HnColour;

char *hn_text_bytes(
    uint64_t bytes); /* "0", "512K", "1.5G", "128M": three digits at most before the unit */
char *hn_text_permille(int64_t permille); /* 998 → "99.8%", 1000 → "100%", negative → "-" */
char *hn_text_mcpu(uint64_t mcpu);        /* 1990 → "1.99" CPUs */
char *hn_text_duration_ms(uint64_t ms);   /* "850 ms", "12 s", "3.5 min", "2.0 h" */
char *hn_text_time(int64_t unix_s);       /* local time, "2026-03-01 17:04:59" */
char *hn_text_bar(uint32_t permille, uint32_t cells,
                  bool is_utf8); /* exactly `cells` columns wide */

/* Control characters, escapes included, become '?': names come from outside. */
char *hn_text_clean(const char *text);
/* Columns a terminal needs for valid UTF-8. */
uint32_t hn_text_columns(const char *text);
/* At most `columns` wide, the cut marked by "…" (or "~" without UTF-8). */
char *hn_text_cut(const char *text, uint32_t columns, bool is_utf8);
/* The same, cut in the middle: names that differ at the end stay apart. */
char *hn_text_cut_middle(const char *text, uint32_t columns, bool is_utf8);
/* As people count: "vm2" before "vm10". NULL comes first. */
int hn_text_compare_names(const char *a, const char *b);
/* Broken at blanks into lines of at most `width` columns (0: one line), each begun with `indent`
 * blanks and ended with a newline. */
char *hn_text_wrap(const char *text, uint32_t indent, uint32_t width);
/* The text with colour switched on and off around it, or a copy if the style has none. */
char *hn_text_paint(const char *text, HnColour colour, const HnStyle *style);

/* The colour a share deserves, and a status word of the daemon. */
HnColour hn_colour_of_share(int64_t permille);
HnColour hn_colour_of_status(const char *status);
