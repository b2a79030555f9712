/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Purpose, theory of operation and limits: see options.h. */
#include "options.h"

/* Order as the enums in options.h. */
static const char *const pattern_names[] = {
    "private", "shared", "half", "phase", "idle-wake", "numa01", "thread-alloc", "numa02", NULL};
static const char *const access_names[] = {"write", "read", "rw", NULL};
static const char *const touch_names[] = {"ws", "all", "none", NULL};
static const char *const first_names[] = {"own", "cpu0", "interleave", NULL};
static const char *const wait_names[] = {"hlt", "pause", NULL};
static const char *const end_names[] = {"off", "halt", NULL};
static const char *const stride_names[] = {"line", "page", NULL};

typedef struct {
    const char *key;
    size_t offset_bytes;      /* of the member in Options */
    const char *const *names; /* accepted words, or NULL for a plain number */
    const uint64_t *values;   /* what the words stand for, or NULL: their index */
    uint64_t low, high;       /* bounds of a number; high 0: words only */
    uint64_t multiple;        /* a number must be a multiple of this */
    uint64_t preset;
} OptionRule;

static const uint64_t stride_values[] = {64, 4096};

#define MEMBER(name) offsetof(Options, name)

/* Default stride: one word per cache line, so that a sweep misses once per line. */
static const OptionRule rules[] = {
    {"pattern", MEMBER(pattern), pattern_names, NULL, 0, 0, 1, PATTERN_PRIVATE},
    {"access", MEMBER(access), access_names, NULL, 0, 0, 1, ACCESS_WRITE},
    {"ws", MEMBER(ws_mib), NULL, NULL, 1, 1 << 19, 1, 0},
    {"base", MEMBER(base_mib), NULL, NULL, 4, 1 << 19, 1, 16},
    {"cold", MEMBER(cold_mib), NULL, NULL, 0, 1 << 19, 1, 0},
    {"stride", MEMBER(stride_bytes), stride_names, stride_values, 8, 1 << 30, 8, 64},
    {"duty", MEMBER(duty_percent), NULL, NULL, 1, 100, 1, 100},
    {"period", MEMBER(period_ms), NULL, NULL, 1, 10000, 1, 50},
    {"rate", MEMBER(rate_per_sec), NULL, NULL, 0, 1000000000, 1, 0},
    {"phase", MEMBER(phase_s), NULL, NULL, 0, 86400, 1, 10},
    {"idle", MEMBER(idle_s), NULL, NULL, 0, 86400, 1, 10},
    {"busy", MEMBER(busy_s), NULL, NULL, 0, 86400, 1, 0},
    {"seed", MEMBER(seed), NULL, NULL, 0, UINT32_MAX, 1, 0},
    {"sweeps", MEMBER(sweeps), NULL, NULL, 0, 1000000000, 1, 0},
    {"vcpus", MEMBER(vcpus), NULL, NULL, 1, 64, 1, 0},
    {"report", MEMBER(report_ms), NULL, NULL, 50, 3600000, 1, 1000},
    {"touch", MEMBER(touch), touch_names, NULL, 0, 0, 1, TOUCH_WS},
    {"first", MEMBER(first), first_names, NULL, 0, 0, 1, FIRST_OWN},
    {"wait", MEMBER(wait), wait_names, NULL, 0, 0, 1, WAIT_HLT},
    {"end", MEMBER(end), end_names, NULL, 0, 0, 1, END_OFF},
};

#define N_RULES (sizeof rules / sizeof rules[0])

static uint64_t *member_of(Options *options, const OptionRule *rule)
{
    return (uint64_t *)((char *)options + rule->offset_bytes);
}

/* Starts the refusal; the caller then appends what is allowed. */
static Text refuse(OptionError *error, const char *key, size_t key_bytes, const char *value,
                   size_t value_bytes)
{
    Text text = text_begin(error->key, sizeof error->key);

    text_add_bytes(&text, key, key_bytes);
    text = text_begin(error->value, sizeof error->value);
    text_add_bytes(&text, value, value_bytes);
    return text_begin(error->allowed, sizeof error->allowed);
}

static void add_allowed(Text *text, const OptionRule *rule)
{
    const char *separator = "";

    for (unsigned i = 0; rule->names != NULL && rule->names[i] != NULL; i++) {
        text_add(text, separator);
        text_add(text, rule->names[i]);
        separator = "|";
    }
    if (rule->high != 0) {
        text_add(text, separator);
        text_add_decimal(text, rule->low);
        text_add(text, "..");
        text_add_decimal(text, rule->high);
        if (rule->multiple > 1) {
            text_add(text, " multiple of ");
            text_add_decimal(text, rule->multiple);
        }
    }
}

static bool parse_value(const OptionRule *rule, const char *word, size_t n_bytes, uint64_t *ret)
{
    uint64_t value;

    for (unsigned i = 0; rule->names != NULL && rule->names[i] != NULL; i++) {
        if (text_is(word, n_bytes, rule->names[i])) {
            *ret = rule->values != NULL ? rule->values[i] : i;
            return true;
        }
    }
    if (rule->high == 0 || !text_parse_decimal(word, n_bytes, &value) || value < rule->low ||
        value > rule->high || value % rule->multiple != 0) {
        return false;
    }
    *ret = value;
    return true;
}

static bool parse_word(Options *options, const char *word, size_t n_bytes, uint64_t *seen,
                       OptionError *error)
{
    size_t key_bytes = 0;
    const char *value;
    size_t value_bytes;
    Text allowed;

    while (key_bytes < n_bytes && word[key_bytes] != '=') {
        key_bytes++;
    }
    value = word + key_bytes + (key_bytes < n_bytes);
    value_bytes = (size_t)(word + n_bytes - value);

    for (unsigned i = 0; i < N_RULES; i++) {
        if (!text_is(word, key_bytes, rules[i].key)) {
            continue;
        }
        if (*seen & (uint64_t)1 << i) {
            allowed = refuse(error, word, key_bytes, value, value_bytes);
            text_add(&allowed, "each key once");
            return false;
        }
        *seen |= (uint64_t)1 << i;
        if (!parse_value(&rules[i], value, value_bytes, member_of(options, &rules[i]))) {
            allowed = refuse(error, word, key_bytes, value, value_bytes);
            add_allowed(&allowed, &rules[i]);
            return false;
        }
        return true;
    }
    allowed = refuse(error, word, key_bytes, value, value_bytes);
    text_add(&allowed, "keys");
    for (unsigned i = 0; i < N_RULES; i++) {
        text_add(&allowed, i == 0 ? " " : "|");
        text_add(&allowed, rules[i].key);
    }
    return false;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n';
}

/* Where the first option may stand: after a lone "--", else after the first word. */
static const char *skip_file_name(const char *line)
{
    const char *p;

    for (p = line; *p != '\0'; p++) {
        if (p[0] == '-' && p[1] == '-' && (p == line || is_blank(p[-1])) &&
            (p[2] == '\0' || is_blank(p[2]))) {
            return p + 2;
        }
    }
    for (p = line; is_blank(*p); p++) {
    }
    while (*p != '\0' && !is_blank(*p)) {
        p++;
    }
    return p;
}

bool options_parse(const char *line, Options *ret_options, OptionError *ret_error)
{
    const char *p = skip_file_name(line);
    uint64_t seen = 0;

    for (unsigned i = 0; i < N_RULES; i++) {
        *member_of(ret_options, &rules[i]) = rules[i].preset;
    }
    while (*p != '\0') {
        const char *word = p;

        if (is_blank(*p)) {
            p++;
            continue;
        }
        while (*p != '\0' && !is_blank(*p)) {
            p++;
        }
        if (!parse_word(ret_options, word, (size_t)(p - word), &seen, ret_error)) {
            return false;
        }
    }
    /* That benchmark's main thread clears the whole area before its threads start. */
    if (ret_options->pattern == PATTERN_NUMA02) {
        ret_options->first = FIRST_CPU0;
    }
    return true;
}

const char *options_pattern_name(uint64_t pattern)
{
    return pattern_names[pattern];
}

const char *options_access_name(uint64_t access)
{
    return access_names[access];
}

const char *options_touch_name(uint64_t touch)
{
    return touch_names[touch];
}

const char *options_first_name(uint64_t first)
{
    return first_names[first];
}

void options_refuse_range(OptionError *ret_error, const char *key, uint64_t value, uint64_t low,
                          uint64_t high, const char *unit)
{
    Text text = text_begin(ret_error->key, sizeof ret_error->key);

    text_add(&text, key);
    text = text_begin(ret_error->value, sizeof ret_error->value);
    text_add_decimal(&text, value);
    text = text_begin(ret_error->allowed, sizeof ret_error->allowed);
    text_add_decimal(&text, low);
    text_add(&text, "..");
    text_add_decimal(&text, high);
    text_add(&text, unit);
}
