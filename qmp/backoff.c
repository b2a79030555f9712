/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The reconnect state machine. See backoff.h for states and rules.
 */
#include "qmp/backoff.h"

#include <string.h>

const HnQmpBackoffPolicy hn_qmp_backoff_default = HN_QMP_BACKOFF_DEFAULT;

void hn_qmp_backoff_init(HnQmpBackoff *backoff, const HnQmpBackoffPolicy *policy, guint64 seed)
{
    memset(backoff, 0, sizeof *backoff);
    backoff->policy = *policy;
    backoff->state = HN_QMP_BACKOFF_STOPPED;
    backoff->seed = seed;
}

gboolean hn_qmp_backoff_start(HnQmpBackoff *backoff)
{
    if (backoff->state != HN_QMP_BACKOFF_STOPPED && backoff->state != HN_QMP_BACKOFF_GIVEN_UP)
        return FALSE;
    backoff->failures = 0;
    backoff->state = HN_QMP_BACKOFF_CONNECTING;
    return TRUE;
}

gboolean hn_qmp_backoff_tick(HnQmpBackoff *backoff, guint64 now_ns)
{
    if (backoff->state != HN_QMP_BACKOFF_WAITING || now_ns < backoff->due_ns)
        return FALSE;
    backoff->state = HN_QMP_BACKOFF_CONNECTING;
    return TRUE;
}

void hn_qmp_backoff_connected(HnQmpBackoff *backoff, guint64 now_ns)
{
    if (backoff->state != HN_QMP_BACKOFF_CONNECTING)
        return;
    backoff->state = HN_QMP_BACKOFF_UP;
    backoff->up_since_ns = now_ns;
}

/* splitmix64 (Steele, Lea, Flood 2014): one well-mixed number per step of the seed. */
static guint64 next_random(guint64 *seed)
{
    guint64 z = (*seed += G_GUINT64_CONSTANT(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * G_GUINT64_CONSTANT(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * G_GUINT64_CONSTANT(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

guint64 hn_qmp_backoff_failed(HnQmpBackoff *backoff, guint64 now_ns)
{
    const HnQmpBackoffPolicy *policy = &backoff->policy;
    guint64 wait_ns;

    if (backoff->state != HN_QMP_BACKOFF_CONNECTING && backoff->state != HN_QMP_BACKOFF_UP)
        return G_MAXUINT64;
    if (backoff->state == HN_QMP_BACKOFF_UP && now_ns - backoff->up_since_ns >= policy->stable_ns)
        backoff->failures = 0;
    backoff->failures++;
    if (policy->max_failures > 0 && backoff->failures >= policy->max_failures) {
        backoff->state = HN_QMP_BACKOFF_GIVEN_UP;
        return G_MAXUINT64;
    }

    wait_ns = policy->first_ns;
    for (guint i = 1; i < backoff->failures && wait_ns < policy->max_ns; i++)
        wait_ns *= 2;
    wait_ns = MIN(wait_ns, policy->max_ns);
    wait_ns -= next_random(&backoff->seed) % (wait_ns / 4 + 1);
    backoff->due_ns = now_ns + wait_ns;
    backoff->state = HN_QMP_BACKOFF_WAITING;
    return wait_ns;
}

void hn_qmp_backoff_stop(HnQmpBackoff *backoff)
{
    backoff->state = HN_QMP_BACKOFF_STOPPED;
}
