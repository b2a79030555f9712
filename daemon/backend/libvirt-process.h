/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which process is a libvirt domain? libvirt's API does not tell; its pid file and QEMU's command
 * line do.
 */
#pragma once

#include "observe/root.h"

/* Text of a pid file: a decimal number, white space around allowed. 0: it is none. Pure. */
int64_t hn_libvirt_pid_parse(const char *text, size_t len);

/* The pid from run/libvirt/qemu/NAME.pid if that process' command line is this domain's, else 0. */
int64_t hn_libvirt_pid_read(const HnRoot *root, const char *name, const char *uuid);
