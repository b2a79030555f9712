/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of configuration keys, and values as text and back. Shared by config.c and tests only.
 */
#pragma once

#include "config.h"

typedef enum {
    HN_KEY_BOOL,     /* yes, no */
    HN_KEY_COUNT,    /* uint32_t: "6" */
    HN_KEY_PERMILLE, /* uint32_t: "5%", "2.5%" */
    HN_KEY_DURATION, /* uint64_t ns: "500ms", "2s", "1min", "1h" */
    HN_KEY_BYTES,    /* uint64_t: "64MiB", "4096" */
    HN_KEY_RATE,     /* uint64_t bytes per second: "1GiB/s", "0" */
    HN_KEY_RATE_OR_AUTO, /* the same, or "auto": HN_RATE_AUTO */
    HN_KEY_STRING,   /* char *, owned */
    HN_KEY_ENUM,     /* int: one of `names` */
} HnKeyType;

typedef struct {
    const char *group, *name; /* group NULL ends the table */
    HnKeyType type;
    size_t offset;            /* in HnConfig */
    uint64_t min, max;        /* numbers: in the unit of the member */
    const char *const *names; /* ENUM: NULL-terminated */
    bool needs_restart;
    const char *help;
} HnKey;

extern const HnKey hn_config_keys[];

/* Key by "group.name", NULL if there is none. */
const HnKey *hn_key_find(const char *key);
/* Text to value in *config. Error: HN_CONFIG_ERROR_VALUE, naming key, value and what is allowed. */
bool hn_key_parse(const HnKey *key, const char *text, HnConfig *config, GError **error);
char *hn_key_format(const HnKey *key, const HnConfig *config);
