/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The doctor: see doctor.h. Here is the order of the checks, that in which an operator would look, and
 * what they share.
 */
#include "doctor/doctor-private.h"
#include "report/fields.h"

#include <stdarg.h>
#include <string.h>

#define MAX_READ 65536

void hn_doctor_add(HnExamination *e, const char *check, const char *state, const char *cost,
                   const char *remedy, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *finding = g_strdup_vprintf(format, args);
    va_end(args);
    json_object *row = json_object_new_object();
    hn_put_string(row, "check", check);
    hn_put_string(row, "state", state);
    hn_put_string(row, "finding", finding);
    hn_put_string(row, "cost", cost);
    hn_put_string(row, "remedy", remedy);
    json_object_array_add(e->checks, row);
}

char *hn_doctor_text(const HnExamination *e, const char *path)
{
    g_autofree char *text = NULL;
    if (!hn_root_read(e->input->root, path, MAX_READ, &text, NULL, NULL))
        return NULL;
    return g_strdup(g_strstrip(text));
}

uint64_t hn_doctor_version_parse(const char *text)
{
    uint64_t version = 0;

    if (!text || !g_ascii_isdigit(*text))
        return 0;
    for (guint part = 0; part < 3; part++) {
        char *end = NULL;
        guint64 number = g_ascii_strtoull(text, &end, 10);
        version = version * 1000 + MIN(number, 999);
        text = end == text || *end != '.' || !g_ascii_isdigit(end[1]) ? "0" : end + 1;
    }
    return version;
}

uint32_t hn_doctor_kernel_version(const HnExamination *e)
{
    g_autofree char *release = hn_doctor_text(e, "proc/sys/kernel/osrelease");
    return (uint32_t)(hn_doctor_version_parse(release) / 1000);
}

json_object *hn_doctor_examine(const HnDoctorInput *input)
{
    HnExamination e = {.input = input, .checks = json_object_new_array()};
    hn_doctor_kernel(&e);
    hn_doctor_nodes(&e);
    hn_doctor_connection(&e);
    hn_doctor_guests(&e);
    hn_doctor_capabilities(&e);
    hn_doctor_balancing(&e);
    hn_doctor_rivals(&e);
    hn_doctor_cgroups(&e);
    hn_doctor_isolation(&e);
    hn_doctor_pressure(&e);
    hn_doctor_huge_pages(&e);
    hn_doctor_ksm(&e);
    hn_doctor_zone_reclaim(&e);
    hn_doctor_demotion(&e);
    hn_doctor_perf(&e);
    hn_doctor_damon(&e);
    hn_doctor_soft_dirty(&e);
    return e.checks;
}
