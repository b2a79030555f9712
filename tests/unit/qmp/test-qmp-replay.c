/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Recorded conversations with real QEMUs (tests/fixtures/qmp/VERSION/ACCEL.conversation), replayed:
 *  - codec: everything QEMU said is read, in pieces of many sizes;
 *  - builders: what was sent is what the builders make;
 *  - schema: what the builders make is what that version's query-qmp-schema allows;
 *  - decoders: every reply to a typed command is decoded and compared with ACCEL.decoded beside it
 *    (HN_REGENERATE=1 writes these files anew; read the difference before committing it);
 *  - client: the conversation is held again over a socket, with the recording as the peer.
 */
#include "qmp/client.h"
#include "qmp/qemu.h"
#include "loop.h"
#include "print-reply.h"

typedef struct {
    char *dir;
    char *name; /* "7.2/tcg" */
    char *decoded_path;
    GPtrArray *lines; /* "-> …" and "<- …" */
} Recording;

static char *read_text(const char *path)
{
    g_autoptr(GError) error = NULL;
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, &error);
    g_assert_no_error(error);
    return text;
}

static gboolean is_sent(const char *line)
{
    return g_str_has_prefix(line, "-> ");
}

static json_object *parse(const char *text)
{
    json_object *value = json_tokener_parse(text);

    g_assert_nonnull(value);
    return value;
}

/* ---- codec ---- */

static void test_codec(gconstpointer data)
{
    const Recording *r = data;

    for (size_t piece = 1; piece < 5000; piece = piece * 3 + 1) {
        g_autoptr(HnQmpCodec) codec = hn_qmp_codec_new(&hn_qmp_limits_monitor);
        g_autoptr(GString) stream = g_string_new(NULL);
        guint expected = 0, got = 0;

        for (guint i = 0; i < r->lines->len; i++) {
            const char *line = g_ptr_array_index(r->lines, i);

            if (!is_sent(line)) {
                g_string_append_printf(stream, "%s\r\n", line + 3);
                expected++;
            }
        }
        for (size_t pos = 0; pos < stream->len;) {
            g_autoptr(GError) error = NULL;
            g_auto(HnQmpMessage) message = {0};
            json_object *root = NULL;
            size_t used = 0;

            if (hn_qmp_codec_feed(codec, stream->str + pos, MIN(piece, stream->len - pos), &used,
                                  &root, &error) == HN_QMP_GOT_MESSAGE) {
                got++;
                hn_qmp_message_classify(root, &message, &error);
                g_assert_cmpint(message.kind, !=, HN_QMP_KIND_COMMAND);
            }
            g_assert_no_error(error);
            pos += used;
        }
        g_assert_cmpuint(got, ==, expected);
    }
}

/* ---- builders ---- */

typedef struct {
    const char *command;
    json_object *arguments; /* owned; NULL: none */
} Built;

/* Everything the product can send, with the parameters that record.py uses. */
static GArray *build_all(void)
{
    static const char *const names[] = {"exits", "halt_exits", "pf_taken", NULL};
    static const char *const plain[] = {
        HN_QEMU_QUERY_STATUS,  HN_QEMU_QUERY_NAME,           HN_QEMU_QUERY_UUID,
        HN_QEMU_QUERY_KVM,     HN_QEMU_QUERY_CPUS_FAST,      HN_QEMU_QUERY_HOTPLUGGABLE_CPUS,
        HN_QEMU_QUERY_MEMDEV,  HN_QEMU_QUERY_MEMORY_DEVICES, HN_QEMU_QUERY_DIRTY_RATE,
        HN_QEMU_QUERY_MIGRATE, "qmp_capabilities",
    };
    const Built with_arguments[] = {
        {HN_QEMU_CALC_DIRTY_RATE,
         hn_qemu_calc_dirty_rate_build(1, HN_QEMU_DIRTY_PAGE_SAMPLING, 1024)},
        {HN_QEMU_CALC_DIRTY_RATE, hn_qemu_calc_dirty_rate_build(1, HN_QEMU_DIRTY_PAGE_SAMPLING, 0)},
        {HN_QEMU_CALC_DIRTY_RATE, hn_qemu_calc_dirty_rate_build(1, HN_QEMU_DIRTY_BITMAP, 0)},
        {HN_QEMU_CALC_DIRTY_RATE, hn_qemu_calc_dirty_rate_build(1, HN_QEMU_DIRTY_RING, 0)},
        {HN_QEMU_QUERY_STATS, hn_qemu_stats_build(HN_QEMU_STATS_VM, NULL)},
        {HN_QEMU_QUERY_STATS, hn_qemu_stats_build(HN_QEMU_STATS_VCPU, names)},
        {HN_QEMU_HUMAN_MONITOR_COMMAND, hn_qemu_info_ramblock_build()},
        {HN_QEMU_HUMAN_MONITOR_COMMAND, hn_qemu_gpa2hva_build(0x100000)},
        {HN_QEMU_HUMAN_MONITOR_COMMAND, hn_qemu_gpa2hva_build(0x5000000)},
        {HN_QEMU_HUMAN_MONITOR_COMMAND, hn_qemu_gpa2hva_build(0xfee00000)},
        {HN_QEMU_HUMAN_MONITOR_COMMAND, hn_qemu_gpa2hva_build(0x7fffffff0000)},
    };
    GArray *all = g_array_new(FALSE, FALSE, sizeof(Built));

    for (size_t i = 0; i < G_N_ELEMENTS(plain); i++) {
        Built built = {plain[i], NULL};

        g_array_append_val(all, built);
    }
    g_array_append_vals(all, with_arguments, G_N_ELEMENTS(with_arguments));
    return all;
}

static void free_built(GArray *all)
{
    for (guint i = 0; i < all->len; i++)
        json_object_put(g_array_index(all, Built, i).arguments);
    g_array_unref(all);
}

static gboolean is_built(GArray *all, const char *command, json_object *arguments)
{
    for (guint i = 0; i < all->len; i++) {
        const Built *built = &g_array_index(all, Built, i);

        if (g_str_equal(built->command, command) && json_object_equal(built->arguments, arguments))
            return TRUE;
    }
    return FALSE;
}

static void test_builders(gconstpointer data)
{
    const Recording *r = data;
    GArray *all = build_all();
    guint checked = 0;

    for (guint i = 0; i < r->lines->len; i++) {
        const char *line = g_ptr_array_index(r->lines, i);
        json_object *sent;
        const char *command, *text;

        if (!is_sent(line) || strstr(line, ":bad}"))
            continue;
        sent = parse(line + 3);
        command = json_object_get_string(json_object_object_get(sent, "execute"));
        text = json_object_get_string(
            json_object_object_get(json_object_object_get(sent, "arguments"), "command-line"));
        for (guint k = 0; k < all->len; k++) {
            if (g_str_equal(g_array_index(all, Built, k).command, command) &&
                g_strcmp0(text, "no such line") != 0) {
                g_assert_true(is_built(all, command, json_object_object_get(sent, "arguments")));
                checked++;
                break;
            }
        }
        json_object_put(sent);
    }
    g_assert_cmpuint(checked, >, 25);
    free_built(all);
}

/* ---- schema ---- */

/* Whether value fits the compact shape of schema.json; says in *why what does not. */
static gboolean fits(json_object *shape, json_object *value, char **why)
{
    json_object *values;

    if (json_object_is_type(shape, json_type_string)) {
        const char *type = json_object_get_string(shape);

        if (g_str_equal(type, json_type_to_name(json_object_get_type(value))))
            return TRUE;
        *why = g_strdup_printf("%s is not %s", json_object_to_json_string(value), type);
        return FALSE;
    }
    if (json_object_is_type(shape, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(value); i++) {
            if (!fits(json_object_array_get_idx(shape, 0), json_object_array_get_idx(value, i),
                      why))
                return FALSE;
        }
        return json_object_is_type(value, json_type_array);
    }
    if (json_object_object_get_ex(shape, "enum", &values)) {
        for (size_t i = 0; i < json_object_array_length(values); i++) {
            if (json_object_equal(json_object_array_get_idx(values, i), value))
                return TRUE;
        }
        *why = g_strdup_printf("%s is none of %s", json_object_to_json_string(value),
                               json_object_to_json_string(values));
        return FALSE;
    }
    if (value) {
        json_object_object_foreach(value, key, member)
        {
            json_object *entry;

            if (!json_object_object_get_ex(shape, key, &entry)) {
                *why = g_strdup_printf("'%s' is not known", key);
                return FALSE;
            }
            if (!fits(json_object_object_get(entry, "type"), member, why))
                return FALSE;
        }
    }
    json_object_object_foreach(shape, name, wanted)
    {
        if (!json_object_get_boolean(json_object_object_get(wanted, "optional")) &&
            !json_object_object_get_ex(value, name, NULL)) {
            *why = g_strdup_printf("'%s' is missing", name);
            return FALSE;
        }
    }
    return TRUE;
}

static void test_schema(gconstpointer data)
{
    const Recording *r = data;
    g_autofree char *path = g_build_filename(r->dir, "schema.json", NULL);
    g_autofree char *text = read_text(path);
    json_object *schema = parse(text);
    json_object *wrong = parse("{\"calc-time\": 1, \"mode\": \"guess\"}");
    GArray *all = build_all();
    g_autofree char *reason = NULL;

    for (guint i = 0; i < all->len; i++) {
        const Built *built = &g_array_index(all, Built, i);
        g_autofree char *why = NULL;
        json_object *shape = NULL;

        if (!json_object_object_get_ex(schema, built->command, &shape))
            g_error("%s has no command %s", r->name, built->command);
        if (!fits(shape, built->arguments, &why))
            g_error("%s: %s: %s", r->name, built->command, why);
    }
    /* And the check can fail. */
    g_assert_false(fits(json_object_object_get(schema, HN_QEMU_CALC_DIRTY_RATE), wrong, &reason));
    json_object_put(wrong);
    json_object_put(schema);
    free_built(all);
}

/* ---- decoders ---- */

static void test_decoders(gconstpointer data)
{
    const Recording *r = data;
    g_autoptr(GString) out = g_string_new(NULL);
    g_autofree char *expected = NULL;
    const char *sent = NULL;

    for (guint i = 0; i < r->lines->len; i++) {
        const char *line = g_ptr_array_index(r->lines, i);

        if (is_sent(line)) {
            sent = strstr(line, ":bad}") ? NULL : line;
        } else if (sent) {
            json_object *reply = parse(line + 3);

            if (json_object_object_get_ex(reply, "id", NULL)) {
                json_object *command = parse(sent + 3);

                print_reply(command, reply, out);
                json_object_put(command);
                sent = NULL;
            }
            json_object_put(reply);
        }
    }
    if (g_getenv("HN_REGENERATE")) {
        g_assert_true(g_file_set_contents(r->decoded_path, out->str, -1, NULL));
        g_test_skip("written, not compared");
        return;
    }
    expected = read_text(r->decoded_path);
    g_assert_cmpstr(out->str, ==, expected);
}

/* ---- client ---- */

typedef struct {
    const Recording *recording;
    guint at; /* next line */
    int listener;
    int peer;
    guint events_expected;
    guint events;
    gboolean is_replied;
    json_object *value;
    char *error;
} Replay;

static void on_event(HnQmpClient *client, const char *name, json_object *data, gint64 timestamp_us,
                     gpointer user_data)
{
    Replay *replay = user_data;

    g_assert_cmpint(timestamp_us, >, 0);
    replay->events++;
}

static void on_reply(HnQmpClient *client, json_object *value, const GError *error,
                     gpointer user_data)
{
    Replay *replay = user_data;

    replay->is_replied = TRUE;
    replay->value = json_object_get(value);
    replay->error = error ? g_strdup(error->message) : NULL;
}

/* The peer: reads a command, then says what QEMU said up to the next one, under the client's id. */
static json_object *play_reply(Replay *replay, const char *command)
{
    g_autofree char *line = raw_line(replay->peer);
    json_object *got = parse(line), *reply = NULL;
    json_object *id = json_object_object_get(got, "id");

    g_assert_cmpstr(json_object_get_string(json_object_object_get(got, "execute")), ==, command);
    for (; replay->at < replay->recording->lines->len; replay->at++) {
        const char *recorded = g_ptr_array_index(replay->recording->lines, replay->at);
        g_autofree char *text = NULL;
        json_object *said;

        if (is_sent(recorded))
            break;
        said = parse(recorded + 3);
        replay->events_expected += json_object_object_get_ex(said, "event", NULL);
        if (json_object_object_get_ex(said, "id", NULL)) {
            json_object_object_add(said, "id", json_object_get(id));
            reply = json_object_get(said);
        }
        text = g_strdup_printf("%s\r\n",
                               json_object_to_json_string_ext(said, JSON_C_TO_STRING_SPACED));
        raw_send(replay->peer, text);
        json_object_put(said);
    }
    json_object_put(got);
    return reply;
}

static void replay_command(Replay *replay, HnQmpClient *client, const char *line)
{
    json_object *sent = parse(line + 3), *reply, *arguments = NULL, *value = NULL, *refusal = NULL;
    const char *command = json_object_get_string(json_object_object_get(sent, "execute"));

    json_object_object_get_ex(sent, "arguments", &arguments);
    replay->is_replied = FALSE;
    hn_qmp_client_call(client, command, json_object_get(arguments), 0, on_reply, replay);
    reply = play_reply(replay, command);
    wait_until(replay->is_replied);
    if (json_object_object_get_ex(reply, "error", &refusal)) {
        g_autofree char *expected = g_strdup_printf(
            "%s: %s", command, json_object_get_string(json_object_object_get(refusal, "desc")));

        g_assert_cmpstr(replay->error, ==, expected);
    } else {
        json_object_object_get_ex(reply, "return", &value);
        g_assert_null(replay->error);
        g_assert_true(json_object_equal(replay->value, value));
    }
    g_clear_pointer(&replay->error, g_free);
    json_object_put(replay->value);
    replay->value = NULL;
    json_object_put(reply);
    json_object_put(sent);
}

static void test_client(gconstpointer data)
{
    const Recording *r = data;
    const HnQmpClientCallbacks callbacks = {.event = on_event};
    g_auto(Scratch) scratch = scratch_new();
    struct sockaddr_un address = unix_address(scratch.path);
    Replay replay = {.recording = r};
    HnQmpClient *client = hn_qmp_client_new(scratch.path, NULL, &callbacks, &replay);

    replay.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    g_assert_cmpint(bind(replay.listener, (struct sockaddr *)&address, sizeof address), ==, 0);
    g_assert_cmpint(listen(replay.listener, 1), ==, 0);
    hn_qmp_client_connect(client);
    wait_until((replay.peer = accept4(replay.listener, NULL, NULL, SOCK_NONBLOCK)) >= 0);

    raw_send(replay.peer, (const char *)g_ptr_array_index(r->lines, 0) + 3);
    while (!strstr(g_ptr_array_index(r->lines, replay.at), "qmp_capabilities\",\"id\""))
        replay.at++;
    replay.at++;
    json_object_put(play_reply(&replay, "qmp_capabilities"));
    wait_until(hn_qmp_client_is_ready(client));

    while (replay.at < r->lines->len) {
        const char *line = g_ptr_array_index(r->lines, replay.at++);

        if (!strstr(line, ":bad}"))
            replay_command(&replay, client, line);
        else
            replay.at++; /* and its answer: the client sends no such thing */
    }
    wait_until(replay.events == replay.events_expected);
    g_assert_cmpuint(replay.events, >=, 4);
    hn_qmp_client_unref(client);
    close(replay.peer);
    close(replay.listener);
}

/* ---- */

static Recording *load(const char *dir, const char *version, const char *file)
{
    Recording *r = g_new0(Recording, 1);
    g_autofree char *path = g_build_filename(dir, file, NULL);
    g_autofree char *text = read_text(path);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autofree char *accel = g_strndup(file, strcspn(file, "."));

    r->dir = g_strdup(dir);
    r->name = g_strdup_printf("%s/%s", version, accel);
    r->decoded_path = g_strdup_printf("%s/%s.decoded", dir, accel);
    r->lines = g_ptr_array_new_with_free_func(g_free);
    for (char **line = lines; *line; line++) {
        if (g_str_has_prefix(*line, "-> ") || g_str_has_prefix(*line, "<- "))
            g_ptr_array_add(r->lines, g_strdup(*line));
    }
    return r;
}

static void recording_free(gpointer data)
{
    Recording *r = data;

    g_free(r->dir);
    g_free(r->name);
    g_free(r->decoded_path);
    g_ptr_array_unref(r->lines);
    g_free(r);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        GTestDataFunc func;
    } tests[] = {{"codec", test_codec},
                 {"builders", test_builders},
                 {"schema", test_schema},
                 {"decoders", test_decoders},
                 {"client", test_client}};
    static const char *const versions[] = {"7.2", "10.0", "11.1"};
    static const char *const files[] = {"tcg.conversation", "kvm.conversation"};
    g_autoptr(GPtrArray) recordings = g_ptr_array_new_with_free_func(recording_free);

    g_test_init(&argc, &argv, NULL);
    for (size_t v = 0; v < G_N_ELEMENTS(versions); v++) {
        g_autofree char *dir =
            g_test_build_filename(G_TEST_DIST, "fixtures", "qmp", versions[v], NULL);

        for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
            Recording *r = load(dir, versions[v], files[i]);

            g_ptr_array_add(recordings, r);
            for (size_t t = 0; t < G_N_ELEMENTS(tests); t++) {
                g_autofree char *path =
                    g_strdup_printf("/qmp/replay/%s/%s", r->name, tests[t].name);

                g_test_add_data_func(path, r, tests[t].func);
            }
        }
    }
    return g_test_run();
}
