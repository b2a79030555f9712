/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One domain from round to round: what is kept of it, and how a HnDomain is made from it.
 *
 * What is dear is kept and renewed only when a cheap sign says so:
 * - threads: the process counts another number of them, or one ended (tasks.h)
 * - RAM regions: configured memory changed; or the process' mapped size changed and a mapping is no
 *   longer where it was; or much more is resident than when smaps was read (huge pages came in)
 * - probes: the caller's age limit; the caller's wish; or the control group's counters moved by
 * more than 1/64 of the RAM since the last probes
 * - perf rings and touch matrix: there while the caller wishes it (touch-watch.h)
 *
 * Life: NEW → WATCHED (identity checked: command line, start time, pidfd) → GONE (process ended, or
 * its number means another one). GONE is final; the observer then makes a new watch if the domain
 * lives on.
 */
#pragma once

#include "observe/faults.h"
#include "observe/movability.h"
#include "observe/observer.h"
#include "observe/regions.h"
#include "observe/tasks.h"
#include "observe/touch-perf.h"

/* Shared by all domains of an observer. */
typedef struct {
    HnRoot *root;
    HnKeptBudget *budget;
    const HnProbeOps *probe_ops; /* NULL: nothing to ask (a captured machine) */
    const HnPerfOps *perf_ops;   /* NULL: likewise */
    HnWishFunc parse_wish;
    HnOwnership ownership;
    GString *buffer;
    bool has_balancing; /* kernel.numa_balancing, this round */
    uint64_t balancing_mode;
} HnWatchContext;

typedef struct HnDomainWatch HnDomainWatch;

HnDomainWatch *hn_domain_watch_new(HnWatchContext *context, int64_t pid);
void hn_domain_watch_free(HnDomainWatch *watch);
int64_t hn_domain_watch_pid(const HnDomainWatch *watch);
int hn_domain_watch_pidfd(const HnDomainWatch *watch); /* -1: none; stays the watch's */
HnTasks *hn_domain_watch_tasks(HnDomainWatch *watch);  /* stays the watch's */
const char *hn_domain_watch_impediment(const HnDomainWatch *watch); /* of hinting faults */
uint64_t hn_domain_watch_bytes(const HnDomainWatch *watch);         /* kept memory */
/* Node indices mean something else from now on. */
void hn_domain_watch_forget_nodes(HnDomainWatch *watch);

/* NULL: the process is gone, or never was this domain's (error set). Anything less is told in
 * HnDomain.unobservable. Caller frees. */
HnDomain *hn_domain_watch_observe(HnDomainWatch *watch, const HnDomainInfo *info,
                                  const HnHost *host, const HnObserveOptions *options,
                                  bool is_fresh, bool is_touched, GError **error);
