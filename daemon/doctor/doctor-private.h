/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of the doctor share. doctor.c holds the order of the checks; the others examine one
 * side of the host each. Nobody else but their tests includes it.
 */
#pragma once

#include "doctor/doctor.h"

typedef struct {
    const HnDoctorInput *input;
    json_object *checks;
} HnExamination;

/* Adds one finding. state: "ok", "note", "warn" or "fail"; cost and remedy may be NULL. */
void hn_doctor_add(HnExamination *e, const char *check, const char *state, const char *cost,
                   const char *remedy, const char *format, ...) G_GNUC_PRINTF(6, 7);

/* Text of a file below the root without surrounding white space, NULL if it cannot be read. */
char *hn_doctor_text(const HnExamination *e, const char *path);

/* "6.12.107-amd64" as 6 * 1000 + 12; 0 if it is no version. */
uint32_t hn_doctor_kernel_version(const HnExamination *e);

/* "10.0.13Debian 1:10.0…" as 10 * 1000000 + 0 * 1000 + 13; 0 if it begins with no version. */
uint64_t hn_doctor_version_parse(const char *text);

/* libvirt's log of a domain: versions of libvirt and QEMU at its last start ("11.3.0", "10.0.13").
 * False if no start is in it; what is missing in the line is NULL. Callers free. */
bool hn_doctor_log_parse(const char *text, char **ret_libvirt, char **ret_qemu);

/* doctor-kernel.c */
void hn_doctor_kernel(HnExamination *e);
void hn_doctor_nodes(HnExamination *e);
void hn_doctor_balancing(HnExamination *e);
void hn_doctor_pressure(HnExamination *e);
void hn_doctor_perf(HnExamination *e);
/* doctor-memory.c */
void hn_doctor_huge_pages(HnExamination *e);
void hn_doctor_ksm(HnExamination *e);
void hn_doctor_zone_reclaim(HnExamination *e);
void hn_doctor_demotion(HnExamination *e);
/* doctor-groups.c */
void hn_doctor_cgroups(HnExamination *e);
void hn_doctor_isolation(HnExamination *e);
/* doctor-rivals.c */
void hn_doctor_rivals(HnExamination *e);
/* doctor-self.c */
void hn_doctor_connection(HnExamination *e);
void hn_doctor_capabilities(HnExamination *e);
/* The second half: judges a mask (linux/capability.h). */
void hn_doctor_judge_capabilities(HnExamination *e, uint64_t effective);
/* Effective capabilities of this process as a mask (linux/capability.h); false: they cannot be read. */
bool hn_doctor_effective_capabilities(HnExamination *e, uint64_t *ret_effective);
/* doctor-extras.c */
void hn_doctor_damon(HnExamination *e);
void hn_doctor_soft_dirty(HnExamination *e);
/* doctor-guests.c */
void hn_doctor_guests(HnExamination *e);
