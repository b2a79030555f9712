/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What 1,000 connected monitors cost: memory per client, and CPU time of a round that asks each for
 * its status and its vCPUs.
 *     bench-qmp-clients
 * The monitors are this library's server in a child process, answering as a QEMU of two vCPUs does,
 * so only the client's side is measured.
 */
#include <glib/gstdio.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "qmp/client.h"
#include "qmp/qemu.h"
#include "qmp/server.h"

#define CLIENTS 1000
#define ROUNDS 10

static void do_status(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    hn_qmp_request_return(request, json_tokener_parse("{\"status\":\"running\",\"running\":true}"));
}

static void do_cpus(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    hn_qmp_request_return(
        request,
        json_tokener_parse(
            "[{\"thread-id\":26958,\"qom-type\":\"qemu64-x86_64-cpu\",\"props\":{\"core-id\":0,"
            "\"thread-id\":0,\"node-id\":0,\"socket-id\":0},\"qom-path\":\"/machine/unattached/"
            "device[0]\",\"cpu-index\":0,\"target\":\"x86_64\"},{\"thread-id\":26959,\"qom-type\":"
            "\"qemu64-x86_64-cpu\",\"props\":{\"core-id\":1,\"thread-id\":0,\"node-id\":0,"
            "\"socket-id\":0},\"qom-path\":\"/machine/unattached/device[2]\",\"cpu-index\":1,"
            "\"target\":\"x86_64\"}]"));
}

static const HnQmpCommand commands[] = {
    {HN_QEMU_QUERY_STATUS, FALSE, do_status, NULL, "Status.", "object"},
    {HN_QEMU_QUERY_CPUS_FAST, FALSE, do_cpus, NULL, "vCPUs.", "array"},
    {NULL},
};

static void G_GNUC_NORETURN serve(const char *path)
{
    HnQmpServerOptions options = hn_qmp_server_options_default;
    GMainLoop *loop = g_main_loop_new(NULL, FALSE);
    g_autoptr(GError) error = NULL;
    HnQmpServer *server;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    options.max_clients = options.max_clients_per_uid = CLIENTS;
    options.max_commands_per_sec = 0;
    server = hn_qmp_server_new("qemu", "7.2.22", commands, NULL, &options, NULL);
    if (!hn_qmp_server_listen_path(server, path, FALSE, 0600, (gid_t)-1, &error))
        g_error("%s", error->message);
    g_main_loop_run(loop);
    _exit(0);
}

/* Resident anonymous memory of this process, from /proc/self/statm: resident less shared pages. */
static gint64 resident_bytes(void)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) words = NULL;

    if (!g_file_get_contents("/proc/self/statm", &text, NULL, NULL))
        g_error("no /proc/self/statm");
    words = g_strsplit(text, " ", -1);
    return (g_ascii_strtoll(words[1], NULL, 10) - g_ascii_strtoll(words[2], NULL, 10)) *
           sysconf(_SC_PAGESIZE);
}

static double cpu_ms(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3;
}

static guint done;

static void on_ready(HnQmpClient *client, const HnQmpGreeting *greeting, gpointer user_data)
{
    done++;
}

static void on_lost(HnQmpClient *client, const GError *error, gboolean will_retry,
                    gpointer user_data)
{
    g_error("%s", error->message);
}

static void on_status(HnQmpClient *client, json_object *value, const GError *error,
                      gpointer user_data)
{
    HnQemuStatus status;

    if (error || !hn_qemu_status_decode(value, &status, NULL) || !status.is_running)
        g_error("wrong status");
    done++;
}

static void on_cpus(HnQmpClient *client, json_object *value, const GError *error,
                    gpointer user_data)
{
    g_autoptr(GArray) cpus = NULL;

    if (error || !hn_qemu_cpus_decode(value, &cpus, NULL) || cpus->len != 2)
        g_error("wrong vCPUs");
    done++;
}

int main(void)
{
    const HnQmpClientCallbacks callbacks = {.ready = on_ready, .lost = on_lost};
    HnQmpClientOptions options = hn_qmp_client_options_default;
    g_autofree char *dir = g_dir_make_tmp("hn-bench-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "qmp", NULL);
    g_autofree char *lock = g_strconcat(path, ".lock", NULL);
    struct rlimit limit;
    HnQmpClient *clients[CLIENTS];
    gint64 before_bytes, after_bytes;
    double start_ms;
    pid_t child;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    child = fork();
    if (child == 0)
        serve(path);
    while (!g_file_test(path, G_FILE_TEST_EXISTS))
        g_usleep(10000);

    options.connect_timeout_ms = options.greeting_timeout_ms = 60000;
    before_bytes = resident_bytes();
    for (guint i = 0; i < CLIENTS; i++) {
        clients[i] = hn_qmp_client_new(path, &options, &callbacks, NULL);
        hn_qmp_client_connect(clients[i]);
    }
    while (done < CLIENTS)
        g_main_context_iteration(NULL, TRUE);

    start_ms = cpu_ms();
    for (guint round = 0; round < ROUNDS; round++) {
        done = 0;
        for (guint i = 0; i < CLIENTS; i++) {
            hn_qmp_client_call(clients[i], HN_QEMU_QUERY_STATUS, NULL, 60000, on_status, NULL);
            hn_qmp_client_call(clients[i], HN_QEMU_QUERY_CPUS_FAST, NULL, 60000, on_cpus, NULL);
        }
        while (done < 2 * CLIENTS)
            g_main_context_iteration(NULL, TRUE);
    }
    after_bytes = resident_bytes();
    printf("%d clients: %.1f KiB each; a round of %d commands: %.1f ms of CPU time\n", CLIENTS,
           (double)(after_bytes - before_bytes) / 1024 / CLIENTS, 2 * CLIENTS,
           (cpu_ms() - start_ms) / ROUNDS);

    for (guint i = 0; i < CLIENTS; i++)
        hn_qmp_client_unref(clients[i]);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    g_unlink(path);
    g_unlink(lock);
    g_rmdir(dir);
    return 0;
}
