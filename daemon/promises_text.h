/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ledger of guests that were told where to begin (homenode/newcomer.h) as text and back: what is in
 * RUNTIME_DIR/promises, so that a daemon that is restarted between the question and the guest's start
 * does not send the next guest to the same node. Pure; control_newcomers.c reads and writes the file.
 *
 *     # homenode promises: …
 *     version 1
 *     boot-id 5d3b…
 *     guest vcpus=2 bytes=134217728 nodes=1 at-ns=8123456789 uuid=-
 *     end
 *
 * nodes is a mask of node indexes, in hexadecimal; uuid the domain it became. Times are CLOCK_BOOTTIME, so a
 * ledger of another boot says nothing. Everything is checked on reading; who cannot read it has lost no more
 * than a minute's advice, and begins with none.
 */
#pragma once

#include <homenode/newcomer.h>

/* Caller frees. */
char *hn_promises_format(const GArray *promises, const char *boot_id);
/* HnPromise, at most HN_MAX_PROMISES, in the order written; empty for another boot. `file` only for messages.
 * Error HN_MODEL_ERROR_SYNTAX: an unknown word, another version, a number out of range, a missing "end". */
GArray *hn_promises_parse(const char *text, size_t len, const char *file, const char *boot_id, GError **error);
