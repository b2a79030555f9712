/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Forgiving access to JSON members. Must not print or fail.
 */
#include "reply.h"

#include "text.h"

#define WELL_KNOWN_PERMILLE 100 /* docs/evidence.md, "enough" */

static json_object *member(json_object *object, const char *key, json_type type)
{
    json_object *value = NULL;
    if (!object || !json_object_is_type(object, json_type_object) ||
        !json_object_object_get_ex(object, key, &value) || !json_object_is_type(value, type))
        return NULL;
    return value;
}

const char *hn_reply_string(json_object *object, const char *key)
{
    json_object *value = member(object, key, json_type_string);
    return value ? json_object_get_string(value) : NULL;
}

int64_t hn_reply_int(json_object *object, const char *key, int64_t fallback)
{
    json_object *value = member(object, key, json_type_int);
    return value ? json_object_get_int64(value) : fallback;
}

bool hn_reply_bool(json_object *object, const char *key)
{
    json_object *value = member(object, key, json_type_boolean);
    return value && json_object_get_boolean(value);
}

json_object *hn_reply_object(json_object *object, const char *key)
{
    return member(object, key, json_type_object);
}

size_t hn_reply_count(json_object *object, const char *key)
{
    json_object *array = member(object, key, json_type_array);
    return array ? json_object_array_length(array) : 0;
}

json_object *hn_reply_at(json_object *object, const char *key, size_t index)
{
    json_object *array = member(object, key, json_type_array);
    return array ? json_object_array_get_idx(array, index) : NULL;
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    return hn_text_compare_names(hn_reply_string(*(json_object *const *)a, "name"),
                                 hn_reply_string(*(json_object *const *)b, "name"));
}

GPtrArray *hn_reply_by_name(json_object *object, const char *key)
{
    GPtrArray *elements = g_ptr_array_new();
    for (size_t i = 0; i < hn_reply_count(object, key); i++)
        g_ptr_array_add(elements, hn_reply_at(object, key, i));
    g_ptr_array_sort(elements, compare_names);
    return elements;
}

char *hn_reply_memory_at(json_object *row)
{
    GString *text = g_string_new(NULL);
    for (size_t i = 0; i < hn_reply_count(row, "bytes-per-node"); i++) {
        json_object *entry = hn_reply_at(row, "bytes-per-node", i);
        int64_t bytes = hn_reply_int(entry, "bytes", 0);
        g_autofree char *amount = hn_text_bytes((uint64_t)MAX(bytes, 0));
        if (bytes > 0)
            g_string_append_printf(text, "%s%" G_GINT64_FORMAT ":%s", text->len ? " " : "",
                                   hn_reply_int(entry, "node", -1), amount);
    }
    return g_string_free(text, FALSE);
}

char *hn_reply_accesses(json_object *row)
{
    int64_t permille = hn_reply_int(row, "accesses-local-permille", -1);
    json_object *trust = hn_reply_object(hn_reply_object(row, "evidence"), "accesses-local");
    if (permille < 0 || hn_reply_int(trust, "error-permille", 0) <= WELL_KNOWN_PERMILLE)
        return hn_text_permille(permille);
    return g_strdup_printf("~%" G_GINT64_FORMAT "%%", permille / 10);
}

char *hn_reply_int_list(json_object *object, const char *key)
{
    GString *list = g_string_new(NULL);
    for (size_t i = 0; i < hn_reply_count(object, key); i++)
        g_string_append_printf(list, "%s%" G_GINT64_FORMAT, i ? "," : "",
                               json_object_get_int64(hn_reply_at(object, key, i)));
    return g_string_free(list, FALSE);
}
