/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Trace event formats and perf records: recorded ones, cut ones, lying ones; and rings that wrap and
 * overflow.
 */
#include "fake-perf.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <string.h>
#include <unistd.h>

/* ---- formats ---- */

static void test_formats(void)
{
    const HnTouchEvent *kvm = hn_touch_events(true), *tcg = hn_touch_events(false);
    g_autoptr(GError) error = NULL;
    HnTouchFormat format;

    g_assert_true(
        hn_touch_format_parse(fake_kvm_format, strlen(fake_kvm_format), kvm, &format, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(format.id, ==, 1502);
    g_assert_cmpuint(format.address_offset, ==, 24);
    g_assert_cmpuint(format.flags_offset, ==, 32);
    g_assert_cmpuint(format.flags_bytes, ==, 8);
    g_assert_true(
        hn_touch_format_parse(fake_tcg_format, strlen(fake_tcg_format), tcg, &format, &error));
    g_assert_cmpuint(format.id, ==, 135);
    g_assert_cmpuint(format.address_offset, ==, 8);
    g_assert_cmpuint(format.flags_offset, ==, 24);
    g_assert_true(kvm->is_gpa && !tcg->is_gpa);
}

static void test_bad_formats(void)
{
    static const char *const bad[] = {
        "",
        "ID: 7\n",
        "ID: x\n\tfield:u64 fault_address;\toffset:24;\tsize:8;\n"
        "\tfield:u64 error_code;\toffset:32;\tsize:8;\n",
        /* no number */
        "\tfield:u64 fault_address;\toffset:24;\tsize:8;\n\tfield:u64 error_code;\toffset:32;\tsize:8;\n",
        /* an address of four bytes, flags of two, a place beyond every entry, a line cut short */
        "ID: 7\n\tfield:u32 fault_address;\toffset:24;\tsize:4;\n\tfield:u64 error_code;\toffset:32;\tsize:8;\n",
        "ID: 7\n\tfield:u64 fault_address;\toffset:24;\tsize:8;\n\tfield:u16 error_code;\toffset:32;\tsize:2;\n",
        "ID: 7\n\tfield:u64 fault_address;\toffset:4294967295;\tsize:8;\n\tfield:u64 error_code;\toffset:32;\tsize:8;\n",
        "ID: 7\n\tfield:u64 fault_address;\toffset:24;\tsize:8;\n\tfield:u64 error_code;\toffset:3",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        HnTouchFormat format = {.id = 99};

        g_assert_false(hn_touch_format_parse(bad[i], strlen(bad[i]), hn_touch_events(true), &format,
                                             &error));
        g_assert_nonnull(error);
        g_assert_cmpuint(format.id, ==, 99); /* written only on success */
    }
}

/* ---- records ---- */

static const HnTouchFormat kvm_format = {1502, 24, 32, 8};

static void note(const HnTouch *touch, void *user_data)
{
    g_array_append_val((GArray *)user_data, *touch);
}

/* Records of one vCPU as kernels wrote them (touch-show --raw), with the guest's own word for what
 * that vCPU touched. */
typedef struct {
    const char *name;
    bool is_kvm;
    size_t record_bytes;
    uint32_t n_records;
    uint64_t ram_start, ram_bytes; /* of the guest, in the addresses of the event */
    uint64_t own_start, own_end;   /* the vCPU's slice, as offsets, to whole huge pages */
    uint32_t n_own;                /* records in it */
} Recording;

static const Recording recordings[] = {
    {"kvm_page_fault-6.12", true, 56, 40, 0, 64 << 20, 0x2600000, 0x4000000, 13},
    {"page_fault_user-6.18", false, 48, 25, 0x7f491fe00000, 64 << 20, 0x2600000, 0x4000000, 11},
};

static void test_recorded(gconstpointer data)
{
    const Recording *recording = data;
    const HnTouchEvent *event = hn_touch_events(recording->is_kvm);
    g_autofree char *ring_name = g_strconcat(recording->name, ".ring", NULL);
    g_autofree char *format_name = g_strconcat(recording->name, ".format", NULL);
    g_autofree char *path =
        g_test_build_filename(G_TEST_DIST, "fixtures", "touch", ring_name, NULL);
    g_autofree char *format_path =
        g_test_build_filename(G_TEST_DIST, "fixtures", "touch", format_name, NULL);
    g_autoptr(GArray) touches = g_array_new(FALSE, FALSE, sizeof(HnTouch));
    g_autofree char *bytes = NULL;
    g_autofree char *text = NULL;
    HnTouchTally tally = {0};
    HnTouchFormat format;
    uint32_t n_own = 0;
    gsize len, text_len;

    g_assert_true(g_file_get_contents(path, &bytes, &len, NULL));
    g_assert_true(g_file_get_contents(format_path, &text, &text_len, NULL));
    g_assert_true(hn_touch_format_parse(text, text_len, event, &format, NULL));
    hn_touch_records_parse((const uint8_t *)bytes, len, &format, event, note, touches, &tally);
    g_assert_cmpuint(tally.n_malformed + tally.n_lost, ==, 0);
    g_assert_cmpuint(tally.n_touches, ==, recording->n_records);
    g_assert_cmpuint(len, ==, recording->n_records * recording->record_bytes);
    for (guint i = 0; i < touches->len; i++) {
        uint64_t offset = g_array_index(touches, HnTouch, i).address - recording->ram_start;

        n_own += offset >= recording->own_start && offset < recording->own_end;
        /* Of its RAM above the program (2 MiB) the vCPU touched nothing but its slice. */
        g_assert_false(offset >= 2 << 20 && offset < recording->own_start);
        g_assert_false(offset >= recording->own_end && offset < recording->ram_bytes);
    }
    g_assert_cmpuint(n_own, ==, recording->n_own);
    /* Cut anywhere: never more than what is whole, and a complaint about the rest. */
    for (gsize cut = 0; cut < len; cut++) {
        HnTouchTally part = {0};

        g_array_set_size(touches, 0);
        hn_touch_records_parse((const uint8_t *)bytes, cut, &format, event, note, touches, &part);
        g_assert_cmpuint(part.n_touches, ==, cut / recording->record_bytes);
        g_assert_cmpuint(part.n_malformed, ==, cut % recording->record_bytes != 0);
    }
}

typedef struct {
    const char *what;
    uint32_t type;
    uint16_t size;
    uint32_t raw_len;
    uint64_t n_touches, n_malformed, n_after; /* n_after: the good record behind it is seen */
} BadRecord;

static void test_lying_records(void)
{
    static const BadRecord bad[] = {
        {"a size of nothing", PERF_RECORD_SAMPLE, 0, 44, 0, 1, 0},
        {"smaller than its header", PERF_RECORD_SAMPLE, 4, 44, 0, 1, 0},
        {"not aligned", PERF_RECORD_SAMPLE, 54, 44, 0, 1, 0},
        {"beyond the end", PERF_RECORD_SAMPLE, 4096, 44, 0, 1, 0},
        {"raw data longer than the record", PERF_RECORD_SAMPLE, 56, 45, 0, 1, 1},
        {"raw data of all ones", PERF_RECORD_SAMPLE, 56, UINT32_MAX, 0, 1, 1},
        {"raw data too short for the address", PERF_RECORD_SAMPLE, 56, 31, 0, 1, 1},
        {"raw data too short for the flags", PERF_RECORD_SAMPLE, 56, 36, 0, 1, 1},
        {"something unknown", 77, 56, 44, 0, 0, 1},
        {"throttled", PERF_RECORD_THROTTLE, 56, 44, 0, 0, 1},
        {"a sample", PERF_RECORD_SAMPLE, 56, 44, 1, 0, 1},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GArray) touches = g_array_new(FALSE, FALSE, sizeof(HnTouch));
        uint8_t data[2 * FAKE_RECORD_BYTES];
        struct perf_event_header header;
        HnTouchTally tally = {0};

        g_test_message("%s", bad[i].what);
        fake_sample(data, 0x1000, 2);
        fake_sample(data + FAKE_RECORD_BYTES, 0x2000, 0);
        memcpy(&header, data, sizeof header);
        header.type = bad[i].type;
        header.size = bad[i].size;
        memcpy(data, &header, sizeof header);
        memcpy(data + sizeof header, &bad[i].raw_len, sizeof bad[i].raw_len);
        hn_touch_records_parse(data, sizeof data, &kvm_format, hn_touch_events(true), note, touches,
                               &tally);
        g_assert_cmpuint(tally.n_touches, ==, bad[i].n_touches + bad[i].n_after);
        g_assert_cmpuint(tally.n_malformed, ==, bad[i].n_malformed);
        g_assert_cmpuint(touches->len, ==, tally.n_touches);
    }
}

static void test_lost_records(void)
{
    struct {
        struct perf_event_header header;
        uint64_t id, n_lost;
    } lost[3] = {{{PERF_RECORD_LOST, 0, sizeof lost[0]}, 5, 1000},
                 {{PERF_RECORD_LOST, 0, sizeof lost[0]}, 5, UINT64_MAX}, /* would wrap */
                 {{PERF_RECORD_LOST, 0, sizeof lost[0]}, 5, 1}};
    struct perf_event_header empty = {PERF_RECORD_LOST, 0, sizeof empty};
    HnTouchTally tally = {0};

    hn_touch_records_parse((const uint8_t *)lost, sizeof lost, &kvm_format, hn_touch_events(true),
                           note, NULL, &tally);
    g_assert_cmpuint(tally.n_lost, ==, 1001);
    g_assert_cmpuint(tally.n_malformed, ==, 1);
    hn_touch_records_parse((const uint8_t *)&empty, sizeof empty, &kvm_format,
                           hn_touch_events(true), note, NULL, &tally);
    g_assert_cmpuint(tally.n_lost, ==, 1001);
    g_assert_cmpuint(tally.n_malformed, ==, 2);
}

/* ---- rings ---- */

static HnTouchTally drain(HnPerfRing *ring, GArray *touches)
{
    g_autoptr(GByteArray) buffer = g_byte_array_new();
    HnTouchTally tally = {0};

    hn_perf_ring_drain(ring, &kvm_format, hn_touch_events(true), buffer, note, touches, &tally);
    return tally;
}

/* A ring's size is no multiple of a record's: every few drains a record lies across the end. */
static void test_ring_wraps(void)
{
    FakePerf *perf = fake_perf_new();
    HnPerfOps ops = fake_perf_ops(perf);
    HnPerfRing ring;
    g_autoptr(GArray) touches = g_array_new(FALSE, FALSE, sizeof(HnTouch));
    uint64_t n_written = 0;

    g_assert_cmpint(ops.open(perf, 7, 1502, 1, 1, &ring), ==, 0);
    for (uint32_t round = 0; round < 50; round++) {
        for (uint32_t i = 0; i < 60; i++) {
            n_written++;
            fake_perf_fault(perf, 7, n_written * 4096, n_written % 2 ? 2 : 0);
        }
        HnTouchTally tally = drain(&ring, touches);
        g_assert_cmpuint(tally.n_touches, ==, 60);
        g_assert_cmpuint(tally.n_malformed + tally.n_lost, ==, 0);
    }
    g_assert_cmpuint(touches->len, ==, n_written);
    for (guint i = 0; i < touches->len; i++) {
        g_assert_cmpuint(g_array_index(touches, HnTouch, i).address, ==, (i + 1) * 4096);
        g_assert_cmpint(g_array_index(touches, HnTouch, i).is_write, ==, (i + 1) % 2);
    }
    ops.close(perf, &ring);
    fake_perf_free(perf);
}

static void test_ring_overflows(void)
{
    FakePerf *perf = fake_perf_new();
    HnPerfOps ops = fake_perf_ops(perf);
    HnPerfRing ring;
    g_autoptr(GArray) touches = g_array_new(FALSE, FALSE, sizeof(HnTouch));
    HnTouchTally tally;

    g_assert_cmpint(ops.open(perf, 7, 1502, 1, 1, &ring), ==, 0);
    for (uint32_t i = 0; i < 200; i++)
        fake_perf_fault(perf, 7, i, 0);
    tally = drain(&ring, touches);
    g_assert_cmpuint(tally.n_touches, ==, 4096 / FAKE_RECORD_BYTES);
    fake_perf_fault(perf, 7, 1, 0); /* tells of those that were lost */
    tally = drain(&ring, touches);
    g_assert_cmpuint(tally.n_touches, ==, 1);
    g_assert_cmpuint(tally.n_lost, ==, 200 - 4096 / FAKE_RECORD_BYTES);
    /* A page holds 73: three quarters of that are 54. */
    ring.peak = 0;
    tally = (HnTouchTally){.n_touches = 73, .n_lost = 127};
    g_assert_cmpuint(hn_perf_next_every(&ring, &tally), ==, 7);
    g_assert_cmpuint(ring.peak, ==, 200);
    /* Quiet after a burst: it goes back step by step, for the next burst may be as large. */
    ring.n_every = 7;
    tally = (HnTouchTally){0};
    g_assert_cmpuint(hn_perf_next_every(&ring, &tally), ==, 7);
    for (uint32_t i = 0; i < 2; i++)
        g_assert_cmpuint(hn_perf_next_every(&ring, &tally), ==, i == 0 ? 3 : 3);
    for (uint32_t i = 0; i < 12; i++)
        hn_perf_next_every(&ring, &tally);
    g_assert_cmpuint(hn_perf_next_every(&ring, &tally), ==, 1);
    /* What a recorded one stands for counts. */
    tally = (HnTouchTally){.n_touches = 50};
    g_assert_cmpuint(hn_perf_next_every(&ring, &tally), ==, 7);
    tally = (HnTouchTally){.n_touches = 100000, .n_lost = 100000};
    g_assert_cmpuint(hn_perf_next_every(&ring, &tally), ==, 101);
    ops.close(perf, &ring);
    fake_perf_free(perf);
}

/* The page says that more came than fits: nothing of it is believed. */
static void test_ring_lies(void)
{
    FakePerf *perf = fake_perf_new();
    HnPerfOps ops = fake_perf_ops(perf);
    HnPerfRing ring;
    g_autoptr(GArray) touches = g_array_new(FALSE, FALSE, sizeof(HnTouch));
    struct perf_event_mmap_page *page;
    HnTouchTally tally;

    g_assert_cmpint(ops.open(perf, 7, 1502, 1, 1, &ring), ==, 0);
    page = ring.base;
    page->data_head = UINT64_MAX - 5;
    tally = drain(&ring, touches);
    g_assert_cmpuint(tally.n_touches, ==, 0);
    g_assert_cmpuint(tally.n_malformed, ==, 1);
    g_assert_cmpuint(page->data_tail, ==, page->data_head);
    ops.close(perf, &ring);
    fake_perf_free(perf);
}

static void test_ring_pages(void)
{
    const struct {
        uint32_t n_vcpus;
        size_t n_pages;
    } cases[] = {{1, 16}, {8, 16}, {64, 16}, {65, 8}, {128, 8}, {129, 4}, {256, 4}, {4096, 4}};

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        g_assert_cmpuint(hn_perf_ring_pages(cases[i].n_vcpus), ==, cases[i].n_pages);
}

static void test_impediments(void)
{
    const struct {
        int error_number;
        const char *code;
    } cases[] = {{EACCES, "perf-denied"},    {EPERM, "perf-denied"},
                 {EMFILE, "no-descriptors"}, {ENOMEM, "no-ring-memory"},
                 {ENOSYS, "no-perf"},        {ENOENT, "no-trace-event"},
                 {EINVAL, "no-trace-event"}};

    g_assert_null(hn_perf_impediment(ESRCH));
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_assert_cmpstr(hn_perf_impediment(cases[i].error_number), ==, cases[i].code);
        g_assert_cmpstr(hn_touch_impediment_sentence(cases[i].code), !=, "unknown");
    }
    g_assert_cmpstr(hn_touch_impediment_sentence("?"), ==, "unknown");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/touch/formats", test_formats);
    g_test_add_func("/touch/bad-formats", test_bad_formats);
    for (size_t i = 0; i < G_N_ELEMENTS(recordings); i++) {
        g_autofree char *test_path = g_strconcat("/touch/recorded/", recordings[i].name, NULL);

        g_test_add_data_func(test_path, &recordings[i], test_recorded);
    }
    g_test_add_func("/touch/lying-records", test_lying_records);
    g_test_add_func("/touch/lost-records", test_lost_records);
    g_test_add_func("/touch/ring-wraps", test_ring_wraps);
    g_test_add_func("/touch/ring-overflows", test_ring_overflows);
    g_test_add_func("/touch/ring-lies", test_ring_lies);
    g_test_add_func("/touch/ring-pages", test_ring_pages);
    g_test_add_func("/touch/impediments", test_impediments);
    return g_test_run();
}
