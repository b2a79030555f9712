/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenoded over libvirt. Everything else is in the library this links (daemon.h).
 */
#include "backend/backend-libvirt.h"
#include "daemon.h"

static HnBackend *libvirt_backend(const char *uri, const HnRoot *root, bool is_read_only,
                                  bool is_dirty_ring_allowed, GError **error)
{
    HnLibvirtOptions options = {
        .uri = uri,
        .root = root,
        .is_read_only = is_read_only,
        .is_dirty_ring_allowed = is_dirty_ring_allowed,
    };
    return hn_backend_libvirt_new(&options);
}

int main(int argc, char **argv)
{
    HnDaemonOptions options;
    int status = hn_daemon_parse(&argc, &argv, &options);
    if (status < 0)
        status = hn_daemon_run(&options, libvirt_backend);
    hn_daemon_options_clear(&options);
    return status;
}
