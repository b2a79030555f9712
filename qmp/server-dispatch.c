/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a message to a handler and back: the dispatch table, the argument check, the commands the
 * server answers itself, and the tokens by which requests are answered. See server.h.
 *
 * The order of the checks is fixed: a command? → negotiated? → known? → allowed on this socket? →
 * arguments as the table says? → handler. So whoever may only read learns nothing of a mutating
 * command's arguments, and no handler sees arguments of a wrong type.
 */
#include "qmp/server-private.h"

#include <math.h>
#include <string.h>

/* ---- answering ---- */

/* The id of a command goes back as it came, null too, which the builders take for none. */
static json_object *echo_id(json_object *message, gboolean has_id, json_object *id)
{
    if (has_id && !id)
        json_object_object_add(message, "id", NULL);
    return message;
}

/* Takes the request apart; returns its client with a reference if there still is one. */
static ServerClient *request_end(HnQmpRequest *request, gboolean *ret_has_id, json_object **ret_id)
{
    ServerClient *client = request->client;

    if (client) {
        g_queue_unlink(&client->requests, &request->link);
        client->active_us = g_get_monotonic_time();
        hn_qmp_server_client_ref(client);
    }
    *ret_has_id = request->has_id;
    *ret_id = request->id;
    g_free(request);
    return client;
}

static void answer(ServerClient *client, json_object *message)
{
    hn_qmp_server_send(client, message);
    hn_qmp_server_update(client);
    hn_qmp_server_client_unref(client);
}

void hn_qmp_request_return(HnQmpRequest *request, json_object *value)
{
    gboolean has_id = FALSE;
    json_object *id = NULL;
    ServerClient *client = request_end(request, &has_id, &id);

    if (client) {
        answer(client, echo_id(hn_qmp_build_return(value, id), has_id, id));
    } else {
        json_object_put(value);
        json_object_put(id);
    }
}

void hn_qmp_request_fail(HnQmpRequest *request, const char *error_class, const char *format, ...)
{
    g_autofree char *desc = NULL;
    gboolean has_id = FALSE;
    json_object *id = NULL;
    ServerClient *client;
    va_list args;

    va_start(args, format);
    desc = g_strdup_vprintf(format, args);
    va_end(args);

    client = request_end(request, &has_id, &id);
    if (client)
        answer(client, echo_id(hn_qmp_build_error(error_class, desc, id), has_id, id));
    else
        json_object_put(id);
}

const HnQmpPeer *hn_qmp_request_peer(const HnQmpRequest *request)
{
    return &request->peer;
}

const char *hn_qmp_request_command(const HnQmpRequest *request)
{
    return request->command->name;
}

gboolean hn_qmp_request_is_read_only(const HnQmpRequest *request)
{
    return request->is_read_only;
}

gboolean hn_qmp_request_is_wanted(const HnQmpRequest *request)
{
    return request->client != NULL;
}

void hn_qmp_server_orphan_requests(ServerClient *client)
{
    while (client->requests.length > 0) {
        HnQmpRequest *request = client->requests.head->data;

        g_queue_unlink(&client->requests, &request->link);
        request->client = NULL;
    }
}

/* ---- the built-in commands: their user_data is the server ---- */

json_object *hn_qmp_server_version(const HnQmpServer *server)
{
    json_object *version = json_object_new_object();
    json_object *numbers = json_object_new_object();

    json_object_object_add(numbers, "major", json_object_new_int((int)server->version[0]));
    json_object_object_add(numbers, "minor", json_object_new_int((int)server->version[1]));
    json_object_object_add(numbers, "micro", json_object_new_int((int)server->version[2]));
    json_object_object_add(version, server->product, numbers);
    json_object_object_add(version, "package", json_object_new_string(server->package));
    return version;
}

static void do_capabilities(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    ServerClient *client = request->client;
    json_object *enable = NULL;

    if (client->is_ready) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_COMMAND_NOT_FOUND,
                            "Capabilities negotiation is already complete, command ignored");
        return;
    }
    if (json_object_object_get_ex(args, "enable", &enable) &&
        json_object_array_length(enable) > 0) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC,
                            "Capability '%.64s' is not available; this server has none",
                            json_object_get_string(json_object_array_get_idx(enable, 0)));
        return;
    }
    client->is_ready = TRUE;
    hn_qmp_request_return(request, NULL);
}

static void do_query_version(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    hn_qmp_request_return(request, hn_qmp_server_version(user_data));
}

static const char *arg_type_name(HnQmpArgType type)
{
    static const char *const names[] = {
        [HN_QMP_ARG_BOOL] = "boolean",         [HN_QMP_ARG_INT] = "int",
        [HN_QMP_ARG_NUMBER] = "number",        [HN_QMP_ARG_STRING] = "string",
        [HN_QMP_ARG_STRING_LIST] = "[string]", [HN_QMP_ARG_OBJECT] = "object",
    };

    return names[type];
}

static json_object *describe_command(const HnQmpCommand *command, gboolean is_allowed,
                                     gboolean is_full)
{
    json_object *object = json_object_new_object();
    json_object *list;

    json_object_object_add(object, "name", json_object_new_string(command->name));
    json_object_object_add(object, "is-mutating", json_object_new_boolean(command->is_mutating));
    json_object_object_add(object, "is-allowed", json_object_new_boolean(is_allowed));
    if (!is_full)
        return object;
    json_object_object_add(object, "help", json_object_new_string(command->help));
    json_object_object_add(
        object, "returns",
        json_object_new_string(command->returns ? command->returns : "An empty object."));
    list = json_object_new_array();
    for (const HnQmpArg *arg = command->args; arg && arg->name; arg++) {
        json_object *entry = json_object_new_object();

        json_object_object_add(entry, "name", json_object_new_string(arg->name));
        json_object_object_add(entry, "type", json_object_new_string(arg_type_name(arg->type)));
        json_object_object_add(entry, "is-required", json_object_new_boolean(arg->is_required));
        json_object_object_add(entry, "help", json_object_new_string(arg->help));
        json_object_array_add(list, entry);
    }
    json_object_object_add(object, "arguments", list);
    return object;
}

static const HnQmpCommand builtins[];

/* Describes the commands of both tables; of that name only, unless it is NULL. */
static json_object *describe_commands(const HnQmpRequest *request, const char *name,
                                      gboolean is_full)
{
    const HnQmpCommand *const tables[] = {builtins, request->client->server->commands};
    json_object *list = json_object_new_array();

    for (size_t i = 0; i < G_N_ELEMENTS(tables); i++) {
        for (const HnQmpCommand *command = tables[i]; command->name; command++) {
            if (!name || g_str_equal(command->name, name))
                json_object_array_add(
                    list, describe_command(command, !command->is_mutating || !request->is_read_only,
                                           is_full));
        }
    }
    return list;
}

static void do_query_commands(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    hn_qmp_request_return(request, describe_commands(request, NULL, FALSE));
}

static void do_help(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    json_object *name = NULL, *list;

    json_object_object_get_ex(args, "command", &name);
    list = describe_commands(request, name ? json_object_get_string(name) : NULL, TRUE);
    if (json_object_array_length(list) > 0) {
        hn_qmp_request_return(request, list);
        return;
    }
    json_object_put(list);
    hn_qmp_request_fail(request, HN_QMP_CLASS_INVALID_ARGUMENT,
                        "help: there is no command '%.64s'; query-commands lists them all",
                        json_object_get_string(name));
}

static void do_query_events(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    const HnQmpServer *server = user_data;
    json_object *list = json_object_new_array();

    for (guint i = 0; i < server->n_events; i++) {
        json_object *entry = json_object_new_object();

        json_object_object_add(entry, "name", json_object_new_string(server->events[i].name));
        json_object_object_add(entry, "help", json_object_new_string(server->events[i].help));
        json_object_array_add(list, entry);
    }
    hn_qmp_request_return(request, list);
}

/* The bits of the events listed in args, all of them if it lists none. */
static gboolean event_bits(const HnQmpServer *server, json_object *args, guint64 *ret_bits,
                           const char **ret_unknown)
{
    json_object *events = NULL;
    guint64 bits = 0;

    if (!json_object_object_get_ex(args, "events", &events)) {
        for (guint i = 0; i < server->n_events; i++)
            bits |= G_GUINT64_CONSTANT(1) << i;
        *ret_bits = bits;
        return TRUE;
    }
    for (size_t i = 0; i < json_object_array_length(events); i++) {
        const char *name = json_object_get_string(json_object_array_get_idx(events, i));
        guint index = 0;

        while (index < server->n_events && !g_str_equal(server->events[index].name, name))
            index++;
        if (index == server->n_events) {
            *ret_unknown = name;
            return FALSE;
        }
        bits |= G_GUINT64_CONSTANT(1) << index;
    }
    *ret_bits = bits;
    return TRUE;
}

static void do_subscribe(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    const HnQmpServer *server = user_data;
    ServerClient *client = request->client;
    const char *unknown = NULL;
    json_object *list, *value;
    guint64 bits = 0;

    if (!event_bits(server, args, &bits, &unknown)) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_INVALID_ARGUMENT,
                            "%s: there is no event '%.64s'; query-events lists them all",
                            request->command->name, unknown);
        return;
    }
    if (g_str_equal(request->command->name, "subscribe"))
        hn_qmp_server_subscribe(client, client->subscribed | bits);
    else
        hn_qmp_server_subscribe(client, client->subscribed & ~bits);

    list = json_object_new_array();
    for (guint i = 0; i < server->n_events; i++) {
        if (client->subscribed & (G_GUINT64_CONSTANT(1) << i))
            json_object_array_add(list, json_object_new_string(server->events[i].name));
    }
    value = json_object_new_object();
    json_object_object_add(value, "events", list);
    hn_qmp_request_return(request, value);
}

static const HnQmpArg capabilities_args[] = {
    {"enable", HN_QMP_ARG_STRING_LIST, FALSE, "Capabilities to enable; there are none."}, {NULL}};
static const HnQmpArg help_args[] = {
    {"command", HN_QMP_ARG_STRING, FALSE, "The one command to describe; all if absent."}, {NULL}};
static const HnQmpArg events_args[] = {
    {"events", HN_QMP_ARG_STRING_LIST, FALSE, "Names of events; all if absent."}, {NULL}};

static const HnQmpCommand builtins[] = {
    {"qmp_capabilities", FALSE, do_capabilities, capabilities_args,
     "Ends negotiation; must be the first command.", NULL},
    {"query-version", FALSE, do_query_version, NULL, "Who serves, and which version of it.",
     "{PRODUCT: {major, minor, micro}, package}"},
    {"query-commands", FALSE, do_query_commands, NULL,
     "Names of all commands, and whether this socket allows them.",
     "[{name, is-mutating, is-allowed}]"},
    {"query-events", FALSE, do_query_events, NULL, "Names and meaning of all events.",
     "[{name, help}]"},
    {"help", FALSE, do_help, help_args, "Describes commands, their arguments and replies.",
     "[{name, is-mutating, is-allowed, help, returns, arguments: [{name, type, is-required, "
     "help}]}]"},
    {"subscribe", FALSE, do_subscribe, events_args, "Asks for events on this connection.",
     "{events: [name]}: those now subscribed to"},
    {"unsubscribe", FALSE, do_subscribe, events_args, "Asks for events no more.",
     "{events: [name]}: those still subscribed to"},
    {NULL},
};

static const HnQmpCommand *find_command(const HnQmpCommand *table, const char *name)
{
    for (; table->name; table++) {
        if (g_str_equal(table->name, name))
            return table;
    }
    return NULL;
}

gboolean hn_qmp_server_is_builtin(const char *name)
{
    return find_command(builtins, name) != NULL;
}

/* ---- the argument check ---- */

static gboolean has_type(json_object *value, HnQmpArgType type)
{
    switch (type) {
    case HN_QMP_ARG_BOOL:
        return json_object_is_type(value, json_type_boolean);
    case HN_QMP_ARG_INT:
        /* Of an unsigned one beyond int64 json-c gives the largest int64. */
        return json_object_is_type(value, json_type_int) &&
               (json_object_get_int64(value) != G_MAXINT64 ||
                json_object_get_uint64(value) == G_MAXINT64);
    case HN_QMP_ARG_NUMBER:
        /* Of 1e999 json-c makes infinity. */
        return json_object_is_type(value, json_type_int) ||
               (json_object_is_type(value, json_type_double) &&
                isfinite(json_object_get_double(value)));
    case HN_QMP_ARG_STRING:
        return json_object_is_type(value, json_type_string);
    case HN_QMP_ARG_STRING_LIST:
        if (!json_object_is_type(value, json_type_array))
            return FALSE;
        for (size_t i = 0; i < json_object_array_length(value); i++) {
            if (!json_object_is_type(json_object_array_get_idx(value, i), json_type_string))
                return FALSE;
        }
        return TRUE;
    case HN_QMP_ARG_OBJECT:
        return json_object_is_type(value, json_type_object);
    }
    return FALSE;
}

static char *argument_names(const HnQmpCommand *command)
{
    GString *names = g_string_new(NULL);

    for (const HnQmpArg *arg = command->args; arg && arg->name; arg++)
        g_string_append_printf(names, "%s'%s'", names->len > 0 ? ", " : "it takes ", arg->name);
    if (names->len == 0)
        g_string_append(names, "it takes none");
    return g_string_free(names, FALSE);
}

/* NULL if args is as the table says, else a sentence naming the argument. */
static char *check_arguments(const HnQmpCommand *command, json_object *args)
{
    json_object_object_foreach(args, key, value)
    {
        const HnQmpArg *arg = command->args;

        while (arg && arg->name && !g_str_equal(arg->name, key))
            arg++;
        if (!arg || !arg->name) {
            g_autofree char *names = argument_names(command);

            return g_strdup_printf("%s: argument '%.64s' is unexpected; %s", command->name, key,
                                   names);
        }
        if (!has_type(value, arg->type))
            return g_strdup_printf("%s: argument '%s' must be %s", command->name, arg->name,
                                   arg_type_name(arg->type));
    }
    for (const HnQmpArg *arg = command->args; arg && arg->name; arg++) {
        if (arg->is_required && !json_object_object_get_ex(args, arg->name, NULL))
            return g_strdup_printf("%s: argument '%s' is missing; it is %s", command->name,
                                   arg->name, arg_type_name(arg->type));
    }
    return NULL;
}

/* ---- dispatch ---- */

static json_object *error_reply(const HnQmpMessage *message, const char *error_class,
                                const char *desc)
{
    return echo_id(hn_qmp_build_error(error_class, desc, json_object_get(message->id)),
                   message->has_id, message->id);
}

static void run_command(ServerClient *client, const HnQmpCommand *command,
                        const HnQmpMessage *message, json_object *args)
{
    HnQmpServer *server = client->server;
    HnQmpRequest *request = g_new0(HnQmpRequest, 1);

    request->client = client;
    request->command = command;
    request->id = json_object_get(message->id);
    request->has_id = message->has_id;
    request->peer = client->peer;
    request->is_read_only = client->listener->is_read_only;
    request->link.data = request;
    g_queue_push_tail_link(&client->requests, &request->link);
    command->handler(request, args,
                     hn_qmp_server_is_builtin(command->name) ? server : server->user_data);
}

static void dispatch_command(ServerClient *client, const HnQmpMessage *message)
{
    HnQmpServer *server = client->server;
    gboolean is_read_only = client->listener->is_read_only;
    const HnQmpCommand *command = find_command(builtins, message->name);
    const char *error_class = NULL;
    g_autofree char *refusal = NULL;
    json_object *args = message->data ? json_object_get(message->data) : json_object_new_object();

    if (!command)
        command = find_command(server->commands, message->name);

    if (!client->is_ready && g_strcmp0(message->name, "qmp_capabilities") != 0) {
        error_class = HN_QMP_CLASS_COMMAND_NOT_FOUND;
        refusal = g_strdup("Expecting capabilities negotiation with 'qmp_capabilities'");
    } else if (message->is_oob) {
        error_class = HN_QMP_CLASS_GENERIC;
        refusal = g_strdup("This server has no out-of-band commands; use 'execute'");
    } else if (!command) {
        error_class = HN_QMP_CLASS_COMMAND_NOT_FOUND;
        refusal = g_strdup_printf("The command '%.64s' is not known; query-commands lists them all",
                                  message->name);
    } else if (command->is_mutating && is_read_only) {
        error_class = HN_QMP_CLASS_READ_ONLY;
        refusal = g_strdup_printf("The command '%s' changes things and is refused on this "
                                  "read-only socket; send it to the control socket",
                                  command->name);
        server->counters.read_only_refusals++;
    } else {
        error_class = HN_QMP_CLASS_INVALID_ARGUMENT;
        refusal = check_arguments(command, args);
    }

    server->counters.commands++;
    if (server->audit && command && command->is_mutating)
        server->audit(message->name, args, &client->peer, is_read_only, refusal, server->user_data);
    if (refusal)
        hn_qmp_server_send(client, error_reply(message, error_class, refusal));
    else
        run_command(client, command, message, args);
    json_object_put(args);
}

void hn_qmp_server_dispatch(ServerClient *client, json_object *root)
{
    g_auto(HnQmpMessage) message = {0};
    g_autoptr(GError) error = NULL;

    if (hn_qmp_message_classify(root, &message, &error) && message.kind != HN_QMP_KIND_COMMAND)
        g_set_error_literal(&error, HN_QMP_ERROR, HN_QMP_ERROR_PROTOCOL,
                            "The message is no command: it has no 'execute'");
    if (error) {
        client->server->counters.malformed++;
        hn_qmp_server_send(client, error_reply(&message, HN_QMP_CLASS_GENERIC, error->message));
        return;
    }
    dispatch_command(client, &message);
}
