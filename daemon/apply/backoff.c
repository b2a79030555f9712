/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The back-off state machine; see backoff.h. Pure.
 */
#include "backoff.h"

#include "observe/text.h"

#include <homenode/cpuset.h>

#define CALM_NS 2000000000ull
#define RECOVERY_PERMILLE 100

typedef enum { PRESSURE_NONE, PRESSURE_BAD, PRESSURE_SEVERE } Level;

static Level level_of(const HnPressure *pressure, const HnLimits *limits)
{
    uint32_t rise_permille = 0;
    Level level = PRESSURE_NONE;

    if (pressure->has_psi && pressure->psi_permille >= limits->psi_slow_permille)
        level = pressure->psi_permille >= limits->psi_pause_permille ? PRESSURE_SEVERE : PRESSURE_BAD;
    if (pressure->has_run_delay && pressure->run_delay_permille > pressure->run_delay_baseline_permille)
        rise_permille = pressure->run_delay_permille - pressure->run_delay_baseline_permille;
    if (rise_permille >= limits->run_delay_pause_permille)
        level = PRESSURE_SEVERE;
    else if (rise_permille >= limits->run_delay_slow_permille)
        level = MAX(level, PRESSURE_BAD);
    if (pressure->call_ns > 2 * limits->call_target_ns)
        level = MAX(level, PRESSURE_BAD);
    return level;
}

void hn_backoff_init(HnBackoff *backoff)
{
    *backoff = (HnBackoff){.state = HN_BACKOFF_FULL, .speed_permille = 1000};
}

void hn_backoff_update(HnBackoff *backoff, const HnPressure *pressure, const HnLimits *limits)
{
    Level level = limits->is_backoff_enabled ? level_of(pressure, limits) : PRESSURE_NONE;

    if (!limits->is_backoff_enabled) {
        hn_backoff_init(backoff);
        return;
    }
    if (level != PRESSURE_NONE)
        backoff->bad_ns = pressure->now_ns;
    if (backoff->state == HN_BACKOFF_PAUSED || backoff->state == HN_BACKOFF_GIVE_UP) {
        if (level != PRESSURE_SEVERE && pressure->now_ns - backoff->bad_ns >= CALM_NS) {
            backoff->state = HN_BACKOFF_SLOW;
            backoff->speed_permille = HN_BACKOFF_LEAST_PERMILLE;
        } else if (pressure->now_ns - backoff->paused_ns >= limits->give_up_ns) {
            backoff->state = HN_BACKOFF_GIVE_UP;
        }
        return;
    }
    if (level == PRESSURE_SEVERE) {
        backoff->state = HN_BACKOFF_PAUSED;
        backoff->speed_permille = 0;
        backoff->paused_ns = pressure->now_ns;
    } else if (level == PRESSURE_BAD) {
        backoff->speed_permille = MAX(backoff->speed_permille / 2, HN_BACKOFF_LEAST_PERMILLE);
        backoff->state = HN_BACKOFF_SLOW;
    } else {
        backoff->speed_permille = MIN(backoff->speed_permille + RECOVERY_PERMILLE, 1000);
        backoff->state = backoff->speed_permille == 1000 ? HN_BACKOFF_FULL : HN_BACKOFF_SLOW;
    }
}

bool hn_psi_parse(const char *text, size_t len, uint32_t *ret_permille, GError **error)
{
    HnText all = hn_text(text, len), line;
    uint64_t hundredths;

    while (hn_text_line(&all, &line)) {
        HnText whole = line;

        if (!hn_text_take(&line, "some "))
            continue;
        hn_text_skip_blanks(&line);
        if (!hn_text_take(&line, "avg10=") || !hn_text_centi(&line, &hundredths) || hundredths > 10000)
            return hn_text_fail(error, "pressure/memory", "no share of 0.00 to 100.00", &whole);
        *ret_permille = (uint32_t)(hundredths / 10);
        return true;
    }
    all = hn_text(text, len);
    return hn_text_fail(error, "pressure/memory", "no \"some\"", &all);
}
