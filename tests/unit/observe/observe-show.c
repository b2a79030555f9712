/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Observes a machine once or several times and prints what was seen; captures it on demand. For
 * people, and for making tests/fixtures/hosts.
 *
 *     observe-show [--root DIR] [--rounds N] [--exact] [--capture OUT] DOMAINS.ini
 */
#include "machine.h"
#include "observe/capture.h"

#include <stdio.h>
#include <time.h>

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int main(int argc, char **argv)
{
    g_autofree char *root_dir = g_strdup("/");
    g_autofree char *out_dir = NULL;
    int n_rounds = 1;
    gboolean is_exact = FALSE;
    const GOptionEntry entries[] = {
        {"root", 0, 0, G_OPTION_ARG_FILENAME, &root_dir, "captured machine instead of this one",
         "DIR"},
        {"rounds", 0, 0, G_OPTION_ARG_INT, &n_rounds, "observe so often, 200 ms apart", "N"},
        {"exact", 0, 0, G_OPTION_ARG_NONE, &is_exact, "every page instead of samples", NULL},
        {"capture", 0, 0, G_OPTION_ARG_FILENAME, &out_dir, "write the machine there", "OUT"},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("DOMAINS.ini");
    g_autoptr(GError) error = NULL;
    g_autoptr(HnRoot) root = NULL;
    g_autoptr(HnObserver) observer = NULL;
    g_autoptr(GPtrArray) infos = NULL;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error) || argc != 2) {
        fprintf(stderr, "observe-show: %s\n",
                error ? error->message : "one file DOMAINS.ini is needed");
        return 2;
    }
    root = hn_root_open(root_dir, &error);
    infos = root ? machine_load_infos(argv[1], &error) : NULL;
    if (!infos) {
        fprintf(stderr, "observe-show: %s\n", error->message);
        return 1;
    }
    observer = hn_observer_new(root, NULL);
    for (int i = 0; i < n_rounds; i++) {
        HnObserveOptions options;
        g_autoptr(HnSnapshot) snapshot = NULL;
        g_autofree char *text = NULL;
        g_autoptr(GPtrArray) fresh = g_ptr_array_new();

        hn_observe_options_init(&options, now_ns());
        options.with_faults = true;
        for (guint k = 0; is_exact && k < infos->len; k++)
            g_ptr_array_add(fresh, ((HnDomainInfo *)g_ptr_array_index(infos, k))->uuid);
        g_ptr_array_add(fresh, NULL);
        options.fresh_uuids = (const char *const *)fresh->pdata;
        snapshot = hn_observer_observe(observer, infos, &options, &error);
        if (!snapshot) {
            fprintf(stderr, "observe-show: %s\n", error->message);
            return 1;
        }
        text = machine_format(snapshot, observer);
        printf("%s  observed in %.3f ms\n", text, (double)(now_ns() - options.now_ns) / 1e6);
        for (uint32_t node = 0; node < snapshot->host->n_nodes; node++)
            printf("  other load on node %d: %" G_GUINT64_FORMAT " mCPU\n",
                   snapshot->host->nodes[node].id, snapshot->host->nodes[node].other_load_mcpu);
        if (i + 1 < n_rounds)
            g_usleep(200000);
    }
    if (out_dir) {
        g_autofree int64_t *pids = g_new0(int64_t, infos->len + 1);

        for (guint i = 0; i < infos->len; i++)
            pids[i] = ((HnDomainInfo *)g_ptr_array_index(infos, i))->pid;
        if (!hn_capture(root, out_dir, pids, infos->len, &error)) {
            fprintf(stderr, "observe-show: %s\n", error->message);
            return 1;
        }
    }
    return 0;
}
