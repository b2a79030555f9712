/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What actuator.c (the door) and schedule.c (who may start, who has ended) share. Everything here belongs to the
 * actuator's thread, except `results`, the only way in for other threads.
 */
#pragma once

#include "actuator.h"
#include "work.h"

/* A domain that has, or had, work. */
typedef struct {
    char uuid[HN_UUID_LEN + 1];
    char *name;
    HnTarget *target;
    HnJob job;            /* of libvirt: nothing may run */
    bool is_paused;
    bool is_stopped;      /* forget it when idle */
    bool wants_release;   /* restore when idle; until then nothing starts */
    bool is_control_busy; /* a control thread works for it: one at a time */
    bool is_job_asked;    /* a control thread asks for its job; beside is_control_busy, for it changes nothing */
    guint n_running;      /* works in state RUNNING */
} HnActDomain;

/* What is left of one plan. */
typedef struct {
    uint64_t generation;
    GPtrArray *works; /* HnWork *, owned */
} HnRun;

typedef enum {
    HN_RESULT_JOB,     /* a mover hands `job` back */
    HN_RESULT_CONTROL, /* `end` of `work` */
    HN_RESULT_OPENED,  /* `end` of opening a fence for `work`, whose memory may now move */
    HN_RESULT_RESTORE, /* `end` for `uuid` */
    HN_RESULT_DOMAIN_JOB, /* `domain_job` of `uuid`, asked for while its memory moves */
    HN_RESULT_OUTCOME, /* to be told */
} HnResultKind;

typedef struct {
    HnResultKind kind;
    HnMoveJob *job;
    HnWork *work;
    char uuid[HN_UUID_LEN + 1];
    HnEnd end; /* sentence owned */
    HnJob domain_job;
    HnOutcome outcome;
} HnResult;

/* For a control thread. */
typedef struct {
    HnResultKind result; /* CONTROL, OPENED, RESTORE or DOMAIN_JOB */
    HnWork *work;        /* CONTROL, OPENED; its requests are not changed while it runs */
    char uuid[HN_UUID_LEN + 1];
} HnControlTask;

struct HnActuator {
    HnControl control;
    bool is_dry; /* a captured machine */
    HnOutcomeFunc func;
    void *user_data;
    GHashTable *domains; /* HnActDomain.uuid → HnActDomain, owned */
    GPtrArray *runs;     /* HnRun *, owned, oldest first */
    uint64_t last_generation;
    bool is_paused;
    HnMovers *movers;
    GThreadPool *pool;
    GAsyncQueue *results; /* HnResult * */
    GSource *source;      /* wakes the actuator's thread when there are results */
    GSource *job_watch;   /* ticks while memory moves, else NULL */
    GError *first_error;  /* of restores, while hn_actuator_release_wait() listens */
};

/* job-watch.c: memory begins to move; a domain's job is looked at once a second from now on, until nothing moves. */
void hn_job_watch_start(HnActuator *actuator);
void hn_job_watch_stop(HnActuator *actuator);
/* In a control thread: NONE also if nobody can tell. */
HnJob hn_job_watch_ask(const HnControl *control, const char *uuid);
/* In the actuator's thread: what was found. */
void hn_job_watch_take(HnActuator *actuator, const HnResult *result);

/* Starts whatever may start, frees what is over. */
void hn_schedule_advance(HnActuator *actuator);
/* Ends a waiting work, or asks a running one to end. */
void hn_schedule_stop_work(HnActuator *actuator, HnWork *work, HnReason reason, const char *sentence);
/* All works of a domain, in runs of a generation below `before`. */
void hn_schedule_stop_domain(HnActuator *actuator, const char *uuid, uint64_t before, HnReason reason,
                             const char *sentence);
/* Handles and frees one result; may call the outcome function. */
void hn_schedule_handle(HnActuator *actuator, HnResult *result);

/* From any thread. Takes the result over. */
void hn_actuator_post(HnActuator *actuator, HnResult *result);
void hn_result_free(HnResult *result, const HnSyscalls *sys);
HnActDomain *hn_actuator_domain(HnActuator *actuator, const char *uuid, const char *name);
