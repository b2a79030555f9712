/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server as its users see it: table, argument check, read-only socket, peer credentials,
 * answers now and later, events, sockets bound and inherited. What hostile clients do is
 * test-qmp-abuse.c.
 */
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include "qmp/client.h"
#include "qmp/server.h"
#include "loop.h"

typedef struct {
    HnQmpRequest *held;
    guint handled;
    HnQmpPeer peer;
    GString *audit;
} Daemon;

static void do_echo(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    Daemon *daemon = user_data;

    daemon->handled++;
    daemon->peer = *hn_qmp_request_peer(request);
    hn_qmp_request_return(request, json_object_get(args));
}

static void do_hold(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    Daemon *daemon = user_data;

    daemon->held = request;
}

static void do_fail(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC, "No domain '%s'", "vm\xff");
}

static const HnQmpArg echo_args[] = {
    {"name", HN_QMP_ARG_STRING, TRUE, "A name."},
    {"node", HN_QMP_ARG_INT, FALSE, "A node."},
    {"force", HN_QMP_ARG_BOOL, FALSE, "Whether."},
    {"share", HN_QMP_ARG_NUMBER, FALSE, "How much."},
    {"domains", HN_QMP_ARG_STRING_LIST, FALSE, "Which."},
    {"policy", HN_QMP_ARG_OBJECT, FALSE, "What."},
    {NULL},
};

static const HnQmpCommand commands[] = {
    {"echo", FALSE, do_echo, echo_args, "Returns its arguments.", "object"},
    {"change", TRUE, do_echo, echo_args, "The same, mutating.", "object"},
    {"hold", FALSE, do_hold, NULL, "Is answered later.", NULL},
    {"fail", FALSE, do_fail, NULL, "Fails.", NULL},
    {NULL},
};

static const HnQmpEventInfo events[] = {{"MOVED", "A move."}, {"ROUND", "A round."}, {NULL}};

static void on_audit(const char *command, json_object *args, const HnQmpPeer *peer,
                     gboolean is_read_only, const char *refusal, gpointer user_data)
{
    Daemon *daemon = user_data;

    g_string_append_printf(daemon->audit, "%s by %u%s%s;", command, (guint)peer->uid,
                           is_read_only ? " ro" : "", refusal ? " refused" : "");
}

typedef struct {
    Scratch scratch;
    char *ro_path;
    Daemon daemon;
    HnQmpServer *server;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    f->scratch = scratch_new();
    f->ro_path = g_strconcat(f->scratch.path, "-ro", NULL);
    f->daemon.audit = g_string_new(NULL);
    f->server = hn_qmp_server_new("homenode", "1.2.3", commands, events, NULL, &f->daemon);
    hn_qmp_server_set_audit(f->server, on_audit);
    g_assert_true(
        hn_qmp_server_listen_path(f->server, f->scratch.path, FALSE, 0660, (gid_t)-1, &error));
    g_assert_true(hn_qmp_server_listen_path(f->server, f->ro_path, TRUE, 0666, (gid_t)-1, &error));
    g_assert_no_error(error);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    hn_qmp_server_free(f->server);
    g_assert_false(g_file_test(f->scratch.path, G_FILE_TEST_EXISTS));
    g_assert_false(g_file_test(f->ro_path, G_FILE_TEST_EXISTS));
    g_string_free(f->daemon.audit, TRUE);
    g_free(f->ro_path);
    scratch_clear(&f->scratch);
}

/* A raw client past its negotiation. */
static int raw_client(const char *path)
{
    int fd = raw_connect(path);
    g_autofree char *greeting = NULL, *reply = NULL;

    g_assert_cmpint(fd, >=, 0);
    greeting = raw_line(fd);
    g_assert_cmpstr(greeting, ==,
                    "{\"QMP\":{\"version\":{\"homenode\":{\"major\":1,\"minor\":2,\"micro\":3},"
                    "\"package\":\"homenode 1.2.3\"},\"capabilities\":[]}}");
    raw_send(fd, "{\"execute\":\"qmp_capabilities\"}");
    reply = raw_line(fd);
    g_assert_cmpstr(reply, ==, "{\"return\":{}}");
    return fd;
}

/* Request and reply, on the read-write socket unless "ro". */
static const struct {
    const char *name;
    const char *request;
    const char *reply;
    gboolean is_ro;
} exchanges[] = {
    {"echo", "{\"execute\":\"echo\",\"arguments\":{\"name\":\"a\"},\"id\":7}",
     "{\"return\":{\"name\":\"a\"},\"id\":7}"},
    {"id-of-any-type", "{\"execute\":\"echo\",\"arguments\":{\"name\":\"a\"},\"id\":{\"x\":[1]}}",
     "{\"return\":{\"name\":\"a\"},\"id\":{\"x\":[1]}}"},
    {"all-types",
     "{\"execute\":\"change\",\"arguments\":{\"name\":\"a\",\"node\":-3,\"force\":true,"
     "\"share\":0.5,\"domains\":[\"x\",\"y\"],\"policy\":{}}}",
     "{\"return\":{\"name\":\"a\",\"node\":-3,\"force\":true,\"share\":0.5,"
     "\"domains\":[\"x\",\"y\"],\"policy\":{}}}"},
    {"int-is-a-number", "{\"execute\":\"echo\",\"arguments\":{\"name\":\"a\",\"share\":2}}",
     "{\"return\":{\"name\":\"a\",\"share\":2}}"},
    {"failure-made-utf8", "{\"execute\":\"fail\",\"id\":\"x\"}",
     "{\"error\":{\"class\":\"GenericError\",\"desc\":\"No domain "
     "'vm\xef\xbf\xbd'\"},\"id\":\"x\"}"},
    {"missing", "{\"execute\":\"echo\"}",
     "{\"error\":{\"class\":\"InvalidArgument\",\"desc\":\"echo: argument 'name' is missing; it is "
     "string\"}}"},
    {"unexpected", "{\"execute\":\"hold\",\"arguments\":{\"x\":1}}",
     "{\"error\":{\"class\":\"InvalidArgument\",\"desc\":\"hold: argument 'x' is unexpected; it "
     "takes none\"}}"},
    {"wrong-type", "{\"execute\":\"echo\",\"arguments\":{\"name\":5}}",
     "{\"error\":{\"class\":\"InvalidArgument\",\"desc\":\"echo: argument 'name' must be "
     "string\"}}"},
    {"null", "{\"execute\":\"echo\",\"arguments\":{\"name\":null}}",
     "{\"error\":{\"class\":\"InvalidArgument\",\"desc\":\"echo: argument 'name' must be "
     "string\"}}"},
    {"double-for-int", "{\"execute\":\"echo\",\"arguments\":{\"name\":\"a\",\"node\":1.5}}",
     "{\"error\":{\"class\":\"InvalidArgument\",\"desc\":\"echo: argument 'node' must be int\"}}"},
    {"int-too-large",
     "{\"execute\":\"echo\",\"arguments\":{\"name\":\"a\",\"node\":9223372036854775808}}",
     "{\"error\":{\"class\":\"InvalidArgument\",\"desc\":\"echo: argument 'node' must be int\"}}"},
    {"list-of-other", "{\"execute\":\"echo\",\"arguments\":{\"name\":\"a\",\"domains\":[\"x\",1]}}",
     "{\"error\":{\"class\":\"InvalidArgument\",\"desc\":\"echo: argument 'domains' must be "
     "[string]\"}}"},
    {"unknown-command", "{\"execute\":\"nope\",\"id\":1}",
     "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"The command 'nope' is not known; "
     "query-commands lists them all\"},\"id\":1}"},
    {"negotiated-twice", "{\"execute\":\"qmp_capabilities\"}",
     "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"Capabilities negotiation is already "
     "complete, command ignored\"}}"},
    {"oob", "{\"exec-oob\":\"echo\"}",
     "{\"error\":{\"class\":\"GenericError\",\"desc\":\"This server has no out-of-band commands; "
     "use 'execute'\"}}"},
    {"not-a-command", "{\"return\":{},\"id\":4}",
     "{\"error\":{\"class\":\"GenericError\",\"desc\":\"The message is no command: it has no "
     "'execute'\"},\"id\":4}"},
    {"not-a-message", "{\"id\":4}",
     "{\"error\":{\"class\":\"GenericError\",\"desc\":\"The message has none of 'execute', "
     "'return', 'error', 'event', 'QMP'\"},\"id\":4}"},
    {"unexpected-member", "{\"execute\":\"echo\",\"extra\":1}",
     "{\"error\":{\"class\":\"GenericError\",\"desc\":\"Command 'echo': member 'extra' is "
     "unexpected; a command has 'execute', 'arguments', 'id'\"}}"},
    {"array", "[1]",
     "{\"error\":{\"class\":\"GenericError\",\"desc\":\"A message must be a JSON object, not "
     "array\"}}"},
    {"malformed", "{\"execute\":bad}",
     "{\"error\":{\"class\":\"GenericError\",\"desc\":\"JSON error at byte 11 of the message: "
     "unexpected 'b'\"}}"},
    {"id-null", "{\"execute\":\"echo\",\"arguments\":{\"name\":\"a\"},\"id\":null}",
     "{\"return\":{\"name\":\"a\"},\"id\":null}"},
    {"id-null-of-failure", "{\"execute\":\"fail\",\"id\":null}",
     "{\"error\":{\"class\":\"GenericError\",\"desc\":\"No domain "
     "'vm\xef\xbf\xbd'\"},\"id\":null}"},
    {"id-null-of-refusal", "{\"execute\":\"echo\",\"id\":null}",
     "{\"error\":{\"class\":\"InvalidArgument\",\"desc\":\"echo: argument 'name' is missing; it is "
     "string\"},\"id\":null}"},
    {"id-null-of-no-command", "{\"id\":null}",
     "{\"error\":{\"class\":\"GenericError\",\"desc\":\"The message has none of 'execute', "
     "'return', 'error', 'event', 'QMP'\"},\"id\":null}"},
    {"id-string",
     "{\"execute\":\"echo\",\"arguments\":{\"name\":\"a\"},\"id\":\"\\ud83d\\ude00\\/\"}",
     "{\"return\":{\"name\":\"a\"},\"id\":\"\xf0\x9f\x98\x80/\"}"},
    {"id-boolean", "{\"execute\":\"echo\",\"arguments\":{\"name\":\"a\"},\"id\":false}",
     "{\"return\":{\"name\":\"a\"},\"id\":false}"},
    {"id-double", "{\"execute\":\"echo\",\"arguments\":{\"name\":\"a\"},\"id\":-0.1e-3}",
     "{\"return\":{\"name\":\"a\"},\"id\":-0.1e-3}"},
    {"id-unsigned",
     "{\"execute\":\"echo\",\"arguments\":{\"name\":\"a\"},\"id\":18446744073709551615}",
     "{\"return\":{\"name\":\"a\"},\"id\":18446744073709551615}"},
    {"id-list", "{\"execute\":\"echo\",\"arguments\":{\"name\":\"a\"},\"id\":[null]}",
     "{\"return\":{\"name\":\"a\"},\"id\":[null]}"},
    {"number-infinite", "{\"execute\":\"echo\",\"arguments\":{\"name\":\"a\",\"share\":1e999}}",
     "{\"error\":{\"class\":\"InvalidArgument\",\"desc\":\"echo: argument 'share' must be "
     "number\"}}"},
    {"int-beyond", "{\"execute\":\"echo\",\"arguments\":{\"node\":18446744073709551616}}",
     "{\"error\":{\"class\":\"GenericError\",\"desc\":\"JSON error at byte 58 of the message: the "
     "integer before it does not fit 64 bits\"}}"},
    {"name-twice", "{\"execute\":\"echo\",\"execute\":\"change\"}",
     "{\"error\":{\"class\":\"GenericError\",\"desc\":\"JSON error at byte 36 of the message: an "
     "object "
     "in it has two members of one name\"}}"},
    {"half-pair", "{\"execute\":\"\\ud83d\"}",
     "{\"error\":{\"class\":\"GenericError\",\"desc\":\"JSON error at byte 18 of the message: a "
     "\\\\u "
     "escape is half of a surrogate pair\"}}"},
    {"crlf", "\r\n{\"execute\":\r\n\"echo\",\"arguments\":{\"name\":\"a\"}}\r\n",
     "{\"return\":{\"name\":\"a\"}}"},
    {"version", "{\"execute\":\"query-version\"}",
     "{\"return\":{\"homenode\":{\"major\":1,\"minor\":2,\"micro\":3},\"package\":\"homenode "
     "1.2.3\"}}"},
    {"events", "{\"execute\":\"query-events\"}",
     "{\"return\":[{\"name\":\"MOVED\",\"help\":\"A move.\"},{\"name\":\"ROUND\",\"help\":\"A "
     "round.\"}]}"},
    {"help-of-one", "{\"execute\":\"help\",\"arguments\":{\"command\":\"hold\"}}",
     "{\"return\":[{\"name\":\"hold\",\"is-mutating\":false,\"is-allowed\":true,\"help\":\"Is "
     "answered later.\",\"returns\":\"An empty object.\",\"arguments\":[]}]}"},
    {"help-of-none", "{\"execute\":\"help\",\"arguments\":{\"command\":\"nope\"}}",
     "{\"error\":{\"class\":\"InvalidArgument\",\"desc\":\"help: there is no command 'nope'; "
     "query-commands lists them all\"}}"},
    {"subscribe-to-unknown", "{\"execute\":\"subscribe\",\"arguments\":{\"events\":[\"X\"]}}",
     "{\"error\":{\"class\":\"InvalidArgument\",\"desc\":\"subscribe: there is no event 'X'; "
     "query-events lists them all\"}}"},
    {"ro-allowed", "{\"execute\":\"echo\",\"arguments\":{\"name\":\"a\"}}",
     "{\"return\":{\"name\":\"a\"}}", .is_ro = TRUE},
    {"ro-refused", "{\"execute\":\"change\",\"arguments\":{\"name\":\"a\"},\"id\":1}",
     "{\"error\":{\"class\":\"ReadOnlySocket\",\"desc\":\"The command 'change' changes things and "
     "is refused on this read-only socket; send it to the control socket\"},\"id\":1}",
     .is_ro = TRUE},
    {"ro-refused-before-arguments", "{\"execute\":\"change\",\"arguments\":{\"y\":1}}",
     "{\"error\":{\"class\":\"ReadOnlySocket\",\"desc\":\"The command 'change' changes things and "
     "is refused on this read-only socket; send it to the control socket\"}}",
     .is_ro = TRUE},
};

static void test_exchanges(Fixture *f, gconstpointer data)
{
    int rw = raw_client(f->scratch.path), ro = raw_client(f->ro_path);

    /* All on one connection each: no error ends it. */
    for (size_t i = 0; i < G_N_ELEMENTS(exchanges); i++) {
        int fd = exchanges[i].is_ro ? ro : rw;
        g_autofree char *reply = NULL;

        g_test_message("%s", exchanges[i].name);
        raw_send(fd, exchanges[i].request);
        reply = raw_line(fd);
        g_assert_cmpstr(reply, ==, exchanges[i].reply);
    }
    g_assert_cmpint(f->daemon.peer.pid, ==, getpid());
    g_assert_cmpint(f->daemon.peer.uid, ==, getuid());
    g_assert_cmpint(f->daemon.peer.gid, ==, getgid());
    {
        g_autofree char *audit = g_strdup_printf("change by %u;change by %u ro refused;"
                                                 "change by %u ro refused;",
                                                 getuid(), getuid(), getuid());

        g_assert_cmpstr(f->daemon.audit->str, ==, audit);
    }
    g_assert_cmpuint(hn_qmp_server_counters(f->server).read_only_refusals, ==, 2);
    close(rw);
    close(ro);
}

/* query-commands is the table: every command in it is known, and marked for this socket. */
static void test_query_commands(Fixture *f, gconstpointer data)
{
    const char *const paths[] = {f->scratch.path, f->ro_path};

    for (guint is_ro = 0; is_ro < 2; is_ro++) {
        HnQmpClient *client = hn_qmp_client_new(paths[is_ro], NULL, NULL, NULL);
        g_autoptr(GError) error = NULL;
        json_object *list = NULL;

        hn_qmp_client_call_sync(client, "query-commands", NULL, 5000, &list, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(json_object_array_length(list), ==, 7 + G_N_ELEMENTS(commands) - 1);
        for (size_t i = 0; i < json_object_array_length(list); i++) {
            json_object *entry = json_object_array_get_idx(list, i);
            const char *name = json_object_get_string(json_object_object_get(entry, "name"));
            gboolean is_change = g_str_equal(name, "change");

            g_assert_cmpint(json_object_get_boolean(json_object_object_get(entry, "is-mutating")),
                            ==, is_change);
            g_assert_cmpint(json_object_get_boolean(json_object_object_get(entry, "is-allowed")),
                            ==, !(is_change && is_ro));
        }
        json_object_put(list);
        hn_qmp_client_unref(client);
    }
}

static void test_before_negotiation(Fixture *f, gconstpointer data)
{
    int fd = raw_connect(f->scratch.path);
    g_autofree char *greeting = raw_line(fd);
    g_autofree char *refusal = NULL, *bad = NULL, *reply = NULL;

    raw_send(fd, "{\"execute\":\"query-version\"}");
    refusal = raw_line(fd);
    g_assert_cmpstr(refusal, ==,
                    "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"Expecting capabilities "
                    "negotiation with 'qmp_capabilities'\"}}");
    raw_send(fd, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}");
    bad = raw_line(fd);
    g_assert_cmpstr(bad, ==,
                    "{\"error\":{\"class\":\"GenericError\",\"desc\":\"Capability 'oob' is not "
                    "available; this server has none\"}}");
    raw_send(fd, "{\"execute\":\"qmp_capabilities\"}");
    reply = raw_line(fd);
    g_assert_cmpstr(reply, ==, "{\"return\":{}}");
    close(fd);
}

/* An answer may come later; meanwhile the same client is served. */
static void test_later(Fixture *f, gconstpointer data)
{
    int fd = raw_client(f->scratch.path);
    g_autofree char *second = NULL, *first = NULL;

    raw_send(fd, "{\"execute\":\"hold\",\"id\":1}{\"execute\":\"query-version\",\"id\":2}");
    second = raw_line(fd);
    g_assert_true(g_str_has_suffix(second, "\"id\":2}"));
    g_assert_true(hn_qmp_request_is_wanted(f->daemon.held));
    g_assert_cmpstr(hn_qmp_request_command(f->daemon.held), ==, "hold");
    hn_qmp_request_return(f->daemon.held, json_object_new_int(5));
    first = raw_line(fd);
    g_assert_cmpstr(first, ==, "{\"return\":5,\"id\":1}");

    /* A client that has gone, and even a server that has, can be answered. */
    raw_send(fd, "{\"execute\":\"hold\"}");
    f->daemon.held = NULL;
    wait_until(f->daemon.held);
    close(fd);
    wait_until(!hn_qmp_request_is_wanted(f->daemon.held));
    g_assert_cmpuint(hn_qmp_server_counters(f->server).clients, ==, 0);
    hn_qmp_request_return(f->daemon.held, json_object_new_int(6));

    fd = raw_client(f->scratch.path);
    raw_send(fd, "{\"execute\":\"hold\"}");
    f->daemon.held = NULL;
    wait_until(f->daemon.held);
    hn_qmp_server_free(f->server);
    f->server = NULL;
    g_assert_false(hn_qmp_request_is_wanted(f->daemon.held));
    hn_qmp_request_fail(f->daemon.held, HN_QMP_CLASS_GENERIC, "too late");
    close(fd);
}

/* "echo … | socat -": the client closes its writing half and still gets its answers. */
static void test_half_closed(Fixture *f, gconstpointer data)
{
    int fd = raw_client(f->scratch.path);
    g_autoptr(GString) text = g_string_new(NULL);

    raw_send(fd, "{\"execute\":\"hold\",\"id\":1}");
    g_assert_cmpint(shutdown(fd, SHUT_WR), ==, 0);
    wait_until(f->daemon.held);
    run_for_ms(20);
    g_assert_true(hn_qmp_request_is_wanted(f->daemon.held));
    hn_qmp_request_return(f->daemon.held, NULL);
    wait_until(!raw_pull(fd, text));
    g_assert_cmpstr(text->str, ==, "{\"return\":{},\"id\":1}\r\n");
    g_assert_cmpuint(hn_qmp_server_counters(f->server).clients, ==, 0);
    close(fd);
}

static void test_events(Fixture *f, gconstpointer data)
{
    int all = raw_client(f->ro_path), one = raw_client(f->scratch.path);
    int none = raw_client(f->scratch.path);
    g_autofree char *a1 = NULL, *a2 = NULL, *a3 = NULL, *o1 = NULL, *o2 = NULL, *n = NULL;
    json_object *payload = json_object_new_object();

    raw_send(all, "{\"execute\":\"subscribe\"}");
    raw_send(one, "{\"execute\":\"subscribe\",\"arguments\":{\"events\":[\"ROUND\"]}}");
    a1 = raw_line(all);
    o1 = raw_line(one);
    g_assert_cmpstr(a1, ==, "{\"return\":{\"events\":[\"MOVED\",\"ROUND\"]}}");
    g_assert_cmpstr(o1, ==, "{\"return\":{\"events\":[\"ROUND\"]}}");
    g_assert_cmpuint(hn_qmp_server_counters(f->server).subscribers, ==, 2);

    json_object_object_add(payload, "domain", json_object_new_string("vm1"));
    hn_qmp_server_emit(f->server, "MOVED", payload, 1500000);
    hn_qmp_server_emit(f->server, "ROUND", NULL, 2000001);
    a2 = raw_line(all);
    a3 = raw_line(all);
    o2 = raw_line(one);
    g_assert_cmpstr(a2, ==,
                    "{\"timestamp\":{\"seconds\":1,\"microseconds\":500000},\"event\":\"MOVED\","
                    "\"data\":{\"domain\":\"vm1\"}}");
    g_assert_cmpstr(a3, ==,
                    "{\"timestamp\":{\"seconds\":2,\"microseconds\":1},\"event\":\"ROUND\"}");
    g_assert_cmpstr(o2, ==, a3);

    g_free(a1);
    raw_send(all, "{\"execute\":\"unsubscribe\"}");
    a1 = raw_line(all);
    g_assert_cmpstr(a1, ==, "{\"return\":{\"events\":[]}}");
    close(one);
    wait_until(hn_qmp_server_counters(f->server).subscribers == 0);
    hn_qmp_server_emit(f->server, "ROUND", NULL, 0);
    raw_send(none, "{\"execute\":\"fail\"}");
    n = raw_line(none);
    g_assert_true(g_str_has_prefix(n, "{\"error\""));
    close(all);
    close(none);
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    return st.st_mode & 07777;
}

static void assert_refused(HnQmpServer *server, const char *path, const char *why)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = g_strdup_printf("Cannot listen on '%s': %s", path, why);

    g_assert_false(hn_qmp_server_listen_path(server, path, FALSE, 0660, (gid_t)-1, &error));
    g_assert_error(error, HN_QMP_ERROR, HN_QMP_ERROR_ADDRESS);
    g_assert_cmpstr(error->message, ==, text);
}

/* Permissions, whatever the umask; stale files replaced; live ones and files of others not. */
static void test_paths(Fixture *f, gconstpointer data)
{
    g_autoptr(HnQmpServer) other =
        hn_qmp_server_new("other", "1.0.0", commands, NULL, NULL, &f->daemon);
    g_autofree char *path = g_build_filename(f->scratch.dir, "x", NULL);
    g_autofree char *lock = g_strconcat(path, ".lock", NULL);
    g_autofree char *too_long = g_strdup_printf("%s/%0100d", f->scratch.dir, 0);
    g_autofree char *new_path = g_strconcat(path, ".new", NULL);
    struct sockaddr_un address = unix_address(path);
    mode_t old_umask = umask(077);
    g_autoptr(GError) error = NULL;
    int live;

    g_assert_cmpuint(mode_of(f->scratch.path), ==, 0660);
    g_assert_cmpuint(mode_of(f->ro_path), ==, 0666);

    /* Held by another server of this library. */
    assert_refused(other, f->scratch.path, "another server holds it");
    /* Held by somebody who knows nothing of lock files. */
    live = socket(AF_UNIX, SOCK_STREAM, 0);
    g_assert_cmpint(bind(live, (struct sockaddr *)&address, sizeof address), ==, 0);
    g_assert_cmpint(listen(live, 1), ==, 0);
    assert_refused(other, path, "somebody serves it");
    /* Its file is stale once it is closed; and left-overs of a crash do not matter. */
    close(live);
    g_assert_true(g_file_set_contents(new_path, "", 0, NULL));
    g_assert_true(hn_qmp_server_listen_path(other, path, TRUE, 0666, getgid(), &error));
    g_assert_no_error(error);
    g_assert_cmpuint(mode_of(path), ==, 0666);
    umask(old_umask);

    /* A file that took the path over is not removed at the end. */
    g_assert_cmpint(g_unlink(path), ==, 0);
    g_assert_true(g_file_set_contents(path, "mine", 4, NULL));
    g_clear_pointer(&other, hn_qmp_server_free);
    g_assert_true(g_file_test(path, G_FILE_TEST_IS_REGULAR));

    other = hn_qmp_server_new("other", "1.0.0", commands, NULL, NULL, &f->daemon);
    assert_refused(other, path, "it exists and is not a socket");
    assert_refused(other, too_long, "the path is too long for a unix socket");
    assert_refused(other, "/nonexistent/x", "cannot open its lock file: No such file or directory");
    g_assert_true(g_file_test(lock, G_FILE_TEST_EXISTS));
}

/* Socket activation: a descriptor that listens is served, anything else refused. */
static void test_activation(Fixture *f, gconstpointer data)
{
    g_autoptr(HnQmpServer) server =
        hn_qmp_server_new("homenode", "1.2.3", commands, NULL, NULL, &f->daemon);
    g_autofree char *path = g_build_filename(f->scratch.dir, "x", NULL);
    struct sockaddr_un address = unix_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), file = open("/dev/null", O_RDONLY);
    g_autoptr(GError) error = NULL;
    g_autofree char *reply = NULL;
    int client;

    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    g_assert_false(hn_qmp_server_listen_fd(server, fd, TRUE, &error));
    g_assert_error(error, HN_QMP_ERROR, HN_QMP_ERROR_ADDRESS);
    g_clear_error(&error);
    g_assert_false(hn_qmp_server_listen_fd(server, file, TRUE, &error));
    g_assert_error(error, HN_QMP_ERROR, HN_QMP_ERROR_ADDRESS);
    g_clear_error(&error);
    close(file);

    g_assert_cmpint(listen(fd, 5), ==, 0);
    g_assert_true(hn_qmp_server_listen_fd(server, fd, TRUE, &error));
    client = raw_client(path);
    raw_send(client, "{\"execute\":\"change\"}");
    reply = raw_line(client);
    g_assert_nonnull(strstr(reply, "ReadOnlySocket"));
    close(client);
    g_clear_pointer(&server, hn_qmp_server_free);
    g_assert_true(g_file_test(path, G_FILE_TEST_EXISTS)); /* systemd's, not ours */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, func) g_test_add("/qmp/server/" name, Fixture, NULL, set_up, func, tear_down)
    ADD("exchanges", test_exchanges);
    ADD("query-commands", test_query_commands);
    ADD("before-negotiation", test_before_negotiation);
    ADD("later", test_later);
    ADD("half-closed", test_half_closed);
    ADD("events", test_events);
    ADD("paths", test_paths);
    ADD("activation", test_activation);
    return g_test_run();
}
