/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The observer: everything a round knows, read from the machine into one immutable snapshot.
 *
 * The back end says which domains exist and how they are configured (HnDomainInfo); the observer
 * adds what only the kernel knows: threads and their times, where the RAM is mapped and on which
 * nodes its pages lie, who touched it. It keeps what is dear to find (descriptors of every thread,
 * the map of the RAM regions, the last probes) from one round to the next, and re-reads it when a
 * cheap sign says that it changed.
 *
 * It has no clock: the round's time and the age at which probes are repeated are arguments. It
 * changes nothing on the machine. It is used from one thread at a time.
 */
#pragma once

#include "backend/backend.h"
#include "observe/residency.h"
#include "observe/root.h"
#include "observe/touch-perf.h"

#include <homenode/snapshot.h>

typedef struct HnObserver HnObserver;

/* Whose pin is it? What the agent sets itself is journalled elsewhere; observing asks. */
typedef enum { HN_OWNED_VCPU, HN_OWNED_EMULATOR, HN_OWNED_IOTHREAD, HN_OWNED_NODESET } HnOwnedKind;

typedef struct {
    HnCpuset ours;     /* what we set last (for HN_OWNED_NODESET: kernel node ids) */
    bool has_previous; /* what that replaced was ours too … */
    HnCpuset previous; /* … and may be in force still: it is written down before it is done */
    bool has_original; /* the admin had one before our first change … */
    HnCpuset original; /* … this one: still the admin's constraint */
} HnOwned;

typedef struct {
    /* True, and *ret_owned filled in, if we have set this pin (or nodeset) and not given it back.
     * `id`: the vCPU's or iothread's number, 0 for the others. NULL: nothing is ever ours. */
    bool (*lookup)(void *user_data, const char *uuid, HnOwnedKind kind, uint32_t id,
                   HnOwned *ret_owned);
    void *user_data;
} HnOwnership;

/* Decodes the placement element: hn_wish_parse(). What is wrong with it stands in
 * ret_wish->invalid; the return value is not looked at. */
typedef bool (*HnWishFunc)(const char *xml, const HnHost *host, HnWish *ret_wish);

typedef struct {
    HnWishFunc parse_wish; /* NULL: every wish is HN_MODE_NONE */
    HnOwnership ownership;
    HnProbeOps probe_ops; /* query NULL: the kernel's move_pages(2) */
    HnPerfOps perf_ops;   /* open NULL: the kernel's perf_event_open(2) */
} HnObserverConfig;

/* What is wanted of one domain, where it differs from what is wanted of all. */
typedef struct {
    char uuid[HN_UUID_LEN + 1];
    uint64_t probe_max_age_ns;
    bool with_faults;
} HnObserveWish;

/* What this round wants to know, and how fresh. Start from hn_observe_options_init(). */
typedef struct {
    uint64_t now_ns;           /* CLOCK_BOOTTIME when the round began */
    uint64_t probe_max_age_ns; /* probe a domain's RAM again when the last probes are this old (10
                                * s); 0: now; UINT64_MAX: only where there are none yet */
    uint32_t n_probes;         /* per domain (1,024: at most ±3.5 %; docs/evidence.md) */
    const char *const
        *fresh_uuids;         /* NULL-terminated: probed now, whatever their age (NULL: none) … */
    uint64_t exact_max_bytes; /* … and page by page if they are no larger (256 MiB: 10 ms with 4 KiB
                               * pages, 0.04 ms with 2 MiB; 0: never) */
    bool with_faults;         /* read the hinting faults of each vCPU (5 µs each) */
    /* NULL-terminated: page faults of these are sampled until the next round (touch-watch.h); those
     * of any other domain end now (NULL: all). It says something only while pages are unmapped:
     * kernel.numa_balancing is on, or dirty pages are logged. */
    const char *const *touch_uuids;
    const HnObserveWish *wishes; /* [n_wishes], ascending uuid: domains for which the age and faults above
                                  * do not hold */
    uint32_t n_wishes;
} HnObserveOptions;
void hn_observe_options_init(HnObserveOptions *options, uint64_t now_ns);

/* `root` is borrowed and must outlive the observer; `config` is copied (NULL: all defaults). */
HnObserver *hn_observer_new(HnRoot *root, const HnObserverConfig *config);
void hn_observer_free(HnObserver *observer); /* closes all kept descriptors; NULL is allowed */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnObserver, hn_observer_free)

/* One snapshot of the host and of the domains in `infos` (HnDomainInfo *, borrowed for the call).
 *
 * A domain whose process is gone is left out; one that cannot be seen fully is in it with
 * `unobservable` saying why and the round goes on. Domains that are no longer in `infos` are
 * forgotten. Error (NULL): the host itself cannot be read (no nodes, no /sys). Caller frees the
 * snapshot. */
HnSnapshot *hn_observer_observe(HnObserver *observer, GPtrArray *infos,
                                const HnObserveOptions *options, GError **error);

/* The host alone. other_load_mcpu is the whole load here, guests included, since the last call of
 * this function (the first says 0). */
HnHost *hn_observer_observe_host(HnObserver *observer, uint64_t now_ns, GError **error);

/* A pidfd of the domain's process for whoever acts upon it later, so that a reused pid is never
 * touched; -1 if the domain is unknown or the machine is a captured one. Caller closes. */
int hn_observer_dup_pidfd(HnObserver *observer, const char *uuid);

/* Why hinting faults say nothing of this domain, as a code that stays stable ("hugetlb",
 * "one-node-nodeset", …: faults.h), NULL if they may; valid after hn_observer_observe(). */
const char *hn_observer_no_faults_reason(HnObserver *observer, const char *uuid);

/* Why page faults cannot be sampled on this machine, as a stable code (touch-perf.h); NULL: they
 * can. Opens and closes a perf event; for `homenode doctor`. */
const char *hn_observer_no_touches_reason(const HnObserver *observer);

/* What is kept for all domains: descriptors open, and bytes (without what snapshots own). */
void hn_observer_usage(const HnObserver *observer, uint32_t *ret_n_descriptors,
                       uint64_t *ret_bytes);
