/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What touch-perf.c assumes of the kernel, asked of the one of this machine: that a perf ring of a
 * thread tells its page faults, all of them, with addresses and writes, and no other thread's; that a
 * full ring tells how much it lost; that one of n can be recorded; that a thread's end is harmless.
 *
 * The threads are this program's own, and the event is the one for guests without KVM. tracefs is
 * mounted in a mount namespace of its own where it is not mounted.
 */
#include "observe/touch-perf.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE_BYTES ((size_t)4096)
#define N_PAGES 300

static HnRoot *root;
static const HnTouchEvent *event;
static HnTouchFormat format;
static const char *missing; /* not NULL: why nothing can be asked of this machine */

/* A thread that touches pages on command. */
typedef struct {
    pthread_t handle;
    atomic_int tid;
    atomic_int order; /* 0: wait, 1: read, 2: write, 3: end */
    uint8_t *memory;  /* N_PAGES, never touched */
} Toucher;

static void *toucher_run(void *data)
{
    Toucher *toucher = data;
    int order;

    atomic_store(&toucher->tid, (int)syscall(SYS_gettid));
    while ((order = atomic_load(&toucher->order)) != 3) {
        if (order == 0) {
            usleep(500);
            continue;
        }
        for (size_t i = 0; i < N_PAGES; i++) {
            volatile uint8_t *byte = toucher->memory + i * PAGE_BYTES + 8;

            if (order == 2)
                *byte = 1;
            else
                (void)*byte;
        }
        atomic_store(&toucher->order, 0);
    }
    return NULL;
}

static void toucher_start(Toucher *toucher)
{
    *toucher = (Toucher){0};
    toucher->memory = mmap(NULL, N_PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_assert_true(toucher->memory != MAP_FAILED);
    madvise(toucher->memory, N_PAGES * PAGE_BYTES, MADV_NOHUGEPAGE);
    g_assert_cmpint(pthread_create(&toucher->handle, NULL, toucher_run, toucher), ==, 0);
    while (atomic_load(&toucher->tid) == 0)
        usleep(100);
}

static void toucher_order(Toucher *toucher, int order)
{
    atomic_store(&toucher->order, order);
    while (atomic_load(&toucher->order) != 0)
        usleep(100);
}

static void toucher_end(Toucher *toucher)
{
    atomic_store(&toucher->order, 3);
    pthread_join(toucher->handle, NULL);
}

/* What a ring told of one toucher's memory. */
typedef struct {
    const Toucher *toucher;
    uint32_t n_in, n_writes, n_outside;
    uint8_t is_seen[N_PAGES];
} Seen;

static void note(const HnTouch *touch, void *user_data)
{
    Seen *seen = user_data;
    uint64_t offset = touch->address - (uint64_t)(uintptr_t)seen->toucher->memory;

    if (offset >= N_PAGES * PAGE_BYTES) {
        seen->n_outside++;
        return;
    }
    g_assert_cmpuint(offset % PAGE_BYTES, ==, 8); /* to the byte */
    seen->is_seen[offset / PAGE_BYTES]++;
    seen->n_in++;
    seen->n_writes += touch->is_write;
}

static HnTouchTally drain(HnPerfRing *ring, const Toucher *toucher, Seen *ret_seen)
{
    g_autoptr(GByteArray) buffer = g_byte_array_new();
    HnTouchTally tally = {0};

    *ret_seen = (Seen){.toucher = toucher};
    hn_perf_ring_drain(ring, &format, event, buffer, note, ret_seen, &tally);
    g_assert_cmpuint(tally.n_malformed, ==, 0);
    return tally;
}

static void open_ring(const Toucher *toucher, uint32_t n_every, size_t n_pages, HnPerfRing *ring)
{
    const HnPerfOps *ops = hn_perf_ops_kernel();

    g_assert_cmpint(ops->open(ops->user_data, atomic_load(&toucher->tid), format.id, n_every,
                              n_pages, ring),
                    ==, 0);
}

static bool skip(void)
{
    if (missing) {
        g_autofree char *text = g_strdup_printf("machine: %s", missing);
        g_test_skip(text);
    }
    return missing != NULL;
}

static void test_each_fault_once(void)
{
    const HnPerfOps *ops = hn_perf_ops_kernel();
    Toucher reader, writer;
    HnPerfRing of_reader, of_writer;
    HnTouchTally tally;
    Seen seen;

    if (skip())
        return;
    toucher_start(&reader);
    toucher_start(&writer);
    open_ring(&reader, 1, 16, &of_reader);
    open_ring(&writer, 1, 16, &of_writer);
    toucher_order(&writer, 2);
    toucher_order(&reader, 1);
    tally = drain(&of_writer, &writer, &seen);
    g_assert_cmpuint(tally.n_lost, ==, 0);
    g_assert_cmpuint(seen.n_in, ==, N_PAGES);
    g_assert_cmpuint(seen.n_writes, ==, N_PAGES);
    for (size_t i = 0; i < N_PAGES; i++)
        g_assert_cmpuint(seen.is_seen[i], ==, 1);
    drain(&of_reader, &reader, &seen);
    g_assert_cmpuint(seen.n_in, ==, N_PAGES);
    g_assert_cmpuint(seen.n_writes, ==, 0);
    /* Taken out: a second look finds nothing; a page that is there faults no more. */
    toucher_order(&writer, 2);
    drain(&of_writer, &writer, &seen);
    g_assert_cmpuint(seen.n_in, ==, 0);
    /* The reader saw the zero page; writing takes one more fault for each. */
    toucher_order(&reader, 2);
    drain(&of_reader, &reader, &seen);
    g_assert_cmpuint(seen.n_writes, ==, N_PAGES);
    /* A thread that ends leaves its ring readable and empty, and cannot be watched any more. */
    toucher_end(&reader);
    toucher_end(&writer);
    drain(&of_writer, &writer, &seen);
    g_assert_cmpuint(seen.n_in, ==, 0);
    ops->close(ops->user_data, &of_reader);
    ops->close(ops->user_data, &of_writer);
    g_assert_cmpint(
        ops->open(ops->user_data, atomic_load(&writer.tid), format.id, 1, 4, &of_writer), ==,
        -ESRCH);
    munmap(reader.memory, N_PAGES * PAGE_BYTES);
    munmap(writer.memory, N_PAGES * PAGE_BYTES);
}

/* One page of ring holds fewer than N_PAGES records: what was lost is told with what comes next. */
static void test_full_ring(void)
{
    const HnPerfOps *ops = hn_perf_ops_kernel();
    Toucher toucher;
    HnPerfRing ring;
    HnTouchTally first, second;
    Seen seen;
    uint32_t n_seen;

    if (skip())
        return;
    toucher_start(&toucher);
    open_ring(&toucher, 1, 1, &ring);
    toucher_order(&toucher, 1);
    first = drain(&ring, &toucher, &seen);
    n_seen = seen.n_in;
    g_assert_cmpuint(n_seen, >, 0);
    g_assert_cmpuint(n_seen, <, N_PAGES);
    toucher_order(&toucher, 2);
    second = drain(&ring, &toucher, &seen);
    g_assert_cmpuint(first.n_lost + second.n_lost, ==, N_PAGES - n_seen);
    g_assert_cmpuint(hn_perf_next_every(&ring, &second), >, 1);
    ops->close(ops->user_data, &ring);
    toucher_end(&toucher);
    munmap(toucher.memory, N_PAGES * PAGE_BYTES);
}

static void test_one_of_some(void)
{
    const HnPerfOps *ops = hn_perf_ops_kernel();
    Toucher toucher;
    HnPerfRing ring;
    Seen seen;

    if (skip())
        return;
    toucher_start(&toucher);
    open_ring(&toucher, 3, 16, &ring);
    toucher_order(&toucher, 1);
    drain(&ring, &toucher, &seen);
    g_assert_cmpuint(seen.n_in + seen.n_outside, >=, N_PAGES / 3);
    g_assert_cmpuint(seen.n_in, <=, N_PAGES / 3 + 2);
    g_assert_cmpint(ops->set_every(ops->user_data, &ring, 1), ==, 0);
    g_assert_cmpuint(ring.n_every, ==, 1);
    toucher_order(&toucher, 2);
    drain(&ring, &toucher, &seen);
    /* The step under way when it was changed may still be the old one. */
    g_assert_cmpuint(seen.n_in, >=, N_PAGES - 3);
    ops->close(ops->user_data, &ring);
    toucher_end(&toucher);
    munmap(toucher.memory, N_PAGES * PAGE_BYTES);
}

/* The event for KVM guests, wherever KVM is loaded. */
static void test_kvm_format(void)
{
    const HnTouchEvent *kvm_event;
    HnTouchFormat kvm_format;
    const char *problem = hn_touch_format_read(root, true, &kvm_event, &kvm_format);

    if (problem) {
        g_autofree char *text = g_strdup_printf("machine: %s", problem);
        g_test_skip(text);
        return;
    }
    g_assert_true(kvm_event->is_gpa);
    g_assert_cmpuint(kvm_format.id, >, 0);
}

/* tracefs where it belongs, seen by this process alone; NULL, or why there is none. */
static const char *find_tracefs(void)
{
    const HnPerfOps *ops = hn_perf_ops_kernel();
    const char *problem = hn_touch_format_read(root, false, &event, &format);
    HnPerfRing ring;
    int result;

    if (problem && unshare(CLONE_NEWNS) == 0 &&
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL) == 0) {
        /* The handle's directory is still that of the old namespace. */
        hn_root_free(root);
        root = hn_root_open("/", NULL);
        problem = hn_touch_format_read(root, false, &event, &format);
    }
    if (problem)
        return problem;
    result = ops->open(ops->user_data, 0, format.id, 1, 1, &ring);
    if (result < 0)
        return hn_perf_impediment(-result);
    ops->close(ops->user_data, &ring);
    return NULL;
}

int main(int argc, char **argv)
{
    int result;

    g_test_init(&argc, &argv, NULL);
    root = hn_root_open("/", NULL);
    missing = find_tracefs();
    g_test_add_func("/platform-touch/each-fault-once", test_each_fault_once);
    g_test_add_func("/platform-touch/full-ring", test_full_ring);
    g_test_add_func("/platform-touch/one-of-some", test_one_of_some);
    g_test_add_func("/platform-touch/kvm-format", test_kvm_format);
    result = g_test_run();
    hn_root_free(root);
    return result;
}
