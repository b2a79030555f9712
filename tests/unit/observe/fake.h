/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Starting and commanding fake-qemu processes. */
#pragma once

#include "backend/backend.h"

#include <stdio.h>

typedef struct {
    GPid pid;
    int to_fd;
    FILE *from;
    HnDomainInfo info; /* as a back end would list it; valid while the process is */
} FakeQemu;

/* program: path of fake-qemu; mib: "64" or "64,32" (one guest cell each if several); pages:
 * "small", "huge" or "nothing" (RAM is not touched). Waits until it is ready. Aborts the test on
 * failure. */
FakeQemu *fake_qemu_start(const char *program, const char *name, uint32_t n_vcpus, const char *mib,
                          const char *pages);
/* Sends a command and waits for the answer. */
void fake_qemu_tell(FakeQemu *qemu, const char *command);
/* Kills it, if it still runs, and waits for its end. */
void fake_qemu_kill(FakeQemu *qemu);
void fake_qemu_free(FakeQemu *qemu);
