/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzes the reader of live domain XML: refused with an error, or understood with every part
 * consistent.
 */
#include "../qmp/fuzz.h"

#include "backend/libvirt-domain-xml.h"

#include <string.h>

static void check(const HnDomainInfo *info)
{
    g_assert_cmpuint(strlen(info->uuid), ==, HN_UUID_LEN);
    g_assert_nonnull(info->name);
    g_assert_cmpuint(info->memory->len, >=, 1);
    for (guint i = 0; i < info->vcpus->len; i++)
        g_assert_cmpuint(g_array_index(info->vcpus, HnVcpuInfo, i).id, <=, HN_MAX_CPUS);
    for (guint i = 0; i < info->memory->len; i++)
        g_assert_nonnull(((const HnMemoryInfo *)g_ptr_array_index(info->memory, i))->object_id);
    if (info->has_default_cpuset)
        g_free(hn_cpuset_format(&info->default_cpuset));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    HnDomainInfo *info = NULL;
    GError *error = NULL;
    /* A copy of just these bytes, so that any read beyond them is seen. */
    g_autofree char *text = g_memdup2(data, size);
    if (hn_libvirt_domain_xml_parse(text ? text : "", size, &info, &error)) {
        HnDomainInfo *copy = hn_domain_info_copy(info);
        check(copy);
        hn_domain_info_free(info);
        hn_domain_info_free(copy);
    } else {
        g_assert_nonnull(error);
        g_assert_true(g_utf8_validate(error->message, -1, NULL));
        g_error_free(error);
    }
    return 0;
}
