/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How much a node can take right now. The kernel answers a full node with ENOMEM and a stack dump in its log, so
 * it is asked before, each time.
 *
 * A host that has been up for a while has hardly any free memory: files fill it. What of that is clean and
 * inactive makes room while pages move (the kernel frees down to its watermarks by itself), so plans count it, and
 * so does the mover; but it comes little by little, and so must the batches.
 */
#pragma once

#include "limits.h"
#include "observe/root.h"

/* MemFree of /sys/devices/system/node/nodeN/meminfo, and Inactive(file) − Dirty − Writeback (0 where they are not
 * told). Error: HN_MODEL_ERROR_SYNTAX. */
bool hn_room_parse_meminfo(const char *text, size_t len, uint64_t *ret_free_bytes, uint64_t *ret_clean_bytes,
                           GError **error);

/* Bytes that may be moved to the node with the next call: free − high watermarks − headroom, plus the node's free
 * hugetlb pages where hugetlb_page_bytes is not 0 (they are taken first). If that is less than small_bytes, clean
 * file pages make up for it up to small_bytes (not for hugetlb). Error: the file cannot be read or parsed. */
bool hn_room_read(const HnRoot *root, int32_t node_id, uint64_t watermark_bytes, uint64_t hugetlb_page_bytes,
                  uint64_t small_bytes, const HnLimits *limits, uint64_t *ret_room_bytes, GError **error);
