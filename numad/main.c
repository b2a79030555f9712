/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode-numad: what libvirt runs as numad for placement='auto', where the administrator has made it
 * so (homenode-numad(8)). Prints; everything else is in front.c.
 */
#include "front.h"

#include <stdio.h>

static const char help[] =
    "Usage: homenode-numad -w VCPUS[:MIB]\n\n"
    "Prints the NUMA nodes on which a guest of that size would best begin, as\n"
    "'numad -w' does: libvirt's placement='auto'. Asks homenoded, which counts the\n"
    "guest as there from then on; without it, load and free memory decide.\n\n"
    "  -w VCPUS[:MIB]  size of the guest\n"
    "  -v              say on standard error where the answer comes from\n"
    "  -h, --help      show this help\n"
    "  -V, --version   show the version\n"
    "      --socket=DIR    directory of homenoded's sockets (/run/homenode)\n"
    "      --sysroot=DIR   read nodes below this directory instead of /\n\n"
    "numad's other options are passed over next to -w.\n"
    "Exit status: 0 answered, 1 wrong usage.\n";

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    HnNumadRequest request;
    int status = 0;

    switch (hn_numad_parse(argc, argv, &request, &error)) {
    case HN_NUMAD_ASK: {
        g_autofree char *source = NULL, *nodeset = hn_numad_answer(&request, &source);
        printf("%s\n", nodeset);
        if (request.is_verbose)
            fprintf(stderr, "homenode-numad: by %s\n", source);
        break;
    }
    case HN_NUMAD_HELP:
        fputs(help, stdout);
        break;
    case HN_NUMAD_VERSION:
        puts("homenode-numad " HN_VERSION);
        break;
    case HN_NUMAD_WRONG:
        fprintf(stderr, "homenode-numad: %s; see 'homenode-numad --help'\n", error->message);
        status = 1;
        break;
    }
    hn_numad_request_clear(&request);
    if (fflush(stdout) != 0) {
        perror("homenode-numad: standard output");
        status = 1;
    }
    return status;
}
