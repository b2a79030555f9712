/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The snapshot as a container: owns its host and domains, keeps them in the order of their uuids,
 * so that the order of observation never shows in a decision.
 */
#include <homenode/snapshot.h>

#include <string.h>

HnSnapshot *hn_snapshot_new(void)
{
    HnSnapshot *snapshot = g_new0(HnSnapshot, 1);

    snapshot->domains = g_ptr_array_new_with_free_func((GDestroyNotify)hn_domain_free);
    return snapshot;
}

void hn_snapshot_free(HnSnapshot *snapshot)
{
    if (!snapshot)
        return;
    hn_host_free(snapshot->host);
    g_ptr_array_unref(snapshot->domains);
    g_free(snapshot);
}

static gint compare_uuid(gconstpointer a, gconstpointer b)
{
    const HnDomain *const *left = a, *const *right = b;

    return strcmp((*left)->uuid, (*right)->uuid);
}

void hn_snapshot_sort(HnSnapshot *snapshot)
{
    g_ptr_array_sort(snapshot->domains, compare_uuid);
}

HnDomain *hn_snapshot_find(const HnSnapshot *snapshot, const char *uuid_or_name)
{
    HnDomain *by_name = NULL;

    for (guint i = 0; i < snapshot->domains->len; i++) {
        HnDomain *domain = g_ptr_array_index(snapshot->domains, i);
        if (strcmp(domain->uuid, uuid_or_name) == 0)
            return domain;
        if (!by_name && domain->name && strcmp(domain->name, uuid_or_name) == 0)
            by_name = domain;
    }
    return by_name;
}
