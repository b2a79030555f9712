/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenoded over libvirt and bare QEMUs. Everything else is in the library this links (daemon.h).
 */
#include "backend/backend-composite.h"
#include "backend/backend-libvirt.h"
#include "backend/backend-qmp.h"
#include "daemon.h"

#include <locale.h>
#include <string.h>

static HnBackend *make_backend(const HnBackendNeeds *needs, GError **error)
{
    HnLibvirtOptions libvirt = {
        .uri = needs->uri,
        .root = needs->root,
        .is_read_only = needs->is_read_only,
        .is_dirty_ring_allowed = needs->is_dirty_ring_allowed,
    };
    HnQmpOptions qmp = {
        .directory = needs->sockets,
        .attached_file = needs->attached_file,
        .root = needs->root,
        .is_read_only = needs->is_read_only,
        .is_dirty_ring_allowed = needs->is_dirty_ring_allowed,
    };
    if (strcmp(needs->uri, "none") == 0)
        return hn_backend_qmp_new(&qmp);
    return hn_backend_composite_new(hn_backend_libvirt_new(&libvirt), hn_backend_qmp_new(&qmp));
}

int main(int argc, char **argv)
{
    HnDaemonOptions options;
    setlocale(LC_CTYPE, ""); /* what --help and messages hold beyond ASCII is not to end as '?' */
    int status = hn_daemon_parse(&argc, &argv, &options);
    if (status < 0)
        status = hn_daemon_run(&options, make_backend);
    hn_daemon_options_clear(&options);
    return status;
}
