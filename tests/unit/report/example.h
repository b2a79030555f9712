/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small machine with two domains in which every member of the snapshot has a value of its own, so
 * that a document that forgets one cannot pass for the original.
 */
#pragma once

#include <homenode/policy.h>

HnSnapshot *example_snapshot(void);
/* A verdict for each of its domains and one action. */
HnPlan *example_plan(void);

#define EXAMPLE_UUID_A "11111111-1111-4111-8111-111111111111"
#define EXAMPLE_UUID_B "22222222-2222-4222-8222-222222222222"
