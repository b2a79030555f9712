/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Prints what the decoders make of a reply, one readable line per item: the golden files of the
 * replay test (ACCEL.decoded) are written and compared in this form.
 */
#pragma once

#include <glib.h>
#include <json-c/json.h>

/*
 * Appends "# COMMAND" and the decoded reply, "error: …" if the decoder refuses it, nothing more if
 * QEMU refused the command; nothing at all for a command without a decoder.
 * sent, reply: the two messages, borrowed.
 */
void print_reply(json_object *sent, json_object *reply, GString *out);
