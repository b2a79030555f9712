/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How far a domain's figures can be trusted, and what is done about it: the two numbers with age and
 * error, the state of doubt, the rungs in use, as JSON and as one sentence.
 *
 * Must not: observe, act, or keep anything between calls.
 */
#pragma once

#include <homenode/plan.h>
#include <json-c/json.h>

/* {"state", "cause", "in-state-ms", "calm-ms", "recheck-ms" (null: only if something changes),
 * "rungs": [...], "bytes-local": {"permille", "age-ms", "error-permille"},
 * "accesses-local": the same or null, "dirty-rate": {"bytes-per-sec", "age-ms"} or null, "sentence"}.
 * Caller owns. */
json_object *hn_evidence_to_json(const HnDomain *domain, const HnVerdict *verdict, uint64_t now_ns);

/* "Sampling for 12 s, because its load changed; in use: probes, hinting faults." Caller frees. */
char *hn_evidence_sentence(const HnVerdict *verdict, uint64_t now_ns);
