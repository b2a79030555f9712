/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Recognising guest RAM; see regions.h.
 *
 * Reading smaps walks the page tables of the whole process with the mmap lock held (9 ms/GiB with
 * small pages, docs/evidence.md): the caller does it when a guest is first seen and when its mappings
 * changed, never in a loop.
 */
#include "observe/regions.h"
#include "observe/text.h"

#include <string.h>

/* A guest with thousands of mappings (passthrough BARs, many threads) stays far below. */
#define MAX_SMAPS_BYTES (64u << 20)
#define MAX_MAPPINGS 262144u
#define GIB ((uint64_t)1 << 30)
#define INODE_BATCH 1024
/* HyperTransport range of AMD hosts: QEMU ≥ 7.1 moves all memory above 4 GiB to 1 TiB when RAM
 * would reach it, but only for guests with an AMD processor (hw/i386/pc.c, AMD_HT_START). */
#define AMD_HT_START 0xfd00000000u

static void clear_mapping(void *data)
{
    g_free(((HnMapping *)data)->name);
}

/* "7fd873c00000-7fd877c00000 rw-p 00000000 00:00 0    name": false if this is no such line. */
static bool parse_header(HnText line, HnMapping *ret_mapping)
{
    HnMapping mapping = {0};
    HnText perms, word;
    uint64_t offset;

    if (!hn_text_hex(&line, &mapping.start) || !hn_text_take(&line, "-") ||
        !hn_text_hex(&line, &mapping.end) || !hn_text_word(&line, &perms) ||
        hn_text_len(&perms) != 4 || mapping.end <= mapping.start)
        return false;
    hn_text_skip_blanks(&line);
    if (!hn_text_hex(&line, &offset) || !hn_text_word(&line, &word))
        return false;
    hn_text_skip_blanks(&line);
    if (!hn_text_u64(&line, &mapping.inode))
        return false;
    mapping.is_writable = perms.at[1] == 'w';
    mapping.is_shared = perms.at[3] == 's';
    hn_text_skip_blanks(&line);
    if (!hn_text_is_empty(&line))
        mapping.name = hn_text_dup(&line);
    *ret_mapping = mapping;
    return true;
}

static bool parse_field_kib(HnText value, uint64_t *ret_bytes)
{
    uint64_t kib;

    hn_text_skip_blanks(&value);
    if (!hn_text_u64(&value, &kib) || kib > UINT64_MAX / 1024 || !hn_text_take(&value, " kB"))
        return false;
    *ret_bytes = kib * 1024;
    return true;
}

static void parse_flags(HnText value, HnMapping *mapping)
{
    HnText flag;

    while (hn_text_word(&value, &flag)) {
        if (hn_text_equal(&flag, "dc"))
            mapping->is_dontcopy = true;
        else if (hn_text_equal(&flag, "hg"))
            mapping->is_hugepage_advised = true;
        else if (hn_text_equal(&flag, "ht"))
            mapping->is_hugetlb = true;
        else if (hn_text_equal(&flag, "lo"))
            mapping->is_locked = true;
        else if (hn_text_equal(&flag, "sd"))
            mapping->is_soft_dirty = true;
    }
}

/* A "Key: value" line of the mapping before it. */
static bool parse_detail(HnText line, HnMapping *mapping)
{
    HnText key;
    uint64_t bytes;

    if (!hn_text_until(&line, ':', &key))
        return false;
    if (hn_text_equal(&key, "VmFlags")) {
        parse_flags(line, mapping);
        return true;
    }
    if (hn_text_equal(&key, "Rss"))
        return parse_field_kib(line, &mapping->rss_bytes);
    if (hn_text_equal(&key, "KernelPageSize"))
        return parse_field_kib(line, &mapping->kernel_page_bytes);
    if (hn_text_equal(&key, "Swap"))
        return parse_field_kib(line, &mapping->swap_bytes);
    if (hn_text_equal(&key, "AnonHugePages") || hn_text_equal(&key, "ShmemPmdMapped") ||
        hn_text_equal(&key, "FilePmdMapped")) {
        if (!parse_field_kib(line, &bytes) || bytes > UINT64_MAX - mapping->huge_bytes)
            return false;
        mapping->huge_bytes += bytes;
    }
    return true;
}

GArray *hn_smaps_parse(const char *text, size_t len, GError **error)
{
    g_autoptr(GArray) mappings = g_array_new(FALSE, TRUE, sizeof(HnMapping));
    HnText rest = hn_text(text, len);
    HnText line;

    g_array_set_clear_func(mappings, clear_mapping);
    while (hn_text_line(&rest, &line)) {
        HnMapping mapping;

        if (hn_text_is_empty(&line))
            continue;
        /* Keys begin with a capital letter, addresses are in lower-case hexadecimal. */
        if (!g_ascii_isupper(*line.at)) {
            if (!parse_header(line, &mapping)) {
                hn_text_fail(error, "smaps", "not a mapping", &line);
                return NULL;
            }
            if (mappings->len >= MAX_MAPPINGS) {
                g_free(mapping.name);
                hn_text_fail(error, "smaps", "more than 262144 mappings", &line);
                return NULL;
            }
            g_array_append_val(mappings, mapping);
        } else if (mappings->len == 0 ||
                   !parse_detail(line, &g_array_index(mappings, HnMapping, mappings->len - 1))) {
            hn_text_fail(error, "smaps", "bad value", &line);
            return NULL;
        }
    }
    return g_steal_pointer(&mappings);
}

GArray *hn_smaps_read(const HnRoot *root, int64_t pid, GError **error)
{
    g_autofree char *path = g_strdup_printf("proc/%" G_GINT64_FORMAT "/smaps", pid);
    g_autofree char *text = NULL;
    size_t len;

    if (!hn_root_read(root, path, MAX_SMAPS_BYTES, &text, &len, error))
        return NULL;
    return hn_smaps_parse(text, len, error);
}

HnGpaLayout hn_gpa_layout(const char *machine_type, uint64_t boot_bytes)
{
    HnGpaLayout layout = {0};
    uint64_t threshold_bytes, low_bytes;
    const char *type = machine_type ? machine_type : "";

    if (g_str_has_prefix(type, "virt")) {
        layout.ram_base = GIB;
        layout.is_certain = true;
        return layout;
    }
    if (g_str_has_prefix(type, "pc-q35") || g_str_equal(type, "q35")) {
        threshold_bytes = 0xb0000000;
        low_bytes = 0x80000000;
        layout.is_certain = true;
    } else {
        /* i440fx, and the guess for anything else. */
        threshold_bytes = 0xe0000000;
        low_bytes = 0xc0000000;
        layout.is_certain = g_str_has_prefix(type, "pc-i440fx") || g_str_equal(type, "pc") ||
                            boot_bytes <= 0x80000000; /* below every known hole */
    }
    if (boot_bytes >= threshold_bytes) {
        layout.hole_start = low_bytes;
        layout.hole_end = 4 * GIB;
        if (boot_bytes - low_bytes + 4 * GIB > AMD_HT_START)
            layout.is_certain = false;
    }
    return layout;
}

void hn_region_map_clear(HnRegionMap *map)
{
    for (uint32_t i = 0; i < map->n_regions; i++) {
        g_free(map->regions[i].resident_bytes);
        g_free(map->regions[i].chunks);
    }
    g_free(map->regions);
    g_free(map->problem);
    *map = (HnRegionMap){0};
}

/* A mapping, or several in a row that are one backend (mlock or madvise of a part splits a mapping;
 * the guard page keeps different backends apart). */
typedef struct {
    HnMapping joined; /* name borrowed */
    bool is_taken;
} Candidate;

static bool is_same_block(const HnMapping *before, const HnMapping *after)
{
    return before->end == after->start && before->is_shared == after->is_shared &&
           before->inode == after->inode && before->is_hugetlb == after->is_hugetlb &&
           g_strcmp0(before->name, after->name) == 0;
}

static GArray *find_candidates(const GArray *mappings)
{
    GArray *candidates = g_array_new(FALSE, TRUE, sizeof(Candidate));
    const HnMapping *previous = NULL;
    bool has_advice = false;

    /* A kernel without transparent huge pages never shows "hg": then "dc" alone must do. */
    for (guint i = 0; i < mappings->len; i++) {
        const HnMapping *mapping = &g_array_index(mappings, HnMapping, i);

        has_advice |= mapping->is_hugepage_advised && mapping->is_dontcopy;
    }
    for (guint i = 0; i < mappings->len; i++) {
        const HnMapping *mapping = &g_array_index(mappings, HnMapping, i);
        Candidate candidate = {.joined = *mapping};
        Candidate *last;

        if (!mapping->is_writable || !mapping->is_dontcopy)
            continue;
        if (has_advice && !mapping->is_hugepage_advised && !mapping->is_hugetlb &&
            mapping->inode == 0)
            continue;
        last =
            candidates->len > 0 ? &g_array_index(candidates, Candidate, candidates->len - 1) : NULL;
        if (last && previous && is_same_block(previous, mapping)) {
            last->joined.end = mapping->end;
            last->joined.rss_bytes += mapping->rss_bytes;
            last->joined.huge_bytes += mapping->huge_bytes;
        } else {
            g_array_append_val(candidates, candidate);
        }
        previous = mapping;
    }
    return candidates;
}

/* "…/qemu_back_mem.ram-node0.Xy12Ab (deleted)" or "/dev/shm/ram-node0": the object's name is a
 * piece of the file's name. */
static bool is_named_after(const HnMapping *mapping, const char *object_id)
{
    const char *base;
    size_t len;

    if (!mapping->name || !object_id)
        return false;
    base = strrchr(mapping->name, '/');
    base = base ? base + 1 : mapping->name;
    if (g_str_has_prefix(base, "qemu_back_mem."))
        base += strlen("qemu_back_mem.");
    len = strlen(object_id);
    return strncmp(base, object_id, len) == 0 &&
           (base[len] == '\0' || base[len] == '.' || base[len] == ' ');
}

static bool has_length(const Candidate *candidate, uint64_t length_bytes)
{
    uint64_t page_bytes = MAX(candidate->joined.kernel_page_bytes, (uint64_t)4096);
    uint64_t found_bytes = candidate->joined.end - candidate->joined.start;

    /* hugetlb rounds up to its page */
    return found_bytes == length_bytes ||
           (found_bytes > length_bytes && found_bytes - length_bytes < page_bytes);
}

/* Each CPU draws inode numbers of memfds and files from a batch of its own (mm/shmem.c
 * SHMEM_INO_BATCH, fs/inode.c LAST_INO_BATCH): within a batch they rise in the order of creation,
 * between batches they say nothing, because QEMU may have run on another CPU in between. */
static bool is_same_batch(const HnMapping *a, const HnMapping *b)
{
    return a->inode / INODE_BATCH == b->inode / INODE_BATCH;
}

/* Created earlier: the lower inode of a batch; else the higher address (mmap goes top-down). */
static bool is_created_before(const HnMapping *a, const HnMapping *b)
{
    if (a->inode != 0 && b->inode != 0 && a->inode != b->inode && is_same_batch(a, b))
        return a->inode < b->inode;
    return a->start > b->start;
}

/* The earliest created candidate of that length, and how many there are. *ret_is_disputed:
 * addresses say one order and inodes of different batches another. */
static Candidate *earliest_of_length(GArray *candidates, uint64_t length_bytes, uint32_t *ret_n,
                                     bool *ret_is_disputed)
{
    Candidate *best = NULL;

    *ret_n = 0;
    *ret_is_disputed = false;
    for (guint i = 0; i < candidates->len; i++) {
        Candidate *candidate = &g_array_index(candidates, Candidate, i);

        if (candidate->is_taken || !has_length(candidate, length_bytes))
            continue;
        (*ret_n)++;
        if (!best || is_created_before(&candidate->joined, &best->joined))
            best = candidate;
    }
    for (guint i = 0; best && i < candidates->len; i++) {
        const Candidate *other = &g_array_index(candidates, Candidate, i);

        if (other == best || other->is_taken || !has_length(other, length_bytes) ||
            other->joined.inode == 0 || is_same_batch(&other->joined, &best->joined))
            continue;
        *ret_is_disputed |= (other->joined.inode < best->joined.inode) !=
                            (other->joined.start > best->joined.start);
    }
    return best;
}

static HnBacking backing_of(const HnMapping *mapping)
{
    if (mapping->is_hugetlb)
        return HN_BACKING_HUGETLB;
    if (mapping->inode == 0 || !mapping->name)
        return HN_BACKING_ANON;
    return g_str_has_prefix(mapping->name, "/memfd:") ? HN_BACKING_MEMFD : HN_BACKING_FILE;
}

static void add_region(HnRegionMap *map, const Candidate *candidate, const HnMemoryInfo *memory,
                       uint32_t n_nodes, bool is_ambiguous)
{
    const HnMapping *mapping = &candidate->joined;
    HnRegion *region = &map->regions[map->n_regions++];

    *region = (HnRegion){
        .hva_start = mapping->start,
        .length_bytes = memory->length_bytes,
        .gpa_base = memory->gpa_base,
        .guest_cell = memory->guest_cell,
        .page_bytes = MAX(mapping->kernel_page_bytes, (uint64_t)4096),
        /* More than half of what is there: one address per 2 MiB then speaks for most of it. */
        .is_thp = !mapping->is_hugetlb && mapping->huge_bytes > mapping->rss_bytes / 2,
        .backing = backing_of(mapping),
        .movability = mapping->is_shared ? HN_MOVABLE_SHARED : HN_MOVABLE,
        .is_ambiguous = is_ambiguous,
        .resident_bytes = g_new0(uint64_t, n_nodes),
    };
    map->total_bytes += region->length_bytes;
    map->huge_bytes += mapping->huge_bytes;
    map->rss_bytes += mapping->rss_bytes;
}

/* Of the expected backends that are still unmatched, those as long as `length_bytes`; is one of
 * them hot-plugged? */
static uint32_t count_expected(const GPtrArray *memory, const bool *is_matched,
                               uint64_t length_bytes, bool *ret_has_plugged)
{
    uint32_t n = 0;

    *ret_has_plugged = false;
    for (guint i = 0; i < memory->len; i++) {
        const HnMemoryInfo *expected = g_ptr_array_index(memory, i);

        if (is_matched[i] || expected->length_bytes != length_bytes)
            continue;
        n++;
        *ret_has_plugged |= expected->gpa_base != UINT64_MAX;
    }
    return n;
}

static void match_all(HnRegionMap *map, GArray *candidates, const GPtrArray *memory,
                      uint32_t n_nodes)
{
    g_autofree bool *is_matched = g_new0(bool, MAX(memory->len, 1u));
    g_autofree bool *is_ambiguous_length = g_new0(bool, MAX(memory->len, 1u));

    for (guint i = 0; i < memory->len; i++) {
        const HnMemoryInfo *expected = g_ptr_array_index(memory, i);

        map->configured_bytes += expected->length_bytes;
        for (guint k = 0; k < candidates->len && !is_matched[i]; k++) {
            Candidate *candidate = &g_array_index(candidates, Candidate, k);

            if (!candidate->is_taken && has_length(candidate, expected->length_bytes) &&
                is_named_after(&candidate->joined, expected->object_id)) {
                candidate->is_taken = is_matched[i] = true;
                add_region(map, candidate, expected, n_nodes, false);
            }
        }
    }
    /* Judge ambiguity before anything of that length is taken. */
    for (guint i = 0; i < memory->len; i++) {
        const HnMemoryInfo *expected = g_ptr_array_index(memory, i);
        bool has_plugged, is_disputed;
        uint32_t n_found, n_expected;

        n_expected = count_expected(memory, is_matched, expected->length_bytes, &has_plugged);
        earliest_of_length(candidates, expected->length_bytes, &n_found, &is_disputed);
        is_ambiguous_length[i] =
            n_found > n_expected || is_disputed || (n_expected > 1 && has_plugged);
    }
    for (guint i = 0; i < memory->len; i++) {
        const HnMemoryInfo *expected = g_ptr_array_index(memory, i);
        Candidate *candidate;
        uint32_t n_found;
        bool is_disputed;

        if (is_matched[i])
            continue;
        candidate = earliest_of_length(candidates, expected->length_bytes, &n_found, &is_disputed);
        if (!candidate)
            continue;
        candidate->is_taken = is_matched[i] = true;
        add_region(map, candidate, expected, n_nodes, is_ambiguous_length[i]);
    }
}

/* Boot memory: cells one after the other, cut by the hole. `linear_bytes`: RAM before this region.
 */
static void place_boot_region(HnRegion *region, const HnGpaLayout *layout, uint64_t linear_bytes)
{
    uint64_t low_bytes = layout->hole_start;

    region->is_ambiguous |= !layout->is_certain;
    if (layout->hole_end == 0 || linear_bytes + region->length_bytes <= low_bytes) {
        region->gpa_base = layout->ram_base + linear_bytes;
    } else if (linear_bytes >= low_bytes) {
        region->gpa_base = layout->hole_end + (linear_bytes - low_bytes);
    } else {
        region->gpa_base = linear_bytes;
        region->gpa_hole_start = layout->hole_start;
        region->gpa_hole_end = layout->hole_end;
    }
}

static int compare_regions(const void *a, const void *b)
{
    uint64_t gpa_a = ((const HnRegion *)a)->gpa_base;
    uint64_t gpa_b = ((const HnRegion *)b)->gpa_base;

    return (gpa_a > gpa_b) - (gpa_a < gpa_b);
}

/* `memory`: expected backends in creation order. Boot memory's place follows from what is
 * configured, whether or not each piece was found. */
static void place_regions(HnRegionMap *map, const GPtrArray *memory, const char *machine_type)
{
    g_autofree HnRegion *unplaced = g_memdup2(map->regions, map->n_regions * sizeof(HnRegion));
    g_autofree bool *is_placed = g_new0(bool, MAX(map->n_regions, 1u));
    HnGpaLayout layout;
    uint64_t boot_bytes = 0, linear_bytes = 0;

    for (guint i = 0; i < memory->len; i++) {
        const HnMemoryInfo *expected = g_ptr_array_index(memory, i);

        if (expected->gpa_base == UINT64_MAX)
            boot_bytes += expected->length_bytes;
    }
    layout = hn_gpa_layout(machine_type, boot_bytes);
    for (guint i = 0; i < memory->len; i++) {
        const HnMemoryInfo *expected = g_ptr_array_index(memory, i);

        if (expected->gpa_base != UINT64_MAX)
            continue;
        for (uint32_t k = 0; k < map->n_regions; k++) {
            if (is_placed[k] || unplaced[k].gpa_base != UINT64_MAX ||
                unplaced[k].length_bytes != expected->length_bytes ||
                unplaced[k].guest_cell != expected->guest_cell)
                continue;
            is_placed[k] = true;
            place_boot_region(&map->regions[k], &layout, linear_bytes);
            break;
        }
        linear_bytes += expected->length_bytes;
    }
    if (map->n_regions > 1)
        qsort(map->regions, map->n_regions, sizeof(HnRegion), compare_regions);
}

void hn_regions_match(const GArray *mappings, const HnDomainInfo *info, uint32_t n_nodes,
                      HnRegionMap *ret_map)
{
    g_autoptr(GPtrArray) one = NULL;
    g_autoptr(GArray) candidates = find_candidates(mappings);
    const GPtrArray *memory = info->memory;
    HnMemoryInfo whole = {.object_id = (char *)"pc.ram",
                          .guest_cell = -1,
                          .length_bytes = info->configured_bytes,
                          .gpa_base = UINT64_MAX};
    HnRegionMap map = {0};

    if (!memory || memory->len == 0) {
        one = g_ptr_array_new();
        g_ptr_array_add(one, &whole);
        memory = one;
    }
    map.regions = g_new0(HnRegion, memory->len);
    match_all(&map, candidates, memory, n_nodes);
    place_regions(&map, memory, info->machine_type);
    if (map.total_bytes != map.configured_bytes)
        map.problem = g_strdup_printf("RAM of %" G_GUINT64_FORMAT
                                      " MiB is configured, but mappings of only %" G_GUINT64_FORMAT
                                      " MiB of it were recognised in QEMU's address space",
                                      map.configured_bytes >> 20, map.total_bytes >> 20);
    *ret_map = map;
}

uint64_t hn_region_gpa_at(const HnRegion *region, uint64_t offset)
{
    uint64_t gpa = region->gpa_base + offset;

    if (region->gpa_hole_end != 0 && gpa >= region->gpa_hole_start)
        gpa += region->gpa_hole_end - region->gpa_hole_start;
    return gpa;
}

bool hn_gpa_to_region(const HnRegion *regions, uint32_t n_regions, uint64_t gpa,
                      uint32_t *ret_region, uint64_t *ret_offset)
{
    for (uint32_t i = 0; i < n_regions; i++) {
        const HnRegion *region = &regions[i];
        uint64_t offset;

        if (gpa < region->gpa_base)
            continue;
        offset = gpa - region->gpa_base;
        if (region->gpa_hole_end != 0 && gpa >= region->gpa_hole_start) {
            if (gpa < region->gpa_hole_end)
                continue;
            offset -= region->gpa_hole_end - region->gpa_hole_start;
        }
        if (offset >= region->length_bytes)
            continue;
        *ret_region = i;
        *ret_offset = offset;
        return true;
    }
    return false;
}

bool hn_hva_to_gpa(const HnRegion *regions, uint32_t n_regions, uint64_t hva, uint32_t *ret_region,
                   uint64_t *ret_gpa)
{
    for (uint32_t i = 0; i < n_regions; i++) {
        if (hva < regions[i].hva_start || hva - regions[i].hva_start >= regions[i].length_bytes)
            continue;
        *ret_region = i;
        *ret_gpa = hn_region_gpa_at(&regions[i], hva - regions[i].hva_start);
        return true;
    }
    return false;
}
