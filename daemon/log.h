/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the daemon says to its operator: journal records, or lines on standard error.
 *
 * Theory of operation. Each thing worth a search has a MESSAGE_ID (data/homenode.catalog explains
 * them); each actuation is one structured record with HOMENODE_ fields. When standard error is not
 * the journal, or the program was built without libsystemd, the same becomes one line "<level>
 * message (FIELD=value …)".
 *
 * Only daemon.c, manager.c, lifecycle.c, events.c and control*.c log: everything below returns
 * errors and reasons, so that nothing is said twice. GLib's own messages (g_warning in a library)
 * come out here as well.
 *
 * Must not: be called with anything a guest could have chosen in a format string.
 */
#pragma once

#include <homenode/plan.h>
#include <syslog.h>

/* Most verbose level that comes out: LOG_ERR .. LOG_DEBUG. Call once at start, before threads. */
void hn_log_init(int max_level);
void hn_log_set_level(int max_level);
/* "error", "warning", "notice", "info", "debug"; false if it is none of them. */
bool hn_log_level_parse(const char *text, int *ret_level);

/* `message_id`: 32 hexadecimal digits, or NULL. Any thread. */
void hn_log(int level, const char *message_id, const char *format, ...) G_GNUC_PRINTF(3, 4);

#define HN_MSG_STARTED "4f1e1d2b6a3c4d0f9b0a7e5c2d8f1a01"
#define HN_MSG_STOPPED "4f1e1d2b6a3c4d0f9b0a7e5c2d8f1a02"
#define HN_MSG_SINGLE_NODE "4f1e1d2b6a3c4d0f9b0a7e5c2d8f1a03"
#define HN_MSG_BACKEND_UP "4f1e1d2b6a3c4d0f9b0a7e5c2d8f1a04"
#define HN_MSG_BACKEND_DOWN "4f1e1d2b6a3c4d0f9b0a7e5c2d8f1a05"
#define HN_MSG_BAD_METADATA "4f1e1d2b6a3c4d0f9b0a7e5c2d8f1a06"
#define HN_MSG_ACTUATION "4f1e1d2b6a3c4d0f9b0a7e5c2d8f1a07"
#define HN_MSG_RELEASED "4f1e1d2b6a3c4d0f9b0a7e5c2d8f1a08"
#define HN_MSG_ADOPTED "4f1e1d2b6a3c4d0f9b0a7e5c2d8f1a09"
#define HN_MSG_COMMAND "4f1e1d2b6a3c4d0f9b0a7e5c2d8f1a0a"
#define HN_MSG_CONFIG "4f1e1d2b6a3c4d0f9b0a7e5c2d8f1a0b"
#define HN_MSG_ROUND_FAILED "4f1e1d2b6a3c4d0f9b0a7e5c2d8f1a0c"
#define HN_MSG_YIELDED "4f1e1d2b6a3c4d0f9b0a7e5c2d8f1a0d"

/* One action has ended. All members are borrowed; text may be NULL. */
typedef struct {
    const char *uuid, *name;
    HnActionKind kind;
    const char *from, *to; /* kernel node ids as text */
    HnReason decided_for;  /* why it was asked for */
    HnReason outcome;      /* how it ended */
    const char *sentence;
    uint64_t bytes_moved;
    uint32_t score_before, score_predicted;
    uint64_t generation;
} HnActuationRecord;
void hn_log_actuation(const HnActuationRecord *record);

/* sd_notify(3): "READY=1", "STATUS=…"; nothing without a supervisor. */
void hn_log_notify(const char *state);
/* How often the supervisor wants to hear "WATCHDOG=1", halved; 0: not at all. */
uint64_t hn_log_watchdog_ns(void);
/* A listening socket the supervisor passed under that name, -1 if there is none. */
int hn_log_socket_from_supervisor(const char *name);
