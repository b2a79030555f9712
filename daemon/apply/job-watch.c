/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A job that others begin while memory moves: a dump, a save, a migration.
 *
 * Theory. Pins and nodesets ask for the domain's job just before they change anything (control.h); a move lasts
 * longer, and libvirt tells nobody when a dump begins. So while anything moves, the back end is asked once a second
 * for each domain that has memory under way; the answer of a job ends its work, and the next round, which sees the
 * job too, plans anew when it is over. Nothing ticks while nothing moves. A back end that keeps a question waiting
 * is not asked again for that domain until it has answered.
 *
 * Must not: take a missing answer for a job, or remember a job: that is the round's (hn_actuator_job_began()).
 */
#include "actuator-private.h"

#include <gio/gio.h>

#define WATCH_INTERVAL_MS 1000

static gboolean ask_all(gpointer user_data)
{
    HnActuator *actuator = user_data;
    bool is_moving = false;
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, actuator->domains);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        HnActDomain *domain = value;
        HnControlTask *task;

        is_moving |= domain->n_running > 0;
        if (domain->n_running == 0 || domain->is_control_busy || domain->is_job_asked)
            continue;
        task = g_new0(HnControlTask, 1);
        task->result = HN_RESULT_DOMAIN_JOB;
        g_strlcpy(task->uuid, domain->uuid, sizeof(task->uuid));
        domain->is_job_asked = true;
        g_thread_pool_push(actuator->pool, task, NULL);
    }
    if (!is_moving)
        hn_job_watch_stop(actuator);
    return is_moving ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

void hn_job_watch_start(HnActuator *actuator)
{
    if (actuator->job_watch)
        return;
    actuator->job_watch = g_timeout_source_new(WATCH_INTERVAL_MS);
    g_source_set_name(actuator->job_watch, "actuator job watch");
    g_source_set_callback(actuator->job_watch, ask_all, actuator, NULL);
    g_source_attach(actuator->job_watch, g_source_get_context(actuator->source));
}

void hn_job_watch_stop(HnActuator *actuator)
{
    if (!actuator->job_watch)
        return;
    g_source_destroy(actuator->job_watch);
    g_clear_pointer(&actuator->job_watch, g_source_unref);
}

HnJob hn_job_watch_ask(const HnControl *control, const char *uuid)
{
    g_autoptr(HnDomainInfo) info = NULL;
    g_autoptr(GError) error = NULL; /* whatever it is, it is no job */

    return control->backend->ops->get(control->backend, uuid, &info, &error) ? info->job : HN_JOB_NONE;
}

void hn_job_watch_take(HnActuator *actuator, const HnResult *result)
{
    const bool is_migration = result->domain_job == HN_JOB_MIGRATION;
    HnActDomain *domain = g_hash_table_lookup(actuator->domains, result->uuid);

    if (domain)
        domain->is_job_asked = false;
    if (result->domain_job == HN_JOB_NONE)
        return;
    hn_schedule_stop_domain(actuator, result->uuid, UINT64_MAX,
                            is_migration ? HN_REASON_MIGRATING : HN_REASON_DOMAIN_BUSY,
                            is_migration ? "a migration of the domain began"
                                         : "a save, dump, snapshot or backup of the domain began");
}
