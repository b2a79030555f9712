/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The operator's orders as text and back, and when the books let go of them.
 */
#include "../report/example.h"

#include "guests.h"
#include "operator_state.h"

#include <string.h>

#define BOOT "0b0a5c43-7d2e-4f6b-8d2f-3f0f7c1d2e3a"
#define BEGIN "version 1\nboot-id " BOOT "\n"
#define DOMAIN "domain " EXAMPLE_UUID_A " pid=4711 start-ticks=91833"

static void test_round_trip(void)
{
    g_autoptr(HnOperatorState) state = hn_operator_state_new(BOOT);
    HnDomainOrders orders[] = {
        {EXAMPLE_UUID_A, 4711, 91833, true, false},
        {EXAMPLE_UUID_B, 0, UINT64_MAX, true, true},
    };
    g_autoptr(GError) error = NULL;

    state->is_host_held = true;
    g_array_append_vals(state->domains, orders, 2);
    g_autofree char *text = hn_operator_state_format(state);
    g_autoptr(HnOperatorState) back = hn_operator_state_parse(text, strlen(text), "state", &error);
    g_assert_no_error(error);
    g_assert_true(back->is_host_held);
    g_assert_cmpstr(back->boot_id, ==, BOOT);
    g_assert_cmpuint(back->domains->len, ==, 2);
    for (guint i = 0; i < 2; i++) {
        const HnDomainOrders *domain = &g_array_index(back->domains, HnDomainOrders, i);
        g_assert_cmpstr(domain->uuid, ==, orders[i].uuid);
        g_assert_cmpint(domain->pid, ==, orders[i].pid);
        g_assert_cmpuint(domain->start_ticks, ==, orders[i].start_ticks);
        g_assert_cmpint(domain->is_held, ==, orders[i].is_held);
        g_assert_cmpint(domain->is_released, ==, orders[i].is_released);
    }
    g_autofree char *again = hn_operator_state_format(back);
    g_assert_cmpstr(again, ==, text);
    /* Cut anywhere, it is no shorter list of orders but none. */
    for (size_t len = 0; len + 1 < strlen(text); len++) {
        g_autoptr(HnOperatorState) part = hn_operator_state_parse(text, len, "state", NULL);
        g_assert_null(part);
    }
}

static void test_damaged(void)
{
    static const char *const texts[] = {
        "",
        "end\n",
        "version 1\nend\n",
        "version 2\nboot-id " BOOT "\nend\n",
        "boot-id " BOOT "\nversion 1\nend\n",
        BEGIN "boot-id " BOOT "\nend\n",
        BEGIN "host held\nhost held\nend\n",
        BEGIN "host\nend\n",
        BEGIN "end\nhost held\n",
        BEGIN DOMAIN "\nend\n",
        BEGIN DOMAIN " held held\nend\n",
        BEGIN DOMAIN " helt\nend\n",
        BEGIN "domain " EXAMPLE_UUID_A " pid=-1 start-ticks=1 held\nend\n",
        BEGIN "domain " EXAMPLE_UUID_A " start-ticks=1 pid=1 held\nend\n",
        BEGIN "domain " EXAMPLE_UUID_A " pid=1 start-ticks=99999999999999999999 held\nend\n",
        BEGIN "domain web pid=1 start-ticks=1 held\nend\n",
        BEGIN "domain xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx pid=1 start-ticks=1 held\nend\n",
        BEGIN "domain\nend\n",
    };
    for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(HnOperatorState) state = hn_operator_state_parse(texts[i], strlen(texts[i]), "FILE", &error);
        g_assert_null(state);
        g_assert_nonnull(error);
        g_assert_true(g_str_has_prefix(error->message, "FILE: "));
    }
}

/* One round with domain A as process pid, or without it. */
static void observe(HnGuests *guests, uint64_t taken_ns, bool is_there, int64_t pid)
{
    HnDomain domain = {.name = (char *)"a", .pid = pid, .start_ticks = pid ? 5 : 0};
    g_autoptr(GPtrArray) domains = g_ptr_array_new();
    HnSnapshot snapshot = {.taken_ns = taken_ns, .domains = domains};

    g_strlcpy(domain.uuid, EXAMPLE_UUID_A, sizeof domain.uuid);
    if (is_there)
        g_ptr_array_add(domains, &domain);
    hn_guests_observe(guests, &snapshot);
}

static void test_orders_end_with_the_process(void)
{
    g_autoptr(HnGuests) guests = hn_guests_new();
    observe(guests, 1, true, 100);
    hn_guests_get(guests, EXAMPLE_UUID_A)->is_held = true;
    hn_guests_get(guests, EXAMPLE_UUID_A)->is_released = true;
    observe(guests, 2, true, 100);
    g_assert_true(hn_guests_get(guests, EXAMPLE_UUID_A)->is_held);
    g_assert_true(hn_guests_get(guests, EXAMPLE_UUID_A)->is_released);
    observe(guests, 3, true, 101);
    g_assert_false(hn_guests_get(guests, EXAMPLE_UUID_A)->is_held);
    g_assert_false(hn_guests_get(guests, EXAMPLE_UUID_A)->is_released);
}

static void test_orders_wait_for_the_guest(void)
{
    g_autoptr(HnGuests) guests = hn_guests_new();
    HnGuest *guest = hn_guests_want(guests, EXAMPLE_UUID_A, NULL);
    guest->is_held = true;
    guest->pid = 100;
    guest->start_ticks = 5;
    observe(guests, 1, false, 0); /* its monitor is not there yet */
    g_assert_nonnull(hn_guests_get(guests, EXAMPLE_UUID_A));
    observe(guests, 2, true, 100);
    g_assert_true(hn_guests_get(guests, EXAMPLE_UUID_A)->is_held);
    guest->is_held = false;
    observe(guests, 3, false, 0);
    g_assert_null(hn_guests_get(guests, EXAMPLE_UUID_A));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/operator-state/round-trip", test_round_trip);
    g_test_add_func("/operator-state/damaged", test_damaged);
    g_test_add_func("/operator-state/process-ends", test_orders_end_with_the_process);
    g_test_add_func("/operator-state/guest-comes-late", test_orders_wait_for_the_guest);
    return g_test_run();
}
