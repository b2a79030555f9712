/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Crowds of clients against the server: thousands of connections, no descriptors left, one user who
 * takes all he can get, and many who do anything at all.
 */
#include <glib-unix.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "hostile.h"

static guint raise_fd_limit(void)
{
    struct rlimit limit;

    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    limit.rlim_cur = limit.rlim_max;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    return (guint)MIN(limit.rlim_cur, 1 << 20);
}

/* Opens n connections, the server running in between; the descriptors are stored. */
static void open_many(Fixture *f, GArray *fds, guint n)
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

static void close_all(GArray *fds)
{
    for (guint i = 0; i < fds->len; i++)
        close(g_array_index(fds, int, i));
    g_array_set_size(fds, 0);
}

/* 10,000 connections, or as many as descriptors allow: as many as the limit are kept, the others
 * are told why not, and the other socket does not notice. */
static void test_many_refused(Fixture *f, gconstpointer data)
{
    guint n = MIN(10000, raise_fd_limit() - 300);
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
    guint greeted = 0, refused = 0;
    int fd;

    f->options.negotiate_timeout_ms = 0; /* none of them makes room while the others come */
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
    g_assert_cmpuint(greeted, ==,
                     getuid() == 0 ? f->options.max_clients : f->options.max_clients_per_uid);
    g_assert_cmpuint(greeted + refused, ==, n);
    close_all(fds);
    wait_until(hn_qmp_server_counters(f->server).clients == 1);
    fd = negotiated(f->scratch.path);
    close(fd);
}

/* Thousands admitted, if the limits are set so: still served, and nothing stays of them. */
static void test_many_admitted(Fixture *f, gconstpointer data)
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
static void test_no_descriptors(Fixture *f, gconstpointer data)
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
static void test_per_user(Fixture *f, gconstpointer data)
{
    int pipe_fds[2], status = -1;
    char greeted = 0;
    pid_t child;
    int mine;

    if (getuid() != 0) {
        g_test_skip("machine: needs root, to be another user in a child");
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
static void test_monkeys(Fixture *f, gconstpointer data)
{
    static const char *const tricks[] = {
        "{\"execute\":\"qmp_capabilities\"}",
        "{\"execute\":\"big\"}",
        "{\"execute\":\"hold\"}",
        "{\"execute\":\"subscribe\"}",
        "{\"execute\":\"pi",
        "ng\"}",
        "\xff",
        "}}}\n",
        "[[[[",
        "{\"execute\":\"help\"}",
        "{\"a\":\"\xc3",
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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, func) g_test_add("/qmp/crowd/" name, Fixture, NULL, set_up, func, tear_down)
    ADD("many-refused", test_many_refused);
    ADD("many-admitted", test_many_admitted);
    ADD("no-descriptors", test_no_descriptors);
    ADD("per-user", test_per_user);
    ADD("monkeys", test_monkeys);
    return g_test_run();
}
