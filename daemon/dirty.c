/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty-rate bursts: see dirty.h.
 */
#include "dirty.h"
#include "log.h"

#include <gio/gio.h>
#include <string.h>

/* At most so many domains are measured at a time: each hashes pages in a thread of its QEMU. */
#define MAX_AT_ONCE 2
/* QEMU needs a moment beyond the window itself. */
#define GRACE_MS 500
#define READ_TRIES 5
/* Refused or failed: not asked for again before this, and only if still in doubt. */
#define RETRY_NS (UINT64_C(300) * 1000 * 1000 * 1000)

typedef struct {
    HnManager *manager;
    char uuid[HN_UUID_LEN + 1];
    HnDirtyMode mode;
    bool is_ring_tried; /* the ring tells rates per vCPU, where domain and configuration allow it */
    uint32_t seconds, n_tries;
    guint timer; /* 0: not waiting */
    HnDirtyRate rate;
} Burst;

static void burst_done(Burst *burst, const char *problem)
{
    HnManager *manager = burst->manager;
    HnGuest *guest = hn_guests_get(manager->guests, burst->uuid);
    manager->n_dirty--;
    if (guest) {
        uint64_t now_ns = hn_manager_now_ns();
        guest->is_dirty_busy = false;
        g_free(guest->dirty_problem);
        guest->dirty_problem = g_strdup(problem);
        if (problem) {
            guest->dirty_retry_ns = now_ns + RETRY_NS;
            hn_log(LOG_INFO, NULL, "%s: its dirty rate is not known: %s",
                   guest->name ? guest->name : burst->uuid, problem);
        } else {
            guest->dirty_ns = now_ns;
            guest->dirty_bytes_per_sec = burst->rate.bytes_per_sec;
        }
    }
    if (burst->rate.vcpu_bytes_per_sec)
        g_array_unref(burst->rate.vcpu_bytes_per_sec);
    g_free(burst);
}

static void run_task(Burst *burst, GTaskThreadFunc run, GAsyncReadyCallback done)
{
    burst->manager->n_calls++;
    g_autoptr(GTask) task = g_task_new(NULL, NULL, done, NULL);
    g_task_set_task_data(task, burst, NULL);
    g_task_run_in_thread(task, run);
}

/* Takes the task's end into account; the problem, NULL if there is none. Caller frees. */
static char *end_task(Burst *burst, GAsyncResult *result)
{
    g_autoptr(GError) error = NULL;
    burst->manager->n_calls--;
    return g_task_propagate_boolean(G_TASK(result), &error) ? NULL : g_strdup(error->message);
}

static gboolean on_time_up(gpointer data);

static void wait_for_it(Burst *burst, guint ms)
{
    burst->timer = g_timeout_add(ms, on_time_up, burst);
    burst->manager->dirty_waiting = g_slist_prepend(burst->manager->dirty_waiting, burst);
}

static void read_run(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    Burst *burst = data;
    HnBackend *backend = burst->manager->backend;
    GError *error = NULL;
    if (backend->ops->get_dirty_rate(backend, burst->uuid, &burst->rate, &error))
        g_task_return_boolean(task, TRUE);
    else
        g_task_return_error(task, error);
}

static void read_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Burst *burst = g_task_get_task_data(G_TASK(result));
    g_autofree char *problem = end_task(burst, result);
    if (problem || burst->rate.is_measured)
        burst_done(burst, problem);
    else if (++burst->n_tries < READ_TRIES)
        wait_for_it(burst, 1000);
    else
        burst_done(burst, "the measurement did not end");
}

static gboolean on_time_up(gpointer data)
{
    Burst *burst = data;
    burst->timer = 0;
    burst->manager->dirty_waiting = g_slist_remove(burst->manager->dirty_waiting, burst);
    if (burst->manager->is_stopping)
        burst_done(burst, "the daemon stops");
    else
        run_task(burst, read_run, read_done);
    return G_SOURCE_REMOVE;
}

void hn_manager_cancel_dirty(HnManager *manager)
{
    while (manager->dirty_waiting) {
        Burst *burst = manager->dirty_waiting->data;
        manager->dirty_waiting = g_slist_remove(manager->dirty_waiting, burst);
        g_source_remove(burst->timer);
        burst_done(burst, "the daemon stops");
    }
}

static bool start(const Burst *burst, HnDirtyMode mode, GError **error)
{
    HnBackend *backend = burst->manager->backend;
    return backend->ops->start_dirty_rate(backend, burst->uuid, mode, burst->seconds, error);
}

/* The best mode that is allowed; what the back end refuses for this domain is done by sampling. */
static void start_run(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    Burst *burst = data;
    GError *error = NULL;
    bool is_good = (burst->is_ring_tried && start(burst, HN_DIRTY_RING, NULL)) ||
                   (burst->mode == HN_DIRTY_BITMAP && start(burst, HN_DIRTY_BITMAP, NULL)) ||
                   start(burst, HN_DIRTY_PAGE_SAMPLING, &error);
    if (is_good)
        g_task_return_boolean(task, TRUE);
    else
        g_task_return_error(task, error);
}

static void start_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Burst *burst = g_task_get_task_data(G_TASK(result));
    g_autofree char *problem = end_task(burst, result);
    if (problem)
        burst_done(burst, problem);
    else
        wait_for_it(burst, burst->seconds * 1000 + GRACE_MS);
}

static void begin(HnManager *manager, HnGuest *guest, const HnDomain *domain)
{
    const HnConfig *config = manager->config;
    Burst *burst = g_new0(Burst, 1);
    burst->manager = manager;
    g_strlcpy(burst->uuid, guest->uuid, sizeof burst->uuid);
    burst->seconds = (uint32_t)(config->dirty_window_ns / 1000000000);
    /* Under TCG the bitmap ends QEMU 7.2. */
    burst->mode = config->dirty_mode == HN_DIRTY_WISH_BITMAP && domain->is_kvm
                      ? HN_DIRTY_BITMAP
                      : HN_DIRTY_PAGE_SAMPLING;
    burst->is_ring_tried = config->is_dirty_ring_allowed && domain->is_kvm;
    guest->is_dirty_busy = true;
    manager->n_dirty++;
    run_task(burst, start_run, start_done);
}

void hn_manager_measure_dirty(HnManager *manager)
{
    uint64_t now_ns = manager->snapshot->taken_ns;
    if (manager->is_dry_run || manager->is_stopping || manager->config->dirty_mode == HN_DIRTY_WISH_NONE)
        return;
    for (guint i = 0; i < manager->plan->verdicts->len && manager->n_dirty < MAX_AT_ONCE; i++) {
        const HnVerdict *verdict = g_ptr_array_index(manager->plan->verdicts, i);
        HnGuest *guest = hn_guests_get(manager->guests, verdict->uuid);
        const HnDomain *domain = g_ptr_array_index(manager->snapshot->domains, i); /* same order */
        /* One that is about to be moved is measured when it is where it goes. */
        if (!guest || !verdict->doubt.wants_dirty || verdict->will_act ||
            manager->is_host_held || domain->job != HN_JOB_NONE || guest->is_dirty_busy || guest->is_held ||
            guest->dirty_retry_ns > now_ns)
            continue;
        begin(manager, guest, domain);
    }
}
