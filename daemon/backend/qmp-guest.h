/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One guest behind its QMP socket: the connection, what was asked and answered, and whether it
 * lives.
 *
 *   ABSENT → ASKING      connected; who it is is being asked
 *   ASKING → PRESENT     everything is known
 *          → ABSENT      the connection was lost, or an answer could not be used
 *   PRESENT → MUTE       the connection was lost, but the process lives: kept, unobservable
 *           → ABSENT     … and the process has ended
 *   MUTE → ASKING        connected again
 *        → ABSENT        the process has ended
 *
 * The client reconnects by itself. A view outlives the guest and is the only thing that may leave
 * the thread; everything else belongs to the thread-default main context of hn_qmp_guest_new().
 *
 * Must not: pin, or change anything in QEMU but a dirty-rate measurement that is asked for.
 */
#pragma once

#include "backend.h"
#include "qmp/client.h"
#include "qmp-threads.h"

typedef struct HnQmpGuest HnQmpGuest;

/* What is known of a guest: a value, copied for whoever asks. */
typedef struct {
    HnDomainInfo *info; /* without pins, iothreads and opt-in element */
    GArray *vcpu_tids;  /* int32_t, beside info->vcpus */
    uint64_t start_ticks;
} HnQmpView;

HnQmpView *hn_qmp_view_copy(const HnQmpView *view);
void hn_qmp_view_free(HnQmpView *view); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnQmpView, hn_qmp_view_free)

typedef struct {
    /* Its view was replaced; is_new: it was ABSENT before. */
    void (*changed)(HnQmpGuest *guest, bool is_new, void *user_data);
    /* It is no more; `uuid` is what it was. */
    void (*gone)(HnQmpGuest *guest, const char *uuid, void *user_data);
    /* Something happened in it: look again. */
    void (*event)(HnQmpGuest *guest, HnChangeKind kind, void *user_data);
    /* A sentence worth telling, each once. */
    void (*remark)(HnQmpGuest *guest, const char *sentence, void *user_data);
} HnQmpGuestCallbacks;

/* Begins to connect. root and callbacks outlive it. */
HnQmpGuest *hn_qmp_guest_new(const char *socket, const HnRoot *root,
                             const HnQmpGuestCallbacks *callbacks, void *user_data);
/* Calls back nothing but outstanding askers. NULL is fine. */
void hn_qmp_guest_free(HnQmpGuest *guest);

const char *hn_qmp_guest_socket(const HnQmpGuest *guest);
/* NULL while ABSENT or ASKING for the first time. */
const HnQmpView *hn_qmp_guest_view(const HnQmpGuest *guest);
/* Why there is no view yet; NULL: nothing is known to be wrong. */
const char *hn_qmp_guest_problem(const HnQmpGuest *guest);
bool hn_qmp_guest_is_connected(const HnQmpGuest *guest);
/* MUTE guests: has the process ended? Then it becomes ABSENT. To be called now and then. */
void hn_qmp_guest_check_alive(HnQmpGuest *guest);

/* Asks anew for all that can change without an event; `done` when the answers are in the view or
 * have failed. At once if there is no connection. */
typedef void (*HnQmpAskedFunc)(void *user_data);
void hn_qmp_guest_ask(HnQmpGuest *guest, HnQmpAskedFunc done, void *user_data);
/* No answer has come for longer than this: nobody should wait for it. */
bool hn_qmp_guest_is_overdue(const HnQmpGuest *guest, gint64 monotonic_us);

/* Any other command; arguments taken. */
void hn_qmp_guest_call(HnQmpGuest *guest, const char *command, json_object *arguments,
                       HnQmpReplyFunc func, void *user_data);
