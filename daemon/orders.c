/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Orders: see orders.h.
 */
#include "orders.h"
#include "report/fields.h"
#include "report/plan_json.h"
#include "report/status.h"

#include <string.h>

typedef enum { PENDING, HANDED_OVER, RUNNING, DONE, FAILED } OrderState;
typedef enum { PART_PENDING, PART_MOVING, PART_DONE, PART_REFUSED, PART_FAILED } PartState;

typedef struct {
    char uuid[HN_UUID_LEN + 1];
    char *name;
    PartState state;
    HnReason reason;
    char *sentence;
    uint64_t generation;
    uint64_t bytes_moved;
    uint64_t bytes_done, bytes_total, bytes_per_sec;
} Part;

typedef struct {
    uint64_t id;
    OrderState state;
    GArray *forces;   /* HnForce */
    GPtrArray *parts; /* Part * */
    bool is_reported; /* its end */
} Order;

struct HnOrders {
    uint64_t next_id;
    GQueue list; /* Order *, oldest at the head */
};

static void part_free(gpointer data)
{
    Part *part = data;
    g_free(part->name);
    g_free(part->sentence);
    g_free(part);
}

static void order_free(gpointer data)
{
    Order *order = data;
    g_array_unref(order->forces);
    g_ptr_array_unref(order->parts);
    g_free(order);
}

HnOrders *hn_orders_new(void)
{
    HnOrders *orders = g_new0(HnOrders, 1);
    orders->next_id = 1;
    g_queue_init(&orders->list);
    return orders;
}

void hn_orders_free(HnOrders *orders)
{
    if (!orders)
        return;
    g_queue_clear_full(&orders->list, order_free);
    g_free(orders);
}

static bool has_ended(const Order *order)
{
    return order->state == DONE || order->state == FAILED;
}

static bool make_room(HnOrders *orders)
{
    if (orders->list.length < HN_ORDERS_MAX)
        return true;
    for (GList *link = orders->list.head; link; link = link->next) {
        if (has_ended(link->data)) {
            order_free(link->data);
            g_queue_delete_link(&orders->list, link);
            return true;
        }
    }
    return false;
}

uint64_t hn_orders_add(HnOrders *orders, const HnForce *forces, uint32_t n_forces)
{
    if (!make_room(orders))
        return 0;
    Order *order = g_new0(Order, 1);
    order->id = orders->next_id++;
    order->forces = g_array_new(FALSE, FALSE, sizeof(HnForce));
    g_array_append_vals(order->forces, forces, n_forces);
    order->parts = g_ptr_array_new_with_free_func(part_free);
    g_queue_push_tail(&orders->list, order);
    return order->id;
}

void hn_orders_take_forces(HnOrders *orders, GArray *forces)
{
    for (GList *link = orders->list.head; link; link = link->next) {
        Order *order = link->data;
        if (order->state != PENDING)
            continue;
        g_array_append_vals(forces, order->forces->data, order->forces->len);
        order->state = HANDED_OVER;
    }
}

void hn_orders_return_forces(HnOrders *orders)
{
    for (GList *link = orders->list.head; link; link = link->next) {
        Order *order = link->data;
        if (order->state == HANDED_OVER)
            order->state = PENDING;
    }
}

static bool is_meant(const Order *order, const HnVerdict *verdict)
{
    for (guint i = 0; i < order->forces->len; i++) {
        const HnForce *force = &g_array_index(order->forces, HnForce, i);
        if (force->uuid[0] ? strcmp(force->uuid, verdict->uuid) == 0 : verdict->is_managed)
            return true;
    }
    return false;
}

/* Without a move a domain is content if it is where it should be; every other reason is a refusal.
 * With no single domain named, staying is no refusal either: the host as a whole was asked to be
 * put right. */
static PartState state_of(const Order *order, const HnVerdict *verdict, GHashTable *in_flight)
{
    bool is_named = g_array_index(order->forces, HnForce, 0).uuid[0] != '\0';
    if (verdict->will_act && g_hash_table_contains(in_flight, verdict->uuid))
        return PART_MOVING;
    if (verdict->will_act || verdict->reason == HN_REASON_CONVERGED || !is_named)
        return PART_DONE;
    return PART_REFUSED;
}

static void settle(Order *order)
{
    bool has_failed = false;
    for (guint i = 0; i < order->parts->len; i++) {
        const Part *part = g_ptr_array_index(order->parts, i);
        if (part->state == PART_MOVING || part->state == PART_PENDING)
            return;
        has_failed |= part->state == PART_REFUSED || part->state == PART_FAILED;
    }
    order->state = has_failed ? FAILED : DONE;
}

/* A domain that was named, but is not in the plan: it ended meanwhile. */
static void add_vanished(Order *order, const HnPlan *plan)
{
    for (guint i = 0; i < order->forces->len; i++) {
        const HnForce *force = &g_array_index(order->forces, HnForce, i);
        if (!force->uuid[0] || hn_plan_find(plan, force->uuid))
            continue;
        Part *part = g_new0(Part, 1);
        g_strlcpy(part->uuid, force->uuid, sizeof part->uuid);
        part->name = g_strdup(force->uuid);
        part->state = PART_FAILED;
        part->reason = HN_REASON_VANISHED;
        part->sentence = g_strdup("The domain has ended.");
        g_ptr_array_add(order->parts, part);
    }
}

void hn_orders_decided(HnOrders *orders, const HnPlan *plan, GHashTable *in_flight)
{
    for (GList *link = orders->list.head; link; link = link->next) {
        Order *order = link->data;
        if (order->state != HANDED_OVER)
            continue;
        order->state = RUNNING;
        for (guint i = 0; i < plan->verdicts->len; i++) {
            const HnVerdict *verdict = g_ptr_array_index(plan->verdicts, i);
            if (!is_meant(order, verdict))
                continue;
            Part *part = g_new0(Part, 1);
            g_strlcpy(part->uuid, verdict->uuid, sizeof part->uuid);
            part->name = g_strdup(verdict->name);
            part->state = state_of(order, verdict, in_flight);
            part->reason = verdict->reason;
            part->sentence = g_strdup(verdict->sentence);
            part->generation = plan->generation;
            part->bytes_total = part->state == PART_MOVING ? verdict->bytes_to_move : 0;
            g_ptr_array_add(order->parts, part);
        }
        add_vanished(order, plan);
        settle(order);
    }
}

static bool is_good(HnReason reason)
{
    return reason == HN_REASON_DONE || reason == HN_REASON_DONE_WITH_RESIDUE;
}

void hn_orders_outcome(HnOrders *orders, const HnOutcome *outcome, const char *sentence)
{
    for (GList *link = orders->list.head; link; link = link->next) {
        Order *order = link->data;
        for (guint i = 0; order->state == RUNNING && i < order->parts->len; i++) {
            Part *part = g_ptr_array_index(order->parts, i);
            if (part->state != PART_MOVING || part->generation != outcome->generation ||
                strcmp(part->uuid, outcome->uuid) != 0)
                continue;
            part->bytes_moved += outcome->bytes_moved;
            /* After a failure the part is no longer moving, so the first one stays: it explains the
             * later. */
            part->reason = outcome->reason;
            g_free(part->sentence);
            part->sentence = g_strdup(sentence);
            if (!is_good(outcome->reason))
                part->state = PART_FAILED;
        }
        if (order->state == RUNNING)
            settle(order);
    }
}

void hn_orders_check(HnOrders *orders, GHashTable *in_flight)
{
    for (GList *link = orders->list.head; link; link = link->next) {
        Order *order = link->data;
        if (order->state != RUNNING)
            continue;
        for (guint i = 0; i < order->parts->len; i++) {
            Part *part = g_ptr_array_index(order->parts, i);
            if (part->state == PART_MOVING && !g_hash_table_contains(in_flight, part->uuid))
                part->state = PART_DONE;
        }
        settle(order);
    }
}

void hn_orders_progress(HnOrders *orders, const char *uuid, uint64_t bytes_done,
                        uint64_t bytes_total, uint64_t bytes_per_sec)
{
    for (GList *link = orders->list.head; link; link = link->next) {
        Order *order = link->data;
        for (guint i = 0; order->state == RUNNING && i < order->parts->len; i++) {
            Part *part = g_ptr_array_index(order->parts, i);
            if (part->state != PART_MOVING || strcmp(part->uuid, uuid) != 0)
                continue;
            part->bytes_done = bytes_done;
            part->bytes_total = MAX(bytes_total, bytes_done);
            part->bytes_per_sec = bytes_per_sec;
        }
    }
}

bool hn_orders_has_running(const HnOrders *orders)
{
    for (GList *link = orders->list.head; link; link = link->next)
        if (!has_ended(link->data))
            return true;
    return false;
}

static json_object *part_to_json(const Part *part)
{
    static const char *const states[] = {"pending", "moving", "done", "refused", "failed"};
    json_object *object = json_object_new_object();
    hn_put_string(object, "uuid", part->uuid);
    hn_put_string(object, "name", part->name);
    hn_put_string(object, "state", states[part->state]);
    hn_put_string(object, "reason", hn_reason_name(part->reason));
    hn_put_string(object, "sentence", part->sentence);
    hn_put_u64(object, "bytes-moved", part->bytes_moved);
    return object;
}

static json_object *order_to_json(const Order *order)
{
    static const char *const states[] = {"pending", "pending", "running", "done", "failed"};
    json_object *object = json_object_new_object();
    json_object *parts = json_object_new_array();
    uint64_t done = 0, total = 0, rate = 0, moved = 0;
    guint n_bad = 0;

    for (guint i = 0; i < order->parts->len; i++) {
        const Part *part = g_ptr_array_index(order->parts, i);
        bool is_moving = part->state == PART_MOVING;
        done += is_moving ? part->bytes_done : part->bytes_moved;
        total += is_moving ? part->bytes_total : part->bytes_moved;
        rate += is_moving ? part->bytes_per_sec : 0;
        moved += part->bytes_moved;
        n_bad += part->state == PART_REFUSED || part->state == PART_FAILED;
        json_object_array_add(parts, part_to_json(part));
    }
    g_autofree char *size = hn_size_text(moved);
    g_autofree char *summary =
        !has_ended(order) ? g_strdup("Under way.")
        : n_bad ? g_strdup_printf("%u of %u domains could not be moved as asked; %s moved.", n_bad,
                                  order->parts->len, size)
                : g_strdup_printf("%u domain%s settled; %s moved.", order->parts->len,
                                  order->parts->len == 1 ? "" : "s", size);
    hn_put_u64(object, "schema", HN_SCHEMA_VERSION);
    hn_put_u64(object, "job", order->id);
    hn_put_string(object, "state", states[order->state]);
    hn_put_u64(object, "percent", has_ended(order) ? 100 : total ? MIN(done * 100 / total, 99) : 0);
    hn_put_u64(object, "bytes-done", done);
    hn_put_u64(object, "bytes-total", total);
    hn_put_u64(object, "bytes-per-sec", rate);
    hn_put(object, "domains", parts);
    hn_put_string(object, "summary", summary);
    return object;
}

json_object *hn_orders_to_json(const HnOrders *orders, uint64_t id)
{
    for (GList *link = orders->list.head; link; link = link->next)
        if (((Order *)link->data)->id == id)
            return order_to_json(link->data);
    return NULL;
}

void hn_orders_report(HnOrders *orders, void (*func)(json_object *document, void *user_data),
                      void *user_data)
{
    for (GList *link = orders->list.head; link; link = link->next) {
        Order *order = link->data;
        if (order->is_reported)
            continue;
        order->is_reported = has_ended(order);
        func(order_to_json(order), user_data);
    }
}
