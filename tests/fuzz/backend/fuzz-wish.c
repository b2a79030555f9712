/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzes the opt-in element: whatever the text, the wish is either valid, and then within its
 * documented ranges, or wrong, and then one sentence of valid UTF-8 and no effect.
 */
#include "../qmp/fuzz.h"

#include "backend/wish.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static HnHost *host;
    HnWish wish;
    if (!host) {
        host = hn_host_new(3);
        host->nodes[0].id = 0;
        host->nodes[1].id = 2;
        host->nodes[2].id = 63;
    }
    g_autofree char *text = g_strndup((const char *)data, size);
    bool is_valid = hn_wish_parse(text, host, &wish);
    g_assert_cmpint(is_valid, ==, wish.invalid == NULL);
    if (is_valid) {
        g_assert_true(wish.mode == HN_MODE_AUTO || wish.mode == HN_MODE_ADVISE ||
                      wish.mode == HN_MODE_OFF);
        g_assert_cmpuint(wish.weight, >=, 1);
        g_assert_cmpuint(wish.weight, <=, 1000);
        g_assert_cmpuint(wish.nodeset, <, 8);
        g_assert_cmpint(wish.has_nodeset, ==, wish.nodeset != 0);
    } else {
        g_assert_true(g_str_has_prefix(wish.invalid, "placement: "));
        g_assert_true(g_utf8_validate(wish.invalid, -1, NULL));
        g_assert_cmpint(wish.mode, ==, HN_MODE_OFF);
        g_assert_false(wish.has_nodeset);
    }
    hn_wish_clear(&wish);
    return 0;
}
