/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What pins memory; see movability.h. */
#include "observe/movability.h"
#include "observe/text.h"

#include <string.h>

#define MAX_SMALL_BYTES 256
/* The largest page the buddy allocator hands out on demand on x86-64 and arm64 with 4 KiB base
 * pages; a 1 GiB page must already be in the pool of the node. */
#define MAX_BUDDY_PAGE_BYTES ((uint64_t)4 << 20)

void hn_open_files_account(HnOpenFiles *files, const char *target)
{
    /* /dev/vfio/vfio alone is a container without a device: nothing is pinned yet. */
    if (g_str_has_prefix(target, "/dev/vfio/") && !g_str_equal(target, "/dev/vfio/vfio"))
        files->has_vfio = true;
    else if (g_str_equal(target, "/dev/iommu") || g_str_has_prefix(target, "/dev/vhost-vdpa-") ||
             g_str_has_prefix(target, "anon_inode:[vfio-device]"))
        files->has_vfio = true;
    else if (g_str_equal(target, "/dev/vhost-net") || g_str_equal(target, "/dev/vhost-vsock") ||
             g_str_equal(target, "/dev/vhost-scsi"))
        files->has_vhost_net = true;
}

HnOpenFiles hn_open_files_read(const HnRoot *root, int64_t pid)
{
    g_autofree char *dir = g_strdup_printf("proc/%" G_GINT64_FORMAT "/fd", pid);
    g_auto(GStrv) names = hn_root_list(root, dir, NULL);
    HnOpenFiles files = {.is_complete = names != NULL};

    for (uint32_t i = 0; names && names[i]; i++) {
        g_autofree char *path = g_strdup_printf("%s/%s", dir, names[i]);
        g_autofree char *target = hn_root_read_link(root, path, NULL);

        /* A file closed meanwhile pins nothing. */
        if (target)
            hn_open_files_account(&files, target);
    }
    return files;
}

/* A node that could take such pages, other than the one that already holds most of the region. */
static bool has_room_elsewhere(const HnRegion *region, const HnHost *host)
{
    uint64_t page_bytes = region->page_bytes;
    uint64_t most_bytes = 0;
    int32_t main_node = HN_NODE_NONE;

    for (uint32_t i = 0; i < host->n_nodes; i++) {
        if (region->resident_bytes[i] > most_bytes) {
            most_bytes = region->resident_bytes[i];
            main_node = (int32_t)i;
        }
    }
    for (uint32_t i = 0; i < host->n_nodes; i++) {
        const HnNode *node = &host->nodes[i];

        if ((int32_t)i == main_node)
            continue;
        /* The kernel takes a fresh page where the pool is empty (docs/evidence.md), if it can find one.
         */
        if (page_bytes <= MAX_BUDDY_PAGE_BYTES &&
            node->mem_free_bytes > node->mem_watermark_bytes + page_bytes)
            return true;
        for (uint32_t k = 0; k < node->n_huge_pools; k++)
            if (node->huge_pools[k].page_bytes == page_bytes && node->huge_pools[k].free_pages > 0)
                return true;
    }
    return false;
}

HnMovability hn_region_movability(const HnRegion *region, const HnDomainInfo *info, bool has_vfio,
                                  const HnHost *host)
{
    if (info->has_launch_security)
        return HN_IMMOVABLE_PRIVATE;
    if (has_vfio)
        return HN_IMMOVABLE_VFIO;
    if (region->backing == HN_BACKING_HUGETLB && !has_room_elsewhere(region, host))
        return HN_IMMOVABLE_HUGETLB;
    /* MOVABLE_SHARED was told by the mapping itself. */
    return region->movability == HN_MOVABLE_SHARED ? HN_MOVABLE_SHARED : HN_MOVABLE;
}

HnNodemask hn_device_nodes_read(const HnRoot *root, const HnHost *host,
                                const GPtrArray *pci_addresses)
{
    HnNodemask nodes = 0;

    for (guint i = 0; pci_addresses && i < pci_addresses->len; i++) {
        const char *address = g_ptr_array_index(pci_addresses, i);
        g_autofree char *path = NULL;
        g_autofree char *text = NULL;
        HnText line, rest;
        int64_t id;
        int32_t index;
        size_t len;

        /* From a domain's XML: nothing but hexadecimal digits, colons and the dot may reach a path.
         */
        if (strspn(address, "0123456789abcdefABCDEF:.") != strlen(address) || strstr(address, ".."))
            continue;
        path = g_strdup_printf("sys/bus/pci/devices/%s/numa_node", address);
        if (!hn_root_read(root, path, MAX_SMALL_BYTES, &text, &len, NULL))
            continue;
        rest = hn_text(text, len);
        if (!hn_text_line(&rest, &line) || !hn_text_i64(&line, &id) || id < 0 || id > INT32_MAX)
            continue;
        index = hn_host_index_of_id(host, (int32_t)id);
        if (index != HN_NODE_NONE)
            nodes |= (HnNodemask)1 << index;
    }
    return nodes;
}
