/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The verb that writes a domain's mode. It goes through the back end, in a thread, and is answered when the daemon has
 * seen what was written: whoever then asks for that domain, or to move it, is not told of the mode before.
 */
#include "control_private.h"
#include "placement_element.h"
#include "report/fields.h"
#include "report/plan_json.h"

#include <gio/gio.h>
#include <string.h>

/* A round may wait for libvirt; what was written is written all the same. */
#define SEEN_PATIENCE_S 5

/* ---- Answers that wait for a round. ---- */

typedef struct {
    HnControlServer *server;
    HnQmpRequest *request;
    json_object *answer;
    guint rounds; /* that must still end: the one under way has not seen it */
    guint timer;
} SeenAnswer;

void hn_seen_answer_free(gpointer data)
{
    SeenAnswer *seen = data;
    g_clear_handle_id(&seen->timer, g_source_remove);
    hn_qmp_request_return(seen->request, seen->answer);
    g_free(seen);
}

static gboolean on_patience_ended(gpointer data)
{
    SeenAnswer *seen = data;
    seen->timer = 0;
    g_ptr_array_remove(seen->server->seen, seen);
    return G_SOURCE_REMOVE;
}

void hn_control_server_round_ended(HnControlServer *server)
{
    for (guint i = server->seen->len; i-- > 0;) {
        SeenAnswer *seen = g_ptr_array_index(server->seen, i);
        if (--seen->rounds == 0)
            g_ptr_array_remove_index(server->seen, i);
    }
}

static void answer_when_seen(HnControlServer *server, HnQmpRequest *request, json_object *answer)
{
    const HnManager *manager = server->manager;
    if (!manager->is_started || manager->is_stopping) { /* there will be no round */
        hn_qmp_request_return(request, answer);
        return;
    }
    SeenAnswer *seen = g_new0(SeenAnswer, 1);
    *seen = (SeenAnswer){server, request, answer, manager->is_round_running ? 2 : 1, 0};
    seen->timer = g_timeout_add_seconds(SEEN_PATIENCE_S, on_patience_ended, seen);
    g_ptr_array_add(server->seen, seen);
    hn_manager_request_round(server->manager);
}

/* ---- set-mode ---- */

typedef struct {
    HnControlServer *server;
    HnQmpRequest *request;
    char uuid[HN_UUID_LEN + 1];
    HnMode mode;
    bool is_persistent;
} ModeChange;

static void change_mode(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    const ModeChange *change = data;
    HnBackend *backend = change->server->manager->backend;
    g_autoptr(HnDomainInfo) info = NULL;
    g_autofree char *xml = NULL;
    GError *error = NULL;

    bool is_good = backend->ops->get(backend, change->uuid, &info, &error);
    if (is_good && change->mode != HN_MODE_NONE) {
        xml = hn_placement_with_mode(info->placement_xml, change->mode, &error);
        is_good = xml != NULL;
    }
    if (is_good &&
        backend->ops->set_placement(backend, change->uuid, xml, change->is_persistent, &error))
        g_task_return_boolean(task, TRUE);
    else
        g_task_return_error(task, error);
}

static void mode_changed(GObject *source, GAsyncResult *result, gpointer user_data)
{
    const ModeChange *change = g_task_get_task_data(G_TASK(result));
    HnManager *manager = change->server->manager;
    HnGuest *guest = hn_guests_want(manager->guests, change->uuid, NULL);
    g_autoptr(GError) error = NULL;

    manager->n_calls--;
    if (!g_task_propagate_boolean(G_TASK(result), &error)) {
        hn_qmp_request_fail(change->request, HN_QMP_CLASS_GENERIC, "%s: mode not changed: %s",
                            guest->name ? guest->name : change->uuid, error->message);
        return;
    }
    guest->is_released = false;
    hn_manager_save_state(manager);
    json_object *object = hn_document_new();
    hn_put_string(object, "uuid", guest->uuid);
    hn_put_string(object, "name", guest->name);
    hn_put_string(object, "mode", hn_mode_name(change->mode));
    hn_put_bool(object, "persistent", change->is_persistent);
    answer_when_seen(change->server, change->request, object);
}

void hn_verb_set_mode(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    const char *name = hn_control_string_arg(args, "mode");
    HnMode mode = HN_MODE_NONE;

    if (hn_control_is_early(server, request, args, hn_verb_set_mode))
        return;
    while (mode <= HN_MODE_AUTO && strcmp(hn_mode_name(mode), name) != 0)
        mode++;
    if (mode > HN_MODE_AUTO) {
        hn_qmp_request_fail(
            request, HN_QMP_CLASS_INVALID_ARGUMENT,
            "'mode' is '%.64s', allowed: auto, advise, off, none (removes the element)", name);
        return;
    }
    const char *uuid = hn_control_domain_of(server, request, hn_control_string_arg(args, "domain"));
    if (!uuid)
        return;
    if (server->manager->is_dry_run) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC,
                            "The daemon runs with --dry-run and changes nothing, metadata neither");
        return;
    }
    ModeChange *change = g_new0(ModeChange, 1);
    *change = (ModeChange){.server = server,
                           .request = request,
                           .mode = mode,
                           .is_persistent = hn_control_bool_arg(args, "persistent")};
    g_strlcpy(change->uuid, uuid, sizeof change->uuid);
    server->manager->n_calls++;
    g_autoptr(GTask) task = g_task_new(NULL, NULL, mode_changed, NULL);
    g_task_set_task_data(task, change, g_free);
    g_task_run_in_thread(task, change_mode);
}
