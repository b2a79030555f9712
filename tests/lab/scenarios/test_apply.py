# SPDX-License-Identifier: GPL-2.0-or-later
"""Acting on real guests: pins and memory there and back, the admin's word, jobs, crashes, full nodes, undo.

Everything is measured from outside: pins by virsh and /proc, memory by numa_maps, the kernel log by dmesg. What a
move must outlive happens in the middle of it, because the rate is held low.
"""

import contextlib
import os
import re
import subprocess
import time

from homelab import parse_cpu_list

TOPOLOGY = "n2c4"
NEEDS_BUILD = True
TIMEOUT_S = 420

GUEST_TOOL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../demo-vms/guest")
KERNEL = "/usr/local/share/homenode/homenode-guest.elf"
CONF = "/etc/homenode/homenode.conf"
JOURNAL = "/run/homenode/journal"
MIB = 1 << 20


def define(lab, name, *words, mib=64, vcpus=2, options=()):
    """A demo guest that touches all of its memory and is idle most of the time."""
    argv = [GUEST_TOOL, "xml", name, "--kernel", KERNEL, "--vcpus", str(vcpus), "--mem", str(mib), "--mode", "auto",
            "--serial", f"/var/log/{name}.serial", *options, "pattern=private", "duty=20", "touch=all", *words]
    return lab.define(subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout)


def settled(lab, guest):
    """Waits until it has touched its memory, and returns it."""
    lab.wait_until(lambda: "event=start" in guest.serial(), 90, f"{guest.name} to have touched its memory", 1)
    return guest


@contextlib.contextmanager
def daemon(lab, **keys):
    """homenoded as its service runs it, with these keys of section [apply]; stopped at the end."""
    lines = "".join(f"{key.replace('_', '-')} = {value}\n" for key, value in keys.items())
    # A busy emulator is no pressure that should stop a test of something else.
    lab.sh(f"mkdir -p /etc/homenode; test ! -e {CONF} || cp {CONF} /run/homenode.conf.before; "
           f"printf '%s' '[apply]\nback-off = no\n{lines}' > {CONF}; "
           "systemctl daemon-reload; systemctl start homenoded", timeout_s=90)
    try:
        # The first round has been made: before it, it knows no nodes and says so.
        lab.wait_until(lambda: lab.run("homenode plan --json").status == 0, 60, "homenoded to answer")
        lab.wait_until(lambda: re.search(r'"rounds": *[1-9]', lab.run("homenode host --json").out), 60, "its first round")
        yield
    finally:
        lab.run(f"systemctl stop homenoded; systemctl reset-failed homenoded; rm {CONF}; "
                f"test ! -e /run/homenode.conf.before || mv /run/homenode.conf.before {CONF}", timeout_s=120)


def pins(lab, guest):
    """vCPU → CPUs, and 'emulator' → CPUs, as virsh tells them."""
    result = {}
    for line in lab.sh(f"virsh vcpupin {guest.name} --live; virsh emulatorpin {guest.name} --live").splitlines():
        match = re.match(r"\s*(\d+|\*):?\s+([-0-9,]+)\s*$", line)
        if match:
            result["emulator" if match[1] == "*" else int(match[1])] = parse_cpu_list(match[2])
    return result


def cpus_of(lab, node):
    return frozenset(lab.topology.nodes[node].cpus)


def all_cpus(lab):
    return frozenset().union(*(node.cpus for node in lab.topology.nodes))


def move(lab, guest, node, timeout_s=150):
    """A forced rebalance that has to succeed."""
    lab.sh(f"homenode rebalance {guest.name} --node {node} --wait", timeout_s=timeout_s)


def begin_move(lab, guest, node):
    """Starts a rebalance and returns when some, but not all, of the memory has moved."""
    lab.sh(f"homenode rebalance {guest.name} --node {node}")
    lab.wait_until(lambda: 0.05 < guest.share_on(node) < 0.9, 60, f"{guest.name} to be in the middle of its move", 0.3)


def assert_quiet_kernel(lab):
    text = lab.sh("dmesg | grep -E 'page allocation failure|Out of memory|oom-kill' || true")
    assert not text, text


def test_there_and_back_and_released(lab):
    guest = settled(lab, define(lab, "g").start())
    before = pins(lab, guest)
    with daemon(lab):
        for node in (1, 0, 1):
            move(lab, guest, node)
            assert guest.share_on(node) >= 0.98, guest.ram_bytes_per_node()
            assert all(cpus == cpus_of(lab, node) for cpus in pins(lab, guest).values()), pins(lab, guest)
            assert all(vcpu.affinity == cpus_of(lab, node) for vcpu in guest.vcpus())
        assert lab.sh(f"ls {JOURNAL}").split() != ["corrupt"]
        assert "vcpupin" not in guest.xml(inactive=True)
        lab.sh("homenode release g", timeout_s=60)
        lab.wait_until(lambda: pins(lab, guest) == before, 30, "the pins to be as before")
        assert lab.sh(f"ls {JOURNAL}").split() == ["corrupt"]
        assert guest.share_on(1) >= 0.98  # memory stays
    assert_quiet_kernel(lab)


def test_stopping_restores_what_the_admin_had(lab):
    guest = settled(lab, define(lab, "g").start())
    lab.sh("virsh vcpupin g 1 0-2 --live")
    before = pins(lab, guest)
    with daemon(lab):
        move(lab, guest, 1)
        assert pins(lab, guest)[0] == cpus_of(lab, 1)
        assert pins(lab, guest)[1] <= parse_cpu_list("0-2")
    assert pins(lab, guest) == before


def test_admin_wins(lab):
    """field.md T10: a pin by virsh while it is ours."""
    guest = settled(lab, define(lab, "g", vcpus=2).start())
    with daemon(lab):
        move(lab, guest, 1)
        lab.sh("virsh vcpupin g 1 0 --live")
        lab.wait_until(lambda: "admin" in lab.sh("homenode history g --json").lower(), 30, "the yielding to be told")
        lab.run("homenode rebalance g --node 1 --wait", timeout_s=90)
        assert pins(lab, guest)[1] == {0}, pins(lab, guest)
        assert pins(lab, guest)[0] == cpus_of(lab, 1), pins(lab, guest)
    assert pins(lab, guest) == {0: all_cpus(lab), 1: frozenset({0}), "emulator": all_cpus(lab)}, pins(lab, guest)


def test_shared_memory_moves_whole(lab):
    """field.md T13: memfd-backed, as vhost-user needs it."""
    guest = settled(lab, define(lab, "g", options=["--backing", "memfd"]).start())
    with daemon(lab):
        move(lab, guest, 1)
        assert guest.share_on(1) >= 0.98, guest.ram_bytes_per_node()


def test_huge_pages_stay_huge(lab):
    """field.md T14: moved twice, the share of huge pages is as before."""
    guest = settled(lab, define(lab, "g").start())  # QEMU asks for huge pages by madvise

    def huge_kib():
        return int(lab.sh(f"awk '/^AnonHugePages:/ {{ n += $2 }} END {{ print n + 0 }}' /proc/{guest.pid()}/smaps"))

    lab.wait_until(lambda: huge_kib() >= 32 * 1024, 60, "huge pages in the guest's memory", 1)
    before_kib = huge_kib()
    with daemon(lab):
        for node in (1, 0):
            move(lab, guest, node)
            assert guest.share_on(node) >= 0.98
        assert huge_kib() >= before_kib, (before_kib, huge_kib())


def test_rate_is_held(lab):
    """field.md T11: over 10 s, while the guest writes."""
    guest = settled(lab, define(lab, "g", mib=96).start())
    script = f"""
        bytes() {{ awk -v n=N1 '/anon=/ {{ for (i = 2; i <= NF; i++) if ($i ~ "^" n "=") s += substr($i, 4) }}
                   END {{ printf "%d\\n", s * 4096 }}' /proc/{guest.pid()}/numa_maps; }}
        now() {{ cut -d' ' -f1 /proc/uptime; }}
        a=$(now) x=$(bytes); sleep 10; b=$(now) y=$(bytes); echo $a $x $b $y"""
    home = 0 if guest.share_on(0) < 0.5 else 1
    with daemon(lab, host_rate="4MiB/s", batch_ceiling="1MiB", batch_floor="256KiB"):
        if home == 0:
            script = script.replace("n=N1", "n=N0")
        begin_move(lab, guest, home)
        start_s, start, end_s, end = map(float, lab.sh(script).split())
        rate = (end - start) / (end_s - start_s) / (4 * MIB)
        assert 0.95 <= rate <= 1.05, f"{rate:.3f} of the limit"


def test_start_is_not_delayed(lab):
    """field.md T12: another domain starts while one moves, and is up before the move ends."""
    guest = settled(lab, define(lab, "g").start())
    other = define(lab, "h", mib=32)
    node = 1 if guest.share_on(1) < 0.5 else 0
    with daemon(lab, host_rate="1MiB/s", batch_ceiling="1MiB", batch_floor="256KiB"):
        begin_move(lab, guest, node)
        other.start()
        assert guest.share_on(node) < 0.98, "the move had ended before: this shows nothing"


def test_dump_in_mid_move(lab):
    """field.md T16: the dump succeeds, the move steps aside, and is taken up again afterwards."""
    guest = settled(lab, define(lab, "g").start())
    node = 1 if guest.share_on(1) < 0.5 else 0
    with daemon(lab, host_rate="2MiB/s", batch_ceiling="1MiB", batch_floor="256KiB"):
        begin_move(lab, guest, node)
        lab.sh("virsh dump g /var/tmp/g.core --memory-only --live && rm /var/tmp/g.core", timeout_s=120)
        lab.sh("homenode set apply.host-rate 1GiB/s")
        move(lab, guest, node)
        assert guest.share_on(node) >= 0.98


def test_guest_killed_in_mid_move(lab):
    guest = settled(lab, define(lab, "g").start())
    other = settled(lab, define(lab, "h").start())
    node = 1 if guest.share_on(1) < 0.5 else 0
    with daemon(lab, host_rate="2MiB/s", batch_ceiling="1MiB", batch_floor="256KiB"):
        begin_move(lab, guest, node)
        lab.sh(f"kill -9 {guest.pid()}")
        lab.wait_until(lambda: guest.state() == "shut off", 60, "the guest to be gone")
        uuid = lab.sh("virsh domuuid g").strip()
        lab.wait_until(lambda: uuid not in lab.sh(f"ls {JOURNAL}"), 30, "its journal entry to be gone")
        lab.sh("homenode set apply.host-rate 1GiB/s")
        move(lab, other, node)
        # Under the same name and uuid again: a new domain, whose pins nobody has touched yet.
        lab.sh("homenode pause")
        guest.start()
        assert pins(lab, guest)[0] == all_cpus(lab)


def test_libvirtd_restarted_in_mid_move(lab):
    guest = settled(lab, define(lab, "g").start())
    before = pins(lab, guest)
    node = 1 if guest.share_on(1) < 0.5 else 0
    with daemon(lab, host_rate="4MiB/s", batch_ceiling="1MiB", batch_floor="256KiB"):
        begin_move(lab, guest, node)
        lab.sh("systemctl restart libvirtd", timeout_s=90)
        lab.wait_until(lambda: guest.share_on(node) >= 0.98, 120, "the move to end", 1)
        lab.wait_until(lambda: lab.run("virsh list").status == 0, 60, "libvirtd")
        lab.wait_until(lambda: lab.run("homenode host --json | grep -q '\"is-connected\": *true'").status == 0, 60,
                       "homenoded to be connected again")
    assert pins(lab, guest) == before, pins(lab, guest)


def test_node_fills_up_in_mid_move(lab):
    """field.md T8: somebody takes the room; refused with the reason, no complaint of the kernel, nobody killed."""
    guest = settled(lab, define(lab, "g", mib=96).start())
    node = 1 if guest.share_on(1) < 0.5 else 0
    lab.sh("dmesg -C")
    with daemon(lab, host_rate="2MiB/s", batch_ceiling="1MiB", batch_floor="256KiB"):
        begin_move(lab, guest, node)
        free_kib = int(lab.sh(f"awk '/MemFree/ {{ print $4 }}' /sys/devices/system/node/node{node}/meminfo"))
        lab.sh(f"mount -t tmpfs -o size=4g,mpol=bind:{node} hog /mnt && "
               f"dd if=/dev/zero of=/mnt/hog bs=1M count={free_kib // 1024 - 64} status=none", timeout_s=180)
        try:
            lab.sh("homenode set apply.host-rate 1GiB/s")
            lab.wait_until(lambda: "node-full" in lab.sh("homenode history g --json; homenode explain g --json"), 60,
                           "the reason node-full")
            assert guest.share_on(node) < 0.95
            assert guest.state() == "running"
        finally:
            lab.sh("umount /mnt")
    assert_quiet_kernel(lab)


def test_killed_at_any_instant(lab):
    """field.md T9: kill -9 at 50 random instants while it moves; stopped then, everything is as before."""
    guest = settled(lab, define(lab, "g").start())
    lab.sh("virsh vcpupin g 1 0-2 --live")
    before, sysctls = pins(lab, guest), lab.sh("cat /proc/sys/kernel/numa_balancing")
    nodesets = lab.sh("virsh numatune g")
    with daemon(lab, host_rate="64MiB/s"):
        script = r"""
            RANDOM=4711 moved=0
            for i in $(seq 50); do
                homenode rebalance g --node $((i % 2)) >/dev/null 2>&1 && moved=$((moved + 1))
                sleep 0.$((RANDOM % 1000))
                systemctl kill -s KILL homenoded
                systemctl reset-failed homenoded 2>/dev/null
                systemctl start homenoded || exit 1
                for k in $(seq 100); do homenode list >/dev/null 2>&1 && break; sleep 0.1; done
            done
            echo $moved; ls /run/homenode/journal/corrupt"""
        moved, *corrupt = lab.sh(script, timeout_s=380).split()
        assert int(moved) >= 45, f"only {moved} of 50 moves were begun"
        assert not corrupt, corrupt
    assert pins(lab, guest) == before, (before, pins(lab, guest))
    assert lab.sh("cat /proc/sys/kernel/numa_balancing") == sysctls
    assert lab.sh("virsh numatune g") == nodesets
    assert lab.sh(f"ls {JOURNAL} 2>/dev/null || echo corrupt").split() == ["corrupt"]
    assert_quiet_kernel(lab)


def test_only_the_needed_privileges(lab):
    guest = settled(lab, define(lab, "g").start())
    with daemon(lab):
        text = lab.sh("grep ^CapBnd /proc/$(systemctl show -p MainPID --value homenoded)/status")
        # chown, dac_read_search, sys_ptrace, sys_nice, perfmon: bits 0, 2, 19, 23, 38
        allowed = sum(1 << bit for bit in (0, 2, 19, 23, 38))
        assert int(text.split()[1], 16) & ~allowed == 0, text
        move(lab, guest, 1)
        assert guest.share_on(1) >= 0.98


def test_begins_again_after_a_pause(lab):
    guest = settled(lab, define(lab, "g").start())
    node = 1 if guest.share_on(1) < 0.5 else 0
    with daemon(lab, host_rate="4MiB/s", batch_ceiling="1MiB", batch_floor="256KiB"):
        begin_move(lab, guest, node)
        lab.sh("homenode pause")
        time.sleep(1)
        share = guest.share_on(node)
        time.sleep(4)
        assert guest.share_on(node) == share, (share, guest.share_on(node))
        lab.sh("homenode resume")
        lab.wait_until(lambda: guest.share_on(node) >= 0.98, 60, "the move to end", 1)
