/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A captured machine as a test sees it: the domains its back end would have listed, and the text
 * form of what was observed, which is compared with the golden text beside the capture.
 */
#pragma once

#include "observe/observer.h"

/* domains.ini of a capture: one group per domain (keys: uuid pid kvm bare machine memory vcpus
 * cells devices shared nodeset vcpupin emulatorpin). HnDomainInfo, owned. */
GPtrArray *machine_load_infos(const char *path, GError **error);

/* Every field of host and domains that was observed, one fact per line. Caller frees. */
char *machine_format(const HnSnapshot *snapshot, HnObserver *observer);
