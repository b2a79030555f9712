/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The configuration: /etc/homenode/homenode.conf as a plain value.
 *
 * Theory of operation. One table (config_keys.c) names every key with its group, type, place in
 * HnConfig, bounds and help; parsing, `homenode set`, `query-config` and the tests that compare
 * manual and sample with it all read that table. A configuration is replaced whole or not at all: a
 * file with one mistake changes nothing.
 *
 * Must not: act on a value; the manager hands the parts to whom they concern.
 */
#pragma once

#include <homenode/policy.h>
#include <json-c/json.h>

#include "apply/limits.h"

#define HN_CONFIG_DEFAULT_FILE "/etc/homenode/homenode.conf"

#define HN_CONFIG_ERROR (hn_config_error_quark())
typedef enum {
    HN_CONFIG_ERROR_SYNTAX,  /* a line that is no group, key or comment */
    HN_CONFIG_ERROR_UNKNOWN, /* no such group or key */
    HN_CONFIG_ERROR_VALUE,   /* a value that is not allowed */
} HnConfigError;
GQuark hn_config_error_quark(void);

typedef enum { HN_ON_START_ADOPT, HN_ON_START_RESTORE } HnOnStart;
typedef enum { HN_ON_STOP_RESTORE, HN_ON_STOP_KEEP } HnOnStop;
typedef enum { HN_DIRTY_WISH_NONE, HN_DIRTY_WISH_SAMPLING, HN_DIRTY_WISH_BITMAP } HnDirtyWish;

typedef enum { HN_TOUCH_OFF, HN_TOUCH_WIDE, HN_TOUCH_ALL } HnTouchWish;

typedef struct {
    /* [daemon] */
    char *connect;
    char *control_group; /* "": the daemon's own group */
    uint64_t round_interval_ns;
    uint64_t idle_interval_ns; /* on a one-node host */
    uint64_t event_delay_ns;
    HnOnStart on_start;
    HnOnStop on_stop;
    uint64_t stop_timeout_ns;
    bool is_stats_written;
    uint64_t stats_interval_ns;
    uint32_t history_entries; /* per domain */
    uint64_t record_bytes;    /* of recorded rounds, compressed */
    char *metrics_file;       /* "": none */
    /* [metrics] */
    char *metrics_listen; /* "": nowhere */
    bool is_metrics_remote;
    /* [qemu] */
    char *qemu_sockets; /* directory; "": none */
    /* [observe] */
    uint64_t probe_max_age_ns;
    uint64_t probe_ceiling_ns;
    uint32_t n_probes;
    uint64_t exact_max_bytes;
    bool with_hinting_faults;
    HnTouchWish touch_matrix;
    bool is_dirty_ring_allowed;
    bool is_damon_allowed;
    bool is_soft_dirty_allowed;
    /* [evidence], besides what is in the policy */
    bool is_balancing_switched;
    uint64_t scan_bytes; /* 0: the kernel's */
    HnDirtyWish dirty_mode;
    uint64_t dirty_window_ns;
    /* [placement] and [apply] */
    HnPolicy policy;
    HnLimits limits;
} HnConfig;

HnConfig *hn_config_new(void); /* the documented defaults */
HnConfig *hn_config_copy(const HnConfig *config);
void hn_config_free(HnConfig *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnConfig, hn_config_free)

/* Parses the text of a configuration file over the defaults. `file` is only for messages, which
 * read "FILE:LINE: …" and name the key, the value and what is allowed. NULL on the first error. */
HnConfig *hn_config_parse(const char *text, size_t len, const char *file, GError **error);
/* Reads and parses. A file that does not exist gives the defaults when is_optional. */
HnConfig *hn_config_read(const char *file, bool is_optional, GError **error);

/* Sets one key ("placement.min-gain") from text. On error *config is unchanged. */
bool hn_config_set(HnConfig *config, const char *key, const char *value, GError **error);
/* The value as text that hn_config_set() accepts; NULL if there is no such key. Caller frees. */
char *hn_config_get(const HnConfig *config, const char *key);
/* True if a change of that key takes effect only with the next start. */
bool hn_config_needs_restart(const char *key);
/* The first key ("qemu.sockets") that needs a restart and differs between the two; NULL: none. Caller
 * frees. */
char *hn_config_first_restart_difference(const HnConfig *a, const HnConfig *b);

/* [{"key", "value", "default", "is-default", "needs-restart", "help"}]; caller owns. */
json_object *hn_config_to_json(const HnConfig *config);
