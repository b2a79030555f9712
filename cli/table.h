/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tables that fit the terminal. Columns are as wide as their content; if that is too much,
 * shrinkable ones give way down to their minimum, then whole columns go, the least important first.
 * Pure.
 */
#pragma once

#include "text.h"

typedef struct {
    const char *title;
    bool is_number; /* right-aligned */
    uint32_t
        min_columns; /* it may be cut down to this, below only as a last resort; 0: never cut */
    uint32_t rank;   /* if room is short the highest rank goes first; 0: stays always */
    bool is_name;    /* cut in the middle: names differ at the end */
} HnColumn;

typedef struct HnTable HnTable;

/* columns: static, not copied. */
HnTable *hn_table_new(const HnColumn *columns, uint32_t n_columns);
void hn_table_free(HnTable *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnTable, hn_table_free)

/* Fills the next cell, row by row. NULL prints as "-". Text is copied and cleaned. */
void hn_table_add(HnTable *table, const char *text, HnColour colour);
/* The same, taking the text. */
void hn_table_take(HnTable *table, char *text, HnColour colour);
uint32_t hn_table_rows(const HnTable *table);

/* The whole table with its head, each line ended with a newline, no blanks at line ends. */
char *hn_table_format(const HnTable *table, const HnStyle *style);
