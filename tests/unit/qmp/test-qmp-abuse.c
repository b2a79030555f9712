/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile and broken clients against the server: none may stall it, crash it, make it grow, or keep
 * an honest client from being served. Each test has its honest client, on the other socket.
 */
#include <glib-unix.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <sys/stat.h>
#include "qmp/server.h"
#include "loop.h"

#define BIG_REPLY_BYTES 60000
/* What an honest client may wait while others misbehave: generous for a loaded machine, and far below
 * what any of the floods would take if it were served first. */
#define PROMPT_US (2 * G_USEC_PER_SEC)

typedef struct {
    Scratch scratch;
    char *other_path;
    HnQmpServer *server;
    HnQmpServerOptions options;
    GQueue held; /* HnQmpRequest */
    int honest;
} Fixture;

static void
do_ping(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    hn_qmp_request_return(request, json_object_new_string("pong"));
}

static void
do_big(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    g_autofree char *text = g_strnfill(BIG_REPLY_BYTES, 'x');

    hn_qmp_request_return(request, json_object_new_string(text));
}

static void
do_hold(HnQmpRequest *request, json_object *args, gpointer user_data)
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

static int
negotiated(const char *path)
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

static void
start(Fixture *f)
{
    g_autoptr(GError) error = NULL;

    f->server = hn_qmp_server_new("homenode", "1.0.0", commands, events, &f->options, f);
    hn_qmp_server_listen_path(f->server, f->scratch.path, FALSE, 0666, (gid_t)-1, &error);
    g_assert_no_error(error);
    hn_qmp_server_listen_path(f->server, f->other_path, TRUE, 0666, (gid_t)-1, &error);
    g_assert_no_error(error);
    f->honest = negotiated(f->other_path);
}

static void
set_up(Fixture *f, gconstpointer data)
{
    f->scratch = scratch_new();
    f->other_path = g_strconcat(f->scratch.path, "2", NULL);
    f->options = hn_qmp_server_options_default;
    f->honest = -1;
    g_queue_init(&f->held);
}

static void
tear_down(Fixture *f, gconstpointer data)
{
    while (f->held.length > 0)
        hn_qmp_request_return(g_queue_pop_head(&f->held), NULL);
    if (f->honest >= 0)
        close(f->honest);
    hn_qmp_server_free(f->server);
    g_free(f->other_path);
    scratch_clear(&f->scratch);
}

/* The honest client is served, and soon. */
static void
assert_prompt(Fixture *f)
{
    gint64 start_us = g_get_monotonic_time();
    g_autofree char *reply = NULL;

    raw_send(f->honest, "{\"execute\":\"ping\"}");
    reply = raw_line(f->honest);
    g_assert_cmpstr(reply, ==, "{\"return\":\"pong\"}");
    g_assert_cmpint(g_get_monotonic_time() - start_us, <, PROMPT_US);
}

/* Sends text over and over until the kernel takes no more; returns how many bytes went. */
static size_t
stuff(int fd, const char *text, size_t max_bytes)
{
    size_t len = strlen(text), total = 0;

    while (total < max_bytes) {
        gssize n = send(fd, text, len, MSG_NOSIGNAL);

        if (n <= 0)
            break;
        total += (size_t)n;
        if ((size_t)n < len)
            break;
    }
    return total;
}

static char *
read_rest(int fd)
{
    GString *text = g_string_new(NULL);

    wait_until(!raw_pull(fd, text));
    return g_string_free(text, FALSE);
}

/* ---- time-outs ---- */

static void
test_half_message(Fixture *f, gconstpointer data)
{
    g_autofree char *rest = NULL;
    int fd;

    f->options.message_timeout_ms = 100;
    start(f);
    fd = negotiated(f->scratch.path);
    raw_send(fd, "{\"execute\":");
    run_for_ms(30);
    assert_prompt(f);
    rest = read_rest(fd);
    g_assert_nonnull(strstr(rest, "The rest of a message did not come in time"));
    g_assert_cmpuint(hn_qmp_server_counters(f->server).dropped, ==, 1);
    close(fd);

    /* One byte at a time does not help: the clock runs from the first. */
    fd = negotiated(f->scratch.path);
    raw_send(fd, "[");
    for (guint i = 0; i < 40; i++) {
        if (send(fd, "[", 1, MSG_NOSIGNAL) < 0)
            break;
        run_for_ms(10);
    }
    wait_until(hn_qmp_server_counters(f->server).dropped == 2);
    close(fd);
    assert_prompt(f);
}

static void
test_never_negotiates(Fixture *f, gconstpointer data)
{
    g_autofree char *rest = NULL;
    int fd;

    f->options.negotiate_timeout_ms = 100;
    start(f);
    fd = raw_connect(f->scratch.path);
    raw_send(fd, "{\"execute\":\"ping\"}");
    rest = read_rest(fd);
    g_assert_nonnull(strstr(rest, "No qmp_capabilities in time"));
    close(fd);
    assert_prompt(f); /* the honest one had negotiated */
}

static void
test_idle(Fixture *f, gconstpointer data)
{
    g_autofree char *rest = NULL, *reply = NULL;
    int idle, subscriber, waiting;

    f->options.idle_timeout_ms = 150;
    start(f);
    idle = negotiated(f->scratch.path);
    subscriber = negotiated(f->scratch.path);
    waiting = negotiated(f->scratch.path);
    raw_send(subscriber, "{\"execute\":\"subscribe\"}");
    reply = raw_line(subscriber);
    raw_send(waiting, "{\"execute\":\"hold\"}");
    for (guint i = 0; i < 8; i++) {
        run_for_ms(50);
        assert_prompt(f); /* commands keep a connection alive */
    }
    rest = read_rest(idle);
    g_assert_nonnull(strstr(rest, "No command for too long"));
    g_assert_cmpuint(hn_qmp_server_counters(f->server).clients, ==, 3);
    close(idle);
    close(subscriber);
    close(waiting);
}

/* ---- floods ---- */

/* Commands faster than allowed: served at the allowed rate, and the honest client in between. */
static void
test_command_flood(Fixture *f, gconstpointer data)
{
    gint64 start_us;
    guint64 before;
    double allowed;
    g_autoptr(GString) sink = g_string_new(NULL);
    int fd;

    f->options.max_commands_per_sec = 100;
    start(f);
    fd = negotiated(f->scratch.path);
    before = hn_qmp_server_counters(f->server).commands;
    start_us = g_get_monotonic_time();
    while (g_get_monotonic_time() - start_us < G_USEC_PER_SEC / 2) {
        stuff(fd, "{\"execute\":\"ping\"}", 1 << 20);
        run_for_ms(5);
        raw_pull(fd, sink);
    }
    /* The burst, half a second's worth, and what the honest client asks. */
    allowed = 100 + 100.0 * (double)(g_get_monotonic_time() - start_us) / G_USEC_PER_SEC;
    g_assert_cmpuint(hn_qmp_server_counters(f->server).commands - before, >=, 100);
    g_assert_cmpfloat((double)(hn_qmp_server_counters(f->server).commands - before), <=,
                      allowed + 1);
    assert_prompt(f);
    g_assert_cmpuint(hn_qmp_server_counters(f->server).clients, ==, 2); /* slowed, not dropped */
    close(fd);
}

/* Lines that are no JSON: each costs an error reply, so they count like commands. */
static void
test_garbage_flood(Fixture *f, gconstpointer data)
{
    g_autofree char *noise = g_malloc(65537);
    guint64 sent = 0;
    int fd;

    start(f);
    fd = negotiated(f->scratch.path);
    for (guint i = 0; i < 65536; i++)
        noise[i] = "}\n{\"\xff:,[\x01 "[i % 10];
    noise[65536] = 0;
    for (guint i = 0; i < 40; i++) {
        sent += stuff(fd, noise, 1 << 20);
        run_for_ms(5);
    }
    g_assert_cmpuint(sent, >, 65536);
    g_assert_cmpuint(hn_qmp_server_counters(f->server).malformed, >, 0);
    g_assert_cmpuint(hn_qmp_server_counters(f->server).malformed, <, 1000);
    assert_prompt(f);
    close(fd);
    wait_until(hn_qmp_server_counters(f->server).clients == 1);
}

/* One endless message: refused once at the limit, then skipped and not stored. */
static void
test_endless_message(Fixture *f, gconstpointer data)
{
    g_autofree char *filler = g_strnfill(65536, 'x');
    g_autofree char *reply = NULL, *pong = NULL;
    size_t sent = 0;
    int fd;

    start(f);
    fd = negotiated(f->scratch.path);
    raw_send(fd, "{\"execute\":\"");
    for (guint i = 0; i < 400 && sent < 8 << 20; i++) {
        sent += stuff(fd, filler, 65536);
        g_main_context_iteration(NULL, FALSE);
    }
    g_assert_cmpuint(sent, >=, 8 << 20);
    reply = raw_line(fd);
    g_assert_cmpstr(reply, ==,
                    "{\"error\":{\"class\":\"GenericError\",\"desc\":\"Message is longer than the "
                    "limit of 65536 bytes\"}}");
    assert_prompt(f);
    wait_until(stuff(fd, "\n{\"execute\":\"ping\"}", 1) > 0);
    pong = raw_line(fd);
    g_assert_cmpstr(pong, ==, "{\"return\":\"pong\"}");
    close(fd);
}

/* ---- readers ---- */

/* Asks for much and reads nothing: is not read from, then dropped; nothing of it stays. */
static void
test_no_reader(Fixture *f, gconstpointer data)
{
    guint64 served;
    int fd;

    f->options.stall_timeout_ms = 300;
    f->options.max_commands_per_sec = 0;
    start(f);
    fd = negotiated(f->scratch.path);
    for (guint i = 0; i < 100; i++) {
        stuff(fd, "{\"execute\":\"big\"}", 4096);
        run_for_ms(1);
    }
    served = hn_qmp_server_counters(f->server).commands;
    /* The kernel's buffer, high_water_bytes, one reply over it: about 15 replies, not 10,000. */
    g_assert_cmpuint(served * BIG_REPLY_BYTES, <, 2 << 20);
    assert_prompt(f);
    wait_until(hn_qmp_server_counters(f->server).clients == 1);
    g_assert_cmpuint(hn_qmp_server_counters(f->server).dropped, ==, 1);
    close(fd);
}

/* A slow reader gets everything. */
static void
test_slow_reader(Fixture *f, gconstpointer data)
{
    const guint n = 40;
    g_autoptr(GString) text = g_string_new(NULL);
    char buffer[8192];
    int fd;

    start(f);
    fd = negotiated(f->scratch.path);
    for (guint i = 0; i < n; i++)
        raw_send(fd, "{\"execute\":\"big\"}");
    while (text->len < n * (BIG_REPLY_BYTES + strlen("{\"return\":\"\"}\r\n"))) {
        gssize got = -1;

        wait_until((got = recv(fd, buffer, sizeof buffer, 0)) >= 0);
        g_assert_cmpint(got, >, 0);
        g_string_append_len(text, buffer, got);
    }
    assert_prompt(f);
    close(fd);
}

/* All queues together are bounded too. */
static void
test_total_budget(Fixture *f, gconstpointer data)
{
    int fds[40];

    f->options.max_total_bytes = 1 << 20;
    start(f);
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++) {
        fds[i] = negotiated(f->scratch.path);
        for (guint k = 0; k < 8; k++)
            raw_send(fds[i], "{\"execute\":\"big\"}");
    }
    run_for_ms(200);
    g_assert_cmpuint(hn_qmp_server_counters(f->server).dropped, >, 0);
    assert_prompt(f); /* whoever reads is not the one to go */
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++)
        close(fds[i]);
    wait_until(hn_qmp_server_counters(f->server).clients == 1);
}

static void
test_reply_too_large(Fixture *f, gconstpointer data)
{
    g_autofree char *reply = NULL;
    int fd;

    f->options.max_reply_bytes = 1000;
    start(f);
    fd = negotiated(f->scratch.path);
    raw_send(fd, "{\"execute\":\"big\",\"id\":\"x\"}");
    reply = raw_line(fd);
    g_assert_cmpstr(reply, ==,
                    "{\"error\":{\"class\":\"GenericError\",\"desc\":\"The reply of 60024 bytes is "
                    "longer than the limit of 1000; ask for less\"},\"id\":\"x\"}");
    close(fd);
}

/* A subscriber that reads nothing loses events and is told how many; others lose none. */
static void
test_slow_subscriber(Fixture *f, gconstpointer data)
{
    const guint n = 20000;
    g_autofree char *a = NULL, *b = NULL;
    g_autoptr(GString) slow_text = g_string_new(NULL);
    g_autoptr(GString) quick_text = g_string_new(NULL);
    guint64 lost, seen = 0, quick_seen = 0, told = 0;
    int slow, quick;

    start(f);
    slow = negotiated(f->scratch.path);
    quick = negotiated(f->scratch.path);
    raw_send(slow, "{\"execute\":\"subscribe\"}");
    a = raw_line(slow);
    raw_send(quick, "{\"execute\":\"subscribe\"}");
    b = raw_line(quick);
    for (guint i = 0; i < n; i++) {
        hn_qmp_server_emit(f->server, "TICK", NULL, i);
        if (i % 100 == 0) {
            g_main_context_iteration(NULL, FALSE);
            raw_pull(quick, quick_text);
        }
    }
    assert_prompt(f);
    lost = hn_qmp_server_counters(f->server).events_lost;
    g_assert_cmpuint(lost, >, 0);
    wait_until(raw_pull(slow, slow_text) && strstr(slow_text->str, "EVENTS_LOST"));
    run_for_ms(50);
    raw_pull(slow, slow_text);
    raw_pull(quick, quick_text);
    for (const char *p = slow_text->str; (p = strstr(p, "\"TICK\"")); p++)
        seen++;
    for (const char *p = quick_text->str; (p = strstr(p, "\"TICK\"")); p++)
        quick_seen++;
    for (const char *p = slow_text->str; (p = strstr(p, "\"count\":")); p++)
        told += g_ascii_strtoull(p + strlen("\"count\":"), NULL, 10);
    g_assert_cmpuint(told, ==, lost);
    g_assert_cmpuint(seen + told, ==, n);
    g_assert_cmpuint(quick_seen, ==, n);
    close(slow);
    close(quick);
}

/* Not more requests are taken than may be unanswered; answering lets the next ones in. */
static void
test_outstanding(Fixture *f, gconstpointer data)
{
    int fd;

    start(f);
    fd = negotiated(f->scratch.path);
    for (guint i = 0; i < 100; i++)
        raw_send(fd, "{\"execute\":\"hold\"}");
    wait_until(f->held.length == f->options.max_requests);
    run_for_ms(50);
    g_assert_cmpuint(f->held.length, ==, f->options.max_requests);
    assert_prompt(f);
    for (guint i = 0; i < 100; i++) {
        g_autofree char *reply = NULL;

        wait_until(f->held.length > 0);
        hn_qmp_request_return(g_queue_pop_head(&f->held), NULL);
        reply = raw_line(fd);
        g_assert_cmpstr(reply, ==, "{\"return\":{}}");
    }
    close(fd);
}

/* ---- connections ---- */

static guint
raise_fd_limit(void)
{
    struct rlimit limit;

    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    limit.rlim_cur = limit.rlim_max;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    return (guint)MIN(limit.rlim_cur, 1 << 20);
}

/* Opens n connections, the server running in between; the descriptors are stored. */
static void
open_many(Fixture *f, GArray *fds, guint n)
{
    for (guint i = 0; i < n; i++) {
        int fd = -1;

        wait_until((fd = raw_connect(f->scratch.path)) >= 0 || errno != EAGAIN);
        g_assert_cmpint(fd, >=, 0);
        g_array_append_val(fds, fd);
        if (i % 64 == 0)
            g_main_context_iteration(NULL, FALSE);
    }
}

static void
close_all(GArray *fds)
{
    for (guint i = 0; i < fds->len; i++)
        close(g_array_index(fds, int, i));
    g_array_set_size(fds, 0);
}

/* 10,000 connections, or as many as descriptors allow: as many as the limit are kept, the others are
 * told why not, and the other socket does not notice. */
static void
test_many_refused(Fixture *f, gconstpointer data)
{
    guint n = MIN(10000, raise_fd_limit() - 300);
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
    guint greeted = 0, refused = 0;
    int fd;

    start(f);
    open_many(f, fds, n);
    wait_until(hn_qmp_server_counters(f->server).accepted == n + 1);
    assert_prompt(f);
    g_test_message("%u connections", n);
    for (guint i = 0; i < n; i++) {
        g_autofree char *line = raw_line(g_array_index(fds, int, i));

        greeted += g_str_has_prefix(line, "{\"QMP\"");
        refused += strstr(line, "Too many connections") != NULL;
    }
    g_assert_cmpuint(greeted, ==, getuid() == 0 ? f->options.max_clients
                                                : f->options.max_clients_per_uid);
    g_assert_cmpuint(greeted + refused, ==, n);
    close_all(fds);
    wait_until(hn_qmp_server_counters(f->server).clients == 1);
    fd = negotiated(f->scratch.path);
    close(fd);
}

/* Thousands admitted, if the limits are set so: still served, and nothing stays of them. */
static void
test_many_admitted(Fixture *f, gconstpointer data)
{
    guint n = MIN(2000, (raise_fd_limit() - 300) / 2);
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));

    f->options.max_clients = f->options.max_clients_per_uid = 20000;
    f->options.negotiate_timeout_ms = 0;
    start(f);
    open_many(f, fds, n);
    wait_until(hn_qmp_server_counters(f->server).clients == n + 1);
    g_test_message("%u connections at once", n);
    assert_prompt(f);
    close_all(fds);
    wait_until(hn_qmp_server_counters(f->server).clients == 1);
    assert_prompt(f);
}

/* No descriptor left: the server rests instead of spinning, and goes on when there are some. */
static void
test_no_descriptors(Fixture *f, gconstpointer data)
{
    g_autoptr(GArray) fillers = g_array_new(FALSE, FALSE, sizeof(int));
    struct rlimit old, low;
    guint iterations = 0;
    gint64 start_us;
    int waiting, fd;

    start(f);
    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &old), ==, 0);
    low = old;
    low.rlim_cur = MIN(old.rlim_cur, 400);
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &low), ==, 0);
    waiting = raw_connect(f->scratch.path);
    while ((fd = dup(0)) >= 0)
        g_array_append_val(fillers, fd);
    assert_prompt(f);
    start_us = g_get_monotonic_time();
    while (g_get_monotonic_time() - start_us < 300000) {
        g_main_context_iteration(NULL, TRUE);
        iterations++;
    }
    g_assert_cmpuint(iterations, <, 60);
    assert_prompt(f);

    close_all(fillers);
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &old), ==, 0);
    {
        g_autofree char *greeting = raw_line(waiting);

        g_assert_true(g_str_has_prefix(greeting, "{\"QMP\""));
    }
    close(waiting);
}

/* An ordinary user gets max_clients_per_uid and no more; the others keep their share. */
static void
test_per_user(Fixture *f, gconstpointer data)
{
    int pipe_fds[2], status = -1;
    char greeted = 0;
    pid_t child;
    int mine;

    if (getuid() != 0) {
        g_test_skip("needs root, to be another user in a child");
        return;
    }
    f->options.max_clients = 8;
    f->options.max_clients_per_uid = 5;
    start(f);
    g_assert_cmpint(chmod(f->scratch.dir, 0755), ==, 0);
    g_assert_cmpint(pipe(pipe_fds), ==, 0);
    child = fork();
    if (child == 0) {
        struct sockaddr_un address = unix_address(f->scratch.path);

        if (setgid(65534) != 0 || setuid(65534) != 0)
            _exit(1);
        for (guint i = 0; i < 12; i++) {
            int fd = socket(AF_UNIX, SOCK_STREAM, 0);
            char start_of_line[8] = "";

            if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
                recv(fd, start_of_line, 7, MSG_WAITALL) != 7)
                _exit(2);
            greeted += memcmp(start_of_line, "{\"QMP\":", 7) == 0;
        }
        _exit(write(pipe_fds[1], &greeted, 1) == 1 && pause() ? 0 : 3);
    }
    close(pipe_fds[1]);
    g_unix_set_fd_nonblocking(pipe_fds[0], TRUE, NULL);
    wait_until(read(pipe_fds[0], &greeted, 1) == 1);
    g_assert_cmpint(greeted, ==, 5);
    mine = negotiated(f->scratch.path); /* another user still gets in */
    close(mine);
    kill(child, SIGKILL);
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    wait_until(hn_qmp_server_counters(f->server).clients == 1);
    close(pipe_fds[0]);
}

/* Connect, do something at random, go away at random, for a while. The seed is printed by GTest. */
static void
test_monkeys(Fixture *f, gconstpointer data)
{
    static const char *const tricks[] = {
        "{\"execute\":\"qmp_capabilities\"}", "{\"execute\":\"big\"}", "{\"execute\":\"hold\"}",
        "{\"execute\":\"subscribe\"}", "{\"execute\":\"pi", "ng\"}", "\xff", "}}}\n", "[[[[",
        "{\"execute\":\"help\"}", "{\"a\":\"\xc3",
    };
    int fds[24];

    start(f);
    memset(fds, -1, sizeof fds);
    for (guint round = 0; round < 4000; round++) {
        int *fd = &fds[g_test_rand_int_range(0, G_N_ELEMENTS(fds))];
        const char *trick = tricks[g_test_rand_int_range(0, G_N_ELEMENTS(tricks))];
        int dice = g_test_rand_int_range(0, 20);

        if (*fd < 0) {
            *fd = raw_connect(f->scratch.path);
        } else if (dice == 0) {
            close(*fd);
            *fd = -1;
        } else if (dice == 1) {
            shutdown(*fd, SHUT_WR);
        } else if (dice < 5) {
            g_autoptr(GString) sink = g_string_new(NULL);

            raw_pull(*fd, sink);
        } else {
            send(*fd, trick, strlen(trick), MSG_NOSIGNAL);
        }
        if (dice == 6)
            hn_qmp_server_emit(f->server, "TICK", NULL, round);
        if (dice == 7 && f->held.length > 0)
            hn_qmp_request_return(g_queue_pop_head(&f->held), NULL);
        if (dice < 12)
            g_main_context_iteration(NULL, FALSE);
    }
    assert_prompt(f);
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    while (f->held.length > 0)
        hn_qmp_request_return(g_queue_pop_head(&f->held), NULL);
    wait_until(hn_qmp_server_counters(f->server).clients == 1);
    g_assert_cmpuint(hn_qmp_server_counters(f->server).subscribers, ==, 0);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, func) g_test_add("/qmp/abuse/" name, Fixture, NULL, set_up, func, tear_down)
    ADD("half-message", test_half_message);
    ADD("never-negotiates", test_never_negotiates);
    ADD("idle", test_idle);
    ADD("command-flood", test_command_flood);
    ADD("garbage-flood", test_garbage_flood);
    ADD("endless-message", test_endless_message);
    ADD("no-reader", test_no_reader);
    ADD("slow-reader", test_slow_reader);
    ADD("total-budget", test_total_budget);
    ADD("reply-too-large", test_reply_too_large);
    ADD("slow-subscriber", test_slow_subscriber);
    ADD("outstanding", test_outstanding);
    ADD("many-refused", test_many_refused);
    ADD("many-admitted", test_many_admitted);
    ADD("no-descriptors", test_no_descriptors);
    ADD("per-user", test_per_user);
    ADD("monkeys", test_monkeys);
    return g_test_run();
}
