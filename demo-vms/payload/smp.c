/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: find, start and time the processors. Contract in machine.h.
 *
 * Theory of operation: local APICs through their MMIO page (xAPIC mode, ids below 255). Time is the
 * TSC, measured once against the PIT: both ends of the interval are the tightest of several
 * readings (TSC, PIT, TSC), so that a preempted vCPU does not spoil it. Sleeping arms the one-shot
 * APIC timer and halts; the TSC decides when the sleep is over, so the APIC timer need only be
 * roughly right.
 */
#include "smp.h"

#include "cpu.h"
#include "machine.h"

#define LAPIC_BASE 0xFEE00000u
#define LAPIC_SPURIOUS 0x0F0
#define LAPIC_TASK_PRIO 0x080
#define LAPIC_ICR_LOW 0x300
#define LAPIC_ICR_HIGH 0x310
#define LAPIC_LVT_TIMER 0x320
#define LAPIC_LVT_LINT0 0x350
#define LAPIC_LVT_LINT1 0x360
#define LAPIC_TIMER_START 0x380
#define LAPIC_TIMER_NOW 0x390
#define LAPIC_TIMER_DIVIDE 0x3E0
#define LAPIC_ENABLE 0x100
#define LAPIC_MASKED 0x10000
#define LAPIC_DELIVER_NMI 0x400
#define LAPIC_DIVIDE_BY_16 0x3
#define ICR_INIT 0x4500
#define ICR_STARTUP 0x4600
#define ICR_PENDING 0x1000

#define PIT_HZ 1193182u
#define PIT_CHANNEL2 0x42
#define PIT_COMMAND 0x43
#define PORT_SPEAKER 0x61 /* bit 0: gate of PIT channel 2; bit 5: its output */

#define TRAMPOLINE_GPA ((uint64_t)0x8000) /* below the loader's data at 0x9000 */
#define STACK_BYTES 4096

#define FW_CFG_SELECT 0x510
#define FW_CFG_DATA 0x511
#define FW_CFG_NB_CPUS 5

/* From boot.S. */
extern char trampoline_start[], trampoline_end[];
extern uint64_t ap_stack;
void wait_halt(void);
_Noreturn void ap_main(void);
_Noreturn void stop_forever(void);

static uint64_t tsc_khz;
static uint64_t lapic_khz; /* after division by 16 */

static _Alignas(16) char stacks[MAX_VCPUS][STACK_BYTES];
static unsigned starting_vcpu;
static void (*starting_entry)(unsigned vcpu);
static volatile bool has_started;

static volatile uint32_t *lapic(unsigned offset)
{
    return (volatile uint32_t *)(uint64_t)(LAPIC_BASE + offset);
}

void smp_init_vcpu(void)
{
    *lapic(LAPIC_TASK_PRIO) = 0;
    *lapic(LAPIC_SPURIOUS) = LAPIC_ENABLE | VECTOR_SPURIOUS;
    *lapic(LAPIC_LVT_LINT0) = LAPIC_MASKED;
    *lapic(LAPIC_LVT_LINT1) = LAPIC_MASKED;
    *lapic(LAPIC_TIMER_DIVIDE) = LAPIC_DIVIDE_BY_16;
    *lapic(LAPIC_LVT_TIMER) = VECTOR_TIMER;
}

void smp_take_nmi(void)
{
    *lapic(LAPIC_LVT_LINT1) = LAPIC_DELIVER_NMI;
}

/* ---- time ---- */

typedef struct {
    uint64_t tsc;
    uint16_t pit; /* counts down */
} ClockPair;

static ClockPair read_clocks(void)
{
    uint64_t best_width = UINT64_MAX;
    ClockPair best = {0, 0};

    for (unsigned i = 0; i < 8; i++) {
        uint64_t before = cpu_tsc(), width;
        uint16_t pit;

        cpu_out8(PIT_COMMAND, 0x80); /* latch channel 2 */
        width = cpu_tsc() - before;
        pit = cpu_in8(PIT_CHANNEL2);
        pit |= (uint16_t)(cpu_in8(PIT_CHANNEL2) << 8);
        if (width < best_width) {
            best_width = width;
            best = (ClockPair){before + width / 2, pit};
        }
    }
    return best;
}

/* One measurement over about 30 ms of the PIT's 55 ms range; 0 if the counter ran out meanwhile. */
static uint64_t measure_tsc_khz(void)
{
    ClockPair first, last;

    cpu_out8(PORT_SPEAKER, (uint8_t)((cpu_in8(PORT_SPEAKER) & ~0x02) | 0x01));
    cpu_out8(PIT_COMMAND, 0xB0); /* channel 2, both bytes, mode 0: output rises at zero */
    cpu_out8(PIT_CHANNEL2, 0xFF);
    cpu_out8(PIT_CHANNEL2, 0xFF);
    first = read_clocks();
    do {
        last = read_clocks();
    } while ((uint16_t)(first.pit - last.pit) < PIT_HZ * 30 / 1000);
    if (cpu_in8(PORT_SPEAKER) & 0x20) {
        return 0;
    }
    return (last.tsc - first.tsc) * PIT_HZ / (uint16_t)(first.pit - last.pit) / 1000;
}

void machine_calibrate(void)
{
    uint64_t start, end;
    uint32_t ticks;

    do {
        tsc_khz = measure_tsc_khz();
    } while (tsc_khz == 0);

    *lapic(LAPIC_LVT_TIMER) = LAPIC_MASKED | VECTOR_TIMER;
    start = cpu_tsc();
    *lapic(LAPIC_TIMER_START) = UINT32_MAX;
    end = start + tsc_khz * 10;
    while (cpu_tsc() < end) {
        cpu_pause();
    }
    ticks = UINT32_MAX - *lapic(LAPIC_TIMER_NOW);
    end = cpu_tsc();
    *lapic(LAPIC_TIMER_START) = 0;
    *lapic(LAPIC_LVT_TIMER) = VECTOR_TIMER;
    lapic_khz = ticks * tsc_khz / (end - start);
    lapic_khz = lapic_khz != 0 ? lapic_khz : 1;
}

uint64_t machine_tsc_khz(void)
{
    return tsc_khz;
}

void machine_sleep_until(uint64_t deadline_tsc, Wait how)
{
    for (;;) {
        uint64_t now = cpu_tsc(), ticks;

        if (now >= deadline_tsc) {
            return;
        }
        if (how == WAIT_PAUSE) {
            cpu_pause();
            continue;
        }
        /* A second at a time keeps the product small; one tick more so as not to wake early. */
        ticks = deadline_tsc - now < tsc_khz * 1000 ? deadline_tsc - now : tsc_khz * 1000;
        ticks = ticks * lapic_khz / tsc_khz + 1;
        *lapic(LAPIC_TIMER_START) = ticks < UINT32_MAX ? (uint32_t)ticks : UINT32_MAX;
        wait_halt();
    }
}

/* ---- processors ---- */

typedef struct __attribute__((packed)) {
    char signature[4];
    uint32_t length;
    char rest[28];
} AcpiHeader;

static bool same_bytes(const char *a, const char *b, size_t n_bytes)
{
    while (n_bytes > 0 && *a == *b) {
        a++, b++, n_bytes--;
    }
    return n_bytes == 0;
}

/* The MADT by the root pointer in the BIOS area (ACPI 1.0 form is enough below 4 GiB), or NULL. */
static const AcpiHeader *find_madt(void)
{
    for (uint64_t gpa = 0xE0000; gpa < 0x100000; gpa += 16) {
        const char *root_pointer = (const char *)gpa;
        const AcpiHeader *rsdt;

        if (!same_bytes(root_pointer, "RSD PTR ", 8)) {
            continue;
        }
        rsdt = (const AcpiHeader *)(uint64_t) * (const uint32_t *)(root_pointer + 16);
        for (uint32_t at = sizeof *rsdt; at + 4 <= rsdt->length; at += 4) {
            const AcpiHeader *table =
                (const AcpiHeader *)(uint64_t) * (const uint32_t *)((const char *)rsdt + at);

            if (same_bytes(table->signature, "APIC", 4)) {
                return table;
            }
        }
    }
    return NULL;
}

/* Keeps ids ascending, which is the order of QEMU's vCPU index. */
static unsigned insert_id(uint8_t *ids, unsigned n, uint8_t id)
{
    unsigned i;

    if (n == MAX_VCPUS) {
        return n;
    }
    for (i = n; i > 0 && ids[i - 1] > id; i--) {
        ids[i] = ids[i - 1];
    }
    ids[i] = id;
    return n + 1;
}

unsigned machine_find_vcpus(uint8_t ret_apic_ids[MAX_VCPUS])
{
    const AcpiHeader *madt = find_madt();
    unsigned n = 0, n_present;

    if (madt != NULL) {
        const uint8_t *entry = (const uint8_t *)madt + sizeof *madt + 8;
        const uint8_t *end = (const uint8_t *)madt + madt->length;

        for (; entry + 8 <= end && entry[1] >= 2; entry += entry[1]) {
            if (entry[0] == 0 && (entry[4] & 1)) { /* local APIC, enabled */
                n = insert_id(ret_apic_ids, n, entry[3]);
            }
        }
    }
    if (n > 0) {
        return n;
    }
    cpu_out16(FW_CFG_SELECT, FW_CFG_NB_CPUS);
    n_present = cpu_in8(FW_CFG_DATA);
    for (unsigned id = 0; id < n_present; id++) {
        n = insert_id(ret_apic_ids, n, (uint8_t)id);
    }
    return n;
}

/* First C code of a started processor, on the stack ap_stack named. */
void ap_main(void)
{
    unsigned vcpu = starting_vcpu;
    void (*entry)(unsigned) = starting_entry;

    machine_load_idt();
    smp_init_vcpu();
    has_started = true;
    entry(vcpu);
    stop_forever();
}

static void spin_us(uint64_t us)
{
    machine_sleep_until(cpu_tsc() + us * tsc_khz / 1000, WAIT_PAUSE);
}

static void send_ipi(uint8_t apic_id, uint32_t command)
{
    *lapic(LAPIC_ICR_HIGH) = (uint32_t)apic_id << 24;
    *lapic(LAPIC_ICR_LOW) = command;
    while (*lapic(LAPIC_ICR_LOW) & ICR_PENDING) {
        cpu_pause();
    }
}

bool machine_start_vcpu(uint8_t apic_id, unsigned vcpu, void (*entry)(unsigned vcpu))
{
    char *trampoline = (char *)TRAMPOLINE_GPA;
    uint64_t deadline;

    for (size_t i = 0; i < (size_t)(trampoline_end - trampoline_start); i++) {
        trampoline[i] = trampoline_start[i];
    }
    starting_vcpu = vcpu;
    starting_entry = entry;
    ap_stack = (uint64_t)stacks[vcpu] + STACK_BYTES;
    has_started = false;
    __asm__ volatile("" : : : "memory");

    send_ipi(apic_id, ICR_INIT);
    spin_us(10000);
    deadline = cpu_tsc() + tsc_khz * 5000;
    send_ipi(apic_id, ICR_STARTUP | (uint32_t)(TRAMPOLINE_GPA >> 12));
    spin_us(200);
    if (!has_started) { /* the second one the start-up protocol asks for; ignored once running */
        send_ipi(apic_id, ICR_STARTUP | (uint32_t)(TRAMPOLINE_GPA >> 12));
    }
    while (!has_started) {
        if (cpu_tsc() > deadline) {
            return false;
        }
        cpu_pause();
    }
    return true;
}
