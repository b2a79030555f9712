/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMUs for the tests of the QMP back end: one that the test plays (a QMP server in a thread of its
 * own, with a /proc and affinities made up), and the machine's own.
 */
#pragma once

#include "backend/backend-qmp.h"

#include <json-c/json.h>

#define FAKE_QEMU_UUID "5d1f0a52-8f0e-4f0c-9d3a-0c6b8a1f2e77"

/* 2 vCPUs, iothread 1, one piece of RAM, TCG, 8 host CPUs. The process is ours: SO_PEERCRED says
 * so. */
typedef struct FakeQemu FakeQemu;
FakeQemu *fake_qemu_start(const char *name, uint64_t memory_bytes);
const char *fake_qemu_dir(const FakeQemu *qemu);
const char *fake_qemu_socket(const FakeQemu *qemu);
HnQmpOptions fake_qemu_options(FakeQemu *qemu);
HnBackend *fake_qemu_backend(FakeQemu *qemu);
void fake_qemu_hang_up(FakeQemu *qemu); /* only the monitor ends */
void fake_qemu_quit(FakeQemu *qemu);    /* process and monitor end */
void fake_qemu_free(FakeQemu *qemu);

/* NULL: this machine has no qemu-system-x86_64. Running, with an iothread, under TCG unless another
 * -accel (static text) was set before. */
typedef struct RealQemu RealQemu;
RealQemu *real_qemu_start(const char *name, uint64_t memory_bytes, char ret_uuid[HN_UUID_LEN + 1]);
void real_qemu_set_accel(const char *wanted);
/* The same with this uuid and more arguments (NULL-terminated, may be NULL). */
RealQemu *real_qemu_start_as(const char *name, const char *uuid, uint64_t memory_bytes,
                             const char *const *more);
/* What its administrator does, through a monitor of its own that no back end sees. arguments: JSON
 * or NULL. Errors end the test. */
json_object *real_qemu_ask(RealQemu *qemu, const char *command, const char *arguments);
void real_qemu_tell(RealQemu *qemu, const char *command, const char *arguments);
int64_t real_qemu_pid(const RealQemu *qemu);
const char *real_qemu_dir(const RealQemu *qemu);
void real_qemu_quit(RealQemu *qemu);
void real_qemu_free(RealQemu *qemu);
