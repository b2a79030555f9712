/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of policies. */
#include "policy.h"

#include <string.h>

const HnSimPolicy *const hn_sim_policies[] = {&hn_sim_policy_off,
                                              &hn_sim_policy_numad,
                                              &hn_sim_policy_kernel,
                                              &hn_sim_policy_bind,
                                              &hn_sim_policy_inverse,
                                              &hn_sim_policy_homenode,
                                              NULL};

const HnSimPolicy *hn_sim_policy_find(const char *name)
{
    for (const HnSimPolicy *const *policy = hn_sim_policies; *policy; policy++) {
        if (strcmp((*policy)->name, name) == 0)
            return *policy;
    }
    return NULL;
}
