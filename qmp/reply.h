/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading fields of a reply with errors that name command and field. Internal to qmp/.
 *
 * Each reader returns FALSE and sets *error if the field is of another type or out of range, or,
 * with HN_REPLY_REQUIRED, absent. An absent optional field leaves *ret as it is.
 */
#pragma once

#include <json-c/json.h>
#include "qmp/error.h"

typedef enum { HN_REPLY_REQUIRED, HN_REPLY_OPTIONAL } HnReplyNeed;

/* Where in which reply: "query-cpus-fast: [3].props". index -1: not in a list; inner NULL: not in a
 * member. */
typedef struct {
    const char *command;
    gint index;
    const char *inner;
} HnReplyPlace;

/* Sets HN_QMP_ERROR_REPLY: "COMMAND: FIELD WHAT". Always FALSE. field NULL: the place itself. */
gboolean hn_reply_error(const HnReplyPlace *place, const char *field, GError **error,
                        const char *format, ...) G_GNUC_PRINTF(4, 5);

/* value, wherever it comes from, must be of that type. */
gboolean hn_reply_is(const HnReplyPlace *place, json_object *value, enum json_type type,
                     GError **error);

/* A member of that type, borrowed. */
gboolean hn_reply_member(const HnReplyPlace *place, json_object *object, const char *field,
                         HnReplyNeed need, enum json_type type, json_object **ret_value,
                         GError **error);
gboolean hn_reply_bool(const HnReplyPlace *place, json_object *object, const char *field,
                       HnReplyNeed need, gboolean *ret, GError **error);
/* Within [min, max]. */
gboolean hn_reply_int(const HnReplyPlace *place, json_object *object, const char *field,
                      HnReplyNeed need, gint64 min, gint64 max, gint64 *ret, GError **error);
/* 0 to 2⁶³-2: of what is beyond int64 json-c gives the largest int64, so that is refused. */
gboolean hn_reply_size(const HnReplyPlace *place, json_object *object, const char *field,
                       HnReplyNeed need, guint64 *ret, GError **error);
/* A copy, the caller's. *ret must be NULL before. */
gboolean hn_reply_string(const HnReplyPlace *place, json_object *object, const char *field,
                         HnReplyNeed need, char **ret, GError **error);
/* Into a fixed buffer; a string that does not fit is an error. */
gboolean hn_reply_word(const HnReplyPlace *place, json_object *object, const char *field,
                       HnReplyNeed need, char *buffer, size_t size_bytes, GError **error);
