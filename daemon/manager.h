/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The manager: owns all state, reads the clock, and runs the round.
 *
 * Theory of operation. Everything here lives in the main thread. A round's first half (observe,
 * decide) runs in one worker thread on a value of its own (round.h) and comes back to the main
 * context; its second half (apply, report) is bookkeeping that cannot block: the actuator and the
 * statistics writes have threads of their own. So the control sockets, signals and the watchdog are
 * always served, even while libvirt waits 30 s for a busy guest.
 *
 *     idle ──timer, event──▸ observing and deciding (worker) ──▸ applying and reporting ──▸ idle
 *
 * One round at a time; an event that comes meanwhile causes another at once. Trials (plan, explain)
 * queue behind the round in the same worker, because the observer is used by one at a time.
 */
#pragma once

#include "config.h"
#include "orders.h"
#include "round.h"

typedef struct HnManager HnManager;

typedef struct {
    HnBackend *backend;      /* borrowed: outlives the manager */
    HnRoot *root;            /* borrowed likewise */
    const char *runtime_dir; /* exists; sockets, journal and past live there */
    const char *connect; /* URI of the command line, which outranks the file's; NULL: none given */
    const char *config_file;
    bool is_config_optional; /* it need not exist */
    bool is_dry_run;
} HnManagerOptions;

/* Takes config. Reads the journal of an earlier run. Error: the journal cannot be had. */
HnManager *hn_manager_new(const HnManagerOptions *options, HnConfig *config, GError **error);
/* hn_manager_stop() first, where anything was started. */
void hn_manager_free(HnManager *manager);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnManager, hn_manager_free)

/* Begins to watch the back end and to run rounds. */
void hn_manager_start(HnManager *manager);
/* Ends rounds and movers, restores what was changed (config on-stop), removes statistics elements.
 * Blocks until done, at most config stop-timeout. False if something could not be restored
 * (logged). */
bool hn_manager_stop(HnManager *manager);
/* After stopping: false if a call into the back end has still not come back. Then neither the
 * manager nor the back end may be freed; the process ends with them. */
bool hn_manager_is_idle(const HnManager *manager);
/* SIGHUP: reads the configuration file again; with any mistake in it the old one stays. */
bool hn_manager_reload(HnManager *manager, GError **error);

/* OpenMetrics text of the last round. Caller frees. */
char *hn_manager_metrics(HnManager *manager);

/* Several rounds, then `func` with the last plan as JSON (owned by func), NULL if there is none.
 * For --once. */
typedef void (*HnOnceFunc)(json_object *plan, const char *problem, void *user_data);
void hn_manager_run_once(HnManager *manager, HnOnceFunc func, void *user_data);
