/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One action of a plan as the actuator carries it: everything it needs, copied out of plan and snapshot, and how
 * far it has come. Belongs to the actuator's thread. Making one is pure.
 */
#pragma once

#include <homenode/policy.h>

#include "fence.h"
#include "mover.h"
#include "pin.h"

typedef enum { HN_WORK_WAITING, HN_WORK_RUNNING, HN_WORK_ENDED } HnWorkState;

typedef struct {
    HnAction action;
    uint64_t generation;
    char *name; /* of the domain */
    HnWorkState state;
    HnIdentity identity;
    int32_t to_node; /* index, HN_NODE_NONE if several */
    HnPinRequest pin;     /* PIN */
    HnFenceRequest fence; /* FENCE */
    /* MOVE_MEMORY */
    GPtrArray *jobs;      /* HnMoveJob *, until they are queued */
    GPtrArray *running;   /* HnMoveJob *, queued; owned by the movers until handed back */
    HnCpuset to_node_ids;
    uint64_t immovable_bytes;
    bool has_begun;       /* hn_target_begin() was called */
    /* how it went */
    bool is_divided; /* MOVE_MEMORY of one of several clients, whose chunks the plan does not name */
    uint64_t moved_bytes, left_bytes;
    HnReason reason;      /* IN_PROGRESS until known */
    char *sentence;
} HnWork;

/* `domain` and `verdict` may be NULL (the action then ends at once). `work->reason` is IN_PROGRESS if it can be
 * started, else why it cannot. */
HnWork *hn_work_new(const HnAction *action, uint64_t generation, const HnHost *host, const HnDomain *domain,
                    const HnVerdict *verdict, HnTarget *target);
/* Only when no job of it is queued. */
void hn_work_free(HnWork *work, const HnSyscalls *sys);

/* How a part ended: the most telling reason stays. */
void hn_work_note(HnWork *work, HnReason reason, const char *sentence);
/* DONE and DONE_WITH_RESIDUE let the domain's next steps go on. */
bool hn_reason_is_success(HnReason reason);
