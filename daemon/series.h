/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locality, moves and load over time, for `homenode report` and the plots of `top`: a ring of small
 * samples, one per round, thinned by half whenever it is full, so that it always spans the whole
 * time since the start.
 *
 * Must not: read a clock.
 */
#pragma once

#include "report/status.h"

#define HN_SERIES_MAX_SAMPLES 1024
/* Managed domains per sample, and different ones ever; the rest are left out, to bound memory. */
#define HN_SERIES_MAX_DOMAINS 256
#define HN_SERIES_MAX_NAMES 4096

typedef struct HnSeries HnSeries;
HnSeries *hn_series_new(void);
void hn_series_free(HnSeries *series);
/* Adds one sample, unless thinning says that this round is skipped. */
void hn_series_add(HnSeries *series, int64_t unix_ms, const HnPlan *plan,
                   const HnDomainStatus *statuses, uint32_t n_statuses, const HnHost *host);
/* {"samples": […], "names": {uuid: name}}; caller owns. */
json_object *hn_series_to_json(const HnSeries *series);
