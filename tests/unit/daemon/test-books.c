/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The manager's books: history, recorded rounds, the time series, orders, guests, and the opt-in
 * element that is rewritten.
 */
#include "../report/example.h"

#include "guests.h"
#include "history.h"
#include "orders.h"
#include "placement_element.h"
#include "recorder.h"
#include "series.h"

#include <string.h>

static int64_t int_of(json_object *object, const char *name)
{
    json_object *value = NULL;
    g_assert_true(json_object_object_get_ex(object, name, &value));
    return json_object_get_int64(value);
}

static const char *string_of(json_object *object, const char *name)
{
    json_object *value = NULL;
    g_assert_true(json_object_object_get_ex(object, name, &value));
    return json_object_get_string(value);
}

/* ---- history ---- */

static void add_entry(HnHistory *history, const char *uuid, const char *name, uint64_t generation)
{
    HnHistoryEntry entry = {
        .name = name, .sentence = "s", .generation = generation, .reason = HN_REASON_DONE};
    g_strlcpy(entry.uuid, uuid, sizeof entry.uuid);
    hn_history_add(history, &entry);
}

static void test_history(void)
{
    g_autoptr(HnHistory) history = hn_history_new(3);
    for (guint i = 1; i <= 5; i++) {
        add_entry(history, EXAMPLE_UUID_A, "a", i);
        add_entry(history, EXAMPLE_UUID_B, "b", 10 * i);
    }
    json_object *one = hn_history_to_json(history, EXAMPLE_UUID_A, 100);
    g_assert_cmpuint(json_object_array_length(one), ==, 3); /* bounded */
    g_assert_cmpint(int_of(json_object_array_get_idx(one, 0), "generation"), ==,
                    5); /* newest first */
    g_assert_cmpint(int_of(json_object_array_get_idx(one, 2), "generation"), ==, 3);
    json_object_put(one);
    json_object *all = hn_history_to_json(history, NULL, 4);
    g_assert_cmpuint(json_object_array_length(all), ==, 4);
    g_assert_cmpint(int_of(json_object_array_get_idx(all, 0), "generation"), ==, 50);
    g_assert_cmpint(int_of(json_object_array_get_idx(all, 1), "generation"), ==, 5);
    json_object_put(all);
    g_assert_cmpstr(hn_history_find(history, "b"), ==, EXAMPLE_UUID_B);
    g_assert_null(hn_history_find(history, "c"));
    hn_history_set_max(history, 1);
    one = hn_history_to_json(history, EXAMPLE_UUID_A, 100);
    g_assert_cmpuint(json_object_array_length(one), ==, 1);
    json_object_put(one);
}

static void test_history_domains_bounded(void)
{
    g_autoptr(HnHistory) history = hn_history_new(2);
    for (guint i = 0; i <= HN_HISTORY_MAX_DOMAINS; i++) {
        g_autofree char *uuid = g_strdup_printf("%08u-0000-4000-8000-000000000000", i);
        add_entry(history, uuid, uuid, i);
    }
    g_assert_null(
        hn_history_find(history, "00000000-0000-4000-8000-000000000000")); /* silent for longest */
    g_assert_nonnull(hn_history_find(history, "00000001-0000-4000-8000-000000000000"));
    json_object *all = hn_history_to_json(history, NULL, UINT32_MAX);
    g_assert_cmpuint(json_object_array_length(all), ==, HN_HISTORY_MAX_DOMAINS);
    json_object_put(all);
}

/* ---- recorder ---- */

static GBytes *pack_number(guint number)
{
    json_object *document = json_object_new_object();
    json_object_object_add(document, "n", json_object_new_int64(number));
    GBytes *packed = hn_recorder_pack(document);
    json_object_put(document);
    return packed;
}

static void test_recorder(void)
{
    g_autoptr(GBytes) sample = pack_number(1);
    HnRecorder *recorder = hn_recorder_new(3 * g_bytes_get_size(sample));
    for (guint i = 1; i <= 5; i++)
        hn_recorder_add(recorder, pack_number(i));
    json_object *last = hn_recorder_to_json(recorder, 100);
    g_assert_cmpuint(json_object_array_length(last), ==, 3);
    g_assert_cmpint(int_of(json_object_array_get_idx(last, 0), "n"), ==, 3);
    g_assert_cmpint(int_of(json_object_array_get_idx(last, 2), "n"), ==, 5);
    json_object_put(last);
    last = hn_recorder_to_json(recorder, 2);
    g_assert_cmpint(int_of(json_object_array_get_idx(last, 0), "n"), ==, 4);
    json_object_put(last);
    hn_recorder_set_max(recorder, 0);
    hn_recorder_add(recorder, pack_number(9)); /* larger than the limit: not kept */
    last = hn_recorder_to_json(recorder, 2);
    g_assert_cmpuint(json_object_array_length(last), ==, 0);
    json_object_put(last);
    hn_recorder_free(recorder);
}

/* ---- series ---- */

static void test_series(void)
{
    g_autoptr(HnSnapshot) snapshot = example_snapshot();
    g_autoptr(HnPlan) plan = example_plan();
    HnAccount account = {.n_moves = 2};
    HnDomainStatus statuses[2];
    for (guint i = 0; i < 2; i++)
        statuses[i] = (HnDomainStatus){.host = snapshot->host,
                                       .domain = g_ptr_array_index(snapshot->domains, i),
                                       .verdict = g_ptr_array_index(plan->verdicts, i),
                                       .account = &account};
    HnSeries *series = hn_series_new();
    for (int64_t t = 0; t < 3 * HN_SERIES_MAX_SAMPLES; t++)
        hn_series_add(series, t, plan, statuses, 2, snapshot->host);
    json_object *document = hn_series_to_json(series);
    json_object *samples = NULL, *domains = NULL, *nodes = NULL;
    json_object_object_get_ex(document, "samples", &samples);
    size_t n = json_object_array_length(samples);
    g_assert_cmpuint(n, <, HN_SERIES_MAX_SAMPLES);
    g_assert_cmpuint(n, >, HN_SERIES_MAX_SAMPLES / 4);
    g_assert_cmpint(int_of(json_object_array_get_idx(samples, 0), "unix-ms"), ==,
                    0); /* spans it all */
    g_assert_cmpint(int_of(json_object_array_get_idx(samples, n - 1), "unix-ms"), >,
                    5 * HN_SERIES_MAX_SAMPLES / 2);
    json_object_object_get_ex(json_object_array_get_idx(samples, 0), "domains", &domains);
    g_assert_cmpuint(json_object_array_length(domains), ==, 1); /* the managed one */
    g_assert_cmpstr(string_of(json_object_array_get_idx(domains, 0), "home"), ==, "0");
    json_object_object_get_ex(json_object_array_get_idx(samples, 0), "nodes", &nodes);
    g_assert_cmpint(int_of(json_object_array_get_idx(nodes, 0), "demand-mcpu"), ==, 1900);
    g_assert_cmpint(int_of(json_object_array_get_idx(nodes, 1), "guest-bytes"), ==, 700 << 20);
    json_object_put(document);
    hn_series_free(series);
}

/* ---- orders ---- */

typedef struct {
    HnOrders *orders;
    HnPlan *plan;
    GHashTable *in_flight;
} OrderFixture;

static void order_set_up(OrderFixture *f, gconstpointer unused)
{
    f->orders = hn_orders_new();
    f->plan = example_plan();
    f->in_flight = g_hash_table_new(g_str_hash, g_str_equal);
}

static void order_tear_down(OrderFixture *f, gconstpointer unused)
{
    hn_orders_free(f->orders);
    hn_plan_free(f->plan);
    g_hash_table_unref(f->in_flight);
}

static uint64_t order_for(OrderFixture *f, const char *uuid)
{
    HnForce force = {.node = 1};
    g_strlcpy(force.uuid, uuid, sizeof force.uuid);
    uint64_t id = hn_orders_add(f->orders, &force, 1);
    g_autoptr(GArray) forces = g_array_new(FALSE, FALSE, sizeof(HnForce));
    hn_orders_take_forces(f->orders, forces);
    g_assert_cmpuint(forces->len, ==, 1);
    return id;
}

static void assert_order(OrderFixture *f, uint64_t id, const char *state, const char *part_state)
{
    json_object *document = hn_orders_to_json(f->orders, id), *parts = NULL;
    g_assert_nonnull(document);
    g_assert_cmpstr(string_of(document, "state"), ==, state);
    json_object_object_get_ex(document, "domains", &parts);
    if (part_state)
        g_assert_cmpstr(string_of(json_object_array_get_idx(parts, 0), "state"), ==, part_state);
    json_object_put(document);
}

static HnOutcome outcome_of(HnActionKind kind, HnReason reason, uint64_t bytes)
{
    HnOutcome outcome = {.generation = 77, .kind = kind, .reason = reason, .bytes_moved = bytes};
    g_strlcpy(outcome.uuid, EXAMPLE_UUID_A, sizeof outcome.uuid);
    return outcome;
}

static void test_order_done(OrderFixture *f, gconstpointer unused)
{
    uint64_t id = order_for(f, EXAMPLE_UUID_A);
    assert_order(f, id, "pending", NULL);
    g_hash_table_add(f->in_flight, (char *)EXAMPLE_UUID_A);
    hn_orders_decided(f->orders, f->plan, f->in_flight);
    assert_order(f, id, "running", "moving");
    HnOutcome pinned = outcome_of(HN_ACTION_PIN, HN_REASON_DONE, 0);
    hn_orders_outcome(f->orders, &pinned, "Pinned.");
    hn_orders_check(f->orders, f->in_flight);
    assert_order(f, id, "running", "moving"); /* memory still moves */
    HnOutcome moved = outcome_of(HN_ACTION_MOVE_MEMORY, HN_REASON_DONE_WITH_RESIDUE, 300 << 20);
    hn_orders_outcome(f->orders, &moved, "Moved.");
    g_hash_table_remove_all(f->in_flight);
    hn_orders_check(f->orders, f->in_flight);
    assert_order(f, id, "done", "done");
    json_object *document = hn_orders_to_json(f->orders, id);
    g_assert_cmpint(int_of(document, "bytes-done"), ==, 300 << 20);
    g_assert_cmpint(int_of(document, "percent"), ==, 100);
    json_object_put(document);
    g_assert_false(hn_orders_has_running(f->orders));
}

static void test_order_failed(OrderFixture *f, gconstpointer unused)
{
    uint64_t id = order_for(f, EXAMPLE_UUID_A);
    g_hash_table_add(f->in_flight, (char *)EXAMPLE_UUID_A);
    hn_orders_decided(f->orders, f->plan, f->in_flight);
    HnOutcome busy = outcome_of(HN_ACTION_PIN, HN_REASON_LIBVIRT_BUSY, 0);
    hn_orders_outcome(f->orders, &busy, "The first failure.");
    HnOutcome later = outcome_of(HN_ACTION_MOVE_MEMORY, HN_REASON_LIBVIRT_BUSY, 0);
    hn_orders_outcome(f->orders, &later, "Given up.");
    assert_order(f, id, "failed", "failed");
    json_object *document = hn_orders_to_json(f->orders, id), *parts = NULL;
    json_object_object_get_ex(document, "domains", &parts);
    g_assert_cmpstr(string_of(json_object_array_get_idx(parts, 0), "sentence"), ==,
                    "The first failure.");
    json_object_put(document);
}

static void test_order_refused(OrderFixture *f, gconstpointer unused)
{
    uint64_t id = order_for(f, EXAMPLE_UUID_B); /* verdict: not opted in, nothing done */
    hn_orders_decided(f->orders, f->plan, f->in_flight);
    assert_order(f, id, "failed", "refused");
}

static void test_order_vanished(OrderFixture *f, gconstpointer unused)
{
    uint64_t id = order_for(f, "33333333-3333-4333-8333-333333333333");
    hn_orders_decided(f->orders, f->plan, f->in_flight);
    assert_order(f, id, "failed", "failed");
}

static void test_order_round_failed(OrderFixture *f, gconstpointer unused)
{
    uint64_t id = order_for(f, EXAMPLE_UUID_A);
    hn_orders_return_forces(f->orders);
    assert_order(f, id, "pending", NULL);
    g_autoptr(GArray) forces = g_array_new(FALSE, FALSE, sizeof(HnForce));
    hn_orders_take_forces(f->orders, forces);
    g_assert_cmpuint(forces->len, ==, 1); /* handed over again */
}

static void test_orders_bounded(OrderFixture *f, gconstpointer unused)
{
    HnForce force = {.node = HN_NODE_NONE};
    for (guint i = 0; i < HN_ORDERS_MAX; i++)
        g_assert_cmpuint(hn_orders_add(f->orders, &force, 1), ==, i + 1);
    g_assert_cmpuint(hn_orders_add(f->orders, &force, 1), ==, 0); /* all pending: no room */
    g_autoptr(GArray) forces = g_array_new(FALSE, FALSE, sizeof(HnForce));
    hn_orders_take_forces(f->orders, forces);
    hn_orders_decided(f->orders, f->plan, f->in_flight);
    g_assert_cmpuint(hn_orders_add(f->orders, &force, 1), ==, HN_ORDERS_MAX + 1);
    g_assert_null(hn_orders_to_json(f->orders, 1)); /* the oldest ended one went */
}

/* ---- guests ---- */

static void test_guest_rates(void)
{
    g_autoptr(HnGuests) guests = hn_guests_new();
    g_autoptr(HnSnapshot) snapshot = example_snapshot();
    HnDomain *domain = g_ptr_array_index(snapshot->domains, 0);
    snapshot->taken_ns = 1000000000;
    hn_guests_observe(guests, snapshot);
    HnGuest *guest = hn_guests_get(guests, EXAMPLE_UUID_A);
    g_assert_cmpuint(guest->account.used_mcpu, ==, 0); /* no rate from one look */
    snapshot->taken_ns = 3000000000;
    domain->vcpus[0].exec_ns += 2000000000;
    domain->vcpus[1].exec_ns += 1000000000;
    domain->vcpus[1].run_delay_ns += 500000000;
    hn_guests_observe(guests, snapshot);
    g_assert_cmpuint(guest->account.used_mcpu, ==, 1500);
    g_assert_cmpuint(guest->account.run_delay_permille, ==, 250);
    snapshot->taken_ns = 5000000000;
    domain->vcpus[0].exec_ns = 0; /* a thread was replaced: no nonsense */
    hn_guests_observe(guests, snapshot);
    g_assert_cmpuint(guest->account.used_mcpu, ==, 1500);
    g_ptr_array_set_size(snapshot->domains, 0);
    snapshot->taken_ns = 7000000000;
    hn_guests_observe(guests, snapshot);
    g_assert_null(hn_guests_get(guests, EXAMPLE_UUID_A));
}

static void test_guest_moves(void)
{
    g_autoptr(HnGuests) guests = hn_guests_new();
    g_autoptr(HnSnapshot) snapshot = example_snapshot();
    g_autoptr(HnPlan) plan = example_plan();
    HnGuest *guest = hn_guests_want(guests, EXAMPLE_UUID_A, "web");
    hn_guest_decided(guest, g_ptr_array_index(plan->verdicts, 0), 77, snapshot->host);
    g_assert_cmpstr(guest->from, ==, "0");
    g_assert_cmpstr(guest->to, ==, "4");
    HnOutcome pin = outcome_of(HN_ACTION_PIN, HN_REASON_DONE, 0);
    HnOutcome move = outcome_of(HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 100);
    HnOutcome old = pin;
    old.generation = 76;
    g_assert_false(hn_guest_outcome(guest, &old));
    g_assert_true(hn_guest_outcome(guest, &pin));
    g_assert_false(hn_guest_outcome(guest, &pin)); /* a second client of the same move */
    g_assert_false(hn_guest_outcome(guest, &move));
    g_assert_cmpuint(guest->account.n_moves, ==, 1);
    g_assert_cmpuint(guest->account.bytes_moved, ==, 100);
}

/* A failure is waited out, longer each time; what goes with it does not count twice; success
 * forgets it. */
static void test_guest_failures(void)
{
    const uint64_t second = 1000000000;
    g_autoptr(HnGuests) guests = hn_guests_new();
    HnGuest *guest = hn_guests_want(guests, EXAMPLE_UUID_A, "web");
    HnOutcome pin = outcome_of(HN_ACTION_PIN, HN_REASON_PINNED_BY_ADMIN, 0);
    HnOutcome move = outcome_of(HN_ACTION_MOVE_MEMORY, HN_REASON_PINNED_BY_ADMIN, 0);
    uint64_t now = 100 * second, waits[10];

    for (guint i = 0; i < G_N_ELEMENTS(waits); i++) {
        hn_guest_note_failure(guest, &pin, "pinned", now);
        hn_guest_note_failure(guest, &move, "given up", now);
        g_assert_cmpstr(guest->failure, ==, "pinned");
        g_assert_cmpuint(guest->n_failures, ==, i + 1);
        waits[i] = guest->retry_ns - now;
        now = guest->retry_ns;
    }
    g_assert_cmpuint(waits[0], ==, 5 * second);
    g_assert_cmpuint(waits[1], ==, 10 * second);
    g_assert_cmpuint(waits[9], ==, 300 * second);
    HnOutcome overtaken = outcome_of(HN_ACTION_PIN, HN_REASON_SUPERSEDED, 0);
    hn_guest_note_failure(guest, &overtaken, "s", now);
    g_assert_cmpuint(guest->n_failures, ==, 10);
    HnOutcome done = outcome_of(HN_ACTION_PIN, HN_REASON_DONE, 0);
    hn_guest_note_failure(guest, &done, "s", now);
    g_assert_cmpuint(guest->n_failures, ==, 0);
    g_assert_null(guest->failure);
    HnOutcome full = outcome_of(HN_ACTION_MOVE_MEMORY, HN_REASON_NODE_FULL, 0);
    hn_guest_note_failure(guest, &full, "full", now);
    g_assert_cmpuint(guest->retry_ns, ==, 0); /* planned anew at once */
    hn_guest_note_failure(guest, &full, "full", now);
    g_assert_cmpuint(guest->retry_ns, >, now);
}

/* ---- the opt-in element ---- */

static const struct {
    const char *before;
    HnMode mode;
    const char *after; /* NULL: refused */
} elements[] = {
    {NULL, HN_MODE_AUTO, "<placement mode='auto'/>"},
    {"<placement mode='auto'/>", HN_MODE_OFF, "<placement mode='off'/>"},
    {"<placement nodeset='0' mode='off' group='a&amp;b'/>", HN_MODE_ADVISE,
     "<placement mode='advise' nodeset='0' group='a&amp;b'/>"},
    {"<homenode:placement xmlns:homenode='urn:homenode:placement:1' mode='off' weight='200'/>",
     HN_MODE_AUTO, "<placement mode='auto' weight='200'/>"},
    {"<placement mode='auto'", HN_MODE_AUTO, NULL},
    {"<placement><x/></placement>", HN_MODE_AUTO, NULL},
    {"<other/>", HN_MODE_AUTO, NULL},
};

static void test_element(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(elements); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *after =
            hn_placement_with_mode(elements[i].before, elements[i].mode, &error);
        g_assert_cmpstr(after, ==, elements[i].after);
        g_assert_true(!after == !!error);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/daemon/history/order-and-bound", test_history);
    g_test_add_func("/daemon/history/domains", test_history_domains_bounded);
    g_test_add_func("/daemon/recorder", test_recorder);
    g_test_add_func("/daemon/series", test_series);
#define ORDER(name, func)                                                                          \
    g_test_add("/daemon/orders/" name, OrderFixture, NULL, order_set_up, func, order_tear_down)
    ORDER("done", test_order_done);
    ORDER("failed", test_order_failed);
    ORDER("refused", test_order_refused);
    ORDER("vanished", test_order_vanished);
    ORDER("round-failed", test_order_round_failed);
    ORDER("bounded", test_orders_bounded);
    g_test_add_func("/daemon/guests/rates", test_guest_rates);
    g_test_add_func("/daemon/guests/moves", test_guest_moves);
    g_test_add_func("/daemon/guests/failures", test_guest_failures);
    g_test_add_func("/daemon/placement-element", test_element);
    return g_test_run();
}
