/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Purpose, theory of operation and limits: see layout.h. */
#include "layout.h"

/* Offsets start where RAM does, so that below the hole they equal GPAs. */
static uint64_t ram_top_offset(const RamMap *ram)
{
    uint64_t top = ram->n_ranges > 0 ? ram->ranges[0].start : 0;

    for (unsigned i = 0; i < ram->n_ranges; i++) {
        top += ram->ranges[i].end - ram->ranges[i].start;
    }
    return top;
}

bool layout_make(const Options *options, const RamMap *ram, unsigned n_vcpus, uint64_t own_end,
                 Layout *ret_layout, OptionError *ret_error)
{
    uint64_t top = ram_top_offset(ram);
    uint64_t top_mib = top / MIB_BYTES;
    uint64_t lowest_mib = (own_end + MIB_BYTES - 1) / MIB_BYTES;
    unsigned n_used = options->vcpus != 0 ? (unsigned)options->vcpus : n_vcpus;
    uint64_t room_mib, ws_mib, smallest_bytes;
    Layout layout = {.ram = *ram, .pattern = options->pattern};

    if (n_used > n_vcpus) {
        options_refuse_range(ret_error, "vcpus", n_used, 1, n_vcpus, "");
        return false;
    }
    if (options->base_mib < lowest_mib || options->base_mib >= top_mib) {
        options_refuse_range(ret_error, "base", options->base_mib, lowest_mib,
                             top_mib > 0 ? top_mib - 1 : 0, " MiB");
        return false;
    }
    room_mib = top_mib - options->base_mib;
    if (options->cold_mib >= room_mib) {
        options_refuse_range(ret_error, "cold", options->cold_mib, 0, room_mib - 1, " MiB");
        return false;
    }
    room_mib -= options->cold_mib;
    ws_mib = options->ws_mib != 0 ? options->ws_mib : room_mib;
    if (ws_mib > room_mib) {
        options_refuse_range(ret_error, "ws", ws_mib, 1, room_mib, " MiB");
        return false;
    }
    smallest_bytes = ws_mib * MIB_BYTES / n_used / PAGE_BYTES * PAGE_BYTES;
    if (options->stride_bytes > smallest_bytes) {
        options_refuse_range(ret_error, "stride", options->stride_bytes, 8, smallest_bytes,
                             " (a vCPU's slice)");
        return false;
    }

    layout.n_vcpus = n_used;
    layout.ws.start = options->base_mib * MIB_BYTES;
    layout.ws.end = layout.ws.start + ws_mib * MIB_BYTES;
    layout.cold.start = layout.ws.end;
    layout.cold.end = layout.cold.start + options->cold_mib * MIB_BYTES;
    layout.rest.start = layout.cold.end;
    layout.rest.end = top / PAGE_BYTES * PAGE_BYTES;
    *ret_layout = layout;
    return true;
}

Range layout_part(Range area, unsigned rank, unsigned n_parts)
{
    uint64_t n_pages = (area.end - area.start) / PAGE_BYTES;

    return (Range){
        .start = area.start + n_pages * rank / n_parts * PAGE_BYTES,
        .end = area.start + n_pages * (rank + 1) / n_parts * PAGE_BYTES,
    };
}

Slice layout_slice(const Layout *layout, unsigned vcpu, uint64_t phase)
{
    unsigned n = layout->n_vcpus;
    unsigned n_lower = (n + 1) / 2;

    switch ((Pattern)layout->pattern) {
    case PATTERN_SHARED:
    case PATTERN_NUMA01:
        return (Slice){.offsets = layout->ws, .rank = vcpu, .n_sharers = n};
    case PATTERN_HALF:
        if (vcpu < n_lower) {
            return (Slice){layout_part(layout->ws, 0, 2), vcpu, n_lower};
        }
        return (Slice){layout_part(layout->ws, 1, 2), vcpu - n_lower, n - n_lower};
    case PATTERN_PHASE:
        return (Slice){layout_part(layout->ws, (unsigned)((vcpu + phase) % n), n), 0, 1};
    case PATTERN_PRIVATE:
    case PATTERN_IDLE_WAKE:
    case PATTERN_THREAD_ALLOC:
    case PATTERN_NUMA02:
        break;
    }
    return (Slice){layout_part(layout->ws, vcpu, n), 0, 1};
}

unsigned layout_resolve(const RamMap *ram, Range offsets, Range ret_ranges[MAX_RANGES])
{
    uint64_t offset = ram->n_ranges > 0 ? ram->ranges[0].start : 0;
    unsigned n = 0;

    for (unsigned i = 0; i < ram->n_ranges; i++) {
        uint64_t size = ram->ranges[i].end - ram->ranges[i].start;
        uint64_t from = offsets.start > offset ? offsets.start : offset;
        uint64_t to = offsets.end < offset + size ? offsets.end : offset + size;

        if (from < to) {
            ret_ranges[n].start = ram->ranges[i].start + (from - offset);
            ret_ranges[n].end = ram->ranges[i].start + (to - offset);
            n++;
        }
        offset += size;
    }
    return n;
}

void layout_add_ranges(Text *text, const char *key, const RamMap *ram, Range offsets)
{
    Range ranges[MAX_RANGES];
    unsigned n = layout_resolve(ram, offsets, ranges);

    text_key(text, key, n == 0 ? "none" : "");
    for (unsigned i = 0; i < n; i++) {
        text_add(text, i == 0 ? "" : "+");
        text_add_hex(text, ranges[i].start);
        text_add(text, "-");
        text_add_hex(text, ranges[i].end);
    }
}

uint64_t layout_next_index(uint64_t seed, uint64_t n_words, uint64_t *state)
{
    uint64_t mask = 0;

    while (mask < n_words - 1) {
        mask = mask << 1 | 1;
    }
    do {
        *state = (*state * 6364136223846793005u + (seed << 1 | 1)) & mask;
    } while (*state >= n_words);
    return *state;
}
