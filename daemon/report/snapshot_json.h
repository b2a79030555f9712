/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A snapshot as reviewable JSON and back, without loss: what `homenode snapshot` writes and what
 * replay, the simulator and tests/fixtures/replay/ read. It holds counters and addresses, never
 * guest content.
 *
 * {"format": "homenode-snapshot", "version": 1, "taken-ns": N, "host": {…}, "domains": […]}
 * Members of host and domains carry the names of HnHost and HnDomain in kebab-case, units included;
 * CPU sets are lists ("0-3,8"), node sets arrays of node *indexes*, "never" is null. Chunks are
 * run-length encoded: [count, node, n_probes, n_probes_on_node, heat, touch_clients]. A domain's "heat" is there
 * only where DAMON has a part in it; without it everything of it is at its default.
 *
 * Unknown members are skipped, so that a newer daemon's recording can still be read.
 */
#pragma once

#include <homenode/snapshot.h>
#include <json-c/json.h>

#define HN_SNAPSHOT_FORMAT "homenode-snapshot"
#define HN_SNAPSHOT_VERSION 1

/* Caller owns the result (json_object_put). */
json_object *hn_snapshot_to_json(const HnSnapshot *snapshot);
/* Error: HN_FIELD_ERROR naming the member, or HN_MODEL_ERROR when the host makes no sense. The
 * result is sorted by uuid. */
HnSnapshot *hn_snapshot_from_json(json_object *root, GError **error);

/* Parts that other documents share. */
json_object *hn_host_to_json(const HnHost *host);
const char *hn_domain_state_name(HnDomainState state); /* "running" "paused" "shutdown" */
const char *hn_job_name(HnJob job);                    /* "none" "migration" "other" */
