/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What control commands are told: documents made from the last round, without changing anything.
 *
 * The documents are described in docs/control-verbs.md; their "schema" is raised when a member
 * changes its meaning.
 */
#include "manager_state.h"
#include "observe/touch-perf.h"
#include "report/advice.h"
#include "report/fields.h"
#include "report/metrics.h"
#include "report/plan_json.h"
#include "report/snapshot_json.h"

#include <string.h>

/* ---- query-host ---- */

typedef struct {
    uint64_t guest_bytes; /* resident on the node */
    uint64_t homed_bytes; /* of the clients at home there, wherever they lie */
    uint64_t local_bytes; /* … and lying there */
    uint64_t demand_mcpu;
    uint32_t n_domains;
} NodeSums;

/* Guest memory counts for the home of a domain of one client; a wide one counts on every home. */
static void sum_nodes(const GArray *statuses, const HnHost *host, NodeSums *sums)
{
    for (guint i = 0; i < statuses->len; i++) {
        const HnDomainStatus *status = &g_array_index(statuses, HnDomainStatus, i);
        HnNodemask homes = 0;
        for (uint32_t c = 0; c < status->verdict->n_clients; c++) {
            int32_t home = status->verdict->clients[c].home_now;
            if (home < 0 || (uint32_t)home >= host->n_nodes)
                continue;
            sums[home].demand_mcpu += status->verdict->clients[c].demand_mcpu;
            sums[home].n_domains += !(homes >> home & 1);
            homes |= (HnNodemask)1 << home;
        }
        for (uint32_t n = 0; n < host->n_nodes; n++) {
            sums[n].guest_bytes += status->domain->resident_bytes[n];
            if (homes >> n & 1) {
                sums[n].homed_bytes += hn_domain_resident_bytes(status->domain, host->n_nodes);
                for (uint32_t m = 0; m < host->n_nodes; m++)
                    sums[n].local_bytes += homes >> m & 1 ? status->domain->resident_bytes[m] : 0;
            }
        }
    }
}

static json_object *node_row(const HnHost *host, uint32_t n, const NodeSums *sums)
{
    const HnNode *node = &host->nodes[n];
    json_object *row = json_object_new_object();
    hn_put_i64(row, "id", node->id);
    hn_put_cpuset(row, "cpus", &node->cpus);
    hn_put_u64(row, "n-cpus", node->n_cpus);
    hn_put_u64(row, "n-cores", node->n_cores);
    hn_put_bool(row, "is-home-candidate", hn_host_home_nodes(host) >> n & 1);
    hn_put_u64(row, "mem-total-bytes", node->mem_total_bytes);
    hn_put_u64(row, "mem-free-bytes", node->mem_free_bytes);
    hn_put_u64(row, "mem-reclaimable-bytes", node->mem_reclaimable_bytes);
    hn_put_u64(row, "mem-watermark-bytes", node->mem_watermark_bytes);
    hn_put_u64(row, "guest-bytes", sums->guest_bytes);
    hn_put_u64(row, "homed-domains", sums->n_domains);
    hn_put_u64(row, "demand-mcpu", sums->demand_mcpu);
    hn_put_u64(row, "other-load-mcpu", node->other_load_mcpu);
    hn_put_u64_or_null(row, "bytes-local-permille",
                       sums->homed_bytes ? sums->local_bytes * 1000 / sums->homed_bytes
                                         : UINT64_MAX);
    json_object *distances = json_object_new_array();
    for (uint32_t m = 0; m < host->n_nodes; m++)
        json_object_array_add(distances, json_object_new_int64(hn_host_distance(host, n, m)));
    hn_put(row, "distance", distances);
    json_object *pools = json_object_new_array();
    for (uint32_t i = 0; i < node->n_huge_pools; i++) {
        json_object *pool = json_object_new_object();
        hn_put_u64(pool, "page-bytes", node->huge_pools[i].page_bytes);
        hn_put_u64(pool, "total-pages", node->huge_pools[i].total_pages);
        hn_put_u64(pool, "free-pages", node->huge_pools[i].free_pages);
        json_object_array_add(pools, pool);
    }
    hn_put(row, "huge-pools", pools);
    return row;
}

static void put_last_round(json_object *object, HnManager *manager)
{
    uint64_t now_ns = hn_manager_now_ns();
    hn_put_u64(object, "rounds", manager->n_rounds);
    hn_put_u64(object, "failed-rounds", manager->n_failed_rounds);
    hn_put_string(object, "last-error", manager->last_error);
    hn_put_u64(object, "round-us", manager->round_took_ns / 1000);
    hn_put_u64_or_null(object, "round-age-ms",
                       manager->snapshot ? (now_ns - manager->snapshot->taken_ns) / 1000000
                                         : UINT64_MAX);
    hn_put_u64(object, "interval-ms",
               (manager->is_single_node ? manager->config->idle_interval_ns
                                        : manager->config->round_interval_ns) /
                   1000000);
}

json_object *hn_manager_host_json(HnManager *manager)
{
    json_object *object = hn_document_new();
    hn_put_string(object, "host-name", manager->host_name);
    hn_put_string(object, "boot-id", manager->boot_id);
    hn_put_string(object, "version", HN_VERSION);
    hn_put_string(object, "backend", manager->backend->ops->name);
    hn_put_string(object, "connect", manager->config->connect);
    hn_put_bool(object, "is-connected", manager->backend->ops->is_connected(manager->backend));
    hn_put_bool(object, "is-dry-run", manager->is_dry_run);
    hn_put_bool(object, "is-single-node", manager->is_single_node);
    hn_put_bool(object, "is-paused", manager->is_host_held);
    put_last_round(object, manager);
    json_object *nodes = json_object_new_array();
    uint64_t rate = 0;
    if (manager->plan) {
        hn_plan_put_summary(object, manager->plan);
        g_autoptr(GArray) statuses = hn_manager_statuses(manager);
        const HnHost *host = manager->snapshot->host;
        g_autofree NodeSums *sums = g_new0(NodeSums, host->n_nodes);
        sum_nodes(statuses, host, sums);
        for (uint32_t n = 0; n < host->n_nodes; n++)
            json_object_array_add(nodes, node_row(host, n, &sums[n]));
        for (guint i = 0; i < statuses->len; i++) {
            const HnDomainStatus *status = &g_array_index(statuses, HnDomainStatus, i);
            rate += status->moving.is_active ? status->moving.bytes_per_sec : 0;
        }
    } else {
        hn_put_string(object, "summary",
                      manager->last_error ? manager->last_error
                      : manager->backend->ops->is_connected(manager->backend)
                          ? "The first round is under way."
                          : "Waiting for the hypervisor's daemon.");
    }
    hn_put_u64(object, "moving-bytes-per-sec", rate);
    hn_put(object, "nodes", nodes);
    return object;
}

/* ---- query-domains, query-domain ---- */

json_object *hn_manager_domains_json(HnManager *manager, bool is_managed_only)
{
    json_object *object = hn_document_new();
    json_object *rows = json_object_new_array();
    g_autoptr(GArray) statuses = hn_manager_statuses(manager);
    for (guint i = 0; i < statuses->len; i++) {
        const HnDomainStatus *status = &g_array_index(statuses, HnDomainStatus, i);
        if (!is_managed_only || status->verdict->is_managed)
            json_object_array_add(rows, hn_status_to_json(status));
    }
    hn_put(object, "domains", rows);
    return object;
}

json_object *hn_manager_row_json(HnManager *manager, const char *uuid)
{
    g_autoptr(GArray) statuses = hn_manager_statuses(manager);
    for (guint i = 0; i < statuses->len; i++) {
        const HnDomainStatus *status = &g_array_index(statuses, HnDomainStatus, i);
        if (strcmp(status->verdict->uuid, uuid) == 0)
            return hn_status_to_json(status);
    }
    return NULL;
}

json_object *hn_manager_domain_json(HnManager *manager, const char *uuid)
{
    json_object *row = hn_manager_row_json(manager, uuid);
    const HnVerdict *verdict = manager->plan ? hn_plan_find(manager->plan, uuid) : NULL;
    if (!row)
        return NULL;
    json_object *object = hn_document_new();
    hn_put(object, "domain", row);
    if (verdict)
        hn_put(object, "verdict", hn_verdict_to_json(verdict, manager->snapshot->host));
    return object;
}

/* Levenshtein distance, for suggestions; names are short. Two rows of the usual table. */
static guint edit_distance(const char *a, const char *b)
{
    size_t n = strlen(b);
    g_autofree guint *row = g_new(guint, n + 1);
    for (size_t j = 0; j <= n; j++)
        row[j] = (guint)j;
    for (size_t i = 1; a[i - 1]; i++) {
        guint diagonal = row[0];
        row[0] = (guint)i;
        for (size_t j = 1; j <= n; j++) {
            guint above = row[j];
            guint replace = diagonal + (a[i - 1] != b[j - 1]);
            row[j] = MIN(replace, MIN(above, row[j - 1]) + 1);
            diagonal = above;
        }
    }
    return row[n];
}

static bool is_close(const char *wanted, const char *name)
{
    return strstr(name, wanted) || edit_distance(wanted, name) <= MAX(2, strlen(wanted) / 3);
}

const char *hn_manager_find(HnManager *manager, const char *uuid_or_name, char **ret_problem)
{
    if (!manager->snapshot) {
        *ret_problem =
            g_strdup_printf("No round has been completed yet%s%s: nothing is known of '%s'",
                            manager->last_error ? ": " : "",
                            manager->last_error ? manager->last_error : "", uuid_or_name);
        return NULL;
    }
    const HnDomain *domain = hn_snapshot_find(manager->snapshot, uuid_or_name);
    if (domain)
        return domain->uuid;
    /* Bounded: an absurdly long name is close to nothing, and the table would grow with it. */
    g_autoptr(GString) close = g_string_new(NULL);
    for (guint i = 0, n = 0;
         i < manager->snapshot->domains->len && n < 5 && strlen(uuid_or_name) < 256; i++) {
        const HnDomain *other = g_ptr_array_index(manager->snapshot->domains, i);
        if (!other->name || !is_close(uuid_or_name, other->name))
            continue;
        g_string_append_printf(close, "%s%s", n ? ", " : "", other->name);
        n++;
    }
    *ret_problem = close->len
                       ? g_strdup_printf("No running domain '%.256s'; did you mean: %s?",
                                         uuid_or_name, close->str)
                       : g_strdup_printf("No running domain '%.256s'; 'homenode list' shows all %u",
                                         uuid_or_name, manager->snapshot->domains->len);
    return NULL;
}

/* ---- explain ---- */

static HnNodemask nodes_of_vcpus(const HnDomain *domain, const HnHost *host)
{
    HnNodemask mask = 0;
    for (uint32_t i = 0; i < domain->n_vcpus; i++) {
        int32_t cpu = domain->vcpus[i].last_cpu;
        int32_t node = cpu < 0 ? HN_NODE_NONE : hn_host_node_of_cpu(host, (uint32_t)cpu);
        if (node >= 0)
            mask |= (HnNodemask)1 << node;
    }
    return mask;
}

static char *why_here(const HnRound *round, const HnDomain *domain, const HnVerdict *verdict,
                      const HnAccount *account)
{
    const HnHost *host = round->snapshot->host;
    g_autoptr(GString) text = g_string_new(NULL);
    g_autofree char *running = hn_node_ids(host, nodes_of_vcpus(domain, host));
    g_autofree char *home = hn_verdict_home(verdict, host);

    if (*running)
        g_string_append_printf(text, "Its %u vCPU%s last ran on node%s %s; of its memory",
                               domain->n_vcpus, domain->n_vcpus == 1 ? "" : "s", strchr(running, ',') ? "s" : "", running);
    else
        g_string_append(text, "Its vCPUs are not seen; of its memory");
    uint64_t total = hn_domain_resident_bytes(domain, host->n_nodes);
    for (uint32_t i = 0; i < host->n_nodes; i++) {
        uint64_t bytes = domain->resident_bytes[i];
        g_autofree char *size = hn_size_text(bytes);
        if (bytes)
            g_string_append_printf(text, " %s (%" G_GUINT64_FORMAT " %%) lie on node %d,", size,
                                   total ? bytes * 100 / total : 0, host->nodes[i].id);
    }
    if (total)
        g_string_truncate(text, text->len - 1);
    else
        g_string_append(text, " nothing is resident");
    g_string_append_printf(text, ". Home: %s.", home ? home : "none yet");
    if (account && account->has_decision)
        g_string_append_printf(text, " Last: %s", account->decision);
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static json_object *alternatives_json(const HnRound *round, const HnVerdict *verdict)
{
    json_object *array = json_object_new_array();
    for (guint i = 0; round->alternatives && i < round->alternatives->len; i++) {
        const HnAlternative *alternative = g_ptr_array_index(round->alternatives, i);
        const HnVerdict *other =
            alternative->plan ? hn_plan_find(alternative->plan, round->explain_uuid) : NULL;
        if (!other)
            continue;
        bool is_home = false;
        for (uint32_t c = 0; c < verdict->n_clients; c++)
            is_home |= verdict->clients[c].home_now == alternative->node;
        json_object *row = json_object_new_object();
        hn_put_i64(row, "node", round->snapshot->host->nodes[alternative->node].id);
        hn_put_bool(row, "is-home", is_home);
        hn_put_bool(row, "is-possible", other->will_act || is_home);
        hn_put_u64(row, "host-score-after", alternative->plan->score_after);
        hn_verdict_put_prospect(row, other);
        json_object_array_add(array, row);
    }
    return array;
}

static json_object *advice_json(const HnVerdict *verdict, const HnDomain *domain)
{
    json_object *array = json_object_new_array();
    const char *advice = verdict->will_act ? NULL : hn_advice_for(verdict->reason);
    if (advice) {
        g_auto(GStrv) parts = g_strsplit(advice, "%s", 2);
        g_autofree char *text = g_strjoinv(verdict->name, parts);
        json_object_array_add(array, json_object_new_string(text));
    }
    if (domain->unobservable) {
        g_autofree char *text = g_strdup_printf("Evidence: %s", domain->unobservable);
        json_object_array_add(array, json_object_new_string(text));
    }
    if (domain->touches.impediment) {
        g_autofree char *text =
            g_strdup_printf("Who touches what is not sampled (%s): %s", domain->touches.impediment,
                            hn_touch_impediment_sentence(domain->touches.impediment));
        json_object_array_add(array, json_object_new_string(text));
    }
    return array;
}

/* null where DAMON has no part in the domain. */
static json_object *heat_json(const HnManager *manager, const HnDomain *domain)
{
    const HnHeatSummary *heat = &domain->heat;
    const char *code = heat->impediment ? heat->impediment : hn_heat_impediment(manager->heat);
    if (!manager->config->is_damon_allowed && heat->age_ns == UINT64_MAX)
        return NULL;
    json_object *object = json_object_new_object();
    hn_put_bool(object, "is-on", heat->is_on);
    hn_put_bool(object, "is-used", heat->is_used);
    hn_put_string(object, "impediment", code);
    hn_put_u64(object, "ranges", heat->n_ranges);
    hn_put_u64(object, "hot-bytes", heat->hot_bytes);
    if (heat->age_ns != UINT64_MAX)
        hn_put_u64(object, "age-ms", heat->age_ns / 1000000);
    else
        hn_put(object, "age-ms", NULL);
    g_autofree char *sentence =
        heat->age_ns != UINT64_MAX
            ? g_strdup_printf("DAMON found %" G_GUINT64_FORMAT " MiB of its RAM in use, %s.", heat->hot_bytes >> 20,
                              heat->is_used ? "which moves first" : "but who touches it is known better")
        : code ? g_strdup_printf("DAMON does not watch it (%s): %s.", code, hn_damon_sentence(code))
               : g_strdup("DAMON does not watch it: it is not in doubt, its touches are known, or it is not its "
                          "turn.");
    hn_put_string(object, "sentence", sentence);
    return object;
}

static json_object *hinting_json(const HnManager *manager)
{
    g_autofree char *sentence = hn_hinting_sentence(manager->hinting);
    json_object *object = json_object_new_object();
    hn_put_string(object, "state", hn_hinting_state_name(hn_hinting_state(manager->hinting)));
    hn_put_string(object, "sentence", sentence);
    return object;
}

json_object *hn_manager_explain_json(HnManager *manager, const HnRound *round)
{
    const HnVerdict *verdict = hn_plan_find(round->plan, round->explain_uuid);
    const HnDomain *domain = hn_snapshot_find(round->snapshot, round->explain_uuid);
    const HnGuest *guest = hn_guests_get(manager->guests, round->explain_uuid);
    if (!verdict || !domain)
        return NULL;
    json_object *object = hn_document_new();
    json_object *row = hn_manager_row_json(manager, round->explain_uuid);
    g_autofree char *here = why_here(round, domain, verdict, guest ? &guest->account : NULL);
    hn_put(object, "domain", row);
    hn_put(object, "verdict", hn_verdict_to_json(verdict, round->snapshot->host));
    hn_put_string(object, "why-here", here);
    hn_put_string(object, "why-not-moved", verdict->will_act ? NULL : verdict->sentence);
    hn_put_string(object, "no-hinting-faults-because", round->no_faults_because);
    hn_put_string(object, "no-touches-because", domain->touches.impediment);
    hn_put_u64(object, "touches", domain->touches.n_touches);
    hn_put_u64(object, "touches-lost", domain->touches.n_lost);
    hn_put(object, "hinting", hinting_json(manager));
    hn_put(object, "heat", heat_json(manager, domain));
    hn_put_string(object, "no-dirty-rate-because", guest ? guest->dirty_problem : NULL);
    hn_put(object, "what-would-change", advice_json(verdict, domain));
    hn_put(object, "alternatives", alternatives_json(round, verdict));
    hn_put(object, "history", hn_history_to_json(manager->history, round->explain_uuid, 5));
    return object;
}

/* ---- configuration, metrics ---- */

json_object *hn_manager_config_json(HnManager *manager)
{
    json_object *object = hn_document_new();
    hn_put_string(object, "file", manager->config_file);
    hn_put(object, "keys", hn_config_to_json(manager->config));
    return object;
}

char *hn_manager_metrics(HnManager *manager)
{
    g_autoptr(GArray) statuses = hn_manager_statuses(manager);
    HnCallTimes calls;
    hn_actuator_call_times(manager->actuator, &calls);
    HnMetricsInput input = {
        .version = HN_VERSION,
        .is_connected = manager->backend->ops->is_connected(manager->backend),
        .is_dry_run = manager->is_dry_run,
        .n_rounds = manager->n_rounds,
        .n_failed_rounds = manager->n_failed_rounds,
        .round_ns = manager->round_took_ns,
        .calls = {hn_call_times_bounds_ns, calls.counts, HN_CALL_TIMES_BOUNDS, calls.sum_ns},
        .host = manager->snapshot ? manager->snapshot->host : NULL,
        .plan = manager->plan,
        .domains = (const HnDomainStatus *)statuses->data,
        .n_domains = statuses->len,
    };
    return hn_metrics_format(&input);
}
