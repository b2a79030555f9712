/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A whole small world for tests of acting: the fake kernel, a fake back end with one domain "web" (4 vCPUs, one
 * iothread, a vhost thread), its snapshot on a host of 4 nodes with 2 CPUs each, and a journal.
 *
 * The fake back end's pins do not reach the fake kernel's affinities by themselves: the back end here is wrapped so
 * that they do, as libvirt's would.
 */
#pragma once

#include "apply/actuator.h"
#include "apply/control.h"
#include "backend/backend-fake.h"
#include "fake-kernel.h"

#define WORLD_UUID "11111111-2222-3333-4444-555555555555"
#define WORLD_PID 4711
#define WORLD_START 5000
#define WORLD_VCPUS 4
#define WORLD_TID(vcpu) (4800 + (int)(vcpu))
#define WORLD_VHOST 4900
#define WORLD_PAGES 8192 /* 32 MiB, on node 0 */

typedef struct {
    FakeKernel *kernel;
    HnBackend *backend; /* the wrapper */
    HnBackend *inner;   /* the fake, for hn_fake_…() */
    HnJournal *journal;
    char *journal_dir;
    HnSnapshot *snapshot;
    HnDomain *domain;   /* in the snapshot */
    HnControl control;
    bool is_affinity_ignored; /* pins succeed, but do not come into force */
    /* Before and after each changing call of the back end. */
    void (*hook)(void *user_data);
    void *hook_data;
} World;

World *world_new(void);
void world_free(World *world);
/* As a start after kill -9 finds it. */
void world_reopen_journal(World *world);
/* An empty plan of that generation with a verdict for the domain: one client with all vCPUs. */
HnPlan *world_plan(World *world, uint64_t generation);
HnAction *world_add_action(HnPlan *plan, HnActionKind kind, uint32_t step, HnNodemask to_nodes, uint64_t bytes);

/* What is in force, in one line: "0:0-1 1:- 2:- 3:- emulator:- io1:- nodeset:-" */
char *world_pins(World *world);
#define UNPINNED "0:- 1:- 2:- 3:- emulator:- io1:- nodeset:-"
#define ON_NODE_1 "0:2-3 1:2-3 2:2-3 3:2-3 emulator:2-3 io1:2-3 nodeset:-"
#define ALL_CPUS "0:0-7 1:0-7 2:0-7 3:0-7 emulator:0-7 io1:0-7 nodeset:-"
HnCpuset world_set(const char *text);
/* As the admin would, by virsh. */
void world_admin_pins(World *world, uint32_t vcpu, const char *cpus);
/* Exactly these pins and nodeset, whatever was before (format of world_pins()). */
void world_set_pins(World *world, const char *pins);
/* The domain ends and starts again under the same uuid, name and pid: another process. */
void world_restart_domain(World *world);
