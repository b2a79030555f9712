/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Purpose, theory of operation and limits: see counters.h. */
#include "counters.h"

#include <string.h>

#define MIB_SHIFT 20

Meter *meter_new(uint64_t max_phys_bytes, uint64_t cache_bytes)
{
    uint64_t n_lines = cache_bytes >> METER_LINE_SHIFT;
    Meter *meter;

    if ((n_lines == 0 && cache_bytes != 0) || (n_lines & (n_lines - 1)) != 0 ||
        n_lines << METER_LINE_SHIFT != cache_bytes) {
        return NULL;
    }
    meter = g_new0(Meter, 1);
    meter->n_lines = n_lines;
    meter->n_mib = max_phys_bytes >> MIB_SHIFT;
    meter->node_of_mib = g_malloc(meter->n_mib);
    memset(meter->node_of_mib, METER_NO_NODE, meter->n_mib);
    meter->n_pages = max_phys_bytes >> METER_PAGE_SHIFT;
    meter->guest_of_page = g_malloc0(meter->n_pages);
    return meter;
}

void meter_free(Meter *meter)
{
    for (unsigned i = 0; i < METER_MAX_VCPUS; i++) {
        if (meter->vcpus[i] != NULL) {
            g_free(meter->vcpus[i]->tags);
            g_aligned_free(meter->vcpus[i]);
        }
    }
    g_free(meter->node_of_mib);
    g_free(meter->guest_of_page);
    g_free(meter);
}

bool meter_add_vcpu(Meter *meter, unsigned vcpu_index)
{
    MeterVcpu *vcpu;

    if (vcpu_index >= METER_MAX_VCPUS) {
        return false;
    }
    if (meter->vcpus[vcpu_index] == NULL) {
        vcpu = g_aligned_alloc0(1, sizeof *vcpu, 128);
        vcpu->tags = g_new0(uint64_t, meter->n_lines + 1);
        __atomic_store_n(&meter->vcpus[vcpu_index], vcpu, __ATOMIC_RELEASE);
    }
    return true;
}

unsigned meter_space(Meter *meter, uint64_t root)
{
    for (unsigned i = 1; i < METER_MAX_SPACES - 1; i++) {
        uint64_t seen = __atomic_load_n(&meter->roots[i], __ATOMIC_RELAXED);

        if (seen == 0 && __atomic_compare_exchange_n(&meter->roots[i], &seen, root, false,
                                                     __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
            return i;
        }
        if (seen == root) { /* another thread may have been faster */
            return i;
        }
    }
    return METER_MAX_SPACES - 1;
}

bool meter_set_node(Meter *meter, uint64_t start, uint64_t end, unsigned node)
{
    if (node >= METER_NO_NODE || start > end || end >> MIB_SHIFT > meter->n_mib ||
        (start | end) & ((1 << MIB_SHIFT) - 1)) {
        return false;
    }
    memset(meter->node_of_mib + (start >> MIB_SHIFT), (int)node, (end - start) >> MIB_SHIFT);
    return true;
}

bool meter_announce_pages(Meter *meter, unsigned guest, uint64_t first_page, uint64_t end_page)
{
    if (guest == 0 || guest >= METER_MAX_GUESTS || first_page > end_page ||
        end_page > meter->n_pages) {
        return false;
    }
    memset(meter->guest_of_page + first_page, (int)guest, end_page - first_page);
    return true;
}

bool meter_announce_range(Meter *meter, unsigned guest, uint64_t start, uint64_t end)
{
    if (guest == 0 || guest >= METER_MAX_GUESTS || start >= end ||
        meter->n_ranges == METER_MAX_RANGES) {
        return false;
    }
    meter->ranges[meter->n_ranges] = (MeterRange){start, end, guest};
    __atomic_store_n(&meter->n_ranges, meter->n_ranges + 1, __ATOMIC_RELEASE);
    return true;
}

void meter_forget(Meter *meter)
{
    __atomic_store_n(&meter->n_ranges, 0, __ATOMIC_RELEASE);
    memset(meter->guest_of_page, 0, meter->n_pages);
    memset(meter->votes, 0, sizeof meter->votes);
    memset(meter->n_votes, 0, sizeof meter->n_votes);
}

bool meter_in_range(const Meter *meter, uint64_t vaddr, unsigned *ret_guest)
{
    unsigned n = __atomic_load_n(&meter->n_ranges, __ATOMIC_ACQUIRE);

    for (unsigned i = 0; i < n; i++) {
        if (vaddr - meter->ranges[i].start < meter->ranges[i].end - meter->ranges[i].start) {
            *ret_guest = meter->ranges[i].guest;
            return true;
        }
    }
    return false;
}

void meter_count(Meter *meter, MeterVcpu *vcpu, unsigned space, uint64_t vaddr, uint64_t phys)
{
    uint64_t mib = phys >> MIB_SHIFT, page = phys >> METER_PAGE_SHIFT;
    unsigned node = mib < meter->n_mib ? meter->node_of_mib[mib] : METER_NO_NODE;
    unsigned guest;

    vcpu->cells[space].nodes[node]++;
    if (space == 0) {
        if (meter_in_range(meter, vaddr, &guest)) {
            vcpu->range_nodes[guest][node]++;
        }
        return;
    }
    /* Votes of several vCPUs may overwrite each other: a few lost ones do not matter. */
    if (meter->n_votes[space] < METER_VOTES_ENOUGH && page < meter->n_pages) {
        guest = meter->guest_of_page[page];
        if (guest != 0) {
            meter->votes[space][guest]++;
            meter->n_votes[space]++;
        }
    }
}

static void add_nodes(GString *json, const uint64_t nodes[METER_MAX_NODES])
{
    unsigned n = METER_MAX_NODES;

    while (n > 1 && nodes[n - 1] == 0) {
        n--;
    }
    for (unsigned i = 0; i < n; i++) {
        g_string_append_printf(json, "%s%" G_GUINT64_FORMAT, i == 0 ? "[" : ",", nodes[i]);
    }
    g_string_append_c(json, ']');
}

static void add_space(GString *json, const Meter *meter, unsigned space)
{
    const char *separator = "";

    g_string_append_printf(json, "{\"space\":%u,\"root\":%" G_GUINT64_FORMAT ",\"votes\":{", space,
                           meter->roots[space]);
    for (unsigned guest = 1; guest < METER_MAX_GUESTS; guest++) {
        if (meter->votes[space][guest] != 0) {
            g_string_append_printf(json, "%s\"%u\":%u", separator, guest,
                                   meter->votes[space][guest]);
            separator = ",";
        }
    }
    g_string_append(json, "},\"vcpus\":{");
    separator = "";
    for (unsigned i = 0; i < METER_MAX_VCPUS; i++) {
        const MeterVcpu *vcpu = __atomic_load_n(&meter->vcpus[i], __ATOMIC_ACQUIRE);
        const MeterCell *cell = vcpu != NULL ? &vcpu->cells[space] : NULL;

        if (cell == NULL || (cell->accesses == 0 && cell->entries == 0)) {
            continue;
        }
        g_string_append_printf(json,
                               "%s\"%u\":{\"accesses\":%" G_GUINT64_FORMAT
                               ",\"insns\":%" G_GUINT64_FORMAT ",\"entries\":%" G_GUINT64_FORMAT
                               ",\"nodes\":",
                               separator, i, cell->accesses, cell->insns, cell->entries);
        add_nodes(json, cell->nodes);
        g_string_append_c(json, '}');
        separator = ",";
    }
    g_string_append(json, "}}");
}

static void add_ranges(GString *json, const Meter *meter)
{
    const char *separator = "";

    for (unsigned guest = 1; guest < METER_MAX_GUESTS; guest++) {
        for (unsigned i = 0; i < METER_MAX_VCPUS; i++) {
            const MeterVcpu *vcpu = __atomic_load_n(&meter->vcpus[i], __ATOMIC_ACQUIRE);
            uint64_t sum = 0;

            for (unsigned node = 0; vcpu != NULL && node < METER_MAX_NODES; node++) {
                sum += vcpu->range_nodes[guest][node];
            }
            if (sum != 0) {
                g_string_append_printf(json, "%s{\"guest\":%u,\"vcpu\":%u,\"nodes\":", separator,
                                       guest, i);
                add_nodes(json, vcpu->range_nodes[guest]);
                g_string_append_c(json, '}');
                separator = ",";
            }
        }
    }
}

void meter_to_json(const Meter *meter, bool is_armed, int64_t now_ns, GString *json)
{
    unsigned n_vcpus = 0;
    const char *separator = "";

    while (n_vcpus < METER_MAX_VCPUS && meter->vcpus[n_vcpus] != NULL) {
        n_vcpus++;
    }
    g_string_append_printf(json,
                           "{\"ok\":true,\"t_ns\":%" G_GINT64_FORMAT ",\"is_armed\":%s,"
                           "\"n_vcpus\":%u,\"spaces\":[",
                           now_ns, is_armed ? "true" : "false", n_vcpus);
    for (unsigned space = 1; space < METER_MAX_SPACES; space++) {
        if (meter->roots[space] != 0 || space == METER_MAX_SPACES - 1) {
            g_string_append(json, separator);
            add_space(json, meter, space);
            separator = ",";
        }
    }
    g_string_append(json, "],\"ranges\":[");
    add_ranges(json, meter);
    g_string_append(json, "]}");
}
