/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenoded over the fake back end: the very daemon, with guests that a file describes.
 *
 *     homenoded-fake --connect fake:FILE [options of homenoded]
 *
 * FILE has one group per domain, in the format of the captured machines' domains.ini
 * (tests/fixtures/hosts), of which the keys uuid, pid, kvm, machine, memory and vcpus are read, and
 * the keys placement (the element's text), job (none, migration, other), state (running,
 * paused) and confidential (its memory cannot move). A group [fake] with connected=false makes the hypervisor's daemon go away. On SIGUSR1
 * the file is read again and what differs is reported as libvirt would.
 */
#include "backend/backend-fake.h"
#include "daemon.h"

#include <glib-unix.h>
#include <string.h>

static char *guests_file;
static HnBackend *fake;

static void add_memory(HnDomainInfo *info, GKeyFile *keys, const char *group)
{
    g_auto(GStrv) pieces = g_key_file_get_string_list(keys, group, "memory", NULL, NULL);
    for (guint i = 0; pieces && pieces[i]; i++) {
        g_auto(GStrv) words = g_strsplit(pieces[i], ":", 3);
        HnMemoryInfo *memory = g_new0(HnMemoryInfo, 1);
        g_assert_cmpuint(g_strv_length(words), ==, 3);
        memory->object_id = g_strdup(words[0]);
        memory->guest_cell = (int32_t)g_ascii_strtoll(words[1], NULL, 10);
        memory->length_bytes = g_ascii_strtoull(words[2], NULL, 10);
        memory->gpa_base = UINT64_MAX;
        info->configured_bytes += memory->length_bytes;
        g_ptr_array_add(info->memory, memory);
    }
    info->current_bytes = info->configured_bytes;
}

static void add_vcpus(HnDomainInfo *info, GKeyFile *keys, const char *group)
{
    g_auto(GStrv) cells = g_key_file_get_string_list(keys, group, "vcpus", NULL, NULL);
    for (guint i = 0; cells && cells[i]; i++) {
        HnVcpuInfo vcpu = {.id = i, .guest_cell = (int32_t)g_ascii_strtoll(cells[i], NULL, 10)};
        g_array_append_val(info->vcpus, vcpu);
    }
}

static HnDomainInfo *info_of(GKeyFile *keys, const char *group)
{
    HnDomainInfo *info = hn_domain_info_new();
    g_autofree char *uuid = g_key_file_get_string(keys, group, "uuid", NULL);
    g_autofree char *job = g_key_file_get_string(keys, group, "job", NULL);
    g_autofree char *state = g_key_file_get_string(keys, group, "state", NULL);

    g_assert_nonnull(uuid);
    g_strlcpy(info->uuid, uuid, sizeof info->uuid);
    info->name = g_strdup(group);
    info->pid = g_key_file_get_int64(keys, group, "pid", NULL);
    info->is_kvm = g_key_file_get_boolean(keys, group, "kvm", NULL);
    info->machine_type = g_key_file_get_string(keys, group, "machine", NULL);
    info->placement_xml = g_key_file_get_string(keys, group, "placement", NULL);
    info->state = g_strcmp0(state, "paused") == 0 ? HN_STATE_PAUSED : HN_STATE_RUNNING;
    info->job = g_strcmp0(job, "migration") == 0 ? HN_JOB_MIGRATION
                : g_strcmp0(job, "other") == 0   ? HN_JOB_OTHER
                                                 : HN_JOB_NONE;
    info->has_launch_security = g_key_file_get_boolean(keys, group, "confidential", NULL);
    add_memory(info, keys, group);
    add_vcpus(info, keys, group);
    return info;
}

static void remove_missing(GKeyFile *keys)
{
    g_autoptr(GPtrArray) infos = NULL;
    if (!fake->ops->list(fake, &infos, NULL))
        return;
    for (guint i = 0; i < infos->len; i++) {
        const HnDomainInfo *info = g_ptr_array_index(infos, i);
        if (!g_key_file_has_group(keys, info->name))
            hn_fake_remove_domain(fake, info->uuid);
    }
}

static void load(bool is_first)
{
    g_autoptr(GKeyFile) keys = g_key_file_new();
    g_autoptr(GError) error = NULL;
    if (!g_key_file_load_from_file(keys, guests_file, G_KEY_FILE_NONE, &error))
        g_error("%s: %s", guests_file, error->message);
    bool is_down = g_key_file_has_key(keys, "fake", "connected", NULL) &&
                   !g_key_file_get_boolean(keys, "fake", "connected", NULL);
    if (!is_down)
        hn_fake_set_connected(fake, true);
    remove_missing(keys);
    g_auto(GStrv) groups = g_key_file_get_groups(keys, NULL);
    for (guint i = 0; groups[i]; i++) {
        if (strcmp(groups[i], "fake") == 0)
            continue;
        g_autoptr(HnDomainInfo) info = info_of(keys, groups[i]);
        g_autofree char *uuid = g_strdup(info->uuid);
        g_autofree char *placement = g_strdup(info->placement_xml);
        HnJob job = info->job;
        g_autoptr(HnDomainInfo) known = NULL;
        if (!is_first && fake->ops->get(fake, uuid, &known, NULL)) {
            if (g_strcmp0(known->placement_xml, placement) != 0)
                hn_fake_set_placement(fake, uuid, placement);
            if (known->job != job)
                hn_fake_set_job(fake, uuid, job);
            continue;
        }
        hn_fake_put_domain(fake, g_steal_pointer(&info));
    }
    if (is_down)
        hn_fake_set_connected(fake, false);
}

static gboolean on_reload(gpointer unused)
{
    load(false);
    return G_SOURCE_CONTINUE;
}

static HnBackend *fake_backend(const HnBackendNeeds *needs, GError **error)
{
    const char *uri = needs->uri;
    if (!g_str_has_prefix(uri, "fake:")) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "--connect must be fake:FILE here");
        return NULL;
    }
    guests_file = g_strdup(uri + strlen("fake:"));
    fake = hn_backend_fake_new();
    load(true);
    g_unix_signal_add(SIGUSR1, on_reload, NULL);
    return fake;
}

int main(int argc, char **argv)
{
    HnDaemonOptions options;
    int status = hn_daemon_parse(&argc, &argv, &options);
    if (status < 0)
        status = hn_daemon_run(&options, fake_backend);
    hn_daemon_options_clear(&options);
    g_free(guests_file);
    return status;
}
