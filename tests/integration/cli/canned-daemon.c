/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The canned control server of canned-daemon.h. Each verb answers with its fixture; arguments that
 * the fixtures cannot know ("wbe", "busy", nodes 4 and 5) lead to the errors and failures that
 * tests need.
 */
#include "canned-daemon.h"

#include "qmp/server.h"

#include <stdbool.h>
#include <string.h>

json_object *canned_read_fixture(const char *verb)
{
    g_autofree char *name = g_strconcat(verb, ".json", NULL);
    g_autofree char *path = g_test_build_filename(G_TEST_DIST, "fixtures", "control", name, NULL);
    json_object *reply = json_object_from_file(path);
    if (!reply)
        g_error("%s: %s", path, json_util_get_last_err());
    return reply;
}

/* True if the arguments name a domain the fixtures do not have; the request is answered then. */
static bool refuse_unknown(HnQmpRequest *request, json_object *args)
{
    json_object *domains = NULL, *domain = NULL;
    const char *name = NULL;
    if (json_object_object_get_ex(args, "domains", &domains) &&
        json_object_array_length(domains) > 0)
        domain = json_object_array_get_idx(domains, 0);
    else
        json_object_object_get_ex(args, "domain", &domain);
    name = domain ? json_object_get_string(domain) : "web";
    if (strcmp(name, "wbe") == 0)
        hn_qmp_request_fail(request, HN_QMP_CLASS_DOMAIN_NOT_FOUND,
                            "No running domain 'wbe'; did you mean: web?");
    else if (strcmp(name, "early") == 0)
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC,
                            "No running domain 'early' is known yet");
    else if (strcmp(name, "busy") == 0)
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC, "busy: libvirt is saving it; try later");
    else
        return false;
    return true;
}

static void answer(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    CannedDaemon *daemon = user_data;
    const char *verb = hn_qmp_request_command(request);
    g_mutex_lock(&daemon->lock);
    g_string_append_printf(daemon->calls, "%s %s\n", verb,
                           json_object_to_json_string_ext(args, JSON_C_TO_STRING_PLAIN));
    g_mutex_unlock(&daemon->lock);
    if (refuse_unknown(request, args))
        return;
    json_object *reply = canned_read_fixture(verb);
    json_object *node = NULL;
    if (strcmp(verb, "rebalance") == 0 && json_object_object_get_ex(args, "node", &node) &&
        json_object_get_int(node) > 3) /* 4: a job that never ends, 5: one that fails */
        json_object_object_add(reply, "job",
                               json_object_new_int(json_object_get_int(node) == 4 ? 9 : 8));
    if (strcmp(verb, "query-job") == 0) {
        json_object *job = json_object_object_get(args, "job");
        if (json_object_get_int(job) == 8)
            json_object_object_add(reply, "state", json_object_new_string("failed"));
        else if (json_object_get_int(job) == 9 || daemon->n_job_polls++ == 0)
            json_object_object_add(reply, "state", json_object_new_string("running"));
    }
    hn_qmp_request_return(request, reply);
}

#define DOMAINS                                                                                    \
    {                                                                                              \
        "domains", HN_QMP_ARG_STRING_LIST, FALSE, "names"                                          \
    }
#define DOMAIN                                                                                     \
    {                                                                                              \
        "domain", HN_QMP_ARG_STRING, TRUE, "name"                                                  \
    }
#define NODE                                                                                       \
    {                                                                                              \
        "node", HN_QMP_ARG_INT, FALSE, "node"                                                      \
    }
static const HnQmpArg managed_args[] = {{"managed-only", HN_QMP_ARG_BOOL, FALSE, "opted in"},
                                        {NULL}};
static const HnQmpArg domain_args[] = {DOMAIN, {NULL}};
static const HnQmpArg domains_args[] = {DOMAINS, {NULL}};
static const HnQmpArg domains_node_args[] = {DOMAINS, NODE, {NULL}};
static const HnQmpArg job_args[] = {{"job", HN_QMP_ARG_INT, TRUE, "job"}, {NULL}};
static const HnQmpArg mode_args[] = {DOMAIN,
                                     {"mode", HN_QMP_ARG_STRING, TRUE, "mode"},
                                     {"persistent", HN_QMP_ARG_BOOL, FALSE, "stored"},
                                     {NULL}};
static const HnQmpArg set_args[] = {
    {"key", HN_QMP_ARG_STRING, TRUE, "key"}, {"value", HN_QMP_ARG_STRING, TRUE, "value"}, {NULL}};
static const HnQmpArg history_args[] = {{"domain", HN_QMP_ARG_STRING, FALSE, "name"},
                                        {"limit", HN_QMP_ARG_INT, FALSE, "limit"},
                                        {NULL}};
static const HnQmpArg snapshot_args[] = {{"last", HN_QMP_ARG_INT, FALSE, "rounds"}, {NULL}};

static const HnQmpCommand commands[] = {
    {"query-host", FALSE, answer, NULL, "Host.", NULL},
    {"query-domains", FALSE, answer, managed_args, "Domains.", NULL},
    {"query-domain", FALSE, answer, domain_args, "Domain.", NULL},
    {"query-plan", FALSE, answer, domains_node_args, "Plan.", NULL},
    {"explain", FALSE, answer, domain_args, "Why.", NULL},
    {"query-job", FALSE, answer, job_args, "Job.", NULL},
    {"query-config", FALSE, answer, NULL, "Keys.", NULL},
    {"history", FALSE, answer, history_args, "Past.", NULL},
    {"doctor", FALSE, answer, NULL, "Checks.", NULL},
    {"snapshot", FALSE, answer, snapshot_args, "Round.", NULL},
    {"query-series", FALSE, answer, NULL, "Over time.", NULL},
    {"metrics", FALSE, answer, NULL, "Text.", NULL},
    {"rebalance", TRUE, answer, domains_node_args, "Moves.", NULL},
    {"release", TRUE, answer, domains_args, "Gives back.", NULL},
    {"pause", TRUE, answer, domains_args, "Stops.", NULL},
    {"resume", TRUE, answer, domains_args, "Goes on.", NULL},
    {"set-mode", TRUE, answer, mode_args, "Opts.", NULL},
    {"set", TRUE, answer, set_args, "Sets.", NULL},
    {NULL},
};

static gpointer serve(gpointer data)
{
    CannedDaemon *daemon = data;
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_build_filename(daemon->dir, "control", NULL);
    g_autofree char *path_ro = g_build_filename(daemon->dir, "control-ro", NULL);
    g_main_context_push_thread_default(daemon->context);
    HnQmpServer *server = hn_qmp_server_new("homenode", HN_VERSION, commands, NULL, NULL, daemon);
    hn_qmp_server_listen_path(server, path, FALSE, 0660, (gid_t)-1, &error);
    g_assert_no_error(error);
    hn_qmp_server_listen_path(server, path_ro, TRUE, 0666, (gid_t)-1, &error);
    g_assert_no_error(error);
    g_main_loop_run(daemon->loop);
    hn_qmp_server_free(server);
    g_main_context_pop_thread_default(daemon->context);
    return NULL;
}

CannedDaemon *canned_daemon_start(void)
{
    CannedDaemon *daemon = g_new0(CannedDaemon, 1);
    daemon->dir = g_dir_make_tmp("homenode-cli-XXXXXX", NULL);
    daemon->context = g_main_context_new();
    daemon->loop = g_main_loop_new(daemon->context, FALSE);
    daemon->calls = g_string_new(NULL);
    g_mutex_init(&daemon->lock);
    daemon->thread = g_thread_new("daemon", serve, daemon);
    /* Not only its sockets: a loop that is told to quit before it runs goes on for ever. */
    while (!g_main_loop_is_running(daemon->loop))
        g_usleep(1000);
    return daemon;
}

void canned_daemon_stop(CannedDaemon *daemon)
{
    g_main_loop_quit(daemon->loop);
    g_main_context_wakeup(daemon->context);
    g_thread_join(daemon->thread);
    g_main_loop_unref(daemon->loop);
    g_main_context_unref(daemon->context);
    g_mutex_clear(&daemon->lock);
    g_string_free(daemon->calls, TRUE);
    g_autofree char *remove = g_strdup_printf("rm -r '%s'", daemon->dir);
    g_assert_true(g_spawn_command_line_sync(remove, NULL, NULL, NULL, NULL));
    g_free(daemon->dir);
    g_free(daemon);
}
