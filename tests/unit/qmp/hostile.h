/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server under attack, shared by test-qmp-abuse.c (what one client can do) and test-qmp-crowd.c
 * (what many can): its commands, and the honest client, on the other socket, whose service must not
 * suffer.
 */
#pragma once

#include "qmp/server.h"
#include "loop.h"

#define BIG_REPLY_BYTES 60000
/* Messages of each other client that may be served before an honest one's: a few turns of the main
 * loop (16 a turn, stream.c), and far below what any of the floods holds. Counted, not timed: the
 * same on a loaded machine. */
#define PROMPT_MESSAGES 64

typedef struct {
    Scratch scratch;
    char *other_path;
    HnQmpServer *server;
    HnQmpServerOptions options;
    GQueue held; /* HnQmpRequest */
    int honest;
} Fixture;

static inline void do_ping(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    hn_qmp_request_return(request, json_object_new_string("pong"));
}

static inline void do_big(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    g_autofree char *text = g_strnfill(BIG_REPLY_BYTES, 'x');

    hn_qmp_request_return(request, json_object_new_string(text));
}

static inline void do_hold(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    Fixture *f = user_data;

    g_queue_push_tail(&f->held, request);
}

static const HnQmpCommand commands[] = {
    {"ping", FALSE, do_ping, NULL, "Pongs.", "string"},
    {"big", FALSE, do_big, NULL, "Much.", "string"},
    {"hold", FALSE, do_hold, NULL, "Later.", NULL},
    {NULL},
};
static const HnQmpEventInfo events[] = {{"TICK", "t"}, {NULL}};

static inline int negotiated(const char *path)
{
    int fd = raw_connect(path);
    g_autofree char *greeting = NULL, *reply = NULL;

    g_assert_cmpint(fd, >=, 0);
    greeting = raw_line(fd);
    g_assert_true(g_str_has_prefix(greeting, "{\"QMP\""));
    raw_send(fd, "{\"execute\":\"qmp_capabilities\"}");
    reply = raw_line(fd);
    g_assert_cmpstr(reply, ==, "{\"return\":{}}");
    return fd;
}

static inline void start(Fixture *f)
{
    g_autoptr(GError) error = NULL;

    f->server = hn_qmp_server_new("homenode", "1.0.0", commands, events, &f->options, f);
    hn_qmp_server_listen_path(f->server, f->scratch.path, FALSE, 0666, (gid_t)-1, &error);
    g_assert_no_error(error);
    hn_qmp_server_listen_path(f->server, f->other_path, TRUE, 0666, (gid_t)-1, &error);
    g_assert_no_error(error);
    f->honest = negotiated(f->other_path);
}

static inline void set_up(Fixture *f, gconstpointer data)
{
    f->scratch = scratch_new();
    f->other_path = g_strconcat(f->scratch.path, "2", NULL);
    f->options = hn_qmp_server_options_default;
    f->honest = -1;
    g_queue_init(&f->held);
}

static inline void tear_down(Fixture *f, gconstpointer data)
{
    while (f->held.length > 0)
        hn_qmp_request_return(g_queue_pop_head(&f->held), NULL);
    if (f->honest >= 0)
        close(f->honest);
    hn_qmp_server_free(f->server);
    g_free(f->other_path);
    scratch_clear(&f->scratch);
}

static inline guint64 served(const Fixture *f)
{
    HnQmpServerCounters counters = hn_qmp_server_counters(f->server);

    return counters.commands + counters.malformed;
}

/* The honest client is served, and soon. */
static inline void assert_prompt(Fixture *f)
{
    guint64 before = served(f);
    guint clients = hn_qmp_server_counters(f->server).clients;
    g_autofree char *reply = NULL;

    raw_send(f->honest, "{\"execute\":\"ping\"}");
    reply = raw_line(f->honest);
    g_assert_cmpstr(reply, ==, "{\"return\":\"pong\"}");
    g_assert_cmpuint(served(f) - before, <=, PROMPT_MESSAGES * (guint64)clients);
}
