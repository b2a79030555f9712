/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The manager's state, for the files that are the manager: manager.c (rounds), lifecycle.c
 * (beginning and end), events.c (what the world reports), answers.c (what control commands are
 * told), control*.c (the commands). Nobody else includes it.
 */
#pragma once

#include "apply/actuator.h"
#include "control.h"
#include "guests.h"
#include "heat.h"
#include "hinting.h"
#include "history.h"
#include "manager.h"
#include "recorder.h"
#include "series.h"

struct HnManager {
    HnBackend *backend;
    HnRoot *root;
    HnConfig *config;
    char *config_file, *runtime_dir, *connect;
    bool is_config_optional, is_dry_run;
    char *host_name, *boot_id;

    HnJournal *journal;
    HnActuator *actuator;
    HnObserver *observer;
    GThreadPool *desk;        /* one worker: rounds and trials */
    guint n_at_desk;          /* of both, waiting or running */
    HnControlServer *control; /* NULL: none (tests, --once) */

    /* The last round. */
    HnPast *past;
    HnSnapshot *snapshot; /* NULL: none yet */
    HnPlan *plan;
    GArray *outcomes; /* HnOutcome since the last decision */
    uint64_t n_rounds, n_failed_rounds, round_began_ns, round_took_ns;
    char *last_error;

    HnGuests *guests;
    HnHistory *history;
    HnRecorder *recorder;
    HnSeries *series;
    HnOrders *orders;
    bool is_host_held;
    char *state_text; /* RUNTIME_DIR/state as last written or read; NULL: no such file */

    /* When the next round is due. */
    bool is_started, is_stopping;
    bool is_round_running, is_again;
    guint round_timer, event_timer, order_timer;
    uint64_t quiet_since_ns; /* 0: not quiet */
    uint64_t recorded_ns, past_saved_ns;
    bool is_single_node, is_single_node_said;
    HnHinting *hinting;
    HnHeat *heat;
    bool is_measuring_writes; /* control_writes.c */
    guint n_heat;          /* errands of its, under way in other threads */
    guint n_dirty;         /* dirty-rate bursts under way … */
    GSList *dirty_waiting; /* … of them, whose window is not over: dirty.c */
    guint n_calls; /* into the back end, under way in other threads */

    HnOnceFunc once_func;
    void *once_data;
    uint32_t once_rounds;
    guint once_timer;
};

/* manager.c */
uint64_t hn_manager_now_ns(void); /* CLOCK_BOOTTIME: called once per round, event and command */
/* Starts a round now, or, while one runs, another right after it. */
void hn_manager_begin_round(HnManager *manager);
/* The desk's worker: runs one round or trial and sends it back to the main context. */
void hn_manager_work_at_desk(gpointer errand, gpointer unused);
/* Causes a round after the configured delay, or at once after the one that runs. */
void hn_manager_request_round(HnManager *manager);
/* A round filled with the present state, to be run or tried. */
HnRound *hn_manager_new_round(HnManager *manager);
/* Runs a trial (round is taken); func gets it back in the main thread and borrows it. */
typedef void (*HnTrialFunc)(HnManager *manager, HnRound *round, void *user_data);
void hn_manager_try(HnManager *manager, HnRound *round, HnTrialFunc func, void *user_data);
/* Has DAMON watch who is to be watched after the last round; nobody, unless is_allowed. */
void hn_manager_watch_heat(HnManager *manager, bool is_allowed);
/* Takes config and puts it in force. */
void hn_manager_set_config(HnManager *manager, HnConfig *config);
/* How every domain of the last round fares: HnDomainStatus, valid until the next round. */
GArray *hn_manager_statuses(HnManager *manager);
GHashTable *hn_manager_in_flight(HnManager *manager); /* set of uuids; caller unrefs */
/* Asks the actuator to give a domain back, unless that is under way. */
void hn_manager_release(HnManager *manager, HnGuest *guest);
/* Removes (xml NULL) or writes a statistics element in the background. */
void hn_manager_write_stats(HnManager *manager, HnGuest *guest, const char *xml);
void hn_manager_remember(HnManager *manager, HnGuest *guest, HnHistoryKind kind, HnReason reason,
                         const char *sentence, uint64_t bytes);

/* Reports on orders once per second while any is under way. */
void hn_manager_watch_orders(HnManager *manager);

/* answers.c: documents for the control commands; the caller owns each. */
json_object *hn_manager_host_json(HnManager *manager);
json_object *hn_manager_domains_json(HnManager *manager, bool is_managed_only);
/* NULL when the domain is not in the last round. */
json_object *hn_manager_domain_json(HnManager *manager, const char *uuid);
json_object *hn_manager_row_json(HnManager *manager, const char *uuid);
/* The answer to explain, from a trial round with explain_uuid. */
json_object *hn_manager_explain_json(HnManager *manager, const HnRound *round);
json_object *hn_manager_config_json(HnManager *manager);
/* Uuid of the domain of that name or uuid in the last round; NULL with a sentence that lists close
 * names. */
const char *hn_manager_find(HnManager *manager, const char *uuid_or_name, char **ret_problem);

/* lifecycle.c */
/* Writes what the operator ordered, if that has changed, so that the next daemon obeys as well. */
void hn_manager_save_state(HnManager *manager);

/* events.c */
void hn_manager_on_change(const HnChange *change, void *user_data);
void hn_manager_on_outcome(const HnOutcome *outcome, const char *sentence, void *user_data);
/* Compares jobs, modes and complaints of a new snapshot with those before. */
void hn_manager_note_domains(HnManager *manager);
