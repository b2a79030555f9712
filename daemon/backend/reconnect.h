/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When to try to connect again: a state machine without clock, socket or timer.
 *
 *   WAITING ──begin──▸ CONNECTING ──succeeded──▸ UP ──lost──▸ WAITING
 *      ▴                    │
 *      └──────failed────────┘
 *
 * The wait doubles with each failure up to a ceiling. A connection that breaks soon after it came up
 * counts as a failure, so that a daemon that accepts and dies at once is not hammered.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define HN_RECONNECT_FIRST_NS (UINT64_C(250) * 1000 * 1000)
#define HN_RECONNECT_MAX_NS (UINT64_C(30) * 1000 * 1000 * 1000)
#define HN_RECONNECT_STABLE_NS (UINT64_C(10) * 1000 * 1000 * 1000)

typedef enum { HN_LINK_WAITING, HN_LINK_CONNECTING, HN_LINK_UP } HnLinkState;

typedef struct {
    HnLinkState state;
    uint32_t n_failures; /* in a row */
    uint64_t next_try_ns; /* valid while WAITING */
    uint64_t up_since_ns; /* valid while UP */
} HnReconnect;

void hn_reconnect_init(HnReconnect *link, uint64_t now_ns); /* WAITING, due now */
/* Nanoseconds until the next try is due, 0: due now; UINT64_MAX: not waiting. */
uint64_t hn_reconnect_wait_ns(const HnReconnect *link, uint64_t now_ns);
/* WAITING → CONNECTING if due; false (and no change) otherwise. */
bool hn_reconnect_begin(HnReconnect *link, uint64_t now_ns);
/* CONNECTING → UP. */
void hn_reconnect_succeeded(HnReconnect *link, uint64_t now_ns);
/* CONNECTING → WAITING. */
void hn_reconnect_failed(HnReconnect *link, uint64_t now_ns);
/* UP → WAITING; in any other state nothing happens (false). */
bool hn_reconnect_lost(HnReconnect *link, uint64_t now_ns);
