/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The opt-in element: what is accepted, and the exact sentence for what is not.
 */
#include "backend/wish.h"

#include <string.h>

/* Two nodes whose ids are not their indexes: 0 and 4. */
static HnHost *sparse_host(void)
{
    HnHost *host = hn_host_new(2);
    host->nodes[0].id = 0;
    host->nodes[1].id = 4;
    return host;
}

static void test_absent(void)
{
    g_autoptr(HnHost) host = sparse_host();
    HnWish wish;
    g_assert_true(hn_wish_parse(NULL, host, &wish));
    g_assert_cmpint(wish.mode, ==, HN_MODE_NONE);
    g_assert_cmpuint(wish.weight, ==, 100);
    g_assert_null(wish.invalid);
    hn_wish_clear(&wish);
}

static void test_all_attributes(void)
{
    g_autoptr(HnHost) host = sparse_host();
    HnWish wish;
    g_assert_true(hn_wish_parse(
        "<placement mode='advise' nodeset='4' group='db.1' anti-group='ha_2' memory='keep' "
        "max-mib-per-s='512' weight='1000'/>",
        host, &wish));
    g_assert_cmpint(wish.mode, ==, HN_MODE_ADVISE);
    g_assert_true(wish.has_nodeset);
    g_assert_cmphex(wish.nodeset, ==, 2); /* index 1, not id 4 */
    g_assert_cmpstr(wish.group, ==, "db.1");
    g_assert_cmpstr(wish.anti_group, ==, "ha_2");
    g_assert_cmpint(wish.memory, ==, HN_MEMORY_KEEP);
    g_assert_cmpuint(wish.max_mib_per_sec, ==, 512);
    g_assert_cmpuint(wish.weight, ==, 1000);
    hn_wish_clear(&wish);
}

static void test_accepted(void)
{
    static const struct {
        const char *xml;
        HnMode mode;
    } cases[] = {
        {"<placement mode='auto'/>", HN_MODE_AUTO},
        {"<placement mode=\"off\"></placement>", HN_MODE_OFF},
        {"<h:placement xmlns:h='urn:homenode:placement:1' mode='auto'/>", HN_MODE_AUTO},
        {"<placement xmlns='urn:homenode:placement:1' mode='auto'/>", HN_MODE_AUTO},
        {"<placement mode='auto'>\n  <!-- asked for by the database team -->\n</placement>",
         HN_MODE_AUTO},
        {"<placement mode='auto' nodeset='0,4'/>", HN_MODE_AUTO},
        {"<placement mode='auto' weight='1'/>", HN_MODE_AUTO},
        {"<placement mode='auto' memory='follow' group='g'/>", HN_MODE_AUTO},
    };
    g_autoptr(HnHost) host = sparse_host();
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        HnWish wish;
        bool is_valid = hn_wish_parse(cases[i].xml, host, &wish);
        if (!is_valid)
            g_test_message("%s: %s", cases[i].xml, wish.invalid);
        g_assert_true(is_valid);
        g_assert_null(wish.invalid);
        g_assert_cmpint(wish.mode, ==, cases[i].mode);
        hn_wish_clear(&wish);
    }
}

#define ATTRIBUTES "use mode, nodeset, group, anti-group, memory, max-mib-per-s, weight"
#define NAME_RULE "use 1 to 64 letters, digits, '.', '_' or '-'"

static void test_refused(void)
{
    static const struct {
        const char *xml, *sentence;
    } cases[] = {
        {"<placement mode='on'/>", "placement: mode='on' is not allowed: use auto, advise or off"},
        {"<placement mode='none'/>",
         "placement: mode='none' is not allowed: use auto, advise or off"},
        {"<placement mode=''/>", "placement: mode='' is not allowed: use auto, advise or off"},
        {"<placement/>", "placement: attribute 'mode' is missing: use auto, advise or off"},
        {"<placement mode='auto' nodes='0'/>", "placement: unknown attribute 'nodes': " ATTRIBUTES},
        {"<placement x:mode='off' mode='auto' xmlns:x='urn:x'/>",
         "placement: unknown attribute 'mode': " ATTRIBUTES},
        {"<placement mode='auto' nodeset='1'/>",
         "placement: nodeset='1' is not allowed: use a list of nodes this host has (0,4)"},
        {"<placement mode='auto' nodeset=''/>",
         "placement: nodeset='' is not allowed: use a list of nodes this host has (0,4)"},
        {"<placement mode='auto' nodeset='0-'/>",
         "placement: nodeset='0-' is not allowed: use a list of nodes this host has (0,4)"},
        {"<placement mode='auto' nodeset='all'/>",
         "placement: nodeset='all' is not allowed: use a list of nodes this host has (0,4)"},
        {"<placement mode='auto' weight='0'/>",
         "placement: weight='0' is not allowed: use a whole number from 1 to 1000"},
        {"<placement mode='auto' weight='1001'/>",
         "placement: weight='1001' is not allowed: use a whole number from 1 to 1000"},
        {"<placement mode='auto' weight='-1'/>",
         "placement: weight='-1' is not allowed: use a whole number from 1 to 1000"},
        {"<placement mode='auto' max-mib-per-s='1.5'/>",
         "placement: max-mib-per-s='1.5' is not allowed: use a whole number from 1 to 1048576"},
        {"<placement mode='auto' memory='stay'/>",
         "placement: memory='stay' is not allowed: use follow or keep"},
        {"<placement mode='auto' group=''/>", "placement: group='' is not allowed: " NAME_RULE},
        {"<placement mode='auto' group='a b'/>",
         "placement: group='a b' is not allowed: " NAME_RULE},
        {"<placement mode='auto' anti-group='ü'/>",
         "placement: anti-group='ü' is not allowed: " NAME_RULE},
        {"<placement mode='auto' group='g' anti-group='g'/>",
         "placement: anti-group='g' is not allowed: use another name than group"},
        {"<placement mode='auto'><node/></placement>",
         "placement: unknown element <node> inside: none is allowed"},
        {"<placement mode='auto'>yes</placement>",
         "placement: text inside the element is not allowed"},
        {"<home mode='auto'/>", "placement: unknown element <home>: use <placement …/>"},
        {"<placement xmlns='urn:homenode:placement:2' mode='auto'/>",
         "placement: unknown namespace 'urn:homenode:placement:2': use urn:homenode:placement:1"},
        {"<placement mode='auto'", "placement: not well-formed XML: use <placement mode='auto'/>"},
        {"<placement mode='auto' mode='off'/>",
         "placement: not well-formed XML: use <placement mode='auto'/>"},
        {"", "placement: not well-formed XML: use <placement mode='auto'/>"},
        {"<!DOCTYPE placement [<!ENTITY a 'auto'>]><placement mode='&a;'/>",
         "placement: a document type declaration is not allowed"},
    };
    g_autoptr(HnHost) host = sparse_host();
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        HnWish wish;
        g_test_message("%s", cases[i].xml);
        g_assert_false(hn_wish_parse(cases[i].xml, host, &wish));
        g_assert_cmpstr(wish.invalid, ==, cases[i].sentence);
        g_assert_cmpint(wish.mode, ==, HN_MODE_OFF);
        /* Nothing of it takes effect. */
        g_assert_false(wish.has_nodeset);
        g_assert_null(wish.group);
        g_assert_cmpuint(wish.weight, ==, 100);
        hn_wish_clear(&wish);
    }
}

static void test_bounded(void)
{
    g_autoptr(HnHost) host = sparse_host();
    g_autofree char *blanks = g_strnfill(20000, ' ');
    g_autofree char *xml = g_strconcat("<placement mode='auto'", blanks, "/>", NULL);
    g_autofree char *group = g_strnfill(65, 'g');
    g_autofree char *long_group = g_strconcat("<placement mode='auto' group='", group, "'/>", NULL);
    HnWish wish;
    g_assert_false(hn_wish_parse(xml, host, &wish));
    g_assert_cmpstr(wish.invalid, ==, "placement: longer than 16384 bytes");
    hn_wish_clear(&wish);
    g_assert_false(hn_wish_parse(long_group, host, &wish));
    hn_wish_clear(&wish);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/wish/absent", test_absent);
    g_test_add_func("/wish/all-attributes", test_all_attributes);
    g_test_add_func("/wish/accepted", test_accepted);
    g_test_add_func("/wish/refused", test_refused);
    g_test_add_func("/wish/bounded", test_bounded);
    return g_test_run();
}
