/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Scenario texts. What is accepted must make sense, and a small one must run: a few steps under
 * every policy, after which all that the output prints is a number.
 */
#include "sim/output.h"

#include <math.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_small(const HnSimScenario *scenario)
{
    uint64_t n_vcpus = 0;

    for (guint i = 0; i < scenario->guests->len; i++)
        n_vcpus += ((const HnSimGuest *)scenario->guests->pdata[i])->n_vcpus;
    return scenario->guests->len <= 8 && n_vcpus <= 64 && scenario->host->n_nodes <= 8;
}

static void try_run(HnSimScenario *scenario, const HnSimPolicy *policy)
{
    scenario->duration_s = MIN(scenario->duration_s, 5 * scenario->step_s);
    g_autoptr(HnSimResult) result = hn_sim_run(scenario, policy);

    g_assert(result->guests->len == scenario->guests->len);
    for (guint i = 0; i < result->guests->len; i++) {
        const HnSimGuestResult *guest = &g_array_index(result->guests, HnSimGuestResult, i);

        g_assert(guest->accesses_local >= 0 && guest->accesses_local <= 1 + 1e-9);
        g_assert(guest->bytes_local >= 0 && guest->bytes_local <= 1 + 1e-9);
        g_assert(isfinite(guest->run_s) && guest->moved_bytes >= 0);
    }
    for (uint32_t n = 0; n < result->n_nodes; n++)
        g_assert(isfinite(result->node_load[n]) && result->node_load[n] >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(HnSimScenario) scenario = hn_sim_scenario_parse((const char *)data, size, &error);

    g_assert(!scenario == !!error);
    if (!scenario) {
        g_assert(*error->message && g_utf8_validate(error->message, -1, NULL));
        return 0;
    }
    g_assert(scenario->guests->len > 0 && scenario->duration_s > 0 && scenario->step_s > 0);
    g_assert(hn_host_validate(scenario->host, NULL));
    for (guint i = 0; i < scenario->guests->len; i++) {
        const HnSimGuest *guest = scenario->guests->pdata[i];

        g_assert(guest->n_vcpus > 0 && guest->memory_bytes > 0 && isfinite(guest->work_gib));
        g_assert(guest->bind_node >= HN_NODE_NONE &&
                 guest->bind_node < (int32_t)scenario->host->n_nodes);
    }
    if (is_small(scenario))
        for (const HnSimPolicy *const *policy = hn_sim_policies; *policy; policy++)
            try_run(scenario, *policy);
    return 0;
}
