/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Formatting for people, one function per quantity, so that a share looks the same in every table.
 *
 * Must not print.
 */
#include "text.h"

#include <string.h>

#define SECOND_MS 1000
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS (60 * MINUTE_MS)

char *hn_text_bytes(uint64_t bytes)
{
    static const char units[] = "KMGTPE";
    if (bytes < 1024)
        return g_strdup_printf("%" G_GUINT64_FORMAT, bytes);
    double value = (double)bytes / 1024;
    size_t unit = 0;
    /* 999.5 would print as "1000": the next unit reads better. */
    while (value >= 999.5 && unit + 1 < strlen(units)) {
        value /= 1024;
        unit++;
    }
    bool is_whole = value >= 99.5 || value == (double)(uint64_t)value;
    return g_strdup_printf(is_whole ? "%.0f%c" : "%.1f%c", value, units[unit]);
}

char *hn_text_permille(int64_t permille)
{
    if (permille < 0)
        return g_strdup("-");
    if (permille % 10 == 0 && permille >= 1000)
        return g_strdup_printf("%" G_GINT64_FORMAT "%%", permille / 10);
    return g_strdup_printf("%" G_GINT64_FORMAT ".%d%%", permille / 10, (int)(permille % 10));
}

char *hn_text_mcpu(uint64_t mcpu)
{
    return g_strdup_printf("%.2f", (double)mcpu / 1000);
}

char *hn_text_duration_ms(uint64_t ms)
{
    if (ms < SECOND_MS)
        return g_strdup_printf("%u ms", (unsigned)ms);
    if (ms < 10 * SECOND_MS)
        return g_strdup_printf("%.1f s", (double)ms / SECOND_MS);
    if (ms < 2 * MINUTE_MS)
        return g_strdup_printf("%.0f s", (double)ms / SECOND_MS);
    if (ms < 2 * HOUR_MS)
        return g_strdup_printf("%.1f min", (double)ms / MINUTE_MS);
    return g_strdup_printf("%.1f h", (double)ms / HOUR_MS);
}

char *hn_text_time(int64_t unix_s)
{
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_local(unix_s);
    return time ? g_date_time_format(time, "%F %T") : g_strdup("-");
}

char *hn_text_bar(uint32_t permille, uint32_t cells, bool is_utf8)
{
    GString *bar = g_string_new(NULL);
    uint32_t full = (uint32_t)(((uint64_t)MIN(permille, 1000) * cells + 500) / 1000);
    for (uint32_t i = 0; i < cells; i++)
        g_string_append(bar, i < full ? (is_utf8 ? "█" : "#") : (is_utf8 ? "░" : "."));
    return g_string_free(bar, FALSE);
}

char *hn_text_clean(const char *text)
{
    char *clean = g_utf8_make_valid(text, -1);
    for (char *at = clean; *at; at++)
        if (g_ascii_iscntrl(*at))
            *at = '?';
    /* The second control block (C1) is two bytes long in UTF-8: 0xC2 0x80 to 0xC2 0x9F. */
    for (unsigned char *at = (unsigned char *)clean; at[0]; at++)
        if (at[0] == 0xC2 && at[1] >= 0x80 && at[1] <= 0x9F)
            at[0] = at[1] = '?';
    return clean;
}

static uint32_t columns_of(gunichar character)
{
    if (g_unichar_iszerowidth(character))
        return 0;
    return g_unichar_iswide(character) ? 2 : 1;
}

uint32_t hn_text_columns(const char *text)
{
    uint32_t columns = 0;
    for (const char *at = text; *at; at = g_utf8_next_char(at))
        columns += columns_of(g_utf8_get_char(at));
    return columns;
}

char *hn_text_cut(const char *text, uint32_t columns, bool is_utf8)
{
    if (hn_text_columns(text) <= columns)
        return g_strdup(text);
    if (columns == 0)
        return g_strdup("");
    uint32_t used = 0;
    const char *at = text;
    while (*at && used + columns_of(g_utf8_get_char(at)) <= columns - 1) {
        used += columns_of(g_utf8_get_char(at));
        at = g_utf8_next_char(at);
    }
    g_autofree char *kept = g_strndup(text, (gsize)(at - text));
    return g_strconcat(kept, is_utf8 ? "…" : "~", NULL);
}

char *hn_text_cut_middle(const char *text, uint32_t columns, bool is_utf8)
{
    if (hn_text_columns(text) <= columns)
        return g_strdup(text);
    if (columns < 3)
        return hn_text_cut(text, columns, is_utf8);
    uint32_t head_columns = columns / 2, tail_columns = columns - 1 - head_columns, used = 0;
    const char *head_end = text, *tail = text + strlen(text);
    while (used + columns_of(g_utf8_get_char(head_end)) <= head_columns) {
        used += columns_of(g_utf8_get_char(head_end));
        head_end = g_utf8_next_char(head_end);
    }
    used = 0;
    for (const char *at = g_utf8_prev_char(tail);
         used + columns_of(g_utf8_get_char(at)) <= tail_columns; at = g_utf8_prev_char(at)) {
        used += columns_of(g_utf8_get_char(at));
        tail = at;
    }
    g_autofree char *head = g_strndup(text, (gsize)(head_end - text));
    return g_strconcat(head, is_utf8 ? "…" : "~", tail, NULL);
}

int hn_text_compare_names(const char *a, const char *b)
{
    if (!a || !b)
        return (a != NULL) - (b != NULL);
    return strverscmp(a, b);
}

char *hn_text_wrap(const char *text, uint32_t indent, uint32_t width)
{
    g_auto(GStrv) words = g_strsplit_set(text, " \n\t", -1);
    GString *wrapped = g_string_new(NULL);
    uint32_t used = 0;
    for (char **word = words; *word; word++) {
        uint32_t columns = hn_text_columns(*word);
        if (columns == 0)
            continue;
        bool is_first = used == 0;
        if (!is_first && width && used + 1 + columns > width) {
            g_string_append_c(wrapped, '\n');
            is_first = true;
        }
        if (is_first) {
            g_string_append_printf(wrapped, "%*s", (int)indent, "");
            used = indent;
        } else {
            g_string_append_c(wrapped, ' ');
            used++;
        }
        g_string_append(wrapped, *word);
        used += columns;
    }
    g_string_append_c(wrapped, '\n');
    return g_string_free(wrapped, FALSE);
}

char *hn_text_paint(const char *text, HnColour colour, const HnStyle *style)
{
    static const char *const codes[] = {"", "32", "33", "31", "2", "1"};
    if (!style->has_colour || colour == HN_COLOUR_NONE)
        return g_strdup(text);
    return g_strdup_printf("\033[%sm%s\033[0m", codes[colour], text);
}

HnColour hn_colour_of_share(int64_t permille)
{
    if (permille < 0)
        return HN_COLOUR_DIM;
    if (permille >= 980) /* what the daemon calls converged, by default */
        return HN_COLOUR_GOOD;
    return permille >= 700 ? HN_COLOUR_BUSY : HN_COLOUR_BAD;
}

HnColour hn_colour_of_status(const char *status)
{
    static const struct {
        const char *status;
        HnColour colour;
    } colours[] = {{"converged", HN_COLOUR_GOOD}, {"moving", HN_COLOUR_BUSY},
                   {"waiting", HN_COLOUR_BUSY},   {"advise", HN_COLOUR_BUSY},
                   {"held", HN_COLOUR_BUSY},      {"invalid", HN_COLOUR_BAD},
                   {"unmanaged", HN_COLOUR_DIM},  {"single-node", HN_COLOUR_DIM}};
    for (size_t i = 0; i < G_N_ELEMENTS(colours); i++)
        if (g_strcmp0(status, colours[i].status) == 0)
            return colours[i].colour;
    return HN_COLOUR_NONE;
}
