/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The codec: what it reads, what it refuses and where, how it recovers, and that none of this
 * depends on how the bytes are cut.
 *
 * Each row is a stream and what comes out of it, one item per message or error, in one string:
 * messages as compact JSON, errors as "!OFFSET" in the stream, joined by spaces.
 */
#include <string.h>
#include "qmp/codec.h"

static const HnQmpLimits small = {.max_message_bytes = 64, .max_depth = 4, .max_values = 8};

/* Feeds stream in pieces of the given size; returns what came out. */
static char *run_codec(const HnQmpLimits *limits, const char *stream, size_t len, size_t piece)
{
    g_autoptr(HnQmpCodec) codec = hn_qmp_codec_new(limits);
    GString *out = g_string_new(NULL);
    size_t pos = 0;

    while (pos < len) {
        g_autoptr(GError) error = NULL;
        json_object *message = NULL;
        size_t used = G_MAXSIZE;
        /* A heap copy of just this piece, so that a sanitizer sees any read beyond it. */
        size_t n = MIN(piece, len - pos);
        g_autofree char *copy = g_memdup2(stream + pos, n);
        HnQmpProgress progress = hn_qmp_codec_feed(codec, copy, n, &used, &message, &error);

        g_assert_cmpuint(used, <=, n);
        pos += used;
        switch (progress) {
        case HN_QMP_NEED_MORE:
            g_assert_cmpuint(used, ==, n);
            break;
        case HN_QMP_GOT_MESSAGE:
            g_string_append_printf(out, "%s%s", out->len > 0 ? " " : "",
                                   json_object_to_json_string_ext(message, JSON_C_TO_STRING_PLAIN));
            json_object_put(message);
            break;
        case HN_QMP_GOT_ERROR:
            g_assert_true(error->domain == HN_QMP_ERROR);
            g_string_append_printf(out, "%s!%" G_GUINT64_FORMAT, out->len > 0 ? " " : "",
                                   hn_qmp_codec_error_offset(codec));
            break;
        }
    }
    return g_string_free(out, FALSE);
}

typedef struct {
    const char *name;
    const char *stream;
    const char *expected;
    size_t len; /* 0: strlen */
} Row;

static const Row rows[] = {
    {"nothing", " \r\n\t ", ""},
    {"one", "{\"a\":1}", "{\"a\":1}"},
    {"two-without-newline", "{\"a\":1}{\"b\":2}", "{\"a\":1} {\"b\":2}"},
    {"two-lines", "{\"a\":1}\r\n{\"b\":2}\r\n", "{\"a\":1} {\"b\":2}"},
    {"pretty", "{\n  \"a\": [\n    1,\n    true, null\n  ]\n}\n", "{\"a\":[1,true,null]}"},
    {"array", "[1,2]", "[1,2]"},
    {"brackets-in-strings", "{\"a\":\"}]{[\\\"}\"}", "{\"a\":\"}]{[\\\"}\"}"},
    {"int64-min", "{\"a\":-9223372036854775808}", "{\"a\":-9223372036854775808}"},
    {"uint64-max", "{\"a\":18446744073709551615}", "{\"a\":18446744073709551615}"},
    {"beyond-uint64", "[18446744073709551616]{}", "!21 {}"},
    {"far-beyond-uint64", "[99999999999999999999999999999999999999, 1]{}", "!39 {}"},
    {"beyond-int64", "[-9223372036854775809 ]{}", "!21 {}"},
    {"beyond-but-double", "[18446744073709551616.5]", "[18446744073709551616.5]"},
    {"numbers", "[0,-0,10,-1.5,0.25,1e3,1E+2,25e-1]", "[0,0,10,-1.5,0.25,1e3,1E+2,25e-1]"},
    {"number-run-together", "[13-1.5e3,1]{}", "!3 {}"},
    {"number-leading-zero", "[01]{}", "!2 {}"},
    {"number-plus", "[+1]{}", "!1 {}"},
    {"number-point-first", "[.5]{}", "!1 {}"},
    {"number-point-last", "[5.]{}", "!3 {}"},
    {"number-no-power", "[5e+]{}", "!4 {}"},
    {"number-minus-only", "[-]{}", "!2 {}"},
    {"trailing-comma-in-array", "[1,2,]{}", "!5 {}"},
    {"trailing-comma-and-space", "[1 , ]{}", "!5 {}"},
    {"literals", "[true,false,null]", "[true,false,null]"},
    {"literal-nan", "[nan]{}", "!2 {}"},
    {"literal-unknown", "[stuff]{}", "!1 {}"},
    {"literal-short", "[tru]{}", "!4 {}"},
    {"literal-long", "[nulll]{}", "!5 {}"},
    {"literal-and-number", "[true5]{}", "!5 {}"},
    {"utf8", "{\"a\":\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"}",
     "{\"a\":\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"}"},
    {"surrogate-escapes", "{\"a\":\"\\ud83d\\ude00\"}", "{\"a\":\"\xf0\x9f\x98\x80\"}"},
    {"surrogate-escapes-last", "[\"\\udbff\\uDFFF\"]", "[\"\xf4\x8f\xbf\xbf\"]"},
    {"surrogate-escapes-two", "[\"\\ud83d\\ude00\\ud83d\\ude01x\"]",
     "[\"\xf0\x9f\x98\x80\xf0\x9f\x98\x81x\"]"},
    {"surrogate-neighbours", "[\"\\ud7ff\\ue000\"]", "[\"\xed\x9f\xbf\xee\x80\x80\"]"},
    {"crlf-in-message", "{\"a\":\r\n1}\r\n\r\n{}\r", "{\"a\":1} {}"},
    {"id-of-every-type",
     "{\"id\":null}{\"id\":1}{\"id\":-1.5}{\"id\":\"a\"}{\"id\":true}{\"id\":[1]}{\"id\":{\"a\":1}"
     "}",
     "{\"id\":null} {\"id\":1} {\"id\":-1.5} {\"id\":\"a\"} {\"id\":true} {\"id\":[1]} "
     "{\"id\":{\"a\":1}}"},
    {"control-same-name-elsewhere", "{\"a\":{\"a\":[{\"a\":1},{\"a\":null}]},\"b\":\"a:\"}",
     "{\"a\":{\"a\":[{\"a\":1},{\"a\":null}]},\"b\":\"a:\"}"},
    {"escaped-backslash-at-end", "{\"a\":\"\\\\\"}", "{\"a\":\"\\\\\"}"},
    {"half", "{\"a\":", ""},
    /* Refused, and where. */
    {"overlong-utf8", "{\"a\":\"\xc0\xaf\"}{}", "!6 {}"},
    {"overlong-utf8-3", "{\"a\":\"\xe0\x80\xaf\"}{}", "!7 {}"},
    {"utf8-surrogate", "{\"a\":\"\xed\xa0\x80\"}{}", "!7 {}"},
    {"utf8-beyond", "{\"a\":\"\xf4\x90\x80\x80\"}{}", "!7 {}"},
    {"utf8-cut-by-quote", "{\"a\":\"\xe2\x82\"}\n{}", "!8 {}"},
    {"utf8-lone-continuation", "{\"a\":\"\x80\"}{}", "!6 {}"},
    {"utf8-outside-string", "{\xc3\xa4}{}", "!1 {}"},
    {"nul-escape", "{\"a\":\"\\u0000\"}{}", "!11 {}"},
    {"surrogate-first-only", "[\"\\ud83d\"]{}", "!8 {}"},
    {"surrogate-first-and-text", "[\"\\ud83dx\"]{}", "!8 {}"},
    {"surrogate-first-and-escape", "[\"\\ud83d\\n\"]{}", "!9 {}"},
    {"surrogate-first-twice", "[\"\\ud83d\\ud83d\"]{}", "!13 {}"},
    {"surrogate-first-and-nul", "[\"\\ud83d\\u0000\"]{}", "!13 {}"},
    {"surrogate-second-only", "[\"\\ude00\"]{}", "!7 {}"},
    {"control-name-twice", "{\"a\":1,\"a\":1}{\"b\":2}", "!12 {\"b\":2}"},
    {"control-name-twice-null", "{\"a\":null,\"a\":null}{}", "!18 {}"},
    {"control-name-twice-by-escape", "{\"a\":1,\"\\u0061\":2}{}", "!17 {}"},
    {"control-name-twice-deep", "[{\"x\":[{\"a\":1,\"b\":2,\"a\":3}]}]{}", "!28 {}"},
    {"nul-byte", "{\"a\":\"\0\"}\n{}", "!6 !7 {}", 12},
    {"bad-keyword", "{\"a\": bad}{\"b\":2}", "!6 {\"b\":2}"},
    {"bad-literal", "{\"a\": nulL}{\"b\":2}", "!9 {\"b\":2}"},
    {"nan", "{\"a\":NaN}{}", "!5 {}"},
    {"infinity", "{\"a\":-Infinity}{}", "!6 {}"},
    {"comment", "{/* x */}{}", "!1 {}"},
    {"single-quotes", "{'a':1}{}", "!1 {}"},
    {"mismatch", "{\"a\":[1}]}{}", "!7 !9 {}"},
    {"missing-colon", "{\"a\" 1}{}", "!5 {}"},
    {"trailing-comma", "{\"a\":1,}{}", "!7 {}"},
    {"bad-escape", "{\"a\":\"\\q\"}{}", "!7 {}"},
    {"bad-hex", "{\"a\":\"\\u12g4\"}{}", "!10 {}"},
    {"newline-in-string", "{\"a\":\"x\n{\"b\":2}", "!7 {\"b\":2}"},
    {"tab-in-string", "{\"a\":\"x\ty\"}{}", "!7 {}"},
    {"scalar", "42\n{}", "!0 {}"},
    {"closer", "}{}", "!0 {}"},
    {"words-then-object", "hello {}", "!0 {}"},
    /* Recovery. */
    {"lost-brackets-next-line", "{\"a\":[[[ x\n{\"b\":2}\n", "!9 {\"b\":2}"},
    {"one-error-per-pretty-message",
     "{\n  \"a\" 1,\n  \"b\": {\"c\": 2},\n  \"d\": 3\n}\n{\"e\":4}", "!8 {\"e\":4}"},
    {"reset-by-ff", "{\"half\": \xff{\"b\":2}", "!9 {\"b\":2}"},
    {"reset-by-control", "{\"half\": \"\x01{\"b\":2}", "!10 {\"b\":2}"},
    {"reset-between", "\xff\xff{\"b\":2}", "!0 !1 {\"b\":2}"},
    {"strings-in-recovery", "{\"a\" 1, \"}}}\": \"\\\"}\"}{\"b\":2}", "!5 {\"b\":2}"},
    {"name-twice-from-qemu", "{\"a\":1,\"a\":2}", "{\"a\":2}"},
    /* Limits of 64 bytes, depth 4, 8 values: rows named small-*. */
    {"small-depth-at", "[[[[1]]]]{}", "[[[[1]]]] {}"},
    {"small-depth-over", "[[[[[1]]]]]{}", "!4 {}"},
    {"small-values-at", "[1,2,3,4,5,6,7,8]{}", "[1,2,3,4,5,6,7,8] {}"},
    {"small-values-over", "[1,2,3,4,5,6,7,8,9]{}", "!16 {}"},
    {"small-bytes-at", "[\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"]{}",
     "[\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"] {}"},
    {"small-bytes-over", "[\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"]\n{}",
     "!64 {}"},
};

static void test_row(gconstpointer data)
{
    const Row *row = data;
    const HnQmpLimits *limits = g_str_has_prefix(row->name, "small-")     ? &small
                                : g_str_has_prefix(row->name, "control-") ? &hn_qmp_limits_control
                                                                          : &hn_qmp_limits_monitor;
    size_t len = row->len ? row->len : strlen(row->stream);

    /* In one piece, and in pieces of every size: each cut falls everywhere once. */
    for (size_t piece = len; piece >= 1; piece--) {
        g_autofree char *out = run_codec(limits, row->stream, len, piece);

        g_assert_cmpstr(out, ==, row->expected);
    }
}

/* What the errors say. */
static void test_texts(void)
{
    static const struct {
        const char *stream;
        int code;
        const char *text;
    } texts[] = {
        {"{\"a\": bad}", HN_QMP_ERROR_SYNTAX,
         "JSON error at byte 6 of the message: unexpected 'b'"},
        {"  {\"a\" 1}", HN_QMP_ERROR_SYNTAX,
         "JSON error at byte 5 of the message: object property name separator ':' expected"},
        {"{\"\xff\"}", HN_QMP_ERROR_SYNTAX, "Invalid UTF-8 at byte 2 of the message: 0xff"},
        {"{\"a\x01\"}", HN_QMP_ERROR_SYNTAX,
         "JSON error at byte 3 of the message: unexpected byte 0x01"},
        {"{\"\\ud83dx\"}", HN_QMP_ERROR_SYNTAX,
         "JSON error at byte 8 of the message: a \\u escape is half of a surrogate pair"},
        {"[18446744073709551616]", HN_QMP_ERROR_SYNTAX,
         "JSON error at byte 21 of the message: the integer before it does not fit 64 bits"},
        {"{\"\\u0000\"}", HN_QMP_ERROR_SYNTAX,
         "JSON error at byte 7 of the message: \\u0000 is not allowed"},
        {"[[[[[", HN_QMP_ERROR_TOO_LARGE, "Message nests deeper than the limit of 4 at byte 4"},
        {"[,,,,,,,,,", HN_QMP_ERROR_SYNTAX,
         "JSON error at byte 1 of the message: unexpected character"},
        {"[1,1,1,1,1,1,1,1,1", HN_QMP_ERROR_TOO_LARGE,
         "Message has more than the limit of 8 values at byte 16"},
        {"[                                                                        ]",
         HN_QMP_ERROR_TOO_LARGE, "Message is longer than the limit of 64 bytes"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(HnQmpCodec) codec = hn_qmp_codec_new(&small);
        g_autoptr(GError) error = NULL;
        json_object *message = NULL;
        size_t used = 0;

        g_assert_cmpint(hn_qmp_codec_feed(codec, texts[i].stream, strlen(texts[i].stream), &used,
                                          &message, &error),
                        ==, HN_QMP_GOT_ERROR);
        g_assert_error(error, HN_QMP_ERROR, texts[i].code);
        g_assert_cmpstr(error->message, ==, texts[i].text);
        g_assert_true(hn_qmp_codec_is_mid_message(codec));
    }
}

static void test_end(void)
{
    g_autoptr(HnQmpCodec) codec = hn_qmp_codec_new(&small);
    g_autoptr(GError) error = NULL;
    json_object *message = NULL;
    size_t used = 0;

    g_assert_true(hn_qmp_codec_end(codec, &error));
    g_assert_no_error(error);
    hn_qmp_codec_feed(codec, "{\"a\"", 4, &used, &message, NULL);
    g_assert_true(hn_qmp_codec_is_mid_message(codec));
    g_assert_false(hn_qmp_codec_end(codec, &error));
    g_assert_error(error, HN_QMP_ERROR, HN_QMP_ERROR_SYNTAX);
    g_assert_cmpstr(error->message, ==, "The stream ended inside a message, after 4 bytes of it");
    g_clear_error(&error);
    hn_qmp_codec_feed(codec, ":1} ", 4, &used, &message, NULL);
    json_object_put(message);
    g_assert_false(hn_qmp_codec_is_mid_message(codec));
    g_assert_true(hn_qmp_codec_end(codec, &error));
}

/* A message of the largest size passes whole; one byte more does not, and is not stored either. */
static void test_64_mib(void)
{
    const size_t max = hn_qmp_limits_monitor.max_message_bytes;

    for (size_t len = max; len <= max + 1; len++) {
        g_autoptr(HnQmpCodec) codec = hn_qmp_codec_new(&hn_qmp_limits_monitor);
        g_autofree char *text = g_malloc(len);
        g_autoptr(GError) error = NULL;
        json_object *message = NULL;
        HnQmpProgress progress = HN_QMP_NEED_MORE;
        size_t pos = 0;

        memset(text, 'x', len);
        text[0] = '[';
        text[1] = text[len - 2] = '"';
        text[len - 1] = ']';
        while (pos < len && progress == HN_QMP_NEED_MORE) {
            size_t used = 0;

            progress = hn_qmp_codec_feed(codec, text + pos, MIN(65536, len - pos), &used, &message,
                                         &error);
            pos += used;
        }
        if (len == max) {
            g_assert_no_error(error);
            g_assert_cmpint(progress, ==, HN_QMP_GOT_MESSAGE);
            g_assert_cmpint(json_object_get_string_len(json_object_array_get_idx(message, 0)), ==,
                            (int)max - 4);
            json_object_put(message);
        } else {
            g_assert_error(error, HN_QMP_ERROR, HN_QMP_ERROR_TOO_LARGE);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strdup_printf("/qmp/codec/%s", rows[i].name);

        g_test_add_data_func(path, &rows[i], test_row);
    }
    g_test_add_func("/qmp/codec/texts", test_texts);
    g_test_add_func("/qmp/codec/end", test_end);
    g_test_add_func("/qmp/codec/64-mib", test_64_mib);
    return g_test_run();
}
