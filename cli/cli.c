/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The common part of the command: options, the connection, errors, output.
 *
 * Reading verbs use the read-only socket, which everybody may open; the others the read-write one.
 * A path given by --socket is used for both.
 */
#include "cli.h"

#include "qmp/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RUNTIME_DIR "/run/homenode"
#define CALL_TIMEOUT_MS 60000 /* a plan of a large host takes a fresh observation */
#define SCHEMA 1

struct HnCli {
    HnStyle style;
    const HnVerb *verb; /* NULL before it is known */
    bool is_mutating;   /* which socket */
    char *socket_path;  /* --socket; NULL: the default of the verb */
    char *connect;      /* --connect: what the daemon must be connected to; NULL: anything */
    bool is_connect_checked;
    gboolean is_json;
    gboolean is_help, is_version;
    uint32_t timeout_ms;
    HnQmpClient *client; /* connected by the first call */
};

HnCli *hn_cli_new(const HnStyle *style)
{
    HnCli *cli = g_new0(HnCli, 1);
    cli->style = *style;
    cli->timeout_ms = CALL_TIMEOUT_MS;
    return cli;
}

void hn_cli_free(HnCli *cli)
{
    g_clear_pointer(&cli->client, hn_qmp_client_unref);
    g_free(cli->socket_path);
    g_free(cli->connect);
    g_free(cli);
}

const HnStyle *hn_cli_style(const HnCli *cli)
{
    return &cli->style;
}

bool hn_cli_is_json(const HnCli *cli)
{
    return cli->is_json;
}

/* ---- errors ---- */

/* "homenode: TEXT" or "homenode VERB: TEXT", one line whatever is in the text. */
static void complain(const char *verb, const char *text)
{
    g_autofree char *clean = hn_text_clean(text);
    g_printerr("homenode%s%s: %s\n", verb ? " " : "", verb ? verb : "", clean);
}

HnExit hn_cli_usage(HnCli *cli, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    const char *verb = cli->verb ? cli->verb->name : NULL;
    g_autofree char *line =
        g_strdup_printf("%s; see 'homenode %s%s--help'", text, verb ? verb : "", verb ? " " : "");
    complain(verb, line);
    return HN_EXIT_USAGE;
}

HnExit hn_cli_fail(HnCli *cli, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    complain(NULL, text);
    return HN_EXIT_FAILED;
}

/* ---- options ---- */

static GOptionGroup *common_group(HnCli *cli)
{
    const GOptionEntry entries[] = {
        {"socket", 's', 0, G_OPTION_ARG_FILENAME, &cli->socket_path,
         "Control socket of another daemon, or the directory it is in", "PATH"},
        {"connect", 'c', 0, G_OPTION_ARG_STRING, &cli->connect,
         "Only if the daemon serves this libvirt URI", "URI"},
        {"json", 'j', 0, G_OPTION_ARG_NONE, &cli->is_json, "Print JSON instead of tables", NULL},
        {"help", 'h', 0, G_OPTION_ARG_NONE, &cli->is_help, "Show this help", NULL},
        {"version", 0, 0, G_OPTION_ARG_NONE, &cli->is_version, "Show the version", NULL},
        {NULL},
    };
    GOptionGroup *group =
        g_option_group_new("common", "Common options:", "Common options", NULL, NULL);
    g_option_group_add_entries(group, entries);
    return group;
}

static void print_verb_help(const HnVerb *verb, GOptionContext *context)
{
    g_autofree char *options = g_option_context_get_help(context, FALSE, NULL);
    /* GLib's first paragraph names the program, not the verb. */
    const char *rest = strstr(options, "\n\n");
    g_print("Usage: homenode %s [OPTION…]%s%s\n\n%s\n", verb->name, *verb->arguments ? " " : "", verb->arguments,
            verb->summary);
    if (verb->details)
        g_print("\n%s\n", verb->details);
    g_print("%s", rest ? rest + 1 : options);
}

bool hn_cli_parse(HnCli *cli, const GOptionEntry *entries, int *argc, char ***argv, int min_args,
                  int max_args, HnExit *ret_exit)
{
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) error = NULL;
    g_option_context_set_help_enabled(context, FALSE);
    g_option_context_set_main_group(context, common_group(cli));
    if (entries)
        g_option_context_add_main_entries(context, entries, NULL);
    *ret_exit = HN_EXIT_OK;
    if (!g_option_context_parse(context, argc, argv, &error)) {
        *ret_exit = hn_cli_usage(cli, "%s", error->message);
        return false;
    }
    if (cli->is_help) {
        print_verb_help(cli->verb, context);
        return false;
    }
    int n_args = *argc - 1;
    if (n_args < min_args)
        *ret_exit = hn_cli_usage(cli, "an argument is missing: %s", cli->verb->arguments);
    else if (max_args >= 0 && n_args > max_args)
        *ret_exit = hn_cli_usage(cli, "unexpected argument '%s'", (*argv)[max_args + 1]);
    for (int i = 1; i <= n_args && *ret_exit == HN_EXIT_OK; i++)
        if (!*(*argv)[i])
            *ret_exit = hn_cli_usage(cli, "argument %d is empty", i);
    return *ret_exit == HN_EXIT_OK;
}

static void print_help(void)
{
    g_print("Usage: homenode [OPTION…] VERB [ARGUMENT…]\n\n"
            "Shows and steers homenoded, which gives each virtual machine a home NUMA "
            "node.\n\nVerbs:\n");
    for (const HnVerb *verb = hn_verbs; verb->name; verb++)
        g_print("  %-10s %s\n", verb->name, verb->summary);
    g_print(
        "\nOptions, before or after the verb:\n"
        "  -s, --socket=PATH  control socket of another daemon, or the directory it is in\n"
        "  -c, --connect=URI  only if the daemon serves this libvirt URI\n"
        "  -j, --json         print JSON instead of tables\n"
        "  -h, --help         show this help; after a verb, that verb's\n"
        "      --version      show the version\n\n"
        "Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no daemon, 4 no such domain,\n"
        "5 no permission.\n");
}

/* ---- the whole command ---- */

static const HnVerb *find_verb(const char *name)
{
    for (const HnVerb *verb = hn_verbs; verb->name; verb++)
        if (strcmp(verb->name, name) == 0)
            return verb;
    return NULL;
}

#define MAX_WORD 24  /* longer ones are no slips of the finger */
#define MAX_SLIPS 2

/* Letters to insert, delete, replace or swap with their neighbours that make b of a; both at most MAX_WORD long. */
static uint32_t count_slips(const char *a, const char *b)
{
    uint32_t slips[MAX_WORD + 1][MAX_WORD + 1];
    size_t n = strlen(a), m = strlen(b);
    for (uint32_t i = 0; i <= n; i++) {
        for (uint32_t j = 0; j <= m; j++) {
            if (i == 0 || j == 0) {
                slips[i][j] = i + j;
                continue;
            }
            uint32_t replaced = slips[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            slips[i][j] = MIN(replaced, MIN(slips[i - 1][j], slips[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                slips[i][j] = MIN(slips[i][j], slips[i - 2][j - 2] + 1);
        }
    }
    return slips[n][m];
}

/* The verb that was meant; NULL if it is anybody's guess. */
static const char *guess_verb(const char *name)
{
    const char *best = NULL;
    uint32_t best_slips = MAX_SLIPS + 1;
    for (const HnVerb *verb = hn_verbs; verb->name && strlen(name) <= MAX_WORD; verb++) {
        uint32_t slips = count_slips(name, verb->name);
        if (slips < best_slips) {
            best = verb->name;
            best_slips = slips;
        }
    }
    return best;
}

/* Options before the verb: parsing stops at the first word that is none. */
static bool parse_leading(HnCli *cli, int *argc, char ***argv, HnExit *ret_exit)
{
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) error = NULL;
    g_option_context_set_help_enabled(context, FALSE);
    g_option_context_set_strict_posix(context, TRUE);
    g_option_context_set_main_group(context, common_group(cli));
    if (g_option_context_parse(context, argc, argv, &error))
        return true;
    *ret_exit = hn_cli_usage(cli, "%s", error->message);
    return false;
}

HnExit hn_cli_main(HnCli *cli, int argc, char **argv)
{
    HnExit code = HN_EXIT_OK;
    if (!parse_leading(cli, &argc, &argv, &code))
        return code;
    if (cli->is_version) {
        g_print("homenode " HN_VERSION "\n");
        return HN_EXIT_OK;
    }
    bool is_help_verb = argc > 1 && strcmp(argv[1], "help") == 0;
    if (is_help_verb) {
        argc--;
        argv++;
        cli->is_help = TRUE;
    }
    if (argc < 2 && cli->is_help) {
        print_help();
        return HN_EXIT_OK;
    }
    if (argc < 2)
        return hn_cli_usage(cli, "a verb is missing (list, status, plan, explain, …)");
    cli->verb = find_verb(argv[1]);
    if (!cli->verb) {
        const char *guess = guess_verb(argv[1]);
        return hn_cli_usage(cli, "unknown verb '%s'%s%s%s", argv[1], guess ? " (did you mean " : "", guess ? guess : "",
                            guess ? "?)" : "");
    }
    cli->is_mutating = cli->verb->is_mutating;
    return cli->verb->run(cli, argc - 1, argv + 1);
}

/* ---- the daemon ---- */

static char *socket_path(const HnCli *cli)
{
    const char *name = cli->is_mutating ? "control" : "control-ro";
    const char *dir = cli->socket_path ? cli->socket_path : RUNTIME_DIR;
    if (cli->socket_path && !g_file_test(cli->socket_path, G_FILE_TEST_IS_DIR))
        return g_strdup(cli->socket_path);
    return g_build_filename(dir, name, NULL);
}

/* Why there is no connection, and what to do about it. */
static char *explain_no_connection(const char *path, HnQmpError code, const char *message,
                                   HnExit *ret_exit)
{
    *ret_exit = HN_EXIT_NO_DAEMON;
    errno = 0;
    if (access(path, R_OK | W_OK) < 0 && errno == EACCES) {
        *ret_exit = HN_EXIT_DENIED;
        return g_strdup_printf(
            "no permission to use %s: run it as root or as a member of the socket's group", path);
    }
    if (errno == ENOENT || errno == ENOTDIR)
        return g_strdup_printf(
            "homenoded does not run (no socket %s): start it with 'systemctl start homenoded'",
            path);
    if (code == HN_QMP_ERROR_TIMEOUT)
        return g_strdup_printf("homenoded does not answer at %s: see 'systemctl status homenoded'",
                               path);
    return g_strdup_printf("homenoded does not run (%s): start it with 'systemctl start homenoded'",
                           message);
}

/* A failed call as one line, and the exit status that goes with it. */
static char *explain_error(const char *path, const char *command, const GError *error,
                           HnExit *ret_exit)
{
    const char *message = error->message;
    g_autofree char *prefix = g_strconcat(command, ": ", NULL);
    if (g_str_has_prefix(message, prefix))
        message += strlen(prefix);
    *ret_exit = HN_EXIT_FAILED;
    switch (error->code) {
    case HN_QMP_ERROR_CONNECT:
    case HN_QMP_ERROR_TIMEOUT:
        return explain_no_connection(path, (HnQmpError)error->code, message, ret_exit);
    case HN_QMP_ERROR_CLOSED:
        *ret_exit = HN_EXIT_NO_DAEMON;
        return g_strdup_printf("homenoded went away: %s", message);
    case HN_QMP_ERROR_READ_ONLY:
        *ret_exit = HN_EXIT_DENIED;
        return g_strdup_printf(
            "%s is read-only: use the socket 'control', as root or as a member of its group", path);
    case HN_QMP_ERROR_COMMAND_NOT_FOUND:
        return g_strdup_printf("homenoded does not know '%s': it is older than this homenode",
                               command);
    case HN_QMP_ERROR_DOMAIN_NOT_FOUND:
        *ret_exit = HN_EXIT_NO_DOMAIN;
        return g_strdup(message);
    default:
        return g_strdup(message);
    }
}

/* A domain of that name may run in more than one libvirt: who names one gets no other. */
static bool check_connect(HnCli *cli, const char *path, HnExit *ret_exit, char **ret_error)
{
    g_autoptr(GError) error = NULL;
    json_object *reply = NULL;
    if (!cli->connect || cli->is_connect_checked)
        return true;
    if (!hn_qmp_client_call_sync(cli->client, "query-host", NULL, cli->timeout_ms, &reply, &error)) {
        *ret_error = explain_error(path, "query-host", error, ret_exit);
        return false;
    }
    const char *served = hn_reply_string(reply, "connect");
    cli->is_connect_checked = g_strcmp0(served, cli->connect) == 0;
    if (!cli->is_connect_checked) {
        *ret_exit = HN_EXIT_NO_DAEMON;
        *ret_error = g_strdup_printf("the homenoded at %s serves %s, not %s: name the daemon that does with --socket",
                                     path, served ? served : "an unknown libvirt", cli->connect);
    }
    json_object_put(reply);
    return cli->is_connect_checked;
}

bool hn_cli_try(HnCli *cli, const char *command, json_object *arguments, json_object **ret_reply,
                HnExit *ret_exit, char **ret_error)
{
    g_autofree char *path = socket_path(cli);
    g_autoptr(GError) error = NULL;
    json_object *reply = NULL;
    if (!cli->client) {
        /* A socket that systemd holds takes connections while the daemon starts, or restarts and gives its
         * guests back first: that is waited for. */
        HnQmpClientOptions options = hn_qmp_client_options_default;
        options.greeting_timeout_ms = MAX(options.greeting_timeout_ms, cli->timeout_ms);
        cli->client = hn_qmp_client_new(path, &options, NULL, NULL);
    }
    if (!check_connect(cli, path, ret_exit, ret_error)) {
        json_object_put(arguments);
        return false;
    }
    if (!hn_qmp_client_call_sync(cli->client, command, arguments, cli->timeout_ms, &reply,
                                 &error)) {
        *ret_error = explain_error(path, command, error, ret_exit);
        return false;
    }
    if (!json_object_is_type(reply, json_type_object) ||
        hn_reply_int(reply, "schema", SCHEMA) != SCHEMA) {
        *ret_error =
            g_strdup_printf("homenoded answers '%s' in a form this homenode does not know: "
                            "update the older of the two",
                            command);
        *ret_exit = HN_EXIT_FAILED;
        json_object_put(reply);
        return false;
    }
    *ret_reply = reply;
    return true;
}

bool hn_cli_call(HnCli *cli, const char *command, json_object *arguments, json_object **ret_reply,
                 HnExit *ret_exit)
{
    g_autofree char *error = NULL;
    if (hn_cli_try(cli, command, arguments, ret_reply, ret_exit, &error))
        return true;
    complain(NULL, error);
    return false;
}

void hn_cli_set_timeout(HnCli *cli, uint32_t timeout_ms)
{
    cli->timeout_ms = timeout_ms;
}

void hn_cli_only_read(HnCli *cli)
{
    cli->is_mutating = false;
}

void hn_cli_need_write(HnCli *cli)
{
    cli->is_mutating = true;
}

json_object *hn_cli_domains_argument(int argc, char **argv)
{
    json_object *arguments = json_object_new_object();
    if (argc > 1) {
        json_object *domains = json_object_new_array();
        for (int i = 1; i < argc; i++)
            json_object_array_add(domains, json_object_new_string(argv[i]));
        json_object_object_add(arguments, "domains", domains);
    }
    return arguments;
}

/* ---- output ---- */

void hn_cli_print_json(json_object *value)
{
    const char *text = json_object_to_json_string_ext(
        value, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE);
    /* Not g_print(): JSON is UTF-8 whatever the locale. */
    fputs(text, stdout);
    fputc('\n', stdout);
}

void hn_cli_print_table(const HnCli *cli, const HnTable *table)
{
    g_autofree char *text = hn_table_format(table, &cli->style);
    g_print("%s", text);
}

void hn_cli_print_wrapped(const HnCli *cli, uint32_t indent, const char *text)
{
    g_autofree char *clean = hn_text_clean(text);
    g_autofree char *wrapped = hn_text_wrap(clean, indent, cli->style.width);
    g_print("%s", wrapped);
}
