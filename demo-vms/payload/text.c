/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Purpose, theory of operation and limits: see text.h. */
#include "text.h"

Text text_begin(char *buffer, size_t size_bytes)
{
    buffer[0] = '\0';
    return (Text){.buffer = buffer, .size_bytes = size_bytes};
}

void text_add_bytes(Text *text, const char *bytes, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++) {
        if (text->used_bytes + 1 >= text->size_bytes) {
            text->is_cut = true;
            return;
        }
        text->buffer[text->used_bytes++] = bytes[i];
        text->buffer[text->used_bytes] = '\0';
    }
}

void text_add(Text *text, const char *words)
{
    size_t n_bytes = 0;

    while (words[n_bytes] != '\0') {
        n_bytes++;
    }
    text_add_bytes(text, words, n_bytes);
}

static void add_in_base(Text *text, uint64_t value, unsigned base)
{
    char digits[20];
    unsigned first = sizeof digits;

    do {
        digits[--first] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    text_add_bytes(text, digits + first, sizeof digits - first);
}

void text_add_decimal(Text *text, uint64_t value)
{
    add_in_base(text, value, 10);
}

void text_add_hex(Text *text, uint64_t value)
{
    text_add(text, "0x");
    add_in_base(text, value, 16);
}

void text_key(Text *text, const char *key, const char *value)
{
    text_add(text, " ");
    text_add(text, key);
    text_add(text, "=");
    text_add(text, value);
}

void text_key_decimal(Text *text, const char *key, uint64_t value)
{
    text_key(text, key, "");
    text_add_decimal(text, value);
}

void text_key_hex(Text *text, const char *key, uint64_t value)
{
    text_key(text, key, "");
    text_add_hex(text, value);
}

bool text_is(const char *word, size_t n_bytes, const char *name)
{
    size_t i = 0;

    while (i < n_bytes && name[i] != '\0' && word[i] == name[i]) {
        i++;
    }
    return i == n_bytes && name[i] == '\0';
}

bool text_parse_decimal(const char *word, size_t n_bytes, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (n_bytes == 0) {
        return false;
    }
    for (size_t i = 0; i < n_bytes; i++) {
        unsigned digit = (unsigned char)word[i] - (unsigned)'0';

        if (digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value)) {
            return false;
        }
    }
    *ret_value = value;
    return true;
}
