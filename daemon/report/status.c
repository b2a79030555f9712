/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How one domain fares, as JSON and as the statistics element: see status.h.
 */
#include "status.h"
#include "evidence_json.h"
#include "fields.h"
#include "plan_json.h"
#include "snapshot_json.h"

const char *hn_status_word(const HnDomainStatus *status)
{
    const HnVerdict *verdict = status->verdict;

    if (verdict->reason == HN_REASON_BAD_METADATA || status->domain->wish.invalid)
        return "invalid";
    if (status->is_released)
        return "released";
    if (status->moving.is_active)
        return "moving";
    if (!verdict->is_managed)
        return "unmanaged";
    if (verdict->reason == HN_REASON_SINGLE_NODE_HOST)
        return "single-node";
    if (status->domain->state != HN_STATE_RUNNING)
        return "suspended";
    if (status->is_held)
        return "held";
    if (verdict->will_act || verdict->reason == HN_REASON_IN_PROGRESS)
        return "moving";
    if (verdict->reason == HN_REASON_CONVERGED)
        return "converged";
    return status->domain->wish.mode == HN_MODE_ADVISE ? "advise" : "waiting";
}

char *hn_size_text(uint64_t bytes)
{
    g_autofree char *text = g_format_size_full(bytes, G_FORMAT_SIZE_IEC_UNITS);
    g_auto(GStrv) parts = g_strsplit(text, "\302\240", 2);
    return g_strjoinv(" ", parts);
}

uint64_t hn_domain_resident_bytes(const HnDomain *domain, uint32_t n_nodes)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n_nodes; i++)
        bytes += domain->resident_bytes[i];
    return bytes;
}

static uint64_t demand_mcpu(const HnVerdict *verdict)
{
    uint64_t demand = 0;
    for (uint32_t i = 0; i < verdict->n_clients; i++)
        demand += verdict->clients[i].demand_mcpu;
    return demand;
}

static json_object *bytes_per_node(const HnDomainStatus *status)
{
    json_object *array = json_object_new_array();
    for (uint32_t i = 0; i < status->host->n_nodes; i++) {
        json_object *row = json_object_new_object();
        hn_put_i64(row, "node", status->host->nodes[i].id);
        hn_put_u64(row, "bytes", status->domain->resident_bytes[i]);
        json_object_array_add(array, row);
    }
    return array;
}

/* Where the vCPUs ran last, as node → number of vCPUs: beside the bytes it shows what is apart. */
static json_object *vcpus_per_node(const HnDomainStatus *status)
{
    uint32_t counts[HN_MAX_NODES] = {0};
    for (uint32_t i = 0; i < status->domain->n_vcpus; i++) {
        int32_t cpu = status->domain->vcpus[i].last_cpu;
        int32_t node = cpu < 0 ? HN_NODE_NONE : hn_host_node_of_cpu(status->host, (uint32_t)cpu);
        if (node >= 0)
            counts[node]++;
    }
    json_object *array = json_object_new_array();
    for (uint32_t i = 0; i < status->host->n_nodes; i++) {
        json_object *row = json_object_new_object();
        hn_put_i64(row, "node", status->host->nodes[i].id);
        hn_put_u64(row, "vcpus", counts[i]);
        json_object_array_add(array, row);
    }
    return array;
}

json_object *hn_status_to_json(const HnDomainStatus *status)
{
    const HnVerdict *verdict = status->verdict;
    const HnAccount *account = status->account;
    g_autofree char *home = hn_verdict_home(verdict, status->host);
    g_autofree char *wanted = hn_verdict_wanted_home(verdict, status->host);
    json_object *object = json_object_new_object();

    hn_put_string(object, "uuid", verdict->uuid);
    hn_put_string(object, "name", verdict->name);
    hn_put_string(object, "mode", hn_mode_name(status->domain->wish.mode));
    hn_put_bool(object, "is-managed", verdict->is_managed);
    hn_put_string(object, "status", hn_status_word(status));
    hn_put_string(object, "domain-state", hn_domain_state_name(status->domain->state));
    hn_put_string(object, "reason", hn_reason_name(verdict->reason));
    hn_put_string(object, "sentence", verdict->sentence);
    hn_put_string(object, "home", home);
    hn_put_string(object, "home-wanted", wanted);
    hn_put_bool(object, "is-wide", verdict->is_wide);
    hn_put_bool(object, "is-fenced", status->domain->is_fenced);
    hn_put_u64(object, "score-now", verdict->score_now);
    hn_put_u64(object, "score-after", verdict->score_after);
    hn_put_u64(object, "bytes-local-permille", verdict->bytes_local_permille);
    hn_put_u64_or_null(object, "accesses-local-permille",
                       verdict->has_accesses_local ? verdict->accesses_local_permille : UINT64_MAX);
    hn_put_u64(object, "vcpus", status->domain->n_vcpus);
    hn_put_u64(object, "demand-mcpu", demand_mcpu(verdict));
    hn_put_u64(object, "used-mcpu", account->used_mcpu);
    hn_put_u64(object, "run-delay-permille", account->run_delay_permille);
    hn_put_u64(object, "resident-bytes",
               hn_domain_resident_bytes(status->domain, status->host->n_nodes));
    hn_put_u64(object, "resident-error-permille", status->domain->resident_error_permille);
    hn_put_u64(object, "configured-bytes", status->domain->configured_bytes);
    hn_put(object, "bytes-per-node", bytes_per_node(status));
    hn_put(object, "vcpus-per-node", vcpus_per_node(status));
    hn_put_u64(object, "moves", account->n_moves);
    hn_put_u64(object, "bytes-moved", account->bytes_moved);
    json_object *progress = NULL;
    if (status->moving.is_active) {
        progress = json_object_new_object();
        hn_put_u64(progress, "bytes-done", status->moving.bytes_done);
        hn_put_u64(progress, "bytes-total", status->moving.bytes_total);
        hn_put_u64(progress, "bytes-per-sec", status->moving.bytes_per_sec);
        hn_put_bool(progress, "slow-lane", status->moving.is_cold);
        hn_put_u64(progress, "cold-bytes-done", status->moving.cold_bytes_done);
    }
    hn_put(object, "progress", progress);
    json_object *decision = NULL;
    if (account->has_decision) {
        decision = json_object_new_object();
        hn_put_string(decision, "reason", hn_reason_name(account->decision_reason));
        hn_put_string(decision, "sentence", account->decision);
        hn_put_i64(decision, "unix-s", account->decided_unix_s);
    }
    hn_put(object, "last-decision", decision);
    hn_put(object, "evidence", hn_evidence_to_json(status->domain, verdict, status->now_ns));
    hn_put_string(object, "unobservable", status->domain->unobservable);
    return object;
}

static void attribute(GString *xml, const char *name, const char *value)
{
    /* libvirt refuses text that is not UTF-8; a sentence may quote a guest's own name. */
    g_autofree char *valid = g_utf8_make_valid(value, -1);
    g_autofree char *escaped = g_markup_escape_text(valid, -1);
    g_string_append_printf(xml, " %s='%s'", name, escaped);
}

static void number_attribute(GString *xml, const char *name, uint64_t value)
{
    g_string_append_printf(xml, " %s='%" G_GUINT64_FORMAT "'", name, value);
}

static void share_attribute(GString *xml, const char *name, uint32_t permille)
{
    g_string_append_printf(xml, " %s='%u.%03u'", name, permille / 1000, permille % 1000);
}

static void time_attribute(GString *xml, const char *name, int64_t unix_s)
{
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(unix_s);
    g_autofree char *stamp = time ? g_date_time_format_iso8601(time) : NULL;
    if (stamp)
        attribute(xml, name, stamp);
}

/* A number without its age and its error is half a number. */
static void put_numbers(GString *xml, const HnVerdict *verdict, int64_t unix_s)
{
    share_attribute(xml, "bytes-local", verdict->bytes_local_permille);
    share_attribute(xml, "bytes-local-error", verdict->bytes_local_error_permille);
    if (unix_s)
        time_attribute(xml, "bytes-local-time",
                       unix_s - (int64_t)(verdict->bytes_local_age_ns / 1000000000));
    if (!verdict->has_accesses_local)
        return;
    /* Sampled, and never quite still: in whole percents it does not cause a write every time. */
    g_string_append_printf(xml, " accesses-local='%u.%02u'",
                           verdict->accesses_local_permille / 1000,
                           verdict->accesses_local_permille % 1000 / 10);
    g_string_append_printf(xml, " accesses-local-error='0.%02u'",
                           MIN(verdict->accesses_local_error_permille + 9, 999) / 10);
    if (unix_s)
        time_attribute(xml, "accesses-local-time",
                       unix_s - (int64_t)(verdict->accesses_local_age_ns / 1000000000));
}

char *hn_status_to_xml(const HnDomainStatus *status, const HnStatsOrigin *origin)
{
    const HnVerdict *verdict = status->verdict;
    const HnAccount *account = status->account;
    g_autofree char *home = hn_verdict_home(verdict, status->host);
    GString *xml = g_string_new("<stats");

    attribute(xml, "mode", hn_mode_name(status->domain->wish.mode));
    attribute(xml, "home", home ? home : "none");
    attribute(xml, "state", hn_status_word(status));
    put_numbers(xml, verdict, origin->unix_s);
    attribute(xml, "evidence", hn_doubt_state_name(verdict->doubt.state));
    number_attribute(xml, "moves", account->n_moves);
    number_attribute(xml, "bytes-moved", account->bytes_moved);
    number_attribute(xml, "score", verdict->score_now);
    attribute(xml, "reason", hn_reason_name(verdict->reason));
    if (account->has_decision) {
        attribute(xml, "decision", account->decision);
        time_attribute(xml, "time", account->decided_unix_s);
    }
    attribute(xml, "host", origin->host_name);
    attribute(xml, "boot-id", origin->boot_id);
    g_string_append(xml, "/>");
    return g_string_free(xml, FALSE);
}
