/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the manager remembers of each domain: see guests.h.
 */
#include "guests.h"
#include "report/plan_json.h"

#include <string.h>

/* The first wait is a few rounds; the longest is what an operator who has mended something may be
 * asked to wait. */
#define FIRST_WAIT_NS (UINT64_C(5) * 1000 * 1000 * 1000)
#define MAX_WAIT_NS (UINT64_C(300) * 1000 * 1000 * 1000)

struct HnGuests {
    GHashTable *table; /* uuid → HnGuest */
};

static void guest_free(gpointer data)
{
    HnGuest *guest = data;
    g_free(guest->name);
    g_free(guest->account.decision);
    g_free(guest->invalid);
    g_free(guest->from);
    g_free(guest->to);
    g_free(guest->failure);
    g_free(guest->stats_xml);
    g_free(guest->dirty_problem);
    g_free(guest->stats_key);
    g_free(guest);
}

HnGuests *hn_guests_new(void)
{
    HnGuests *guests = g_new0(HnGuests, 1);
    guests->table = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, guest_free);
    return guests;
}

void hn_guests_free(HnGuests *guests)
{
    if (!guests)
        return;
    g_hash_table_unref(guests->table);
    g_free(guests);
}

HnGuest *hn_guests_get(const HnGuests *guests, const char *uuid)
{
    return g_hash_table_lookup(guests->table, uuid);
}

HnGuest *hn_guests_want(HnGuests *guests, const char *uuid, const char *name)
{
    HnGuest *guest = hn_guests_get(guests, uuid);
    if (!guest) {
        guest = g_new0(HnGuest, 1);
        g_strlcpy(guest->uuid, uuid, sizeof guest->uuid);
        g_hash_table_insert(guests->table, guest->uuid, guest);
    }
    if (name && g_strcmp0(guest->name, name) != 0) {
        g_free(guest->name);
        guest->name = g_strdup(name);
    }
    return guest;
}

void hn_guests_remove(HnGuests *guests, const char *uuid)
{
    g_hash_table_remove(guests->table, uuid);
}

static gint by_uuid(gconstpointer a, gconstpointer b)
{
    return strcmp((*(HnGuest *const *)a)->uuid, (*(HnGuest *const *)b)->uuid);
}

GPtrArray *hn_guests_list(const HnGuests *guests)
{
    GPtrArray *list = g_ptr_array_new();
    GHashTableIter iter;
    gpointer guest;
    g_hash_table_iter_init(&iter, guests->table);
    while (g_hash_table_iter_next(&iter, NULL, &guest))
        g_ptr_array_add(list, guest);
    g_ptr_array_sort(list, by_uuid);
    return list;
}

/* Rates over the time since the last round. A vCPU that came or went makes the sum jump or fall: a
 * fall counts as nothing used, and the next round is right again. */
static void measure(HnGuest *guest, const HnDomain *domain, uint64_t now_ns)
{
    uint64_t exec_ns = 0, run_delay_ns = 0;
    for (uint32_t i = 0; i < domain->n_vcpus; i++) {
        exec_ns += domain->vcpus[i].exec_ns;
        run_delay_ns += domain->vcpus[i].run_delay_ns;
    }
    uint64_t wall_ns = now_ns - guest->seen_ns;
    if (guest->seen_ns && wall_ns > 0 && exec_ns >= guest->exec_ns &&
        run_delay_ns >= guest->run_delay_ns) {
        guest->account.used_mcpu = (exec_ns - guest->exec_ns) * 1000 / wall_ns;
        guest->account.run_delay_permille = (run_delay_ns - guest->run_delay_ns) * 1000 / wall_ns;
    }
    guest->seen_ns = now_ns;
    guest->exec_ns = exec_ns;
    guest->run_delay_ns = run_delay_ns;
}

/* Orders were given to the process that ran then. */
static void identify(HnGuest *guest, const HnDomain *domain)
{
    bool is_another = guest->start_ticks != 0 &&
                      (guest->pid != domain->pid || guest->start_ticks != domain->start_ticks);
    if (is_another)
        guest->is_held = guest->is_released = false;
    guest->pid = domain->pid;
    guest->start_ticks = domain->start_ticks;
}

static gboolean is_unseen(gpointer key, gpointer value, gpointer user_data)
{
    const HnGuest *guest = value;
    bool is_ordered = (guest->is_held || guest->is_released) && guest->pid > 0;
    return guest->seen_ns != *(const uint64_t *)user_data && !guest->is_releasing &&
           !guest->is_stats_busy && !is_ordered;
}

void hn_guests_observe(HnGuests *guests, const HnSnapshot *snapshot)
{
    uint64_t now_ns = snapshot->taken_ns;
    for (guint i = 0; i < snapshot->domains->len; i++) {
        const HnDomain *domain = g_ptr_array_index(snapshot->domains, i);
        HnGuest *guest = hn_guests_want(guests, domain->uuid, domain->name);
        identify(guest, domain);
        measure(guest, domain, now_ns);
    }
    g_hash_table_foreach_remove(guests->table, is_unseen, &now_ns);
}

void hn_guest_decided(HnGuest *guest, const HnVerdict *verdict, uint64_t generation,
                      const HnHost *host)
{
    guest->generation = generation;
    guest->is_move_counted = false;
    guest->decided_for = verdict->reason;
    g_free(guest->from);
    g_free(guest->to);
    guest->from = hn_verdict_home(verdict, host);
    guest->to = hn_verdict_wanted_home(verdict, host);
    guest->score_before = verdict->score_now;
    guest->score_predicted = verdict->score_after;
}

bool hn_guest_outcome(HnGuest *guest, const HnOutcome *outcome)
{
    bool is_done =
        outcome->reason == HN_REASON_DONE || outcome->reason == HN_REASON_DONE_WITH_RESIDUE;

    guest->account.bytes_moved += outcome->bytes_moved;
    if (!is_done || outcome->kind != HN_ACTION_PIN || outcome->generation != guest->generation ||
        guest->is_move_counted)
        return false;
    guest->is_move_counted = true;
    guest->account.n_moves++;
    return true;
}

/* Ends that say nothing about the next try: it went well, the plan was overtaken, or the domain's
 * job or end is known otherwise. */
static bool is_no_failure(HnReason reason)
{
    return reason == HN_REASON_DONE || reason == HN_REASON_DONE_WITH_RESIDUE ||
           reason == HN_REASON_SUPERSEDED || reason == HN_REASON_RELEASED ||
           reason == HN_REASON_VANISHED || reason == HN_REASON_MIGRATING ||
           reason == HN_REASON_DOMAIN_BUSY || reason == HN_REASON_ADVISE_ONLY;
}

void hn_guest_note_failure(HnGuest *guest, const HnOutcome *outcome, const char *sentence,
                           uint64_t now_ns)
{
    if (is_no_failure(outcome->reason)) {
        if (outcome->reason == HN_REASON_DONE)
            hn_guest_forget_failures(guest);
        return;
    }
    /* The actions behind a failed one are given up with it: one failure, told by its first
     * sentence. */
    if (guest->failure && guest->retry_ns > now_ns)
        return;
    guest->n_failures++;
    /* A full node is planned around at once; only if that fails as well it is worth waiting. */
    bool is_immediate = outcome->reason == HN_REASON_NODE_FULL && guest->n_failures == 1;
    uint64_t wait_ns = FIRST_WAIT_NS << MIN(guest->n_failures - 1, 16);
    guest->retry_ns = is_immediate ? 0 : now_ns + MIN(wait_ns, MAX_WAIT_NS);
    guest->failure_reason = outcome->reason;
    g_free(guest->failure);
    guest->failure = g_strdup(sentence);
}

void hn_guest_forget_failures(HnGuest *guest)
{
    guest->n_failures = 0;
    guest->retry_ns = 0;
    g_clear_pointer(&guest->failure, g_free);
}

void hn_guest_note(HnGuest *guest, HnReason reason, const char *sentence, int64_t unix_s)
{
    g_free(guest->account.decision);
    guest->account.decision = g_strdup(sentence ? sentence : "");
    guest->account.has_decision = true;
    guest->account.decision_reason = reason;
    guest->account.decided_unix_s = unix_s;
}

void hn_guests_add_held(const HnGuests *guests, GHashTable *set)
{
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, guests->table);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        if (((HnGuest *)value)->is_held)
            g_hash_table_add(set, g_strdup(((HnGuest *)value)->uuid));
}

void hn_guests_add_released(const HnGuests *guests, GHashTable *set)
{
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, guests->table);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        if (((HnGuest *)value)->is_released)
            g_hash_table_add(set, g_strdup(((HnGuest *)value)->uuid));
}
