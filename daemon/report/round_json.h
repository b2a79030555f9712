/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One recorded round: everything hn_decide() was given and what it answered, complete enough to be
 * decided again. `homenode snapshot` writes it, `homenode replay` and tests/fixtures/replay/ read
 * it.
 *
 * {"format": "homenode-round", "version": 1, "homenode": "0.1.0", "policy": {…}, "past": "…",
 * "forces": […], "outcomes": […], "in-flight": ["uuid"…], "snapshot": {…}, "plan": {…}} "past" is
 * the text of hn_past_format() *before* the decision; "plan" the answer (plan_json.h), for
 * comparison only.
 */
#pragma once

#include <homenode/policy.h>
#include <json-c/json.h>

#define HN_ROUND_FORMAT "homenode-round"
#define HN_ROUND_VERSION 1

typedef struct {
    HnPolicy policy;
    char *past;       /* text */
    GArray *forces;   /* HnForce */
    GArray *outcomes; /* HnOutcome */
    char **in_flight; /* NULL-terminated uuids, never NULL */
    HnSnapshot *snapshot;
    json_object *plan; /* the recorded answer, NULL if none */
} HnRoundRecord;

HnRoundRecord *hn_round_record_new(void); /* default policy, everything else empty, snapshot NULL */
void hn_round_record_free(HnRoundRecord *record);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnRoundRecord, hn_round_record_free)

/* The record's `plan` is shared by reference. Caller owns the result. */
json_object *hn_round_record_to_json(const HnRoundRecord *record);
/* Error: HN_FIELD_ERROR naming the member, HN_MODEL_ERROR for a senseless host or policy. A member
 * missing from "policy" has its default. */
HnRoundRecord *hn_round_record_from_json(json_object *root, GError **error);

json_object *hn_policy_to_json(const HnPolicy *policy);
