# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab itself: does the emulated host look, answer, run guests and fail as it should?"""

import os
import tempfile
import threading
import time

from homelab import domain_xml
from host import Host, LabDied, LabTimeout

TOPOLOGY = "n4c4-mem"
TIMEOUT_S = 240


def sysfs_node(lab, node, file):
    return lab.read(f"/sys/devices/system/node/node{node}/{file}").strip()


def test_nodes_are_as_asked_for(lab):
    text = lab.sh("cat /sys/devices/system/node/online")
    assert text.strip() == f"0-{len(lab.topology.nodes) - 1}", text
    for node in lab.topology.nodes:
        assert sysfs_node(lab, node.id, "cpulist") == lab.cpus_of_node(node.id)
        distances = [int(word) for word in sysfs_node(lab, node.id, "distance").split()]
        assert distances == node.distances, (node.id, distances)
        total_kib = int(lab.sh(f"awk '/MemTotal/ {{ print $4 }}' /sys/devices/system/node/node{node.id}/meminfo"))
        share = total_kib * 1024 / node.mem_bytes
        assert 0.85 <= share <= 1.0, f"node {node.id} has {total_kib} KiB, {share:.2f} of what was asked for"


def test_physical_ranges_are_as_computed(lab):
    """The firmware's table of memory affinity must agree with Topology.ranges(): the meter's base."""
    seen = {}
    script = r"dmesg | sed -nE 's/.*SRAT: Node ([0-9]+) PXM [0-9]+ \[mem (0x[0-9a-f]+)-(0x[0-9a-f]+)\].*/\1 \2 \3/p'"
    for line in lab.sh(script).splitlines():
        node, low, last = line.split()
        seen.setdefault(int(node), []).append((int(low, 16), int(last, 16) + 1))
    for node, ranges in lab.topology.ranges().items():
        found = sorted(seen.get(node, []))
        # The legacy hole between 640 KiB and 1 MiB splits the first range.
        merged = []
        for low, end in found:
            if merged and low - merged[-1][1] in (0, 0x60000):
                merged[-1] = (merged[-1][0], end)
            else:
                merged.append((low, end))
        assert merged == ranges, f"node {node}: computed {ranges}, firmware says {found}"


def test_memory_only_node_has_attributes(lab):
    assert sysfs_node(lab, 3, "cpulist") == ""
    assert lab.sh("cat /sys/devices/system/node/has_cpu").strip() == "0-2"
    latency_ns = int(sysfs_node(lab, 3, "access0/initiators/read_latency"))
    assert latency_ns == lab.topology.nodes[3].latency_ns, latency_ns


def test_run_passes_output_and_status(lab):
    result = lab.run("echo out; echo err >&2; exit 7")
    assert (result.status, result.out, result.err) == (7, "out\n", "err\n"), result
    assert lab.run("kill -TERM $$").status == 128 + 15
    big = lab.sh("seq 100000")
    assert big == "".join(f"{i}\n" for i in range(1, 100001)), len(big)


def test_run_times_out_and_kills(lab):
    started_s = time.monotonic()
    try:
        lab.run("sleep 987 & sleep 987", timeout_s=2)
        raise AssertionError("a command outlived its time-out")
    except LabTimeout as error:
        assert "sleep 987" in str(error)
    assert time.monotonic() - started_s < 30
    lab.wait_until(lambda: lab.run("pgrep -f '^sleep 987'").status == 1, 20, "the killed job's processes to go")


def test_runs_in_parallel(lab):
    texts = {}

    def one(number):
        # Each waits until all four have come: only possible if they run at the same time.
        texts[number] = lab.sh(f"mkdir -p /run/par; : > /run/par/{number}; "
                               f"until [ $(ls /run/par | wc -l) = 4 ]; do sleep 0.1; done; echo {number}",
                               timeout_s=60)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lab.sh("rm -r /run/par")
    assert texts == {number: f"{number}\n" for number in range(4)}, texts


def test_push_pull_round_trip(lab):
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "sub", "data.bin")
        os.mkdir(os.path.dirname(source))
        content = os.urandom(3_000_001)
        with open(source, "wb") as stream:
            stream.write(content)
        os.chmod(source, 0o751)
        lab.push(source, "/root/new name.bin")
        lab.push(os.path.dirname(source), "/root/into/")
        assert lab.sh("stat -c '%a %u %s' '/root/new name.bin'").strip() == "751 0 3000001"
        for remote in ("/root/new name.bin", "/root/into/sub/data.bin"):
            back = os.path.join(folder, "back")
            lab.pull(remote, back)
            with open(back, "rb") as stream:
                assert stream.read() == content, remote
    lab.sh("rm -r '/root/new name.bin' /root/into")


def test_libvirtd_offers_kvm(lab):
    assert lab.sh("virsh -c qemu:///system list --name").strip() == ""
    capabilities = lab.sh("virsh -c qemu:///system domcapabilities --virttype kvm")
    assert "<domain>kvm</domain>" in capabilities, capabilities[:500]
    assert "kvm_amd" in lab.sh("lsmod")
    assert lab.sh("virsh capabilities").count("<cell id=") == len(lab.topology.nodes)


def test_kvm_guest_runs(lab):
    guest = lab.define(domain_xml("tiny", 64, 2, disk=lab.boot_sector())).start()
    assert guest.state() == "running"
    vcpus = guest.vcpus()
    assert [thread.name for thread in vcpus] == ["CPU 0/KVM", "CPU 1/KVM"], vcpus
    before_ns = vcpus[0].run_ns
    lab.wait_until(lambda: guest.vcpus()[0].run_ns > before_ns + 200_000_000, 60, "vCPU 0 to use the CPU")
    assert guest.cgroup().endswith("tiny.scope"), guest.cgroup()
    assert lab.sh(f"stat -fc %T {lab_quote(guest.cgroup())}").strip() == "cgroup2fs"


def test_guests_come_and_go_without_a_change_of_kernel_text(lab):
    """Emulation gets the kernel's text wrong when static keys change while guests run (keys.c)."""
    trace = "/sys/kernel/tracing"
    lab.sh(f"echo 'p:lab_key jump_label_update key=%di:symbol' >> {trace}/kprobe_events\n"
           f"echo 1 > {trace}/events/kprobes/lab_key/enable")
    try:
        guest = lab.define(domain_xml("passing", memory_mib=32, disk=lab.boot_sector())).start()
        lab.sh("sleep 2")  # that its APIC is off is forgotten a second later
        guest.destroy()
        patched = lab.sh(f"sed -n 's/.*lab_key:.*key=//p' {trace}/trace")
        assert not patched, f"static keys changed:\n{patched}{lab.run('systemctl status homenode-lab-keys').out}"
        # That the question can be answered with yes: a key nobody holds.
        lab.sh("sysctl -qw kernel.numa_balancing=0; sysctl -qw kernel.numa_balancing=1")
        assert "sched_numa_balancing" in lab.read(f"{trace}/trace")
    finally:
        lab.run(f"echo 0 > {trace}/events/kprobes/lab_key/enable; echo '-:lab_key' >> {trace}/kprobe_events\n"
                f"echo > {trace}/trace")


def test_pin_and_restrictive_numatune(lab):
    guest = lab.define(domain_xml("fenced", 96, 1, disk=lab.boot_sector(), prealloc=True,
                                  numatune="1", cpuset="2")).start()
    per_node = guest.ram_bytes_per_node()
    assert per_node == {1: 96 << 20}, per_node
    assert guest.vcpus()[0].affinity == {2}
    lab.sh("virsh numatune fenced --mode restrictive --nodeset 0 --live", timeout_s=120)
    lab.wait_until(lambda: guest.share_on(0) > 0.99, 60, "the memory to follow the nodeset")
    lab.sh("virsh vcpupin fenced 0 0-1 --live")
    assert guest.vcpus()[0].affinity == {0, 1}


def lab_quote(path):
    return "'" + path + "'"


def test_memory_of_shared_and_split_guests(lab):
    """Guest RAM is found for memfd backing and for guest NUMA cells too."""
    shared = lab.define(domain_xml("shared", 64, 1, disk=lab.boot_sector(), shared=True, prealloc=True)).start()
    assert sum(shared.ram_bytes_per_node().values()) == 64 << 20, shared.ram_bytes_per_node()
    cells = lab.define(domain_xml("cells", vcpus=2, disk=lab.boot_sector(), cells=(32, 64), prealloc=True)).start()
    assert sum(cells.ram_bytes_per_node().values()) == 96 << 20, cells.ram_bytes_per_node()


def test_wedged_host_is_killed_and_reported(_lab):
    """A second, small host is stopped in its tracks; the driver must notice, kill it and say so."""
    host = Host("wedged")
    host.down()
    before = os.environ.get("HN_LAB_SILENCE_S")
    os.environ["HN_LAB_SILENCE_S"] = "6"
    try:
        host.up("n2c2")
        timer = threading.Timer(2.0, lambda: host.qmp("stop"))
        timer.start()
        try:
            host.run("echo begun; sleep 300")
            raise AssertionError("a stopped host went unnoticed")
        except LabDied as died:
            assert "wedged" in str(died) and "hangs" in str(died) and "sleep 300" in str(died), str(died)
            assert "processor 0" in str(died), str(died)
            assert not died.is_hiccup, "somebody stopped it: no hiccup of the emulation"
        finally:
            timer.join()
        assert host.pid() is None
        assert host.status()["state"] == "down"
    finally:
        host.kill()
        if before is None:
            del os.environ["HN_LAB_SILENCE_S"]
        else:
            os.environ["HN_LAB_SILENCE_S"] = before


def test_crashed_host_is_reported(_lab):
    host = Host("crashed")
    host.down()
    try:
        host.up("n2c2")
        try:
            host.run("echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger; sleep 60")
            raise AssertionError("a panic went unnoticed")
        except LabDied as died:
            assert "sysrq" in str(died) or "went away" in str(died), str(died)
            assert "Kernel panic" in str(died), str(died)
        assert host.pid() is None
    finally:
        host.kill()
