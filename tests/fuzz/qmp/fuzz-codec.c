/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzes the codec: the same bytes, whole and cut as the first input byte says, must give the same
 * messages and the same errors at the same offsets; every message must be valid UTF-8, survive being
 * written and read again, and be classified without harm.
 */
#include <string.h>
#include "fuzz.h"
#include "qmp/codec.h"
#include "qmp/message.h"

/* Small, so that the fuzzer reaches them. */
static const HnQmpLimits limits = {.max_message_bytes = 200, .max_depth = 6, .max_values = 24};

static void
check_message(json_object *root)
{
    g_autoptr(GBytes) line = hn_qmp_serialize(root);
    g_autoptr(HnQmpCodec) codec = hn_qmp_codec_new(&hn_qmp_limits_monitor);
    g_auto(HnQmpMessage) message = {0};
    g_autoptr(GError) error = NULL;
    json_object *again = NULL;
    gsize len = 0;
    const char *text = g_bytes_get_data(line, &len);
    size_t used = 0;

    g_assert_true(g_utf8_validate_len(text, len, NULL));
    g_assert_cmpint(hn_qmp_codec_feed(codec, text, len, &used, &again, &error), ==,
                    HN_QMP_GOT_MESSAGE);
    g_assert_cmpuint(used, ==, len - 2);
    g_assert_true(json_object_equal(root, again));
    if (hn_qmp_message_classify(again, &message, &error) &&
        message.kind == HN_QMP_KIND_GREETING) {
        HnQmpGreeting greeting = {0};

        hn_qmp_greeting_decode(&message, &greeting, &error);
        hn_qmp_greeting_clear(&greeting);
    }
}

/* What comes out, as text: messages as JSON, errors by offset and text. piece 0: all at once. */
static GString *
run_codec(const char *bytes, size_t len, size_t piece)
{
    g_autoptr(HnQmpCodec) codec = hn_qmp_codec_new(&limits);
    GString *out = g_string_new(NULL);
    size_t pos = 0;

    while (pos < len) {
        size_t n = piece ? MIN(piece, len - pos) : len - pos;
        g_autofree char *copy = g_memdup2(bytes + pos, n);
        g_autoptr(GError) error = NULL;
        json_object *message = NULL;
        size_t used = 0;

        switch (hn_qmp_codec_feed(codec, copy, n, &used, &message, &error)) {
        case HN_QMP_GOT_MESSAGE:
            g_string_append(out, json_object_to_json_string_ext(message, JSON_C_TO_STRING_PLAIN));
            if (!piece)
                check_message(message);
            json_object_put(message);
            break;
        case HN_QMP_GOT_ERROR:
            g_string_append_printf(out, "!%" G_GUINT64_FORMAT " %s\n",
                                   hn_qmp_codec_error_offset(codec), error->message);
            break;
        case HN_QMP_NEED_MORE:
            g_assert_cmpuint(used, ==, n);
            break;
        }
        pos += used;
    }
    g_string_append_printf(out, "end %d", hn_qmp_codec_end(codec, NULL));
    return out;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GString) whole = NULL;
    g_autoptr(GString) cut = NULL;

    if (size == 0)
        return 0;
    whole = run_codec((const char *)data + 1, size - 1, 0);
    cut = run_codec((const char *)data + 1, size - 1, 1 + data[0] % 16);
    g_assert_cmpstr(whole->str, ==, cut->str);
    return 0;
}
