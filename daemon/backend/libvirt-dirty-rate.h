/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A dirty rate as libvirt's domain statistics tell it (VIR_DOMAIN_STATS_DIRTYRATE), read elsewhere.
 */
#pragma once

#include "backend.h"

#include <libvirt/libvirt.h>

/* Fills a zeroed *ret_rate; what is missing, negative or of a vCPU number beyond HN_MAX_CPUS counts
 * as nothing. Its array is
 * the caller's to unref. */
void hn_libvirt_dirty_rate_parse(virTypedParameterPtr params, int n_params, HnDirtyRate *ret_rate);
