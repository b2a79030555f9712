/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Purpose, theory of operation and limits: see worker.h. */
#include "worker.h"

#include "cpu.h"
#include "machine.h"
#include "report.h"

/* Between two looks at the clock. Where KVM emulates each instruction a touch costs about 10 us, so
 * a block stays well below the shortest useful duty period. */
#define BLOCK_TOUCHES 256
#define INTERLEAVE_BYTES (2 * MIB_BYTES) /* one huge page of the host */
#define BARRIER_POLL_MS 5

/* Where a vCPU stands in its sweep. */
typedef struct {
    Range pieces[MAX_RANGES]; /* GPAs */
    unsigned n_pieces, piece;
    uint64_t gpa;       /* next address, ascending order */
    uint64_t n_words;   /* per sweep */
    uint64_t n_left;    /* of this sweep */
    uint64_t lcg_state; /* position in seeded order */
} Cursor;

typedef struct {
    unsigned vcpu;
    VcpuStats *stats;
    Cursor cursor;
    uint64_t start_tsc;     /* when the barrier opened for this vCPU */
    uint64_t rate_next_tsc; /* no touch before this */
    uint64_t tag;           /* what it stores now */
} Worker;

static Stats stats;
static const Options *opt;
static const Layout *lay;
static uint64_t khz;
static unsigned n_arrived; /* at the barrier, atomically counted */

void worker_prepare(const Options *options, const Layout *layout, uint64_t origin_tsc)
{
    opt = options;
    lay = layout;
    khz = machine_tsc_khz();
    for (unsigned i = 0; i < sizeof stats.magic; i++) {
        stats.magic[i] = "HNGUEST1"[i];
    }
    stats.n_vcpus = layout->n_vcpus;
    stats.stride_bytes = options->stride_bytes;
    report_prepare(options, &stats, origin_tsc);
}

const Stats *worker_stats(void)
{
    return &stats;
}

/* ---- the touches themselves: one memory access per word and access kind, all else in registers
 * ---- */

static void touch_write(uint64_t gpa, uint64_t n, uint64_t stride, uint64_t tag)
{
    for (; n > 0; n--, gpa += stride) {
        *(volatile uint64_t *)gpa = tag;
    }
}

static void touch_read(uint64_t gpa, uint64_t n, uint64_t stride)
{
    for (; n > 0; n--, gpa += stride) {
        (void)*(volatile uint64_t *)gpa;
    }
}

static void touch_rw(uint64_t gpa, uint64_t n, uint64_t stride, uint64_t tag)
{
    for (; n > 0; n--, gpa += stride) {
        (void)*(volatile uint64_t *)gpa;
        *(volatile uint64_t *)gpa = tag;
    }
}

static void touch(uint64_t gpa, uint64_t n, uint64_t tag)
{
    switch ((Access)opt->access) {
    case ACCESS_WRITE:
        touch_write(gpa, n, opt->stride_bytes, tag);
        break;
    case ACCESS_READ:
        touch_read(gpa, n, opt->stride_bytes);
        break;
    case ACCESS_RW:
        touch_rw(gpa, n, opt->stride_bytes, tag);
        break;
    }
}

/* ---- sweeps ---- */

static uint64_t words_in(Range piece)
{
    return (piece.end - piece.start + opt->stride_bytes - 1) / opt->stride_bytes;
}

static void cursor_rewind(Cursor *cursor)
{
    cursor->piece = 0;
    cursor->gpa = cursor->pieces[0].start;
    cursor->n_left = cursor->n_words;
    cursor->lcg_state = 0;
}

static void cursor_set(Cursor *cursor, Range offsets)
{
    cursor->n_pieces = layout_resolve(&lay->ram, offsets, cursor->pieces);
    cursor->n_words = 0;
    for (unsigned i = 0; i < cursor->n_pieces; i++) {
        cursor->n_words += words_in(cursor->pieces[i]);
    }
    cursor_rewind(cursor);
}

static uint64_t cursor_gpa_of(const Cursor *cursor, uint64_t index)
{
    unsigned i = 0;

    while (index >= words_in(cursor->pieces[i])) {
        index -= words_in(cursor->pieces[i]);
        i++;
    }
    return cursor->pieces[i].start + index * opt->stride_bytes;
}

/* Touches up to max words, not past the end of the sweep; returns how many. */
static uint64_t sweep_some(Cursor *cursor, uint64_t max, uint64_t tag)
{
    uint64_t n = max < cursor->n_left ? max : cursor->n_left;

    if (opt->seed != 0) {
        for (uint64_t i = 0; i < n; i++) {
            uint64_t index = layout_next_index(opt->seed, cursor->n_words, &cursor->lcg_state);

            touch(cursor_gpa_of(cursor, index), 1, tag);
        }
    } else {
        Range here = {cursor->gpa, cursor->pieces[cursor->piece].end};
        uint64_t n_here = words_in(here);

        n = n < n_here ? n : n_here;
        touch(cursor->gpa, n, tag);
        cursor->gpa += n * opt->stride_bytes;
        if (n == n_here && cursor->piece + 1 < cursor->n_pieces) {
            cursor->piece++;
            cursor->gpa = cursor->pieces[cursor->piece].start;
        }
    }
    cursor->n_left -= n;
    return n;
}

/* ---- before the barrier ---- */

static void first_touch_range(Worker *worker, Range offsets)
{
    Range pieces[MAX_RANGES];
    unsigned n = layout_resolve(&lay->ram, offsets, pieces);

    for (unsigned i = 0; i < n; i++) {
        for (uint64_t gpa = pieces[i].start; gpa < pieces[i].end; gpa += PAGE_BYTES) {
            *(volatile uint64_t *)gpa = worker->tag;
            worker->stats->first_touches++;
            if (gpa / PAGE_BYTES % BLOCK_TOUCHES == 0) {
                report_tick(worker->vcpu);
            }
        }
    }
}

/* own is the part of the area that FIRST_OWN gives this vCPU. */
static void first_touch_area(Worker *worker, Range area, Range own)
{
    switch ((First)opt->first) {
    case FIRST_OWN:
        first_touch_range(worker, own);
        break;
    case FIRST_CPU0:
        if (worker->vcpu == 0) {
            first_touch_range(worker, area);
        }
        break;
    case FIRST_INTERLEAVE:
        for (uint64_t start = area.start + worker->vcpu * INTERLEAVE_BYTES; start < area.end;
             start += lay->n_vcpus * INTERLEAVE_BYTES) {
            uint64_t end = start + INTERLEAVE_BYTES;

            first_touch_range(worker, (Range){start, end < area.end ? end : area.end});
        }
        break;
    }
}

static void first_touch(Worker *worker)
{
    Slice slice = layout_slice(lay, worker->vcpu, 0);

    if (opt->touch != TOUCH_NONE) {
        first_touch_area(worker, lay->ws, layout_part(slice.offsets, slice.rank, slice.n_sharers));
    }
    first_touch_area(worker, lay->cold, layout_part(lay->cold, worker->vcpu, lay->n_vcpus));
    if (opt->touch == TOUCH_ALL) {
        first_touch_area(worker, lay->rest, layout_part(lay->rest, worker->vcpu, lay->n_vcpus));
    }
}

static void nap(const Worker *worker, uint64_t ms)
{
    machine_sleep_until(cpu_tsc() + ms * khz, (Wait)opt->wait);
    report_tick(worker->vcpu);
}

static void barrier(const Worker *worker)
{
    __atomic_add_fetch(&n_arrived, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&n_arrived, __ATOMIC_SEQ_CST) < lay->n_vcpus) {
        nap(worker, BARRIER_POLL_MS);
    }
}

/* ---- pacing ---- */

/* Which phase it is: by time, or by how often somebody outside asked for the next. */
static uint64_t phase_now(const Worker *worker, uint64_t now)
{
    return opt->phase_s != 0 ? (now - worker->start_tsc) / (opt->phase_s * 1000 * khz)
                             : machine_nmi_count();
}

/* Until when this vCPU must not work, as TSC; 0: work now. *ret_state is what to show meanwhile. */
static uint64_t rest_until(const Worker *worker, uint64_t now, State *ret_state)
{
    uint64_t elapsed = now - worker->start_tsc;
    uint64_t period = opt->period_ms * khz;
    uint64_t idle = opt->idle_s * 1000 * khz, cycle = idle + opt->busy_s * 1000 * khz;

    *ret_state = STATE_BUSY;
    if (opt->pattern == PATTERN_IDLE_WAKE) {
        uint64_t in_cycle = opt->busy_s != 0 ? elapsed % cycle : elapsed;

        if (in_cycle < idle) {
            *ret_state = STATE_IDLE;
            return now - in_cycle + idle;
        }
    }
    if (opt->duty_percent < 100 && elapsed % period >= period / 100 * opt->duty_percent) {
        return now - elapsed % period + period;
    }
    return worker->rate_next_tsc > now ? worker->rate_next_tsc : 0;
}

/* Sleeps, vCPU 0 in pieces so that progress lines keep coming. */
static void rest(const Worker *worker, uint64_t until_tsc)
{
    uint64_t piece = opt->report_ms * khz;

    if (worker->vcpu == 0 && until_tsc > cpu_tsc() + piece) {
        until_tsc = cpu_tsc() + piece;
    }
    machine_sleep_until(until_tsc, (Wait)opt->wait);
}

/* Books n touches against the rate limit; a debt older than a second is forgiven, not caught up. */
static void account_rate(Worker *worker, uint64_t n, uint64_t now)
{
    if (opt->rate_per_sec == 0) {
        return;
    }
    if (worker->rate_next_tsc + 1000 * khz < now) {
        worker->rate_next_tsc = now;
    }
    worker->rate_next_tsc += n * 1000 * khz / opt->rate_per_sec;
}

/* A sweep ended: what comes next. False when the vCPU has done all it was asked for. */
static bool next_sweep(Worker *worker)
{
    worker->stats->sweeps++;
    worker->tag = WORD_TAG | (uint64_t)worker->vcpu << WORD_VCPU_SHIFT |
                  ((worker->stats->sweeps + 1) & WORD_SWEEPS_MASK);
    if (opt->sweeps != 0 && worker->stats->sweeps >= opt->sweeps) {
        return false;
    }
    if (opt->pattern == PATTERN_THREAD_ALLOC && worker->stats->sweeps == 1) {
        cursor_set(&worker->cursor, layout_slice(lay, worker->vcpu, 0).offsets);
    } else {
        cursor_rewind(&worker->cursor);
    }
    return true;
}

static void work(Worker *worker)
{
    uint64_t block = BLOCK_TOUCHES;

    if (opt->rate_per_sec != 0 && opt->rate_per_sec / 20 < block) {
        block = opt->rate_per_sec / 20 > 0 ? opt->rate_per_sec / 20 : 1;
    }
    for (;;) {
        uint64_t now = cpu_tsc(), until, n;
        State state;

        report_tick(worker->vcpu);
        if (opt->pattern == PATTERN_PHASE) {
            uint64_t phase = phase_now(worker, now);

            if (phase != worker->stats->phase) {
                worker->stats->phase = phase;
                cursor_set(&worker->cursor, layout_slice(lay, worker->vcpu, phase).offsets);
                report_event(worker->vcpu, "phase");
            }
        }
        until = rest_until(worker, now, &state);
        if (worker->stats->state != state) {
            worker->stats->state = state;
            report_event(worker->vcpu, state == STATE_IDLE ? "idle" : "wake");
        }
        if (until != 0) {
            rest(worker, until);
            continue;
        }
        n = sweep_some(&worker->cursor, block, worker->tag);
        worker->stats->touches += n;
        account_rate(worker, n, now);
        if (worker->cursor.n_left == 0 && !next_sweep(worker)) {
            return;
        }
    }
}

void worker_run(unsigned vcpu)
{
    Worker worker = {
        .vcpu = vcpu,
        .stats = &stats.vcpu[vcpu],
        .tag = WORD_TAG | (uint64_t)vcpu << WORD_VCPU_SHIFT,
    };

    worker.stats->state = STATE_TOUCH;
    first_touch(&worker);
    barrier(&worker);
    worker.stats->state = STATE_BUSY;
    worker.start_tsc = cpu_tsc();
    worker.rate_next_tsc = worker.start_tsc;
    worker.tag |= 1;
    cursor_set(&worker.cursor,
               opt->pattern == PATTERN_THREAD_ALLOC ? lay->ws : layout_slice(lay, vcpu, 0).offsets);
    report_event(vcpu, "start");
    work(&worker);
    worker.stats->state = STATE_DONE;
    for (unsigned i = 0; vcpu == 0 && i < lay->n_vcpus; i++) {
        while (stats.vcpu[i].state != STATE_DONE) {
            nap(&worker, BARRIER_POLL_MS);
        }
    }
    report_event(vcpu, "done");
}
