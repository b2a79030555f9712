/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The plan as a container. What goes into it is decided in decide.c, its order in plan_order.c.
 */
#include <homenode/plan.h>

#include <string.h>

static void verdict_free(gpointer data)
{
    HnVerdict *verdict = data;

    if (!verdict)
        return;
    g_free(verdict->name);
    g_free(verdict->sentence);
    g_free(verdict->clients);
    for (uint32_t i = 0; i < verdict->n_chunk_maps; i++)
        g_free(verdict->chunk_maps[i].client);
    g_free(verdict->chunk_maps);
    g_free(verdict);
}

HnPlan *hn_plan_new(void)
{
    HnPlan *plan = g_new0(HnPlan, 1);

    plan->verdicts = g_ptr_array_new_with_free_func(verdict_free);
    plan->actions = g_array_new(FALSE, TRUE, sizeof(HnAction));
    plan->departures = g_ptr_array_new_with_free_func(g_free);
    return plan;
}

void hn_plan_free(HnPlan *plan)
{
    if (!plan)
        return;
    g_ptr_array_unref(plan->verdicts);
    g_array_unref(plan->actions);
    g_ptr_array_unref(plan->departures);
    g_free(plan->summary);
    g_free(plan);
}

HnVerdict *hn_plan_find(const HnPlan *plan, const char *uuid_or_name)
{
    HnVerdict *by_name = NULL;

    for (guint i = 0; i < plan->verdicts->len; i++) {
        HnVerdict *verdict = g_ptr_array_index(plan->verdicts, i);
        if (strcmp(verdict->uuid, uuid_or_name) == 0)
            return verdict;
        if (!by_name && verdict->name && strcmp(verdict->name, uuid_or_name) == 0)
            by_name = verdict;
    }
    return by_name;
}

const char *hn_action_kind_name(HnActionKind kind)
{
    static const char *const names[] = {"unfence", "pin", "move-memory", "fence"};

    return (unsigned)kind < G_N_ELEMENTS(names) ? names[kind] : "?";
}
