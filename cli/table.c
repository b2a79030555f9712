/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Layout of tables: natural widths, then shrink, then drop.
 *
 * Must not print, and not know what it shows.
 */
#include "table.h"

#include <string.h>

#define GAP 2         /* blanks between columns */
#define LAST_RESORT 4 /* a column is cut down to this when nothing else can give way */

typedef struct {
    char *text;
    HnColour colour;
} Cell;

struct HnTable {
    const HnColumn *columns;
    uint32_t n_columns;
    GArray *cells; /* Cell, row by row */
};

static void cell_clear(gpointer data)
{
    g_free(((Cell *)data)->text);
}

HnTable *hn_table_new(const HnColumn *columns, uint32_t n_columns)
{
    HnTable *table = g_new(HnTable, 1);
    table->columns = columns;
    table->n_columns = n_columns;
    table->cells = g_array_new(FALSE, FALSE, sizeof(Cell));
    g_array_set_clear_func(table->cells, cell_clear);
    return table;
}

void hn_table_free(HnTable *table)
{
    g_array_unref(table->cells);
    g_free(table);
}

void hn_table_add(HnTable *table, const char *text, HnColour colour)
{
    Cell cell = {.text = hn_text_clean(text && *text ? text : "-"), .colour = colour};
    g_array_append_val(table->cells, cell);
}

void hn_table_take(HnTable *table, char *text, HnColour colour)
{
    hn_table_add(table, text, colour);
    g_free(text);
}

uint32_t hn_table_rows(const HnTable *table)
{
    return (table->cells->len + table->n_columns - 1) / table->n_columns;
}

static const Cell *cell_at(const HnTable *table, uint32_t row, uint32_t column)
{
    uint32_t index = row * table->n_columns + column;
    return index < table->cells->len ? &g_array_index(table->cells, Cell, index) : NULL;
}

/* Width of the line; dropped columns have width 0. */
static uint32_t total_columns(const uint32_t *widths, uint32_t n_columns)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < n_columns; i++)
        if (widths[i] > 0)
            total += widths[i] + (total > 0 ? GAP : 0);
    return total;
}

static void measure(const HnTable *table, uint32_t *widths)
{
    for (uint32_t i = 0; i < table->n_columns; i++) {
        widths[i] = hn_text_columns(table->columns[i].title);
        for (uint32_t row = 0; row < hn_table_rows(table); row++) {
            const Cell *cell = cell_at(table, row, i);
            if (cell)
                widths[i] = MAX(widths[i], hn_text_columns(cell->text));
        }
    }
}

/* Takes columns off the widest shrinkable column (the last of equals: names stand first) until the
 * line fits or nothing can give way. A minimum above `floor` counts as `floor`. */
static void shrink(const HnTable *table, uint32_t *widths, uint32_t width, uint32_t floor)
{
    while (total_columns(widths, table->n_columns) > width) {
        uint32_t widest = UINT32_MAX;
        for (uint32_t i = 0; i < table->n_columns; i++) {
            uint32_t min_columns = MIN(table->columns[i].min_columns, floor);
            bool can_shrink = min_columns > 0 && widths[i] > min_columns;
            if (can_shrink && (widest == UINT32_MAX || widths[i] >= widths[widest]))
                widest = i;
        }
        if (widest == UINT32_MAX)
            return;
        widths[widest]--;
    }
}

/* Removes the least important column; false if all that are left must stay. */
static bool drop_one(const HnTable *table, uint32_t *widths)
{
    uint32_t worst = UINT32_MAX;
    for (uint32_t i = 0; i < table->n_columns; i++)
        if (widths[i] > 0 && table->columns[i].rank > 0 &&
            (worst == UINT32_MAX || table->columns[i].rank > table->columns[worst].rank))
            worst = i;
    if (worst == UINT32_MAX)
        return false;
    widths[worst] = 0;
    return true;
}

/* What is dropped may make room for what was cut: each try begins with natural widths. */
static void fit(const HnTable *table, uint32_t *widths, uint32_t width)
{
    g_autofree uint32_t *natural = g_new(uint32_t, table->n_columns);
    measure(table, natural);
    for (;;) {
        memcpy(widths, natural, sizeof *widths * table->n_columns);
        if (width == 0)
            return;
        shrink(table, widths, width, UINT32_MAX);
        if (total_columns(widths, table->n_columns) <= width)
            return;
        if (!drop_one(table, natural)) {
            shrink(table, widths, width, LAST_RESORT);
            return;
        }
    }
}

static void append_cell(GString *line, const char *text, HnColour colour, uint32_t width,
                        const HnColumn *column, const HnStyle *style)
{
    bool is_number = column->is_number;
    g_autofree char *cut = (column->is_name ? hn_text_cut_middle : hn_text_cut)(text, width, style->is_utf8);
    g_autofree char *painted = hn_text_paint(cut, colour, style);
    int blanks = (int)(width - MIN(width, hn_text_columns(cut)));
    g_string_append_printf(line, "%*s%s%*s", is_number ? blanks : 0, "", painted,
                           is_number ? 0 : blanks, "");
}

static void append_line(GString *out, GString *line)
{
    while (line->len > 0 && line->str[line->len - 1] == ' ')
        g_string_truncate(line, line->len - 1);
    g_string_append_printf(out, "%s\n", line->str);
    g_string_truncate(line, 0);
}

char *hn_table_format(const HnTable *table, const HnStyle *style)
{
    g_autofree uint32_t *widths = g_new0(uint32_t, table->n_columns);
    g_autoptr(GString) line = g_string_new(NULL);
    GString *out = g_string_new(NULL);
    fit(table, widths, style->width);
    for (uint32_t row = 0; row <= hn_table_rows(table); row++) {
        bool is_first = true;
        for (uint32_t i = 0; i < table->n_columns; i++) {
            const Cell *cell = row > 0 ? cell_at(table, row - 1, i) : NULL;
            if (widths[i] == 0)
                continue;
            if (!is_first)
                g_string_append_printf(line, "%*s", GAP, "");
            is_first = false;
            append_cell(line,
                        row == 0 ? table->columns[i].title
                        : cell   ? cell->text
                                 : "",
                        row == 0 ? HN_COLOUR_BOLD
                        : cell   ? cell->colour
                                 : HN_COLOUR_NONE,
                        widths[i], &table->columns[i], style);
        }
        append_line(out, line);
    }
    return g_string_free(out, FALSE);
}
