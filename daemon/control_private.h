/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the control server share: its state, the reading of arguments, and the verbs
 * that its table names. control.c holds table and sockets, control_questions.c the verbs that only
 * ask, control_orders.c those that change something. Nobody else includes it.
 */
#pragma once

#include "manager_state.h"
#include "qmp/server.h"

#include <homenode/newcomer.h>

/* A release verb waiting for the actuator. */
typedef struct {
    HnQmpRequest *request;
    GHashTable *waiting; /* set of uuids */
    json_object *rows;
} HnPendingRelease;

struct HnControlServer {
    HnManager *manager;
    HnQmpServer *server;
    GPtrArray *releases; /* HnPendingRelease * */
    GPtrArray *early;    /* orders kept until the first round has ended (control_early.c) */
    guint early_timer;
    bool is_early_over;
    GPtrArray *seen;  /* answers that wait for a round (control_modes.c) */
    GArray *promises; /* HnPromise: what guests about to start were told (control_newcomers.c) */
};

/* The ledger that the daemon before left, without what has expired; empty if there is none. Caller unrefs. */
GArray *hn_control_load_promises(HnManager *manager);

/* True: no round has ended yet, and the request is kept; `handler` will be called with it again. */
bool hn_control_is_early(HnControlServer *server, HnQmpRequest *request, json_object *args,
                         HnQmpHandler handler);
void hn_early_order_free(gpointer data);
/* Answers at once. */
void hn_seen_answer_free(gpointer data);

void hn_pending_release_free(gpointer release);

/* NULL and false when the argument is absent. */
const char *hn_control_string_arg(json_object *args, const char *name);
bool hn_control_bool_arg(json_object *args, const char *name);
/* An integer argument within bounds, `otherwise` if absent. False: answered with an error. */
bool hn_control_int_arg(HnQmpRequest *request, json_object *args, const char *name, int64_t min,
                        int64_t max, int64_t otherwise, int64_t *ret_value);
/* The uuid of the domain named, NULL: answered with an error. */
const char *hn_control_domain_of(HnControlServer *server, HnQmpRequest *request, const char *name);
/* Uuids of the argument "domains", empty if absent; NULL: answered with an error. Caller unrefs. */
GPtrArray *hn_control_domains_of(HnControlServer *server, HnQmpRequest *request, json_object *args);
/* Appends to `forces` (HnForce) what "domains" and "node" ask for; without domains one for the
 * whole host if is_all_default, else none. False: answered with an error. */
bool hn_control_forces_of(HnControlServer *server, HnQmpRequest *request, json_object *args,
                          bool is_managed_needed, GArray *forces, bool is_all_default);
/* Answers with the plan of a trial round under these forces. */
void hn_control_try_plan(HnControlServer *server, HnQmpRequest *request, const GArray *forces);

/* The verbs; user_data is the HnControlServer. */
void hn_verb_query_host(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_query_domains(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_query_domain(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_query_config(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_metrics(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_query_series(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_history(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_query_job(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_query_plan(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_explain(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_snapshot(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_rebalance(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_release(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_pause(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_resume(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_attach(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_detach(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_set(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_measure_writes(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_capture(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_set_mode(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_query_placement(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_reserve_placement(HnQmpRequest *request, json_object *args, gpointer user_data);
void hn_verb_doctor(HnQmpRequest *request, json_object *args, gpointer user_data);
