/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The back-off arithmetic of reconnect.h. Pure: must not read a clock.
 */
#include "reconnect.h"

void hn_reconnect_init(HnReconnect *link, uint64_t now_ns)
{
    *link = (HnReconnect){.state = HN_LINK_WAITING, .next_try_ns = now_ns};
}

uint64_t hn_reconnect_wait_ns(const HnReconnect *link, uint64_t now_ns)
{
    if (link->state != HN_LINK_WAITING)
        return UINT64_MAX;
    return link->next_try_ns > now_ns ? link->next_try_ns - now_ns : 0;
}

bool hn_reconnect_begin(HnReconnect *link, uint64_t now_ns)
{
    if (hn_reconnect_wait_ns(link, now_ns) != 0)
        return false;
    link->state = HN_LINK_CONNECTING;
    return true;
}

void hn_reconnect_succeeded(HnReconnect *link, uint64_t now_ns)
{
    g_return_if_fail(link->state == HN_LINK_CONNECTING);
    link->state = HN_LINK_UP;
    link->up_since_ns = now_ns;
}

/* FIRST, 2·FIRST, 4·FIRST … MAX for the 1st, 2nd, 3rd … failure in a row. */
static void wait_after_failure(HnReconnect *link, uint64_t now_ns)
{
    uint64_t wait_ns = HN_RECONNECT_FIRST_NS;
    for (uint32_t i = 0; i < link->n_failures && wait_ns < HN_RECONNECT_MAX_NS; i++)
        wait_ns *= 2;
    link->n_failures++;
    link->state = HN_LINK_WAITING;
    link->next_try_ns = now_ns + MIN(wait_ns, HN_RECONNECT_MAX_NS);
}

void hn_reconnect_failed(HnReconnect *link, uint64_t now_ns)
{
    g_return_if_fail(link->state == HN_LINK_CONNECTING);
    wait_after_failure(link, now_ns);
}

bool hn_reconnect_lost(HnReconnect *link, uint64_t now_ns)
{
    if (link->state != HN_LINK_UP)
        return false;
    if (now_ns - link->up_since_ns >= HN_RECONNECT_STABLE_NS)
        link->n_failures = 0;
    wait_after_failure(link, now_ns);
    return true;
}
