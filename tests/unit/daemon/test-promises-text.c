/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ledger of promised places as text and back.
 */
#include "../report/example.h"

#include "promises_text.h"

#include <string.h>

#define BOOT "0b0a5c43-7d2e-4f6b-8d2f-3f0f7c1d2e3a"
#define BEGIN "version 1\nboot-id " BOOT "\n"
#define GUEST "guest vcpus=2 bytes=134217728 nodes=1 at-ns=8123456789 uuid=-"

static void test_round_trip(void)
{
    static const HnPromise given[] = {
        {{1, 0}, 1, 0, ""},
        {{HN_NEWCOMER_MAX_VCPUS, HN_NEWCOMER_MAX_BYTES}, UINT64_MAX, UINT64_C(1) << 60, EXAMPLE_UUID_A},
    };
    g_autoptr(GArray) promises = g_array_new(FALSE, TRUE, sizeof(HnPromise));
    g_autoptr(GError) error = NULL;

    g_array_append_vals(promises, given, G_N_ELEMENTS(given));
    g_autofree char *text = hn_promises_format(promises, BOOT);
    g_autoptr(GArray) back = hn_promises_parse(text, strlen(text), "promises", BOOT, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(back->len, ==, G_N_ELEMENTS(given));
    for (guint i = 0; i < back->len; i++) {
        const HnPromise *promise = &g_array_index(back, HnPromise, i);
        g_assert_cmpuint(promise->guest.n_vcpus, ==, given[i].guest.n_vcpus);
        g_assert_cmpuint(promise->guest.bytes, ==, given[i].guest.bytes);
        g_assert_cmpuint(promise->nodes, ==, given[i].nodes);
        g_assert_cmpuint(promise->promised_ns, ==, given[i].promised_ns);
        g_assert_cmpstr(promise->uuid, ==, given[i].uuid);
    }
    /* Of another boot: times and guests mean nothing. */
    g_autoptr(GArray) other = hn_promises_parse(text, strlen(text), "promises", "another", &error);
    g_assert_no_error(error);
    g_assert_cmpuint(other->len, ==, 0);
    /* Cut anywhere, it is no shorter ledger but none. */
    for (size_t len = 0; len + 1 < strlen(text); len++)
        g_assert_null(hn_promises_parse(text, len, "promises", BOOT, NULL));
}

static void test_damaged(void)
{
    static const char *const texts[] = {
        "",
        "end\n",
        "version 2\nboot-id " BOOT "\nend\n",
        "version 1\n" GUEST "\nend\n",
        BEGIN GUEST "\n",
        BEGIN "end\n" GUEST "\n",
        BEGIN "visitor vcpus=2\nend\n",
        BEGIN GUEST " more\nend\n",
        BEGIN "guest vcpus=0 bytes=1 nodes=1 at-ns=1 uuid=-\nend\n",
        BEGIN "guest vcpus=8193 bytes=1 nodes=1 at-ns=1 uuid=-\nend\n",
        BEGIN "guest vcpus=-1 bytes=1 nodes=1 at-ns=1 uuid=-\nend\n",
        BEGIN "guest vcpus=1 bytes=1125899906842625 nodes=1 at-ns=1 uuid=-\nend\n",
        BEGIN "guest vcpus=1 bytes=1 nodes=0 at-ns=1 uuid=-\nend\n",
        BEGIN "guest vcpus=1 bytes=1 nodes=1 at-ns=18446744073709551615 uuid=-\nend\n",
        BEGIN "guest vcpus=1 bytes=1 nodes=1 at-ns=1 uuid=web\nend\n",
        BEGIN "guest vcpus=1 bytes=1 nodes=1 at-ns=1\nend\n",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;
        g_test_message("%s", texts[i]);
        g_assert_null(hn_promises_parse(texts[i], strlen(texts[i]), "FILE", BOOT, &error));
        g_assert_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX);
        g_assert_true(g_str_has_prefix(error->message, "FILE: "));
    }
    /* More than there may be is damage as well. */
    g_autoptr(GString) many = g_string_new(BEGIN);
    for (guint i = 0; i <= HN_MAX_PROMISES; i++)
        g_string_append(many, GUEST "\n");
    g_string_append(many, "end\n");
    g_assert_null(hn_promises_parse(many->str, many->len, "FILE", BOOT, NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/promises-text/round-trip", test_round_trip);
    g_test_add_func("/promises-text/damaged", test_damaged);
    return g_test_run();
}
