/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Newcomers: where a guest that does not exist yet would best begin, and the ledger of what others were
 * told meanwhile.
 *
 * libvirt asks before it starts QEMU (placement='auto'), and binds the guest to the answer. Ten guests
 * that are started together are all asked for before one of them is seen, so each answer is a promise
 * that the next answers count with, until the guest has been seen or has failed to come.
 */
#pragma once

#include <homenode/policy.h>

#define HN_NEWCOMER_MAX_VCPUS HN_MAX_CPUS
#define HN_NEWCOMER_MAX_BYTES (UINT64_C(1) << 50)
/* More starts than this within a minute forget the oldest. */
#define HN_MAX_PROMISES 256
/* A guest that has not come by then will not come: libvirt starts QEMU within seconds of asking. */
#define HN_PROMISE_TTL_NS (60 * UINT64_C(1000000000))

typedef struct {
    uint32_t n_vcpus; /* 1 .. HN_NEWCOMER_MAX_VCPUS */
    uint64_t bytes;   /* what it will be able to use, 0 .. HN_NEWCOMER_MAX_BYTES */
} HnNewcomer;

typedef struct {
    HnNewcomer guest;
    HnNodemask nodes;            /* what was answered */
    uint64_t promised_ns;        /* CLOCK_BOOTTIME */
    char uuid[HN_UUID_LEN + 1];  /* the domain it became, "" until that is seen */
} HnPromise;

/* Brings the ledger (HnPromise, in the order given) up to a snapshot: a promise is kept by the first
 * domain of its size that started after it and kept no other; from then on the domain counts instead.
 * Drops what is older than HN_PROMISE_TTL_NS, but only once a snapshot was taken after that: while
 * guests start, libvirt may keep observers waiting. snapshot may be NULL. */
void hn_promises_settle(GArray *promises, const HnSnapshot *snapshot, uint64_t now_ns);
/* Adds one, forgetting the oldest beyond HN_MAX_PROMISES. */
void hn_promises_add(GArray *promises, const HnNewcomer *guest, HnNodemask nodes, uint64_t now_ns);

/* Nodes (indices) for a guest. One node if it fits one; the homes of its parts if it is wide; if there
 * is no room as things are, the fewest near nodes whose free memory holds it, else all that can be a
 * home. Everybody else stays where it is, or where it is on its way to (`in_flight`, uuids, may be
 * NULL): who is bound to the answer cannot wait for others to move.
 *
 * past and promises may be NULL; neither is changed. *ret_reason is INITIAL_PLACEMENT, SPLIT_WIDE,
 * NODE_FULL (not one node as it should be) or SINGLE_NODE_HOST. 0 with an error if the snapshot or
 * the newcomer makes no sense. */
HnNodemask hn_newcomer_place(const HnSnapshot *snapshot, const HnPolicy *policy, const HnPast *past,
                             const char *const *in_flight, const HnNewcomer *guest,
                             const GArray *promises, HnReason *ret_reason, GError **error);
