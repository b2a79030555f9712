/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Perf rings of threads; see touch-perf.h. */
#include "observe/touch-perf.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_FORMAT_BYTES 16384
#define MAX_RING_PAGES 16u
#define MIN_RING_PAGES 4u
#define ALL_RINGS_PAGES 1024u /* 4 MiB for all vCPUs of a domain, up to 256 of them */
#define RECORD_BYTES 56u      /* of kvm:kvm_page_fault, the longer of the two */

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* ---- the kernel ---- */

static const char *find_event_kernel(void *user_data, const HnRoot *root, bool is_kvm,
                                     const HnTouchEvent **ret_event, HnTouchFormat *ret_format)
{
    return hn_touch_format_read(root, is_kvm, ret_event, ret_format);
}

static int open_kernel(void *user_data, int32_t tid, uint64_t id, uint32_t n_every, size_t n_pages,
                       HnPerfRing *ret_ring)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_TRACEPOINT,
        .size = sizeof attr,
        .config = id,
        .sample_period = n_every,
        .sample_type = PERF_SAMPLE_RAW,
        /* Nobody polls: the ring is read once a round. */
        .watermark = 1,
        .wakeup_watermark = UINT32_MAX,
    };
    HnPerfRing ring = {.n_pages = n_pages, .n_every = n_every, .n_every_before = n_every};
    int saved_errno;

    ring.fd = (int)syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (ring.fd < 0)
        return -errno;
    ring.base = mmap(NULL, (n_pages + 1) * page_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED,
                     ring.fd, 0);
    if (ring.base == MAP_FAILED) {
        saved_errno = errno;
        close(ring.fd);
        /* EPERM of the mapping is about its size, that of the opening about rights. */
        return saved_errno == EPERM ? -ENOMEM : -saved_errno;
    }
    *ret_ring = ring;
    return 0;
}

static int set_every_kernel(void *user_data, HnPerfRing *ring, uint32_t n_every)
{
    uint64_t value = n_every;

    if (ioctl(ring->fd, PERF_EVENT_IOC_PERIOD, &value) < 0)
        return -errno;
    ring->n_every = n_every;
    return 0;
}

static void close_kernel(void *user_data, HnPerfRing *ring)
{
    munmap(ring->base, (ring->n_pages + 1) * page_bytes());
    close(ring->fd);
    *ring = HN_PERF_RING_NONE;
}

const HnPerfOps *hn_perf_ops_kernel(void)
{
    static const HnPerfOps ops = {
        .find_event = find_event_kernel,
        .open = open_kernel,
        .set_every = set_every_kernel,
        .close = close_kernel,
    };

    return &ops;
}

size_t hn_perf_ring_pages(uint32_t n_vcpus)
{
    size_t n_pages = MAX_RING_PAGES;

    while (n_pages > MIN_RING_PAGES && n_pages * n_vcpus > ALL_RINGS_PAGES)
        n_pages /= 2;
    return n_pages;
}

/* ---- draining ---- */

void hn_perf_ring_drain(HnPerfRing *ring, const HnTouchFormat *format, const HnTouchEvent *event,
                        GByteArray *buffer, HnTouchFunc func, void *user_data, HnTouchTally *tally)
{
    struct perf_event_mmap_page *page = ring->base;
    size_t ring_bytes = ring->n_pages * page_bytes();
    const uint8_t *data = (const uint8_t *)ring->base + page_bytes();
    /* Acquire: the records before head are written before head is. */
    uint64_t head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
    uint64_t tail = page->data_tail;
    size_t len, start, first;

    /* More than a ring full cannot have come: the page was never the kernel's. */
    if (head - tail > ring_bytes) {
        tally->n_malformed++;
        tail = head;
    }
    len = (size_t)(head - tail);
    start = (size_t)(tail % ring_bytes);
    first = MIN(len, ring_bytes - start);
    g_byte_array_set_size(buffer, 0);
    g_byte_array_append(buffer, data + start, (guint)first);
    g_byte_array_append(buffer, data, (guint)(len - first));
    /* Release: the records are copied before their room is given back. */
    __atomic_store_n(&page->data_tail, head, __ATOMIC_RELEASE);
    hn_touch_records_parse(buffer->data, buffer->len, format, event, func, user_data, tally);
}

uint32_t hn_perf_next_every(HnPerfRing *ring, const HnTouchTally *drained)
{
    static const uint32_t steps[] = {1, 3, 7, 17, 41, 101};
    uint64_t n_full = ring->n_pages * page_bytes() / RECORD_BYTES;
    uint64_t n_room = n_full * 3 / 4;
    uint64_t n_came = drained->n_touches * ring->n_every;
    size_t at = 0;

    /* What is told lost now came before the last drain, beside a full ring. */
    if (drained->n_lost > 0)
        n_came = MAX(n_came, (drained->n_lost + n_full) * ring->n_every_before);
    ring->n_every_before = ring->n_every;
    ring->peak = MAX(ring->peak - ring->peak / 8, n_came);
    while (at + 1 < G_N_ELEMENTS(steps) && ring->peak / steps[at] > n_room)
        at++;
    return steps[at];
}

/* ---- what stands against it ---- */

const char *hn_perf_impediment(int error_number)
{
    switch (error_number) {
    case ESRCH:
        return NULL;
    case EACCES:
    case EPERM:
        return "perf-denied";
    case EMFILE:
    case ENFILE:
        return HN_TOUCH_NO_DESCRIPTORS;
    case ENOMEM:
        return "no-ring-memory";
    case ENOSYS:
    case EOPNOTSUPP:
        return "no-perf";
    default: /* ENOENT, ENODEV, EINVAL: an event of that number is not there (any more) */
        return "no-trace-event";
    }
}

const char *hn_touch_impediment_sentence(const char *code)
{
    static const struct {
        const char *code, *sentence;
    } sentences[] = {
        {HN_TOUCH_CAPTURED, "a captured machine has no threads to watch"},
        {"no-trace-event",
         "the kernel has no page-fault event for this guest: mount tracefs at /sys/kernel/tracing "
         "and load kvm"},
        {"tracefs-denied",
         "tracefs may not be read: the daemon needs to run as root or with CAP_DAC_READ_SEARCH"},
        {"perf-denied",
         "perf_event_open was refused: the daemon needs CAP_PERFMON, and CAP_SYS_ADMIN where the "
         "distribution lets kernel.perf_event_paranoid go above 2; its unit grants both"},
        {"no-perf", "the kernel was built without perf events"},
        {HN_TOUCH_NO_DESCRIPTORS, "the limit of open files is reached: raise LimitNOFILE="},
        {"no-ring-memory",
         "the limit of locked memory is reached: raise LimitMEMLOCK= or "
         "kernel.perf_event_mlock_kb"},
        {HN_TOUCH_SHARED_THREAD,
         "all vCPUs of this guest take turns on one thread, so who touched what is not known"},
        {HN_TOUCH_NO_CHUNK_MAP, "the guest's RAM was not found, or not probed yet"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(sentences); i++)
        if (g_strcmp0(code, sentences[i].code) == 0)
            return sentences[i].sentence;
    return "unknown";
}

const char *hn_touch_format_read(const HnRoot *root, bool is_kvm, const HnTouchEvent **ret_event,
                                 HnTouchFormat *ret_format)
{
    static const char *const folders[] = {"sys/kernel/tracing/events",
                                          "sys/kernel/debug/tracing/events"};
    const char *problem = "no-trace-event";

    for (size_t i = 0; i < G_N_ELEMENTS(folders); i++) {
        for (const HnTouchEvent *event = hn_touch_events(is_kvm); event->path; event++) {
            g_autofree char *path = g_strdup_printf("%s/%s/format", folders[i], event->path);
            g_autofree char *text = NULL;
            g_autoptr(GError) error = NULL;
            size_t len;

            if (hn_root_read(root, path, MAX_FORMAT_BYTES, &text, &len, &error)) {
                if (hn_touch_format_parse(text, len, event, ret_format, NULL)) {
                    *ret_event = event;
                    return NULL;
                }
            } else if (g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_ACCES) ||
                       g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_PERM)) {
                problem = "tracefs-denied";
            }
        }
    }
    return problem;
}

const char *hn_touch_check(const HnRoot *root, const HnPerfOps *ops)
{
    const HnTouchEvent *event;
    HnTouchFormat format;
    HnPerfRing ring = HN_PERF_RING_NONE;
    const char *problem = ops->find_event(ops->user_data, root, true, &event, &format);
    int result;

    if (problem)
        return problem;
    if (!hn_root_is_live(root))
        return HN_TOUCH_CAPTURED;
    result = ops->open(ops->user_data, 0, format.id, 1, MIN_RING_PAGES, &ring);
    if (result < 0)
        return hn_perf_impediment(-result);
    ops->close(ops->user_data, &ring);
    return NULL;
}
