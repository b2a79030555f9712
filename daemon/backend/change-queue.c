/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes on their way to the main context; see change-queue.h.
 */
#include "change-queue.h"

struct HnChangeQueue {
    GMutex lock;     /* guards everything below */
    GQueue waiting;  /* Waiting */
    GSource *source; /* of the delivery that is due; NULL: none */
    HnChangeFunc func;
    void *user_data;
};

typedef struct {
    HnChange change;
    char *value;
} Waiting;

static void waiting_free(gpointer data)
{
    g_free(((Waiting *)data)->value);
    g_free(data);
}

static gboolean deliver(gpointer data)
{
    HnChangeQueue *queue = data;
    g_mutex_lock(&queue->lock);
    Waiting *waiting = g_queue_pop_head(&queue->waiting);
    bool is_more = queue->waiting.length > 0;
    if (!is_more)
        g_clear_pointer(&queue->source, g_source_unref);
    g_mutex_unlock(&queue->lock);
    if (waiting) {
        queue->func(&waiting->change, queue->user_data);
        waiting_free(waiting);
    }
    return is_more ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

HnChangeQueue *hn_change_queue_new(void)
{
    HnChangeQueue *queue = g_new0(HnChangeQueue, 1);
    g_mutex_init(&queue->lock);
    g_queue_init(&queue->waiting);
    return queue;
}

void hn_change_queue_free(HnChangeQueue *queue)
{
    if (!queue)
        return;
    if (queue->source) {
        g_source_destroy(queue->source);
        g_source_unref(queue->source);
    }
    g_queue_clear_full(&queue->waiting, waiting_free);
    g_mutex_clear(&queue->lock);
    g_free(queue);
}

void hn_change_queue_watch(HnChangeQueue *queue, HnChangeFunc func, void *user_data)
{
    g_mutex_lock(&queue->lock);
    queue->func = func;
    queue->user_data = user_data;
    g_mutex_unlock(&queue->lock);
}

void hn_change_queue_push(HnChangeQueue *queue, HnChangeKind kind, const char *uuid,
                          const char *value)
{
    g_mutex_lock(&queue->lock);
    if (queue->func) {
        Waiting *waiting = g_new0(Waiting, 1);
        waiting->value = g_strdup(value);
        waiting->change = (HnChange){.kind = kind, .value = waiting->value};
        g_strlcpy(waiting->change.uuid, uuid ? uuid : "", sizeof waiting->change.uuid);
        g_queue_push_tail(&queue->waiting, waiting);
        if (!queue->source) {
            queue->source = g_idle_source_new();
            g_source_set_priority(queue->source, G_PRIORITY_DEFAULT);
            g_source_set_callback(queue->source, deliver, queue, NULL);
            g_source_attach(queue->source, NULL);
        }
    }
    g_mutex_unlock(&queue->lock);
}
