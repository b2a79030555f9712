#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a window of dirty-rate measurement costs a guest, and homenode.

Theory of operation. In the emulated host a demo guest that does nothing but touch its memory tells on its serial line how
many words it has touched by when. Seconds with a window and seconds without take turns, so that what else this machine
does meets both alike; the ratio of the two speeds is told, as median over the pairs. Speeds of the emulation mean
nothing for hardware, and a fault costs another part of a touch there. So what is exact is told beside: how many pages KVM had to split and
how many faults the guest took for them, from KVM's own counters. Last, homenode's CPU time for a round that drains a window's faults, and
for one without.

It judges nothing, and must not run beside another emulated host.
"""

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
LAB = os.path.join(HERE, "..", "..", "lab")
sys.path[:0] = [LAB, os.path.join(LAB, "convergence")]
sys.dont_write_bytecode = True

# pylint: disable=wrong-import-position
import homelab  # noqa: E402
import scene  # noqa: E402

ELF = "/usr/share/homenode/homenode-guest.elf /usr/local/share/homenode/homenode-guest.elf"
CONF = "/etc/homenode/homenode.conf"
GUEST, WS_MIB = "busy", 32
# A touch per page is the worst there is: each is a fault. A touch per line meets one fault in 64.
STRIDES = ("page", "line")
MODES = ("page-sampling", "dirty-bitmap")

guests = scene.guest_module()


def start(lab, stride):
    """The guest, working."""
    elf = lab.sh(f"ls {ELF} 2>/dev/null || true").split()[0]
    guest = lab.define(guests.guest_xml(guests.Guest(
        name=GUEST, kernel=elf, vcpus=1, mem_mib=WS_MIB + 32, serial=f"/var/log/{GUEST}.serial", placement="mode='advise'",
        cpuset=lab.cpus_of_node(0), words=(f"ws={WS_MIB}", f"stride={stride}", "report=100")))).start()
    lab.wait_until(lambda: "event=start" in guest.serial(), 90, "the guest to work")
    return guest


def stretch(lab, seconds, mode):
    """Touches per ms, KVM's counters at the end and faults over so many seconds, in a window of that mode (None: without)."""
    begin = f"virsh -q domdirtyrate-calc {GUEST} --seconds {seconds} --mode {mode}" if mode else "true"
    text = lab.sh(f"""
k=$(echo /sys/kernel/debug/kvm/{lab.sh(f"cat /run/libvirt/qemu/{GUEST}.pid").strip()}-*)
{begin}
sleep 0.3
grep t_ms= /var/log/{GUEST}.serial | tail -n 2 | head -n 1; cat $k/vcpu0/pf_taken $k/pf_taken 2>/dev/null | head -n 1
sleep {seconds - 0.6}
grep t_ms= /var/log/{GUEST}.serial | tail -n 2 | head -n 1; cat $k/vcpu0/pf_taken $k/pf_taken 2>/dev/null | head -n 1
cat $k/pages_4k $k/pages_2m
sleep 0.3
while virsh domstats --dirtyrate {GUEST} | grep -q calc_status=1; do sleep 0.1; done
sleep 0.5
""", timeout_s=120)
    lines = text.splitlines()
    at = [dict(word.split("=", 1) for word in lines[i].split()) for i in (0, 2)]
    speed = (int(at[1]["touches"]) - int(at[0]["touches"])) / (int(at[1]["t_ms"]) - int(at[0]["t_ms"]))
    return speed, int(lines[3]) - int(lines[1]), int(lines[4]), int(lines[5])


def measure_guest(lab, pairs, seconds):
    """Prints what each kind of window does to each kind of guest."""
    for stride in STRIDES:
        guest = start(lab, stride)
        for mode in MODES:
            ratios, faults, splits = [], [], []
            for _ in range(pairs):
                free, free_faults, _, huge_before = stretch(lab, seconds, None)
                speed, n_faults, small, huge = stretch(lab, seconds, mode)
                ratios.append(speed / free)
                faults.append((n_faults - free_faults) / (seconds - 0.6))
                splits.append(huge_before - huge)
            print(f"a touch per {stride}, {mode}: speed in the window {statistics.median(ratios):.2f} of that without "
                  f"({min(ratios):.2f} to {max(ratios):.2f} in {pairs} pairs); {statistics.median(splits):.0f} huge mappings fewer, "
                  f"{statistics.median(faults):.0f} faults per second more", flush=True)
        guest.destroy()
        guest.undefine()


@contextlib.contextmanager
def agent(lab):
    """homenoded, sampling the guest's faults in rounds of a second; nobody unmaps but this program's windows."""
    lab.sh(f"sysctl -qw kernel.numa_balancing=0; mkdir -p /etc/homenode; printf '[daemon]\\nround-interval = 1s\\n[observe]\\n"
           "touch-matrix = all\\n[evidence]\\nrounds = 10000\\nswitch-balancing = no\\ndirty-rate = none\\n' "
           f"> {CONF}; systemctl start homenoded", timeout_s=60)
    try:
        lab.wait_until(lambda: lab.run("homenode list --json").status == 0, 30, "homenoded to answer")
        yield
    finally:
        lab.sh(f"systemctl stop homenoded; rm -f {CONF}", timeout_s=60)


def agent_round(lab, seconds, mode):
    """CPU ms of homenoded per round over so many seconds, and touches it sampled."""
    begin = f"virsh -q domdirtyrate-calc {GUEST} --seconds {seconds} --mode {mode}" if mode else "true"
    text = lab.sh(f"""
used() {{ cat /proc/$(systemctl show -P MainPID homenoded)/task/*/schedstat | awk '{{ sum += $1 }} END {{ print sum }}'
    homenode metrics | awk '/^homenode_rounds_total/ {{ print $2 }}'
    homenode snapshot | tr ',' '\\n' | awk -F: '/"n-touches"/ {{ print $2 }}'; }}
used; {begin}; sleep {seconds + 1}; used""", timeout_s=120)
    cpu_0, rounds_0, touches_0, cpu_1, rounds_1, touches_1 = (int(float(word)) for word in text.split())
    return (cpu_1 - cpu_0) / 1e6 / max(rounds_1 - rounds_0, 1), touches_1 - touches_0


def measure_agent(lab, pairs, seconds):
    """Prints what a window costs homenode itself."""
    guest = start(lab, "page")
    with agent(lab):
        agent_round(lab, seconds, "dirty-bitmap")  # what is done once
        quiet, busy, sampled = [], [], []
        for _ in range(pairs):
            quiet.append(agent_round(lab, seconds, None)[0])
            cost, touches = agent_round(lab, seconds, "dirty-bitmap")
            busy.append(cost)
            sampled.append(touches)
        ratio = statistics.median(b / q for b, q in zip(busy, quiet))
        print(f"homenoded: {statistics.median(quiet):.2f} ms of emulated CPU a round without windows, {ratio:.2f} times as much with; "
              f"{statistics.median(sampled):.0f} faults sampled per window of {seconds} s", flush=True)
    guest.destroy()
    guest.undefine()


def main():
    parser = argparse.ArgumentParser(description="What a window of dirty-rate measurement costs a guest, in the emulated host.")
    parser.add_argument("--build", required=True, help="meson build folder with homenode")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="length of a window, 2 or more")
    args = parser.parse_args()
    # A time-out must not leave a host behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with homelab.Lab("dirty-window") as lab:
        subprocess.run([os.path.join(LAB, "lab"), "install", "--name", "dirty-window", args.build], check=True,
                       stdout=subprocess.DEVNULL)
        measure_guest(lab, args.pairs, args.seconds)
        measure_agent(lab, args.pairs, args.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
