/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Undo; see restore.h.
 */
#include "restore.h"

#include "fence.h"
#include "journal-private.h"
#include "observe/process.h"

#include <errno.h>

/* What is in force for a piece; false: the back end no longer knows it (unplugged). */
static bool current_pin(const HnDomainInfo *info, const HnPiece *piece, bool *ret_has, HnCpuset *ret_pin)
{
    switch (piece->kind) {
    case HN_PIECE_VCPU:
        for (guint i = 0; i < info->vcpus->len; i++) {
            const HnVcpuInfo *vcpu = &g_array_index(info->vcpus, HnVcpuInfo, i);

            if (vcpu->id == piece->id) {
                *ret_has = vcpu->has_pin;
                *ret_pin = vcpu->pin;
                return true;
            }
        }
        return false;
    case HN_PIECE_IOTHREAD:
        for (guint i = 0; i < info->iothreads->len; i++) {
            const HnIothreadInfo *iothread = &g_array_index(info->iothreads, HnIothreadInfo, i);

            if (iothread->id == piece->id) {
                *ret_has = iothread->has_pin;
                *ret_pin = iothread->pin;
                return true;
            }
        }
        return false;
    case HN_PIECE_EMULATOR:
        *ret_has = info->has_emulator_pin;
        *ret_pin = info->emulator_pin;
        return true;
    default:
        *ret_has = info->numatune_mode != HN_NUMATUNE_NONE;
        *ret_pin = info->numatune_nodes;
        return true;
    }
}

/* All online CPUs that the domain's cpuset allows. */
static bool unpinned_set(const HnControl *control, const HnJournalEntry *entry, HnCpuset *ret_cpus, GError **error)
{
    if (!hn_control_read_list(control, "sys/devices/system/cpu/online", ret_cpus, error))
        return false;
    if (entry->has_allowed && hn_cpuset_intersects(ret_cpus, &entry->allowed))
        hn_cpuset_and(ret_cpus, &entry->allowed);
    return true;
}

static HnEnd restore_vhost(const HnControl *control, const HnPiece *piece)
{
    g_autofree char *dir = g_strdup_printf("proc/%u", piece->id);
    const HnSyscalls *sys = control->sys;
    HnTaskStat stat;
    HnCpuset is;

    if (!hn_task_stat_read(control->root, dir, &stat, NULL) || stat.start_ticks != piece->start_ticks ||
        sys->sched_getaffinity(sys->user_data, (int32_t)piece->id, &is) < 0 || !hn_piece_owns(piece, &is))
        return (HnEnd){.reason = HN_REASON_RELEASED}; /* ended, or changed by somebody else */
    if (sys->sched_setaffinity(sys->user_data, (int32_t)piece->id, &piece->original) == 0 || errno == ESRCH)
        return (HnEnd){.reason = HN_REASON_RELEASED};
    return hn_end(errno == EPERM ? HN_REASON_PERMISSION_DENIED : HN_REASON_KERNEL_REFUSED,
                  "sched_setaffinity of vhost thread %u: %s", piece->id, g_strerror(errno));
}

static HnEnd restore_piece(const HnControl *control, const HnDomainInfo *info, const HnJournalEntry *entry,
                           const HnPiece *piece)
{
    const HnBackendOps *ops = control->backend->ops;
    g_autoptr(GError) error = NULL;
    HnCpuset is, shall = piece->original;
    bool has, is_good;

    if (piece->is_yielded || !piece->has_set)
        return (HnEnd){.reason = HN_REASON_RELEASED};
    if (piece->kind == HN_PIECE_VHOST)
        return restore_vhost(control, piece);
    /* Only what is still as we set it: anything else is the admin's, or was never changed (the daemon died
     * between writing it down and doing it). */
    if (!current_pin(info, piece, &has, &is) || !has || !hn_piece_owns(piece, &is))
        return (HnEnd){.reason = HN_REASON_RELEASED};
    if (piece->kind == HN_PIECE_NODESET)
        is_good = hn_fence_open_set(control, piece, &shall, &error);
    else
        is_good = piece->has_original || unpinned_set(control, entry, &shall, &error);
    if (!is_good)
        return hn_end(HN_REASON_KERNEL_REFUSED, "cannot tell what to restore: %s", error->message);
    if (hn_cpuset_equal(&is, &shall))
        return (HnEnd){.reason = HN_REASON_RELEASED};
    switch (piece->kind) {
    case HN_PIECE_VCPU:
        is_good = ops->pin_vcpu(control->backend, entry->uuid, piece->id, &shall, &error);
        break;
    case HN_PIECE_EMULATOR:
        is_good = ops->pin_emulator(control->backend, entry->uuid, &shall, &error);
        break;
    case HN_PIECE_IOTHREAD:
        is_good = ops->pin_iothread(control->backend, entry->uuid, piece->id, &shall, &error);
        break;
    default:
        is_good = ops->set_nodeset(control->backend, entry->uuid, &shall, &error);
        break;
    }
    if (is_good)
        return (HnEnd){.reason = HN_REASON_RELEASED};
    {
        g_autofree char *doing =
            g_strdup_printf("restoring %s %u", hn_piece_kind_name(piece->kind), piece->id);

        return hn_end_of_error(doing, error);
    }
}

/* What began since we pinned its creator has our pin from there, and is in no journal. As a piece: *ret_piece. */
static bool is_inherited(const HnJournalEntry *entry, HnPieceKind kind, uint32_t id, bool has_pin, const HnCpuset *pin,
                         HnPiece *ret_piece)
{
    const HnPiece *creator = hn_journal_entry_piece(entry, HN_PIECE_EMULATOR, 0);

    if (!has_pin || !creator || !creator->has_set || creator->is_yielded || !hn_piece_owns(creator, pin) ||
        hn_journal_entry_piece(entry, kind, id))
        return false;
    *ret_piece = *creator;
    ret_piece->kind = kind;
    ret_piece->id = id;
    return true;
}

/* Bare QEMUs only: libvirt pins what it plugs in. The first thing that went wrong. */
static HnEnd restore_inherited(const HnControl *control, const HnDomainInfo *info, const HnJournalEntry *entry)
{
    HnEnd end = {.reason = HN_REASON_RELEASED};
    HnPiece piece;

    for (guint i = 0; info->is_bare_qemu && end.reason == HN_REASON_RELEASED && i < info->vcpus->len; i++) {
        const HnVcpuInfo *vcpu = &g_array_index(info->vcpus, HnVcpuInfo, i);

        if (is_inherited(entry, HN_PIECE_VCPU, vcpu->id, vcpu->has_pin, &vcpu->pin, &piece))
            end = restore_piece(control, info, entry, &piece);
    }
    for (guint i = 0; info->is_bare_qemu && end.reason == HN_REASON_RELEASED && i < info->iothreads->len; i++) {
        const HnIothreadInfo *iothread = &g_array_index(info->iothreads, HnIothreadInfo, i);

        if (is_inherited(entry, HN_PIECE_IOTHREAD, iothread->id, iothread->has_pin, &iothread->pin, &piece))
            end = restore_piece(control, info, entry, &piece);
    }
    return end;
}

static HnEnd forget(const HnControl *control, const char *uuid, HnReason reason, const char *sentence)
{
    g_autoptr(GError) error = NULL;

    if (!hn_journal_forget(control->journal, uuid, &error))
        return hn_end(HN_REASON_KERNEL_REFUSED, "%s", error->message);
    return hn_end(reason, "%s", sentence);
}

/* Is the domain that the back end has now the one of the entry? */
static bool is_same(const HnControl *control, const HnJournalEntry *entry, const HnDomainInfo *info)
{
    g_autofree char *dir = g_strdup_printf("proc/%" G_GINT64_FORMAT, entry->pid);
    HnTaskStat stat;

    return (info->pid == 0 || info->pid == entry->pid) &&
           hn_task_stat_read(control->root, dir, &stat, NULL) && stat.start_ticks == entry->start_ticks;
}

HnEnd hn_restore(const HnControl *control, const char *uuid)
{
    g_autoptr(HnJournalEntry) entry = hn_journal_get(control->journal, uuid);
    g_autoptr(HnDomainInfo) info = NULL;
    g_autoptr(GError) error = NULL;
    HnEnd first = {.reason = HN_REASON_RELEASED};
    bool keeps_emulator;

    if (!entry || entry->pieces->len == 0)
        return forget(control, uuid, HN_REASON_RELEASED, "nothing was changed");
    if (!control->backend->ops->get(control->backend, uuid, &info, &error)) {
        if (g_error_matches(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_GONE))
            return forget(control, uuid, HN_REASON_VANISHED, "the domain has ended: nothing to restore");
        return hn_end_of_error("asking for the domain", error);
    }
    if (!is_same(control, entry, info))
        return forget(control, uuid, HN_REASON_VANISHED, "the domain was restarted: nothing to restore");
    first = restore_inherited(control, info, entry);
    /* The next try must still find whose pin it is that they have. */
    keeps_emulator = first.reason != HN_REASON_RELEASED;
    for (guint i = 0; i < entry->pieces->len; i++) {
        const HnPiece *piece = &g_array_index(entry->pieces, HnPiece, i);
        HnEnd end = restore_piece(control, info, entry, piece);

        if (end.reason == HN_REASON_RELEASED && !(keeps_emulator && piece->kind == HN_PIECE_EMULATOR))
            hn_journal_restored(control->journal, uuid, piece->kind, piece->id, NULL);
        if (end.reason != HN_REASON_RELEASED && first.reason == HN_REASON_RELEASED)
            first = end;
        else
            g_free(end.sentence);
    }
    if (first.reason == HN_REASON_VANISHED) {
        g_free(first.sentence);
        return forget(control, uuid, HN_REASON_VANISHED, "the domain ended meanwhile: nothing to restore");
    }
    if (first.reason != HN_REASON_RELEASED)
        return first;
    return forget(control, uuid, HN_REASON_RELEASED, "pins and nodeset are as they were before");
}
