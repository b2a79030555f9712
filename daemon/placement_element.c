/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The opt-in element as text, with another mode: see placement_element.h.
 */
#include "placement_element.h"

#include <string.h>

typedef struct {
    GString *out;
    guint n_elements;
} Rewriting;

static void attribute(GString *out, const char *name, const char *value)
{
    g_autofree char *escaped = g_markup_escape_text(value, -1);
    g_string_append_printf(out, " %s='%s'", name, escaped);
}

static void on_element(GMarkupParseContext *context, const char *element, const char **names,
                       const char **values, gpointer user_data, GError **error)
{
    Rewriting *rewriting = user_data;
    const char *local = strrchr(element, ':');
    if (rewriting->n_elements++ > 0 || strcmp(local ? local + 1 : element, "placement") != 0) {
        g_set_error(error, G_MARKUP_ERROR, G_MARKUP_ERROR_UNKNOWN_ELEMENT,
                    "element <%s>: there must be one <placement> and nothing in it", element);
        return;
    }
    for (guint i = 0; names[i]; i++)
        if (strcmp(names[i], "mode") != 0 && !g_str_has_prefix(names[i], "xmlns"))
            attribute(rewriting->out, names[i], values[i]);
}

char *hn_placement_with_mode(const char *xml, HnMode mode, GError **error)
{
    static const GMarkupParser parser = {.start_element = on_element};
    g_autoptr(GString) out = g_string_new("<placement");
    Rewriting rewriting = {.out = out};

    attribute(out, "mode", hn_mode_name(mode));
    if (xml) {
        g_autoptr(GMarkupParseContext) context =
            g_markup_parse_context_new(&parser, 0, &rewriting, NULL);
        if (!g_markup_parse_context_parse(context, xml, -1, error) ||
            !g_markup_parse_context_end_parse(context, error)) {
            g_prefix_error(
                error,
                "the present placement element cannot be kept; correct or remove it first: ");
            return NULL;
        }
    }
    g_string_append(out, "/>");
    return g_string_free(g_steal_pointer(&out), FALSE);
}
