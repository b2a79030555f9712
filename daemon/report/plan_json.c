/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A plan as JSON: see plan_json.h.
 */
#include "plan_json.h"
#include "fields.h"

json_object *hn_cost_to_json(const HnCost *cost)
{
    json_object *object = json_object_new_object();
    hn_put_i64(object, "remote-ns-per-sec", cost->remote_ns_per_sec);
    hn_put_i64(object, "cpu-ns-per-sec", cost->cpu_ns_per_sec);
    hn_put_i64(object, "bandwidth-ns-per-sec", cost->bandwidth_ns_per_sec);
    hn_put_i64(object, "moving-ns-per-sec", cost->moving_ns_per_sec);
    hn_put_i64(object, "company-ns-per-sec", cost->company_ns_per_sec);
    hn_put_i64(object, "total-ns-per-sec", cost->total_ns_per_sec);
    return object;
}

static void put_node_id(json_object *object, const char *name, const HnHost *host, int32_t index)
{
    if (index < 0 || (uint32_t)index >= host->n_nodes)
        hn_put(object, name, NULL);
    else
        hn_put_i64(object, name, host->nodes[index].id);
}

static void put_node_ids(json_object *object, const char *name, const HnHost *host, HnNodemask mask)
{
    json_object *array = json_object_new_array();
    for (uint32_t i = 0; i < host->n_nodes; i++)
        if (mask >> i & 1)
            json_object_array_add(array, json_object_new_int64(host->nodes[i].id));
    hn_put(object, name, array);
}

json_object *hn_document_new(void)
{
    json_object *object = json_object_new_object();
    hn_put_u64(object, "schema", HN_SCHEMA_VERSION);
    return object;
}

char *hn_node_ids(const HnHost *host, HnNodemask mask)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (uint32_t i = 0; i < host->n_nodes; i++)
        if (mask >> i & 1)
            g_string_append_printf(text, "%s%d", text->len ? "," : "", host->nodes[i].id);
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static char *homes(const HnVerdict *verdict, const HnHost *host, bool is_wanted)
{
    HnNodemask seen = 0;
    for (uint32_t i = 0; i < verdict->n_clients; i++) {
        int32_t home = is_wanted ? verdict->clients[i].home_wanted : verdict->clients[i].home_now;
        if (home >= 0 && (uint32_t)home < host->n_nodes)
            seen |= (HnNodemask)1 << home;
    }
    return seen ? hn_node_ids(host, seen) : NULL;
}

char *hn_verdict_home(const HnVerdict *verdict, const HnHost *host)
{
    return homes(verdict, host, false);
}

char *hn_verdict_wanted_home(const HnVerdict *verdict, const HnHost *host)
{
    return homes(verdict, host, true);
}

void hn_verdict_put_prospect(json_object *object, const HnVerdict *verdict)
{
    hn_put_string(object, "reason", hn_reason_name(verdict->reason));
    hn_put_string(object, "sentence", verdict->sentence);
    hn_put_u64(object, "score-after", verdict->score_after);
    hn_put_u64(object, "bytes-to-move", verdict->bytes_to_move);
    hn_put_u64(object, "move-ms", verdict->move_ms);
    hn_put_u64_or_null(object, "payback-ms", verdict->payback_ms);
    hn_put(object, "cost-now", hn_cost_to_json(&verdict->cost_now));
    hn_put(object, "cost-after", hn_cost_to_json(&verdict->cost_after));
}

json_object *hn_verdict_to_json(const HnVerdict *verdict, const HnHost *host)
{
    json_object *object = json_object_new_object();
    hn_put_string(object, "uuid", verdict->uuid);
    hn_put_string(object, "name", verdict->name);
    hn_put_bool(object, "is-managed", verdict->is_managed);
    hn_put_bool(object, "will-act", verdict->will_act);
    hn_put_bool(object, "is-wide", verdict->is_wide);
    hn_put_u64(object, "score-now", verdict->score_now);
    hn_verdict_put_prospect(object, verdict);
    hn_put_u64(object, "bytes-local-permille", verdict->bytes_local_permille);
    hn_put_u64_or_null(object, "accesses-local-permille",
                       verdict->has_accesses_local ? verdict->accesses_local_permille : UINT64_MAX);
    hn_put_u64(object, "bytes-local-age-ms", verdict->bytes_local_age_ns / 1000000);
    hn_put_u64(object, "bytes-local-error-permille", verdict->bytes_local_error_permille);
    hn_put_u64_or_null(object, "accesses-local-age-ms",
                       verdict->has_accesses_local ? verdict->accesses_local_age_ns / 1000000
                                                   : UINT64_MAX);
    hn_put_u64_or_null(object, "accesses-local-error-permille",
                       verdict->has_accesses_local ? verdict->accesses_local_error_permille
                                                   : UINT64_MAX);
    hn_put_string(object, "doubt", hn_doubt_state_name(verdict->doubt.state));
    json_object *clients = json_object_new_array();
    for (uint32_t i = 0; i < verdict->n_clients; i++) {
        const HnClientVerdict *client = &verdict->clients[i];
        json_object *row = json_object_new_object();
        hn_put_cpuset(row, "vcpus", &client->vcpus);
        hn_put_i64(row, "guest-cell", client->guest_cell);
        put_node_id(row, "home-now", host, client->home_now);
        put_node_id(row, "home-wanted", host, client->home_wanted);
        hn_put_u64(row, "demand-mcpu", client->demand_mcpu);
        hn_put_u64(row, "bytes-to-move", client->bytes_to_move);
        json_object_array_add(clients, row);
    }
    hn_put(object, "clients", clients);
    return object;
}

json_object *hn_action_to_json(const HnAction *action, const HnPlan *plan, const HnHost *host)
{
    const HnVerdict *verdict = hn_plan_find(plan, action->uuid);
    json_object *object = json_object_new_object();
    hn_put_u64(object, "step", action->step);
    hn_put_string(object, "kind", hn_action_kind_name(action->kind));
    hn_put_string(object, "uuid", action->uuid);
    hn_put_string(object, "name", verdict ? verdict->name : NULL);
    hn_put_u64(object, "client", action->client);
    put_node_ids(object, "from-nodes", host, action->from_nodes);
    put_node_ids(object, "to-nodes", host, action->to_nodes);
    hn_put_u64(object, "bytes", action->bytes);
    hn_put_bool(object, "is-spread", action->is_spread);
    hn_put_bool(object, "hottest-first", action->hottest_first);
    hn_put_string(object, "reason", hn_reason_name(action->reason));
    return object;
}

void hn_plan_put_summary(json_object *object, const HnPlan *plan)
{
    hn_put_u64(object, "generation", plan->generation);
    hn_put_string(object, "summary", plan->summary);
    hn_put_u64(object, "score-now", plan->score_now);
    hn_put_u64(object, "score-after", plan->score_after);
    hn_put_bool(object, "is-overfull", plan->is_overfull);
    hn_put_u64(object, "kept-out-domains", plan->n_kept_out);
    hn_put_u64(object, "cpu-load-permille", plan->cpu_load_permille);
    json_object *departures = json_object_new_array();
    for (guint i = 0; i < plan->departures->len; i++) {
        const HnVerdict *verdict = hn_plan_find(plan, g_ptr_array_index(plan->departures, i));
        json_object *row = json_object_new_object();
        hn_put_string(row, "uuid", g_ptr_array_index(plan->departures, i));
        hn_put_string(row, "name", verdict ? verdict->name : NULL);
        json_object_array_add(departures, row);
    }
    hn_put(object, "departures", departures);
}

json_object *hn_plan_to_json(const HnPlan *plan, const HnHost *host)
{
    json_object *object = hn_document_new();
    hn_put_u64(object, "made-ns", plan->made_ns);
    hn_plan_put_summary(object, plan);
    json_object *verdicts = json_object_new_array();
    for (guint i = 0; i < plan->verdicts->len; i++)
        json_object_array_add(verdicts,
                              hn_verdict_to_json(g_ptr_array_index(plan->verdicts, i), host));
    hn_put(object, "verdicts", verdicts);
    json_object *actions = json_object_new_array();
    for (guint i = 0; i < plan->actions->len; i++)
        json_object_array_add(
            actions, hn_action_to_json(&g_array_index(plan->actions, HnAction, i), plan, host));
    hn_put(object, "actions", actions);
    hn_put(object, "cost-now", hn_cost_to_json(&plan->cost_now));
    hn_put(object, "cost-after", hn_cost_to_json(&plan->cost_after));
    return object;
}
