/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The HTTP endpoint: see metrics_http.h. The only file that knows libmicrohttpd.
 */
#include "metrics_http.h"
#include "daemon-config.h"

#include <fcntl.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#if HAVE_MICROHTTPD
#include <microhttpd.h>
#endif

/* OpenMetrics 1.0, "Protocol negotiation". */
#define OPENMETRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

/* ---- The address. ---- */

static GSocketAddress *parse_address(const char *text, GError **error)
{
    const char *colon = strrchr(text, ':');
    guint64 port = 0;
    g_autofree char *host = colon ? g_strndup(text, (gsize)(colon - text)) : NULL;
    gsize len = host ? strlen(host) : 0;

    if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        memmove(host, host + 1, len - 1);
    } else if (host && strchr(host, ':')) {
        g_clear_pointer(&host, g_free); /* IPv6 without brackets: where does the port begin? */
    }
    g_autoptr(GInetAddress) address = host ? g_inet_address_new_from_string(host) : NULL;
    if (!address || !g_ascii_string_to_unsigned(colon + 1, 10, 0, 65535, &port, NULL)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "is '%s', allowed: numeric ADDRESS:PORT, for instance 127.0.0.1:9177 or [::1]:9177", text);
        return NULL;
    }
    return g_inet_socket_address_new(address, (guint16)port);
}

bool hn_metrics_address_check(const char *text, bool is_remote_allowed, GError **error)
{
    g_autoptr(GSocketAddress) address = parse_address(text, error);
    if (!address)
        return false;
    GInetAddress *host = g_inet_socket_address_get_address(G_INET_SOCKET_ADDRESS(address));
    if (is_remote_allowed || g_inet_address_get_is_loopback(host))
        return true;
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                "is '%s', which other hosts can reach: use a loopback address, or say metrics.allow-remote = yes",
                text);
    return false;
}

int hn_metrics_listen(const char *text, GError **error)
{
    g_autoptr(GSocketAddress) address = parse_address(text, error);
    if (!address)
        return -1;
    g_autoptr(GSocket) listener = g_socket_new(g_socket_address_get_family(address), G_SOCKET_TYPE_STREAM,
                                               G_SOCKET_PROTOCOL_TCP, error);
    if (!listener || !g_socket_bind(listener, address, TRUE, error) || !g_socket_listen(listener, error)) {
        g_prefix_error(error, "cannot listen on %s: ", text);
        return -1;
    }
    return fcntl(g_socket_get_fd(listener), F_DUPFD_CLOEXEC, 3); /* the other goes with its object */
}

/* ---- Serving. ---- */

#if HAVE_MICROHTTPD

struct HnMetricsHttp {
    struct MHD_Daemon *server;
    HnMetricsTextFunc func;
    void *user_data;
    GMutex lock; /* guards all below */
    GCond made;
    GSource *asking; /* the main loop is to make the text; NULL: not asked */
    char *text;      /* as last made; NULL: never */
    gint64 text_made_us;
    bool is_ending;
};

/* Main loop. */
static gboolean make_text(gpointer data)
{
    HnMetricsHttp *http = data;
    char *text = http->func(http->user_data);
    g_mutex_lock(&http->lock);
    g_free(http->text);
    http->text = text;
    http->text_made_us = g_get_monotonic_time();
    g_clear_pointer(&http->asking, g_source_unref);
    g_cond_broadcast(&http->made);
    g_mutex_unlock(&http->lock);
    return G_SOURCE_REMOVE;
}

/* Endpoint's thread. A copy of the text, made anew by the main loop if it is old; NULL at the end. */
static char *fresh_text(HnMetricsHttp *http)
{
    g_mutex_lock(&http->lock);
    bool is_old = !http->text || g_get_monotonic_time() - http->text_made_us >= HN_METRICS_KEEP_MS * 1000;
    if (is_old && !http->is_ending) {
        http->asking = g_idle_source_new();
        g_source_set_priority(http->asking, G_PRIORITY_LOW);
        g_source_set_callback(http->asking, make_text, http, NULL);
        g_source_attach(http->asking, NULL);
    }
    while (http->asking && !http->is_ending)
        g_cond_wait(&http->made, &http->lock);
    char *text = http->is_ending ? NULL : g_strdup(http->text);
    g_mutex_unlock(&http->lock);
    return text;
}

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type,
                              const char *text)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

/* Called when the header has been read, and once more when the whole request has, if the first call has not
 * answered; an answer to the first ends the connection. A refusal does not wait for what else may come; who
 * asks well keeps the connection, unless a body comes along, which nobody who asks for metrics sends. */
static enum MHD_Result on_request(void *user_data, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_bytes, void **request)
{
    HnMetricsHttp *http = user_data;
    if (strcmp(path, "/metrics") != 0)
        return answer(connection, MHD_HTTP_NOT_FOUND, "text/plain; charset=utf-8", "There is /metrics only.\n");
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain; charset=utf-8",
                      "GET and HEAD only.\n");
    if (!*request) {
        *request = http; /* seen; any value but NULL */
        return MHD_YES;
    }
    g_autofree char *text = *upload_bytes == 0 ? fresh_text(http) : NULL;
    return text ? answer(connection, MHD_HTTP_OK, OPENMETRICS_TYPE, text) : MHD_NO;
}

/* What a peer sends wrong is no news. */
static void say_nothing(void *user_data, const char *format, va_list args)
{
}

static bool is_listening(int fd)
{
    int value = 0;
    socklen_t len = sizeof value;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) == 0 && value;
}

HnMetricsHttp *hn_metrics_http_new(int fd, HnMetricsTextFunc func, void *user_data, GError **error)
{
    if (!is_listening(fd)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "descriptor %d is not a listening socket", fd);
        close(fd);
        return NULL;
    }
    HnMetricsHttp *http = g_new0(HnMetricsHttp, 1);
    http->func = func;
    http->user_data = user_data;
    g_mutex_init(&http->lock);
    g_cond_init(&http->made);
    http->server = MHD_start_daemon(
        MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, http,
        MHD_OPTION_EXTERNAL_LOGGER, say_nothing, NULL, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)HN_METRICS_MAX_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HN_METRICS_IDLE_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HN_METRICS_CONNECTION_BYTES, MHD_OPTION_END);
    if (http->server)
        return http;
    g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_FAILED, "libmicrohttpd does not take the socket");
    close(fd);
    hn_metrics_http_free(http);
    return NULL;
}

void hn_metrics_http_free(HnMetricsHttp *http)
{
    if (!http)
        return;
    /* Nobody may wait for this thread while it waits for that one. */
    g_mutex_lock(&http->lock);
    http->is_ending = true;
    if (http->asking)
        g_source_destroy(http->asking);
    g_clear_pointer(&http->asking, g_source_unref);
    g_cond_broadcast(&http->made);
    g_mutex_unlock(&http->lock);
    if (http->server)
        MHD_stop_daemon(http->server); /* closes the socket it was given */
    g_mutex_clear(&http->lock);
    g_cond_clear(&http->made);
    g_free(http->text);
    g_free(http);
}

#else

HnMetricsHttp *hn_metrics_http_new(int fd, HnMetricsTextFunc func, void *user_data, GError **error)
{
    close(fd);
    g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                        "this homenoded was built without libmicrohttpd");
    return NULL;
}

void hn_metrics_http_free(HnMetricsHttp *http)
{
}

#endif
