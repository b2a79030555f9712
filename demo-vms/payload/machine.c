/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: serial line, exceptions, RAM map, page tables, stopping. Contract in machine.h;
 * processors and time in smp.c.
 */
#include "machine.h"

#include "cpu.h"
#include "smp.h"

#define COM1 0x3F8
#define COM_LINE_STATUS (COM1 + 5)
#define COM_THR_EMPTY 0x20
#define COM_FIFO_BYTES 16
#define PORT_DEBUG_EXIT 0x501   /* QEMU isa-debug-exit, its default port */
#define PORT_PM1A_CONTROL 0x604 /* where SeaBIOS puts it on pc and q35 */
#define PM1A_SOFT_OFF 0x2000

#define MULTIBOOT_LOADER_MAGIC 0x2BADB002
#define MULTIBOOT_HAS_CMDLINE 0x04
#define MULTIBOOT_HAS_MMAP 0x40
#define MULTIBOOT_RAM 1

#define GIB_BYTES ((uint64_t)1 << 30)
#define TABLE_GIBS 512 /* what one page-pointer table can map */

typedef struct __attribute__((packed)) {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
    uint32_t mmap_length, mmap_addr;
} MultibootInfo;

typedef struct __attribute__((packed)) {
    uint32_t size; /* of what follows */
    uint64_t addr, len;
    uint32_t type;
} MultibootMmap;

typedef struct __attribute__((packed)) {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_mid;
    uint32_t offset_high, zero;
} IdtGate;

/* From boot.S and link.ld. */
extern uint32_t multiboot_magic, multiboot_info;
extern uint64_t page_pointers[TABLE_GIBS];
extern uint64_t nmi_count;
extern char image_end[], exception_entries[], isr_timer[], isr_ignore[], isr_nmi[];
_Noreturn void stop_forever(void);
_Noreturn void exception_report(uint64_t vector, const uint64_t *frame);

static IdtGate idt[256];

/* An address as a pointer; all RAM is identity-mapped. */
static void *at(uint64_t gpa)
{
    return (void *)gpa;
}

void machine_print(const char *line)
{
    size_t n_left = 0;

    while (line[n_left] != '\0') {
        n_left++;
    }
    while (n_left > 0) {
        size_t n_now = n_left < COM_FIFO_BYTES ? n_left : COM_FIFO_BYTES;

        while (!(cpu_in8(COM_LINE_STATUS) & COM_THR_EMPTY)) {
            cpu_pause();
        }
        cpu_out_string(COM1, line, n_now);
        line += n_now;
        n_left -= n_now;
    }
    while (!(cpu_in8(COM_LINE_STATUS) & COM_THR_EMPTY)) {
        cpu_pause();
    }
    cpu_out8(COM1, '\n');
}

/* Entered from boot.S with the interrupt frame; an error code may stand in front. */
void exception_report(uint64_t vector, const uint64_t *frame)
{
    char buffer[128];
    Text text = text_begin(buffer, sizeof buffer);

    text_add(&text, "error");
    text_key_decimal(&text, "exception", vector);
    text_key_hex(&text, "frame0", frame[0]);
    text_key_hex(&text, "frame1", frame[1]);
    text_key_hex(&text, "cr2", cpu_cr2());
    machine_print(buffer);
    machine_fail();
}

static void set_gate(unsigned vector, const char *entry)
{
    uint64_t offset = (uint64_t)entry;

    idt[vector] = (IdtGate){
        .offset_low = (uint16_t)offset,
        .selector = 0x18, /* the 64-bit code segment of boot.S */
        .type = 0x8E,     /* present interrupt gate: interrupts stay closed */
        .offset_mid = (uint16_t)(offset >> 16),
        .offset_high = (uint32_t)(offset >> 32),
    };
}

void machine_load_idt(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } pointer = {sizeof idt - 1, (uint64_t)idt};

    cpu_load_idt(&pointer);
}

void machine_init(void)
{
    for (unsigned vector = 0; vector < 256; vector++) {
        set_gate(vector, isr_ignore);
    }
    for (unsigned vector = 0; vector < 32; vector++) {
        set_gate(vector, exception_entries + vector * 16);
    }
    set_gate(VECTOR_NMI, isr_nmi);
    set_gate(VECTOR_TIMER, isr_timer);

    cpu_out8(0x21, 0xFF); /* both PICs: all lines masked */
    cpu_out8(0xA1, 0xFF);
    cpu_out8(COM1 + 1, 0);    /* no interrupts */
    cpu_out8(COM1 + 3, 0x80); /* divisor 1: 115200 baud */
    cpu_out8(COM1 + 0, 1);
    cpu_out8(COM1 + 1, 0);
    cpu_out8(COM1 + 3, 0x03); /* 8 bits, no parity */
    cpu_out8(COM1 + 2, 0x07); /* FIFO on and empty */
    cpu_out8(COM1 + 4, 0x03);
    machine_load_idt();
    smp_init_vcpu();
    smp_take_nmi();
    machine_print(""); /* firmware may have left the line half written */
}

/* Adds a RAM range above 1 MiB; ranges come in any order and are kept ascending. */
static void add_ram(RamMap *ram, uint64_t start, uint64_t end)
{
    unsigned i;

    start = start < MIB_BYTES ? MIB_BYTES : (start + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    end = end / PAGE_BYTES * PAGE_BYTES;
    if (end > TABLE_GIBS * GIB_BYTES) {
        end = TABLE_GIBS * GIB_BYTES;
    }
    if (start >= end || ram->n_ranges == MAX_RANGES) {
        return;
    }
    for (i = ram->n_ranges; i > 0 && ram->ranges[i - 1].start > start; i--) {
        ram->ranges[i] = ram->ranges[i - 1];
    }
    ram->ranges[i] = (Range){start, end};
    ram->n_ranges++;
}

bool machine_read_loader(RamMap *ret_ram, char *command_line, size_t size_bytes)
{
    const MultibootInfo *info = at(multiboot_info);
    Text text = text_begin(command_line, size_bytes);
    RamMap ram = {.n_ranges = 0};

    if (multiboot_magic != MULTIBOOT_LOADER_MAGIC || !(info->flags & MULTIBOOT_HAS_MMAP)) {
        return false;
    }
    if (info->flags & MULTIBOOT_HAS_CMDLINE) {
        text_add(&text, at(info->cmdline));
    }
    for (uint64_t p = info->mmap_addr, end = p + info->mmap_length; p < end;) {
        const MultibootMmap *entry = at(p);

        if (entry->type == MULTIBOOT_RAM) {
            add_ram(&ram, entry->addr, entry->addr + entry->len);
        }
        p += entry->size + sizeof entry->size;
    }
    *ret_ram = ram;
    return ram.n_ranges > 0;
}

uint64_t machine_map_ram(const RamMap *ram)
{
    uint64_t free_gpa = (uint64_t)image_end;
    uint64_t top = ram->ranges[ram->n_ranges - 1].end;

    /* The first 4 GiB are mapped by boot.S. */
    for (uint64_t gib = 4; gib * GIB_BYTES < top; gib++) {
        uint64_t *directory = at(free_gpa);

        for (uint64_t i = 0; i < 512; i++) {
            directory[i] = (gib * GIB_BYTES + i * 2 * MIB_BYTES) | 0x83; /* present, rw, 2 MiB */
        }
        page_pointers[gib] = free_gpa | 0x3;
        free_gpa += PAGE_BYTES;
    }
    cpu_reload_tables();
    return free_gpa;
}

uint64_t machine_nmi_count(void)
{
    return __atomic_load_n(&nmi_count, __ATOMIC_RELAXED);
}

void machine_end(End how)
{
    if (how == END_OFF) {
        cpu_out16(PORT_PM1A_CONTROL, PM1A_SOFT_OFF);
    }
    stop_forever();
}

void machine_fail(void)
{
    cpu_out8(PORT_DEBUG_EXIT, 1);
    stop_forever();
}
