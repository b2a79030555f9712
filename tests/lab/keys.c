/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keeps switches in the text of the emulated host's kernel from being thrown while guests run.
 *
 * Theory of operation. The kernel patches its own text when a static key changes: a VM exists or none does, a task has
 * perf events or none has. Emulation in threads gets that wrong now and then. The emulator discards what it has
 * translated of the old text first and writes afterwards; another processor that translates it anew in between keeps
 * what was there, for good. Then it runs into an int3 that is no longer meant ("Oops: int3" in __schedule: seen), or it
 * would never again tell KVM that a vCPU's thread was switched, and the vCPU would run with another processor's state,
 * which fits guests and hosts that ended without a word (inferred; docs/lab.md, Traps). So what guests and homenode come and go with is held here from
 * the boot on, when little runs, and its keys stay as they are:
 *
 *   preempt_notifier_key   in __schedule                  a VM that never runs
 *   apic_sw_disabled       in KVM's local APIC            its vCPU, whose APIC is as after a reset: off by software,
 *   apic_hw_disabled       the same                       and another vCPU's, off by its base address
 *   perf_sched_events      in __schedule                  an event of this process
 *   __tracepoint_kvm_page_fault, its static call          that event
 *   __tracepoint_page_fault_user, its static call         another one
 *
 * (cpusets_enabled_key is held by the unit's AllowedCPUs=, see image-setup.sh.) What cannot be had is said and left.
 *
 * It must not run anything in its VM or count anything: to exist is enough.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/perf_event.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define APIC_BASE_ENABLE (1ull << 11) /* of IA32_APIC_BASE */

static const char *const TRACEPOINTS[] = {"kvm/kvm_page_fault", "exceptions/page_fault_user"};

static int failed(const char *what)
{
    fprintf(stderr, "keys: %s: %s\n", what, strerror(errno));
    return -1;
}

/* A VM of two vCPUs that never run; its descriptors stay open as long as this process. */
static int hold_vm(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, off_by_software, off_by_address;
    struct kvm_sregs registers;

    if (kvm < 0)
        return failed("/dev/kvm");
    if ((vm = ioctl(kvm, KVM_CREATE_VM, 0)) < 0)
        return failed("KVM_CREATE_VM");
    if (ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0)
        return failed("KVM_CREATE_IRQCHIP");
    off_by_software = ioctl(vm, KVM_CREATE_VCPU, 0);
    off_by_address = ioctl(vm, KVM_CREATE_VCPU, 1);
    if (off_by_software < 0 || off_by_address < 0)
        return failed("KVM_CREATE_VCPU");
    if (ioctl(off_by_address, KVM_GET_SREGS, &registers) < 0)
        return failed("KVM_GET_SREGS");
    registers.apic_base &= ~APIC_BASE_ENABLE;
    if (ioctl(off_by_address, KVM_SET_SREGS, &registers) < 0)
        return failed("KVM_SET_SREGS");
    return 0;
}

/* An event of this process at @tracepoint ("system/name"), switched off; its descriptor stays open. */
static int hold_event(const char *tracepoint)
{
    struct perf_event_attr attributes = {
        .type = PERF_TYPE_TRACEPOINT, .size = sizeof attributes, .sample_period = 1, .disabled = 1};
    char path[128], number[32] = "";
    FILE *file;

    snprintf(path, sizeof path, "/sys/kernel/tracing/events/%s/id", tracepoint);
    if (!(file = fopen(path, "re")))
        return failed(path);
    if (fgets(number, sizeof number, file))
        attributes.config = strtoull(number, NULL, 10);
    fclose(file);
    if (syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC) < 0)
        return failed(tracepoint);
    return 0;
}

/* Tells systemd that what waits for this may start (sd_notify(3); this program is linked statically). */
static void tell_ready(void)
{
    static const char READY[] = "READY=1";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    int link;

    if (!path || strlen(path) >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, path, strlen(path));
    if (address.sun_path[0] == '@')
        address.sun_path[0] = '\0';
    link = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (link < 0 || sendto(link, READY, strlen(READY), 0, (struct sockaddr *)&address,
                           offsetof(struct sockaddr_un, sun_path) + strlen(path)) < 0)
        failed("NOTIFY_SOCKET");
    if (link >= 0)
        close(link);
}

int main(void)
{
    int n_failed = hold_vm() < 0;

    for (size_t i = 0; i < sizeof TRACEPOINTS / sizeof *TRACEPOINTS; i++)
        n_failed += hold_event(TRACEPOINTS[i]) < 0;
    tell_ready();
    if (n_failed)
        fprintf(stderr, "keys: %d of %zu not held\n", n_failed, 1 + sizeof TRACEPOINTS / sizeof *TRACEPOINTS);
    for (;;)
        pause();
}
