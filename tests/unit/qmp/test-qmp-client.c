/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client against a peer the test plays by hand: a listening socket and raw bytes. Everything a
 * QEMU does, and several things it should not.
 */
#include "qmp/client.h"
#include "loop.h"

#define QEMU_GREETING                                                                              \
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "             \
    "\"package\": \"Debian 1:7.2+dfsg-7\"}, \"capabilities\": [\"oob\"]}}\r\n"

typedef struct {
    Scratch scratch;
    int listener;
    int peer; /* the accepted connection, -1 if none */
    GString *log;
    HnQmpClient *client;
} Fixture;

static int listen_at(const char *path, int backlog)
{
    struct sockaddr_un address = unix_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    g_assert_cmpint(listen(fd, backlog), ==, 0);
    return fd;
}

static void set_up(Fixture *f, gconstpointer data)
{
    f->scratch = scratch_new();
    f->listener = listen_at(f->scratch.path, 5);
    f->peer = -1;
    f->log = g_string_new(NULL);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    hn_qmp_client_unref(f->client);
    if (f->peer >= 0)
        close(f->peer);
    close(f->listener);
    g_string_free(f->log, TRUE);
    scratch_clear(&f->scratch);
}

/* ---- callbacks that write the log ---- */

static void on_ready(HnQmpClient *client, const HnQmpGreeting *greeting, gpointer user_data)
{
    Fixture *f = user_data;

    g_string_append_printf(f->log, "ready(%s %u.%u.%u %s%s) ", greeting->product, greeting->major,
                           greeting->minor, greeting->micro, greeting->package,
                           greeting->has_oob ? " oob" : "");
}

static void on_event(HnQmpClient *client, const char *name, json_object *data, gint64 timestamp_us,
                     gpointer user_data)
{
    Fixture *f = user_data;

    g_string_append_printf(f->log, "event(%s %s %" G_GINT64_FORMAT ") ", name,
                           json_object_to_json_string_ext(data, JSON_C_TO_STRING_PLAIN),
                           timestamp_us);
}

static void on_lost(HnQmpClient *client, const GError *error, gboolean will_retry,
                    gpointer user_data)
{
    Fixture *f = user_data;
    g_auto(GStrv) parts = g_strsplit(error->message, f->scratch.path, -1);
    g_autofree char *text = g_strjoinv("PATH", parts);

    g_assert_true(error->domain == HN_QMP_ERROR);
    g_string_append_printf(f->log, "lost(%d %s%s) ", error->code, text, will_retry ? " retry" : "");
}

static void on_reply(HnQmpClient *client, json_object *value, const GError *error,
                     gpointer user_data)
{
    Fixture *f = user_data;

    g_assert_true(!error || error->domain == HN_QMP_ERROR);
    if (error) {
        g_auto(GStrv) parts = g_strsplit(error->message, f->scratch.path, -1);
        g_autofree char *text = g_strjoinv("PATH", parts);

        g_string_append_printf(f->log, "failed(%d %s) ", error->code, text);
    } else {
        g_string_append_printf(f->log, "reply(%s) ",
                               json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
    }
}

static const HnQmpClientCallbacks callbacks = {
    .ready = on_ready, .event = on_event, .lost = on_lost};

#define assert_log(f, expected)                                                                    \
    G_STMT_START                                                                                   \
    {                                                                                              \
        g_assert_cmpstr((f)->log->str, ==, expected);                                              \
        g_string_truncate((f)->log, 0);                                                            \
    }                                                                                              \
    G_STMT_END

/* ---- the peer's side ---- */

static void accept_client(Fixture *f)
{
    if (f->peer >= 0)
        close(f->peer);
    wait_until((f->peer = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
}

/* Expects a command by name and returns its id. */
static gint64 expect_command(Fixture *f, const char *name)
{
    g_autofree char *line = raw_line(f->peer);
    json_object *root = json_tokener_parse(line);
    gint64 id = json_object_get_int64(json_object_object_get(root, "id"));

    g_assert_cmpstr(json_object_get_string(json_object_object_get(root, "execute")), ==, name);
    json_object_put(root);
    return id;
}

static void G_GNUC_PRINTF(2, 3) say(Fixture *f, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    raw_send(f->peer, text);
}

static void greet_client(Fixture *f)
{
    accept_client(f);
    say(f, "%s", QEMU_GREETING);
    say(f, "{\"return\": {}, \"id\": %" G_GINT64_FORMAT "}\r\n",
        expect_command(f, "qmp_capabilities"));
}

static void new_client(Fixture *f, const HnQmpClientOptions *options)
{
    f->client = hn_qmp_client_new(f->scratch.path, options, &callbacks, f);
    hn_qmp_client_connect(f->client);
}

/* A client that is ready, its log empty. */
static void ready_client(Fixture *f, const HnQmpClientOptions *options)
{
    new_client(f, options);
    greet_client(f);
    wait_until(hn_qmp_client_is_ready(f->client));
    g_string_truncate(f->log, 0);
}

static guint64 call(Fixture *f, const char *command)
{
    return hn_qmp_client_call(f->client, command, NULL, 0, on_reply, f);
}

/* ---- the tests ---- */

/* Greeting in pieces, events before, between and after replies, replies out of order. */
static void test_conversation(Fixture *f, gconstpointer data)
{
    const char *greeting = QEMU_GREETING;
    gint64 first, second;
    HnQmpPeer peer;

    new_client(f, NULL);
    g_assert_null(hn_qmp_client_greeting(f->client));
    call(f, "query-status");
    accept_client(f);
    for (const char *p = greeting; *p; p++) {
        char byte[2] = {*p, 0};

        raw_send(f->peer, byte);
        g_main_context_iteration(NULL, FALSE);
    }
    say(f, "{\"return\": {}, \"id\": %" G_GINT64_FORMAT "}\r\n",
        expect_command(f, "qmp_capabilities"));
    first = expect_command(f, "query-status");
    call(f, "query-name");
    second = expect_command(f, "query-name");
    say(f,
        "{\"timestamp\": {\"seconds\": 3, \"microseconds\": 4}, \"event\": \"STOP\"}\r\n"
        "{\"return\": {\"name\": \"vm\"}, \"id\": %" G_GINT64_FORMAT "}\r\n"
        "{\"timestamp\": {\"seconds\": -1, \"microseconds\": -1}, \"event\": \"RESET\", "
        "\"data\": {\"guest\": true}}\r\n",
        second);
    say(f,
        "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}, \"id\": %" G_GINT64_FORMAT
        "}",
        first);
    wait_until(strstr(f->log->str, "failed"));
    assert_log(f, "ready(qemu 7.2.22 Debian 1:7.2+dfsg-7 oob) event(STOP null 3000004) "
                  "reply({\"name\":\"vm\"}) event(RESET {\"guest\":true} -1) "
                  "failed(10 query-status: no) ");
    g_assert_true(hn_qmp_client_peer(f->client, &peer));
    g_assert_cmpint(peer.pid, ==, getpid());
    g_assert_cmpuint(hn_qmp_client_greeting(f->client)->minor, ==, 2);
}

static void test_arguments_and_null(Fixture *f, gconstpointer data)
{
    json_object *args = json_object_new_object();
    g_autofree char *line = NULL, *expected = NULL;
    guint64 id;

    ready_client(f, NULL);
    json_object_object_add(args, "path", json_object_new_string("/a"));
    json_object_object_add(args, "big", json_object_new_uint64(G_MAXUINT64));
    id = hn_qmp_client_call(f->client, "qom-get", args, 0, on_reply, f);
    line = raw_line(f->peer);
    expected = g_strdup_printf("{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/a\","
                               "\"big\":18446744073709551615},\"id\":%" G_GUINT64_FORMAT "}",
                               id);
    g_assert_cmpstr(line, ==, expected);
    say(f, "{\"return\": null, \"id\": %" G_GUINT64_FORMAT "}", id);
    wait_until(f->log->len > 0);
    assert_log(f, "reply(null) ");
}

static void test_cannot_connect(Fixture *f, gconstpointer data)
{
    g_autofree char *missing = g_build_filename(f->scratch.dir, "none", NULL);
    g_autofree char *dead = g_build_filename(f->scratch.dir, "dead", NULL);
    g_autofree char *too_long = g_strdup_printf("/tmp/%0120d", 0);
    const struct {
        const char *path;
        const char *text;
    } cases[] = {
        {missing, "No such file or directory"},
        {dead, "Connection refused (nobody listens there)"},
        {too_long, "is longer than the 107 bytes a unix socket may have"},
    };

    close(listen_at(dead, 1));
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_false(hn_qmp_call_sync(cases[i].path, "query-status", NULL, 5000, NULL, &error));
        g_assert_error(error, HN_QMP_ERROR, HN_QMP_ERROR_CONNECT);
        g_assert_nonnull(strstr(error->message, cases[i].text));
        g_assert_nonnull(strstr(error->message, cases[i].path));
        g_assert_true(g_str_has_prefix(error->message, "query-status: "));
    }
    hn_qmp_client_unref(f->client);
    f->client = hn_qmp_client_new(missing, NULL, &callbacks, f);
    hn_qmp_client_connect(f->client);
    assert_log(f, ""); /* later, not now */
    wait_until(f->log->len > 0);
    g_assert_nonnull(strstr(f->log->str, "lost(3 Cannot connect"));
    /* And it may be tried again. */
    g_string_truncate(f->log, 0);
    hn_qmp_client_connect(f->client);
    wait_until(f->log->len > 0);
}

/* A second client connects and hears nothing. */
static void test_no_greeting(Fixture *f, gconstpointer data)
{
    HnQmpClientOptions options = hn_qmp_client_options_default;

    options.greeting_timeout_ms = 50;
    new_client(f, &options);
    call(f, "query-status");
    wait_until(strstr(f->log->str, "lost"));
    assert_log(f, "failed(4 query-status: No greeting from 'PATH' within 50 ms; a monitor serves "
                  "one client at a time, and another one may hold it) "
                  "lost(4 No greeting from 'PATH' within 50 ms; a monitor serves one client at a "
                  "time, and another one may hold it) ");
}

static void test_no_negotiation(Fixture *f, gconstpointer data)
{
    HnQmpClientOptions options = hn_qmp_client_options_default;

    options.greeting_timeout_ms = 50;
    new_client(f, &options);
    accept_client(f);
    say(f, "%s", QEMU_GREETING);
    wait_until(f->log->len > 0);
    g_assert_nonnull(strstr(f->log->str, "lost(4 No reply to qmp_capabilities from"));
}

/* A listener whose queue is full. */
static void test_full_queue(Fixture *f, gconstpointer data)
{
    HnQmpClientOptions options = hn_qmp_client_options_default;
    g_autofree char *path = g_build_filename(f->scratch.dir, "full", NULL);
    g_autoptr(GArray) fillers = g_array_new(FALSE, FALSE, sizeof(int));
    int listener = listen_at(path, 0), fd;

    while ((fd = raw_connect(path)) >= 0)
        g_array_append_val(fillers, fd);
    g_assert_cmpint(errno, ==, EAGAIN);

    options.connect_timeout_ms = 60;
    f->client = hn_qmp_client_new(path, &options, &callbacks, f);
    hn_qmp_client_connect(f->client);
    wait_until(f->log->len > 0);
    g_assert_nonnull(strstr(f->log->str, "accepts no connection within 60 ms: its queue is full"));
    g_string_truncate(f->log, 0);

    /* Room comes while it tries: it gets in. */
    options.connect_timeout_ms = 10000;
    hn_qmp_client_unref(f->client);
    f->client = hn_qmp_client_new(path, &options, &callbacks, f);
    hn_qmp_client_connect(f->client);
    run_for_ms(50);
    for (guint i = 0; i < fillers->len; i++) {
        close(accept(listener, NULL, NULL));
        close(g_array_index(fillers, int, i));
    }
    close(f->listener);
    f->listener = listener;
    greet_client(f);
    wait_until(hn_qmp_client_is_ready(f->client));
}

/* Refused instead of greeted, or a peer that is no QMP at all. */
static void test_bad_greetings(Fixture *f, gconstpointer data)
{
    static const struct {
        const char *said;
        const char *log;
    } cases[] = {
        {"{\"error\": {\"class\": \"GenericError\", \"desc\": \"Too many connections\"}}",
         "lost(3 'PATH' refuses: Too many connections) "},
        {"SSH-2.0-OpenSSH\r\n", "lost(0 'PATH' does not speak QMP: JSON error at byte 0 of the "
                                "message: unexpected 'S') "},
        {"{\"QMP\": {\"capabilities\": []}}", "lost(2 The greeting lacks member 'version') "},
        {"{\"QMP\": {\"version\": {\"qemu\": {\"major\": 7, \"minor\": -1, \"micro\": 1}}}}",
         "lost(2 The greeting's version: 'minor' is out of range: -1) "},
        {"{\"QMP\": {\"version\": {\"package\": \"x\"}}}",
         "lost(2 The greeting's version names no product) "},
        {"{\"QMP\": 1}", "lost(2 'PATH' does not speak QMP: The greeting: member 'QMP' must be "
                         "object, not int) "},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        new_client(f, NULL);
        accept_client(f);
        say(f, "%s", cases[i].said);
        wait_until(f->log->len > 0);
        assert_log(f, cases[i].log);
        g_clear_pointer(&f->client, hn_qmp_client_unref);
    }
}

static void test_command_timeout(Fixture *f, gconstpointer data)
{
    gint64 id, next;

    ready_client(f, NULL);
    hn_qmp_client_call(f->client, "calc-dirty-rate", NULL, 40, on_reply, f);
    id = expect_command(f, "calc-dirty-rate");
    wait_until(f->log->len > 0);
    assert_log(f, "failed(4 calc-dirty-rate: no reply from 'PATH' within 40 ms) ");
    /* Its late reply is nobody else's. */
    call(f, "query-status");
    next = expect_command(f, "query-status");
    say(f,
        "{\"return\": 1, \"id\": %" G_GINT64_FORMAT "}{\"return\": 2, \"id\": %" G_GINT64_FORMAT
        "}",
        id, next);
    wait_until(f->log->len > 0);
    assert_log(f, "reply(2) ");
}

static void test_cancel(Fixture *f, gconstpointer data)
{
    guint64 id;

    ready_client(f, NULL);
    id = call(f, "query-status");
    hn_qmp_client_cancel(f->client, id);
    assert_log(f, "failed(6 query-status: cancelled) ");
    hn_qmp_client_cancel(f->client, id);
    hn_qmp_client_cancel(f->client, 4711);
    say(f, "{\"return\": 1, \"id\": %" G_GUINT64_FORMAT "}", id);
    run_for_ms(20);
    assert_log(f, "");
}

static void test_lost(Fixture *f, gconstpointer data)
{
    ready_client(f, NULL);
    call(f, "query-status");
    call(f, "query-name");
    expect_command(f, "query-status");
    expect_command(f, "query-name");
    say(f, "{\"return\": {\"half\"");
    close(f->peer);
    f->peer = -1;
    wait_until(strstr(f->log->str, "lost"));
    assert_log(f, "failed(0 query-status: The stream ended inside a message, after 18 bytes of it) "
                  "failed(0 query-name: The stream ended inside a message, after 18 bytes of it) "
                  "lost(5 'PATH' closed the connection) ");
}

/* What cannot be read fails what is outstanding; the connection goes on. */
static void test_malformed(Fixture *f, gconstpointer data)
{
    static const struct {
        const char *said;
        const char *log;
    } cases[] = {
        {"{\"return\": nope}\n", "failed(0 query-status: JSON error at byte 12 of the message: "
                                 "unexpected 'o') "},
        {"{\"return\": \"\xff\"}\n", "failed(0 query-status: Invalid UTF-8 at byte 12 of the "
                                     "message: 0xff) "},
        {"{\"unknown\": 1}", "failed(2 query-status: The message has none of 'execute', 'return', "
                             "'error', 'event', 'QMP') "},
        {"{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}",
         "failed(10 query-status: the peer could not read a command: JSON parse error) "},
        {"{\"error\": \"x\", \"id\": 1}",
         "failed(2 query-status: The reply: member 'error' must be object, not string) "},
    };
    gint64 id;

    ready_client(f, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        call(f, "query-status");
        expect_command(f, "query-status");
        say(f, "%s", cases[i].said);
        wait_until(f->log->len > 0);
        assert_log(f, cases[i].log);
    }
    call(f, "query-status");
    id = expect_command(f, "query-status");
    say(f, "{\"return\": \"fine\", \"id\": %" G_GINT64_FORMAT "}", id);
    wait_until(f->log->len > 0);
    assert_log(f, "reply(\"fine\") ");
}

/* Messages that mean nothing to a client are passed over. */
static void test_ignored(Fixture *f, gconstpointer data)
{
    gint64 id;

    ready_client(f, NULL);
    call(f, "query-status");
    id = expect_command(f, "query-status");
    say(f,
        QEMU_GREETING "{\"return\": 1}{\"return\": 2, \"id\": \"x\"}{\"execute\": \"quit\"}"
                      "{\"return\": 3, \"id\": %" G_GINT64_FORMAT "}",
        id);
    wait_until(f->log->len > 0);
    assert_log(f, "reply(3) ");
}

static void test_reconnect(Fixture *f, gconstpointer data)
{
    HnQmpClientOptions options = hn_qmp_client_options_default;

    options.has_reconnect = TRUE;
    options.backoff.first_ns = 10 * 1000000;
    options.backoff.max_failures = 3;
    ready_client(f, &options);
    call(f, "query-status");
    expect_command(f, "query-status");
    close(f->peer);
    f->peer = -1;
    wait_until(strstr(f->log->str, "lost"));
    assert_log(f, "failed(5 query-status: 'PATH' closed the connection) "
                  "lost(5 'PATH' closed the connection retry) ");
    /* Asked for while it is away: sent once it is back. */
    call(f, "query-name");
    greet_client(f);
    expect_command(f, "query-name");
    assert_log(f, "ready(qemu 7.2.22 Debian 1:7.2+dfsg-7 oob) ");

    /* Gone for good: it gives up after the third failure in a row. */
    close(f->listener);
    g_unlink(f->scratch.path);
    close(f->peer);
    f->peer = -1;
    wait_until(strstr(f->log->str, "No such file or directory) "));
    f->listener = listen_at(f->scratch.path, 5);
}

static void test_busy(Fixture *f, gconstpointer data)
{
    HnQmpClientOptions options = hn_qmp_client_options_default;

    options.max_outstanding = 2;
    ready_client(f, &options);
    for (guint i = 0; i < 3; i++)
        call(f, "query-status");
    assert_log(f, "");
    wait_until(f->log->len > 0);
    assert_log(f,
               "failed(7 query-status: 2 commands to 'PATH' are outstanding already, the limit) ");
}

static void test_close(Fixture *f, gconstpointer data)
{
    char byte;

    ready_client(f, NULL);
    call(f, "query-status");
    expect_command(f, "query-status");
    hn_qmp_client_close(f->client);
    assert_log(f, "failed(5 query-status: the connection to 'PATH' was closed) ");
    wait_until(recv(f->peer, &byte, 1, 0) == 0);
    call(f, "query-name");
    hn_qmp_client_connect(f->client); /* for good means for good */
    wait_until(f->log->len > 0);
    assert_log(f, "failed(5 query-name: the connection to 'PATH' was closed) ");
}

static void drop_on_reply(HnQmpClient *client, json_object *value, const GError *error,
                          gpointer user_data)
{
    Fixture *f = user_data;

    g_string_append(f->log, error ? "dropped " : "replied ");
    g_clear_pointer(&f->client, hn_qmp_client_unref);
}

/* The last reference goes in a callback, with more messages in the same read. */
static void test_unref_in_callback(Fixture *f, gconstpointer data)
{
    gint64 id;

    ready_client(f, NULL);
    hn_qmp_client_call(f->client, "query-status", NULL, 0, drop_on_reply, f);
    hn_qmp_client_call(f->client, "query-name", NULL, 0, on_reply, f);
    id = expect_command(f, "query-status");
    say(f,
        "{\"return\": 1, \"id\": %" G_GINT64_FORMAT "}{\"event\": \"STOP\"}{\"event\": \"RESUME\"}",
        id);
    wait_until(!f->client);
    assert_log(f, "replied failed(5 query-name: the connection to 'PATH' was closed) ");
}

static void call_again(HnQmpClient *client, json_object *value, const GError *error,
                       gpointer user_data)
{
    Fixture *f = user_data;

    on_reply(client, value, error, user_data);
    call(f, "query-name");
}

/* A failed call whose callback calls again does not go round for ever. */
static void test_call_in_callback(Fixture *f, gconstpointer data)
{
    ready_client(f, NULL);
    hn_qmp_client_call(f->client, "query-status", NULL, 0, call_again, f);
    expect_command(f, "query-status");
    close(f->peer);
    f->peer = -1;
    wait_until(strstr(f->log->str, "lost"));
    assert_log(f, "failed(5 query-status: 'PATH' closed the connection) "
                  "lost(5 'PATH' closed the connection) ");
    hn_qmp_client_connect(f->client);
    greet_client(f);
    expect_command(f, "query-name");
}

/* Many small events in one read arrive complete and in order, over several turns of the loop. */
static void test_event_burst(Fixture *f, gconstpointer data)
{
    g_autoptr(GString) burst = g_string_new(NULL);
    guint count = 0;

    ready_client(f, NULL);
    for (guint i = 0; i < 1000; i++)
        g_string_append_printf(burst, "{\"event\": \"E%u\"}\r\n", i);
    raw_send(f->peer, burst->str);
    wait_until(strstr(f->log->str, "event(E999 "));
    for (const char *p = f->log->str; (p = strstr(p, "event(E")); p++) {
        g_autofree char *expected = g_strdup_printf("event(E%u null -1)", count++);

        g_assert_true(g_str_has_prefix(p, expected));
    }
    g_assert_cmpuint(count, ==, 1000);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, func) g_test_add("/qmp/client/" name, Fixture, NULL, set_up, func, tear_down)
    ADD("conversation", test_conversation);
    ADD("arguments-and-null", test_arguments_and_null);
    ADD("cannot-connect", test_cannot_connect);
    ADD("no-greeting", test_no_greeting);
    ADD("no-negotiation", test_no_negotiation);
    ADD("full-queue", test_full_queue);
    ADD("bad-greetings", test_bad_greetings);
    ADD("command-timeout", test_command_timeout);
    ADD("cancel", test_cancel);
    ADD("lost", test_lost);
    ADD("malformed", test_malformed);
    ADD("ignored", test_ignored);
    ADD("reconnect", test_reconnect);
    ADD("busy", test_busy);
    ADD("close", test_close);
    ADD("unref-in-callback", test_unref_in_callback);
    ADD("call-in-callback", test_call_in_callback);
    ADD("event-burst", test_event_burst);
    return g_test_run();
}
