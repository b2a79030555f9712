/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzes the codec: the same bytes, whole and cut as the first byte of the input says, must give
 * the same messages and the same errors at the same offsets; every message must be valid UTF-8,
 * survive being written and read again, and be classified without harm.
 */
#include <string.h>
#include "fuzz.h"
#include "qmp/codec.h"
#include "qmp/message.h"

/* Small, so that the fuzzer reaches them. */
static const HnQmpLimits limits = {
    .max_message_bytes = 200, .max_depth = 6, .max_values = 24, .has_unique_names = TRUE};

/* Codecs are kept: making one costs more than an input. A byte 0xFF brings them back to the state
 * of a fresh one; offsets are counted from there. */
static HnQmpCodec *whole, *cut, *again;

static void check_message(json_object *root)
{
    g_autoptr(GBytes) line = hn_qmp_serialize(root);
    g_auto(HnQmpMessage) message = {0};
    g_autoptr(GError) error = NULL;
    json_object *copy = NULL;
    gsize len = 0;
    const char *text = g_bytes_get_data(line, &len);
    size_t used = 0;

    g_assert_true(g_utf8_validate_len(text, len, NULL));
    if (!again)
        again = hn_qmp_codec_new(&hn_qmp_limits_monitor);
    g_assert_cmpint(hn_qmp_codec_feed(again, text, len, &used, &copy, &error), ==,
                    HN_QMP_GOT_MESSAGE);
    g_assert_cmpuint(used, ==, len - 2);
    g_assert_true(json_object_equal(root, copy));
    if (hn_qmp_message_classify(copy, &message, &error) && message.kind == HN_QMP_KIND_GREETING) {
        HnQmpGreeting greeting = {0};

        hn_qmp_greeting_decode(&message, &greeting, &error);
        hn_qmp_greeting_clear(&greeting);
    }
}

/* Feeds bytes; appends what comes out: messages as JSON, errors by offset and text. */
static void feed(HnQmpCodec *codec, guint64 start, const char *bytes, size_t len, GString *out)
{
    /* A copy of just these bytes, so that any read beyond them is seen. */
    g_autofree char *copy = g_memdup2(bytes, len);
    size_t pos = 0;

    while (pos < len) {
        g_autoptr(GError) error = NULL;
        json_object *message = NULL;
        size_t used = 0;

        switch (hn_qmp_codec_feed(codec, copy + pos, len - pos, &used, &message, &error)) {
        case HN_QMP_GOT_MESSAGE:
            g_string_append(out, json_object_to_json_string_ext(message, JSON_C_TO_STRING_PLAIN));
            if (codec == whole)
                check_message(message);
            json_object_put(message);
            break;
        case HN_QMP_GOT_ERROR:
            g_string_append_printf(out, "!%" G_GUINT64_FORMAT " %s\n",
                                   hn_qmp_codec_error_offset(codec) - start, error->message);
            break;
        case HN_QMP_NEED_MORE:
            g_assert_cmpuint(used, ==, len - pos);
            break;
        }
        pos += used;
    }
}

/* piece: bytes a time; 0: one cut at the byte "at". */
static void run_cut(guint64 start, const char *bytes, size_t len, size_t piece, size_t at,
                    GString *out)
{
    if (piece == 0) {
        feed(cut, start, bytes, at, out);
        feed(cut, start, bytes + at, len - at, out);
        return;
    }
    for (size_t pos = 0; pos < len; pos += piece)
        feed(cut, start, bytes + pos, MIN(piece, len - pos), out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static guint64 start; /* bytes fed so far, to either */
    g_autoptr(GString) of_whole = g_string_new(NULL);
    g_autoptr(GString) of_cut = g_string_new(NULL);
    const char *bytes = (const char *)data + 1;

    if (size < 2)
        return 0;
    if (!whole) {
        whole = hn_qmp_codec_new(&limits);
        cut = hn_qmp_codec_new(&limits);
    }
    feed(whole, start, bytes, size - 1, of_whole);
    run_cut(start, bytes, size - 1, data[0] >= 240 ? data[0] - 239 : 0, data[0] % size, of_cut);
    feed(whole, start, "\xff", 1, of_whole);
    feed(cut, start, "\xff", 1, of_cut);
    g_assert_cmpstr(of_whole->str, ==, of_cut->str);
    g_assert_false(hn_qmp_codec_is_mid_message(whole));
    g_assert_false(hn_qmp_codec_is_mid_message(cut));
    start += size;
    return 0;
}
