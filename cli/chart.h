/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Line charts over time as inline SVG. Pure: numbers in, markup out; every label is escaped here.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const char *label;
    guint colour; /* counted from 0; lines of a chart that belong together share it */
    bool is_dashed;
    const double *values; /* [n_points]; NaN: a gap */
} HnChartLine;

typedef struct {
    const char *title;
    const char *unit; /* of the values: "%", "GiB" */
    uint32_t n_points;
    const int64_t *unix_ms; /* [n_points], ascending */
    const HnChartLine *lines;
    uint32_t n_lines;
    double max;              /* top of the value axis; 0: as the values need */
    const int64_t *marks_ms; /* vertical lines, for what happened then */
    uint32_t n_marks;
} HnChart;

/* Appends <figure>…</figure>. */
void hn_chart_append(GString *out, const HnChart *chart);
/* Text as HTML shows it: control characters replaced, markup escaped. NULL: a dash. */
void hn_chart_append_text(GString *out, const char *text);
