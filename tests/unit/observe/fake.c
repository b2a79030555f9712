/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See fake.h. */
#include "fake.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void await(FakeQemu *qemu, const char *answer)
{
    char line[64];

    g_assert_nonnull(fgets(line, sizeof line, qemu->from));
    g_assert_cmpstr(g_strchomp(line), ==, answer);
}

FakeQemu *fake_qemu_start(const char *program, const char *name, uint32_t n_vcpus, const char *mib,
                          const char *pages)
{
    static uint32_t n_started;
    FakeQemu *qemu = g_new0(FakeQemu, 1);
    g_autofree char *guest = g_strdup_printf("guest=%s,debug-threads=on", name);
    g_autofree char *vcpus = g_strdup_printf("%u", n_vcpus);
    const char *argv[] = {program, "-name", guest, vcpus, mib, pages, NULL};
    g_auto(GStrv) sizes = g_strsplit(mib, ",", -1);
    g_autoptr(GError) error = NULL;
    int from_fd;

    g_spawn_async_with_pipes(NULL, (char **)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL,
                             &qemu->pid, &qemu->to_fd, &from_fd, NULL, &error);
    g_assert_no_error(error);
    qemu->from = fdopen(from_fd, "r");
    await(qemu, "ready");
    g_snprintf(qemu->info.uuid, sizeof qemu->info.uuid, "00000000-0000-4000-8000-%012u",
               ++n_started);
    qemu->info.name = g_strdup(name);
    qemu->info.pid = qemu->pid;
    qemu->info.is_kvm = true;
    qemu->info.machine_type = g_strdup("pc-q35-10.0");
    qemu->info.vcpus = g_array_new(FALSE, TRUE, sizeof(HnVcpuInfo));
    for (uint32_t i = 0; i < n_vcpus; i++) {
        HnVcpuInfo vcpu = {.id = i, .guest_cell = -1};

        g_array_append_val(qemu->info.vcpus, vcpu);
    }
    qemu->info.memory = g_ptr_array_new_with_free_func(g_free);
    for (uint32_t i = 0; sizes[i]; i++) {
        HnMemoryInfo *memory = g_new0(HnMemoryInfo, 1);

        memory->guest_cell = sizes[1] ? (int32_t)i : -1;
        memory->length_bytes = g_ascii_strtoull(sizes[i], NULL, 10) << 20;
        memory->gpa_base = UINT64_MAX;
        qemu->info.configured_bytes += memory->length_bytes;
        g_ptr_array_add(qemu->info.memory, memory);
    }
    qemu->info.current_bytes = qemu->info.configured_bytes;
    return qemu;
}

void fake_qemu_tell(FakeQemu *qemu, const char *command)
{
    g_autofree char *line = g_strdup_printf("%s\n", command);

    g_assert_cmpint(write(qemu->to_fd, line, strlen(line)), ==, (gssize)strlen(line));
    await(qemu, "ok");
}

void fake_qemu_kill(FakeQemu *qemu)
{
    if (qemu->pid == 0)
        return;
    kill(qemu->pid, SIGKILL);
    waitpid(qemu->pid, NULL, 0);
    qemu->pid = 0;
}

void fake_qemu_free(FakeQemu *qemu)
{
    fake_qemu_kill(qemu);
    close(qemu->to_fd);
    fclose(qemu->from);
    g_free(qemu->info.name);
    g_free(qemu->info.machine_type);
    g_array_unref(qemu->info.vcpus);
    g_ptr_array_unref(qemu->info.memory);
    g_free(qemu);
}
