/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What pins, fences and restores have in common: they go through the back end, block, and therefore run in the
 * actuator's control threads; they check that the domain is still the one that was meant; they end with a reason
 * and one sentence.
 */
#pragma once

#include <homenode/reason.h>

#include "backend/backend.h"
#include "journal.h"
#include "observe/root.h"
#include "syscalls.h"

typedef struct {
    HnBackend *backend;
    const HnRoot *root;
    HnJournal *journal;
    const HnSyscalls *sys;
} HnControl;

/* Who is meant: a domain's process. */
typedef struct {
    char uuid[HN_UUID_LEN + 1];
    int64_t pid;
    uint64_t start_ticks;
} HnIdentity;

/* An end: `sentence` is the caller's to free. */
typedef struct {
    HnReason reason;
    char *sentence;
} HnEnd;

HnEnd hn_end(HnReason reason, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* From an HN_BACKEND_ERROR: GONE → VANISHED, BUSY → LIBVIRT_BUSY, DISCONNECTED → LIBVIRT_GONE, DENIED →
 * PERMISSION_DENIED, UNSUPPORTED → UNSUPPORTED, else LIBVIRT_FAILED. `what`: what was tried. */
HnEnd hn_end_of_error(const char *what, const GError *error);

/* Asks the back end for the domain and checks that it runs in that very process and that no job holds it. DONE and
 * *ret_info (caller frees), or why not. */
HnEnd hn_control_open(const HnControl *control, const HnIdentity *identity, HnDomainInfo **ret_info);

/* The list in a file like sys/devices/system/cpu/online. Error: G_FILE_ERROR or HN_MODEL_ERROR. */
bool hn_control_read_list(const HnControl *control, const char *path, HnCpuset *ret_set, GError **error);
