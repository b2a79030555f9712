/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Settings of the kernel that were changed for the whole host; see journal.h. Journalled like domains: written
 * down before, put back after, left alone where the admin has changed them since.
 */
#include "journal-private.h"

#include <string.h>

#define MAX_SYSCTL_BYTES 4096

HnJournalFound *hn_journal_load_host(HnJournal *journal)
{
    g_autofree char *path = g_build_filename(journal->dir, "host", NULL);
    g_autofree char *text = NULL, *boot_id = NULL;
    g_autoptr(GPtrArray) sysctls = NULL;
    g_autoptr(GError) error = NULL;
    gsize len;

    if (!g_file_get_contents(path, &text, &len, &error))
        return hn_journal_set_aside(journal, "host", error->message);
    sysctls = hn_journal_host_parse(text, len, path, &boot_id, &error);
    if (!sysctls)
        return hn_journal_set_aside(journal, "host", error->message);
    if (strcmp(boot_id, journal->boot_id) != 0) {
        /* A reboot has undone them. */
        hn_journal_delete_file(journal, "host", NULL);
        return NULL;
    }
    g_ptr_array_unref(journal->sysctls);
    journal->sysctls = g_steal_pointer(&sysctls);
    return NULL;
}

static HnSysctl *find(GPtrArray *sysctls, const char *path)
{
    for (guint i = 0; i < sysctls->len; i++) {
        HnSysctl *sysctl = sysctls->pdata[i];

        if (strcmp(sysctl->path, path) == 0)
            return sysctl;
    }
    return NULL;
}

static bool write_host(HnJournal *journal, GError **error)
{
    g_autofree char *text = NULL;

    if (journal->sysctls->len == 0)
        return hn_journal_delete_file(journal, "host", error);
    text = hn_journal_host_format(journal->boot_id, journal->sysctls);
    return hn_journal_write_file(journal, "host", text, error);
}

static bool set_locked(HnJournal *journal, const HnRoot *root, const char *path, const char *value,
                       GError **error)
{
    HnSysctl *sysctl = find(journal->sysctls, path);
    g_autofree char *now = NULL, *old_set = NULL;

    if (!(g_str_has_prefix(path, "proc/sys/") || g_str_has_prefix(path, "sys/")) || strstr(path, "..")) {
        g_set_error(error, HN_JOURNAL_ERROR, HN_JOURNAL_ERROR_UNKNOWN,
                    "%s is no kernel setting: allowed is what lies below proc/sys/ and sys/", path);
        return false;
    }
    if (!hn_root_read(root, path, MAX_SYSCTL_BYTES, &now, NULL, error))
        return false;
    g_strchomp(now);
    if (strcmp(now, value) == 0)
        return true;
    if (sysctl) {
        old_set = sysctl->set;
        sysctl->set = g_strdup(value);
    } else {
        sysctl = g_new0(HnSysctl, 1);
        sysctl->path = g_strdup(path);
        sysctl->original = g_steal_pointer(&now);
        sysctl->set = g_strdup(value);
        g_ptr_array_add(journal->sysctls, sysctl);
    }
    if (!write_host(journal, error)) {
        if (old_set) {
            g_free(sysctl->set);
            sysctl->set = g_steal_pointer(&old_set);
        } else {
            g_ptr_array_remove(journal->sysctls, sysctl);
        }
        return false;
    }
    return hn_root_write(root, path, value, error);
}

bool hn_journal_set_sysctl(HnJournal *journal, const HnRoot *root, const char *path, const char *value,
                           GError **error)
{
    bool is_good;

    g_mutex_lock(&journal->lock);
    is_good = set_locked(journal, root, path, value, error);
    g_mutex_unlock(&journal->lock);
    return is_good;
}

/* True if it is back, no longer ours, or gone from the kernel. */
static bool restore_one(const HnSysctl *sysctl, const HnRoot *root, GError **error)
{
    g_autofree char *now = NULL;

    if (!hn_root_exists(root, sysctl->path))
        return true;
    if (!hn_root_read(root, sysctl->path, MAX_SYSCTL_BYTES, &now, NULL, error))
        return false;
    g_strchomp(now);
    if (strcmp(now, sysctl->set) != 0)
        return true;
    return hn_root_write(root, sysctl->path, sysctl->original, error);
}

bool hn_journal_lookup_sysctl(HnJournal *journal, const char *path, char **ret_original, char **ret_set)
{
    g_mutex_lock(&journal->lock);
    const HnSysctl *sysctl = find(journal->sysctls, path);
    if (sysctl) {
        *ret_original = g_strdup(sysctl->original);
        *ret_set = g_strdup(sysctl->set);
    }
    g_mutex_unlock(&journal->lock);
    return sysctl != NULL;
}

bool hn_journal_forget_sysctl(HnJournal *journal, const char *path, GError **error)
{
    bool is_good = true;

    g_mutex_lock(&journal->lock);
    HnSysctl *sysctl = find(journal->sysctls, path);
    if (sysctl) {
        g_ptr_array_remove(journal->sysctls, sysctl);
        is_good = write_host(journal, error);
    }
    g_mutex_unlock(&journal->lock);
    return is_good;
}

bool hn_journal_restore_sysctl(HnJournal *journal, const HnRoot *root, const char *path, GError **error)
{
    bool is_good = true;

    g_mutex_lock(&journal->lock);
    HnSysctl *sysctl = find(journal->sysctls, path);
    if (sysctl) {
        is_good = restore_one(sysctl, root, error);
        if (is_good) {
            g_ptr_array_remove(journal->sysctls, sysctl);
            is_good = write_host(journal, error);
        }
    }
    g_mutex_unlock(&journal->lock);
    return is_good;
}

bool hn_journal_restore_sysctls(HnJournal *journal, const HnRoot *root, GError **error)
{
    g_autoptr(GError) first = NULL;

    g_mutex_lock(&journal->lock);
    for (guint i = journal->sysctls->len; i > 0; i--) {
        g_autoptr(GError) one = NULL;

        if (restore_one(journal->sysctls->pdata[i - 1], root, &one))
            g_ptr_array_remove_index(journal->sysctls, i - 1);
        else if (!first)
            first = g_steal_pointer(&one);
    }
    write_host(journal, first ? NULL : &first);
    g_mutex_unlock(&journal->lock);
    if (!first)
        return true;
    g_propagate_error(error, g_steal_pointer(&first));
    return false;
}
