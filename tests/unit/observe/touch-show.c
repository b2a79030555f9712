/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Samples the page faults of a live QEMU's vCPU threads for some seconds and prints, per vCPU, what
 * was touched; or keeps the records of one vCPU for tests/fixtures/touch. For people.
 *
 *     touch-show [--tcg] [--mib STEP] [--raw FILE] PID SECONDS
 */
#include "observe/process.h"
#include "observe/touch-perf.h"

#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    GHashTable *counts; /* address / step → touches, writes in the upper half */
    uint64_t step_bytes;
} Histogram;

static void count(const HnTouch *touch, void *user_data)
{
    Histogram *histogram = user_data;
    gpointer key = GSIZE_TO_POINTER(touch->address / histogram->step_bytes);
    gsize value = GPOINTER_TO_SIZE(g_hash_table_lookup(histogram->counts, key));

    value += touch->is_write ? ((gsize)1 << 32) + 1 : 1;
    g_hash_table_insert(histogram->counts, key, GSIZE_TO_POINTER(value));
}

static gint compare(gconstpointer a, gconstpointer b)
{
    return (a > b) - (a < b);
}

static void print(uint32_t vcpu, const Histogram *histogram, const HnTouchTally *tally)
{
    GList *keys = g_list_sort(g_hash_table_get_keys(histogram->counts), compare);

    printf("vCPU %u: %" G_GUINT64_FORMAT " touches, %" G_GUINT64_FORMAT " lost, %" G_GUINT64_FORMAT
           " malformed\n",
           vcpu, tally->n_touches, tally->n_lost, tally->n_malformed);
    for (GList *at = keys; at; at = at->next) {
        gsize value = GPOINTER_TO_SIZE(g_hash_table_lookup(histogram->counts, at->data));

        printf("  0x%" G_GINT64_MODIFIER "x touches=%u writes=%u\n",
               GPOINTER_TO_SIZE(at->data) * histogram->step_bytes, (guint)(value & UINT32_MAX),
               (guint)(value >> 32));
    }
    g_list_free(keys);
}

/* The vCPU's thread of a process; 0: there is none. */
static int32_t find_thread(const HnRoot *root, int64_t pid, uint32_t vcpu)
{
    g_autofree char *dir = g_strdup_printf("proc/%" G_GINT64_FORMAT "/task", pid);
    g_auto(GStrv) names = hn_root_list(root, dir, NULL);

    for (uint32_t i = 0; names && names[i]; i++) {
        g_autofree char *path = g_strdup_printf("%s/%s/comm", dir, names[i]);
        g_autofree char *comm = NULL;
        uint32_t id;
        size_t len;

        if (hn_root_read(root, path, 64, &comm, &len, NULL) &&
            hn_thread_classify(comm, len, &id) == HN_THREAD_VCPU && id == vcpu)
            return (int32_t)g_ascii_strtoll(names[i], NULL, 10);
    }
    return 0;
}

int main(int argc, char **argv)
{
    gboolean is_tcg = FALSE;
    int step_mib = 2;
    g_autofree char *raw_path = NULL;
    const GOptionEntry entries[] = {
        {"tcg", 0, 0, G_OPTION_ARG_NONE, &is_tcg, "a guest without KVM", NULL},
        {"mib", 0, 0, G_OPTION_ARG_INT, &step_mib, "step of the addresses printed", "STEP"},
        {"raw", 0, 0, G_OPTION_ARG_FILENAME, &raw_path, "keep the last vCPU's records there",
         "FILE"},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("PID SECONDS");
    g_autoptr(GError) error = NULL;
    g_autoptr(HnRoot) root = hn_root_open("/", NULL);
    g_autoptr(GByteArray) buffer = g_byte_array_new();
    g_autoptr(GArray) rings = g_array_new(FALSE, TRUE, sizeof(HnPerfRing));
    const HnPerfOps *ops = hn_perf_ops_kernel();
    const HnTouchEvent *event;
    HnTouchFormat format;
    const char *problem;
    int32_t tid;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error) || argc != 3 || step_mib < 1) {
        fprintf(stderr, "touch-show: %s\n", error ? error->message : "PID and SECONDS are needed");
        return 2;
    }
    problem = hn_touch_format_read(root, !is_tcg, &event, &format);
    for (uint32_t i = 0;
         !problem && (tid = find_thread(root, g_ascii_strtoll(argv[1], NULL, 10), i)); i++) {
        HnPerfRing ring;
        int result = ops->open(ops->user_data, tid, format.id, 1, 64, &ring);

        if (result < 0)
            problem = hn_perf_impediment(-result);
        else
            g_array_append_val(rings, ring);
    }
    if (problem || rings->len == 0) {
        fprintf(stderr, "touch-show: %s\n",
                problem ? hn_touch_impediment_sentence(problem) : "no vCPU threads");
        return 1;
    }
    g_usleep((gulong)(g_ascii_strtod(argv[2], NULL) * 1e6));
    for (guint i = 0; i < rings->len; i++) {
        g_autoptr(GHashTable) counts = g_hash_table_new(NULL, NULL);
        Histogram histogram = {counts, (uint64_t)step_mib << 20};
        HnTouchTally tally = {0};

        hn_perf_ring_drain(&g_array_index(rings, HnPerfRing, i), &format, event, buffer, count,
                           &histogram, &tally);
        print(i, &histogram, &tally);
        ops->close(ops->user_data, &g_array_index(rings, HnPerfRing, i));
    }
    if (raw_path &&
        !g_file_set_contents(raw_path, (const char *)buffer->data, buffer->len, &error)) {
        fprintf(stderr, "touch-show: %s\n", error->message);
        return 1;
    }
    return 0;
}
