/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the evidence says about locality: the two numbers of a domain.
 */
#pragma once

#include "client.h"

typedef struct {
    uint32_t bytes_local_permille;
    bool has_accesses_local;
    uint32_t accesses_local_permille;
    uint64_t n_touches; /* the second number stands on */
    uint32_t accesses_error_permille; /* to the farther end of its 95 % interval */
} HnLocality;

/* Share of the domain's memory on the nodes its vCPUs run on, and share of touches (hinting faults
 * where there are enough, else sampled page faults) that were local. The second is absent below a
 * hundred touches: its 95 % interval would be wider than 10 %. */
HnLocality hn_evidence_locality(const HnHost *host, const HnSplit *split);

/* How far the farther end of the interval (Wilson's) lies from a share of k in n independent samples, in
 * permille; 1000 for n = 0. Aimed at 97.5 %, so that any series of runs covers the truth in at least 95 %, as that of
 * bytes local is. Source: E. B. Wilson, JASA 22 (1927), 209-212. */
uint32_t hn_evidence_error_permille(uint64_t k, uint64_t n);
