/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One recorded round as JSON and back: see round_json.h.
 */
#include "round_json.h"
#include "fields.h"
#include "snapshot_json.h"

#include <string.h>

#define MAX_FORCES 4096
#define MAX_OUTCOMES 65536
#define MAX_IN_FLIGHT 65536

/* Members of HnPolicy by name: one list for both directions. */
#define POLICY_U32(X)                                                                              \
    X(min_gain_permille, "min-gain-permille")                                                      \
    X(confirm_rounds, "confirm-rounds")                                                            \
    X(thrash_moves_per_hour, "thrash-moves-per-hour")                                              \
    X(kappa_permille, "kappa-permille")                                                            \
    X(memory_bound_permille, "memory-bound-permille")                                              \
    X(smt_yield_permille, "smt-yield-permille")                                                    \
    X(reserve_permille, "reserve-permille")                                                        \
    X(converged_permille, "converged-permille")                                                    \
    X(doubt_rounds, "doubt-rounds")
#define POLICY_U64(X)                                                                              \
    X(cooldown_ns, "cooldown-ns")                                                                  \
    X(payback_horizon_ns, "payback-horizon-ns")                                                    \
    X(move_bytes_per_sec, "move-bytes-per-sec")                                                    \
    X(reserve_min_bytes, "reserve-min-bytes")                                                      \
    X(headroom_bytes, "headroom-bytes")                                                            \
    X(boot_window_ns, "boot-window-ns")                                                            \
    X(demand_halflife_ns, "demand-halflife-ns")                                                    \
    X(recheck_min_ns, "recheck-min-ns")                                                            \
    X(recheck_ceiling_ns, "recheck-ceiling-ns")

HnRoundRecord *hn_round_record_new(void)
{
    HnRoundRecord *record = g_new0(HnRoundRecord, 1);
    hn_policy_init(&record->policy);
    record->past = g_strdup("");
    record->forces = g_array_new(FALSE, TRUE, sizeof(HnForce));
    record->outcomes = g_array_new(FALSE, TRUE, sizeof(HnOutcome));
    record->in_flight = g_new0(char *, 1);
    return record;
}

void hn_round_record_free(HnRoundRecord *record)
{
    if (!record)
        return;
    g_free(record->past);
    g_array_unref(record->forces);
    g_array_unref(record->outcomes);
    g_strfreev(record->in_flight);
    hn_snapshot_free(record->snapshot);
    json_object_put(record->plan);
    g_free(record);
}

json_object *hn_policy_to_json(const HnPolicy *policy)
{
    json_object *object = json_object_new_object();
#define X(member, name) hn_put_u64(object, name, policy->member);
    POLICY_U32(X)
    POLICY_U64(X)
#undef X
    hn_put_bool(object, "fence-when-converged", policy->fence_when_converged);
    return object;
}

static void read_policy(HnFieldReader *reader, json_object *object, HnPolicy *policy)
{
#define X(member, name)                                                                            \
    policy->member = (uint32_t)hn_opt_u64(reader, object, name, UINT32_MAX, policy->member);
    POLICY_U32(X)
#undef X
#define X(member, name)                                                                            \
    policy->member = hn_opt_u64(reader, object, name, UINT64_MAX, policy->member);
    POLICY_U64(X)
#undef X
    policy->fence_when_converged =
        hn_opt_bool(reader, object, "fence-when-converged", policy->fence_when_converged);
}

static json_object *force_to_json(const HnForce *force)
{
    json_object *object = json_object_new_object();
    hn_put_string(object, "uuid", force->uuid);
    hn_put_i64(object, "node", force->node);
    return object;
}

static json_object *outcome_to_json(const HnOutcome *outcome)
{
    json_object *object = json_object_new_object();
    hn_put_string(object, "uuid", outcome->uuid);
    hn_put_u64(object, "generation", outcome->generation);
    hn_put_string(object, "kind", hn_action_kind_name(outcome->kind));
    hn_put_u64(object, "client", outcome->client);
    hn_put_string(object, "reason", hn_reason_name(outcome->reason));
    hn_put_u64(object, "bytes-moved", outcome->bytes_moved);
    hn_put_u64(object, "bytes-left", outcome->bytes_left);
    hn_put_i64(object, "to-node", outcome->to_node);
    return object;
}

json_object *hn_round_record_to_json(const HnRoundRecord *record)
{
    json_object *object = json_object_new_object();
    hn_put_string(object, "format", HN_ROUND_FORMAT);
    hn_put_u64(object, "version", HN_ROUND_VERSION);
    hn_put_string(object, "homenode", HN_VERSION);
    hn_put(object, "policy", hn_policy_to_json(&record->policy));
    hn_put_string(object, "past", record->past);
    json_object *forces = json_object_new_array();
    for (guint i = 0; i < record->forces->len; i++)
        json_object_array_add(forces, force_to_json(&g_array_index(record->forces, HnForce, i)));
    hn_put(object, "forces", forces);
    json_object *outcomes = json_object_new_array();
    for (guint i = 0; i < record->outcomes->len; i++)
        json_object_array_add(outcomes,
                              outcome_to_json(&g_array_index(record->outcomes, HnOutcome, i)));
    hn_put(object, "outcomes", outcomes);
    json_object *in_flight = json_object_new_array();
    for (guint i = 0; record->in_flight[i]; i++)
        json_object_array_add(in_flight, json_object_new_string(record->in_flight[i]));
    hn_put(object, "in-flight", in_flight);
    hn_put(object, "snapshot", hn_snapshot_to_json(record->snapshot));
    if (record->plan)
        hn_put(object, "plan", json_object_get(record->plan));
    return object;
}

static void read_uuid(HnFieldReader *reader, json_object *object, char *ret_uuid,
                      bool is_empty_allowed)
{
    const char *uuid = hn_get_string(reader, object, "uuid");
    if (!reader->error && strlen(uuid) != HN_UUID_LEN && !(is_empty_allowed && !*uuid))
        hn_field_fail(reader, HN_FIELD_ERROR_RANGE,
                      "member 'uuid' is '%s', it must have %d characters", uuid, HN_UUID_LEN);
    g_strlcpy(ret_uuid, uuid, HN_UUID_LEN + 1);
}

static void read_force(HnFieldReader *reader, json_object *object, GArray *forces)
{
    HnForce force = {0};
    read_uuid(reader, object, force.uuid, true);
    force.node = (int32_t)hn_get_i64(reader, object, "node", HN_NODE_NONE, HN_MAX_NODES - 1);
    g_array_append_val(forces, force);
}

static void read_outcome(HnFieldReader *reader, json_object *object, GArray *outcomes)
{
    static const char *kinds[HN_ACTION_FENCE + 1];
    HnOutcome outcome = {0};

    for (HnActionKind kind = 0; kind <= HN_ACTION_FENCE; kind++)
        kinds[kind] = hn_action_kind_name(kind);
    read_uuid(reader, object, outcome.uuid, false);
    outcome.generation = hn_get_u64(reader, object, "generation", UINT64_MAX);
    outcome.kind = hn_get_enum(reader, object, "kind", kinds, G_N_ELEMENTS(kinds));
    outcome.client = (uint32_t)hn_opt_u64(reader, object, "client", UINT32_MAX, 0);
    const char *reason = hn_get_string(reader, object, "reason");
    if (!reader->error && !hn_reason_from_name(reason, &outcome.reason))
        hn_field_fail(reader, HN_FIELD_ERROR_RANGE,
                      "member 'reason' is '%s', which is no reason code", reason);
    outcome.bytes_moved = hn_opt_u64(reader, object, "bytes-moved", UINT64_MAX, 0);
    outcome.bytes_left = hn_opt_u64(reader, object, "bytes-left", UINT64_MAX, 0);
    outcome.to_node =
        (int32_t)hn_get_i64(reader, object, "to-node", HN_NODE_NONE, HN_MAX_NODES - 1);
    g_array_append_val(outcomes, outcome);
}

static void read_lists(HnFieldReader *reader, json_object *root, HnRoundRecord *record)
{
    size_t n;
    json_object *array = hn_opt_array(reader, root, "forces", MAX_FORCES, &n);
    for (size_t i = 0; !reader->error && i < n; i++) {
        size_t mark = hn_field_enter(reader, "forces", (int64_t)i);
        read_force(reader, json_object_array_get_idx(array, i), record->forces);
        hn_field_leave(reader, mark);
    }
    array = hn_opt_array(reader, root, "outcomes", MAX_OUTCOMES, &n);
    for (size_t i = 0; !reader->error && i < n; i++) {
        size_t mark = hn_field_enter(reader, "outcomes", (int64_t)i);
        read_outcome(reader, json_object_array_get_idx(array, i), record->outcomes);
        hn_field_leave(reader, mark);
    }
    array = hn_opt_array(reader, root, "in-flight", MAX_IN_FLIGHT, &n);
    g_autoptr(GPtrArray) uuids = g_ptr_array_new();
    for (size_t i = 0; i < n; i++) {
        json_object *uuid = json_object_array_get_idx(array, i);
        if (!json_object_is_type(uuid, json_type_string)) {
            hn_field_fail(reader, HN_FIELD_ERROR_TYPE, "member 'in-flight'[%zu] is not a string",
                          i);
            break;
        }
        g_ptr_array_add(uuids, g_strdup(json_object_get_string(uuid)));
    }
    g_ptr_array_add(uuids, NULL);
    g_strfreev(record->in_flight);
    record->in_flight = (char **)g_ptr_array_steal(uuids, NULL);
}

HnRoundRecord *hn_round_record_from_json(json_object *root, GError **error)
{
    g_autoptr(HnRoundRecord) record = hn_round_record_new();
    HnFieldReader reader;

    hn_field_reader_init(&reader, "round");
    const char *format = hn_get_string(&reader, root, "format");
    uint64_t version = hn_get_u64(&reader, root, "version", UINT32_MAX);
    if (!reader.error && (strcmp(format, HN_ROUND_FORMAT) != 0 || version != HN_ROUND_VERSION))
        hn_field_fail(&reader, HN_FIELD_ERROR_RANGE,
                      "is '%s' version %" G_GUINT64_FORMAT ", this program reads '%s' version %d",
                      format, version, HN_ROUND_FORMAT, HN_ROUND_VERSION);
    json_object *policy = hn_get_object(&reader, root, "policy");
    if (policy)
        read_policy(&reader, policy, &record->policy);
    const char *past = hn_opt_string(&reader, root, "past");
    if (past) {
        g_free(record->past);
        record->past = g_strdup(past);
    }
    read_lists(&reader, root, record);
    json_object *snapshot = hn_get_object(&reader, root, "snapshot");
    json_object *plan = NULL;
    if (!reader.error && json_object_object_get_ex(root, "plan", &plan))
        record->plan = json_object_get(plan);
    if (!hn_field_reader_end(&reader, error))
        return NULL;
    if (!hn_policy_validate(&record->policy, error))
        return NULL;
    record->snapshot = hn_snapshot_from_json(snapshot, error);
    return record->snapshot ? g_steal_pointer(&record) : NULL;
}
