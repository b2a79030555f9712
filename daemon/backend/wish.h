/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The opt-in element <placement …/> of namespace urn:homenode:placement:1, decoded. Pure: text in,
 * value out. Strict on purpose: an attribute that is misspelt must not silently mean "no
 * constraint", so anything unknown makes the whole element invalid and the domain is left alone.
 */
#pragma once

#include <homenode/domain.h>
#include <homenode/host.h>

#define HN_PLACEMENT_URI "urn:homenode:placement:1"
#define HN_PLACEMENT_KEY "homenode"
#define HN_STATS_URI "urn:homenode:stats:1"
#define HN_STATS_KEY "homenode-stats"

/* Decodes `xml` (NULL: the domain has no element, mode HN_MODE_NONE). nodeset='…' names kernel node
 * ids; one that `host` does not have is an error. Always fills *ret_wish (the caller clears it with
 * hn_wish_clear()); previous content is overwritten, not freed.
 *
 * Returns false if the element is wrong: ret_wish->invalid is one sentence that names the
 * attribute, the value and what is allowed, and ret_wish->mode is HN_MODE_OFF. */
bool hn_wish_parse(const char *xml, const HnHost *host, HnWish *ret_wish);
