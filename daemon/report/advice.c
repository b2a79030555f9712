/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What would change a verdict: see advice.h.
 */
#include "advice.h"

#include <stddef.h>

const char *hn_advice_for(HnReason reason)
{
    switch (reason) {
    case HN_REASON_NOT_OPTED_IN:
        return "Opt in: homenode enable %s.";
    case HN_REASON_MODE_OFF:
        return "Switch it on: homenode enable %s.";
    case HN_REASON_BAD_METADATA:
        return "Correct its placement element (virsh metadata %s --uri urn:homenode:placement:1 "
               "--edit).";
    case HN_REASON_ADVISE_ONLY:
        return "Let it act: homenode enable %s, and the daemon without --dry-run.";
    case HN_REASON_GAIN_BELOW_THRESHOLD:
        return "A greater gain, a smaller placement.min-gain, or homenode rebalance %s, which asks "
               "for none.";
    case HN_REASON_UNCONFIRMED:
        return "The next round, if it agrees.";
    case HN_REASON_COOLDOWN:
        return "Time, or homenode rebalance %s, which does not wait.";
    case HN_REASON_THRASH_BUDGET:
        return "Time: it was moved too often this hour; look at homenode history %s.";
    case HN_REASON_EVIDENCE_THIN:
        return "Some more rounds of observation.";
    case HN_REASON_NODE_FULL:
        return "Free memory on the better node: fewer or smaller guests there, or less page cache.";
    case HN_REASON_NO_SINGLE_NODE_FITS:
        return "A smaller guest, or guest NUMA cells, so that each cell fits a node.";
    case HN_REASON_PINNED_BY_ADMIN:
        return "Remove or widen the admin's pins (virsh vcpupin %s, virsh emulatorpin).";
    case HN_REASON_NODESET_BY_ADMIN:
        return "Remove the admin's <numatune> from the domain, or set its mode to restrictive.";
    case HN_REASON_CONSTRAINT_EMPTY:
        return "Pins, numatune and the nodeset attribute contradict each other: relax one of them.";
    case HN_REASON_IMMOVABLE:
        return "Its memory is pinned in place (passthrough device or confidential guest): restart "
               "the guest on the "
               "wanted node, or detach the device.";
    case HN_REASON_MEMORY_KEEP:
        return "Remove memory='keep' from its placement element.";
    case HN_REASON_MIGRATING:
    case HN_REASON_DOMAIN_BUSY:
        return "The end of the job: virsh domjobinfo %s.";
    case HN_REASON_PAUSED_DOMAIN:
        return "Resume the guest: virsh resume %s.";
    case HN_REASON_BOOTING:
        return "The end of its boot window (placement.boot-window).";
    case HN_REASON_PAUSED_BY_ADMIN:
        return "homenode resume %s.";
    case HN_REASON_RELEASED:
        return "homenode rebalance %s takes it back.";
    case HN_REASON_IDLE:
        return "Load: an idle guest gains nothing anywhere.";
    case HN_REASON_MARKED_WORSE:
        return "A change of its load, or homenode rebalance %s: an earlier move made it worse.";
    case HN_REASON_SMT_CONTENTION:
        return "Idle cores on the better node.";
    case HN_REASON_PAYBACK_TOO_LONG:
        return "A longer placement.payback-horizon, a higher apply.host-rate, or homenode "
               "rebalance %s.";
    case HN_REASON_BACKED_OFF:
        return "Less pressure on the host (homenode doctor), or wider limits in section [apply].";
    case HN_REASON_PERMISSION_DENIED:
        return "The missing capability: homenode doctor names it.";
    case HN_REASON_LIBVIRT_GONE:
        return "A running libvirtd: systemctl status libvirtd.";
    default:
        return NULL;
    }
}
