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

/* `host` is the one of the snapshot decided upon. Caller owns the result. */
json_object *hn_plan_to_json(const HnPlan *plan, const HnHost *host);
json_object *hn_verdict_to_json(const HnVerdict *verdict, const HnHost *host);
json_object *hn_action_to_json(const HnAction *action, const HnPlan *plan, const HnHost *host);
json_object *hn_cost_to_json(const HnCost *cost);

/* Kernel ids of the homes of a verdict's clients now, each once, in order: "0" or "0,2"; NULL when
 * no client has one. Caller frees. */
char *hn_verdict_home(const HnVerdict *verdict, const HnHost *host);
char *hn_verdict_wanted_home(const HnVerdict *verdict, const HnHost *host);
