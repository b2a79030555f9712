/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Classification and builders of QMP messages. See message.h; docs/interop/qmp-spec in QEMU's tree
 * is the source of the shapes.
 */
#include "qmp/message.h"

#include <string.h>

/* Finds a member of the wanted type. FALSE and an error naming it if it is absent or of another. */
static gboolean need_member(json_object *object, const char *where, const char *key,
                            enum json_type type, json_object **ret_value, GError **error)
{
    json_object *value = NULL;

    if (!json_object_object_get_ex(object, key, &value)) {
        g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_PROTOCOL, "%s lacks member '%s'", where, key);
        return FALSE;
    }
    if (!json_object_is_type(value, type)) {
        g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_PROTOCOL,
                    "%s: member '%s' must be %s, not %s", where, key, json_type_to_name(type),
                    json_type_to_name(json_object_get_type(value)));
        return FALSE;
    }
    *ret_value = value;
    return TRUE;
}

static gboolean classify_command(const char *key, HnQmpMessage *message, GError **error)
{
    json_object *name = NULL;
    g_autofree char *where = NULL;

    if (!need_member(message->root, "The command", key, json_type_string, &name, error))
        return FALSE;
    where = g_strdup_printf("Command '%.64s'", json_object_get_string(name));
    json_object_object_foreach(message->root, member, value)
    {
        if (g_str_equal(member, key) || g_str_equal(member, "id"))
            continue;
        if (!g_str_equal(member, "arguments")) {
            g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_PROTOCOL,
                        "%s: member '%.64s' is unexpected; a command has 'execute', 'arguments', "
                        "'id'",
                        where, member);
            return FALSE;
        }
        if (!json_object_is_type(value, json_type_object)) {
            g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_PROTOCOL,
                        "%s: member 'arguments' must be object, not %s", where,
                        json_type_to_name(json_object_get_type(value)));
            return FALSE;
        }
        message->data = value;
    }
    message->kind = HN_QMP_KIND_COMMAND;
    message->name = json_object_get_string(name);
    message->is_oob = g_str_equal(key, "exec-oob");
    return TRUE;
}

static gboolean classify_error(HnQmpMessage *message, GError **error)
{
    json_object *object = NULL, *class = NULL, *desc = NULL;

    if (!need_member(message->root, "The reply", "error", json_type_object, &object, error) ||
        !need_member(object, "The error reply", "class", json_type_string, &class, error) ||
        !need_member(object, "The error reply", "desc", json_type_string, &desc, error))
        return FALSE;
    message->kind = HN_QMP_KIND_ERROR;
    message->error_class = json_object_get_string(class);
    message->error_desc = json_object_get_string(desc);
    return TRUE;
}

static gboolean classify_event(HnQmpMessage *message, GError **error)
{
    json_object *name = NULL, *stamp = NULL, *seconds = NULL, *micros = NULL;

    if (!need_member(message->root, "The event", "event", json_type_string, &name, error))
        return FALSE;
    message->kind = HN_QMP_KIND_EVENT;
    message->name = json_object_get_string(name);
    message->timestamp_us = -1;
    json_object_object_get_ex(message->root, "data", &message->data);
    /* QEMU sends -1 for both when its clock fails. */
    if (json_object_object_get_ex(message->root, "timestamp", &stamp) &&
        json_object_is_type(stamp, json_type_object) &&
        json_object_object_get_ex(stamp, "seconds", &seconds) &&
        json_object_object_get_ex(stamp, "microseconds", &micros)) {
        gint64 s = json_object_get_int64(seconds), us = json_object_get_int64(micros);

        if (s >= 0 && s < G_MAXINT64 / G_USEC_PER_SEC - 1 && us >= 0 && us < G_USEC_PER_SEC)
            message->timestamp_us = s * G_USEC_PER_SEC + us;
    }
    return TRUE;
}

gboolean hn_qmp_message_classify(json_object *root, HnQmpMessage *ret_message, GError **error)
{
    HnQmpMessage *message = ret_message;
    json_object *ignored;

    memset(message, 0, sizeof *message);
    message->root = root;
    if (!json_object_is_type(root, json_type_object)) {
        g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_PROTOCOL,
                    "A message must be a JSON object, not %s",
                    json_type_to_name(json_object_get_type(root)));
        return FALSE;
    }
    message->has_id = json_object_object_get_ex(root, "id", &message->id);

    if (json_object_object_get_ex(root, "execute", &ignored))
        return classify_command("execute", message, error);
    if (json_object_object_get_ex(root, "exec-oob", &ignored))
        return classify_command("exec-oob", message, error);
    if (json_object_object_get_ex(root, "return", &message->data)) {
        message->kind = HN_QMP_KIND_RETURN;
        return TRUE;
    }
    if (json_object_object_get_ex(root, "error", &ignored))
        return classify_error(message, error);
    if (json_object_object_get_ex(root, "event", &ignored))
        return classify_event(message, error);
    if (json_object_object_get_ex(root, "QMP", &ignored)) {
        message->kind = HN_QMP_KIND_GREETING;
        return need_member(root, "The greeting", "QMP", json_type_object, &message->data, error);
    }
    g_set_error_literal(error, HN_QMP_ERROR, HN_QMP_ERROR_PROTOCOL,
                        "The message has none of 'execute', 'return', 'error', 'event', 'QMP'");
    return FALSE;
}

void hn_qmp_message_clear(HnQmpMessage *message)
{
    json_object_put(message->root);
    memset(message, 0, sizeof *message);
}

/* A member of {"major", "minor", "micro"}; version numbers beyond guint are nonsense. */
static gboolean version_number(json_object *numbers, const char *key, guint *ret_number,
                               GError **error)
{
    json_object *value = NULL;
    gint64 number;

    if (!need_member(numbers, "The greeting's version", key, json_type_int, &value, error))
        return FALSE;
    number = json_object_get_int64(value);
    if (number < 0 || number > G_MAXINT) {
        g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_PROTOCOL,
                    "The greeting's version: '%s' is out of range: %" G_GINT64_FORMAT, key, number);
        return FALSE;
    }
    *ret_number = (guint)number;
    return TRUE;
}

gboolean hn_qmp_greeting_decode(const HnQmpMessage *message, HnQmpGreeting *ret_greeting,
                                GError **error)
{
    HnQmpGreeting greeting = {0};
    json_object *version = NULL, *capabilities = NULL, *numbers = NULL, *package = NULL;
    const char *product = NULL;

    g_return_val_if_fail(message->kind == HN_QMP_KIND_GREETING, FALSE);

    if (!need_member(message->data, "The greeting", "version", json_type_object, &version, error))
        return FALSE;
    json_object_object_foreach(version, key, value)
    {
        if (!product && json_object_is_type(value, json_type_object)) {
            product = key;
            numbers = value;
        }
    }
    if (!product) {
        g_set_error_literal(error, HN_QMP_ERROR, HN_QMP_ERROR_PROTOCOL,
                            "The greeting's version names no product");
        return FALSE;
    }
    if (!version_number(numbers, "major", &greeting.major, error) ||
        !version_number(numbers, "minor", &greeting.minor, error) ||
        !version_number(numbers, "micro", &greeting.micro, error))
        return FALSE;
    if (json_object_object_get_ex(version, "package", &package) &&
        !json_object_is_type(package, json_type_string))
        package = NULL;
    /* Servers before QEMU 2.12 know no capabilities; an absent list is an empty one. */
    if (json_object_object_get_ex(message->data, "capabilities", &capabilities) &&
        json_object_is_type(capabilities, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(capabilities); i++) {
            const char *name = json_object_get_string(json_object_array_get_idx(capabilities, i));

            greeting.has_oob |= g_strcmp0(name, "oob") == 0;
        }
    }
    greeting.product = g_strdup(product);
    greeting.package = g_strdup(package ? json_object_get_string(package) : "");
    *ret_greeting = greeting;
    return TRUE;
}

void hn_qmp_greeting_clear(HnQmpGreeting *greeting)
{
    g_free(greeting->product);
    g_free(greeting->package);
    memset(greeting, 0, sizeof *greeting);
}

/* A string of ours is UTF-8 or made so: a GError text may quote raw bytes of a peer. */
static json_object *new_string(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);

    return json_object_new_string(valid);
}

static void add_optional(json_object *object, const char *key, json_object *value)
{
    if (value)
        json_object_object_add(object, key, value);
}

json_object *hn_qmp_build_command(const char *name, json_object *arguments, json_object *id)
{
    json_object *root = json_object_new_object();

    json_object_object_add(root, "execute", new_string(name));
    add_optional(root, "arguments", arguments);
    add_optional(root, "id", id);
    return root;
}

json_object *hn_qmp_build_return(json_object *value, json_object *id)
{
    json_object *root = json_object_new_object();

    json_object_object_add(root, "return", value ? value : json_object_new_object());
    add_optional(root, "id", id);
    return root;
}

json_object *hn_qmp_build_error(const char *error_class, const char *desc, json_object *id)
{
    json_object *root = json_object_new_object();
    json_object *object = json_object_new_object();

    json_object_object_add(object, "class", new_string(error_class));
    json_object_object_add(object, "desc", new_string(desc));
    json_object_object_add(root, "error", object);
    add_optional(root, "id", id);
    return root;
}

json_object *hn_qmp_build_event(const char *name, json_object *data, gint64 timestamp_us)
{
    json_object *root = json_object_new_object();
    json_object *stamp = json_object_new_object();

    json_object_object_add(stamp, "seconds", json_object_new_int64(timestamp_us / G_USEC_PER_SEC));
    json_object_object_add(stamp, "microseconds",
                           json_object_new_int64(timestamp_us % G_USEC_PER_SEC));
    json_object_object_add(root, "timestamp", stamp);
    json_object_object_add(root, "event", new_string(name));
    add_optional(root, "data", data);
    return root;
}

GBytes *hn_qmp_serialize(json_object *message)
{
    size_t len_bytes = 0;
    const char *text = json_object_to_json_string_length(
        message, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len_bytes);
    GString *line;

    if (g_utf8_validate_len(text, len_bytes, NULL)) {
        line = g_string_sized_new(len_bytes + 3);
        g_string_append_len(line, text, (gssize)len_bytes);
    } else {
        g_autofree char *valid = g_utf8_make_valid(text, (gssize)len_bytes);

        line = g_string_new(valid);
    }
    g_string_append(line, "\r\n");
    return g_string_free_to_bytes(line);
}

GError *hn_qmp_error_from_reply(const char *command, const HnQmpMessage *message)
{
    static const struct {
        const char *error_class;
        HnQmpError code;
    } classes[] = {
        {HN_QMP_CLASS_COMMAND_NOT_FOUND, HN_QMP_ERROR_COMMAND_NOT_FOUND},
        {HN_QMP_CLASS_READ_ONLY, HN_QMP_ERROR_READ_ONLY},
        {HN_QMP_CLASS_INVALID_ARGUMENT, HN_QMP_ERROR_INVALID_ARGUMENT},
        {HN_QMP_CLASS_DOMAIN_NOT_FOUND, HN_QMP_ERROR_DOMAIN_NOT_FOUND},
    };
    HnQmpError code = HN_QMP_ERROR_COMMAND;

    for (size_t i = 0; i < G_N_ELEMENTS(classes); i++) {
        if (g_str_equal(message->error_class, classes[i].error_class))
            code = classes[i].code;
    }
    return g_error_new(HN_QMP_ERROR, code, "%s: %s", command, message->error_desc);
}
