/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hinting faults of a thread, and why there may be none. Movability and pins, which are judged
 * alike. */
#include "observe/faults.h"
#include "observe/movability.h"
#include "observe/pins.h"

#include <string.h>

static HnHost *make_host(void)
{
    HnHost *host = hn_host_new(2);

    for (uint32_t i = 0; i < 2; i++) {
        host->nodes[i].id = (int32_t)(i * 2);
        host->nodes[i].mem_total_bytes = (uint64_t)1 << 30;
        host->nodes[i].mem_free_bytes = (uint64_t)1 << 29;
        hn_cpuset_add(&host->nodes[i].cpus, i * 2);
        hn_cpuset_add(&host->nodes[i].cpus, i * 2 + 1);
        host->nodes[i].n_cpus = 2;
    }
    return host;
}

static void test_sched(void)
{
    static const char text[] =
        "CPU 0/KVM (420, #threads: 6)\n---------------\nse.exec_start                              "
        "  :        813942.7\n"
        "nr_switches                                  :                    3\n"
        "mm->numa_scan_seq                            :                    4\n"
        "numa_pages_migrated                          :                 8199\n"
        "numa_preferred_nid                           :                    2\n"
        "total_numa_faults                            :                 8199\n"
        "current_node=1, numa_group_id=17\n"
        "numa_faults node=0 task_private=1 task_shared=2 group_private=3 group_shared=4\n"
        "numa_faults node=1 task_private=99 task_shared=99 group_private=99 group_shared=99\n"
        "numa_faults node=2 task_private=8199 task_shared=5 group_private=6 group_shared=7\n";
    g_autoptr(HnHost) host = make_host();
    HnSchedNuma numa;

    hn_sched_numa_init(&numa, 2);
    g_assert_true(hn_sched_numa_parse(text, strlen(text), host, &numa, NULL));
    g_assert_true(numa.is_valid);
    g_assert_cmpuint(numa.scan_seq, ==, 4);
    g_assert_cmpint(numa.preferred_node, ==, 1); /* node id 2 */
    g_assert_cmpuint(numa.pages_migrated, ==, 8199);
    g_assert_cmpint(numa.group_id, ==, 17);
    g_assert_cmpuint(numa.task_private[1], ==, 8199);
    g_assert_cmpuint(numa.group_shared[1], ==, 7);
    g_assert_cmpuint(numa.task_shared[0], ==, 2);
    hn_sched_numa_clear(&numa);
}

static void test_sched_bad(void)
{
    static const char *const bad[] = {
        "mm->numa_scan_seq : x\n",
        "mm->numa_scan_seq : -4\n",
        "numa_preferred_nid : 1.5\n",
        "numa_faults node=0 task_private=1 task_shared=2\n",
        "numa_faults node=x task_private=1 task_shared=2 group_private=3 group_shared=4\n",
        "current_node=1, numa_group_id=\n",
    };
    static const char without[] = "CPU 0/KVM (420, #threads: 6)\nnr_switches : 3\n";
    g_autoptr(HnHost) host = make_host();
    HnSchedNuma numa;

    hn_sched_numa_init(&numa, 2);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_false(hn_sched_numa_parse(bad[i], strlen(bad[i]), host, &numa, &error));
        g_assert_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX);
    }
    /* no NUMA balancing in the kernel: no lines, no evidence, no error */
    g_assert_true(hn_sched_numa_parse(without, strlen(without), host, &numa, NULL));
    g_assert_false(numa.is_valid);
    g_assert_cmpint(numa.preferred_node, ==, HN_NODE_NONE);
    hn_sched_numa_clear(&numa);
}

static void test_impediment(void)
{
    static const HnFaultConditions fine = {.n_memory_nodes = 2,
                                           .has_sched_numa = true,
                                           .has_balancing = true,
                                           .balancing_mode = 1,
                                           .n_allowed_nodes = 2,
                                           .scan_seq = 5,
                                           .total_faults = 100};
    HnFaultConditions c;

    g_assert_null(hn_faults_impediment(&fine));
#define EXPECT(code, ...)                                                                          \
    do {                                                                                           \
        c = fine;                                                                                  \
        __VA_ARGS__;                                                                               \
        g_assert_cmpstr(hn_faults_impediment(&c), ==, code);                                       \
        g_assert_cmpstr(hn_faults_impediment_sentence(code), !=, "unknown");                       \
    } while (0)
    EXPECT("one-node-host", c.n_memory_nodes = 1);
    EXPECT("no-kernel-support", c.has_balancing = false);
    EXPECT("no-kernel-support", c.has_sched_numa = false);
    EXPECT("balancing-off", c.balancing_mode = 0);
    EXPECT("balancing-off", c.balancing_mode = 2); /* tiering only */
    EXPECT("hugetlb", c.is_hugetlb = true);
    EXPECT("bound-policy", c.numatune_mode = HN_NUMATUNE_STRICT);
    EXPECT("one-node-nodeset", c.n_allowed_nodes = 1);
    EXPECT("not-scanned-yet", c.scan_seq = 0; c.total_faults = 0);
    EXPECT("shared-memory", c.is_shmem = true; c.total_faults = 0; c.resident_bytes = 1 << 27);
    EXPECT("shared-memory", c.is_shmem = true; c.total_faults = 3760; c.resident_bytes = 1 << 27);
#undef EXPECT
    c = fine;
    c.numatune_mode = HN_NUMATUNE_RESTRICTIVE;
    g_assert_null(hn_faults_impediment(&c));
    c.is_shmem = true; /* a kernel that does scan it */
    c.resident_bytes = 1 << 20;
    g_assert_null(hn_faults_impediment(&c));
}

static void test_open_files(void)
{
    static const struct {
        const char *target;
        bool has_vfio, has_vhost;
    } cases[] = {
        {"/dev/vfio/12", true, false},
        {"/dev/vfio/devices/vfio0", true, false},
        {"/dev/vfio/vfio", false, false},
        {"/dev/iommu", true, false},
        {"/dev/vhost-vdpa-0", true, false},
        {"anon_inode:[vfio-device]", true, false},
        {"/dev/vhost-net", false, true},
        {"/dev/kvm", false, false},
        {"/var/lib/libvirt/images/vfio", false, false},
        {"", false, false},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        HnOpenFiles files = {0};

        hn_open_files_account(&files, cases[i].target);
        g_assert_cmpint(files.has_vfio, ==, cases[i].has_vfio);
        g_assert_cmpint(files.has_vhost_net, ==, cases[i].has_vhost);
    }
}

static void test_movability(void)
{
    g_autoptr(HnHost) host = make_host();
    uint64_t resident[2] = {1 << 20, 0};
    HnRegion region = {.page_bytes = 4096, .movability = HN_MOVABLE, .resident_bytes = resident};
    HnDomainInfo info = {.name = (char *)"g"};

    g_assert_cmpint(hn_region_movability(&region, &info, false, host), ==, HN_MOVABLE);
    info.is_locked = true; /* mlock does not hold pages on a node */
    g_assert_cmpint(hn_region_movability(&region, &info, false, host), ==, HN_MOVABLE);
    g_assert_cmpint(hn_region_movability(&region, &info, true, host), ==, HN_IMMOVABLE_VFIO);
    region.movability = HN_MOVABLE_SHARED;
    g_assert_cmpint(hn_region_movability(&region, &info, false, host), ==, HN_MOVABLE_SHARED);
    info.has_launch_security = true;
    g_assert_cmpint(hn_region_movability(&region, &info, true, host), ==, HN_IMMOVABLE_PRIVATE);
}

static void test_hugetlb_room(void)
{
    g_autoptr(HnHost) host = make_host();
    uint64_t resident[2] = {1 << 30, 0};
    HnRegion region = {
        .page_bytes = 2 << 20, .backing = HN_BACKING_HUGETLB, .resident_bytes = resident};
    HnDomainInfo info = {.name = (char *)"g"};

    /* 2 MiB pages come out of free memory too */
    g_assert_cmpint(hn_region_movability(&region, &info, false, host), ==, HN_MOVABLE);
    host->nodes[1].mem_free_bytes = 0;
    g_assert_cmpint(hn_region_movability(&region, &info, false, host), ==, HN_IMMOVABLE_HUGETLB);
    host->nodes[1].n_huge_pools = 1;
    host->nodes[1].huge_pools[0] = (HnHugePool){2 << 20, 10, 1};
    g_assert_cmpint(hn_region_movability(&region, &info, false, host), ==, HN_MOVABLE);
    /* 1 GiB pages only from a pool */
    host->nodes[1].mem_free_bytes = (uint64_t)1 << 40;
    region.page_bytes = 1 << 30;
    g_assert_cmpint(hn_region_movability(&region, &info, false, host), ==, HN_IMMOVABLE_HUGETLB);
    /* room where the pages already are is no room */
    host->nodes[0].n_huge_pools = 1;
    host->nodes[0].huge_pools[0] = (HnHugePool){1 << 30, 10, 5};
    g_assert_cmpint(hn_region_movability(&region, &info, false, host), ==, HN_IMMOVABLE_HUGETLB);
}

/* What the test's journal says we own. */
static HnOwned owned_pin;
static bool is_owned;

static bool lookup(void *user_data, const char *uuid, HnOwnedKind kind, uint32_t id,
                   HnOwned *ret_owned)
{
    g_assert_cmpstr(uuid, ==, "u");
    if (is_owned)
        *ret_owned = owned_pin;
    return is_owned;
}

static HnCpuset set_of(const char *text)
{
    HnCpuset set;

    g_assert_true(hn_cpuset_parse(text, strlen(text), &set, NULL));
    return set;
}

static void test_pins(void)
{
    /* "" stands for: not there */
    static const struct {
        const char *pin, *fallback, *affinity, *ours, *original, *expected, *previous;
    } cases[] = {
        {"", "", "0-3", "", "", ""},          /* nothing set, all allowed */
        {"0-3", "", "0-3", "", "", ""},       /* a pin to everything is none */
        {"0-7", "", "0-3", "", "", ""},       /* … also with CPUs that are offline or isolated */
        {"0-1", "", "0-1", "", "", "0-1"},    /* the admin's */
        {"", "0-1", "0-1", "", "", "0-1"},    /* <vcpu cpuset> */
        {"2-3", "0-1", "2-3", "", "", "2-3"}, /* own pin goes before it */
        {"", "", "1", "", "", "1"},           /* taskset, or a cpuset of the slice */
        {"0-1", "", "0-1", "0-1", "", ""},    /* ours */
        {"0-1", "", "0-1", "0-1", "0-2", "0-2"}, /* ours, inside what the admin had set */
        {"0-1", "0-2", "0-1", "0-1", "", "0-2"}, /* ours, inside the fallback */
        {"2-3", "", "2-3", "0-1", "", "2-3"},    /* the admin changed ours */
        {"", "", "0-1", "0-1", "", ""},          /* our pin, not shown yet */
        {"2-3", "", "2-3", "0-1", "", "", "2-3"},       /* ours from before, as the new one is not set yet */
        {"2", "", "2", "0-1", "0-2", "0-2", "2"},       /* … inside what the admin had set */
        {"1-2", "", "1-2", "0-1", "", "1-2", "2-3"},    /* neither: the admin's */
    };
    HnCpuset everything = set_of("0-3");
    HnOwnership ownership = {.lookup = lookup};

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        HnPinState state = {.has_pin = *cases[i].pin,
                            .pin = set_of(cases[i].pin),
                            .has_fallback = *cases[i].fallback,
                            .fallback = set_of(cases[i].fallback),
                            .has_affinity = *cases[i].affinity,
                            .affinity = set_of(cases[i].affinity)};
        HnCpuset allowed = {{0}}, expected = set_of(cases[i].expected);
        bool is_admin;

        is_owned = *cases[i].ours;
        owned_pin = (HnOwned){.ours = set_of(cases[i].ours),
                              .has_previous = cases[i].previous,
                              .previous = set_of(cases[i].previous ? cases[i].previous : ""),
                              .has_original = *cases[i].original,
                              .original = set_of(cases[i].original)};
        is_admin = hn_pin_judge(&ownership, "u", HN_OWNED_VCPU, 1, &state, &everything, &allowed);
        g_assert_cmpint(is_admin, ==, *cases[i].expected != '\0');
        g_assert_true(hn_cpuset_equal(&allowed, &expected));
    }
}

static void test_nodeset(void)
{
    g_autoptr(HnHost) host = make_host(); /* ids 0 and 2 */
    HnOwnership ownership = {.lookup = lookup};
    HnDomainInfo info = {.uuid = "u"};
    HnNodemask nodes;
    bool is_admin, is_fenced;

    is_owned = false;
    hn_nodeset_judge(&ownership, &info, host, &is_admin, &nodes, &is_fenced);
    g_assert_false(is_admin || is_fenced);
    info.numatune_mode = HN_NUMATUNE_STRICT;
    info.numatune_nodes = set_of("2");
    hn_nodeset_judge(&ownership, &info, host, &is_admin, &nodes, &is_fenced);
    g_assert_true(is_admin && !is_fenced);
    g_assert_cmphex(nodes, ==, 2); /* index 1 */
    info.numatune_nodes = set_of("0,2");
    hn_nodeset_judge(&ownership, &info, host, &is_admin, &nodes, &is_fenced);
    g_assert_false(is_admin || is_fenced);
    /* our fence, then ours opened again */
    is_owned = true;
    owned_pin = (HnOwned){.ours = set_of("2")};
    info.numatune_mode = HN_NUMATUNE_RESTRICTIVE;
    info.numatune_nodes = set_of("2");
    hn_nodeset_judge(&ownership, &info, host, &is_admin, &nodes, &is_fenced);
    g_assert_true(!is_admin && is_fenced);
    /* opening is written down, and not done yet */
    owned_pin = (HnOwned){.ours = set_of("0,2"), .has_previous = true, .previous = set_of("2")};
    hn_nodeset_judge(&ownership, &info, host, &is_admin, &nodes, &is_fenced);
    g_assert_true(!is_admin && is_fenced);
    owned_pin.ours = info.numatune_nodes = set_of("0,2");
    hn_nodeset_judge(&ownership, &info, host, &is_admin, &nodes, &is_fenced);
    g_assert_false(is_admin || is_fenced);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/observe/faults/sched", test_sched);
    g_test_add_func("/observe/faults/sched-bad", test_sched_bad);
    g_test_add_func("/observe/faults/impediment", test_impediment);
    g_test_add_func("/observe/movability/open-files", test_open_files);
    g_test_add_func("/observe/movability/classes", test_movability);
    g_test_add_func("/observe/movability/hugetlb-room", test_hugetlb_room);
    g_test_add_func("/observe/pins/cpus", test_pins);
    g_test_add_func("/observe/pins/nodeset", test_nodeset);
    return g_test_run();
}
