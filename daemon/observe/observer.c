/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The observer: one pass over host and domains; see observer.h.
 *
 * The host is read first, then the domains, then the two meet once: what each node's CPUs did since
 * the last round, less what the domains' threads did there, is the load of everybody else.
 */
#include "observe/observer.h"
#include "observe/domain-watch.h"
#include "observe/host-read.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_PROBE_MAX_AGE_NS G_GUINT64_CONSTANT(10000000000)
#define DEFAULT_N_PROBES 1024
#define DEFAULT_EXACT_MAX_BYTES ((uint64_t)256 << 20)

struct HnObserver {
    HnRoot *root;
    HnKeptBudget budget;
    HnProbeOps probe_ops;
    HnPerfOps perf_ops;
    HnWatchContext context;
    HnHostReader *host_reader;
    uint64_t generation;       /* of the topology that node indices refer to */
    GHashTable *watches;       /* uuid → HnDomainWatch */
    uint64_t before_ns;        /* the last round's time, 0: none */
    HnHostReader *lone_reader; /* hn_observer_observe_host() */
    uint64_t lone_before_ns;
};

void hn_observe_options_init(HnObserveOptions *options, uint64_t now_ns)
{
    *options = (HnObserveOptions){
        .now_ns = now_ns,
        .probe_max_age_ns = DEFAULT_PROBE_MAX_AGE_NS,
        .n_probes = DEFAULT_N_PROBES,
        .exact_max_bytes = DEFAULT_EXACT_MAX_BYTES,
    };
}

HnObserver *hn_observer_new(HnRoot *root, const HnObserverConfig *config)
{
    HnObserver *observer = g_new0(HnObserver, 1);

    observer->root = root;
    observer->budget = hn_kept_budget_from_limits();
    observer->probe_ops = *hn_probe_ops_kernel();
    observer->perf_ops = *hn_perf_ops_kernel();
    observer->host_reader = hn_host_reader_new(root);
    observer->watches = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                              (GDestroyNotify)hn_domain_watch_free);
    observer->context = (HnWatchContext){
        .root = root,
        .budget = &observer->budget,
        .buffer = g_string_sized_new(16384),
        /* The pids of a captured machine mean nothing here. */
        .probe_ops = hn_root_is_live(root) ? &observer->probe_ops : NULL,
        .perf_ops = hn_root_is_live(root) ? &observer->perf_ops : NULL,
    };
    if (config) {
        observer->context.parse_wish = config->parse_wish;
        observer->context.ownership = config->ownership;
        if (config->probe_ops.query) {
            observer->probe_ops = config->probe_ops;
            observer->context.probe_ops = &observer->probe_ops;
        }
        if (config->perf_ops.open) {
            observer->perf_ops = config->perf_ops;
            observer->context.perf_ops = &observer->perf_ops;
        }
    }
    return observer;
}

void hn_observer_free(HnObserver *observer)
{
    if (!observer)
        return;
    g_hash_table_destroy(observer->watches);
    hn_host_reader_free(observer->host_reader);
    hn_host_reader_free(observer->lone_reader);
    g_string_free(observer->context.buffer, TRUE);
    g_free(observer);
}

/* Adds up what one domain's threads ran on each node since the last round. A thread that was seen
 * on two nodes gets half of its time on each: where it was in between nobody counted. */
static void add_guest_time(HnDomainWatch *watch, const HnHost *host, uint64_t before_ns,
                           uint64_t *guest_ns)
{
    HnTasks *tasks = hn_domain_watch_tasks(watch);

    for (uint32_t i = 0; i < hn_tasks_count(tasks); i++) {
        const HnTask *task = hn_tasks_get(tasks, i);
        uint64_t ran_ns = task->exec_ns - task->before_exec_ns;
        int32_t now_node, before_node;

        /* Found in this round: all it ran is new if it began after the last one. */
        if (task->is_name_fresh && hn_ticks_to_ns(task->start_ticks) >= before_ns)
            ran_ns = task->exec_ns;
        if (ran_ns == 0 || task->last_cpu < 0)
            continue;
        now_node = hn_host_node_of_cpu(host, (uint32_t)task->last_cpu);
        before_node =
            task->before_cpu < 0 ? now_node : hn_host_node_of_cpu(host, (uint32_t)task->before_cpu);
        if (now_node != HN_NODE_NONE)
            guest_ns[now_node] += ran_ns - ran_ns / 2;
        if (before_node != HN_NODE_NONE)
            guest_ns[before_node] += ran_ns / 2;
    }
}

static void set_other_load(HnHost *host, const uint64_t *busy_ns, const uint64_t *guest_ns,
                           uint64_t elapsed_ns)
{
    for (uint32_t i = 0; i < host->n_nodes; i++) {
        HnNode *node = &host->nodes[i];
        uint64_t other_ns = busy_ns[i] > guest_ns[i] ? busy_ns[i] - guest_ns[i] : 0;

        node->other_load_mcpu = MIN(other_ns / (elapsed_ns / 1000), (uint64_t)node->n_cpus * 1000);
    }
}

static void forget_node_indices(HnObserver *observer)
{
    GHashTableIter iter;
    gpointer watch;

    g_hash_table_iter_init(&iter, observer->watches);
    while (g_hash_table_iter_next(&iter, NULL, &watch))
        hn_domain_watch_forget_nodes(watch);
}

/* Reads the host; *ret_busy_ns as hn_host_reader_read(). */
static bool read_host(HnObserver *observer, HnHost **ret_host, uint64_t **ret_busy_ns,
                      GError **error)
{
    uint64_t generation;

    if (!hn_host_reader_read(observer->host_reader, ret_host, ret_busy_ns, error))
        return false;
    generation = hn_host_reader_generation(observer->host_reader);
    if (generation != observer->generation)
        forget_node_indices(observer);
    observer->generation = generation;
    return true;
}

/* Watches of domains that are not in `infos` any more. */
static void forget_absent(HnObserver *observer, const GPtrArray *infos)
{
    g_autoptr(GHashTable) present = g_hash_table_new(g_str_hash, g_str_equal);
    GHashTableIter iter;
    gpointer uuid;

    for (guint i = 0; i < infos->len; i++)
        g_hash_table_add(present, ((HnDomainInfo *)g_ptr_array_index(infos, i))->uuid);
    g_hash_table_iter_init(&iter, observer->watches);
    while (g_hash_table_iter_next(&iter, &uuid, NULL))
        if (!g_hash_table_contains(present, uuid))
            g_hash_table_iter_remove(&iter);
}

static HnDomainWatch *get_watch(HnObserver *observer, const HnDomainInfo *info)
{
    HnDomainWatch *watch = g_hash_table_lookup(observer->watches, info->uuid);

    if (watch && hn_domain_watch_pid(watch) == info->pid)
        return watch;
    watch = hn_domain_watch_new(&observer->context, info->pid);
    g_hash_table_replace(observer->watches, g_strdup(info->uuid), watch);
    return watch;
}

/* The domain's process is not known: its configuration is all there is to tell. */
static HnDomain *describe_unseen(const HnObserver *observer, const HnDomainInfo *info,
                                 const HnHost *host, const char *sentence)
{
    HnDomain *domain = hn_domain_new(host->n_nodes);

    g_strlcpy(domain->uuid, info->uuid, sizeof domain->uuid);
    domain->name = g_strdup(info->name);
    domain->is_bare_qemu = info->is_bare_qemu;
    domain->is_kvm = info->is_kvm;
    domain->state = info->state;
    domain->job = info->job;
    domain->configured_bytes = info->configured_bytes;
    domain->current_bytes = info->current_bytes;
    domain->dirty_age_ns = UINT64_MAX;
    domain->unobservable = g_strdup(sentence);
    if (observer->context.parse_wish && info->placement_xml)
        observer->context.parse_wish(info->placement_xml, host, &domain->wish);
    return domain;
}

static int compare_wish(const void *uuid, const void *wish)
{
    return strcmp(uuid, ((const HnObserveWish *)wish)->uuid);
}

/* The options as they hold for one domain. */
static HnObserveOptions options_of(const HnObserveOptions *options, const char *uuid)
{
    HnObserveOptions own = *options;
    const HnObserveWish *wish = options->n_wishes > 0
                                    ? bsearch(uuid, options->wishes, options->n_wishes,
                                              sizeof *options->wishes, compare_wish)
                                    : NULL;

    if (wish) {
        own.probe_max_age_ns = wish->probe_max_age_ns;
        own.with_faults = wish->with_faults;
    }
    return own;
}

static bool wants_faults(const HnObserveOptions *options)
{
    bool is_wanted = options->with_faults;

    for (uint32_t i = 0; i < options->n_wishes; i++)
        is_wanted |= options->wishes[i].with_faults;
    return is_wanted;
}

static void observe_domain(HnObserver *observer, const HnDomainInfo *info,
                           const HnObserveOptions *options, HnSnapshot *snapshot,
                           uint64_t *guest_ns)
{
    g_autoptr(GError) error = NULL;
    HnDomainWatch *watch;
    HnDomain *domain;
    bool is_fresh = options->fresh_uuids && g_strv_contains(options->fresh_uuids, info->uuid);
    bool is_touched = options->touch_uuids && g_strv_contains(options->touch_uuids, info->uuid);

    if (info->pid <= 0) {
        g_hash_table_remove(observer->watches, info->uuid);
        g_ptr_array_add(snapshot->domains,
                        describe_unseen(observer, info, snapshot->host,
                                        "the process of this domain is not known"));
        return;
    }
    watch = get_watch(observer, info);
    HnObserveOptions own = options_of(options, info->uuid);
    domain = hn_domain_watch_observe(watch, info, snapshot->host, &own, is_fresh, is_touched,
                                     &error);
    if (domain) {
        add_guest_time(watch, snapshot->host, observer->before_ns, guest_ns);
        g_ptr_array_add(snapshot->domains, domain);
        return;
    }
    g_hash_table_remove(observer->watches, info->uuid);
    /* Gone between the back end's list and now: ordinary. Anything else is told. */
    if (!hn_error_is_gone(error))
        g_ptr_array_add(snapshot->domains,
                        describe_unseen(observer, info, snapshot->host, error->message));
}

HnSnapshot *hn_observer_observe(HnObserver *observer, GPtrArray *infos,
                                const HnObserveOptions *options, GError **error)
{
    g_autoptr(HnSnapshot) snapshot = NULL;
    g_autofree uint64_t *busy_ns = NULL;
    g_autofree uint64_t *guest_ns = NULL;
    HnHost *host;

    if (!read_host(observer, &host, &busy_ns, error))
        return NULL;
    snapshot = hn_snapshot_new();
    snapshot->taken_ns = options->now_ns;
    snapshot->host = host;
    observer->context.has_balancing =
        wants_faults(options) &&
        hn_numa_balancing_read(observer->root, &observer->context.balancing_mode);
    forget_absent(observer, infos);
    guest_ns = g_new0(uint64_t, host->n_nodes);
    for (guint i = 0; i < infos->len; i++)
        observe_domain(observer, g_ptr_array_index(infos, i), options, snapshot, guest_ns);
    if (observer->before_ns != 0 && options->now_ns > observer->before_ns + 1000)
        set_other_load(host, busy_ns, guest_ns, options->now_ns - observer->before_ns);
    observer->before_ns = options->now_ns;
    hn_snapshot_sort(snapshot);
    return g_steal_pointer(&snapshot);
}

HnHost *hn_observer_observe_host(HnObserver *observer, uint64_t now_ns, GError **error)
{
    g_autofree uint64_t *busy_ns = NULL;
    HnHost *host;

    /* A reader of its own: the rounds' differences must not be cut short. */
    if (!observer->lone_reader)
        observer->lone_reader = hn_host_reader_new(observer->root);
    if (!hn_host_reader_read(observer->lone_reader, &host, &busy_ns, error))
        return NULL;
    if (observer->lone_before_ns != 0 && now_ns > observer->lone_before_ns + 1000) {
        g_autofree uint64_t *no_guests_ns = g_new0(uint64_t, host->n_nodes);

        set_other_load(host, busy_ns, no_guests_ns, now_ns - observer->lone_before_ns);
    }
    observer->lone_before_ns = now_ns;
    return host;
}

int hn_observer_dup_pidfd(HnObserver *observer, const char *uuid)
{
    HnDomainWatch *watch = g_hash_table_lookup(observer->watches, uuid);

    if (!watch || hn_domain_watch_pidfd(watch) < 0)
        return -1;
    return fcntl(hn_domain_watch_pidfd(watch), F_DUPFD_CLOEXEC, 3);
}

const char *hn_observer_no_faults_reason(HnObserver *observer, const char *uuid)
{
    HnDomainWatch *watch = g_hash_table_lookup(observer->watches, uuid);

    return watch ? hn_domain_watch_impediment(watch) : NULL;
}

const char *hn_observer_no_touches_reason(const HnObserver *observer)
{
    return hn_touch_check(observer->root, &observer->perf_ops);
}

void hn_observer_usage(const HnObserver *observer, uint32_t *ret_n_descriptors, uint64_t *ret_bytes)
{
    GHashTableIter iter;
    gpointer watch;
    uint64_t bytes = sizeof *observer;

    g_hash_table_iter_init(&iter, observer->watches);
    while (g_hash_table_iter_next(&iter, NULL, &watch))
        bytes += hn_domain_watch_bytes(watch);
    *ret_n_descriptors = observer->budget.n_open;
    *ret_bytes = bytes;
}
