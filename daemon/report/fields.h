/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Typed members of JSON objects: written with one call each, read back with the first error kept.
 *
 * Reading: an HnFieldReader collects the first thing that is wrong ("snapshot.host.nodes[1]: member
 * 'cpus' is missing"); after that every getter returns its zero value, so that a decoder reads as a
 * list of members and is checked once at its end. What is read may come from a stranger's bug
 * report: numbers are range-checked, types are never coerced.
 *
 * Must not: do I/O, know what the members mean.
 */
#pragma once

#include <homenode/cpuset.h>
#include <json-c/json.h>

/* Writing. `object` keeps ownership of what is added; `name` must be a constant. */
void hn_put_string(json_object *object, const char *name, const char *value); /* NULL: null */
void hn_put_bool(json_object *object, const char *name, bool value);
void hn_put_i64(json_object *object, const char *name, int64_t value);
void hn_put_u64(json_object *object, const char *name, uint64_t value);
/* null when value is UINT64_MAX, which the contracts use for "never". */
void hn_put_u64_or_null(json_object *object, const char *name, uint64_t value);
void hn_put(json_object *object, const char *name,
            json_object *value); /* takes value; NULL: null */
void hn_put_cpuset(json_object *object, const char *name, const HnCpuset *set); /* "0-3,8" */
void hn_put_u64_array(json_object *object, const char *name, const uint64_t *values, uint32_t n);
/* A mask of node indexes as an array of indexes. */
void hn_put_nodemask(json_object *object, const char *name, HnNodemask mask);

#define HN_FIELD_ERROR (hn_field_error_quark())
typedef enum {
    HN_FIELD_ERROR_MISSING,
    HN_FIELD_ERROR_TYPE,
    HN_FIELD_ERROR_RANGE,
} HnFieldError;
GQuark hn_field_error_quark(void);

typedef struct {
    GError *error; /* the first one; owned */
    GString *path; /* where the reader stands, for messages */
} HnFieldReader;

void hn_field_reader_init(HnFieldReader *reader, const char *what);
/* Ends reading: true if nothing was wrong, else moves the error out. Frees the reader's parts. */
bool hn_field_reader_end(HnFieldReader *reader, GError **error);
/* Enters member `name` (or element `index` when index >= 0) for messages; returns what to give to
 * leave. */
size_t hn_field_enter(HnFieldReader *reader, const char *name, int64_t index);
void hn_field_leave(HnFieldReader *reader, size_t mark);
void hn_field_fail(HnFieldReader *reader, HnFieldError code, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/* Getters; the "opt" ones return `otherwise` when the member is absent or null. Strings are
 * borrowed from the object. */
uint64_t hn_get_u64(HnFieldReader *reader, json_object *object, const char *name, uint64_t max);
uint64_t hn_opt_u64(HnFieldReader *reader, json_object *object, const char *name, uint64_t max,
                    uint64_t otherwise);
int64_t hn_get_i64(HnFieldReader *reader, json_object *object, const char *name, int64_t min,
                   int64_t max);
bool hn_opt_bool(HnFieldReader *reader, json_object *object, const char *name, bool otherwise);
const char *hn_get_string(HnFieldReader *reader, json_object *object, const char *name);
const char *hn_opt_string(HnFieldReader *reader, json_object *object, const char *name);
json_object *hn_get_object(HnFieldReader *reader, json_object *object, const char *name);
/* The array, or NULL (opt: also when absent); *ret_n is its length, 0 with NULL. An array longer
 * than max is an error. */
json_object *hn_get_array(HnFieldReader *reader, json_object *object, const char *name, size_t max,
                          size_t *ret_n);
json_object *hn_opt_array(HnFieldReader *reader, json_object *object, const char *name, size_t max,
                          size_t *ret_n);
void hn_get_cpuset(HnFieldReader *reader, json_object *object, const char *name, HnCpuset *ret_set);
/* Exactly n numbers into values. Absent: values stay as they are. */
void hn_opt_u64_array(HnFieldReader *reader, json_object *object, const char *name,
                      uint64_t *values, uint32_t n);
HnNodemask hn_opt_nodemask(HnFieldReader *reader, json_object *object, const char *name,
                           uint32_t n_nodes);
/* An index of a table of names: names(i) is asked for i = 0 .. n-1. */
uint32_t hn_get_enum(HnFieldReader *reader, json_object *object, const char *name,
                     const char *const *names, uint32_t n);
