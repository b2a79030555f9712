/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control sockets: verbs of the operator on "control" (0660, everything) and "control-ro"
 * (0666, questions only). The wire format, limits and the refusal of mutating verbs on the
 * read-only socket are qmp/server.h's; what a verb does is here.
 *
 * Every mutating verb, and every refused one, is logged with the peer's credentials.
 */
#pragma once

#include "manager.h"

typedef struct HnControlServer HnControlServer;

/* Binds RUNTIME_DIR/control and control-ro, or takes the sockets the supervisor passed under these
 * names. The manager is borrowed. Error: HN_QMP_ERROR_ADDRESS, or an unknown group. */
HnControlServer *hn_control_server_new(HnManager *manager, const char *runtime_dir,
                                       const char *group, GError **error);
void hn_control_server_free(HnControlServer *server);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnControlServer, hn_control_server_free)

/* Sends an event to whoever subscribed. Takes data. */
void hn_control_server_emit(HnControlServer *server, const char *name, json_object *data);
/* The first round has ended, well or badly: orders that waited for it are carried out. Later calls do
 * nothing. */
void hn_control_server_end_early(HnControlServer *server);
/* A round has ended, well or badly: answers that waited for it are given. */
void hn_control_server_round_ended(HnControlServer *server);
/* The event ROUND of the round just ended. */
void hn_control_server_emit_round(HnControlServer *server);
/* A release that was asked for has ended: answers whoever waits for it. */
void hn_control_server_released(HnControlServer *server, const char *uuid, const char *name,
                                HnReason reason, const char *sentence);
