/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control verbs attach and detach: guests behind QMP sockets that the configuration does not
 * name. Both wait for the back end, so they run in a thread of the pool; the answer is given in the
 * main context.
 */
#include "control_private.h"
#include "report/fields.h"
#include "report/plan_json.h"

#include <gio/gio.h>
#include <string.h>

typedef struct {
    HnManager *manager;
    HnQmpRequest *request;
    bool is_detach;
    char *socket;
    char uuid[HN_UUID_LEN + 1]; /* "": unknown */
    char *name;                 /* NULL: unknown */
} Attachment;

static void attachment_free(gpointer data)
{
    Attachment *attachment = data;
    g_free(attachment->socket);
    g_free(attachment->name);
    g_free(attachment);
}

/* What of this domain is still as homenode made it would stay so for ever. */
static bool check_released(const Attachment *attachment, GError **error)
{
    g_autoptr(HnJournalEntry) entry =
        hn_journal_get(attachment->manager->journal, attachment->uuid);
    if (!entry || entry->pieces->len == 0)
        return true;
    g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_BUSY,
                "'%s' still has pins of homenode: 'homenode release %s' first", attachment->name,
                attachment->name);
    return false;
}

/* Which domain is it? Fine if there is none: the back end will say so. */
static bool find_domain(Attachment *attachment, GError **error)
{
    HnBackend *backend = attachment->manager->backend;
    g_autoptr(GPtrArray) infos = NULL;
    if (!backend->ops->list(backend, &infos, error))
        return false;
    for (guint i = 0; i < infos->len; i++) {
        const HnDomainInfo *info = g_ptr_array_index(infos, i);
        bool is_it = attachment->is_detach ? g_strcmp0(info->monitor, attachment->socket) == 0
                                           : strcmp(info->uuid, attachment->uuid) == 0;
        if (!is_it)
            continue;
        g_strlcpy(attachment->uuid, info->uuid, sizeof attachment->uuid);
        attachment->name = g_strdup(info->name);
        break;
    }
    return true;
}

static void run(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    Attachment *attachment = data;
    HnBackend *backend = attachment->manager->backend;
    GError *error = NULL;
    bool is_good;

    if (attachment->is_detach)
        is_good = find_domain(attachment, &error) && check_released(attachment, &error) &&
                  backend->ops->detach(backend, attachment->socket, &error);
    else
        is_good = backend->ops->attach(backend, attachment->socket, attachment->uuid, &error) &&
                  find_domain(attachment, &error);
    if (is_good)
        g_task_return_boolean(task, TRUE);
    else
        g_task_return_error(task, error);
}

static void done(GObject *source, GAsyncResult *result, gpointer user_data)
{
    const Attachment *attachment = g_task_get_task_data(G_TASK(result));
    g_autoptr(GError) error = NULL;

    attachment->manager->n_calls--;
    if (!g_task_propagate_boolean(G_TASK(result), &error)) {
        hn_qmp_request_fail(attachment->request, HN_QMP_CLASS_GENERIC, "%s", error->message);
        return;
    }
    hn_manager_request_round(attachment->manager);
    json_object *object = hn_document_new();
    hn_put_string(object, "socket", attachment->socket);
    hn_put_string(object, "uuid", *attachment->uuid ? attachment->uuid : NULL);
    hn_put_string(object, "name", attachment->name);
    hn_qmp_request_return(attachment->request, object);
}

static void begin(HnQmpRequest *request, json_object *args, HnManager *manager, bool is_detach)
{
    if (!manager->backend->ops->attach) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC,
                            "This daemon manages no guests without libvirt");
        return;
    }
    Attachment *attachment = g_new0(Attachment, 1);
    attachment->manager = manager;
    attachment->request = request;
    attachment->is_detach = is_detach;
    attachment->socket = g_strdup(hn_control_string_arg(args, "socket"));
    manager->n_calls++;
    g_autoptr(GTask) task = g_task_new(NULL, NULL, done, NULL);
    g_task_set_task_data(task, attachment, attachment_free);
    g_task_run_in_thread(task, run);
}

void hn_verb_attach(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    begin(request, args, ((HnControlServer *)user_data)->manager, false);
}

void hn_verb_detach(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    begin(request, args, ((HnControlServer *)user_data)->manager, true);
}
