/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One round's view of the world: immutable once made, complete enough to be written out, read back and
 * decided upon again with the same result.
 */
#pragma once

#include <homenode/domain.h>
#include <homenode/host.h>

typedef struct {
    uint64_t taken_ns; /* CLOCK_BOOTTIME when the round began: the round's only "now" */
    HnHost *host;
    GPtrArray *domains; /* HnDomain *, owned, ascending uuid; running or paused ones, opted in or not */
} HnSnapshot;

HnSnapshot *hn_snapshot_new(void); /* host NULL, domains empty */
void hn_snapshot_free(HnSnapshot *snapshot);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnSnapshot, hn_snapshot_free)
void hn_snapshot_sort(HnSnapshot *snapshot);
HnDomain *hn_snapshot_find(const HnSnapshot *snapshot, const char *uuid_or_name);
