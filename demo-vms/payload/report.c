/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Purpose, theory of operation and limits: see report.h. */
#include "report.h"

#include "cpu.h"
#include "machine.h"

static char line[8192]; /* 64 slices of at most 100 bytes, and what stands in front */
static const Options *opt;
static const Stats *shown;
static uint64_t origin_tsc, next_tsc;

/* Order as State. */
static const char *const state_names[] = {"boot", "touch", "busy", "idle", "done"};

/* " slice" and the number as one key. */
static void add_slice(Text *text, const RamMap *ram, unsigned vcpu, Range offsets)
{
    char buffer[16];
    Text key = text_begin(buffer, sizeof buffer);

    text_add(&key, "slice");
    text_add_decimal(&key, vcpu);
    layout_add_ranges(text, buffer, ram, offsets);
}

void report_truth(const Options *options, const Layout *layout, const Stats *stats)
{
    Text text = text_begin(line, sizeof line);

    text_add(&text, "homenode-guest");
    text_key(&text, "pattern", options_pattern_name(options->pattern));
    text_key(&text, "access", options_access_name(options->access));
    text_key_decimal(&text, "vcpus", layout->n_vcpus);
    text_key_decimal(&text, "stride", options->stride_bytes);
    text_key_decimal(&text, "duty", options->duty_percent);
    text_key_decimal(&text, "rate", options->rate_per_sec);
    text_key_decimal(&text, "seed", options->seed);
    text_key_decimal(&text, "sweeps", options->sweeps);
    text_key(&text, "touch", options_touch_name(options->touch));
    text_key(&text, "first", options_first_name(options->first));
    if (options->pattern == PATTERN_PHASE) {
        text_key_decimal(&text, "phase_s", options->phase_s);
    }
    if (options->pattern == PATTERN_IDLE_WAKE) {
        text_key_decimal(&text, "idle_s", options->idle_s);
        text_key_decimal(&text, "busy_s", options->busy_s);
    }
    text_key_decimal(&text, "tsc_khz", machine_tsc_khz());
    text_key_hex(&text, "stats", (uint64_t)stats);
    layout_add_ranges(&text, "ws", &layout->ram, layout->ws);
    layout_add_ranges(&text, "cold", &layout->ram, layout->cold);
    layout_add_ranges(&text, "rest", &layout->ram, layout->rest);
    for (unsigned i = 0; i < layout->n_vcpus; i++) {
        add_slice(&text, &layout->ram, i, layout_slice(layout, i, 0).offsets);
    }
    machine_print(line);
}

void report_refusal(const OptionError *error)
{
    Text text = text_begin(line, sizeof line);

    text_add(&text, "error");
    text_key(&text, "key", error->key);
    text_key(&text, "value", error->value);
    text_key(&text, "allowed", "\"");
    text_add(&text, error->allowed);
    text_add(&text, "\"");
    machine_print(line);
}

void report_error(const char *what)
{
    Text text = text_begin(line, sizeof line);

    text_add(&text, "error");
    text_key(&text, "what", "\"");
    text_add(&text, what);
    text_add(&text, "\"");
    machine_print(line);
}

void report_prepare(const Options *options, const Stats *stats, uint64_t origin)
{
    opt = options;
    shown = stats;
    origin_tsc = origin;
    next_tsc = origin + options->report_ms * machine_tsc_khz();
}

static void print_progress(const char *event, uint64_t now)
{
    Text text = text_begin(line, sizeof line);
    uint64_t touches = 0;

    text_add(&text, "t_ms=");
    text_add_decimal(&text, (now - origin_tsc) / machine_tsc_khz());
    if (event != NULL) {
        text_key(&text, "event", event);
    }
    text_key(&text, "state", state_names[shown->vcpu[0].state]);
    text_key_decimal(&text, "phase", shown->vcpu[0].phase);
    text_key_decimal(&text, "vcpus", shown->n_vcpus);
    text_key(&text, "sweeps", "");
    for (unsigned i = 0; i < shown->n_vcpus; i++) {
        text_add(&text, i == 0 ? "" : ",");
        text_add_decimal(&text, shown->vcpu[i].sweeps);
        touches += shown->vcpu[i].touches;
    }
    text_key_decimal(&text, "touches", touches);
    text_key_decimal(&text, "swept_mib", touches * shown->stride_bytes / MIB_BYTES);
    machine_print(line);
    next_tsc = now + opt->report_ms * machine_tsc_khz();
}

void report_tick(unsigned vcpu)
{
    uint64_t now;

    if (vcpu != 0) {
        return;
    }
    now = cpu_tsc();
    if (now >= next_tsc) {
        print_progress(NULL, now);
    }
}

void report_event(unsigned vcpu, const char *name)
{
    if (vcpu == 0) {
        print_progress(name, cpu_tsc());
    }
}
