/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * English for verdicts and plans: one sentence with its numbers.
 */
#pragma once

#include "decide.h"

/* The sentence for a domain's verdict. `better_node` (host index, HN_NODE_NONE) is the node it
 * would rather be on, where that is what the reason is about. Caller frees. */
char *hn_sentence_verdict(const HnRound *round, const HnStanding *standing,
                          const HnVerdict *verdict, int32_t better_node);
char *hn_sentence_plan(const HnRound *round, const HnPlan *plan, uint32_t n_managed,
                       uint32_t n_acting);
