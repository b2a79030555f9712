/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Trust in a domain's figures: see evidence_json.h.
 */
#include "evidence_json.h"
#include "fields.h"

#define MS_NS UINT64_C(1000000)
#define SECOND_NS (1000 * MS_NS)

/* Why, as the second half of a sentence. */
static const char *because(HnDoubtCause cause)
{
    switch (cause) {
    case HN_DOUBT_BY_FIRST_SEEN:
        return "it was first seen then";
    case HN_DOUBT_BY_OPTED_OUT:
        return "it is not managed, or the host has one node";
    case HN_DOUBT_BY_MEASURED:
        return "its first figures came in";
    case HN_DOUBT_BY_LOAD:
        return "its load changed";
    case HN_DOUBT_BY_RESIDENCY:
        return "its memory lies elsewhere or is another amount";
    case HN_DOUBT_BY_TOPOLOGY:
        return "the host's nodes, CPUs or memory changed";
    case HN_DOUBT_BY_WISH:
        return "the admin changed its element, a pin or the nodeset";
    case HN_DOUBT_BY_SHAPE:
        return "vCPUs or memory were plugged or unplugged";
    case HN_DOUBT_BY_DECISION:
        return "another place seems better";
    case HN_DOUBT_BY_MOVED:
        return "it has a new home";
    case HN_DOUBT_BY_ORDER:
        return "the operator ordered it";
    case HN_DOUBT_BY_WOKE:
        return "it woke";
    case HN_DOUBT_BY_NEIGHBOUR:
        return "a big neighbour woke";
    case HN_DOUBT_BY_RECHECK:
        return "it was time to look again";
    case HN_DOUBT_BY_EVIDENCE:
        return "enough was seen";
    case HN_DOUBT_BY_BUDGET:
        return "nothing changed while it was looked at";
    case HN_DOUBT_BY_FALSE_ALARM:
        return "at a second look nothing had changed";
    case HN_DOUBT_BY_IDLE:
        return "it has no load";
    case HN_DOUBT_BY_UNMEASURED:
        return "it could not be observed";
    case HN_DOUBT_BY_FENCE:
        return "its nodeset was closed";
    case HN_DOUBT_BY_FENCE_GONE:
        return "its nodeset was opened";
    default:
        return "of a cause unknown here";
    }
}

static const struct {
    size_t offset; /* of a bool in HnDoubtAnswer */
    const char *name, *words;
} rungs[] = {
    {offsetof(HnDoubtAnswer, wants_hinting), "hinting-faults", "hinting faults"},
    {offsetof(HnDoubtAnswer, wants_dirty), "dirty-rate", "dirty rate"},
    {offsetof(HnDoubtAnswer, wants_touch), "touch-matrix", "touch matrix"},
};

static bool is_wanted(const HnDoubtAnswer *answer, size_t rung)
{
    return *(const bool *)((const char *)answer + rungs[rung].offset);
}

static uint64_t since_ns(const HnDoubtAnswer *answer, uint64_t now_ns)
{
    return now_ns > answer->since_ns ? now_ns - answer->since_ns : 0;
}

char *hn_evidence_sentence(const HnVerdict *verdict, uint64_t now_ns)
{
    const HnDoubtAnswer *answer = &verdict->doubt;
    g_autofree char *state = g_strdup(hn_doubt_state_name(answer->state));
    GString *text = g_string_new(NULL);

    state[0] = g_ascii_toupper(state[0]);
    g_string_append_printf(text, "%s for %" G_GUINT64_FORMAT " s, because %s; wanted: probes", state,
                           since_ns(answer, now_ns) / SECOND_NS, because(answer->cause));
    for (size_t i = 0; i < G_N_ELEMENTS(rungs); i++)
        if (is_wanted(answer, i))
            g_string_append_printf(text, ", %s", rungs[i].words);
    g_string_append_c(text, '.');
    if (answer->recheck_ns != UINT64_MAX)
        g_string_append_printf(text, " Looked at again in %" G_GUINT64_FORMAT " s at the latest.",
                               answer->recheck_ns / SECOND_NS);
    return g_string_free(text, FALSE);
}

static json_object *number(uint32_t permille, uint64_t age_ns, uint32_t error_permille)
{
    json_object *object = json_object_new_object();
    hn_put_u64(object, "permille", permille);
    hn_put_u64(object, "age-ms", age_ns / MS_NS);
    hn_put_u64(object, "error-permille", error_permille);
    return object;
}

json_object *hn_evidence_to_json(const HnDomain *domain, const HnVerdict *verdict, uint64_t now_ns)
{
    const HnDoubtAnswer *answer = &verdict->doubt;
    g_autofree char *sentence = hn_evidence_sentence(verdict, now_ns);
    json_object *object = json_object_new_object();

    hn_put_string(object, "state", hn_doubt_state_name(answer->state));
    hn_put_string(object, "cause", hn_doubt_cause_name(answer->cause));
    hn_put_u64(object, "in-state-ms", since_ns(answer, now_ns) / MS_NS);
    hn_put_u64(object, "calm-ms", answer->calm_ns / MS_NS);
    hn_put_u64_or_null(object, "recheck-ms",
                       answer->recheck_ns == UINT64_MAX ? UINT64_MAX : answer->recheck_ns / MS_NS);
    json_object *wanted = json_object_new_array();
    json_object_array_add(wanted, json_object_new_string("probes"));
    for (size_t i = 0; i < G_N_ELEMENTS(rungs); i++)
        if (is_wanted(answer, i))
            json_object_array_add(wanted, json_object_new_string(rungs[i].name));
    hn_put(object, "rungs", wanted);
    hn_put(object, "bytes-local",
           number(verdict->bytes_local_permille, verdict->bytes_local_age_ns,
                  verdict->bytes_local_error_permille));
    hn_put(object, "accesses-local",
           verdict->has_accesses_local
               ? number(verdict->accesses_local_permille, verdict->accesses_local_age_ns,
                        verdict->accesses_local_error_permille)
               : NULL);
    json_object *dirty = NULL;
    if (domain->dirty_age_ns != UINT64_MAX) {
        dirty = json_object_new_object();
        hn_put_u64(dirty, "bytes-per-sec", domain->dirty_bytes_per_sec);
        hn_put_u64(dirty, "age-ms", domain->dirty_age_ns / MS_NS);
    }
    hn_put(object, "dirty-rate", dirty);
    hn_put_string(object, "sentence", sentence);
    return object;
}
