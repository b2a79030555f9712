/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finding a domain's process: the pid file, and the command line that must confirm it.
 */
#include "backend/libvirt-process.h"

#include <glib/gstdio.h>
#include <string.h>

#define UUID "11111111-2222-4333-8444-555555555555"

static void test_pid_parse(void)
{
    static const struct {
        const char *text;
        int64_t pid;
    } cases[] = {{"411", 411}, {"411\n", 411}, {" 7 ", 7},         {"", 0},    {"0", 0},
                 {"-5", 0},    {"12x", 0},     {"99999999999", 0}, {"4 11", 0}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        g_assert_cmpint(hn_libvirt_pid_parse(cases[i].text, strlen(cases[i].text)), ==,
                        cases[i].pid);
}

static void put(const char *dir, const char *path, const char *text, gsize len)
{
    g_autofree char *full = g_build_filename(dir, path, NULL);
    g_autofree char *parent = g_path_get_dirname(full);
    g_assert_cmpint(g_mkdir_with_parents(parent, 0755), ==, 0);
    g_assert_true(g_file_set_contents(full, text, (gssize)len, NULL));
}

static void test_pid_read(void)
{
    static const char good[] =
        "/usr/bin/qemu-system-x86_64\0-name\0guest=web,debug-threads=on\0-uuid\0" UUID;
    static const char other[] = "/usr/bin/qemu-system-x86_64\0-name\0guest=db\0-uuid\0"
                                "99999999-2222-4333-8444-555555555555";
    g_autofree char *dir = g_dir_make_tmp("homenode-XXXXXX", NULL);
    put(dir, "run/libvirt/qemu/web.pid", "411", 3);
    put(dir, "run/libvirt/qemu/stale.pid", "412", 3);
    put(dir, "run/libvirt/qemu/broken.pid", "none", 4);
    put(dir, "run/libvirt/qemu/gone.pid", "413", 3);
    put(dir, "proc/411/cmdline", good, sizeof good);
    put(dir, "proc/412/cmdline", other, sizeof other);
    g_autoptr(HnRoot) root = hn_root_open(dir, NULL);
    g_assert_nonnull(root);
    g_assert_cmpint(hn_libvirt_pid_read(root, "web", UUID), ==, 411);
    g_assert_cmpint(hn_libvirt_pid_read(root, "stale", UUID), ==, 0); /* reused by another */
    g_assert_cmpint(hn_libvirt_pid_read(root, "broken", UUID), ==, 0);
    g_assert_cmpint(hn_libvirt_pid_read(root, "gone", UUID), ==, 0);   /* no such process */
    g_assert_cmpint(hn_libvirt_pid_read(root, "absent", UUID), ==, 0); /* no pid file */
    g_assert_cmpint(hn_libvirt_pid_read(root, "../qemu/web", UUID), ==, 0);
    g_autofree char *remove = g_strdup_printf("rm -r '%s'", dir);
    g_assert_true(g_spawn_command_line_sync(remove, NULL, NULL, NULL, NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/libvirt-process/pid-parse", test_pid_parse);
    g_test_add_func("/libvirt-process/pid-read", test_pid_read);
    return g_test_run();
}
