/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The opt-in element as text, with another mode: what `homenode enable` writes. Every other
 * attribute is kept as the admin wrote it.
 */
#pragma once

#include <homenode/domain.h>

/* `xml`: the element now, NULL if there is none. The new text, caller frees. Error
 * (G_MARKUP_ERROR): the present text is not one well-formed element; it is not overwritten, because
 * its attributes would be lost. */
char *hn_placement_with_mode(const char *xml, HnMode mode, GError **error);
