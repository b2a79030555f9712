/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The doctor's look at others who move or pin what homenode moves and pins: daemons, tuned's profiles,
 * schedulers loaded as BPF, DAMON's movers.
 */
#include "doctor/doctor-private.h"

#include <string.h>

#define BOTH_MOVE "it moves the same guests by other rules: both undo each other's work"

static bool find_daemons(HnExamination *e)
{
    static const struct {
        const char *comm, *remedy;
    } rivals[] = {
        {"numad", "systemctl disable --now numad; for placement='auto' see homenode-numad(8)"},
        {"numafast", "systemctl disable --now numafast"},
        {"oeaware", "switch off its instance that tunes NUMA, or systemctl disable --now oeaware"},
        {"momd", "let MoM leave NUMA alone"},
        {"vcmmd", "set vcmmd's NumaPolicy off, or disable homenode for its guests"},
        {"memtierd", "exclude the guests' control groups from memtierd's policy"},
    };
    bool is_clean = true;
    g_auto(GStrv) names = hn_root_list(e->input->root, "proc", NULL);
    for (guint i = 0; names && names[i]; i++) {
        if (!g_ascii_isdigit(names[i][0]))
            continue;
        g_autofree char *path = g_strdup_printf("proc/%s/comm", names[i]);
        g_autofree char *comm = hn_doctor_text(e, path);
        for (guint r = 0; comm && r < G_N_ELEMENTS(rivals); r++) {
            if (strcmp(comm, rivals[r].comm) != 0)
                continue;
            is_clean = false;
            hn_doctor_add(e, "other-balancers", "warn", BOTH_MOVE, rivals[r].remedy,
                          "%s runs (pid %s)", comm, names[i]);
        }
    }
    return is_clean;
}

/* A scheduler of its own decides where threads run; pins it must respect, the rest is its. */
static bool find_sched_ext(HnExamination *e)
{
    g_autofree char *state = hn_doctor_text(e, "sys/kernel/sched_ext/state");
    g_autofree char *name = hn_doctor_text(e, "sys/kernel/sched_ext/root/ops");
    if (g_strcmp0(state, "enabled") != 0)
        return true;
    hn_doctor_add(e, "other-balancers", "note",
                  "within a home node it balances, not the kernel's own scheduler; pins hold",
                  "none needed; stop it if guests on one node starve each other",
                  "a scheduler is loaded by sched_ext: %s", name ? name : "?");
    return false;
}

static bool find_damon(HnExamination *e)
{
    static const char dir[] = "sys/kernel/mm/damon/admin/kdamonds";
    bool is_clean = true;
    g_auto(GStrv) kdamonds = hn_root_list(e->input->root, dir, NULL);
    for (guint k = 0; kdamonds && kdamonds[k]; k++) {
        g_autofree char *schemes = g_strdup_printf("%s/%s/contexts/0/schemes", dir, kdamonds[k]);
        g_auto(GStrv) numbers = hn_root_list(e->input->root, schemes, NULL);
        for (guint s = 0; numbers && numbers[s]; s++) {
            g_autofree char *path = g_strdup_printf("%s/%s/action", schemes, numbers[s]);
            g_autofree char *action = hn_doctor_text(e, path);
            if (!action || !g_str_has_prefix(action, "migrate_"))
                continue;
            is_clean = false;
            hn_doctor_add(e, "other-balancers", "warn", BOTH_MOVE,
                          "take the scheme out (damo stop), or exclude the guests",
                          "DAMON moves memory: kdamond %s, scheme %s is %s", kdamonds[k],
                          numbers[s], action);
        }
    }
    return is_clean;
}

/* Profiles of tuned that set kernel.numa_balancing=0; read from their sources (docs/coming-from.md). */
static void examine_tuned(HnExamination *e)
{
    static const char *const against[] = {"oracle", "mssql", "sap-hana", "hpc-compute",
                                          "network-latency"};
    g_autofree char *profile = hn_doctor_text(e, "etc/tuned/active_profile");
    g_autofree char *value = hn_doctor_text(e, "proc/sys/kernel/numa_balancing");
    if (!profile || !*profile)
        return;
    for (guint i = 0; i < G_N_ELEMENTS(against); i++) {
        if (!strstr(profile, against[i]))
            continue;
        hn_doctor_add(e, "tuned", "note",
                      "no hinting faults: 'accesses local' is not measured",
                      "tuned-adm profile virtual-host", "tuned's profile '%s' turns "
                      "kernel.numa_balancing off (it is %s now)",
                      profile, value ? value : "not there");
        return;
    }
    hn_doctor_add(e, "tuned", "ok", NULL, NULL, "tuned's profile is '%s'", profile);
}

void hn_doctor_rivals(HnExamination *e)
{
    bool is_clean = find_daemons(e);
    is_clean &= find_sched_ext(e);
    is_clean &= find_damon(e);
    if (is_clean)
        hn_doctor_add(e, "other-balancers", "ok", NULL, NULL, "no other NUMA balancer runs");
    examine_tuned(e);
}
