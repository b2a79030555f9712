/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The last rounds, compressed and bounded: see recorder.h.
 */
#include "recorder.h"

#include <gio/gio.h>
#include <string.h>

/* A recorded round is the daemon's own text, but memory is bounded all the same when it is
 * unpacked. */
#define MAX_UNPACKED_BYTES (UINT64_C(256) << 20)

struct HnRecorder {
    uint64_t max_bytes;
    uint64_t bytes;
    GQueue records; /* GBytes *, newest at the tail */
};

HnRecorder *hn_recorder_new(uint64_t max_bytes)
{
    HnRecorder *recorder = g_new0(HnRecorder, 1);
    recorder->max_bytes = max_bytes;
    g_queue_init(&recorder->records);
    return recorder;
}

void hn_recorder_free(HnRecorder *recorder)
{
    if (!recorder)
        return;
    g_queue_clear_full(&recorder->records, (GDestroyNotify)g_bytes_unref);
    g_free(recorder);
}

static void trim(HnRecorder *recorder)
{
    while (recorder->bytes > recorder->max_bytes) {
        g_autoptr(GBytes) oldest = g_queue_pop_head(&recorder->records);
        recorder->bytes -= g_bytes_get_size(oldest);
    }
}

void hn_recorder_set_max(HnRecorder *recorder, uint64_t max_bytes)
{
    recorder->max_bytes = max_bytes;
    trim(recorder);
}

/* Runs text through a converter. NULL if the result would be larger than max_bytes, or text is
 * damaged. */
static GBytes *convert(GConverter *converter, const void *text, size_t len, uint64_t max_bytes)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    guint8 buffer[16384];
    size_t used = 0;
    for (;;) {
        gsize n_read = 0, n_written = 0;
        GConverterResult result =
            g_converter_convert(converter, (const char *)text + used, len - used, buffer,
                                sizeof buffer, G_CONVERTER_INPUT_AT_END, &n_read, &n_written, NULL);
        if (result == G_CONVERTER_ERROR || out->len + n_written > max_bytes)
            return NULL;
        used += n_read;
        g_byte_array_append(out, buffer, (guint)n_written);
        if (result == G_CONVERTER_FINISHED)
            return g_byte_array_free_to_bytes(g_steal_pointer(&out));
    }
}

GBytes *hn_recorder_pack(json_object *record)
{
    size_t len = 0;
    const char *text = json_object_to_json_string_length(record, JSON_C_TO_STRING_PLAIN, &len);
    /* Level 1: rounds resemble each other within, little is gained by trying harder every two
     * seconds. */
    g_autoptr(GZlibCompressor) compressor = g_zlib_compressor_new(G_ZLIB_COMPRESSOR_FORMAT_ZLIB, 1);
    return convert(G_CONVERTER(compressor), text, len, MAX_UNPACKED_BYTES);
}

void hn_recorder_add(HnRecorder *recorder, GBytes *packed)
{
    recorder->bytes += g_bytes_get_size(packed);
    g_queue_push_tail(&recorder->records, packed);
    trim(recorder);
}

static json_object *unpack(GBytes *packed)
{
    g_autoptr(GZlibDecompressor) decompressor =
        g_zlib_decompressor_new(G_ZLIB_COMPRESSOR_FORMAT_ZLIB);
    gsize size = 0;
    const void *data = g_bytes_get_data(packed, &size);
    g_autoptr(GBytes) text = convert(G_CONVERTER(decompressor), data, size, MAX_UNPACKED_BYTES);
    if (!text)
        return NULL;
    data = g_bytes_get_data(text, &size);
    struct json_tokener *tokener = json_tokener_new();
    json_object *record = json_tokener_parse_ex(tokener, data, (int)size);
    json_tokener_free(tokener);
    return record;
}

json_object *hn_recorder_to_json(const HnRecorder *recorder, uint32_t limit)
{
    json_object *array = json_object_new_array();
    guint skip = recorder->records.length > limit ? recorder->records.length - limit : 0;
    for (GList *link = g_list_nth(recorder->records.head, skip); link; link = link->next) {
        json_object *record = unpack(link->data);
        if (record)
            json_object_array_add(array, record);
    }
    return array;
}
