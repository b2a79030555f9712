/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of the snapshot's enumerations, indexed by value: shared by the writing and the reading
 * half. Stable: they stand in recorded files.
 */
#pragma once

extern const char *const hn_state_names[3];
extern const char *const hn_job_names[3];
extern const char *const hn_mode_names[4];
extern const char *const hn_memory_names[2];
extern const char *const hn_worker_names[3];
extern const char *const hn_backing_names[4];
extern const char *const hn_movability_names[5];
extern const char *const hn_source_names[4];
