/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The doctor's look at the running guests: which QEMU each runs, and combinations of QEMU, kernel and
 * configuration that are known to go wrong.
 *
 * A guest runs the QEMU it was started with, whatever is installed since. libvirt writes that version
 * into the guest's log at each start; nothing else tells it without using the guest's monitor, which
 * would taint the domain.
 */
#include "doctor/doctor-private.h"

#include <string.h>

#define MAX_LOG (8 << 20) /* virtlogd begins a new file at 2 MiB */
#define MAX_CMDLINE (1 << 20)
#define QEMU_TESTED 7002000
/* Measuring by dirty-bitmap kills TCG guests of 7.2; 10.0 answers 0. */
#define QEMU_TCG_BITMAP_SAFE 10000000
/* From here on a signal may cut KVM_RESET_DIRTY_RINGS short, and QEMU aborts on that. */
#define KERNEL_PARTIAL_RESET 6016

bool hn_doctor_log_parse(const char *text, char **ret_libvirt, char **ret_qemu)
{
    static const char start[] = ": starting up libvirt version: ";
    const char *line = NULL;
    for (const char *at = text; (at = strstr(at, start)); at += strlen(start))
        line = at;
    if (!line)
        return false;
    line += strlen(start);
    g_autofree char *rest = g_strndup(line, strcspn(line, "\n"));
    const char *qemu = strstr(rest, ", qemu version: ");
    *ret_libvirt = g_strndup(rest, strspn(rest, "0123456789."));
    *ret_qemu = NULL;
    if (qemu) {
        qemu += strlen(", qemu version: ");
        *ret_qemu = g_strndup(qemu, strspn(qemu, "0123456789."));
    }
    return true;
}

/* The version of QEMU the guest was started with, NULL if nobody tells. Caller frees. */
static char *qemu_version(const HnExamination *e, const HnDoctorGuest *guest)
{
    g_autofree char *libvirt = NULL;
    char *qemu = NULL;
    /* A name with a slash would lead elsewhere; libvirt refuses such names itself. */
    for (guint i = 0; !guest->is_bare_qemu && !strchr(guest->name, '/') && i < 2 && !libvirt; i++) {
        g_autofree char *text = NULL;
        g_autofree char *path =
            g_strdup_printf("var/log/libvirt/qemu/%s.log%s", guest->name, i ? ".0" : "");
        if (hn_root_read(e->input->root, path, MAX_LOG, &text, NULL, NULL))
            hn_doctor_log_parse(text, &libvirt, &qemu);
    }
    return qemu;
}

static bool is_replaced(const HnExamination *e, const HnDoctorGuest *guest)
{
    g_autofree char *path = g_strdup_printf("proc/%" G_GINT64_FORMAT "/exe", guest->pid);
    g_autofree char *link = hn_root_read_link(e->input->root, path, NULL);
    return link && g_str_has_suffix(link, " (deleted)");
}

/* The command line's arguments are separated by NUL; any of them may hold it. */
static bool has_dirty_ring(const HnExamination *e, const HnDoctorGuest *guest)
{
    g_autofree char *path = g_strdup_printf("proc/%" G_GINT64_FORMAT "/cmdline", guest->pid);
    g_autofree char *text = NULL;
    size_t len;
    if (!hn_root_read(e->input->root, path, MAX_CMDLINE, &text, &len, NULL))
        return false;
    return memmem(text, len, "dirty-ring-size=", strlen("dirty-ring-size=")) != NULL;
}

static void append_name(GString *names, const char *name)
{
    g_string_append_printf(names, "%s%s", names->len ? ", " : "", name);
}

/* What several guests share is one finding. */
typedef struct {
    GHashTable *versions; /* version → GString of names */
    GString *old, *replaced, *tcg, *ring;
} Sightings;

static void look_at(HnExamination *e, const HnDoctorGuest *guest, Sightings *seen)
{
    g_autofree char *version = qemu_version(e, guest);
    const char *shown = version && *version ? version : "of unknown version";
    GString *names = g_hash_table_lookup(seen->versions, shown);
    uint64_t number = hn_doctor_version_parse(version);

    if (!names) {
        names = g_string_new(NULL);
        g_hash_table_insert(seen->versions, g_strdup(shown), names);
    }
    append_name(names, guest->name);
    if (number && number < QEMU_TESTED)
        append_name(seen->old, guest->name);
    if (!guest->is_kvm && number && number < QEMU_TCG_BITMAP_SAFE)
        append_name(seen->tcg, guest->name);
    if (guest->pid > 0 && is_replaced(e, guest))
        append_name(seen->replaced, guest->name);
    if (guest->pid > 0 && guest->is_kvm && hn_doctor_kernel_version(e) >= KERNEL_PARTIAL_RESET &&
        has_dirty_ring(e, guest))
        append_name(seen->ring, guest->name);
    if (guest->unobservable)
        hn_doctor_add(e, "guest", "warn", "it is not moved as long as that is so",
                      "see the finding, and 'homenode explain' with its name", "%s: %s",
                      guest->name, guest->unobservable);
}

static gint compare_keys(gconstpointer a, gconstpointer b)
{
    return strcmp(a, b);
}

static void tell(HnExamination *e, const Sightings *seen)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(GList) versions =
        g_list_sort(g_hash_table_get_keys(seen->versions), compare_keys);
    for (GList *v = versions; v; v = v->next)
        g_string_append_printf(text, "%s%s (%s)", text->len ? "; " : "QEMU ", (char *)v->data,
                               ((GString *)g_hash_table_lookup(seen->versions, v->data))->str);
    if (seen->old->len)
        hn_doctor_add(e, "qemu", "note", "untested with homenode", "use QEMU 7.2 or later",
                      "older than 7.2: %s", seen->old->str);
    else if (text->len)
        hn_doctor_add(e, "qemu", "ok", NULL, NULL, "%s", text->str);
    if (seen->replaced->len)
        hn_doctor_add(e, "qemu-replaced", "note",
                      "mended bugs of QEMU are mended for them when they are started again",
                      "restart or migrate them when it suits",
                      "run a QEMU that has been replaced on disk: %s", seen->replaced->str);
    if (seen->tcg->len)
        hn_doctor_add(e, "qemu-tcg", "note",
                      "'virsh domdirtyrate-calc --mode dirty-bitmap' ends such a guest at once; "
                      "homenode never uses it for them",
                      "use QEMU 10.0 or later for guests without KVM",
                      "emulated by a QEMU older than 10.0: %s", seen->tcg->str);
    if (seen->ring->len)
        hn_doctor_add(e, "dirty-ring", "warn",
                      "QEMU may abort, and the guest with it, when its dirty ring is read",
                      "keep observe.allow-dirty-ring=no, and take <dirty-ring> out of the domains",
                      "have a dirty ring on a kernel of 6.16 or later: %s", seen->ring->str);
}

static void free_names(gpointer names)
{
    g_string_free(names, TRUE);
}

void hn_doctor_guests(HnExamination *e)
{
    Sightings seen = {
        .versions = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, free_names),
        .old = g_string_new(NULL),
        .replaced = g_string_new(NULL),
        .tcg = g_string_new(NULL),
        .ring = g_string_new(NULL),
    };
    for (guint i = 0; i < e->input->n_guests; i++)
        look_at(e, &e->input->guests[i], &seen);
    tell(e, &seen);
    g_hash_table_unref(seen.versions);
    g_string_free(seen.old, TRUE);
    g_string_free(seen.replaced, TRUE);
    g_string_free(seen.tcg, TRUE);
    g_string_free(seen.ring, TRUE);
}
