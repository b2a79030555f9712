/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading and writing the text of journal entries; see journal-text.h. Pure.
 */
#include "journal-text.h"

#include "observe/text.h"

#include <string.h>

#define HEADER "# homenode journal: how this was before homenode changed it, and what it set. Do not edit.\n"
#define MAX_PIECES 65536

static const char *const kind_names[] = {
    [HN_PIECE_VCPU] = "vcpu",   [HN_PIECE_EMULATOR] = "emulator", [HN_PIECE_IOTHREAD] = "iothread",
    [HN_PIECE_VHOST] = "vhost", [HN_PIECE_NODESET] = "nodeset",
};

static const char *const mode_names[] = {
    [HN_NUMATUNE_NONE] = "none",
    [HN_NUMATUNE_STRICT] = "strict",
    [HN_NUMATUNE_PREFERRED] = "preferred",
    [HN_NUMATUNE_INTERLEAVE] = "interleave",
    [HN_NUMATUNE_RESTRICTIVE] = "restrictive",
};

const char *hn_piece_kind_name(HnPieceKind kind)
{
    return (guint)kind < G_N_ELEMENTS(kind_names) ? kind_names[kind] : "?";
}

void hn_sysctl_free(HnSysctl *sysctl)
{
    if (!sysctl)
        return;
    g_free(sysctl->path);
    g_free(sysctl->original);
    g_free(sysctl->set);
    g_free(sysctl);
}

/* ---- writing ---- */

static void put_set(GString *out, const char *key, bool has, const HnCpuset *set)
{
    g_autofree char *text = has ? hn_cpuset_format(set) : g_strdup("none");

    g_string_append_printf(out, " %s=%s", key, text);
}

static void put_piece(GString *out, const HnPiece *piece)
{
    g_string_append_printf(out, "%s %" G_GUINT32_FORMAT, kind_names[piece->kind], piece->id);
    if (piece->kind == HN_PIECE_VHOST)
        g_string_append_printf(out, " start-ticks=%" G_GUINT64_FORMAT, piece->start_ticks);
    if (piece->kind == HN_PIECE_NODESET)
        g_string_append_printf(out, " mode=%s", mode_names[piece->original_mode]);
    put_set(out, "original", piece->has_original, &piece->original);
    put_set(out, "set", piece->has_set, &piece->set);
    put_set(out, "previous", piece->has_previous, &piece->previous);
    g_string_append_printf(out, " owner=%s\n", piece->is_yielded ? "admin" : "homenode");
}

char *hn_journal_entry_format(const HnJournalEntry *entry)
{
    GString *out = g_string_new(HEADER "version 1\n");
    g_autofree char *name = g_strescape(entry->name, NULL);

    g_string_append_printf(out, "uuid %s\nname \"%s\"\nboot-id %s\n", entry->uuid, name, entry->boot_id);
    g_string_append_printf(out, "process pid=%" G_GINT64_FORMAT " start-ticks=%" G_GUINT64_FORMAT "\n",
                           entry->pid, entry->start_ticks);
    g_string_append(out, "allowed");
    {
        g_autofree char *allowed = entry->has_allowed ? hn_cpuset_format(&entry->allowed) : g_strdup("none");

        g_string_append_printf(out, " %s\n", allowed);
    }
    for (guint i = 0; i < entry->pieces->len; i++)
        put_piece(out, &g_array_index(entry->pieces, HnPiece, i));
    g_string_append(out, "end\n");
    return g_string_free(out, FALSE);
}

char *hn_journal_host_format(const char *boot_id, const GPtrArray *sysctls)
{
    GString *out = g_string_new(HEADER "version 1\n");

    g_string_append_printf(out, "boot-id %s\n", boot_id);
    for (guint i = 0; i < sysctls->len; i++) {
        const HnSysctl *sysctl = sysctls->pdata[i];
        g_autofree char *path = g_strescape(sysctl->path, NULL);
        g_autofree char *original = g_strescape(sysctl->original, NULL);
        g_autofree char *set = g_strescape(sysctl->set, NULL);

        g_string_append_printf(out, "sysctl \"%s\" \"%s\" \"%s\"\n", path, original, set);
    }
    g_string_append(out, "end\n");
    return g_string_free(out, FALSE);
}

/* ---- reading ---- */

static bool corrupt(GError **error, const char *file, const char *what, const HnText *line)
{
    g_autoptr(GError) inner = NULL;

    hn_text_fail(&inner, file, what, line);
    g_set_error_literal(error, HN_JOURNAL_ERROR, HN_JOURNAL_ERROR_CORRUPT, inner->message);
    return false;
}

/* The word "key=value": its value. */
static bool take_value(HnText *line, const char *key, HnText *ret_value)
{
    HnText word;

    if (!hn_text_word(line, &word) || !hn_text_take(&word, key) || !hn_text_take(&word, "="))
        return false;
    *ret_value = word;
    return !hn_text_is_empty(&word);
}

static bool parse_set(const HnText *text, bool *ret_has, HnCpuset *ret_set)
{
    *ret_has = !hn_text_equal(text, "none");
    hn_cpuset_zero(ret_set);
    if (!*ret_has)
        return true;
    return hn_cpuset_parse(text->at, hn_text_len(text), ret_set, NULL) && !hn_cpuset_is_empty(ret_set);
}

static bool take_set(HnText *line, const char *key, bool *ret_has, HnCpuset *ret_set)
{
    HnText value;

    return take_value(line, key, &value) && parse_set(&value, ret_has, ret_set);
}

static bool take_number(HnText *line, const char *key, uint64_t *ret_number)
{
    HnText value;

    return take_value(line, key, &value) && hn_text_u64(&value, ret_number) && hn_text_is_empty(&value);
}

static bool take_mode(HnText *line, HnNumatuneMode *ret_mode)
{
    HnText value;

    if (!take_value(line, "mode", &value))
        return false;
    for (guint i = 0; i < G_N_ELEMENTS(mode_names); i++) {
        if (hn_text_equal(&value, mode_names[i])) {
            *ret_mode = (HnNumatuneMode)i;
            return true;
        }
    }
    return false;
}

static bool take_owner(HnText *line, bool *ret_is_admin)
{
    HnText value;

    if (!take_value(line, "owner", &value))
        return false;
    *ret_is_admin = hn_text_equal(&value, "admin");
    return *ret_is_admin || hn_text_equal(&value, "homenode");
}

static bool parse_piece(const HnText *word, HnText *line, HnPiece *ret_piece)
{
    HnPiece piece = {0};
    HnText id, rest;
    guint kind = 0;

    while (kind < G_N_ELEMENTS(kind_names) && !hn_text_equal(word, kind_names[kind]))
        kind++;
    if (kind == G_N_ELEMENTS(kind_names))
        return false;
    piece.kind = (HnPieceKind)kind;
    if (!hn_text_word(line, &id) || !hn_text_u32(&id, &piece.id) || !hn_text_is_empty(&id))
        return false;
    if (piece.kind == HN_PIECE_VHOST && !take_number(line, "start-ticks", &piece.start_ticks))
        return false;
    if (piece.kind == HN_PIECE_NODESET && !take_mode(line, &piece.original_mode))
        return false;
    if (!take_set(line, "original", &piece.has_original, &piece.original) ||
        !take_set(line, "set", &piece.has_set, &piece.set) ||
        !take_set(line, "previous", &piece.has_previous, &piece.previous) ||
        !take_owner(line, &piece.is_yielded) || hn_text_word(line, &rest))
        return false;
    *ret_piece = piece;
    return true;
}

/* The inverse of g_strescape(). NULL for an escape that is cut off, or stands for the end of a string. */
static char *unescape(const char *text, size_t len)
{
    g_autofree char *escaped = g_strndup(text, len);

    for (const char *at = escaped; *at; at++) {
        guint value = 0, n = 0;

        if (*at != '\\')
            continue;
        while (n < 3 && at[n + 1] >= '0' && at[n + 1] <= '7')
            value = value * 8 + (guint)(at[++n] - '0');
        if ((n > 0 && (value == 0 || value > 255)) || !*++at)
            return NULL;
    }
    return g_strcompress(escaped);
}

static char *take_quoted(HnText *line)
{
    const char *start, *at;

    hn_text_skip_blanks(line);
    if (!hn_text_take(line, "\""))
        return NULL;
    start = line->at;
    for (at = start; at < line->end && *at != '"'; at++) {
        if (*at == '\\' && ++at == line->end)
            return NULL;
    }
    if (at >= line->end)
        return NULL;
    line->at = at + 1;
    return unescape(start, (size_t)(at - start));
}

enum { SEEN_VERSION = 1, SEEN_UUID = 2, SEEN_NAME = 4, SEEN_BOOT = 8, SEEN_PROCESS = 16, SEEN_ALLOWED = 32 };
#define SEEN_ALL 63

static bool parse_line(HnJournalEntry *entry, HnText line, guint *seen)
{
    HnText word, value;
    guint bit = 0;
    bool is_good = false;
    uint64_t pid;
    HnPiece piece;

    if (!hn_text_word(&line, &word))
        return false;
    if (hn_text_equal(&word, "version")) {
        bit = SEEN_VERSION;
        is_good = hn_text_word(&line, &value) && hn_text_equal(&value, "1");
    } else if (hn_text_equal(&word, "uuid")) {
        bit = SEEN_UUID;
        is_good = hn_text_word(&line, &value) && hn_text_len(&value) == HN_UUID_LEN;
        if (is_good)
            memcpy(entry->uuid, value.at, HN_UUID_LEN);
    } else if (hn_text_equal(&word, "name")) {
        bit = SEEN_NAME;
        is_good = !entry->name && (entry->name = take_quoted(&line)) && *entry->name;
    } else if (hn_text_equal(&word, "boot-id")) {
        bit = SEEN_BOOT;
        is_good = !entry->boot_id && hn_text_word(&line, &value);
        if (is_good)
            entry->boot_id = hn_text_dup(&value);
    } else if (hn_text_equal(&word, "process")) {
        bit = SEEN_PROCESS;
        is_good = take_number(&line, "pid", &pid) && pid > 0 && pid <= INT32_MAX &&
                  take_number(&line, "start-ticks", &entry->start_ticks);
        entry->pid = is_good ? (int64_t)pid : 0;
    } else if (hn_text_equal(&word, "allowed")) {
        bit = SEEN_ALLOWED;
        is_good = hn_text_word(&line, &value) && parse_set(&value, &entry->has_allowed, &entry->allowed);
    } else {
        if (!parse_piece(&word, &line, &piece) || hn_journal_entry_piece(entry, piece.kind, piece.id) ||
            entry->pieces->len >= MAX_PIECES)
            return false;
        g_array_append_val(entry->pieces, piece);
        return true;
    }
    if (!is_good || (*seen & bit) || hn_text_word(&line, &value))
        return false;
    *seen |= bit;
    return true;
}

HnJournalEntry *hn_journal_entry_parse(const char *text, size_t len, const char *file, GError **error)
{
    g_autoptr(HnJournalEntry) entry = g_new0(HnJournalEntry, 1);
    HnText all = hn_text(text, len), line;
    bool has_end = false;
    guint seen = 0;

    entry->pieces = g_array_new(FALSE, TRUE, sizeof(HnPiece));
    while (hn_text_line(&all, &line)) {
        if (has_end) {
            corrupt(error, file, "something after \"end\"", &line);
            return NULL;
        }
        if (hn_text_is_empty(&line) || *line.at == '#')
            continue;
        if (hn_text_equal(&line, "end")) {
            has_end = true;
        } else if (!parse_line(entry, line, &seen)) {
            corrupt(error, file, "unknown, repeated or malformed", &line);
            return NULL;
        }
    }
    if (!has_end || seen != SEEN_ALL) {
        g_set_error(error, HN_JOURNAL_ERROR, HN_JOURNAL_ERROR_CORRUPT,
                    "%s: cut short: %s is missing", file, has_end ? "a heading" : "the last line \"end\"");
        return NULL;
    }
    return g_steal_pointer(&entry);
}

static HnSysctl *parse_sysctl(HnText *line)
{
    HnSysctl *sysctl = g_new0(HnSysctl, 1);
    HnText rest;

    sysctl->path = take_quoted(line);
    sysctl->original = take_quoted(line);
    sysctl->set = take_quoted(line);
    /* Only ever a kernel setting: a forged journal must not become a write to any file. */
    if (!sysctl->path || !sysctl->original || !sysctl->set || hn_text_word(line, &rest) || strstr(sysctl->path, "..") ||
        !(g_str_has_prefix(sysctl->path, "proc/sys/") || g_str_has_prefix(sysctl->path, "sys/"))) {
        hn_sysctl_free(sysctl);
        return NULL;
    }
    return sysctl;
}

GPtrArray *hn_journal_host_parse(const char *text, size_t len, const char *file, char **ret_boot_id,
                                 GError **error)
{
    g_autoptr(GPtrArray) sysctls = g_ptr_array_new_with_free_func((GDestroyNotify)hn_sysctl_free);
    g_autofree char *boot_id = NULL;
    HnText all = hn_text(text, len), line;
    bool has_end = false, has_version = false;

    while (hn_text_line(&all, &line)) {
        HnText whole = line, word;
        HnSysctl *sysctl;

        if (hn_text_is_empty(&line) || *line.at == '#')
            continue;
        if (has_end) {
            corrupt(error, file, "something after \"end\"", &whole);
            return NULL;
        }
        if (hn_text_equal(&line, "end")) {
            has_end = true;
        } else if (hn_text_equal(&line, "version 1")) {
            has_version = true;
        } else if (hn_text_take(&line, "boot-id ") && !boot_id && hn_text_word(&line, &word)) {
            boot_id = hn_text_dup(&word);
        } else if (hn_text_take(&line, "sysctl ") && (sysctl = parse_sysctl(&line))) {
            g_ptr_array_add(sysctls, sysctl);
        } else {
            corrupt(error, file, "unknown, repeated or malformed", &whole);
            return NULL;
        }
    }
    if (!has_end || !has_version || !boot_id) {
        g_set_error(error, HN_JOURNAL_ERROR, HN_JOURNAL_ERROR_CORRUPT, "%s: cut short: %s is missing", file,
                    has_end ? "a heading" : "the last line \"end\"");
        return NULL;
    }
    *ret_boot_id = g_steal_pointer(&boot_id);
    return g_steal_pointer(&sysctls);
}
