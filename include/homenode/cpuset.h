/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A set of host CPUs (or of guest vCPUs) as a plain value, and a set of nodes as one word.
 *
 * Values, not handles: a set is copied by assignment, compared by content and owned by whoever holds
 * it. The text form is the kernel's and libvirt's list format ("0-3,8,10-11").
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* The kernel's own ceiling on x86-64 (CONFIG_NR_CPUS_RANGE_END) and more than QEMU offers a guest. */
#define HN_MAX_CPUS 8192
/* Design limit; lets a set of nodes be one word. */
#define HN_MAX_NODES 64

typedef struct {
    uint64_t words[HN_MAX_CPUS / 64];
} HnCpuset;

/* Bit i stands for the node at index i of HnHost.nodes, never for the kernel's (sparse) node id. */
typedef uint64_t HnNodemask;
#define HN_NODE_NONE (-1)

void hn_cpuset_zero(HnCpuset *set);
void hn_cpuset_add(HnCpuset *set, uint32_t cpu); /* cpu < HN_MAX_CPUS */
void hn_cpuset_remove(HnCpuset *set, uint32_t cpu);
bool hn_cpuset_has(const HnCpuset *set, uint32_t cpu); /* false for cpu >= HN_MAX_CPUS */
uint32_t hn_cpuset_count(const HnCpuset *set);
bool hn_cpuset_is_empty(const HnCpuset *set);
bool hn_cpuset_equal(const HnCpuset *a, const HnCpuset *b);
bool hn_cpuset_is_subset(const HnCpuset *inner, const HnCpuset *outer);
bool hn_cpuset_intersects(const HnCpuset *a, const HnCpuset *b);
void hn_cpuset_and(HnCpuset *set, const HnCpuset *other);
void hn_cpuset_or(HnCpuset *set, const HnCpuset *other);
void hn_cpuset_and_not(HnCpuset *set, const HnCpuset *other);
/* The smallest member >= from, or -1. */
int32_t hn_cpuset_next(const HnCpuset *set, uint32_t from);

/* Parses "0-3,8\n" (white space around allowed, "" is the empty set). Errors: HN_MODEL_ERROR, naming
 * the offending piece and the allowed range. */
bool hn_cpuset_parse(const char *text, size_t len, HnCpuset *ret_set, GError **error);
/* The list format, "" when empty. Caller frees. */
char *hn_cpuset_format(const HnCpuset *set);

/* Errors of the pure model and its parsers. */
#define HN_MODEL_ERROR (hn_model_error_quark())
typedef enum {
    HN_MODEL_ERROR_SYNTAX, /* text that cannot be read */
    HN_MODEL_ERROR_RANGE,  /* a number outside what is allowed */
    HN_MODEL_ERROR_SENSE,  /* well formed, but impossible (memory above the node, no node, …) */
} HnModelError;
GQuark hn_model_error_quark(void);
