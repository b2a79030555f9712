/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty rates from the typed parameters that libvirt sends, and from ones that it should not.
 */
#include "backend/libvirt-dirty-rate.h"

#define MIB UINT64_C(1048576)

typedef struct {
    virTypedParameterPtr list;
    int n, n_allocated;
} Params;

static void params_clear(Params *params)
{
    virTypedParamsFree(params->list, params->n);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Params, params_clear)

static void add_int(Params *params, const char *field, int value)
{
    g_assert_cmpint(
        virTypedParamsAddInt(&params->list, &params->n, &params->n_allocated, field, value), ==, 0);
}

static void add_llong(Params *params, const char *field, long long value)
{
    g_assert_cmpint(
        virTypedParamsAddLLong(&params->list, &params->n, &params->n_allocated, field, value), ==,
        0);
}

static void test_measured(void)
{
    g_auto(Params) params = {0};
    HnDirtyRate rate = {0};

    add_int(&params, "dirtyrate.calc_status", VIR_DOMAIN_DIRTYRATE_MEASURED);
    add_int(&params, "dirtyrate.calc_period", 2);
    add_llong(&params, "dirtyrate.megabytes_per_second", 7);
    add_llong(&params, "dirtyrate.vcpu.2.megabytes_per_second", 5);
    g_assert_cmpint(virTypedParamsAddULLong(&params.list, &params.n, &params.n_allocated,
                                            "dirtyrate.vcpu.0.megabytes_per_second", 2),
                    ==, 0);
    hn_libvirt_dirty_rate_parse(params.list, params.n, &rate);
    g_assert_true(rate.is_measured);
    g_assert_cmpuint(rate.calc_seconds, ==, 2);
    g_assert_cmpuint(rate.bytes_per_sec, ==, 7 * MIB);
    g_assert_cmpuint(rate.vcpu_bytes_per_sec->len, ==, 3);
    for (uint32_t i = 0; i < 3; i++)
        g_assert_cmpuint(g_array_index(rate.vcpu_bytes_per_sec, uint64_t, i), ==,
                         ((uint64_t[]){2, 0, 5})[i] * MIB);
    g_array_unref(rate.vcpu_bytes_per_sec);
}

/* While it is measured there is a period, and no number to believe. */
static void test_not_measured(void)
{
    static const int states[] = {VIR_DOMAIN_DIRTYRATE_UNSTARTED, VIR_DOMAIN_DIRTYRATE_MEASURING};

    for (unsigned i = 0; i < G_N_ELEMENTS(states); i++) {
        g_auto(Params) params = {0};
        HnDirtyRate rate = {0};
        add_int(&params, "dirtyrate.calc_status", states[i]);
        add_int(&params, "dirtyrate.calc_period", 1);
        add_llong(&params, "dirtyrate.megabytes_per_second", 7);
        add_llong(&params, "dirtyrate.vcpu.0.megabytes_per_second", 7);
        hn_libvirt_dirty_rate_parse(params.list, params.n, &rate);
        g_assert_false(rate.is_measured);
        g_assert_cmpuint(rate.calc_seconds, ==, 1);
        g_assert_cmpuint(rate.bytes_per_sec, ==, 0);
        g_assert_null(rate.vcpu_bytes_per_sec);
    }
    HnDirtyRate none = {0};
    hn_libvirt_dirty_rate_parse(NULL, 0, &none);
    g_assert_false(none.is_measured);
}

static void test_nonsense(void)
{
    static const char *const fields[] = {"dirtyrate.vcpu.",
                                         "dirtyrate.vcpu.3",
                                         "dirtyrate.vcpu.x.megabytes_per_second",
                                         "dirtyrate.vcpu.-1.megabytes_per_second",
                                         "dirtyrate.vcpu.99999999999.megabytes_per_second",
                                         "dirtyrate.vcpu.1.megabytes_per_second.more",
                                         "dirtyrate.vcpu..megabytes_per_second"};
    g_auto(Params) params = {0};
    HnDirtyRate rate = {0};

    add_int(&params, "dirtyrate.calc_status", VIR_DOMAIN_DIRTYRATE_MEASURED);
    add_llong(&params, "dirtyrate.megabytes_per_second", -3);
    for (unsigned i = 0; i < G_N_ELEMENTS(fields); i++)
        add_llong(&params, fields[i], 9);
    hn_libvirt_dirty_rate_parse(params.list, params.n, &rate);
    g_assert_true(rate.is_measured);
    g_assert_cmpuint(rate.bytes_per_sec, ==, 0);
    g_assert_null(rate.vcpu_bytes_per_sec);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(virInitialize(), ==, 0); /* typed parameters reset the thread's last error */
    g_test_add_func("/libvirt-dirty-rate/measured", test_measured);
    g_test_add_func("/libvirt-dirty-rate/not-measured", test_not_measured);
    g_test_add_func("/libvirt-dirty-rate/nonsense", test_nonsense);
    return g_test_run();
}
