/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two back ends as one; see backend-composite.h.
 *
 * Whose a domain is follows from the last list of each. A uuid that neither list had (it has just
 * started) is tried with the first one, and if that one does not know it, with the second.
 *
 * Must not: change what either says.
 */
#include "backend-composite.h"

#include "change-queue.h"

#include <string.h>

typedef struct {
    HnBackend base;
    HnBackendOps ops; /* base.ops */
    HnBackend *first, *second;
    HnChangeFunc func;
    void *user_data;
    GMutex lock;         /* guards the rest */
    GHashTable *firsts;  /* uuids of the first one's last list */
    GHashTable *seconds; /* of the second one's, without those of the first */
    GHashTable *said;    /* uuids whose collision has been told */
    bool was_first_connected;
    bool is_first_known_absent; /* its first attempt to connect has failed */
    HnChangeQueue *remarks;
} HnComposite;

typedef enum { FIRST, SECOND, UNKNOWN } Owner;

static Owner owner_of(HnComposite *self, const char *uuid)
{
    g_mutex_lock(&self->lock);
    Owner owner = g_hash_table_contains(self->firsts, uuid)    ? FIRST
                  : g_hash_table_contains(self->seconds, uuid) ? SECOND
                                                               : UNKNOWN;
    g_mutex_unlock(&self->lock);
    return owner;
}

/* Its connection may be young: nothing was heard of it yet. */
static bool may_do_without_first(HnComposite *self)
{
    g_mutex_lock(&self->lock);
    bool may = !self->was_first_connected && self->is_first_known_absent;
    g_mutex_unlock(&self->lock);
    return may;
}

/* After the first one failed: is it worth to ask the second? */
static bool is_next(HnComposite *self, Owner owner, const GError *error)
{
    return owner == UNKNOWN &&
           (g_error_matches(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_GONE) ||
            (g_error_matches(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_DISCONNECTED) &&
             may_do_without_first(self)));
}

/* Runs `call` (an expression with `member` and `failure`) on the back end whose the domain is. */
#define ROUTE(call)                                                                                \
    do {                                                                                           \
        HnComposite *self = (HnComposite *)backend;                                                \
        Owner owner = owner_of(self, uuid);                                                        \
        GError *own_error = NULL, **failure = &own_error;                                          \
        HnBackend *member = owner == SECOND ? self->second : self->first;                          \
        bool is_good = call;                                                                       \
        if (!is_good && is_next(self, owner, own_error)) {                                         \
            g_clear_error(&own_error);                                                             \
            member = self->second;                                                                 \
            is_good = call;                                                                        \
        }                                                                                          \
        if (own_error)                                                                             \
            g_propagate_error(error, own_error);                                                   \
        return is_good;                                                                            \
    } while (0)

static bool composite_get(HnBackend *backend, const char *uuid, HnDomainInfo **ret_info,
                          GError **error)
{
    ROUTE(member->ops->get(member, uuid, ret_info, failure));
}

static bool composite_pin_vcpu(HnBackend *backend, const char *uuid, uint32_t vcpu,
                               const HnCpuset *cpus, GError **error)
{
    ROUTE(member->ops->pin_vcpu(member, uuid, vcpu, cpus, failure));
}

static bool composite_pin_emulator(HnBackend *backend, const char *uuid, const HnCpuset *cpus,
                                   GError **error)
{
    ROUTE(member->ops->pin_emulator(member, uuid, cpus, failure));
}

static bool composite_pin_iothread(HnBackend *backend, const char *uuid, uint32_t iothread,
                                   const HnCpuset *cpus, GError **error)
{
    ROUTE(member->ops->pin_iothread(member, uuid, iothread, cpus, failure));
}

static bool composite_set_nodeset(HnBackend *backend, const char *uuid, const HnCpuset *node_ids,
                                  GError **error)
{
    ROUTE(member->ops->set_nodeset(member, uuid, node_ids, failure));
}

static bool composite_set_stats(HnBackend *backend, const char *uuid, const char *xml,
                                GError **error)
{
    ROUTE(member->ops->set_stats(member, uuid, xml, failure));
}

static bool composite_set_placement(HnBackend *backend, const char *uuid, const char *xml,
                                    bool is_persistent, GError **error)
{
    ROUTE(member->ops->set_placement(member, uuid, xml, is_persistent, failure));
}

static bool composite_start_dirty_rate(HnBackend *backend, const char *uuid, HnDirtyMode mode,
                                       uint32_t seconds, GError **error)
{
    ROUTE(member->ops->start_dirty_rate(member, uuid, mode, seconds, failure));
}

static bool composite_get_dirty_rate(HnBackend *backend, const char *uuid, HnDirtyRate *ret_rate,
                                     GError **error)
{
    ROUTE(member->ops->get_dirty_rate(member, uuid, ret_rate, failure));
}

/* ---- listing ---- */

/* Lock held. */
static void tell_collision(HnComposite *self, const HnDomainInfo *info)
{
    if (!g_hash_table_add(self->said, g_strdup(info->uuid)))
        return;
    g_autofree char *sentence =
        g_strdup_printf("guest '%s' behind '%s' has the uuid %s of a %s domain: the %s domain is "
                        "managed, the guest left alone",
                        info->name, info->monitor ? info->monitor : self->second->ops->name,
                        info->uuid, self->first->ops->name, self->first->ops->name);
    hn_change_queue_push(self->remarks, HN_CHANGE_REMARK, NULL, sentence);
}

static int compare_infos(gconstpointer a, gconstpointer b)
{
    return strcmp((*(HnDomainInfo *const *)a)->uuid, (*(HnDomainInfo *const *)b)->uuid);
}

static void merge(HnComposite *self, GPtrArray *infos, GPtrArray *others)
{
    g_mutex_lock(&self->lock);
    g_hash_table_remove_all(self->firsts);
    g_hash_table_remove_all(self->seconds);
    for (guint i = 0; i < infos->len; i++)
        g_hash_table_add(self->firsts,
                         g_strdup(((HnDomainInfo *)g_ptr_array_index(infos, i))->uuid));
    for (guint i = 0; i < others->len; i++) {
        HnDomainInfo *info = g_ptr_array_index(others, i);
        if (g_hash_table_contains(self->firsts, info->uuid)) {
            tell_collision(self, info);
            continue;
        }
        g_hash_table_add(self->seconds, g_strdup(info->uuid));
        g_ptr_array_add(infos, hn_domain_info_copy(info));
    }
    g_mutex_unlock(&self->lock);
    g_ptr_array_sort(infos, compare_infos);
}

static bool composite_list(HnBackend *backend, GPtrArray **ret_infos, GError **error)
{
    HnComposite *self = (HnComposite *)backend;
    g_autoptr(GPtrArray) infos = NULL, others = NULL;
    g_autoptr(GError) failure = NULL;
    bool is_first_good = self->first->ops->list(self->first, &infos, &failure);
    if (!is_first_good && !may_do_without_first(self)) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
    if (!self->second->ops->list(self->second, &others, error))
        return false;
    if (!is_first_good && others->len == 0) { /* nothing at all: say what is missing */
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
    if (!is_first_good)
        infos = g_ptr_array_new_with_free_func((GDestroyNotify)hn_domain_info_free);
    merge(self, infos, others);
    *ret_infos = g_steal_pointer(&infos);
    return true;
}

/* ---- changes ---- */

static void on_first_change(const HnChange *change, void *user_data)
{
    HnComposite *self = user_data;
    g_mutex_lock(&self->lock);
    self->was_first_connected |= change->kind == HN_CHANGE_CONNECTED;
    self->is_first_known_absent |= change->kind == HN_CHANGE_DISCONNECTED;
    g_mutex_unlock(&self->lock);
    self->func(change, self->user_data);
}

static void on_second_change(const HnChange *change, void *user_data)
{
    HnComposite *self = user_data;
    /* The second one has no daemon behind it that could come or go. What it says of a domain that
     * is the first one's is about another guest. */
    if (change->kind == HN_CHANGE_CONNECTED || change->kind == HN_CHANGE_DISCONNECTED ||
        (*change->uuid && owner_of(self, change->uuid) == FIRST))
        return;
    self->func(change, self->user_data);
}

static void composite_watch(HnBackend *backend, HnChangeFunc func, void *user_data)
{
    HnComposite *self = (HnComposite *)backend;
    self->func = func;
    self->user_data = user_data;
    hn_change_queue_watch(self->remarks, func, user_data);
    self->second->ops->watch(self->second, on_second_change, self);
    self->first->ops->watch(self->first, on_first_change, self);
}

static bool composite_is_connected(HnBackend *backend)
{
    HnComposite *self = (HnComposite *)backend;
    return self->first->ops->is_connected(self->first);
}

static bool composite_attach(HnBackend *backend, const char *socket, char ret_uuid[HN_UUID_LEN + 1],
                             GError **error)
{
    HnBackend *second = ((HnComposite *)backend)->second;
    return second->ops->attach(second, socket, ret_uuid, error);
}

static bool composite_detach(HnBackend *backend, const char *socket, GError **error)
{
    HnBackend *second = ((HnComposite *)backend)->second;
    return second->ops->detach(second, socket, error);
}

/* ---- life ---- */

static void composite_free(HnBackend *backend)
{
    HnComposite *self = (HnComposite *)backend;
    hn_backend_free(self->first);
    hn_backend_free(self->second);
    hn_change_queue_free(self->remarks);
    g_hash_table_unref(self->firsts);
    g_hash_table_unref(self->seconds);
    g_hash_table_unref(self->said);
    g_mutex_clear(&self->lock);
    g_free(self);
}

static uint64_t composite_version(HnBackend *backend)
{
    HnComposite *self = (HnComposite *)backend;
    return self->first->ops->version ? self->first->ops->version(self->first) : 0;
}

static const HnBackendOps composite_ops = {
    .name = NULL, /* the first one's */
    .free = composite_free,
    .watch = composite_watch,
    .is_connected = composite_is_connected,
    .version = composite_version,
    .list = composite_list,
    .get = composite_get,
    .pin_vcpu = composite_pin_vcpu,
    .pin_emulator = composite_pin_emulator,
    .pin_iothread = composite_pin_iothread,
    .set_nodeset = composite_set_nodeset,
    .set_stats = composite_set_stats,
    .set_placement = composite_set_placement,
    .start_dirty_rate = composite_start_dirty_rate,
    .get_dirty_rate = composite_get_dirty_rate,
    .attach = composite_attach,
    .detach = composite_detach,
};

HnBackend *hn_backend_composite_new(HnBackend *first, HnBackend *second)
{
    HnComposite *self = g_new0(HnComposite, 1);
    self->ops = composite_ops;
    self->ops.name = first->ops->name;
    if (!second->ops->attach)
        self->ops.attach = NULL, self->ops.detach = NULL;
    self->base.ops = &self->ops;
    self->first = first;
    self->second = second;
    g_mutex_init(&self->lock);
    self->firsts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    self->seconds = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    self->said = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    self->remarks = hn_change_queue_new();
    return &self->base;
}
