/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where guests that are about to start are told to begin, and the ledger of what was promised.
 */
#include <homenode/newcomer.h>
#include <homenode/topology.h>

#include <string.h>

#define SECOND_NS UINT64_C(1000000000)
#define NOW_NS (3600 * SECOND_NS)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static HnSnapshot *snapshot_of(const char *host_text, const char *fleet_text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(HnHost) host = hn_topology_parse_host(host_text, strlen(host_text), &error);
    g_assert_no_error(error);
    g_autoptr(GArray) fleet = hn_topology_parse_fleet(fleet_text, strlen(fleet_text), &error);
    g_assert_no_error(error);
    HnSnapshot *snapshot = hn_topology_populate(host, fleet, NOW_NS, &error);
    g_assert_no_error(error);
    return snapshot;
}

static HnNodemask place(const HnSnapshot *snapshot, uint32_t n_vcpus, uint64_t bytes,
                        const GArray *promises, HnReason *ret_reason)
{
    g_autoptr(GError) error = NULL;
    HnNewcomer guest = {n_vcpus, bytes};
    HnPolicy policy;
    hn_policy_init(&policy);
    HnNodemask nodes =
        hn_newcomer_place(snapshot, &policy, NULL, NULL, &guest, promises, ret_reason, &error);
    g_assert_no_error(error);
    return nodes;
}

/* One guest on hosts of all kinds. */
static void test_one_guest(void)
{
    static const struct {
        const char *host, *fleet;
        uint32_t n_vcpus;
        uint64_t bytes;
        HnNodemask expected;
        HnReason reason;
    } cases[] = {
        /* The emptier node, by CPU. */
        {"2n 16c 64G", "4x 2v 4G home=0 on=0", 2, 4 * GIB, 2, HN_REASON_INITIAL_PLACEMENT},
        {"2n 16c 64G", "4x 2v 4G home=1 on=1", 2, 4 * GIB, 1, HN_REASON_INITIAL_PLACEMENT},
        /* The busier node is the only one with room. */
        {"2n 16c 64G free=30G,2G", "4x 1v 1G home=0 on=0", 2, 8 * GIB, 1,
         HN_REASON_INITIAL_PLACEMENT},
        /* Neither has room alone: both. */
        {"2n 16c 64G free=10G,10G", "1x 1v 1G home=0 on=0", 2, 14 * GIB, 3, HN_REASON_NODE_FULL},
        /* Nowhere is room: all that can be a home, the start must not fail by us. */
        {"2n 16c 64G free=2G,2G", "1x 1v 1G home=0 on=0", 2, 20 * GIB, 3, HN_REASON_NODE_FULL},
        /* Too many vCPUs, or too much memory, for any node even if it were empty. */
        {"2n 16c 64G", "1x 1v 1G home=0 on=0", 12, 16 * GIB, 3, HN_REASON_SPLIT_WIDE},
        {"4n 32c 64G dist=10,20,30", "1x 1v 1G home=0 on=0", 4, 24 * GIB, 0, HN_REASON_SPLIT_WIDE},
        /* Memory-only and CPU-less nodes are never answered. */
        {"3n cpus=8,8,0 mem=32G,32G,64G", "4x 2v 4G home=0 on=0", 2, 4 * GIB, 2,
         HN_REASON_INITIAL_PLACEMENT},
        {"2n cpus=8,0 mem=32G,64G", "1x 2v 4G home=0 on=0", 2, 48 * GIB, 1,
         HN_REASON_SINGLE_NODE_HOST},
        {"1n 8c 32G", "1x 2v 4G home=0 on=0", 64, 4 * GIB, 1, HN_REASON_SINGLE_NODE_HOST},
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        HnReason reason;
        g_autoptr(HnSnapshot) snapshot = snapshot_of(cases[i].host, cases[i].fleet);
        g_test_message("%s | %s", cases[i].host, cases[i].fleet);
        HnNodemask nodes = place(snapshot, cases[i].n_vcpus, cases[i].bytes, NULL, &reason);
        if (cases[i].expected)
            g_assert_cmphex(nodes, ==, cases[i].expected);
        else /* any two neighbours */
            g_assert_true(__builtin_popcountll(nodes) == 2 && (nodes & nodes >> 1));
        g_assert_cmpstr(hn_reason_name(reason), ==, hn_reason_name(cases[i].reason));
        /* Asked again, the same. */
        g_assert_cmphex(place(snapshot, cases[i].n_vcpus, cases[i].bytes, NULL, &reason), ==,
                        nodes);
    }
}

/* Ten guests asked for before one of them is seen: evenly, by CPU and by memory. */
static void test_burst(void)
{
    static const struct {
        const char *host, *fleet;
        uint32_t n_guests, n_vcpus;
        uint64_t bytes;
        uint32_t most_per_node, n_nodes;
    } cases[] = {
        {"2n 16c 64G", "1x 1v 1G load=0.1", 10, 2, 2 * GIB, 5, 2},
        {"4n 32c 128G", "1x 1v 1G load=0.1", 8, 4, 8 * GIB, 2, 4},
        {"2n 64c 64G", "1x 1v 1G load=0.1", 6, 1, 9 * GIB, 3, 2}, /* memory is what is short */
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(HnSnapshot) snapshot = snapshot_of(cases[i].host, cases[i].fleet);
        g_autoptr(GArray) promises = g_array_new(FALSE, TRUE, sizeof(HnPromise));
        uint32_t count[HN_MAX_NODES] = {0}, forgetful[HN_MAX_NODES] = {0};
        g_test_message("%s", cases[i].host);
        for (uint32_t g = 0; g < cases[i].n_guests; g++) {
            HnReason reason;
            HnNewcomer guest = {cases[i].n_vcpus, cases[i].bytes};
            HnNodemask nodes = place(snapshot, guest.n_vcpus, guest.bytes, promises, &reason);
            g_assert_cmpint(__builtin_popcountll(nodes), ==, 1);
            count[__builtin_ctzll(nodes)]++;
            hn_promises_settle(promises, snapshot, NOW_NS + g);
            hn_promises_add(promises, &guest, nodes, NOW_NS + g);
            nodes = place(snapshot, guest.n_vcpus, guest.bytes, NULL, &reason);
            forgetful[__builtin_ctzll(nodes)]++;
        }
        for (uint32_t n = 0; n < cases[i].n_nodes; n++)
            g_assert_cmpuint(count[n], <=, cases[i].most_per_node);
        /* That it is the ledger which spreads them: without it all are told the same. */
        uint32_t most = 0;
        for (uint32_t n = 0; n < cases[i].n_nodes; n++)
            most = MAX(most, forgetful[n]);
        g_assert_cmpuint(most, ==, cases[i].n_guests);
    }
}

/* A guest that was promised a place and has come is counted once, as itself. */
static void test_promises_are_kept_once(void)
{
    g_autoptr(HnSnapshot) snapshot = snapshot_of("2n 16c 64G", "3x 2v 4G home=0 on=0");
    g_autoptr(GArray) promises = g_array_new(FALSE, TRUE, sizeof(HnPromise));
    HnNewcomer guest = {2, 4 * GIB}, other = {4, 4 * GIB};
    HnDomain *first = g_ptr_array_index(snapshot->domains, 0);
    HnDomain *second = g_ptr_array_index(snapshot->domains, 1);
    const HnPromise *promise;

    hn_promises_add(promises, &guest, 1, NOW_NS);
    hn_promises_add(promises, &guest, 1, NOW_NS + SECOND_NS);
    hn_promises_add(promises, &other, 1, NOW_NS + SECOND_NS);
    hn_promises_settle(promises, snapshot, NOW_NS + SECOND_NS); /* guests that ran long before */
    for (guint i = 0; i < promises->len; i++)
        g_assert_cmpstr(g_array_index(promises, HnPromise, i).uuid, ==, "");

    first->started_ns = NOW_NS + 2 * SECOND_NS;
    for (guint again = 0; again < 2; again++) { /* seen twice is no second guest */
        hn_promises_settle(promises, snapshot, NOW_NS + 2 * SECOND_NS);
        promise = &g_array_index(promises, HnPromise, 0);
        g_assert_cmpstr(promise[0].uuid, ==, first->uuid);
        g_assert_cmpstr(promise[1].uuid, ==, "");
        g_assert_cmpstr(promise[2].uuid, ==, "");
    }
    second->started_ns = NOW_NS + 3 * SECOND_NS;
    second->configured_bytes -= MIB / 2; /* libvirt rounds up when it asks */
    hn_promises_settle(promises, snapshot, NOW_NS + 3 * SECOND_NS);
    promise = &g_array_index(promises, HnPromise, 0);
    g_assert_cmpstr(promise[1].uuid, ==, second->uuid);
    g_assert_cmpstr(promise[2].uuid, ==, "");
}

static void test_promises_end(void)
{
    g_autoptr(HnSnapshot) snapshot = snapshot_of("2n 16c 64G", "1x 2v 4G home=0 on=0");
    g_autoptr(GArray) promises = g_array_new(FALSE, TRUE, sizeof(HnPromise));
    HnNewcomer guest = {2, 4 * GIB};
    HnReason reason;

    hn_promises_add(promises, &guest, 2, NOW_NS);
    g_assert_cmphex(place(snapshot, 12, GIB, promises, &reason), ==, 3);
    /* Time alone is not enough: nobody has looked since. */
    hn_promises_settle(promises, snapshot, NOW_NS + HN_PROMISE_TTL_NS);
    g_assert_cmpuint(promises->len, ==, 1);
    snapshot->taken_ns = NOW_NS + HN_PROMISE_TTL_NS;
    hn_promises_settle(promises, snapshot, NOW_NS + HN_PROMISE_TTL_NS);
    g_assert_cmpuint(promises->len, ==, 0);
    /* Without any snapshot time is all there is. */
    hn_promises_add(promises, &guest, 2, NOW_NS);
    hn_promises_settle(promises, NULL, NOW_NS + HN_PROMISE_TTL_NS - 1);
    g_assert_cmpuint(promises->len, ==, 1);
    hn_promises_settle(promises, NULL, NOW_NS + HN_PROMISE_TTL_NS);
    g_assert_cmpuint(promises->len, ==, 0);

    for (uint32_t i = 0; i < HN_MAX_PROMISES + 10; i++)
        hn_promises_add(promises, &guest, 1, NOW_NS + i);
    g_assert_cmpuint(promises->len, ==, HN_MAX_PROMISES);
    g_assert_cmpuint(g_array_index(promises, HnPromise, 0).promised_ns, ==, NOW_NS + 10);
}

/* The snapshot and the past of the daemon are only read. */
static void test_nothing_is_changed(void)
{
    g_autoptr(HnSnapshot) snapshot = snapshot_of("2n 16c 64G", "4x 2v 4G; 2x 4v 8G on=1");
    g_autoptr(HnPast) past = hn_past_new();
    HnPolicy policy;
    hn_policy_init(&policy);
    g_autoptr(HnPlan) plan =
        hn_decide(snapshot, &policy, past, NULL, 0, NULL, 0, NULL, NULL);
    g_autofree char *before = hn_past_format(past);
    const char *in_flight[] = {((HnDomain *)g_ptr_array_index(snapshot->domains, 0))->uuid, NULL};
    HnNewcomer guest = {2, 4 * GIB};
    HnReason reason;

    g_assert_nonnull(plan);
    g_assert_cmphex(hn_newcomer_place(snapshot, &policy, past, in_flight, &guest, NULL, &reason, NULL),
                    !=, 0);
    g_autofree char *after = hn_past_format(past);
    g_assert_cmpstr(before, ==, after);
    g_assert_cmpuint(snapshot->domains->len, ==, 6);
    for (guint d = 0; d < snapshot->domains->len; d++)
        g_assert_cmpint(((HnDomain *)g_ptr_array_index(snapshot->domains, d))->wish.mode, ==,
                        HN_MODE_AUTO);
}

static void test_mistakes(void)
{
    static const struct {
        HnNewcomer guest;
        const char *complaint;
    } cases[] = {
        {{0, GIB}, "0 vCPUs"},
        {{HN_NEWCOMER_MAX_VCPUS + 1, GIB}, "8193 vCPUs"},
        {{1, HN_NEWCOMER_MAX_BYTES + MIB}, "1073741825 MiB"},
    };
    g_autoptr(HnSnapshot) snapshot = snapshot_of("2n 16c 64G", "1x 1v 1G");
    HnPolicy policy;
    HnReason reason;
    hn_policy_init(&policy);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_cmphex(hn_newcomer_place(snapshot, &policy, NULL, NULL, &cases[i].guest, NULL,
                                          &reason, &error),
                        ==, 0);
        g_assert_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_RANGE);
        g_assert_nonnull(strstr(error->message, cases[i].complaint));
        g_assert_nonnull(strstr(error->message, "allowed"));
    }
    /* The largest there may be is placed, not refused. */
    g_assert_cmphex(place(snapshot, HN_NEWCOMER_MAX_VCPUS, HN_NEWCOMER_MAX_BYTES, NULL, &reason),
                    ==, 3);
    g_autoptr(HnSnapshot) empty = hn_snapshot_new();
    g_autoptr(GError) error = NULL;
    HnNewcomer guest = {1, GIB};
    g_assert_cmphex(hn_newcomer_place(empty, &policy, NULL, NULL, &guest, NULL, &reason, &error), ==,
                    0);
    g_assert_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/newcomer/one-guest", test_one_guest);
    g_test_add_func("/newcomer/burst", test_burst);
    g_test_add_func("/newcomer/promises-are-kept-once", test_promises_are_kept_once);
    g_test_add_func("/newcomer/promises-end", test_promises_end);
    g_test_add_func("/newcomer/nothing-is-changed", test_nothing_is_changed);
    g_test_add_func("/newcomer/mistakes", test_mistakes);
    return g_test_run();
}
