/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Trace events of page faults and perf records; see touch-events.h. */
#include "observe/touch-events.h"
#include "observe/text.h"

#include <linux/perf_event.h>
#include <string.h>

/* Trace entries are far smaller: a format file that says otherwise is not believed. */
#define MAX_FIELD_OFFSET 4096u

const HnTouchEvent *hn_touch_events(bool is_kvm)
{
    static const HnTouchEvent kvm[] = {
        {"kvm/kvm_page_fault", "fault_address", "error_code", UINT64_C(1) << 1, true},
        {"kvm/kvm_guest_fault", "ipa", "hsr", UINT64_C(1) << 6, true},
        {NULL},
    };
    static const HnTouchEvent tcg[] = {
        {"exceptions/page_fault_user", "address", "error_code", UINT64_C(1) << 1, false},
        {NULL},
    };

    return is_kvm ? kvm : tcg;
}

typedef struct {
    bool is_found;
    uint32_t offset;
    uint32_t bytes;
} Field;

/* "u64 fault_address;\toffset:24;\tsize:8;\tsigned:0;" after "field:"; false: malformed. */
static bool parse_field(HnText line, HnText *ret_name, Field *ret_field)
{
    HnText declaration, word;

    if (!hn_text_until(&line, ';', &declaration))
        return false;
    *ret_name = declaration;
    while (hn_text_word(&declaration, &word))
        *ret_name = word; /* the last word is the name */
    hn_text_skip_blanks(&line);
    if (!hn_text_take(&line, "offset:") || !hn_text_u32(&line, &ret_field->offset) ||
        !hn_text_take(&line, ";"))
        return false;
    hn_text_skip_blanks(&line);
    ret_field->is_found = true;
    return hn_text_take(&line, "size:") && hn_text_u32(&line, &ret_field->bytes) &&
           hn_text_take(&line, ";");
}

static bool is_usable(const Field *field, bool is_flags)
{
    return field->is_found && field->offset <= MAX_FIELD_OFFSET &&
           (field->bytes == 8 || (is_flags && field->bytes == 4));
}

bool hn_touch_format_parse(const char *text, size_t len, const HnTouchEvent *event,
                           HnTouchFormat *ret_format, GError **error)
{
    HnText rest = hn_text(text, len);
    HnText line = rest;
    HnText whole = rest;
    Field address = {0}, flags = {0};
    uint64_t id = 0;

    while (hn_text_line(&rest, &line)) {
        HnText name;
        Field field = {0};

        whole = line;
        hn_text_skip_blanks(&line);
        if (hn_text_take(&line, "ID:")) {
            hn_text_skip_blanks(&line);
            if (!hn_text_u64(&line, &id) || !hn_text_is_empty(&line))
                return hn_text_fail(error, "format", "bad event number", &whole);
        } else if (hn_text_take(&line, "field:")) {
            if (!parse_field(line, &name, &field))
                return hn_text_fail(error, "format", "bad field", &whole);
            if (hn_text_equal(&name, event->address_field))
                address = field;
            else if (hn_text_equal(&name, event->flags_field))
                flags = field;
        }
    }
    if (id == 0)
        return hn_text_fail(error, "format", "no event number", &whole);
    if (!is_usable(&address, false) || !is_usable(&flags, true))
        return hn_text_fail(error, "format", "no usable address or flags", &whole);
    *ret_format = (HnTouchFormat){id, address.offset, flags.offset, flags.bytes};
    return true;
}

/* The raw data of one sample; false if it is too short for the event's fields. */
static bool parse_raw(const uint8_t *raw, size_t len, const HnTouchFormat *format,
                      const HnTouchEvent *event, HnTouch *ret_touch)
{
    uint64_t flags = 0;

    if ((size_t)format->address_offset + sizeof ret_touch->address > len ||
        (size_t)format->flags_offset + format->flags_bytes > len)
        return false;
    memcpy(&ret_touch->address, raw + format->address_offset, sizeof ret_touch->address);
    if (format->flags_bytes == 4) {
        uint32_t narrow;

        memcpy(&narrow, raw + format->flags_offset, sizeof narrow);
        flags = narrow;
    } else {
        memcpy(&flags, raw + format->flags_offset, sizeof flags);
    }
    ret_touch->is_write = (flags & event->write_mask) != 0;
    return true;
}

void hn_touch_records_parse(const uint8_t *data, size_t len, const HnTouchFormat *format,
                            const HnTouchEvent *event, HnTouchFunc func, void *user_data,
                            HnTouchTally *tally)
{
    struct perf_event_header header;

    for (size_t at = 0; at < len; at += header.size) {
        const uint8_t *body = data + at + sizeof header;
        size_t body_len;

        if (len - at < sizeof header) {
            tally->n_malformed++;
            return;
        }
        memcpy(&header, data + at, sizeof header);
        /* Records are aligned; one that is not, or that leads nowhere, hides where the next is. */
        if (header.size < sizeof header || header.size % 8 != 0 || header.size > len - at) {
            tally->n_malformed++;
            return;
        }
        body_len = header.size - sizeof header;
        if (header.type == PERF_RECORD_SAMPLE) {
            uint32_t raw_len = 0;
            HnTouch touch;

            if (body_len >= sizeof raw_len)
                memcpy(&raw_len, body, sizeof raw_len);
            if (body_len < sizeof raw_len || raw_len > body_len - sizeof raw_len ||
                !parse_raw(body + sizeof raw_len, raw_len, format, event, &touch)) {
                tally->n_malformed++;
                continue;
            }
            tally->n_touches++;
            func(&touch, user_data);
        } else if (header.type == PERF_RECORD_LOST) {
            uint64_t n_lost; /* after the event's id */

            if (body_len < 2 * sizeof n_lost) {
                tally->n_malformed++;
                continue;
            }
            memcpy(&n_lost, body + sizeof n_lost, sizeof n_lost);
            /* A number that would wrap the sum is no number of lost records. */
            if (n_lost > UINT64_MAX - tally->n_lost)
                tally->n_malformed++;
            else
                tally->n_lost += n_lost;
        }
    }
}
