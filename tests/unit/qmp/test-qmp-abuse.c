/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile and broken clients against the server: none may stall it, crash it, make it grow, or keep
 * an honest client from being served. Here one client at a time: half messages, floods, slow
 * readers.
 */
#include "hostile.h"

/* Sends text over and over until the kernel takes no more; returns how many bytes went. */
static size_t stuff(int fd, const char *text, size_t max_bytes)
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

static char *read_rest(int fd)
{
    GString *text = g_string_new(NULL);

    wait_until(!raw_pull(fd, text));
    return g_string_free(text, FALSE);
}

/* ---- time-outs ---- */

static void test_half_message(Fixture *f, gconstpointer data)
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

static void test_never_negotiates(Fixture *f, gconstpointer data)
{
    g_autofree char *rest = NULL;
    int fd;

    f->options.negotiate_timeout_ms = 1500; /* and the honest one must make it */
    start(f);
    fd = raw_connect(f->scratch.path);
    raw_send(fd, "{\"execute\":\"ping\"}");
    rest = read_rest(fd);
    g_assert_nonnull(strstr(rest, "No qmp_capabilities in time"));
    close(fd);
    assert_prompt(f); /* the honest one had negotiated */
}

static void test_idle(Fixture *f, gconstpointer data)
{
    g_autofree char *rest = NULL, *reply = NULL;
    int idle, subscriber, waiting;

    f->options.idle_timeout_ms = 1500; /* a loaded machine may keep the honest one from its turn */
    start(f);
    idle = negotiated(f->scratch.path);
    subscriber = negotiated(f->scratch.path);
    waiting = negotiated(f->scratch.path);
    raw_send(subscriber, "{\"execute\":\"subscribe\"}");
    reply = raw_line(subscriber);
    raw_send(waiting, "{\"execute\":\"hold\"}");
    while (hn_qmp_server_counters(f->server).dropped == 0) {
        run_for_ms(20);
        assert_prompt(f); /* commands keep a connection alive */
    }
    rest = read_rest(idle);
    g_assert_nonnull(strstr(rest, "No command for too long"));
    assert_prompt(f);
    g_assert_cmpuint(hn_qmp_server_counters(f->server).clients, ==, 3);
    close(idle);
    close(subscriber);
    close(waiting);
}

/* ---- floods ---- */

/* Commands faster than allowed: served at the allowed rate, and the honest client in between. */
static void test_command_flood(Fixture *f, gconstpointer data)
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
    while (g_get_monotonic_time() - start_us < G_USEC_PER_SEC / 2 || served(f) - before < 110) {
        stuff(fd, "{\"execute\":\"ping\"}", 1 << 20);
        run_for_ms(5);
        raw_pull(fd, sink);
    }
    /* The burst, half a second's worth or more, and what the honest client asks. */
    allowed = 100 + 100.0 * (double)(g_get_monotonic_time() - start_us) / G_USEC_PER_SEC;
    g_assert_cmpfloat((double)(hn_qmp_server_counters(f->server).commands - before), <=,
                      allowed + 1);
    assert_prompt(f);
    g_assert_cmpuint(hn_qmp_server_counters(f->server).clients, ==, 2); /* slowed, not dropped */
    close(fd);
}

/* Lines that are no JSON: each costs an error reply, so they count like commands. */
static void test_garbage_flood(Fixture *f, gconstpointer data)
{
    g_autofree char *noise = g_malloc(65537);
    gint64 start_us;
    double allowed;
    guint64 sent = 0;
    int fd;

    start(f);
    fd = negotiated(f->scratch.path);
    start_us = g_get_monotonic_time();
    for (guint i = 0; i < 65536; i++)
        noise[i] = "}\n{\"\xff:,[\x01 "[i % 10];
    noise[65536] = 0;
    for (guint i = 0; i < 40; i++) {
        sent += stuff(fd, noise, 1 << 20);
        run_for_ms(5);
    }
    g_assert_cmpuint(sent, >, 65536);
    g_assert_cmpuint(hn_qmp_server_counters(f->server).malformed, >, 0);
    allowed = f->options.max_commands_per_sec *
              (1 + (double)(g_get_monotonic_time() - start_us) / G_USEC_PER_SEC);
    g_assert_cmpfloat((double)hn_qmp_server_counters(f->server).malformed, <=, allowed + 1);
    assert_prompt(f);
    close(fd);
    wait_until(hn_qmp_server_counters(f->server).clients == 1);
}

/* One endless message: refused once at the limit, then skipped and not stored. */
static void test_endless_message(Fixture *f, gconstpointer data)
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
static void test_no_reader(Fixture *f, gconstpointer data)
{
    guint64 answered;
    int fd;

    f->options.stall_timeout_ms = 300;
    f->options.max_commands_per_sec = 0;
    start(f);
    fd = negotiated(f->scratch.path);
    for (guint i = 0; i < 100; i++) {
        stuff(fd, "{\"execute\":\"big\"}", 4096);
        run_for_ms(1);
    }
    answered = hn_qmp_server_counters(f->server).commands;
    /* The kernel's buffer, high_water_bytes, one reply over it: about 15 replies, not 10,000. */
    g_assert_cmpuint(answered * BIG_REPLY_BYTES, <, 2 << 20);
    assert_prompt(f);
    wait_until(hn_qmp_server_counters(f->server).clients == 1);
    g_assert_cmpuint(hn_qmp_server_counters(f->server).dropped, ==, 1);
    close(fd);
}

/* A slow reader gets everything. */
static void test_slow_reader(Fixture *f, gconstpointer data)
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
static void test_total_budget(Fixture *f, gconstpointer data)
{
    int fds[40];

    f->options.max_total_bytes = 1 << 20;
    start(f);
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++) {
        fds[i] = negotiated(f->scratch.path);
        for (guint k = 0; k < 8; k++)
            raw_send(fds[i], "{\"execute\":\"big\"}");
    }
    wait_until(hn_qmp_server_counters(f->server).dropped > 0);
    assert_prompt(f);
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++)
        close(fds[i]);
    wait_until(hn_qmp_server_counters(f->server).clients == 1);
}

/* Until it is answered, or the one who asked is gone. */
static void ask_for_much(Fixture *f, int fd)
{
    guint64 before = served(f);

    raw_send(fd, "{\"execute\":\"big\"}");
    wait_until(served(f) > before);
}

/* When others have all but used the budget up, whoever reads is still not the one to go. */
static void test_budget_spares_readers(Fixture *f, gconstpointer data)
{
    guint fits = 0;
    int fd;

    f->options.max_total_bytes = 200000;
    f->options.max_requests = 100;
    start(f);
    /* One that is dropped shows how many replies fit. */
    fd = negotiated(f->scratch.path);
    for (; hn_qmp_server_counters(f->server).dropped == 0; fits++)
        ask_for_much(f, fd);
    close(fd);
    fd = negotiated(f->scratch.path);
    for (guint i = 0; i < fits - 1; i++)
        ask_for_much(f, fd);
    for (guint i = 0; i < 3; i++) {
        g_autofree char *reply = NULL;

        raw_send(f->honest, "{\"execute\":\"big\"}");
        reply = raw_line(f->honest);
        g_assert_cmpuint(strlen(reply), ==, BIG_REPLY_BYTES + strlen("{\"return\":\"\"}"));
    }
    g_assert_cmpuint(hn_qmp_server_counters(f->server).dropped, ==, 1);
    close(fd);
}

static void test_reply_too_large(Fixture *f, gconstpointer data)
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

static guint64 count_of(const char *text, const char *word)
{
    guint64 n = 0;

    for (; (text = strstr(text, word)); text++)
        n++;
    return n;
}

/* A subscriber that reads nothing loses events and is told how many; others lose none. */
static void test_slow_subscriber(Fixture *f, gconstpointer data)
{
    const guint n = 20000;
    g_autofree char *a = NULL, *b = NULL;
    g_autoptr(GString) slow_text = g_string_new(NULL);
    g_autoptr(GString) quick_text = g_string_new(NULL);
    guint64 lost, told = 0;
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
    wait_until(raw_pull(quick, quick_text) && count_of(quick_text->str, "\"TICK\"") == n);
    wait_until(raw_pull(slow, slow_text) && count_of(slow_text->str, "\"TICK\"") == n - lost);
    for (const char *p = slow_text->str; (p = strstr(p, "\"count\":")); p++)
        told += g_ascii_strtoull(p + strlen("\"count\":"), NULL, 10);
    g_assert_cmpuint(told, ==, lost);
    close(slow);
    close(quick);
}

/* Not more requests are taken than may be unanswered; answering lets the next ones in. */
static void test_outstanding(Fixture *f, gconstpointer data)
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

int main(int argc, char **argv)
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
    ADD("budget-spares-readers", test_budget_spares_readers);
    ADD("reply-too-large", test_reply_too_large);
    ADD("slow-subscriber", test_slow_subscriber);
    ADD("outstanding", test_outstanding);
    return g_test_run();
}
