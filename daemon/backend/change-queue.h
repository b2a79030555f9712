/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Carries changes from any thread to a back end's change callback in the default main context, in
 * order. What is pushed before anybody watches is dropped: who begins to watch enumerates.
 */
#pragma once

#include "backend.h"

typedef struct HnChangeQueue HnChangeQueue;

HnChangeQueue *hn_change_queue_new(void);
/* No callback runs after it returns; nobody may push any more. Main thread. NULL is fine. */
void hn_change_queue_free(HnChangeQueue *queue);
void hn_change_queue_watch(HnChangeQueue *queue, HnChangeFunc func, void *user_data);
/* uuid NULL: "". value is copied. Any thread. */
void hn_change_queue_push(HnChangeQueue *queue, HnChangeKind kind, const char *uuid,
                          const char *value);
