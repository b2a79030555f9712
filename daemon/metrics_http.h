/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * OpenMetrics over HTTP: GET (and HEAD) of /metrics, nothing else, for a Prometheus on the same host.
 *
 * Off unless homenode.conf says where to listen, or systemd passes a socket named "metrics"
 * (homenoded-metrics.socket). Other than loopback addresses are refused unless the configuration allows
 * them: what guests run here and how they fare is nobody else's business.
 *
 * Theory of operation. libmicrohttpd parses and writes in a thread of its own. The text is made in the main
 * loop, where all state lives, by an idle source of low priority that the thread waits for: scraping delays
 * no round and no command, and the text is made at most once per HN_METRICS_KEEP_MS, however many ask. At most
 * HN_METRICS_MAX_CONNECTIONS at a time, each with HN_METRICS_CONNECTION_BYTES and ended after
 * HN_METRICS_IDLE_S without a byte. A local user can thus keep others from scraping, but not the daemon from
 * working; the textfile of daemon.metrics-file has no such weakness.
 *
 * The main loop waits for the thread at the end only, having told it not to wait any more.
 *
 * Must not: change anything, read a request's body, know what the text says.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define HN_METRICS_MAX_CONNECTIONS 16
#define HN_METRICS_CONNECTION_BYTES 16384
#define HN_METRICS_IDLE_S 10
#define HN_METRICS_KEEP_MS 500

typedef struct HnMetricsHttp HnMetricsHttp;
/* The text to answer with; the endpoint frees it. Called in the main loop. */
typedef char *(*HnMetricsTextFunc)(void *user_data);

/* True if `text` is "ADDRESS:PORT" with a numeric address ("127.0.0.1:9177", "[::1]:9177"), of this host alone
 * unless is_remote_allowed. Error G_IO_ERROR_INVALID_ARGUMENT, in words that follow the key's name. */
bool hn_metrics_address_check(const char *text, bool is_remote_allowed, GError **error);

/* A listening descriptor for an address that was checked, or -1 with a GIOError that names it. */
int hn_metrics_listen(const char *address, GError **error);

/* Serves a listening stream socket, IPv4 or IPv6; the default main context must run. fd is taken, also on error.
 * Error G_IO_ERROR_FAILED: no such socket, or the program was built without libmicrohttpd. */
HnMetricsHttp *hn_metrics_http_new(int fd, HnMetricsTextFunc func, void *user_data, GError **error);
/* NULL is allowed. Ends all connections. */
void hn_metrics_http_free(HnMetricsHttp *http);
