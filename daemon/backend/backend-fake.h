/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A back end in memory: domains are added by the test, pins and nodesets are recorded, changes are
 * reported like libvirt reports them, and any operation can be told to fail or to take its time.
 */
#pragma once

#include "backend.h"

typedef enum {
    HN_FAKE_LIST,
    HN_FAKE_GET,
    HN_FAKE_PIN_VCPU,
    HN_FAKE_PIN_EMULATOR,
    HN_FAKE_PIN_IOTHREAD,
    HN_FAKE_SET_NODESET,
    HN_FAKE_SET_STATS,
    HN_FAKE_SET_PLACEMENT,
    HN_FAKE_START_DIRTY_RATE,
    HN_FAKE_GET_DIRTY_RATE,
    HN_N_FAKE_OPS,
} HnFakeOp;

/* Connected from the first watch() on, no domains. */
HnBackend *hn_backend_fake_new(void);

/* A plain running KVM domain: n_vcpus vCPUs without pins, one piece of RAM "pc.ram". uuid: 36
 * chars. */
void hn_fake_add_domain(HnBackend *backend, const char *uuid, const char *name, uint32_t n_vcpus,
                        uint64_t memory_bytes);
/* Anything else: takes ownership of `info`, replaces a domain of the same uuid. */
void hn_fake_put_domain(HnBackend *backend, HnDomainInfo *info);
/* It ends: reports STOPPED. */
void hn_fake_remove_domain(HnBackend *backend, const char *uuid);
/* As an administrator would: reports METADATA. xml NULL: removed. */
void hn_fake_set_placement(HnBackend *backend, const char *uuid, const char *xml);
void hn_fake_set_job(HnBackend *backend, const char *uuid, HnJob job);
void hn_fake_set_state(HnBackend *backend, const char *uuid, HnDomainState state);
/* The hypervisor's daemon goes away or comes back. */
void hn_fake_set_connected(HnBackend *backend, bool is_connected);
/* What the next get_dirty_rate() after a start answers. */
void hn_fake_set_dirty_rate(HnBackend *backend, const char *uuid, uint64_t bytes_per_sec);

/* The next `times` calls of `op` on `uuid` (NULL: any domain) fail so; UINT32_MAX: until
 * hn_fake_heal(). */
void hn_fake_fail(HnBackend *backend, HnFakeOp op, const char *uuid, HnBackendError code,
                  const char *message, uint32_t times);
/* Every call of `op` blocks its caller that long. */
void hn_fake_delay(HnBackend *backend, HnFakeOp op, uint32_t ms);
void hn_fake_heal(HnBackend *backend); /* forgets failures and delays */

uint32_t hn_fake_calls(HnBackend *backend, HnFakeOp op); /* since the start, failed ones too */
/* The statistics element last written, NULL: none. Caller frees. */
char *hn_fake_get_stats(HnBackend *backend, const char *uuid);
