/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's life: see daemon.h.
 *
 * Order of beginning: options, configuration, root, runtime directory and its lock, journal (inside
 * the manager), control sockets, back end, READY. The end runs backwards. A missing libvirtd delays
 * nothing: the daemon is ready when it can be asked.
 */
#include "daemon.h"
#include "control.h"
#include "daemon-config.h"
#include "log.h"
#include "manager.h"
#include "metrics_http.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define DEFAULT_RUNTIME_DIR "/run/homenode"

typedef struct {
    GMainLoop *loop;
    HnManager *manager;
    int status;
    bool is_idle; /* at the end: nothing of the back end is in use any more */
} Life;

/* ---- Options. ---- */

static gboolean is_version_wanted;
static char *level_text; /* of GOption only; read once in hn_daemon_parse() */

int hn_daemon_parse(int *argc, char ***argv, HnDaemonOptions *ret_options)
{
    HnDaemonOptions options = {.log_level = LOG_INFO};
    gboolean is_dry_run = FALSE, is_once = FALSE, is_foreground = FALSE;
    const GOptionEntry entries[] = {
        {"connect", 'c', 0, G_OPTION_ARG_STRING, &options.connect,
         "Libvirt URI (default qemu:///system), or none", "URI"},
        {"config", 'C', 0, G_OPTION_ARG_FILENAME, &options.config_file,
         "Configuration file (default " HN_CONFIG_DEFAULT_FILE ")", "FILE"},
        {"runtime-dir", 'r', 0, G_OPTION_ARG_FILENAME, &options.runtime_dir,
         "Where sockets and journal live (default " DEFAULT_RUNTIME_DIR ")", "DIR"},
        {"sysroot", 0, 0, G_OPTION_ARG_FILENAME, &options.sysroot,
         "Read a captured machine below DIR; implies --dry-run", "DIR"},
        {"dry-run", 'n', 0, G_OPTION_ARG_NONE, &is_dry_run, "Decide and report, change nothing",
         NULL},
        {"once", '1', 0, G_OPTION_ARG_NONE, &is_once,
         "Run a few rounds, print the plan as JSON and exit; implies --dry-run", NULL},
        {"foreground", 'f', 0, G_OPTION_ARG_NONE, &is_foreground,
         "Stay in the foreground (always so; accepted for scripts)", NULL},
        {"log-level", 'l', 0, G_OPTION_ARG_STRING, &level_text,
         "error, warning, notice, info or debug (default info)", "LEVEL"},
        {"version", 'V', 0, G_OPTION_ARG_NONE, &is_version_wanted, "Print the version and exit",
         NULL},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) error = NULL;

    g_option_context_set_summary(
        context, "Gives every opted-in KVM guest a home NUMA node and keeps it there.");
    g_option_context_set_description(context,
                                     "See homenoded(8), homenode(1) and homenode.conf(5).\n");
    g_option_context_add_main_entries(context, entries, NULL);
    bool is_good = g_option_context_parse(context, argc, argv, &error);
    options.is_dry_run = is_dry_run || is_once || options.sysroot;
    options.is_once = is_once;
    *ret_options = options;
    if (!is_good) {
        g_printerr("homenoded: %s\nTry 'homenoded --help'.\n", error->message);
        return HN_EXIT_USAGE;
    }
    if (is_version_wanted) {
        g_print("homenoded %s\n", HN_VERSION);
        return HN_EXIT_OK;
    }
    if (*argc > 1) {
        g_printerr("homenoded: unexpected argument '%s'\nTry 'homenoded --help'.\n", (*argv)[1]);
        return HN_EXIT_USAGE;
    }
    g_autofree char *level = g_steal_pointer(&level_text);
    if (level && !hn_log_level_parse(level, &ret_options->log_level)) {
        g_printerr("homenoded: --log-level is '%s', allowed: error, warning, notice, info, debug\n",
                   level);
        return HN_EXIT_USAGE;
    }
    if (!ret_options->runtime_dir)
        ret_options->runtime_dir = g_strdup(DEFAULT_RUNTIME_DIR);
    return -1;
}

void hn_daemon_options_clear(HnDaemonOptions *options)
{
    g_free(options->connect);
    g_free(options->config_file);
    g_free(options->runtime_dir);
    g_free(options->sysroot);
    *options = (HnDaemonOptions){0};
}

/* ---- Signals and the supervisor. ---- */

static gboolean on_terminate(gpointer data)
{
    g_main_loop_quit(((Life *)data)->loop);
    return G_SOURCE_CONTINUE;
}

static gboolean on_hangup(gpointer data)
{
    g_autoptr(GError) error = NULL;
    if (hn_manager_reload(((Life *)data)->manager, &error))
        hn_log(LOG_NOTICE, HN_MSG_CONFIG, "configuration read again");
    else
        hn_log(LOG_ERR, HN_MSG_CONFIG, "the configuration is wrong, the old one stays in force: %s",
               error->message);
    return G_SOURCE_CONTINUE;
}

static gboolean on_watchdog(gpointer unused)
{
    hn_log_notify("WATCHDOG=1");
    return G_SOURCE_CONTINUE;
}

static void on_once(json_object *plan, const char *problem, void *user_data)
{
    Life *life = user_data;
    if (plan) {
        g_print("%s\n", json_object_to_json_string_ext(plan, JSON_C_TO_STRING_PRETTY |
                                                                 JSON_C_TO_STRING_SPACED));
        json_object_put(plan);
    } else {
        g_printerr("homenoded: %s\n", problem);
        life->status = HN_EXIT_FAILURE;
    }
    g_main_loop_quit(life->loop);
}

/* ---- Beginning and end. ---- */

/* Holds DIR/lock for as long as the process lives; -1 with a message that names the holder. */
static int lock_runtime_dir(const char *dir, GError **error)
{
    if (g_mkdir_with_parents(dir, 0755) != 0) {
        g_set_error(error, G_FILE_ERROR, (int)g_file_error_from_errno(errno),
                    "cannot create the runtime directory %s: %s", dir, g_strerror(errno));
        return -1;
    }
    g_autofree char *path = g_build_filename(dir, "lock", NULL);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) {
        g_set_error(error, G_FILE_ERROR, (int)g_file_error_from_errno(errno), "cannot open %s: %s",
                    path, g_strerror(errno));
        return -1;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        g_autofree char *pid = g_strdup_printf("%d\n", (int)getpid());
        if (ftruncate(fd, 0) != 0 || write(fd, pid, strlen(pid)) < 0)
            hn_log(LOG_DEBUG, NULL, "%s: %s", path, g_strerror(errno));
        return fd;
    }
    char holder[32] = "";
    ssize_t n = pread(fd, holder, sizeof holder - 1, 0);
    close(fd);
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_EXIST,
                "another homenoded (pid %s) serves %s; stop it, or use another --runtime-dir",
                n > 0 ? g_strstrip(holder) : "unknown", dir);
    return -1;
}

static HnConfig *read_config(const HnDaemonOptions *options, GError **error)
{
    bool is_optional = options->config_file == NULL;
    HnConfig *config = hn_config_read(is_optional ? HN_CONFIG_DEFAULT_FILE : options->config_file,
                                      is_optional, error);
    if (config && options->connect) {
        g_free(config->connect);
        config->connect = g_strdup(options->connect);
    }
    return config;
}

static void serve(Life *life, const HnDaemonOptions *options)
{
    uint64_t watchdog_ns = hn_log_watchdog_ns();
    guint sources[4] = {
        g_unix_signal_add(SIGTERM, on_terminate, life),
        g_unix_signal_add(SIGINT, on_terminate, life),
        g_unix_signal_add(SIGHUP, on_hangup, life),
        watchdog_ns ? g_timeout_add((guint)(watchdog_ns / 1000000), on_watchdog, NULL) : 0,
    };
    if (options->is_once)
        hn_manager_run_once(life->manager, on_once, life);
    else
        hn_manager_start(life->manager);
    hn_log_notify("READY=1\nSTATUS=started");
    hn_log(LOG_NOTICE, HN_MSG_STARTED, "homenoded %s%s", HN_VERSION,
           options->is_dry_run ? ", dry run" : "");
    g_main_loop_run(life->loop);
    if (!hn_manager_stop(life->manager))
        life->status = HN_EXIT_FAILURE;
    life->is_idle = hn_manager_is_idle(life->manager);
    hn_log(LOG_NOTICE, HN_MSG_STOPPED, "stopped");
    for (guint i = 0; i < G_N_ELEMENTS(sources); i++)
        g_clear_handle_id(&sources[i], g_source_remove);
}

static char *metrics_text(void *manager)
{
    return hn_manager_metrics(manager);
}

/* Where the configuration or systemd says so; NULL: nowhere. Guests are placed whether or not it works. */
static HnMetricsHttp *serve_metrics(HnManager *manager, const char *address)
{
    g_autoptr(GError) error = NULL;
    HnMetricsHttp *http = NULL;
    int fd = hn_log_socket_from_supervisor("metrics");
    bool is_from_supervisor = fd >= 0;
    if (!is_from_supervisor && *address)
        fd = hn_metrics_listen(address, &error);
    if (fd >= 0)
        http = hn_metrics_http_new(fd, metrics_text, manager, &error);
    if (http)
        hn_log(LOG_INFO, NULL, "metrics over HTTP at %s, path /metrics",
               is_from_supervisor ? "the socket that systemd holds" : address);
    else if (error)
        hn_log(LOG_ERR, HN_MSG_CONFIG, "metrics are not served over HTTP: %s%s", error->message,
               g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED)
                   ? " (homenoded.service has no network of its own: enable homenoded-metrics.socket)"
                   : "");
    return http;
}

/* Takes the back end, the root and config. */
static int run_over(const HnDaemonOptions *options, HnBackend *backend, HnRoot *root,
                    HnConfig *config, GError **error)
{
    g_autofree char *group = g_strdup(config->control_group);
    g_autofree char *address = g_strdup(config->metrics_listen);
    HnManagerOptions managing = {
        .backend = backend,
        .root = root,
        .runtime_dir = options->runtime_dir,
        .connect = options->connect,
        .config_file = options->config_file ? options->config_file : HN_CONFIG_DEFAULT_FILE,
        .is_config_optional = options->config_file == NULL,
        .is_dry_run = options->is_dry_run,
    };
    HnControlServer *control = NULL;
    Life life = {.loop = g_main_loop_new(NULL, FALSE), .status = HN_EXIT_FAILURE, .is_idle = true};

    life.manager = hn_manager_new(&managing, config, error);
    if (life.manager && !options->is_once)
        control = hn_control_server_new(life.manager, options->runtime_dir, group, error);
    if (life.manager && (control || options->is_once)) {
        HnMetricsHttp *http = options->is_once ? NULL : serve_metrics(life.manager, address);
        life.status = HN_EXIT_OK;
        serve(&life, options);
        hn_metrics_http_free(http);
    }
    hn_control_server_free(control);
    g_main_loop_unref(life.loop);
    if (life.is_idle) {
        hn_manager_free(life.manager);
        backend->ops->free(backend);
        hn_root_free(root);
    } else {
        hn_log(LOG_WARNING, NULL,
               "a call to the hypervisor's daemon has not come back; leaving without it");
    }
    return life.status;
}

int hn_daemon_run(const HnDaemonOptions *options, HnBackendFactory factory)
{
    g_autoptr(GError) error = NULL;
    int status = HN_EXIT_FAILURE, lock = -1;

    hn_log_init(options->log_level);
    HnConfig *config = read_config(options, &error);
    if (!config) {
        hn_log(LOG_ERR, HN_MSG_CONFIG, "the configuration is wrong: %s", error->message);
        return HN_EXIT_CONFIG;
    }
    HnRoot *root = hn_root_open(options->sysroot ? options->sysroot : "/", &error);
    if (root)
        lock = lock_runtime_dir(options->runtime_dir, &error);
    if (lock >= 0) {
        g_autofree char *attached = g_build_filename(options->runtime_dir, "attached", NULL);
        HnBackendNeeds needs = {
            .uri = config->connect,
            /* Whoever reads a captured machine talks to nobody of the real one. */
            .sockets = options->sysroot ? "" : config->qemu_sockets,
            .attached_file = options->sysroot ? NULL : attached,
            .root = root,
            .is_read_only = options->is_dry_run,
            .is_dirty_ring_allowed = config->is_dirty_ring_allowed,
        };
        HnBackend *backend = factory(&needs, &error);
        if (backend)
            status = run_over(options, backend, g_steal_pointer(&root), g_steal_pointer(&config),
                              &error);
        close(lock);
    } else if (g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_EXIST)) {
        status = HN_EXIT_RUNNING;
    }
    hn_config_free(config);
    hn_root_free(root);
    if (error)
        hn_log(LOG_ERR, NULL, "%s", error->message);
    return status;
}
