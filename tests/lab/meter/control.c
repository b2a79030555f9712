/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Purpose, theory of operation and limits: see control.h. */
#include "control.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define COMMANDS "read|arm|disarm|node|pages|range|forget"
#define MAX_WORDS 8192
#define MAX_LINE_BYTES (1 << 20)

typedef struct {
    const Control *control;
    int listener;
} Server;

static void refuse(GString *answer, const char *what, const char *word, const char *allowed)
{
    g_string_append_printf(answer, "{\"ok\":false,\"error\":\"%s: '", what);
    for (unsigned i = 0; word[i] != '\0' && i < 40; i++) {
        g_string_append_c(
            answer, g_ascii_isgraph(word[i]) && word[i] != '"' && word[i] != '\\' ? word[i] : '?');
    }
    g_string_append_printf(answer, "'; allowed: %s\"}", allowed);
}

/* "FIRST" or "FIRST-END", decimal or 0x hexadecimal; END is exclusive, by default FIRST + 1. */
static bool parse_span(const char *word, guint64 *ret_first, guint64 *ret_end)
{
    g_auto(GStrv) parts = g_strsplit(word, "-", 2);
    guint64 *values[] = {ret_first, ret_end};

    for (unsigned i = 0; parts[i] != NULL; i++) {
        bool is_hex = g_str_has_prefix(parts[i], "0x");

        if (!g_ascii_string_to_unsigned(parts[i] + (is_hex ? 2 : 0), is_hex ? 16 : 10, 0,
                                        G_MAXUINT64, values[i], NULL)) {
            return false;
        }
    }
    if (parts[0] != NULL && parts[1] == NULL) {
        *ret_end = *ret_first + 1;
    }
    return parts[0] != NULL;
}

static bool parse_number(const char *word, guint64 *ret)
{
    guint64 end;

    return strchr(word, '-') == NULL && parse_span(word, ret, &end);
}

static void execute_pages(const Control *control, char **words, unsigned n_words, GString *answer)
{
    guint64 guest, first, end;

    if (n_words < 3 || !parse_number(words[1], &guest)) {
        refuse(answer, "pages", words[0], "pages GUEST FIRST[-END] ...");
        return;
    }
    for (unsigned i = 2; i < n_words; i++) {
        if (!parse_span(words[i], &first, &end) ||
            !meter_announce_pages(control->meter, (unsigned)MIN(guest, UINT_MAX), first, end)) {
            refuse(answer, "pages", words[i], "page numbers in the host's memory; guest 1..63");
            return;
        }
    }
    g_string_append(answer, "{\"ok\":true}");
}

/* node START END NODE and range GUEST START END, both of three numbers. */
static void execute_numbers(const Control *control, char **words, unsigned n_words, GString *answer)
{
    bool is_node = strcmp(words[0], "node") == 0;
    guint64 values[3];
    bool is_ok = n_words == 4;

    for (unsigned i = 0; is_ok && i < 3; i++) {
        is_ok = parse_number(words[i + 1], &values[i]);
    }
    is_ok = is_ok &&
            (is_node ? values[2] < METER_NO_NODE &&
                           meter_set_node(control->meter, values[0], values[1], (unsigned)values[2])
                     : values[0] < METER_MAX_GUESTS &&
                           meter_announce_range(control->meter, (unsigned)values[0], values[1],
                                                values[2]));
    if (!is_ok) {
        refuse(answer, words[0], n_words > 1 ? words[1] : "",
               is_node ? "node START END NODE, whole MiB of the host's memory, node 0..14"
                       : "range GUEST START END, guest 1..63, at most 64 ranges");
        return;
    }
    g_string_append(answer, "{\"ok\":true}");
}

void control_execute(const Control *control, char *line, GString *answer)
{
    g_auto(GStrv) all = g_strsplit_set(g_strstrip(line), " \t", MAX_WORDS);
    unsigned n_words = g_strv_length(all);
    const char *command = n_words > 0 ? all[0] : "";

    if (strcmp(command, "read") == 0) {
        meter_to_json(control->meter, control->is_armed(), control->now_ns(), answer);
    } else if (strcmp(command, "arm") == 0 || strcmp(command, "disarm") == 0) {
        bool is_done = control->set_armed(command[0] == 'a');

        g_string_append(answer, is_done ? "{\"ok\":true}"
                                        : "{\"ok\":false,\"error\":\"the emulator did not drop its "
                                          "translations within 5 s\"}");
    } else if (strcmp(command, "pages") == 0) {
        execute_pages(control, all, n_words, answer);
    } else if (strcmp(command, "node") == 0 || strcmp(command, "range") == 0) {
        execute_numbers(control, all, n_words, answer);
    } else if (strcmp(command, "forget") == 0) {
        meter_forget(control->meter);
        g_string_append(answer, "{\"ok\":true}");
    } else {
        refuse(answer, "command", command, COMMANDS);
    }
}

static void serve_client(const Control *control, FILE *client)
{
    g_autoptr(GString) answer = g_string_new(NULL);
    g_autofree char *line = g_malloc(MAX_LINE_BYTES);

    while (fgets(line, MAX_LINE_BYTES, client) != NULL) {
        g_string_truncate(answer, 0);
        control_execute(control, line, answer);
        g_string_append_c(answer, '\n');
        if (send(fileno(client), answer->str, answer->len, MSG_NOSIGNAL) != (ssize_t)answer->len) {
            return;
        }
    }
}

static void *serve(void *data)
{
    g_autofree Server *server = data;

    for (;;) {
        int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
        FILE *client = fd >= 0 ? fdopen(fd, "r") : NULL;

        if (client == NULL) {
            if (fd >= 0) {
                close(fd);
            }
            g_usleep(100000);
            continue;
        }
        serve_client(server->control, client);
        fclose(client);
    }
    return NULL;
}

bool control_start(const Control *control, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener;
    Server *server;
    pthread_t thread;

    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0) {
        return false;
    }
    unlink(path);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 4) != 0) {
        close(listener);
        return false;
    }
    server = g_new0(Server, 1);
    *server = (Server){.control = control, .listener = listener};
    errno = pthread_create(&thread, NULL, serve, server);
    if (errno != 0) {
        close(listener);
        g_free(server);
        return false;
    }
    pthread_detach(thread);
    return true;
}
