/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Process and thread files of /proc; see process.h.
 *
 * Names of threads and arguments are chosen by whoever started the process: they are compared,
 * never trusted beyond that. A thread that calls itself "CPU 0/KVM" can only be in a process whose
 * command line has been matched.
 */
#include "observe/process.h"
#include "observe/text.h"

#include <string.h>
#include <unistd.h>

#define MAX_STAT_BYTES 4096
#define MAX_STATUS_BYTES 65536
#define MAX_CGROUP_BYTES 65536

bool hn_task_stat_parse(const char *text, size_t len, HnTaskStat *ret_stat, GError **error)
{
    HnText line = hn_text(text, len);
    HnText whole = line;
    HnText word;
    HnTaskStat stat = {0};
    const char *close_paren;
    uint32_t field = 3;
    bool is_complete = false;

    /* The name in parentheses may contain anything, ") R 1" too: the last parenthesis ends it. */
    close_paren = len > 0 ? memrchr(text, ')', len) : NULL;
    if (!close_paren)
        return hn_text_fail(error, "stat", "no name", &whole);
    line.at = close_paren + 1;
    for (; !is_complete && hn_text_word(&line, &word); field++) {
        uint64_t value;
        int64_t cpu;
        bool is_good = true;

        switch (field) {
        case 3:
            stat.state = *word.at;
            break;
        case 20:
            is_good = hn_text_u32(&word, &stat.n_threads);
            break;
        case 22:
            is_good = hn_text_u64(&word, &stat.start_ticks);
            break;
        case 23:
            is_good = hn_text_u64(&word, &stat.vsize_bytes);
            break;
        case 39:
            is_good = hn_text_u64(&word, &value) && value < HN_MAX_CPUS;
            cpu = is_good ? (int64_t)value : -1;
            stat.last_cpu = (int32_t)cpu;
            is_complete = true;
            break;
        default:
            break;
        }
        if (!is_good)
            return hn_text_fail(error, "stat", "bad number", &word);
    }
    if (!is_complete)
        return hn_text_fail(error, "stat", "fewer than 39 fields", &whole);
    *ret_stat = stat;
    return true;
}

bool hn_schedstat_parse(const char *text, size_t len, uint64_t *ret_exec_ns,
                        uint64_t *ret_run_delay_ns, GError **error)
{
    HnText line = hn_text(text, len);
    HnText whole = line;
    uint64_t exec_ns, run_delay_ns;

    if (!hn_text_u64(&line, &exec_ns) || !hn_text_take(&line, " ") ||
        !hn_text_u64(&line, &run_delay_ns) || !hn_text_take(&line, " "))
        return hn_text_fail(error, "schedstat", "not three numbers", &whole);
    *ret_exec_ns = exec_ns;
    *ret_run_delay_ns = run_delay_ns;
    return true;
}

static bool parse_kib(HnText line, uint64_t *ret_bytes)
{
    uint64_t kib;

    hn_text_skip_blanks(&line);
    if (!hn_text_u64(&line, &kib) || kib > UINT64_MAX / 1024 || !hn_text_take(&line, " kB"))
        return false;
    *ret_bytes = kib * 1024;
    return true;
}

bool hn_task_status_parse(const char *text, size_t len, HnTaskStatus *ret_status, GError **error)
{
    HnText rest = hn_text(text, len);
    HnText line;
    HnTaskStatus status = {0};
    bool has_cpus = false;

    while (hn_text_line(&rest, &line)) {
        HnText whole = line;

        if (hn_text_take(&line, "Cpus_allowed_list:")) {
            if (!hn_cpuset_parse(line.at, hn_text_len(&line), &status.cpus_allowed, error))
                return false;
            has_cpus = true;
        } else if (hn_text_take(&line, "Mems_allowed_list:")) {
            if (!hn_cpuset_parse(line.at, hn_text_len(&line), &status.mems_allowed, error))
                return false;
        } else if (hn_text_take(&line, "VmLck:")) {
            if (!parse_kib(line, &status.locked_bytes))
                return hn_text_fail(error, "status", "not a size in kB", &whole);
        } else if (hn_text_take(&line, "VmPin:")) {
            if (!parse_kib(line, &status.pinned_bytes))
                return hn_text_fail(error, "status", "not a size in kB", &whole);
        }
    }
    if (!has_cpus) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX,
                    "status: no line Cpus_allowed_list");
        return false;
    }
    *ret_status = status;
    return true;
}

HnThreadKind hn_thread_classify(const char *name, size_t len, uint32_t *ret_id)
{
    HnText text = hn_text(name, len);
    HnText line;
    uint32_t id = 0;

    *ret_id = 0;
    if (!hn_text_line(&text, &line))
        return HN_THREAD_EMULATOR;
    text = line;
    if (hn_text_take(&text, "CPU ") && hn_text_u32(&text, &id) && hn_text_take(&text, "/") &&
        !hn_text_is_empty(&text)) {
        *ret_id = id;
        return HN_THREAD_VCPU;
    }
    if (hn_text_equal(&line, "ALL CPUs/TCG"))
        return HN_THREAD_ALL_VCPUS;
    text = line;
    if (hn_text_take(&text, "vhost-") && hn_text_u32(&text, &id) && hn_text_is_empty(&text))
        return HN_THREAD_VHOST;
    text = line;
    /* "IO mon_iothread" is QEMU's own monitor thread: it does no guest I/O. */
    if (hn_text_take(&text, "IO ") && !hn_text_is_empty(&text) &&
        !hn_text_equal(&text, "mon_iothread")) {
        while (!hn_text_is_empty(&text)) {
            if (hn_text_u32(&text, &id) && hn_text_is_empty(&text))
                *ret_id = id;
            else if (!hn_text_is_empty(&text))
                text.at++;
        }
        return HN_THREAD_IOTHREAD;
    }
    return HN_THREAD_EMULATOR;
}

/* QEMU doubles a comma inside an option's value: is the piece at the start of `value` exactly
 * `name`? */
static bool option_value_is(HnText value, const char *name)
{
    for (; *name != '\0'; name++) {
        if (hn_text_is_empty(&value) || *value.at != *name)
            return false;
        value.at++;
        if (*name == ',') {
            if (!hn_text_take(&value, ","))
                return false;
        }
    }
    return hn_text_is_empty(&value) ||
           (*value.at == ',' && (value.at + 1 == value.end || value.at[1] != ','));
}

/* -name NAME, -name NAME,process=…, -name guest=NAME,… , -name process=…,guest=NAME */
static bool name_option_matches(HnText value, const char *name)
{
    if (hn_text_take(&value, "guest="))
        return option_value_is(value, name);
    if (option_value_is(value, name))
        return true;
    while (!hn_text_is_empty(&value)) {
        if (hn_text_take(&value, ",,"))
            continue;
        if (hn_text_take(&value, ",guest="))
            return option_value_is(value, name);
        value.at++;
    }
    return false;
}

HnCmdlineMatch hn_cmdline_match(const char *text, size_t len, const char *name, const char *uuid)
{
    HnText rest = hn_text(text, len);
    HnText argument;
    bool is_first = true, is_qemu = false;
    bool is_name_next = false, is_uuid_next = false;
    bool has_identity = false;

    while (hn_text_until(&rest, '\0', &argument)) {
        if (is_first) {
            const char *slash = memrchr(argument.at, '/', hn_text_len(&argument));
            HnText base = argument;

            if (slash)
                base.at = slash + 1;
            /* "qemu-system-x86_64", "qemu-kvm", "kvm"; wrappers keep one of these words. */
            is_qemu = g_strstr_len(base.at, (gssize)hn_text_len(&base), "qemu") ||
                      hn_text_equal(&base, "kvm");
            is_first = false;
        } else if (is_name_next) {
            if (name_option_matches(argument, name))
                return is_qemu ? HN_CMDLINE_MATCH : HN_CMDLINE_OTHER;
            has_identity = true;
        } else if (is_uuid_next) {
            if (uuid && uuid[0] != '\0' && hn_text_len(&argument) == strlen(uuid) &&
                g_ascii_strncasecmp(argument.at, uuid, strlen(uuid)) == 0)
                return is_qemu ? HN_CMDLINE_MATCH : HN_CMDLINE_OTHER;
            has_identity = true;
        }
        is_name_next = hn_text_equal(&argument, "-name") || hn_text_equal(&argument, "--name");
        is_uuid_next = hn_text_equal(&argument, "-uuid") || hn_text_equal(&argument, "--uuid");
    }
    return is_qemu && !has_identity ? HN_CMDLINE_UNNAMED : HN_CMDLINE_OTHER;
}

void hn_cgroup_clear(HnCgroup *cgroup)
{
    g_clear_pointer(&cgroup->dir, g_free);
    cgroup->is_v2 = false;
    cgroup->is_machine = false;
}

/* "/…/machine-qemu.scope/libvirt/vcpu0" → "/…/machine-qemu.scope". Where libvirt made no child for
 * this controller (v1 memory), the path is the machine's already. */
static char *machine_path(HnText path, bool *ret_is_machine)
{
    const char *slash = memrchr(path.at, '/', hn_text_len(&path));
    HnText leaf = path;

    *ret_is_machine = false;
    if (slash) {
        leaf.at = slash + 1;
        if (hn_text_equal(&leaf, "emulator") || hn_text_take(&leaf, "vcpu") ||
            hn_text_take(&leaf, "iothread")) {
            *ret_is_machine = true;
            path.end = slash;
        }
    }
    if (hn_text_ends_with(&path, "/libvirt")) {
        path.end -= strlen("/libvirt");
        *ret_is_machine = true;
    }
    slash = memrchr(path.at, '/', hn_text_len(&path));
    leaf = (HnText){slash ? slash + 1 : path.at, path.end};
    /* machined's scope, or libvirt's own directory where there is no systemd. */
    if (hn_text_take(&leaf, "machine-qemu") || hn_text_ends_with(&leaf, ".libvirt-qemu"))
        *ret_is_machine = true;
    return hn_text_dup(&path);
}

bool hn_cgroup_parse(const char *text, size_t len, char **ret_v2, char **ret_v1_memory,
                     bool *ret_is_machine, GError **error)
{
    HnText rest = hn_text(text, len);
    HnText line;
    g_autofree char *v2 = NULL;
    g_autofree char *v1 = NULL;
    bool is_machine_v2 = false, is_machine_v1 = false;

    while (hn_text_line(&rest, &line)) {
        HnText whole = line;
        HnText number, controllers;

        if (!hn_text_until(&line, ':', &number) || !hn_text_until(&line, ':', &controllers) ||
            hn_text_is_empty(&line) || *line.at != '/')
            return hn_text_fail(error, "cgroup", "not ID:CONTROLLERS:/PATH", &whole);
        /* "..": the group lies outside our cgroup namespace; nothing below our mount shows it. */
        if (g_strstr_len(line.at, (gssize)hn_text_len(&line), "/.."))
            continue;
        if (hn_text_equal(&number, "0") && hn_text_is_empty(&controllers)) {
            g_free(v2);
            v2 = machine_path(line, &is_machine_v2);
        } else {
            HnText name;
            bool is_more = true;

            while (is_more) {
                is_more = hn_text_until(&controllers, ',', &name);
                if (!is_more)
                    name = controllers;
                if (hn_text_equal(&name, "memory")) {
                    g_free(v1);
                    v1 = machine_path(line, &is_machine_v1);
                }
            }
        }
    }
    *ret_is_machine = v1 ? is_machine_v1 : is_machine_v2;
    *ret_v2 = g_steal_pointer(&v2);
    *ret_v1_memory = g_steal_pointer(&v1);
    return true;
}

/* True if `dir` has the file of per-node memory counters, and takes it. */
static bool try_cgroup(const HnRoot *root, char *dir, bool is_v2, bool is_machine,
                       HnCgroup *ret_cgroup)
{
    g_autofree char *path = g_strconcat(dir, "/memory.numa_stat", NULL);

    if (!hn_root_exists(root, path)) {
        g_free(dir);
        return false;
    }
    *ret_cgroup = (HnCgroup){.dir = dir, .is_v2 = is_v2, .is_machine = is_machine};
    return true;
}

bool hn_cgroup_find(const HnRoot *root, int64_t pid, HnCgroup *ret_cgroup, GError **error)
{
    g_autofree char *path = g_strdup_printf("proc/%" G_GINT64_FORMAT "/cgroup", pid);
    g_autofree char *text = NULL;
    g_autofree char *v2 = NULL;
    g_autofree char *v1 = NULL;
    bool is_machine;
    size_t len;

    if (!hn_root_read(root, path, MAX_CGROUP_BYTES, &text, &len, error) ||
        !hn_cgroup_parse(text, len, &v2, &v1, &is_machine, error))
        return false;
    if (v1 && try_cgroup(root, g_strconcat("sys/fs/cgroup/memory", v1, NULL), false, is_machine,
                         ret_cgroup))
        return true;
    if (v2 &&
        try_cgroup(root, g_strconcat("sys/fs/cgroup", v2, NULL), true, is_machine, ret_cgroup))
        return true;
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT,
                "no memory.numa_stat in the control group of process %" G_GINT64_FORMAT
                " (v2 %s, v1 %s)",
                pid, v2 ? v2 : "none", v1 ? v1 : "none");
    return false;
}

bool hn_task_stat_read(const HnRoot *root, const char *dir, HnTaskStat *ret_stat, GError **error)
{
    g_autofree char *path = g_strconcat(dir, "/stat", NULL);
    g_autofree char *text = NULL;
    size_t len;

    return hn_root_read(root, path, MAX_STAT_BYTES, &text, &len, error) &&
           hn_task_stat_parse(text, len, ret_stat, error);
}

bool hn_task_status_read(const HnRoot *root, const char *dir, HnTaskStatus *ret_status,
                         GError **error)
{
    g_autofree char *path = g_strconcat(dir, "/status", NULL);
    g_autofree char *text = NULL;
    size_t len;

    return hn_root_read(root, path, MAX_STATUS_BYTES, &text, &len, error) &&
           hn_task_status_parse(text, len, ret_status, error);
}

uint64_t hn_ticks_to_ns(uint64_t ticks)
{
    uint64_t per_second = (uint64_t)sysconf(_SC_CLK_TCK);

    return ticks / per_second * G_GUINT64_CONSTANT(1000000000) +
           ticks % per_second * G_GUINT64_CONSTANT(1000000000) / per_second;
}
