# SPDX-License-Identifier: GPL-2.0-or-later
"""Who places the guests: homenode, nobody, the kernel, numad, or an admin with pins.

Each contestant is switched on at the same moment of the same scenario and off afterwards, inside the
emulated host. Defaults are the product's own, but for the kernel: its scanner limits itself by time,
which runs slowly under emulation, so its periods are set low (docs/lab.md) - in its favour.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Contestant:
    name: str
    title: str
    start: str     # bash, with {guests} (names) and the arrays of placement.plan_by_hand()
    stop: str
    tell: str = ""         # says afterwards what it did and why, with {guests}
    is_slow: bool = False  # works in passes of many seconds


SCAN = "/sys/kernel/debug/sched/numa_balancing"

OFF = Contestant(
    "off", "no balancing: the scheduler alone",
    "sysctl -qw kernel.numa_balancing=0",
    ":")

KERNEL = Contestant(
    "kernel", "kernel automatic NUMA balancing",
    f"echo 50 > {SCAN}/scan_delay_ms; echo 100 > {SCAN}/scan_period_max_ms; "
    f"echo 20 > {SCAN}/scan_period_min_ms; echo 64 > {SCAN}/scan_size_mb; "
    "sysctl -qw kernel.numa_balancing=1",
    "sysctl -qw kernel.numa_balancing=0", is_slow=True)

NUMAD = Contestant(
    "numad", "numad, its own defaults",
    "sysctl -qw kernel.numa_balancing=0; numad -i 5:15",
    "numad -i 0 || pkill -x numad; sleep 1", is_slow=True)

BIND = Contestant(
    "bind", "hard binding by hand: pins and migratepages",
    "sysctl -qw kernel.numa_balancing=0; {bind_by_hand}",
    ":")

HOMENODE = Contestant(
    "homenode", "homenoded, its own defaults",
    # As Debian boots on a NUMA host: what is shown must hold beside the kernel's own balancing.
    "sysctl -qw kernel.numa_balancing=1; systemctl start homenoded.service",
    "systemctl stop homenoded.service",
    "homenode host; homenode list; for g in {guests}; do homenode explain $g; done; homenode history")

ALL = {contestant.name: contestant for contestant in (HOMENODE, OFF, KERNEL, NUMAD, BIND)}


def bind_by_hand(names, cpus_of_node, n_nodes):
    """The bash that puts guest i on CPU node i mod N, as an admin would: pins, then migratepages."""
    lines = []
    nodes = [node for node in range(n_nodes) if cpus_of_node[node]]
    for index, name in enumerate(names):
        node = nodes[index % len(nodes)]
        others = ",".join(str(other) for other in range(n_nodes) if other != node)
        cpus = ",".join(map(str, cpus_of_node[node]))
        lines.append(
            f"for v in $(virsh -q vcpuinfo {name} | sed -n 's/^VCPU: *//p'); do "
            f"virsh -q vcpupin {name} $v {cpus} --live >/dev/null; done; "
            f"virsh -q emulatorpin {name} {cpus} --live >/dev/null; "
            f"migratepages $(cat /run/libvirt/qemu/{name}.pid) {others} {node}")
    return "\n".join(lines)
