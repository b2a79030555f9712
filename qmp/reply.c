/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Field readers. See reply.h.
 */
#include "qmp/reply.h"

#include <string.h>

gboolean hn_reply_error(const HnReplyPlace *place, const char *field, GError **error,
                        const char *format, ...)
{
    g_autoptr(GString) text = g_string_new(place->command);
    va_list args;

    g_string_append(text, ": ");
    if (place->index >= 0)
        g_string_append_printf(text, "[%d]", place->index);
    if (place->inner)
        g_string_append_printf(text, "%s%s", place->index >= 0 ? "." : "", place->inner);
    if (field)
        g_string_append_printf(text, "%s%s", place->index >= 0 || place->inner ? "." : "", field);
    else if (place->index < 0 && !place->inner)
        g_string_append(text, "the reply");
    g_string_append_c(text, ' ');
    va_start(args, format);
    g_string_append_vprintf(text, format, args);
    va_end(args);
    g_set_error_literal(error, HN_QMP_ERROR, HN_QMP_ERROR_REPLY, text->str);
    return FALSE;
}

gboolean hn_reply_is(const HnReplyPlace *place, json_object *value, enum json_type type,
                     GError **error)
{
    return json_object_is_type(value, type) ||
           hn_reply_error(place, NULL, error, "must be %s, not %s", json_type_to_name(type),
                          json_type_to_name(json_object_get_type(value)));
}

gboolean hn_reply_member(const HnReplyPlace *place, json_object *object, const char *field,
                         HnReplyNeed need, enum json_type type, json_object **ret_value,
                         GError **error)
{
    json_object *value = NULL;

    if (!json_object_object_get_ex(object, field, &value))
        return need == HN_REPLY_OPTIONAL || hn_reply_error(place, field, error, "is missing");
    if (!json_object_is_type(value, type))
        return hn_reply_error(place, field, error, "must be %s, not %s", json_type_to_name(type),
                              json_type_to_name(json_object_get_type(value)));
    *ret_value = value;
    return TRUE;
}

gboolean hn_reply_bool(const HnReplyPlace *place, json_object *object, const char *field,
                       HnReplyNeed need, gboolean *ret, GError **error)
{
    json_object *value = NULL;

    if (!hn_reply_member(place, object, field, need, json_type_boolean, &value, error))
        return FALSE;
    if (value)
        *ret = json_object_get_boolean(value);
    return TRUE;
}

gboolean hn_reply_int(const HnReplyPlace *place, json_object *object, const char *field,
                      HnReplyNeed need, gint64 min, gint64 max, gint64 *ret, GError **error)
{
    json_object *value = NULL;
    gint64 number;

    if (!hn_reply_member(place, object, field, need, json_type_int, &value, error))
        return FALSE;
    if (!value)
        return TRUE;
    number = json_object_get_int64(value);
    if (number < min || number > max)
        return hn_reply_error(place, field, error,
                              "must be from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT ", not %s",
                              min, max, json_object_get_string(value));
    *ret = number;
    return TRUE;
}

gboolean hn_reply_size(const HnReplyPlace *place, json_object *object, const char *field,
                       HnReplyNeed need, guint64 *ret, GError **error)
{
    gint64 number = -1;

    if (!hn_reply_int(place, object, field, need, 0, G_MAXINT64 - 1, &number, error))
        return FALSE;
    if (number >= 0)
        *ret = (guint64)number;
    return TRUE;
}

gboolean hn_reply_string(const HnReplyPlace *place, json_object *object, const char *field,
                         HnReplyNeed need, char **ret, GError **error)
{
    json_object *value = NULL;

    if (!hn_reply_member(place, object, field, need, json_type_string, &value, error))
        return FALSE;
    if (value)
        *ret = g_strdup(json_object_get_string(value));
    return TRUE;
}

gboolean hn_reply_word(const HnReplyPlace *place, json_object *object, const char *field,
                       HnReplyNeed need, char *buffer, size_t size_bytes, GError **error)
{
    json_object *value = NULL;

    if (!hn_reply_member(place, object, field, need, json_type_string, &value, error))
        return FALSE;
    if (value && g_strlcpy(buffer, json_object_get_string(value), size_bytes) >= size_bytes)
        return hn_reply_error(place, field, error, "is longer than %zu bytes: '%.64s'",
                              size_bytes - 1, json_object_get_string(value));
    return TRUE;
}
