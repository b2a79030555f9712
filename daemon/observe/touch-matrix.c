/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vCPUs by chunks; see touch-matrix.h. */
#include "observe/touch-matrix.h"
#include "observe/regions.h"

#include <stdlib.h>
#include <string.h>

/* Weights are counted in sixteenths of a touch, so that fading by an eighth does not round small
 * ones away at once. */
#define WEIGHT_OF_TOUCH 16u
#define FADE_DIVISOR 8u
#define ALONE_WINDOWS 4u
/* Below this part of the heaviest a column is no toucher of the row … */
#define COMPANY_DIVISOR 4u
/* … and below this it has to pass the filter again. */
#define FORGET_DIVISOR 32u
/* Heat is kept finer than it is told, else few touches would never fade. */
#define HEAT_SCALE 16u
/* Share of a row's weight that must have passed the filter. */
#define DECIDED_PERMILLE 750u

typedef struct {
    uint64_t now;   /* columns that touched it in this window */
    uint64_t once;  /* columns seen in a window before */
    uint64_t twice; /* columns seen in two: passed the filter */
    uint64_t alone; /* the one column of the last windows, 0: there were several */
    uint32_t heat;    /* touches, times HEAT_SCALE */
    uint32_t n_alone; /* windows in a row */
} Row;

struct HnTouchMatrix {
    uint32_t n_regions;
    HnRegion *regions;    /* places only: no arrays of theirs */
    uint32_t *first_rows; /* [n_regions] */
    uint32_t n_vcpus;
    uint32_t *vcpu_ids;
    uint32_t n_columns;
    uint32_t vcpus_per_column;
    uint32_t n_rows;
    Row *rows;
    uint16_t *weights; /* [n_rows][n_columns] */
    uint64_t window_began_ns; /* 0: no look so far */
};

HnTouchMatrix *hn_touch_matrix_new(const HnRegion *regions, uint32_t n_regions,
                                   const uint32_t *vcpu_ids, uint32_t n_vcpus)
{
    HnTouchMatrix *matrix;
    uint32_t n_rows = 0;

    for (uint32_t i = 0; i < n_regions; i++)
        n_rows += regions[i].chunks && regions[i].chunk_bytes ? regions[i].n_chunks : 0;
    if (n_rows == 0 || n_vcpus == 0)
        return NULL;
    matrix = g_new0(HnTouchMatrix, 1);
    matrix->n_regions = n_regions;
    matrix->regions = g_new0(HnRegion, n_regions);
    matrix->first_rows = g_new0(uint32_t, n_regions);
    for (uint32_t i = 0, row = 0; i < n_regions; i++) {
        matrix->regions[i] = regions[i];
        matrix->regions[i].resident_bytes = NULL;
        matrix->regions[i].chunks = NULL;
        if (!regions[i].chunks || !regions[i].chunk_bytes)
            matrix->regions[i].n_chunks = 0;
        matrix->first_rows[i] = row;
        row += matrix->regions[i].n_chunks;
    }
    matrix->n_vcpus = n_vcpus;
    matrix->vcpu_ids = g_memdup2(vcpu_ids, n_vcpus * sizeof *vcpu_ids);
    matrix->vcpus_per_column = (n_vcpus + HN_TOUCH_MAX_COLUMNS - 1) / HN_TOUCH_MAX_COLUMNS;
    matrix->n_columns = (n_vcpus + matrix->vcpus_per_column - 1) / matrix->vcpus_per_column;
    matrix->n_rows = n_rows;
    matrix->rows = g_new0(Row, n_rows);
    for (uint32_t i = 0; i < n_regions; i++)
        for (uint32_t k = 0; k < matrix->regions[i].n_chunks; k++)
            matrix->rows[matrix->first_rows[i] + k].heat =
                (uint32_t)MIN((uint64_t)regions[i].chunks[k].heat * HEAT_SCALE, UINT32_MAX);
    matrix->weights = g_new0(uint16_t, (size_t)n_rows * matrix->n_columns);
    return matrix;
}

void hn_touch_matrix_free(HnTouchMatrix *matrix)
{
    if (!matrix)
        return;
    g_free(matrix->regions);
    g_free(matrix->first_rows);
    g_free(matrix->vcpu_ids);
    g_free(matrix->rows);
    g_free(matrix->weights);
    g_free(matrix);
}

bool hn_touch_matrix_fits(const HnTouchMatrix *matrix, const HnRegion *regions, uint32_t n_regions,
                          const uint32_t *vcpu_ids, uint32_t n_vcpus)
{
    if (n_regions != matrix->n_regions || n_vcpus != matrix->n_vcpus ||
        memcmp(vcpu_ids, matrix->vcpu_ids, n_vcpus * sizeof *vcpu_ids) != 0)
        return false;
    for (uint32_t i = 0; i < n_regions; i++) {
        const HnRegion *now = &regions[i], *then = &matrix->regions[i];
        uint32_t n_chunks = now->chunks && now->chunk_bytes ? now->n_chunks : 0;

        if (now->hva_start != then->hva_start || now->length_bytes != then->length_bytes ||
            now->gpa_base != then->gpa_base || now->gpa_hole_start != then->gpa_hole_start ||
            now->gpa_hole_end != then->gpa_hole_end || n_chunks != then->n_chunks ||
            (n_chunks && now->chunk_bytes != then->chunk_bytes))
            return false;
    }
    return true;
}

uint64_t hn_touch_matrix_bytes(const HnTouchMatrix *matrix)
{
    return sizeof *matrix + matrix->n_regions * (sizeof(HnRegion) + sizeof(uint32_t)) +
           matrix->n_vcpus * sizeof(uint32_t) +
           matrix->n_rows * (sizeof(Row) + matrix->n_columns * sizeof(uint16_t));
}

uint32_t hn_touch_matrix_vcpus_per_bit(const HnTouchMatrix *matrix)
{
    return matrix->vcpus_per_column;
}

/* ---- touches in ---- */

static bool find_place(const HnTouchMatrix *matrix, uint64_t address, bool is_gpa,
                       HnTouchPlace *ret_place)
{
    uint32_t region = 0;
    uint64_t offset = 0;

    if (is_gpa) {
        if (!hn_gpa_to_region(matrix->regions, matrix->n_regions, address, &region, &offset))
            return false;
    } else {
        uint64_t gpa;

        if (!hn_hva_to_gpa(matrix->regions, matrix->n_regions, address, &region, &gpa))
            return false;
        offset = address - matrix->regions[region].hva_start;
    }
    if (matrix->regions[region].n_chunks == 0)
        return false;
    *ret_place = (HnTouchPlace){
        .region = region,
        .chunk = (uint32_t)MIN(offset / matrix->regions[region].chunk_bytes,
                               (uint64_t)matrix->regions[region].n_chunks - 1),
        .hva = matrix->regions[region].hva_start + offset,
    };
    return true;
}

static void halve(uint16_t *weights, uint32_t n_columns)
{
    for (uint32_t c = 0; c < n_columns; c++)
        weights[c] /= 2;
}

/* The first touch of a row in a window: its past fades. */
static void fade(const Row *row, uint64_t column_bit, uint16_t *weights, uint32_t n_columns)
{
    if (row->n_alone >= ALONE_WINDOWS && row->alone == column_bit) {
        halve(weights, n_columns);
        return;
    }
    for (uint32_t c = 0; c < n_columns; c++)
        weights[c] = (uint16_t)(weights[c] - (weights[c] + FADE_DIVISOR - 1) / FADE_DIVISOR);
}

bool hn_touch_matrix_add(HnTouchMatrix *matrix, uint32_t vcpu, uint64_t address, bool is_gpa,
                         uint32_t n_touches, HnTouchPlace *ret_place)
{
    uint32_t column = vcpu / matrix->vcpus_per_column;
    uint64_t bit;
    uint64_t more;
    uint16_t *weights;
    Row *row;

    if (column >= matrix->n_columns || !find_place(matrix, address, is_gpa, ret_place))
        return false;
    row = &matrix->rows[matrix->first_rows[ret_place->region] + ret_place->chunk];
    weights = &matrix->weights[(size_t)(row - matrix->rows) * matrix->n_columns];
    bit = UINT64_C(1) << column;
    if (!row->now)
        fade(row, bit, weights, matrix->n_columns);
    row->now |= bit;
    more = MIN((uint64_t)n_touches * WEIGHT_OF_TOUCH, (uint64_t)UINT16_MAX / 2);
    while (weights[column] + more > UINT16_MAX)
        halve(weights, matrix->n_columns);
    weights[column] = (uint16_t)(weights[column] + more);
    row->heat =
        (uint32_t)MIN((uint64_t)row->heat + (uint64_t)n_touches * HEAT_SCALE, UINT32_MAX);
    return true;
}

/* ---- windows ---- */

static uint16_t heaviest(const uint16_t *weights, uint32_t n_columns)
{
    uint16_t most = 0;

    for (uint32_t c = 0; c < n_columns; c++)
        most = MAX(most, weights[c]);
    return most;
}

static void close_row(Row *row, const uint16_t *weights, uint32_t n_columns)
{
    bool is_one = (row->now & (row->now - 1)) == 0;
    uint16_t most;

    if (!row->now)
        return;
    row->twice |= row->once & row->now;
    row->once |= row->now;
    if (!is_one)
        row->n_alone = 0;
    else if (row->now == row->alone)
        row->n_alone += row->n_alone < UINT32_MAX;
    else
        row->n_alone = 1;
    row->alone = is_one ? row->now : 0;
    row->now = 0;
    most = heaviest(weights, n_columns);
    for (uint32_t c = 0; c < n_columns; c++) {
        if (weights[c] < most / FORGET_DIVISOR) {
            row->once &= ~(UINT64_C(1) << c);
            row->twice &= ~(UINT64_C(1) << c);
        }
    }
}

uint64_t hn_touch_faded(uint64_t value, uint64_t elapsed_ns)
{
    uint64_t n_halves = elapsed_ns / HN_TOUCH_HALFLIFE_NS;
    uint64_t rest_ns = elapsed_ns % HN_TOUCH_HALFLIFE_NS;
    unsigned __int128 taken;

    if (n_halves >= 64)
        return 0;
    value >>= n_halves;
    taken = (unsigned __int128)value * rest_ns;
    return value -
           (uint64_t)((taken + 2 * HN_TOUCH_HALFLIFE_NS - 1) / (2 * HN_TOUCH_HALFLIFE_NS));
}

void hn_touch_matrix_tick(HnTouchMatrix *matrix, uint64_t now_ns)
{
    if (matrix->window_began_ns == 0 || now_ns < matrix->window_began_ns) {
        matrix->window_began_ns = now_ns;
        return;
    }
    if (now_ns - matrix->window_began_ns < HN_TOUCH_WINDOW_NS)
        return;
    for (uint32_t i = 0; i < matrix->n_rows; i++) {
        Row *row = &matrix->rows[i];

        close_row(row, &matrix->weights[(size_t)i * matrix->n_columns], matrix->n_columns);
        row->heat = (uint32_t)hn_touch_faded(row->heat, now_ns - matrix->window_began_ns);
    }
    matrix->window_began_ns = now_ns;
}

/* ---- what touches are worth ---- */

static int compare_pages(const void *a, const void *b)
{
    const HnTouchedPage *x = a, *y = b;

    return x->page != y->page ? (x->page < y->page ? -1 : 1) : 0;
}

uint64_t hn_touch_independent(HnTouchedPage *touches, uint32_t n, uint32_t scale)
{
    unsigned __int128 squares = 0;
    uint64_t sum = 0, of_page = 0;

    qsort(touches, n, sizeof *touches, compare_pages);
    for (uint32_t i = 0; i < n; i++) {
        of_page += touches[i].n_touches;
        if (i + 1 < n && touches[i + 1].page == touches[i].page)
            continue;
        sum += of_page;
        squares += (unsigned __int128)of_page * of_page;
        of_page = 0;
    }
    return squares ? (uint64_t)((unsigned __int128)sum * sum * scale / squares) : 0;
}

/* ---- touchers out ---- */

static uint64_t touchers_of(const Row *row, const uint16_t *weights, uint32_t n_columns)
{
    uint16_t most = heaviest(weights, n_columns);
    uint64_t all = 0, passed = 0, touchers = 0;

    for (uint32_t c = 0; c < n_columns; c++) {
        bool has_passed = row->twice >> c & 1;

        all += weights[c];
        passed += has_passed ? weights[c] : 0;
        if (has_passed && weights[c] >= most / COMPANY_DIVISOR)
            touchers |= UINT64_C(1) << c;
    }
    return passed * 1000 >= all * DECIDED_PERMILLE ? touchers : 0;
}

void hn_touch_matrix_fill(const HnTouchMatrix *matrix, HnRegion *regions, uint32_t n_regions,
                          uint32_t *ret_n_decided)
{
    *ret_n_decided = 0;
    for (uint32_t r = 0; r < MIN(n_regions, matrix->n_regions); r++) {
        for (uint32_t k = 0; k < matrix->regions[r].n_chunks && k < regions[r].n_chunks; k++) {
            uint32_t i = matrix->first_rows[r] + k;
            HnChunk *chunk = &regions[r].chunks[k];
            uint64_t touchers = touchers_of(&matrix->rows[i],
                                            &matrix->weights[(size_t)i * matrix->n_columns],
                                            matrix->n_columns);

            chunk->heat = matrix->rows[i].heat / HEAT_SCALE;
            if (touchers)
                chunk->touch_clients = touchers;
            *ret_n_decided += chunk->touch_clients != 0;
        }
    }
}
