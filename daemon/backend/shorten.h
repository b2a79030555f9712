/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Foreign text in an error message: short, and never cut within a character, because messages
 * travel on as JSON and XML, which must be valid UTF-8. Pure.
 */
#pragma once

#include <glib.h>
#include <string.h>

#define HN_SHORTEN_BYTES 80

/* The beginning of valid UTF-8 text, at most HN_SHORTEN_BYTES long; NULL gives "". Caller frees. */
static inline char *hn_shorten(const char *text)
{
    const char *end;
    gsize len = text ? strlen(text) : 0;
    if (len <= HN_SHORTEN_BYTES)
        return g_strdup(text ? text : "");
    g_utf8_validate(text, HN_SHORTEN_BYTES, &end); /* end: after the last whole character */
    return g_strndup(text, (gsize)(end - text));
}
