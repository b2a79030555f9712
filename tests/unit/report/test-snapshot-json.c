/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Snapshots and rounds as JSON: nothing is lost on the way there and back, and what is wrong is
 * named.
 */
#include "example.h"

#include "report/fields.h"
#include "report/round_json.h"
#include "report/snapshot_json.h"

#include <string.h>

/* The document of a document: if reading lost or bent a member, the second differs. And since every
 * member of the example has a value of its own, one that is never written would have to be equal by
 * default, which the direct comparisons below exclude for those that decide. */
static void test_round_trip(void)
{
    g_autoptr(HnSnapshot) original = example_snapshot();
    json_object *first = hn_snapshot_to_json(original);
    g_autofree char *text = g_strdup(json_object_to_json_string(first));
    json_object *parsed = json_tokener_parse(text);
    g_autoptr(GError) error = NULL;
    g_autoptr(HnSnapshot) copy = hn_snapshot_from_json(parsed, &error);
    g_assert_no_error(error);
    json_object *second = hn_snapshot_to_json(copy);
    g_assert_cmpstr(json_object_to_json_string(second), ==, text);

    const HnDomain *a = g_ptr_array_index(original->domains, 0),
                   *b = g_ptr_array_index(copy->domains, 0);
    g_assert_cmpstr(a->name, ==, b->name);
    g_assert_cmpuint(b->n_vcpus, ==, 2);
    g_assert_true(hn_cpuset_equal(&a->vcpus[1].affinity, &b->vcpus[1].affinity));
    g_assert_true(hn_cpuset_equal(&a->vcpus[1].admin_cpus, &b->vcpus[1].admin_cpus));
    g_assert_true(b->vcpus[0].is_admin_pinned && b->workers[0].is_admin_pinned);
    g_assert_cmpuint(b->vcpus[1].faults.shared_pages[1], ==, 509);
    g_assert_cmpuint(b->regions[0].n_chunks, ==, 4);
    g_assert_cmpmem(a->regions[0].chunks, 4 * sizeof(HnChunk), b->regions[0].chunks,
                    4 * sizeof(HnChunk));
    g_assert_cmpuint(b->regions[0].gpa_hole_end, ==, 703);
    g_assert_cmpuint(b->immovable_bytes[1], ==, 808);
    g_assert_cmpuint(b->admin_nodeset, ==, 2);
    g_assert_true(b->is_numatune_admin && b->is_fenced && b->is_bare_qemu);
    g_assert_cmpuint(b->wish.nodeset, ==, 2);
    g_assert_cmpstr(b->wish.anti_group, ==, "web");
    g_assert_cmpstr(b->wish.invalid, ==, "mode='sometimes'");
    g_assert_cmpint(b->job, ==, HN_JOB_MIGRATION);
    g_assert_cmpuint(b->memory_bound_permille, ==, 333);
    g_assert_cmpuint(((HnDomain *)g_ptr_array_index(copy->domains, 1))->dirty_age_ns, ==,
                     UINT64_MAX);
    g_assert_cmpint(copy->host->nodes[1].id, ==, 4);
    g_assert_cmpuint(hn_host_distance(copy->host, 1, 0), ==, 22);
    g_assert_cmpuint(copy->host->nodes[1].huge_pools[0].free_pages, ==, 51);
    json_object_put(first);
    json_object_put(parsed);
    json_object_put(second);
}

/* One replacement in a good document and what the complaint must contain. */
static const struct {
    const char *from, *to, *complaint;
} damages[] = {
    {"\"version\": 1,", "\"version\": 9,", "reads 'homenode-snapshot' version 1"},
    {"\"taken-ns\": 123456789012345", "\"taken-ns\": -1", "snapshot: member 'taken-ns'"},
    {"\"id\": 4,", "\"id\": \"4\",", "snapshot.host.nodes[1]: member 'id' is string"},
    {"\"cpus\": \"2-3\"", "\"cpus\": \"3-2\"", "snapshot.host.nodes[1]: member 'cpus'"},
    {"[ 22, 10 ]", "[ 22, 9 ]", "'distance'[1][1] must be 10 to 254"},
    {"[ 22, 10 ]", "[ 22 ]", "'distance'[1] is not an array of 2"},
    {"\"mode\": \"auto\"", "\"mode\": \"on\"", "allowed are: none, off, advise, auto"},
    {"\"preferred-node\": 1", "\"preferred-node\": 2",
     "vcpus[0].faults: member 'preferred-node' is 2"},
    {"\"private-pages\": [ 506, 507 ]", "\"private-pages\": [ 506 ]", "must have 2"},
    {"\"device-nodes\": [ 0 ]", "\"device-nodes\": [ 2 ]",
     "is not a node index; allowed is 0 to 1"},
    {"\"state\": \"paused\"", "\"status\": \"paused\"", "domains[0]: member 'state' is missing"},
    {"[ 2, 1, 8, 7, 706,", "[ 99999, 1, 8, 7, 706,", "chunks[1]: number 0 must be 1 to"},
    {"\"vcpus\": [ {", "\"vcpus\": [ 7, {", "vcpus[0]: is not an object"},
    {"\"mem-total-bytes\": 8589934592", "\"mem-total-bytes\": 1",
     "free"}, /* sense: more free than there is */
};

static void test_damage(gconstpointer data)
{
    guint i = GPOINTER_TO_UINT(data);
    g_autoptr(HnSnapshot) original = example_snapshot();
    json_object *good = hn_snapshot_to_json(original);
    g_auto(GStrv) parts = g_strsplit(json_object_to_json_string_ext(good, JSON_C_TO_STRING_SPACED),
                                     damages[i].from, 2);
    g_assert_cmpuint(g_strv_length(parts), ==, 2);
    g_autofree char *text = g_strjoinv(damages[i].to, parts);
    json_object *bad = json_tokener_parse(text);
    g_assert_nonnull(bad);
    g_autoptr(GError) error = NULL;
    g_assert_null(hn_snapshot_from_json(bad, &error));
    g_assert_nonnull(error);
    if (!strstr(error->message, damages[i].complaint))
        g_error("'%s' does not contain '%s'", error->message, damages[i].complaint);
    json_object_put(good);
    json_object_put(bad);
}

static void test_unknown_members_are_skipped(void)
{
    g_autoptr(HnSnapshot) original = example_snapshot();
    json_object *document = hn_snapshot_to_json(original);
    json_object_object_add(document, "colour", json_object_new_string("green"));
    g_autoptr(GError) error = NULL;
    g_autoptr(HnSnapshot) copy = hn_snapshot_from_json(document, &error);
    g_assert_no_error(error);
    json_object_put(document);
}

/* A recorded round decides again as it did: replay is what the record is for. */
static void test_replay(void)
{
    g_autoptr(HnRoundRecord) record = hn_round_record_new();
    record->snapshot = example_snapshot();
    /* The example's complaint about the wish would leave it alone: let it be decided upon. */
    HnDomain *domain = g_ptr_array_index(record->snapshot->domains, 0);
    g_clear_pointer(&domain->wish.invalid, g_free);
    domain->state = HN_STATE_RUNNING;
    record->policy.min_gain_permille = 17;
    HnForce force = {.node = 1};
    g_strlcpy(force.uuid, EXAMPLE_UUID_A, sizeof force.uuid);
    g_array_append_val(record->forces, force);
    HnOutcome outcome = {.generation = 5,
                         .kind = HN_ACTION_PIN,
                         .reason = HN_REASON_LIBVIRT_BUSY,
                         .bytes_left = 9,
                         .to_node = HN_NODE_NONE};
    g_strlcpy(outcome.uuid, EXAMPLE_UUID_B, sizeof outcome.uuid);
    g_array_append_val(record->outcomes, outcome);
    g_strfreev(record->in_flight);
    record->in_flight = g_strsplit(EXAMPLE_UUID_B, ",", 0);
    g_autoptr(HnPast) past = hn_past_new();
    g_free(record->past);
    record->past = hn_past_format(past);

    json_object *document = hn_round_record_to_json(record);
    g_autoptr(GError) error = NULL;
    g_autoptr(HnRoundRecord) copy = hn_round_record_from_json(document, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(copy->policy.min_gain_permille, ==, 17);
    g_assert_cmpuint(copy->forces->len, ==, 1);
    g_assert_cmpint(g_array_index(copy->forces, HnForce, 0).node, ==, 1);
    g_assert_cmpint(g_array_index(copy->outcomes, HnOutcome, 0).reason, ==, HN_REASON_LIBVIRT_BUSY);
    g_assert_cmpuint(g_array_index(copy->outcomes, HnOutcome, 0).bytes_left, ==, 9);
    g_assert_cmpstr(copy->in_flight[0], ==, EXAMPLE_UUID_B);
    g_assert_null(copy->in_flight[1]);
    g_autoptr(HnPast) again = hn_past_parse(copy->past, strlen(copy->past), &error);
    g_assert_no_error(error);
    g_autoptr(HnPlan) one = hn_decide(record->snapshot, &record->policy, past,
                                      (HnForce *)record->forces->data, 1, NULL, 0, NULL, &error);
    g_assert_no_error(error);
    g_autoptr(HnPlan) other = hn_decide(copy->snapshot, &copy->policy, again,
                                        (HnForce *)copy->forces->data, 1, NULL, 0, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(hn_plan_find(one, EXAMPLE_UUID_A)->sentence, ==,
                    hn_plan_find(other, EXAMPLE_UUID_A)->sentence);
    g_assert_cmpuint(one->actions->len, ==, other->actions->len);
    json_object_put(document);
}

static void test_bad_round(void)
{
    g_autoptr(HnRoundRecord) record = hn_round_record_new();
    record->snapshot = example_snapshot();
    record->policy.confirm_rounds = 0; /* not allowed */
    json_object *document = hn_round_record_to_json(record);
    g_autoptr(GError) error = NULL;
    g_assert_null(hn_round_record_from_json(document, &error));
    g_assert_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_RANGE);
    json_object_put(document);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/report/snapshot/round-trip", test_round_trip);
    g_test_add_func("/report/snapshot/unknown-members", test_unknown_members_are_skipped);
    for (guint i = 0; i < G_N_ELEMENTS(damages); i++) {
        g_autofree char *path = g_strdup_printf("/report/snapshot/damage/%u", i);
        g_test_add_data_func(path, GUINT_TO_POINTER(i), test_damage);
    }
    g_test_add_func("/report/round/replay", test_replay);
    g_test_add_func("/report/round/bad-policy", test_bad_round);
    return g_test_run();
}
