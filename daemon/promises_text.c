/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ledger of promised places as text and back: see promises_text.h.
 */
#include "promises_text.h"
#include "observe/text.h"

#include <string.h>

#define HEADER "# homenode promises: guests that were told where to begin. Do not edit.\n"

char *hn_promises_format(const GArray *promises, const char *boot_id)
{
    GString *text = g_string_new(HEADER "version 1\n");
    g_string_append_printf(text, "boot-id %s\n", boot_id);
    for (guint i = 0; i < promises->len; i++) {
        const HnPromise *promise = &g_array_index(promises, HnPromise, i);
        g_string_append_printf(
            text, "guest vcpus=%u bytes=%" G_GUINT64_FORMAT " nodes=%" G_GINT64_MODIFIER "x at-ns=%" G_GUINT64_FORMAT
            " uuid=%s\n",
            promise->guest.n_vcpus, promise->guest.bytes, promise->nodes, promise->promised_ns,
            promise->uuid[0] ? promise->uuid : "-");
    }
    g_string_append(text, "end\n");
    return g_string_free(text, FALSE);
}

/* "KEY=" behind blanks. */
static bool take_key(HnText *line, const char *key)
{
    hn_text_skip_blanks(line);
    return hn_text_take(line, key);
}

static bool parse_promise(HnText line, HnPromise *ret_promise)
{
    HnPromise promise = {0};
    HnText uuid;
    if (!take_key(&line, "vcpus=") || !hn_text_u32(&line, &promise.guest.n_vcpus) ||
        !take_key(&line, "bytes=") || !hn_text_u64(&line, &promise.guest.bytes) ||
        !take_key(&line, "nodes=") || !hn_text_hex(&line, &promise.nodes) ||
        !take_key(&line, "at-ns=") || !hn_text_u64(&line, &promise.promised_ns) ||
        !take_key(&line, "uuid=") || !hn_text_word(&line, &uuid) || !hn_text_is_empty(&line))
        return false;
    if (promise.guest.n_vcpus < 1 || promise.guest.n_vcpus > HN_NEWCOMER_MAX_VCPUS ||
        promise.guest.bytes > HN_NEWCOMER_MAX_BYTES || promise.nodes == 0 ||
        promise.promised_ns > UINT64_MAX - HN_PROMISE_TTL_NS)
        return false;
    g_autofree char *copy = hn_text_dup(&uuid);
    if (strcmp(copy, "-") != 0 && !g_uuid_string_is_valid(copy))
        return false;
    if (strcmp(copy, "-") != 0)
        g_strlcpy(promise.uuid, copy, sizeof promise.uuid);
    *ret_promise = promise;
    return true;
}

GArray *hn_promises_parse(const char *text, size_t len, const char *file, const char *boot_id, GError **error)
{
    g_autoptr(GArray) promises = g_array_new(FALSE, TRUE, sizeof(HnPromise));
    HnText rest = hn_text(text, len), line;
    bool has_version = false, has_boot = false, is_this_boot = false, has_end = false;

    while (hn_text_line(&rest, &line)) {
        HnText left = line;
        HnPromise promise;
        if (hn_text_is_empty(&line) || *line.at == '#')
            continue;
        bool is_good = !has_end;
        if (is_good && !has_version) {
            is_good = has_version = hn_text_equal(&line, "version 1");
        } else if (is_good && !has_boot) {
            is_good = has_boot = hn_text_take(&left, "boot-id ");
            is_this_boot = hn_text_equal(&left, boot_id);
        } else if (is_good && hn_text_equal(&line, "end")) {
            has_end = true;
        } else if (is_good) {
            is_good = hn_text_take(&left, "guest ") && parse_promise(left, &promise) &&
                      promises->len < HN_MAX_PROMISES;
            if (is_good)
                g_array_append_val(promises, promise);
        }
        if (!is_good) {
            hn_text_fail(error, file, has_version ? "not understood" : "not version 1", &line);
            return NULL;
        }
    }
    if (!has_end) {
        line = hn_text("", 0);
        hn_text_fail(error, file, "incomplete", &line);
        return NULL;
    }
    if (!is_this_boot)
        g_array_set_size(promises, 0);
    return g_steal_pointer(&promises);
}
