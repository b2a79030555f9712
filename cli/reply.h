/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading members of a reply. Every function takes NULL objects and absent or null members: the
 * daemon may be older or newer than this program. Results are borrowed from the reply.
 */
#pragma once

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
/* The integers of an array member as "0,2"; "" if none. Caller frees with g_free(). */
char *hn_reply_int_list(json_object *object, const char *key);
