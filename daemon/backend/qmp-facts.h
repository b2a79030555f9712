/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From what a monitor answered to what the contract says of a domain. Pure: replies in,
 * HnDomainInfo out; pins, iothreads and the opt-in element are not the monitor's to tell and stay
 * empty.
 */
#pragma once

#include "backend.h"
#include "qmp-cmdline.h"
#include "qmp/qemu.h"

/* The answers of one QEMU. */
typedef struct {
    char *name;    /* NULL: none */
    char *uuid;    /* NULL: none */
    char *machine; /* QOM type "pc-q35-10.0-machine"; NULL: unknown */
    gboolean is_kvm;
    HnQemuStatus status;
    HnQemuMigration migration;
    GArray *cpus;           /* HnQemuCpu */
    GArray *memdevs;        /* HnQemuMemdev */
    GArray *memory_devices; /* HnQemuMemoryDevice */
} HnQmpAnswers;

void hn_qmp_answers_clear(HnQmpAnswers *answers);

/* Caller owns. socket: path of the monitor. start_ticks: when the process began, part of the
 * identity of a guest without uuid. */
HnDomainInfo *hn_qmp_facts_build(const HnQmpAnswers *answers, const HnQmpCmdline *cmdline,
                                 const char *socket, int64_t pid, uint64_t start_ticks);

/* A uuid for a guest that has none: the same for the same socket and process, another for a guest
 * started anew. Version 8 (RFC 9562, section 5.8), from SHA-256. */
void hn_qmp_facts_derive_uuid(const char *socket, int64_t pid, uint64_t start_ticks,
                              char ret_uuid[HN_UUID_LEN + 1]);
