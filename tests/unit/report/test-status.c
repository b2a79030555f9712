/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the admin reads: state words, rows, the statistics element, the plan and the metrics.
 */
#include "example.h"

#include "report/advice.h"
#include "report/evidence_json.h"
#include "report/metrics.h"
#include "report/plan_json.h"
#include "report/status.h"

#include <string.h>

typedef struct {
    HnSnapshot *snapshot;
    HnPlan *plan;
    HnAccount account;
    HnDomainStatus statuses[2];
} Fixture;

static void set_up(Fixture *fixture, gconstpointer unused)
{
    fixture->snapshot = example_snapshot();
    fixture->plan = example_plan();
    HnDomain *domain = g_ptr_array_index(fixture->snapshot->domains, 0);
    domain->state = HN_STATE_RUNNING;
    g_clear_pointer(&domain->wish.invalid, g_free);
    fixture->account = (HnAccount){.n_moves = 3,
                                   .bytes_moved = 4096,
                                   .has_decision = true,
                                   .decision_reason = HN_REASON_DONE,
                                   .decision = (char *)"Moved <all> of it.",
                                   .decided_unix_s = 0,
                                   .run_delay_permille = 120,
                                   .used_mcpu = 1750};
    for (guint i = 0; i < 2; i++)
        fixture->statuses[i] = (HnDomainStatus){
            .host = fixture->snapshot->host,
            .domain = g_ptr_array_index(fixture->snapshot->domains, i),
            .verdict = g_ptr_array_index(fixture->plan->verdicts, i),
            .account = &fixture->account,
        };
}

static void tear_down(Fixture *fixture, gconstpointer unused)
{
    hn_snapshot_free(fixture->snapshot);
    hn_plan_free(fixture->plan);
}

static void test_words(Fixture *fixture, gconstpointer unused)
{
    static const struct {
        HnReason reason;
        bool is_managed, will_act, is_held, is_released, is_moving;
        HnMode mode;
        HnDomainState state;
        const char *word;
    } cases[] = {
        {HN_REASON_CONVERGED, true, false, false, false, false, HN_MODE_AUTO, HN_STATE_RUNNING,
         "converged"},
        {HN_REASON_LOCALITY_GAIN, true, true, false, false, false, HN_MODE_AUTO, HN_STATE_RUNNING,
         "moving"},
        {HN_REASON_IN_PROGRESS, true, false, false, false, false, HN_MODE_AUTO, HN_STATE_RUNNING,
         "moving"},
        {HN_REASON_CONVERGED, true, false, false, false, true, HN_MODE_AUTO, HN_STATE_RUNNING,
         "moving"},
        {HN_REASON_COOLDOWN, true, false, false, false, false, HN_MODE_AUTO, HN_STATE_RUNNING,
         "waiting"},
        {HN_REASON_ADVISE_ONLY, true, false, false, false, false, HN_MODE_ADVISE, HN_STATE_RUNNING,
         "advise"},
        {HN_REASON_PAUSED_BY_ADMIN, true, false, true, false, false, HN_MODE_AUTO, HN_STATE_RUNNING,
         "held"},
        {HN_REASON_RELEASED, false, false, false, true, false, HN_MODE_OFF, HN_STATE_RUNNING,
         "released"},
        {HN_REASON_PAUSED_DOMAIN, true, false, false, false, false, HN_MODE_AUTO, HN_STATE_PAUSED,
         "suspended"},
        {HN_REASON_NOT_OPTED_IN, false, false, false, false, false, HN_MODE_NONE, HN_STATE_RUNNING,
         "unmanaged"},
        {HN_REASON_BAD_METADATA, false, false, false, false, false, HN_MODE_OFF, HN_STATE_RUNNING,
         "invalid"},
        {HN_REASON_SINGLE_NODE_HOST, true, false, false, false, false, HN_MODE_AUTO,
         HN_STATE_RUNNING, "single-node"},
    };
    HnDomainStatus status = fixture->statuses[0];
    HnVerdict verdict = *status.verdict;
    HnDomain domain = *status.domain;
    domain.wish.invalid = NULL;
    status.verdict = &verdict;
    status.domain = &domain;
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        verdict.reason = cases[i].reason;
        verdict.is_managed = cases[i].is_managed;
        verdict.will_act = cases[i].will_act;
        domain.wish.mode = cases[i].mode;
        domain.state = cases[i].state;
        status.is_held = cases[i].is_held;
        status.is_released = cases[i].is_released;
        status.moving.is_active = cases[i].is_moving;
        g_assert_cmpstr(hn_status_word(&status), ==, cases[i].word);
    }
    domain.wish.invalid = (char *)"wrong"; /* whatever else may be the reason */
    g_assert_cmpstr(hn_status_word(&status), ==, "invalid");
}

static void test_evidence(Fixture *fixture, gconstpointer unused)
{
    static const struct {
        HnDoubtState state;
        HnDoubtCause cause;
        bool wants_hinting, wants_dirty, wants_touch;
        uint64_t recheck_ns;
        const char *sentence;
    } cases[] = {
        {HN_DOUBT_SAMPLING, HN_DOUBT_BY_LOAD, true, true, true, UINT64_MAX,
         "Sampling for 12 s, because its load changed; wanted: probes, hinting faults, dirty rate, "
         "touch matrix."},
        {HN_DOUBT_SETTLED, HN_DOUBT_BY_BUDGET, false, false, false, UINT64_C(90000000000),
         "Settled for 12 s, because nothing changed while it was looked at; wanted: probes. Looked at "
         "again in 90 s at the latest."},
        {HN_DOUBT_ASLEEP, HN_DOUBT_BY_IDLE, false, false, false, UINT64_MAX,
         "Asleep for 12 s, because it has no load; wanted: probes."},
    };
    HnVerdict verdict = *fixture->statuses[0].verdict;
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        verdict.doubt = (HnDoubtAnswer){.state = cases[i].state,
                                        .cause = cases[i].cause,
                                        .since_ns = UINT64_C(8000000000),
                                        .wants_hinting = cases[i].wants_hinting,
                                        .wants_dirty = cases[i].wants_dirty,
                                        .wants_touch = cases[i].wants_touch,
                                        .recheck_ns = cases[i].recheck_ns};
        g_autofree char *sentence = hn_evidence_sentence(&verdict, UINT64_C(20000000000));
        g_assert_cmpstr(sentence, ==, cases[i].sentence);
    }
    for (int cause = 0; cause < HN_N_DOUBT_CAUSES; cause++) {
        verdict.doubt.cause = (HnDoubtCause)cause;
        g_autofree char *sentence = hn_evidence_sentence(&verdict, 0);
        g_assert_null(strstr(sentence, "unknown here"));
    }
    HnDomain domain = *fixture->statuses[0].domain;
    domain.dirty_age_ns = UINT64_MAX;
    verdict.has_accesses_local = false;
    json_object *object = hn_evidence_to_json(&domain, &verdict, 0), *member = NULL;
    g_assert_true(json_object_object_get_ex(object, "accesses-local", &member) && !member);
    g_assert_true(json_object_object_get_ex(object, "dirty-rate", &member) && !member);
    json_object_put(object);
    domain.dirty_age_ns = UINT64_C(3000000000);
    domain.dirty_bytes_per_sec = 4096;
    object = hn_evidence_to_json(&domain, &verdict, 0);
    json_object_object_get_ex(object, "dirty-rate", &member);
    json_object_object_get_ex(member, "age-ms", &member);
    g_assert_cmpint(json_object_get_int64(member), ==, 3000);
    json_object_put(object);
}

static void test_xml(Fixture *fixture, gconstpointer unused)
{
    HnStatsOrigin origin = {"host&1", "boot", 1000};
    g_autofree char *xml = hn_status_to_xml(&fixture->statuses[0], &origin);
    g_assert_cmpstr(
        xml, ==,
        "<stats mode='auto' home='0' state='moving' bytes-local='0.300' bytes-local-error='0.012' "
        "bytes-local-time='1970-01-01T00:16:35Z' accesses-local='0.25' accesses-local-error='0.04' "
        "accesses-local-time='1970-01-01T00:15:40Z' evidence='sampling' moves='3' "
        "bytes-moved='4096' score='30' reason='locality-gain' decision='Moved &lt;all&gt; of it.' "
        "time='1970-01-01T00:00:00Z' host='host&amp;1' boot-id='boot'/>");
    /* Without the clock, what is left changes only with the figures. */
    origin.unix_s = 0;
    g_autofree char *timeless = hn_status_to_xml(&fixture->statuses[0], &origin);
    g_assert_null(strstr(timeless, "-time="));
    g_assert_nonnull(strstr(timeless, "accesses-local-error="));
    /* Without evidence the attribute is absent, not 0. */
    g_autofree char *plain = hn_status_to_xml(&fixture->statuses[1], &origin);
    g_assert_null(strstr(plain, "accesses-local"));
    g_assert_nonnull(strstr(plain, "home='none'"));
}

static int64_t int_of(json_object *object, const char *name)
{
    json_object *value = NULL;
    g_assert_true(json_object_object_get_ex(object, name, &value));
    g_assert_true(json_object_is_type(value, json_type_int));
    return json_object_get_int64(value);
}

static void test_row(Fixture *fixture, gconstpointer unused)
{
    json_object *row = hn_status_to_json(&fixture->statuses[0]);
    json_object *value = NULL;
    g_assert_cmpint(int_of(row, "resident-bytes"), ==, 1000 << 20);
    g_assert_cmpint(int_of(row, "bytes-local-permille"), ==, 300);
    g_assert_cmpint(int_of(row, "demand-mcpu"), ==, 1900);
    json_object_object_get_ex(row, "home-wanted", &value);
    g_assert_cmpstr(json_object_get_string(value), ==, "4"); /* the kernel's id, not the index */
    json_object_object_get_ex(row, "bytes-per-node", &value);
    g_assert_cmpint(int_of(json_object_array_get_idx(value, 1), "node"), ==, 4);
    g_assert_cmpint(int_of(json_object_array_get_idx(value, 1), "bytes"), ==, 700 << 20);
    json_object_object_get_ex(row, "vcpus-per-node",
                              &value); /* both on CPU 3, of the second node */
    g_assert_cmpint(int_of(json_object_array_get_idx(value, 1), "vcpus"), ==, 2);
    json_object_put(row);
}

static void test_size(Fixture *fixture, gconstpointer unused)
{
    g_autofree char *none = hn_size_text(0);
    g_autofree char *some = hn_size_text(UINT64_C(82) << 20);
    g_assert_true(g_str_is_ascii(none));
    g_assert_cmpstr(some, ==, "82.0 MiB");
}

static void test_plan(Fixture *fixture, gconstpointer unused)
{
    json_object *plan = hn_plan_to_json(fixture->plan, fixture->snapshot->host);
    json_object *list = NULL, *value = NULL;
    g_assert_cmpint(int_of(plan, "schema"), ==, HN_SCHEMA_VERSION);
    json_object_object_get_ex(plan, "actions", &list);
    json_object *action = json_object_array_get_idx(list, 0);
    json_object_object_get_ex(action, "to-nodes", &value);
    g_assert_cmpstr(json_object_to_json_string(value), ==, "[ 4 ]");
    json_object_object_get_ex(action, "name", &value);
    g_assert_cmpstr(json_object_get_string(value), ==, "web \"1\"");
    json_object_object_get_ex(plan, "verdicts", &list);
    json_object *verdict = json_object_array_get_idx(list, 0);
    g_assert_true(json_object_object_get_ex(verdict, "payback-ms", &value));
    g_assert_null(value); /* never pays */
    verdict = json_object_array_get_idx(list, 1);
    g_assert_true(json_object_object_get_ex(verdict, "accesses-local-permille", &value));
    g_assert_null(value);
    json_object_put(plan);
}

/* OpenMetrics demands: samples of a family together, TYPE before them, counters end in _total, EOF
 * at the end. */
static void test_metrics(Fixture *fixture, gconstpointer unused)
{
    static const uint64_t bounds_ns[] = {2500000, 1000000000}, counts[] = {3, 2, 1};
    HnMetricsInput input = {.version = "1.2.3",
                            .is_connected = true,
                            .n_rounds = 9,
                            .round_ns = 1500000,
                            .calls = {bounds_ns, counts, G_N_ELEMENTS(bounds_ns), 4500000000},
                            .host = fixture->snapshot->host,
                            .plan = fixture->plan,
                            .domains = fixture->statuses,
                            .n_domains = 2};
    g_autofree char *text = hn_metrics_format(&input);
    static const char *const lines[] = {
        "homenode_build_info{version=\"1.2.3\"} 1\n",
        "homenode_rounds_total 9\n",
        "homenode_round_duration_seconds 0.0015\n",
        "homenode_move_call_duration_seconds_bucket{le=\"0.0025\"} 3\n"
        "homenode_move_call_duration_seconds_bucket{le=\"1\"} 5\n"
        "homenode_move_call_duration_seconds_bucket{le=\"+Inf\"} 6\n"
        "homenode_move_call_duration_seconds_count 6\n"
        "homenode_move_call_duration_seconds_sum 4.5\n",
        "homenode_node_memory_bytes{node=\"4\"} 9663676416\n",
        "homenode_node_demand_cpus{node=\"0\"} 1.9\n",
        "homenode_domain_bytes_local_ratio{domain=\"web \\\"1\\\"\",uuid=\"" EXAMPLE_UUID_A
        "\"} 0.3\n",
        "homenode_domain_moved_bytes_total{domain=\"idle\",uuid=\"" EXAMPLE_UUID_B "\"} 4096\n",
        "home=\"0\",state=\"moving\",reason=\"locality-gain\"} 1\n",
    };
    for (guint i = 0; i < G_N_ELEMENTS(lines); i++)
        if (!strstr(text, lines[i]))
            g_error("no line '%s' in:\n%s", lines[i], text);
    g_assert_true(g_str_has_suffix(text, "# EOF\n"));
    /* The one without evidence has no sample of that family. */
    g_assert_null(strstr(text, "homenode_domain_accesses_local_ratio{domain=\"idle\""));

    g_auto(GStrv) split = g_strsplit(text, "\n", -1);
    g_autoptr(GHashTable) ended = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    const char *family = NULL;
    g_autofree char *current = NULL;
    for (guint i = 0; split[i]; i++) {
        if (!g_str_has_prefix(split[i], "# TYPE ")) {
            if (*split[i] && *split[i] != '#')
                g_assert_true(family && g_str_has_prefix(split[i], current));
            continue;
        }
        g_auto(GStrv) words = g_strsplit(split[i], " ", 4);
        g_assert_true(g_hash_table_add(ended, g_strdup(words[2])));
        g_free(current);
        current = g_strdup(words[2]);
        family = current;
    }
}

static void test_metrics_bounded(Fixture *fixture, gconstpointer unused)
{
    g_autofree HnDomainStatus *many = g_new(HnDomainStatus, HN_METRICS_MAX_DOMAINS + 3);
    for (guint i = 0; i < HN_METRICS_MAX_DOMAINS + 3; i++)
        many[i] = fixture->statuses[0];
    const uint64_t none = 0;
    HnMetricsInput input = {.version = "1",
                            .calls = {.counts = &none},
                            .host = fixture->snapshot->host,
                            .plan = fixture->plan,
                            .domains = many,
                            .n_domains = HN_METRICS_MAX_DOMAINS + 3};
    g_autofree char *text = hn_metrics_format(&input);
    guint n = 0;
    for (const char *at = text; (at = strstr(at, "homenode_domain_score{")); at++)
        n++;
    g_assert_cmpuint(n, ==, HN_METRICS_MAX_DOMAINS);
    g_assert_nonnull(strstr(text, "homenode_domains_omitted 3\n"));
}

/* What is not content says what would make it so; what is content needs nothing. */
static void test_advice(Fixture *fixture, gconstpointer unused)
{
    for (HnReason reason = HN_REASON_GAIN_BELOW_THRESHOLD; reason <= HN_REASON_PAYBACK_TOO_LONG;
         reason++)
        if (!hn_advice_for(reason) && reason != HN_REASON_PAUSED_DOMAIN)
            g_error("no advice for %s", hn_reason_name(reason));
    g_assert_null(hn_advice_for(HN_REASON_CONVERGED));
    g_assert_nonnull(hn_advice_for(HN_REASON_NOT_OPTED_IN));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(path, func) g_test_add(path, Fixture, NULL, set_up, func, tear_down)
    ADD("/report/status/words", test_words);
    ADD("/report/status/xml", test_xml);
    ADD("/report/status/evidence", test_evidence);
    ADD("/report/status/row", test_row);
    ADD("/report/size", test_size);
    ADD("/report/plan", test_plan);
    ADD("/report/metrics/format", test_metrics);
    ADD("/report/metrics/bounded", test_metrics_bounded);
    ADD("/report/advice", test_advice);
    return g_test_run();
}
