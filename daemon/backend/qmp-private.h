/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the QMP back end share. backend-qmp.c is the contract; qmp-keeper.c the thread
 * that keeps guests and directory; qmp-errand.c how others wait for that thread; qmp-dirty.c and
 * qmp-attach.c operations of several steps. Nobody else includes it.
 */
#pragma once

#include "backend-qmp.h"
#include "change-queue.h"
#include "qmp-directory.h"
#include "qmp-guest.h"

#define HN_QMP_ASK_WAIT_MS 5000 /* connecting, greeting and the first answers */
#define HN_QMP_MAX_ATTACHED 4096

typedef struct {
    HnBackend base;
    char *directory_path, *attached_file;
    const HnRoot *root;
    const HnQmpAffinity *affinity;
    bool is_read_only, is_dirty_ring_allowed;
    HnChangeQueue *changes;
    GThread *thread;
    GMainContext *context;
    GMainLoop *loop;
    /* The rest belongs to the thread. */
    HnQmpDirectory *directory;
    GHashTable *guests;     /* socket → HnQmpEntry */
    GHashTable *attached;   /* set of sockets */
    GHashTable *refused;    /* paths of the directory that may not be used, said */
    GHashTable *let_go;     /* sockets of the directory that were detached → identity then */
    char *directory_remark; /* said last */
} HnQmp;

/* A guest and what is remembered beside it. */
typedef struct {
    HnQmp *qmp;
    HnQmpGuest *guest;
    char *identity; /* of the socket's file when the connection was begun; NULL: there was none */
    char *element;  /* the opt-in element seen last */
    char *shadow_remark; /* why it is not used although it answers, said last */
    gint64 dirty_us;     /* when its dirty rate was last asked to be measured; 0: never */
} HnQmpEntry;

/* ---- errands: any thread asks, ours does ---- */

typedef struct HnQmpErrand HnQmpErrand;
typedef void (*HnQmpErrandFunc)(HnQmpErrand *errand);

/* Waits in the caller's thread for what happens in ours. Whoever leaves last frees it: a caller
 * that has waited long enough does not stay for the answer. Derived structs begin with it;
 * everything in them must be owned. */
struct HnQmpErrand {
    HnQmp *qmp;
    HnQmpErrandFunc run;
    void (*clear)(HnQmpErrand *errand);
    gint n_refs;
    GMutex lock;
    GCond cond;
    bool is_done;
    guint n_waiting; /* used by errands that ask several guests */
};

/* size: of the derived struct, zeroed. clear: frees what the derived struct owns, may be NULL. */
gpointer hn_qmp_errand_new(HnQmp *qmp, gsize size, HnQmpErrandFunc run,
                           void (*clear)(HnQmpErrand *errand));
/* False: the time is up, and the errand goes on without its caller, who must look at nothing in it.
 */
bool hn_qmp_errand_wait(HnQmpErrand *errand, guint limit_ms);
void hn_qmp_errand_done(HnQmpErrand *errand);
void hn_qmp_errand_unref(gpointer errand);

/* ---- the keeper: only in its thread ---- */

/* The thread's body; data: the HnQmp. */
gpointer hn_qmp_keeper_main(gpointer data);
/* Entries in the order of their sockets: the same one wins whenever two are the same guest. */
GList *hn_qmp_keeper_sorted(HnQmp *qmp);
/* Entries that count: those with a view that no other one stands before. Of HnQmpEntry *. */
GPtrArray *hn_qmp_keeper_list(HnQmp *qmp);
HnQmpEntry *hn_qmp_keeper_find(HnQmp *qmp, const char *uuid);
HnQmpEntry *hn_qmp_keeper_begin(HnQmp *qmp, const char *socket);
/* Stops looking at a socket; says that its guest is gone, for nobody manages it any more. */
void hn_qmp_keeper_end(HnQmp *qmp, const char *socket);
/* Is it attached, or in the directory and not let go? */
bool hn_qmp_keeper_wants(HnQmp *qmp, const char *socket);
/* Tells of opt-in elements that changed. */
void hn_qmp_keeper_note_elements(HnQmp *qmp);
void hn_qmp_keeper_save_attached(HnQmp *qmp);
void hn_qmp_entry_free(gpointer entry);

/* ---- for operations ---- */

bool hn_qmp_check_started(const HnQmp *qmp, GError **error);
/* The view of one guest, of a process that is still the same; is_asked: what its monitor says now,
 * not what is known. GONE if there is none. */
HnQmpView *hn_qmp_find_view(HnQmp *qmp, const char *uuid, bool is_asked, GError **error);
/* Sets UNSUPPORTED; returns false. */
bool hn_qmp_refuse(const HnQmpView *view, GError **error, const char *sentence);

bool hn_qmp_start_dirty_rate(HnBackend *backend, const char *uuid, HnDirtyMode mode,
                             uint32_t seconds, GError **error);
bool hn_qmp_get_dirty_rate(HnBackend *backend, const char *uuid, HnDirtyRate *ret_rate,
                           GError **error);
bool hn_qmp_attach(HnBackend *backend, const char *socket, char ret_uuid[HN_UUID_LEN + 1],
                   GError **error);
bool hn_qmp_detach(HnBackend *backend, const char *socket, GError **error);
