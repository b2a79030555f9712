/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: the few instructions C has no words for. Each function is one instruction or a fixed
 * pair. Must stay free of policy and of calls that a KVM host with an instruction emulator refuses
 * (no SSE, no IRET).
 */
#ifndef DEMO_CPU_H
#define DEMO_CPU_H

#include <stddef.h>
#include <stdint.h>

static inline void cpu_out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void cpu_out16(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t cpu_in8(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

/* n_bytes writes to one port: a single exit to the VMM under KVM. */
static inline void cpu_out_string(uint16_t port, const void *bytes, size_t n_bytes)
{
    __asm__ volatile("rep outsb" : "+S"(bytes), "+c"(n_bytes) : "d"(port) : "memory");
}

static inline uint64_t cpu_tsc(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

static inline void cpu_pause(void)
{
    __asm__ volatile("pause");
}

static inline uint64_t cpu_cr2(void)
{
    uint64_t value;

    __asm__ volatile("movq %%cr2, %0" : "=r"(value));
    return value;
}

static inline void cpu_load_idt(const void *pointer)
{
    __asm__ volatile("lidt (%0)" : : "r"(pointer) : "memory");
}

static inline void cpu_reload_tables(void)
{
    uint64_t root;

    __asm__ volatile("movq %%cr3, %0; movq %0, %%cr3" : "=r"(root) : : "memory");
}

#endif
