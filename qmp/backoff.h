/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When to connect again: a pure state machine. Time is an argument; chance is a seed.
 *
 * Waiting doubles from first_ns to max_ns with each failure. A connection that stayed up for
 * stable_ns forgives all earlier failures; one that is lost sooner counts as another failure, so a
 * peer that accepts and hangs up is not hammered. Each wait is shortened by up to a quarter, by the
 * seed, so that a thousand monitors lost in one moment do not come back in one moment.
 *
 * Must not: read a clock, connect, or log.
 */
#pragma once

#include <glib.h>

typedef struct {
    guint64 first_ns;   /* the wait after the first failure */
    guint64 max_ns;     /* the longest wait */
    guint64 stable_ns;  /* up this long: failures forgiven */
    guint max_failures; /* in a row, then give up; 0 = never */
} HnQmpBackoffPolicy;

/* 200 ms to 30 s, forgiven after 10 s, never given up. */
#define HN_QMP_BACKOFF_DEFAULT                                                                     \
    {                                                                                              \
        .first_ns = 200 * G_GUINT64_CONSTANT(1000000),                                             \
        .max_ns = 30 * G_GUINT64_CONSTANT(1000000000),                                             \
        .stable_ns = 10 * G_GUINT64_CONSTANT(1000000000), .max_failures = 0                        \
    }
extern const HnQmpBackoffPolicy hn_qmp_backoff_default;

typedef enum {
    HN_QMP_BACKOFF_STOPPED,    /* → CONNECTING by start */
    HN_QMP_BACKOFF_CONNECTING, /* → UP by connected; → WAITING or GIVEN_UP by failed */
    HN_QMP_BACKOFF_UP,         /* → WAITING or GIVEN_UP by failed */
    HN_QMP_BACKOFF_WAITING,    /* → CONNECTING by tick at or after due_ns */
    HN_QMP_BACKOFF_GIVEN_UP,   /* → CONNECTING by start */
} HnQmpBackoffState;           /* every state → STOPPED by stop */

typedef struct {
    HnQmpBackoffPolicy policy;
    HnQmpBackoffState state;
    guint failures; /* in a row */
    guint64 due_ns; /* WAITING: when to connect */
    guint64 up_since_ns;
    guint64 seed;
} HnQmpBackoff;

/* A stopped machine. seed: anything that differs between peers, such as a hash of the path. */
void hn_qmp_backoff_init(HnQmpBackoff *backoff, const HnQmpBackoffPolicy *policy, guint64 seed);

/* TRUE if the caller is to connect now. From STOPPED and GIVEN_UP; elsewhere nothing happens. */
gboolean hn_qmp_backoff_start(HnQmpBackoff *backoff);
/* TRUE if the caller is to connect now: the wait is over. */
gboolean hn_qmp_backoff_tick(HnQmpBackoff *backoff, guint64 now_ns);
/* The connection is usable. */
void hn_qmp_backoff_connected(HnQmpBackoff *backoff, guint64 now_ns);
/* Connecting failed or the connection was lost. Returns ns from now until the next try;
 * G_MAXUINT64 if there will be none. */
guint64 hn_qmp_backoff_failed(HnQmpBackoff *backoff, guint64 now_ns);
void hn_qmp_backoff_stop(HnQmpBackoff *backoff);
