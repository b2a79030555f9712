/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When kernel.numa_balancing is switched, and when it is left alone: the decision as a table, and the
 * file around it on a captured machine, where nothing can be written.
 */
#include "hinting.h"

#include <glib/gstdio.h>
#include <string.h>

#define NOTHING HN_HINTING_NOTHING
#define SET HN_HINTING_SET
#define RESTORE HN_HINTING_RESTORE
#define FORGET HN_HINTING_FORGET

static const struct {
    const char *name;
    HnHintingFacts facts;
    HnHintingState state;
    HnHintingAct act;
    uint64_t value;
} rows[] = {
    /* nobody has touched it */
    {"quiet", {.value = "0"}, HN_HINTING_AS_FOUND, NOTHING, 0},
    {"quiet-and-on", {.value = "1"}, HN_HINTING_AS_FOUND, NOTHING, 0},
    {"doubt", {.is_wanted = true, .is_allowed = true, .value = "0"}, HN_HINTING_ON, SET, 1},
    {"doubt-keeps-tiering", {.is_wanted = true, .is_allowed = true, .value = "2"}, HN_HINTING_ON, SET, 3},
    {"doubt-and-on", {.is_wanted = true, .is_allowed = true, .value = "1"}, HN_HINTING_NATIVE, NOTHING, 0},
    {"doubt-and-both", {.is_wanted = true, .is_allowed = true, .value = "3"}, HN_HINTING_NATIVE, NOTHING, 0},
    {"denied", {.is_wanted = true, .value = "0"}, HN_HINTING_DENIED, NOTHING, 0},
    {"refused", {.is_wanted = true, .is_allowed = true, .has_failed = true, .value = "0"},
     HN_HINTING_REFUSED, NOTHING, 0},
    {"no-such-thing", {.is_wanted = true, .is_allowed = true}, HN_HINTING_ABSENT, NOTHING, 0},
    /* ours is in force */
    {"ours", {.is_wanted = true, .is_allowed = true, .was_seen_set = true, .value = "1", .original = "0", .set = "1"},
     HN_HINTING_ON, NOTHING, 0},
    {"settled", {.is_allowed = true, .was_seen_set = true, .value = "1", .original = "0", .set = "1"},
     HN_HINTING_AS_FOUND, RESTORE, 0},
    {"denied-since", {.is_wanted = true, .was_seen_set = true, .value = "1", .original = "0", .set = "1"},
     HN_HINTING_AS_FOUND, RESTORE, 0},
    {"left-by-a-crash", {.is_allowed = true, .value = "1", .original = "0", .set = "1"},
     HN_HINTING_AS_FOUND, RESTORE, 0},
    /* something else is in force */
    {"killed-before-the-write", {.is_wanted = true, .is_allowed = true, .value = "0", .original = "0", .set = "1"},
     HN_HINTING_AS_FOUND, FORGET, 0},
    {"admin-took-it-back",
     {.is_wanted = true, .is_allowed = true, .was_seen_set = true, .value = "0", .original = "0", .set = "1"},
     HN_HINTING_ADMINS, FORGET, 0},
    {"admin-set-another",
     {.is_wanted = true, .is_allowed = true, .value = "2", .original = "0", .set = "1"},
     HN_HINTING_ADMINS, FORGET, 0},
    {"kernel-lost-it", {.value = NULL, .original = "0", .set = "1"}, HN_HINTING_ABSENT, FORGET, 0},
    /* the admin's, from then on */
    {"yielded", {.is_wanted = true, .is_allowed = true, .is_yielded = true, .value = "0"},
     HN_HINTING_ADMINS, NOTHING, 0},
    {"yielded-and-on", {.is_wanted = true, .is_allowed = true, .is_yielded = true, .value = "1"},
     HN_HINTING_NATIVE, NOTHING, 0},
};

static void test_row(gconstpointer data)
{
    guint i = GPOINTER_TO_UINT(data);
    HnHintingStep step = hn_hinting_decide(&rows[i].facts);
    g_assert_cmpstr(hn_hinting_state_name(step.state), ==, hn_hinting_state_name(rows[i].state));
    g_assert_cmpint(step.act, ==, rows[i].act);
    if (step.act == SET)
        g_assert_cmpuint(step.value, ==, rows[i].value);
}

/* Whatever holds, an act is followed by rest: the same facts with the act done ask for nothing more. */
static void test_comes_to_rest(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        HnHintingFacts facts = rows[i].facts;
        HnHintingStep step = hn_hinting_decide(&facts);
        char value[8];
        for (guint n = 0; step.act != NOTHING; n++) {
            g_assert_cmpuint(n, <, 3);
            if (step.act == SET) {
                g_snprintf(value, sizeof value, "%d", (int)step.value);
                facts.original = facts.value;
                facts.value = facts.set = value;
                facts.was_seen_set = true;
            } else {
                facts.value = step.act == RESTORE ? facts.original : facts.value;
                facts.is_yielded |= step.state == HN_HINTING_ADMINS;
                facts.original = facts.set = NULL;
                facts.was_seen_set = false;
            }
            step = hn_hinting_decide(&facts);
        }
        /* What the admin set since is never overwritten. */
        if (rows[i].state == HN_HINTING_ADMINS)
            g_assert_cmpstr(facts.value, ==, rows[i].facts.value);
        if (!facts.is_wanted || !facts.is_allowed)
            g_assert_null(facts.set);
    }
}

typedef struct {
    char *dir;
    HnRoot *root;
    HnJournal *journal;
} Machine;

static Machine *machine_new(const char *value)
{
    Machine *machine = g_new0(Machine, 1);
    machine->dir = g_dir_make_tmp("hn-hinting-XXXXXX", NULL);
    g_autofree char *folder = g_build_filename(machine->dir, "proc/sys/kernel", NULL);
    g_autofree char *file = g_build_filename(folder, "numa_balancing", NULL);
    g_autofree char *journal = g_build_filename(machine->dir, "journal", NULL);
    g_mkdir_with_parents(folder, 0700);
    if (value)
        g_assert_true(g_file_set_contents(file, value, -1, NULL));
    machine->root = hn_root_open(machine->dir, NULL);
    machine->journal = hn_journal_new(journal, "boot", NULL);
    g_assert_nonnull(machine->root);
    g_assert_nonnull(machine->journal);
    return machine;
}

static void machine_free(Machine *machine)
{
    const char *files[] = {"proc/sys/kernel/numa_balancing", "proc/sys/kernel", "proc/sys", "proc",
                           "journal", ""};
    hn_journal_free(machine->journal);
    hn_root_free(machine->root);
    for (guint i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_build_filename(machine->dir, files[i], NULL);
        g_remove(path);
    }
    g_free(machine->dir);
    g_free(machine);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Machine, machine_free)

/* Where it cannot be written, that is said once, nothing is left in the journal, and the next doubt
 * tries again. */
static void test_refused(void)
{
    g_autoptr(Machine) machine = machine_new("0\n");
    HnHinting *hinting = hn_hinting_new(machine->journal, machine->root, false);
    g_autofree char *original = NULL, *set = NULL;

    g_autofree char *said = hn_hinting_want(hinting, 2, true, 0);
    g_assert_nonnull(said);
    g_assert_nonnull(strstr(said, "could not be switched on"));
    g_assert_cmpint(hn_hinting_state(hinting), ==, HN_HINTING_REFUSED);
    g_assert_false(hn_journal_lookup_sysctl(machine->journal, HN_HINTING_PATH, &original, &set));
    g_assert_null(hn_hinting_want(hinting, 2, true, 0));
    g_assert_cmpint(hn_hinting_state(hinting), ==, HN_HINTING_REFUSED);
    g_assert_null(hn_hinting_want(hinting, 0, true, 0));
    g_assert_cmpint(hn_hinting_state(hinting), ==, HN_HINTING_AS_FOUND);
    g_free(hn_hinting_want(hinting, 1, true, 0));
    g_assert_cmpint(hn_hinting_state(hinting), ==, HN_HINTING_REFUSED);
    g_assert_true(hn_hinting_end(hinting, NULL));
    hn_hinting_free(hinting);
}

static void test_sentences(void)
{
    static const struct {
        const char *value;
        bool is_allowed, is_dry_run;
        uint32_t n_doubtful;
        const char *words;
    } cases[] = {
        {"0\n", true, false, 0, "kernel.numa_balancing is 0, as the host has it: no domain"},
        {"1\n", true, false, 3, "kernel.numa_balancing is 1, as the host has it."},
        {"0\n", false, false, 1, "evidence.switch-balancing forbids"},
        {"0\n", true, true, 1, "a dry run changes nothing"},
        {NULL, true, false, 1, "no automatic NUMA balancing"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(Machine) machine = machine_new(cases[i].value);
        HnHinting *hinting =
            hn_hinting_new(machine->journal, machine->root, cases[i].is_dry_run);
        g_free(hn_hinting_want(hinting, cases[i].n_doubtful, cases[i].is_allowed, 0));
        g_autofree char *sentence = hn_hinting_sentence(hinting);
        if (!strstr(sentence, cases[i].words))
            g_error("'%s' does not contain '%s'", sentence, cases[i].words);
        hn_hinting_free(hinting);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strconcat("/hinting/decide/", rows[i].name, NULL);
        g_test_add_data_func(path, GUINT_TO_POINTER(i), test_row);
    }
    g_test_add_func("/hinting/comes-to-rest", test_comes_to_rest);
    g_test_add_func("/hinting/refused", test_refused);
    g_test_add_func("/hinting/sentences", test_sentences);
    return g_test_run();
}
