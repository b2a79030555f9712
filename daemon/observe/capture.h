/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine as a directory of small text files: what the observer reads, and nothing else, so that
 * a bug report or a test can be read by people and observed again with --sysroot.
 *
 * What is left out on purpose: guest memory, guest disks' names, arguments of QEMU other than its
 * name, uuid, machine type and accelerator, environment, mappings that cannot be guest RAM. What is
 * in: names and uuids of the captured domains, CPU and memory figures of the host.
 *
 * It reads smaps and numa_maps of each guest once (9 ms/GiB with small pages): for diagnosis, not
 * for a loop.
 */
#pragma once

#include "observe/root.h"

/* Where the files go, in no order that matters; paths are relative ("proc/meminfo"). False ends the capture
 * with the error set. */
typedef struct {
    bool (*file)(void *user_data, const char *path, const char *text, size_t len, GError **error);
    bool (*link)(void *user_data, const char *path, const char *target, GError **error);
} HnCaptureSink;

/* Gives the machine below `root` to the sink, with the guests whose process ids are given (a guest that ends
 * meanwhile is left out). Files that cannot be read are left out, as they would be on that machine. Errors:
 * the sink's. */
bool hn_capture_to(const HnRoot *root, const HnCaptureSink *sink, void *user_data, const int64_t *pids,
                   uint32_t n_pids, GError **error);

/* The same into a directory: writes the machine below `root` into out_dir, which must not exist yet or be empty; with the
 * guests whose process ids are given. Errors: G_FILE_ERROR of the first file that could not be written. */
bool hn_capture(const HnRoot *root, const char *out_dir, const int64_t *pids, uint32_t n_pids,
                GError **error);

/* The filters, pure; caller frees. They take whole files and give what of them is kept. */
char *hn_capture_filter_cmdline(const char *text, size_t len, size_t *ret_len);
char *hn_capture_filter_smaps(const char *text, size_t len,
                              GArray *kept_starts /* uint64_t, appended */);
