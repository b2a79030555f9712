/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pins; see pin.h.
 */
#include "pin.h"

#include "journal-private.h"
#include "observe/process.h"

#include <errno.h>
#include <string.h>

#define MAX_FILE_BYTES 4096

/* One piece on its way from "is" to "shall". */
typedef struct {
    HnPiece piece; /* kind, id, original as of now, set = what it shall be */
    int32_t tid;
} Wanted;

typedef struct {
    const HnControl *control;
    const HnPinRequest *request;
    const HnDomainInfo *info;
    GArray *wanted;         /* Wanted */
    guint n_admin;          /* the admin's, known to the plan */
    GString *conflicts;     /* the admin's, new to the plan */
    bool is_constraint_empty;
} Work;

void hn_pin_request_clear(HnPinRequest *request)
{
    if (request->threads)
        g_array_unref(request->threads);
    request->threads = NULL;
}

static char *describe(HnPieceKind kind, uint32_t id)
{
    switch (kind) {
    case HN_PIECE_VCPU:
        return g_strdup_printf("vCPU %u", id);
    case HN_PIECE_IOTHREAD:
        return g_strdup_printf("iothread %u", id);
    case HN_PIECE_VHOST:
        return g_strdup_printf("vhost thread %u", id);
    default:
        return g_strdup("the emulator");
    }
}

static const HnPinThread *find_thread(const HnPinRequest *request, HnPieceKind kind, uint32_t id)
{
    for (guint i = 0; i < request->threads->len; i++) {
        const HnPinThread *thread = &g_array_index(request->threads, HnPinThread, i);

        if (thread->kind == kind && thread->id == id)
            return thread;
    }
    return NULL;
}

static void add_conflict(Work *work, HnPieceKind kind, uint32_t id, const HnCpuset *is)
{
    g_autofree char *what = describe(kind, id);
    g_autofree char *cpus = hn_cpuset_format(is);

    g_string_append_printf(work->conflicts, "%s%s is pinned to %s by the admin", work->conflicts->len ? ", " : "",
                           what, cpus);
}

/* Is the affinity in force within the set? Unknown threads: yes. */
static bool is_affinity_within(const Work *work, int32_t tid, const HnCpuset *cpus, HnCpuset *ret_is)
{
    const HnSyscalls *sys = work->control->sys;

    if (tid <= 0 || sys->sched_getaffinity(sys->user_data, tid, ret_is) < 0)
        return true; /* it ended meanwhile, or was never known: nothing to verify */
    return !hn_cpuset_is_empty(ret_is) && hn_cpuset_is_subset(ret_is, cpus);
}

/* Decides about one piece that is pinned through the back end. */
static void consider(Work *work, HnPieceKind kind, uint32_t id, bool has_pin, const HnCpuset *pin)
{
    const HnPinThread *thread = find_thread(work->request, kind, id);
    const bool is_known = thread && thread->is_admin_pinned;
    const char *uuid = work->request->identity.uuid;
    Wanted wanted = {.tid = thread ? thread->tid : 0};
    HnPiece old;
    const bool is_old = hn_journal_lookup(work->control->journal, uuid, kind, id, &old);
    HnPiece creator;
    HnCpuset is;

    if (!is_old && work->info->is_bare_qemu && kind != HN_PIECE_EMULATOR && has_pin &&
        hn_journal_lookup(work->control->journal, uuid, HN_PIECE_EMULATOR, 0, &creator) &&
        !creator.is_yielded && hn_piece_owns(&creator, pin)) {
        /* It began since we pinned its creator, and has our pin from there: none of its own. */
        has_pin = creator.has_original;
        pin = &creator.original;
    }

    if (is_old && !old.is_yielded && has_pin && !hn_piece_owns(&old, pin) &&
        !(old.has_original && hn_cpuset_equal(&old.original, pin))) {
        /* Changed behind our back, for instance while libvirtd was away: no event told. */
        hn_journal_yield(work->control->journal, uuid, kind, id);
        old.is_yielded = true;
    }
    if (is_old && old.is_yielded) {
        /* One the plan did not know of stops it only if it leads away from the wanted CPUs: a pin that merely
         * says less than ours, or a piece that ended since, is no reason to leave the others without a home. */
        if (is_known || !has_pin || hn_cpuset_intersects(pin, &work->request->cpus))
            work->n_admin++;
        else
            add_conflict(work, kind, id, pin);
        return;
    }
    wanted.piece = (HnPiece){.kind = kind, .id = id, .has_original = has_pin, .set = work->request->cpus};
    if (has_pin)
        wanted.piece.original = *pin;
    if (is_old) {
        wanted.piece.has_original = old.has_original, wanted.piece.original = old.original;
        wanted.piece.has_previous = has_pin && hn_piece_owns(&old, pin);
        if (wanted.piece.has_previous)
            wanted.piece.previous = *pin;
    }
    if (wanted.piece.has_original)
        hn_cpuset_and(&wanted.piece.set, &wanted.piece.original);
    else if (work->info->has_default_cpuset)
        hn_cpuset_and(&wanted.piece.set, &work->info->default_cpuset);
    if (hn_cpuset_is_empty(&wanted.piece.set)) {
        if (is_known)
            work->n_admin++;
        else if (wanted.piece.has_original)
            add_conflict(work, kind, id, &wanted.piece.original);
        else
            work->is_constraint_empty = true;
        return;
    }
    if (has_pin && hn_cpuset_equal(pin, &wanted.piece.set) &&
        is_affinity_within(work, wanted.tid, &wanted.piece.set, &is))
        return;
    g_array_append_val(work->wanted, wanted);
}

/* Is this still a vhost thread? Kernel threads are not in QEMU's thread group, so the name is what there is. */
static bool is_vhost(const HnControl *control, int32_t tid, uint64_t *ret_start_ticks)
{
    g_autofree char *dir = g_strdup_printf("proc/%" G_GINT32_FORMAT, tid);
    g_autofree char *path = g_strdup_printf("%s/comm", dir);
    g_autofree char *name = NULL;
    HnTaskStat stat;

    if (!hn_root_read(control->root, path, MAX_FILE_BYTES, &name, NULL, NULL) ||
        !g_str_has_prefix(name, "vhost-") || !hn_task_stat_read(control->root, dir, &stat, NULL))
        return false;
    *ret_start_ticks = stat.start_ticks;
    return true;
}

/* vhost threads come last: by then those that follow the emulator have followed. */
static HnEnd pin_vhost(Work *work)
{
    const HnSyscalls *sys = work->control->sys;

    for (guint i = 0; i < work->request->threads->len; i++) {
        const HnPinThread *thread = &g_array_index(work->request->threads, HnPinThread, i);
        HnPiece piece = {.kind = HN_PIECE_VHOST, .id = (uint32_t)thread->tid, .set = work->request->cpus};
        HnPiece old;
        g_autoptr(GError) error = NULL;

        if (thread->kind != HN_PIECE_VHOST || !is_vhost(work->control, thread->tid, &piece.start_ticks) ||
            is_affinity_within(work, thread->tid, &piece.set, &piece.original))
            continue;
        piece.has_original = true;
        piece.previous = piece.original; /* what is in force; ours only if we have been here before */
        piece.has_previous =
            hn_journal_lookup(work->control->journal, work->request->identity.uuid, HN_PIECE_VHOST, piece.id, &old) &&
            old.start_ticks == piece.start_ticks && hn_piece_owns(&old, &piece.previous);
        if (!hn_journal_will_set(work->control->journal, work->request->identity.uuid, &piece, 1, &error))
            return hn_end(HN_REASON_KERNEL_REFUSED, "%s; nothing more was changed", error->message);
        if (sys->sched_setaffinity(sys->user_data, thread->tid, &piece.set) < 0) {
            if (errno == ESRCH)
                continue;
            return hn_end(errno == EPERM ? HN_REASON_PERMISSION_DENIED : HN_REASON_KERNEL_REFUSED,
                          "sched_setaffinity of vhost thread %d: %s%s", thread->tid, g_strerror(errno),
                          errno == EPERM ? " (it takes CAP_SYS_NICE)" : "");
        }
    }
    return (HnEnd){.reason = HN_REASON_DONE};
}

static bool set_piece(const HnControl *control, const char *uuid, const HnPiece *piece, GError **error)
{
    const HnBackendOps *ops = control->backend->ops;

    switch (piece->kind) {
    case HN_PIECE_VCPU:
        return ops->pin_vcpu(control->backend, uuid, piece->id, &piece->set, error);
    case HN_PIECE_EMULATOR:
        return ops->pin_emulator(control->backend, uuid, &piece->set, error);
    case HN_PIECE_IOTHREAD:
        return ops->pin_iothread(control->backend, uuid, piece->id, &piece->set, error);
    default:
        g_assert_not_reached();
    }
}

static HnEnd set_all(Work *work)
{
    const char *uuid = work->request->identity.uuid;
    g_autoptr(GArray) pieces = g_array_new(FALSE, FALSE, sizeof(HnPiece));
    g_autoptr(GError) error = NULL;

    if (work->wanted->len == 0)
        return (HnEnd){.reason = HN_REASON_DONE};
    for (guint i = 0; i < work->wanted->len; i++)
        g_array_append_val(pieces, g_array_index(work->wanted, Wanted, i).piece);
    if (!hn_journal_will_set(work->control->journal, uuid, (const HnPiece *)pieces->data, pieces->len, &error))
        return hn_end(HN_REASON_KERNEL_REFUSED, "%s; nothing was changed", error->message);
    for (guint i = 0; i < work->wanted->len; i++) {
        const Wanted *wanted = &g_array_index(work->wanted, Wanted, i);
        g_autofree char *what = describe(wanted->piece.kind, wanted->piece.id);
        g_autofree char *doing = g_strdup_printf("pinning %s", what);
        HnCpuset is;

        if (!set_piece(work->control, uuid, &wanted->piece, &error))
            return hn_end_of_error(doing, error);
        if (!is_affinity_within(work, wanted->tid, &wanted->piece.set, &is)) {
            g_autofree char *is_text = hn_cpuset_format(&is), *set_text = hn_cpuset_format(&wanted->piece.set);

            return hn_end(HN_REASON_KERNEL_REFUSED, "%s was pinned to %s, but its affinity reads %s", what,
                          set_text, is_text);
        }
    }
    return (HnEnd){.reason = HN_REASON_DONE};
}

static void consider_all(Work *work)
{
    for (guint i = 0; i < work->info->vcpus->len; i++) {
        const HnVcpuInfo *vcpu = &g_array_index(work->info->vcpus, HnVcpuInfo, i);

        if (work->request->is_all_vcpus || hn_cpuset_has(&work->request->vcpus, vcpu->id))
            consider(work, HN_PIECE_VCPU, vcpu->id, vcpu->has_pin, &vcpu->pin);
    }
    if (!work->request->has_workers)
        return;
    consider(work, HN_PIECE_EMULATOR, 0, work->info->has_emulator_pin, &work->info->emulator_pin);
    for (guint i = 0; i < work->info->iothreads->len; i++) {
        const HnIothreadInfo *iothread = &g_array_index(work->info->iothreads, HnIothreadInfo, i);

        consider(work, HN_PIECE_IOTHREAD, iothread->id, iothread->has_pin, &iothread->pin);
    }
}

HnEnd hn_pin(const HnControl *control, const HnPinRequest *request)
{
    g_autoptr(HnDomainInfo) info = NULL;
    g_autoptr(GArray) wanted = g_array_new(FALSE, FALSE, sizeof(Wanted));
    g_autoptr(GString) conflicts = g_string_new(NULL);
    Work work = {.control = control, .request = request, .wanted = wanted, .conflicts = conflicts};
    g_autofree char *cpus = hn_cpuset_format(&request->cpus);
    HnEnd end = hn_control_open(control, &request->identity, &info);

    if (end.reason != HN_REASON_DONE)
        return end;
    work.info = info;
    hn_journal_begin(control->journal, info, request->identity.start_ticks);
    consider_all(&work);
    if (conflicts->len > 0)
        return hn_end(HN_REASON_PINNED_BY_ADMIN, "%s", conflicts->str);
    if (work.is_constraint_empty) {
        g_autofree char *allowed = hn_cpuset_format(&info->default_cpuset);

        return hn_end(HN_REASON_CONSTRAINT_EMPTY, "the admin allows CPUs %s, none of which is among %s", allowed,
                      cpus);
    }
    end = set_all(&work);
    if (end.reason == HN_REASON_DONE && request->has_workers)
        end = pin_vhost(&work);
    if (end.reason != HN_REASON_DONE)
        return end;
    if (wanted->len == 0)
        return hn_end(HN_REASON_DONE, "everything that is ours is on CPUs %s already", cpus);
    return hn_end(HN_REASON_DONE, "%u pieces pinned to CPUs %s%s", wanted->len, cpus,
                  work.n_admin ? ", the admin's left alone" : "");
}
