/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading members of a reply. Every function takes NULL objects and absent or null members: the
 * daemon may be older or newer than this program. Results are borrowed from the reply.
 */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

const char *hn_reply_string(json_object *object, const char *key); /* NULL if absent */
int64_t hn_reply_int(json_object *object, const char *key, int64_t fallback);
bool hn_reply_bool(json_object *object, const char *key);           /* false if absent */
json_object *hn_reply_object(json_object *object, const char *key); /* NULL if absent */
/* Elements of an array member: 0 if absent. */
size_t hn_reply_count(json_object *object, const char *key);
json_object *hn_reply_at(json_object *object, const char *key, size_t index);
/* Elements of an array member in the order of their members "name", as people count. They are borrowed, the array is
 * the caller's. */
GPtrArray *hn_reply_by_name(json_object *object, const char *key);
/* What lies where, "0:126M 1:2.0M", of row's member "bytes-per-node"; "" if nothing does. Caller frees. */
char *hn_reply_memory_at(json_object *row);
/* The share of a row's accesses that were local: "98.7%"; "~98%" if it is known to no more than ±10 points, which is
 * what the daemon calls known; "-" if it was not measured. Caller frees. */
char *hn_reply_accesses(json_object *row);
/* The integers of an array member as "0,2"; "" if none. Caller frees with g_free(). */
char *hn_reply_int_list(json_object *object, const char *key);
