/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP messages: what kind one is and what is in it, and the builders of the four kinds sent.
 *
 * A message owns its JSON tree; every other pointer in it is borrowed from that tree. In json-c a
 * JSON null is a NULL pointer, hence has_id beside id.
 *
 * Must not: do I/O or know single commands.
 */
#pragma once

#include <json-c/json.h>
#include "qmp/error.h"

typedef enum {
    HN_QMP_KIND_GREETING, /* {"QMP": {"version": …, "capabilities": […]}} */
    HN_QMP_KIND_RETURN,   /* {"return": …, "id": …} */
    HN_QMP_KIND_ERROR,    /* {"error": {"class": …, "desc": …}, "id": …} */
    HN_QMP_KIND_EVENT,    /* {"event": …, "data": …, "timestamp": …} */
    HN_QMP_KIND_COMMAND,  /* {"execute": …, "arguments": …, "id": …} or "exec-oob" */
} HnQmpKind;

typedef struct {
    HnQmpKind kind;
    json_object *root; /* owned */
    json_object *data; /* greeting: the "QMP" object; return: the value (NULL is null);
                        * event: "data" or NULL; command: "arguments" or NULL */
    json_object *id;   /* any JSON value; NULL also for a null id */
    gboolean has_id;
    gboolean is_oob;         /* command given by "exec-oob" */
    const char *name;        /* event or command name, else NULL */
    const char *error_class; /* error: both set */
    const char *error_desc;
    gint64 timestamp_us; /* event: wall clock of the sender since 1970, -1 if not given */
} HnQmpMessage;

/*
 * Classifies root and checks the shape of its kind. Takes root in any case.
 * On failure: HN_QMP_ERROR_PROTOCOL, ret_message only has root, id and has_id set (a server answers
 * with that id) and is to be cleared as well.
 */
gboolean hn_qmp_message_classify(json_object *root, HnQmpMessage *ret_message, GError **error);
void hn_qmp_message_clear(HnQmpMessage *message);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(HnQmpMessage, hn_qmp_message_clear)

/* Who greets: {"version": {PRODUCT: {"major", "minor", "micro"}, "package": …}} */
typedef struct {
    char *product; /* "qemu", "homenode"; owned */
    guint major;
    guint minor;
    guint micro;
    char *package; /* never NULL; owned */
    gboolean has_oob;
} HnQmpGreeting;

/* Decodes a message of kind GREETING. HN_QMP_ERROR_PROTOCOL names the missing field. */
gboolean hn_qmp_greeting_decode(const HnQmpMessage *message, HnQmpGreeting *ret_greeting,
                                GError **error);
void hn_qmp_greeting_clear(HnQmpGreeting *greeting);

/*
 * Builders. Each returns a new tree owned by the caller. Parameters of type json_object are taken
 * (the tree owns them afterwards); NULL leaves the member out, except where said.
 */
json_object *hn_qmp_build_command(const char *name, json_object *arguments, json_object *id);
json_object *hn_qmp_build_return(json_object *value /* NULL gives {} */, json_object *id);
json_object *hn_qmp_build_error(const char *error_class, const char *desc, json_object *id);
json_object *hn_qmp_build_event(const char *name, json_object *data, gint64 timestamp_us);

/*
 * The line to send: compact JSON and "\r\n", always valid UTF-8 (stray bytes, for instance from a
 * guest's name, become U+FFFD). Free with g_bytes_unref().
 */
GBytes *hn_qmp_serialize(json_object *message);

/* GError for an error reply: the code follows the class, the message is its description. */
GError *hn_qmp_error_from_reply(const char *command, const HnQmpMessage *message);
