/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two back ends as one: libvirt's domains and bare QEMUs on the same host, planned together.
 *
 * The first one wins where both know a uuid; that is said in the log, once. A first back end that
 * has never been connected (no libvirt on this host) does not
 * keep the second one's domains from
 * being managed; one that is lost later does, because deciding without half of the guests would be
 * deciding on a host that is not there.
 */
#pragma once

#include "backend.h"

/* Takes both. */
HnBackend *hn_backend_composite_new(HnBackend *first, HnBackend *second);
