/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Errands: see qmp-private.h. A caller and the thread each hold a reference; a caller whose time is
 * up leaves, and the thread ends the errand for nobody.
 */
#include "qmp-private.h"

void hn_qmp_errand_unref(gpointer data)
{
    HnQmpErrand *errand = data;
    if (!g_atomic_int_dec_and_test(&errand->n_refs))
        return;
    if (errand->clear)
        errand->clear(errand);
    g_mutex_clear(&errand->lock);
    g_cond_clear(&errand->cond);
    g_free(errand);
}

static gboolean errand_run(gpointer data)
{
    HnQmpErrand *errand = data;
    errand->run(errand);
    return G_SOURCE_REMOVE;
}

void hn_qmp_errand_done(HnQmpErrand *errand)
{
    g_mutex_lock(&errand->lock);
    errand->is_done = true;
    g_cond_signal(&errand->cond);
    g_mutex_unlock(&errand->lock);
}

gpointer hn_qmp_errand_new(HnQmp *qmp, gsize size, HnQmpErrandFunc run,
                           void (*clear)(HnQmpErrand *errand))
{
    HnQmpErrand *errand = g_malloc0(size);
    errand->qmp = qmp;
    errand->run = run;
    errand->clear = clear;
    errand->n_refs = 1;
    g_mutex_init(&errand->lock);
    g_cond_init(&errand->cond);
    return errand;
}

bool hn_qmp_errand_wait(HnQmpErrand *errand, guint limit_ms)
{
    gint64 until = g_get_monotonic_time() + (gint64)limit_ms * 1000;
    GSource *source = g_idle_source_new();
    bool is_done;
    g_source_set_priority(source, G_PRIORITY_DEFAULT);
    g_atomic_int_inc(&errand->n_refs);
    g_source_set_callback(source, errand_run, errand, hn_qmp_errand_unref);
    g_source_attach(source, errand->qmp->context);
    g_source_unref(source);
    g_mutex_lock(&errand->lock);
    while (!errand->is_done && g_cond_wait_until(&errand->cond, &errand->lock, until))
        ;
    is_done = errand->is_done;
    g_mutex_unlock(&errand->lock);
    return is_done;
}
