/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: take every vCPU from the state a multiboot loader or a start-up IPI leaves it in to
 * 64-bit C code, and hold the interrupt entries.
 *
 * Theory of operation: QEMU's -kernel loads 32-bit ELF images that carry a multiboot header and
 * enters them in flat protected mode. The bootstrap processor builds identity tables of 2 MiB pages
 * for the first 4 GiB and enters long mode. Application processors start in real mode in a page
 * copied below 1 MiB, load the same tables and call ap_main() on the stack that ap_stack names;
 * they are started one at a time, so one variable is enough.
 *
 * No path here returns from an interrupt with IRET: KVM hosts that emulate instructions cannot do
 * that outside real mode. The only interruptible place of the program is the HLT in wait_halt(),
 * and the timer entry unwinds the frame by hand. Nothing here may use memory beyond the image.
 */

#define MULTIBOOT_MAGIC 0x1BADB002
#define MULTIBOOT_FLAGS 0x00000002      /* pass the memory map */
#define CR0_PE_ET_PG    0x80000011      /* clears CD and NW, which INIT sets */
#define CR4_PAE         0x20
#define MSR_EFER        0xC0000080
#define EFER_LME        0x100
#define PAGE_TABLE      0x3             /* present, writable */
#define PAGE_LARGE      0x83            /* present, writable, 2 MiB */
#define LAPIC_EOI       0xFEE000B0

#define SEL_CODE32 0x08
#define SEL_DATA   0x10
#define SEL_CODE64 0x18

        .section .multiboot, "a"
        .balign 4
        .long MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

        .section .text
        .code32
        .globl _start
_start:
        cli
        cld
        movl %eax, multiboot_magic
        movl %ebx, multiboot_info
        movl $boot_stack_top, %esp

        /* Four page directories, 512 entries of 2 MiB each. */
        movl $page_directories, %edi
        movl $PAGE_LARGE, %eax
        movl $2048, %ecx
1:      movl %eax, (%edi)
        movl $0, 4(%edi)
        addl $8, %edi
        addl $0x200000, %eax
        loop 1b

        movl $page_directories + PAGE_TABLE, %eax
        movl $page_pointers, %edi
        movl $4, %ecx
2:      movl %eax, (%edi)
        addl $8, %edi
        addl $0x1000, %eax
        loop 2b
        movl $page_pointers + PAGE_TABLE, page_root

        lgdtl gdt_pointer
        ljmpl $SEL_CODE32, $3f
3:      movl $bsp64, %ebx
        jmp enter_long_mode

/* In: EBX, where to go in 64-bit mode. Common to all processors; uses no stack. */
enter_long_mode:
        movl $SEL_DATA, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %ss
        movl %cr4, %eax
        orl $CR4_PAE, %eax
        movl %eax, %cr4
        movl $page_root, %eax
        movl %eax, %cr3
        movl $MSR_EFER, %ecx
        rdmsr
        orl $EFER_LME, %eax
        wrmsr
        movl $CR0_PE_ET_PG, %eax
        movl %eax, %cr0
        ljmpl $SEL_CODE64, $4f
        .code64
4:      movl %ebx, %ebx
        jmp *%rbx

bsp64:
        leaq boot_stack_top(%rip), %rsp
        xorl %ebp, %ebp
        call bsp_main
        jmp stop_forever

ap64:
        movq ap_stack(%rip), %rsp
        xorl %ebp, %ebp
        call ap_main

        .globl stop_forever
stop_forever:
        cli
        hlt
        jmp stop_forever

/* The page that start-up IPIs point at; position independent within its 64 KiB segment. */
        .code16
        .globl trampoline_start, trampoline_end
trampoline_start:
        cli
        movw %cs, %ax
        movw %ax, %ds
        lgdtl trampoline_gdt - trampoline_start
        movl %cr0, %eax
        orb $1, %al
        movl %eax, %cr0
        ljmpl $SEL_CODE32, $ap32
        .balign 4
trampoline_gdt:
        .word gdt_end - gdt - 1
        .long gdt
trampoline_end:

        .code32
ap32:
        movl $ap64, %ebx
        jmp enter_long_mode

        .code64
/*
 * void wait_halt(void): HLT with interrupts open until the timer fires. Called with interrupts
 * closed, returns so. Everything the interrupt entry needs is on the stack, and the C caller
 * expects all caller-saved registers to be lost anyway.
 */
        .globl wait_halt
wait_halt:
        sti
        hlt
        cli
        ret

/* The local APIC timer: acknowledge, then leave the frame as IRET would, interrupts closed. */
        .globl isr_timer
isr_timer:
        movl $LAPIC_EOI, %eax
        movl $0, (%rax)
        .globl isr_ignore
isr_ignore:
        movq (%rsp), %rcx
        movq 24(%rsp), %rsp
        jmp *%rcx

/* Somebody outside presses a button; anything may be going on, so all is as before but the count. */
        .globl isr_nmi
isr_nmi:
        lock incq nmi_count
        iretq

/* 32 exception entries of equal size: vector in RDI, then the report in C. */
        .globl exception_entries
        .balign 16
exception_entries:
        .set vector, 0
        .rept 32
        .balign 16
        movl $vector, %edi
        movq %rsp, %rsi
        jmp exception_common
        .set vector, vector + 1
        .endr
exception_common:
        andq $-16, %rsp
        call exception_report
        jmp stop_forever

        .section .rodata
        .balign 16
gdt:
        .quad 0
        .quad 0x00CF9A000000FFFF        /* code, 32 bits */
        .quad 0x00CF92000000FFFF        /* data */
        .quad 0x00AF9A000000FFFF        /* code, 64 bits */
gdt_end:
gdt_pointer:
        .word gdt_end - gdt - 1
        .long gdt

        .section .bss
        .balign 4096
        .globl page_pointers
page_root:        .skip 4096
page_pointers:    .skip 4096
page_directories: .skip 4 * 4096
        .skip 16384
boot_stack_top:
        .globl multiboot_magic, multiboot_info, ap_stack, nmi_count
nmi_count:        .skip 8
multiboot_magic:  .skip 4
multiboot_info:   .skip 4
ap_stack:         .skip 8

        .section .note.GNU-stack, "", @progbits
