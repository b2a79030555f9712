/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DAMON on and off: see damon_switch.h.
 */
#include "damon_switch.h"

#include <string.h>

#define NR_KDAMONDS HN_DAMON_ADMIN "/nr_kdamonds"
#define STATE HN_DAMON_KDAMOND "/state"
#define TARGET HN_DAMON_CONTEXT "/targets/0"
#define PID_TARGET TARGET "/pid_target"
#define MAX_VALUE_BYTES 4096

static char *value_of(const HnRoot *root, const char *path)
{
    char *text = NULL;
    return hn_root_read(root, path, MAX_VALUE_BYTES, &text, NULL, NULL) ? g_strstrip(text) : NULL;
}

/* ---- off ---- */

/* Is what is set up now what we set up? While no process was named, only if nothing runs. */
static bool is_ours(HnJournal *journal, const HnRoot *root)
{
    g_autofree char *original = NULL, *pid = NULL;
    g_autofree char *n_kdamonds = value_of(root, NR_KDAMONDS), *state = value_of(root, STATE);
    g_autofree char *target = value_of(root, PID_TARGET);

    if (g_strcmp0(n_kdamonds, "1") != 0)
        return false;
    if (hn_journal_lookup_sysctl(journal, PID_TARGET, &original, &pid) && g_strcmp0(target, pid) == 0)
        return true;
    return g_strcmp0(state, "off") == 0 && (!target || strcmp(target, "0") == 0);
}

bool hn_damon_stop(HnJournal *journal, const HnRoot *root, GError **error)
{
    /* In the order in which the kernel lets go: a kdamond that runs keeps the rest. */
    static const char *const paths[] = {STATE, PID_TARGET, NR_KDAMONDS};
    g_autofree char *original = NULL, *set = NULL;

    if (!hn_journal_lookup_sysctl(journal, NR_KDAMONDS, &original, &set))
        return true;
    bool is_left = !is_ours(journal, root);
    /* A kdamond whose process ends just now refuses to be stopped; then its state says so at the second look. */
    if (!is_left)
        hn_journal_restore_sysctl(journal, root, STATE, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(paths); i++)
        if (!(is_left ? hn_journal_forget_sysctl(journal, paths[i], error)
                      : hn_journal_restore_sysctl(journal, root, paths[i], error)))
            return false;
    return true;
}

/* ---- on ---- */

static bool put(const HnRoot *root, const char *path, const char *value, GError **error)
{
    return hn_root_write(root, path, value, error);
}

static bool put_number(const HnRoot *root, const char *path, uint64_t value, GError **error)
{
    g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, value);
    return hn_root_write(root, path, text, error);
}

static bool set_intervals(const HnRoot *root, GError **error)
{
    return put_number(root, HN_DAMON_CONTEXT "/monitoring_attrs/intervals/sample_us", HN_DAMON_SAMPLE_US, error) &&
           put_number(root, HN_DAMON_CONTEXT "/monitoring_attrs/intervals/aggr_us", HN_DAMON_AGGREGATE_US, error) &&
           /* The kernel wants max first: it refuses min above it. */
           put_number(root, HN_DAMON_CONTEXT "/monitoring_attrs/nr_regions/max", HN_DAMON_MAX_REGIONS, error) &&
           put_number(root, HN_DAMON_CONTEXT "/monitoring_attrs/nr_regions/min", HN_DAMON_MIN_REGIONS, error);
}

static bool set_target(HnJournal *journal, const HnRoot *root, int64_t pid, const GArray *slices, GError **error)
{
    g_autofree char *pid_text = g_strdup_printf("%" G_GINT64_FORMAT, pid);

    if (!put(root, HN_DAMON_CONTEXT "/targets/nr_targets", "1", error) ||
        !hn_journal_set_sysctl(journal, root, PID_TARGET, pid_text, error) ||
        !put_number(root, TARGET "/regions/nr_regions", slices->len, error))
        return false;
    for (guint i = 0; i < slices->len; i++) {
        const HnDamonRange *slice = &g_array_index(slices, HnDamonRange, i);
        g_autofree char *start = g_strdup_printf(TARGET "/regions/%u/start", i);
        g_autofree char *end = g_strdup_printf(TARGET "/regions/%u/end", i);
        if (!put_number(root, start, slice->start, error) || !put_number(root, end, slice->end, error))
            return false;
    }
    return true;
}

/* A scheme that does nothing with everything: what it matches can be read. */
static bool set_scheme(const HnRoot *root, GError **error)
{
    static const char *const names[] = {"sz", "nr_accesses", "age"};

    if (!put(root, HN_DAMON_CONTEXT "/schemes/nr_schemes", "1", error) ||
        !put(root, HN_DAMON_SCHEME "/action", "stat", error))
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *max = g_strdup_printf(HN_DAMON_SCHEME "/access_pattern/%s/max", names[i]);
        /* Counts are 32 bits in the kernel, lengths an unsigned long. */
        if (!put_number(root, max, i == 0 ? UINT64_MAX : UINT32_MAX, error))
            return false;
    }
    return true;
}

static bool has_fvaddr(const HnRoot *root)
{
    g_autofree char *text = value_of(root, HN_DAMON_CONTEXT "/avail_operations");
    g_auto(GStrv) words = text ? g_strsplit_set(text, " \n", -1) : NULL;
    return words && g_strv_contains((const char *const *)words, "fvaddr");
}

static bool set_up(HnJournal *journal, const HnRoot *root, int64_t pid, const GArray *slices, const char **ret_code,
                   GError **error)
{
    if (!hn_journal_set_sysctl(journal, root, NR_KDAMONDS, "1", error) ||
        !put(root, HN_DAMON_KDAMOND "/contexts/nr_contexts", "1", error))
        return false;
    if (!has_fvaddr(root)) {
        *ret_code = HN_DAMON_NO_FVADDR;
        return false;
    }
    if (!put(root, HN_DAMON_CONTEXT "/operations", "fvaddr", error) || !set_intervals(root, error) ||
        !set_target(journal, root, pid, slices, error) || !set_scheme(root, error))
        return false;
    if (!hn_root_exists(root, HN_DAMON_SCHEME "/tried_regions")) {
        *ret_code = HN_DAMON_NONE;
        return false;
    }
    if (hn_journal_set_sysctl(journal, root, STATE, "on", error))
        return true;
    /* An exclusive user that has no switch in sysfs, or one that was quicker: EBUSY. */
    if (error && g_error_matches(*error, G_FILE_ERROR, G_FILE_ERROR_FAILED))
        *ret_code = HN_DAMON_EXCLUSIVE;
    return false;
}

bool hn_damon_start(HnJournal *journal, const HnRoot *root, int64_t pid, const GArray *slices, const char **ret_code,
                    GError **error)
{
    g_autoptr(GError) problem = NULL;
    const char *code = hn_damon_check(root, false);

    if (!code && set_up(journal, root, pid, slices, &code, &problem))
        return true;
    /* What was begun is put back; if that fails too, the journal keeps it for later. */
    hn_damon_stop(journal, root, NULL);
    if (!code && problem &&
        (g_error_matches(problem, G_FILE_ERROR, G_FILE_ERROR_ACCES) ||
         g_error_matches(problem, G_FILE_ERROR, G_FILE_ERROR_PERM) ||
         g_error_matches(problem, G_FILE_ERROR, G_FILE_ERROR_ROFS)))
        code = HN_DAMON_DENIED;
    *ret_code = code ? code : HN_DAMON_REFUSED;
    if (problem)
        g_propagate_error(error, g_steal_pointer(&problem));
    return false;
}

GArray *hn_damon_ask(const HnRoot *root, GError **error)
{
    if (!hn_root_write(root, STATE, "update_schemes_tried_regions", error))
        return NULL;
    return hn_damon_ranges_read(root, error);
}
