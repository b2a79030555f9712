/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a command line of numad to a nodeset: see front.h.
 */
#include "front.h"

#include "observe/host-read.h"
#include "qmp/client.h"

#include <gio/gio.h>
#include <getopt.h>
#include <homenode/newcomer.h>
#include <json-c/json.h>
#include <string.h>

#define RUNTIME_DIR "/run/homenode"
#define MAX_LIST_BYTES 4096

void hn_numad_request_clear(HnNumadRequest *request)
{
    g_clear_pointer(&request->runtime_dir, g_free);
    g_clear_pointer(&request->sysroot, g_free);
}

/* ---- the command line ---- */

/* "VCPUS[:MIB]". Numbers beyond what a guest can have are taken as the most: the start goes on. */
static bool parse_size(const char *text, HnNumadRequest *request, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(text, ":", 2);
    guint64 n_vcpus = 0, mib = 0;

    if (!parts[0] || !g_ascii_string_to_unsigned(parts[0], 10, 1, G_MAXUINT64, &n_vcpus, NULL) ||
        (parts[1] && !g_ascii_string_to_unsigned(parts[1], 10, 0, G_MAXUINT64, &mib, NULL))) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "-w is '%s', allowed is VCPUS[:MIB], as in -w 4:8192", text);
        return false;
    }
    request->n_vcpus = (uint32_t)MIN(n_vcpus, HN_NEWCOMER_MAX_VCPUS);
    request->mib = MIN(mib, HN_NEWCOMER_MAX_BYTES >> 20);
    return true;
}

HnNumadWhat hn_numad_parse(int argc, char **argv, HnNumadRequest *ret_request, GError **error)
{
    enum { OPTION_SOCKET = 256, OPTION_SYSROOT };
    static const struct option long_options[] = {
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {"socket", required_argument, NULL, OPTION_SOCKET},
        {"sysroot", required_argument, NULL, OPTION_SYSROOT},
        {NULL, 0, NULL, 0},
    };
    HnNumadWhat what = HN_NUMAD_WRONG;
    bool is_wrong = false;
    int option;

    *ret_request = (HnNumadRequest){.runtime_dir = g_strdup(RUNTIME_DIR), .sysroot = g_strdup("/")};
    optind = 0; /* glibc: begin anew, also in a second call */
    opterr = 0;
    while (!is_wrong &&
           (option = getopt_long(argc, argv, "+:C:dhH:i:K:l:m:p:r:R:S:t:u:vVw:x:", long_options,
                                 NULL)) != -1) {
        switch (option) {
        case 'w':
            is_wrong = !parse_size(optarg, ret_request, error);
            what = what == HN_NUMAD_WRONG ? HN_NUMAD_ASK : what;
            break;
        case 'h':
            what = HN_NUMAD_HELP;
            break;
        case 'V':
            what = HN_NUMAD_VERSION;
            break;
        case 'v':
            ret_request->is_verbose = true;
            break;
        case OPTION_SOCKET:
            g_free(ret_request->runtime_dir);
            ret_request->runtime_dir = g_strdup(optarg);
            break;
        case OPTION_SYSROOT:
            g_free(ret_request->sysroot);
            ret_request->sysroot = g_strdup(optarg);
            break;
        case '?':
        case ':':
            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION,
                        option == ':' ? "'%s' needs a value" : "unknown option '%s'",
                        argv[optind - 1]);
            is_wrong = true;
            break;
        default: /* of numad's daemon: nothing that an answer depends on */
            break;
        }
    }
    if (is_wrong)
        return HN_NUMAD_WRONG;
    if (optind < argc) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED, "unexpected argument '%s'",
                    argv[optind]);
        return HN_NUMAD_WRONG;
    }
    if (what == HN_NUMAD_WRONG)
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                    "this is no balancing daemon, it only answers -w VCPUS[:MIB]; homenoded "
                    "balances");
    return what;
}

/* ---- the daemon ---- */

static bool call(const HnNumadRequest *request, const char *socket, const char *verb,
                 json_object **ret_reply, GError **error)
{
    g_autofree char *path = g_build_filename(request->runtime_dir, socket, NULL);
    json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, "vcpus", json_object_new_int64(request->n_vcpus));
    json_object_object_add(arguments, "mib", json_object_new_int64((int64_t)request->mib));
    return hn_qmp_call_sync(path, verb, arguments, HN_NUMAD_PATIENCE_MS, ret_reply, error);
}

/* Is it something libvirt can use: a list that is not empty? */
static bool is_nodeset(const char *text)
{
    HnCpuset set;
    return text && hn_cpuset_parse(text, strlen(text), &set, NULL) && !hn_cpuset_is_empty(&set);
}

static char *ask_daemon(const HnNumadRequest *request, char **ret_source, GError **error)
{
    json_object *reply = NULL, *nodeset = NULL, *reason = NULL;
    bool is_reserved = call(request, "control", "reserve-placement", &reply, error);
    /* Whoever may not reserve (no root) is told what would be answered. A daemon that hangs would hang
     * here, too. */
    if (!is_reserved && (!g_error_matches(*error, HN_QMP_ERROR, HN_QMP_ERROR_CONNECT) ||
                         !call(request, "control-ro", "query-placement", &reply, NULL)))
        return NULL;
    g_clear_error(error);
    char *text = NULL;
    if (json_object_object_get_ex(reply, "nodeset", &nodeset) &&
        is_nodeset(json_object_get_string(nodeset))) {
        json_object_object_get_ex(reply, "reason", &reason);
        text = g_strdup(json_object_get_string(nodeset));
        *ret_source = g_strdup_printf("homenoded: %s, %s", json_object_get_string(reason),
                                      is_reserved ? "reserved" : "not reserved (no permission)");
    } else {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "homenoded answered without a nodeset");
    }
    json_object_put(reply);
    return text;
}

/* ---- without it ---- */

/* The nodes, with all that runs on them as load that is not ours. */
static HnSnapshot *read_nodes(const HnRoot *root, GError **error)
{
    g_autoptr(HnHostReader) reader = hn_host_reader_new(root);
    g_autoptr(HnHost) first = NULL;
    g_autoptr(HnSnapshot) snapshot = hn_snapshot_new();
    g_autofree uint64_t *busy_ns = NULL;

    if (!hn_host_reader_read(reader, &first, NULL, error))
        return NULL;
    gint64 began_us = g_get_monotonic_time();
    if (hn_root_is_live(root)) /* a captured machine does not change */
        g_usleep(HN_NUMAD_SAMPLE_MS * 1000);
    if (!hn_host_reader_read(reader, &snapshot->host, &busy_ns, error))
        return NULL;
    uint64_t elapsed_ns = (uint64_t)(g_get_monotonic_time() - began_us) * 1000;
    for (uint32_t n = 0; n < snapshot->host->n_nodes; n++)
        snapshot->host->nodes[n].other_load_mcpu = busy_ns[n] * 1000 / MAX(elapsed_ns, 1);
    snapshot->taken_ns = 1;
    return g_steal_pointer(&snapshot);
}

static char *compute(const HnRoot *root, const HnNumadRequest *request, GError **error)
{
    HnNewcomer guest = {request->n_vcpus, request->mib << 20};
    HnPolicy policy;
    HnReason reason;

    g_autoptr(HnSnapshot) snapshot = read_nodes(root, error);
    if (!snapshot)
        return NULL;
    hn_policy_init(&policy);
    HnNodemask nodes =
        hn_newcomer_place(snapshot, &policy, NULL, NULL, &guest, NULL, &reason, error);
    return nodes ? hn_host_format_nodes(snapshot->host, nodes) : NULL;
}

/* Every node that is online; node 0 where not even that can be read (a kernel without NUMA). */
static char *all_nodes(const HnRoot *root)
{
    g_autofree char *text = NULL;
    if (root &&
        hn_root_read(root, "sys/devices/system/node/online", MAX_LIST_BYTES, &text, NULL, NULL) &&
        is_nodeset(g_strstrip(text)))
        return g_steal_pointer(&text);
    return g_strdup("0");
}

char *hn_numad_answer(const HnNumadRequest *request, char **ret_source)
{
    g_autoptr(GError) no_daemon = NULL, no_nodes = NULL;

    char *nodeset = ask_daemon(request, ret_source, &no_daemon);
    if (nodeset)
        return nodeset;
    g_autoptr(HnRoot) root = hn_root_open(request->sysroot, &no_nodes);
    nodeset = root ? compute(root, request, &no_nodes) : NULL;
    if (nodeset) {
        *ret_source = g_strdup_printf("load and free memory of the nodes, nothing reserved (%s)",
                                      no_daemon->message);
        return nodeset;
    }
    *ret_source = g_strdup_printf("every node (%s; %s)", no_daemon->message, no_nodes->message);
    return all_nodes(root);
}
