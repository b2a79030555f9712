/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What was decided and what became of it: see history.h.
 *
 * Entries of all rings carry a running number, so that "the newest of all domains" needs no clock.
 */
#include "history.h"
#include "report/fields.h"

#include <string.h>

typedef struct {
    HnHistoryEntry entry; /* strings owned */
    uint64_t number;
} Stored;

typedef struct {
    char *uuid;
    GQueue entries; /* Stored *, newest at the tail */
} Ring;

struct HnHistory {
    uint32_t max_entries;
    uint64_t next_number;
    GHashTable *rings; /* uuid → Ring */
};

static void stored_free(Stored *stored)
{
    g_free((char *)stored->entry.name);
    g_free((char *)stored->entry.sentence);
    g_free((char *)stored->entry.from);
    g_free((char *)stored->entry.to);
    g_free(stored);
}

static void ring_free(gpointer data)
{
    Ring *ring = data;
    g_queue_clear_full(&ring->entries, (GDestroyNotify)stored_free);
    g_free(ring->uuid);
    g_free(ring);
}

HnHistory *hn_history_new(uint32_t max_entries)
{
    HnHistory *history = g_new0(HnHistory, 1);
    history->max_entries = MAX(max_entries, 1);
    history->rings = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, ring_free);
    return history;
}

void hn_history_free(HnHistory *history)
{
    if (!history)
        return;
    g_hash_table_unref(history->rings);
    g_free(history);
}

static void trim(const HnHistory *history, Ring *ring)
{
    while (ring->entries.length > history->max_entries)
        stored_free(g_queue_pop_head(&ring->entries));
}

void hn_history_set_max(HnHistory *history, uint32_t max_entries)
{
    GHashTableIter iter;
    gpointer ring;
    history->max_entries = MAX(max_entries, 1);
    g_hash_table_iter_init(&iter, history->rings);
    while (g_hash_table_iter_next(&iter, NULL, &ring))
        trim(history, ring);
}

static void drop_most_silent(HnHistory *history)
{
    GHashTableIter iter;
    gpointer value;
    Ring *silent = NULL;
    uint64_t silent_number = UINT64_MAX;
    g_hash_table_iter_init(&iter, history->rings);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Ring *ring = value;
        Stored *last = g_queue_peek_tail(&ring->entries);
        if (last->number < silent_number) {
            silent_number = last->number;
            silent = ring;
        }
    }
    if (silent)
        g_hash_table_remove(history->rings, silent->uuid);
}

void hn_history_add(HnHistory *history, const HnHistoryEntry *entry)
{
    Ring *ring = g_hash_table_lookup(history->rings, entry->uuid);
    if (!ring) {
        if (g_hash_table_size(history->rings) >= HN_HISTORY_MAX_DOMAINS)
            drop_most_silent(history);
        ring = g_new0(Ring, 1);
        ring->uuid = g_strdup(entry->uuid);
        g_queue_init(&ring->entries);
        g_hash_table_insert(history->rings, ring->uuid, ring);
    }
    Stored *stored = g_new0(Stored, 1);
    stored->entry = *entry;
    stored->entry.name = g_strdup(entry->name);
    stored->entry.sentence = g_strdup(entry->sentence);
    stored->entry.from = g_strdup(entry->from);
    stored->entry.to = g_strdup(entry->to);
    stored->number = history->next_number++;
    g_queue_push_tail(&ring->entries, stored);
    trim(history, ring);
}

static json_object *entry_to_json(const HnHistoryEntry *entry)
{
    static const char *const kinds[] = {"decision", "outcome", "admin", "daemon"};
    json_object *object = json_object_new_object();
    hn_put_i64(object, "unix-s", entry->unix_s);
    hn_put_string(object, "kind", kinds[entry->kind]);
    hn_put_string(object, "uuid", entry->uuid);
    hn_put_string(object, "name", entry->name);
    hn_put_string(object, "reason", hn_reason_name(entry->reason));
    hn_put_string(object, "sentence", entry->sentence);
    hn_put_string(object, "from", entry->from);
    hn_put_string(object, "to", entry->to);
    hn_put_u64(object, "bytes", entry->bytes);
    hn_put_u64(object, "score-now", entry->score_now);
    hn_put_u64(object, "score-after", entry->score_after);
    hn_put_u64(object, "generation", entry->generation);
    return object;
}

static gint newest_first(gconstpointer a, gconstpointer b)
{
    const Stored *one = *(Stored *const *)a, *other = *(Stored *const *)b;
    return one->number < other->number ? 1 : one->number > other->number ? -1 : 0;
}

json_object *hn_history_to_json(const HnHistory *history, const char *uuid, uint32_t limit)
{
    g_autoptr(GPtrArray) found = g_ptr_array_new();
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, history->rings);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const Ring *ring = value;
        if (uuid && strcmp(uuid, ring->uuid) != 0)
            continue;
        for (GList *link = ring->entries.head; link; link = link->next)
            g_ptr_array_add(found, link->data);
    }
    g_ptr_array_sort(found, newest_first);
    json_object *array = json_object_new_array();
    for (guint i = 0; i < found->len && i < limit; i++)
        json_object_array_add(array,
                              entry_to_json(&((Stored *)g_ptr_array_index(found, i))->entry));
    return array;
}

const char *hn_history_find(const HnHistory *history, const char *uuid_or_name)
{
    GHashTableIter iter;
    gpointer value;
    const Ring *best = NULL;
    uint64_t best_number = 0;
    g_hash_table_iter_init(&iter, history->rings);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const Ring *ring = value;
        const Stored *last = g_queue_peek_tail((GQueue *)&ring->entries);
        bool is_match =
            strcmp(ring->uuid, uuid_or_name) == 0 || g_strcmp0(last->entry.name, uuid_or_name) == 0;
        if (is_match && (!best || last->number > best_number)) {
            best = ring;
            best_number = last->number;
        }
    }
    return best ? best->uuid : NULL;
}
