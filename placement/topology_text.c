/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One-line hosts and fleets. The grammar is in the header; hwloc's synthetic topologies gave the
 * idea.
 *
 * A word is read by the rule whose key it starts with, or, if it starts with a digit, by its
 * suffix. Every error names the word. Nothing is guessed: what contradicts itself is refused.
 */
#include <homenode/topology.h>

#include <string.h>

#define MAX_WORD 512
#define MAX_TEXT 65536
#define GIB (UINT64_C(1) << 30)

typedef struct {
    char text[MAX_WORD]; /* NUL-terminated copy */
} Word;

static bool complain(GError **error, HnModelError code, const char *word, const char *allowed)
{
    g_set_error(error, HN_MODEL_ERROR, (gint)code, "'%s': allowed is %s", word, allowed);
    return false;
}

/* The next word up to a blank or `stop`; false at the end. Too long or not printable: error set,
 * too. */
static bool next_word(const char **cursor, const char *end, char stop, Word *ret_word,
                      GError **error)
{
    size_t len = 0;

    while (*cursor < end && g_ascii_isspace(**cursor))
        (*cursor)++;
    if (*cursor == end || **cursor == stop)
        return false;
    for (; *cursor < end && !g_ascii_isspace(**cursor) && **cursor != stop; (*cursor)++, len++) {
        if (len == MAX_WORD - 1 || !g_ascii_isprint(**cursor)) {
            g_set_error(
                error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX,
                "a word is too long or not printable (allowed: printable, at most %d characters)",
                MAX_WORD - 1);
            return false;
        }
        ret_word->text[len] = **cursor;
    }
    ret_word->text[len] = '\0';
    return true;
}

/* Digits at *text, at most max; advances it. */
static bool read_digits(const char **text, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;
    const char *start = *text;

    for (; g_ascii_isdigit(**text); (*text)++) {
        value = value * 10 + (uint64_t)(**text - '0');
        if (value > max)
            return false;
    }
    *ret_value = value;
    return *text > start;
}

/* "64G"; 0 may go without a suffix. */
static bool read_size(const char **text, uint64_t *ret_bytes)
{
    uint64_t value = 0;

    if (!read_digits(text, UINT64_C(1) << 26, &value))
        return false;
    uint32_t shift = **text == 'M' ? 20 : **text == 'G' ? 30 : **text == 'T' ? 40 : 0;
    if (shift == 0) {
        *ret_bytes = 0;
        return value == 0;
    }
    (*text)++;
    if (value > (UINT64_C(1) << 46) >> shift) /* 64 TiB */
        return false;
    *ret_bytes = value << shift;
    return true;
}

/* A list of `count` or fewer values separated by ','; `is_size` tells their kind. */
static bool read_list(const char *text, bool is_size, uint64_t max, uint64_t *values,
                      uint32_t max_count, uint32_t *ret_count)
{
    *ret_count = 0;
    for (;;) {
        if (*ret_count == max_count || !(is_size ? read_size(&text, &values[*ret_count])
                                                 : read_digits(&text, max, &values[*ret_count])))
            return false;
        (*ret_count)++;
        if (*text == '\0')
            return true;
        if (*text++ != ',')
            return false;
    }
}

/* What was said of a host. */
typedef struct {
    uint64_t n_nodes, n_cpus, smt, memory_bytes; /* 0: not said */
    uint64_t cpus[HN_MAX_NODES], mem[HN_MAX_NODES], free_bytes[HN_MAX_NODES], ids[HN_MAX_NODES],
        gib_per_sec[HN_MAX_NODES];
    uint64_t huge2m[HN_MAX_NODES], huge1g[HN_MAX_NODES];
    uint32_t n_cpu_list, n_mem_list, n_free_list, n_id_list, n_bandwidth_list, n_huge2m, n_huge1g;
    uint64_t hops[HN_MAX_NODES];
    uint32_t n_hops;
    char matrix[MAX_WORD]; /* "": none */
    HnCpuset isolated;
    uint32_t seen; /* bit per rule */
} HostText;

/* Rules with a list of numbers. */
static const struct {
    const char *key;
    size_t values, count; /* offsets into HostText */
    bool is_size;
    uint64_t max;
    const char *allowed;
} list_rules[] = {
    {"cpus=", offsetof(HostText, cpus), offsetof(HostText, n_cpu_list), false, HN_MAX_CPUS,
     "CPUs per node, 0 to 8192 each, as in cpus=8,4,0"},
    {"mem=", offsetof(HostText, mem), offsetof(HostText, n_mem_list), true, 0,
     "memory per node up to 64T, as in mem=12G,6G,0"},
    {"free=", offsetof(HostText, free_bytes), offsetof(HostText, n_free_list), true, 0,
     "free memory per node up to 64T, as in free=4G,5G,0"},
    {"ids=", offsetof(HostText, ids), offsetof(HostText, n_id_list), false, 1023,
     "node ids, 0 to 1023, as in ids=0,1,8"},
    {"bw=", offsetof(HostText, gib_per_sec), offsetof(HostText, n_bandwidth_list), false, 100000,
     "GiB/s per node, 0 to 100000, as in bw=40,40"},
    {"huge2M=", offsetof(HostText, huge2m), offsetof(HostText, n_huge2m), false, UINT64_C(1) << 25,
     "free pages per node, as in huge2M=512,0"},
    {"huge1G=", offsetof(HostText, huge1g), offsetof(HostText, n_huge1g), false, UINT64_C(1) << 16,
     "free pages per node, as in huge1G=8,0"},
};

static bool once(HostText *host, uint32_t rule, const char *word, GError **error)
{
    if (host->seen >> rule & 1)
        return complain(error, HN_MODEL_ERROR_SYNTAX, word, "each kind of word once");
    host->seen |= 1u << rule;
    return true;
}

enum { RULE_NODES = 16, RULE_CPUS, RULE_SMT, RULE_MEMORY, RULE_DISTANCE, RULE_ISOLATED };

static bool read_distance(HostText *host, const char *word, GError **error)
{
    const char *list = word + strlen("dist=");

    if (!once(host, RULE_DISTANCE, word, error))
        return false;
    if (strchr(list, '/')) {
        g_strlcpy(host->matrix, list, sizeof(host->matrix));
        return true;
    }
    if (!read_list(list, false, 254, host->hops, HN_MAX_NODES, &host->n_hops) ||
        host->hops[0] != 10)
        return complain(error, HN_MODEL_ERROR_RANGE, word,
                        "10 and then distances of 10 to 254, as in dist=10,21,31");
    for (uint32_t i = 1; i < host->n_hops; i++)
        if (host->hops[i] < 10)
            return complain(error, HN_MODEL_ERROR_RANGE, word,
                            "distances of 10 to 254, as in dist=10,21,31");
    return true;
}

/* "4n", "16c", "64G". */
static bool read_counted(HostText *host, const char *word, GError **error)
{
    const char *text = word;
    uint64_t value = 0;

    if (!read_digits(&text, UINT64_C(1) << 26, &value))
        return complain(error, HN_MODEL_ERROR_RANGE, word, "a number below 67108864");
    if (strcmp(text, "n") == 0) {
        if (value < 1 || value > HN_MAX_NODES)
            return complain(error, HN_MODEL_ERROR_RANGE, word, "1 to 64 nodes");
        host->n_nodes = value;
        return once(host, RULE_NODES, word, error);
    }
    if (strcmp(text, "c") == 0) {
        if (value < 1 || value > HN_MAX_CPUS)
            return complain(error, HN_MODEL_ERROR_RANGE, word, "1 to 8192 CPUs");
        host->n_cpus = value;
        return once(host, RULE_CPUS, word, error);
    }
    text = word;
    if (!read_size(&text, &host->memory_bytes) || *text != '\0' || host->memory_bytes == 0)
        return complain(error, HN_MODEL_ERROR_SYNTAX, word,
                        "nodes (4n), CPUs (16c) or memory up to 64T (64G)");
    return once(host, RULE_MEMORY, word, error);
}

static bool read_host_word(HostText *host, const char *word, GError **error)
{
    for (uint32_t i = 0; i < G_N_ELEMENTS(list_rules); i++) {
        if (!g_str_has_prefix(word, list_rules[i].key))
            continue;
        uint64_t *values = (uint64_t *)(void *)((char *)host + list_rules[i].values);
        uint32_t *count = (uint32_t *)(void *)((char *)host + list_rules[i].count);
        if (!read_list(word + strlen(list_rules[i].key), list_rules[i].is_size, list_rules[i].max,
                       values, HN_MAX_NODES, count))
            return complain(error, HN_MODEL_ERROR_RANGE, word, list_rules[i].allowed);
        return once(host, i, word, error);
    }
    if (g_str_has_prefix(word, "dist="))
        return read_distance(host, word, error);
    if (g_str_has_prefix(word, "isolated=")) {
        const char *list = word + strlen("isolated=");
        if (!hn_cpuset_parse(list, strlen(list), &host->isolated, error)) {
            g_prefix_error(error, "'%s': ", word);
            return false;
        }
        return once(host, RULE_ISOLATED, word, error);
    }
    if (g_str_has_prefix(word, "smt")) {
        const char *text = word + 3;
        if (!read_digits(&text, 8, &host->smt) || *text != '\0' || host->smt == 0 ||
            (host->smt & (host->smt - 1)))
            return complain(error, HN_MODEL_ERROR_RANGE, word, "smt1, smt2, smt4 or smt8");
        return once(host, RULE_SMT, word, error);
    }
    if (g_ascii_isdigit(word[0]))
        return read_counted(host, word, error);
    return complain(error, HN_MODEL_ERROR_SYNTAX, word,
                    "one of Nn, Nc, smtN, SIZE, cpus=, mem=, free=, ids=, dist=, isolated=, bw=, "
                    "huge2M=, huge1G=");
}

/* A per-node list must have one value per node; the total, where said, must agree. */
static bool check_list(const char *name, uint32_t count, const uint64_t *values, uint64_t n_nodes,
                       uint64_t total, GError **error)
{
    uint64_t sum = 0;

    if (count != n_nodes) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE,
                    "%s lists %u values for %" G_GUINT64_FORMAT " nodes (allowed: one each)", name,
                    count, n_nodes);
        return false;
    }
    for (uint32_t i = 0; i < count; i++)
        sum += values[i];
    if (total && sum != total) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE,
                    "%s adds up to %" G_GUINT64_FORMAT ", but the total says %" G_GUINT64_FORMAT,
                    name, sum, total);
        return false;
    }
    return true;
}

/* Fills in what was not said. */
static bool complete(HostText *host, GError **error)
{
    if (!host->n_nodes)
        host->n_nodes = host->n_cpu_list   ? host->n_cpu_list
                        : host->n_mem_list ? host->n_mem_list
                                           : 1;
    if (!host->smt)
        host->smt = 1;
    if (!host->n_cpu_list) {
        if (!host->n_cpus || host->n_cpus % host->n_nodes) {
            g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE,
                        "%" G_GUINT64_FORMAT
                        " CPUs cannot be divided evenly over %" G_GUINT64_FORMAT
                        " nodes (allowed: a multiple, or cpus= with one value per node)",
                        host->n_cpus, host->n_nodes);
            return false;
        }
        host->n_cpu_list = (uint32_t)host->n_nodes;
        for (uint32_t n = 0; n < host->n_nodes; n++)
            host->cpus[n] = host->n_cpus / host->n_nodes;
    }
    if (!host->n_mem_list) {
        if (!host->memory_bytes) {
            g_set_error(
                error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE,
                "no memory is given (allowed: a total as in 64G, or mem= with one value per node)");
            return false;
        }
        host->n_mem_list = (uint32_t)host->n_nodes;
        for (uint32_t n = 0; n < host->n_nodes; n++)
            host->mem[n] = host->memory_bytes / host->n_nodes & ~UINT64_C(4095);
    } else if (!check_list("mem=", host->n_mem_list, host->mem, host->n_nodes, host->memory_bytes,
                           error)) {
        return false;
    }
    return check_list("cpus=", host->n_cpu_list, host->cpus, host->n_nodes, host->n_cpus, error) &&
           (!host->n_free_list ||
            check_list("free=", host->n_free_list, host->free_bytes, host->n_nodes, 0, error)) &&
           (!host->n_id_list ||
            check_list("ids=", host->n_id_list, host->ids, host->n_nodes, 0, error)) &&
           (!host->n_bandwidth_list || check_list("bw=", host->n_bandwidth_list, host->gib_per_sec,
                                                  host->n_nodes, 0, error)) &&
           (!host->n_huge2m ||
            check_list("huge2M=", host->n_huge2m, host->huge2m, host->n_nodes, 0, error)) &&
           (!host->n_huge1g ||
            check_list("huge1G=", host->n_huge1g, host->huge1g, host->n_nodes, 0, error));
}

static bool fill_matrix(HnHost *out, const HostText *host, GError **error)
{
    g_auto(GStrv) rows = g_strsplit(host->matrix, "/", HN_MAX_NODES + 1);
    uint64_t values[HN_MAX_NODES];

    if (g_strv_length(rows) != out->n_nodes)
        return complain(error, HN_MODEL_ERROR_SENSE, host->matrix, "as many rows as nodes");
    for (uint32_t n = 0; n < out->n_nodes; n++) {
        uint32_t count = 0;
        if (!read_list(rows[n], false, 254, values, HN_MAX_NODES, &count) || count != out->n_nodes)
            return complain(error, HN_MODEL_ERROR_SENSE, rows[n],
                            "one distance of 10 to 254 per node in each row");
        for (uint32_t m = 0; m < count; m++)
            out->distance[n * out->n_nodes + m] = (uint8_t)values[m];
    }
    return true;
}

static void add_pool(HnNode *node, uint64_t page_bytes, uint64_t pages)
{
    node->huge_pools[node->n_huge_pools++] = (HnHugePool){page_bytes, pages, pages};
    node->mem_free_bytes -= MIN(node->mem_free_bytes, page_bytes * pages);
}

static bool fill_node(HnNode *node, const HostText *host, uint32_t n, uint32_t first_cpu,
                      GError **error)
{
    node->id = host->n_id_list ? (int32_t)host->ids[n] : (int32_t)n;
    for (uint32_t c = 0; c < host->cpus[n]; c++)
        hn_cpuset_add(&node->cpus, first_cpu + c);
    hn_cpuset_and_not(&node->cpus, &host->isolated);
    node->n_cpus = hn_cpuset_count(&node->cpus);
    if (host->cpus[n] % host->smt) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE,
                    "%" G_GUINT64_FORMAT " CPUs of a node are not whole cores of %" G_GUINT64_FORMAT
                    " threads",
                    host->cpus[n], host->smt);
        return false;
    }
    /* Siblings are neighbours in number: core k of the node has threads k*smt to k*smt+smt-1. */
    for (uint32_t c = 0; c < host->cpus[n]; c += (uint32_t)host->smt) {
        bool has_thread = false;
        for (uint32_t t = 0; t < host->smt; t++)
            has_thread |= hn_cpuset_has(&node->cpus, first_cpu + c + t);
        node->n_cores += has_thread;
    }
    node->mem_total_bytes = host->mem[n];
    node->mem_free_bytes = host->n_free_list ? host->free_bytes[n] : host->mem[n];
    if (node->mem_free_bytes > node->mem_total_bytes) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE,
                    "free= says more than the memory of node %d", node->id);
        return false;
    }
    node->bandwidth_bytes_per_sec = host->n_bandwidth_list ? host->gib_per_sec[n] * GIB : 0;
    if (host->n_huge2m)
        add_pool(node, UINT64_C(2) << 20, host->huge2m[n]);
    if (host->n_huge1g)
        add_pool(node, GIB, host->huge1g[n]);
    return true;
}

HnHost *hn_topology_parse_host(const char *text, size_t len, GError **error)
{
    g_autofree HostText *host = g_new0(HostText, 1);
    g_autoptr(HnHost) out = NULL;
    g_autoptr(GError) bad_word = NULL;
    const char *cursor = text;
    Word word;
    uint32_t first_cpu = 0;

    if (len > MAX_TEXT) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX,
                    "host description longer than %d characters", MAX_TEXT);
        return NULL;
    }
    while (next_word(&cursor, text + len, '\0', &word, &bad_word))
        if (!read_host_word(host, word.text, error))
            return NULL;
    if (bad_word) {
        g_propagate_error(error, g_steal_pointer(&bad_word));
        return NULL;
    }
    if (cursor < text + len) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX,
                    "NUL character in a host description");
        return NULL;
    }
    if (!complete(host, error))
        return NULL;
    out = hn_host_new((uint32_t)host->n_nodes);
    out->page_bytes = 4096;
    out->isolated = host->isolated;
    for (uint32_t n = 0; n < out->n_nodes; n++) {
        if (first_cpu + host->cpus[n] > HN_MAX_CPUS) {
            g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_RANGE, "more than %d CPUs",
                        HN_MAX_CPUS);
            return NULL;
        }
        if (!fill_node(&out->nodes[n], host, n, first_cpu, error))
            return NULL;
        first_cpu += (uint32_t)host->cpus[n];
    }
    if (host->matrix[0] && !fill_matrix(out, host, error))
        return NULL;
    for (uint32_t n = 0; n < out->n_nodes && host->n_hops > 0; n++)
        for (uint32_t m = 0; m < out->n_nodes; m++)
            out->distance[n * out->n_nodes + m] =
                (uint8_t)(n == m ? 10
                          : host->n_hops == 1
                              ? 20
                              : host->hops[MIN(n > m ? n - m : m - n, host->n_hops - 1)]);
    if (!hn_host_validate(out, error))
        return NULL;
    return g_steal_pointer(&out);
}
