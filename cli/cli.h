/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every verb of `homenode` gets: options that are common to all, one connection to the daemon,
 * and one way to report what went wrong.
 *
 * A verb parses its own options, calls the daemon, prints, and returns an HnExit. It does not
 * connect, exit or print errors by itself.
 */
#pragma once

#include "reply.h"
#include "table.h"
#include "text.h"

#include <glib.h>
#include <json-c/json.h>

/* Exit status; part of the interface, see homenode(1). */
typedef enum {
    HN_EXIT_OK = 0,
    HN_EXIT_FAILED = 1,    /* the daemon refused, or the operation failed */
    HN_EXIT_USAGE = 2,     /* wrong command line */
    HN_EXIT_NO_DAEMON = 3, /* homenoded cannot be reached, or does not answer */
    HN_EXIT_NO_DOMAIN = 4, /* no such domain */
    HN_EXIT_DENIED = 5,    /* no permission */
} HnExit;

typedef struct HnCli HnCli;
typedef struct HnVerb HnVerb;

struct HnVerb {
    const char *name;
    const char *arguments; /* "[DOMAIN…]", "" */
    const char *summary;   /* one line */
    const char *details;   /* more lines for --help, or NULL */
    bool is_mutating;      /* needs the read-write socket */
    /* argv[0] is the verb. */
    HnExit (*run)(HnCli *cli, int argc, char **argv);
};

/* All verbs, ended by a NULL name, in the order of `homenode --help`. */
extern const HnVerb hn_verbs[];

HnCli *hn_cli_new(const HnStyle *style);
void hn_cli_free(HnCli *cli);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnCli, hn_cli_free)

/* Runs the whole command line. */
HnExit hn_cli_main(HnCli *cli, int argc, char **argv);

const HnStyle *hn_cli_style(const HnCli *cli);
bool hn_cli_is_json(const HnCli *cli);

/* Parses a verb's options (entries may be NULL) together with the common ones; what is left in argv
 * after argv[0] are between min_args and max_args arguments. False: *ret_exit is what to return
 * (help was printed, or the error). */
bool hn_cli_parse(HnCli *cli, const GOptionEntry *entries, int *argc, char ***argv, int min_args,
                  int max_args, HnExit *ret_exit);

/* Says "homenode VERB: …" on standard error; returns HN_EXIT_USAGE. */
HnExit hn_cli_usage(HnCli *cli, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Says "homenode: …" on standard error; returns HN_EXIT_FAILED. */
HnExit hn_cli_fail(HnCli *cli, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* An int option that was not given; negative numbers that were are mistakes to report. */
#define HN_CLI_NO_NODE G_MININT

/* One command to the daemon. arguments: taken, may be NULL. True: *ret_reply is an object, owned by
 * the caller. False: the error has been reported, *ret_exit is what to return. */
bool hn_cli_call(HnCli *cli, const char *command, json_object *arguments, json_object **ret_reply,
                 HnExit *ret_exit);
/* The same, printing nothing on failure; *ret_error is one line. For callers that go on. */
bool hn_cli_try(HnCli *cli, const char *command, json_object *arguments, json_object **ret_reply,
                HnExit *ret_exit, char **ret_error);

/* How long a call may take, connecting included; a minute unless set. */
void hn_cli_set_timeout(HnCli *cli, uint32_t timeout_ms);

/* From now on the read-only socket will do, although the verb is mutating (--dry-run, showing). */
void hn_cli_only_read(HnCli *cli);

/* From now on the read-write socket is needed, although the verb only asks. */
void hn_cli_need_write(HnCli *cli);

/* {"domains": [argv[1] …]} if there are arguments, else an empty object. Caller owns. */
json_object *hn_cli_domains_argument(int argc, char **argv);

/* JSON as --json prints it: indented, ended by a newline. */
void hn_cli_print_json(json_object *value);
void hn_cli_print_table(const HnCli *cli, const HnTable *table);
/* A sentence, wrapped to the width. indent in blanks. */
void hn_cli_print_wrapped(const HnCli *cli, uint32_t indent, const char *text);

/* ---- the verbs, one file each ---- */
HnExit hn_verb_list(HnCli *cli, int argc, char **argv);
HnExit hn_verb_status(HnCli *cli, int argc, char **argv);
HnExit hn_verb_top(HnCli *cli, int argc, char **argv);
HnExit hn_verb_host(HnCli *cli, int argc, char **argv);
HnExit hn_verb_plan(HnCli *cli, int argc, char **argv);
HnExit hn_verb_explain(HnCli *cli, int argc, char **argv);
HnExit hn_verb_rebalance(HnCli *cli, int argc, char **argv);
HnExit hn_verb_release(HnCli *cli, int argc, char **argv);
HnExit hn_verb_pause(HnCli *cli, int argc, char **argv); /* also resume */
HnExit hn_verb_mode(HnCli *cli, int argc, char **argv);  /* enable, advise, disable */
HnExit hn_verb_attach(HnCli *cli, int argc, char **argv); /* attach, detach */
HnExit hn_verb_history(HnCli *cli, int argc, char **argv);
HnExit hn_verb_doctor(HnCli *cli, int argc, char **argv);
HnExit hn_verb_writes(HnCli *cli, int argc, char **argv);
HnExit hn_verb_snapshot(HnCli *cli, int argc, char **argv);
HnExit hn_verb_report(HnCli *cli, int argc, char **argv);
HnExit hn_verb_replay(HnCli *cli, int argc, char **argv);
HnExit hn_verb_simulate(HnCli *cli, int argc, char **argv);
HnExit hn_verb_metrics(HnCli *cli, int argc, char **argv);
HnExit hn_verb_set(HnCli *cli, int argc, char **argv);

/* Writes the reply of `capture` below dir, which must not exist or be empty, and says what is there. */
HnExit hn_cli_write_machine(HnCli *cli, const char *dir, json_object *reply);
/* Shared by verbs that show a plan (plan, rebalance --dry-run). */
void hn_cli_print_plan(const HnCli *cli, json_object *plan);
/* The reply of query-host; shared by host and status. */
void hn_cli_print_host(const HnCli *cli, json_object *reply);
/* The table of query-domains' reply; shared by list and status. Caller frees. */
HnTable *hn_cli_domain_table(json_object *reply);
/* The history entries that are the member `key` of the reply. */
void hn_cli_print_history(const HnCli *cli, json_object *reply, const char *key);
/* When a verdict or an alternative has paid for itself: "2.5 s", "never", NULL if nothing moves.
 * Caller frees. */
char *hn_cli_format_payback(json_object *move);
/* "0 -> 1" with what is known: home now and wanted. Caller frees. */
char *hn_cli_format_move(const char *from, const char *to, const HnStyle *style);
