/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzes the control server through its socket: the input is what a client sends, on the read-write
 * or the read-only socket by its first byte. Then the stream is forced into a known-good state, and
 * the server must have read it all and not have dropped a client that keeps within its limits. For
 * speed it is checked for every eighth input only that what the server said is valid QMP and that a
 * last command is answered.
 *
 * One connection per socket serves all inputs: connecting would cost more than the rest.
 */
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "fuzz.h"
#include "qmp/message.h"
#include "qmp/server.h"

static void do_echo(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    g_assert_true(json_object_is_type(args, json_type_object));
    hn_qmp_request_return(request, json_object_get(args));
}

static void do_change(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    json_object *node = NULL, *name = NULL;

    g_assert_false(hn_qmp_request_is_read_only(request));
    g_assert_true(json_object_object_get_ex(args, "name", &name));
    g_assert_true(json_object_is_type(name, json_type_string));
    g_assert_true(!json_object_object_get_ex(args, "node", &node) ||
                  json_object_is_type(node, json_type_int));
    hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC, "No domain '%s'",
                        json_object_get_string(name));
}

static const HnQmpArg args_of_change[] = {
    {"name", HN_QMP_ARG_STRING, TRUE, "n"},
    {"node", HN_QMP_ARG_INT, FALSE, "n"},
    {"on", HN_QMP_ARG_BOOL, FALSE, "n"},
    {"share", HN_QMP_ARG_NUMBER, FALSE, "n"},
    {"all", HN_QMP_ARG_STRING_LIST, FALSE, "n"},
    {"policy", HN_QMP_ARG_OBJECT, FALSE, "n"},
    {NULL},
};
static const HnQmpCommand commands[] = {
    {"echo", FALSE, do_echo, args_of_change, "Echoes.", "object"},
    {"change", TRUE, do_change, args_of_change, "Changes.", NULL},
    {NULL},
};
static const HnQmpEventInfo events[] = {{"MOVED", "m"}, {"ROUND", "r"}, {NULL}};

typedef struct {
    int fd;
    HnQmpCodec *codec;
    guint64 rounds;
    gboolean is_checked;
} Client;

static HnQmpServer *server;
static Client clients[2];

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    return fd;
}

static void start_server(void)
{
    HnQmpServerOptions options = hn_qmp_server_options_default;
    g_autofree char *dir = g_dir_make_tmp("hn-fuzz-XXXXXX", NULL);
    g_autoptr(GError) error = NULL;

    options.max_commands_per_sec = 0;
    options.idle_timeout_ms = options.message_timeout_ms = 0;
    options.stall_timeout_ms = options.negotiate_timeout_ms = 0;
    options.limits = (HnQmpLimits){
        .max_message_bytes = 400, .max_depth = 6, .max_values = 32, .has_unique_names = TRUE};
    server = hn_qmp_server_new("fuzz", "1.0.0", commands, events, &options, NULL);
    for (guint is_ro = 0; is_ro < 2; is_ro++) {
        g_autofree char *path = g_strdup_printf("%s/%u", dir, is_ro);
        g_autofree char *lock = g_strconcat(path, ".lock", NULL);

        if (!hn_qmp_server_listen_path(server, path, is_ro, 0600, (gid_t)-1, &error))
            g_error("%s", error->message);
        clients[is_ro].fd = connect_to(path);
        clients[is_ro].codec = hn_qmp_codec_new(&hn_qmp_limits_monitor);
        g_unlink(path);
        g_unlink(lock);
    }
    g_rmdir(dir);
}

/* Everything said must be a message of QMP. TRUE if the reply with this id is among it. */
static gboolean scan_replies(Client *client, const char *bytes, size_t len, gint64 marker)
{
    gboolean is_found = FALSE;

    for (size_t pos = 0; pos < len;) {
        g_auto(HnQmpMessage) message = {0};
        g_autoptr(GError) error = NULL;
        json_object *root = NULL;
        size_t used = 0;

        if (hn_qmp_codec_feed(client->codec, bytes + pos, len - pos, &used, &root, &error) ==
            HN_QMP_GOT_MESSAGE) {
            hn_qmp_message_classify(root, &message, &error);
            is_found |= json_object_is_type(message.id, json_type_int) &&
                        json_object_get_int64(message.id) == marker;
        }
        g_assert_no_error(error);
        pos += used;
    }
    return is_found;
}

/* Lets the server run until it has read everything there is, and takes what it said. TRUE if the
 * reply with this id was among it. */
static gboolean run_server(Client *client, gint64 marker)
{
    char buffer[16384];
    gboolean is_found = FALSE;
    gssize n;

    for (guint turns = 0; g_main_context_iteration(NULL, FALSE); turns++)
        g_assert_cmpuint(turns, <, 10000);
    do {
        n = recv(client->fd, buffer, sizeof buffer, 0);
        if (n > 0 && client->is_checked)
            is_found |= scan_replies(client, buffer, (size_t)n, marker);
    } while (n == sizeof buffer);
    g_assert_true(n > 0 || (n < 0 && errno == EAGAIN)); /* never disconnected */
    return is_found;
}

/* Sends all of it, letting the server run when the socket is full. */
static void send_all(Client *client, const char *bytes, size_t len)
{
    while (len > 0) {
        gssize n = send(client->fd, bytes, len, MSG_NOSIGNAL);

        if (n < 0) {
            g_assert_cmpint(errno, ==, EAGAIN);
            run_server(client, -1);
            continue;
        }
        bytes += n;
        len -= (size_t)n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Ids this large the input does not hit by chance. */
    static const gint64 marker_base = G_GINT64_CONSTANT(0x7000000000000000);
    static GString *bytes;
    Client *client;
    gint64 marker;

    if (size == 0)
        return 0;
    if (!server) {
        start_server();
        bytes = g_string_new(NULL);
    }
    client = &clients[data[0] & 1];
    marker = marker_base + (gint64)++client->rounds;
    client->is_checked = client->rounds % 8 == 0;
    if (data[0] & 2)
        hn_qmp_server_emit(server, "ROUND", NULL, 1);
    g_string_truncate(bytes, 0);
    g_string_append_len(bytes, (const char *)data + 1, (gssize)size - 1);
    if (data[0] & 4) { /* in two pieces */
        send_all(client, bytes->str, bytes->len);
        g_string_truncate(bytes, 0);
    }
    g_string_append_c(bytes, '\xff'); /* ends whatever was begun */
    if (client->is_checked)
        g_string_append_printf(bytes, "{\"execute\":\"m\",\"id\":%" G_GINT64_FORMAT "}", marker);
    send_all(client, bytes->str, bytes->len);
    g_assert_true(run_server(client, marker) == client->is_checked);
    return 0;
}
