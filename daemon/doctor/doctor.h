/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The doctor: what of this host helps or hinders homenode, what each finding costs and how to mend
 * it.
 *
 * Reads through the root handle only, changes nothing. May be called from any thread.
 */
#pragma once

#include <json-c/json.h>

#include "observe/root.h"

/* A running guest, as the last round saw it. */
typedef struct {
    char *name;
    int64_t pid; /* 0: none is known */
    bool is_kvm;
    bool is_bare_qemu;
    char *unobservable; /* not NULL: why it cannot be seen fully */
} HnDoctorGuest;

typedef struct {
    const HnRoot *root;
    bool is_connected; /* to the hypervisor's daemon */
    const char *connect;
    /* Of libvirtd, as libvirt counts (major * 1000000 + minor * 1000 + release); 0: not known. */
    uint64_t libvirt_version;
    const char *last_error; /* of the last round, NULL: none */
    bool is_dry_run;
    const HnDoctorGuest *guests; /* [n_guests] */
    guint n_guests;
    bool is_hinting_stuck; /* wanted for evidence, but not to be had … */
    const char *hinting;   /* … how kernel.numa_balancing stands: a sentence, NULL: not known */
    /* Off by default: observe.damon (it watches a guest now; a code of observe/damon.h why it was refused last, NULL: it
     * was not) and observe.soft-dirty. */
    bool is_damon_wanted, is_damon_on;
    const char *damon_impediment;
    bool is_soft_dirty_wanted;
} HnDoctorInput;

/* [{"check", "state": "ok|note|warn|fail", "finding", "cost", "remedy"}]; caller owns. What is not ok
 * has a cost; warn and fail have a remedy. */
json_object *hn_doctor_examine(const HnDoctorInput *input);
