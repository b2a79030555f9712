/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty rates: what could end a guest is refused before QEMU sees it, a measurement is only begun
 * when none is under way, and not within a second of the last (qmp/qemu.h says what happens else).
 */
#include "qmp-private.h"

#include "qmp/qemu.h"

#include <string.h>

#define DIRTY_SPACING_US G_USEC_PER_SEC
#define MIB UINT64_C(1048576)

typedef struct {
    HnQmpErrand errand;
    char *uuid;
    bool is_start;
    HnDirtyMode mode;
    uint32_t seconds;
    HnQemuDirtyRate rate; /* answer */
    int code;             /* HnBackendError; -1: none */
    char *failure;
} Dirty;

static void dirty_clear(HnQmpErrand *errand)
{
    Dirty *dirty = (Dirty *)errand;
    g_free(dirty->uuid);
    g_free(dirty->failure);
    if (dirty->rate.vcpus)
        hn_qemu_dirty_rate_clear(&dirty->rate);
}

static void dirty_end(Dirty *dirty, HnBackendError code, const char *failure)
{
    if (failure) {
        dirty->code = (int)code;
        dirty->failure = g_strdup(failure);
    }
    hn_qmp_errand_done(&dirty->errand);
    hn_qmp_errand_unref(&dirty->errand);
}

static void on_dirty_started(HnQmpClient *client, json_object *value, const GError *error,
                             gpointer data)
{
    dirty_end(data, HN_BACKEND_ERROR_FAILED, error ? error->message : NULL);
}

static void on_dirty_state(HnQmpClient *client, json_object *value, const GError *error,
                           gpointer data)
{
    static const HnQemuDirtyMode modes[] = {[HN_DIRTY_PAGE_SAMPLING] = HN_QEMU_DIRTY_PAGE_SAMPLING,
                                            [HN_DIRTY_BITMAP] = HN_QEMU_DIRTY_BITMAP,
                                            [HN_DIRTY_RING] = HN_QEMU_DIRTY_RING};
    Dirty *dirty = data;
    g_autoptr(GError) own = NULL;
    gint64 now_us = g_get_monotonic_time();
    if (!error && !hn_qemu_dirty_rate_decode(value, &dirty->rate, &own))
        error = own;
    if (error || !dirty->is_start) {
        dirty_end(dirty, HN_BACKEND_ERROR_FAILED, error ? error->message : NULL);
        return;
    }
    HnQmpEntry *entry = hn_qmp_keeper_find(dirty->errand.qmp, dirty->uuid);
    if (!entry) {
        dirty_end(dirty, HN_BACKEND_ERROR_GONE, "no such domain");
    } else if (dirty->rate.status == HN_QEMU_DIRTY_MEASURING ||
               (entry->dirty_us && now_us - entry->dirty_us < DIRTY_SPACING_US)) {
        dirty_end(dirty, HN_BACKEND_ERROR_BUSY, "its dirty rate is being measured already");
    } else {
        entry->dirty_us = now_us;
        hn_qmp_guest_call(entry->guest, HN_QEMU_CALC_DIRTY_RATE,
                          hn_qemu_calc_dirty_rate_build(dirty->seconds, modes[dirty->mode], 0),
                          on_dirty_started, dirty);
    }
}

static void dirty_run(HnQmpErrand *errand)
{
    Dirty *dirty = (Dirty *)errand;
    const HnQmpEntry *entry = hn_qmp_keeper_find(errand->qmp, dirty->uuid);
    g_atomic_int_inc(&errand->n_refs);
    if (!entry)
        dirty_end(dirty, HN_BACKEND_ERROR_GONE, "no such domain");
    else
        hn_qmp_guest_call(entry->guest, HN_QEMU_QUERY_DIRTY_RATE, NULL, on_dirty_state, dirty);
}

/* True: answered, *ret_rate is filled for a question. */
static bool ask_dirty(HnQmp *qmp, const HnQmpView *view, bool is_start, HnDirtyMode mode,
                      uint32_t seconds, HnDirtyRate *ret_rate, GError **error)
{
    Dirty *dirty = hn_qmp_errand_new(qmp, sizeof *dirty, dirty_run, dirty_clear);
    dirty->uuid = g_strdup(view->info->uuid);
    dirty->is_start = is_start;
    dirty->mode = mode;
    dirty->seconds = seconds;
    dirty->code = -1;
    bool is_done = hn_qmp_errand_wait(&dirty->errand, HN_QMP_ASK_WAIT_MS);
    if (!is_done)
        g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_BUSY,
                    "domain %s: its monitor does not answer within %d ms", view->info->name,
                    HN_QMP_ASK_WAIT_MS);
    else if (dirty->code >= 0)
        g_set_error(error, HN_BACKEND_ERROR, dirty->code, "domain %s: %s", view->info->name,
                    dirty->failure);
    bool is_good = is_done && dirty->code < 0;
    if (is_good && ret_rate) {
        const HnQemuDirtyRate *from = &dirty->rate;
        HnDirtyRate rate = {.calc_seconds = (double)from->calc_time_ms / 1000,
                            .is_measured = from->has_rate,
                            .bytes_per_sec = from->has_rate ? from->rate_mib_per_s * MIB : 0};
        for (guint i = 0; from->has_rate && i < from->vcpus->len; i++) {
            const HnQemuVcpuDirtyRate *vcpu = &g_array_index(from->vcpus, HnQemuVcpuDirtyRate, i);
            if (vcpu->vcpu >= HN_MAX_CPUS)
                continue;
            if (!rate.vcpu_bytes_per_sec)
                rate.vcpu_bytes_per_sec = g_array_new(FALSE, TRUE, sizeof(uint64_t));
            if (vcpu->vcpu >= rate.vcpu_bytes_per_sec->len)
                g_array_set_size(rate.vcpu_bytes_per_sec, vcpu->vcpu + 1);
            g_array_index(rate.vcpu_bytes_per_sec, uint64_t, vcpu->vcpu) =
                vcpu->rate_mib_per_s * MIB;
        }
        *ret_rate = rate;
    }
    hn_qmp_errand_unref(&dirty->errand);
    return is_good;
}

bool hn_qmp_start_dirty_rate(HnBackend *backend, const char *uuid, HnDirtyMode mode,
                             uint32_t seconds, GError **error)
{
    HnQmp *qmp = (HnQmp *)backend;
    g_autoptr(HnQmpView) view = hn_qmp_find_view(qmp, uuid, true, error);
    if (!view)
        return false;
    const HnDomainInfo *info = view->info;
    if (seconds < 1 || seconds > 60)
        return hn_qmp_refuse(view, error, "a dirty rate takes 1 to 60 seconds to measure");
    if (mode == HN_DIRTY_BITMAP && !info->is_kvm)
        return hn_qmp_refuse(view, error, "the dirty bitmap needs KVM");
    if (mode == HN_DIRTY_BITMAP && info->has_dirty_ring)
        return hn_qmp_refuse(view, error, "it uses the dirty ring, so it has no dirty bitmap");
    if (mode == HN_DIRTY_RING && !qmp->is_dirty_ring_allowed)
        return hn_qmp_refuse(view, error,
                             "measuring by dirty ring is not allowed in the configuration");
    if (mode == HN_DIRTY_RING && (!info->is_kvm || !info->has_dirty_ring))
        return hn_qmp_refuse(view, error, "it was started without a dirty ring");
    if (info->job != HN_JOB_NONE) {
        g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_BUSY,
                    "domain %s: it is being migrated or saved", info->name);
        return false;
    }
    return ask_dirty(qmp, view, true, mode, seconds, NULL, error);
}

bool hn_qmp_get_dirty_rate(HnBackend *backend, const char *uuid, HnDirtyRate *ret_rate,
                           GError **error)
{
    HnQmp *qmp = (HnQmp *)backend;
    g_autoptr(HnQmpView) view = hn_qmp_find_view(qmp, uuid, false, error);
    return view && ask_dirty(qmp, view, false, HN_DIRTY_PAGE_SAMPLING, 0, ret_rate, error);
}
