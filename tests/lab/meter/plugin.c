/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: the locality meter as a TCG plugin of the emulator that runs the emulated NUMA host.
 *
 * Theory of operation: the emulator shows a plugin every load and store of every emulated vCPU with
 * its virtual and, through its TLB, its host-physical address. Guests inside the emulated host run
 * by AMD SVM: between VMRUN and the instruction behind it, the vCPU executes guest code, and
 * virtual addresses are the guest's own. So VMRUN is recognised when it is translated and gets a
 * callback that reads CR3: the page table root of the VMM's process, which names the guest. The
 * instruction behind VMRUN gets a callback that ends guest mode; global interrupts are off there,
 * so nothing else of the host can run before it. Blocks translated in guest mode are kept apart by
 * the emulator (the mode is part of a block's key), so only they get memory callbacks: the host's
 * own code, VMMs included, runs at full speed and is not counted.
 *
 * Arming and disarming drop all translations (qemu_plugin_reset), so that a disarmed meter costs
 * nothing; the callbacks of VMRUN stay. Each vCPU needs a thread of its own (tcg,thread=multi).
 * Arguments: socket=PATH (needed), cache-kib=N (default 256, 0: count every access), armed=on|off
 * (default off), max-gib=N.
 */
#include "counters.h"
#include "control.h"
#include "qemu-api.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define VMRUN_BYTES 3
#define MAX_VMRUN_SITES 16
#define CR3_ROOT_MASK 0x000FFFFFFFFFF000u /* without PCID and flags */
#define FLUSH_WAIT_MS 5000
#define GIB_SHIFT 30

METER_EXPORT int qemu_plugin_version = QEMU_PLUGIN_API;
METER_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
                                     char **argv);

/* What belongs to one vCPU's thread alone. */
typedef struct {
    MeterVcpu *vcpu;
    unsigned space; /* 0: not in guest mode */
    uint64_t insns_at_entry;
    uint64_t last_root;
    unsigned last_space;
    struct qemu_plugin_register *cr3;
    GByteArray *bytes;
} Thread;

static Meter *meter;
static qemu_plugin_id_t plugin_id;
static qemu_plugin_u64 insns; /* executed in instrumented blocks, per vCPU */
static Thread threads[METER_MAX_VCPUS];
static __thread Thread *self; /* for translation, which is not told the vCPU */

/* Addresses of instructions behind VMRUN. */
static uint64_t vmrun_ends[MAX_VMRUN_SITES];

static bool is_armed;        /* as asked for */
static bool is_flush_wanted; /* some vCPU thread is to call qemu_plugin_reset() */
static unsigned n_flushes_done;

static void register_callbacks(void);

/* ---- guest mode ---- */

static uint64_t read_root(Thread *thread)
{
    uint64_t value = 0;

    g_byte_array_set_size(thread->bytes, 0);
    qemu_plugin_read_register(thread->cr3, thread->bytes);
    memcpy(&value, thread->bytes->data, MIN(thread->bytes->len, sizeof value));
    return value & CR3_ROOT_MASK;
}

static void on_vmrun(unsigned vcpu_index, void *userdata)
{
    Thread *thread = &threads[vcpu_index];
    uint64_t root = read_root(thread);

    self = thread;
    if (root != thread->last_root) {
        thread->last_root = root;
        thread->last_space = meter_space(meter, root);
    }
    thread->space = thread->last_space;
    thread->insns_at_entry = qemu_plugin_u64_get(insns, vcpu_index);
    thread->vcpu->cells[thread->space].entries++;
}

static void on_vmexit(unsigned vcpu_index, void *userdata)
{
    Thread *thread = &threads[vcpu_index];

    if (thread->space != 0) {
        thread->vcpu->cells[thread->space].insns +=
            qemu_plugin_u64_get(insns, vcpu_index) - thread->insns_at_entry;
        thread->space = 0;
    }
}

static bool is_vmrun(const struct qemu_plugin_insn *insn)
{
    uint8_t bytes[VMRUN_BYTES] = {0};

    return qemu_plugin_insn_data(insn, bytes, sizeof bytes) == sizeof bytes && bytes[0] == 0x0F &&
           bytes[1] == 0x01 && bytes[2] == 0xD8;
}

static bool is_vmrun_end(uint64_t vaddr)
{
    for (unsigned i = 0; i < MAX_VMRUN_SITES; i++) {
        uint64_t end = __atomic_load_n(&vmrun_ends[i], __ATOMIC_RELAXED);

        if (end == vaddr || end == 0) {
            return end == vaddr;
        }
    }
    return false;
}

static void remember_vmrun_end(uint64_t vaddr)
{
    for (unsigned i = 0; i < MAX_VMRUN_SITES; i++) {
        uint64_t seen = 0;

        if (__atomic_compare_exchange_n(&vmrun_ends[i], &seen, vaddr, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED) ||
            seen == vaddr) {
            return;
        }
    }
}

/* ---- memory ---- */

static void on_memory(unsigned vcpu_index, qemu_plugin_meminfo_t info, uint64_t vaddr,
                      void *userdata)
{
    Thread *thread = &threads[vcpu_index];
    unsigned space = thread->space, guest;
    struct qemu_plugin_hwaddr *hwaddr;

    if (space == 0 && !meter_in_range(meter, vaddr, &guest)) {
        return;
    }
    if (!meter_is_miss(meter, thread->vcpu, space, vaddr)) {
        return;
    }
    hwaddr = qemu_plugin_get_hwaddr(info, vaddr);
    if (hwaddr != NULL && !qemu_plugin_hwaddr_is_io(hwaddr)) {
        meter_count(meter, thread->vcpu, space, vaddr, qemu_plugin_hwaddr_phys_addr(hwaddr));
    }
}

static void METER_PLUGIN_CB(on_flushed)
{
    register_callbacks();
    __atomic_add_fetch(&n_flushes_done, 1, __ATOMIC_SEQ_CST);
}

/* Asks for the flush if it is due; called where the emulator knows the current vCPU. */
static void flush_if_wanted(void)
{
    if (__atomic_load_n(&is_flush_wanted, __ATOMIC_RELAXED) &&
        __atomic_exchange_n(&is_flush_wanted, false, __ATOMIC_SEQ_CST)) {
        qemu_plugin_reset(plugin_id, on_flushed METER_NO_DATA);
    }
}

static void METER_TRANSLATION_CB(on_translation)
{
    size_t n = qemu_plugin_tb_n_insns(tb);
    bool is_guest = self != NULL && self->space != 0;
    bool is_counted =
        __atomic_load_n(&is_armed, __ATOMIC_RELAXED) && (is_guest || meter_has_ranges(meter));

    flush_if_wanted();
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint64_t vaddr = qemu_plugin_insn_vaddr(insn);

        if (is_vmrun_end(vaddr)) {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_vmexit, QEMU_PLUGIN_CB_NO_REGS, NULL);
        }
        if (is_vmrun(insn)) {
            remember_vmrun_end(vaddr + VMRUN_BYTES);
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_vmrun, QEMU_PLUGIN_CB_R_REGS, NULL);
        }
        if (is_counted) {
            qemu_plugin_register_vcpu_mem_cb(insn, on_memory, QEMU_PLUGIN_CB_NO_REGS,
                                             QEMU_PLUGIN_MEM_RW, NULL);
        }
    }
    if (is_counted) {
        qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, QEMU_PLUGIN_INLINE_ADD_U64, insns, n);
    }
}

/* ---- life of vCPUs ---- */

static void init_vcpu(unsigned vcpu_index)
{
    GArray *registers;
    guint step;
    Thread *thread;

    if (!meter_add_vcpu(meter, vcpu_index)) {
        g_error("meter: vCPU %u; at most %d are supported", vcpu_index, METER_MAX_VCPUS);
    }
    thread = &threads[vcpu_index];
    thread->vcpu = meter->vcpus[vcpu_index];
    thread->bytes = thread->bytes != NULL ? thread->bytes : g_byte_array_new();
    registers = qemu_plugin_get_registers();
    step = g_array_get_element_size(registers);
    for (guint i = 0; i < registers->len; i++) {
        const qemu_plugin_reg_descriptor *descriptor =
            (const qemu_plugin_reg_descriptor *)(registers->data + (gsize)i * step);

        if (strcmp(descriptor->name, "cr3") == 0) {
            thread->cr3 = descriptor->handle;
        }
    }
    g_array_free(registers, TRUE);
    if (thread->cr3 == NULL) {
        g_error("meter: the emulator does not offer register cr3; it must emulate x86-64");
    }
    self = thread;
}

static void METER_VCPU_CB(on_vcpu_init)
{
    init_vcpu(vcpu_index);
}

static void METER_VCPU_CB(on_vcpu_idle)
{
    flush_if_wanted();
}

static void register_callbacks(void)
{
    qemu_plugin_register_vcpu_init_cb(plugin_id, on_vcpu_init METER_NO_DATA);
    qemu_plugin_register_vcpu_idle_cb(plugin_id, on_vcpu_idle METER_NO_DATA);
    qemu_plugin_register_vcpu_resume_cb(plugin_id, on_vcpu_idle METER_NO_DATA);
    qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, on_translation METER_NO_DATA);
}

/* ---- control ---- */

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * G_GINT64_CONSTANT(1000000000) + now.tv_nsec;
}

static bool get_armed(void)
{
    return __atomic_load_n(&is_armed, __ATOMIC_RELAXED);
}

/* Called in the control thread: has a vCPU thread drop the translations, and waits for it. */
static bool set_armed(bool is_wanted)
{
    unsigned n_before = __atomic_load_n(&n_flushes_done, __ATOMIC_SEQ_CST);

    if (get_armed() == is_wanted) {
        return true;
    }
    __atomic_store_n(&is_armed, is_wanted, __ATOMIC_SEQ_CST);
    __atomic_store_n(&is_flush_wanted, true, __ATOMIC_SEQ_CST);
    for (unsigned ms = 0; ms < FLUSH_WAIT_MS; ms++) {
        if (__atomic_load_n(&n_flushes_done, __ATOMIC_SEQ_CST) != n_before) {
            return true;
        }
        g_usleep(1000);
    }
    return false;
}

static Control control = {.set_armed = set_armed, .is_armed = get_armed, .now_ns = now_ns};

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    const char *socket_path = NULL;
    guint64 cache_kib = 256, max_gib = 64;

    for (int i = 0; i < argc; i++) {
        if (g_str_has_prefix(argv[i], "socket=")) {
            socket_path = argv[i] + strlen("socket=");
        } else if (g_str_has_prefix(argv[i], "cache-kib=") &&
                   g_ascii_string_to_unsigned(argv[i] + strlen("cache-kib="), 10, 0, 65536,
                                              &cache_kib, NULL)) {
            continue;
        } else if (g_str_has_prefix(argv[i], "max-gib=") &&
                   g_ascii_string_to_unsigned(argv[i] + strlen("max-gib="), 10, 1, 4096, &max_gib,
                                              NULL)) {
            continue;
        } else if (strcmp(argv[i], "armed=on") == 0 || strcmp(argv[i], "armed=off") == 0) {
            is_armed = strcmp(argv[i], "armed=on") == 0;
        } else {
            fprintf(stderr,
                    "meter: argument '%s'; allowed: socket=PATH cache-kib=0..65536 "
                    "max-gib=1..4096 armed=on|off\n",
                    argv[i]);
            return 1;
        }
    }
    if (socket_path == NULL || !info->system_emulation ||
        strcmp(info->target_name, "x86_64") != 0) {
        fprintf(stderr, "meter: needs socket=PATH and the system emulation of x86_64\n");
        return 1;
    }
    meter = meter_new(max_gib << GIB_SHIFT, cache_kib * 1024);
    if (meter == NULL) {
        fprintf(stderr, "meter: cache-kib=%" G_GUINT64_FORMAT "; allowed: 0 or a power of two\n",
                cache_kib);
        return 1;
    }
    plugin_id = id;
    control.meter = meter;
    insns = (qemu_plugin_u64){qemu_plugin_scoreboard_new(sizeof(uint64_t)), 0};
    if (!control_start(&control, socket_path)) {
        fprintf(stderr, "meter: socket %s: %s\n", socket_path, strerror(errno));
        return 1;
    }
    register_callbacks();
    return 0;
}
