/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The doctor's look at the daemon itself: its connection and what it may do.
 */
#include "doctor/doctor-private.h"

#include <string.h>

/* Restrictive nodesets, the only ones that can be taken back (docs/acting.md). */
#define LIBVIRT_NEEDED 7003000
/* The oldest it has been tried with. */
#define LIBVIRT_TESTED 9000000

/* linux/capability.h, stable numbers. */
enum {
    CAP_BIT_SYS_PTRACE = 19,
    CAP_BIT_SYS_ADMIN = 21,
    CAP_BIT_SYS_NICE = 23,
    CAP_BIT_PERFMON = 38
};

/* The number after "NAME:" in a file of such lines, in `base`; false if it is not there. */
static bool field_of(const char *text, const char *name, guint base, uint64_t *ret_value)
{
    const char *line = text ? strstr(text, name) : NULL;
    if (!line)
        return false;
    line += strlen(name);
    while (g_ascii_isspace(*line))
        line++;
    char *end = NULL;
    *ret_value = g_ascii_strtoull(line, &end, base);
    return end != line;
}

void hn_doctor_judge_capabilities(HnExamination *e, uint64_t effective)
{
    static const struct {
        int bit;
        const char *name, *cost, *state;
    } needed[] = {
        {CAP_BIT_SYS_PTRACE, "CAP_SYS_PTRACE", "guest memory can be neither probed nor moved",
         "fail"},
        {CAP_BIT_SYS_NICE, "CAP_SYS_NICE",
         "shared guest memory cannot be moved, vhost threads not pinned", "fail"},
        {CAP_BIT_PERFMON, "CAP_PERFMON", "no page-fault sampling: no touch matrix for wide guests",
         "note"},
    };
    bool is_complete = true;
    for (guint i = 0; i < G_N_ELEMENTS(needed); i++) {
        if (effective >> needed[i].bit & 1)
            continue;
        /* CAP_SYS_ADMIN contains CAP_PERFMON. */
        if (needed[i].bit == CAP_BIT_PERFMON && effective >> CAP_BIT_SYS_ADMIN & 1)
            continue;
        is_complete = false;
        hn_doctor_add(e, "capabilities", needed[i].state, needed[i].cost,
                      "start homenoded by its service unit, which grants it", "%s is missing",
                      needed[i].name);
    }
    if (is_complete)
        hn_doctor_add(e, "capabilities", "ok", NULL, NULL, "all needed are in effect");
}

bool hn_doctor_effective_capabilities(HnExamination *e, uint64_t *ret_effective)
{
    g_autofree char *status = hn_doctor_text(e, "proc/self/status");
    return field_of(status, "CapEff:", 16, ret_effective);
}

void hn_doctor_capabilities(HnExamination *e)
{
    uint64_t effective = 0;
    if (!hn_root_is_live(e->input->root)) {
        hn_doctor_add(e, "capabilities", "note", "nothing is changed", NULL,
                      "a captured machine is read (--sysroot)");
        return;
    }
    if (hn_doctor_effective_capabilities(e, &effective))
        hn_doctor_judge_capabilities(e, effective);
    else
        hn_doctor_add(e, "capabilities", "warn", "unknown", "mount /proc",
                      "effective capabilities cannot be read");
}

static void examine_libvirt(HnExamination *e)
{
    uint64_t version = e->input->libvirt_version;
    g_autofree char *text = g_strdup_printf(
        "libvirt %" G_GUINT64_FORMAT ".%" G_GUINT64_FORMAT ".%" G_GUINT64_FORMAT,
        version / 1000000, version / 1000 % 1000, version % 1000);
    if (version < LIBVIRT_NEEDED)
        hn_doctor_add(e, "libvirt", "fail",
                      "no nodeset that can be taken back: converged guests are not fenced",
                      "use libvirt 9.0 or later", "%s", text);
    else if (version < LIBVIRT_TESTED)
        hn_doctor_add(e, "libvirt", "note", "untested with homenode", "use libvirt 9.0 or later",
                      "%s", text);
    else
        hn_doctor_add(e, "libvirt", "ok", NULL, NULL, "%s", text);
}

void hn_doctor_connection(HnExamination *e)
{
    const HnDoctorInput *input = e->input;
    if (input->is_connected)
        hn_doctor_add(e, "hypervisor", "ok", NULL, NULL, "connected to %s", input->connect);
    else
        hn_doctor_add(e, "hypervisor", "fail", "no domain is seen; what was pinned stays pinned",
                      "systemctl start libvirtd (or virtqemud); homenoded connects by itself",
                      "no connection to %s", input->connect);
    if (input->libvirt_version)
        examine_libvirt(e);
    if (input->last_error)
        hn_doctor_add(e, "round", "fail", "nothing is decided", "see the finding",
                      "the last round failed: %s", input->last_error);
    if (input->is_dry_run)
        hn_doctor_add(e, "dry-run", "note", "nothing is changed", "start without --dry-run",
                      "the daemon only advises");
}
