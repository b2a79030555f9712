/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whose pin is it: answers the observer's question from the journal, so that what homenode set
 * itself is never taken for a constraint of the admin's.
 */
#pragma once

#include "apply/journal.h"
#include "observe/observer.h"

/* The journal is borrowed and must outlive every use. Any thread. */
HnOwnership hn_ownership_of(HnJournal *journal);
