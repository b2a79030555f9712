/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Throughput of the codec beside plain json-c on the same bytes, in one run:
 *     bench-qmp-codec FIXTURES/qmp
 *
 * Three streams: the recorded conversations (many small messages, as in daily use), the statistics
 * of 1,000 vCPUs (one message of 180,000 values), and a reply with one long text ("info mtree").
 * Both sides read them in 64 KiB pieces, as the client does. Rounds alternate between the two, and
 * the median of the rounds' ratios counts, so that whatever else the machine does falls on both.
 *
 * Fails if the codec, which validates UTF-8 and enforces limits besides, is below 80 % of plain
 * json-c.
 */
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "qmp/codec.h"

#define PIECE_BYTES 65536
#define ROUNDS 15
#define WANTED_PERCENT 80

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static guint read_by_codec(const GString *stream)
{
    g_autoptr(HnQmpCodec) codec = hn_qmp_codec_new(&hn_qmp_limits_monitor);
    guint messages = 0;

    for (size_t pos = 0; pos < stream->len;) {
        g_autoptr(GError) error = NULL;
        json_object *message = NULL;
        size_t used = 0;

        if (hn_qmp_codec_feed(codec, stream->str + pos, MIN(PIECE_BYTES, stream->len - pos), &used,
                              &message, &error) == HN_QMP_GOT_MESSAGE) {
            json_object_put(message);
            messages++;
        }
        g_assert_no_error(error);
        pos += used;
    }
    return messages;
}

static guint read_by_json_c(const GString *stream)
{
    json_tokener *tokener = json_tokener_new_ex(128);
    guint messages = 0;

    for (size_t pos = 0; pos < stream->len;) {
        json_object *message = json_tokener_parse_ex(tokener, stream->str + pos,
                                                     (int)MIN(PIECE_BYTES, stream->len - pos));

        pos += json_tokener_get_parse_end(tokener);
        if (message) {
            json_object_put(message);
            messages++;
        } else {
            g_assert_cmpint(json_tokener_get_error(tokener), ==, json_tokener_continue);
        }
    }
    json_tokener_free(tokener);
    return messages;
}

/* ---- the streams ---- */

static GString *recorded(const char *fixtures)
{
    static const char *const files[] = {"7.2/kvm",  "7.2/tcg",  "10.0/kvm",
                                        "10.0/tcg", "11.1/kvm", "11.1/tcg"};
    GString *all = g_string_new(NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_strdup_printf("%s/%s.conversation", fixtures, files[i]);
        g_autofree char *text = NULL;
        g_auto(GStrv) lines = NULL;
        g_autoptr(GError) error = NULL;

        g_file_get_contents(path, &text, NULL, &error);
        g_assert_no_error(error);
        lines = g_strsplit(text, "\n", -1);
        for (char **line = lines; *line; line++) {
            if (g_str_has_prefix(*line, "<- "))
                g_string_append_printf(all, "%s\r\n", *line + 3);
        }
    }
    while (all->len < 4 << 20) {
        g_autofree char *copy = g_strdup(all->str);

        g_string_append(all, copy);
    }
    return all;
}

static GString *statistics(void)
{
    GString *all = g_string_new("{\"return\": [");

    for (guint cpu = 0; cpu < 1000; cpu++) {
        g_string_append_printf(all, "%s{\"provider\": \"kvm\", \"stats\": [", cpu ? ", " : "");
        for (guint i = 0; i < 60; i++)
            g_string_append_printf(all, "%s{\"name\": \"statistic_%u\", \"value\": %u}",
                                   i ? ", " : "", i, cpu * 977 * i);
        g_string_append_printf(all, "], \"qom-path\": \"/machine/unattached/device[%u]\"}", cpu);
    }
    g_string_append(all, "], \"id\": 1}\r\n");
    return all;
}

static GString *long_text(void)
{
    GString *all = g_string_new("{\"return\": \"");

    while (all->len < 8 << 20)
        g_string_append(all,
                        "    0000000000000000-0000000003ffffff (prio 0, ram): ram-node0 KVM\\r\\n");
    g_string_append(all, "\", \"id\": 1}\r\n");
    return all;
}

/* ---- */

static gint compare(gconstpointer a, gconstpointer b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof *values, compare);
    return values[ROUNDS / 2];
}

static gboolean measure(const char *name, GString *stream)
{
    double ours[ROUNDS], plain[ROUNDS], ratio[ROUNDS];
    double mb = (double)stream->len / 1e6, percent;
    guint messages = 0;

    for (guint i = 0; i < ROUNDS; i++) {
        double start = cpu_seconds(), middle;

        messages = read_by_codec(stream);
        middle = cpu_seconds();
        g_assert_cmpuint(read_by_json_c(stream), ==, messages);
        ours[i] = mb / (middle - start);
        plain[i] = mb / (cpu_seconds() - middle);
        ratio[i] = ours[i] / plain[i];
    }
    percent = 100 * median(ratio);
    printf("%-12s %6.1f MB, %6u messages: codec %6.1f MB/s, json-c %6.1f MB/s, %3.0f %%\n", name,
           mb, messages, median(ours), median(plain), percent);
    g_string_free(stream, TRUE);
    return percent >= WANTED_PERCENT;
}

int main(int argc, char **argv)
{
    gboolean is_ok;

    if (argc != 2)
        g_error("usage: %s FIXTURES/qmp", argv[0]);
    is_ok = measure("recorded", recorded(argv[1]));
    is_ok &= measure("statistics", statistics());
    is_ok &= measure("long text", long_text());
    if (!is_ok)
        printf("below %d %% of plain json-c\n", WANTED_PERCENT);
    return is_ok ? 0 : 1;
}
