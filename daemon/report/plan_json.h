/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A plan as JSON, for people and programs: what `homenode plan --json` prints and a recorded round
 * keeps.
 *
 * Nodes are the kernel's ids here (a snapshot keeps indexes), costs are stall in nanoseconds per
 * second. "payback-ms" is null when the move never pays, "accesses-local-permille" when nothing was
 * sampled.
 */
#pragma once

#include <homenode/plan.h>
#include <json-c/json.h>

/* Version of every document of the control protocol; raised when a member changes its meaning. */
#define HN_SCHEMA_VERSION 1

/* An object with "schema" and nothing else: what every answer begins with. Caller owns. */
json_object *hn_document_new(void);

/* `host` is the one of the snapshot decided upon. Caller owns the result. */
json_object *hn_plan_to_json(const HnPlan *plan, const HnHost *host);
json_object *hn_verdict_to_json(const HnVerdict *verdict, const HnHost *host);
json_object *hn_action_to_json(const HnAction *action, const HnPlan *plan, const HnHost *host);
json_object *hn_cost_to_json(const HnCost *cost);

/* Parts that other documents hold as well, added to `object`. Of a plan: "generation", "summary", scores,
 * "is-overfull", "departures". */
void hn_plan_put_summary(json_object *object, const HnPlan *plan);
/* Of a verdict, what is about to happen and why: "reason", "sentence", "score-after", bytes, times, costs.
 */
void hn_verdict_put_prospect(json_object *object, const HnVerdict *verdict);

/* Kernel ids of the nodes of a mask of indexes: "0,2"; "" if none. Caller frees. */
char *hn_node_ids(const HnHost *host, HnNodemask mask);

/* Kernel ids of the homes of a verdict's clients now, each once, in order: "0" or "0,2"; NULL when
 * no client has one. Caller frees. */
char *hn_verdict_home(const HnVerdict *verdict, const HnHost *host);
char *hn_verdict_wanted_home(const HnVerdict *verdict, const HnHost *host);
