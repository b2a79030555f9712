/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clang-format off */
/*
 * The past as text and back: one `key value…` line each, so that a restarted daemon and a replayed
 * recording decide alike.
 *
 *   homenode-past 2
 *   host GENERATION LAST_NS N_NODES
 *   other NODE SMOOTHED_MCPU HELD_MCPU
 *   domain UUID PID START_TICKS FIRST_SEEN_NS LAST_SEEN_NS N_SAMPLES N_CONFIRMED LAST_REHOME_NS ASKED_NS
 *   residue BYTES AT_NS
 *   audit ROUNDS_LEFT DUE_NS DELAY STALL STALL_BEFORE HAS_BASELINE IS_UNDOING MARKED MARKED_UNTIL_NS
 *   move AT_NS
 *   thread TID START_TICKS EXEC_NS RUN_DELAY_NS SMOOTHED_UCPU HAS_RATE
 *   client HELD_MCPU IS_HELD PROPOSED WANTED CAME_FROM
 *   seen NODE SEEN_PERMILLE HELD_PERMILLE
 *   doubt STATE CAUSE SINCE_NS CHANGED_NS CHECKED_NS RECHECK_NS N_ROUNDS N_IDLE HAS_LOAD LOAD_MCPU
 *   reference LOW_MCPU HIGH_MCPU RESIDENT_BYTES LOCAL ERROR SHAPE WISH TOPOLOGY MOVED_NS PROPOSAL
 *   accesses AT_NS PERMILLE ERROR MARK
 *   trusted SCAN_SEQ
 *
 * Lines from `residue` on belong to the last domain, `seen` to the last client. Unknown keys are skipped;
 * known ones that are malformed are errors naming the line. So is a known line with more numbers than it should
 * have: whoever adds one must count the version up, since else an older reader would take one for another.
 *
 * Version 1 is read, too. Its `audit` came in two layouts under the one number: with nine numbers as above, and
 * before that with eight, without HAS_BASELINE. Then a pending judgement is dropped (without knowing whether its
 * baseline was measured it would be a guess); marks and a home being taken back stay.
 */
/* clang-format on */
#include "past.h"

#include <string.h>

#define VERSION_WORDS "homenode-past "
#define VERSION 2
#define OLDEST_VERSION 1
/* Numbers in an `audit` line before it had HAS_BASELINE. */
#define N_AUDIT_WITHOUT_BASELINE 8
#define MAX_FIELDS 10
#define MAX_THREADS 65536

char *hn_past_format(const HnPast *past)
{
    GString *text = g_string_new(VERSION_WORDS G_STRINGIFY(VERSION) "\n");
#define U64 "%" G_GUINT64_FORMAT
    g_string_append_printf(text, "host " U64 " " U64 " %u\n", past->generation, past->last_ns,
                           past->n_nodes);
    for (uint32_t n = 0; past->other_load_mcpu && n < past->n_nodes; n++)
        g_string_append_printf(text, "other %u " U64 " " U64 "\n", n, past->other_load_mcpu[n],
                               past->other_load_held_mcpu[n]);
    for (guint i = 0; i < past->domains->len; i++) {
        const HnPastDomain *r = g_ptr_array_index(past->domains, i);
        g_string_append_printf(
            text, "domain %s %" G_GINT64_FORMAT " " U64 " " U64 " " U64 " %u %u " U64 " " U64 "\n",
            r->uuid, r->pid, r->start_ticks, r->first_seen_ns, r->last_seen_ns, r->n_samples,
            r->n_confirmed, r->last_rehome_ns, r->asked_ns);
        g_string_append_printf(text, "residue " U64 " " U64 "\n", r->residue_bytes, r->residue_ns);
        g_string_append_printf(text, "audit %u " U64 " %u %d %d %d %d " U64 " " U64 "\n",
                               r->audit_left, r->audit_due_ns, r->delay_permille, r->stall_permille,
                               r->stall_before_permille, r->has_baseline, r->is_undoing,
                               r->marked_worse, r->marked_until_ns);
        hn_doubt_format(&r->doubt, text);
        for (uint32_t k = 0; k < r->n_moves; k++)
            g_string_append_printf(text, "move " U64 "\n", r->moves_ns[k]);
        for (uint32_t k = 0; k < r->n_threads; k++) {
            const HnPastThread *t = &r->threads[k];
            g_string_append_printf(text, "thread %d " U64 " " U64 " " U64 " " U64 " %d\n", t->tid,
                                   t->start_ticks, t->exec_ns, t->run_delay_ns, t->smoothed_ucpu,
                                   t->has_rate);
        }
        for (uint32_t k = 0; k < r->n_clients; k++) {
            const HnPastClient *c = &r->clients[k];
            g_string_append_printf(text, "client " U64 " %d %d %d %d\n", c->held_mcpu, c->is_held,
                                   c->proposed, c->wanted, c->came_from);
            for (uint32_t n = 0; c->seen_permille && n < r->n_nodes; n++)
                g_string_append_printf(text, "seen %u %u %u\n", n, c->seen_permille[n],
                                       c->held_permille[n]);
        }
    }
#undef U64
    return g_string_free(text, FALSE);
}

/* Where the parser stands. */
typedef struct {
    HnPast *past;
    HnPastDomain *domain;
    HnPastClient *client;
    uint32_t line;
    uint32_t version;
    uint32_t n_fields;          /* numbers in this line */
    uint64_t field[MAX_FIELDS]; /* two's complement where negative */
    char uuid[HN_UUID_LEN + 1];
} Reader;

static bool read_number(const char *word, size_t len, uint64_t *ret_value)
{
    bool is_negative = len > 1 && word[0] == '-';
    uint64_t value = 0;

    if (len == (size_t)is_negative || len > 21)
        return false;
    for (size_t i = is_negative; i < len; i++) {
        uint64_t digit = (uint64_t)(word[i] - '0');
        if (!g_ascii_isdigit(word[i]) || __builtin_mul_overflow(value, UINT64_C(10), &value) ||
            __builtin_add_overflow(value, digit, &value))
            return false;
    }
    *ret_value = is_negative ? 0 - value : value;
    return true;
}

static bool line_error(const Reader *reader, GError **error, const char *what)
{
    g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX, "past, line %u: %s", reader->line,
                what);
    return false;
}

/* A node number or HN_NODE_NONE. */
static bool is_node(const Reader *reader, uint64_t value)
{
    return value == (uint64_t)HN_NODE_NONE || value < reader->past->n_nodes;
}

static bool read_host(Reader *reader, GError **error)
{
    HnPast *past = reader->past;

    if (reader->field[2] > HN_MAX_NODES || past->n_nodes != 0)
        return line_error(reader, error, "more than 64 nodes, or a second 'host' line");
    past->generation = reader->field[0];
    past->last_ns = reader->field[1];
    past->n_nodes = (uint32_t)reader->field[2];
    return true;
}

static bool read_other(Reader *reader, GError **error)
{
    HnPast *past = reader->past;

    if (reader->field[0] >= past->n_nodes)
        return line_error(
            reader, error,
            "node number out of range (allowed: below the number in the 'host' line)");
    if (!past->other_load_mcpu) {
        past->other_load_mcpu = g_new0(uint64_t, past->n_nodes);
        past->other_load_held_mcpu = g_new0(uint64_t, past->n_nodes);
    }
    past->other_load_mcpu[reader->field[0]] = MIN(reader->field[1], (uint64_t)HN_MAX_CPUS * 1000);
    past->other_load_held_mcpu[reader->field[0]] =
        MIN(reader->field[2], (uint64_t)HN_MAX_CPUS * 1000);
    return true;
}

static bool read_domain(Reader *reader, GError **error)
{
    HnDomain identity = {.pid = (int64_t)reader->field[0], .start_ticks = reader->field[1]};

    if (strlen(reader->uuid) != HN_UUID_LEN || hn_past_find(reader->past, reader->uuid))
        return line_error(reader, error,
                          "'domain' needs a uuid of 36 characters that did not occur before");
    g_strlcpy(identity.uuid, reader->uuid, sizeof(identity.uuid));
    HnPastDomain *r = hn_past_domain(reader->past, &identity, reader->field[2]);
    r->last_seen_ns = reader->field[3];
    r->n_samples = (uint32_t)MIN(reader->field[4], UINT32_MAX);
    r->n_confirmed = (uint32_t)MIN(reader->field[5], UINT32_MAX - 1);
    r->last_rehome_ns = reader->field[6];
    r->asked_ns = reader->field[7];
    r->n_nodes = reader->past->n_nodes;
    reader->domain = r;
    reader->client = NULL;
    return true;
}

static bool read_audit(Reader *reader, GError **error)
{
    HnPastDomain *r = reader->domain;
    bool has_baseline_field = reader->n_fields > N_AUDIT_WITHOUT_BASELINE;
    const uint64_t *rest = &reader->field[has_baseline_field ? 6 : 5];
    HnNodemask all =
        reader->past->n_nodes == 64 ? ~UINT64_C(0) : (UINT64_C(1) << reader->past->n_nodes) - 1;

    if (rest[1] & ~all)
        return line_error(reader, error, "marked nodes outside the host");
    r->audit_left = has_baseline_field ? (uint32_t)MIN(reader->field[0], 100) : 0;
    r->audit_due_ns = reader->field[1];
    r->delay_permille = (uint32_t)MIN(reader->field[2], 1000);
    r->stall_permille = (int32_t)CLAMP((int64_t)reader->field[3], -1000000, 1000000);
    r->stall_before_permille = (int32_t)CLAMP((int64_t)reader->field[4], -1000000, 1000000);
    r->has_baseline = has_baseline_field && reader->field[5] != 0;
    r->is_undoing = rest[0] != 0;
    r->marked_worse = rest[1];
    r->marked_until_ns = rest[2];
    return true;
}

static bool read_thread(Reader *reader, GError **error)
{
    HnPastDomain *r = reader->domain;

    if (r->n_threads == MAX_THREADS)
        return line_error(reader, error, "too many threads (allowed: 65536)");
    r->threads = g_renew(HnPastThread, r->threads, r->n_threads + 1);
    r->threads[r->n_threads++] = (HnPastThread){
        .tid = (int32_t)reader->field[0],
        .start_ticks = reader->field[1],
        .exec_ns = reader->field[2],
        .run_delay_ns = reader->field[3],
        .smoothed_ucpu = MIN(reader->field[4], 16000000),
        .has_rate = reader->field[5] != 0,
    };
    return true;
}

static bool read_client(Reader *reader, GError **error)
{
    HnPastDomain *r = reader->domain;

    if (r->n_clients == HN_MAX_NODES)
        return line_error(reader, error, "too many clients (allowed: 64)");
    for (uint32_t i = 2; i < 5; i++)
        if (!is_node(reader, reader->field[i]))
            return line_error(reader, error,
                              "home out of range (allowed: -1 or a node of the 'host' line)");
    r->clients = g_renew(HnPastClient, r->clients, r->n_clients + 1);
    reader->client = &r->clients[r->n_clients++];
    *reader->client = (HnPastClient){
        .held_mcpu = MIN(reader->field[0], (uint64_t)1 << 32),
        .is_held = reader->field[1] != 0,
        .proposed = (int32_t)reader->field[2],
        .wanted = (int32_t)reader->field[3],
        .came_from = (int32_t)reader->field[4],
    };
    return true;
}

static bool read_seen(Reader *reader, GError **error)
{
    HnPastClient *client = reader->client;

    if (reader->field[0] >= reader->past->n_nodes)
        return line_error(
            reader, error,
            "node number out of range (allowed: below the number in the 'host' line)");
    if (!client->seen_permille) {
        client->seen_permille = g_new0(uint16_t, reader->past->n_nodes);
        client->held_permille = g_new0(uint16_t, reader->past->n_nodes);
    }
    client->seen_permille[reader->field[0]] = (uint16_t)MIN(reader->field[1], 1000);
    client->held_permille[reader->field[0]] = (uint16_t)MIN(reader->field[2], 1000);
    return true;
}

static bool read_residue(Reader *reader, GError **error)
{
    reader->domain->residue_bytes = reader->field[0];
    reader->domain->residue_ns = reader->field[1];
    return true;
}

static bool read_move(Reader *reader, GError **error)
{
    HnPastDomain *r = reader->domain;
    uint64_t last_ns = r->last_rehome_ns;

    if (r->n_moves == HN_PAST_MAX_MOVES ||
        (r->n_moves > 0 && reader->field[0] < r->moves_ns[r->n_moves - 1]))
        return line_error(reader, error, "moves must ascend and be at most 64");
    hn_past_domain_add_move(r, reader->field[0]);
    r->last_rehome_ns = last_ns;
    return true;
}

static bool read_doubt(Reader *reader, GError **error)
{
    return hn_doubt_read(&reader->domain->doubt, reader->field) ||
           line_error(reader, error, "no such state or cause of doubt");
}

static bool read_reference(Reader *reader, GError **error)
{
    return hn_doubt_read_reference(&reader->domain->doubt, reader->field) ||
           line_error(reader, error, "shares are at most 1000 permille");
}

static bool read_accesses(Reader *reader, GError **error)
{
    return hn_doubt_read_accesses(&reader->domain->doubt, reader->field) ||
           line_error(reader, error, "shares are at most 1000 permille");
}

static bool read_trusted(Reader *reader, GError **error)
{
    return hn_doubt_read_trusted(&reader->domain->doubt, reader->field);
}

typedef enum { OWNER_NONE, OWNER_DOMAIN, OWNER_CLIENT } Owner;

static const struct {
    const char *key;
    uint32_t n_numbers;
    bool has_uuid;
    Owner owner;
    bool (*read)(Reader *reader, GError **error);
} line_kinds[] = {
    {"host", 3, false, OWNER_NONE, read_host},
    {"other", 3, false, OWNER_NONE, read_other},
    {"domain", 8, true, OWNER_NONE, read_domain},
    {"residue", 2, false, OWNER_DOMAIN, read_residue},
    {"audit", 9, false, OWNER_DOMAIN, read_audit},
    {"move", 1, false, OWNER_DOMAIN, read_move},
    {"thread", 6, false, OWNER_DOMAIN, read_thread},
    {"client", 5, false, OWNER_DOMAIN, read_client},
    {"seen", 3, false, OWNER_CLIENT, read_seen},
    {"doubt", HN_DOUBT_LINE_FIELDS, false, OWNER_DOMAIN, read_doubt},
    {"reference", HN_DOUBT_LINE_FIELDS, false, OWNER_DOMAIN, read_reference},
    {"accesses", 4, false, OWNER_DOMAIN, read_accesses},
    {"trusted", 1, false, OWNER_DOMAIN, read_trusted},
};

/* The next blank-separated word of a line; its length, 0 at the end. */
static size_t next_word(const char **cursor, const char *end, const char **ret_word)
{
    while (*cursor < end && **cursor == ' ')
        (*cursor)++;
    *ret_word = *cursor;
    while (*cursor < end && **cursor != ' ')
        (*cursor)++;
    return (size_t)(*cursor - *ret_word);
}

/* The numbers of a line into reader->field: as many as its kind has. */
static bool read_numbers(Reader *reader, uint32_t kind, const char *line, const char *end,
                         GError **error)
{
    const char *word = NULL;
    uint32_t wanted = line_kinds[kind].n_numbers;
    size_t len;

    for (reader->n_fields = 0; (len = next_word(&line, end, &word)) > 0; reader->n_fields++) {
        if (reader->n_fields == wanted)
            return line_error(reader, error, "more numbers than such a line has");
        if (!read_number(word, len, &reader->field[reader->n_fields]))
            return line_error(reader, error, "too few numbers, or something that is not one");
    }
    bool is_short_audit = reader->version == 1 && line_kinds[kind].read == read_audit &&
                          reader->n_fields == N_AUDIT_WITHOUT_BASELINE;
    if (reader->n_fields < wanted && !is_short_audit)
        return line_error(reader, error, "too few numbers, or something that is not one");
    return true;
}

static bool read_line(Reader *reader, const char *line, const char *end, GError **error)
{
    const char *word = NULL;
    size_t len = next_word(&line, end, &word);

    for (uint32_t k = 0; k < G_N_ELEMENTS(line_kinds); k++) {
        if (strlen(line_kinds[k].key) != len || memcmp(line_kinds[k].key, word, len) != 0)
            continue;
        if ((line_kinds[k].owner >= OWNER_DOMAIN && !reader->domain) ||
            (line_kinds[k].owner == OWNER_CLIENT && !reader->client))
            return line_error(reader, error, "stands before the domain or client it belongs to");
        if (line_kinds[k].has_uuid) {
            len = next_word(&line, end, &word);
            if (len > HN_UUID_LEN)
                return line_error(reader, error, "uuid longer than 36 characters");
            memcpy(reader->uuid, word, len);
            reader->uuid[len] = '\0';
        }
        return read_numbers(reader, k, line, end, error) && line_kinds[k].read(reader, error);
    }
    return true;
}

/* The first line: what it is and of which version. */
static bool read_version(Reader *reader, const char *line, const char *end, GError **error)
{
    const size_t n_words = strlen(VERSION_WORDS);
    uint64_t version = 0;

    if ((size_t)(end - line) <= n_words || memcmp(line, VERSION_WORDS, n_words) != 0 ||
        !read_number(line + n_words, (size_t)(end - line) - n_words, &version))
        return line_error(reader, error, "not '" VERSION_WORDS "' and a version");
    if (version < OLDEST_VERSION || version > VERSION) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX,
                    "past, line 1: homenode-past of version %" G_GUINT64_FORMAT
                    " (allowed: %d to %d)",
                    version, OLDEST_VERSION, VERSION);
        return false;
    }
    reader->version = (uint32_t)version;
    return true;
}

HnPast *hn_past_parse(const char *text, size_t len, GError **error)
{
    g_autoptr(HnPast) past = hn_past_new();
    Reader reader = {.past = past};
    const char *end = text + len;

    for (const char *line = text; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop)
            stop = end;
        reader.line++;
        if (reader.line == 1 ? !read_version(&reader, line, stop, error)
                             : !read_line(&reader, line, stop, error))
            return NULL;
        line = stop + 1;
    }
    if (reader.line == 0) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX,
                    "past is empty (allowed: '" VERSION_WORDS "%d' and lines)",
                    VERSION);
        return NULL;
    }
    return g_steal_pointer(&past);
}
