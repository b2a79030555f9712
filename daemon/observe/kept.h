/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file of /proc or /sys that is read every round: opened once, then read from its start by
 * pread(2), which costs less than half of opening it anew (docs/evidence.md), and which cannot
 * reach another thread that got the same number: the descriptor belongs to the thread it was opened
 * for.
 */
#pragma once

#include "observe/root.h"

/* How many may be kept. Beyond it files are opened and closed for each read: dearer, never wrong.
 */
typedef struct {
    uint32_t n_open;
    uint32_t n_max;
} HnKeptBudget;
/* Half of what RLIMIT_NOFILE allows. */
HnKeptBudget hn_kept_budget_from_limits(void);

typedef struct {
    int fd; /* -1: not open */
} HnKept;
#define HN_KEPT_NONE ((HnKept){-1})

/* Replaces the content of `buffer` by the file's, at most max_bytes (more is an error). Errors:
 * G_FILE_ERROR; code G_FILE_ERROR_NOENT or message of ESRCH alike mean that the thing is gone:
 * hn_error_is_gone(). */
bool hn_kept_read(HnKept *kept, HnKeptBudget *budget, const HnRoot *root, const char *path,
                  size_t max_bytes, GString *buffer, GError **error);
void hn_kept_close(HnKept *kept, HnKeptBudget *budget);

/* The process, thread or file vanished between two reads: an ordinary condition. */
bool hn_error_is_gone(const GError *error);
