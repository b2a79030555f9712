/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Maps libvirt's error codes to the few conditions that callers treat differently. Where one code
 * stands for several conditions (OPERATION_INVALID: stopped, or not possible now) the domain and
 * the connection are asked, because messages may be translated.
 *
 * Must not log: who handles the error does.
 */
#include "libvirt-error.h"

#include <string.h>

HnBackendError hn_libvirt_error_classify(int code, const char *message)
{
    switch (code) {
    case VIR_ERR_NO_DOMAIN:
        return HN_BACKEND_ERROR_GONE;
    case VIR_ERR_OPERATION_TIMEOUT: /* "cannot acquire state change lock" after 30 s */
    case VIR_ERR_RESOURCE_BUSY:
        return HN_BACKEND_ERROR_BUSY;
    case VIR_ERR_OPERATION_FAILED: /* the same lock, refused because too many wait already */
        return message && strstr(message, "cannot acquire state change lock")
                   ? HN_BACKEND_ERROR_BUSY
                   : HN_BACKEND_ERROR_FAILED;
    case VIR_ERR_OPERATION_DENIED:
    case VIR_ERR_ACCESS_DENIED:
    case VIR_ERR_AUTH_FAILED:
    case VIR_ERR_AUTH_CANCELLED:
    case VIR_ERR_AUTH_UNAVAILABLE:
        return HN_BACKEND_ERROR_DENIED;
    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_OPERATION_UNSUPPORTED:
    case VIR_ERR_CONFIG_UNSUPPORTED:
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
        return HN_BACKEND_ERROR_UNSUPPORTED;
    case VIR_ERR_NO_CONNECT:
    case VIR_ERR_INVALID_CONN:
        return HN_BACKEND_ERROR_DISCONNECTED;
    default:
        return HN_BACKEND_ERROR_FAILED;
    }
}

bool hn_libvirt_error_set(GError **error, virConnectPtr conn, virDomainPtr domain, const char *what)
{
    /* Copied first: the questions below overwrite the thread's last error. */
    const virError *last = virGetLastError();
    int code = last ? last->code : VIR_ERR_INTERNAL_ERROR;
    g_autofree char *message = g_strdup(last && last->message ? last->message : "unknown error");
    HnBackendError condition = hn_libvirt_error_classify(code, message);
    if (conn && virConnectIsAlive(conn) != 1)
        condition = HN_BACKEND_ERROR_DISCONNECTED;
    else if (condition == HN_BACKEND_ERROR_FAILED && domain && code == VIR_ERR_OPERATION_INVALID &&
             virDomainIsActive(domain) != 1)
        condition = HN_BACKEND_ERROR_GONE;
    g_set_error(error, HN_BACKEND_ERROR, condition, "%s: %s", what, message);
    virResetLastError();
    return false;
}
