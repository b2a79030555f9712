/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The process at the other end of a unix socket, as the kernel vouches for it (SO_PEERCRED): for a
 * client, who called listen(), so the QEMU that made its own monitor socket; for a server, who
 * called connect(). The pid may have been reused since: open a pidfd and check before acting on it.
 */
#pragma once

#include <sys/types.h>

typedef struct {
    pid_t pid;
    uid_t uid;
    gid_t gid;
} HnQmpPeer;
