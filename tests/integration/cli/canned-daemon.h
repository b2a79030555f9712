/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A control server for tests that answers every verb from tests/fixtures/control. It is qmp/'s own
 * server, in a thread with a main context of its own.
 */
#pragma once

#include <glib.h>
#include <json-c/json.h>

typedef struct {
    char *dir; /* holds the sockets */
    GThread *thread;
    GMainContext *context;
    GMainLoop *loop;
    GMutex lock;
    GString *calls; /* guarded by lock: "verb {args}\n" in order */
    int n_job_polls;
} CannedDaemon;

CannedDaemon *canned_daemon_start(void); /* listens when it returns */
void canned_daemon_stop(CannedDaemon *daemon);

/* The reply of a verb. Caller owns. */
json_object *canned_read_fixture(const char *verb);
