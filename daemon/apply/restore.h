/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Undo: everything the journal says of a domain is put back, the entry is deleted.
 *
 * - A piece that the admin has taken over, before or since without our noticing, is left as it is.
 * - A piece that had no pin gets all online CPUs that <vcpu cpuset> allows: libvirt has no "unpin" of a running
 *   domain. Likewise a domain without numatune keeps mode restrictive with all nodes that have memory.
 * - A domain that ended or was restarted has nothing to restore: its entry is deleted.
 * - Memory stays where it is.
 *
 * Every piece is tried even if one fails. The entry keeps what could not be put back.
 */
#pragma once

#include "control.h"

/* RELEASED, VANISHED (nothing left to restore), or the first failure. */
HnEnd hn_restore(const HnControl *control, const char *uuid);
