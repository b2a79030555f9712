/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One-line fleets: groups of guests, and the snapshot they make. The grammar is in topology.h.
 */
#include <homenode/topology.h>

#include <string.h>

#define MAX_TEXT 65536
#define MAX_WORD 128
#define MAX_GUESTS 100000
#define SECOND_NS UINT64_C(1000000000)

static bool complain(GError **error, const char *word, const char *allowed)
{
    g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX, "'%s': allowed is %s", word, allowed);
    return false;
}

static bool read_digits(const char **text, uint64_t max, uint64_t *ret_value)
{
    const char *start = *text;
    uint64_t value = 0;

    for (; g_ascii_isdigit(**text); (*text)++) {
        value = value * 10 + (uint64_t)(**text - '0');
        if (value > max)
            return false;
    }
    *ret_value = value;
    return *text > start;
}

/* A whole number that is the rest of a word. */
static bool read_whole(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value)
{
    return read_digits(&text, max, ret_value) && *text == '\0' && *ret_value >= min;
}

/* "3.5" as 3500; at most three decimals count. */
static bool read_load(const char *text, uint64_t *ret_mcpu)
{
    uint64_t whole = 0, thousandths = 0, unit = 100;

    if (!read_digits(&text, HN_MAX_CPUS, &whole))
        return false;
    if (*text == '.')
        for (text++; g_ascii_isdigit(*text); text++, unit /= 10)
            thousandths += unit * (uint64_t)(*text - '0');
    *ret_mcpu = whole * 1000 + thousandths;
    return *text == '\0';
}

/* "8x", "4v", "8G". */
static bool read_counted(HnFleetGroup *group, const char *word, GError **error)
{
    const char *text = word;
    uint64_t value = 0;

    if (!read_digits(&text, UINT64_C(1) << 26, &value) || value == 0)
        return complain(error, word, "a number from 1 to 67108864 and a letter");
    if (strcmp(text, "x") == 0 && value <= MAX_GUESTS) {
        group->count = (uint32_t)value;
        return true;
    }
    if (strcmp(text, "v") == 0 && value <= 4096) {
        group->n_vcpus = (uint32_t)value;
        return true;
    }
    uint32_t shift = strcmp(text, "M") == 0   ? 20
                     : strcmp(text, "G") == 0 ? 30
                     : strcmp(text, "T") == 0 ? 40
                                              : 0;
    if (shift && value <= (UINT64_C(1) << 46) >> shift) {
        group->memory_bytes = value << shift;
        return true;
    }
    return complain(error, word,
                    "guests (8x, to 100000), vCPUs (4v, to 4096) or memory (8G, to 64T)");
}

static bool read_name(const char *word, const char *text, char **ret_name, GError **error)
{
    if (*text == '\0' || *ret_name)
        return complain(error, word, "a name, once");
    *ret_name = g_strdup(text);
    return true;
}

static bool read_word(HnFleetGroup *group, const char *word, GError **error)
{
    const char *value = strchr(word, '=');
    uint64_t number = 0;

    value = value ? value + 1 : "";
    if (g_ascii_isdigit(word[0]))
        return read_counted(group, word, error);
    if (g_str_has_prefix(word, "load="))
        return read_load(value, &group->load_mcpu) ||
               complain(error, word, "CPUs from 0 to 8192, as in load=3.5");
    if (g_str_has_prefix(word, "on=") || g_str_has_prefix(word, "home=")) {
        if (!read_whole(value, 0, HN_MAX_NODES - 1, &number))
            return complain(error, word, "a node index, 0 to 63");
        *(word[0] == 'o' ? &group->memory_node : &group->home_node) = (int32_t)number;
        return true;
    }
    if (g_str_has_prefix(word, "mode=")) {
        for (HnMode mode = HN_MODE_NONE; mode <= HN_MODE_AUTO; mode++)
            if (strcmp(value, hn_mode_name(mode)) == 0) {
                group->mode = mode;
                return true;
            }
        return complain(error, word, "mode=none, off, advise or auto");
    }
    if (g_str_has_prefix(word, "weight=")) {
        if (!read_whole(value, 1, 1000, &number))
            return complain(error, word, "1 to 1000");
        group->weight = (uint32_t)number;
        return true;
    }
    if (g_str_has_prefix(word, "group="))
        return read_name(word, value, &group->group, error);
    if (g_str_has_prefix(word, "anti="))
        return read_name(word, value, &group->anti_group, error);
    if (strcmp(word, "keep") == 0 || strcmp(word, "stuck") == 0) {
        *(word[0] == 'k' ? &group->is_kept : &group->is_stuck) = true;
        return true;
    }
    return complain(
        error, word,
        "one of Nx, Nv, SIZE, load=, on=, home=, mode=, weight=, group=, anti=, keep, stuck");
}

static void group_clear(gpointer data)
{
    HnFleetGroup *group = data;

    g_free(group->group);
    g_free(group->anti_group);
}

static bool read_group(HnFleetGroup *group, const char *text, size_t len, uint32_t number,
                       GError **error)
{
    const char *end = text + len;
    char word[MAX_WORD];

    while (text < end) {
        size_t length = 0;
        if (g_ascii_isspace(*text)) {
            text++;
            continue;
        }
        for (; text < end && !g_ascii_isspace(*text); text++) {
            if (length == MAX_WORD - 1 || !g_ascii_isprint(*text))
                return complain(error, "…", "printable words of at most 127 characters");
            word[length++] = *text;
        }
        word[length] = '\0';
        if (!read_word(group, word, error))
            return false;
    }
    if (group->n_vcpus == 0 || group->memory_bytes == 0) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE,
                    "group %u lacks vCPUs (as in 4v) or memory (as in 8G)", number);
        return false;
    }
    if (group->load_mcpu == UINT64_MAX)
        group->load_mcpu = (uint64_t)group->n_vcpus * 1000;
    if (group->load_mcpu > (uint64_t)group->n_vcpus * 1000) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE,
                    "group %u: load exceeds its %u vCPUs (allowed: at most one CPU each)", number,
                    group->n_vcpus);
        return false;
    }
    return true;
}

GArray *hn_topology_parse_fleet(const char *text, size_t len, GError **error)
{
    g_autoptr(GArray) fleet = g_array_new(FALSE, TRUE, sizeof(HnFleetGroup));
    const char *end = text + len;
    uint64_t n_guests = 0;

    g_array_set_clear_func(fleet, group_clear);
    if (len > MAX_TEXT) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX,
                    "fleet description longer than %d characters", MAX_TEXT);
        return NULL;
    }
    for (const char *start = text; start < end;) {
        const char *stop = memchr(start, ';', (size_t)(end - start));
        if (!stop)
            stop = end;
        HnFleetGroup fresh = {.count = 1,
                              .load_mcpu = UINT64_MAX,
                              .memory_node = HN_NODE_NONE,
                              .home_node = HN_NODE_NONE,
                              .mode = HN_MODE_AUTO,
                              .weight = 100};
        g_array_append_val(fleet, fresh);
        HnFleetGroup *group = &g_array_index(fleet, HnFleetGroup, fleet->len - 1);
        if (!read_group(group, start, (size_t)(stop - start), fleet->len, error))
            return NULL;
        n_guests += group->count;
        start = stop + 1;
    }
    if (n_guests > MAX_GUESTS) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_RANGE,
                    "%" G_GUINT64_FORMAT " guests (allowed: at most %d)", n_guests, MAX_GUESTS);
        return NULL;
    }
    return g_steal_pointer(&fleet);
}

/* Takes memory from nodes in equal parts, or from one; false if it is not there. */
static bool take_memory(HnHost *host, HnDomain *domain, const HnFleetGroup *group)
{
    uint64_t left = group->memory_bytes;
    uint32_t n_with = 0;

    for (uint32_t n = 0; n < host->n_nodes; n++)
        n_with += host->nodes[n].mem_total_bytes > 0;
    for (uint32_t n = 0; n < host->n_nodes; n++) {
        bool is_source = group->memory_node == HN_NODE_NONE ? host->nodes[n].mem_total_bytes > 0
                                                            : group->memory_node == (int32_t)n;
        if (!is_source)
            continue;
        uint64_t part = group->memory_node == HN_NODE_NONE ? left / n_with-- : left;
        if (part > host->nodes[n].mem_free_bytes)
            return false;
        host->nodes[n].mem_free_bytes -= part;
        domain->resident_bytes[n] = part;
        domain->immovable_bytes[n] = group->is_stuck ? part : 0;
        left -= part;
    }
    return true;
}

static HnDomain *make_guest(const HnHost *host, const HnFleetGroup *group, uint32_t index,
                            uint64_t now_ns)
{
    HnDomain *domain = hn_domain_new(host->n_nodes);
    HnCpuset cpus;

    g_snprintf(domain->uuid, sizeof(domain->uuid), "00000000-0000-0000-0000-%012u", index);
    domain->name = g_strdup_printf("g%u", index);
    domain->is_kvm = true;
    domain->pid = 100000 + (int64_t)index;
    domain->start_ticks = 1;
    domain->started_ns = now_ns > 3600 * SECOND_NS ? now_ns - 3600 * SECOND_NS : 0;
    domain->wish.mode = group->mode;
    domain->wish.memory = group->is_kept ? HN_MEMORY_KEEP : HN_MEMORY_FOLLOW;
    domain->wish.weight = group->weight;
    domain->wish.group = g_strdup(group->group);
    domain->wish.anti_group = g_strdup(group->anti_group);
    domain->configured_bytes = domain->current_bytes = group->memory_bytes;
    domain->resident_source = HN_SOURCE_CGROUP;
    hn_host_cpus_of(
        host, group->home_node == HN_NODE_NONE ? ~UINT64_C(0) : UINT64_C(1) << group->home_node,
        &cpus);
    for (uint32_t v = 0; v < group->n_vcpus; v++) {
        HnVcpu *vcpu = hn_domain_add_vcpu(domain, host->n_nodes);
        vcpu->id = v;
        vcpu->tid = (int32_t)(index * 4096 + v + 1);
        vcpu->start_ticks = 1;
        vcpu->affinity = cpus;
    }
    return domain;
}

HnSnapshot *hn_topology_populate(const HnHost *host, const GArray *fleet, uint64_t now_ns,
                                 GError **error)
{
    g_autoptr(HnSnapshot) snapshot = hn_snapshot_new();
    uint32_t index = 0;

    snapshot->taken_ns = now_ns;
    snapshot->host = hn_host_copy(host);
    for (guint g = 0; g < fleet->len; g++) {
        const HnFleetGroup *group = &g_array_index(fleet, HnFleetGroup, g);
        if (group->memory_node >= (int32_t)host->n_nodes ||
            group->home_node >= (int32_t)host->n_nodes) {
            g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE,
                        "group %u names a node the host lacks (allowed: 0 to %u)", g + 1,
                        host->n_nodes - 1);
            return NULL;
        }
        if (group->home_node != HN_NODE_NONE && host->nodes[group->home_node].n_cpus == 0) {
            g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE,
                        "group %u: node %d has no CPUs to be a home", g + 1, group->home_node);
            return NULL;
        }
        for (uint32_t i = 0; i < group->count; i++) {
            HnDomain *domain = make_guest(host, group, index++, now_ns);
            g_ptr_array_add(snapshot->domains, domain);
            if (!take_memory(snapshot->host, domain, group)) {
                g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE,
                            "group %u: memory of guest %u does not fit where it should lie", g + 1,
                            i + 1);
                return NULL;
            }
        }
    }
    return g_steal_pointer(&snapshot);
}

void hn_topology_advance(HnSnapshot *snapshot, const GArray *fleet, uint64_t elapsed_ns)
{
    guint index = 0;

    snapshot->taken_ns += elapsed_ns;
    for (guint g = 0; g < fleet->len; g++) {
        const HnFleetGroup *group = &g_array_index(fleet, HnFleetGroup, g);
        for (uint32_t i = 0; i < group->count && index < snapshot->domains->len; i++, index++) {
            HnDomain *domain = g_ptr_array_index(snapshot->domains, index);
            for (uint32_t v = 0; v < domain->n_vcpus; v++)
                domain->vcpus[v].exec_ns += (uint64_t)((unsigned __int128)elapsed_ns *
                                                       group->load_mcpu / domain->n_vcpus / 1000);
        }
    }
}
