/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What sentences are put together from: numbers with their units, and nodes by their names.
 */
#pragma once

#include <homenode/host.h>

#include <glib.h>

void hn_phrase_int(GString *text, int64_t value);             /* "-12" */
void hn_phrase_bytes(GString *text, uint64_t bytes);          /* "640 MiB", "1.5 GiB", "24 GiB"; rounded down */
void hn_phrase_cpus(GString *text, int64_t mcpu);             /* "1.50 CPUs" */
void hn_phrase_permille(GString *text, uint64_t permille);    /* "12.5 %" */
/* "node 2" or "nodes 0, 1 and 3", by their ids; mask: of host indices. */
void hn_phrase_nodes(const HnHost *host, GString *text, HnNodemask mask);
