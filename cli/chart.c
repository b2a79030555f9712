/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See chart.h. Coordinates are pixels of a fixed view box, which the page scales. Must not print or
 * read a clock.
 */
#include "chart.h"
#include "text.h"

#include <math.h>
#include <string.h>

#define WIDTH 560
#define HEIGHT 150
#define LEFT 48
#define TOP 10
#define BOTTOM 24
#define RIGHT 10
#define N_TIMES 4 /* labelled instants but the first */

/* A clock that was set back in between must not draw outside the frame. */
static double x_of(const HnChart *chart, int64_t unix_ms)
{
    int64_t first = chart->unix_ms[0], last = chart->unix_ms[chart->n_points - 1];
    if (last <= first)
        return LEFT;
    return LEFT + WIDTH * CLAMP((double)(unix_ms - first) / (double)(last - first), 0, 1);
}

/* 1, 2 or 5 times a power of ten, at least the value: axis labels are read, not measured. */
static double round_up(double value)
{
    double unit = 1;
    if (!(value > 0))
        return 1;
    while (unit < value)
        unit *= 10;
    while (unit / 10 >= value)
        unit /= 10;
    return value <= unit / 5 ? unit / 5 : value <= unit / 2 ? unit / 2 : unit;
}

static double top_of(const HnChart *chart)
{
    double top = 0;
    if (chart->max > 0)
        return chart->max;
    for (uint32_t i = 0; i < chart->n_lines; i++)
        for (uint32_t p = 0; p < chart->n_points; p++)
            if (chart->lines[i].values[p] > top)
                top = chart->lines[i].values[p];
    return round_up(top);
}

/* Hues far apart for neighbours: steps of the golden angle. */
static void append_colour(GString *out, guint colour)
{
    g_string_append_printf(out, "hsl(%u,70%%,38%%)", (210 + colour * 137) % 360);
}

void hn_chart_append_text(GString *out, const char *text)
{
    g_autofree char *clean = hn_text_clean(text ? text : "-");
    g_autofree char *escaped = g_markup_escape_text(clean, -1);
    g_string_append(out, escaped);
}

static void append_axes(GString *out, const HnChart *chart, double top)
{
    for (int i = 0; i <= 2; i++) {
        double y = TOP + HEIGHT * (1 - i / 2.0);
        g_string_append_printf(out,
                               "<line class=\"grid\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/>"
                               "<text class=\"right\" x=\"%d\" y=\"%.1f\">%.4g</text>\n",
                               LEFT, y, LEFT + WIDTH, y, LEFT - 5, y + 4, top * i / 2);
    }
    for (int i = 0; i <= N_TIMES; i++) {
        int64_t first = chart->unix_ms[0], last = chart->unix_ms[chart->n_points - 1];
        int64_t at = first + (last - first) * i / N_TIMES;
        g_autofree char *time = hn_text_time(at / 1000);
        const char *clock = strchr(time, ' '); /* the date stands above the page */
        g_string_append_printf(out, "<text class=\"%s\" x=\"%d\" y=\"%d\">",
                               i == 0         ? "left"
                               : i == N_TIMES ? "right"
                                              : "middle",
                               LEFT + WIDTH * i / N_TIMES, TOP + HEIGHT + 16);
        hn_chart_append_text(out, clock ? clock + 1 : time);
        g_string_append(out, "</text>\n");
        if (first == last)
            break;
    }
}

/* One polyline for each stretch without a gap; a point alone becomes a dot. */
static void append_line(GString *out, const HnChart *chart, const HnChartLine *line, double top)
{
    for (uint32_t p = 0; p < chart->n_points;) {
        uint32_t end = p;
        while (end < chart->n_points && isfinite(line->values[end]))
            end++;
        if (end == p) {
            p++;
            continue;
        }
        g_string_append(out, "<polyline fill=\"none\" stroke=\"");
        append_colour(out, line->colour);
        g_string_append_printf(out, "\"%s points=\"",
                               line->is_dashed ? " stroke-dasharray=\"4 3\"" : "");
        for (uint32_t i = p; i < end; i++) {
            double share = CLAMP(line->values[i] / top, 0, 1);
            g_string_append_printf(out, "%.1f,%.1f ", x_of(chart, chart->unix_ms[i]),
                                   TOP + HEIGHT * (1 - share));
        }
        if (end - p == 1) /* a line of no length, with round ends: a dot */
            g_string_append_printf(out, "%.1f,%.1f", x_of(chart, chart->unix_ms[p]),
                                   TOP + HEIGHT * (1 - CLAMP(line->values[p] / top, 0, 1)));
        g_string_append(out, "\"/>\n");
        p = end;
    }
}

static bool has_points(const HnChart *chart, const HnChartLine *line)
{
    for (uint32_t i = 0; i < chart->n_points; i++)
        if (isfinite(line->values[i]))
            return true;
    return false;
}

void hn_chart_append(GString *out, const HnChart *chart)
{
    g_string_append(out, "<figure><figcaption>");
    hn_chart_append_text(out, chart->title);
    g_string_append(out, " <small>");
    hn_chart_append_text(out, chart->unit);
    g_string_append(out, "</small></figcaption>\n");
    if (chart->n_points == 0) {
        g_string_append(out, "<p>Nothing was recorded.</p></figure>\n");
        return;
    }
    double top = top_of(chart);
    g_string_append_printf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\">\n", LEFT + WIDTH + RIGHT,
                           TOP + HEIGHT + BOTTOM);
    append_axes(out, chart, top);
    for (uint32_t i = 0; i < chart->n_marks; i++) {
        double x = x_of(chart, chart->marks_ms[i]);
        g_string_append_printf(
            out, "<line class=\"mark\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>\n", x, TOP, x,
            TOP + HEIGHT);
    }
    for (uint32_t i = 0; i < chart->n_lines; i++)
        append_line(out, chart, &chart->lines[i], top);
    g_string_append(out, "</svg>\n<p class=\"key\">");
    for (uint32_t i = 0; i < chart->n_lines; i++) {
        g_string_append(out, "<span style=\"color:");
        append_colour(out, chart->lines[i].colour);
        g_string_append_printf(out, "\">%s ", chart->lines[i].is_dashed ? "┄" : "━");
        hn_chart_append_text(out, chart->lines[i].label);
        g_string_append(out,
                        has_points(chart, &chart->lines[i]) ? "</span> " : ": not known</span> ");
    }
    if (chart->n_marks)
        g_string_append(out, "<span class=\"marks\">┆ re-homed</span>");
    g_string_append(out, "</p></figure>\n");
}
