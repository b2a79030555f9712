# SPDX-License-Identifier: GPL-2.0-or-later
"""The touch matrix against guests whose accesses are known exactly, and what is decided by it.

Theory of operation. Demo guests say on their serial line which vCPU touches which guest-physical range. The
kernel's NUMA scanning, set fast, and windows of dirty logging unmap their pages again and again; homenode
samples the faults. What it learnt is read from its snapshot; where the pages of a guest lie from the host's
pagemap, never from homenode. Everything is waited for by its evidence; a chunk is judged when it is known.
"""

import base64
import contextlib
import json
import re
import struct

import account
import test_loop

TOPOLOGY = "n2c4"
NEEDS_BUILD = True
TIMEOUT_S = 600

SCAN = "/sys/kernel/debug/sched/numa_balancing"
# As fast as the kernel allows: docs/lab.md, traps.
FAST = {"scan_delay_ms": 50, "scan_period_min_ms": 20, "scan_period_max_ms": 100, "scan_size_mb": 64}
RIGHT = 0.95    # share of known chunks that must name the right vCPUs
COVERED = 0.9   # share of a guest's chunks that must be known before it is judged
PAGE_BYTES = 4096
N_PHASES = 2     # of the guest whose slices change hands


@contextlib.contextmanager
def sampling(lab, touch_matrix):
    """The agent with that observe.touch-matrix, in doubt for long, under fast scanning; all is put back."""
    lab.sh(f"mkdir -p /etc/homenode; printf '[observe]\\ntouch-matrix = {touch_matrix}\\n[evidence]\\nrounds = 1000\\n"
           f"switch-balancing = no\\ndirty-rate = none\\n' > {test_loop.CONF}; "
           f"for f in {' '.join(FAST)}; do echo $f $(cat {SCAN}/$f); done > /run/scan.before\n"
           + "\n".join(f"echo {value} > {SCAN}/{name}" for name, value in FAST.items())
           + "\nsysctl -qw kernel.numa_balancing=1; systemctl start homenoded", timeout_s=60)
    try:
        lab.wait_until(lambda: lab.run("homenode list --json").status == 0, 30, "homenoded to answer")
        with account.given_on_failure(lab):
            yield
    finally:
        test_loop.stop_agent(lab)
        lab.sh(f"while read name value; do echo $value > {SCAN}/$name; done < /run/scan.before")


def domains(lab):
    """name → domain of homenode's snapshot, taken now."""
    record = json.loads(lab.sh("homenode snapshot", timeout_s=60))
    return {domain["name"]: domain for domain in record["snapshot"]["domains"]}


def chunks(domain):
    """(first byte, last byte + 1, set of vCPUs) of each chunk, guest-physical; no vCPUs: not known."""
    for region in domain["regions"]:
        at = region["gpa-base"]
        end = at + region["length-bytes"]
        for count, *_, touchers in region.get("chunks", []):
            for _ in range(count):
                yield at, min(at + region["chunk-bytes"], end), {i for i in range(64) if touchers >> i & 1}
                at += region["chunk-bytes"]


def slices(guest):
    """vCPU → (start, end) as the guest's first line tells them."""
    line = re.search(r"^homenode-guest .*$", guest.serial(), re.M)[0]
    return {int(vcpu): (int(start, 16), int(end, 16))
            for vcpu, start, end in re.findall(r" slice(\d+)=0x([0-9a-f]+)-0x([0-9a-f]+)", line)}


def judge(domain, truth):
    """(share of the chunks with one truth that are known, share of the known ones that are right).

    A chunk has a truth when it lies whole in the slice of a vCPU, or of several; it is right when it names them and
    no other.
    """
    n_chunks = n_known = n_right = 0
    for start, end, touchers in chunks(domain):
        owners = {vcpu for vcpu, (low, high) in truth.items() if low <= start and end <= high}
        if not owners:
            continue
        n_chunks += 1
        n_known += bool(touchers)
        n_right += touchers == owners
    return n_known / n_chunks if n_chunks else 0.0, n_right / n_known if n_known else 0.0


def show(text):
    """A figure for the log of the run."""
    print(f"# evidence: {text}", flush=True)


def start(lab, name, *words, vcpus=2, mem_mib=64):
    """A demo guest that has begun its pattern; the agent only watches it."""
    guest = test_loop.start(lab, name, "mode='advise'", "stride=page", *words, vcpus=vcpus, mem_mib=mem_mib)
    guest.truth = slices(guest)
    return guest


def write_window(lab, running):
    """A second of dirty-bitmap logging of each guest: write-protects all, each page's next write faults."""
    names = " ".join(guest.name for guest in running)
    lab.run(f"for g in {names}; do virsh -q domdirtyrate-calc $g --seconds 1 --mode dirty-bitmap; done")
    lab.wait_until(lambda: "calc_status=1" not in lab.run(f"virsh domstats --dirtyrate {names}").out,
                   60, f"the windows of {names} to end")


def test_the_matrix_names_who_touches_what(lab):
    """Private writers, and readers, for whom the kernel's scanning alone unmaps anything."""
    writer = start(lab, "writer", "pattern=private", "access=write", "ws=24", "duty=30")
    reader = start(lab, "reader", "pattern=private", "access=read", "ws=24", "duty=80")
    running = [writer, reader]
    with sampling(lab, "all"):
        def known():
            write_window(lab, running)
            found = domains(lab)
            seen = {guest.name: judge(found[guest.name], guest.truth) for guest in running}
            show(", ".join(f"{name} known {part:.2f} right {right:.2f}" for name, (part, right) in seen.items()))
            return (seen, found) if all(part >= COVERED for part, _ in seen.values()) else None

        seen, found = lab.wait_until(known, 240, "the chunks of each guest to be known", interval_s=0.5)
    for guest in running:
        touches = found[guest.name]["touches"]
        show(f"{guest.name}: {touches}")
        # The interrupt controller's registers are in no RAM.
        assert touches["n-touches"] > 0 and touches["n-elsewhere"] > 0, touches
        assert seen[guest.name][1] >= RIGHT, seen


def hand_on(lab, guest, phase):
    """Makes a guest with phase=0 begin the next phase, which is that one; returns who has which slice in it."""
    lab.sh(f"virsh inject-nmi {guest.name}")
    lab.wait_until(lambda: f"event=phase state=busy phase={phase} " in guest.serial(), 60, f"phase {phase} of {guest.name}")
    return {vcpu: guest.truth[(vcpu + phase) % len(guest.truth)] for vcpu in guest.truth}


def test_the_matrix_follows_those_who_share_shift_and_sleep(lab):
    """Both of a sharing guest's vCPUs are named; slices that change hands are renamed; a sleeper is known once awake."""
    shared = start(lab, "shared", "pattern=shared", "seed=1", "ws=16", "duty=30", mem_mib=48)
    shift = start(lab, "shift", "pattern=phase", "phase=0", "ws=16", "duty=30", mem_mib=48)
    sleeper = start(lab, "sleeper", "pattern=idle-wake", "idle=20", "ws=16", "duty=30", mem_mib=48)
    running = [shared, shift, sleeper]
    truths = {guest.name: guest.truth for guest in running}
    missing = set(truths)
    with sampling(lab, "all"):
        for phase in range(N_PHASES):
            if phase > 0:
                truths["shift"] = hand_on(lab, shift, phase)
                missing.add("shift")

            def all_seen(phase=phase):
                write_window(lab, running)
                found = domains(lab)
                seen = {name: judge(found[name], truth) for name, truth in truths.items()}
                show(f"phase {phase}: "
                     + ", ".join(f"{name} known {part:.2f} right {right:.2f}" for name, (part, right) in seen.items()))
                missing.difference_update(name for name, (part, right) in seen.items()
                                          if part >= COVERED and right >= RIGHT
                                          and (name != "sleeper" or "event=wake" in sleeper.serial()))
                return not missing

            lab.wait_until(all_seen, 300, f"each to be told right, in phase {phase}", interval_s=0.5)


def hold(lab, guest, cpus_of_vcpu):
    """Holds each vCPU's thread on its CPUs; all CPUs when there are none for it."""
    every = f"0-{lab.topology.cpu_count - 1}"
    lab.sh("\n".join(f"taskset -pc {cpus_of_vcpu.get(thread.vcpu, every)} {thread.tid} >/dev/null"
                     for thread in guest.vcpus()))


def pages_on(lab, guest, start, end):
    """node id → pages of the guest-physical range that lie there, by the host's pagemap."""
    script = f"""
pid={guest.pid()}
ram=$(awk '/^[0-9a-f]+-[0-9a-f]+ / {{ split($1, part, "-"); at = part[1] }}
    /^Size:/ {{ kb = $2 }} /^VmFlags:/ {{ if (/ dc( |$)/ && / hg( |$)/ && kb >= 4096) print at }}' /proc/$pid/smaps)
dd if=/proc/$pid/pagemap bs=8 skip=$(( (0x$ram + {start}) / {PAGE_BYTES} )) count={(end - start) // PAGE_BYTES} \
    status=none | base64 -w0"""
    ranges = lab.topology.ranges()
    found = {}
    for (entry,) in struct.iter_unpack("<Q", base64.b64decode(lab.sh(script))):
        if entry >> 63:  # present
            at = (entry & ((1 << 55) - 1)) * PAGE_BYTES
            node = next(node for node, parts in ranges.items()
                        if any(low <= at < high for low, high in parts))
            found[node] = found.get(node, 0) + 1
    return found


def start_wide(lab, name, *words):
    """Four vCPUs, twice what a node has; every other huge page was touched first on the other node."""
    elf = lab.sh(f"ls {test_loop.ELF} 2>/dev/null || true").split()[0]
    settings = test_loop.guests.Guest(name=name, kernel=elf, vcpus=4, mem_mib=96, placement="mode='auto'",
                                      serial=f"/var/log/{name}.serial",
                                      words=("ws=64", "first=interleave", "stride=page", "duty=30", *words))
    guest = lab.define(test_loop.guests.guest_xml(settings))
    # Until the agent looks the kernel must not move what lies on the wrong node.
    lab.sh(f"sysctl -qw kernel.numa_balancing=0; virsh start --paused {name}", timeout_s=120)
    hold(lab, guest, {vcpu: lab.cpus_of_node(vcpu % 2) for vcpu in range(4)})
    lab.sh(f"virsh resume {name}")
    lab.wait_until(lambda: "event=start" in guest.serial(), 90, f"{name} to have touched its RAM")
    hold(lab, guest, {})
    guest.truth = slices(guest)
    return guest


def nodes_of(lab, guest):
    """The node that each vCPU is held on, None for one that may run anywhere."""
    def node(thread):
        nodes = {lab.node_of_cpu(cpu) for cpu in thread.affinity}
        return nodes.pop() if len(nodes) == 1 else None
    return [node(thread) for thread in guest.vcpus()]


def test_a_wide_guest_is_cut_where_its_touches_part(lab):
    """vCPUs 0-1 and 2-3 each hammer a half, interleaved over the nodes: each half ends with its vCPUs."""
    guest = start_wide(lab, "wide", "pattern=half")
    halves = [guest.truth[0], guest.truth[2]]
    before = [pages_on(lab, guest, *half) for half in halves]
    show(f"wide: before {before}")
    for found in before:
        assert min(found.get(node, 0) for node in (0, 1)) > 0.3 * sum(found.values()), before
    with sampling(lab, "wide"):
        def settled():
            write_window(lab, [guest])
            nodes = nodes_of(lab, guest)
            if None in nodes or nodes[0] != nodes[1] or nodes[2] != nodes[3] or nodes[0] == nodes[2]:
                return None
            found = [pages_on(lab, guest, *half) for half in halves]
            shares = [found[i].get(nodes[2 * i], 0) / sum(found[i].values()) for i in range(2)]
            return (nodes, shares) if min(shares) >= RIGHT else None

        nodes, shares = lab.wait_until(settled, 150, "each half to be with its vCPUs", interval_s=2)
        show(f"wide: vCPUs on {nodes}, halves local {shares}")

        def is_by_touch():
            # Before the matrix knew enough it may have been cut the same way by the order of its vCPUs.
            write_window(lab, [guest])
            return "who touches what" in lab.sh("homenode history wide --json; homenode explain wide --json")

        lab.wait_until(is_by_touch, 120, "the touches to be the reason", interval_s=2)
