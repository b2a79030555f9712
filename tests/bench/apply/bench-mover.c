/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mover beside what else moves a process's memory between two nodes: a bare move_pages loop over the same pages
 * with the same batches, migrate_pages(2), and a cpuset.mems write (what a numatune change comes down to).
 *
 * A child process holds the memory; every measurement moves all of it to the other node, in turns, several rounds, in
 * an order that changes from round to round; what is told is the median and the best, and the longest single call.
 * Absolute figures mean something on real hardware only; ratios within one run also in an emulated host, where other
 * load on the machine beneath disturbs single rounds: the ratio of the bests is the one to look at there.
 *
 * usage: bench-mover [--mib N] [--rounds N] [--batch-mib N] [--rate-mib N] [--touch]  (two nodes with memory, root)
 *   --touch     the child writes to all of it meanwhile
 *   --rate-mib  instead: moves to and fro for 10 s at so many MiB/s, and tells the rate that came of it and
 *               the calls' times
 */
#include "apply/mover.h"
#include "observe/process.h"

#include <errno.h>
#include <numa.h>
#include <numaif.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1ull << 20)
#define GROUP "/sys/fs/cgroup/homenode-bench"
#define MAX_ROUNDS 64

typedef struct {
    int mib, rounds, batch_mib, rate_mib;
    gboolean is_touching;
} Options;

typedef struct {
    GMutex lock;
    GCond cond;
    bool has_ended;
} Waiter;

typedef struct {
    const Options *options;
    HnMovers *movers; /* kept, as the daemon keeps them */
    Waiter waiter;
    pid_t pid;
    char *memory;
    uint64_t bytes;
    uint64_t page_bytes; /* 4 KiB or, huge, 2 MiB */
    int nodes[2];
    int at; /* index into nodes: where it lies */
    HnRoot *root;
    uint64_t start_ticks;
} Bench;

typedef struct {
    uint64_t total_ns, longest_ns;
} Measure;

static uint64_t now_ns(void)
{
    const HnSyscalls *sys = hn_syscalls_kernel();

    return sys->now_ns(sys->user_data);
}

static void die(const char *what)
{
    fprintf(stderr, "bench-mover: %s: %s\n", what, g_strerror(errno));
    exit(1);
}

/* ---- the child ---- */

static void child_main(const Bench *bench, int ready)
{
    if (numa_run_on_node(bench->nodes[0]) < 0)
        _exit(2);
    for (uint64_t at = 0; at < bench->bytes; at += 4096)
        bench->memory[at] = 1;
    if (write(ready, "x", 1) != 1)
        _exit(2);
    while (bench->options->is_touching) {
        for (uint64_t at = 0; at < bench->bytes; at += 4096)
            bench->memory[at]++;
    }
    for (;;)
        pause();
}

static void start_child(Bench *bench)
{
    const unsigned long mask = 1ul << bench->nodes[0];
    const uint64_t room = bench->bytes + 2 * MIB;
    char *area = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), byte;
    int ready[2];

    if (area == MAP_FAILED || pipe(ready) < 0)
        die("cannot prepare the memory");
    bench->memory = (char *)((GPOINTER_TO_SIZE(area) + 2 * MIB - 1) & ~(2 * MIB - 1));
    if (madvise(bench->memory, bench->bytes, bench->page_bytes > 4096 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) < 0 ||
        mbind(bench->memory, bench->bytes, MPOL_PREFERRED, &mask, 64, 0) < 0)
        die("cannot prepare the memory");
    bench->pid = fork();
    if (bench->pid < 0)
        die("fork");
    if (bench->pid == 0)
        child_main(bench, ready[1]);
    if (read(ready[0], &byte, 1) != 1)
        die("the child did not start");
    close(ready[0]);
    close(ready[1]);
    munmap(area, room);
    bench->at = 0;
    {
        g_autofree char *dir = g_strdup_printf("proc/%d", bench->pid);
        HnTaskStat stat;

        if (!hn_task_stat_read(bench->root, dir, &stat, NULL))
            die("cannot read the child's stat");
        bench->start_ticks = stat.start_ticks;
    }
}

static void end_child(Bench *bench)
{
    kill(bench->pid, SIGKILL);
    waitpid(bench->pid, NULL, 0);
}

/* Bytes on a node, asked page by page. */
static uint64_t count_bytes(const Bench *bench, int node)
{
    uint64_t bytes = 0;

    for (uint64_t at = 0; at < bench->bytes; at += 512 * 4096) {
        void *addresses[512];
        int status[512];

        for (guint i = 0; i < 512; i++)
            addresses[i] = bench->memory + at + i * 4096;
        if (move_pages(bench->pid, 512, addresses, NULL, status, 0) < 0)
            die("move_pages (asking)");
        for (guint i = 0; i < 512; i++)
            bytes += status[i] == node ? 4096 : 0;
    }
    return bytes;
}

/* ---- the ways ---- */

static void by_bare_loop(Bench *bench, int to, Measure *ret)
{
    const uint64_t n_batch = bench->options->batch_mib * MIB / bench->page_bytes;
    g_autofree void **addresses = g_new(void *, n_batch);
    g_autofree int *nodes = g_new(int, n_batch), *status = g_new(int, n_batch);

    for (uint64_t at = 0; at < bench->bytes; at += n_batch * bench->page_bytes) {
        const uint64_t n = MIN(n_batch, (bench->bytes - at) / bench->page_bytes), start = now_ns();

        for (uint64_t i = 0; i < n; i++) {
            addresses[i] = bench->memory + at + i * bench->page_bytes;
            nodes[i] = to;
        }
        if (move_pages(bench->pid, n, addresses, nodes, status, MPOL_MF_MOVE) < 0)
            die("move_pages");
        ret->longest_ns = MAX(ret->longest_ns, now_ns() - start);
    }
}

static void mover_ended(HnMoveJob *job, void *user_data)
{
    Waiter *waiter = user_data;
    HnMoveResult result;

    hn_move_result(job->move, &result);
    if (result.reason != HN_REASON_DONE)
        fprintf(stderr, "bench-mover: %s: %s\n", hn_reason_name(result.reason), result.sentence);
    hn_move_job_free(job, hn_syscalls_kernel());
    g_mutex_lock(&waiter->lock);
    waiter->has_ended = true;
    g_cond_signal(&waiter->cond);
    g_mutex_unlock(&waiter->lock);
}

/* All of it to a node, and waits. */
static void run_job(Bench *bench, HnTarget *target, int to)
{
    HnRange range = {.start = GPOINTER_TO_SIZE(bench->memory), .length_bytes = bench->bytes, .page_bytes = 4096,
                     .is_thp = bench->page_bytes > 4096};
    HnMoveSpec spec = {.pid = bench->pid, .base_page_bytes = 4096, .to_node_id = to, .limit_bytes = UINT64_MAX,
                       .expected_bytes = bench->bytes};
    HnMoveJob *job;

    spec.ranges = g_array_new(FALSE, FALSE, sizeof(HnRange));
    g_array_append_val(spec.ranges, range);
    job = hn_move_job_new(NULL, target, bench->pid, bench->start_ticks, hn_move_new(&spec));
    job->to_node_id = to;
    bench->waiter.has_ended = false;
    hn_movers_push(bench->movers, job);
    g_mutex_lock(&bench->waiter.lock);
    while (!bench->waiter.has_ended)
        g_cond_wait(&bench->waiter.cond, &bench->waiter.lock);
    g_mutex_unlock(&bench->waiter.lock);
}

static void by_mover(Bench *bench, int to, bool is_adaptive, Measure *ret)
{
    HnTarget *target = hn_target_new();
    HnProgress progress;
    HnLimits limits;

    hn_limits_init(&limits);
    limits.host_bytes_per_sec = limits.node_bytes_per_sec = 0;
    limits.headroom_bytes = 0;
    limits.is_backoff_enabled = false;
    if (!is_adaptive) {
        limits.batch_floor_bytes = limits.batch_ceiling_bytes = bench->options->batch_mib * MIB;
        limits.call_target_ns = 1000000000; /* or the floor would be cut */
    }
    hn_movers_set_limits(bench->movers, &limits);
    hn_target_begin(target, bench->bytes);
    run_job(bench, target, to);
    hn_target_end(target, 0);
    if (hn_target_progress(target, &progress))
        ret->longest_ns = progress.call_max_ns;
    hn_target_unref(target);
}

static void by_migrate_pages(Bench *bench, int to, Measure *ret)
{
    const unsigned long from_mask = 1ul << bench->nodes[bench->at], to_mask = 1ul << to;
    const uint64_t start = now_ns();

    if (migrate_pages(bench->pid, 64, &from_mask, &to_mask) < 0)
        die("migrate_pages");
    ret->longest_ns = now_ns() - start;
}

static bool write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    bool is_good = file && fputs(text, file) >= 0;

    return file && fclose(file) == 0 && is_good;
}

static bool prepare_group(const Bench *bench)
{
    g_autofree char *pid = g_strdup_printf("%d", bench->pid);
    g_autofree char *both = g_strdup_printf("%d,%d", bench->nodes[0], bench->nodes[1]);

    write_file("/sys/fs/cgroup/cgroup.subtree_control", "+cpuset");
    g_mkdir_with_parents(GROUP, 0755);
    return write_file(GROUP "/cpuset.mems", both) && write_file(GROUP "/cgroup.procs", pid);
}

static void by_cpuset(Bench *bench, int to, Measure *ret)
{
    g_autofree char *one = g_strdup_printf("%d", to);
    g_autofree char *both = g_strdup_printf("%d,%d", bench->nodes[0], bench->nodes[1]);
    const uint64_t start = now_ns();

    if (!write_file(GROUP "/cpuset.mems", one))
        die("cpuset.mems");
    ret->longest_ns = now_ns() - start;
    write_file(GROUP "/cpuset.mems", both);
}

enum { BARE, MOVER, ADAPTIVE, MIGRATE, CPUSET, N_WAYS };
static const char *const way_names[N_WAYS] = {"bare move_pages loop", "mover, same batches", "mover, 5 ms calls",
                                              "migrate_pages(2)", "cpuset.mems write"};

static Measure measure(Bench *bench, int way)
{
    const int to = bench->nodes[!bench->at];
    Measure result = {0};
    const uint64_t start = now_ns();
    uint64_t arrived;

    switch (way) {
    case BARE:
        by_bare_loop(bench, to, &result);
        break;
    case MOVER:
    case ADAPTIVE:
        by_mover(bench, to, way == ADAPTIVE, &result);
        break;
    case MIGRATE:
        by_migrate_pages(bench, to, &result);
        break;
    default:
        by_cpuset(bench, to, &result);
        break;
    }
    result.total_ns = now_ns() - start;
    arrived = count_bytes(bench, to);
    if (arrived < bench->bytes / 100 * 99)
        fprintf(stderr, "bench-mover: %s: only %.1f of %.1f MiB arrived\n", way_names[way], (double)arrived / MIB,
                (double)bench->bytes / MIB);
    bench->at = !bench->at;
    return result;
}

/* ---- the table ---- */

static int compare_u64(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Moves to and fro at a rate; the first second settles the batch size and is not counted. */
static void run_rate(Bench *bench)
{
    const uint64_t seconds = 10;
    HnTarget *target = hn_target_new();
    HnProgress first, last;
    uint64_t first_ns, last_ns;
    HnLimits limits;

    hn_limits_init(&limits);
    limits.host_bytes_per_sec = (uint64_t)bench->options->rate_mib * MIB;
    limits.headroom_bytes = 0;
    limits.is_backoff_enabled = false;
    bench->movers = hn_movers_new(hn_syscalls_kernel(), bench->root, &limits, mover_ended, &bench->waiter);
    start_child(bench);
    hn_target_begin(target, bench->bytes); /* one move that lasts: its call times are counted together */
    for (first_ns = now_ns(); now_ns() < first_ns + 1000000000;) {
        run_job(bench, target, bench->nodes[!bench->at]);
        bench->at = !bench->at;
    }
    first_ns = now_ns();
    hn_target_progress(target, &first);
    while (now_ns() < first_ns + seconds * 1000000000) {
        run_job(bench, target, bench->nodes[!bench->at]);
        bench->at = !bench->at;
    }
    last_ns = now_ns();
    hn_target_progress(target, &last);
    hn_target_end(target, 0);
    hn_target_unref(target);
    end_child(bench);
    hn_movers_free(bench->movers);
    printf("%s pages, limit %d MiB/s for %.1f s%s: %.1f MiB/s (%+.1f %%); calls of move_pages: median %.2f ms, 99th percentile "
           "%.2f ms, longest %.2f ms, target %.0f ms\n",
           bench->page_bytes > 4096 ? "2 MiB" : "4 KiB", bench->options->rate_mib, (double)(last_ns - first_ns) / 1e9,
           bench->options->is_touching ? ", being written to" : "",
           (double)(last.bytes_done - first.bytes_done) / MIB / ((double)(last_ns - first_ns) / 1e9),
           (double)(last.bytes_done - first.bytes_done) / MIB / ((double)(last_ns - first_ns) / 1e9) /
                   bench->options->rate_mib * 100 - 100,
           (double)last.call_p50_ns / 1e6, (double)last.call_p99_ns / 1e6, (double)last.call_max_ns / 1e6,
           (double)limits.call_target_ns / 1e6);
}

static void run(Bench *bench)
{
    static uint64_t totals[N_WAYS][MAX_ROUNDS], longest[N_WAYS];
    const int rounds = bench->options->rounds;
    HnLimits limits;
    bool has_group;

    memset(longest, 0, sizeof(longest));
    hn_limits_init(&limits);
    bench->movers = hn_movers_new(hn_syscalls_kernel(), bench->root, &limits, mover_ended, &bench->waiter);
    start_child(bench);
    for (int node = 0; node < 2; node++) /* the movers of both nodes are started, and nobody's first is measured */
        measure(bench, MOVER);
    has_group = prepare_group(bench);
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < N_WAYS; i++) {
            const int way = (i + round) % N_WAYS;

            if (way != CPUSET || has_group) {
                const Measure result = measure(bench, way);

                totals[way][round] = result.total_ns;
                longest[way] = MAX(longest[way], result.longest_ns);
            }
        }
    }
    end_child(bench);
    hn_movers_free(bench->movers);
    rmdir(GROUP);
    printf("%s pages, %d MiB, batches of %d MiB, %d rounds%s\n", bench->page_bytes > 4096 ? "2 MiB" : "4 KiB",
           bench->options->mib, bench->options->batch_mib, rounds,
           bench->options->is_touching ? ", being written to" : "");
    printf("  %-22s %10s %8s %10s %8s %14s\n", "", "median", "of bare", "best", "of bare", "longest call");
    for (int way = 0; way < N_WAYS; way++)
        qsort(totals[way], (size_t)rounds, sizeof(uint64_t), compare_u64);
    for (int way = 0; way < N_WAYS; way++) {
        const uint64_t median = totals[way][rounds / 2], bare = totals[BARE][rounds / 2];
        const uint64_t best = totals[way][0], bare_best = totals[BARE][0];

        if (way == CPUSET && !has_group)
            printf("  %-22s not measured: no cgroup v2 cpuset here\n", way_names[way]);
        else
            printf("  %-22s %5.0f MiB/s %7.1f%% %4.0f MiB/s %7.1f%% %11.2f ms\n", way_names[way],
                   bench->options->mib / ((double)median / 1e9), 100.0 * (double)bare / (double)median,
                   bench->options->mib / ((double)best / 1e9), 100.0 * (double)bare_best / (double)best,
                   (double)longest[way] / 1e6);
    }
}

int main(int argc, char **argv)
{
    Options options = {.mib = 64, .rounds = 5, .batch_mib = 16};
    const GOptionEntry entries[] = {
        {"mib", 0, 0, G_OPTION_ARG_INT, &options.mib, "memory to move", "N"},
        {"rounds", 0, 0, G_OPTION_ARG_INT, &options.rounds, "times", "N"},
        {"batch-mib", 0, 0, G_OPTION_ARG_INT, &options.batch_mib, "per call", "N"},
        {"rate-mib", 0, 0, G_OPTION_ARG_INT, &options.rate_mib, "hold this rate instead of racing", "N"},
        {"touch", 0, 0, G_OPTION_ARG_NONE, &options.is_touching, "write to it meanwhile", NULL},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(HnRoot) root = NULL;
    Bench bench = {.options = &options};
    int found = 0;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        fprintf(stderr, "bench-mover: %s\n", error->message);
        return 2;
    }
    options.rounds = CLAMP(options.rounds, 1, MAX_ROUNDS);
    options.mib = CLAMP(options.mib, 4, 65536) & ~1;
    options.batch_mib = CLAMP(options.batch_mib, 2, 1024) & ~1;
    for (int node = 0; numa_available() >= 0 && node <= numa_max_node() && found < 2; node++) {
        if (numa_bitmask_isbitset(numa_all_nodes_ptr, (unsigned)node) && numa_node_size64(node, NULL) > 0)
            bench.nodes[found++] = node;
    }
    if (found < 2) {
        printf("machine: one node only, nothing to compare; run it in the emulated host\n");
        return 77;
    }
    root = hn_root_open("/", NULL);
    bench.root = root;
    bench.bytes = options.mib * MIB;
    for (bench.page_bytes = 4096; bench.page_bytes <= 2 * MIB; bench.page_bytes *= 512) {
        if (options.rate_mib > 0)
            run_rate(&bench);
        else
            run(&bench);
    }
    return 0;
}
