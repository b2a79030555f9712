/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing a captured machine; see capture.h. */
#include "observe/capture.h"
#include "observe/process.h"
#include "observe/regions.h"
#include "observe/text.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#define MAX_FILE_BYTES (64u << 20)
/* Mappings smaller than this are no guest RAM that anybody would place. */
#define MIN_MAPPING_BYTES ((uint64_t)1 << 20)

typedef struct {
    const HnRoot *root;
    const HnCaptureSink *sink;
    void *user_data;
    GError *error; /* the first that could not be written */
} Capture;

static void write_file(Capture *capture, const char *path, const char *text, size_t len)
{
    if (!capture->error)
        capture->sink->file(capture->user_data, path, text, len, &capture->error);
}

/* A line is kept if it begins, after blanks, with one of the words (NULL: all are kept). */
static bool is_wanted(HnText line, const char *const *words)
{
    hn_text_skip_blanks(&line);
    for (uint32_t i = 0; words[i]; i++)
        if (hn_text_take(&line, words[i]))
            return true;
    return false;
}

static void copy_lines(Capture *capture, const char *path, const char *const *words)
{
    g_autofree char *text = NULL;
    g_autoptr(GString) kept = NULL;
    HnText rest, line;
    size_t len;

    if (!hn_root_read(capture->root, path, MAX_FILE_BYTES, &text, &len, NULL))
        return;
    if (!words) {
        write_file(capture, path, text, len);
        return;
    }
    kept = g_string_new(NULL);
    rest = hn_text(text, len);
    while (hn_text_line(&rest, &line)) {
        if (!is_wanted(line, words))
            continue;
        g_string_append_len(kept, line.at, (gssize)hn_text_len(&line));
        g_string_append_c(kept, '\n');
    }
    write_file(capture, path, kept->str, kept->len);
}

static void copy(Capture *capture, const char *path)
{
    copy_lines(capture, path, NULL);
}

static void copy_in(Capture *capture, const char *dir, const char *const *names)
{
    for (uint32_t i = 0; names[i]; i++) {
        g_autofree char *path = g_strdup_printf("%s/%s", dir, names[i]);

        copy(capture, path);
    }
}

static void capture_node(Capture *capture, const char *dir)
{
    static const char *const files[] = {
        "cpulist",
        "distance",
        "meminfo",
        "access0/initiators/read_bandwidth",
        "access0/initiators/write_bandwidth",
        "access0/initiators/read_latency",
        "access1/initiators/read_bandwidth",
        "access1/initiators/write_bandwidth",
        "access1/initiators/read_latency",
        NULL,
    };
    static const char *const pool_files[] = {"nr_hugepages", "free_hugepages", NULL};
    g_autofree char *pools_dir = g_strdup_printf("%s/hugepages", dir);
    g_auto(GStrv) pools = hn_root_list(capture->root, pools_dir, NULL);

    copy_in(capture, dir, files);
    for (uint32_t i = 0; pools && pools[i]; i++) {
        g_autofree char *pool_dir = g_strdup_printf("%s/%s", pools_dir, pools[i]);

        copy_in(capture, pool_dir, pool_files);
    }
}

static void capture_host(Capture *capture)
{
    static const char *const node_files[] = {"online", "possible", "has_memory", "has_cpu", NULL};
    static const char *const cpu_files[] = {"online",   "possible",  "present",
                                            "isolated", "nohz_full", NULL};
    static const char *const topology_files[] = {"thread_siblings_list", "core_id",
                                                 "physical_package_id", NULL};
    static const char *const other_files[] = {
        "proc/meminfo",
        "proc/sys/kernel/numa_balancing",
        "proc/sys/kernel/osrelease",
        "proc/pressure/cpu",
        "proc/pressure/memory",
        "sys/kernel/mm/transparent_hugepage/enabled",
        "sys/kernel/mm/numa/demotion_enabled",
        "sys/fs/cgroup/cpuset.cpus.isolated",
        "sys/module/vhost/parameters/fork_from_owner_default",
        NULL,
    };
    static const char *const zone_words[] = {"Node ", "pages free", "min ", "low ",
                                             "high ", "managed ",   NULL};
    static const char *const stat_words[] = {"cpu", NULL};
    g_auto(GStrv) nodes = hn_root_list(capture->root, "sys/devices/system/node", NULL);
    g_auto(GStrv) cpus = hn_root_list(capture->root, "sys/devices/system/cpu", NULL);

    copy_in(capture, "sys/devices/system/node", node_files);
    for (uint32_t i = 0; nodes && nodes[i]; i++) {
        g_autofree char *dir = g_strdup_printf("sys/devices/system/node/%s", nodes[i]);

        if (g_str_has_prefix(nodes[i], "node") && g_ascii_isdigit(nodes[i][4]))
            capture_node(capture, dir);
    }
    copy_in(capture, "sys/devices/system/cpu", cpu_files);
    for (uint32_t i = 0; cpus && cpus[i]; i++) {
        g_autofree char *dir = g_strdup_printf("sys/devices/system/cpu/%s/topology", cpus[i]);

        if (g_str_has_prefix(cpus[i], "cpu") && g_ascii_isdigit(cpus[i][3]))
            copy_in(capture, dir, topology_files);
    }
    for (uint32_t i = 0; other_files[i]; i++)
        copy(capture, other_files[i]);
    copy_lines(capture, "proc/zoneinfo", zone_words);
    copy_lines(capture, "proc/stat", stat_words);
}

char *hn_capture_filter_cmdline(const char *text, size_t len, size_t *ret_len)
{
    static const char *const kept_options[] = {"-name", "-uuid", "-machine", "-accel",
                                               "-smp",  "-m",    "-numa"};
    GString *kept = g_string_new(NULL);
    HnText rest = hn_text(text, len);
    HnText argument;
    bool is_first = true, is_value = false;

    while (hn_text_until(&rest, '\0', &argument)) {
        bool is_option = false;

        for (size_t i = 0; i < G_N_ELEMENTS(kept_options); i++)
            is_option |= hn_text_equal(&argument, kept_options[i]);
        if (is_first || is_option || is_value) {
            g_string_append_len(kept, argument.at, (gssize)hn_text_len(&argument));
            g_string_append_c(kept, '\0');
        }
        is_first = false;
        is_value = is_option;
    }
    *ret_len = kept->len;
    return g_string_free(kept, FALSE);
}

/* One mapping's lines, kept if it is big enough and excluded from fork, as guest RAM is. */
static void flush_mapping(GString *kept, GString *block, const HnMapping *mapping,
                          GArray *kept_starts)
{
    if (mapping && mapping->is_dontcopy && mapping->end - mapping->start >= MIN_MAPPING_BYTES) {
        uint64_t start = mapping->start;

        g_string_append_len(kept, block->str, (gssize)block->len);
        g_array_append_val(kept_starts, start);
    }
    g_string_truncate(block, 0);
}

char *hn_capture_filter_smaps(const char *text, size_t len, GArray *kept_starts)
{
    static const char *const words[] = {
        "Rss:",           "KernelPageSize:", "AnonHugePages:", "ShmemPmdMapped:",
        "FilePmdMapped:", "Swap:",           "VmFlags:",       NULL,
    };
    g_autoptr(GArray) mappings = hn_smaps_parse(text, len, NULL);
    g_autoptr(GString) block = g_string_new(NULL);
    GString *kept = g_string_new(NULL);
    HnText rest = hn_text(text, len);
    HnText line;
    guint next = 0;

    while (mappings && hn_text_line(&rest, &line)) {
        bool is_header = !hn_text_is_empty(&line) && !g_ascii_isupper(*line.at);

        if (is_header) {
            flush_mapping(kept, block,
                          next > 0 ? &g_array_index(mappings, HnMapping, next - 1) : NULL,
                          kept_starts);
            next++;
        }
        if (is_header || is_wanted(line, words)) {
            g_string_append_len(block, line.at, (gssize)hn_text_len(&line));
            g_string_append_c(block, '\n');
        }
    }
    if (next > 0)
        flush_mapping(kept, block, &g_array_index(mappings, HnMapping, next - 1), kept_starts);
    return g_string_free(kept, FALSE);
}

static void capture_maps(Capture *capture, const char *dir)
{
    g_autoptr(GArray) starts = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    g_autofree char *smaps_path = g_strconcat(dir, "/smaps", NULL);
    g_autofree char *numa_path = g_strconcat(dir, "/numa_maps", NULL);
    g_autofree char *text = NULL;
    g_autofree char *kept = NULL;
    g_autoptr(GString) numa = g_string_new(NULL);
    HnText rest, line;
    size_t len;

    if (!hn_root_read(capture->root, smaps_path, MAX_FILE_BYTES, &text, &len, NULL))
        return;
    kept = hn_capture_filter_smaps(text, len, starts);
    write_file(capture, smaps_path, kept, strlen(kept));
    g_clear_pointer(&text, g_free);
    if (!hn_root_read(capture->root, numa_path, MAX_FILE_BYTES, &text, &len, NULL))
        return;
    rest = hn_text(text, len);
    while (hn_text_line(&rest, &line)) {
        HnText at = line;
        uint64_t start;
        bool is_kept = false;

        if (!hn_text_hex(&at, &start))
            continue;
        for (guint i = 0; i < starts->len; i++)
            is_kept |= g_array_index(starts, uint64_t, i) == start;
        if (!is_kept)
            continue;
        g_string_append_len(numa, line.at, (gssize)hn_text_len(&line));
        g_string_append_c(numa, '\n');
    }
    write_file(capture, numa_path, numa->str, numa->len);
}

/* Links to devices that tell how memory is held, and no others: they would name disks. */
static void capture_links(Capture *capture, const char *dir)
{
    g_autofree char *fd_dir = g_strconcat(dir, "/fd", NULL);
    g_auto(GStrv) names = hn_root_list(capture->root, fd_dir, NULL);

    for (uint32_t i = 0; names && names[i] && !capture->error; i++) {
        g_autofree char *path = g_strdup_printf("%s/%s", fd_dir, names[i]);
        g_autofree char *target = hn_root_read_link(capture->root, path, NULL);

        if (target && (g_str_has_prefix(target, "/dev/vfio") || g_str_equal(target, "/dev/iommu") ||
                       g_str_has_prefix(target, "/dev/vhost")))
            capture->sink->link(capture->user_data, path, target, &capture->error);
    }
}

static void capture_thread(Capture *capture, const char *dir)
{
    static const char *const files[] = {"comm", "stat", "schedstat", NULL};
    static const char *const sched_words[] = {"mm->numa", "numa_", "total_numa", "current_node",
                                              NULL};
    static const char *const status_words[] = {
        "Name:",  "Pid:",   "Threads:",           "VmLck:",
        "VmPin:", "VmRSS:", "Cpus_allowed_list:", "Mems_allowed_list:",
        NULL};
    g_autofree char *sched = g_strconcat(dir, "/sched", NULL);
    g_autofree char *status = g_strconcat(dir, "/status", NULL);

    copy_in(capture, dir, files);
    copy_lines(capture, sched, sched_words);
    copy_lines(capture, status, status_words);
}

static void capture_cgroup(Capture *capture, int64_t pid)
{
    static const char *const files[] = {"memory.numa_stat", "cpu.pressure", "memory.pressure",
                                        "cgroup.procs", NULL};
    static const char *const stat_words[] = {"anon ",     "file ", "shmem ",
                                             "anon_thp ", "numa_", NULL};
    g_autofree char *stat = NULL;
    HnCgroup cgroup = {0};

    if (!hn_cgroup_find(capture->root, pid, &cgroup, NULL))
        return;
    copy_in(capture, cgroup.dir, files);
    stat = g_strconcat(cgroup.dir, "/memory.stat", NULL);
    copy_lines(capture, stat, stat_words);
    hn_cgroup_clear(&cgroup);
}

static void capture_guest(Capture *capture, int64_t pid)
{
    g_autofree char *dir = g_strdup_printf("proc/%" G_GINT64_FORMAT, pid);
    g_autofree char *task_dir = g_strconcat(dir, "/task", NULL);
    g_autofree char *cmdline_path = g_strconcat(dir, "/cmdline", NULL);
    g_autofree char *cgroup_path = g_strconcat(dir, "/cgroup", NULL);
    g_autofree char *cmdline = NULL;
    g_autofree char *kept = NULL;
    g_auto(GStrv) tids = hn_root_list(capture->root, task_dir, NULL);
    size_t len, kept_len;

    if (!tids || !hn_root_read(capture->root, cmdline_path, MAX_FILE_BYTES, &cmdline, &len, NULL))
        return;
    kept = hn_capture_filter_cmdline(cmdline, len, &kept_len);
    write_file(capture, cmdline_path, kept, kept_len);
    copy(capture, cgroup_path);
    capture_thread(capture, dir);
    for (uint32_t i = 0; tids[i]; i++) {
        g_autofree char *thread_dir = g_strdup_printf("%s/%s", task_dir, tids[i]);

        capture_thread(capture, thread_dir);
    }
    capture_maps(capture, dir);
    capture_links(capture, dir);
    capture_cgroup(capture, pid);
}

bool hn_capture_to(const HnRoot *root, const HnCaptureSink *sink, void *user_data, const int64_t *pids,
                   uint32_t n_pids, GError **error)
{
    Capture capture = {.root = root, .sink = sink, .user_data = user_data};

    capture_host(&capture);
    for (uint32_t i = 0; i < n_pids && !capture.error; i++)
        capture_guest(&capture, pids[i]);
    if (!capture.error)
        return true;
    g_propagate_error(error, capture.error);
    return false;
}

/* ---- a directory as the sink ---- */

static bool make_parent(const char *full, GError **error)
{
    g_autofree char *dir = g_path_get_dirname(full);

    if (g_mkdir_with_parents(dir, 0755) == 0)
        return true;
    int saved_errno = errno;
    g_set_error(error, G_FILE_ERROR, (int)g_file_error_from_errno(saved_errno), "cannot make directory %s: %s",
                dir, g_strerror(saved_errno));
    return false;
}

static bool file_into_dir(void *out_dir, const char *path, const char *text, size_t len, GError **error)
{
    g_autofree char *full = g_build_filename(out_dir, path, NULL);

    return make_parent(full, error) && g_file_set_contents(full, text, (gssize)len, error);
}

static bool link_into_dir(void *out_dir, const char *path, const char *target, GError **error)
{
    g_autofree char *full = g_build_filename(out_dir, path, NULL);

    if (!make_parent(full, error))
        return false;
    if (symlink(target, full) == 0)
        return true;
    int saved_errno = errno;
    g_set_error(error, G_FILE_ERROR, (int)g_file_error_from_errno(saved_errno), "cannot make link %s: %s", full,
                g_strerror(saved_errno));
    return false;
}

bool hn_capture(const HnRoot *root, const char *out_dir, const int64_t *pids, uint32_t n_pids,
                GError **error)
{
    static const HnCaptureSink directory = {.file = file_into_dir, .link = link_into_dir};

    if (g_mkdir(out_dir, 0755) < 0 &&
        (errno != EEXIST || g_rmdir(out_dir) < 0 || g_mkdir(out_dir, 0755) < 0)) {
        int saved_errno = errno;

        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(saved_errno),
                    "cannot capture into %s (it must not exist yet, or be empty): %s", out_dir,
                    g_strerror(saved_errno));
        return false;
    }
    return hn_capture_to(root, &directory, (void *)out_dir, pids, n_pids, error);
}
