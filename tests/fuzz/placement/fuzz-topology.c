/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One-line hosts (first line) and fleets (the rest): whatever is read is sane, can be populated and
 * decided upon; whatever is refused leaves one error.
 */
#include "../qmp/fuzz.h"

#include <homenode/policy.h>
#include <homenode/topology.h>

#include <string.h>

/* Enough to decide, few enough to be quick. */
#define MAX_GUESTS 24

static void decide(HnSnapshot *snapshot, const GArray *fleet)
{
    g_autoptr(HnPast) past = hn_past_new();
    HnPolicy policy;

    hn_policy_init(&policy);
    policy.confirm_rounds = 1;
    for (int round = 0; round < 3; round++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(HnPlan) plan = hn_decide(snapshot, &policy, past, NULL, 0, NULL, 0, NULL, &error);
        if (!plan)
            g_error("a host that was read was refused: %s", error->message);
        if (plan->verdicts->len != snapshot->domains->len)
            g_error("%u verdicts for %u guests", plan->verdicts->len, snapshot->domains->len);
        hn_topology_advance(snapshot, fleet, UINT64_C(2000000000));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *line = size ? memchr(text, '\n', size) : NULL;
    size_t host_len = line ? (size_t)(line - text) : size;
    g_autoptr(GError) error = NULL, fleet_error = NULL, populate_error = NULL;
    g_autoptr(HnHost) host = hn_topology_parse_host(text, host_len, &error);

    if ((host == NULL) != (error != NULL))
        g_error("neither host nor error, or both");
    const char *rest = line ? line + 1 : text;
    g_autoptr(GArray) fleet =
        hn_topology_parse_fleet(rest, line ? size - host_len - 1 : size, &fleet_error);
    if ((fleet == NULL) != (fleet_error != NULL))
        g_error("neither fleet nor error, or both");
    if (!host || !fleet)
        return 0;
    if (!hn_host_validate(host, &error))
        g_error("a host that was read makes no sense: %s", error->message);
    guint n_guests = 0, n_vcpus = 0;
    for (guint i = 0; i < fleet->len; i++) {
        const HnFleetGroup *group = &g_array_index(fleet, HnFleetGroup, i);
        n_guests += group->count;
        n_vcpus = MAX(n_vcpus, group->n_vcpus);
    }
    if (n_guests > MAX_GUESTS || n_vcpus > 128)
        return 0;
    g_autoptr(HnSnapshot) snapshot =
        hn_topology_populate(host, fleet, UINT64_C(7200000000000), &populate_error);
    if (snapshot)
        decide(snapshot, fleet);
    return 0;
}
