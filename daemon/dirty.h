/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty rates: how much memory a guest writes per second, measured in one short burst while the
 * domain is in doubt.
 *
 * Theory of operation. QEMU measures by itself (page sampling: it hashes 512 pages per GiB twice);
 * it is asked to begin, and asked for the result when the time is up. Both questions may wait for
 * the domain, so they run in threads of the GTask pool; in between only a timer runs. What came of
 * it is kept per guest and laid over the next rounds' snapshots.
 *
 *     idle → starting (thread) → measuring (timer) → reading (thread) → idle, with a rate or a refusal
 *
 * Must not: ask while the domain has a job, nor for more than a few domains at a time; choose a mode
 * that could end a guest (the back ends refuse those besides: backend.h).
 */
#pragma once

#include "manager_state.h"

/* After a round: begins the bursts that its verdicts ask for. */
void hn_manager_measure_dirty(HnManager *manager);
/* At the end: forgets those whose time is not up. No thread of theirs may run any more. */
void hn_manager_cancel_dirty(HnManager *manager);
