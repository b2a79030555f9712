/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One-line hosts and fleets: what they mean, and one clear error for each that means nothing.
 */
#include <homenode/policy.h>
#include <homenode/topology.h>

#include <string.h>

#define GIB (UINT64_C(1) << 30)

static void test_host(void)
{
    const char *text = "4n 16c smt2 64G dist=10,21,31";
    g_autoptr(GError) error = NULL;
    g_autoptr(HnHost) host = hn_topology_parse_host(text, strlen(text), &error);

    g_assert_no_error(error);
    g_assert_cmpuint(host->n_nodes, ==, 4);
    for (uint32_t n = 0; n < 4; n++) {
        g_assert_cmpuint(host->nodes[n].n_cpus, ==, 4);
        g_assert_cmpuint(host->nodes[n].n_cores, ==, 2);
        g_assert_cmpuint(host->nodes[n].mem_total_bytes, ==, 16 * GIB);
        g_assert_cmpuint(host->nodes[n].mem_free_bytes, ==, 16 * GIB);
    }
    g_assert_cmpuint(hn_host_distance(host, 0, 1), ==, 21);
    g_assert_cmpuint(hn_host_distance(host, 3, 1), ==, 31);
    g_assert_cmpuint(hn_host_distance(host, 0, 3), ==, 31);
    g_assert_cmpint(hn_host_node_of_cpu(host, 7), ==, 1);
}

static void test_odd_host(void)
{
    const char *text = "mem=12G,6G,0 cpus=8,0,4 ids=0,4,9 free=1G,6G,0 "
                       "dist=10,20,30/21,10,40/33,44,10 isolated=0-1 bw=40,20,0 huge2M=512,0,0";
    g_autoptr(GError) error = NULL;
    g_autoptr(HnHost) host = hn_topology_parse_host(text, strlen(text), &error);

    g_assert_no_error(error);
    g_assert_cmpuint(host->n_nodes, ==, 3);
    g_assert_cmpint(host->nodes[2].id, ==, 9);
    g_assert_cmpuint(host->nodes[0].n_cpus, ==, 6);
    g_assert_cmpuint(host->nodes[0].n_cores, ==, 6);
    g_assert_cmpuint(host->nodes[1].n_cpus, ==, 0);
    g_assert_cmpuint(host->nodes[0].mem_free_bytes, ==, 0); /* a GiB of it is hugepages */
    g_assert_cmpuint(host->nodes[0].huge_pools[0].free_pages, ==, 512);
    g_assert_cmpuint(host->nodes[1].bandwidth_bytes_per_sec, ==, 20 * GIB);
    g_assert_cmpuint(hn_host_distance(host, 1, 0), ==, 21);
    g_assert_cmpuint(hn_host_distance(host, 2, 1), ==, 44);
    g_assert_cmpuint(hn_host_home_nodes(host), ==, 1);
}

static void test_auto_rate(void)
{
    static const struct {
        const char *host;
        uint64_t mib_per_s;
    } cases[] = {
        {"1n 4c 8G", 1024},           {"2n 4c 8G", 1024},
        {"3n 6c 6G", 1536},           {"4n 16c 64G", 2048},
        {"8n 16c 64G", 4096},         {"64n 64c 64G", 4096},
        {"mem=4G,4G,4G,0 cpus=2,2,0,2", 1536}, /* a node without memory is no destination */
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(HnHost) host =
            hn_topology_parse_host(cases[i].host, strlen(cases[i].host), &error);
        g_assert_no_error(error);
        g_assert_cmpuint(hn_host_auto_move_bytes_per_sec(host) >> 20, ==, cases[i].mib_per_s);
    }
}

static void test_bad_hosts(void)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"", "0 CPUs cannot be divided"},
        {"2n 4c", "no memory is given"},
        {"0n 8c 1G", "'0n': allowed is 1 to 64 nodes"},
        {"65n 8c 1G", "'65n': allowed is 1 to 64 nodes"},
        {"2n 9c 1G", "9 CPUs cannot be divided evenly over 2 nodes"},
        {"2n 8c 1G 2n", "each kind of word once"},
        {"2n 8c 1G dist=10,5", "dist=10,5"},
        {"2n 8c 1G dist=20,10", "10 and then distances"},
        {"2n 8c 1G dist=10,300", "10 to 254"},
        {"2n 8c 1G dist=10,20/20", "one distance of 10 to 254 per node"},
        {"2n 8c 1G dist=10,20/20,10/1,1", "as many rows as nodes"},
        {"2n 8c 1G dist=11,20/20,10", "allowed: 10)"},
        {"2n 8c 1G smt3", "smt1, smt2, smt4 or smt8"},
        {"2n 6c smt2 1G", "not whole cores"},
        {"2n cpus=4,4,4 1G", "cpus= lists 3 values for 2 nodes"},
        {"2n 9c cpus=4,4 1G", "adds up to 8, but the total says 9"},
        {"2n 8c mem=1G,1G 3G", "mem= adds up to"},
        {"2n 8c 2G free=2G,1G", "more than the memory of node 0"},
        {"2n 8c 65T", "'65T'"},
        {"2n 8c 1X", "'1X'"},
        {"2n 8c 1G ids=3,3", "does not ascend"},
        {"2n 8c 1G colour=red", "'colour=red': allowed is one of"},
        {"2n 8c 1G isolated=0-7", "without a usable CPU"},
        {"2n 8c 1G isolated=9-2", "runs backwards"},
        {"2n 8c 1G\x01", "not printable"},
        {"99999999999999999999n", "a number below"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(HnHost) host =
            hn_topology_parse_host(cases[i].text, strlen(cases[i].text), &error);
        g_assert_null(host);
        g_test_message("%s: %s", cases[i].text, error->message);
        g_assert_nonnull(strstr(error->message, cases[i].error));
    }
}

static void test_fleet(void)
{
    const char *host_text = "2n 8c 16G",
               *text =
                   "3x 2v 1G load=1.5 on=1 ; 1v 512M home=0 mode=advise weight=300 group=web keep";
    g_autoptr(GError) error = NULL;
    g_autoptr(HnHost) host = hn_topology_parse_host(host_text, strlen(host_text), &error);
    g_autoptr(GArray) fleet = hn_topology_parse_fleet(text, strlen(text), &error);

    g_assert_no_error(error);
    g_assert_cmpuint(fleet->len, ==, 2);
    g_assert_cmpuint(g_array_index(fleet, HnFleetGroup, 0).load_mcpu, ==, 1500);
    g_autoptr(HnSnapshot) snapshot =
        hn_topology_populate(host, fleet, 7200 * UINT64_C(1000000000), &error);
    g_assert_no_error(error);
    g_assert_cmpuint(snapshot->domains->len, ==, 4);
    const HnDomain *last = hn_snapshot_find(snapshot, "g3");
    g_assert_cmpint(last->wish.mode, ==, HN_MODE_ADVISE);
    g_assert_cmpint(last->wish.memory, ==, HN_MEMORY_KEEP);
    g_assert_cmpstr(last->wish.group, ==, "web");
    g_assert_cmpuint(last->resident_bytes[0], ==, 256 << 20);
    g_assert_true(hn_cpuset_equal(&last->vcpus[0].affinity, &host->nodes[0].cpus));
    g_assert_cmpuint(snapshot->host->nodes[1].mem_free_bytes, ==,
                     8 * GIB - 3 * GIB - (UINT64_C(256) << 20));
    /* What-if: the three go home to their memory or spread; either way it is decided from this
     * alone. */
    g_autoptr(HnPast) past = hn_past_new();
    HnPolicy policy;
    uint32_t n_actions = 0;
    hn_policy_init(&policy);
    for (uint32_t i = 0; i < 3; i++) {
        g_autoptr(HnPlan) plan = hn_decide(snapshot, &policy, past, NULL, 0, NULL, 0, NULL, &error);
        g_assert_no_error(error);
        n_actions = plan->actions->len;
        hn_topology_advance(snapshot, fleet, 2 * UINT64_C(1000000000));
    }
    g_assert_cmpuint(n_actions, >=, 3);
}

static void test_bad_fleets(void)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"3x 2v", "group 1 lacks vCPUs"},
        {"2v 1G;", NULL},
        {"2v 1G; 1x", "group 2 lacks"},
        {"0x 2v 1G", "a number from 1"},
        {"2v 1G load=3", "load exceeds its 2 vCPUs"},
        {"2v 1G load=a", "CPUs from 0 to 8192"},
        {"2v 1G on=64", "a node index"},
        {"2v 1G mode=on", "mode=none, off, advise or auto"},
        {"2v 1G weight=0", "1 to 1000"},
        {"2v 1G group=", "a name"},
        {"2v 1G shiny", "one of Nx"},
        {"100000x 1v 1M; 1v 1M", "at most 100000"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GArray) fleet =
            hn_topology_parse_fleet(cases[i].text, strlen(cases[i].text), &error);
        g_assert_cmpint(fleet != NULL, ==, cases[i].error == NULL);
        if (cases[i].error)
            g_assert_nonnull(strstr(error->message, cases[i].error));
    }
    const char *host_text = "2n 8c 16G";
    g_autoptr(HnHost) host = hn_topology_parse_host(host_text, strlen(host_text), NULL);
    static const struct {
        const char *text, *error;
    } misfits[] = {{"2v 9G on=0", "does not fit"},
                   {"2v 1G on=2", "names a node the host lacks"},
                   {"17x 2v 1G", "does not fit"}};
    for (unsigned i = 0; i < G_N_ELEMENTS(misfits); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GArray) fleet =
            hn_topology_parse_fleet(misfits[i].text, strlen(misfits[i].text), NULL);
        g_assert_null(hn_topology_populate(host, fleet, 1, &error));
        g_assert_nonnull(strstr(error->message, misfits[i].error));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/topology/host", test_host);
    g_test_add_func("/topology/odd-host", test_odd_host);
    g_test_add_func("/topology/auto-rate", test_auto_rate);
    g_test_add_func("/topology/bad-hosts", test_bad_hosts);
    g_test_add_func("/topology/fleet", test_fleet);
    g_test_add_func("/topology/bad-fleets", test_bad_fleets);
    return g_test_run();
}
