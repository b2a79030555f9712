/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libvirt's errors as HN_BACKEND_ERROR.
 */
#pragma once

#include "backend.h"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

/* Which condition a libvirt error code (and, where the code says too little, its English message)
 * is. Pure. */
HnBackendError hn_libvirt_error_classify(int code, const char *message);

/* Sets *error from this thread's last libvirt error, its message untouched after "what: ". A
 * connection found dead makes it DISCONNECTED, a domain found inactive GONE; either may be NULL.
 * Returns false, so that callers can return it. */
bool hn_libvirt_error_set(GError **error, virConnectPtr conn, virDomainPtr domain,
                          const char *what);
