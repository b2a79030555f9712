/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whose pin it is; see pins.h. */
#include "observe/pins.h"

static bool lookup(const HnOwnership *ownership, const char *uuid, HnOwnedKind kind, uint32_t id,
                   HnOwned *ret_owned)
{
    *ret_owned = (HnOwned){0};
    return ownership->lookup && ownership->lookup(ownership->user_data, uuid, kind, id, ret_owned);
}

static bool is_ours(const HnOwned *owned, const HnCpuset *pin)
{
    return hn_cpuset_equal(pin, &owned->ours) || (owned->has_previous && hn_cpuset_equal(pin, &owned->previous));
}

bool hn_pin_judge(const HnOwnership *ownership, const char *uuid, HnOwnedKind kind, uint32_t id,
                  const HnPinState *state, const HnCpuset *everything, HnCpuset *ret_allowed)
{
    HnOwned owned;
    bool is_owned = lookup(ownership, uuid, kind, id, &owned);
    bool has_allowed = state->has_pin;
    HnCpuset allowed = state->pin;

    if (is_owned && state->has_pin && is_ours(&owned, &state->pin)) {
        has_allowed = owned.has_original;
        allowed = owned.original;
    }
    if (!has_allowed && state->has_fallback) {
        has_allowed = true;
        allowed = state->fallback;
    }
    /* Nobody's tool shows it, but it is in force. If we have pinned the thread ourselves, what is
     * in force is ours and tells nothing. */
    if (!has_allowed && !is_owned && state->has_affinity) {
        has_allowed = true;
        allowed = state->affinity;
    }
    if (!has_allowed || hn_cpuset_is_subset(everything, &allowed))
        return false;
    *ret_allowed = allowed;
    return true;
}

void hn_pin_disinherit(const HnOwnership *ownership, const char *uuid, HnOwnedKind kind, uint32_t id,
                       HnPinState *state)
{
    HnOwned own, creator;

    if (!state->has_pin || lookup(ownership, uuid, kind, id, &own) ||
        !lookup(ownership, uuid, HN_OWNED_EMULATOR, 0, &creator) ||
        !is_ours(&creator, &state->pin))
        return;
    state->has_pin = creator.has_original;
    state->pin = creator.original;
    state->has_affinity = false; /* it tells nothing else */
}

static HnNodemask mask_of_ids(const HnHost *host, const HnCpuset *ids)
{
    HnNodemask mask = 0;

    for (uint32_t i = 0; i < host->n_nodes; i++)
        if (hn_cpuset_has(ids, (uint32_t)host->nodes[i].id))
            mask |= (HnNodemask)1 << i;
    return mask;
}

void hn_nodeset_judge(const HnOwnership *ownership, const HnDomainInfo *info, const HnHost *host,
                      bool *ret_is_admin, HnNodemask *ret_admin_nodes, bool *ret_is_fenced)
{
    HnPinState state = {.has_pin = info->numatune_mode != HN_NUMATUNE_NONE,
                        .pin = info->numatune_nodes};
    HnCpuset with_memory = {0};
    HnCpuset allowed;
    HnOwned owned;

    for (uint32_t i = 0; i < host->n_nodes; i++)
        if (host->nodes[i].mem_total_bytes > 0)
            hn_cpuset_add(&with_memory, (uint32_t)host->nodes[i].id);
    *ret_is_fenced = lookup(ownership, info->uuid, HN_OWNED_NODESET, 0, &owned) && state.has_pin &&
                     is_ours(&owned, &state.pin) &&
                     !hn_cpuset_is_subset(&with_memory, &state.pin);
    *ret_is_admin =
        hn_pin_judge(ownership, info->uuid, HN_OWNED_NODESET, 0, &state, &with_memory, &allowed);
    *ret_admin_nodes = *ret_is_admin ? mask_of_ids(host, &allowed) : 0;
}
