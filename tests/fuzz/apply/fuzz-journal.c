/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whatever lies in the journal's directory is read as root and acted upon. What is accepted must mean the same when
 * written and read again: a text that reads differently the second time would restore something else.
 */
#include "apply/backoff.h"
#include "apply/journal-text.h"
#include "apply/room.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_entry(const char *text, size_t len)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(HnJournalEntry) entry = hn_journal_entry_parse(text, len, "fuzz", &error), again = NULL;
    g_autofree char *first = NULL, *second = NULL;

    g_assert(!entry == !!error);
    if (!entry)
        return;
    first = hn_journal_entry_format(entry);
    again = hn_journal_entry_parse(first, strlen(first), "fuzz", NULL);
    g_assert(again);
    second = hn_journal_entry_format(again);
    g_assert(strcmp(first, second) == 0);
    g_assert(entry->pid > 0 && strlen(entry->uuid) <= HN_UUID_LEN);
}

static void try_host(const char *text, size_t len)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *boot_id = NULL, *formatted = NULL, *boot_again = NULL;
    g_autoptr(GPtrArray) sysctls = hn_journal_host_parse(text, len, "fuzz", &boot_id, &error), again = NULL;

    g_assert(!sysctls == !!error);
    if (!sysctls)
        return;
    for (guint i = 0; i < sysctls->len; i++) {
        const HnSysctl *sysctl = sysctls->pdata[i];

        g_assert(g_str_has_prefix(sysctl->path, "proc/sys/") || g_str_has_prefix(sysctl->path, "sys/"));
        g_assert(!strstr(sysctl->path, ".."));
    }
    formatted = hn_journal_host_format(boot_id, sysctls);
    again = hn_journal_host_parse(formatted, strlen(formatted), "fuzz", &boot_again, NULL);
    g_assert(again && again->len == sysctls->len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    uint32_t permille;
    uint64_t bytes;

    try_entry(text, size);
    try_host(text, size);
    hn_psi_parse(text, size, &permille, NULL);
    hn_room_parse_meminfo(text, size, &bytes, &bytes, NULL);
    return 0;
}
