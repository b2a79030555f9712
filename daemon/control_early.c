/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Orders that come before the first round has ended: an operator who starts the daemon and at once asks
 * for something would otherwise be told that nothing is known yet. They are kept, and carried out when the
 * first round is over, well or badly, or after PATIENCE_S, when the verb itself says what is missing.
 */
#include "control_private.h"

/* A libvirtd that starts with the host answers within this; a client waits longer. */
#define PATIENCE_S 10

typedef struct {
    HnQmpRequest *request;
    json_object *args;
    HnQmpHandler handler;
} EarlyOrder;

void hn_early_order_free(gpointer data)
{
    EarlyOrder *order = data;
    if (order->request)
        hn_qmp_request_fail(order->request, HN_QMP_CLASS_GENERIC, "The daemon stops");
    json_object_put(order->args);
    g_free(order);
}

static gboolean on_patience_ended(gpointer data)
{
    HnControlServer *server = data;
    server->early_timer = 0;
    hn_control_server_end_early(server);
    return G_SOURCE_REMOVE;
}

bool hn_control_is_early(HnControlServer *server, HnQmpRequest *request, json_object *args,
                         HnQmpHandler handler)
{
    if (server->manager->snapshot || server->is_early_over)
        return false;
    EarlyOrder *order = g_new0(EarlyOrder, 1);
    *order = (EarlyOrder){request, json_object_get(args), handler};
    g_ptr_array_add(server->early, order);
    if (!server->early_timer)
        server->early_timer = g_timeout_add_seconds(PATIENCE_S, on_patience_ended, server);
    return true;
}

void hn_control_server_end_early(HnControlServer *server)
{
    server->is_early_over = true;
    g_clear_handle_id(&server->early_timer, g_source_remove);
    while (server->early->len > 0) {
        EarlyOrder *order = g_ptr_array_steal_index(server->early, 0);
        HnQmpRequest *request = g_steal_pointer(&order->request);
        order->handler(request, order->args, server);
        hn_early_order_free(order);
    }
}
