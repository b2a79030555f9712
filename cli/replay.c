/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See replay.h. Plans are compared as documents: the recorded one is nothing else, and what its
 * reader does not know of a newer daemon's plan is left alone.
 */
#include "replay.h"
#include "reply.h"

#include "report/plan_json.h"
#include "report/round_json.h"

#include <gio/gio.h>
#include <string.h>

json_object *hn_replay_rounds(json_object *document, GError **error)
{
    json_object *rounds = NULL;
    if (g_strcmp0(hn_reply_string(document, "format"), HN_ROUND_FORMAT) == 0) {
        rounds = json_object_new_array();
        json_object_array_add(rounds, json_object_get(document));
        return rounds;
    }
    if (hn_reply_count(document, "rounds") > 0 &&
        json_object_object_get_ex(document, "rounds", &rounds))
        return json_object_get(rounds);
    g_set_error_literal(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                        "it holds no recorded round: 'homenode snapshot' writes them");
    return NULL;
}

/* ---- the policy ---- */

static json_object *parse_value(const char *text, json_type type)
{
    guint64 number;
    if (type == json_type_boolean && strcmp(text, "yes") == 0)
        return json_object_new_boolean(true);
    if (type == json_type_boolean && strcmp(text, "no") == 0)
        return json_object_new_boolean(false);
    if (type == json_type_int && g_ascii_string_to_unsigned(text, 10, 0, G_MAXINT64, &number, NULL))
        return json_object_new_int64((int64_t)number);
    return NULL;
}

/* Every key with its default, one list for the check and for the error. */
static json_object *known_policy(void)
{
    HnPolicy policy;
    hn_policy_init(&policy);
    return hn_policy_to_json(&policy);
}

gboolean hn_replay_set_policy(json_object *round, const char *setting, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(setting, "=", 2);
    json_object *known = known_policy(), *usual = NULL, *value = NULL;
    if (g_strv_length(parts) == 2 && json_object_object_get_ex(known, parts[0], &usual))
        value = parse_value(parts[1], json_object_get_type(usual));
    if (!usual) {
        g_autoptr(GString) keys = g_string_new(NULL);
        json_object_object_foreach(known, key, unused)
        {
            (void)unused;
            g_string_append_printf(keys, "%s%s", keys->len ? ", " : "", key);
        }
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "'%s' is not KEY=VALUE; allowed keys: %s", setting, keys->str);
    } else if (!value) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "'%s': the value must be %s",
                    setting,
                    json_object_is_type(usual, json_type_boolean) ? "yes or no" : "a whole number");
    } else if (hn_reply_object(round, "policy")) {
        json_object_object_add(hn_reply_object(round, "policy"), parts[0], json_object_get(value));
    }
    gboolean is_good = value != NULL;
    json_object_put(value);
    json_object_put(known);
    return is_good;
}

/* ---- comparing ---- */

static void add_difference(json_object *list, json_object *verdict, const char *what,
                           const char *recorded, const char *replayed)
{
    static const char *const of_whom[] = {"uuid", "name"};
    json_object *difference = json_object_new_object();
    for (guint i = 0; i < G_N_ELEMENTS(of_whom); i++) {
        const char *text = hn_reply_string(verdict, of_whom[i]);
        json_object_object_add(difference, of_whom[i], text ? json_object_new_string(text) : NULL);
    }
    json_object_object_add(difference, "what", json_object_new_string(what));
    json_object_object_add(difference, "recorded",
                           recorded ? json_object_new_string(recorded) : NULL);
    json_object_object_add(difference, "replayed",
                           replayed ? json_object_new_string(replayed) : NULL);
    json_object_array_add(list, difference);
}

/* Client by client, "0" or "0,-": the wanted homes. */
static char *homes_of(json_object *verdict)
{
    GString *homes = g_string_new(NULL);
    for (size_t i = 0; i < hn_reply_count(verdict, "clients"); i++) {
        int64_t home = hn_reply_int(hn_reply_at(verdict, "clients", i), "home-wanted", -1);
        if (homes->len)
            g_string_append_c(homes, ',');
        if (home < 0)
            g_string_append_c(homes, '-');
        else
            g_string_append_printf(homes, "%" G_GINT64_FORMAT, home);
    }
    return g_string_free(homes, FALSE);
}

/* A domain's actions in order: "step 1 pin to 0; step 2 move-memory 1 to 0, 80M". */
static char *actions_of(json_object *plan, const char *uuid)
{
    GString *actions = g_string_new(NULL);
    for (size_t i = 0; i < hn_reply_count(plan, "actions"); i++) {
        json_object *action = hn_reply_at(plan, "actions", i);
        if (g_strcmp0(hn_reply_string(action, "uuid"), uuid) != 0)
            continue;
        const char *kind = hn_reply_string(action, "kind");
        g_autofree char *from = hn_reply_int_list(action, "from-nodes");
        g_autofree char *to = hn_reply_int_list(action, "to-nodes");
        g_string_append_printf(
            actions, "%sstep %" G_GINT64_FORMAT " %s client %" G_GINT64_FORMAT " %s to %s",
            actions->len ? "; " : "", hn_reply_int(action, "step", 0), kind ? kind : "?",
            hn_reply_int(action, "client", 0), from, to);
        if (hn_reply_int(action, "bytes", 0) > 0)
            g_string_append_printf(actions, ", %" G_GINT64_FORMAT " bytes",
                                   hn_reply_int(action, "bytes", 0));
    }
    return g_string_free(actions, FALSE);
}

/* Both texts, taken. */
static void compare_texts(json_object *list, json_object *verdict, const char *what, char *recorded,
                          char *replayed)
{
    if (g_strcmp0(recorded, replayed) != 0)
        add_difference(list, verdict, what, recorded, replayed);
    g_free(recorded);
    g_free(replayed);
}

static char *word(bool value)
{
    return g_strdup(value ? "yes" : "no");
}

static json_object *find_verdict(json_object *plan, const char *uuid)
{
    for (size_t i = 0; i < hn_reply_count(plan, "verdicts"); i++) {
        json_object *verdict = hn_reply_at(plan, "verdicts", i);
        if (g_strcmp0(hn_reply_string(verdict, "uuid"), uuid) == 0)
            return verdict;
    }
    return NULL;
}

static void compare_verdicts(json_object *list, json_object *old_plan, json_object *old,
                             json_object *new_plan, json_object *new)
{
    const char *uuid = hn_reply_string(new, "uuid");
    size_t n_before = json_object_array_length(list);
    compare_texts(list, new, "reason", g_strdup(hn_reply_string(old, "reason")),
                  g_strdup(hn_reply_string(new, "reason")));
    compare_texts(list, new, "will-act", word(hn_reply_bool(old, "will-act")),
                  word(hn_reply_bool(new, "will-act")));
    compare_texts(list, new, "home", homes_of(old), homes_of(new));
    compare_texts(list, new, "bytes-to-move",
                  g_strdup_printf("%" G_GINT64_FORMAT, hn_reply_int(old, "bytes-to-move", 0)),
                  g_strdup_printf("%" G_GINT64_FORMAT, hn_reply_int(new, "bytes-to-move", 0)));
    compare_texts(list, new, "actions", actions_of(old_plan, uuid), actions_of(new_plan, uuid));
    if (json_object_array_length(list) > n_before)
        compare_texts(list, new, "sentence", g_strdup(hn_reply_string(old, "sentence")),
                      g_strdup(hn_reply_string(new, "sentence")));
}

static json_object *compare_plans(json_object *old_plan, json_object *new_plan)
{
    json_object *list = json_object_new_array();
    compare_texts(list, NULL, "is-overfull", word(hn_reply_bool(old_plan, "is-overfull")),
                  word(hn_reply_bool(new_plan, "is-overfull")));
    for (size_t i = 0; i < hn_reply_count(new_plan, "verdicts"); i++) {
        json_object *new = hn_reply_at(new_plan, "verdicts", i);
        json_object *old = find_verdict(old_plan, hn_reply_string(new, "uuid"));
        if (old)
            compare_verdicts(list, old_plan, old, new_plan, new);
        else
            add_difference(list, new, "domain", NULL, hn_reply_string(new, "reason"));
    }
    for (size_t i = 0; i < hn_reply_count(old_plan, "verdicts"); i++) {
        json_object *old = hn_reply_at(old_plan, "verdicts", i);
        if (!find_verdict(new_plan, hn_reply_string(old, "uuid")))
            add_difference(list, old, "domain", hn_reply_string(old, "reason"), NULL);
    }
    return list;
}

json_object *hn_replay_decide(json_object *round, GError **error)
{
    g_autoptr(HnRoundRecord) record = hn_round_record_from_json(round, error);
    if (!record)
        return NULL;
    if (!record->plan) {
        g_set_error_literal(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                            "it has no recorded plan to compare with");
        return NULL;
    }
    g_autoptr(HnPast) past =
        *record->past ? hn_past_parse(record->past, strlen(record->past), error) : hn_past_new();
    if (!past)
        return NULL;
    g_autoptr(HnPlan) plan =
        hn_decide(record->snapshot, &record->policy, past, (const HnForce *)record->forces->data,
                  record->forces->len, (const HnOutcome *)record->outcomes->data,
                  record->outcomes->len, (const char *const *)record->in_flight, error);
    if (!plan)
        return NULL;
    json_object *document = hn_plan_to_json(plan, record->snapshot->host);
    json_object *differences = compare_plans(record->plan, document);
    json_object *result = json_object_new_object();
    json_object_object_add(result, "generation", json_object_new_int64((int64_t)plan->generation));
    json_object_object_add(result, "n-domains", json_object_new_int64(plan->verdicts->len));
    json_object_object_add(result, "is-same",
                           json_object_new_boolean(json_object_array_length(differences) == 0));
    json_object_object_add(result, "differences", differences);
    json_object_object_add(result, "plan", document);
    return result;
}
