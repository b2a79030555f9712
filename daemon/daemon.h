/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's life: from options to the main loop and back, over any back end. main.c gives it
 * libvirt, the tests a fake; both run this very code.
 */
#pragma once

#include "backend/backend.h"
#include "observe/root.h"

#include <json-c/json.h>

typedef struct {
    char *connect;     /* NULL: from the configuration */
    char *config_file; /* NULL: the default one, which need not exist */
    char *runtime_dir;
    char *sysroot; /* NULL: the live machine */
    bool is_dry_run;
    bool is_once;
    int log_level;
} HnDaemonOptions;

/* What a back end is to be made of. */
typedef struct {
    const char *uri;           /* of libvirt, configured or given; "none": without it */
    const char *sockets;       /* directory of bare QEMUs' monitors, "": none */
    const char *attached_file; /* where attached monitors are remembered; NULL: nowhere */
    const HnRoot *root;        /* outlives the back end */
    bool is_read_only;
    bool is_dirty_ring_allowed;
} HnBackendNeeds;

/* Makes the back end; NULL with an error if it cannot be had. */
typedef HnBackend *(*HnBackendFactory)(const HnBackendNeeds *needs, GError **error);

/* Exit statuses, documented in homenoded(8). */
enum {
    HN_EXIT_OK = 0,
    HN_EXIT_FAILURE = 1, /* could not start, or not everything was restored */
    HN_EXIT_USAGE = 2,
    HN_EXIT_RUNNING = 3, /* another homenoded serves the runtime directory */
    HN_EXIT_CONFIG = 4,  /* the configuration is wrong */
};

/* Parses the command line into *ret_options (cleared by hn_daemon_options_clear()). Returns -1 to
 * go on, or the exit status (--help, --version, a mistake; messages are printed). */
int hn_daemon_parse(int *argc, char ***argv, HnDaemonOptions *ret_options);
void hn_daemon_options_clear(HnDaemonOptions *options);

/* Runs until SIGTERM, SIGINT, or the end of --once. Returns the exit status. */
int hn_daemon_run(const HnDaemonOptions *options, HnBackendFactory factory);
