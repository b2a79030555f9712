/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Probes against a kernel made of arrays: exact scans, samples and their intervals, odd shapes,
 * errors. */
#include "observe/residency.h"

#include <errno.h>
#include <string.h>

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define HVA 0x7f0000000000u

/* The kernel: decides by address. */
typedef struct {
    int (*node_of)(uint64_t offset); /* node id or -errno */
    uint64_t n_asked;
    size_t largest_batch;
    int fail_errno;      /* not 0: the call fails … */
    uint64_t fail_after; /* … once so many were asked */
} FakeKernel;

static int fake_query(void *user_data, int64_t pid, size_t n, void **addresses, int *ret_status)
{
    FakeKernel *kernel = user_data;

    g_assert_cmpint(pid, ==, 4711);
    kernel->largest_batch = MAX(kernel->largest_batch, n);
    if (kernel->fail_errno && kernel->n_asked >= kernel->fail_after) {
        errno = kernel->fail_errno;
        return -1;
    }
    kernel->n_asked += n;
    for (size_t i = 0; i < n; i++) {
        uint64_t address = (uint64_t)(uintptr_t)addresses[i];

        g_assert_cmpuint(address % 4096, ==, 0);
        ret_status[i] = kernel->node_of(address - HVA);
    }
    return 0;
}

/* Kernel ids 0 and 2, so that an index is not an id. */
static HnHost *make_host(void)
{
    HnHost *host = hn_host_new(2);

    host->nodes[0].id = 0;
    host->nodes[1].id = 2;
    return host;
}

typedef struct {
    HnHost *host;
    HnRegion region;
    FakeKernel kernel;
    HnProbeOps ops;
    HnResidency residency;
} Fixture;

static void fixture_init(Fixture *fixture, uint64_t length_bytes, int (*node_of)(uint64_t offset))
{
    *fixture = (Fixture){.host = make_host(), .kernel = {.node_of = node_of}};
    fixture->region = (HnRegion){.hva_start = HVA,
                                 .length_bytes = length_bytes,
                                 .page_bytes = 4096,
                                 .resident_bytes = g_new0(uint64_t, 2)};
    fixture->ops = (HnProbeOps){.query = fake_query, .user_data = &fixture->kernel};
}

static bool fixture_probe(Fixture *fixture, const HnProbePlan *plan, GError **error)
{
    hn_residency_clear(&fixture->residency);
    return hn_residency_probe(&fixture->ops, fixture->host, 4711, &fixture->region, 1, plan,
                              &fixture->residency, error);
}

static void fixture_clear(Fixture *fixture)
{
    hn_host_free(fixture->host);
    g_free(fixture->region.resident_bytes);
    g_free(fixture->region.chunks);
    hn_residency_clear(&fixture->residency);
}

/* 3 MiB on node 0, 4 MiB on node 2, 512 KiB never touched, 512 KiB zero page */
static int node_mixed(uint64_t offset)
{
    if (offset < 3 * MIB)
        return 0;
    if (offset < 7 * MIB)
        return 2;
    return offset < 7 * MIB + MIB / 2 ? -ENOENT : -EFAULT;
}

static void test_exact(void)
{
    Fixture fixture;
    HnProbePlan plan = {.n_probes = 1024, .is_exact = true};

    fixture_init(&fixture, 8 * MIB, node_mixed);
    g_assert_true(fixture_probe(&fixture, &plan, NULL));
    g_assert_cmpuint(fixture.kernel.n_asked, ==, 2048);
    g_assert_cmpuint(hn_residency_n_addresses(&fixture.region, 1, &plan), ==, 2048);
    g_assert_cmpuint(fixture.kernel.largest_batch, ==, HN_QUERY_BATCH);
    g_assert_cmpuint(fixture.residency.node_bytes[0], ==, 3 * MIB);
    g_assert_cmpuint(fixture.residency.node_bytes[1], ==, 4 * MIB);
    g_assert_cmpuint(fixture.residency.absent_bytes, ==, MIB);
    g_assert_cmpuint(fixture.residency.unknown_bytes, ==, 0);
    g_assert_cmpuint(fixture.residency.error_permille, ==, 0);
    g_assert_cmpuint(fixture.region.resident_bytes[1], ==, 4 * MIB);
    g_assert_cmpuint(fixture.region.chunk_bytes, ==, 2 * MIB);
    g_assert_cmpuint(fixture.region.n_chunks, ==, 4);
    g_assert_cmpint(fixture.region.chunks[0].node, ==, 0);
    g_assert_cmpuint(fixture.region.chunks[0].n_probes_on_node, ==, 512);
    g_assert_cmpint(fixture.region.chunks[1].node, ==, 0); /* a tie goes to the lower index */
    g_assert_cmpuint(fixture.region.chunks[1].n_probes_on_node, ==, 256);
    g_assert_cmpint(fixture.region.chunks[2].node, ==, 1);
    g_assert_cmpuint(fixture.region.chunks[3].n_probes, ==, 512);
    g_assert_cmpuint(fixture.region.chunks[3].n_probes_on_node, ==, 256);
    fixture_clear(&fixture);
}

static int node_by_huge_page(uint64_t offset)
{
    return offset / (2 * MIB) % 4 == 3 ? 2 : 0;
}

/* One address per huge page is the truth; a start that is not aligned costs one more. */
static void test_exact_huge(void)
{
    Fixture fixture;
    HnProbePlan plan = {.is_exact = true, .is_all_huge = true};

    fixture_init(&fixture, 256 * MIB, node_by_huge_page);
    g_assert_true(fixture_probe(&fixture, &plan, NULL));
    g_assert_cmpuint(fixture.kernel.n_asked, ==, 128);
    g_assert_cmpuint(fixture.residency.node_bytes[1], ==, 64 * MIB);
    g_assert_cmpuint(fixture.residency.node_bytes[0], ==, 192 * MIB);
    g_assert_cmpuint(fixture.residency.error_permille, ==, 0);
    fixture.region.hva_start += 4096;
    fixture.region.length_bytes = 4 * MIB;
    fixture.kernel.n_asked = 0;
    g_assert_true(fixture_probe(&fixture, &plan, NULL));
    g_assert_cmpuint(fixture.kernel.n_asked, ==, 3);
    g_assert_cmpuint(fixture.residency.node_bytes[0] + fixture.residency.node_bytes[1], ==,
                     4 * MIB);
    fixture_clear(&fixture);
}

static int node_all_one(uint64_t offset)
{
    return 2;
}

/* A guest wholly on one node: 1,024 probes must be enough to say "at least 98 %". */
static void test_sample_pure(void)
{
    Fixture fixture;
    HnProbePlan plan = {.n_probes = 1024, .seed = 1};

    fixture_init(&fixture, 64 * GIB, node_all_one);
    g_assert_true(fixture_probe(&fixture, &plan, NULL));
    g_assert_cmpuint(fixture.residency.n_probes, ==, 1024);
    g_assert_cmpuint(fixture.residency.node_bytes[1], ==, 64 * GIB);
    g_assert_cmpuint(fixture.residency.error_permille, >, 0);
    g_assert_cmpuint(fixture.residency.error_permille, <=, 5);
    fixture_clear(&fixture);
}

static uint64_t
    boundary_bytes; /* below: node 0, above: node 2; a hash decides in the scattered case */
static bool is_scattered;

static int node_by_share(uint64_t offset)
{
    uint64_t page = offset / 4096;

    if (!is_scattered)
        return offset < boundary_bytes ? 0 : 2;
    page = (page ^ (page >> 15)) * 0x2c1b3c6d;
    page = (page ^ (page >> 12)) * 0x297a2d39;
    page ^= page >> 15;
    return (page & 0xffffffff) < boundary_bytes / 4 /* of 16 GiB */ ? 0 : 2;
}

/* The true share lies inside the stated interval in at least 95 % of runs, whether memory lies in
 * runs or is scattered page by page. */
static void test_coverage(void)
{
    static const uint32_t permilles[] = {20, 100, 500, 900, 980, 1000};

    for (size_t i = 0; i < G_N_ELEMENTS(permilles); i++) {
        for (int scattered = 0; scattered < 2; scattered++) {
            uint32_t n_inside = 0;
            Fixture fixture;

            boundary_bytes = 16 * GIB / 1000 * permilles[i];
            is_scattered = scattered;
            fixture_init(&fixture, 16 * GIB, node_by_share);
            for (uint64_t run = 0; run < 200; run++) {
                HnProbePlan plan = {.n_probes = 1024, .seed = run * 7919};
                double share, truth = permilles[i] / 1000.0;

                g_assert_true(fixture_probe(&fixture, &plan, NULL));
                share = (double)fixture.residency.node_bytes[0] / (16.0 * GIB);
                n_inside += ABS(share - truth) * 1000 <= fixture.residency.error_permille;
            }
            g_test_message("share %u permille, %s: inside in %u of 200 runs", permilles[i],
                           scattered ? "scattered" : "in one run", n_inside);
            g_assert_cmpuint(n_inside, >=, 190);
            fixture_clear(&fixture);
        }
    }
}

static void test_reproducible(void)
{
    Fixture a, b;
    HnProbePlan plan = {.n_probes = 512, .seed = 99};

    boundary_bytes = 5 * GIB;
    is_scattered = true;
    fixture_init(&a, 16 * GIB, node_by_share);
    fixture_init(&b, 16 * GIB, node_by_share);
    g_assert_true(fixture_probe(&a, &plan, NULL));
    g_assert_true(fixture_probe(&b, &plan, NULL));
    g_assert_cmpmem(a.residency.node_bytes, 16, b.residency.node_bytes, 16);
    plan.seed++;
    g_assert_true(fixture_probe(&b, &plan, NULL));
    g_assert_cmpuint(a.residency.node_bytes[0], !=, b.residency.node_bytes[0]);
    fixture_clear(&a);
    fixture_clear(&b);
}

/* Evidence of touches survives a probe; a new shape starts afresh. */
static void test_touches_survive(void)
{
    Fixture fixture;
    HnProbePlan plan = {.n_probes = 64};

    fixture_init(&fixture, 64 * MIB, node_all_one);
    g_assert_true(fixture_probe(&fixture, &plan, NULL));
    fixture.region.chunks[3].heat = 7;
    fixture.region.chunks[3].touch_clients = 5;
    g_assert_true(fixture_probe(&fixture, &plan, NULL));
    g_assert_cmpuint(fixture.region.chunks[3].heat, ==, 7);
    g_assert_cmpuint(fixture.region.chunks[3].touch_clients, ==, 5);
    fixture.region.length_bytes = 32 * MIB;
    g_assert_true(fixture_probe(&fixture, &plan, NULL));
    g_assert_cmpuint(fixture.region.n_chunks, ==, 16);
    g_assert_cmpuint(fixture.region.chunks[3].heat, ==, 0);
    fixture_clear(&fixture);
}

static int node_unknown(uint64_t offset)
{
    static const int answers[] = {7, -EIO, -ENOENT, 0};

    return answers[offset / 4096 % 4];
}

static void test_unknown(void)
{
    Fixture fixture;
    HnProbePlan plan = {.is_exact = true};

    fixture_init(&fixture, 16 * 4096, node_unknown);
    g_assert_true(fixture_probe(&fixture, &plan, NULL));
    g_assert_cmpuint(fixture.residency.node_bytes[0], ==, 4 * 4096);
    g_assert_cmpuint(fixture.residency.unknown_bytes, ==, 8 * 4096);
    g_assert_cmpuint(fixture.residency.absent_bytes, ==, 4 * 4096);
    fixture_clear(&fixture);
}

/* A guest that dies, or a right that is missing, in the middle: an error, and nothing half-changed.
 */
static void test_failure(void)
{
    Fixture fixture;
    HnProbePlan plan = {.is_exact = true};
    g_autoptr(GError) gone = NULL;
    g_autoptr(GError) denied = NULL;

    fixture_init(&fixture, 8 * MIB, node_mixed);
    g_assert_true(fixture_probe(&fixture, &plan, NULL));
    fixture.kernel = (FakeKernel){.node_of = node_all_one, .fail_errno = ESRCH, .fail_after = 1024};
    g_assert_false(fixture_probe(&fixture, &plan, &gone));
    g_assert_error(gone, G_FILE_ERROR, G_FILE_ERROR_NOENT);
    g_assert_cmpuint(fixture.region.resident_bytes[0], ==, 3 * MIB);
    g_assert_cmpint(fixture.region.chunks[0].node, ==, 0);
    fixture.kernel.fail_errno = EPERM;
    g_assert_false(fixture_probe(&fixture, &plan, &denied));
    g_assert_error(denied, G_FILE_ERROR, G_FILE_ERROR_PERM);
    g_assert_nonnull(strstr(denied->message, "CAP_SYS_PTRACE"));
    fixture_clear(&fixture);
}

/* Several regions: probes are shared out by size, and none goes without. */
static void test_regions(void)
{
    g_autoptr(HnHost) host = make_host();
    FakeKernel kernel = {.node_of = node_all_one};
    HnProbeOps ops = {.query = fake_query, .user_data = &kernel};
    HnProbePlan plan = {.n_probes = 1000};
    HnResidency residency;
    HnRegion regions[3] = {
        {.hva_start = HVA, .length_bytes = 900 * GIB, .page_bytes = 4096},
        {.hva_start = HVA + 1000 * GIB, .length_bytes = 100 * GIB, .page_bytes = 4096},
        {.hva_start = HVA + 2000 * GIB, .length_bytes = 2 * MIB, .page_bytes = 2 * MIB},
    };
    uint64_t n_chunks = 0;

    for (int i = 0; i < 3; i++)
        regions[i].resident_bytes = g_new0(uint64_t, 2);
    g_assert_true(hn_residency_probe(&ops, host, 4711, regions, 3, &plan, &residency, NULL));
    g_assert_cmpuint(residency.node_bytes[1], ==, 1000 * GIB + 2 * MIB);
    for (int i = 0; i < 3; i++) {
        n_chunks += regions[i].n_chunks;
        g_assert_cmpuint(regions[i].chunk_bytes, ==, regions[0].chunk_bytes);
        for (uint32_t k = 0; k < regions[i].n_chunks; k++)
            g_assert_cmpuint(regions[i].chunks[k].n_probes, >=, 1);
        g_free(regions[i].resident_bytes);
        g_free(regions[i].chunks);
    }
    g_assert_cmpuint(n_chunks, <=, HN_MAX_CHUNKS);
    g_assert_cmpuint(residency.n_probes, ==, kernel.n_asked);
    hn_residency_clear(&residency);
}

static void test_chunk_bytes(void)
{
    static const uint64_t totals[] = {0,       4096,     64 * MIB,  GIB,
                                      3 * GIB, 64 * GIB, 512 * GIB, 12288 * GIB};

    for (size_t i = 0; i < G_N_ELEMENTS(totals); i++) {
        uint64_t chunk_bytes = hn_chunk_bytes(totals[i]);

        g_assert_cmpuint(chunk_bytes, >=, 2 * MIB);
        g_assert_cmpuint(chunk_bytes & (chunk_bytes - 1), ==, 0);
        g_assert_cmpuint(totals[i] / chunk_bytes, <=, HN_MAX_CHUNKS);
        if (totals[i] <= 64 * GIB)
            g_assert_cmpuint(totals[i] / chunk_bytes * sizeof(HnChunk), <=, 12288);
    }
    g_assert_cmpuint(hn_chunk_bytes(GIB), ==, 2 * MIB);
}

static void test_interval(void)
{
    /* Wilson's interval for z = 2.24, computed independently: 512/1024 → 0.4651…0.5349,
     * 0/1024 → 0…0.004876, 10/1024 → 0.004885…0.019427 around 0.009766. */
    g_assert_cmpuint(hn_residency_error_permille(512, 1024), ==, 35);
    g_assert_cmpuint(hn_residency_error_permille(0, 1024), ==, 5);
    g_assert_cmpuint(hn_residency_error_permille(1024, 1024), ==, 5);
    g_assert_cmpuint(hn_residency_error_permille(10, 1024), ==, 10);
    g_assert_cmpuint(hn_residency_error_permille(1, 1), ==, 834);
    g_assert_cmpuint(hn_residency_error_permille(0, 0), ==, 1000);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/observe/residency/exact", test_exact);
    g_test_add_func("/observe/residency/exact-huge", test_exact_huge);
    g_test_add_func("/observe/residency/sample-pure", test_sample_pure);
    g_test_add_func("/observe/residency/coverage", test_coverage);
    g_test_add_func("/observe/residency/reproducible", test_reproducible);
    g_test_add_func("/observe/residency/touches-survive", test_touches_survive);
    g_test_add_func("/observe/residency/unknown", test_unknown);
    g_test_add_func("/observe/residency/failure", test_failure);
    g_test_add_func("/observe/residency/regions", test_regions);
    g_test_add_func("/observe/residency/chunk-bytes", test_chunk_bytes);
    g_test_add_func("/observe/residency/interval", test_interval);
    return g_test_run();
}
