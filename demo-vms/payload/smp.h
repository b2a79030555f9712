/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: what machine.c and smp.c share and nobody else needs.
 */
#ifndef DEMO_SMP_H
#define DEMO_SMP_H

#define VECTOR_NMI 2
#define VECTOR_TIMER 0x40
#define VECTOR_SPURIOUS 0xFF

/* Switches this vCPU's local APIC on with a quiet one-shot timer. */
void smp_init_vcpu(void);

/* Lets NMIs from outside through to this vCPU; the others keep them masked, so that each counts once. */
void smp_take_nmi(void);

/* Loads the interrupt table machine_init() filled into this vCPU. */
void machine_load_idt(void);

#endif
