/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sentence over a whole plan: what it does, what it is worth, and what the host lacks.
 */
#include "sentence.h"

#include "phrase.h"

/* What the host lacks, in its own numbers, and who would have to go. That guests wait for CPUs on
 * an overcommitted host is what one bargained for: no word of it up to threefold. */
static void append_lack(GString *text, const HnPlan *plan)
{
    if (!plan->is_overfull)
        return;
    if (plan->n_kept_out > 0)
        g_string_append_printf(text, " Memory keeps %u guest%s from a better node",
                               plan->n_kept_out, plan->n_kept_out > 1 ? "s" : "");
    else
        g_string_append_printf(text, " The guests want %u.%u times the CPUs of this host",
                               plan->cpu_load_permille / 1000,
                               plan->cpu_load_permille % 1000 / 100);
    if (plan->departures->len == 0)
        g_string_append(text, ", and no single one's leaving would change that");
    for (guint i = 0; i < plan->departures->len; i++) {
        const HnVerdict *v = hn_plan_find(plan, g_ptr_array_index(plan->departures, i));
        g_string_append(text, i == 0                           ? "; it would help most if "
                              : i + 1 == plan->departures->len ? " or "
                                                               : ", ");
        g_string_append(text, v && v->name ? v->name : g_ptr_array_index(plan->departures, i));
    }
    g_string_append(text, plan->departures->len > 0 ? " left." : ".");
}

char *hn_sentence_plan(const HnRound *round, const HnPlan *plan, uint32_t n_managed,
                       uint32_t n_acting)
{
    GString *text = g_string_new(NULL);
    uint64_t bytes = 0;

    for (guint i = 0; i < plan->verdicts->len; i++) {
        const HnVerdict *v = g_ptr_array_index(plan->verdicts, i);
        bytes += v->will_act ? v->bytes_to_move : 0;
    }
    if (round->snapshot->host->n_nodes == 1) {
        g_string_append(text, "One node: nothing to place.");
    } else if (n_acting == 0) {
        g_string_append_printf(text, "Nothing to do for %u managed of %u domains; score %u.",
                               n_managed, round->n_domains, plan->score_now);
    } else {
        g_string_append_printf(text, "%u of %u managed domains get a home or their memory back, ",
                               n_acting, n_managed);
        hn_phrase_bytes(text, bytes);
        g_string_append_printf(text, " to move; score %u to %u.", plan->score_now,
                               plan->score_after);
    }
    append_lack(text, plan);
    return g_string_free(text, FALSE);
}
