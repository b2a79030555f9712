/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the daemon says to its operator: see log.h.
 */
#include "log.h"
#include "daemon-config.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#if HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>
#endif

static int level_limit = LOG_INFO;
static bool is_journal; /* decided once, before threads */

static const char *const level_names[] = {"emergency", "alert",  "critical", "error",
                                          "warning",   "notice", "info",     "debug"};

bool hn_log_level_parse(const char *text, int *ret_level)
{
    for (int level = LOG_ERR; level <= LOG_DEBUG; level++) {
        if (strcmp(text, level_names[level]) == 0) {
            *ret_level = level;
            return true;
        }
    }
    return false;
}

static void glib_message(const char *domain, GLogLevelFlags flags, const char *message,
                         gpointer unused)
{
    int level = flags & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL) ? LOG_ERR
                : flags & G_LOG_LEVEL_WARNING                      ? LOG_WARNING
                : flags & (G_LOG_LEVEL_MESSAGE | G_LOG_LEVEL_INFO) ? LOG_INFO
                                                                   : LOG_DEBUG;
    hn_log(level, NULL, "%s%s%s", domain ? domain : "", domain ? ": " : "", message);
}

void hn_log_init(int max_level)
{
    level_limit = max_level;
    g_log_set_default_handler(glib_message, NULL);
#if HAVE_SYSTEMD
    /* systemd sets this to "device:inode" of the stream it connected: if it is still our stderr,
     * the journal reads it and structured records go where plain lines would
     * (sd_journal_stream_fd(3), JOURNAL_STREAM). */
    is_journal = g_getenv("JOURNAL_STREAM") != NULL && !isatty(STDERR_FILENO);
#endif
}

void hn_log_set_level(int max_level)
{
    level_limit = max_level;
}

void hn_log(int level, const char *message_id, const char *format, ...)
{
    if (level > level_limit)
        return;
    va_list args;
    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args);
    va_end(args);
#if HAVE_SYSTEMD
    if (is_journal) {
        if (message_id)
            sd_journal_send("MESSAGE=%s", message, "PRIORITY=%d", level, "MESSAGE_ID=%s",
                            message_id, NULL);
        else
            sd_journal_send("MESSAGE=%s", message, "PRIORITY=%d", level, NULL);
        return;
    }
#endif
    fprintf(stderr, "homenoded: %s: %s\n", level_names[level], message);
}

void hn_log_actuation(const HnActuationRecord *r)
{
    bool is_good = r->outcome == HN_REASON_DONE || r->outcome == HN_REASON_DONE_WITH_RESIDUE ||
                   r->outcome == HN_REASON_RELEASED;
    int level = is_good ? LOG_NOTICE : LOG_WARNING;
    if (level > level_limit)
        return;
    const char *name = r->name ? r->name : r->uuid;
    const char *from = r->from ? r->from : "-", *to = r->to ? r->to : "-";
    const char *sentence = r->sentence ? r->sentence : "";
#if HAVE_SYSTEMD
    if (is_journal) {
        sd_journal_send(
            "MESSAGE=%s: %s for %s: %s: %s", name, hn_action_kind_name(r->kind),
            hn_reason_name(r->decided_for), hn_reason_name(r->outcome), sentence, "PRIORITY=%d",
            level, "MESSAGE_ID=" HN_MSG_ACTUATION, "HOMENODE_DOMAIN_UUID=%s", r->uuid,
            "HOMENODE_DOMAIN_NAME=%s", name, "HOMENODE_ACTION=%s", hn_action_kind_name(r->kind),
            "HOMENODE_FROM_NODES=%s", from, "HOMENODE_TO_NODES=%s", to, "HOMENODE_REASON=%s",
            hn_reason_name(r->decided_for), "HOMENODE_OUTCOME=%s", hn_reason_name(r->outcome),
            "HOMENODE_BYTES=%llu", (unsigned long long)r->bytes_moved, "HOMENODE_SCORE_BEFORE=%u",
            r->score_before, "HOMENODE_SCORE_PREDICTED=%u", r->score_predicted,
            "HOMENODE_GENERATION=%llu", (unsigned long long)r->generation, NULL);
        return;
    }
#endif
    fprintf(stderr,
            "homenoded: %s: %s: %s %s -> %s for %s: %s: %s (uuid=%s bytes=%llu score=%u->%u "
            "generation=%llu)\n",
            level_names[level], name, hn_action_kind_name(r->kind), from, to,
            hn_reason_name(r->decided_for), hn_reason_name(r->outcome), sentence, r->uuid,
            (unsigned long long)r->bytes_moved, r->score_before, r->score_predicted,
            (unsigned long long)r->generation);
}

void hn_log_notify(const char *state)
{
#if HAVE_SYSTEMD
    sd_notify(0, state);
#endif
}

uint64_t hn_log_watchdog_ns(void)
{
#if HAVE_SYSTEMD
    uint64_t usec = 0;
    if (sd_watchdog_enabled(0, &usec) > 0)
        return usec * 1000 / 2;
#endif
    return 0;
}

int hn_log_socket_from_supervisor(const char *name)
{
#if HAVE_SYSTEMD
    char **names = NULL;
    int found = -1;
    int n = sd_listen_fds_with_names(0, &names);
    for (int i = 0; i < n; i++) {
        if (found < 0 && names && g_strcmp0(names[i], name) == 0)
            found = SD_LISTEN_FDS_START + i;
    }
    for (int i = 0; names && i < n; i++)
        free(names[i]); /* malloc'ed by libsystemd */
    free(names);
    return found;
#else
    return -1;
#endif
}
