/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPU sets as values, and their text form.
 *
 * A fixed array of words: no allocation, so a set can be copied and compared freely; the text form
 * is the list format of the kernel and libvirt. Must not know what a CPU belongs to: that is
 * host.c.
 */
#include <homenode/cpuset.h>

#include <string.h>

#define N_WORDS (HN_MAX_CPUS / 64)

G_DEFINE_QUARK(hn - model - error - quark, hn_model_error)

void hn_cpuset_zero(HnCpuset *set)
{
    memset(set, 0, sizeof(*set));
}

void hn_cpuset_add(HnCpuset *set, uint32_t cpu)
{
    if (cpu < HN_MAX_CPUS)
        set->words[cpu / 64] |= UINT64_C(1) << (cpu % 64);
}

void hn_cpuset_remove(HnCpuset *set, uint32_t cpu)
{
    if (cpu < HN_MAX_CPUS)
        set->words[cpu / 64] &= ~(UINT64_C(1) << (cpu % 64));
}

bool hn_cpuset_has(const HnCpuset *set, uint32_t cpu)
{
    return cpu < HN_MAX_CPUS && (set->words[cpu / 64] >> (cpu % 64) & 1) != 0;
}

uint32_t hn_cpuset_count(const HnCpuset *set)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < N_WORDS; i++)
        count += (uint32_t)__builtin_popcountll(set->words[i]);
    return count;
}

bool hn_cpuset_is_empty(const HnCpuset *set)
{
    for (uint32_t i = 0; i < N_WORDS; i++)
        if (set->words[i])
            return false;
    return true;
}

bool hn_cpuset_equal(const HnCpuset *a, const HnCpuset *b)
{
    return memcmp(a->words, b->words, sizeof(a->words)) == 0;
}

bool hn_cpuset_is_subset(const HnCpuset *inner, const HnCpuset *outer)
{
    for (uint32_t i = 0; i < N_WORDS; i++)
        if (inner->words[i] & ~outer->words[i])
            return false;
    return true;
}

bool hn_cpuset_intersects(const HnCpuset *a, const HnCpuset *b)
{
    for (uint32_t i = 0; i < N_WORDS; i++)
        if (a->words[i] & b->words[i])
            return true;
    return false;
}

void hn_cpuset_and(HnCpuset *set, const HnCpuset *other)
{
    for (uint32_t i = 0; i < N_WORDS; i++)
        set->words[i] &= other->words[i];
}

void hn_cpuset_or(HnCpuset *set, const HnCpuset *other)
{
    for (uint32_t i = 0; i < N_WORDS; i++)
        set->words[i] |= other->words[i];
}

void hn_cpuset_and_not(HnCpuset *set, const HnCpuset *other)
{
    for (uint32_t i = 0; i < N_WORDS; i++)
        set->words[i] &= ~other->words[i];
}

int32_t hn_cpuset_next(const HnCpuset *set, uint32_t from)
{
    if (from >= HN_MAX_CPUS)
        return -1;
    uint64_t word = set->words[from / 64] & (~UINT64_C(0) << (from % 64));
    for (uint32_t i = from / 64;;) {
        if (word)
            return (int32_t)(i * 64 + (uint32_t)__builtin_ctzll(word));
        if (++i == N_WORDS)
            return -1;
        word = set->words[i];
    }
}

/* One number of a list at *pos; false (error set) when there is none or it is out of range. */
static bool parse_cpu(const char *text, size_t len, size_t *pos, uint32_t *ret_cpu, GError **error)
{
    size_t start = *pos;
    uint32_t value = 0;

    while (*pos < len && g_ascii_isdigit(text[*pos])) {
        value = value * 10 + (uint32_t)(text[*pos] - '0');
        if (value >= HN_MAX_CPUS) {
            g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_RANGE,
                        "CPU number at offset %zu of a CPU list is too large (allowed: 0 to %d)",
                        start, HN_MAX_CPUS - 1);
            return false;
        }
        (*pos)++;
    }
    if (*pos == start) {
        if (start < len && g_ascii_isprint(text[start]))
            g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX,
                        "CPU list has '%c' at offset %zu where a CPU number (0 to %d) is expected",
                        text[start], start, HN_MAX_CPUS - 1);
        else
            g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX,
                        "CPU list lacks a CPU number (0 to %d) at offset %zu", HN_MAX_CPUS - 1,
                        start);
        return false;
    }
    *ret_cpu = value;
    return true;
}

bool hn_cpuset_parse(const char *text, size_t len, HnCpuset *ret_set, GError **error)
{
    HnCpuset set = {0};
    size_t pos = 0;

    while (len > 0 && g_ascii_isspace(text[len - 1]))
        len--;
    while (pos < len && g_ascii_isspace(text[pos]))
        pos++;
    while (pos < len) {
        uint32_t first = 0, last = 0;
        if (!parse_cpu(text, len, &pos, &first, error))
            return false;
        last = first;
        if (pos < len && text[pos] == '-') {
            pos++;
            if (!parse_cpu(text, len, &pos, &last, error))
                return false;
            if (last < first) {
                g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_RANGE,
                            "CPU range %u-%u runs backwards (allowed: first <= last)", first, last);
                return false;
            }
        }
        for (uint32_t cpu = first; cpu <= last; cpu++)
            hn_cpuset_add(&set, cpu);
        if (pos == len)
            break;
        if (text[pos] != ',') {
            g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX,
                        "CPU list goes on at offset %zu without a ',' (allowed: numbers and ranges "
                        "separated by ',')",
                        pos);
            return false;
        }
        pos++;
        if (pos == len) {
            g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX,
                        "CPU list ends with ',' (a CPU number, 0 to %d, must follow)",
                        HN_MAX_CPUS - 1);
            return false;
        }
    }
    *ret_set = set;
    return true;
}

char *hn_cpuset_format(const HnCpuset *set)
{
    GString *text = g_string_new(NULL);

    for (int32_t first = hn_cpuset_next(set, 0); first >= 0;) {
        int32_t last = first;
        while (hn_cpuset_has(set, (uint32_t)last + 1))
            last++;
        g_string_append_printf(text, "%s%d", text->len ? "," : "", first);
        if (last > first)
            g_string_append_printf(text, "-%d", last);
        first = hn_cpuset_next(set, (uint32_t)last + 1);
    }
    return g_string_free(text, FALSE);
}
