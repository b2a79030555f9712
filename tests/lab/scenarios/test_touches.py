# SPDX-License-Identifier: GPL-2.0-or-later
"""The touch matrix where there is no KVM, and what is done for a wide guest that shares everything.

Theory of operation as in test_evidence.py: the guests say who touches what, the host's pagemap and affinities say where
pages and vCPUs are, and everything is waited for by its evidence.
"""

import contextlib
import json
import re

import account
import test_evidence
import test_loop

TOPOLOGY = "n2c4"
NEEDS_BUILD = True
TIMEOUT_S = 300
HUGE_PAGE_BYTES = 2 << 20


def show(text):
    """A figure for the log of the run."""
    print(f"# touches: {text}", flush=True)


def define(lab, name, *words, **settings):
    """A demo guest, not started."""
    elf = lab.sh(f"ls {test_loop.ELF} 2>/dev/null || true").split()[0]
    return lab.define(test_loop.guests.guest_xml(test_loop.guests.Guest(
        name=name, kernel=elf, serial=f"/var/log/{name}.serial", words=words, **settings)))


def wait_for_work(lab, guest):
    """Returns when it has touched its RAM and begun its pattern."""
    lab.wait_until(lambda: "event=start" in guest.serial(), 90, f"{guest.name} to have touched its RAM")
    guest.truth = test_evidence.slices(guest)


def protect_writes(lab, guest):
    """Write-protects all of its process's pages by clearing their soft-dirty bits: each page's next write faults.

    What a window of dirty logging does for a guest with KVM, whoever maps the page; without KVM logging can end QEMU."""
    lab.sh(f"echo 4 > /proc/{guest.pid()}/clear_refs", timeout_s=60)


def test_a_guest_without_kvm_is_known_too(lab):
    """Its faults are QEMU's own: the threads of its vCPUs fault at addresses of QEMU's."""
    guest = define(lab, "soft", "pattern=private", "ws=16", "stride=page", "duty=50", accel="tcg", vcpus=2, mem_mib=48,
                   placement="mode='advise'").start()
    wait_for_work(lab, guest)
    with test_evidence.sampling(lab, "all"):
        def known():
            protect_writes(lab, guest)
            found = test_evidence.domains(lab)[guest.name]
            part, right = test_evidence.judge(found, guest.truth)
            show(f"soft: known {part:.2f} right {right:.2f} {found['touches']}")
            return (right, found) if part >= test_evidence.COVERED else None

        right, found = lab.wait_until(known, 120, "the guest's chunks to be known", interval_s=1)
    assert found["is-kvm"] is False, found["is-kvm"]
    assert found["touches"]["n-touches"] > 0, found["touches"]
    assert right >= test_evidence.RIGHT, right


@contextlib.contextmanager
def agent(lab):
    """The agent, in doubt for long; nobody else moves memory, so that windows of dirty logging are all that unmaps.

    However slow this machine is, the guest is young when it is placed: later it would have to gain by it."""
    lab.sh(f"sysctl -qw kernel.numa_balancing=0; mkdir -p /etc/homenode; printf '[daemon]\\nround-interval = 1s\\n"
           f"[observe]\\ntouch-matrix = wide\\n[evidence]\\nrounds = 1000\\nswitch-balancing = no\\ndirty-rate = none\\n"
           f"[placement]\\nboot-window = 1h\\n' > {test_loop.CONF}; systemctl start homenoded", timeout_s=60)
    try:
        lab.wait_until(lambda: lab.run("homenode list --json").status == 0, 30, "homenoded to answer")
        with account.given_on_failure(lab):
            yield
    finally:
        test_loop.stop_agent(lab)
        lab.sh("sysctl -qw kernel.numa_balancing=1")


def rounds(lab):
    """How many rounds the agent has completed."""
    return int(re.search(r"^homenode_rounds_total (\d+)", lab.sh("homenode metrics"), re.M)[1])


def decisions(lab, name):
    """What the agent decided to do with a guest, newest first."""
    entries = json.loads(lab.sh(f"homenode history {name} --json"))["entries"]
    return [entry for entry in entries if entry["kind"] == "decision"]


def told(lab, name):
    """What the agent says of a guest."""
    return json.loads(lab.sh(f"homenode status {name} --json"))["domain"]


def test_who_shares_everything_is_spread_and_not_chased(lab):
    """Four vCPUs, twice what a node has, all over the same memory, all of which lies on one node at first."""
    guest = define(lab, "common", "pattern=shared", "seed=1", "ws=32", "stride=page", "duty=30", vcpus=4, mem_mib=64,
                   placement="mode='advise'")
    lab.sh("sysctl -qw kernel.numa_balancing=0; virsh start --paused common", timeout_s=120)
    test_evidence.hold(lab, guest, {vcpu: lab.cpus_of_node(0) for vcpu in range(4)})
    lab.sh("virsh resume common")
    wait_for_work(lab, guest)
    test_evidence.hold(lab, guest, {})
    shared = guest.truth[0]

    def where():
        return test_evidence.nodes_of(lab, guest), test_evidence.pages_on(lab, guest, *shared)

    with agent(lab):
        def known():
            test_evidence.write_window(lab, [guest])
            part, right = test_evidence.judge(test_evidence.domains(lab)["common"], guest.truth)
            show(f"common: known {part:.2f} right {right:.2f}, {where()}")
            return part >= test_evidence.COVERED and right >= test_evidence.RIGHT

        lab.wait_until(known, 120, "its memory to be known as shared", interval_s=1)
        nodes, pages = where()
        assert not decisions(lab, "common") and set(nodes) == {None} and set(pages) == {0}, (nodes, pages)

        lab.sh("virsh metadata common --uri urn:homenode:placement:1 --key homenode --set \"<placement mode='auto'/>\" --live")

        def spread():
            nodes, pages = where()
            share = pages.get(1, 0) / sum(pages.values())
            show(f"common: {nodes}, {share:.3f} of its shared memory on node 1")
            return (sorted(map(str, nodes)) == ["0", "0", "1", "1"] and abs(share - 0.5) <= 0.1
                    and told(lab, "common")["reason"] == "converged")

        lab.wait_until(spread, 90, "vCPUs and memory to be spread over both nodes", interval_s=1)
        at_first, made, n_rounds = where(), decisions(lab, "common"), rounds(lab)
        show(f"common: {made}")
        assert made[0]["reason"] in ("split-wide", "initial-placement"), made

        # What each window shows of who touches what is another sample: nothing may follow from it.
        while rounds(lab) < n_rounds + 10:
            test_evidence.write_window(lab, [guest])
        later = decisions(lab, "common")
        later = later[:len(later) - len(made)]
        # The page of the guest's own program is not of what is shared, and may come home once.
        assert sum(entry["bytes"] for entry in later) <= HUGE_PAGE_BYTES, later
        # A huge page that is being put together again is nowhere for a moment.
        lab.wait_until(lambda: where() == at_first, 20, "vCPUs and memory to be where they were")
        lab.wait_until(lambda: told(lab, "common")["reason"] == "converged", 20, "the guest to be at rest")
        row = told(lab, "common")
        show(f"common: {rounds(lab) - n_rounds} rounds and {len(later)} decisions later {row['moves']} moves: {row['sentence']}")
        assert row["moves"] == 1, row
