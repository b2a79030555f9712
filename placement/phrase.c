/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Numbers and nodes as sentences tell them; see phrase.h.
 */
#include "phrase.h"

/* A thousand domains make ten thousand numbers every round, and printf takes ten times as long for one. */
void hn_phrase_int(GString *text, int64_t value)
{
    char digits[20];
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    uint32_t at = sizeof(digits);

    do
        digits[--at] = (char)('0' + rest % 10);
    while ((rest /= 10) > 0);
    if (value < 0)
        g_string_append_c(text, '-');
    g_string_append_len(text, &digits[at], (gssize)(sizeof(digits) - at));
}

void hn_phrase_bytes(GString *text, uint64_t bytes)
{
    if (bytes < UINT64_C(1) << 30) {
        hn_phrase_int(text, (int64_t)(bytes >> 20));
        g_string_append(text, " MiB");
        return;
    }
    hn_phrase_int(text, (int64_t)(bytes >> 30));
    if (bytes < UINT64_C(10) << 30) {
        g_string_append_c(text, '.');
        hn_phrase_int(text, (int64_t)((bytes >> 20) % 1024 * 10 / 1024));
    }
    g_string_append(text, " GiB");
}

void hn_phrase_cpus(GString *text, int64_t mcpu)
{
    g_string_append_printf(text, "%" G_GINT64_FORMAT ".%02" G_GINT64_FORMAT " CPUs", mcpu / 1000,
                           mcpu % 1000 / 10);
}

void hn_phrase_permille(GString *text, uint64_t permille)
{
    hn_phrase_int(text, (int64_t)(permille / 10));
    g_string_append_c(text, '.');
    hn_phrase_int(text, (int64_t)(permille % 10));
    g_string_append(text, " %");
}

void hn_phrase_nodes(const HnHost *host, GString *text, HnNodemask mask)
{
    const uint32_t count = (uint32_t)__builtin_popcountll(mask);

    g_string_append(text, count == 1 ? "node " : "nodes ");
    for (uint32_t listed = 0; mask; mask &= mask - 1, listed++) {
        if (listed > 0)
            g_string_append(text, listed + 1 == count ? " and " : ", ");
        hn_phrase_int(text, host->nodes[__builtin_ctzll(mask)].id);
    }
}
