/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The journal: text and back, what a start finds after a crash, whose a pin is, sysctls.
 */
#include "apply/journal-text.h"
#include "fake-kernel.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#define UUID "11111111-2222-3333-4444-555555555555"
#define BOOT "b0b0b0b0-0000-0000-0000-000000000001"
#define PID 4711

typedef struct {
    FakeKernel *kernel;
    char *dir;
    HnJournal *journal;
    HnDomainInfo *info;
} Fixture;

static HnCpuset set_of(const char *text)
{
    HnCpuset set;

    g_assert_true(hn_cpuset_parse(text, strlen(text), &set, NULL));
    return set;
}

static HnDomainInfo *info_new(void)
{
    HnDomainInfo *info = g_new0(HnDomainInfo, 1);

    g_strlcpy(info->uuid, UUID, sizeof(info->uuid));
    info->name = g_strdup("web \"one\"\n");
    info->pid = PID;
    info->vcpus = g_array_new(FALSE, TRUE, sizeof(HnVcpuInfo));
    info->iothreads = g_array_new(FALSE, TRUE, sizeof(HnIothreadInfo));
    info->cells = g_array_new(FALSE, TRUE, sizeof(HnGuestCell));
    info->memory = g_ptr_array_new();
    info->host_devices = g_ptr_array_new_with_free_func(g_free);
    return info;
}

static void setup(Fixture *f, gconstpointer data)
{
    f->kernel = fake_kernel_new(PID, 16, 1 << 30);
    f->dir = g_build_filename(fake_kernel_dir(f->kernel), "journal", NULL);
    f->journal = hn_journal_new(f->dir, BOOT "\n", NULL);
    g_assert_nonnull(f->journal);
    f->info = info_new();
}

static void teardown(Fixture *f, gconstpointer data)
{
    hn_journal_free(f->journal);
    hn_domain_info_free(f->info);
    fake_kernel_free(f->kernel);
    g_free(f->dir);
}

static void set_piece(Fixture *f, HnPieceKind kind, uint32_t id, const char *original, const char *set)
{
    HnPiece piece = {.kind = kind, .id = id, .has_original = original != NULL, .set = set_of(set)};
    g_autoptr(GError) error = NULL;

    if (original)
        piece.original = set_of(original);
    if (kind == HN_PIECE_NODESET)
        piece.original_mode = original ? HN_NUMATUNE_RESTRICTIVE : HN_NUMATUNE_NONE;
    if (kind == HN_PIECE_VHOST)
        piece.start_ticks = 77;
    hn_journal_will_set(f->journal, UUID, &piece, 1, &error);
    g_assert_no_error(error);
}

static char *read_file(Fixture *f, const char *file)
{
    g_autofree char *path = g_build_filename(f->dir, file, NULL);
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    return text;
}

static void reopen(Fixture *f, const char *boot)
{
    hn_journal_free(f->journal);
    f->journal = hn_journal_new(f->dir, boot, NULL);
}

/* Loads and expects one finding (or none: state -1). */
static char *load(Fixture *f, int state)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) found = hn_journal_load(f->journal, fake_kernel_root(f->kernel), &error);

    g_assert_no_error(error);
    if (state < 0) {
        g_assert_cmpuint(found->len, ==, 0);
        return NULL;
    }
    g_assert_cmpuint(found->len, ==, 1);
    g_test_message("%s", ((HnJournalFound *)found->pdata[0])->message);
    g_assert_cmpint(((HnJournalFound *)found->pdata[0])->state, ==, state);
    return g_strdup(((HnJournalFound *)found->pdata[0])->message);
}

static void test_text(Fixture *f, gconstpointer data)
{
    g_autofree char *text = NULL, *again = NULL;
    g_autoptr(HnJournalEntry) entry = NULL;

    f->info->has_default_cpuset = true;
    f->info->default_cpuset = set_of("0-5");
    hn_journal_begin(f->journal, f->info, 5000);
    g_assert_null(read_file(f, UUID)); /* nothing changed yet, nothing written */
    set_piece(f, HN_PIECE_VCPU, 0, NULL, "0-1");
    set_piece(f, HN_PIECE_VCPU, 0, NULL, "2-3");
    set_piece(f, HN_PIECE_VCPU, 1, "4-7", "4-5");
    set_piece(f, HN_PIECE_EMULATOR, 0, NULL, "0-1");
    set_piece(f, HN_PIECE_IOTHREAD, 2, "1", "1");
    set_piece(f, HN_PIECE_VHOST, 4800, "0-7", "0-1");
    set_piece(f, HN_PIECE_NODESET, 0, "0-3", "2");
    g_assert_true(hn_journal_yield(f->journal, UUID, HN_PIECE_EMULATOR, 0));
    text = read_file(f, UUID);
    g_assert_cmpstr(text, ==,
                    "# homenode journal: how this was before homenode changed it, and what it set. Do not edit.\n"
                    "version 1\n"
                    "uuid " UUID "\n"
                    "name \"web \\\"one\\\"\\n\"\n"
                    "boot-id " BOOT "\n"
                    "process pid=4711 start-ticks=5000\n"
                    "allowed 0-5\n"
                    "vcpu 0 original=none set=2-3 previous=0-1 owner=homenode\n"
                    "vcpu 1 original=4-7 set=4-5 previous=none owner=homenode\n"
                    "emulator 0 original=none set=0-1 previous=none owner=admin\n"
                    "iothread 2 original=1 set=1 previous=none owner=homenode\n"
                    "vhost 4800 start-ticks=77 original=0-7 set=0-1 previous=none owner=homenode\n"
                    "nodeset 0 mode=restrictive original=0-3 set=2 previous=none owner=homenode\n"
                    "end\n");
    entry = hn_journal_entry_parse(text, strlen(text), "journal", NULL);
    g_assert_nonnull(entry);
    g_assert_cmpstr(entry->name, ==, "web \"one\"\n");
    again = hn_journal_entry_format(entry);
    g_assert_cmpstr(again, ==, text);
}

/* Every text cut short anywhere, and every single damaged line, is refused. */
static void test_corrupt_texts(Fixture *f, gconstpointer data)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    hn_journal_begin(f->journal, f->info, 5000);
    set_piece(f, HN_PIECE_VCPU, 0, "0", "0-1");
    set_piece(f, HN_PIECE_VHOST, 4800, "0-7", "0-1");
    set_piece(f, HN_PIECE_NODESET, 0, "0-3", "2");
    text = read_file(f, UUID);
    for (size_t len = 0; len + 1 < strlen(text); len++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(HnJournalEntry) entry = hn_journal_entry_parse(text, len, "journal", &error);

        g_assert_null(entry);
        g_assert_error(error, HN_JOURNAL_ERROR, HN_JOURNAL_ERROR_CORRUPT);
    }
    lines = g_strsplit(text, "\n", -1);
    for (guint i = 1; lines[i] && *lines[i]; i++) {
        static const char *const damages[] = {"%sx", "%s 1", "x%s", "%s\n%s", ""};

        for (guint k = 0; k < G_N_ELEMENTS(damages); k++) {
            g_autofree char *original = lines[i], *broken = NULL;
            g_autoptr(HnJournalEntry) entry = NULL;
            const bool is_piece = g_strrstr(original, "owner=") != NULL;

            /* A piece left out cannot be told. */
            lines[i] = k == 0   ? g_strdup_printf("%sx", original)
                       : k == 1 ? g_strdup_printf("%s 1", original)
                       : k == 2 ? g_strdup_printf("x%s", original)
                       : k == 3 ? g_strdup_printf("%s\n%s", original, original)
                                : g_strdup("");
            broken = g_strjoinv("\n", lines);
            g_free(lines[i]);
            lines[i] = g_steal_pointer(&original);
            entry = hn_journal_entry_parse(broken, strlen(broken), "journal", NULL);
            if ((is_piece && k == 4) || (k == 0 && g_str_has_prefix(lines[i], "boot-id")))
                continue;
            if (entry)
                g_test_message("accepted: %s", broken);
            g_assert_null(entry);
        }
    }
}

static void test_after_crash(Fixture *f, gconstpointer data)
{
    g_autofree char *text = NULL;
    g_autofree char *temporary = g_build_filename(f->dir, UUID ".A1B2C3", NULL);
    HnPiece piece;

    hn_journal_begin(f->journal, f->info, 5000);
    set_piece(f, HN_PIECE_VCPU, 3, NULL, "0-1");
    g_assert_true(g_file_set_contents(temporary, "half", -1, NULL));
    reopen(f, BOOT);
    g_assert_false(hn_journal_lookup(f->journal, UUID, HN_PIECE_VCPU, 3, &piece));
    text = load(f, HN_JOURNAL_SAME);
    g_assert_true(hn_journal_lookup(f->journal, UUID, HN_PIECE_VCPU, 3, &piece));
    g_assert_false(piece.has_original);
    g_assert_false(g_file_test(temporary, G_FILE_TEST_EXISTS));
}

static void test_reboot(Fixture *f, gconstpointer data)
{
    g_autofree char *text = NULL;

    hn_journal_begin(f->journal, f->info, 5000);
    set_piece(f, HN_PIECE_VCPU, 3, NULL, "0-1");
    reopen(f, "b0b0b0b0-0000-0000-0000-000000000002");
    text = load(f, HN_JOURNAL_GONE);
    g_assert_nonnull(strstr(text, "rebooted"));
    g_assert_null(read_file(f, UUID));
}

/* The same pid, uuid and name, but another process. */
static void test_reused_pid(Fixture *f, gconstpointer data)
{
    g_autofree char *text = NULL;

    hn_journal_begin(f->journal, f->info, 5000);
    set_piece(f, HN_PIECE_VCPU, 3, NULL, "0-1");
    fake_kernel_restart(f->kernel, 9999);
    reopen(f, BOOT);
    text = load(f, HN_JOURNAL_GONE);
    g_assert_nonnull(strstr(text, "another process"));
    g_assert_null(hn_journal_get(f->journal, UUID));
}

/* Restarted while we run: begin() notices, nothing of the old entry is left. */
static void test_begin_again(Fixture *f, gconstpointer data)
{
    g_autoptr(HnJournalEntry) entry = NULL;

    hn_journal_begin(f->journal, f->info, 5000);
    set_piece(f, HN_PIECE_VCPU, 3, "7", "0-1");
    hn_journal_begin(f->journal, f->info, 5000); /* the same: kept */
    entry = hn_journal_get(f->journal, UUID);
    g_assert_cmpuint(entry->pieces->len, ==, 1);
    hn_journal_entry_free(g_steal_pointer(&entry));
    hn_journal_begin(f->journal, f->info, 6000);
    entry = hn_journal_get(f->journal, UUID);
    g_assert_cmpuint(entry->pieces->len, ==, 0);
    g_assert_null(read_file(f, UUID));
}

static void test_corrupt_file(Fixture *f, gconstpointer data)
{
    g_autofree char *path = g_build_filename(f->dir, UUID, NULL), *text = NULL, *aside = NULL, *message = NULL;
    g_autofree char *kept = g_build_filename(f->dir, "corrupt", UUID, NULL);

    g_assert_true(g_file_set_contents(path, "version 1\nuuid nonsense\n", -1, NULL));
    message = load(f, HN_JOURNAL_CORRUPT);
    g_assert_nonnull(strstr(message, UUID));
    g_assert_nonnull(strstr(message, "not acted upon"));
    g_assert_true(g_file_get_contents(kept, &aside, NULL, NULL));
    g_assert_cmpstr(aside, ==, "version 1\nuuid nonsense\n");
    g_assert_null(hn_journal_get(f->journal, UUID));
    load(f, -1);
}

/* A whole and valid entry under another domain's name is no less dangerous. */
static void test_wrong_name(Fixture *f, gconstpointer data)
{
    g_autofree char *from = g_build_filename(f->dir, UUID, NULL), *message = NULL;
    g_autofree char *to = g_build_filename(f->dir, "99999999-2222-3333-4444-555555555555", NULL);

    hn_journal_begin(f->journal, f->info, 5000);
    set_piece(f, HN_PIECE_VCPU, 3, NULL, "0-1");
    g_assert_cmpint(g_rename(from, to), ==, 0);
    reopen(f, BOOT);
    message = load(f, HN_JOURNAL_CORRUPT);
}

/* A journal that cannot be written: refused, and nothing is remembered as changed. */
static void test_unwritable(Fixture *f, gconstpointer data)
{
    HnPiece piece = {.kind = HN_PIECE_VCPU, .set = set_of("0-1")};
    g_autoptr(GError) error = NULL;

    g_assert_false(hn_journal_will_set(f->journal, UUID, &piece, 1, &error));
    g_assert_error(error, HN_JOURNAL_ERROR, HN_JOURNAL_ERROR_UNKNOWN);
    g_clear_error(&error);
    hn_journal_begin(f->journal, f->info, 5000);
    {
        g_autofree char *away = g_strconcat(f->dir, ".away", NULL);

        g_assert_cmpint(g_rename(f->dir, away), ==, 0);
        g_assert_false(hn_journal_will_set(f->journal, UUID, &piece, 1, &error));
        g_assert_cmpint(g_rename(away, f->dir), ==, 0);
    }
    g_assert_error(error, HN_JOURNAL_ERROR, HN_JOURNAL_ERROR_IO);
    g_assert_nonnull(strstr(error->message, f->dir));
    g_assert_false(hn_journal_lookup(f->journal, UUID, HN_PIECE_VCPU, 0, &piece));
}

static void test_ownership(Fixture *f, gconstpointer data)
{
    const HnCpuset old = set_of("0-1"), new = set_of("2-3"), other = set_of("4");
    HnCpuset admin;

    hn_journal_begin(f->journal, f->info, 5000);
    set_piece(f, HN_PIECE_VCPU, 3, "0-7", "0-1");
    set_piece(f, HN_PIECE_VCPU, 3, "0-7", "2-3");
    g_assert_true(hn_journal_owns_pin(f->journal, UUID, "cputune.vcpupin3", &new));
    g_assert_true(hn_journal_owns_pin(f->journal, UUID, "cputune.vcpupin3", &old)); /* its event may come late */
    g_assert_false(hn_journal_owns_pin(f->journal, UUID, "cputune.vcpupin3", &other));
    g_assert_false(hn_journal_owns_pin(f->journal, UUID, "cputune.vcpupin2", &new));
    g_assert_false(hn_journal_owns_pin(f->journal, UUID, "cputune.emulatorpin", &new));
    g_assert_false(hn_journal_owns_pin(f->journal, UUID, "cputune.vcpupin3x", &new));
    g_assert_false(hn_journal_owns_pin(f->journal, UUID, "cpu_shares", &new));
    g_assert_true(hn_journal_admin_pin(f->journal, UUID, HN_PIECE_VCPU, 3, &admin));
    g_assert_cmpuint(hn_cpuset_count(&admin), ==, 8);
    g_assert_true(hn_journal_yield(f->journal, UUID, HN_PIECE_VCPU, 3));
    g_assert_false(hn_journal_yield(f->journal, UUID, HN_PIECE_VCPU, 3)); /* told once */
    g_assert_false(hn_journal_owns_pin(f->journal, UUID, "cputune.vcpupin3", &new));
    set_piece(f, HN_PIECE_VCPU, 3, NULL, "5"); /* his: not taken back */
    g_assert_false(hn_journal_admin_pin(f->journal, UUID, HN_PIECE_VCPU, 3, &admin));
    /* Yielding survives a crash. */
    reopen(f, BOOT);
    g_free(load(f, HN_JOURNAL_SAME));
    g_assert_false(hn_journal_owns_pin(f->journal, UUID, "cputune.vcpupin3", &new));
}

static void test_restored(Fixture *f, gconstpointer data)
{
    hn_journal_begin(f->journal, f->info, 5000);
    set_piece(f, HN_PIECE_VCPU, 0, NULL, "0-1");
    set_piece(f, HN_PIECE_VCPU, 1, NULL, "0-1");
    g_assert_true(hn_journal_restored(f->journal, UUID, HN_PIECE_VCPU, 0, NULL));
    {
        g_autofree char *text = read_file(f, UUID);

        g_assert_null(strstr(text, "vcpu 0"));
        g_assert_nonnull(strstr(text, "vcpu 1"));
    }
    g_assert_true(hn_journal_restored(f->journal, UUID, HN_PIECE_VCPU, 1, NULL));
    g_assert_null(read_file(f, UUID));
    g_assert_true(hn_journal_forget(f->journal, UUID, NULL));
    g_assert_true(hn_journal_forget(f->journal, UUID, NULL));
}

static char *read_sysctl(Fixture *f, const char *path)
{
    char *text = NULL;

    g_assert_true(hn_root_read(fake_kernel_root(f->kernel), path, 100, &text, NULL, NULL));
    return g_strchomp(text);
}

/* A captured root refuses writes, so the write itself fails; what counts is that the journal is there before. */
static void test_sysctl_journalled_first(Fixture *f, gconstpointer data)
{
    const HnRoot *root = fake_kernel_root(f->kernel);
    g_autofree char *text = NULL, *value = NULL;
    g_autoptr(GError) error = NULL;

    fake_kernel_write(f->kernel, "proc/sys/kernel/numa_balancing", "1\n");
    g_assert_true(hn_journal_set_sysctl(f->journal, root, "proc/sys/kernel/numa_balancing", "1", NULL));
    g_assert_null(read_file(f, "host")); /* already so */
    g_assert_false(hn_journal_set_sysctl(f->journal, root, "proc/sys/kernel/numa_balancing", "0", NULL));
    text = read_file(f, "host");
    g_assert_nonnull(strstr(text, "sysctl \"proc/sys/kernel/numa_balancing\" \"1\" \"0\"\n"));
    value = read_sysctl(f, "proc/sys/kernel/numa_balancing");
    g_assert_cmpstr(value, ==, "1");
    /* It still has its original value: nothing to write, the journal is cleared. */
    g_assert_true(hn_journal_restore_sysctls(f->journal, root, &error));
    g_assert_no_error(error);
    g_assert_null(read_file(f, "host"));
    g_assert_false(hn_journal_set_sysctl(f->journal, root, "etc/passwd", "x", &error));
    g_assert_nonnull(strstr(error->message, "etc/passwd"));
}

static void test_sysctl_after_crash(Fixture *f, gconstpointer data)
{
    const HnRoot *root = fake_kernel_root(f->kernel);
    g_autoptr(GError) error = NULL;

    fake_kernel_write(f->kernel, "proc/sys/kernel/numa_balancing", "1\n");
    hn_journal_set_sysctl(f->journal, root, "proc/sys/kernel/numa_balancing", "0", NULL);
    fake_kernel_write(f->kernel, "proc/sys/kernel/numa_balancing", "0\n"); /* as if the write had come through */
    reopen(f, BOOT);
    load(f, -1);
    /* It has our value: it must be written, which a captured root refuses; the journal is kept. */
    g_assert_false(hn_journal_restore_sysctls(f->journal, root, &error));
    g_assert_nonnull(error);
    {
        g_autofree char *text = read_file(f, "host");

        g_assert_nonnull(text);
    }
    /* The admin changes it meanwhile: his. */
    fake_kernel_write(f->kernel, "proc/sys/kernel/numa_balancing", "2\n");
    g_assert_true(hn_journal_restore_sysctls(f->journal, root, NULL));
    g_assert_null(read_file(f, "host"));
}

/* A host file that names another place is not believed. */
static void test_forged_sysctl(Fixture *f, gconstpointer data)
{
    static const char *const forged[] = {
        "version 1\nboot-id " BOOT "\nsysctl \"etc/shadow\" \"1\" \"0\"\nend\n",
        "version 1\nboot-id " BOOT "\nsysctl \"proc/sys/../../etc/shadow\" \"1\" \"0\"\nend\n",
        "version 1\nboot-id " BOOT "\nsysctl \"proc/sys/a\" \"1\"\nend\n",
        "version 1\nsysctl \"proc/sys/a\" \"1\" \"0\"\nend\n",
        "version 1\nboot-id " BOOT "\nsysctl \"proc/sys/a\" \"1\" \"0\"\n",
    };
    g_autofree char *path = g_build_filename(f->dir, "host", NULL);

    for (guint i = 0; i < G_N_ELEMENTS(forged); i++) {
        g_autofree char *message = NULL;

        g_assert_true(g_file_set_contents(path, forged[i], -1, NULL));
        message = load(f, HN_JOURNAL_CORRUPT);
        g_assert_null(read_file(f, "host"));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, func) g_test_add("/apply/journal/" name, Fixture, NULL, setup, func, teardown)
    ADD("text", test_text);
    ADD("corrupt-texts", test_corrupt_texts);
    ADD("after-crash", test_after_crash);
    ADD("reboot", test_reboot);
    ADD("reused-pid", test_reused_pid);
    ADD("begin-again", test_begin_again);
    ADD("corrupt-file", test_corrupt_file);
    ADD("wrong-name", test_wrong_name);
    ADD("unwritable", test_unwritable);
    ADD("ownership", test_ownership);
    ADD("restored", test_restored);
    ADD("sysctl-journalled-first", test_sysctl_journalled_first);
    ADD("sysctl-after-crash", test_sysctl_after_crash);
    ADD("forged-sysctl", test_forged_sysctl);
    return g_test_run();
}
