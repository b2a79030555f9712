/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One guest behind its socket; see qmp-guest.h.
 *
 * What is asked is a table. All of it is sent at once after connecting, later only what can change;
 * the answers are collected aside and become the view when the last one is in, so that a view is
 * never half new.
 */
#include "qmp-guest.h"

#include "observe/process.h"
#include "qmp-facts.h"

#include <string.h>

#define MAX_CMDLINE_BYTES (1u << 20)
#define OVERDUE_US G_USEC_PER_SEC

typedef enum { ABSENT, ASKING, PRESENT, MUTE } State;

struct HnQmpGuest {
    char *socket;
    const HnRoot *root;
    const HnQmpGuestCallbacks *callbacks;
    void *user_data;
    HnQmpClient *client;
    State state;
    HnQmpView *view;
    char *problem;  /* why it is not PRESENT */
    char *remarked; /* said last */
    /* The process behind the socket, once connected. */
    int64_t pid;
    uint64_t start_ticks;
    HnQmpCmdline *cmdline;
    /* One asking. */
    HnQmpAnswers answers; /* who it is stays from the first asking on */
    guint n_outstanding;
    char *failure;                /* the first error among the answers */
    gint64 asked_us;              /* 0: nothing is being asked */
    GArray *askers, *next_askers; /* Asker: of this asking, and of the one after it */
};

typedef struct {
    HnQmpAskedFunc done;
    void *user_data;
} Asker;

/* ---- views ---- */

HnQmpView *hn_qmp_view_copy(const HnQmpView *view)
{
    HnQmpView *copy = g_new0(HnQmpView, 1);
    copy->info = hn_domain_info_copy(view->info);
    copy->vcpu_tids = g_array_copy(view->vcpu_tids);
    copy->start_ticks = view->start_ticks;
    return copy;
}

void hn_qmp_view_free(HnQmpView *view)
{
    if (!view)
        return;
    hn_domain_info_free(view->info);
    g_array_unref(view->vcpu_tids);
    g_free(view);
}

static void say(HnQmpGuest *guest, const char *sentence)
{
    if (g_strcmp0(guest->remarked, sentence) == 0)
        return;
    g_free(guest->remarked);
    guest->remarked = g_strdup(sentence);
    guest->callbacks->remark(guest, sentence, guest->user_data);
}

/* ---- what is asked ---- */

static bool take_uuid(HnQmpAnswers *answers, json_object *value, GError **error)
{
    g_clear_pointer(&answers->uuid, g_free);
    return hn_qemu_uuid_decode(value, &answers->uuid, error);
}

static bool take_name(HnQmpAnswers *answers, json_object *value, GError **error)
{
    g_clear_pointer(&answers->name, g_free);
    return hn_qemu_name_decode(value, &answers->name, error);
}

static bool take_kvm(HnQmpAnswers *answers, json_object *value, GError **error)
{
    return hn_qemu_kvm_decode(value, &answers->is_kvm, error);
}

static bool take_machine(HnQmpAnswers *answers, json_object *value, GError **error)
{
    g_free(answers->machine);
    answers->machine = json_object_is_type(value, json_type_string)
                           ? g_strdup(json_object_get_string(value))
                           : NULL;
    return true;
}

static bool take_status(HnQmpAnswers *answers, json_object *value, GError **error)
{
    return hn_qemu_status_decode(value, &answers->status, error);
}

static bool take_cpus(HnQmpAnswers *answers, json_object *value, GError **error)
{
    g_clear_pointer(&answers->cpus, g_array_unref);
    return hn_qemu_cpus_decode(value, &answers->cpus, error);
}

static bool take_memdevs(HnQmpAnswers *answers, json_object *value, GError **error)
{
    g_clear_pointer(&answers->memdevs, g_array_unref);
    return hn_qemu_memdevs_decode(value, &answers->memdevs, error);
}

static bool take_memory_devices(HnQmpAnswers *answers, json_object *value, GError **error)
{
    g_clear_pointer(&answers->memory_devices, g_array_unref);
    return hn_qemu_memory_devices_decode(value, &answers->memory_devices, error);
}

static bool take_migration(HnQmpAnswers *answers, json_object *value, GError **error)
{
    return hn_qemu_migration_decode(value, &answers->migration, error);
}

static json_object *machine_arguments(void)
{
    json_object *arguments = json_object_new_object();
    json_object_object_add(arguments, "path", json_object_new_string("/machine"));
    json_object_object_add(arguments, "property", json_object_new_string("type"));
    return arguments;
}

static const struct {
    const char *command;
    bool is_once;     /* cannot change while it runs */
    bool is_optional; /* an error is no error: some machine or version has it not */
    json_object *(*arguments)(void);
    bool (*take)(HnQmpAnswers *answers, json_object *value, GError **error);
} questions[] = {
    {HN_QEMU_QUERY_UUID, true, false, NULL, take_uuid},
    {HN_QEMU_QUERY_NAME, true, false, NULL, take_name},
    {HN_QEMU_QUERY_KVM, true, false, NULL, take_kvm},
    {"qom-get", true, true, machine_arguments, take_machine},
    {HN_QEMU_QUERY_STATUS, false, false, NULL, take_status},
    {HN_QEMU_QUERY_CPUS_FAST, false, false, NULL, take_cpus},
    {HN_QEMU_QUERY_MEMDEV, false, false, NULL, take_memdevs},
    {HN_QEMU_QUERY_MEMORY_DEVICES, false, true, NULL, take_memory_devices},
    {HN_QEMU_QUERY_MIGRATE, false, true, NULL, take_migration},
};

static HnQmpView *make_view(const HnQmpGuest *guest)
{
    HnQmpView *view = g_new0(HnQmpView, 1);
    view->start_ticks = guest->start_ticks;
    view->info = hn_qmp_facts_build(&guest->answers, guest->cmdline, guest->socket, guest->pid,
                                    guest->start_ticks);
    view->vcpu_tids = g_array_new(FALSE, FALSE, sizeof(int32_t));
    for (guint i = 0; i < guest->answers.cpus->len; i++) {
        int32_t tid = (int32_t)g_array_index(guest->answers.cpus, HnQemuCpu, i).thread_id;
        g_array_append_val(view->vcpu_tids, tid);
    }
    return view;
}

static bool is_its_command_line(HnQmpGuest *guest, const char *name, const char *uuid)
{
    g_autofree char *path = g_strdup_printf("proc/%" G_GINT64_FORMAT "/cmdline", guest->pid);
    g_autofree char *text = NULL;
    size_t len;
    if (!hn_root_read(guest->root, path, MAX_CMDLINE_BYTES, &text, &len, NULL))
        return false;
    return hn_cmdline_match(text, len, name, uuid) != HN_CMDLINE_OTHER;
}

static void tell_askers(HnQmpGuest *guest, GArray **askers)
{
    g_autoptr(GArray) list = *askers;
    *askers = g_array_new(FALSE, FALSE, sizeof(Asker));
    for (guint i = 0; i < list->len; i++) {
        const Asker *asker = &g_array_index(list, Asker, i);
        asker->done(asker->user_data);
    }
}

/* All answers are in. */
static void use_answers(HnQmpGuest *guest)
{
    const bool is_new = guest->view == NULL;
    HnQmpAnswers *answers = &guest->answers;
    g_autofree char *failure = g_steal_pointer(&guest->failure);
    if (!answers->memory_devices)
        answers->memory_devices = g_array_new(FALSE, FALSE, sizeof(HnQemuMemoryDevice));
    if (!failure) {
        g_autoptr(HnQmpView) view = make_view(guest);
        if (is_its_command_line(guest, view->info->name, view->info->uuid)) {
            hn_qmp_view_free(guest->view);
            guest->view = g_steal_pointer(&view);
            guest->state = PRESENT;
            g_clear_pointer(&guest->problem, g_free);
            guest->callbacks->changed(guest, is_new, guest->user_data);
            return;
        }
        failure = g_strdup_printf("process %" G_GINT64_FORMAT
                                  " behind it is not the QEMU of guest '%s': its "
                                  "command line does not name it",
                                  guest->pid, view->info->name);
    }
    g_free(guest->problem);
    guest->problem = g_strdup_printf("'%s': %s", guest->socket, failure);
    say(guest, guest->problem);
    if (guest->view) {
        g_free(guest->view->info->unobservable);
        guest->view->info->unobservable =
            g_strdup_printf("its monitor gives no usable answer: %s", failure);
        guest->callbacks->changed(guest, false, guest->user_data);
    }
}

static void end_asking(HnQmpGuest *guest)
{
    guest->asked_us = 0;
    tell_askers(guest, &guest->askers);
    if (guest->next_askers->len > 0 && guest->asked_us == 0) {
        GArray *next = guest->next_askers;
        guest->next_askers = guest->askers;
        guest->askers = next;
        hn_qmp_guest_ask(guest, NULL, NULL);
    }
}

typedef struct {
    HnQmpGuest *guest;
    guint question;
} Asked;

static void on_answer(HnQmpClient *client, json_object *value, const GError *error, gpointer data)
{
    g_autofree Asked *asked = data;
    HnQmpGuest *guest = asked->guest;
    g_autoptr(GError) own = NULL;
    guest->n_outstanding--;
    if (!error && !questions[asked->question].take(&guest->answers, value, &own))
        error = own;
    if (error && !guest->failure &&
        !(questions[asked->question].is_optional && error->code >= HN_QMP_ERROR_COMMAND))
        guest->failure = g_strdup(error->message);
    if (guest->n_outstanding > 0)
        return;
    /* Answers that failed because the connection is lost are told by on_lost(). */
    if (hn_qmp_client_is_ready(guest->client))
        use_answers(guest);
    g_clear_pointer(&guest->failure, g_free);
    end_asking(guest);
}

static void send_questions(HnQmpGuest *guest)
{
    const bool is_first = guest->state == ASKING;
    guest->asked_us = g_get_monotonic_time();
    guest->answers.migration = (HnQemuMigration){0}; /* optional: an old answer must not stay */
    g_clear_pointer(&guest->answers.memory_devices, g_array_unref);
    guest->n_outstanding++; /* none of the calls below may be the last one */
    for (guint i = 0; i < G_N_ELEMENTS(questions); i++) {
        if (questions[i].is_once && !is_first)
            continue;
        Asked *asked = g_new0(Asked, 1);
        *asked = (Asked){guest, i};
        guest->n_outstanding++;
        hn_qmp_client_call(guest->client, questions[i].command,
                           questions[i].arguments ? questions[i].arguments() : NULL, 0, on_answer,
                           asked);
    }
    guest->n_outstanding--; /* answers never come before a call returns */
}

void hn_qmp_guest_ask(HnQmpGuest *guest, HnQmpAskedFunc done, void *user_data)
{
    Asker asker = {done, user_data};
    if (guest->asked_us) {
        if (done)
            g_array_append_val(guest->next_askers, asker);
        return;
    }
    if (done)
        g_array_append_val(guest->askers, asker);
    if (guest->state == ABSENT || guest->state == MUTE || !hn_qmp_client_is_ready(guest->client))
        tell_askers(guest, &guest->askers);
    else
        send_questions(guest);
}

bool hn_qmp_guest_is_overdue(const HnQmpGuest *guest, gint64 monotonic_us)
{
    return guest->asked_us && monotonic_us - guest->asked_us > OVERDUE_US;
}

/* ---- the connection ---- */

static bool is_alive(const HnQmpGuest *guest)
{
    g_autofree char *dir = g_strdup_printf("proc/%" G_GINT64_FORMAT, guest->pid);
    HnTaskStat stat;
    return guest->pid > 0 && hn_task_stat_read(guest->root, dir, &stat, NULL) &&
           stat.start_ticks == guest->start_ticks && stat.state != 'Z' && stat.state != 'X';
}

static bool read_process(HnQmpGuest *guest, char **ret_problem)
{
    HnQmpPeer peer = {0};
    HnTaskStat stat;
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    size_t len;
    if (!hn_qmp_client_peer(guest->client, &peer) || peer.pid <= 0) {
        *ret_problem =
            g_strdup("the kernel does not say which process is behind it (another PID namespace?)");
        return false;
    }
    guest->pid = peer.pid;
    g_autofree char *dir = g_strdup_printf("proc/%" G_GINT64_FORMAT, guest->pid);
    g_autofree char *path = g_strconcat(dir, "/cmdline", NULL);
    if (!hn_task_stat_read(guest->root, dir, &stat, &error) ||
        !hn_root_read(guest->root, path, MAX_CMDLINE_BYTES, &text, &len, &error)) {
        *ret_problem = g_strdup(error->message);
        return false;
    }
    guest->start_ticks = stat.start_ticks;
    hn_qmp_cmdline_free(guest->cmdline);
    guest->cmdline = hn_qmp_cmdline_parse(text, len);
    return true;
}

static void become_absent(HnQmpGuest *guest)
{
    g_autoptr(HnQmpView) view = g_steal_pointer(&guest->view);
    guest->state = ABSENT;
    hn_qmp_answers_clear(&guest->answers);
    if (view)
        guest->callbacks->gone(guest, view->info->uuid, guest->user_data);
}

void hn_qmp_guest_check_alive(HnQmpGuest *guest)
{
    if (guest->state == MUTE && !is_alive(guest))
        become_absent(guest);
}

static void on_ready(HnQmpClient *client, const HnQmpGreeting *greeting, gpointer data)
{
    HnQmpGuest *guest = data;
    g_autofree char *problem = NULL;
    if (guest->state == MUTE && !is_alive(guest))
        become_absent(guest); /* somebody else listens there now */
    if (!read_process(guest, &problem)) {
        g_free(guest->problem);
        guest->problem = g_strdup_printf("'%s': %s", guest->socket, problem);
        say(guest, guest->problem);
        return;
    }
    guest->state = ASKING;
    send_questions(guest);
}

static void on_lost(HnQmpClient *client, const GError *error, gboolean will_retry, gpointer data)
{
    HnQmpGuest *guest = data;
    g_free(guest->problem);
    guest->problem = g_strdup(error->message);
    if (guest->view && is_alive(guest)) {
        guest->state = MUTE;
        g_free(guest->view->info->unobservable);
        guest->view->info->unobservable =
            g_strdup_printf("its monitor is lost: %s", error->message);
        guest->callbacks->changed(guest, false, guest->user_data);
        return;
    }
    const bool was_known = guest->view != NULL;
    become_absent(guest);
    if (!was_known)
        say(guest, guest->problem);
}

static void on_event(HnQmpClient *client, const char *name, json_object *event, gint64 timestamp_us,
                     gpointer data)
{
    static const struct {
        const char *name;
        HnChangeKind kind;
    } known[] = {
        {"STOP", HN_CHANGE_STATE},
        {"RESUME", HN_CHANGE_STATE},
        {"SHUTDOWN", HN_CHANGE_STATE},
        {"RESET", HN_CHANGE_STATE},
        {"MIGRATION", HN_CHANGE_STATE},
        {"DEVICE_DELETED", HN_CHANGE_MEMORY},
        {"MEMORY_DEVICE_SIZE_CHANGE", HN_CHANGE_MEMORY},
    };
    HnQmpGuest *guest = data;
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++)
        if (guest->view && strcmp(name, known[i].name) == 0)
            guest->callbacks->event(guest, known[i].kind, guest->user_data);
}

/* ---- life ---- */

HnQmpGuest *hn_qmp_guest_new(const char *socket, const HnRoot *root,
                             const HnQmpGuestCallbacks *callbacks, void *user_data)
{
    static const HnQmpClientCallbacks client_callbacks = {
        .ready = on_ready, .event = on_event, .lost = on_lost};
    HnQmpClientOptions options = hn_qmp_client_options_default;
    HnQmpGuest *guest = g_new0(HnQmpGuest, 1);
    guest->socket = g_strdup(socket);
    guest->root = root;
    guest->callbacks = callbacks;
    guest->user_data = user_data;
    guest->askers = g_array_new(FALSE, FALSE, sizeof(Asker));
    guest->next_askers = g_array_new(FALSE, FALSE, sizeof(Asker));
    options.has_reconnect = TRUE;
    guest->client = hn_qmp_client_new(socket, &options, &client_callbacks, guest);
    hn_qmp_client_connect(guest->client);
    return guest;
}

void hn_qmp_guest_free(HnQmpGuest *guest)
{
    if (!guest)
        return;
    guest->state = ABSENT; /* nothing is asked again by what close() calls */
    hn_qmp_client_close(guest->client);
    tell_askers(guest, &guest->askers);
    tell_askers(guest, &guest->next_askers);
    hn_qmp_client_unref(guest->client);
    g_array_unref(guest->askers);
    g_array_unref(guest->next_askers);
    hn_qmp_answers_clear(&guest->answers);
    hn_qmp_cmdline_free(guest->cmdline);
    hn_qmp_view_free(guest->view);
    g_free(guest->problem);
    g_free(guest->remarked);
    g_free(guest->failure);
    g_free(guest->socket);
    g_free(guest);
}

const char *hn_qmp_guest_socket(const HnQmpGuest *guest)
{
    return guest->socket;
}

const HnQmpView *hn_qmp_guest_view(const HnQmpGuest *guest)
{
    return guest->view;
}

const char *hn_qmp_guest_problem(const HnQmpGuest *guest)
{
    return guest->problem;
}

bool hn_qmp_guest_is_connected(const HnQmpGuest *guest)
{
    return hn_qmp_client_is_ready(guest->client);
}

void hn_qmp_guest_call(HnQmpGuest *guest, const char *command, json_object *arguments,
                       HnQmpReplyFunc func, void *user_data)
{
    hn_qmp_client_call(guest->client, command, arguments, 0, func, user_data);
}
