/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: the part of QEMU's TCG plugin interface that the meter uses, for interface versions 4
 * (QEMU 10.x) and 7 (11.1 and later); distributions do not package QEMU's own header.
 *
 * Theory of operation: prototypes of symbols that the emulator exports, resolved when it loads the
 * plugin. QEMU_PLUGIN_API chooses between the two; from version 7 on, callbacks carry user data
 * instead of the plugin's id. Only declarations may stand here.
 */
#ifndef METER_QEMU_API_H
#define METER_QEMU_API_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if QEMU_PLUGIN_API != 4 && QEMU_PLUGIN_API != 7
#error "QEMU_PLUGIN_API must be 4 or 7"
#endif

#define METER_EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_hwaddr;
struct qemu_plugin_register;
struct qemu_plugin_scoreboard;

typedef struct {
    const char *target_name;
    struct {
        int min, cur;
    } version;
    bool system_emulation;
    struct {
        int smp_vcpus, max_vcpus;
    } system;
} qemu_info_t;

/* The first members; later versions append to it, so step by g_array_get_element_size(). */
typedef struct {
    struct qemu_plugin_register *handle;
    const char *name;
    const char *feature;
} qemu_plugin_reg_descriptor;

typedef struct {
    struct qemu_plugin_scoreboard *score;
    size_t offset;
} qemu_plugin_u64;

enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_CB_R_REGS };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_R = 1, QEMU_PLUGIN_MEM_W, QEMU_PLUGIN_MEM_RW };
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

typedef void (*qemu_plugin_vcpu_udata_cb_t)(unsigned vcpu_index, void *userdata);
typedef void (*qemu_plugin_vcpu_mem_cb_t)(unsigned vcpu_index, qemu_plugin_meminfo_t info,
                                          uint64_t vaddr, void *userdata);

/*
 * What differs between the versions: the parameters of callbacks, hidden in METER_*_CB(name), and
 * an argument at the end of their registration, METER_NO_DATA.
 */
#if QEMU_PLUGIN_API >= 7
#define METER_PLUGIN_CB(name) name(void *userdata)
#define METER_VCPU_CB(name) name(unsigned vcpu_index, void *userdata)
#define METER_TRANSLATION_CB(name) name(struct qemu_plugin_tb *tb, void *userdata)
#define METER_NO_DATA , NULL
#define METER_DATA_PARAMETER , void *userdata
typedef bool MeterReadResult;
#else
#define METER_PLUGIN_CB(name) name(qemu_plugin_id_t id)
#define METER_VCPU_CB(name) name(qemu_plugin_id_t id, unsigned vcpu_index)
#define METER_TRANSLATION_CB(name) name(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
#define METER_NO_DATA
#define METER_DATA_PARAMETER
typedef int MeterReadResult;
#endif

void qemu_plugin_reset(qemu_plugin_id_t id, void METER_PLUGIN_CB((*cb)) METER_DATA_PARAMETER);
void qemu_plugin_register_vcpu_init_cb(qemu_plugin_id_t id,
                                       void METER_VCPU_CB((*cb)) METER_DATA_PARAMETER);
void qemu_plugin_register_vcpu_idle_cb(qemu_plugin_id_t id,
                                       void METER_VCPU_CB((*cb)) METER_DATA_PARAMETER);
void qemu_plugin_register_vcpu_resume_cb(qemu_plugin_id_t id,
                                         void METER_VCPU_CB((*cb)) METER_DATA_PARAMETER);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                           void METER_TRANSLATION_CB((*cb)) METER_DATA_PARAMETER);
MeterReadResult qemu_plugin_read_register(struct qemu_plugin_register *handle, GByteArray *buf);

void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *tb,
                                                       enum qemu_plugin_op op,
                                                       qemu_plugin_u64 entry, uint64_t imm);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
                                            qemu_plugin_vcpu_udata_cb_t cb,
                                            enum qemu_plugin_cb_flags flags, void *userdata);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, qemu_plugin_vcpu_mem_cb_t cb,
                                      enum qemu_plugin_cb_flags flags, enum qemu_plugin_mem_rw rw,
                                      void *userdata);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t idx);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *dest, size_t len);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(qemu_plugin_meminfo_t info, uint64_t vaddr);
bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *haddr);
uint64_t qemu_plugin_hwaddr_phys_addr(const struct qemu_plugin_hwaddr *haddr);
GArray *qemu_plugin_get_registers(void);
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t element_size);
uint64_t qemu_plugin_u64_get(qemu_plugin_u64 entry, unsigned vcpu_index);

#endif
