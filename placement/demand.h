/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From counters to demand: how much CPU each vCPU wants, smoothed, and the value decisions hold on
 * to.
 */
#pragma once

#include "past.h"

/* Updates the record's threads from the domain's counters; `elapsed_ns` is the time since the last
 * round, 0 for a first one. Adds a sample if rates could be formed. */
void hn_demand_update(HnPastDomain *record, const HnDomain *domain, uint64_t elapsed_ns,
                      const HnPolicy *policy);
/* Smoothed demand of vCPU `index` of the domain in thousandths of a CPU, as left by
 * hn_demand_update(). */
uint64_t hn_demand_of_vcpu(const HnPastDomain *record, const HnDomain *domain, uint32_t index);
/* The same of all its workers together. */
uint64_t hn_demand_of_workers(const HnPastDomain *record, const HnDomain *domain);
/* Moves a held value towards `smoothed` only if that left the dead band (1/8 of it, at least 20
 * mcpu). */
uint64_t hn_demand_hold(uint64_t held_mcpu, bool is_held, uint64_t smoothed_mcpu);
/* One step of exponential smoothing: weight of the new sample after elapsed_ns at that half-life,
 * in 1/65536. Exact at every whole half-life, linear between. */
uint32_t hn_demand_weight(uint64_t elapsed_ns, uint64_t halflife_ns);
