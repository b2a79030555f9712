/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The operator's orders are read as root at every start, and obeyed. What is accepted must mean the same when written
 * and read again.
 */
#include "operator_state.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(HnOperatorState) state = hn_operator_state_parse((const char *)data, size, "fuzz", &error);

    g_assert(!state == !!error);
    if (!state)
        return 0;
    for (guint i = 0; i < state->domains->len; i++) {
        const HnDomainOrders *orders = &g_array_index(state->domains, HnDomainOrders, i);
        g_assert(orders->is_held || orders->is_released);
        g_assert(g_uuid_string_is_valid(orders->uuid) && orders->pid >= 0);
    }
    g_autofree char *first = hn_operator_state_format(state);
    g_autoptr(HnOperatorState) again = hn_operator_state_parse(first, strlen(first), "fuzz", NULL);
    g_assert(again && again->is_host_held == state->is_host_held);
    g_autofree char *second = hn_operator_state_format(again);
    g_assert(strcmp(first, second) == 0);
    return 0;
}
