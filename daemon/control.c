/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control sockets and the table of their verbs: see control.h. Each verb answers at once from
 * the last round, or keeps the request and answers when a trial round, a libvirt call or a release
 * has ended; none blocks.
 */
#include "control.h"
#include "control_private.h"
#include "log.h"
#include "report/fields.h"

#include <grp.h>

/* ---- The table. ---- */

static const HnQmpArg domain_args[] = {
    {"domain", HN_QMP_ARG_STRING, TRUE, "Name or UUID of a running domain."}, {NULL}};
static const HnQmpArg domains_args[] = {
    {"domains", HN_QMP_ARG_STRING_LIST, FALSE, "Names or UUIDs; the whole host if absent."},
    {NULL}};
static const HnQmpArg query_domains_args[] = {
    {"managed-only", HN_QMP_ARG_BOOL, FALSE, "Leave out domains that have not opted in."}, {NULL}};
static const HnQmpArg plan_args[] = {
    {"domains", HN_QMP_ARG_STRING_LIST, FALSE, "Names or UUIDs to be forced; none if absent."},
    {"node", HN_QMP_ARG_INT, FALSE,
     "Kernel id of the home they are forced to; the best if absent."},
    {NULL}};
static const HnQmpArg rebalance_args[] = {
    {"domains", HN_QMP_ARG_STRING_LIST, FALSE, "Names or UUIDs; every managed domain if absent."},
    {"node", HN_QMP_ARG_INT, FALSE, "Kernel id of the wanted home; the best if absent."},
    {"dry-run", HN_QMP_ARG_BOOL, FALSE, "Return the plan instead of carrying it out."},
    {NULL}};
static const HnQmpArg job_args[] = {
    {"job", HN_QMP_ARG_INT, TRUE, "Number that rebalance returned."}, {NULL}};
static const HnQmpArg mode_args[] = {
    {"domain", HN_QMP_ARG_STRING, TRUE, "Name or UUID of a running domain."},
    {"mode", HN_QMP_ARG_STRING, TRUE, "auto, advise, off, or none to remove the element."},
    {"persistent", HN_QMP_ARG_BOOL, FALSE, "Also in the domain's persistent configuration."},
    {NULL}};
static const HnQmpArg set_args[] = {
    {"key", HN_QMP_ARG_STRING, TRUE, "Key as 'section.name', for instance placement.min-gain."},
    {"value", HN_QMP_ARG_STRING, TRUE, "Value as in homenode.conf(5)."},
    {NULL}};
static const HnQmpArg attach_args[] = {
    {"socket", HN_QMP_ARG_STRING, TRUE,
     "Absolute path of a QMP socket of a QEMU that libvirt does not run."},
    {NULL}};
static const HnQmpArg newcomer_args[] = {
    {"vcpus", HN_QMP_ARG_INT, TRUE, "vCPUs of the guest."},
    {"mib", HN_QMP_ARG_INT, FALSE, "Its memory in MiB; 0 if absent: CPUs alone count."},
    {NULL}};
static const HnQmpArg writes_args[] = {
    {"domain", HN_QMP_ARG_STRING, TRUE, "Name or UUID of a running domain."},
    {"window-ms", HN_QMP_ARG_INT, FALSE, "How long to wait, 10 to 10000 (2000)."},
    {NULL}};
static const HnQmpArg history_args[] = {
    {"domain", HN_QMP_ARG_STRING, FALSE, "Name or UUID; all domains if absent."},
    {"limit", HN_QMP_ARG_INT, FALSE, "At most so many entries (20)."},
    {NULL}};
static const HnQmpArg snapshot_args[] = {
    {"last", HN_QMP_ARG_INT, FALSE,
     "Return the last so many recorded rounds instead of a fresh one."},
    {NULL}};

static const HnQmpCommand commands[] = {
    {"query-host", FALSE, hn_verb_query_host, NULL, "Nodes, loads and the last round.", "object"},
    {"query-domains", FALSE, hn_verb_query_domains, query_domains_args,
     "Every domain, one row each.", "object"},
    {"query-domain", FALSE, hn_verb_query_domain, domain_args, "One domain in detail.", "object"},
    {"query-plan", FALSE, hn_verb_query_plan, plan_args,
     "What would be done now; nothing is applied.", "plan"},
    {"explain", FALSE, hn_verb_explain, domain_args,
     "Why a domain is where it is and what would change that.", "object"},
    {"query-placement", FALSE, hn_verb_query_placement, newcomer_args,
     "Where a guest that is about to start would best begin.", "object"},
    {"reserve-placement", TRUE, hn_verb_reserve_placement, newcomer_args,
     "The same, and counts the guest as there until it is seen, for a minute at most.", "object"},
    {"rebalance", TRUE, hn_verb_rebalance, rebalance_args,
     "Decides and acts now, without gain or cooldown.", "job number, or a plan"},
    {"query-job", FALSE, hn_verb_query_job, job_args, "How far a rebalance is.", "object"},
    {"release", TRUE, hn_verb_release, domains_args, "Restores pins and nodesets and lets go.",
     "object"},
    {"pause", TRUE, hn_verb_pause, domains_args, "Begins nothing new until resumed.", "object"},
    {"resume", TRUE, hn_verb_resume, domains_args, "Ends a pause.", "object"},
    {"set-mode", TRUE, hn_verb_set_mode, mode_args, "Writes the placement element's mode.",
     "object"},
    {"attach", TRUE, hn_verb_attach, attach_args,
     "Manages the guest behind a QMP socket, without libvirt.", "object"},
    {"detach", TRUE, hn_verb_detach, attach_args, "Lets go of the guest behind a QMP socket.",
     "object"},
    {"set", TRUE, hn_verb_set, set_args, "Changes the running configuration.", "object"},
    {"query-config", FALSE, hn_verb_query_config, NULL, "Every key with its value.", "object"},
    {"history", FALSE, hn_verb_history, history_args,
     "Decisions and what became of them, newest first.", "object"},
    {"doctor", FALSE, hn_verb_doctor, NULL, "What of this host helps or hinders.", "object"},
    {"snapshot", FALSE, hn_verb_snapshot, snapshot_args,
     "What a round saw and decided, to be replayed.", "round"},
    {"capture", TRUE, hn_verb_capture, NULL,
     "The files of /proc and /sys that are read of this host; changes nothing, but is not for everybody.",
     "object"},
    {"measure-writes", TRUE, hn_verb_measure_writes, writes_args,
     "What of a domain's RAM is written in a window; stalls it for a moment (observe.soft-dirty).", "object"},
    {"metrics", FALSE, hn_verb_metrics, NULL, "OpenMetrics text.", "object"},
    {"query-series", FALSE, hn_verb_query_series, NULL, "Locality, moves and load over time.",
     "object"},
    {NULL},
};

static const HnQmpEventInfo events[] = {
    {"ROUND", "A round has ended."},
    {"DOMAIN_MOVED", "A domain has a new home."},
    {"JOB_PROGRESS", "A rebalance goes on, or has ended."},
    {"BACKEND", "The hypervisor's daemon came or went."},
    {NULL, NULL},
};

static void audit(const char *command, json_object *args, const HnQmpPeer *peer,
                  gboolean is_read_only, const char *refusal, gpointer user_data)
{
    hn_log(refusal ? LOG_WARNING : LOG_NOTICE, HN_MSG_COMMAND, "%s %s by uid %u, pid %d%s%s",
           command, json_object_to_json_string_ext(args, JSON_C_TO_STRING_PLAIN),
           (unsigned)peer->uid, (int)peer->pid, refusal ? ": refused: " : "",
           refusal ? refusal : "");
}

void hn_control_server_emit(HnControlServer *server, const char *name, json_object *data)
{
    hn_qmp_server_emit(server->server, name, data, g_get_real_time());
}

void hn_control_server_emit_round(HnControlServer *server)
{
    const HnManager *manager = server->manager;
    if (!manager->plan || hn_qmp_server_counters(server->server).subscribers == 0)
        return;
    json_object *data = json_object_new_object();
    hn_put_u64(data, "generation", manager->plan->generation);
    hn_put_string(data, "summary", manager->plan->summary);
    hn_put_u64(data, "score-now", manager->plan->score_now);
    hn_control_server_emit(server, "ROUND", data);
}

static bool listen_on(HnControlServer *server, const char *runtime_dir, const char *name,
                      bool is_read_only, gid_t gid, GError **error)
{
    int fd = hn_log_socket_from_supervisor(name);
    if (fd >= 0 && gid != (gid_t)-1)
        hn_log(LOG_WARNING, HN_MSG_CONFIG,
               "daemon.control-group is not used: systemd made the socket; see SocketGroup= of homenoded.socket");
    if (fd >= 0)
        return hn_qmp_server_listen_fd(server->server, fd, is_read_only, error);
    g_autofree char *path = g_build_filename(runtime_dir, name, NULL);
    return hn_qmp_server_listen_path(server->server, path, is_read_only, is_read_only ? 0666 : 0660,
                                     gid, error);
}

static bool group_id(const char *group, gid_t *ret_gid, GError **error)
{
    *ret_gid = (gid_t)-1;
    if (!*group)
        return true;
    const struct group *entry = getgrnam(group);
    if (!entry) {
        g_set_error(error, HN_CONFIG_ERROR, HN_CONFIG_ERROR_VALUE,
                    "daemon.control-group is '%s', but there is no such group", group);
        return false;
    }
    *ret_gid = entry->gr_gid;
    return true;
}

HnControlServer *hn_control_server_new(HnManager *manager, const char *runtime_dir,
                                       const char *group, GError **error)
{
    g_autoptr(HnControlServer) server = g_new0(HnControlServer, 1);
    HnQmpServerOptions options = hn_qmp_server_options_default;
    gid_t gid;

    /* A snapshot of a large host, and many recorded ones, are longer than what a monitor answers.
     */
    options.max_reply_bytes = 64 << 20;
    options.max_total_bytes = 256 << 20;
    server->manager = manager;
    server->releases = g_ptr_array_new_with_free_func(hn_pending_release_free);
    server->early = g_ptr_array_new_with_free_func(hn_early_order_free);
    server->seen = g_ptr_array_new_with_free_func(hn_seen_answer_free);
    server->promises = hn_control_load_promises(manager);
    server->server = hn_qmp_server_new("homenode", HN_VERSION, commands, events, &options, server);
    hn_qmp_server_set_audit(server->server, audit);
    if (!group_id(group, &gid, error) ||
        !listen_on(server, runtime_dir, "control", false, gid, error) ||
        !listen_on(server, runtime_dir, "control-ro", true, (gid_t)-1, error))
        return NULL;
    manager->control = server;
    return g_steal_pointer(&server);
}

void hn_control_server_free(HnControlServer *server)
{
    if (!server)
        return;
    for (guint i = 0; i < server->releases->len; i++)
        hn_qmp_request_fail(((HnPendingRelease *)g_ptr_array_index(server->releases, i))->request,
                            HN_QMP_CLASS_GENERIC, "The daemon stops");
    g_ptr_array_unref(server->releases);
    g_clear_handle_id(&server->early_timer, g_source_remove);
    g_ptr_array_unref(server->early);
    g_ptr_array_unref(server->seen);
    g_array_unref(server->promises);
    hn_qmp_server_free(server->server);
    if (server->manager->control == server)
        server->manager->control = NULL;
    g_free(server);
}
