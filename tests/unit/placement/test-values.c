/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The plain values: CPU sets, hosts, policies, reasons, containers.
 */
#include <homenode/policy.h>

#include <string.h>

static void test_cpuset_text(void)
{
    static const struct {
        const char *text, *formatted; /* formatted NULL: must fail */
        const char *error;            /* part of the message */
        int code;
    } cases[] = {
        {"", "", NULL, 0},
        {"0", "0", NULL, 0},
        {" 0-3,8,10-11\n", "0-3,8,10-11", NULL, 0},
        {"3,1,2", "1-3", NULL, 0},
        {"8191", "8191", NULL, 0},
        {"0-8191", "0-8191", NULL, 0},
        {"8192", NULL, "0 to 8191", HN_MODEL_ERROR_RANGE},
        {"99999999999999999999", NULL, "0 to 8191", HN_MODEL_ERROR_RANGE},
        {"5-3", NULL, "runs backwards", HN_MODEL_ERROR_RANGE},
        {"1,", NULL, "ends with ','", HN_MODEL_ERROR_SYNTAX},
        {",1", NULL, "','", HN_MODEL_ERROR_SYNTAX},
        {"1-", NULL, "lacks a CPU number", HN_MODEL_ERROR_SYNTAX},
        {"1 2", NULL, "without a ','", HN_MODEL_ERROR_SYNTAX},
        {"a", NULL, "'a' at offset 0", HN_MODEL_ERROR_SYNTAX},
        {"-1", NULL, "'-' at offset 0", HN_MODEL_ERROR_SYNTAX},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        HnCpuset set;
        memset(&set, 0xa5, sizeof(set));
        bool is_read = hn_cpuset_parse(cases[i].text, strlen(cases[i].text), &set, &error);
        g_assert_cmpint(is_read, ==, cases[i].formatted != NULL);
        if (is_read) {
            g_autofree char *text = hn_cpuset_format(&set);
            g_assert_cmpstr(text, ==, cases[i].formatted);
            continue;
        }
        g_assert_error(error, HN_MODEL_ERROR, cases[i].code);
        g_assert_nonnull(strstr(error->message, cases[i].error));
        g_assert_cmpuint(set.words[3], ==, UINT64_C(0xa5a5a5a5a5a5a5a5)); /* untouched */
    }
}

static void test_cpuset_algebra(void)
{
    HnCpuset a = {0}, b = {0}, c;

    for (uint32_t cpu = 0; cpu < 200; cpu += 2)
        hn_cpuset_add(&a, cpu);
    for (uint32_t cpu = 0; cpu < 200; cpu += 3)
        hn_cpuset_add(&b, cpu);
    hn_cpuset_add(&a, HN_MAX_CPUS); /* ignored */
    g_assert_cmpuint(hn_cpuset_count(&a), ==, 100);
    g_assert_false(hn_cpuset_has(&a, HN_MAX_CPUS));
    c = a;
    hn_cpuset_and(&c, &b);
    g_assert_cmpuint(hn_cpuset_count(&c), ==, 34);
    g_assert_true(hn_cpuset_is_subset(&c, &a) && hn_cpuset_is_subset(&c, &b));
    g_assert_false(hn_cpuset_is_subset(&a, &b));
    g_assert_true(hn_cpuset_intersects(&a, &b));
    hn_cpuset_and_not(&c, &a);
    g_assert_true(hn_cpuset_is_empty(&c));
    g_assert_false(hn_cpuset_intersects(&c, &a));
    c = a;
    hn_cpuset_or(&c, &b);
    g_assert_cmpuint(hn_cpuset_count(&c), ==, 100 + 67 - 34);
    g_assert_cmpint(hn_cpuset_next(&a, 1), ==, 2);
    g_assert_cmpint(hn_cpuset_next(&a, 198), ==, 198);
    g_assert_cmpint(hn_cpuset_next(&a, 199), ==, -1);
    g_assert_cmpint(hn_cpuset_next(&a, HN_MAX_CPUS + 5), ==, -1);
    hn_cpuset_remove(&a, 0);
    g_assert_cmpint(hn_cpuset_next(&a, 0), ==, 2);
    g_assert_false(hn_cpuset_equal(&a, &b));
}

static HnHost *sane_host(void)
{
    HnHost *host = hn_host_new(3);

    for (uint32_t n = 0; n < 3; n++) {
        host->nodes[n].id = (int32_t)n * 4;
        for (uint32_t c = 0; c < 4; c++)
            hn_cpuset_add(&host->nodes[n].cpus, n * 4 + c);
        host->nodes[n].n_cpus = 4;
        host->nodes[n].n_cores = 2;
        host->nodes[n].mem_total_bytes = host->nodes[n].mem_free_bytes = UINT64_C(1) << 30;
    }
    return host;
}

static void no_nodes(HnHost *host)
{
    host->n_nodes = 0;
}
static void short_distance(HnHost *host)
{
    host->distance[1] = 9;
}
static void wrong_diagonal(HnHost *host)
{
    host->distance[4] = 20;
}
static void double_id(HnHost *host)
{
    host->nodes[2].id = 4;
}
static void wrong_count(HnHost *host)
{
    host->nodes[1].n_cpus = 5;
}
static void no_cores(HnHost *host)
{
    host->nodes[1].n_cores = 0;
}
static void shared_cpu(HnHost *host)
{
    hn_cpuset_remove(&host->nodes[1].cpus, 4);
    hn_cpuset_add(&host->nodes[1].cpus, 0);
}
static void isolated_cpu(HnHost *host)
{
    hn_cpuset_add(&host->isolated, 5);
}
static void too_free(HnHost *host)
{
    host->nodes[0].mem_free_bytes = UINT64_C(1) << 33;
}

static void no_memory(HnHost *host)
{
    for (uint32_t n = 0; n < 3; n++)
        host->nodes[n].mem_total_bytes = host->nodes[n].mem_free_bytes = 0;
}

static void no_cpus(HnHost *host)
{
    for (uint32_t n = 0; n < 3; n++) {
        hn_cpuset_zero(&host->nodes[n].cpus);
        host->nodes[n].n_cpus = host->nodes[n].n_cores = 0;
    }
}

static void test_host(void)
{
    static const struct {
        void (*spoil)(HnHost *host);
        const char *message;
    } cases[] = {
        {no_nodes, "allowed: 1 to 64"},    {short_distance, "is 9 (allowed: 10 to 254)"},
        {wrong_diagonal, "allowed: 10)"},  {double_id, "does not ascend"},
        {wrong_count, "n_cpus is 5"},      {no_cores, "0 cores for 4 CPUs"},
        {shared_cpu, "share CPUs"},        {isolated_cpu, "isolated"},
        {too_free, "bytes free of"},       {no_memory, "without memory"},
        {no_cpus, "without a usable CPU"},
    };
    g_autoptr(HnHost) host = sane_host();
    g_autoptr(GError) none = NULL;
    HnCpuset cpus;

    g_assert_true(hn_host_validate(host, &none));
    g_assert_cmpint(hn_host_node_of_cpu(host, 9), ==, 2);
    g_assert_cmpint(hn_host_node_of_cpu(host, 12), ==, HN_NODE_NONE);
    g_assert_cmpint(hn_host_index_of_id(host, 8), ==, 2);
    g_assert_cmpint(hn_host_index_of_id(host, 1), ==, HN_NODE_NONE);
    host->nodes[1].mem_total_bytes = host->nodes[1].mem_free_bytes = 0;
    g_assert_cmpuint(hn_host_home_nodes(host), ==, 5);
    hn_host_cpus_of(host, 5, &cpus);
    g_autofree char *text = hn_cpuset_format(&cpus);
    g_assert_cmpstr(text, ==, "0-3,8-11");
    g_autoptr(HnHost) copy = hn_host_copy(host);
    copy->distance[1] = 33;
    g_assert_cmpuint(hn_host_distance(host, 0, 1), ==, 20);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(HnHost) bad = sane_host();
        g_autoptr(GError) error = NULL;
        cases[i].spoil(bad);
        g_assert_false(hn_host_validate(bad, &error));
        g_assert_nonnull(strstr(error->message, cases[i].message));
        bad->n_nodes = 3;
    }
}

static void test_reasons(void)
{
    for (int i = 0; i < HN_N_REASONS; i++) {
        HnReason back;
        const char *name = hn_reason_name((HnReason)i);
        g_assert_true(hn_reason_from_name(name, &back));
        g_assert_cmpint((int)back, ==, i);
        for (const char *c = name; *c; c++)
            g_assert_true(g_ascii_islower(*c) || *c == '-' || g_ascii_isdigit(*c));
    }
    HnReason unused = HN_REASON_IDLE;
    g_assert_false(hn_reason_from_name("no-such-reason", &unused));
    g_assert_cmpint(unused, ==, HN_REASON_IDLE);
    g_assert_cmpstr(hn_reason_name((HnReason)9999), ==, "?");
    g_assert_cmpstr(hn_reason_name(HN_REASON_NODE_FULL), ==, "node-full");
    g_assert_cmpstr(hn_mode_name(HN_MODE_ADVISE), ==, "advise");
    g_assert_cmpstr(hn_action_kind_name(HN_ACTION_MOVE_MEMORY), ==, "move-memory");
}

static void test_policy(void)
{
    HnPolicy policy;
    g_autoptr(GError) error = NULL;

    hn_policy_init(&policy);
    g_assert_true(hn_policy_validate(&policy, &error));
    g_assert_no_error(error);
    g_assert_false(policy.fence_when_converged);
    policy.confirm_rounds = 0;
    g_assert_false(hn_policy_validate(&policy, &error));
    g_assert_cmpstr(error->message, ==, "confirm_rounds is 0 (allowed: 1 to 1000)");
}

static void test_containers(void)
{
    g_autoptr(HnSnapshot) snapshot = hn_snapshot_new();
    static const char *const uuids[] = {"c0000000-0000-0000-0000-000000000000",
                                        "a0000000-0000-0000-0000-000000000000",
                                        "b0000000-0000-0000-0000-000000000000"};

    for (unsigned i = 0; i < 3; i++) {
        HnDomain *domain = hn_domain_new(2);
        g_strlcpy(domain->uuid, uuids[i], sizeof(domain->uuid));
        domain->name = g_strdup_printf("guest%u", i);
        HnVcpu *vcpu = hn_domain_add_vcpu(domain, 2);
        vcpu->faults.private_pages[1] = 7;
        hn_domain_add_vcpu(domain, 2);
        g_assert_cmpuint(domain->vcpus[0].faults.private_pages[1], ==, 7);
        hn_domain_add_worker(domain)->kind = HN_WORKER_VHOST;
        hn_domain_add_region(domain, 2)->resident_bytes[1] = 5;
        hn_domain_add_cell(domain)->id = 3;
        g_assert_cmpuint(domain->wish.weight, ==, 100);
        g_ptr_array_add(snapshot->domains, domain);
    }
    hn_snapshot_sort(snapshot);
    g_assert_cmpstr(((HnDomain *)g_ptr_array_index(snapshot->domains, 0))->name, ==, "guest1");
    g_assert_cmpstr(hn_snapshot_find(snapshot, "guest2")->uuid, ==, uuids[2]);
    g_assert_cmpstr(hn_snapshot_find(snapshot, uuids[0])->name, ==, "guest0");
    g_assert_null(hn_snapshot_find(snapshot, "guest9"));
    HnWish wish = {.group = g_strdup("x"), .invalid = g_strdup("y"), .mode = HN_MODE_AUTO};
    hn_wish_clear(&wish);
    g_assert_null(wish.group);
    g_assert_cmpint(wish.mode, ==, HN_MODE_NONE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/values/cpuset-text", test_cpuset_text);
    g_test_add_func("/values/cpuset-algebra", test_cpuset_algebra);
    g_test_add_func("/values/host", test_host);
    g_test_add_func("/values/reasons", test_reasons);
    g_test_add_func("/values/policy", test_policy);
    g_test_add_func("/values/containers", test_containers);
    return g_test_run();
}
