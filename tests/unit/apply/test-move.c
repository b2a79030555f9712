/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * move.c against the fake kernel: what is asked for, what is believed, what is left.
 */
#include "apply/move.h"
#include "fake-kernel.h"

#include <errno.h>
#include <string.h>

#define PID 4711
#define MIB (1ull << 20)

typedef struct {
    HnMoveResult result;
    char *sentence;
    guint n_moves;
} Ran;

static HnMove *new_move(guint n_pages, bool is_thp, bool is_shared, uint64_t limit_bytes, uint64_t expected_bytes)
{
    HnRange range = {.start = FAKE_BASE,
                     .length_bytes = n_pages * FAKE_PAGE,
                     .page_bytes = FAKE_PAGE,
                     .is_thp = is_thp,
                     .is_shared = is_shared};
    HnMoveSpec spec = {.pid = PID,
                       .base_page_bytes = FAKE_PAGE,
                       .to_node_id = 1,
                       .limit_bytes = limit_bytes,
                       .expected_bytes = expected_bytes};

    spec.ranges = g_array_new(FALSE, FALSE, sizeof(HnRange));
    g_array_append_val(spec.ranges, range);
    return hn_move_new(&spec);
}

/* Runs to the end with batches of 4 MiB; waits are skipped by the clock's leap. */
static void run(FakeKernel *kernel, HnMove *move, Ran *ret_ran)
{
    HnLimits limits;
    uint64_t now_ns = 1, wait_ns;
    guint steps = 0;
    HnMoved moved;
    HnNext next;

    hn_limits_init(&limits);
    *ret_ran = (Ran){0};
    while ((next = hn_move_next(move, fake_kernel_syscalls(kernel), &limits, now_ns, &wait_ns)) != HN_NEXT_END) {
        g_assert_cmpuint(++steps, <, 100000);
        if (next == HN_NEXT_WAIT) {
            g_assert_cmpuint(wait_ns, >, 0);
            now_ns += wait_ns;
        } else if (next == HN_NEXT_READY) {
            hn_move_go(move, fake_kernel_syscalls(kernel), 4 * MIB, &moved);
            g_assert_cmpuint(moved.asked_bytes, >, 0);
            ret_ran->n_moves++;
        } else if (next == HN_NEXT_COLLAPSE) {
            HnCollapsed collapsed;

            hn_move_collapse(move, fake_kernel_syscalls(kernel), 1000, 8 * MIB, &collapsed);
        }
    }
    hn_move_result(move, &ret_ran->result);
    ret_ran->sentence = g_strdup(ret_ran->result.sentence);
    hn_move_free(move);
}

static void assert_ran(Ran *ran, HnReason reason, uint64_t moved_bytes, uint64_t left_bytes)
{
    g_test_message("%s: %s", hn_reason_name(ran->result.reason), ran->sentence);
    g_assert_cmpstr(hn_reason_name(ran->result.reason), ==, hn_reason_name(reason));
    g_assert_cmpuint(ran->result.moved_bytes, ==, moved_bytes);
    g_assert_cmpuint(ran->result.left_bytes, ==, left_bytes);
    g_assert_cmpstr(ran->sentence, !=, "");
    g_free(ran->sentence);
}

static void test_small_pages(void)
{
    FakeKernel *kernel = fake_kernel_new(PID, 8192, 1024 * MIB);
    Ran ran;

    fake_kernel_set_node(kernel, 0, 1000, 1);     /* at home already */
    fake_kernel_set_node(kernel, 4096, 1024, -1); /* absent */
    run(kernel, new_move(8192, false, false, UINT64_MAX, 0), &ran);
    assert_ran(&ran, HN_REASON_DONE, (8192 - 1000 - 1024) * FAKE_PAGE, 0);
    g_assert_cmpuint(fake_kernel_count(kernel, 1), ==, 8192 - 1024);
    g_assert_cmpuint(fake_kernel_largest_move(kernel), <=, 4 * MIB);
    fake_kernel_free(kernel);
}

static void test_nothing_elsewhere_is_not_asked_for(void)
{
    FakeKernel *kernel = fake_kernel_new(PID, 4096, 1024 * MIB);
    Ran ran;

    fake_kernel_set_node(kernel, 0, 4096, 1);
    run(kernel, new_move(4096, false, false, UINT64_MAX, 0), &ran);
    assert_ran(&ran, HN_REASON_DONE, 0, 0);
    g_assert_cmpuint(fake_kernel_calls(kernel, FAKE_MOVE), ==, 0);
    fake_kernel_free(kernel);
}

static void test_huge_pages_one_address_each(void)
{
    FakeKernel *kernel = fake_kernel_new(PID, 512 * 64, 1024 * MIB);
    Ran ran;

    fake_kernel_set_huge(kernel, 0, 512 * 64);
    run(kernel, new_move(512 * 64, true, false, UINT64_MAX, 128 * MIB), &ran);
    assert_ran(&ran, HN_REASON_DONE, 128 * MIB, 0);
    /* 4 MiB are two folios: not one call more, not one query per small page. */
    g_assert_cmpuint(ran.n_moves, ==, 32);
    g_assert_cmpuint(fake_kernel_calls(kernel, FAKE_QUERY), <=, 40);
    fake_kernel_free(kernel);
}

/* Large folios below 2 MiB: the kernel moves each with the first of its addresses, calls the second busy, and finds the
 * others at home. All of it counts as moved, none is tried again, wherever a batch cuts a folio in two. */
static void test_large_folios(void)
{
    static const struct {
        guint folio_pages;
        bool is_thp;
    } cases[] = {{4, false}, {16, false}, {16, true}, {64, false}, {256, true}};

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        const guint n_pages = 512 * 16;
        FakeKernel *kernel = fake_kernel_new(PID, n_pages, 1024 * MIB);
        const HnSyscalls *sys = fake_kernel_syscalls(kernel);
        HnMove *move = new_move(n_pages, cases[i].is_thp, false, UINT64_MAX, 32 * MIB);
        HnMoveResult result;
        HnLimits limits;
        HnMoved moved;
        uint64_t wait_ns;
        HnNext next;

        hn_limits_init(&limits);
        fake_kernel_set_folios(kernel, 0, n_pages, cases[i].folio_pages);
        while ((next = hn_move_next(move, sys, &limits, 1, &wait_ns)) != HN_NEXT_END) {
            g_assert_cmpint(next, !=, HN_NEXT_WAIT); /* nothing is left for later */
            if (next == HN_NEXT_READY)
                hn_move_go(move, sys, 25 * FAKE_PAGE, &moved); /* ends amid a folio */
            else if (next == HN_NEXT_COLLAPSE)
                hn_move_skip_collapse(move, NULL);
        }
        hn_move_result(move, &result);
        g_test_message("folios of %u pages: %s", cases[i].folio_pages, result.sentence);
        g_assert_cmpint(result.reason, ==, HN_REASON_DONE);
        g_assert_cmpuint(result.moved_bytes, ==, 32 * MIB);
        g_assert_cmpuint(fake_kernel_count(kernel, 1), ==, n_pages);
        hn_move_free(move);
        fake_kernel_free(kernel);
    }
}

/* A hole and a pin in the same call: the kernel stops there. What it did not come to is neither busy nor left, and
 * costs no waiting: only the pinned pages do. */
static void test_stopped_call(void)
{
    const guint n_pages = 8192, n_pins = 8;
    FakeKernel *kernel = fake_kernel_new(PID, n_pages, 1024 * MIB);
    HnMove *move = new_move(n_pages, false, false, UINT64_MAX, n_pages * FAKE_PAGE);
    const HnSyscalls *sys = fake_kernel_syscalls(kernel);
    HnLimits limits;
    HnMoved moved;
    HnMoveResult result;
    uint64_t wait_ns;
    HnNext next;

    hn_limits_init(&limits);
    for (guint i = 0; i < n_pins; i++) {
        fake_kernel_set_pinned(kernel, i * 1024 + 10, 1, G_MAXUINT);
        fake_kernel_set_node(kernel, i * 1024 + 20, 1, -1);
    }
    while ((next = hn_move_next(move, sys, &limits, 1, &wait_ns)) != HN_NEXT_WAIT) {
        g_assert_cmpint(next, !=, HN_NEXT_END);
        if (next == HN_NEXT_READY) {
            hn_move_go(move, sys, 4 * MIB, &moved);
            g_assert_cmpuint(moved.tried_bytes, >, 0);
            g_assert_cmpuint(moved.tried_bytes, <=, moved.asked_bytes);
            g_assert_cmpuint(moved.moved_bytes, <=, moved.tried_bytes);
        }
    }
    g_assert_cmpuint(fake_kernel_count(kernel, 1), ==, n_pages - 2 * n_pins);
    hn_move_result(move, &result);
    g_assert_cmpuint(result.moved_bytes, ==, (n_pages - 2 * n_pins) * FAKE_PAGE);
    g_assert_cmpuint(result.left_bytes, ==, n_pins * FAKE_PAGE);
    hn_move_free(move);
    fake_kernel_free(kernel);
}

/* Said to be huge, but some blocks are small pages, one of them mixed: everything arrives all the same. */
static void test_huge_region_with_small_pages(void)
{
    FakeKernel *kernel = fake_kernel_new(PID, 512 * 16, 1024 * MIB);
    Ran ran;

    fake_kernel_set_huge(kernel, 0, 512 * 8);
    fake_kernel_set_node(kernel, 512 * 9, 300, 1);
    fake_kernel_set_node(kernel, 512 * 12, 512, 1);
    fake_kernel_set_node(kernel, 512 * 12 + 7, 3, 0); /* unseen by samples: within tolerance */
    run(kernel, new_move(512 * 16, true, false, UINT64_MAX, (512 * 15 - 300) * FAKE_PAGE), &ran);
    assert_ran(&ran, HN_REASON_DONE, (512 * 15 - 300) * FAKE_PAGE, 0);
    g_assert_cmpuint(fake_kernel_count(kernel, 0), ==, 3);
    fake_kernel_free(kernel);
}

/* What samples cannot see is found page by page when the snapshot knew of it. */
static void test_second_pass(void)
{
    FakeKernel *kernel = fake_kernel_new(PID, 512 * 16, 1024 * MIB);
    Ran ran;

    fake_kernel_set_node(kernel, 0, 512 * 16, 1);
    for (guint i = 0; i < 16; i++)
        fake_kernel_set_node(kernel, 512 * i + 10, 100, 0);
    run(kernel, new_move(512 * 16, true, false, UINT64_MAX, 1600 * FAKE_PAGE), &ran);
    assert_ran(&ran, HN_REASON_DONE, 1600 * FAKE_PAGE, 0);
    g_assert_cmpuint(fake_kernel_count(kernel, 0), ==, 0);
    fake_kernel_free(kernel);
}

/* A small-page region that holds huge pages: the spurious EBUSY is seen through. */
/* Huge pages come apart on the way, and are whole in the end; a block with a hole was none, and gets no memory for
 * it. */
static void test_collapse(void)
{
    FakeKernel *kernel = fake_kernel_new(PID, 8 * 512, 64 * MIB);
    Ran ran;

    fake_kernel_set_huge(kernel, 0, 6 * 512);
    fake_kernel_set_node(kernel, 7 * 512 + 100, 1, -1);
    fake_kernel_split_moves(kernel);
    run(kernel, new_move(8 * 512, true, false, UINT64_MAX, 16 * MIB), &ran);
    assert_ran(&ran, HN_REASON_DONE, (8 * 512 - 1) * FAKE_PAGE, 0);
    /* The seventh was in small pages, all of them there: listed by its samples' answers, it moved as such and is
     * whole now. */
    g_assert_cmpuint(fake_kernel_count_huge(kernel), >=, 6 * 512);
    g_assert_cmpuint(fake_kernel_count_huge(kernel), <=, 7 * 512);
    g_assert_cmpuint(fake_kernel_count(kernel, 1), ==, 8 * 512 - 1);
    fake_kernel_free(kernel);
}

/* One block of a row fails: the others are whole all the same. */
static void test_collapse_fails(void)
{
    static const int errors[] = {EINVAL, EAGAIN, ENOMEM, EBUSY};

    for (guint i = 0; i < G_N_ELEMENTS(errors); i++) {
        FakeKernel *kernel = fake_kernel_new(PID, 8 * 512, 64 * MIB);
        Ran ran;

        fake_kernel_set_huge(kernel, 0, 8 * 512);
        fake_kernel_split_moves(kernel);
        fake_kernel_fail(kernel, FAKE_COLLAPSE, 0, 3, errors[i]); /* the row, and of its blocks two */
        run(kernel, new_move(8 * 512, true, false, UINT64_MAX, 16 * MIB), &ran);
        assert_ran(&ran, HN_REASON_DONE, 16 * MIB, 0);
        g_assert_cmpuint(fake_kernel_count_huge(kernel), ==, 6 * 512);
        fake_kernel_free(kernel);
    }
}

static void test_unexpected_huge_page(void)
{
    FakeKernel *kernel = fake_kernel_new(PID, 512 * 8, 1024 * MIB);
    Ran ran;

    fake_kernel_set_huge(kernel, 512 * 2, 512);
    run(kernel, new_move(512 * 8, false, false, UINT64_MAX, 0), &ran);
    assert_ran(&ran, HN_REASON_DONE, 16 * MIB, 0);
    fake_kernel_free(kernel);
}

static void test_pinned_for_a_while(void)
{
    FakeKernel *kernel = fake_kernel_new(PID, 8192, 1024 * MIB);
    Ran ran;

    fake_kernel_set_pinned(kernel, 100, 1, 2); /* comes loose at the third call */
    run(kernel, new_move(8192, false, false, UINT64_MAX, 0), &ran);
    assert_ran(&ran, HN_REASON_DONE, 32 * MIB, 0);
    fake_kernel_free(kernel);
}

static void test_residue(void)
{
    FakeKernel *kernel = fake_kernel_new(PID, 8192, 1024 * MIB);
    Ran ran;

    fake_kernel_set_pinned(kernel, 100, 16, G_MAXUINT);
    run(kernel, new_move(8192, false, false, UINT64_MAX, 0), &ran);
    assert_ran(&ran, HN_REASON_DONE_WITH_RESIDUE, (8192 - 16) * FAKE_PAGE, 16 * FAKE_PAGE);
    g_assert_cmpuint(fake_kernel_count(kernel, 0), ==, 16);
    fake_kernel_free(kernel);
}

/* All of it pinned: given up after 32 MiB, not tried page by page; what stays is all of it, tried or not. */
static void test_immovable(void)
{
    FakeKernel *kernel = fake_kernel_new(PID, 512 * 256, 4096 * MIB);
    Ran ran;

    fake_kernel_set_pinned(kernel, 0, 512 * 256, G_MAXUINT);
    run(kernel, new_move(512 * 256, false, false, UINT64_MAX, 0), &ran);
    assert_ran(&ran, HN_REASON_IMMOVABLE, 0, 256 * MIB);
    g_assert_cmpuint(fake_kernel_calls(kernel, FAKE_MOVE), ==, 8);
    fake_kernel_free(kernel);
}

static void test_shared_pages(void)
{
    FakeKernel *kernel = fake_kernel_new(PID, 4096, 1024 * MIB);
    Ran ran;

    /* Unknown to the snapshot: EACCES, then MOVE_ALL. */
    fake_kernel_set_shared(kernel, 500, 700);
    run(kernel, new_move(4096, false, false, UINT64_MAX, 0), &ran);
    assert_ran(&ran, HN_REASON_DONE, 16 * MIB, 0);
    fake_kernel_free(kernel);

    /* Known: MOVE_ALL at once. */
    kernel = fake_kernel_new(PID, 4096, 1024 * MIB);
    fake_kernel_set_shared(kernel, 0, 4096);
    run(kernel, new_move(4096, false, true, UINT64_MAX, 0), &ran);
    g_assert_cmpuint(ran.n_moves, ==, 4);
    assert_ran(&ran, HN_REASON_DONE, 16 * MIB, 0);
    fake_kernel_free(kernel);
}

static void test_limit(void)
{
    FakeKernel *kernel = fake_kernel_new(PID, 512 * 32, 1024 * MIB);
    Ran ran;

    run(kernel, new_move(512 * 32, false, false, 10 * MIB, 64 * MIB), &ran);
    assert_ran(&ran, HN_REASON_DONE, 10 * MIB, 0);
    g_assert_cmpuint(fake_kernel_count(kernel, 1), ==, 2560);
    fake_kernel_free(kernel);
}

static void test_from_nodes(void)
{
    FakeKernel *kernel = fake_kernel_new(PID, 4096, 1024 * MIB);
    HnRange range = {.start = FAKE_BASE, .length_bytes = 4096 * FAKE_PAGE, .page_bytes = FAKE_PAGE};
    HnMoveSpec spec = {.pid = PID, .base_page_bytes = FAKE_PAGE, .to_node_id = 1, .limit_bytes = UINT64_MAX};
    Ran ran;

    fake_kernel_set_node(kernel, 0, 1000, 2);
    fake_kernel_set_node(kernel, 1000, 1000, 3);
    spec.ranges = g_array_new(FALSE, FALSE, sizeof(HnRange));
    g_array_append_val(spec.ranges, range);
    hn_cpuset_add(&spec.from_node_ids, 3);
    run(kernel, hn_move_new(&spec), &ran);
    assert_ran(&ran, HN_REASON_DONE, 1000 * FAKE_PAGE, 0);
    g_assert_cmpuint(fake_kernel_count(kernel, 2), ==, 1000);
    fake_kernel_free(kernel);
}

/* Each documented error of the moving call and of the query, at once and in the middle. */
static void test_errors(void)
{
    static const struct {
        int err;
        HnReason reason;
        const char *tells;
    } cases[] = {
        {ESRCH, HN_REASON_VANISHED, "ended"},
        {EPERM, HN_REASON_PERMISSION_DENIED, "CAP_SYS_PTRACE"},
        {ENOMEM, HN_REASON_NODE_FULL, "node 1"},
        {EACCES, HN_REASON_NODESET_BY_ADMIN, "cpuset.mems"},
        {ENODEV, HN_REASON_KERNEL_REFUSED, "node 1"},
        {EFAULT, HN_REASON_KERNEL_REFUSED, "errno 14"},
        {EINVAL, HN_REASON_KERNEL_REFUSED, "errno 22"},
        {E2BIG, HN_REASON_KERNEL_REFUSED, "errno 7"},
        {ENOENT, HN_REASON_KERNEL_REFUSED, "errno 2"},
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        for (guint skip = 0; skip < 3; skip++) {
            FakeKernel *kernel = fake_kernel_new(PID, 8192, 1024 * MIB);
            g_autofree char *sentence = NULL;
            Ran ran;

            fake_kernel_fail(kernel, FAKE_MOVE, skip, G_MAXUINT, cases[i].err);
            run(kernel, new_move(8192, false, false, UINT64_MAX, 0), &ran);
            g_assert_cmpstr(hn_reason_name(ran.result.reason), ==, hn_reason_name(cases[i].reason));
            g_assert_nonnull(strstr(ran.sentence, cases[i].tells));
            g_assert_cmpuint(ran.n_moves, ==, skip + 1);
            g_assert_cmpuint(ran.result.moved_bytes, ==, fake_kernel_count(kernel, 1) * FAKE_PAGE);
            g_assert_cmpuint(ran.result.moved_bytes, ==, skip * 4 * MIB);
            sentence = g_steal_pointer(&ran.sentence);
            fake_kernel_free(kernel);
        }
    }
    for (guint skip = 0; skip < 3; skip++) {
        FakeKernel *kernel = fake_kernel_new(PID, 8192, 1024 * MIB);
        Ran ran;

        for (guint block = 0; block < 16; block++) /* mixed blocks: one query each */
            fake_kernel_set_node(kernel, block * 512, 256, 1);
        fake_kernel_fail(kernel, FAKE_QUERY, skip, G_MAXUINT, EPERM);
        run(kernel, new_move(8192, false, false, UINT64_MAX, 0), &ran);
        g_assert_cmpstr(hn_reason_name(ran.result.reason), ==, "permission-denied");
        g_free(ran.sentence);
        fake_kernel_free(kernel);
    }
}

/* Interrupted calls are no ends. */
static void test_interrupted(void)
{
    FakeKernel *kernel = fake_kernel_new(PID, 8192, 1024 * MIB);
    Ran ran;

    fake_kernel_fail(kernel, FAKE_MOVE, 1, 1, EINTR);
    fake_kernel_fail(kernel, FAKE_QUERY, 1, 2, EINTR);
    run(kernel, new_move(8192, false, false, UINT64_MAX, 0), &ran);
    assert_ran(&ran, HN_REASON_DONE, 32 * MIB, 0);
    fake_kernel_free(kernel);
}

/* Out of memory in the middle of a call: what moved before counts. */
static void test_partial_enomem(void)
{
    FakeKernel *kernel = fake_kernel_new(PID, 4096, 6 * MIB);
    Ran ran;

    run(kernel, new_move(4096, false, false, UINT64_MAX, 0), &ran);
    g_assert_cmpstr(hn_reason_name(ran.result.reason), ==, "node-full");
    g_assert_cmpuint(ran.result.moved_bytes, ==, 6 * MIB);
    g_free(ran.sentence);
    fake_kernel_free(kernel);
}

/* ---- anything at all ---- */

typedef struct {
    guint n_blocks;
    int *node;      /* per page, before */
    bool *is_stuck; /* pinned for ever */
    guint n_stuck_away, n_away, n_home;
    guint n_stuck_heads; /* uniform blocks whose first page is stuck */
} Layout;

/* Blocks of every kind: huge, uniform, mixed, absent, at home; pins and shared pages anywhere. */
static Layout make_layout(FakeKernel *kernel, GRand *rand, guint n_blocks)
{
    Layout layout = {.n_blocks = n_blocks, .node = g_new0(int, n_blocks * 512),
                     .is_stuck = g_new0(bool, n_blocks * 512)};

    for (guint block = 0; block < n_blocks; block++) {
        const gint32 kind = g_rand_int_range(rand, 0, 5);

        for (guint i = block * 512; i < (block + 1) * 512; i++) {
            layout.node[i] = kind == 3 ? -1 : kind == 4 ? 1 : kind == 2 ? g_rand_int_range(rand, -1, 4) : 0;
            fake_kernel_set_node(kernel, i, 1, layout.node[i]);
            if (kind != 0 && g_rand_int_range(rand, 0, 400) == 0) {
                layout.is_stuck[i] = g_rand_boolean(rand);
                fake_kernel_set_pinned(kernel, i, 1, layout.is_stuck[i] ? G_MAXUINT : 2);
            }
            if (g_rand_int_range(rand, 0, 100) == 0)
                fake_kernel_set_shared(kernel, i, 1);
            layout.n_away += layout.node[i] >= 0 && layout.node[i] != 1;
            layout.n_home += layout.node[i] == 1;
            layout.n_stuck_away += layout.is_stuck[i] && layout.node[i] >= 0 && layout.node[i] != 1;
        }
        layout.n_stuck_heads += kind == 1 && layout.is_stuck[block * 512];
        if (kind == 0)
            fake_kernel_set_huge(kernel, block * 512, 512);
    }
    return layout;
}

/* Whatever the layout: it ends, everything that can move has moved (in a huge-page region but for what samples may
 * overlook, and what is taken for a huge page that is stuck), nothing absent appears, and the account is right (but for pages that were at home in a block that looked
 * uniform). */
static void test_random_layouts(void)
{
    for (guint round = 0; round < 60; round++) {
        const guint32 seed = g_test_rand_int();
        g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
        const guint n_blocks = (guint)g_rand_int_range(rand, 1, 24);
        const bool is_thp = g_rand_boolean(rand);
        FakeKernel *kernel = fake_kernel_new(PID, n_blocks * 512, 1024 * MIB);
        Layout layout = make_layout(kernel, rand, n_blocks);
        const uint64_t expected = layout.n_away * FAKE_PAGE;
        guint n_arrived, n_overlooked;
        Ran ran;

        run(kernel, new_move(n_blocks * 512, is_thp, false, UINT64_MAX, expected), &ran);
        n_arrived = fake_kernel_count(kernel, 1) - layout.n_home;
        n_overlooked = layout.n_away - layout.n_stuck_away - n_arrived;
        g_test_message("seed %u: %u blocks, %u pages away, %u stuck, %u arrived, told %u, left %u", seed, n_blocks,
                       layout.n_away, layout.n_stuck_away, n_arrived, (guint)(ran.result.moved_bytes / FAKE_PAGE),
                       (guint)(ran.result.left_bytes / FAKE_PAGE));
        g_assert_cmpuint(n_overlooked * FAKE_PAGE, <=, is_thp ? MAX(2 * MIB, expected / 100) + layout.n_stuck_heads * 2 * MIB : 0);
        g_assert_cmpuint(ran.result.moved_bytes, >=, n_arrived * FAKE_PAGE);
        g_assert_cmpuint(ran.result.moved_bytes, <=, (n_arrived + layout.n_home) * FAKE_PAGE);
        if (!is_thp)
            g_assert_cmpuint(ran.result.left_bytes, ==, layout.n_stuck_away * FAKE_PAGE);
        g_assert_cmpuint(fake_kernel_count(kernel, -1), ==, n_blocks * 512 - layout.n_away - layout.n_home);
        g_free(ran.sentence);
        g_free(layout.node);
        g_free(layout.is_stuck);
        fake_kernel_free(kernel);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/apply/move/small-pages", test_small_pages);
    g_test_add_func("/apply/move/nothing-elsewhere", test_nothing_elsewhere_is_not_asked_for);
    g_test_add_func("/apply/move/huge-pages", test_huge_pages_one_address_each);
    g_test_add_func("/apply/move/large-folios", test_large_folios);
    g_test_add_func("/apply/move/stopped-call", test_stopped_call);
    g_test_add_func("/apply/move/huge-region-with-small-pages", test_huge_region_with_small_pages);
    g_test_add_func("/apply/move/second-pass", test_second_pass);
    g_test_add_func("/apply/move/collapse", test_collapse);
    g_test_add_func("/apply/move/collapse-fails", test_collapse_fails);
    g_test_add_func("/apply/move/unexpected-huge-page", test_unexpected_huge_page);
    g_test_add_func("/apply/move/pinned-for-a-while", test_pinned_for_a_while);
    g_test_add_func("/apply/move/residue", test_residue);
    g_test_add_func("/apply/move/immovable", test_immovable);
    g_test_add_func("/apply/move/shared-pages", test_shared_pages);
    g_test_add_func("/apply/move/limit", test_limit);
    g_test_add_func("/apply/move/from-nodes", test_from_nodes);
    g_test_add_func("/apply/move/errors", test_errors);
    g_test_add_func("/apply/move/interrupted", test_interrupted);
    g_test_add_func("/apply/move/partial-enomem", test_partial_enomem);
    g_test_add_func("/apply/move/random-layouts", test_random_layouts);
    return g_test_run();
}
