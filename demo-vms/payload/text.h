/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: build short lines of text in a caller's buffer, without a C library.
 *
 * Theory of operation: a Text is a cursor over a fixed buffer. Appending past the end keeps what
 * fits and sets is_cut, so a caller checks once at the end. The buffer is always terminated. Must
 * not allocate or do I/O: it is linked into the bare-metal guest and into the ordinary unit tests.
 */
#ifndef DEMO_TEXT_H
#define DEMO_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *buffer;
    size_t size_bytes; /* of buffer, with the terminator */
    size_t used_bytes; /* without the terminator */
    bool is_cut;
} Text;

/* Starts an empty text in buffer, which must outlive it; size_bytes ≥ 1. */
Text text_begin(char *buffer, size_t size_bytes);

void text_add(Text *text, const char *words);
void text_add_bytes(Text *text, const char *bytes, size_t n_bytes);
void text_add_decimal(Text *text, uint64_t value);
void text_add_hex(Text *text, uint64_t value); /* with 0x in front */

/* " key=value" forms, the only shapes the serial lines use. */
void text_key(Text *text, const char *key, const char *value);
void text_key_decimal(Text *text, const char *key, uint64_t value);
void text_key_hex(Text *text, const char *key, uint64_t value);

/* Compares n_bytes of word with the terminated string name. */
bool text_is(const char *word, size_t n_bytes, const char *name);

/* Reads an unsigned decimal number that fills the word exactly; false if it does not. */
bool text_parse_decimal(const char *word, size_t n_bytes, uint64_t *ret_value);

#endif
