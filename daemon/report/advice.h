/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What would change a verdict: for every reason code the sentence an operator can act upon.
 */
#pragma once

#include <homenode/reason.h>

/* One English sentence in which "%s", if there, stands for the domain's name; NULL when nothing
 * needs to change. Constant. */
const char *hn_advice_for(HnReason reason);
