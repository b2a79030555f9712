/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What was decided and what became of it: a bounded ring per domain, newest last.
 *
 * A domain's ring outlives the domain (its last days are what one asks about), until more than
 * HN_HISTORY_MAX_DOMAINS have one; then the one silent for longest goes.
 */
#pragma once

#include <homenode/domain.h>
#include <json-c/json.h>

#define HN_HISTORY_MAX_DOMAINS 2048

typedef enum {
    HN_HISTORY_DECISION, /* the placement decided to act */
    HN_HISTORY_OUTCOME,  /* an action ended */
    HN_HISTORY_ADMIN,    /* a command, an opt-in or opt-out, an overriding pin */
    HN_HISTORY_DAEMON,   /* adopted, restored, lost */
} HnHistoryKind;

typedef struct {
    int64_t unix_s;
    HnHistoryKind kind;
    char uuid[HN_UUID_LEN + 1];
    const char *name; /* all strings are copied by hn_history_add(); may be NULL */
    HnReason reason;
    const char *sentence;
    const char *from, *to; /* kernel node ids as text */
    uint64_t bytes;
    uint32_t score_now, score_after;
    uint64_t generation;
} HnHistoryEntry;

typedef struct HnHistory HnHistory;
HnHistory *hn_history_new(uint32_t max_entries); /* per domain, >= 1 */
void hn_history_free(HnHistory *history);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnHistory, hn_history_free)
void hn_history_set_max(HnHistory *history, uint32_t max_entries);
void hn_history_add(HnHistory *history, const HnHistoryEntry *entry);
/* Newest first, at most `limit`; uuid NULL: of all domains. An array, owned by the caller. */
json_object *hn_history_to_json(const HnHistory *history, const char *uuid, uint32_t limit);
/* The uuid of the domain that last had this name, NULL if none had. Valid until the next add. */
const char *hn_history_find(const HnHistory *history, const char *uuid_or_name);
