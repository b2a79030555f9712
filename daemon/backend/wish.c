/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Decodes the opt-in element. One table row per attribute; whatever is not in the table is refused.
 *
 * Must not: log, look anything up outside its arguments, or accept "nearly right" values.
 */
#include "wish.h"

#include "shorten.h"

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <string.h>

#define MAX_ELEMENT_BYTES                                                                          \
    16384 /* far above any sensible element; bounds the work bad input can cause */
#define MAX_GROUP_CHARS 64
#define MAX_MIB_PER_SEC 1048576 /* 1 TiB/s: above any memory bus, below overflow in bytes */
#define DEFAULT_WEIGHT 100
#define MAX_WEIGHT 1000

/* Decodes one attribute's value into *wish; NULL if fine, else what is allowed (static or owned by
 * the caller, who frees). */
typedef char *(*AttributeFunc)(const char *value, const HnHost *host, HnWish *wish);

static char *parse_mode(const char *value, const HnHost *host, HnWish *wish)
{
    static const HnMode modes[] = {HN_MODE_AUTO, HN_MODE_ADVISE, HN_MODE_OFF};
    static const char *const names[] = {"auto", "advise", "off"};
    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
        if (strcmp(value, names[i]) == 0) {
            wish->mode = modes[i];
            return NULL;
        }
    }
    return g_strdup("auto, advise or off");
}

static char *parse_nodeset(const char *value, const HnHost *host, HnWish *wish)
{
    HnCpuset ids;
    bool is_good = hn_cpuset_parse(value, strlen(value), &ids, NULL) && !hn_cpuset_is_empty(&ids);
    HnNodemask mask = 0;
    for (int32_t id = is_good ? hn_cpuset_next(&ids, 0) : -1; id >= 0 && is_good;
         id = hn_cpuset_next(&ids, (uint32_t)id + 1)) {
        int32_t index = hn_host_index_of_id(host, id);
        if (index == HN_NODE_NONE)
            is_good = false;
        else
            mask |= UINT64_C(1) << index;
    }
    if (!is_good) {
        g_autofree char *nodes = hn_host_format_nodes(host, ~UINT64_C(0));
        return g_strdup_printf("a list of nodes this host has (%s)", nodes);
    }
    wish->has_nodeset = true;
    wish->nodeset = mask;
    return NULL;
}

static char *parse_group_name(const char *value, char **ret_name)
{
    size_t len = strlen(value);
    bool is_good = len > 0 && len <= MAX_GROUP_CHARS;
    for (size_t i = 0; i < len && is_good; i++)
        is_good = g_ascii_isalnum(value[i]) || strchr("._-", value[i]);
    if (!is_good)
        return g_strdup_printf("1 to %d letters, digits, '.', '_' or '-'", MAX_GROUP_CHARS);
    g_free(*ret_name);
    *ret_name = g_strdup(value);
    return NULL;
}

static char *parse_group(const char *value, const HnHost *host, HnWish *wish)
{
    return parse_group_name(value, &wish->group);
}

static char *parse_anti_group(const char *value, const HnHost *host, HnWish *wish)
{
    return parse_group_name(value, &wish->anti_group);
}

static char *parse_memory(const char *value, const HnHost *host, HnWish *wish)
{
    if (strcmp(value, "follow") == 0)
        wish->memory = HN_MEMORY_FOLLOW;
    else if (strcmp(value, "keep") == 0)
        wish->memory = HN_MEMORY_KEEP;
    else
        return g_strdup("follow or keep");
    return NULL;
}

static char *parse_number(const char *value, uint32_t max, uint32_t *ret_number)
{
    guint64 number;
    if (!g_ascii_string_to_unsigned(value, 10, 1, max, &number, NULL))
        return g_strdup_printf("a whole number from 1 to %u", max);
    *ret_number = (uint32_t)number;
    return NULL;
}

static char *parse_max_mib_per_s(const char *value, const HnHost *host, HnWish *wish)
{
    return parse_number(value, MAX_MIB_PER_SEC, &wish->max_mib_per_sec);
}

static char *parse_weight(const char *value, const HnHost *host, HnWish *wish)
{
    return parse_number(value, MAX_WEIGHT, &wish->weight);
}

static const struct {
    const char *name;
    AttributeFunc parse;
} attributes[] = {
    {"mode", parse_mode},     {"nodeset", parse_nodeset},
    {"group", parse_group},   {"anti-group", parse_anti_group},
    {"memory", parse_memory}, {"max-mib-per-s", parse_max_mib_per_s},
    {"weight", parse_weight},
};

#define ATTRIBUTE_NAMES "mode, nodeset, group, anti-group, memory, max-mib-per-s, weight"

static char *parse_attribute(const xmlAttr *attribute, const HnHost *host, HnWish *wish)
{
    const char *name = (const char *)attribute->name;
    for (size_t i = 0; i < G_N_ELEMENTS(attributes); i++) {
        if (attribute->ns || strcmp(name, attributes[i].name) != 0)
            continue;
        xmlChar *value = xmlNodeListGetString(attribute->doc, attribute->children, 1);
        const char *text = value ? (const char *)value : "";
        g_autofree char *allowed = attributes[i].parse(text, host, wish);
        g_autofree char *shown = hn_shorten(text);
        char *invalid = NULL;
        if (allowed)
            invalid =
                g_strdup_printf("placement: %s='%s' is not allowed: use %s", name, shown, allowed);
        xmlFree(value);
        return invalid;
    }
    g_autofree char *shown_name = hn_shorten(name);
    return g_strdup_printf("placement: unknown attribute '%s': use " ATTRIBUTE_NAMES, shown_name);
}

/* format has one %s: for name, shortened. */
static char *complain(const char *format, const xmlChar *name)
{
    g_autofree char *shown = hn_shorten((const char *)name);
    g_auto(GStrv) around = g_strsplit(format, "%s", 2);
    return g_strconcat(around[0], shown, around[1], NULL);
}

static char *parse_element(xmlDoc *doc, const HnHost *host, HnWish *wish)
{
    const xmlNode *root = xmlDocGetRootElement(doc);
    if (doc->intSubset)
        return g_strdup("placement: a document type declaration is not allowed");
    if (strcmp((const char *)root->name, "placement") != 0)
        return complain("placement: unknown element <%s>: use <placement …/>", root->name);
    if (root->ns && strcmp((const char *)root->ns->href, HN_PLACEMENT_URI) != 0)
        return complain("placement: unknown namespace '%s': use " HN_PLACEMENT_URI, root->ns->href);
    for (const xmlNode *child = root->children; child; child = child->next) {
        if (child->type == XML_ELEMENT_NODE)
            return complain("placement: unknown element <%s> inside: none is allowed", child->name);
        if (child->type != XML_COMMENT_NODE && !xmlIsBlankNode(child))
            return g_strdup("placement: text inside the element is not allowed");
    }
    for (const xmlAttr *attribute = root->properties; attribute; attribute = attribute->next) {
        char *invalid = parse_attribute(attribute, host, wish);
        if (invalid)
            return invalid;
    }
    if (wish->mode == HN_MODE_NONE)
        return g_strdup("placement: attribute 'mode' is missing: use auto, advise or off");
    if (wish->group && wish->anti_group && strcmp(wish->group, wish->anti_group) == 0)
        return g_strdup_printf(
            "placement: anti-group='%s' is not allowed: use another name than group",
            wish->anti_group);
    return NULL;
}

static char *parse_text(const char *xml, const HnHost *host, HnWish *wish)
{
    size_t len = strnlen(xml, MAX_ELEMENT_BYTES + 1);
    if (len > MAX_ELEMENT_BYTES)
        return g_strdup_printf("placement: longer than %d bytes", MAX_ELEMENT_BYTES);
    xmlDoc *doc = xmlReadMemory(xml, (int)len, "placement", NULL,
                                XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING |
                                    XML_PARSE_NOCDATA);
    if (!doc)
        return g_strdup("placement: not well-formed XML: use <placement mode='auto'/>");
    char *invalid = xmlDocGetRootElement(doc)
                        ? parse_element(doc, host, wish)
                        : g_strdup("placement: empty: use <placement mode='auto'/>");
    xmlFreeDoc(doc);
    return invalid;
}

bool hn_wish_parse(const char *xml, const HnHost *host, HnWish *ret_wish)
{
    *ret_wish =
        (HnWish){.mode = HN_MODE_NONE, .memory = HN_MEMORY_FOLLOW, .weight = DEFAULT_WEIGHT};
    char *invalid = xml ? parse_text(xml, host, ret_wish) : NULL;
    if (!invalid)
        return true;
    /* Nothing of a wrong element may take effect. */
    hn_wish_clear(ret_wish);
    ret_wish->mode = HN_MODE_OFF;
    ret_wish->invalid = invalid;
    return false;
}
