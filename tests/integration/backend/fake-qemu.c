/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMUs for tests; see fake-qemu.h.
 */
#include "fake-qemu.h"

#include "qmp/client.h"
#include "qmp/server.h"

#include <errno.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_VCPUS 2
#define FIRST_VCPU_TID 1000001 /* above what a kernel gives by default */
#define IOTHREAD_TID 1000009
/* For what the test asks a real QEMU. */
#define ADMIN_TIMEOUT_MS 30000

struct FakeQemu {
    char *dir, *socket, *name;
    uint64_t memory_bytes;
    HnRoot *root;
    HnQmpAffinity affinity;
    GMutex lock;
    GHashTable *cpus; /* tid → HnCpuset, guarded by lock; absent: all */
    GThread *thread;
    GMainContext *context;
    GMainLoop *loop;
    HnQmpServer *server;
};

/* ---- what it answers ---- */

static void answer(HnQmpRequest *request, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void answer(HnQmpRequest *request, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    json_object *value = json_tokener_parse(text);
    g_assert_nonnull(value);
    hn_qmp_request_return(request, value);
}

static void do_uuid(HnQmpRequest *request, json_object *args, gpointer qemu)
{
    answer(request, "{\"UUID\":\"%s\"}", FAKE_QEMU_UUID);
}

static void do_name(HnQmpRequest *request, json_object *args, gpointer qemu)
{
    answer(request, "{\"name\":\"%s\"}", ((FakeQemu *)qemu)->name);
}

static void do_kvm(HnQmpRequest *request, json_object *args, gpointer qemu)
{
    answer(request, "{\"enabled\":false,\"present\":true}");
}

static void do_qom_get(HnQmpRequest *request, json_object *args, gpointer qemu)
{
    hn_qmp_request_return(request, json_object_new_string("pc-q35-10.0-machine"));
}

static void do_status(HnQmpRequest *request, json_object *args, gpointer qemu)
{
    answer(request, "{\"status\":\"running\",\"running\":true,\"singlestep\":false}");
}

static void do_cpus(HnQmpRequest *request, json_object *args, gpointer qemu)
{
    answer(request,
           "[{\"thread-id\":%d,\"cpu-index\":0,\"qom-path\":\"/"
           "a\",\"target\":\"x86_64\",\"props\":{}},"
           "{\"thread-id\":%d,\"cpu-index\":1,\"qom-path\":\"/"
           "b\",\"target\":\"x86_64\",\"props\":{}}]",
           FIRST_VCPU_TID, FIRST_VCPU_TID + 1);
}

static void do_memdev(HnQmpRequest *request, json_object *args, gpointer qemu)
{
    answer(request,
           "[{\"id\":\"pc.ram\",\"size\":%" G_GUINT64_FORMAT ",\"share\":false,\"prealloc\":false,"
           "\"merge\":true,\"dump\":true,\"policy\":\"default\",\"host-nodes\":[]}]",
           ((FakeQemu *)qemu)->memory_bytes);
}

static void do_memory_devices(HnQmpRequest *request, json_object *args, gpointer qemu)
{
    answer(request, "[]");
}

static void do_migrate(HnQmpRequest *request, json_object *args, gpointer qemu)
{
    answer(request, "{}");
}

static void do_dirty_rate(HnQmpRequest *request, json_object *args, gpointer qemu)
{
    answer(request, "{\"status\":\"unstarted\",\"sample-pages\":512,\"mode\":\"page-sampling\","
                    "\"start-time\":0,\"calc-time\":0}");
}

static const HnQmpArg qom_args[] = {{"path", HN_QMP_ARG_STRING, TRUE, "Object."},
                                    {"property", HN_QMP_ARG_STRING, TRUE, "Property."},
                                    {NULL}};
static const HnQmpCommand commands[] = {
    {"query-uuid", FALSE, do_uuid, NULL, "As QEMU's.", "object"},
    {"query-name", FALSE, do_name, NULL, "As QEMU's.", "object"},
    {"query-kvm", FALSE, do_kvm, NULL, "As QEMU's.", "object"},
    {"qom-get", FALSE, do_qom_get, qom_args, "As QEMU's.", "value"},
    {"query-status", FALSE, do_status, NULL, "As QEMU's.", "object"},
    {"query-cpus-fast", FALSE, do_cpus, NULL, "As QEMU's.", "list"},
    {"query-memdev", FALSE, do_memdev, NULL, "As QEMU's.", "list"},
    {"query-memory-devices", FALSE, do_memory_devices, NULL, "As QEMU's.", "list"},
    {"query-migrate", FALSE, do_migrate, NULL, "As QEMU's.", "object"},
    {"query-dirty-rate", FALSE, do_dirty_rate, NULL, "As QEMU's.", "object"},
    {NULL},
};
static const HnQmpEventInfo events[] = {{NULL, NULL}};

/* ---- where it seems to live ---- */

static void write_file(const FakeQemu *qemu, const char *path, const char *text, gssize len)
{
    g_autofree char *full = g_build_filename(qemu->dir, path, NULL);
    g_autofree char *dir = g_path_get_dirname(full);
    g_autoptr(GError) error = NULL;
    g_assert_cmpint(g_mkdir_with_parents(dir, 0755), ==, 0);
    g_file_set_contents(full, text, len, &error);
    g_assert_no_error(error);
}

static void add_thread(const FakeQemu *qemu, int tid, const char *comm)
{
    g_autofree char *path = g_strdup_printf("proc/%d/task/%d/comm", (int)getpid(), tid);
    write_file(qemu, path, comm, -1);
}

static void make_world(const FakeQemu *qemu)
{
    g_autofree char *stat_path = g_strdup_printf("proc/%d/stat", (int)getpid());
    g_autofree char *cmdline_path = g_strdup_printf("proc/%d/cmdline", (int)getpid());
    g_autofree char *stat = g_strdup_printf(
        "%d (qemu-system-x86) S 1 1 1 0 -1 0 0 0 0 0 1 1 0 0 20 0 4 0 4711 1000 10 0 0 "
        "0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0\n",
        (int)getpid());
    g_autofree char *cmdline = g_strdup_printf(
        "/usr/bin/qemu-system-x86_64\n-name\nguest=%s,debug-threads=on\n", qemu->name);
    gsize len = strlen(cmdline);
    g_strdelimit(cmdline, "\n", '\0');
    write_file(qemu, stat_path, stat, -1);
    write_file(qemu, cmdline_path, cmdline, (gssize)len);
    write_file(qemu, "sys/devices/system/cpu/online", "0-7\n", -1);
    add_thread(qemu, (int)getpid(), "qemu-system-x86\n");
    for (int i = 0; i < N_VCPUS; i++)
        add_thread(qemu, FIRST_VCPU_TID + i, i == 0 ? "CPU 0/TCG\n" : "CPU 1/TCG\n");
    add_thread(qemu, IOTHREAD_TID, "IO iothread1\n");
}

static int get_affinity(void *user_data, int32_t tid, HnCpuset *ret_cpus)
{
    FakeQemu *qemu = user_data;
    g_mutex_lock(&qemu->lock);
    const HnCpuset *cpus = g_hash_table_lookup(qemu->cpus, GINT_TO_POINTER(tid));
    if (cpus)
        *ret_cpus = *cpus;
    else
        hn_cpuset_parse("0-7", 3, ret_cpus, NULL);
    g_mutex_unlock(&qemu->lock);
    return 0;
}

/* As the kernel: what is not there is left out, and nothing left is an error. */
static int set_affinity(void *user_data, int32_t tid, const HnCpuset *cpus)
{
    FakeQemu *qemu = user_data;
    HnCpuset *kept = g_memdup2(cpus, sizeof *cpus), there;
    hn_cpuset_parse("0-7", 3, &there, NULL);
    hn_cpuset_and(kept, &there);
    if (hn_cpuset_is_empty(kept)) {
        g_free(kept);
        errno = EINVAL;
        return -1;
    }
    g_mutex_lock(&qemu->lock);
    g_hash_table_replace(qemu->cpus, GINT_TO_POINTER(tid), kept);
    g_mutex_unlock(&qemu->lock);
    return 0;
}

/* ---- its life ---- */

static gpointer serve(gpointer data)
{
    FakeQemu *qemu = data;
    g_autoptr(GError) error = NULL;
    g_main_context_push_thread_default(qemu->context);
    qemu->server = hn_qmp_server_new("qemu", "10.0.0", commands, events, NULL, qemu);
    hn_qmp_server_listen_path(qemu->server, qemu->socket, FALSE, 0600, (gid_t)-1, &error);
    g_assert_no_error(error);
    g_main_loop_run(qemu->loop);
    hn_qmp_server_free(qemu->server);
    while (g_main_context_iteration(qemu->context, FALSE))
        ;
    g_main_context_pop_thread_default(qemu->context);
    return NULL;
}

static void wait_for_file(const char *path)
{
    for (int i = 0; i < 500 && !g_file_test(path, G_FILE_TEST_EXISTS); i++)
        g_usleep(10 * 1000);
    g_assert_true(g_file_test(path, G_FILE_TEST_EXISTS));
}

FakeQemu *fake_qemu_start(const char *name, uint64_t memory_bytes)
{
    FakeQemu *qemu = g_new0(FakeQemu, 1);
    qemu->dir = g_dir_make_tmp("homenode-qemu-XXXXXX", NULL);
    qemu->socket = g_build_filename(qemu->dir, "vm.qmp", NULL);
    qemu->name = g_strdup(name);
    qemu->memory_bytes = memory_bytes;
    g_mutex_init(&qemu->lock);
    qemu->cpus = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    make_world(qemu);
    qemu->root = hn_root_open(qemu->dir, NULL);
    qemu->affinity = (HnQmpAffinity){get_affinity, set_affinity, qemu};
    qemu->context = g_main_context_new();
    qemu->loop = g_main_loop_new(qemu->context, FALSE);
    qemu->thread = g_thread_new("fake-qemu", serve, qemu);
    wait_for_file(qemu->socket);
    return qemu;
}

const char *fake_qemu_dir(const FakeQemu *qemu)
{
    return qemu->dir;
}

const char *fake_qemu_socket(const FakeQemu *qemu)
{
    return qemu->socket;
}

HnQmpOptions fake_qemu_options(FakeQemu *qemu)
{
    return (HnQmpOptions){.directory = qemu->dir, .root = qemu->root, .affinity = &qemu->affinity};
}

HnBackend *fake_qemu_backend(FakeQemu *qemu)
{
    HnQmpOptions options = fake_qemu_options(qemu);
    return hn_backend_qmp_new(&options);
}

static gboolean quit(gpointer loop)
{
    g_main_loop_quit(loop);
    return G_SOURCE_REMOVE;
}

void fake_qemu_hang_up(FakeQemu *qemu)
{
    if (!qemu->thread)
        return;
    g_main_context_invoke(qemu->context, quit, qemu->loop);
    g_thread_join(qemu->thread);
    qemu->thread = NULL;
    g_unlink(qemu->socket);
}

static void remove_tree(const char *dir)
{
    g_autofree char *quoted = g_shell_quote(dir);
    g_autofree char *line = g_strdup_printf("rm -rf %s", quoted);
    g_assert_true(g_spawn_command_line_sync(line, NULL, NULL, NULL, NULL));
}

void fake_qemu_quit(FakeQemu *qemu)
{
    g_autofree char *dir = g_strdup_printf("%s/proc/%d", qemu->dir, (int)getpid());
    remove_tree(dir);
    fake_qemu_hang_up(qemu);
}

void fake_qemu_free(FakeQemu *qemu)
{
    fake_qemu_hang_up(qemu);
    remove_tree(qemu->dir);
    g_main_loop_unref(qemu->loop);
    g_main_context_unref(qemu->context);
    g_hash_table_unref(qemu->cpus);
    g_mutex_clear(&qemu->lock);
    hn_root_free(qemu->root);
    g_free(qemu->dir);
    g_free(qemu->socket);
    g_free(qemu->name);
    g_free(qemu);
}

/* ---- the machine's own ---- */

static const char *accel = "tcg,thread=multi";

struct RealQemu {
    char *dir;
    char *admin_path;   /* in a directory of its own: every socket of dir is a guest's */
    HnQmpClient *admin; /* NULL until asked */
    GPid pid;           /* 0: ended */
};

/* A file is there before anybody listens: the kernel's table tells (flag 0x10000), without taking a
 * monitor's one place for a client. */
static bool is_listening(const char *path)
{
    g_autofree char *table = NULL;
    if (!g_file_get_contents("/proc/net/unix", &table, NULL, NULL))
        return g_file_test(path, G_FILE_TEST_EXISTS);
    g_auto(GStrv) lines = g_strsplit(table, "\n", -1);
    for (char **line = lines; *line; line++)
        if (g_str_has_suffix(*line, path) && strstr(*line, " 00010000 "))
            return true;
    return false;
}

/* In the child: a failing test leaves no guest behind. */
static void die_with_parent(gpointer user_data)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

void real_qemu_set_accel(const char *wanted)
{
    accel = wanted;
}

RealQemu *real_qemu_start_as(const char *name, const char *uuid, uint64_t memory_bytes,
                             const char *const *more)
{
    g_autofree char *program = g_find_program_in_path("qemu-system-x86_64");
    g_autoptr(GError) error = NULL;
    if (!program)
        return NULL;
    RealQemu *qemu = g_new0(RealQemu, 1);
    qemu->dir = g_dir_make_tmp("homenode-qemu-XXXXXX", NULL);
    qemu->admin_path = g_build_filename(qemu->dir, "admin", "qmp", NULL);
    g_autofree char *admin_dir = g_path_get_dirname(qemu->admin_path);
    g_assert_cmpint(g_mkdir(admin_dir, 0700), ==, 0);
    g_autofree char *socket = g_build_filename(qemu->dir, "vm.qmp", NULL);
    g_autofree char *qmp = g_strdup_printf("unix:%s,server=on,wait=off", socket);
    g_autofree char *admin = g_strdup_printf("unix:%s,server=on,wait=off", qemu->admin_path);
    g_autofree char *named = g_strdup_printf("%s,debug-threads=on", name);
    g_autofree char *mib = g_strdup_printf("%" G_GUINT64_FORMAT, memory_bytes >> 20);
    /* hpet=off and a machine without disks: its firmware ends in HLT and takes no CPU. */
    const char *base[] = {program,
                          "-name",
                          named,
                          "-uuid",
                          uuid,
                          "-accel",
                          accel,
                          "-machine",
                          "pc",
                          "-m",
                          mib,
                          "-smp",
                          "2",
                          "-nodefaults",
                          "-no-user-config",
                          "-display",
                          "none",
                          "-object",
                          "iothread,id=iothread1",
                          "-qmp",
                          qmp,
                          "-qmp",
                          admin};
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    for (size_t i = 0; i < G_N_ELEMENTS(base); i++)
        g_ptr_array_add(argv, (gpointer)base[i]);
    for (; more && *more; more++)
        g_ptr_array_add(argv, (gpointer)*more);
    g_ptr_array_add(argv, NULL);
    g_spawn_async(NULL, (char **)argv->pdata, NULL,
                  G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL |
                      G_SPAWN_STDERR_TO_DEV_NULL,
                  die_with_parent, NULL, &qemu->pid, &error);
    g_assert_no_error(error);
    /* The last of its sockets: a loaded machine takes its time. */
    for (guint i = 0; i < 3000 && !is_listening(qemu->admin_path); i++)
        g_usleep(10 * 1000);
    g_assert_true(is_listening(qemu->admin_path));
    return qemu;
}

RealQemu *real_qemu_start(const char *name, uint64_t memory_bytes, char ret_uuid[HN_UUID_LEN + 1])
{
    g_autofree char *uuid = g_uuid_string_random();
    g_strlcpy(ret_uuid, uuid, HN_UUID_LEN + 1);
    return real_qemu_start_as(name, uuid, memory_bytes, NULL);
}

json_object *real_qemu_ask(RealQemu *qemu, const char *command, const char *arguments)
{
    g_autoptr(GError) error = NULL;
    json_object *value = NULL;
    HnQmpClientOptions options = hn_qmp_client_options_default;
    options.greeting_timeout_ms = ADMIN_TIMEOUT_MS;
    if (!qemu->admin)
        qemu->admin = hn_qmp_client_new(qemu->admin_path, &options, NULL, NULL);
    hn_qmp_client_call_sync(qemu->admin, command, arguments ? json_tokener_parse(arguments) : NULL,
                            ADMIN_TIMEOUT_MS, &value, &error);
    g_assert_no_error(error);
    return value;
}

void real_qemu_tell(RealQemu *qemu, const char *command, const char *arguments)
{
    json_object_put(real_qemu_ask(qemu, command, arguments));
}

int64_t real_qemu_pid(const RealQemu *qemu)
{
    return qemu->pid;
}

const char *real_qemu_dir(const RealQemu *qemu)
{
    return qemu->dir;
}

void real_qemu_quit(RealQemu *qemu)
{
    if (qemu->pid == 0)
        return;
    kill(qemu->pid, SIGTERM);
    waitpid(qemu->pid, NULL, 0);
    g_spawn_close_pid(qemu->pid);
    qemu->pid = 0;
}

void real_qemu_free(RealQemu *qemu)
{
    if (!qemu)
        return;
    real_qemu_quit(qemu);
    g_clear_pointer(&qemu->admin, hn_qmp_client_unref);
    remove_tree(qemu->dir);
    g_free(qemu->admin_path);
    g_free(qemu->dir);
    g_free(qemu);
}
