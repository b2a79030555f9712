/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The container of what past rounds left behind. Its text form is past_text.c.
 */
#include "past.h"

#include <string.h>

#define HOUR_NS (3600 * UINT64_C(1000000000))

static void clear_clients(HnPastDomain *record)
{
    for (uint32_t i = 0; i < record->n_clients; i++) {
        g_free(record->clients[i].seen_permille);
        g_free(record->clients[i].held_permille);
    }
    g_free(record->clients);
    record->clients = NULL;
    record->n_clients = 0;
}

static void domain_free(gpointer data)
{
    HnPastDomain *record = data;

    clear_clients(record);
    g_free(record->threads);
    g_free(record);
}

HnPast *hn_past_new(void)
{
    HnPast *past = g_new0(HnPast, 1);

    past->domains = g_ptr_array_new_with_free_func(domain_free);
    return past;
}

void hn_past_free(HnPast *past)
{
    if (!past)
        return;
    g_ptr_array_unref(past->domains);
    g_free(past->other_load_mcpu);
    g_free(past->other_load_held_mcpu);
    g_free(past);
}

static HnPastDomain *domain_copy(const HnPastDomain *record)
{
    HnPastDomain *copy = g_memdup2(record, sizeof(*record));

    copy->threads = g_memdup2(record->threads, sizeof(HnPastThread) * record->n_threads);
    copy->clients = g_memdup2(record->clients, sizeof(HnPastClient) * record->n_clients);
    for (uint32_t i = 0; i < copy->n_clients; i++) {
        HnPastClient *client = &copy->clients[i];
        client->seen_permille =
            g_memdup2(client->seen_permille, sizeof(uint16_t) * record->n_nodes);
        client->held_permille =
            g_memdup2(client->held_permille, sizeof(uint16_t) * record->n_nodes);
    }
    return copy;
}

HnPast *hn_past_copy(const HnPast *past)
{
    HnPast *copy = hn_past_new();

    copy->generation = past->generation;
    copy->last_ns = past->last_ns;
    copy->n_nodes = past->n_nodes;
    copy->other_load_mcpu = g_memdup2(past->other_load_mcpu, sizeof(uint64_t) * past->n_nodes);
    copy->other_load_held_mcpu =
        g_memdup2(past->other_load_held_mcpu, sizeof(uint64_t) * past->n_nodes);
    for (guint i = 0; i < past->domains->len; i++)
        g_ptr_array_add(copy->domains, domain_copy(g_ptr_array_index(past->domains, i)));
    return copy;
}

/* Index of the first record with a uuid >= `uuid`. */
static guint lower_bound(const HnPast *past, const char *uuid)
{
    guint low = 0, high = past->domains->len;

    while (low < high) {
        guint middle = low + (high - low) / 2;
        const HnPastDomain *record = g_ptr_array_index(past->domains, middle);
        if (strcmp(record->uuid, uuid) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

HnPastDomain *hn_past_find(const HnPast *past, const char *uuid)
{
    guint index = lower_bound(past, uuid);

    if (index == past->domains->len)
        return NULL;
    HnPastDomain *record = g_ptr_array_index(past->domains, index);
    return strcmp(record->uuid, uuid) == 0 ? record : NULL;
}

HnPastDomain *hn_past_domain(HnPast *past, const HnDomain *domain, uint64_t now_ns)
{
    HnPastDomain *record = NULL;

    if (past->cursor < past->domains->len)
        record = g_ptr_array_index(past->domains, past->cursor);
    if (!record || strcmp(record->uuid, domain->uuid) != 0) {
        past->cursor = lower_bound(past, domain->uuid);
        record = past->cursor < past->domains->len ? g_ptr_array_index(past->domains, past->cursor)
                                                   : NULL;
        if (record && strcmp(record->uuid, domain->uuid) != 0)
            record = NULL;
    }
    if (record && (record->pid != domain->pid || record->start_ticks != domain->start_ticks)) {
        g_ptr_array_remove(past->domains, record);
        record = NULL;
    }
    if (!record) {
        record = g_new0(HnPastDomain, 1);
        g_strlcpy(record->uuid, domain->uuid, sizeof(record->uuid));
        record->pid = domain->pid;
        record->start_ticks = domain->start_ticks;
        record->first_seen_ns = now_ns;
        past->cursor = lower_bound(past, domain->uuid);
        g_ptr_array_insert(past->domains, (gint)past->cursor, record);
    }
    past->cursor++;
    return record;
}

void hn_past_begin(HnPast *past, uint32_t n_nodes)
{
    past->cursor = 0;
    if (past->n_nodes == n_nodes)
        return;
    /* A node came or went (memory hotplug): every index in the records may mean something else now.
     */
    past->n_nodes = n_nodes;
    g_free(past->other_load_mcpu);
    g_free(past->other_load_held_mcpu);
    past->other_load_mcpu = NULL;
    past->other_load_held_mcpu = NULL;
    for (guint i = 0; i < past->domains->len; i++) {
        HnPastDomain *record = g_ptr_array_index(past->domains, i);
        clear_clients(record);
        record->marked_worse = 0;
        record->audit_left = 0;
        record->n_confirmed = 0;
    }
}

void hn_past_sweep(HnPast *past, uint64_t now_ns)
{
    for (guint i = past->domains->len; i-- > 0;) {
        const HnPastDomain *record = g_ptr_array_index(past->domains, i);
        if (record->last_seen_ns != now_ns)
            g_ptr_array_remove_index(past->domains, i);
    }
}

void hn_past_domain_set_clients(HnPastDomain *record, uint32_t n_clients, uint32_t n_nodes)
{
    if (record->n_clients == n_clients && record->n_nodes == n_nodes)
        return;
    clear_clients(record);
    record->clients = g_new0(HnPastClient, n_clients);
    record->n_clients = n_clients;
    record->n_nodes = n_nodes;
    record->n_confirmed = 0;
    for (uint32_t i = 0; i < n_clients; i++) {
        record->clients[i].proposed = HN_NODE_NONE;
        record->clients[i].wanted = HN_NODE_NONE;
        record->clients[i].came_from = HN_NODE_NONE;
    }
}

void hn_past_domain_add_move(HnPastDomain *record, uint64_t now_ns)
{
    if (record->n_moves == HN_PAST_MAX_MOVES) {
        memmove(record->moves_ns, record->moves_ns + 1, sizeof(uint64_t) * (HN_PAST_MAX_MOVES - 1));
        record->n_moves--;
    }
    record->moves_ns[record->n_moves++] = now_ns;
    record->last_rehome_ns = now_ns;
}

uint32_t hn_past_domain_moves_in_hour(const HnPastDomain *record, uint64_t now_ns)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < record->n_moves; i++)
        count += now_ns - record->moves_ns[i] < HOUR_NS;
    return count;
}
