/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Switching DAMON on for the RAM of one process, and off again: one kdamond, through sysfs (observe/damon.h says what
 * it tells).
 *
 * Theory of operation. The kernel has one set of kdamonds for the whole host, and whoever writes nr_kdamonds owns it.
 * So nothing is written unless it is 0, and the three settings that somebody else could have made (nr_kdamonds, the
 * process, state) are journalled before they are written, like kernel.numa_balancing (hinting.h): after a crash
 * hn_damon_stop() finds them in the journal and puts them back. The rest hangs below nr_kdamonds and goes with it.
 * Before anything is put back it is looked at whose it is: a kdamond that watches another process than the journal says
 * is somebody else's by now, and left alone.
 *
 *     off → on    hn_damon_start()
 *     on → off    hn_damon_stop(); a kdamond whose process ended stops by itself, and stop puts back the rest
 *
 * The calls wait for the kdamond (up to an aggregation interval, 0.5 s): not for the main thread but at its end.
 * Used by one thread at a time.
 *
 * Must not: apply any scheme but "stat", which does nothing; take over a kdamond of somebody else.
 */
#pragma once

#include "apply/journal.h"
#include "observe/damon.h"

/* Begins to watch `slices` (HnDamonRange, as from hn_damon_slices()) of process pid. False: *ret_code is why
 * (observe/damon.h), error what was refused (may stay NULL), and nothing is left switched on. */
bool hn_damon_start(HnJournal *journal, const HnRoot *root, int64_t pid, const GArray *slices, const char **ret_code,
                    GError **error);
/* Asks for what was found in the last aggregation. GArray of HnDamonRange, owned; NULL: the process has ended, or it
 * was switched off by somebody else. */
GArray *hn_damon_ask(const HnRoot *root, GError **error);
/* Puts back what the journal says that we changed, if it is still ours; nothing if we did not. */
bool hn_damon_stop(HnJournal *journal, const HnRoot *root, GError **error);
