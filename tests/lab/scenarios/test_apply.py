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

import account
from homelab import parse_cpu_list

TOPOLOGY = "n2c4"
NEEDS_BUILD = True
TIMEOUT_S = 900  # 50 starts of the daemon on a slow machine

GUEST_TOOL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../demo-vms/guest")
KERNEL = "/usr/local/share/homenode/homenode-guest.elf"
CONF = "/etc/homenode/homenode.conf"
JOURNAL = "/run/homenode/journal"


def define(lab, name, *words, mib=64, vcpus=2, iothreads=0, duty=20, options=()):
    """A demo guest that touches all of its memory and then is busy for @duty percent of the time."""
    argv = [GUEST_TOOL, "xml", name, "--kernel", KERNEL, "--vcpus", str(vcpus), "--mem", str(mib), "--mode", "auto",
            "--serial", f"/var/log/{name}.serial", *options, "pattern=private", f"duty={duty}", "touch=all", *words]
    xml = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout
    return lab.define(xml.replace("<os>", f"<iothreads>{iothreads}</iothreads>\n  <os>", 1) if iothreads else xml)


def settled(lab, guest):
    """Waits until it has touched its memory, and returns it."""
    lab.wait_until(lambda: "event=start" in guest.serial(), 90, f"{guest.name} to have touched its memory", 1)
    return guest


@contextlib.contextmanager
def daemon(lab, placement=None, **keys):
    """homenoded as its service runs it, with these keys of section [apply]; stopped at the end.

    @placement: keys of section [placement]. The kernel's own balancing is off meanwhile: it would carry the memory
    after the pins, and what a test sees would not be homenode's doing.
    """
    lines = "".join(f"{key.replace('_', '-')} = {value}\n" for key, value in keys.items())
    planning = "".join(f"{key} = {value}\n" for key, value in (placement or {}).items())
    # A busy emulator is no pressure that should stop a test of something else.
    lab.sh(f"sysctl -q kernel.numa_balancing=0; mkdir -p /etc/homenode; test ! -e {CONF} || cp {CONF} /run/homenode.conf.before; "
           f"printf '%s' '[evidence]\nswitch-balancing = no\n[apply]\nback-off = no\n{lines}[placement]\n{planning}' > {CONF}; "
           "systemctl daemon-reload; systemctl start homenoded", timeout_s=90)
    try:
        with account.given_on_failure(lab):
            # The first round has been made: before it, it knows no nodes and says so.
            lab.wait_until(lambda: lab.run("homenode plan --json").status == 0, 60, "homenoded to answer")
            lab.wait_until(lambda: re.search(r'"rounds": *[1-9]', lab.run("homenode host --json").out), 60, "its first round")
            yield
    finally:
        lab.run(f"systemctl stop homenoded; systemctl reset-failed homenoded; rm {CONF}; sysctl -q kernel.numa_balancing=1; "
                f"test ! -e /run/homenode.conf.before || mv /run/homenode.conf.before {CONF}", timeout_s=120)


def pins(lab, guest):
    """vCPU → CPUs, and 'emulator' → CPUs, as virsh tells them."""
    result = {}
    for line in lab.sh(f"virsh vcpupin {guest.name} --live; virsh emulatorpin {guest.name} --live").splitlines():
        match = re.match(r"\s*(\d+|\*):?\s+([-0-9,]+)\s*$", line)
        if match:
            result["emulator" if match[1] == "*" else int(match[1])] = parse_cpu_list(match[2])
    return result


def iothread_cpus(lab, guest):
    """Where its only iothread may run, as virsh tells it and as the kernel has it; they have to agree."""
    told = parse_cpu_list(re.search(r"^ *1 +([-0-9,]+) *$", lab.sh(f"virsh iothreadinfo {guest.name} --live"), re.M)[1])
    (real,) = (thread.affinity for thread in guest.threads() if thread.name == "IO iothread1")
    assert told == real, (told, real)
    return told


def cpus_of(lab, node):
    return frozenset(lab.topology.nodes[node].cpus)


def all_cpus(lab):
    return frozenset().union(*(node.cpus for node in lab.topology.nodes))


def move(lab, guest, node, timeout_s=150):
    """A forced rebalance that has to succeed."""
    lab.sh(f"homenode rebalance {guest.name} --node {node} --wait", timeout_s=timeout_s)


def begin_move(lab, guest, node):
    """Starts a rebalance and returns when some, but not all, of what lay elsewhere has moved."""
    shares = [guest.share_on(node)]
    lab.sh(f"homenode rebalance {guest.name} --node {node}")

    def has_begun():
        shares.append(guest.share_on(node))
        assert shares[-1] < 0.95, f"too late to be in the middle of the move: {shares}"
        return shares[-1] > shares[0] + 0.03

    lab.wait_until(has_begun, 60, f"{guest.name} to be in the middle of its move", 0.3)


@contextlib.contextmanager
def filled(lab, with_huge_pages=True, **leave_mib):
    """Takes memory of nodes ('node0=56') until so many MiB above their high watermarks are free; gives it back at the end.

    The value of the context is a function that gives back as much as others have taken since: what it is told was
    given up by guests ('node0=8'; negative: taken) it does not count. Reserved huge pages, because they are neither zeroed nor reclaimed; a file for what fragmentation leaves. A guest
    on huge pages would take those: without them it is all a file.
    """
    script = r"""
        fill() {
            high=$(awk -v n=$1 '/^Node/ { here = $2 == n "," } here && $1 == "high" { s += $2 } END { print s * 4 }' /proc/zoneinfo)
            left() { awk -v h=$high -v l=$2 '/MemFree/ { n = int(($4 - h) / 1024 - l); print (n > 0 ? n : 0) }' $dir/meminfo; }
            dir=/sys/devices/system/node/node$1
            echo $(($(left $*) / 2)) > $dir/hugepages/hugepages-2048kB/nr_hugepages
            mkdir -p /run/hog$1 && mount -t tmpfs -o size=4g,mpol=bind:$1 hog /run/hog$1
            dd if=/dev/zero of=/run/hog$1/f bs=1M count=$(left $*) status=none
        }
        sync; echo 3 > /proc/sys/vm/drop_caches
        """
    nodes = {name.removeprefix("node"): mib for name, mib in leave_mib.items()}
    if not with_huge_pages:
        script = re.sub(r"\n *echo .*nr_hugepages", "", script)

    def keep_level(**given_mib):
        lab.sh("".join(f"""
            dir=/sys/devices/system/node/node{node}
            high=$(awk '/^Node/ {{ here = $2 == "{node}," }} here && $1 == "high" {{ s += $2 }} END {{ print s * 4 }}' /proc/zoneinfo)
            lack=$(awk -v h=$high '/MemFree/ {{ n = int(({mib + given_mib[f'node{node}']:.1f} - ($4 - h) / 1024 + 1) / 2); print (n > 0 ? n : 0) }}' $dir/meminfo)
            pool=$dir/hugepages/hugepages-2048kB/nr_hugepages
            [ $lack = 0 ] || echo $(($(cat $pool) - lack)) > $pool
            """ for node, mib in nodes.items()))

    try:
        lab.sh(script + "".join(f"fill {node} {mib}\n" for node, mib in nodes.items()), timeout_s=180)
        yield keep_level
    finally:
        for node in nodes:
            lab.run(f"umount /run/hog{node}; echo 0 > /sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages",
                    timeout_s=60)


def assert_quiet_kernel(lab):
    text = lab.sh("dmesg | grep -E 'page allocation failure|Out of memory|oom-kill' || true")
    assert not text, text


def test_there_and_back_and_released(lab):
    guest = settled(lab, define(lab, "g", iothreads=1).start())
    before, before_io = pins(lab, guest), iothread_cpus(lab, guest)
    with daemon(lab):
        for node in (1, 0, 1):
            move(lab, guest, node)
            assert guest.share_on(node) >= 0.98, guest.ram_bytes_per_node()
            assert all(cpus == cpus_of(lab, node) for cpus in pins(lab, guest).values()), pins(lab, guest)
            assert all(vcpu.affinity == cpus_of(lab, node) for vcpu in guest.vcpus())
            assert iothread_cpus(lab, guest) == cpus_of(lab, node)
        assert lab.sh(f"ls {JOURNAL}").split() != ["corrupt"]
        assert "vcpupin" not in guest.xml(inactive=True)
        lab.sh("homenode release g", timeout_s=60)
        lab.wait_until(lambda: pins(lab, guest) == before, 30, "the pins to be as before")
        assert iothread_cpus(lab, guest) == before_io
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
    """T10: a pin by virsh while it is ours. It stays, is given as the reason, and the others come to it."""
    guest = settled(lab, define(lab, "g", vcpus=2).start())
    with daemon(lab):
        move(lab, guest, 1)
        lab.sh("virsh vcpupin g 1 0 --live")
        lab.wait_until(lambda: "pinned-by-admin" in lab.sh("homenode history g --json"), 30, "the yielding to be told")
        # Its cooldown has just begun; what is told is the pin, not the waiting.
        lab.wait_until(lambda: "pinned-by-admin" in lab.sh("homenode list --json"), 30, "the pin to be the reason")
        refused = lab.run("homenode rebalance g --node 1 --wait", timeout_s=90)
        assert refused.status != 0 and "pinned" in refused.out + refused.err, refused
        assert pins(lab, guest)[1] == {0}, pins(lab, guest)
        lab.sh("homenode rebalance g --wait", timeout_s=150)
        assert pins(lab, guest) == {0: cpus_of(lab, 0), 1: frozenset({0}), "emulator": cpus_of(lab, 0)}, pins(lab, guest)
        assert guest.share_on(0) >= 0.98, guest.ram_bytes_per_node()
    assert pins(lab, guest) == {0: all_cpus(lab), 1: frozenset({0}), "emulator": all_cpus(lab)}, pins(lab, guest)


def test_shared_memory_moves_whole(lab):
    """T13: memfd-backed, as vhost-user needs it."""
    guest = settled(lab, define(lab, "g", options=["--backing", "memfd"]).start())
    with daemon(lab):
        move(lab, guest, 1)
        assert guest.share_on(1) >= 0.98, guest.ram_bytes_per_node()


def test_huge_pages_stay_huge(lab):
    """T14: moved twice, the share of huge pages is as before."""
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


def test_start_is_not_delayed(lab):
    """T12: another domain starts while one moves, and is up before the move ends."""
    guest = settled(lab, define(lab, "g").start())
    other = define(lab, "h", mib=32)
    node = 1 if guest.share_on(1) < 0.5 else 0
    with daemon(lab, host_rate="1MiB/s", batch_ceiling="1MiB", batch_floor="256KiB"):
        begin_move(lab, guest, node)
        other.start()
        assert guest.share_on(node) < 0.98, "the move had ended before: this shows nothing"


def test_dump_and_save_in_mid_move(lab):
    """T16: the dump succeeds, the move steps aside, and is taken up again afterwards. So does saving; restored, it is moved anew."""
    guest = settled(lab, define(lab, "g").start())
    node = 1 if guest.share_on(1) < 0.5 else 0
    with daemon(lab, host_rate="1MiB/s", batch_ceiling="1MiB", batch_floor="256KiB"):
        begin_move(lab, guest, node)
        # Into a pipe that nobody empties yet: the dump lasts until the move has stepped aside.
        lab.sh("rm -f /run/dump*; mkfifo /run/dump; (exec < /run/dump; until test -e /run/dump.go; do sleep 0.2; done; "
               "cat > /dev/null) > /dev/null 2>&1 &")
        lab.spawn("dump", "bash -c 'virsh dump g /run/dump --memory-only --live && touch /run/dump.done'")
        try:
            lab.wait_until(lambda: "domain-busy" in lab.sh("homenode history g --json"), 60, "the move to step aside")
            share = guest.share_on(node)
            assert share < 0.98, "the move had ended before: this shows nothing"
            time.sleep(3)
            assert guest.share_on(node) == share, "it went on moving"
            lab.sh("touch /run/dump.go")
            lab.wait_until(lambda: lab.run("test -e /run/dump.done").status == 0, 90, "the dump to succeed")
        finally:
            lab.run("touch /run/dump.go")
        lab.sh("homenode set apply.host-rate 1GiB/s")
        move(lab, guest, node)
        assert guest.share_on(node) >= 0.98
        lab.sh("homenode set apply.host-rate 1MiB/s")
        begin_move(lab, guest, 1 - node)
        saved = guest.pid()
        lab.sh("rm -f /var/tmp/g.save; virsh save g /var/tmp/g.save", timeout_s=120)
        lab.wait_until(lambda: lab.sh(f"ls {JOURNAL}").split() == ["corrupt"], 30, "the saved guest's journal entry to be deleted")
        lab.sh("homenode set apply.host-rate 1GiB/s; virsh restore /var/tmp/g.save; rm /var/tmp/g.save", timeout_s=120)
        assert guest.pid() != saved
        lab.wait_until(lambda: lab.run(f"homenode rebalance g --node {1 - node} --wait", timeout_s=90).status == 0, 60,
                       "the restored guest to be known")
        assert guest.share_on(1 - node) >= 0.98
        assert all(cpus == cpus_of(lab, 1 - node) for cpus in pins(lab, guest).values()), pins(lab, guest)


def test_node_fills_up_in_mid_move(lab):
    """T8: somebody takes the room; refused with the reason, no complaint of the kernel, nobody killed."""
    guest = settled(lab, define(lab, "g", mib=96).start())
    node = 1 if guest.share_on(1) < 0.5 else 0
    lab.sh("dmesg -C")
    with daemon(lab, host_rate="1MiB/s", batch_ceiling="1MiB", batch_floor="256KiB"):
        begin_move(lab, guest, node)
        with filled(lab, **{f"node{node}": 48}):  # less than the headroom of 64 MiB
            lab.sh("homenode set apply.host-rate 1GiB/s")
            lab.wait_until(lambda: "node-full" in lab.sh("homenode history g --json; homenode explain g --json"), 60,
                           "the reason node-full")
            assert guest.state() == "running"
    assert_quiet_kernel(lab)


def test_cpus_go_to_memory_that_cannot_move(lab):
    """T5's equivalent: huge pages, for which no other node has room. Nothing is tried in vain; with room they move."""
    pool, other_pool = (f"/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages" for node in (0, 1))
    # libvirtd looks for the mount when it starts.
    lab.sh(f"echo 40 > {pool}; mkdir -p /dev/hugepages; mountpoint -q /dev/hugepages || "
           "{ mount -t hugetlbfs hugetlbfs /dev/hugepages && systemctl restart libvirtd; }; virsh -q list", timeout_s=90)
    try:
        with contextlib.ExitStack() as filling:
            filling.enter_context(filled(lab, with_huge_pages=False, node1=8))
            guest = settled(lab, define(lab, "g", options=["--backing", "hugetlb"]).start())
            assert guest.share_on(0) == 1, guest.ram_bytes_per_node()
            with daemon(lab):
                lab.wait_until(lambda: all(cpus == cpus_of(lab, 0) for cpus in pins(lab, guest).values()), 60,
                               "the CPUs to go to the memory")
                lab.sh("homenode rebalance g --wait", timeout_s=90)
                assert all(cpus == cpus_of(lab, 0) for cpus in pins(lab, guest).values()), pins(lab, guest)
                assert "move-memory" not in lab.sh("homenode history g --json")
                before = pins(lab, guest)
                refused = lab.run("homenode rebalance g --node 1 --wait", timeout_s=90)
                # Whether a single huge page has room on node 1 just then decides which of the two is the reason.
                assert refused.status != 0 and re.search("immovable|node-full", refused.out), refused
                assert pins(lab, guest) == before, pins(lab, guest)
                assert guest.share_on(0) == 1, guest.ram_bytes_per_node()
                filling.close()
                lab.sh(f"echo 40 > {other_pool}")
                lab.wait_until(lambda: lab.run("homenode rebalance g --node 1 --wait", timeout_s=90).status == 0, 60,
                               "the room to be seen")
                assert guest.share_on(1) == 1, guest.ram_bytes_per_node()
                assert all(cpus == cpus_of(lab, 1) for cpus in pins(lab, guest).values()), pins(lab, guest)
        assert_quiet_kernel(lab)
    finally:
        lab.cleanup()
        lab.run(f"echo 0 > {pool}; echo 0 > {other_pool}")


def test_two_swap_places_on_full_nodes(lab):
    """Neither fits beside the other: they change places in pieces, through the little room there is."""
    a, b = (settled(lab, define(lab, name, vcpus=1).start()) for name in "ab")
    lab.sh("dmesg -C; rm -f /run/homenode/past")
    with daemon(lab):
        move(lab, a, 0)
        move(lab, b, 1)
    # Stopped: the pins are back, the memory stays.
    lab.sh("""
        rm -f /run/homenode/past
        for x in a:1 b:0; do
            virsh metadata ${x%:*} --uri urn:homenode:placement:1 --key homenode \\
                --set "<placement mode='auto' nodeset='${x#*:}'/>" --live
        done""")
    def have_changed():
        on0, on1 = (a.share_on(node) + b.share_on(node) for node in (0, 1))
        # What the host itself takes meanwhile is not what this is about.
        keep_level(node0=64 * (1 - on0), node1=64 * (1 - on1))
        return a.share_on(1) >= 0.98 and b.share_on(0) >= 0.98

    with filled(lab, node0=40, node1=40) as keep_level:  # 24 MiB above the headroom; each guest has twice as much
        with daemon(lab, placement={"reserve": "0%", "reserve-min": "0"}, headroom="16MiB"):
            lab.wait_until(have_changed, 180, "both to have changed places", 1)
            assert a.state() == b.state() == "running"
    assert_quiet_kernel(lab)


def test_killed_at_any_instant(lab):
    """T9: kill -9 at 50 random instants of pinning and moving; stopped then, everything is as before."""
    guest = settled(lab, define(lab, "g").start())
    lab.sh("virsh vcpupin g 1 0-2 --live")

    def state():
        return pins(lab, guest), lab.sh("virsh numatune g"), lab.sh("sysctl -a --pattern '^kernel.numa_balancing|^vm'")

    before = state()
    lab.sh("mkdir -p /run/systemd/system/homenoded.service.d; printf '[Unit]\nStartLimitIntervalSec=0\n[Service]\n"
           "Restart=no\n' > /run/systemd/system/homenoded.service.d/often.conf")
    try:
        with daemon(lab, host_rate="64MiB/s"):
            # The order goes out as soon as the daemon answers; the kill follows within the second or two that its work takes.
            script = r"""
                RANDOM=4711 begun=0
                for i in $(seq 50); do
                    homenode rebalance g --node $((i % 2)) >/dev/null 2>&1 && begun=$((begun + 1))
                    ms=$((RANDOM % 1500)); sleep $((ms / 1000)).$(printf %03d $((ms % 1000)))
                    kill -9 $(systemctl show -p MainPID --value homenoded)
                    while systemctl is-active -q homenoded; do sleep 0.02; done
                    systemctl start homenoded || exit 1
                done
                echo $begun; ls /run/homenode/journal/corrupt"""
            begun, *corrupt = lab.sh(script, timeout_s=800).split()
            assert int(begun) == 50, f"only {begun} of 50 orders were taken"
            assert not corrupt, corrupt
            # One start more that takes nothing over, but puts back what the killed one left.
            move(lab, guest, 1)
            lab.sh(f"printf '[daemon]\\non-start = restore\\n' >> {CONF}; systemctl kill -s KILL homenoded; "
                   "while systemctl is-active -q homenoded; do sleep 0.1; done; systemctl start homenoded")
            lab.wait_until(lambda: '"released"' in lab.run("homenode history g --json").out, 60, "the restoring at the start")
    finally:
        lab.run("rm -r /run/systemd/system/homenoded.service.d; systemctl daemon-reload", timeout_s=60)
    assert state() == before, (before, state())
    assert lab.sh(f"ls {JOURNAL}").split() == ["corrupt"]
    assert_quiet_kernel(lab)


def test_only_the_needed_privileges(lab):
    guest = settled(lab, define(lab, "g").start())
    with daemon(lab):
        text = lab.sh("grep ^CapBnd /proc/$(systemctl show -p MainPID --value homenoded)/status")
        # chown, dac_read_search, sys_ptrace, sys_admin (kernel.numa_balancing asks for it), sys_nice, perfmon
        allowed = sum(1 << bit for bit in (0, 2, 19, 21, 23, 38))
        assert int(text.split()[1], 16) & ~allowed == 0, text
        move(lab, guest, 1)
        assert guest.share_on(1) >= 0.98


def test_begins_again_after_a_pause(lab):
    guest = settled(lab, define(lab, "g").start())
    node = 1 if guest.share_on(1) < 0.5 else 0
    with daemon(lab, host_rate="1MiB/s", batch_ceiling="1MiB", batch_floor="256KiB"):
        begin_move(lab, guest, node)
        lab.sh("homenode pause")
        time.sleep(1)
        share = guest.share_on(node)
        time.sleep(4)
        assert guest.share_on(node) == share, (share, guest.share_on(node))
        lab.sh("homenode set apply.host-rate 1GiB/s")
        lab.sh("homenode resume")
        lab.wait_until(lambda: guest.share_on(node) >= 0.98, 60, "the move to end", 1)
