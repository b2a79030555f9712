/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libvirt's error codes as conditions, with the messages libvirt really sends.
 */
#include "backend/libvirt-error.h"

static void test_classify(void)
{
    static const struct {
        int code;
        const char *message;
        HnBackendError condition;
    } cases[] = {
        {VIR_ERR_NO_DOMAIN, "Domain not found: no domain with matching uuid",
         HN_BACKEND_ERROR_GONE},
        {VIR_ERR_OPERATION_TIMEOUT,
         "Timed out during operation: cannot acquire state change lock (held by "
         "monitor=remoteDispatchDomainSave)",
         HN_BACKEND_ERROR_BUSY},
        {VIR_ERR_OPERATION_FAILED,
         "operation failed: cannot acquire state change lock due to max_queued limit",
         HN_BACKEND_ERROR_BUSY},
        {VIR_ERR_OPERATION_FAILED, "operation failed: something else", HN_BACKEND_ERROR_FAILED},
        {VIR_ERR_OPERATION_FAILED, NULL, HN_BACKEND_ERROR_FAILED},
        {VIR_ERR_OPERATION_DENIED, "operation virDomainPinVcpuFlags forbidden for read only access",
         HN_BACKEND_ERROR_DENIED},
        {VIR_ERR_ACCESS_DENIED, "access denied", HN_BACKEND_ERROR_DENIED},
        {VIR_ERR_AUTH_UNAVAILABLE, "authentication unavailable: no polkit agent available",
         HN_BACKEND_ERROR_DENIED},
        {VIR_ERR_NO_SUPPORT,
         "this function is not supported by the connection driver: virDomainGetJobInfo",
         HN_BACKEND_ERROR_UNSUPPORTED},
        {VIR_ERR_CONFIG_UNSUPPORTED, "numa tuning is not available for this connection",
         HN_BACKEND_ERROR_UNSUPPORTED},
        {VIR_ERR_OPERATION_UNSUPPORTED, "Operation not supported", HN_BACKEND_ERROR_UNSUPPORTED},
        {VIR_ERR_INVALID_CONN, "invalid connection pointer", HN_BACKEND_ERROR_DISCONNECTED},
        {VIR_ERR_INTERNAL_ERROR, "internal error: cpuset.cpus: Permission denied",
         HN_BACKEND_ERROR_FAILED},
        {VIR_ERR_OPERATION_INVALID, "Requested operation is not valid: domain is not running",
         HN_BACKEND_ERROR_FAILED}, /* GONE only once the domain was asked */
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%d %s", cases[i].code, cases[i].message ? cases[i].message : "(null)");
        g_assert_cmpint(hn_libvirt_error_classify(cases[i].code, cases[i].message), ==,
                        cases[i].condition);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/libvirt-error/classify", test_classify);
    return g_test_run();
}
