/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Common ground of pins, fences and restores; see control.h.
 */
#include "control.h"

#include "observe/process.h"

#define MAX_FILE_BYTES 65536

HnEnd hn_end(HnReason reason, const char *format, ...)
{
    HnEnd end = {.reason = reason};
    va_list args;

    va_start(args, format);
    end.sentence = g_strdup_vprintf(format, args);
    va_end(args);
    return end;
}

HnEnd hn_end_of_error(const char *what, const GError *error)
{
    HnReason reason = HN_REASON_LIBVIRT_FAILED;

    if (error->domain == HN_BACKEND_ERROR) {
        switch ((HnBackendError)error->code) {
        case HN_BACKEND_ERROR_GONE:
            reason = HN_REASON_VANISHED;
            break;
        case HN_BACKEND_ERROR_BUSY:
            reason = HN_REASON_LIBVIRT_BUSY;
            break;
        case HN_BACKEND_ERROR_DISCONNECTED:
            reason = HN_REASON_LIBVIRT_GONE;
            break;
        case HN_BACKEND_ERROR_DENIED:
            reason = HN_REASON_PERMISSION_DENIED;
            break;
        case HN_BACKEND_ERROR_UNSUPPORTED:
            reason = HN_REASON_UNSUPPORTED;
            break;
        case HN_BACKEND_ERROR_FAILED:
            break;
        }
    }
    return hn_end(reason, "%s: %s", what, error->message);
}

HnEnd hn_control_open(const HnControl *control, const HnIdentity *identity, HnDomainInfo **ret_info)
{
    g_autoptr(HnDomainInfo) info = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *dir = g_strdup_printf("proc/%" G_GINT64_FORMAT, identity->pid);
    HnTaskStat stat;

    if (!control->backend->ops->get(control->backend, identity->uuid, &info, &error))
        return hn_end_of_error("asking for the domain", error);
    if (info->pid != 0 && info->pid != identity->pid)
        return hn_end(HN_REASON_VANISHED, "the domain was restarted: process %" G_GINT64_FORMAT " instead of "
                                          "%" G_GINT64_FORMAT,
                      info->pid, identity->pid);
    if (!hn_task_stat_read(control->root, dir, &stat, NULL) || stat.start_ticks != identity->start_ticks)
        return hn_end(HN_REASON_VANISHED, "process %" G_GINT64_FORMAT " has ended", identity->pid);
    if (info->job != HN_JOB_NONE)
        return hn_end(info->job == HN_JOB_MIGRATION ? HN_REASON_MIGRATING : HN_REASON_DOMAIN_BUSY,
                      "a %s of the domain is in progress",
                      info->job == HN_JOB_MIGRATION ? "migration" : "save, dump, snapshot or backup");
    info->pid = identity->pid; /* a back end that could not tell: now it is known */
    *ret_info = g_steal_pointer(&info);
    return (HnEnd){.reason = HN_REASON_DONE};
}

bool hn_control_read_list(const HnControl *control, const char *path, HnCpuset *ret_set, GError **error)
{
    g_autofree char *text = NULL;
    size_t len;

    return hn_root_read(control->root, path, MAX_FILE_BYTES, &text, &len, error) &&
           hn_cpuset_parse(text, len, ret_set, error);
}
