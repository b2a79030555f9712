/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Deciding recorded rounds again: documents in, documents out. Pure: no file, no printing.
 *
 * A round is decided from what was recorded with it (snapshot, past, forces, outcomes), never from
 * the round before, so that each of them stands for itself and a different policy shows where it
 * would first have mattered.
 */
#pragma once

#include <glib.h>
#include <json-c/json.h>

/* The rounds of a document of `homenode snapshot`: itself, or its member "rounds". Caller owns the
 * array. Error (of G_FILE_ERROR, INVAL): it is neither, or holds no round. */
json_object *hn_replay_rounds(json_object *document, GError **error);

/* Sets one member of a round's "policy": setting is "key=value", the value a number or yes or no.
 * Error: no such key, or a value that is none; what is allowed is named. Ranges are checked when
 * the round is decided. */
gboolean hn_replay_set_policy(json_object *round, const char *setting, GError **error);

/* Decides a round again. The result, which the caller owns:
 *   {"generation", "n-domains", "is-same", "differences": [{"uuid", "name", "what", "recorded",
 * "replayed"}], "plan": PLAN} "what" is one of: domain (only one of the plans has it), reason,
 * will-act, home, bytes-to-move, actions, sentence; or, with uuid and name null, is-overfull.
 * Scores, costs and the wording alone make no difference; "sentence" goes with others. Error: the
 * round cannot be read or has no recorded plan. */
json_object *hn_replay_decide(json_object *round, GError **error);
