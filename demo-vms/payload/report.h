/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: the serial lines: the truth at the start, an error, progress and events.
 *
 * Theory of operation: one line each, words `key=value`. Only vCPU 0 prints once the workers run;
 * calls from other vCPUs do nothing, so no lock is needed. Lines are built in one static buffer.
 */
#ifndef DEMO_REPORT_H
#define DEMO_REPORT_H

#include "worker.h"

/* "homenode-guest pattern=… slice0=0xA-0xB …": what each vCPU will touch, and where Stats lie. */
void report_truth(const Options *options, const Layout *layout, const Stats *stats);

/* "error key=… value=… allowed=…" */
void report_refusal(const OptionError *error);

/* "error what=…" */
void report_error(const char *what);

void report_prepare(const Options *options, const Stats *stats, uint64_t origin_tsc);

/* Prints the progress line if one is due. */
void report_tick(unsigned vcpu);

/* Prints the progress line now, with event=NAME. */
void report_event(unsigned vcpu, const char *name);

#endif
