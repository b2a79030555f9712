/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Typed members of JSON objects: see fields.h.
 */
#include "fields.h"

#include <string.h>

G_DEFINE_QUARK(hn - field - error - quark, hn_field_error)

void hn_put(json_object *object, const char *name, json_object *value)
{
    json_object_object_add_ex(object, name, value, JSON_C_OBJECT_ADD_CONSTANT_KEY);
}

void hn_put_string(json_object *object, const char *name, const char *value)
{
    if (!value || g_utf8_validate(value, -1, NULL)) {
        hn_put(object, name, value ? json_object_new_string(value) : NULL);
        return;
    }
    /* A guest's name or a kernel's message may hold any bytes; JSON may not. */
    g_autofree char *valid = g_utf8_make_valid(value, -1);
    hn_put(object, name, json_object_new_string(valid));
}

void hn_put_bool(json_object *object, const char *name, bool value)
{
    hn_put(object, name, json_object_new_boolean(value));
}

void hn_put_i64(json_object *object, const char *name, int64_t value)
{
    hn_put(object, name, json_object_new_int64(value));
}

void hn_put_u64(json_object *object, const char *name, uint64_t value)
{
    hn_put(object, name, json_object_new_uint64(value));
}

void hn_put_u64_or_null(json_object *object, const char *name, uint64_t value)
{
    hn_put(object, name, value == UINT64_MAX ? NULL : json_object_new_uint64(value));
}

void hn_put_cpuset(json_object *object, const char *name, const HnCpuset *set)
{
    g_autofree char *text = hn_cpuset_format(set);
    hn_put_string(object, name, text);
}

void hn_put_u64_array(json_object *object, const char *name, const uint64_t *values, uint32_t n)
{
    json_object *array = json_object_new_array_ext((int)n);
    for (uint32_t i = 0; i < n; i++)
        json_object_array_add(array, json_object_new_uint64(values[i]));
    hn_put(object, name, array);
}

void hn_put_nodemask(json_object *object, const char *name, HnNodemask mask)
{
    json_object *array = json_object_new_array();
    for (uint32_t i = 0; i < HN_MAX_NODES; i++)
        if (mask >> i & 1)
            json_object_array_add(array, json_object_new_int64(i));
    hn_put(object, name, array);
}

void hn_field_reader_init(HnFieldReader *reader, const char *what)
{
    reader->error = NULL;
    reader->path = g_string_new(what);
}

bool hn_field_reader_end(HnFieldReader *reader, GError **error)
{
    g_string_free(g_steal_pointer(&reader->path), TRUE);
    if (!reader->error)
        return true;
    g_propagate_error(error, g_steal_pointer(&reader->error));
    return false;
}

size_t hn_field_enter(HnFieldReader *reader, const char *name, int64_t index)
{
    size_t mark = reader->path->len;
    if (name)
        g_string_append_printf(reader->path, ".%s", name);
    if (index >= 0)
        g_string_append_printf(reader->path, "[%" G_GINT64_FORMAT "]", index);
    return mark;
}

void hn_field_leave(HnFieldReader *reader, size_t mark)
{
    g_string_truncate(reader->path, mark);
}

void hn_field_fail(HnFieldReader *reader, HnFieldError code, const char *format, ...)
{
    if (reader->error)
        return;
    va_list args;
    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(&reader->error, HN_FIELD_ERROR, code, "%s: %s", reader->path->str, message);
}

/* The member if it is there, not null and of the type; absent ones are an error unless is_optional.
 */
static json_object *member(HnFieldReader *reader, json_object *object, const char *name,
                           json_type type, bool is_optional)
{
    json_object *value = NULL;
    if (reader->error)
        return NULL;
    if (!json_object_is_type(object, json_type_object)) {
        hn_field_fail(reader, HN_FIELD_ERROR_TYPE, "is not an object");
        return NULL;
    }
    if (!json_object_object_get_ex(object, name, &value) || !value) {
        if (!is_optional)
            hn_field_fail(reader, HN_FIELD_ERROR_MISSING, "member '%s' is missing", name);
        return NULL;
    }
    if (!json_object_is_type(value, type)) {
        hn_field_fail(reader, HN_FIELD_ERROR_TYPE, "member '%s' is %s, it must be %s", name,
                      json_type_to_name(json_object_get_type(value)), json_type_to_name(type));
        return NULL;
    }
    return value;
}

static uint64_t u64_of(HnFieldReader *reader, json_object *value, const char *name, uint64_t max)
{
    uint64_t number = json_object_get_uint64(value);
    bool is_negative = json_object_get_int64(value) < 0 && number == 0;
    if (is_negative || number > max) {
        hn_field_fail(reader, HN_FIELD_ERROR_RANGE,
                      "member '%s' is %s, allowed is 0 to %" G_GUINT64_FORMAT, name,
                      json_object_get_string(value), max);
        return 0;
    }
    return number;
}

uint64_t hn_get_u64(HnFieldReader *reader, json_object *object, const char *name, uint64_t max)
{
    json_object *value = member(reader, object, name, json_type_int, false);
    return value ? u64_of(reader, value, name, max) : 0;
}

uint64_t hn_opt_u64(HnFieldReader *reader, json_object *object, const char *name, uint64_t max,
                    uint64_t otherwise)
{
    json_object *value = member(reader, object, name, json_type_int, true);
    return value ? u64_of(reader, value, name, max) : otherwise;
}

int64_t hn_get_i64(HnFieldReader *reader, json_object *object, const char *name, int64_t min,
                   int64_t max)
{
    json_object *value = member(reader, object, name, json_type_int, false);
    if (!value)
        return 0;
    int64_t number = json_object_get_int64(value);
    if (number < min || number > max) {
        hn_field_fail(reader, HN_FIELD_ERROR_RANGE,
                      "member '%s' is %s, allowed is %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT,
                      name, json_object_get_string(value), min, max);
        return 0;
    }
    return number;
}

bool hn_opt_bool(HnFieldReader *reader, json_object *object, const char *name, bool otherwise)
{
    json_object *value = member(reader, object, name, json_type_boolean, true);
    return value ? json_object_get_boolean(value) : otherwise;
}

const char *hn_get_string(HnFieldReader *reader, json_object *object, const char *name)
{
    json_object *value = member(reader, object, name, json_type_string, false);
    return value ? json_object_get_string(value) : "";
}

const char *hn_opt_string(HnFieldReader *reader, json_object *object, const char *name)
{
    json_object *value = member(reader, object, name, json_type_string, true);
    return value ? json_object_get_string(value) : NULL;
}

json_object *hn_get_object(HnFieldReader *reader, json_object *object, const char *name)
{
    return member(reader, object, name, json_type_object, false);
}

static json_object *array_of(HnFieldReader *reader, json_object *object, const char *name,
                             size_t max, size_t *ret_n, bool is_optional)
{
    json_object *value = member(reader, object, name, json_type_array, is_optional);
    *ret_n = 0;
    if (!value)
        return NULL;
    size_t n = json_object_array_length(value);
    if (n > max) {
        hn_field_fail(reader, HN_FIELD_ERROR_RANGE,
                      "member '%s' has %zu elements, at most %zu are allowed", name, n, max);
        return NULL;
    }
    *ret_n = n;
    return value;
}

json_object *hn_get_array(HnFieldReader *reader, json_object *object, const char *name, size_t max,
                          size_t *ret_n)
{
    return array_of(reader, object, name, max, ret_n, false);
}

json_object *hn_opt_array(HnFieldReader *reader, json_object *object, const char *name, size_t max,
                          size_t *ret_n)
{
    return array_of(reader, object, name, max, ret_n, true);
}

void hn_get_cpuset(HnFieldReader *reader, json_object *object, const char *name, HnCpuset *ret_set)
{
    const char *text = hn_get_string(reader, object, name);
    g_autoptr(GError) error = NULL;
    hn_cpuset_zero(ret_set);
    if (!reader->error && !hn_cpuset_parse(text, strlen(text), ret_set, &error))
        hn_field_fail(reader, HN_FIELD_ERROR_RANGE, "member '%s': %s", name, error->message);
}

void hn_opt_u64_array(HnFieldReader *reader, json_object *object, const char *name,
                      uint64_t *values, uint32_t n)
{
    size_t length;
    json_object *array = hn_opt_array(reader, object, name, HN_MAX_NODES * HN_MAX_NODES, &length);
    if (!array)
        return;
    if (length != n) {
        hn_field_fail(reader, HN_FIELD_ERROR_RANGE, "member '%s' has %zu elements, it must have %u",
                      name, length, n);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        json_object *value = json_object_array_get_idx(array, i);
        if (!json_object_is_type(value, json_type_int)) {
            hn_field_fail(reader, HN_FIELD_ERROR_TYPE, "member '%s'[%u] is not a number", name, i);
            return;
        }
        values[i] = u64_of(reader, value, name, UINT64_MAX);
    }
}

HnNodemask hn_opt_nodemask(HnFieldReader *reader, json_object *object, const char *name,
                           uint32_t n_nodes)
{
    size_t length;
    HnNodemask mask = 0;
    json_object *array = hn_opt_array(reader, object, name, HN_MAX_NODES, &length);
    for (size_t i = 0; i < length; i++) {
        json_object *value = json_object_array_get_idx(array, i);
        int64_t index =
            json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : -1;
        if (index < 0 || index >= n_nodes) {
            hn_field_fail(reader, HN_FIELD_ERROR_RANGE,
                          "member '%s'[%zu] is not a node index; allowed is 0 to %u", name, i,
                          n_nodes ? n_nodes - 1 : 0);
            return 0;
        }
        mask |= (HnNodemask)1 << index;
    }
    return mask;
}

uint32_t hn_get_enum(HnFieldReader *reader, json_object *object, const char *name,
                     const char *const *names, uint32_t n)
{
    const char *text = hn_get_string(reader, object, name);
    if (reader->error)
        return 0;
    g_autoptr(GString) allowed = g_string_new(NULL);
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(text, names[i]) == 0)
            return i;
        g_string_append_printf(allowed, "%s%s", i ? ", " : "", names[i]);
    }
    hn_field_fail(reader, HN_FIELD_ERROR_RANGE, "member '%s' is '%s', allowed are: %s", name, text,
                  allowed->str);
    return 0;
}
