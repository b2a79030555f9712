/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One connection to libvirt that heals itself, and the changes it reports.
 *
 * Theory of operation: virConnectOpen() may block, so it runs in a thread of its own; its result,
 * the events and the end of the connection arrive in the default main context, where the state
 * machine of qmp/backoff.h runs. Operations in worker threads borrow the connection with a
 * reference and notice by themselves when it dies under them.
 *
 * Must not: know pins, placements, or retry an operation.
 */
#pragma once

#include "backend.h"

#include <libvirt/libvirt.h>

typedef struct HnLibvirtConnection HnLibvirtConnection;

HnLibvirtConnection *hn_libvirt_connection_new(const char *uri, bool is_read_only);
/* Main thread. No callback runs afterwards; a connect in progress is abandoned. */
void hn_libvirt_connection_close(HnLibvirtConnection *connection);

/* Main thread. Begins to connect (if not connected yet) and to report changes. */
void hn_libvirt_connection_watch(HnLibvirtConnection *connection, HnChangeFunc func,
                                 void *user_data);
/* Connects now and blocks. */
bool hn_libvirt_connection_connect(HnLibvirtConnection *connection, GError **error);
bool hn_libvirt_connection_is_up(HnLibvirtConnection *connection);

/* A reference to give back with virConnectClose(); NULL with HN_BACKEND_ERROR_DISCONNECTED set. Any
 * thread. */
virConnectPtr hn_libvirt_connection_borrow(HnLibvirtConnection *connection, GError **error);
