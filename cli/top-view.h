/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What `homenode top` shows, as lines: replies of the daemon and the state of the keyboard in, text
 * out. Pure, so that it can be tested without a terminal.
 */
#pragma once

#include "text.h"

#include <json-c/json.h>

typedef enum {
    HN_TOP_BY_NAME,
    HN_TOP_BY_HOME,
    HN_TOP_BY_LOCAL,
    HN_TOP_BY_ACCESS,
    HN_TOP_BY_CPU,
    HN_TOP_BY_MEMORY,
    HN_TOP_BY_MOVES,
    HN_TOP_BY_RATE,
    HN_TOP_BY_STATUS,
} HnTopSort;

typedef struct {
    HnTopSort sort;
    bool is_reverse;
    bool is_managed_only; /* those that have not opted in are left out */
    bool is_help;         /* the meaning of keys and columns instead of domains; ends with the next key */
    uint32_t scroll; /* first domain shown; kept within what there is by hn_top_render() */
} HnTopState;

typedef struct {
    char *text;
    HnColour colour;
    bool is_heading;
} HnTopLine;

typedef enum { HN_TOP_GO_ON, HN_TOP_REFRESH, HN_TOP_QUIT } HnTopVerdict;

/* What a key does: 'q', sort keys, 'r', 'u', '?', ' ', and HN_TOP_KEY_*. page: domains shown at once. */
enum {
    HN_TOP_KEY_UP = 0x1000,
    HN_TOP_KEY_DOWN,
    HN_TOP_KEY_PAGE_UP,
    HN_TOP_KEY_PAGE_DOWN,
    HN_TOP_KEY_HOME
};
HnTopVerdict hn_top_key(HnTopState *state, int key, uint32_t page);

/* At most `height` lines of at most style->width columns. host and domains are replies of
 * query-host and query-domains, NULL before the first; error: one line or NULL, shown instead of
 * what is missing. Returns HnTopLine *, owned. */
GPtrArray *hn_top_render(json_object *host, json_object *domains, const char *error,
                         HnTopState *state, uint32_t height, const HnStyle *style);
