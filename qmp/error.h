/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one error domain of the QMP library.
 *
 * A GError of this domain always has a finished sentence as its message; it names the command, the
 * field or the byte offset concerned, so that callers prefix at most the guest's name.
 */
#pragma once

#include <glib.h>

#define HN_QMP_ERROR (hn_qmp_error_quark())
GQuark hn_qmp_error_quark(void);

typedef enum {
    HN_QMP_ERROR_SYNTAX,    /* not JSON: bad byte, bad UTF-8, bad token; names the offset */
    HN_QMP_ERROR_TOO_LARGE, /* a message over a limit: bytes, values or nesting */
    HN_QMP_ERROR_PROTOCOL,  /* JSON, but not a message this protocol has */
    HN_QMP_ERROR_CONNECT,   /* no connection: no such socket, refused, … */
    HN_QMP_ERROR_TIMEOUT,   /* connect, greeting or command took longer than allowed */
    HN_QMP_ERROR_CLOSED,    /* the peer went away, or the client was closed */
    HN_QMP_ERROR_CANCELLED, /* the caller withdrew the command */
    HN_QMP_ERROR_BUSY,      /* too many commands outstanding on this client */
    HN_QMP_ERROR_REPLY,     /* a reply lacks or mistypes a field; names command and field */
    HN_QMP_ERROR_ADDRESS,   /* a socket to listen on cannot be had; names the path */
    /* Error replies of the peer, by class; the message is the peer's own description. */
    HN_QMP_ERROR_COMMAND,           /* GenericError and every class not listed below */
    HN_QMP_ERROR_COMMAND_NOT_FOUND, /* CommandNotFound */
    HN_QMP_ERROR_READ_ONLY,         /* ReadOnlySocket: mutating command on a read-only socket */
    HN_QMP_ERROR_INVALID_ARGUMENT,  /* InvalidArgument: the server's argument check failed */
    HN_QMP_ERROR_DOMAIN_NOT_FOUND,  /* DomainNotFound: no running domain has that name or uuid */
} HnQmpError;

/* Error classes on the wire. The first two are QEMU's, the others only this server's. */
#define HN_QMP_CLASS_GENERIC "GenericError"
#define HN_QMP_CLASS_COMMAND_NOT_FOUND "CommandNotFound"
#define HN_QMP_CLASS_READ_ONLY "ReadOnlySocket"
#define HN_QMP_CLASS_INVALID_ARGUMENT "InvalidArgument"
#define HN_QMP_CLASS_DOMAIN_NOT_FOUND "DomainNotFound"
