/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text cursor: what it takes, what it refuses, and that a refusal consumes nothing. */
#include "observe/text.h"

#include <homenode/cpuset.h>

#include <string.h>

static HnText of(const char *text)
{
    return hn_text(text, strlen(text));
}

static void test_numbers(void)
{
    static const struct {
        const char *text;
        bool is_good;
        uint64_t value;
        size_t n_left;
    } cases[] = {
        {"0", true, 0, 0},
        {"42 rest", true, 42, 5},
        {"18446744073709551615", true, UINT64_MAX, 0},
        {"18446744073709551616", false, 0, 20}, /* one too many */
        {"99999999999999999999999", false, 0, 23},
        {"-1", false, 0, 2},
        {"+1", false, 0, 2},
        {" 1", false, 0, 2},
        {"", false, 0, 0},
        {"x", false, 0, 1},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        HnText text = of(cases[i].text);
        uint64_t value = 0;

        g_assert_cmpint(hn_text_u64(&text, &value), ==, cases[i].is_good);
        g_assert_cmpuint(value, ==, cases[i].value);
        g_assert_cmpuint(hn_text_len(&text), ==, cases[i].n_left);
    }
}

static void test_number_kinds(void)
{
    HnText text = of("4294967295");
    uint32_t small;
    int64_t with_sign;
    uint64_t value;

    g_assert_true(hn_text_u32(&text, &small) && small == UINT32_MAX);
    text = of("4294967296");
    g_assert_false(hn_text_u32(&text, &small));
    g_assert_cmpuint(hn_text_len(&text), ==, 10);
    text = of("-9223372036854775807");
    g_assert_true(hn_text_i64(&text, &with_sign) && with_sign == -INT64_MAX);
    text = of("9223372036854775808");
    g_assert_false(hn_text_i64(&text, &with_sign));
    text = of("-");
    g_assert_false(hn_text_i64(&text, &with_sign));
    g_assert_cmpuint(hn_text_len(&text), ==, 1);
    text = of("7f85ffffffffffff-");
    g_assert_true(hn_text_hex(&text, &value) && value == 0x7f85ffffffffffffu);
    text = of("10000000000000000");
    g_assert_false(hn_text_hex(&text, &value)); /* 65 bits */
}

static void test_hundredths(void)
{
    static const struct {
        const char *text;
        bool is_good;
        uint64_t value;
    } cases[] = {
        {"93.41", true, 9341},
        {"0.00", true, 0},
        {"100.00", true, 10000},
        {"1.5", false, 0},
        {"1.234", false, 0},
        {"1", false, 0},
        {".50", false, 0},
        {"1.", false, 0},
        {"1.x0", false, 0},
        {"nan", false, 0},
        {"18446744073709551615.00", false, 0},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        HnText text = of(cases[i].text);
        uint64_t value = 0;

        g_assert_cmpint(hn_text_centi(&text, &value), ==, cases[i].is_good);
        g_assert_cmpuint(value, ==, cases[i].value);
        if (!cases[i].is_good)
            g_assert_cmpuint(hn_text_len(&text), ==, strlen(cases[i].text));
    }
}

static void test_pieces(void)
{
    HnText text = of("first line\n\nlast\tword ");
    HnText line, word, before;

    g_assert_true(hn_text_line(&text, &line) && hn_text_equal(&line, "first line"));
    g_assert_true(hn_text_line(&text, &word) && hn_text_is_empty(&word));
    g_assert_true(hn_text_take(&line, "first "));
    g_assert_false(hn_text_take(&line, "linen"));
    g_assert_true(hn_text_equal(&line, "line"));
    g_assert_true(hn_text_line(&text, &line)); /* without a newline */
    g_assert_true(hn_text_word(&line, &word) && hn_text_equal(&word, "last"));
    g_assert_true(hn_text_word(&line, &word) && hn_text_equal(&word, "word"));
    g_assert_false(hn_text_word(&line, &word));
    g_assert_false(hn_text_line(&text, &line));
    text = of("key:value");
    g_assert_true(hn_text_until(&text, ':', &before) && hn_text_equal(&before, "key"));
    g_assert_false(hn_text_until(&text, ':', &before));
    g_assert_true(hn_text_ends_with(&text, "lue"));
    g_assert_false(hn_text_ends_with(&text, "a longer value"));
}

/* A hostile line must not reach a terminal as it is, nor fill a log. */
static void test_error(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *noise = g_strnfill(500, '\033');
    HnText line = of(noise);

    g_assert_false(hn_text_fail(&error, "smaps", "bad value", &line));
    g_assert_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX);
    g_assert_null(strchr(error->message, '\033'));
    g_assert_cmpuint(strlen(error->message), <, 120);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/observe/text/numbers", test_numbers);
    g_test_add_func("/observe/text/number-kinds", test_number_kinds);
    g_test_add_func("/observe/text/hundredths", test_hundredths);
    g_test_add_func("/observe/text/pieces", test_pieces);
    g_test_add_func("/observe/text/error", test_error);
    return g_test_run();
}
