/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client with the QEMU of this machine: what the recordings say, said again by a live one, and
 * the second client that gets no greeting. The guest is stopped (-S) under TCG: no KVM, no image.
 *
 * Skipped, and counted as such, where there is no qemu-system-x86_64.
 */
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "qmp/client.h"
#include "qmp/qemu.h"

/* A loaded machine takes its time to start QEMU. */
#define TIMEOUT_MS 30000

typedef struct {
    char *dir;
    char *path;
    GPid qemu;
} Guest;

/* In the child: a failing test leaves no guest behind. */
static void die_with_parent(gpointer user_data)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* The file is there before anybody listens; the kernel's table tells (flag 0x10000) without taking
 * the monitor's one place for a client. */
static gboolean is_listening(const char *path)
{
    g_autofree char *table = NULL;
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents("/proc/net/unix", &table, NULL, NULL))
        return g_file_test(path, G_FILE_TEST_EXISTS);
    lines = g_strsplit(table, "\n", -1);
    for (char **line = lines; *line; line++)
        if (g_str_has_suffix(*line, path) && strstr(*line, " 00010000 "))
            return TRUE;
    return FALSE;
}

static void guest_start(Guest *guest)
{
    g_autofree char *monitor = NULL;
    const char *argv[] = {"qemu-system-x86_64",
                          "-nodefaults",
                          "-display",
                          "none",
                          "-S",
                          "-accel",
                          "tcg",
                          "-machine",
                          "q35",
                          "-name",
                          "guest=live",
                          "-uuid",
                          "01234567-89ab-cdef-0123-456789abcdef",
                          "-smp",
                          "2,maxcpus=4",
                          "-m",
                          "64M",
                          "-object",
                          "memory-backend-ram,id=cell0,size=64M",
                          "-numa",
                          "node,nodeid=0,memdev=cell0",
                          "-qmp",
                          NULL,
                          NULL};
    g_autoptr(GError) error = NULL;

    guest->dir = g_dir_make_tmp("hn-live-XXXXXX", &error);
    g_assert_no_error(error);
    guest->path = g_build_filename(guest->dir, "qmp", NULL);
    monitor = g_strdup_printf("unix:%s,server=on,wait=off", guest->path);
    argv[G_N_ELEMENTS(argv) - 2] = monitor;
    g_spawn_async(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD,
                  die_with_parent, NULL, &guest->qemu, &error);
    g_assert_no_error(error);
    for (guint i = 0; i < TIMEOUT_MS / 20 && !is_listening(guest->path); i++)
        g_usleep(20000);
}

static void guest_stop(Guest *guest)
{
    kill(guest->qemu, SIGKILL);
    waitpid(guest->qemu, NULL, 0);
    g_unlink(guest->path);
    g_rmdir(guest->dir);
    g_free(guest->path);
    g_free(guest->dir);
}

static json_object *ask(HnQmpClient *client, const char *command, json_object *arguments)
{
    g_autoptr(GError) error = NULL;
    json_object *value = NULL;

    hn_qmp_client_call_sync(client, command, arguments, TIMEOUT_MS, &value, &error);
    g_assert_no_error(error);
    return value;
}

static void check_answers(HnQmpClient *client)
{
    json_object *name_reply = ask(client, HN_QEMU_QUERY_NAME, NULL);
    json_object *status_reply = ask(client, HN_QEMU_QUERY_STATUS, NULL);
    json_object *kvm_reply = ask(client, HN_QEMU_QUERY_KVM, NULL);
    json_object *cpus_reply = ask(client, HN_QEMU_QUERY_CPUS_FAST, NULL);
    json_object *memdevs_reply = ask(client, HN_QEMU_QUERY_MEMDEV, NULL);
    json_object *blocks_reply =
        ask(client, HN_QEMU_HUMAN_MONITOR_COMMAND, hn_qemu_info_ramblock_build());
    json_object *hva_reply =
        ask(client, HN_QEMU_HUMAN_MONITOR_COMMAND, hn_qemu_gpa2hva_build(0x100000));
    g_autofree char *name = NULL;
    g_autoptr(GArray) cpus = NULL;
    g_autoptr(GArray) memdevs = NULL;
    g_autoptr(GArray) blocks = NULL;
    gboolean is_kvm = TRUE, is_found = FALSE;
    HnQemuStatus status;
    HnQemuGpa2Hva answer;

    g_assert_true(hn_qemu_name_decode(name_reply, &name, NULL));
    g_assert_cmpstr(name, ==, "live");
    g_assert_true(hn_qemu_status_decode(status_reply, &status, NULL));
    g_assert_cmpstr(status.status, ==, "prelaunch");
    g_assert_true(hn_qemu_kvm_decode(kvm_reply, &is_kvm, NULL));
    g_assert_false(is_kvm);
    g_assert_true(hn_qemu_cpus_decode(cpus_reply, &cpus, NULL));
    g_assert_cmpuint(cpus->len, ==, 2);
    g_assert_cmpint(g_array_index(cpus, HnQemuCpu, 1).node_id, ==, 0);
    g_assert_true(hn_qemu_memdevs_decode(memdevs_reply, &memdevs, NULL));
    g_assert_cmpstr(g_array_index(memdevs, HnQemuMemdev, 0).id, ==, "cell0");
    g_assert_cmpuint(g_array_index(memdevs, HnQemuMemdev, 0).size_bytes, ==, 64 << 20);
    g_assert_true(hn_qemu_ramblocks_decode(blocks_reply, &blocks, NULL));
    for (guint i = 0; i < blocks->len; i++)
        is_found |= g_str_equal(g_array_index(blocks, HnQemuRamBlock, i).name, "cell0");
    g_assert_true(is_found);
    g_assert_true(hn_qemu_gpa2hva_decode(hva_reply, &answer, NULL));
    g_assert_true(answer.is_ram);
    g_assert_cmpstr(answer.block, ==, "cell0");
    hn_qemu_gpa2hva_clear(&answer);

    json_object_put(name_reply);
    json_object_put(status_reply);
    json_object_put(kvm_reply);
    json_object_put(cpus_reply);
    json_object_put(memdevs_reply);
    json_object_put(blocks_reply);
    json_object_put(hva_reply);
}

static void on_lost(HnQmpClient *client, const GError *error, gboolean will_retry,
                    gpointer user_data)
{
    g_assert_error(error, HN_QMP_ERROR, HN_QMP_ERROR_CLOSED);
    *(gboolean *)user_data = TRUE;
}

static void test_live(void)
{
    g_autofree char *program = g_find_program_in_path("qemu-system-x86_64");
    const HnQmpClientCallbacks callbacks = {.lost = on_lost};
    HnQmpClientOptions options = hn_qmp_client_options_default;
    g_autoptr(HnQmpClient) first = NULL;
    g_autoptr(HnQmpClient) second = NULL;
    g_autoptr(GError) error = NULL;
    gboolean is_lost = FALSE;
    HnQmpPeer peer;
    Guest guest = {0};

    if (!program) {
        g_test_skip("no qemu-system-x86_64 on this machine");
        return;
    }
    guest_start(&guest);
    options.greeting_timeout_ms = TIMEOUT_MS;
    first = hn_qmp_client_new(guest.path, &options, &callbacks, &is_lost);
    check_answers(first);
    g_assert_cmpstr(hn_qmp_client_greeting(first)->product, ==, "qemu");
    g_assert_true(hn_qmp_client_peer(first, &peer));
    g_assert_cmpint(peer.pid, ==, guest.qemu);

    /* Connected, and nothing comes. */
    options.greeting_timeout_ms = 300;
    second = hn_qmp_client_new(guest.path, &options, NULL, NULL);
    g_assert_false(
        hn_qmp_client_call_sync(second, HN_QEMU_QUERY_NAME, NULL, TIMEOUT_MS, NULL, &error));
    g_assert_error(error, HN_QMP_ERROR, HN_QMP_ERROR_TIMEOUT);
    g_assert_nonnull(strstr(error->message, "No greeting"));
    g_clear_error(&error);

    /* Once the first has gone, the second is served. */
    hn_qmp_client_close(first);
    options.greeting_timeout_ms = TIMEOUT_MS;
    hn_qmp_client_unref(second);
    second = hn_qmp_client_new(guest.path, &options, &callbacks, &is_lost);
    check_answers(second);
    g_assert_false(is_lost);

    kill(guest.qemu, SIGKILL);
    while (!is_lost)
        g_main_context_iteration(NULL, TRUE);
    guest_stop(&guest);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qmp/live", test_live);
    return g_test_run();
}
