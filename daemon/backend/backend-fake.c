/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fake back end: a table of domains under one lock. It answers what the real one answers in the
 * same situation (tests/integration/backend/ runs one set of tests against both): an unknown domain
 * is GONE, a pin raises a TUNABLE change with the key libvirt uses, a nodeset raises none.
 *
 * Changes are queued to the default main context, never called from within an operation. Must not
 * touch the machine.
 */
#include "backend-fake.h"

#include <string.h>

typedef struct {
    HnDomainInfo *info;
    char *stats_xml;     /* NULL: none */
    bool has_dirty_rate; /* a measurement was started */
    double dirty_seconds;
    uint64_t dirty_bytes_per_sec;
} FakeDomain;

typedef struct {
    HnFakeOp op;
    char *uuid; /* NULL: any */
    HnBackendError code;
    char *message;
    uint32_t times; /* UINT32_MAX: always */
} Failure;

typedef struct {
    HnBackend base;
    GMutex lock;         /* guards everything below */
    GHashTable *domains; /* uuid → FakeDomain */
    GPtrArray *failures; /* Failure, first match wins */
    uint32_t delay_ms[HN_N_FAKE_OPS];
    uint32_t n_calls[HN_N_FAKE_OPS];
    bool is_connected;
    HnChangeFunc func;
    void *user_data;
    GHashTable *sources; /* GSource of queued changes, so that free() can withdraw them */
} HnFake;

/* ---- changes ---- */

typedef struct {
    HnFake *fake;
    GSource *source;
    HnChange change;
    char *key, *value;
} Queued;

static void queued_free(gpointer data)
{
    Queued *queued = data;
    g_free(queued->key);
    g_free(queued->value);
    g_free(queued);
}

static gboolean deliver(gpointer data)
{
    Queued *queued = data;
    HnFake *fake = queued->fake;
    g_mutex_lock(&fake->lock);
    HnChangeFunc func = fake->func;
    void *user_data = fake->user_data;
    g_hash_table_remove(fake->sources, queued->source);
    g_mutex_unlock(&fake->lock);
    func(&queued->change, user_data);
    return G_SOURCE_REMOVE;
}

/* Lock held. */
static void emit(HnFake *fake, HnChangeKind kind, const char *uuid, const char *key,
                 const char *value)
{
    if (!fake->func)
        return;
    Queued *queued = g_new0(Queued, 1);
    queued->fake = fake;
    queued->key = g_strdup(key);
    queued->value = g_strdup(value);
    queued->change = (HnChange){.kind = kind, .key = queued->key, .value = queued->value};
    g_strlcpy(queued->change.uuid, uuid ? uuid : "", sizeof queued->change.uuid);
    queued->source = g_idle_source_new();
    g_source_set_priority(queued->source, G_PRIORITY_DEFAULT); /* keeps the order of events */
    g_source_set_callback(queued->source, deliver, queued, queued_free);
    g_hash_table_add(fake->sources, queued->source);
    g_source_attach(queued->source, NULL);
    g_source_unref(queued->source);
}

/* ---- operations ---- */

static void fake_domain_free(gpointer data)
{
    FakeDomain *domain = data;
    hn_domain_info_free(domain->info);
    g_free(domain->stats_xml);
    g_free(domain);
}

static void failure_free(gpointer data)
{
    Failure *failure = data;
    g_free(failure->uuid);
    g_free(failure->message);
    g_free(failure);
}

/* Lock held. True and *error set if a scripted failure hits. */
static bool hits_failure(HnFake *fake, HnFakeOp op, const char *uuid, GError **error)
{
    for (guint i = 0; i < fake->failures->len; i++) {
        Failure *failure = g_ptr_array_index(fake->failures, i);
        if (failure->op != op || (failure->uuid && g_strcmp0(failure->uuid, uuid) != 0))
            continue;
        g_set_error_literal(error, HN_BACKEND_ERROR, failure->code, failure->message);
        if (failure->times != UINT32_MAX && --failure->times == 0)
            g_ptr_array_remove_index(fake->failures, i);
        return true;
    }
    return false;
}

/* Takes the lock, counts, waits, fails as scripted. On success the lock is held and *ret_domain is
 * the domain (uuid NULL: none is wanted). */
static bool enter(HnBackend *backend, HnFakeOp op, const char *uuid, FakeDomain **ret_domain,
                  GError **error)
{
    HnFake *fake = (HnFake *)backend;
    g_mutex_lock(&fake->lock);
    fake->n_calls[op]++;
    uint32_t delay_ms = fake->delay_ms[op];
    if (delay_ms) { /* like libvirt: others may go on meanwhile */
        g_mutex_unlock(&fake->lock);
        g_usleep((gulong)delay_ms * 1000);
        g_mutex_lock(&fake->lock);
    }
    FakeDomain *domain = uuid ? g_hash_table_lookup(fake->domains, uuid) : NULL;
    bool is_good = false;
    if (!fake->is_connected)
        g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_DISCONNECTED, "not connected");
    else if (uuid && !domain)
        g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_GONE, "domain %s: no such domain",
                    uuid);
    else
        is_good = !hits_failure(fake, op, uuid, error);
    if (!is_good) {
        g_mutex_unlock(&fake->lock);
        return false;
    }
    if (ret_domain)
        *ret_domain = domain;
    return true;
}

static void leave(HnBackend *backend)
{
    g_mutex_unlock(&((HnFake *)backend)->lock);
}

static int compare_infos(gconstpointer a, gconstpointer b)
{
    const HnDomainInfo *left = *(HnDomainInfo *const *)a, *right = *(HnDomainInfo *const *)b;
    return strcmp(left->uuid, right->uuid);
}

static void info_destroy(gpointer data)
{
    hn_domain_info_free(data);
}

static bool fake_list(HnBackend *backend, GPtrArray **ret_infos, GError **error)
{
    HnFake *fake = (HnFake *)backend;
    GHashTableIter iter;
    gpointer domain;
    if (!enter(backend, HN_FAKE_LIST, NULL, NULL, error))
        return false;
    GPtrArray *infos = g_ptr_array_new_with_free_func(info_destroy);
    g_hash_table_iter_init(&iter, fake->domains);
    while (g_hash_table_iter_next(&iter, NULL, &domain))
        g_ptr_array_add(infos, hn_domain_info_copy(((FakeDomain *)domain)->info));
    g_ptr_array_sort(infos, compare_infos);
    leave(backend);
    *ret_infos = infos;
    return true;
}

static bool fake_get(HnBackend *backend, const char *uuid, HnDomainInfo **ret_info, GError **error)
{
    FakeDomain *domain;
    if (!enter(backend, HN_FAKE_GET, uuid, &domain, error))
        return false;
    *ret_info = hn_domain_info_copy(domain->info);
    leave(backend);
    return true;
}

/* Lock held. Records a pin and reports it under libvirt's key. False (UNSUPPORTED): an empty set.
 */
static bool record_pin(HnBackend *backend, FakeDomain *domain, HnCpuset *pin, bool *has_pin,
                       const HnCpuset *cpus, const char *key, GError **error)
{
    if (hn_cpuset_is_empty(cpus)) {
        g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_UNSUPPORTED,
                    "domain %s: a pin to no CPU is not possible", domain->info->name);
        return false;
    }
    g_autofree char *value = hn_cpuset_format(cpus);
    *pin = *cpus;
    *has_pin = true;
    emit((HnFake *)backend, HN_CHANGE_TUNABLE, domain->info->uuid, key, value);
    return true;
}

static bool fake_pin_vcpu(HnBackend *backend, const char *uuid, uint32_t vcpu, const HnCpuset *cpus,
                          GError **error)
{
    FakeDomain *domain;
    if (!enter(backend, HN_FAKE_PIN_VCPU, uuid, &domain, error))
        return false;
    HnVcpuInfo *found = NULL;
    for (guint i = 0; i < domain->info->vcpus->len && !found; i++) {
        HnVcpuInfo *each = &g_array_index(domain->info->vcpus, HnVcpuInfo, i);
        found = each->id == vcpu ? each : NULL;
    }
    g_autofree char *key = g_strdup_printf("cputune.vcpupin%u", vcpu);
    bool is_good =
        found && record_pin(backend, domain, &found->pin, &found->has_pin, cpus, key, error);
    if (!found)
        g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_FAILED,
                    "domain %s: vcpu %u is out of range", domain->info->name, vcpu);
    leave(backend);
    return is_good;
}

static bool fake_pin_emulator(HnBackend *backend, const char *uuid, const HnCpuset *cpus,
                              GError **error)
{
    FakeDomain *domain;
    if (!enter(backend, HN_FAKE_PIN_EMULATOR, uuid, &domain, error))
        return false;
    bool is_good = record_pin(backend, domain, &domain->info->emulator_pin,
                              &domain->info->has_emulator_pin, cpus, "cputune.emulatorpin", error);
    leave(backend);
    return is_good;
}

static bool fake_pin_iothread(HnBackend *backend, const char *uuid, uint32_t iothread,
                              const HnCpuset *cpus, GError **error)
{
    FakeDomain *domain;
    if (!enter(backend, HN_FAKE_PIN_IOTHREAD, uuid, &domain, error))
        return false;
    HnIothreadInfo *found = NULL;
    for (guint i = 0; i < domain->info->iothreads->len && !found; i++) {
        HnIothreadInfo *each = &g_array_index(domain->info->iothreads, HnIothreadInfo, i);
        found = each->id == iothread ? each : NULL;
    }
    g_autofree char *key = g_strdup_printf("cputune.iothreadpin%u", iothread);
    bool is_good =
        found && record_pin(backend, domain, &found->pin, &found->has_pin, cpus, key, error);
    if (!found)
        g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_FAILED,
                    "domain %s: iothread %u not found", domain->info->name, iothread);
    leave(backend);
    return is_good;
}

static bool fake_set_nodeset(HnBackend *backend, const char *uuid, const HnCpuset *node_ids,
                             GError **error)
{
    FakeDomain *domain;
    if (!enter(backend, HN_FAKE_SET_NODESET, uuid, &domain, error))
        return false;
    HnDomainInfo *info = domain->info;
    /* libvirt's rule: only a domain without <numatune>, or a restrictive one, can be changed. */
    bool is_open =
        info->numatune_mode == HN_NUMATUNE_NONE || info->numatune_mode == HN_NUMATUNE_RESTRICTIVE;
    bool is_good = is_open && !hn_cpuset_is_empty(node_ids);
    if (is_good) {
        info->numatune_mode = HN_NUMATUNE_RESTRICTIVE;
        info->numatune_nodes = *node_ids;
    } else {
        g_set_error(
            error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_UNSUPPORTED, "domain %s: %s", info->name,
            is_open ? "an empty nodeset is not possible"
                    : "change of nodeset for running domain requires restrictive numa mode");
    }
    leave(backend);
    return is_good;
}

static bool fake_set_stats(HnBackend *backend, const char *uuid, const char *xml, GError **error)
{
    FakeDomain *domain;
    if (!enter(backend, HN_FAKE_SET_STATS, uuid, &domain, error))
        return false;
    g_free(domain->stats_xml);
    domain->stats_xml = g_strdup(xml);
    leave(backend);
    return true;
}

static bool fake_op_set_placement(HnBackend *backend, const char *uuid, const char *xml,
                                  bool is_persistent, GError **error)
{
    FakeDomain *domain;
    if (!enter(backend, HN_FAKE_SET_PLACEMENT, uuid, &domain, error))
        return false;
    g_free(domain->info->placement_xml);
    domain->info->placement_xml = g_strdup(xml);
    emit((HnFake *)backend, HN_CHANGE_METADATA, uuid, NULL, NULL);
    leave(backend);
    return true;
}

static bool fake_start_dirty_rate(HnBackend *backend, const char *uuid, HnDirtyMode mode,
                                  uint32_t seconds, GError **error)
{
    FakeDomain *domain;
    if (!enter(backend, HN_FAKE_START_DIRTY_RATE, uuid, &domain, error))
        return false;
    bool is_refused = seconds < 1 || seconds > 60 || mode == HN_DIRTY_RING ||
                      (mode == HN_DIRTY_BITMAP && !domain->info->is_kvm);
    if (is_refused) {
        g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_UNSUPPORTED,
                    "domain %s: this dirty rate cannot be measured here", domain->info->name);
    } else {
        domain->has_dirty_rate = true;
        domain->dirty_seconds = seconds;
    }
    leave(backend);
    return !is_refused;
}

static bool fake_get_dirty_rate(HnBackend *backend, const char *uuid, HnDirtyRate *ret_rate,
                                GError **error)
{
    FakeDomain *domain;
    if (!enter(backend, HN_FAKE_GET_DIRTY_RATE, uuid, &domain, error))
        return false;
    *ret_rate =
        (HnDirtyRate){.calc_seconds = domain->dirty_seconds,
                      .is_measured = domain->has_dirty_rate,
                      .bytes_per_sec = domain->has_dirty_rate ? domain->dirty_bytes_per_sec : 0};
    leave(backend);
    return true;
}

/* ---- life ---- */

static void fake_free(HnBackend *backend)
{
    HnFake *fake = (HnFake *)backend;
    GHashTableIter iter;
    gpointer source;
    g_hash_table_iter_init(&iter, fake->sources);
    while (g_hash_table_iter_next(&iter, &source, NULL))
        g_source_destroy(source);
    g_hash_table_unref(fake->sources);
    g_hash_table_unref(fake->domains);
    g_ptr_array_unref(fake->failures);
    g_mutex_clear(&fake->lock);
    g_free(fake);
}

static void fake_watch(HnBackend *backend, HnChangeFunc func, void *user_data)
{
    HnFake *fake = (HnFake *)backend;
    g_mutex_lock(&fake->lock);
    fake->func = func;
    fake->user_data = user_data;
    emit(fake, fake->is_connected ? HN_CHANGE_CONNECTED : HN_CHANGE_DISCONNECTED, NULL, NULL,
         fake->is_connected ? NULL : "not connected");
    g_mutex_unlock(&fake->lock);
}

static bool fake_is_connected(HnBackend *backend)
{
    HnFake *fake = (HnFake *)backend;
    g_mutex_lock(&fake->lock);
    bool is_connected = fake->is_connected;
    g_mutex_unlock(&fake->lock);
    return is_connected;
}

static const HnBackendOps fake_ops = {
    .name = "fake",
    .free = fake_free,
    .watch = fake_watch,
    .is_connected = fake_is_connected,
    .list = fake_list,
    .get = fake_get,
    .pin_vcpu = fake_pin_vcpu,
    .pin_emulator = fake_pin_emulator,
    .pin_iothread = fake_pin_iothread,
    .set_nodeset = fake_set_nodeset,
    .set_stats = fake_set_stats,
    .set_placement = fake_op_set_placement,
    .start_dirty_rate = fake_start_dirty_rate,
    .get_dirty_rate = fake_get_dirty_rate,
};

HnBackend *hn_backend_fake_new(void)
{
    HnFake *fake = g_new0(HnFake, 1);
    fake->base.ops = &fake_ops;
    g_mutex_init(&fake->lock);
    fake->domains = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, fake_domain_free);
    fake->failures = g_ptr_array_new_with_free_func(failure_free);
    fake->sources = g_hash_table_new(NULL, NULL);
    fake->is_connected = true;
    return &fake->base;
}

/* ---- the test's side ---- */

void hn_fake_put_domain(HnBackend *backend, HnDomainInfo *info)
{
    HnFake *fake = (HnFake *)backend;
    FakeDomain *domain = g_new0(FakeDomain, 1);
    domain->info = info;
    g_mutex_lock(&fake->lock);
    g_hash_table_replace(fake->domains, info->uuid, domain);
    emit(fake, HN_CHANGE_STARTED, info->uuid, NULL, NULL);
    g_mutex_unlock(&fake->lock);
}

void hn_fake_add_domain(HnBackend *backend, const char *uuid, const char *name, uint32_t n_vcpus,
                        uint64_t memory_bytes)
{
    HnDomainInfo *info = hn_domain_info_new();
    HnMemoryInfo *memory = g_new0(HnMemoryInfo, 1);
    g_strlcpy(info->uuid, uuid, sizeof info->uuid);
    info->name = g_strdup(name);
    info->is_kvm = true;
    info->state = HN_STATE_RUNNING;
    info->machine_type = g_strdup("pc-q35-7.2");
    info->configured_bytes = info->current_bytes = memory_bytes;
    for (uint32_t id = 0; id < n_vcpus; id++)
        g_array_append_vals(info->vcpus, &(HnVcpuInfo){.id = id, .guest_cell = -1}, 1);
    *memory = (HnMemoryInfo){.object_id = g_strdup("pc.ram"),
                             .guest_cell = -1,
                             .length_bytes = memory_bytes,
                             .gpa_base = UINT64_MAX};
    g_ptr_array_add(info->memory, memory);
    hn_fake_put_domain(backend, info);
}

void hn_fake_remove_domain(HnBackend *backend, const char *uuid)
{
    HnFake *fake = (HnFake *)backend;
    g_mutex_lock(&fake->lock);
    if (g_hash_table_contains(fake->domains, uuid)) {
        emit(fake, HN_CHANGE_STOPPED, uuid, NULL, NULL);
        g_hash_table_remove(fake->domains, uuid);
    }
    g_mutex_unlock(&fake->lock);
}

/* Takes the lock. A domain that is not there is a mistake of the test, which ends here. */
static FakeDomain *lock_domain(HnFake *fake, const char *uuid)
{
    g_mutex_lock(&fake->lock);
    FakeDomain *domain = g_hash_table_lookup(fake->domains, uuid);
    if (!domain)
        g_error("fake back end: no domain %s", uuid);
    return domain;
}

void hn_fake_set_placement(HnBackend *backend, const char *uuid, const char *xml)
{
    HnFake *fake = (HnFake *)backend;
    FakeDomain *domain = lock_domain(fake, uuid);
    g_free(domain->info->placement_xml);
    domain->info->placement_xml = g_strdup(xml);
    emit(fake, HN_CHANGE_METADATA, uuid, NULL, NULL);
    g_mutex_unlock(&fake->lock);
}

void hn_fake_set_job(HnBackend *backend, const char *uuid, HnJob job)
{
    HnFake *fake = (HnFake *)backend;
    lock_domain(fake, uuid)->info->job = job;
    emit(fake, HN_CHANGE_STATE, uuid, NULL, NULL);
    g_mutex_unlock(&fake->lock);
}

void hn_fake_set_state(HnBackend *backend, const char *uuid, HnDomainState state)
{
    HnFake *fake = (HnFake *)backend;
    lock_domain(fake, uuid)->info->state = state;
    emit(fake, HN_CHANGE_STATE, uuid, NULL, NULL);
    g_mutex_unlock(&fake->lock);
}

void hn_fake_set_connected(HnBackend *backend, bool is_connected)
{
    HnFake *fake = (HnFake *)backend;
    g_mutex_lock(&fake->lock);
    if (fake->is_connected != is_connected) {
        fake->is_connected = is_connected;
        emit(fake, is_connected ? HN_CHANGE_CONNECTED : HN_CHANGE_DISCONNECTED, NULL, NULL,
             is_connected ? NULL : "the connection ended");
    }
    g_mutex_unlock(&fake->lock);
}

void hn_fake_set_dirty_rate(HnBackend *backend, const char *uuid, uint64_t bytes_per_sec)
{
    HnFake *fake = (HnFake *)backend;
    lock_domain(fake, uuid)->dirty_bytes_per_sec = bytes_per_sec;
    g_mutex_unlock(&fake->lock);
}

void hn_fake_fail(HnBackend *backend, HnFakeOp op, const char *uuid, HnBackendError code,
                  const char *message, uint32_t times)
{
    HnFake *fake = (HnFake *)backend;
    Failure *failure = g_new0(Failure, 1);
    *failure = (Failure){.op = op,
                         .uuid = g_strdup(uuid),
                         .code = code,
                         .message = g_strdup(message),
                         .times = times};
    g_mutex_lock(&fake->lock);
    g_ptr_array_add(fake->failures, failure);
    g_mutex_unlock(&fake->lock);
}

void hn_fake_delay(HnBackend *backend, HnFakeOp op, uint32_t ms)
{
    HnFake *fake = (HnFake *)backend;
    g_mutex_lock(&fake->lock);
    fake->delay_ms[op] = ms;
    g_mutex_unlock(&fake->lock);
}

void hn_fake_heal(HnBackend *backend)
{
    HnFake *fake = (HnFake *)backend;
    g_mutex_lock(&fake->lock);
    g_ptr_array_set_size(fake->failures, 0);
    memset(fake->delay_ms, 0, sizeof fake->delay_ms);
    g_mutex_unlock(&fake->lock);
}

uint32_t hn_fake_calls(HnBackend *backend, HnFakeOp op)
{
    HnFake *fake = (HnFake *)backend;
    g_mutex_lock(&fake->lock);
    uint32_t n_calls = fake->n_calls[op];
    g_mutex_unlock(&fake->lock);
    return n_calls;
}

char *hn_fake_get_stats(HnBackend *backend, const char *uuid)
{
    HnFake *fake = (HnFake *)backend;
    char *xml = g_strdup(lock_domain(fake, uuid)->stats_xml);
    g_mutex_unlock(&fake->lock);
    return xml;
}
