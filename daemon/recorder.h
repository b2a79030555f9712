/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The last rounds, compressed and bounded in bytes: what `homenode snapshot --last` gives for a bug
 * report after the fact.
 *
 * Compression runs in the round's thread (hn_recorder_pack); keeping is the manager's. A record is
 * the text of one round (report/round_json.h).
 */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdint.h>

typedef struct HnRecorder HnRecorder;
HnRecorder *hn_recorder_new(uint64_t max_bytes);
void hn_recorder_free(HnRecorder *recorder);
void hn_recorder_set_max(HnRecorder *recorder, uint64_t max_bytes);

/* Text of a record, compressed. Any thread. Caller owns. */
GBytes *hn_recorder_pack(json_object *record);
/* Takes packed. The oldest records go while all together exceed the limit; one larger than the
 * limit is not kept. */
void hn_recorder_add(HnRecorder *recorder, GBytes *packed);
/* The last `limit` records as an array of documents, oldest first. Caller owns. */
json_object *hn_recorder_to_json(const HnRecorder *recorder, uint32_t limit);
