/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stable names of reasons. One table, generated from the list in the header.
 */
#include <homenode/reason.h>

#include <string.h>

static const char *const reason_names[] = {
#define X(code, name) [HN_REASON_##code] = name,
    HN_REASONS(X)
#undef X
};

const char *hn_reason_name(HnReason reason)
{
    return (unsigned)reason < HN_N_REASONS ? reason_names[reason] : "?";
}

bool hn_reason_from_name(const char *name, HnReason *ret_reason)
{
    for (unsigned i = 0; i < HN_N_REASONS; i++) {
        if (strcmp(reason_names[i], name) == 0) {
            *ret_reason = (HnReason)i;
            return true;
        }
    }
    return false;
}
