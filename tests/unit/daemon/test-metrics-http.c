/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The HTTP endpoint of the metrics, as a scraper and as a stranger see it: a thread of the test is the client,
 * the main loop serves.
 */
#include "metrics_http.h"
#include "daemon-config.h"

#include <gio/gio.h>
#include <string.h>

#define TEXT "# TYPE a gauge\na 1\n# EOF\n"

static const struct {
    const char *text;
    bool is_remote_allowed, is_good;
    const char *complaint;
} addresses[] = {
    {"127.0.0.1:9177", false, true, NULL},
    {"127.8.9.1:0", false, true, NULL},
    {"[::1]:9177", false, true, NULL},
    {"0.0.0.0:9177", false, false, "which other hosts can reach"},
    {"[::]:9177", false, false, "metrics.allow-remote"},
    {"192.0.2.7:80", false, false, "loopback"},
    {"192.0.2.7:80", true, true, NULL},
    {"[2001:db8::1]:80", true, true, NULL},
    {"localhost:9177", true, false, "numeric ADDRESS:PORT"},
    {"127.0.0.1", true, false, "allowed"},
    {"127.0.0.1:", true, false, "allowed"},
    {"127.0.0.1:65536", true, false, "allowed"},
    {"127.0.0.1:-1", true, false, "allowed"},
    {"127.0.0.1:9177x", true, false, "allowed"},
    {"::1:9177", true, false, "allowed"},
    {"[::1]", true, false, "allowed"},
    {"9177", true, false, "allowed"},
    {":9177", true, false, "allowed"},
    {"", true, false, "allowed"},
};

static void test_addresses(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(addresses); i++) {
        g_autoptr(GError) error = NULL;
        bool is_good = hn_metrics_address_check(addresses[i].text, addresses[i].is_remote_allowed, &error);
        g_assert_cmpint(is_good, ==, addresses[i].is_good);
        if (addresses[i].complaint)
            g_assert_nonnull(strstr(error->message, addresses[i].complaint));
    }
}

static guint16 port_of(int fd)
{
    g_autoptr(GSocket) socket = g_socket_new_from_fd(dup(fd), NULL);
    g_autoptr(GSocketAddress) address = g_socket_get_local_address(socket, NULL);
    return g_inet_socket_address_get_port(G_INET_SOCKET_ADDRESS(address));
}

static void test_port_in_use(void)
{
    g_autoptr(GError) error = NULL;
    int fd = hn_metrics_listen("127.0.0.1:0", &error);
    g_assert_no_error(error);
    g_autofree char *taken = g_strdup_printf("127.0.0.1:%u", port_of(fd));
    g_assert_cmpint(hn_metrics_listen(taken, &error), ==, -1);
    g_assert_nonnull(strstr(error->message, taken));
    close(fd);
}

#if HAVE_MICROHTTPD

#define LEAVES (-1)

typedef struct {
    const char *request;
    size_t len; /* 0: a string */
    int status; /* 0: anything but 200, or just an end; LEAVES: the client does not wait for anything */
    const char *needs[3];
    const char *lacks;
} Exchange;

static const Exchange exchanges[] = {
    {"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 0, 200,
     {"Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n", "\r\n\r\n" TEXT}, NULL},
    {"GET /metrics?name[]=a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 0, 200, {TEXT}, NULL},
    {"GET /metrics HTTP/1.0\r\n\r\n", 0, 200, {TEXT}, NULL},
    {"HEAD /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 0, 200, {"Content-Length: 25\r\n"}, TEXT},
    {"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 0, 404, {"There is /metrics only."}, TEXT},
    {"GET /metrics/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 0, 404, {NULL}, TEXT},
    {"GET /../etc/passwd HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 0, 404, {NULL}, "root"},
    {"GET /%2e%2e/%00 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 0, 404, {NULL}, TEXT},
    {"POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", 0, 405, {"Allow: GET, HEAD\r\n"}, TEXT},
    {"PUT /metrics HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n", 0, 405, {NULL}, TEXT},
    {"GET /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", 0, 0, {NULL}, TEXT},
    {"DELETE /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 0, 405, {NULL}, TEXT},
    {"get /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 0, 405, {NULL}, TEXT},
    {"\r\n\r\nnonsense\r\n\r\n", 0, LEAVES, {NULL}, TEXT},
    {"GET /metrics HTTP/9.9\r\n\r\n", 0, LEAVES, {NULL}, NULL},
    {"\0\xff\0\xff\r\n\r\n", 8, LEAVES, {NULL}, TEXT},
    {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 15, LEAVES, {NULL}, TEXT}, /* TLS */
    {"POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: -5\r\n\r\n", 0, LEAVES, {NULL}, TEXT},
};

typedef struct {
    guint16 port;
    GMainLoop *loop;
    guint n_texts;
} Fixture;

static char *make_text(void *user_data)
{
    ((Fixture *)user_data)->n_texts++;
    return g_strdup(TEXT);
}

static GSocketConnection *connect_to(const Fixture *f)
{
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_autoptr(GError) error = NULL;
    g_socket_client_set_enable_proxy(client, FALSE);
    g_socket_client_set_timeout(client, 60); /* of a hung server only */
    GSocketConnection *connection = g_socket_client_connect_to_host(client, "127.0.0.1", f->port, NULL, &error);
    g_assert_no_error(error);
    return connection;
}

/* Everything the server says until it closes; a reset (it closed on unread bytes) ends it as well. */
static char *converse(const Fixture *f, const char *request, size_t len, bool is_waiting)
{
    g_autoptr(GSocketConnection) connection = connect_to(f);
    GInputStream *input = g_io_stream_get_input_stream(G_IO_STREAM(connection));
    GString *reply = g_string_new(NULL);
    char buffer[4096];
    gssize n;

    g_output_stream_write_all(g_io_stream_get_output_stream(G_IO_STREAM(connection)), request, len, NULL, NULL,
                              NULL);
    while (is_waiting && (n = g_input_stream_read(input, buffer, sizeof buffer, NULL, NULL)) > 0)
        g_string_append_len(reply, buffer, n);
    return g_string_free(reply, FALSE);
}

static void check(const Fixture *f, const Exchange *exchange)
{
    size_t len = exchange->len ? exchange->len : strlen(exchange->request);
    g_autofree char *reply = converse(f, exchange->request, len, exchange->status != LEAVES);
    g_autofree char *begin = g_strdup_printf("HTTP/1.1 %d ", exchange->status);
    bool is_as_wanted = exchange->status > 0 ? g_str_has_prefix(reply, begin) : !strstr(reply, "HTTP/1.1 200 ");

    for (guint i = 0; i < G_N_ELEMENTS(exchange->needs); i++)
        is_as_wanted &= !exchange->needs[i] || strstr(reply, exchange->needs[i]);
    is_as_wanted &= !exchange->lacks || !strstr(reply, exchange->lacks);
    if (!is_as_wanted)
        g_error("to %s the endpoint says: %s", exchange->request, reply);
}

static void check_all(const Fixture *f)
{
    for (guint i = 0; i < G_N_ELEMENTS(exchanges); i++) {
        check(f, &exchanges[i]);
        check(f, &exchanges[0]); /* it goes on serving */
    }
}

/* Headers without end: cut off at the connection's memory. */
static void check_endless(const Fixture *f)
{
    g_autofree char *header = g_strnfill(1 << 20, 'a');
    g_autofree char *request = g_strconcat("GET /metrics HTTP/1.1\r\nX: ", header, NULL);
    g_autofree char *reply = converse(f, request, strlen(request), true);
    g_assert_null(strstr(reply, "HTTP/1.1 200 "));
    check(f, &exchanges[0]);
}

/* Reads until the text has come. */
static void read_text(GInputStream *input)
{
    g_autoptr(GString) reply = g_string_new(NULL);
    char buffer[4096];
    while (!strstr(reply->str, TEXT)) {
        gssize n = g_input_stream_read(input, buffer, sizeof buffer, NULL, NULL);
        g_assert_cmpint(n, >, 0);
        g_string_append_len(reply, buffer, n);
    }
}

/* Several requests on one connection, the way Prometheus keeps it. */
static void check_kept(const Fixture *f)
{
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n";
    g_autoptr(GSocketConnection) connection = connect_to(f);
    for (guint i = 0; i < 3; i++) {
        g_autoptr(GError) error = NULL;
        g_output_stream_write_all(g_io_stream_get_output_stream(G_IO_STREAM(connection)), request,
                                  strlen(request), NULL, NULL, &error);
        g_assert_no_error(error);
        read_text(g_io_stream_get_input_stream(G_IO_STREAM(connection)));
    }
}

/* Connections that say nothing take no more than their share, and when they have gone all is well. */
static void check_crowd(const Fixture *f)
{
    g_autoptr(GPtrArray) crowd = g_ptr_array_new_with_free_func(g_object_unref);
    for (guint i = 0; i < HN_METRICS_MAX_CONNECTIONS + 5; i++) /* five wait in the kernel's queue */
        g_ptr_array_add(crowd, connect_to(f));
    g_ptr_array_set_size(crowd, 0);
    check(f, &exchanges[0]);
}

static gboolean quit(gpointer loop)
{
    g_main_loop_quit(loop);
    return G_SOURCE_REMOVE;
}

static gpointer be_client(gpointer data)
{
    const Fixture *f = data;
    check_all(f);
    check_endless(f);
    check_kept(f);
    check_crowd(f);
    g_idle_add(quit, f->loop);
    return NULL;
}

static void test_serves(void)
{
    g_autoptr(GError) error = NULL;
    Fixture f = {.loop = g_main_loop_new(NULL, FALSE)};
    int fd = hn_metrics_listen("127.0.0.1:0", &error);
    g_assert_no_error(error);
    f.port = port_of(fd);
    HnMetricsHttp *http = hn_metrics_http_new(fd, make_text, &f, &error);
    g_assert_no_error(error);
    GThread *client = g_thread_new("client", be_client, &f);
    g_main_loop_run(f.loop);
    g_thread_join(client);
    g_assert_cmpuint(f.n_texts, >=, 1);
    /* Its port is free again, and an end with somebody connected is an end. */
    g_autoptr(GSocketConnection) last = connect_to(&f);
    hn_metrics_http_free(http);
    g_autofree char *again = g_strdup_printf("127.0.0.1:%u", f.port);
    fd = hn_metrics_listen(again, &error);
    g_assert_no_error(error);
    close(fd);
    g_main_loop_unref(f.loop);
}

static void test_no_socket(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(hn_metrics_http_new(dup(STDERR_FILENO), make_text, NULL, &error));
    g_assert_nonnull(error);
}

#endif

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/metrics-http/addresses", test_addresses);
    g_test_add_func("/metrics-http/port-in-use", test_port_in_use);
#if HAVE_MICROHTTPD
    g_test_add_func("/metrics-http/serves", test_serves);
    g_test_add_func("/metrics-http/no-socket", test_no_socket);
#endif
    return g_test_run();
}
