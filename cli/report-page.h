/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The page of `homenode report`: replies of the daemon in, one self-contained HTML document out.
 * Pure.
 *
 * Nothing is fetched and nothing is run when it is opened: style and plots are in it, and its
 * content security policy forbids the rest. Names and sentences come from outside and are escaped.
 */
#pragma once

#include <glib.h>
#include <json-c/json.h>

/* host: reply of query-host, series: of query-series, history: of history; any may be NULL or lack
 * members. last_ms: samples and entries older than this before the newest sample are left out; 0:
 * none. Caller frees. */
char *hn_report_page(json_object *host, json_object *series, json_object *history, int64_t last_ms);
