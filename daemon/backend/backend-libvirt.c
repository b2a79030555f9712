/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Domains of libvirt behind the contract of backend.h.
 *
 * Theory of operation: every operation borrows the connection, looks the domain up by UUID, makes
 * one or two calls and gives everything back; nothing is cached except, per domain, the job seen
 * last (see observe_job()). What a domain looks like comes from its live XML, which needs no job in
 * libvirtd and therefore never waits.
 *
 * Must not: change stored configuration (except set_placement(), which an administrator asks for),
 * use the QEMU monitor (it taints the domain), or send a nodeset without its mode
 * (libvirt would record "strict", which cannot be taken back while the domain runs).
 */
#include "backend-libvirt.h"

#include "libvirt-connection.h"
#include "libvirt-dirty-rate.h"
#include "libvirt-domain-xml.h"
#include "libvirt-error.h"
#include "libvirt-process.h"
#include "wish.h"

#include <libxml/parser.h>
#include <string.h>

#define DEFAULT_URI "qemu:///system"

typedef struct {
    HnBackend base;
    HnLibvirtConnection *connection;
    const HnRoot *root;
    bool is_test_driver; /* test:/// accepts no flags where pins are concerned */
    bool is_dirty_ring_allowed;
    GMutex lock;
    GHashTable *jobs; /* uuid → HnJob seen last, guarded by lock; absent: HN_JOB_NONE */
} HnLibvirt;

/* A domain looked up for one operation. */
typedef struct {
    virConnectPtr conn;
    virDomainPtr domain;
    const char
        *name; /* owned by domain; kept because asking for it would reset libvirt's last error */
} Borrowed;

static void borrowed_clear(Borrowed *borrowed)
{
    if (borrowed->domain)
        virDomainFree(borrowed->domain);
    if (borrowed->conn)
        virConnectClose(borrowed->conn);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Borrowed, borrowed_clear)

static bool borrow(HnBackend *backend, const char *uuid, Borrowed *ret_borrowed, GError **error)
{
    HnLibvirt *self = (HnLibvirt *)backend;
    ret_borrowed->conn = hn_libvirt_connection_borrow(self->connection, error);
    if (!ret_borrowed->conn)
        return false;
    ret_borrowed->domain = virDomainLookupByUUIDString(ret_borrowed->conn, uuid);
    if (ret_borrowed->domain) {
        ret_borrowed->name = virDomainGetName(ret_borrowed->domain);
        return true;
    }
    g_autofree char *what = g_strdup_printf("domain %s", uuid);
    return hn_libvirt_error_set(error, ret_borrowed->conn, NULL, what);
}

static bool fail(const Borrowed *borrowed, GError **error, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/* Error from libvirt's last one, prefixed with the domain's name and what was tried. */
static bool fail(const Borrowed *borrowed, GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *tried = g_strdup_vprintf(format, args);
    va_end(args);
    g_autofree char *what = g_strdup_printf("domain %s: %s", borrowed->name, tried);
    return hn_libvirt_error_set(error, borrowed->conn, borrowed->domain, what);
}

static bool refuse(const Borrowed *borrowed, GError **error, const char *sentence)
{
    g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_UNSUPPORTED, "domain %s: %s",
                borrowed->name, sentence);
    return false;
}

/* ---- observing ---- */

static HnJob job_of_operation(int operation)
{
    return operation == VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN ||
                   operation == VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT
               ? HN_JOB_MIGRATION
               : HN_JOB_OTHER;
}

/* The job of a state that only exists during one: the other side's API cannot tell it then. */
static HnJob job_of_state(int state, int reason)
{
    if (state != VIR_DOMAIN_PAUSED)
        return HN_JOB_NONE;
    switch (reason) {
    case VIR_DOMAIN_PAUSED_MIGRATION:
    case VIR_DOMAIN_PAUSED_POSTCOPY:
    case VIR_DOMAIN_PAUSED_POSTCOPY_FAILED:
        return HN_JOB_MIGRATION;
    case VIR_DOMAIN_PAUSED_SAVE:
    case VIR_DOMAIN_PAUSED_DUMP:
    case VIR_DOMAIN_PAUSED_FROM_SNAPSHOT:
    case VIR_DOMAIN_PAUSED_SNAPSHOT:
        return HN_JOB_OTHER;
    default:
        return HN_JOB_NONE;
    }
}

/* Asking for the job waits while another short job (a pin of ours, say) holds the domain, up to 30
 * s. virDomainGetControlInfo() never waits and tells whether that is so: then what was seen last
 * stands. */
static HnJob observe_job(HnLibvirt *self, virDomainPtr domain, const char *uuid)
{
    virDomainControlInfo control;
    virTypedParameterPtr params = NULL;
    int type = VIR_DOMAIN_JOB_NONE, n_params = 0, operation = VIR_DOMAIN_JOB_OPERATION_UNKNOWN;
    HnJob job = HN_JOB_NONE;

    g_mutex_lock(&self->lock);
    job = (HnJob)GPOINTER_TO_INT(g_hash_table_lookup(self->jobs, uuid));
    g_mutex_unlock(&self->lock);
    if (virDomainGetControlInfo(domain, &control, 0) == 0 && control.state != VIR_DOMAIN_CONTROL_OK)
        return job;
    if (virDomainGetJobStats(domain, &type, &params, &n_params, 0) < 0) {
        virResetLastError(); /* not supported by the driver, or gone meanwhile */
        return HN_JOB_NONE;
    }
    virTypedParamsGetInt(params, n_params, VIR_DOMAIN_JOB_OPERATION, &operation);
    virTypedParamsFree(params, n_params);
    bool is_running = type == VIR_DOMAIN_JOB_BOUNDED || type == VIR_DOMAIN_JOB_UNBOUNDED;
    job = is_running ? job_of_operation(operation) : HN_JOB_NONE;

    g_mutex_lock(&self->lock);
    if (job == HN_JOB_NONE)
        g_hash_table_remove(self->jobs, uuid);
    else
        g_hash_table_replace(self->jobs, g_strdup(uuid), GINT_TO_POINTER((int)job));
    g_mutex_unlock(&self->lock);
    return job;
}

static bool observe_state(HnLibvirt *self, virDomainPtr domain, HnDomainInfo *info)
{
    int state, reason;
    if (virDomainGetState(domain, &state, &reason, 0) < 0)
        return false;
    switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
        info->state = HN_STATE_RUNNING;
        break;
    case VIR_DOMAIN_SHUTDOWN:
    case VIR_DOMAIN_SHUTOFF:
        info->state = HN_STATE_SHUTDOWN;
        break;
    default: /* paused, suspended, crashed but kept */
        info->state = HN_STATE_PAUSED;
        break;
    }
    info->job = job_of_state(state, reason);
    if (info->job == HN_JOB_NONE)
        info->job = observe_job(self, domain, info->uuid);
    return true;
}

/* A domain whose XML is beyond us still exists and is reported, with the reason. */
static HnDomainInfo *unobservable_info(virDomainPtr domain, const GError *reason)
{
    HnDomainInfo *info = hn_domain_info_new();
    virDomainGetUUIDString(domain, info->uuid);
    info->name = g_strdup(virDomainGetName(domain));
    info->unobservable = g_strdup(reason->message);
    return info;
}

/* placement='auto': the XML does not tell which nodes numad's answer was, libvirt does when asked. It takes no lock on
 * the domain that a job could hold. Left empty if libvirt cannot tell. */
static void observe_auto_nodeset(virDomainPtr domain, HnDomainInfo *info)
{
    enum { MAX_PARAMS = 8 }; /* there are two: mode and nodeset */
    virTypedParameter params[MAX_PARAMS] = {0};
    int n_params = MAX_PARAMS;
    const char *nodeset = NULL;

    if (info->numatune_mode == HN_NUMATUNE_NONE || !hn_cpuset_is_empty(&info->numatune_nodes))
        return;
    if (virDomainGetNumaParameters(domain, params, &n_params, VIR_DOMAIN_AFFECT_LIVE) < 0) {
        virResetLastError(); /* not supported by the driver, or gone meanwhile */
        return;
    }
    if (virTypedParamsGetString(params, n_params, VIR_DOMAIN_NUMA_NODESET, &nodeset) == 1 && nodeset)
        hn_cpuset_parse(nodeset, strlen(nodeset), &info->numatune_nodes, NULL);
    virTypedParamsClear(params, n_params);
}

static HnDomainInfo *observe_domain(HnLibvirt *self, const Borrowed *borrowed, GError **error)
{
    virDomainPtr domain = borrowed->domain;
    g_autoptr(GError) parse_error = NULL;
    g_autoptr(HnDomainInfo) info = NULL;
    char *xml = virDomainGetXMLDesc(domain, 0);
    if (!xml) {
        fail(borrowed, error, "reading its configuration");
        return NULL;
    }
    if (!hn_libvirt_domain_xml_parse(xml, strlen(xml), &info, &parse_error))
        info = unobservable_info(domain, parse_error);
    free(xml);
    observe_auto_nodeset(domain, info);
    if (!observe_state(self, domain, info)) {
        fail(borrowed, error, "reading its state");
        return NULL;
    }
    if (info->state == HN_STATE_SHUTDOWN && virDomainIsActive(domain) != 1) {
        virResetLastError();
        g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_GONE, "domain %s: not running",
                    info->name);
        return NULL;
    }
    if (!self->is_test_driver)
        info->pid = hn_libvirt_pid_read(self->root, info->name, info->uuid);
    return g_steal_pointer(&info);
}

static void info_destroy(gpointer data)
{
    hn_domain_info_free(data);
}

static int compare_infos(gconstpointer a, gconstpointer b)
{
    const HnDomainInfo *left = *(HnDomainInfo *const *)a, *right = *(HnDomainInfo *const *)b;
    return strcmp(left->uuid, right->uuid);
}

/* Jobs of domains that are no longer there must not outlive them. */
static gboolean is_stale_job(gpointer uuid, gpointer job, gpointer infos)
{
    const GPtrArray *array = infos;
    for (guint i = 0; i < array->len; i++)
        if (strcmp(((const HnDomainInfo *)g_ptr_array_index(array, i))->uuid, uuid) == 0)
            return FALSE;
    return TRUE;
}

static bool libvirt_list(HnBackend *backend, GPtrArray **ret_infos, GError **error)
{
    HnLibvirt *self = (HnLibvirt *)backend;
    virDomainPtr *domains = NULL;
    g_auto(Borrowed) owner = {.conn = hn_libvirt_connection_borrow(self->connection, error)};
    if (!owner.conn)
        return false;
    int n_domains = virConnectListAllDomains(owner.conn, &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
    if (n_domains < 0)
        return hn_libvirt_error_set(error, owner.conn, NULL, "listing domains");

    g_autoptr(GPtrArray) infos = g_ptr_array_new_with_free_func(info_destroy);
    g_autoptr(GError) failure = NULL;
    for (int i = 0; i < n_domains; i++) {
        Borrowed each = {
            .conn = owner.conn, .domain = domains[i], .name = virDomainGetName(domains[i])};
        g_autoptr(GError) domain_error = NULL;
        HnDomainInfo *info = failure ? NULL : observe_domain(self, &each, &domain_error);
        if (!info && domain_error && domain_error->code == HN_BACKEND_ERROR_DISCONNECTED)
            failure = g_steal_pointer(&domain_error);
        else if (!info && domain_error && domain_error->code != HN_BACKEND_ERROR_GONE)
            info = unobservable_info(domains[i], domain_error);
        if (info)
            g_ptr_array_add(infos, info);
        virDomainFree(domains[i]);
    }
    free(domains);
    if (failure) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
    g_mutex_lock(&self->lock);
    g_hash_table_foreach_remove(self->jobs, is_stale_job, infos);
    g_mutex_unlock(&self->lock);
    g_ptr_array_sort(infos, compare_infos);
    *ret_infos = g_steal_pointer(&infos);
    return true;
}

static bool libvirt_get(HnBackend *backend, const char *uuid, HnDomainInfo **ret_info,
                        GError **error)
{
    g_auto(Borrowed) borrowed = {0};
    if (!borrow(backend, uuid, &borrowed, error))
        return false;
    HnDomainInfo *info = observe_domain((HnLibvirt *)backend, &borrowed, error);
    if (info)
        *ret_info = info;
    return info != NULL;
}

/* ---- acting ---- */

/* libvirt's CPU map: little-endian bits, long enough for the highest member. Caller frees. */
static unsigned char *format_cpumap(const HnCpuset *cpus, int *ret_len)
{
    int32_t highest = -1;
    for (int32_t cpu = hn_cpuset_next(cpus, 0); cpu >= 0;
         cpu = hn_cpuset_next(cpus, (uint32_t)cpu + 1))
        highest = cpu;
    int len = VIR_CPU_MAPLEN(highest + 1);
    unsigned char *map = g_malloc0((gsize)MAX(len, 1));
    for (int32_t cpu = hn_cpuset_next(cpus, 0); cpu >= 0;
         cpu = hn_cpuset_next(cpus, (uint32_t)cpu + 1))
        VIR_USE_CPU(map, cpu);
    *ret_len = len;
    return map;
}

typedef enum { PIN_VCPU, PIN_EMULATOR, PIN_IOTHREAD } PinKind;

static bool pin(HnBackend *backend, const char *uuid, PinKind kind, uint32_t id,
                const HnCpuset *cpus, GError **error)
{
    static const char *const names[] = {"vCPU", "emulator", "iothread"};
    const HnLibvirt *self = (const HnLibvirt *)backend;
    g_auto(Borrowed) borrowed = {0};
    if (!borrow(backend, uuid, &borrowed, error))
        return false;
    if (hn_cpuset_is_empty(cpus))
        return refuse(&borrowed, error, "a pin to no CPU is not possible");

    int map_len, result = -1;
    g_autofree unsigned char *map = format_cpumap(cpus, &map_len);
    unsigned flags = self->is_test_driver ? 0 : VIR_DOMAIN_AFFECT_LIVE;
    switch (kind) {
    case PIN_VCPU:
        result = virDomainPinVcpuFlags(borrowed.domain, id, map, map_len, flags);
        break;
    case PIN_EMULATOR:
        result = virDomainPinEmulator(borrowed.domain, map, map_len, flags);
        break;
    case PIN_IOTHREAD:
        result = virDomainPinIOThread(borrowed.domain, id, map, map_len, flags);
        break;
    }
    if (result == 0)
        return true;
    g_autofree char *list = hn_cpuset_format(cpus);
    return fail(&borrowed, error, "pinning %s %u to CPUs %s", names[kind], id, list);
}

static bool libvirt_pin_vcpu(HnBackend *backend, const char *uuid, uint32_t vcpu,
                             const HnCpuset *cpus, GError **error)
{
    return pin(backend, uuid, PIN_VCPU, vcpu, cpus, error);
}

static bool libvirt_pin_emulator(HnBackend *backend, const char *uuid, const HnCpuset *cpus,
                                 GError **error)
{
    return pin(backend, uuid, PIN_EMULATOR, 0, cpus, error);
}

static bool libvirt_pin_iothread(HnBackend *backend, const char *uuid, uint32_t iothread,
                                 const HnCpuset *cpus, GError **error)
{
    return pin(backend, uuid, PIN_IOTHREAD, iothread, cpus, error);
}

static bool libvirt_set_nodeset(HnBackend *backend, const char *uuid, const HnCpuset *node_ids,
                                GError **error)
{
    g_auto(Borrowed) borrowed = {0};
    if (!borrow(backend, uuid, &borrowed, error))
        return false;
    if (hn_cpuset_is_empty(node_ids))
        return refuse(&borrowed, error, "an empty nodeset is not possible");

    virTypedParameterPtr params = NULL;
    int n_params = 0, max_params = 0;
    g_autofree char *list = hn_cpuset_format(node_ids);
    bool is_set =
        virTypedParamsAddInt(&params, &n_params, &max_params, VIR_DOMAIN_NUMA_MODE,
                             VIR_DOMAIN_NUMATUNE_MEM_RESTRICTIVE) == 0 &&
        virTypedParamsAddString(&params, &n_params, &max_params, VIR_DOMAIN_NUMA_NODESET, list) ==
            0 &&
        virDomainSetNumaParameters(borrowed.domain, params, n_params, VIR_DOMAIN_AFFECT_LIVE) == 0;
    virTypedParamsFree(params, n_params);
    return is_set || fail(&borrowed, error, "setting its nodeset to %s", list);
}

static bool set_metadata(const Borrowed *borrowed, const char *xml, const char *key,
                         const char *uri, unsigned flags, GError **error)
{
    if (virDomainSetMetadata(borrowed->domain, VIR_DOMAIN_METADATA_ELEMENT, xml, xml ? key : NULL,
                             uri, flags) == 0)
        return true;
    /* Removing what is not there is no failure. */
    if (!xml && virGetLastErrorCode() == VIR_ERR_NO_DOMAIN_METADATA) {
        virResetLastError();
        return true;
    }
    return fail(borrowed, error, "%s metadata %s", xml ? "writing" : "removing", uri);
}

static bool libvirt_set_stats(HnBackend *backend, const char *uuid, const char *xml, GError **error)
{
    g_auto(Borrowed) borrowed = {0};
    return borrow(backend, uuid, &borrowed, error) &&
           set_metadata(&borrowed, xml, HN_STATS_KEY, HN_STATS_URI, VIR_DOMAIN_AFFECT_LIVE, error);
}

static bool libvirt_set_placement(HnBackend *backend, const char *uuid, const char *xml,
                                  bool is_persistent, GError **error)
{
    g_auto(Borrowed) borrowed = {0};
    if (!borrow(backend, uuid, &borrowed, error))
        return false;
    unsigned flags = 0;
    if (virDomainIsActive(borrowed.domain) == 1)
        flags |= VIR_DOMAIN_AFFECT_LIVE;
    if (is_persistent && virDomainIsPersistent(borrowed.domain) == 1)
        flags |= VIR_DOMAIN_AFFECT_CONFIG;
    if (flags == 0)
        return refuse(&borrowed, error,
                      "it is not running, and its stored configuration is not to change");
    return set_metadata(&borrowed, xml, HN_PLACEMENT_KEY, HN_PLACEMENT_URI, flags, error);
}

/* ---- dirty rate ---- */

static bool libvirt_start_dirty_rate(HnBackend *backend, const char *uuid, HnDirtyMode mode,
                                     uint32_t seconds, GError **error)
{
    const HnLibvirt *self = (const HnLibvirt *)backend;
    g_auto(Borrowed) borrowed = {0};
    g_autoptr(HnDomainInfo) info = NULL;
    unsigned flags = VIR_DOMAIN_DIRTYRATE_MODE_PAGE_SAMPLING;
    if (!borrow(backend, uuid, &borrowed, error))
        return false;
    if (seconds < 1 || seconds > 60)
        return refuse(&borrowed, error, "a dirty rate takes 1 to 60 seconds to measure");
    if (mode != HN_DIRTY_PAGE_SAMPLING) {
        info = observe_domain((HnLibvirt *)backend, &borrowed, error);
        if (!info)
            return false;
        if (info->unobservable)
            return refuse(&borrowed, error, info->unobservable);
    }
    if (mode == HN_DIRTY_BITMAP) {
        /* QEMU 7.2 under TCG ends with a segmentation fault, and libvirt does not check. */
        if (!info->is_kvm)
            return refuse(&borrowed, error, "the dirty bitmap needs KVM");
        if (info->has_dirty_ring)
            return refuse(&borrowed, error, "it uses the dirty ring, so it has no dirty bitmap");
        flags = VIR_DOMAIN_DIRTYRATE_MODE_DIRTY_BITMAP;
    } else if (mode == HN_DIRTY_RING) {
        /* On kernels from 6.16 reading the ring can make QEMU abort. */
        if (!self->is_dirty_ring_allowed)
            return refuse(&borrowed, error,
                          "measuring by dirty ring is not allowed in the configuration");
        if (!info->is_kvm || !info->has_dirty_ring)
            return refuse(&borrowed, error, "it was started without a dirty ring");
        flags = VIR_DOMAIN_DIRTYRATE_MODE_DIRTY_RING;
    }
    return virDomainStartDirtyRateCalc(borrowed.domain, (int)seconds, flags) == 0 ||
           fail(&borrowed, error, "starting to measure its dirty rate");
}

static bool libvirt_get_dirty_rate(HnBackend *backend, const char *uuid, HnDirtyRate *ret_rate,
                                   GError **error)
{
    g_auto(Borrowed) borrowed = {0};
    if (!borrow(backend, uuid, &borrowed, error))
        return false;
    virDomainPtr list[] = {borrowed.domain, NULL};
    virDomainStatsRecordPtr *records = NULL;
    HnDirtyRate rate = {0};
    int n_records = virDomainListGetStats(list, VIR_DOMAIN_STATS_DIRTYRATE, &records,
                                          VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);
    if (n_records < 0)
        return fail(&borrowed, error, "reading its dirty rate");
    if (n_records > 0)
        hn_libvirt_dirty_rate_parse(records[0]->params, records[0]->nparams, &rate);
    virDomainStatsRecordListFree(records);
    *ret_rate = rate;
    return true;
}

/* ---- life ---- */

static void libvirt_free(HnBackend *backend)
{
    HnLibvirt *self = (HnLibvirt *)backend;
    hn_libvirt_connection_close(self->connection);
    g_hash_table_unref(self->jobs);
    g_mutex_clear(&self->lock);
    g_free(self);
}

static void libvirt_watch(HnBackend *backend, HnChangeFunc func, void *user_data)
{
    hn_libvirt_connection_watch(((HnLibvirt *)backend)->connection, func, user_data);
}

static bool libvirt_is_connected(HnBackend *backend)
{
    return hn_libvirt_connection_is_up(((HnLibvirt *)backend)->connection);
}

static uint64_t libvirt_version(HnBackend *backend)
{
    HnLibvirt *self = (HnLibvirt *)backend;
    unsigned long version = 0;
    g_auto(Borrowed) owner = {.conn = hn_libvirt_connection_borrow(self->connection, NULL)};
    return owner.conn && virConnectGetLibVersion(owner.conn, &version) == 0 ? version : 0;
}

static const HnBackendOps libvirt_ops = {
    .name = "libvirt",
    .free = libvirt_free,
    .watch = libvirt_watch,
    .is_connected = libvirt_is_connected,
    .version = libvirt_version,
    .list = libvirt_list,
    .get = libvirt_get,
    .pin_vcpu = libvirt_pin_vcpu,
    .pin_emulator = libvirt_pin_emulator,
    .pin_iothread = libvirt_pin_iothread,
    .set_nodeset = libvirt_set_nodeset,
    .set_stats = libvirt_set_stats,
    .set_placement = libvirt_set_placement,
    .start_dirty_rate = libvirt_start_dirty_rate,
    .get_dirty_rate = libvirt_get_dirty_rate,
};

/* libvirt prints errors to stderr by default; ours travel in GError and are logged once. */
static void ignore_error(void *data, virErrorPtr error)
{
}

HnBackend *hn_backend_libvirt_new(const HnLibvirtOptions *options)
{
    static gsize is_initialised;
    if (g_once_init_enter(&is_initialised)) {
        xmlInitParser();
        virSetErrorFunc(NULL, ignore_error);
        virEventRegisterDefaultImpl(); /* GLib sources on the default main context */
        g_once_init_leave(&is_initialised, 1);
    }
    const char *uri = options->uri ? options->uri : DEFAULT_URI;
    HnLibvirt *self = g_new0(HnLibvirt, 1);
    self->base.ops = &libvirt_ops;
    self->connection = hn_libvirt_connection_new(uri, options->is_read_only);
    self->root = options->root;
    self->is_test_driver = g_str_has_prefix(uri, "test:");
    self->is_dirty_ring_allowed = options->is_dirty_ring_allowed;
    self->jobs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_mutex_init(&self->lock);
    return &self->base;
}

bool hn_backend_libvirt_connect(HnBackend *backend, GError **error)
{
    return hn_libvirt_connection_connect(((HnLibvirt *)backend)->connection, error);
}
