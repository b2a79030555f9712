/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Control verbs that only ask. They are answered at once from the last round, or from a trial
 * round, or, the doctor, from a thread; none changes anything, so all are allowed on the read-only
 * socket.
 */
#include "control_private.h"
#include "doctor/doctor.h"
#include "report/fields.h"
#include "report/plan_json.h"

#include <gio/gio.h>
#include <string.h>

#define HISTORY_DEFAULT 20
#define HISTORY_MAX 100000
#define SNAPSHOT_LAST_MAX 1000

/* ---- Questions answered from the last round. ---- */

void hn_verb_query_host(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    hn_qmp_request_return(request, hn_manager_host_json(((HnControlServer *)user_data)->manager));
}

void hn_verb_query_domains(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    hn_qmp_request_return(request, hn_manager_domains_json(
                                       server->manager, hn_control_bool_arg(args, "managed-only")));
}

void hn_verb_query_domain(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    if (hn_control_is_early(server, request, args, hn_verb_query_domain))
        return;
    const char *uuid = hn_control_domain_of(server, request, hn_control_string_arg(args, "domain"));
    if (uuid)
        hn_qmp_request_return(request, hn_manager_domain_json(server->manager, uuid));
}

void hn_verb_query_config(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    hn_qmp_request_return(request, hn_manager_config_json(((HnControlServer *)user_data)->manager));
}

void hn_verb_metrics(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    g_autofree char *text = hn_manager_metrics(((HnControlServer *)user_data)->manager);
    json_object *object = hn_document_new();
    hn_put_string(object, "text", text);
    hn_qmp_request_return(request, object);
}

void hn_verb_query_series(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    json_object *object = hn_series_to_json(server->manager->series);
    hn_put_u64(object, "schema", HN_SCHEMA_VERSION);
    hn_put_u64(object, "interval-ms", server->manager->config->round_interval_ns / 1000000);
    hn_qmp_request_return(request, object);
}

void hn_verb_history(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    const char *name = hn_control_string_arg(args, "domain");
    int64_t limit;
    if (!hn_control_int_arg(request, args, "limit", 1, HISTORY_MAX, HISTORY_DEFAULT, &limit))
        return;
    /* A domain that has ended is still known by its history. */
    const char *uuid = name ? hn_history_find(server->manager->history, name) : NULL;
    if (name && !uuid)
        uuid = hn_control_domain_of(server, request, name);
    if (name && !uuid)
        return;
    json_object *object = hn_document_new();
    hn_put(object, "entries", hn_history_to_json(server->manager->history, uuid, (uint32_t)limit));
    hn_qmp_request_return(request, object);
}

void hn_verb_query_job(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    int64_t id;
    if (!hn_control_int_arg(request, args, "job", 1, INT64_MAX, 0, &id))
        return;
    json_object *order = hn_orders_to_json(server->manager->orders, (uint64_t)id);
    if (order)
        hn_qmp_request_return(request, order);
    else
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC,
                            "No job %" G_GINT64_FORMAT "; the last %d are remembered", id,
                            HN_ORDERS_MAX);
}

/* ---- Questions that take a trial round. ---- */

/* True if the trial worked; else the request is answered with why it did not. */
static bool check_trial(HnRound *round, HnQmpRequest *request)
{
    if (round->plan)
        return true;
    hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC, "The host could not be observed: %s",
                        round->error->message);
    return false;
}

static void answer_plan(HnManager *manager, HnRound *round, void *user_data)
{
    if (check_trial(round, user_data))
        hn_qmp_request_return(user_data, hn_plan_to_json(round->plan, round->snapshot->host));
}

static void answer_snapshot(HnManager *manager, HnRound *round, void *user_data)
{
    if (check_trial(round, user_data))
        hn_qmp_request_return(user_data, g_steal_pointer(&round->document));
}

static void answer_explain(HnManager *manager, HnRound *round, void *user_data)
{
    if (!check_trial(round, user_data))
        return;
    json_object *answer = hn_manager_explain_json(manager, round);
    if (answer)
        hn_qmp_request_return(user_data, answer);
    else
        hn_qmp_request_fail(user_data, HN_QMP_CLASS_GENERIC, "The domain has just ended");
}

void hn_control_try_plan(HnControlServer *server, HnQmpRequest *request, const GArray *forces)
{
    HnRound *round = hn_manager_new_round(server->manager);
    g_array_append_vals(round->forces, forces->data, forces->len);
    hn_manager_try(server->manager, round, answer_plan, request);
}

void hn_verb_query_plan(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    if (hn_control_is_early(server, request, args, hn_verb_query_plan))
        return;
    g_autoptr(GArray) forces = g_array_new(FALSE, TRUE, sizeof(HnForce));
    if (hn_control_forces_of(server, request, args, false, forces, false))
        hn_control_try_plan(server, request, forces);
}

void hn_verb_explain(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    if (hn_control_is_early(server, request, args, hn_verb_explain))
        return;
    const char *uuid = hn_control_domain_of(server, request, hn_control_string_arg(args, "domain"));
    if (!uuid)
        return;
    HnRound *round = hn_manager_new_round(server->manager);
    round->explain_uuid = g_strdup(uuid);
    hn_manager_try(server->manager, round, answer_explain, request);
}

void hn_verb_snapshot(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    int64_t last;
    if (!hn_control_int_arg(request, args, "last", 1, SNAPSHOT_LAST_MAX, 0, &last))
        return;
    if (last > 0) {
        json_object *object = hn_document_new();
        hn_put(object, "rounds", hn_recorder_to_json(server->manager->recorder, (uint32_t)last));
        hn_qmp_request_return(request, object);
        return;
    }
    HnRound *round = hn_manager_new_round(server->manager);
    round->with_document = true;
    hn_manager_try(server->manager, round, answer_snapshot, request);
}

/* ---- The doctor, who reads much of /proc, in a thread. ---- */

typedef struct {
    HnManager *manager;
    HnQmpRequest *request;
    HnDoctorInput input; /* strings and guests owned */
    json_object *checks;
} Examination;

static void examination_free(gpointer data)
{
    Examination *examination = data;
    g_free((char *)examination->input.connect);
    g_free((char *)examination->input.last_error);
    for (guint i = 0; i < examination->input.n_guests; i++) {
        g_free(examination->input.guests[i].name);
        g_free(examination->input.guests[i].unobservable);
    }
    g_free((HnDoctorGuest *)examination->input.guests);
    g_free((char *)examination->input.hinting);
    g_free(examination);
}

static void examine(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    Examination *examination = data;
    HnBackend *backend = examination->manager->backend;
    if (examination->input.is_connected && backend->ops->version)
        examination->input.libvirt_version = backend->ops->version(backend);
    examination->checks = hn_doctor_examine(&examination->input);
    g_task_return_boolean(task, TRUE);
}

static void examined(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Examination *examination = g_task_get_task_data(G_TASK(result));
    json_object *object = hn_document_new();
    examination->manager->n_calls--;
    hn_put(object, "checks", examination->checks);
    hn_qmp_request_return(examination->request, object);
}

/* The guests of the last round, copied for the thread. */
static void note_guests(const HnManager *manager, HnDoctorInput *input)
{
    guint n = manager->snapshot ? manager->snapshot->domains->len : 0;
    HnDoctorGuest *guests = g_new0(HnDoctorGuest, n + 1);
    for (guint i = 0; i < n; i++) {
        const HnDomain *domain = g_ptr_array_index(manager->snapshot->domains, i);
        guests[i] = (HnDoctorGuest){.name = g_strdup(domain->name ? domain->name : domain->uuid),
                                    .pid = domain->pid,
                                    .is_kvm = domain->is_kvm,
                                    .is_bare_qemu = domain->is_bare_qemu,
                                    .unobservable = g_strdup(domain->unobservable)};
    }
    input->guests = guests;
    input->n_guests = n;
}

void hn_verb_doctor(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnManager *manager = ((HnControlServer *)user_data)->manager;
    Examination *examination = g_new0(Examination, 1);
    HnHintingState hinting = hn_hinting_state(manager->hinting);
    examination->request = request;
    examination->manager = manager;
    manager->n_calls++;
    examination->input = (HnDoctorInput){
        .root = manager->root,
        .is_connected = manager->backend->ops->is_connected(manager->backend),
        .connect = g_strdup(manager->config->connect),
        .last_error = g_strdup(manager->last_error),
        .is_dry_run = manager->is_dry_run,
        .is_hinting_stuck = hinting == HN_HINTING_DENIED || hinting == HN_HINTING_ADMINS ||
                            hinting == HN_HINTING_REFUSED,
        .hinting = manager->n_rounds > 0 ? hn_hinting_sentence(manager->hinting) : NULL,
        .is_damon_wanted = manager->config->is_damon_allowed,
        .is_damon_on = hn_heat_is_on(manager->heat),
        .damon_impediment = hn_heat_impediment(manager->heat),
        .is_soft_dirty_wanted = manager->config->is_soft_dirty_allowed,
    };
    note_guests(manager, &examination->input);
    g_autoptr(GTask) task = g_task_new(NULL, NULL, examined, NULL);
    g_task_set_task_data(task, examination, examination_free);
    g_task_run_in_thread(task, examine);
}
