/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading DAMON's regions, and heat from them: see damon.h.
 */
#include "observe/damon.h"
#include "observe/text.h"
#include "observe/touch-matrix.h"

#define SLICE_UNIT ((uint64_t)2 << 20)
#define MAX_NUMBER_BYTES 64
#define HEAT_FULL 1000u

/* ---- may it be used? ---- */

static bool is_yes(const HnRoot *root, const char *path)
{
    g_autofree char *text = NULL;

    return hn_root_read(root, path, MAX_NUMBER_BYTES, &text, NULL, NULL) && (text[0] == 'Y' || text[0] == 'y');
}

const char *hn_damon_check(const HnRoot *root, bool is_ours)
{
    static const char *const exclusive[] = {"damon_stat", "damon_reclaim", "damon_lru_sort"};
    g_autofree char *n_kdamonds = NULL;
    g_autoptr(GError) error = NULL;
    size_t len;
    uint64_t n;

    if (!hn_root_is_writable(root))
        return HN_DAMON_CAPTURED;
    if (!hn_root_read(root, HN_DAMON_ADMIN "/nr_kdamonds", MAX_NUMBER_BYTES, &n_kdamonds, &len, &error))
        return g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_ACCES) ? HN_DAMON_DENIED : HN_DAMON_NONE;
    if (!hn_damon_number_parse(n_kdamonds, len, &n, NULL) || (n > 0 && !is_ours))
        return HN_DAMON_IN_USE;
    for (size_t i = 0; i < G_N_ELEMENTS(exclusive); i++) {
        g_autofree char *path = g_strdup_printf("sys/module/%s/parameters/enabled", exclusive[i]);

        if (is_yes(root, path))
            return HN_DAMON_EXCLUSIVE;
    }
    return NULL;
}

const char *hn_damon_sentence(const char *code)
{
    static const struct {
        const char *code, *sentence;
    } sentences[] = {
        {HN_DAMON_CAPTURED, "a captured machine has no processes to watch"},
        {HN_DAMON_NONE, "the kernel has no DAMON that shows its regions in sysfs: Linux 6.2 or later with "
                        "CONFIG_DAMON_SYSFS"},
        {HN_DAMON_NO_FVADDR, "the kernel's DAMON cannot watch fixed ranges of a process: CONFIG_DAMON_VADDR is needed"},
        {HN_DAMON_IN_USE, "somebody else has set up DAMON, of which there is one: stop it (damo stop), or set "
                          "observe.damon = no"},
        {HN_DAMON_EXCLUSIVE, "DAMON_STAT, DAMON_RECLAIM or DAMON_LRU_SORT runs and suffers no other: "
                             "echo N > /sys/module/damon_stat/parameters/enabled (or damon_reclaim, damon_lru_sort)"},
        {HN_DAMON_DENIED, "DAMON's files in sysfs may not be written: the daemon needs to run as root, by its unit"},
        {HN_DAMON_REFUSED, "the kernel refused to watch; the daemon's log says what"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(sentences); i++)
        if (g_strcmp0(code, sentences[i].code) == 0)
            return sentences[i].sentence;
    return "unknown";
}

/* ---- what to watch ---- */

static gint compare_start(gconstpointer a, gconstpointer b)
{
    const HnDamonRange *x = a, *y = b;

    return x->start < y->start ? -1 : x->start > y->start;
}

static void cut(const HnRegion *region, uint64_t n_slices, GArray *slices)
{
    uint64_t n_units = (region->length_bytes + SLICE_UNIT - 1) / SLICE_UNIT;

    n_slices = CLAMP(n_slices, 1, MAX(n_units, 1));
    for (uint64_t i = 0; i < n_slices; i++) {
        HnDamonRange slice = {
            .start = region->hva_start + n_units * i / n_slices * SLICE_UNIT,
            .end = region->hva_start + MIN(n_units * (i + 1) / n_slices * SLICE_UNIT, region->length_bytes),
        };

        if (slice.end > slice.start)
            g_array_append_val(slices, slice);
    }
}

GArray *hn_damon_slices(const HnRegion *regions, uint32_t n_regions, uint32_t max_slices)
{
    GArray *slices = g_array_new(FALSE, FALSE, sizeof(HnDamonRange));
    uint64_t total_bytes = 0;

    for (uint32_t i = 0; i < n_regions; i++)
        total_bytes += regions[i].length_bytes;
    if (total_bytes == 0 || n_regions > max_slices)
        return slices;
    /* One each, and what is left in proportion, rounded down: never too many. */
    for (uint32_t i = 0; i < n_regions; i++)
        cut(&regions[i],
            1 + (uint64_t)((unsigned __int128)regions[i].length_bytes * (max_slices - n_regions) / total_bytes),
            slices);
    g_array_sort(slices, compare_start);
    return slices;
}

/* ---- what it says ---- */

bool hn_damon_number_parse(const char *text, size_t len, uint64_t *ret_value, GError **error)
{
    HnText rest = hn_text(text, len), line;
    uint64_t value;

    if (!hn_text_line(&rest, &line) || !hn_text_is_empty(&rest) || !hn_text_u64(&line, &value) ||
        !hn_text_is_empty(&line)) {
        rest = hn_text(text, len);
        return hn_text_fail(error, "DAMON's sysfs", "no number", &rest);
    }
    *ret_value = value;
    return true;
}

static bool read_number(const HnRoot *root, const char *dir, const char *name, uint64_t *ret_value, GError **error)
{
    g_autofree char *path = g_strdup_printf(HN_DAMON_SCHEME "/tried_regions/%s/%s", dir, name);
    g_autofree char *text = NULL;
    size_t len;

    return hn_root_read(root, path, MAX_NUMBER_BYTES, &text, &len, error) &&
           hn_damon_number_parse(text, len, ret_value, error);
}

GArray *hn_damon_ranges_read(const HnRoot *root, GError **error)
{
    g_auto(GStrv) names = hn_root_list(root, HN_DAMON_SCHEME "/tried_regions", error);
    g_autoptr(GArray) ranges = g_array_new(FALSE, FALSE, sizeof(HnDamonRange));

    if (!names)
        return NULL;
    for (guint i = 0; names[i] && ranges->len < 2 * HN_DAMON_MAX_REGIONS; i++) {
        uint64_t start, end, n_accesses, age;
        HnDamonRange range;

        if (!g_ascii_isdigit(names[i][0])) /* total_bytes */
            continue;
        if (!read_number(root, names[i], "start", &start, error) || !read_number(root, names[i], "end", &end, error) ||
            !read_number(root, names[i], "nr_accesses", &n_accesses, error) ||
            !read_number(root, names[i], "age", &age, error))
            return NULL;
        if (end <= start)
            continue;
        range = (HnDamonRange){start, end, (uint32_t)MIN(n_accesses, HN_DAMON_SAMPLES), (uint32_t)MIN(age, UINT32_MAX)};
        g_array_append_val(ranges, range);
    }
    g_array_sort(ranges, compare_start);
    return g_steal_pointer(&ranges);
}

/* ---- heat ---- */

static bool has_heat(const HnDomain *domain)
{
    for (uint32_t r = 0; r < domain->n_regions; r++)
        for (uint32_t k = 0; k < domain->regions[r].n_chunks; k++)
            if (domain->regions[r].chunks[k].heat > 0)
                return true;
    return false;
}

/* Σ over the bytes of [start, end) of the accesses found there. *first: the first range that may matter, moved on. */
static uint64_t accessed_byte_samples(const GArray *ranges, guint *first, uint64_t start, uint64_t end)
{
    uint64_t sum = 0;

    while (*first < ranges->len && g_array_index(ranges, HnDamonRange, *first).end <= start)
        (*first)++;
    for (guint i = *first; i < ranges->len; i++) {
        const HnDamonRange *range = &g_array_index(ranges, HnDamonRange, i);

        if (range->start >= end)
            break;
        if (MIN(range->end, end) > MAX(range->start, start))
            sum += (MIN(range->end, end) - MAX(range->start, start)) * range->n_accesses;
    }
    return sum;
}

static void heat_region(const GArray *ranges, uint64_t age_ns, HnRegion *region)
{
    guint first = 0;

    for (uint32_t k = 0; k < region->n_chunks; k++) {
        uint64_t start = region->hva_start + k * region->chunk_bytes;
        uint64_t end = MIN(start + region->chunk_bytes, region->hva_start + region->length_bytes);
        uint64_t full, sum;

        if (end <= start)
            break;
        full = (end - start) * HN_DAMON_SAMPLES;
        sum = accessed_byte_samples(ranges, &first, start, end);
        /* Rounded up: the least access keeps a chunk out of the slow lane while it is new. */
        region->chunks[k].heat = (uint32_t)hn_touch_faded(
            (uint64_t)(((unsigned __int128)sum * HEAT_FULL + full - 1) / full), age_ns);
    }
}

void hn_damon_lay(const GArray *ranges, uint64_t age_ns, HnDomain *domain)
{
    HnHeatSummary *summary = &domain->heat;

    summary->n_ranges = ranges->len;
    summary->age_ns = age_ns;
    summary->hot_bytes = 0;
    for (guint i = 0; i < ranges->len; i++) {
        const HnDamonRange *range = &g_array_index(ranges, HnDamonRange, i);

        summary->hot_bytes += range->n_accesses > 0 ? range->end - range->start : 0;
    }
    if (domain->touches.n_touches > 0 || has_heat(domain))
        return;
    for (uint32_t r = 0; r < domain->n_regions; r++)
        heat_region(ranges, age_ns, &domain->regions[r]);
    summary->is_used = has_heat(domain);
}
