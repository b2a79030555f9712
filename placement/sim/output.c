/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Formats only; numbers are printed independently of the locale. */
#include "output.h"

#include <math.h>
#include <string.h>

#define MODEL_NOTE                                                                                 \
    "Model results, not measurements: the model reproduces published two-node runs within 3 % "    \
    "(bind, reverse, off) and 4 % (a second machine); above two nodes its error is unknown."

/* One number with text around it: "run %.1f s". g_ascii_formatd() takes the bare conversion only.
 */
static void append_number(GString *out, const char *format, double value)
{
    char number[G_ASCII_DTOSTR_BUF_SIZE], conversion[16];
    const char *begin = strchr(format, '%'), *end = strchr(begin, 'f') + 1;
    g_strlcpy(conversion, begin, MIN(sizeof conversion, (gsize)(end - begin) + 1));
    g_string_append_len(out, format, begin - format);
    g_string_append(out, g_ascii_formatd(number, sizeof number, conversion, value));
    g_string_append(out, end);
}

static const HnSimResult *find(const GPtrArray *results, const HnSimPolicy *policy)
{
    for (guint i = 0; i < results->len; i++) {
        const HnSimResult *result = results->pdata[i];
        if (result->policy == policy)
            return result;
    }
    return NULL;
}

bool hn_sim_score(const GPtrArray *results, const HnSimResult *result, double *ret_score)
{
    const HnSimResult *bind = find(results, &hn_sim_policy_bind);
    const HnSimResult *inverse = find(results, &hn_sim_policy_inverse);
    if (!bind || !inverse || bind->run_s <= 0 || inverse->run_s <= 0 || result->run_s <= 0 ||
        inverse->run_s - bind->run_s < 0.01 * bind->run_s)
        return false;
    *ret_score = (result->run_s - bind->run_s) / (inverse->run_s - bind->run_s);
    return true;
}

static const HnSimPoint *last_point(const HnSimResult *result)
{
    return result->series->len ? &g_array_index(result->series, HnSimPoint, result->series->len - 1)
                               : NULL;
}

char *hn_sim_format_table(const HnSimScenario *scenario, const GPtrArray *results)
{
    GString *out = g_string_new(NULL);
    g_string_append_printf(out, "%s\n\n", scenario->title ? scenario->title : "(no title)");
    /* 77 columns, for a terminal of 80. */
    g_string_append(
        out, "policy      run s  of bind  score bytes local access local re-homes moved MiB\n");
    const HnSimResult *bind = find(results, &hn_sim_policy_bind);
    for (guint i = 0; i < results->len; i++) {
        const HnSimResult *result = results->pdata[i];
        const HnSimPoint *last = last_point(result);
        double score;
        g_string_append_printf(out, "%-9s", result->policy->name);
        if (result->run_s > 0)
            append_number(out, "%8.1f", result->run_s);
        else
            g_string_append_printf(out, "%8s", "-");
        if (bind && bind->run_s > 0 && result->run_s > 0)
            append_number(out, "%9.3f", result->run_s / bind->run_s);
        else
            g_string_append_printf(out, "%9s", "-");
        if (hn_sim_score(results, result, &score))
            append_number(out, "%7.3f", score);
        else
            g_string_append_printf(out, "%7s", "-");
        append_number(out, "%10.1f %", last ? last->bytes_local * 100 : 0);
        append_number(out, "%11.1f %", last ? last->accesses_local * 100 : 0);
        g_string_append_printf(out, "%9u", result->n_rehomes);
        append_number(out, "%10.0f\n", result->moved_bytes / 1048576);
    }
    g_string_append(
        out, "\nLocality at the end. Score: 0 as good as hard binding, 1 as bad as all remote.\n"
             "Model results, not measurements: the model reproduces published two-node runs\n"
             "within 3 % (bind, reverse, off) and 4 % (a second machine); above two nodes its\n"
             "error is unknown.\n");
    return g_string_free(out, FALSE);
}

char *hn_sim_format_csv(const HnSimScenario *scenario, const GPtrArray *results)
{
    GString *out =
        g_string_new("# " MODEL_NOTE "\npolicy,at_s,bytes_local,accesses_local,moved_bytes\n");
    for (guint i = 0; i < results->len; i++) {
        const HnSimResult *result = results->pdata[i];
        for (guint p = 0; p < result->series->len; p++) {
            const HnSimPoint *point = &g_array_index(result->series, HnSimPoint, p);
            g_string_append(out, result->policy->name);
            append_number(out, ",%.1f", point->at_s);
            append_number(out, ",%.4f", point->bytes_local);
            append_number(out, ",%.4f", point->accesses_local);
            append_number(out, ",%.0f\n", point->moved_bytes);
        }
    }
    return g_string_free(out, FALSE);
}

static void append_json_string(GString *out, const char *text)
{
    g_string_append_c(out, '"');
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\')
            g_string_append_c(out, '\\');
        if ((unsigned char)*c < 0x20)
            g_string_append_printf(out, "\\u%04x", (unsigned)*c);
        else
            g_string_append_c(out, *c);
    }
    g_string_append_c(out, '"');
}

static void append_json_guest(GString *out, const HnSimScenario *scenario,
                              const HnSimGuestResult *guest)
{
    g_string_append(out, "{\"name\":");
    append_json_string(out, guest->name);
    if (guest->run_s >= 0)
        append_number(out, ",\"run-s\":%.2f", guest->run_s);
    else
        g_string_append(out, ",\"run-s\":null");
    append_number(out, ",\"bytes-local\":%.4f", guest->last_bytes_local);
    append_number(out, ",\"accesses-local\":%.4f", guest->last_accesses_local);
    append_number(out, ",\"mean-accesses-local\":%.4f", guest->accesses_local);
    if (guest->last_node == HN_NODE_NONE)
        g_string_append(out, ",\"node\":null");
    else
        g_string_append_printf(out, ",\"node\":%d", scenario->host->nodes[guest->last_node].id);
    g_string_append_printf(out, ",\"re-homes\":%u", guest->n_rehomes);
    if (guest->last_rehome_s >= 0)
        append_number(out, ",\"last-re-home-s\":%.1f", guest->last_rehome_s);
    else
        g_string_append(out, ",\"last-re-home-s\":null");
    append_number(out, ",\"moved-bytes\":%.0f}", guest->moved_bytes);
}

char *hn_sim_format_json(const HnSimScenario *scenario, const GPtrArray *results)
{
    GString *out = g_string_new("{\"schema\":1,\"title\":");
    append_json_string(out, scenario->title ? scenario->title : "");
    g_string_append(out, ",\"note\":");
    append_json_string(out, MODEL_NOTE);
    g_string_append(out, ",\"policies\":[");
    for (guint i = 0; i < results->len; i++) {
        const HnSimResult *result = results->pdata[i];
        double score;
        g_string_append_printf(out, "%s{\"policy\":\"%s\"", i ? "," : "", result->policy->name);
        if (result->run_s > 0)
            append_number(out, ",\"run-s\":%.2f", result->run_s);
        else
            g_string_append(out, ",\"run-s\":null");
        if (hn_sim_score(results, result, &score))
            append_number(out, ",\"score\":%.4f", score);
        else
            g_string_append(out, ",\"score\":null");
        g_string_append_printf(out, ",\"re-homes\":%u", result->n_rehomes);
        append_number(out, ",\"moved-bytes\":%.0f", result->moved_bytes);
        g_string_append(out, ",\"guests\":[");
        for (guint g = 0; g < result->guests->len; g++) {
            if (g)
                g_string_append_c(out, ',');
            append_json_guest(out, scenario, &g_array_index(result->guests, HnSimGuestResult, g));
        }
        g_string_append(out, "]}");
    }
    g_string_append(out, "]}\n");
    return g_string_free(out, FALSE);
}

#define PLOT_WIDTH 720
#define PLOT_HEIGHT 300
#define PLOT_LEFT 52
#define PLOT_TOP 40

static void append_svg_line(GString *out, const HnSimResult *result, double end_s,
                            const char *colour, guint index)
{
    g_string_append_printf(
        out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"", colour);
    for (guint p = 0; p < result->series->len; p++) {
        const HnSimPoint *point = &g_array_index(result->series, HnSimPoint, p);
        append_number(out, "%.1f,", PLOT_LEFT + point->at_s / end_s * PLOT_WIDTH);
        append_number(out, "%.1f ", PLOT_TOP + (1 - point->accesses_local) * PLOT_HEIGHT);
    }
    g_string_append_printf(out, "\"/>\n<text x=\"%u\" y=\"%d\" fill=\"%s\">%s</text>\n",
                           PLOT_LEFT + index * 95, PLOT_TOP + PLOT_HEIGHT + 52, colour,
                           result->policy->name);
}

char *hn_sim_format_svg(const HnSimScenario *scenario, const GPtrArray *results)
{
    static const char *const colours[] = {"#888888", "#d95f02", "#7570b3",
                                          "#1b9e77", "#e7298a", "#0b62c4"};
    GString *out = g_string_new(NULL);
    g_autofree char *title = g_markup_escape_text(scenario->title ? scenario->title : "", -1);
    double end_s = 1;
    for (guint i = 0; i < results->len; i++) {
        const HnSimPoint *last = last_point(results->pdata[i]);
        end_s = MAX(end_s, last ? last->at_s : 0);
    }
    g_string_append_printf(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
        "font-family=\"sans-serif\" font-size=\"13\">\n"
        "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n"
        "<text x=\"%d\" y=\"22\" font-size=\"15\">%s: accesses local over time (model)</text>\n",
        PLOT_WIDTH + PLOT_LEFT + 24, PLOT_HEIGHT + PLOT_TOP + 84, PLOT_LEFT, title);
    for (int tick = 0; tick <= 4; tick++) {
        int y = PLOT_TOP + PLOT_HEIGHT * (4 - tick) / 4, x = PLOT_LEFT + PLOT_WIDTH * tick / 4;
        g_string_append_printf(
            out,
            "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" stroke=\"#dddddd\"/>\n"
            "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%d %%</text>\n",
            PLOT_LEFT, y, PLOT_LEFT + PLOT_WIDTH, y, PLOT_LEFT - 6, y + 4, tick * 25);
        g_string_append_printf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", x,
                               PLOT_TOP + PLOT_HEIGHT + 20);
        append_number(out, "%.0f s</text>\n", end_s * tick / 4);
    }
    for (guint i = 0; i < results->len; i++)
        append_svg_line(out, results->pdata[i], end_s, colours[i % G_N_ELEMENTS(colours)], i);
    g_string_append_printf(
        out, "<text x=\"%d\" y=\"%d\" font-size=\"10\" fill=\"#555555\">%s</text>\n</svg>\n",
        PLOT_LEFT, PLOT_TOP + PLOT_HEIGHT + 74, MODEL_NOTE);
    return g_string_free(out, FALSE);
}
