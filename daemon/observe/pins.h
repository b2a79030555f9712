/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which pins are the admin's: pure judgement over what is set, what we set, and what was there
 * before.
 *
 * A pin that equals what we set last is ours, and so is one that equals what we had set before that: ours may be on
 * its way still, or we died before we did what we had written down. Then what the admin had before we came is still
 * the admin's wish. A pin that differs is the admin's, whoever set one before. A set that contains everything the host
 * could offer constrains nothing.
 */
#pragma once

#include "observe/observer.h"

/* What is set on one thing now. */
typedef struct {
    bool has_pin;
    HnCpuset pin;
    bool has_fallback; /* what applies where there is no pin: <vcpu cpuset='…'> */
    HnCpuset fallback;
    bool has_affinity; /* in force, however it came about (taskset, a cpuset of the slice) */
    HnCpuset affinity;
} HnPinState;

/* A thread that QEMU began after we pinned the emulator has our pin from its creator, although we never
 * touched it: then *state becomes what it would be without us. For threads whose affinity is their pin
 * (bare QEMU). */
void hn_pin_disinherit(const HnOwnership *ownership, const char *uuid, HnOwnedKind kind, uint32_t id,
                       HnPinState *state);

/* `everything`: all usable CPUs (or nodes) of the host. True if the admin constrains it, to
 * *ret_allowed. */
bool hn_pin_judge(const HnOwnership *ownership, const char *uuid, HnOwnedKind kind, uint32_t id,
                  const HnPinState *state, const HnCpuset *everything, HnCpuset *ret_allowed);

/* The same for the nodeset. *ret_is_admin, *ret_admin_nodes; *ret_is_fenced: what we set is in
 * force and leaves out at least one memory node. */
void hn_nodeset_judge(const HnOwnership *ownership, const HnDomainInfo *info, const HnHost *host,
                      bool *ret_is_admin, HnNodemask *ret_admin_nodes, bool *ret_is_fenced);
