/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs the built command (environment variable HOMENODE) as a process of its own.
 */
#pragma once

#include <glib.h>

typedef struct {
    int code; /* exit status */
    char *out, *err;
} Result;

void result_clear(Result *result);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Result, result_clear)

/* Runs `homenode LINE` (shell quoting) with --socket before it, unless socket is NULL. columns
 * NULL: output is a pipe of no width. Not exiting by itself fails the test. */
Result run_homenode(const char *socket, const char *columns, const char *line);

/* Fails the test, showing the text, unless the piece is in it. */
void assert_contains(const char *text, const char *piece);
