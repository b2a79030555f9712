/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode replay: decides the rounds that `homenode snapshot` wrote once more, and says where the
 * decisions differ from the recorded ones: after a change of the program, or with another policy.
 * Needs no daemon.
 */
#include "cli.h"
#include "replay.h"

#include <string.h>

/* A recording of the largest host that the model knows is a few MiB a round. */
#define DOCUMENT_MAX_BYTES (256u << 20)

static json_object *read_document(const char *path, GError **error)
{
    g_autofree char *text = NULL;
    gsize length;
    if (!g_file_get_contents(path, &text, &length, error))
        return NULL;
    if (length > DOCUMENT_MAX_BYTES) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "%s has %" G_GSIZE_FORMAT " bytes; a recording has at most %u", path, length,
                    DOCUMENT_MAX_BYTES);
        return NULL;
    }
    struct json_tokener *tokener = json_tokener_new();
    json_object *document = json_tokener_parse_ex(tokener, text, (int)length);
    enum json_tokener_error code = json_tokener_get_error(tokener);
    if (code != json_tokener_success)
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "%s is not JSON: byte %zu: %s", path,
                    json_tokener_get_parse_end(tokener), json_tokener_error_desc(code));
    json_tokener_free(tokener);
    if (code == json_tokener_success && !json_object_is_type(document, json_type_object)) {
        json_object_put(document);
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "%s: it is not a JSON object", path);
        return NULL;
    }
    return code == json_tokener_success ? document : NULL;
}

/* The results of all rounds as one document; NULL: error names round and member. */
static json_object *decide_all(json_object *rounds, char **settings, GError **error)
{
    json_object *results = json_object_new_array();
    size_t n_rounds = json_object_array_length(rounds), n_different = 0;
    for (size_t i = 0; i < n_rounds; i++) {
        json_object *round = json_object_array_get_idx(rounds, i), *result;
        for (char **setting = settings; setting && *setting; setting++)
            hn_replay_set_policy(round, *setting, NULL); /* checked before */
        result = hn_replay_decide(round, error);
        if (!result) {
            g_prefix_error(error, "round %zu of %zu: ", i + 1, n_rounds);
            json_object_put(results);
            return NULL;
        }
        n_different += !hn_reply_bool(result, "is-same");
        json_object_array_add(results, result);
    }
    json_object *document = json_object_new_object();
    json_object_object_add(document, "schema", json_object_new_int(1));
    json_object_object_add(document, "n-different", json_object_new_int64((int64_t)n_different));
    json_object_object_add(document, "rounds", results);
    return document;
}

static void print_difference(const HnCli *cli, json_object *difference)
{
    const char *name = hn_reply_string(difference, "name"),
               *recorded = hn_reply_string(difference, "recorded");
    const char *replayed = hn_reply_string(difference, "replayed"),
               *what = hn_reply_string(difference, "what");
    if (strcmp(what, "sentence") == 0) {
        g_autofree char *was = g_strdup_printf("Recorded: %s", recorded ? recorded : "-");
        g_autofree char *is = g_strdup_printf("Now: %s", replayed ? replayed : "-");
        hn_cli_print_wrapped(cli, 4, was);
        hn_cli_print_wrapped(cli, 4, is);
        return;
    }
    const char *arrow = hn_cli_style(cli)->is_utf8 ? "→" : "->";
    g_autofree char *line = g_strdup_printf("%s: %s: %s %s %s", name ? name : "the host", what,
                                            recorded && *recorded ? recorded : "-", arrow,
                                            replayed && *replayed ? replayed : "-");
    hn_cli_print_wrapped(cli, 2, line);
}

static void print_results(const HnCli *cli, json_object *document)
{
    size_t n_rounds = hn_reply_count(document, "rounds");
    for (size_t i = 0; i < n_rounds; i++) {
        json_object *round = hn_reply_at(document, "rounds", i);
        g_autofree char *line = g_strdup_printf(
            "Round %zu of %zu, generation %" G_GINT64_FORMAT ", %" G_GINT64_FORMAT " domain%s: %s",
            i + 1, n_rounds, hn_reply_int(round, "generation", 0),
            hn_reply_int(round, "n-domains", 0),
            hn_reply_int(round, "n-domains", 0) == 1 ? "" : "s",
            hn_reply_bool(round, "is-same") ? "same" : "differs");
        hn_cli_print_wrapped(cli, 0, line);
        for (size_t d = 0; d < hn_reply_count(round, "differences"); d++)
            print_difference(cli, hn_reply_at(round, "differences", d));
    }
}

HnExit hn_verb_replay(HnCli *cli, int argc, char **argv)
{
    g_auto(GStrv) settings = NULL;
    const GOptionEntry entries[] = {
        {"policy", 'p', 0, G_OPTION_ARG_STRING_ARRAY, &settings,
         "Decide with this instead of the recorded value; may be repeated", "KEY=VALUE"},
        {NULL},
    };
    HnExit code;
    if (!hn_cli_parse(cli, entries, &argc, &argv, 1, 1, &code))
        return code;
    g_autoptr(GError) error = NULL;
    for (char **setting = settings; setting && *setting; setting++)
        if (!hn_replay_set_policy(NULL, *setting, &error))
            return hn_cli_usage(cli, "--policy %s", error->message);
    json_object *document = read_document(argv[1], &error), *rounds = NULL, *results = NULL;
    if (document && !(rounds = hn_replay_rounds(document, &error)))
        g_prefix_error(&error, "%s: ", argv[1]);
    if (rounds && !(results = decide_all(rounds, settings, &error)))
        g_prefix_error(&error, "%s: ", argv[1]);
    json_object_put(rounds);
    json_object_put(document);
    if (!results) {
        /* Like cmp(1): what cannot be compared is not "different". */
        hn_cli_fail(cli, "%s", error->message);
        return HN_EXIT_USAGE;
    }
    if (hn_cli_is_json(cli))
        hn_cli_print_json(results);
    else
        print_results(cli, results);
    code = hn_reply_int(results, "n-different", 0) > 0 ? HN_EXIT_FAILED : HN_EXIT_OK;
    json_object_put(results);
    return code;
}
