/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the operator ordered and has not taken back (pause, release), as text and back: what is in
 * RUNTIME_DIR/state, so that a daemon that is upgraded or killed is followed by one that obeys the same
 * orders. Pure; lifecycle.c reads and writes the file.
 *
 *     # homenode state: …
 *     version 1
 *     boot-id 5d3b…
 *     host held
 *     domain 2f0c… pid=4711 start-ticks=91833 held released
 *     end
 *
 * An order belongs to the guest's process (pid and start time), as a release always did: a guest that was
 * restarted since is a new one, and so is every guest of another boot. Run-time settings (`homenode set`)
 * are not here: a restart returns to the configuration file, which is what they are an exception to.
 *
 * Everything is checked on reading: half an order is worse than none, and whoever reads it is told so.
 */
#pragma once

#include <homenode/domain.h>
#include <homenode/plan.h>

typedef struct {
    char uuid[HN_UUID_LEN + 1];
    int64_t pid;          /* 0: not known (libvirt's test driver has no processes) */
    uint64_t start_ticks; /* 0: likewise */
    bool is_held, is_released;
} HnDomainOrders;

typedef struct {
    char *boot_id;
    bool is_host_held;
    GArray *domains; /* HnDomainOrders; each has at least one order */
} HnOperatorState;

/* Nothing ordered. */
HnOperatorState *hn_operator_state_new(const char *boot_id);
void hn_operator_state_free(HnOperatorState *state);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnOperatorState, hn_operator_state_free)

/* Caller frees. */
char *hn_operator_state_format(const HnOperatorState *state);
/* `file` only for messages. Error HN_MODEL_ERROR_SYNTAX: an unknown word, another version, a missing line
 * or a missing "end". */
HnOperatorState *hn_operator_state_parse(const char *text, size_t len, const char *file, GError **error);
