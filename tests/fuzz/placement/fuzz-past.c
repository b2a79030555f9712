/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The text of the past, and CPU lists: what is read and written again is read the same.
 */
#include "../qmp/fuzz.h"

#include <homenode/policy.h>

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL, list_error = NULL;
    g_autoptr(HnPast) past = hn_past_parse((const char *)data, size, &error);
    HnCpuset set;

    if ((past == NULL) != (error != NULL))
        g_error("neither past nor error, or both");
    if (past) {
        g_autofree char *text = hn_past_format(past);
        g_autoptr(HnPast) again = hn_past_parse(text, strlen(text), &error);
        if (!again)
            g_error("own text refused: %s", error->message);
        g_autofree char *twice = hn_past_format(again);
        if (strcmp(text, twice) != 0)
            g_error("text changes when read and written");
    }
    if (hn_cpuset_parse((const char *)data, size, &set, &list_error)) {
        g_autofree char *text = hn_cpuset_format(&set);
        HnCpuset again;
        if (!hn_cpuset_parse(text, strlen(text), &again, NULL) || !hn_cpuset_equal(&set, &again))
            g_error("CPU list changes when read and written: %s", text);
    }
    return 0;
}
