/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See fake-perf.h. */
#include "fake-perf.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <string.h>
#include <unistd.h>

const char *const fake_kvm_format =
    "name: kvm_page_fault\n"
    "ID: 1502\n"
    "format:\n"
    "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
    "\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n"
    "\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n"
    "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n"
    "\n"
    "\tfield:unsigned int vcpu_id;\toffset:8;\tsize:4;\tsigned:0;\n"
    "\tfield:unsigned long guest_rip;\toffset:16;\tsize:8;\tsigned:0;\n"
    "\tfield:u64 fault_address;\toffset:24;\tsize:8;\tsigned:0;\n"
    "\tfield:u64 error_code;\toffset:32;\tsize:8;\tsigned:0;\n"
    "\n"
    "print fmt: \"vcpu %u rip 0x%lx address 0x%016llx error_code 0x%llx\", REC->vcpu_id, "
    "REC->guest_rip, REC->fault_address, REC->error_code\n";

const char *const fake_tcg_format =
    "name: page_fault_user\n"
    "ID: 135\n"
    "format:\n"
    "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
    "\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n"
    "\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n"
    "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n"
    "\n"
    "\tfield:unsigned long address;\toffset:8;\tsize:8;\tsigned:0;\n"
    "\tfield:unsigned long ip;\toffset:16;\tsize:8;\tsigned:0;\n"
    "\tfield:unsigned long error_code;\toffset:24;\tsize:8;\tsigned:0;\n"
    "\n"
    "print fmt: \"address=%ps ip=%ps error_code=0x%lx\", (void *)REC->address, (void *)REC->ip, "
    "REC->error_code\n";

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static const char *find_event_fake(void *user_data, const HnRoot *root, bool is_kvm,
                                   const HnTouchEvent **ret_event, HnTouchFormat *ret_format)
{
    FakePerf *perf = user_data;
    const char *text = is_kvm ? fake_kvm_format : fake_tcg_format;

    if (perf->no_event)
        return perf->no_event;
    *ret_event = hn_touch_events(is_kvm);
    g_assert_true(hn_touch_format_parse(text, strlen(text), *ret_event, ret_format, NULL));
    return NULL;
}

static int open_fake(void *user_data, int32_t tid, uint64_t id, uint32_t n_every, size_t n_pages,
                     HnPerfRing *ret_ring)
{
    FakePerf *perf = user_data;
    FakePerfRing *fake;

    if (perf->fail_with && perf->rings->len >= perf->fail_after)
        return -perf->fail_with;
    perf->last_id = id;
    *ret_ring = (HnPerfRing){
        .fd = 1000 + (int)perf->n_opened++,
        .base = g_malloc0((n_pages + 1) * page_bytes()),
        .n_pages = n_pages,
        .n_every = n_every,
        .n_every_before = n_every,
    };
    fake = g_new0(FakePerfRing, 1);
    fake->tid = tid;
    fake->ring = ret_ring;
    g_ptr_array_add(perf->rings, fake);
    return 0;
}

static int set_every_fake(void *user_data, HnPerfRing *ring, uint32_t n_every)
{
    ring->n_every = n_every;
    return 0;
}

static void close_fake(void *user_data, HnPerfRing *ring)
{
    FakePerf *perf = user_data;

    for (guint i = 0; i < perf->rings->len; i++) {
        FakePerfRing *fake = g_ptr_array_index(perf->rings, i);

        if (fake->ring != ring)
            continue;
        g_ptr_array_remove_index(perf->rings, i);
        g_free(ring->base);
        *ring = HN_PERF_RING_NONE;
        perf->n_closed++;
        return;
    }
    g_assert_not_reached();
}

FakePerf *fake_perf_new(void)
{
    FakePerf *perf = g_new0(FakePerf, 1);

    perf->rings = g_ptr_array_new_with_free_func(g_free);
    return perf;
}

void fake_perf_free(FakePerf *perf)
{
    g_assert_cmpuint(perf->rings->len, ==, 0);
    g_assert_cmpuint(perf->n_opened, ==, perf->n_closed);
    g_ptr_array_unref(perf->rings);
    g_free(perf);
}

HnPerfOps fake_perf_ops(FakePerf *perf)
{
    return (HnPerfOps){find_event_fake, open_fake, set_every_fake, close_fake, perf};
}

bool fake_ring_write(HnPerfRing *ring, const void *record, size_t len)
{
    struct perf_event_mmap_page *page = ring->base;
    size_t ring_bytes = ring->n_pages * page_bytes();
    uint8_t *data = (uint8_t *)ring->base + page_bytes();
    size_t start = (size_t)(page->data_head % ring_bytes);
    size_t first = MIN(len, ring_bytes - start);

    if (page->data_head - page->data_tail + len > ring_bytes)
        return false;
    memcpy(data + start, record, first);
    memcpy(data, (const uint8_t *)record + first, len - first);
    page->data_head += len;
    return true;
}

size_t fake_sample(uint8_t *ret_record, uint64_t address, uint64_t error_code)
{
    struct perf_event_header header = {
        .type = PERF_RECORD_SAMPLE, .misc = PERF_RECORD_MISC_KERNEL, .size = FAKE_RECORD_BYTES};
    uint32_t raw_len = FAKE_RECORD_BYTES - sizeof header - sizeof raw_len;
    /* kvm_page_fault has its address at 24, page_fault_user at 8: both are filled in */
    uint8_t *raw = ret_record + sizeof header + sizeof raw_len;

    memset(ret_record, 0, FAKE_RECORD_BYTES);
    memcpy(ret_record, &header, sizeof header);
    memcpy(ret_record + sizeof header, &raw_len, sizeof raw_len);
    memcpy(raw + 8, &address, sizeof address);
    memcpy(raw + 24, &address, sizeof address);
    memcpy(raw + 32, &error_code, sizeof error_code);
    return FAKE_RECORD_BYTES;
}

void fake_perf_fault(FakePerf *perf, int32_t tid, uint64_t address, uint64_t error_code)
{
    uint8_t record[FAKE_RECORD_BYTES];
    size_t len = fake_sample(record, address, error_code);

    for (guint i = 0; i < perf->rings->len; i++) {
        FakePerfRing *fake = g_ptr_array_index(perf->rings, i);
        struct {
            struct perf_event_header header;
            uint64_t id, n_lost;
        } lost = {{PERF_RECORD_LOST, 0, sizeof lost}, 1, fake->n_waiting_lost};

        if (fake->tid != tid)
            continue;
        /* Like the kernel: what was lost is told before the first record that finds room again. */
        if (fake->n_waiting_lost && fake_ring_write(fake->ring, &lost, sizeof lost))
            fake->n_waiting_lost = 0;
        if (fake->n_waiting_lost || !fake_ring_write(fake->ring, record, len))
            fake->n_waiting_lost++;
        return;
    }
}
