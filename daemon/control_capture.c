/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control verb capture: the machine as the observer reads it (observe/capture.h says what is in and what
 * is left out), as a document that the client writes where it likes; the daemon itself may write hardly
 * anywhere. `homenode snapshot --machine` is that client.
 *
 * It changes nothing, and yet it is for the read-write socket only: where a process has its memory is not for
 * everybody (proc(5) keeps maps from other users for the same reason). Reading smaps of a large guest takes
 * long, so it runs in a thread of the pool.
 */
#include "control_private.h"
#include "observe/capture.h"
#include "report/fields.h"
#include "report/plan_json.h"

#include <gio/gio.h>
#include <string.h>

typedef struct {
    HnManager *manager;
    HnQmpRequest *request;
    json_object *files, *links; /* arrays */
} Taking;

static void taking_free(gpointer data)
{
    Taking *taking = data;
    json_object_put(taking->files);
    json_object_put(taking->links);
    g_free(taking);
}

/* Text as text, so that it can be read; what is none (a command line has zero bytes) as base64. */
static bool keep_file(void *user_data, const char *path, const char *text, size_t len, GError **error)
{
    json_object *row = json_object_new_object();
    hn_put_string(row, "path", path);
    if (g_utf8_validate(text, (gssize)len, NULL)) { /* not with zero bytes: a length is given */
        hn_put(row, "text", json_object_new_string_len(text, (int)len));
    } else {
        g_autofree char *base64 = g_base64_encode((const guchar *)text, len);
        hn_put_string(row, "base64", base64);
    }
    json_object_array_add(((Taking *)user_data)->files, row);
    return true;
}

static bool keep_link(void *user_data, const char *path, const char *target, GError **error)
{
    json_object *row = json_object_new_object();
    hn_put_string(row, "path", path);
    hn_put_string(row, "target", target);
    json_object_array_add(((Taking *)user_data)->links, row);
    return true;
}

/* What the back end says of a guest, in the form of a captured machine's domains.ini
 * (tests/fixtures/hosts). */
static void describe(GKeyFile *keys, const HnDomainInfo *info)
{
    g_autofree char *group = g_strdup(info->name);
    g_autoptr(GPtrArray) memory = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) cells = g_ptr_array_new_with_free_func(g_free);

    for (char *c = group; *c; c++) /* what a group's name may not have */
        *c = *c == '[' || *c == ']' || g_ascii_iscntrl(*c) ? '_' : *c;
    g_key_file_set_string(keys, group, "uuid", info->uuid);
    g_key_file_set_int64(keys, group, "pid", info->pid);
    g_key_file_set_boolean(keys, group, "kvm", info->is_kvm);
    if (info->is_bare_qemu)
        g_key_file_set_boolean(keys, group, "bare", true);
    if (info->is_shared_memory)
        g_key_file_set_boolean(keys, group, "shared", true);
    if (info->machine_type)
        g_key_file_set_string(keys, group, "machine", info->machine_type);
    for (guint i = 0; i < info->memory->len; i++) {
        const HnMemoryInfo *piece = g_ptr_array_index(info->memory, i);
        g_ptr_array_add(memory, g_strdup_printf("%s:%d:%" G_GUINT64_FORMAT, piece->object_id, piece->guest_cell,
                                                piece->length_bytes));
    }
    for (guint i = 0; i < info->vcpus->len; i++)
        g_ptr_array_add(cells, g_strdup_printf("%d", g_array_index(info->vcpus, HnVcpuInfo, i).guest_cell));
    if (memory->len)
        g_key_file_set_string_list(keys, group, "memory", (const char *const *)memory->pdata, memory->len);
    if (cells->len)
        g_key_file_set_string_list(keys, group, "vcpus", (const char *const *)cells->pdata, cells->len);
    if (info->host_devices->len)
        g_key_file_set_string_list(keys, group, "devices", (const char *const *)info->host_devices->pdata,
                                   info->host_devices->len);
    if (info->placement_xml)
        g_key_file_set_string(keys, group, "placement", info->placement_xml);
}

static void take(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    static const HnCaptureSink sink = {.file = keep_file, .link = keep_link};
    Taking *taking = data;
    HnBackend *backend = taking->manager->backend;
    g_autoptr(GPtrArray) infos = NULL;
    g_autoptr(GKeyFile) keys = g_key_file_new();
    GError *error = NULL;

    if (!backend->ops->list(backend, &infos, &error)) {
        g_task_return_error(task, error);
        return;
    }
    g_autoptr(GArray) pids = g_array_new(FALSE, FALSE, sizeof(int64_t));
    for (guint i = 0; i < infos->len; i++) {
        const HnDomainInfo *info = g_ptr_array_index(infos, i);
        if (info->pid <= 0 || info->unobservable)
            continue;
        g_array_append_val(pids, info->pid);
        describe(keys, info);
    }
    if (!hn_capture_to(taking->manager->root, &sink, taking, (const int64_t *)pids->data, pids->len, &error)) {
        g_task_return_error(task, error);
        return;
    }
    g_task_return_pointer(task, g_key_file_to_data(keys, NULL, NULL), g_free);
}

static void taken(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Taking *taking = g_task_get_task_data(G_TASK(result));
    g_autoptr(GError) error = NULL;
    g_autofree char *domains = g_task_propagate_pointer(G_TASK(result), &error);

    taking->manager->n_calls--;
    if (!domains) {
        hn_qmp_request_fail(taking->request, HN_QMP_CLASS_GENERIC, "The host could not be captured: %s",
                            error->message);
        return;
    }
    json_object *object = hn_document_new();
    hn_put_string(object, "format", "homenode-machine");
    hn_put_string(object, "host-name", taking->manager->host_name);
    hn_put_string(object, "domains", domains);
    hn_put(object, "files", g_steal_pointer(&taking->files));
    hn_put(object, "links", g_steal_pointer(&taking->links));
    hn_qmp_request_return(taking->request, object);
}

void hn_verb_capture(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    Taking *taking = g_new0(Taking, 1);
    taking->manager = ((HnControlServer *)user_data)->manager;
    taking->request = request;
    taking->files = json_object_new_array();
    taking->links = json_object_new_array();
    taking->manager->n_calls++;
    g_autoptr(GTask) task = g_task_new(NULL, NULL, taken, NULL);
    g_task_set_task_data(task, taking, taking_free);
    g_task_run_in_thread(task, take);
}
