/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Recordings come from strangers' bug reports: whatever is in one, it is decided again or refused
 * with a sentence, and deciding it twice gives the same. Mutations of text seldom survive as JSON,
 * so single values are changed as well.
 */
#include "replay.h"
#include "reply.h"

#include <glib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_document(json_object *document)
{
    g_autoptr(GError) error = NULL;
    json_object *rounds = hn_replay_rounds(document, &error);

    g_assert(!rounds == !!error);
    for (size_t i = 0; rounds && i < MIN(json_object_array_length(rounds), 4); i++) {
        g_autoptr(GError) refusal = NULL;
        json_object *round = json_object_array_get_idx(rounds, i);
        json_object *first = hn_replay_decide(round, &refusal);

        g_assert(!first == !!refusal);
        if (first) {
            json_object *second = hn_replay_decide(round, NULL);
            g_assert(json_object_equal(first, second));
            json_object_put(second);
        }
        json_object_put(first);
    }
    json_object_put(rounds);
}

/* Replaces the n-th number of the text by another one. */
static GString *with_number(const uint8_t *data, size_t size, uint32_t n, const char *number)
{
    GString *out = g_string_sized_new(size + 32);
    bool was_digit = false;

    for (size_t i = 0; i < size; i++) {
        bool is_digit = g_ascii_isdigit(data[i]);
        if (is_digit && !was_digit && n-- == 0) {
            g_string_append(out, number);
            while (i < size && g_ascii_isdigit(data[i]))
                i++;
            g_string_append_len(out, (const char *)data + i, (gssize)(size - i));
            return out;
        }
        was_digit = is_digit;
        g_string_append_c(out, (char)data[i]);
    }
    return out;
}

static void try_text(const char *text, size_t size)
{
    struct json_tokener *tokener = json_tokener_new();
    json_object *document = json_tokener_parse_ex(tokener, text, (int)size);

    if (json_tokener_get_error(tokener) == json_tokener_success)
        try_document(document);
    json_object_put(document);
    json_tokener_free(tokener);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const numbers[] = {"0", "1", "2147483647", "9223372036854775807",
                                          "18446744073709551615"};
    static uint32_t n; /* another number each time */

    if (size > 1 << 20)
        return 0;
    try_text((const char *)data, size);
    if (size > 1000) {
        g_autoptr(GString) changed =
            with_number(data, size, n * 7 % 1500, numbers[n % G_N_ELEMENTS(numbers)]);
        n++;
        try_text(changed->str, changed->len);
    }
    return 0;
}
