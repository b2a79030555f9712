/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The operator's orders as text and back: see operator_state.h.
 */
#include "operator_state.h"
#include "observe/text.h"

#define HEADER "# homenode state: what the operator ordered and has not taken back. Do not edit.\n"
/* Far above any host; what is beyond is damage. */
#define MAX_DOMAINS 65536

HnOperatorState *hn_operator_state_new(const char *boot_id)
{
    HnOperatorState *state = g_new0(HnOperatorState, 1);
    state->boot_id = g_strdup(boot_id);
    state->domains = g_array_new(FALSE, TRUE, sizeof(HnDomainOrders));
    return state;
}

void hn_operator_state_free(HnOperatorState *state)
{
    if (!state)
        return;
    g_free(state->boot_id);
    g_array_unref(state->domains);
    g_free(state);
}

char *hn_operator_state_format(const HnOperatorState *state)
{
    GString *text = g_string_new(HEADER "version 1\n");
    g_string_append_printf(text, "boot-id %s\n", state->boot_id);
    if (state->is_host_held)
        g_string_append(text, "host held\n");
    for (guint i = 0; i < state->domains->len; i++) {
        const HnDomainOrders *domain = &g_array_index(state->domains, HnDomainOrders, i);
        g_string_append_printf(text,
                               "domain %s pid=%" G_GINT64_FORMAT " start-ticks=%" G_GUINT64_FORMAT "%s%s\n",
                               domain->uuid, domain->pid, domain->start_ticks,
                               domain->is_held ? " held" : "", domain->is_released ? " released" : "");
    }
    g_string_append(text, "end\n");
    return g_string_free(text, FALSE);
}

static bool parse_domain(HnText *line, HnDomainOrders *ret_domain)
{
    HnText uuid, word;
    if (!hn_text_word(line, &uuid) || hn_text_len(&uuid) != HN_UUID_LEN)
        return false;
    g_autofree char *copy = hn_text_dup(&uuid);
    if (!g_uuid_string_is_valid(copy))
        return false;
    *ret_domain = (HnDomainOrders){0};
    g_strlcpy(ret_domain->uuid, copy, sizeof ret_domain->uuid);
    hn_text_skip_blanks(line);
    if (!hn_text_take(line, "pid=") || !hn_text_i64(line, &ret_domain->pid) || ret_domain->pid < 0)
        return false;
    hn_text_skip_blanks(line);
    if (!hn_text_take(line, "start-ticks=") || !hn_text_u64(line, &ret_domain->start_ticks))
        return false;
    while (hn_text_word(line, &word)) {
        if (hn_text_equal(&word, "held") && !ret_domain->is_held)
            ret_domain->is_held = true;
        else if (hn_text_equal(&word, "released") && !ret_domain->is_released)
            ret_domain->is_released = true;
        else
            return false;
    }
    return ret_domain->is_held || ret_domain->is_released;
}

/* One line behind the version; false if it makes no sense where it stands. */
static bool parse_line(HnText line, HnOperatorState *state)
{
    HnText word;
    if (hn_text_equal(&line, "host held")) {
        bool is_first = !state->is_host_held;
        state->is_host_held = true;
        return is_first;
    }
    if (hn_text_take(&line, "boot-id ")) {
        if (state->boot_id || !hn_text_word(&line, &word) || !hn_text_is_empty(&line))
            return false;
        state->boot_id = hn_text_dup(&word);
        return true;
    }
    HnDomainOrders domain;
    if (!hn_text_take(&line, "domain ") || !parse_domain(&line, &domain) ||
        state->domains->len >= MAX_DOMAINS)
        return false;
    g_array_append_val(state->domains, domain);
    return true;
}

HnOperatorState *hn_operator_state_parse(const char *text, size_t len, const char *file, GError **error)
{
    g_autoptr(HnOperatorState) state = hn_operator_state_new(NULL);
    HnText rest = hn_text(text, len), line;
    bool has_version = false, has_end = false;

    while (hn_text_line(&rest, &line)) {
        if (hn_text_is_empty(&line) || *line.at == '#')
            continue;
        bool is_good = !has_end;
        if (is_good && !has_version)
            is_good = has_version = hn_text_equal(&line, "version 1");
        else if (is_good && hn_text_equal(&line, "end"))
            has_end = true;
        else if (is_good)
            is_good = parse_line(line, state);
        if (!is_good) {
            hn_text_fail(error, file, has_version ? "not understood" : "not version 1", &line);
            return NULL;
        }
    }
    if (!has_end || !state->boot_id) {
        line = hn_text("", 0);
        hn_text_fail(error, file, "incomplete", &line);
        return NULL;
    }
    return g_steal_pointer(&state);
}
