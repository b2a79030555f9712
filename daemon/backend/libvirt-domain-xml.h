/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Live domain XML of libvirt (what `virsh dumpxml DOMAIN` prints) to HnDomainInfo. Pure: opens
 * nothing, resolves no external entity, talks to no libvirt.
 */
#pragma once

#include "backend.h"

/* Parses `len` bytes of XML. Everything the XML tells is filled in; pid, state and job are not in
 * it and stay 0. Unknown elements are skipped; a known one that cannot be read is an error that
 * names it.
 *
 * Error: HN_MODEL_ERROR. *ret_info is owned by the caller, written on success only. */
bool hn_libvirt_domain_xml_parse(const char *xml, size_t len, HnDomainInfo **ret_info,
                                 GError **error);
