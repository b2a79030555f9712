/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * OpenMetrics text (https://openmetrics.io, 1.0): stable names with units and help, ending in "#
 * EOF".
 *
 * Cardinality is bounded: at most HN_METRICS_MAX_DOMAINS domains get samples of their own, in uuid
 * order; the rest are counted in homenode_domains_omitted. Reasons and states are labels of one
 * sample per domain, never of a family per reason.
 */
#pragma once

#include "status.h"

#define HN_METRICS_MAX_DOMAINS 512

/* Counts are of one bucket each, not summed up: of what took at most its bound and longer than the one before. */
typedef struct {
    const uint64_t *bounds_ns; /* [n_bounds], ascending */
    const uint64_t *counts;    /* [n_bounds + 1]; the last: beyond the last bound */
    guint n_bounds;
    uint64_t sum_ns;
} HnMetricsHistogram;

typedef struct {
    const char *version;
    bool is_connected;
    bool is_dry_run;
    uint64_t n_rounds;
    uint64_t n_failed_rounds;
    uint64_t round_ns;             /* how long the last round took */
    HnMetricsHistogram calls;      /* of move_pages */
    const HnHost *host;            /* NULL: no round yet */
    const HnPlan *plan;            /* NULL: no round yet */
    const HnDomainStatus *domains; /* [n_domains] */
    uint32_t n_domains;
} HnMetricsInput;

/* Caller frees. */
char *hn_metrics_format(const HnMetricsInput *input);
