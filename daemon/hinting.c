/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The duty cycle of kernel.numa_balancing: see hinting.h.
 */
#include "hinting.h"

#include <string.h>

/* Bit of the sysctl that stands for balancing; bit 1 is memory tiering. */
#define BALANCING_BIT 1
#define MAX_VALUE_BYTES 64

struct HnHinting {
    HnJournal *journal;
    const HnRoot *root;
    bool is_dry_run;
    HnHintingState state;
    bool was_seen_set, is_yielded, has_failed;
    uint32_t n_doubtful;
    char *value;   /* in force at the last look */
    char *problem; /* why the kernel refused */
};

HnHinting *hn_hinting_new(HnJournal *journal, const HnRoot *root, bool is_dry_run)
{
    HnHinting *hinting = g_new0(HnHinting, 1);
    hinting->journal = journal;
    hinting->root = root;
    hinting->is_dry_run = is_dry_run;
    return hinting;
}

void hn_hinting_free(HnHinting *hinting)
{
    if (!hinting)
        return;
    g_free(hinting->value);
    g_free(hinting->problem);
    g_free(hinting);
}

HnHintingStep hn_hinting_decide(const HnHintingFacts *facts)
{
    if (facts->set && !facts->value)
        return (HnHintingStep){.state = HN_HINTING_ABSENT, .act = HN_HINTING_FORGET};
    if (!facts->value)
        return (HnHintingStep){.state = HN_HINTING_ABSENT};
    if (facts->set && strcmp(facts->value, facts->set) == 0) {
        bool is_kept = facts->is_wanted && facts->is_allowed;
        return (HnHintingStep){.state = is_kept ? HN_HINTING_ON : HN_HINTING_AS_FOUND,
                               .act = is_kept ? HN_HINTING_NOTHING : HN_HINTING_RESTORE};
    }
    /* Journalled, but another value is in force. If it is the one from before us and we have never
     * seen ours, we were killed between writing it down and setting it. Else somebody set it. */
    if (facts->set)
        return (HnHintingStep){.state = facts->was_seen_set ||
                                                strcmp(facts->value, facts->original) != 0
                                            ? HN_HINTING_ADMINS
                                            : HN_HINTING_AS_FOUND,
                               .act = HN_HINTING_FORGET};
    uint64_t number = g_ascii_strtoull(facts->value, NULL, 10);
    if (number & BALANCING_BIT)
        return (HnHintingStep){.state =
                                   facts->is_wanted ? HN_HINTING_NATIVE : HN_HINTING_AS_FOUND};
    if (facts->is_yielded)
        return (HnHintingStep){.state = HN_HINTING_ADMINS};
    if (!facts->is_wanted)
        return (HnHintingStep){.state = HN_HINTING_AS_FOUND};
    if (!facts->is_allowed)
        return (HnHintingStep){.state = HN_HINTING_DENIED};
    if (facts->has_failed)
        return (HnHintingStep){.state = HN_HINTING_REFUSED};
    return (HnHintingStep){
        .state = HN_HINTING_ON, .act = HN_HINTING_SET, .value = number | BALANCING_BIT};
}

static void look(HnHinting *hinting, bool is_allowed, HnHintingFacts *facts, char **original,
                 char **set)
{
    g_clear_pointer(original, g_free);
    g_clear_pointer(set, g_free);
    g_clear_pointer(&hinting->value, g_free);
    if (hn_root_read(hinting->root, HN_HINTING_PATH, MAX_VALUE_BYTES, &hinting->value, NULL, NULL))
        g_strstrip(hinting->value);
    hn_journal_lookup_sysctl(hinting->journal, HN_HINTING_PATH, original, set);
    *facts = (HnHintingFacts){
        .is_wanted = hinting->n_doubtful > 0,
        .is_allowed = is_allowed && !hinting->is_dry_run,
        .value = hinting->value,
        .original = *original,
        .set = *set,
        .was_seen_set = hinting->was_seen_set,
        .is_yielded = hinting->is_yielded,
        .has_failed = hinting->has_failed,
    };
    hinting->was_seen_set =
        *set ? hinting->was_seen_set || g_strcmp0(hinting->value, *set) == 0 : false;
}

static void set_problem(HnHinting *hinting, const GError *error)
{
    g_free(hinting->problem);
    hinting->problem = error ? g_strdup(error->message) : NULL;
}

/* The scan size follows the switch, as far as the kernel has it; without it a look only takes
 * longer. */
static void set_scan_size(HnHinting *hinting, uint64_t scan_mib)
{
    g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, scan_mib);
    if (scan_mib > 0)
        hn_journal_set_sysctl(hinting->journal, hinting->root, HN_HINTING_SCAN_PATH, text, NULL);
}

static bool act(HnHinting *hinting, const HnHintingStep *step, uint64_t scan_mib, GError **error)
{
    g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, step->value);
    switch (step->act) {
    case HN_HINTING_SET:
        if (!hn_journal_set_sysctl(hinting->journal, hinting->root, HN_HINTING_PATH, text, error)) {
            hn_journal_forget_sysctl(hinting->journal, HN_HINTING_PATH, NULL);
            return false;
        }
        hinting->was_seen_set = true;
        set_scan_size(hinting, scan_mib);
        return true;
    case HN_HINTING_RESTORE:
        hn_journal_restore_sysctl(hinting->journal, hinting->root, HN_HINTING_SCAN_PATH, NULL);
        return hn_journal_restore_sysctl(hinting->journal, hinting->root, HN_HINTING_PATH, error);
    case HN_HINTING_FORGET:
        hn_journal_restore_sysctl(hinting->journal, hinting->root, HN_HINTING_SCAN_PATH, NULL);
        return hn_journal_forget_sysctl(hinting->journal, HN_HINTING_PATH, error);
    default:
        return true;
    }
}

char *hn_hinting_want(HnHinting *hinting, uint32_t n_doubtful, bool is_allowed, uint64_t scan_mib)
{
    HnHintingState before = hinting->state;
    HnHintingFacts facts;
    g_autofree char *original = NULL, *set = NULL;
    g_autoptr(GError) error = NULL;

    hinting->n_doubtful = n_doubtful;
    if (n_doubtful == 0)
        hinting->has_failed = false; /* the next doubt may try again */
    look(hinting, is_allowed, &facts, &original, &set);
    HnHintingStep step = hn_hinting_decide(&facts);
    if (step.act == HN_HINTING_FORGET && !hinting->is_dry_run) {
        hinting->is_yielded |= step.state == HN_HINTING_ADMINS;
        act(hinting, &step, scan_mib, NULL);
        look(hinting, is_allowed, &facts, &original, &set);
        step = hn_hinting_decide(&facts);
    }
    hinting->state = step.state;
    if (step.act != HN_HINTING_NOTHING && !hinting->is_dry_run &&
        !act(hinting, &step, scan_mib, &error)) {
        hinting->has_failed = true;
        hinting->state = HN_HINTING_REFUSED;
    }
    set_problem(hinting, error);
    if (step.act == HN_HINTING_SET || step.act == HN_HINTING_RESTORE) {
        g_free(hinting->value);
        hinting->value = NULL;
        if (hn_root_read(hinting->root, HN_HINTING_PATH, MAX_VALUE_BYTES, &hinting->value, NULL,
                         NULL))
            g_strstrip(hinting->value);
    }
    bool is_told = hinting->state != before &&
                   (step.act != HN_HINTING_NOTHING || hinting->state == HN_HINTING_ADMINS);
    return is_told ? hn_hinting_sentence(hinting) : NULL;
}

void hn_hinting_reset(HnHinting *hinting)
{
    hinting->is_yielded = hinting->has_failed = false;
}

bool hn_hinting_end(HnHinting *hinting, GError **error)
{
    if (hinting->is_dry_run)
        return true;
    hinting->n_doubtful = 0;
    hinting->state = HN_HINTING_AS_FOUND;
    hn_journal_restore_sysctl(hinting->journal, hinting->root, HN_HINTING_SCAN_PATH, NULL);
    return hn_journal_restore_sysctl(hinting->journal, hinting->root, HN_HINTING_PATH, error);
}

HnHintingState hn_hinting_state(const HnHinting *hinting)
{
    return hinting->state;
}

const char *hn_hinting_state_name(HnHintingState state)
{
    static const char *const names[] = {"as-found", "on",      "native", "denied",
                                        "admins",   "refused", "absent"};
    return (unsigned)state < G_N_ELEMENTS(names) ? names[state] : "?";
}

char *hn_hinting_sentence(const HnHinting *hinting)
{
    const char *value = hinting->value ? hinting->value : "?";
    switch (hinting->state) {
    case HN_HINTING_AS_FOUND:
        return g_strdup_printf(
            "kernel.numa_balancing is %s, as the host has it: no domain is in doubt.", value);
    case HN_HINTING_ON:
        return g_strdup_printf(
            "kernel.numa_balancing is switched on (%s) while %u domain%s in doubt.", value,
            hinting->n_doubtful, hinting->n_doubtful == 1 ? " is" : "s are");
    case HN_HINTING_NATIVE:
        return g_strdup_printf("kernel.numa_balancing is %s, as the host has it.", value);
    case HN_HINTING_DENIED:
        return g_strdup_printf("kernel.numa_balancing is %s, and %s.", value,
                               hinting->is_dry_run
                                   ? "a dry run changes nothing"
                                   : "evidence.switch-balancing forbids to switch it on");
    case HN_HINTING_ADMINS:
        return g_strdup_printf("kernel.numa_balancing is %s: somebody changed it while homenode had "
                               "switched it on, so it is left alone until the configuration is read "
                               "again.",
                               value);
    case HN_HINTING_REFUSED:
        return g_strdup_printf("kernel.numa_balancing is %s and could not be switched on: %s.",
                               value, hinting->problem ? hinting->problem : "it was refused before");
    default:
        return g_strdup("This kernel has no automatic NUMA balancing.");
    }
}
