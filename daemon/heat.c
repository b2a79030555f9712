/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whom DAMON watches: see heat.h.
 */
#include "heat.h"
#include "log.h"

#include <gio/gio.h>
#include <string.h>

#define SECOND_NS (UINT64_C(1000) * 1000 * 1000)
/* A turn, while others wait: 40 aggregations, ten times what its regions need to settle. */
#define LOOK_NS (20 * SECOND_NS)
#define RETRY_NS (300 * SECOND_NS)

struct HnHeat {
    HnJournal *journal;
    const HnRoot *root;
    bool is_dry_run;
    bool is_busy;            /* an errand is under way */
    bool has_complained;     /* of not being able to switch it off */
    char *current;           /* uuid of who is watched; NULL: nobody */
    int64_t pid;             /* of its process */
    uint64_t start_ticks, look_ns;
    uint64_t retry_ns;       /* not switched on before this */
    const char *impediment;  /* static */
    GHashTable *known;       /* uuid → HnHeatKept */
    GHashTable *looks;       /* uuid → *uint64_t: when its last look began */
};

typedef enum { ERRAND_ON, ERRAND_ASK, ERRAND_OFF } ErrandKind;

typedef struct {
    HnHeat *heat;
    guint *n_calls;
    ErrandKind kind;
    char *uuid; /* NULL with ERRAND_OFF */
    int64_t pid;
    uint64_t start_ticks, now_ns;
    GArray *slices; /* ERRAND_ON */
    /* Result. */
    GArray *ranges;
    const char *code;
} Errand;

/* ---- what is known ---- */

static HnHeatKept *kept_new(int64_t pid, uint64_t start_ticks)
{
    HnHeatKept *kept = g_new0(HnHeatKept, 1);
    g_atomic_ref_count_init(&kept->n_refs);
    kept->pid = pid;
    kept->start_ticks = start_ticks;
    return kept;
}

void hn_heat_kept_unref(HnHeatKept *kept)
{
    if (!kept || !g_atomic_ref_count_dec(&kept->n_refs))
        return;
    g_clear_pointer(&kept->ranges, g_array_unref);
    g_free(kept);
}

void hn_heat_kept_lay(const HnHeatKept *kept, uint64_t now_ns, HnDomain *domain)
{
    if (kept->pid != domain->pid || kept->start_ticks != domain->start_ticks)
        return;
    domain->heat.is_on = kept->is_on;
    domain->heat.impediment = g_strdup(kept->impediment);
    if (kept->ranges && kept->told_ns <= now_ns)
        hn_damon_lay(kept->ranges, now_ns - kept->told_ns, domain);
}

/* Replaces what is known of a domain; an answer of before stays, if it is of the same process. */
static void keep(HnHeat *heat, const char *uuid, int64_t pid, uint64_t start_ticks, bool is_on, const char *code,
                 GArray *ranges, uint64_t now_ns)
{
    const HnHeatKept *before = g_hash_table_lookup(heat->known, uuid);
    HnHeatKept *kept = kept_new(pid, start_ticks);
    kept->is_on = is_on;
    kept->impediment = code;
    if (ranges) {
        kept->ranges = g_array_ref(ranges);
        kept->told_ns = now_ns;
    } else if (before && before->ranges && before->pid == pid && before->start_ticks == start_ticks) {
        kept->ranges = g_array_ref(before->ranges);
        kept->told_ns = before->told_ns;
    }
    g_hash_table_replace(heat->known, g_strdup(uuid), kept);
}

GHashTable *hn_heat_known(const HnHeat *heat)
{
    GHashTable *copy = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)hn_heat_kept_unref);
    GHashTableIter iter;
    gpointer uuid, kept;
    g_hash_table_iter_init(&iter, heat->known);
    while (g_hash_table_iter_next(&iter, &uuid, &kept)) {
        g_atomic_ref_count_inc(&((HnHeatKept *)kept)->n_refs);
        g_hash_table_insert(copy, g_strdup(uuid), kept);
    }
    return copy;
}

static void forget_absent(HnHeat *heat, const HnSnapshot *snapshot)
{
    GHashTable *const tables[] = {heat->known, heat->looks};
    for (size_t i = 0; i < G_N_ELEMENTS(tables); i++) {
        GHashTableIter iter;
        gpointer uuid;
        g_hash_table_iter_init(&iter, tables[i]);
        while (g_hash_table_iter_next(&iter, &uuid, NULL))
            if (!hn_snapshot_find(snapshot, uuid))
                g_hash_table_iter_remove(&iter);
    }
}

const char *hn_heat_impediment(const HnHeat *heat)
{
    return heat->impediment;
}

/* ---- whose turn ---- */

static bool has_chunks(const HnDomain *domain)
{
    for (uint32_t i = 0; i < domain->n_regions; i++)
        if (domain->regions[i].n_chunks == 0)
            return false;
    return domain->n_regions > 0;
}

static bool is_candidate(const HnVerdict *verdict, const HnDomain *domain, GHashTable *held)
{
    return verdict && verdict->is_managed && verdict->doubt.wants_hinting && domain->wish.mode == HN_MODE_AUTO &&
           domain->state == HN_STATE_RUNNING && domain->job == HN_JOB_NONE && domain->pid > 0 &&
           domain->touches.n_touches == 0 && has_chunks(domain) && !g_hash_table_contains(held, domain->uuid);
}

int hn_heat_choose(const HnPlan *plan, const HnSnapshot *snapshot, GHashTable *held, const char *current,
                   uint64_t look_ns, GHashTable *looks)
{
    int chosen = -1, present = -1;
    uint64_t oldest_ns = UINT64_MAX;

    for (guint i = 0; i < snapshot->domains->len; i++) {
        const HnDomain *domain = g_ptr_array_index(snapshot->domains, i);
        const uint64_t *last_ns = g_hash_table_lookup(looks, domain->uuid);
        if (!is_candidate(hn_plan_find(plan, domain->uuid), domain, held))
            continue;
        if (g_strcmp0(domain->uuid, current) == 0) {
            present = (int)i;
        } else if (chosen < 0 || (last_ns ? *last_ns : 0) < oldest_ns) {
            chosen = (int)i;
            oldest_ns = last_ns ? *last_ns : 0;
        }
    }
    if (present >= 0 && (chosen < 0 || snapshot->taken_ns < look_ns + LOOK_NS))
        return present;
    return chosen;
}

/* ---- errands ---- */

static void run(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    Errand *errand = data;
    const HnRoot *root = errand->heat->root;
    HnJournal *journal = errand->heat->journal;
    g_autoptr(GError) error = NULL;
    bool is_good = true;

    if (errand->kind == ERRAND_OFF)
        is_good = hn_damon_stop(journal, root, &error);
    if (errand->kind == ERRAND_ON)
        is_good = hn_damon_start(journal, root, errand->pid, errand->slices, &errand->code, &error);
    if (is_good && errand->kind != ERRAND_OFF)
        is_good = (errand->ranges = hn_damon_ask(root, &error)) != NULL;
    if (is_good)
        g_task_return_boolean(task, TRUE);
    else
        g_task_return_new_error(task, HN_JOURNAL_ERROR, HN_JOURNAL_ERROR_IO, "%s",
                                error ? error->message : hn_damon_sentence(errand->code));
}

static void errand_free(gpointer data)
{
    Errand *errand = data;
    g_free(errand->uuid);
    g_clear_pointer(&errand->slices, g_array_unref);
    g_clear_pointer(&errand->ranges, g_array_unref);
    g_free(errand);
}

static void done(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Errand *errand = g_task_get_task_data(G_TASK(result));
    HnHeat *heat = errand->heat;
    g_autoptr(GError) error = NULL;
    bool is_good = g_task_propagate_boolean(G_TASK(result), &error);

    (*errand->n_calls)--;
    heat->is_busy = false;
    if (errand->kind == ERRAND_OFF) {
        /* The journal keeps it: tried again after the next round, at the end, and by the next start. */
        if (!is_good && !heat->has_complained)
            hn_log(LOG_WARNING, NULL, "DAMON could not be switched off: %s", error->message);
        heat->has_complained = !is_good;
        return;
    }
    if (errand->code) {
        if (heat->impediment != errand->code)
            hn_log(LOG_INFO, NULL, "DAMON does not watch (%s): %s", errand->code, error->message);
        heat->impediment = errand->code;
        heat->retry_ns = errand->now_ns + RETRY_NS;
    } else if (errand->kind == ERRAND_ON) {
        heat->impediment = NULL;
    }
    /* Switched on, but no answer: its process has ended, or somebody else has switched it off. The next errand puts
     * the rest back. */
    if (is_good) {
        heat->pid = errand->pid;
        heat->start_ticks = errand->start_ticks;
    } else {
        g_clear_pointer(&heat->current, g_free);
    }
    keep(heat, errand->uuid, errand->pid, errand->start_ticks, is_good, errand->code, errand->ranges,
         errand->now_ns);
}

static void send_errand(HnHeat *heat, ErrandKind kind, const HnDomain *domain, uint64_t now_ns, guint *n_calls)
{
    Errand *errand = g_new0(Errand, 1);
    *errand = (Errand){.heat = heat, .n_calls = n_calls, .kind = kind, .now_ns = now_ns};
    if (domain) {
        errand->uuid = g_strdup(domain->uuid);
        errand->pid = domain->pid;
        errand->start_ticks = domain->start_ticks;
    }
    if (kind == ERRAND_ON)
        errand->slices = hn_damon_slices(domain->regions, domain->n_regions, HN_DAMON_SLICES);
    heat->is_busy = true;
    (*n_calls)++;
    g_autoptr(GTask) task = g_task_new(NULL, NULL, done, NULL);
    g_task_set_task_data(task, errand, errand_free);
    g_task_run_in_thread(task, run);
}

bool hn_heat_is_on(const HnHeat *heat)
{
    g_autofree char *original = NULL, *set = NULL;
    return hn_journal_lookup_sysctl(heat->journal, HN_DAMON_ADMIN "/nr_kdamonds", &original, &set);
}

void hn_heat_want(HnHeat *heat, const HnPlan *plan, const HnSnapshot *snapshot, GHashTable *held, bool is_allowed,
                  guint *n_calls)
{
    forget_absent(heat, snapshot);
    if (heat->is_busy || heat->is_dry_run)
        return;
    int chosen = is_allowed ? hn_heat_choose(plan, snapshot, held, heat->current, heat->look_ns, heat->looks) : -1;
    const HnDomain *domain = chosen < 0 ? NULL : g_ptr_array_index(snapshot->domains, (guint)chosen);
    bool is_same = domain && g_strcmp0(domain->uuid, heat->current) == 0 && domain->pid == heat->pid &&
                   domain->start_ticks == heat->start_ticks;

    if (is_same) {
        send_errand(heat, ERRAND_ASK, domain, snapshot->taken_ns, n_calls);
    } else if (heat->current || hn_heat_is_on(heat)) {
        const HnHeatKept *kept = heat->current ? g_hash_table_lookup(heat->known, heat->current) : NULL;
        if (kept)
            keep(heat, heat->current, kept->pid, kept->start_ticks, false, NULL, NULL, 0);
        g_clear_pointer(&heat->current, g_free);
        send_errand(heat, ERRAND_OFF, NULL, snapshot->taken_ns, n_calls);
    } else if (domain && snapshot->taken_ns >= heat->retry_ns) {
        heat->current = g_strdup(domain->uuid);
        heat->look_ns = snapshot->taken_ns;
        g_hash_table_replace(heat->looks, g_strdup(domain->uuid),
                             g_memdup2(&snapshot->taken_ns, sizeof snapshot->taken_ns));
        send_errand(heat, ERRAND_ON, domain, snapshot->taken_ns, n_calls);
    }
}

/* ---- life ---- */

HnHeat *hn_heat_new(HnJournal *journal, const HnRoot *root, bool is_dry_run)
{
    HnHeat *heat = g_new0(HnHeat, 1);
    g_autoptr(GError) error = NULL;
    heat->journal = journal;
    heat->root = root;
    heat->is_dry_run = is_dry_run;
    heat->known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)hn_heat_kept_unref);
    heat->looks = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    if (!is_dry_run && !hn_damon_stop(journal, root, &error))
        hn_log(LOG_WARNING, NULL, "DAMON, left on by an earlier run, could not be switched off: %s", error->message);
    return heat;
}

void hn_heat_free(HnHeat *heat)
{
    if (!heat)
        return;
    g_free(heat->current);
    g_hash_table_unref(heat->known);
    g_hash_table_unref(heat->looks);
    g_free(heat);
}

void hn_heat_reset(HnHeat *heat)
{
    heat->retry_ns = 0;
    heat->impediment = NULL;
}

bool hn_heat_end(HnHeat *heat, GError **error)
{
    if (heat->is_dry_run)
        return true;
    g_clear_pointer(&heat->current, g_free);
    return hn_damon_stop(heat->journal, heat->root, error);
}
