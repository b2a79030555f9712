/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: the meter's control socket: one command per line in, one JSON object per line out.
 *
 * Theory of operation: control_execute() is the whole protocol as a function of a line; a thread of
 * the emulator's process serves one client after the other on a unix socket and calls it. Commands:
 * read, arm, disarm, node START END NODE, pages GUEST FIRST[-END]…, range GUEST START END, forget.
 * It must never block a vCPU.
 */
#ifndef METER_CONTROL_H
#define METER_CONTROL_H

#include "counters.h"

typedef struct {
    Meter *meter;
    bool (*set_armed)(bool is_armed); /* false if it did not take effect in time */
    bool (*is_armed)(void);
    int64_t (*now_ns)(void);
} Control;

/* Executes one line (without line feed; modified while it is parsed) and appends the answer: an
 * object with "ok", and "error" if that is false. */
void control_execute(const Control *control, char *line, GString *answer);

/* Listens on path (replacing what lies there) and serves it in a detached thread for as long as the
 * process lives; control must live as long. False with errno set if it cannot. */
bool control_start(const Control *control, const char *path);

#endif
