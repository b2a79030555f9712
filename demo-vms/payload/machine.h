/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: the virtual machine around the program: serial line, RAM map, processors, time,
 * stopping.
 *
 * Theory of operation: PC hardware as QEMU's pc and q35 machines have it. The bootstrap processor
 * calls machine_init() first; other processors are started one at a time by machine_start_vcpu()
 * and run machine_init_vcpu() before they wait. Interrupts are closed except inside
 * machine_sleep_until(). What it must not do: know anything of patterns.
 */
#ifndef DEMO_MACHINE_H
#define DEMO_MACHINE_H

#include "layout.h"

/* Writes a line and a line feed on COM1. Only one vCPU may print at a time (the program lets
 * vCPU 0 do it, and exceptions). */
void machine_print(const char *line);

/* Interrupt table, PICs off, serial line on; this vCPU's local APIC on. Bootstrap vCPU only. */
void machine_init(void);

/* RAM from 1 MiB up by the loader's memory map, and the command line (cut at size_bytes). False if
 * the loader gave no map. Copies, because the loader's data lie in memory the pattern uses. */
bool machine_read_loader(RamMap *ret_ram, char *command_line, size_t size_bytes);

/* Maps RAM above 4 GiB, tables placed from image end up. Returns the first GPA not used. */
uint64_t machine_map_ram(const RamMap *ram);

/* Local APIC ids of all enabled processors, in QEMU's vCPU order (ascending), by the ACPI MADT,
 * else by the count in fw_cfg. Returns how many, at most MAX_VCPUS. */
unsigned machine_find_vcpus(uint8_t ret_apic_ids[MAX_VCPUS]);

/* Measures the TSC by the PIT and the APIC timer by the TSC. */
void machine_calibrate(void);
uint64_t machine_tsc_khz(void);

/* Starts a processor by INIT and start-up IPI; it calls entry(argument) on a stack of its own.
 * False if it does not come within 5 s. Never returns from entry. */
bool machine_start_vcpu(uint8_t apic_id, unsigned vcpu, void (*entry)(unsigned vcpu));

/* Lets time pass until the TSC reaches deadline_tsc, by HLT with the APIC timer, or by PAUSE. */
void machine_sleep_until(uint64_t deadline_tsc, Wait how);

/* How many NMIs the bootstrap vCPU was sent from outside ("virsh inject-nmi"). Any vCPU. */
uint64_t machine_nmi_count(void);

/* Powers off (END_OFF) or stops this vCPU for ever. */
_Noreturn void machine_end(End how);

/* After an error line: leaves QEMU through isa-debug-exit where it exists, else stops this vCPU. */
_Noreturn void machine_fail(void);

#endif
