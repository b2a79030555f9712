/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Results of one scenario under several policies, as text: a table for people, CSV, JSON, an SVG
 * plot. Every form says that these are model results and how well the model fits what was
 * published.
 */
#pragma once

#include "run.h"

/* results: HnSimResult *, of the same scenario. All return text that the caller frees. */
char *hn_sim_format_table(const HnSimScenario *scenario, const GPtrArray *results);
char *hn_sim_format_csv(const HnSimScenario *scenario, const GPtrArray *results);
char *hn_sim_format_json(const HnSimScenario *scenario, const GPtrArray *results);
char *hn_sim_format_svg(const HnSimScenario *scenario, const GPtrArray *results);

/* (T - T_bind) / (T_inverse - T_bind) of a policy; false when it cannot be told (a run is missing,
 * did not finish, or bind and inverse are alike). 0 is as good as hard binding. */
bool hn_sim_score(const GPtrArray *results, const HnSimResult *result, double *ret_score);
