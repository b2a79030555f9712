/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A host with several nodes and one guest process, behind the seam of apply/: it answers move_pages as Linux does
 * (facts it imitates are marked in fake-kernel.c), keeps every page's node, and can be told to fail. Files that
 * apply/ reads (meminfo, stat, pressure, …) are kept up to date below a temporary directory.
 *
 * May be used from any thread.
 */
#pragma once

#include "apply/syscalls.h"
#include "observe/root.h"

#define FAKE_NODES 4
#define FAKE_BASE 0x7f0000000000ull /* where the guest's RAM begins, 2 MiB aligned */
#define FAKE_PAGE 4096ull
#define FAKE_BLOCK (2ull << 20)

typedef enum {
    FAKE_MOVE,
    FAKE_QUERY,
    FAKE_SETAFFINITY,
    FAKE_GETAFFINITY,
    FAKE_PIDFD_OPEN,
    FAKE_COLLAPSE,
    FAKE_N_CALLS,
} FakeCall;

typedef struct FakeKernel FakeKernel;

/* A process `pid` with n_pages present on node 0; every node has free_bytes free. */
FakeKernel *fake_kernel_new(int64_t pid, guint n_pages, uint64_t free_bytes);
void fake_kernel_free(FakeKernel *kernel);
const HnSyscalls *fake_kernel_syscalls(FakeKernel *kernel);
HnRoot *fake_kernel_root(FakeKernel *kernel);
const char *fake_kernel_dir(FakeKernel *kernel); /* for journals and the like; removed at the end */
void fake_kernel_write(FakeKernel *kernel, const char *path, const char *text); /* below the root */

/* Pages [first, first+n): */
void fake_kernel_set_node(FakeKernel *kernel, guint first, guint n, int node); /* -1: absent */
void fake_kernel_set_huge(FakeKernel *kernel, guint first, guint n);
/* Large folios of any size (1: none, 16: 64 KiB, 512: huge pages), in whole ones. */
void fake_kernel_set_folios(FakeKernel *kernel, guint first, guint n, guint folio_pages);
void fake_kernel_set_pinned(FakeKernel *kernel, guint first, guint n, guint calls); /* unmovable for so many calls */
void fake_kernel_set_shared(FakeKernel *kernel, guint first, guint n);
guint fake_kernel_count(FakeKernel *kernel, int node);

guint fake_kernel_count_huge(FakeKernel *kernel); /* pages in huge ones */
/* From now on huge pages are split when they move, as where no huge page is free. */
void fake_kernel_split_moves(FakeKernel *kernel);

void fake_kernel_set_free(FakeKernel *kernel, int node, uint64_t free_bytes);
void fake_kernel_exit(FakeKernel *kernel);                  /* the process ends */
void fake_kernel_exit_after(FakeKernel *kernel, guint n_moves);
void fake_kernel_restart(FakeKernel *kernel, uint64_t start_ticks); /* another process under the same pid */
void fake_kernel_allow(FakeKernel *kernel, uint32_t node_mask);     /* cpuset.mems of the process */
/* From the (skip+1)th such call on, `times` calls fail with err. */
void fake_kernel_fail(FakeKernel *kernel, FakeCall call, guint skip, guint times, int err);
void fake_kernel_set_affinity(FakeKernel *kernel, int32_t tid, const char *cpus);
char *fake_kernel_affinity(FakeKernel *kernel, int32_t tid);
void fake_kernel_delay_moves(FakeKernel *kernel, guint us_per_mib); /* real time, as a copy takes */
/* In the middle of the nth move call from now (1: the next), before anything moves. */
void fake_kernel_on_move(FakeKernel *kernel, guint nth, void (*func)(void *user_data), void *user_data);

/* Before and after each call that changes something (a move, an affinity, a collapse), in the thread that makes it. */
void fake_kernel_on_change(FakeKernel *kernel, void (*func)(void *user_data), void *user_data);

guint fake_kernel_calls(FakeKernel *kernel, FakeCall call);
guint fake_kernel_splats(FakeKernel *kernel);      /* times it ran out of memory: what the log would show */
uint64_t fake_kernel_largest_move(FakeKernel *kernel); /* bytes asked for in one call */
guint fake_kernel_open_pidfds(FakeKernel *kernel);
