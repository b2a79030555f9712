/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The calls of acting on the small world, made directly, and what tests ask after them.
 */
#pragma once

#include "world.h"

/* Pins the domain to @nodes, through work.c, as the actuator makes it. */
HnEnd pin_to(World *world, HnNodemask nodes);
/* Fences it to @nodes ("1"), with so much of its memory inside and outside. */
HnEnd fence_to(World *world, const char *nodes, uint64_t inside_mib, uint64_t outside_mib);
/* How a call ended, and a part of what it tells (or NULL); frees the sentence. */
void assert_end(HnEnd end, HnReason reason, const char *tells);
/* world_pins() is @expected; the second also ends what was told to fail. */
void assert_pins(World *world, const char *expected);
void assert_pins_after_faults(World *world, const char *expected);
/* Whether the domain has an entry. */
void assert_journal(World *world, bool has_file);
/* Threads that began while their creator had our pin, and one that the admin pinned since. None is in the journal. */
void plug_in_threads(World *world, bool is_bare_qemu);
/* world_pins() holds @vcpus, and the second iothread's CPUs are @iothread. */
void assert_plugged_in(World *world, const char *vcpus, const char *iothread);
