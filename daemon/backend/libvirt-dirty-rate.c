/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See libvirt-dirty-rate.h. */
#include "libvirt-dirty-rate.h"

#include <string.h>

#define MIB UINT64_C(1048576)

/* "dirtyrate.vcpu.3.megabytes_per_second" → 3; -1: it is another statistic. */
static int32_t dirty_rate_vcpu(const char *field)
{
    static const char prefix[] = "dirtyrate.vcpu.";
    const char *digits = g_str_has_prefix(field, prefix) ? field + strlen(prefix) : NULL;
    const char *dot = digits ? strchr(digits, '.') : NULL;
    guint64 vcpu;
    if (!dot || strcmp(dot, ".megabytes_per_second") != 0)
        return -1;
    g_autofree char *number = g_strndup(digits, (gsize)(dot - digits));
    return g_ascii_string_to_unsigned(number, 10, 0, HN_MAX_CPUS - 1, &vcpu, NULL) ? (int32_t)vcpu
                                                                                   : -1;
}

void hn_libvirt_dirty_rate_parse(virTypedParameterPtr params, int n_params, HnDirtyRate *ret_rate)
{
    int status = VIR_DOMAIN_DIRTYRATE_UNSTARTED, seconds = 0;
    long long mib_per_sec = 0;
    virTypedParamsGetInt(params, n_params, "dirtyrate.calc_status", &status);
    virTypedParamsGetInt(params, n_params, "dirtyrate.calc_period", &seconds);
    virTypedParamsGetLLong(params, n_params, "dirtyrate.megabytes_per_second", &mib_per_sec);
    ret_rate->calc_seconds = seconds;
    ret_rate->is_measured = status == VIR_DOMAIN_DIRTYRATE_MEASURED;
    if (!ret_rate->is_measured)
        return;
    ret_rate->bytes_per_sec = (uint64_t)MAX(mib_per_sec, 0) * MIB;
    for (int i = 0; i < n_params; i++) {
        int32_t vcpu = dirty_rate_vcpu(params[i].field);
        long long value = params[i].type == VIR_TYPED_PARAM_ULLONG ? (long long)params[i].value.ul
                                                                   : params[i].value.l;
        if (vcpu < 0)
            continue;
        if (!ret_rate->vcpu_bytes_per_sec)
            ret_rate->vcpu_bytes_per_sec = g_array_new(FALSE, TRUE, sizeof(uint64_t));
        if ((guint)vcpu >= ret_rate->vcpu_bytes_per_sec->len)
            g_array_set_size(ret_rate->vcpu_bytes_per_sec, (guint)vcpu + 1);
        g_array_index(ret_rate->vcpu_bytes_per_sec, uint64_t, vcpu) = (uint64_t)MAX(value, 0) * MIB;
    }
}
