/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reason codes: why something was done, and why it was not.
 *
 * Every domain gets a reason in every round (HnVerdict), every failed or refused action too. The name is
 * stable (metadata, JSON, metrics, journal); the sentence beside it carries the numbers. New codes go to
 * the end of their group; none is renamed.
 */
#pragma once

#include <stdbool.h>

#define HN_REASONS(X)                                                                              \
    /* nothing to do */                                                                            \
    X(CONVERGED, "converged")                         /* at home, memory and vCPUs */              \
    X(SINGLE_NODE_HOST, "single-node-host")           /* nothing to place on this host */          \
    X(NOT_OPTED_IN, "not-opted-in")                   /* no metadata element */                    \
    X(MODE_OFF, "mode-off")                           /* mode='off' */                             \
    X(BAD_METADATA, "bad-metadata")                   /* element present, but wrong: left alone */ \
    X(ADVISE_ONLY, "advise-only")                     /* would act, mode='advise' or dry run */    \
    /* a move was decided */                                                                       \
    X(LOCALITY_GAIN, "locality-gain")                 /* re-home towards its memory or together */ \
    X(LOAD_BALANCE, "load-balance")                   /* re-home to relieve an overcommitted node */\
    X(CONSOLIDATE, "consolidate")                     /* spread over nodes, gathered on its home */\
    X(MAKE_ROOM, "make-room")                         /* moved so that another one fits */         \
    X(SWAP, "swap")                                   /* exchanges places with another */          \
    X(SPLIT_WIDE, "split-wide")                       /* wide: clients spread over near nodes */   \
    X(COMPANY, "company")                             /* affinity or anti-affinity group */        \
    X(DEVICE_LOCALITY, "device-locality")             /* drawn to its passthrough device */        \
    X(CONGESTION, "congestion")                       /* memory bandwidth of a node exceeded */    \
    X(FORCED, "forced")                               /* homenode rebalance */                     \
    X(UNDO_WORSE, "undo-worse")                       /* audit: it became worse, taken back */     \
    X(IN_PROGRESS, "in-progress")                     /* decided earlier, still moving */          \
    X(INITIAL_PLACEMENT, "initial-placement")         /* first home of a new domain */             \
    /* a move was not decided */                                                                   \
    X(GAIN_BELOW_THRESHOLD, "gain-below-threshold")                                                \
    X(UNCONFIRMED, "unconfirmed")                     /* waits for the second confirming round */  \
    X(COOLDOWN, "cooldown")                                                                        \
    X(THRASH_BUDGET, "thrash-budget")                 /* too many moves this hour */               \
    X(EVIDENCE_THIN, "evidence-thin")                                                              \
    X(NODE_FULL, "node-full")                         /* the better node has no memory room */     \
    X(NO_SINGLE_NODE_FITS, "no-single-node-fits")                                                  \
    X(PINNED_BY_ADMIN, "pinned-by-admin")                                                          \
    X(NODESET_BY_ADMIN, "nodeset-by-admin")                                                        \
    X(CONSTRAINT_EMPTY, "constraint-empty")           /* no node satisfies the constraints */      \
    X(IMMOVABLE, "immovable")                         /* memory cannot move; CPUs follow it */     \
    X(MEMORY_KEEP, "memory-keep")                     /* memory='keep' */                          \
    X(MIGRATING, "migrating")                         /* live migration in progress */             \
    X(DOMAIN_BUSY, "domain-busy")                     /* save, snapshot, backup, dump in progress */\
    X(PAUSED_DOMAIN, "paused-domain")                 /* guest not running */                      \
    X(BOOTING, "booting")                             /* memory still growing: reserved, not moved */\
    X(PAUSED_BY_ADMIN, "paused-by-admin")             /* homenode pause */                         \
    X(IDLE, "idle")                                   /* no load: where it is costs nothing */     \
    X(MARKED_WORSE, "marked-worse")                   /* an earlier move made it worse */          \
    X(SMT_CONTENTION, "smt-contention")               /* locality would be bought with siblings */ \
    X(PAYBACK_TOO_LONG, "payback-too-long")                                                        \
    /* an action ended */                                                                          \
    X(DONE, "done")                                                                                \
    X(DONE_WITH_RESIDUE, "done-with-residue")         /* some pages would not move */              \
    X(SUPERSEDED, "superseded")                       /* overtaken by a newer plan */              \
    X(RELEASED, "released")                           /* original state restored */                \
    X(VANISHED, "vanished")                           /* guest or thread ended meanwhile */        \
    X(BACKED_OFF, "backed-off")                       /* pressure: slower or paused */             \
    X(PERMISSION_DENIED, "permission-denied")                                                      \
    X(LIBVIRT_BUSY, "libvirt-busy")                                                                \
    X(LIBVIRT_GONE, "libvirt-gone")                                                                \
    X(LIBVIRT_FAILED, "libvirt-failed")                                                            \
    X(KERNEL_REFUSED, "kernel-refused")               /* errno in the sentence */                  \
    X(UNSUPPORTED, "unsupported")

typedef enum {
#define X(code, name) HN_REASON_##code,
    HN_REASONS(X)
#undef X
    HN_N_REASONS
} HnReason;

/* The stable name ("node-full"); never NULL for a valid code, "?" otherwise. */
const char *hn_reason_name(HnReason reason);
/* False when no reason has that name. */
bool hn_reason_from_name(const char *name, HnReason *ret_reason);
