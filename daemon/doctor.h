/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The doctor: what of this host helps or hinders homenode, what each finding costs and how to mend
 * it.
 *
 * Reads through the root handle only, changes nothing. May be called from any thread.
 */
#pragma once

#include <json-c/json.h>

#include "backend/backend.h"
#include "observe/root.h"

typedef struct {
    const HnRoot *root;
    bool is_connected; /* to the hypervisor's daemon */
    const char *connect;
    const char *last_error; /* of the last round, NULL: none */
    bool is_dry_run;
} HnDoctorInput;

/* [{"check", "state": "ok|note|warn|fail", "finding", "cost", "remedy"}]; caller owns. */
json_object *hn_doctor_examine(const HnDoctorInput *input);
