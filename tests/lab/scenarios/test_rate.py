# SPDX-License-Identifier: GPL-2.0-or-later
"""The rate and the length of calls hold while a guest writes hard to the memory that moves (T11).

Theory of operation. Time in an emulated host is real time, but its CPUs are threads of an emulator that shares this
machine's CPUs: it can lose any part of a second. So the bytes that lie on the destination are sampled from outside
of homenode (numa_maps) together with the host's own clock, in one process; a rate that is too high is a fault at
once, because no lack of CPU time makes bytes arrive early; one that is too low, or calls that are too long, are a
fault unless the kernel of this machine says that the emulator's threads had to wait for a CPU. Then the same is
measured again, a few times at most, and told.
"""

import os
import re

from test_apply import daemon, define, move, settled

TOPOLOGY = "n2c4"
NEEDS_BUILD = True
TIMEOUT_S = 300

RATE_MIB_PER_S = 12
WINDOW_S = 10
# The rate allows 122 MiB in 10 s; the guest has touched about 14 MiB less than it has.
GUEST_MIB = 160
# A huge page takes this host 15 to 50 ms, and the waiting of its threads for a CPU shows as far beyond as the default
# target (5 ms) is below.
CALL_TARGET_MS = 125
ATTEMPTS = 4
# Less waiting than this can neither cost 5 % of the window nor make a call too long.
STARVED_S = 0.1

# "before after pages all": the clock around each look, and 4 KiB pages of the guest's RAM, its largest mapping, on the node.
SAMPLER = r"""
awk -v pid=$1 -v node=$2 '
function now(   line, part) { getline line < "/proc/uptime"; close("/proc/uptime"); split(line, part, " "); return part[1] }
function look(   line, word, part, file, n, i, all, here) {
    file = "/proc/" pid "/numa_maps"; most = pages = 0
    while ((getline line < file) > 0) {
        n = split(line, word, " "); all = here = 0
        for (i = 2; i <= n; i++) if (word[i] ~ /^N[0-9]+=/) {
            split(word[i], part, "="); all += part[2]; if (part[1] == "N" node) here = part[2]
        }
        if (all > most) { most = all; pages = here }
    }
    close(file)
}
BEGIN {
    begin = now()
    do {
        before = now(); look(); after = now(); print before, after, pages, most
        system("sleep 0.25")
    } while (pages < most * 0.98 && after - begin < 60)
}'
"""


def rate_bounds(text, node):
    """What a sampler saw → the least and the most MiB/s that may have moved in WINDOW_S from the first page on."""
    samples = [tuple(float(word) for word in line.split()) for line in text.splitlines()]
    moving = [sample for sample in samples if sample[2] > samples[0][2]]
    assert moving, f"nothing moved to node {node}: {text}"
    first = moving[0]
    last = next((sample for sample in moving if sample[0] - first[1] >= WINDOW_S), None)
    assert last, f"the move took less than {WINDOW_S} s: {text}"
    mib = (last[2] - first[2]) / 256
    return mib / (last[1] - first[0]), mib / (last[0] - first[1])


def calls(lab):
    """Calls that moved memory until now: all, and those of more than twice the target."""
    text = lab.sh("homenode metrics")

    def count(bound):
        return int(re.search(rf'^homenode_move_call_duration_seconds_bucket{{le="{re.escape(bound)}"}} (\d+)$', text, re.M)[1])

    return count("+Inf"), count("+Inf") - count(f"{2 * CALL_TARGET_MS / 1000:g}")


def starved_s(lab):
    """Seconds for which the emulator's threads have waited for a CPU of this machine, and this machine for one of its host's."""
    with open("/proc/stat", encoding="ascii") as file:
        waited_s = int(file.readline().split()[8]) / os.sysconf("SC_CLK_TCK")
    with open(os.path.join(lab.run_dir, "qemu.pid"), encoding="ascii") as file:
        folder = f"/proc/{file.read().strip()}/task"
    for task in os.listdir(folder):
        try:
            with open(f"{folder}/{task}/schedstat", encoding="ascii") as file:
                waited_s += int(file.read().split()[1]) / 1e9
        except FileNotFoundError:  # a thread that ended
            pass
    return waited_s


def measure(lab, guest):
    """To node 0 as fast as the calls' target allows, and to node 1 at the rate → MiB/s at least and at most, calls, too long ones."""
    calls_before, long_before = calls(lab)
    lab.sh("homenode set apply.host-rate 1GiB/s")
    move(lab, guest, 0)
    lab.sh(f"homenode set apply.host-rate {RATE_MIB_PER_S}MiB/s; homenode rebalance {guest.name} --node 1")
    low, high = rate_bounds(lab.sh(f"set -- {guest.pid()} 1\n{SAMPLER}", timeout_s=90), 1)
    calls_after, long_after = calls(lab)
    return low, high, calls_after - calls_before, long_after - long_before


def test_rate_and_calls_hold_under_writes(lab):
    """T11: within 5 % over 10 s, and 99 of 100 calls within twice the target."""
    guest = settled(lab, define(lab, "g", mib=GUEST_MIB, vcpus=1, duty=100).start())
    with daemon(lab, call_target=f"{CALL_TARGET_MS}ms"):
        for attempt in range(1, ATTEMPTS + 1):
            before_s = starved_s(lab)
            low, high, n, too_long = measure(lab, guest)
            waited_s = starved_s(lab) - before_s
            told = (f"{low:.2f} to {high:.2f} of {RATE_MIB_PER_S} MiB/s, {too_long} of {n} calls over {2 * CALL_TARGET_MS} ms; "
                    f"the emulator waited {waited_s:.1f} s for CPUs")
            print(f"# attempt {attempt}: {told}", flush=True)
            assert low <= RATE_MIB_PER_S * 1.05, f"too fast: {told}"
            if high >= RATE_MIB_PER_S * 0.95 and too_long * 100 <= max(n, 100):
                return
            assert waited_s >= STARVED_S, f"too slow, and not for want of CPUs: {told}"
        raise AssertionError(f"not once in {ATTEMPTS} attempts: {told}")
