/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all back ends share: the error domain and the life of HnDomainInfo.
 *
 * Holds no state and talks to nobody.
 */
#include "backend.h"

GQuark hn_backend_error_quark(void)
{
    return g_quark_from_static_string("hn-backend-error");
}

void hn_memory_info_free(HnMemoryInfo *memory)
{
    if (memory) {
        g_free(memory->object_id);
        g_free(memory);
    }
}

static void memory_info_destroy(gpointer data)
{
    hn_memory_info_free(data);
}

HnDomainInfo *hn_domain_info_new(void)
{
    HnDomainInfo *info = g_new0(HnDomainInfo, 1);
    info->vcpus = g_array_new(FALSE, TRUE, sizeof(HnVcpuInfo));
    info->iothreads = g_array_new(FALSE, TRUE, sizeof(HnIothreadInfo));
    info->cells = g_array_new(FALSE, TRUE, sizeof(HnGuestCell));
    info->memory = g_ptr_array_new_with_free_func(memory_info_destroy);
    info->host_devices = g_ptr_array_new_with_free_func(g_free);
    return info;
}

static gpointer copy_memory(gconstpointer source, gpointer user_data)
{
    const HnMemoryInfo *from = source;
    HnMemoryInfo *copy = g_memdup2(from, sizeof *from);
    copy->object_id = g_strdup(from->object_id);
    return copy;
}

static gpointer copy_string(gconstpointer source, gpointer user_data)
{
    return g_strdup(source);
}

/* g_ptr_array_copy() keeps the source's free function. */
HnDomainInfo *hn_domain_info_copy(const HnDomainInfo *info)
{
    HnDomainInfo *copy = g_memdup2(info, sizeof *info);
    copy->name = g_strdup(info->name);
    copy->monitor = g_strdup(info->monitor);
    copy->machine_type = g_strdup(info->machine_type);
    copy->placement_xml = g_strdup(info->placement_xml);
    copy->unobservable = g_strdup(info->unobservable);
    copy->vcpus = g_array_copy(info->vcpus);
    copy->iothreads = g_array_copy(info->iothreads);
    copy->cells = g_array_copy(info->cells);
    copy->memory = g_ptr_array_copy(info->memory, copy_memory, NULL);
    copy->host_devices = g_ptr_array_copy(info->host_devices, copy_string, NULL);
    return copy;
}

void hn_domain_info_free(HnDomainInfo *info)
{
    if (!info)
        return;
    g_free(info->name);
    g_free(info->monitor);
    g_free(info->machine_type);
    g_free(info->placement_xml);
    g_free(info->unobservable);
    g_array_unref(info->vcpus);
    g_array_unref(info->iothreads);
    g_array_unref(info->cells);
    g_ptr_array_unref(info->memory);
    g_ptr_array_unref(info->host_devices);
    g_free(info);
}

void hn_backend_free(HnBackend *backend)
{
    if (backend)
        backend->ops->free(backend);
}
