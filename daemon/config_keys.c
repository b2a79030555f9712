/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of configuration keys, and values as text and back.
 *
 * Theory of operation. A number is read with its unit into integer base units (ns, bytes, permille)
 * without floating point; "2.5%" is the only fraction allowed and ends at one digit. Formatting
 * picks the largest unit that divides the value, so that what is printed can be read back
 * unchanged.
 *
 * Must not: read files.
 */
#include "config_keys.h"

#include <string.h>

#define SECOND_NS UINT64_C(1000000000)
#define MS_NS UINT64_C(1000000)
#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define DAY_NS (86400 * SECOND_NS)
#define TIB (UINT64_C(1) << 40)

static const char *const touch_names[] = {"off", "wide", "all", NULL};
static const char *const on_start_names[] = {"adopt", "restore", NULL};
static const char *const dirty_names[] = {"none", "page-sampling", "dirty-bitmap", NULL};
static const char *const on_stop_names[] = {"restore", "keep", NULL};

#define AT(member) offsetof(HnConfig, member)
#define NO false
#define RESTART true

/* Policy and limits are checked a second time, as a whole, by hn_policy_validate() and
 * hn_limits_validate(). */
const HnKey hn_config_keys[] = {
    {"daemon", "connect", HN_KEY_STRING, AT(connect), 0, 256, NULL, RESTART,
     "Libvirt URI. The system instance only: a session instance has no cgroups. none: no libvirt."},
    {"daemon", "control-group", HN_KEY_STRING, AT(control_group), 0, 64, NULL, RESTART,
     "Group that may use the read-write control socket; empty: the group the daemon runs as."},
    {"daemon", "round-interval", HN_KEY_DURATION, AT(round_interval_ns), 100 * MS_NS,
     3600 * SECOND_NS, NULL, NO, "Time between two rounds."},
    {"daemon", "idle-interval", HN_KEY_DURATION, AT(idle_interval_ns), SECOND_NS, DAY_NS, NULL, NO,
     "Time between two rounds on a host with a single node, where only events matter."},
    {"daemon", "event-delay", HN_KEY_DURATION, AT(event_delay_ns), 0, 10 * SECOND_NS, NULL, NO,
     "How long an event waits for others before it causes a round."},
    {"daemon", "on-start", HN_KEY_ENUM, AT(on_start), 0, 0, on_start_names, NO,
     "What to do with domains that a killed daemon left pinned: adopt them, or restore them "
     "first."},
    {"daemon", "on-stop", HN_KEY_ENUM, AT(on_stop), 0, 0, on_stop_names, NO,
     "When the daemon stops: restore original pins and nodesets, or keep (for an upgrade)."},
    {"daemon", "stop-timeout", HN_KEY_DURATION, AT(stop_timeout_ns), SECOND_NS, 300 * SECOND_NS,
     NULL, NO, "Longest time that restoring may take when the daemon stops."},
    {"daemon", "write-stats", HN_KEY_BOOL, AT(is_stats_written), 0, 0, NULL, NO,
     "Write the statistics element (urn:homenode:stats:1) of managed domains."},
    {"daemon", "stats-interval", HN_KEY_DURATION, AT(stats_interval_ns), SECOND_NS,
     3600 * SECOND_NS, NULL, NO,
     "Shortest time between two writes of one domain's statistics element."},
    {"daemon", "history-entries", HN_KEY_COUNT, AT(history_entries), 1, 10000, NULL, NO,
     "Decisions and outcomes remembered per domain."},
    {"daemon", "record-bytes", HN_KEY_BYTES, AT(record_bytes), 0, GIB, NULL, NO,
     "Memory for recorded rounds (homenode snapshot --last), compressed; 0: none."},
    {"daemon", "metrics-file", HN_KEY_STRING, AT(metrics_file), 0, 4096, NULL, NO,
     "File that receives OpenMetrics text after each round, replaced atomically (node_exporter's "
     "textfile "
     "collector); empty: none."},

    {"metrics", "listen", HN_KEY_STRING, AT(metrics_listen), 0, 64, NULL, RESTART,
     "Address and port for OpenMetrics over HTTP at /metrics, for instance 127.0.0.1:9177; empty: none."},
    {"metrics", "allow-remote", HN_KEY_BOOL, AT(is_metrics_remote), 0, 0, NULL, RESTART,
     "Let that be an address that other hosts can reach."},

    {"qemu", "sockets", HN_KEY_STRING, AT(qemu_sockets), 0, 4096, NULL, RESTART,
     "Directory of QMP sockets: the guests behind them are managed without libvirt; empty: none."},

    {"observe", "probe-max-age", HN_KEY_DURATION, AT(probe_max_age_ns), 100 * MS_NS, DAY_NS, NULL,
     NO, "Guest memory is probed again when the last probes are this old."},
    {"observe", "probe-ceiling", HN_KEY_DURATION, AT(probe_ceiling_ns), 100 * MS_NS, DAY_NS, NULL,
     NO, "The age above doubles up to this while every managed domain is converged."},
    {"observe", "probes", HN_KEY_COUNT, AT(n_probes), 64, 65536, NULL, NO,
     "Pages probed per domain; 1024 gives at most 3.1 % of error."},
    {"observe", "exact-max-bytes", HN_KEY_BYTES, AT(exact_max_bytes), 0, 64 * GIB, NULL, NO,
     "Guests up to this size are read page by page instead."},
    {"observe", "hinting-faults", HN_KEY_BOOL, AT(with_hinting_faults), 0, 0, NULL, NO,
     "Read the kernel's NUMA hinting faults of each vCPU."},
    {"observe", "touch-matrix", HN_KEY_ENUM, AT(touch_matrix), 0, 0, touch_names, NO,
     "Whose page faults are sampled, while in doubt, to learn which vCPU touches which memory: of "
     "managed domains wider than a node or disputed, of all managed ones, or of none (off)."},
    {"observe", "allow-dirty-ring", HN_KEY_BOOL, AT(is_dirty_ring_allowed), 0, 0, NULL, RESTART,
     "Allow dirty-rate measurement per vCPU by the dirty ring, where the domain has one."},
    {"observe", "damon", HN_KEY_BOOL, AT(is_damon_allowed), 0, 0, NULL, NO,
     "Let DAMON watch the RAM of one domain at a time that is in doubt and gives no touches: what it finds hot "
     "moves first."},
    {"observe", "soft-dirty", HN_KEY_BOOL, AT(is_soft_dirty_allowed), 0, 0, NULL, NO,
     "Allow homenode writes, which measures what a guest writes by soft-dirty bits and stalls it for a moment."},

    {"evidence", "rounds", HN_KEY_COUNT, AT(policy.doubt_rounds), 3, 10000, NULL, NO,
     "Rounds without a change after which a domain that was in doubt counts as known, whatever was "
     "seen."},
    {"evidence", "recheck", HN_KEY_DURATION, AT(policy.recheck_min_ns), SECOND_NS, DAY_NS, NULL, NO,
     "A known domain is looked at again by all means after this time; it doubles while nothing "
     "changes."},
    {"evidence", "recheck-ceiling", HN_KEY_DURATION, AT(policy.recheck_ceiling_ns), SECOND_NS,
     DAY_NS, NULL, NO, "The time above doubles up to this."},
    {"evidence", "switch-balancing", HN_KEY_BOOL, AT(is_balancing_switched), 0, 0, NULL, NO,
     "Switch kernel.numa_balancing on while a managed domain is in doubt, and back to what it was "
     "afterwards."},
    {"evidence", "scan-size", HN_KEY_BYTES, AT(scan_bytes), 0, 64 * GIB, NULL, NO,
     "How much of a guest the kernel scans at a time while balancing is switched on by the key "
     "above; 0: as the kernel has it."},
    {"evidence", "dirty-rate", HN_KEY_ENUM, AT(dirty_mode), 0, 0, dirty_names, NO,
     "How a guest's writes are measured while it is in doubt: none, page-sampling (costs it nothing) "
     "or dirty-bitmap (KVM only; splits its huge pages for the window)."},
    {"evidence", "dirty-window", HN_KEY_DURATION, AT(dirty_window_ns), SECOND_NS, 60 * SECOND_NS,
     NULL, NO, "How long its writes are measured, in whole seconds."},

    {"placement", "min-gain", HN_KEY_PERMILLE, AT(policy.min_gain_permille), 0, 1000, NULL, NO,
     "Least improvement worth a move, as a share of the domain's CPU demand."},
    {"placement", "confirm-rounds", HN_KEY_COUNT, AT(policy.confirm_rounds), 1, 1000, NULL, NO,
     "Rounds in a row that must agree before a domain is moved."},
    {"placement", "cooldown", HN_KEY_DURATION, AT(policy.cooldown_ns), 0, DAY_NS, NULL, NO,
     "Time after a re-home during which a domain is not moved again."},
    {"placement", "thrash-moves-per-hour", HN_KEY_COUNT, AT(policy.thrash_moves_per_hour), 1, 3600,
     NULL, NO, "Most re-homes of one domain per hour."},
    {"placement", "payback-horizon", HN_KEY_DURATION, AT(policy.payback_horizon_ns), SECOND_NS,
     DAY_NS, NULL, NO, "The cost of moving memory is spread over this time."},
    {"placement", "kappa", HN_KEY_PERMILLE, AT(policy.kappa_permille), 0, 10000, NULL, NO,
     "What a remote access costs more than a local one, at distance 20."},
    {"placement", "memory-bound", HN_KEY_PERMILLE, AT(policy.memory_bound_permille), 0, 1000, NULL,
     NO, "Share of a guest's CPU time that waits for memory, where nothing better is known."},
    {"placement", "smt-yield", HN_KEY_PERMILLE, AT(policy.smt_yield_permille), 0, 1000, NULL, NO,
     "What the second sibling adds to a core."},
    {"placement", "reserve", HN_KEY_PERMILLE, AT(policy.reserve_permille), 0, 900, NULL, NO,
     "Share of a node's memory that is never planned for."},
    {"placement", "reserve-min", HN_KEY_BYTES, AT(policy.reserve_min_bytes), 0, 64 * TIB, NULL, NO,
     "At least so much of a node's memory is never planned for."},
    {"placement", "boot-window", HN_KEY_DURATION, AT(policy.boot_window_ns), 0, DAY_NS, NULL, NO,
     "A domain younger than this counts at its configured size."},
    {"placement", "demand-halflife", HN_KEY_DURATION, AT(policy.demand_halflife_ns), 100 * MS_NS,
     3600 * SECOND_NS, NULL, NO, "Smoothing of CPU demand."},
    {"placement", "converged", HN_KEY_PERMILLE, AT(policy.converged_permille), 500, 1000, NULL, NO,
     "A domain with at least this share of its memory at home is converged."},
    {"placement", "fence", HN_KEY_BOOL, AT(policy.fence_when_converged), 0, 0, NULL, NO,
     "Close a converged domain's nodeset to its home, which ends the kernel's NUMA scanning of "
     "it."},

    {"apply", "host-rate", HN_KEY_RATE_OR_AUTO, AT(limits.host_bytes_per_sec), 0, TIB, NULL, NO,
     "Most bytes of guest memory moved per second, all guests together; auto: 1GiB/s for every two "
     "nodes with memory, from 1GiB/s to 4GiB/s; 0: no limit."},
    {"apply", "node-rate", HN_KEY_RATE, AT(limits.node_bytes_per_sec), 0, TIB, NULL, NO,
     "The same per destination node; 0: no limit."},
    {"apply", "cold-rate", HN_KEY_RATE, AT(limits.cold_bytes_per_sec), 0, TIB, NULL, NO,
     "The same for memory that nobody was seen to touch, which moves last; 0: like the rest."},
    {"apply", "collapse", HN_KEY_BOOL, AT(limits.is_collapse_enabled), 0, 0, NULL, NO,
     "Rebuild huge pages that were split by a move, where the kernel can."},
    {"apply", "call-target", HN_KEY_DURATION, AT(limits.call_target_ns), MS_NS / 10, SECOND_NS,
     NULL, NO, "Batches grow and shrink so that one call of move_pages takes about this long."},
    {"apply", "batch-floor", HN_KEY_BYTES, AT(limits.batch_floor_bytes), 4 * KIB, GIB, NULL, NO,
     "Smallest batch, as long as calls of that size stay below twice the call target."},
    {"apply", "batch-ceiling", HN_KEY_BYTES, AT(limits.batch_ceiling_bytes), 4 * KIB, GIB, NULL, NO,
     "Largest batch."},
    {"apply", "headroom", HN_KEY_BYTES, AT(limits.headroom_bytes), 0, TIB, NULL, NO,
     "Left free on a destination node above the kernel's high watermarks."},
    {"apply", "busy-retries", HN_KEY_COUNT, AT(limits.busy_retries), 0, 16, NULL, NO,
     "How often busy pages are tried again."},
    {"apply", "busy-wait", HN_KEY_DURATION, AT(limits.busy_wait_ns), 0, 10 * SECOND_NS, NULL, NO,
     "Wait before busy pages are tried again; doubles each time."},
    {"apply", "back-off", HN_KEY_BOOL, AT(limits.is_backoff_enabled), 0, 0, NULL, NO,
     "Move slower, or pause, while the host or the guest is under pressure."},
    {"apply", "pressure-slow", HN_KEY_PERMILLE, AT(limits.psi_slow_permille), 1, 1000, NULL, NO,
     "Memory pressure (some avg10) from which moving slows down."},
    {"apply", "pressure-pause", HN_KEY_PERMILLE, AT(limits.psi_pause_permille), 1, 1000, NULL, NO,
     "Memory pressure (some avg10) from which moving pauses."},
    {"apply", "run-delay-slow", HN_KEY_PERMILLE, AT(limits.run_delay_slow_permille), 1, 1000, NULL,
     NO, "Rise of the guest's run delay from which moving slows down."},
    {"apply", "run-delay-pause", HN_KEY_PERMILLE, AT(limits.run_delay_pause_permille), 1, 1000,
     NULL, NO, "Rise of the guest's run delay from which moving pauses."},
    {"apply", "give-up", HN_KEY_DURATION, AT(limits.give_up_ns), SECOND_NS, 3600 * SECOND_NS, NULL,
     NO, "A move paused by pressure for so long is given up."},
    {NULL, NULL, 0, 0, 0, 0, NULL, NO, NULL},
};

typedef struct {
    const char *suffix;
    uint64_t factor;
} Unit;

/* Largest first: formatting takes the first that divides. */
static const Unit duration_units[] = {
    {"h", 3600 * SECOND_NS},
    {"min", 60 * SECOND_NS},
    {"s", SECOND_NS},
    {"ms", MS_NS},
    {"us", 1000},
    {"ns", 1},
    {NULL, 0},
};
static const Unit byte_units[] = {
    {"TiB", TIB}, {"GiB", GIB}, {"MiB", MIB}, {"KiB", KIB}, {"", 1}, {NULL, 0},
};
static const Unit rate_units[] = {
    {"TiB/s", TIB}, {"GiB/s", GIB}, {"MiB/s", MIB}, {"KiB/s", KIB}, {"B/s", 1}, {"", 1}, {NULL, 0},
};
static const Unit count_units[] = {{"", 1}, {NULL, 0}};

static const Unit *units_of(HnKeyType type)
{
    switch (type) {
    case HN_KEY_DURATION:
        return duration_units;
    case HN_KEY_BYTES:
        return byte_units;
    case HN_KEY_RATE:
    case HN_KEY_RATE_OR_AUTO:
        return rate_units;
    default:
        return count_units;
    }
}

const HnKey *hn_key_find(const char *key)
{
    const char *dot = strchr(key, '.');
    if (!dot)
        return NULL;
    for (const HnKey *k = hn_config_keys; k->group; k++)
        if (strlen(k->group) == (size_t)(dot - key) &&
            strncmp(key, k->group, (size_t)(dot - key)) == 0 && strcmp(dot + 1, k->name) == 0)
            return k;
    return NULL;
}

static char *format_number(HnKeyType type, uint64_t value)
{
    if (type == HN_KEY_PERMILLE)
        return value % 10 ? g_strdup_printf("%" G_GUINT64_FORMAT ".%" G_GUINT64_FORMAT "%%",
                                            value / 10, value % 10)
                          : g_strdup_printf("%" G_GUINT64_FORMAT "%%", value / 10);
    const Unit *unit = units_of(type);
    if (value == 0)
        return g_strdup(type == HN_KEY_DURATION ? "0s" : "0");
    while (value % unit->factor != 0)
        unit++;
    return g_strdup_printf("%" G_GUINT64_FORMAT "%s", value / unit->factor, unit->suffix);
}

/* "5%" or "2.5%" in permille. */
static bool parse_permille(const char *text, uint64_t *ret_value)
{
    char *end = NULL;
    guint64 whole = g_ascii_strtoull(text, &end, 10);
    uint64_t tenth = 0;
    if (end == text || !g_ascii_isdigit(*text) || whole > 100000)
        return false;
    if (*end == '.' && g_ascii_isdigit(end[1])) {
        tenth = (uint64_t)(end[1] - '0');
        end += 2;
    }
    *ret_value = whole * 10 + tenth;
    return strcmp(end, "%") == 0;
}

static bool parse_with_unit(const char *text, const Unit *units, uint64_t *ret_value)
{
    char *end = NULL;
    if (!g_ascii_isdigit(*text))
        return false;
    guint64 number = g_ascii_strtoull(text, &end, 10);
    while (*end == ' ')
        end++;
    /* A bare 0 needs no unit. */
    if (number == 0 && !*end) {
        *ret_value = 0;
        return true;
    }
    for (const Unit *unit = units; unit->suffix; unit++) {
        if (strcmp(end, unit->suffix) == 0) {
            *ret_value = number * unit->factor;
            return number <= UINT64_MAX / unit->factor;
        }
    }
    return false;
}

static void set_refusal(const HnKey *key, const char *text, GError **error)
{
    g_autofree char *allowed = NULL;
    if (key->type == HN_KEY_BOOL) {
        allowed = g_strdup("yes or no");
    } else if (key->type == HN_KEY_ENUM) {
        allowed = g_strjoinv(", ", (char **)key->names);
    } else if (key->type == HN_KEY_STRING) {
        allowed = g_strdup_printf("text of at most %" G_GUINT64_FORMAT " bytes", key->max);
    } else {
        g_autofree char *min = format_number(key->type, key->min);
        g_autofree char *max = format_number(key->type, key->max);
        const char *units = key->type == HN_KEY_DURATION ? ", units h min s ms us"
                            : key->type == HN_KEY_BYTES  ? ", units TiB GiB MiB KiB"
                            : key->type == HN_KEY_RATE   ? ", units GiB/s MiB/s KiB/s"
                            : key->type == HN_KEY_RATE_OR_AUTO
                                ? ", units GiB/s MiB/s KiB/s, or auto"
                                : "";
        allowed = g_strdup_printf("%s to %s%s", min, max, units);
    }
    g_set_error(error, HN_CONFIG_ERROR, HN_CONFIG_ERROR_VALUE, "%s.%s is '%s', allowed: %s",
                key->group, key->name, text, allowed);
}

static bool parse_bool(const char *text, bool *ret_value)
{
    *ret_value = strcmp(text, "yes") == 0 || strcmp(text, "true") == 0;
    return *ret_value || strcmp(text, "no") == 0 || strcmp(text, "false") == 0;
}

static bool parse_enum(const HnKey *key, const char *text, int *ret_value)
{
    for (int i = 0; key->names[i]; i++) {
        if (strcmp(text, key->names[i]) == 0) {
            *ret_value = i;
            return true;
        }
    }
    return false;
}

bool hn_key_parse(const HnKey *key, const char *text, HnConfig *config, GError **error)
{
    char *place = (char *)config + key->offset;
    uint64_t number = 0;
    bool flag = false, is_good = false;
    int choice = 0;

    switch (key->type) {
    case HN_KEY_BOOL:
        if ((is_good = parse_bool(text, &flag)))
            *(bool *)place = flag;
        break;
    case HN_KEY_ENUM:
        if ((is_good = parse_enum(key, text, &choice)))
            *(int *)place = choice;
        break;
    case HN_KEY_STRING:
        if ((is_good = strlen(text) <= key->max && g_utf8_validate(text, -1, NULL))) {
            g_free(*(char **)place);
            *(char **)place = g_strdup(text);
        }
        break;
    case HN_KEY_RATE_OR_AUTO:
        is_good = strcmp(text, "auto") == 0;
        if (!is_good && (is_good = parse_with_unit(text, rate_units, &number) && number <= key->max))
            *(uint64_t *)place = number;
        else if (is_good)
            *(uint64_t *)place = HN_RATE_AUTO;
        break;
    default:
        is_good = key->type == HN_KEY_PERMILLE
                      ? parse_permille(text, &number)
                      : parse_with_unit(text, units_of(key->type), &number);
        is_good = is_good && number >= key->min && number <= key->max;
        if (is_good && (key->type == HN_KEY_COUNT || key->type == HN_KEY_PERMILLE))
            *(uint32_t *)place = (uint32_t)number;
        else if (is_good)
            *(uint64_t *)place = number;
    }
    if (!is_good)
        set_refusal(key, text, error);
    return is_good;
}

char *hn_key_format(const HnKey *key, const HnConfig *config)
{
    const char *place = (const char *)config + key->offset;
    switch (key->type) {
    case HN_KEY_BOOL:
        return g_strdup(*(const bool *)place ? "yes" : "no");
    case HN_KEY_ENUM:
        return g_strdup(key->names[*(const int *)place]);
    case HN_KEY_STRING:
        return g_strdup(*(char *const *)place);
    case HN_KEY_COUNT:
    case HN_KEY_PERMILLE:
        return format_number(key->type, *(const uint32_t *)place);
    case HN_KEY_RATE_OR_AUTO:
        if (*(const uint64_t *)place == HN_RATE_AUTO)
            return g_strdup("auto");
        return format_number(key->type, *(const uint64_t *)place);
    default:
        return format_number(key->type, *(const uint64_t *)place);
    }
}
