/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * numad's command line, answered by homenode: the part of it that libvirt uses for placement='auto',
 *
 *     numad -w VCPUS[:MIB]        prints a nodeset, "0" or "0-1,3", and a newline
 *
 * Theory of operation. Who asks is about to start a guest and fails the start if the answer fails, so
 * there is always an answer: the running daemon's, whose plan and ledger make guests that start together
 * spread; without one, what the nodes' load and free memory say; without those, every node. A daemon that
 * does not answer within HN_NUMAD_PATIENCE_MS counts as none.
 *
 * Must not: change anything, exit, or print (main.c does).
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* A start waits at most this long for the daemon; it answers in milliseconds. */
#define HN_NUMAD_PATIENCE_MS 2000
/* Load is measured over this, without a daemon (numad took 2 s). */
#define HN_NUMAD_SAMPLE_MS 200

typedef enum {
    HN_NUMAD_ASK,     /* -w was given */
    HN_NUMAD_HELP,    /* -h */
    HN_NUMAD_VERSION, /* -V */
    HN_NUMAD_WRONG,   /* what this is not, or a mistake; see error */
} HnNumadWhat;

typedef struct {
    uint32_t n_vcpus;
    uint64_t mib;
    bool is_verbose;      /* -v: says on standard error where the answer comes from */
    char *runtime_dir;    /* of the daemon's sockets; owned */
    char *sysroot;        /* "/" or a captured machine; owned */
} HnNumadRequest;

void hn_numad_request_clear(HnNumadRequest *request);

/* Reads numad's command line (0.5+20150602), options of its daemon included: they are passed over next
 * to -w and refused without it. *ret_request is cleared by the caller whatever is returned. */
HnNumadWhat hn_numad_parse(int argc, char **argv, HnNumadRequest *ret_request, GError **error);

/* The nodeset, never NULL; caller frees. *ret_source (owned by the caller) is one line: who said so and
 * why nobody better did. */
char *hn_numad_answer(const HnNumadRequest *request, char **ret_source);
