/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Orders: what `homenode rebalance` asked for and how far it is, for --wait.
 *
 *     pending → running → done      every domain moved, or was where it should be
 *                       → failed    some domain was refused or an action of it failed
 *
 * An order's domain: pending → moving → done | failed, or pending → done | refused.
 *
 * Bookkeeping only, in the main thread: the manager tells what was decided and what ended. At most
 * HN_ORDERS_MAX are remembered; the oldest that has ended goes first.
 */
#pragma once

#include <homenode/policy.h>
#include <json-c/json.h>

#define HN_ORDERS_MAX 64

typedef struct HnOrders HnOrders;
HnOrders *hn_orders_new(void);
void hn_orders_free(HnOrders *orders);

/* A new order for these forces (all of one node; one with an empty uuid means every managed
 * domain). Its number, from 1; 0 when HN_ORDERS_MAX orders are still under way. */
uint64_t hn_orders_add(HnOrders *orders, const HnForce *forces, uint32_t n_forces);
/* The forces of all pending orders, in order, appended to `forces`; the orders count as handed
 * over. */
void hn_orders_take_forces(HnOrders *orders, GArray *forces);
/* The round they were handed to came to nothing: they are pending again. */
void hn_orders_return_forces(HnOrders *orders);
/* The round they were handed to has decided. `in_flight`: set of uuids under way after submitting.
 */
void hn_orders_decided(HnOrders *orders, const HnPlan *plan, GHashTable *in_flight);
void hn_orders_outcome(HnOrders *orders, const HnOutcome *outcome, const char *sentence);
/* Ends domains that are no longer in flight. */
void hn_orders_check(HnOrders *orders, GHashTable *in_flight);
/* Bytes under way of a domain, for progress. */
void hn_orders_progress(HnOrders *orders, const char *uuid, uint64_t bytes_done,
                        uint64_t bytes_total, uint64_t bytes_per_sec);

bool hn_orders_has_running(const HnOrders *orders);
/* NULL if there is no such order (any more). Caller owns. */
json_object *hn_orders_to_json(const HnOrders *orders, uint64_t id);
/* Calls func for each order that runs, or has ended since the last call, with its document (func
 * takes it). */
void hn_orders_report(HnOrders *orders, void (*func)(json_object *document, void *user_data),
                      void *user_data);
