/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Demand: what a vCPU would use if nobody stood in its way.
 *
 * Per thread: (Δ run time + Δ run delay) / Δ wall time, at most one CPU. Run delay counts because a
 * vCPU that waits for a CPU wants one; on an overcommitted node run time alone would show only what
 * the node gives. Counters that go backwards or belong to another thread (tid reused: start time
 * differs) begin anew and yield no sample.
 *
 * Samples are smoothed exponentially. What the solver sees is a held value with a dead band, so
 * that noise below the band gives bit-identical problems, hence bit-identical plans: hysteresis by
 * construction instead of by luck.
 */
#include "demand.h"

#define UCPU_PER_CPU UINT64_C(1000000)
#define BAND_DIVISOR 8
#define BAND_MIN_MCPU 20

uint32_t hn_demand_weight(uint64_t elapsed_ns, uint64_t halflife_ns)
{
    uint64_t whole = elapsed_ns / halflife_ns;
    uint64_t rest = elapsed_ns % halflife_ns;
    uint32_t keep;

    if (whole >= 16)
        return 65536;
    keep = 65536u >> whole;
    /* 2^-x on [0,1] by its chord: at most 6 % too large, and exact where it matters, at both ends.
     */
    keep -= (uint32_t)((unsigned __int128)(keep / 2) * rest / halflife_ns);
    return 65536 - keep;
}

static HnPastThread *find_thread(const HnPastDomain *record, int32_t tid, uint64_t start_ticks,
                                 uint32_t hint)
{
    if (hint < record->n_threads && record->threads[hint].tid == tid &&
        record->threads[hint].start_ticks == start_ticks)
        return &record->threads[hint];
    for (uint32_t i = 0; i < record->n_threads; i++)
        if (record->threads[i].tid == tid && record->threads[i].start_ticks == start_ticks)
            return &record->threads[i];
    return NULL;
}

/* Summed over the vCPUs of a domain: time they waited for a CPU, and time they ran or waited. */
typedef struct {
    uint64_t delay_ns;
    uint64_t wanted_ns;
} Waiting;

/* The next record of one thread; true if it carries a fresh rate. */
static bool advance(const HnPastThread *old, uint64_t exec_ns, uint64_t run_delay_ns,
                    uint64_t max_ucpu, uint64_t elapsed_ns, uint32_t weight,
                    HnPastThread *ret_thread, Waiting *waiting)
{
    ret_thread->exec_ns = exec_ns;
    ret_thread->run_delay_ns = run_delay_ns;
    if (!old)
        return false;
    ret_thread->smoothed_ucpu = old->smoothed_ucpu;
    ret_thread->has_rate = old->has_rate;
    if (elapsed_ns == 0 || exec_ns < old->exec_ns || run_delay_ns < old->run_delay_ns)
        return false;

    waiting->delay_ns += run_delay_ns - old->run_delay_ns;
    waiting->wanted_ns += (run_delay_ns - old->run_delay_ns) + (exec_ns - old->exec_ns);
    unsigned __int128 wanted_ns =
        (unsigned __int128)(exec_ns - old->exec_ns) + (run_delay_ns - old->run_delay_ns);
    /* Hours of CPU time in one round still fit 64 bits. */
    unsigned __int128 rate = wanted_ns < UINT64_MAX / UCPU_PER_CPU
                                 ? (uint64_t)wanted_ns * UCPU_PER_CPU / elapsed_ns
                                 : wanted_ns * UCPU_PER_CPU / elapsed_ns;
    uint64_t sample_ucpu = rate > max_ucpu ? max_ucpu : (uint64_t)rate;

    if (!old->has_rate) {
        ret_thread->smoothed_ucpu = sample_ucpu;
        ret_thread->has_rate = true;
        return true;
    }
    int64_t step = ((int64_t)sample_ucpu - (int64_t)old->smoothed_ucpu) * (int64_t)weight / 65536;
    ret_thread->smoothed_ucpu = (uint64_t)((int64_t)old->smoothed_ucpu + step);
    return true;
}

void hn_demand_update(HnPastDomain *record, const HnDomain *domain, uint64_t elapsed_ns,
                      const HnPolicy *policy)
{
    uint32_t n_threads = domain->n_vcpus + domain->n_workers;
    HnPastThread *threads = g_new0(HnPastThread, n_threads);
    uint32_t n_rated = 0;
    uint32_t weight = hn_demand_weight(elapsed_ns, policy->demand_halflife_ns);
    Waiting waiting = {0}, ignored = {0};

    for (uint32_t i = 0; i < domain->n_vcpus; i++) {
        const HnVcpu *vcpu = &domain->vcpus[i];
        threads[i].tid = vcpu->tid;
        threads[i].start_ticks = vcpu->start_ticks;
        n_rated +=
            advance(find_thread(record, vcpu->tid, vcpu->start_ticks, i), vcpu->exec_ns,
                    vcpu->run_delay_ns, UCPU_PER_CPU, elapsed_ns, weight, &threads[i], &waiting);
    }
    for (uint32_t i = 0; i < domain->n_workers; i++) {
        const HnWorker *worker = &domain->workers[i];
        HnPastThread *thread = &threads[domain->n_vcpus + i];
        /* The emulator entry sums many threads and may use more than one CPU. */
        uint64_t max_ucpu = worker->kind == HN_WORKER_EMULATOR ? 16 * UCPU_PER_CPU : UCPU_PER_CPU;
        thread->tid = worker->tid;
        advance(find_thread(record, worker->tid, 0, domain->n_vcpus + i), worker->exec_ns,
                worker->run_delay_ns, max_ucpu, elapsed_ns, weight, thread, &ignored);
    }
    if (waiting.wanted_ns > 0) {
        int64_t old = record->delay_permille;
        int64_t sample = (int64_t)((unsigned __int128)waiting.delay_ns * 1000 / waiting.wanted_ns);
        int64_t share = record->n_samples ? weight : 65536;
        record->delay_permille = (uint32_t)(old + (sample - old) * share / 65536);
    }
    g_free(record->threads);
    record->threads = threads;
    record->n_threads = n_threads;
    record->has_load = n_rated > 0 && elapsed_ns > 0;
    if (record->has_load)
        record->load_mcpu = (uint64_t)((unsigned __int128)waiting.wanted_ns * 1000 / elapsed_ns);
    /* A hot-plugged vCPU lacks a rate for one round; that does not make the rest unknown. */
    if (n_rated * 2 >= domain->n_vcpus && n_rated > 0 && record->n_samples < UINT32_MAX)
        record->n_samples++;
}

uint64_t hn_demand_of_vcpu(const HnPastDomain *record, const HnDomain *domain, uint32_t index)
{
    const HnPastThread *thread = index < record->n_threads ? &record->threads[index] : NULL;

    if (domain->state != HN_STATE_RUNNING)
        return 0;
    /* Nothing measured yet: a running vCPU is taken at full demand, as a burst of starts needs it
     * (Broadcom KB 430776 is what happens otherwise). */
    if (!thread || !thread->has_rate)
        return 1000;
    return (thread->smoothed_ucpu + 500) / 1000;
}

uint64_t hn_demand_of_workers(const HnPastDomain *record, const HnDomain *domain)
{
    uint64_t sum_ucpu = 0;

    if (domain->state != HN_STATE_RUNNING)
        return 0;
    for (uint32_t i = domain->n_vcpus; i < record->n_threads; i++)
        sum_ucpu += record->threads[i].smoothed_ucpu;
    return (sum_ucpu + 500) / 1000;
}

uint64_t hn_demand_hold(uint64_t held_mcpu, bool is_held, uint64_t smoothed_mcpu)
{
    uint64_t band = MAX(held_mcpu / BAND_DIVISOR, BAND_MIN_MCPU);
    uint64_t distance =
        held_mcpu > smoothed_mcpu ? held_mcpu - smoothed_mcpu : smoothed_mcpu - held_mcpu;

    return is_held && distance <= band ? held_mcpu : smoothed_mcpu;
}
