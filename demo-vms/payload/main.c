/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: the bare-metal demo guest: a known memory access pattern on every vCPU.
 *
 * Theory of operation: read the loader's data, parse the command line, lay memory out, print the
 * truth, start the other processors, become worker 0. Everything that can be refused is refused
 * here, with one line, before any other processor runs.
 */
#include "cpu.h"
#include "layout.h"
#include "machine.h"
#include "report.h"
#include "worker.h"

static Options options;
static Layout layout;
static char command_line[2048];

void bsp_main(void);

/* Other vCPUs wait here for their turn; they return into a halt. */
static void run_vcpu(unsigned vcpu)
{
    worker_run(vcpu);
}

void bsp_main(void)
{
    uint8_t apic_ids[MAX_VCPUS];
    OptionError error;
    RamMap ram;
    unsigned n_vcpus;
    uint64_t own_end;

    machine_init();
    if (!machine_read_loader(&ram, command_line, sizeof command_line)) {
        report_error("no multiboot memory map; start with QEMU -kernel on machine pc or q35");
        machine_fail();
    }
    if (!options_parse(command_line, &options, &error)) {
        report_refusal(&error);
        machine_fail();
    }
    own_end = machine_map_ram(&ram);
    n_vcpus = machine_find_vcpus(apic_ids);
    if (!layout_make(&options, &ram, n_vcpus, own_end, &layout, &error)) {
        report_refusal(&error);
        machine_fail();
    }
    machine_calibrate();
    worker_prepare(&options, &layout, cpu_tsc());
    report_truth(&options, &layout, worker_stats());
    for (unsigned i = 1; i < layout.n_vcpus; i++) {
        if (!machine_start_vcpu(apic_ids[i], i, run_vcpu)) {
            report_error("a vCPU did not start within 5 s");
            machine_fail();
        }
    }
    worker_run(0);
    machine_end((End)options.end);
}
