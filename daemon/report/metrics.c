/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * OpenMetrics text: see metrics.h. One function per group of families; samples of a family stand
 * together, as the format demands.
 */
#include "metrics.h"
#include "plan_json.h"

#include <string.h>

/* Of one domain's sample: value, or false when there is none. */
typedef bool (*DomainValue)(const HnDomainStatus *status, double *ret_value);

static void family(GString *text, const char *name, const char *type, const char *unit,
                   const char *help)
{
    g_string_append_printf(text, "# TYPE %s %s\n", name, type);
    if (unit)
        g_string_append_printf(text, "# UNIT %s %s\n", name, unit);
    g_string_append_printf(text, "# HELP %s %s\n", name, help);
}

/* Numbers must not depend on the locale. */
static void value(GString *text, double number)
{
    char buffer[G_ASCII_DTOSTR_BUF_SIZE];
    if (number == (double)(int64_t)number && number > -1e15 && number < 1e15)
        g_string_append_printf(text, " %" G_GINT64_FORMAT "\n", (int64_t)number);
    else
        g_string_append_printf(text, " %s\n",
                               g_ascii_formatd(buffer, sizeof buffer, "%.6g", number));
}

static void single(GString *text, const char *name, const char *type, const char *unit,
                   const char *help, double number)
{
    family(text, name, type, unit, help);
    g_string_append_printf(text, "%s%s", name, strcmp(type, "counter") == 0 ? "_total" : "");
    value(text, number);
}

/* Label values: backslash, quote and line feed are escaped (OpenMetrics 1.0, "Overall structure").
 */
static void label(GString *text, const char *name, const char *content, bool is_first)
{
    g_autofree char *valid = g_utf8_make_valid(content ? content : "", -1);
    g_string_append_printf(text, "%s%s=\"", is_first ? "{" : ",", name);
    for (const char *c = valid; *c; c++) {
        if (*c == '\n')
            g_string_append(text, "\\n");
        else if (*c == '\\' || *c == '"')
            g_string_append_printf(text, "\\%c", *c);
        else
            g_string_append_c(text, *c);
    }
    g_string_append_c(text, '"');
}

/* OpenMetrics 1.0, "Histogram": buckets are summed up; the last is +Inf and equals the count. */
static void histogram(GString *text, const char *name, const char *help, const HnMetricsHistogram *h)
{
    char buffer[G_ASCII_DTOSTR_BUF_SIZE];
    uint64_t n = 0;

    family(text, name, "histogram", "seconds", help);
    for (guint i = 0; i < h->n_bounds; i++) {
        n += h->counts[i];
        g_string_append_printf(text, "%s_bucket{le=\"%s\"} %" G_GUINT64_FORMAT "\n", name,
                               g_ascii_formatd(buffer, sizeof buffer, "%g", (double)h->bounds_ns[i] / 1e9), n);
    }
    n += h->counts[h->n_bounds];
    g_string_append_printf(text, "%s_bucket{le=\"+Inf\"} %" G_GUINT64_FORMAT "\n", name, n);
    g_string_append_printf(text, "%s_count %" G_GUINT64_FORMAT "\n%s_sum", name, n, name);
    value(text, (double)h->sum_ns / 1e9);
}

static void daemon_families(GString *text, const HnMetricsInput *input)
{
    family(text, "homenode_build", "info", NULL, "Version of the running daemon.");
    g_string_append(text, "homenode_build_info");
    label(text, "version", input->version, true);
    g_string_append(text, "} 1\n");
    single(text, "homenode_backend_connected", "gauge", NULL,
           "1 while the hypervisor's daemon answers.", input->is_connected);
    single(text, "homenode_dry_run", "gauge", NULL, "1 if nothing is ever changed.",
           input->is_dry_run);
    single(text, "homenode_rounds", "counter", NULL, "Rounds completed.", (double)input->n_rounds);
    single(text, "homenode_round_failures", "counter", NULL, "Rounds that could not be completed.",
           (double)input->n_failed_rounds);
    single(text, "homenode_round_duration_seconds", "gauge", "seconds", "Length of the last round.",
           (double)input->round_ns / 1e9);
    histogram(text, "homenode_move_call_duration_seconds",
              "How long single calls that move guest memory took: what a guest may have had to wait for a page.",
              &input->calls);
    single(text, "homenode_domains", "gauge", NULL, "Domains seen in the last round.",
           input->n_domains);
    single(text, "homenode_domains_omitted", "gauge", NULL,
           "Domains without samples of their own, to bound the number of series.",
           input->n_domains > HN_METRICS_MAX_DOMAINS ? input->n_domains - HN_METRICS_MAX_DOMAINS
                                                     : 0);
    if (!input->plan)
        return;
    single(text, "homenode_host_score", "gauge", NULL,
           "Placement score of the host, 100 is best, weighted by demand.", input->plan->score_now);
    single(text, "homenode_host_overfull", "gauge", NULL,
           "1 if memory keeps a guest from a better node, or the guests want more than three "
           "times the CPUs.", input->plan->is_overfull);
}

static double guest_bytes(const HnMetricsInput *input, uint32_t node)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < input->n_domains; i++)
        bytes += input->domains[i].domain->resident_bytes[node];
    return (double)bytes;
}

/* CPU demand of the clients whose home is `node`, in CPUs. */
static double homed_demand(const HnMetricsInput *input, uint32_t node)
{
    uint64_t mcpu = 0;
    for (uint32_t i = 0; i < input->n_domains; i++) {
        const HnVerdict *verdict = input->domains[i].verdict;
        for (uint32_t c = 0; c < verdict->n_clients; c++)
            if (verdict->clients[c].home_now == (int32_t)node)
                mcpu += verdict->clients[c].demand_mcpu;
    }
    return (double)mcpu / 1000;
}

static void node_families(GString *text, const HnMetricsInput *input)
{
    static const struct {
        const char *name, *unit, *help;
    } families[] = {
        {"homenode_node_memory_bytes", "bytes", "Memory of the node."},
        {"homenode_node_memory_free_bytes", "bytes", "Free memory of the node."},
        {"homenode_node_guest_memory_bytes", "bytes", "Guest RAM resident on the node."},
        {"homenode_node_cpus", NULL, "CPUs of the node that guests may use."},
        {"homenode_node_demand_cpus", NULL,
         "CPU demand of the guests at home on the node, in CPUs."},
        {"homenode_node_other_load_cpus", NULL, "CPU use by everything but guests, in CPUs."},
    };
    for (guint f = 0; f < G_N_ELEMENTS(families); f++) {
        family(text, families[f].name, "gauge", families[f].unit, families[f].help);
        for (uint32_t i = 0; i < input->host->n_nodes; i++) {
            const HnNode *node = &input->host->nodes[i];
            const double values[] = {
                (double)node->mem_total_bytes, (double)node->mem_free_bytes,
                guest_bytes(input, i),         node->n_cpus,
                homed_demand(input, i),        (double)node->other_load_mcpu / 1000,
            };
            G_STATIC_ASSERT(G_N_ELEMENTS(values) == G_N_ELEMENTS(families));
            g_string_append_printf(text, "%s{node=\"%d\"}", families[f].name, node->id);
            value(text, values[f]);
        }
    }
}

static bool bytes_local(const HnDomainStatus *s, double *ret_value)
{
    *ret_value = s->verdict->bytes_local_permille / 1000.0;
    return true;
}

static bool accesses_local(const HnDomainStatus *s, double *ret_value)
{
    *ret_value = s->verdict->accesses_local_permille / 1000.0;
    return s->verdict->has_accesses_local;
}

static bool score(const HnDomainStatus *s, double *ret_value)
{
    *ret_value = s->verdict->score_now;
    return true;
}

static bool moves(const HnDomainStatus *s, double *ret_value)
{
    *ret_value = (double)s->account->n_moves;
    return true;
}

static bool bytes_moved(const HnDomainStatus *s, double *ret_value)
{
    *ret_value = (double)s->account->bytes_moved;
    return true;
}

static bool used_cpus(const HnDomainStatus *s, double *ret_value)
{
    *ret_value = (double)s->account->used_mcpu / 1000;
    return true;
}

static bool run_delay(const HnDomainStatus *s, double *ret_value)
{
    *ret_value = (double)s->account->run_delay_permille / 1000;
    return true;
}

static bool is_managed(const HnDomainStatus *s, double *ret_value)
{
    *ret_value = s->verdict->is_managed;
    return true;
}

static void domain_labels(GString *text, const HnDomainStatus *status)
{
    label(text, "domain", status->verdict->name, true);
    label(text, "uuid", status->verdict->uuid, false);
}

static void domain_families(GString *text, const HnMetricsInput *input)
{
    static const struct {
        const char *name, *type, *unit, *help;
        DomainValue get;
    } families[] = {
        {"homenode_domain_managed", "gauge", NULL, "1 if the domain has opted in.", is_managed},
        {"homenode_domain_bytes_local_ratio", "gauge", "ratio",
         "Share of its memory on the nodes its vCPUs run on.", bytes_local},
        {"homenode_domain_accesses_local_ratio", "gauge", "ratio",
         "Share of sampled touches that were local.", accesses_local},
        {"homenode_domain_score", "gauge", NULL, "Placement score, 100 is best.", score},
        {"homenode_domain_moves", "counter", NULL, "Re-homes carried out.", moves},
        {"homenode_domain_moved_bytes", "counter", "bytes", "Guest memory moved.", bytes_moved},
        {"homenode_domain_used_cpus", "gauge", NULL, "CPU use of its vCPUs, in CPUs.", used_cpus},
        {"homenode_domain_run_delay_ratio", "gauge", "ratio",
         "Time its vCPUs waited for a CPU per second, summed over vCPUs.", run_delay},
    };
    uint32_t n = MIN(input->n_domains, HN_METRICS_MAX_DOMAINS);
    for (guint f = 0; f < G_N_ELEMENTS(families); f++) {
        family(text, families[f].name, families[f].type, families[f].unit, families[f].help);
        for (uint32_t i = 0; i < n; i++) {
            double number = 0;
            if (!families[f].get(&input->domains[i], &number))
                continue;
            g_string_append_printf(text, "%s%s", families[f].name,
                                   strcmp(families[f].type, "counter") == 0 ? "_total" : "");
            domain_labels(text, &input->domains[i]);
            g_string_append_c(text, '}');
            value(text, number);
        }
    }
    family(text, "homenode_domain_memory_bytes", "gauge", "bytes", "Resident guest RAM per node.");
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t node = 0; node < input->host->n_nodes; node++) {
            g_string_append(text, "homenode_domain_memory_bytes");
            domain_labels(text, &input->domains[i]);
            g_string_append_printf(text, ",node=\"%d\"}", input->host->nodes[node].id);
            value(text, (double)input->domains[i].domain->resident_bytes[node]);
        }
    }
    family(text, "homenode_domain_placement", "info", NULL,
           "Home, state and reason of the domain.");
    for (uint32_t i = 0; i < n; i++) {
        const HnDomainStatus *status = &input->domains[i];
        g_autofree char *home = hn_verdict_home(status->verdict, input->host);
        g_string_append(text, "homenode_domain_placement_info");
        domain_labels(text, status);
        label(text, "home", home ? home : "none", false);
        label(text, "state", hn_status_word(status), false);
        label(text, "reason", hn_reason_name(status->verdict->reason), false);
        g_string_append(text, "} 1\n");
    }
}

char *hn_metrics_format(const HnMetricsInput *input)
{
    GString *text = g_string_new(NULL);
    daemon_families(text, input);
    if (input->host) {
        node_families(text, input);
        domain_families(text, input);
    }
    g_string_append(text, "# EOF\n");
    return g_string_free(text, FALSE);
}
