# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole loop as an admin uses it: move there and back, release, opt out, statistics, bad input."""

import contextlib
import os
import re
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "convergence")]

# pylint: disable=wrong-import-position
import account  # noqa: E402
import scene  # noqa: E402

TOPOLOGY = "n2c4"
NEEDS_BUILD = True
TIMEOUT_S = 420
CONF = "/etc/homenode/homenode.conf"
PLACEMENT, STATS = "urn:homenode:placement:1", "urn:homenode:stats:1"
ELF = "/usr/share/homenode/homenode-guest.elf /usr/local/share/homenode/homenode-guest.elf"

guests = scene.guest_module()


def start(lab, name, placement, *words, vcpus=1, mem_mib=64):
    """A demo guest that has touched its RAM. @placement: attributes of the element, '' for none."""
    return start_all(lab, [name], placement, *words, vcpus=vcpus, mem_mib=mem_mib)[0]


def start_all(lab, names, placement, *words, vcpus=1, mem_mib=64):
    """Several at once: a start waits for a loader that emulation makes slow, not for its neighbours."""
    elf = lab.sh(f"ls {ELF} 2>/dev/null || true").split()[0]
    started = [lab.define(guests.guest_xml(guests.Guest(
        name=name, kernel=elf, vcpus=vcpus, mem_mib=mem_mib, placement=placement, serial=f"/var/log/{name}.serial",
        words=words or ("duty=20", "touch=all")))) for name in names]
    lab.sh("".join(f"virsh start {name} & pids=\"$pids $!\"; " for name in names)
           + "for pid in $pids; do wait $pid || exit 1; done", timeout_s=180)
    for guest in started:
        lab.wait_until(lambda guest=guest: "event=start" in guest.serial(), 90, f"{guest.name} to have touched its RAM")
    return started


def start_agent(lab):
    """Without the switch of the kernel's balancing: what a test sees is to be homenode's own doing."""
    lab.sh(f"mkdir -p /etc/homenode; printf '[evidence]\\nswitch-balancing = no\\n' > {CONF}; "
           "systemctl start homenoded", timeout_s=60)
    lab.wait_until(lambda: lab.run("homenode list --json").status == 0, 30, "homenoded to answer")


def stop_agent(lab):
    lab.sh(f"systemctl stop homenoded; systemctl reset-failed homenoded 2>/dev/null; rm -f {CONF}", timeout_s=120)


@contextlib.contextmanager
def agent(lab):
    """The agent, stopped at the end; a failure is told with its account."""
    start_agent(lab)
    try:
        with account.given_on_failure(lab):
            yield
    finally:
        stop_agent(lab)


@contextlib.contextmanager
def balancing_off(lab):
    """Without the kernel's own balancing, which moves memory too."""
    lab.sh("sysctl -qw kernel.numa_balancing=0")
    try:
        yield
    finally:
        lab.run("sysctl -qw kernel.numa_balancing=1")


def pins(lab, name):
    """Everything libvirt says about where it may run."""
    return lab.sh(f"virsh vcpupin {name}; virsh emulatorpin {name}; virsh numatune {name}")


def is_home(lab, guest, node):
    """All RAM on the node, and every vCPU thread restricted to its CPUs."""
    cpus = set(lab.topology.nodes[node].cpus)
    return guest.share_on(node) >= 0.98 and all(thread.affinity <= cpus for thread in guest.vcpus())


def test_rebalance_there_and_back_and_nobody_else(lab):
    with balancing_off(lab):
        managed = start(lab, "managed", "mode='auto'")
        other = start(lab, "other", "")
        other_pins, other_ram = pins(lab, "other"), other.ram_bytes_per_node()
        with agent(lab):
            for node in (1, 0, 1):
                lab.sh(f"homenode rebalance managed --node {node} --wait", timeout_s=120)
                assert is_home(lab, managed, node), (node, managed.ram_bytes_per_node(), managed.vcpus())
            assert pins(lab, "other") == other_pins
            assert other.ram_bytes_per_node() == other_ram
            # The read-only connection shows it too, once the next statistics are due.
            lab.wait_until(
                lambda: re.search(r"<stats [^>]*\bhome=['\"]1['\"]",
                                  lab.run(f"virsh -r metadata managed --uri {STATS}").out), 60,
                "statistics that tell the home")
            # virsh ends with status 0 whether there is an element or not.
            assert "<stats" not in lab.run(f"virsh -r metadata other --uri {STATS}").out


def test_release_opt_out_and_stop_restore(lab):
    guest = start(lab, "managed", "mode='auto'", vcpus=2)
    before = pins(lab, "managed")
    with agent(lab):
        lab.sh("homenode rebalance managed --node 1 --wait", timeout_s=120)
        assert pins(lab, "managed") != before
        lab.sh("homenode release managed", timeout_s=60)
        assert pins(lab, "managed") == before, pins(lab, "managed")

        lab.sh("homenode rebalance managed --node 0 --wait", timeout_s=120)
        assert is_home(lab, guest, 0)
        lab.sh(f"virsh metadata managed --uri {PLACEMENT} --remove --live", timeout_s=60)
        lab.wait_until(lambda: pins(lab, "managed") == before, 30, "the pins to be restored after opting out")
        assert lab.run("homenode rebalance managed --node 1").status != 0, "an unmanaged guest was moved"

        lab.sh(f"virsh metadata managed --uri {PLACEMENT} --key homenode --set \"<placement mode='auto'/>\" --live",
               timeout_s=60)
        lab.wait_until(lambda: lab.run("homenode rebalance managed --node 1 --wait", timeout_s=120).status == 0, 60,
                       "the guest to be managed again")
        assert pins(lab, "managed") != before
    assert pins(lab, "managed") == before, pins(lab, "managed")
    assert "<stats" not in lab.run(f"virsh metadata managed --uri {STATS}").out, "statistics were left behind"


def test_libvirtd_restarts_during_a_move(lab):
    guest = start(lab, "managed", "mode='auto'", mem_mib=192)
    with agent(lab):
        lab.sh("homenode rebalance managed --node 0 --wait", timeout_s=120)
        lab.sh("homenode rebalance managed --node 1; systemctl restart libvirtd", timeout_s=120)
        # The order may end as libvirt-gone; the guest must be whole all the same, here or there.
        lab.wait_until(lambda: is_home(lab, guest, 0) or is_home(lab, guest, 1), 90,
                       "pins and memory to agree after the restart")
        for node in (1, 0):
            lab.wait_until(
                lambda wanted=node: lab.run(f"homenode rebalance managed --node {wanted} --wait", timeout_s=120).status == 0,
                90, "the agent to have reconnected and to act")
            assert is_home(lab, guest, node), guest.ram_bytes_per_node()


def test_guest_killed_and_agent_killed_during_a_move(lab):
    doomed = start(lab, "doomed", "mode='auto'", mem_mib=192)
    stays = start(lab, "stays", "mode='auto'")
    before = pins(lab, "stays")
    with agent(lab):
        lab.sh("homenode rebalance doomed --node 0 --wait; homenode rebalance stays --node 0 --wait", timeout_s=120)
        lab.sh(f"homenode rebalance doomed --node 1; kill -9 {doomed.pid()}", timeout_s=60)
        lab.sh("homenode rebalance stays --node 1 --wait", timeout_s=120)
        assert is_home(lab, stays, 1)
        lab.sh("homenode rebalance stays --node 0; systemctl kill -s KILL homenoded; sleep 1; "
               "systemctl reset-failed homenoded; systemctl start homenoded", timeout_s=60)
        lab.wait_until(lambda: lab.run("homenode list --json").status == 0, 30, "the new homenoded to answer")
        lab.sh("homenode rebalance stays --node 1 --wait", timeout_s=120)
        assert is_home(lab, stays, 1)
    assert pins(lab, "stays") == before, pins(lab, "stays")
    # An entry is a file named by the domain's UUID.
    left = [name for name in lab.sh("ls -A /run/homenode/journal 2>/dev/null || true").split() if len(name) == 36]
    assert not left, f"the journal still holds {left}"


def refused(lab, command, *words):
    """The command fails with one line that has all the words."""
    result = lab.run(command)
    text = (result.out + result.err).strip()
    assert result.status != 0, f"{command} succeeded: {text}"
    for word in words:
        assert word in text, f"{command} says {text!r}, without {word!r}"
    assert len(text.splitlines()) == 1, f"{command} says more than a line: {text!r}"


def test_bad_input_changes_nothing(lab):
    with balancing_off(lab):
        guest = start(lab, "managed", "mode='sometimes'")
        before, ram = pins(lab, "managed"), guest.ram_bytes_per_node()
        refused(lab, "homenode list", "homenoded")
        with agent(lab):
            refused(lab, "homenode rebalance nobody --node 1", "nobody")
            refused(lab, "homenode rebalance managed --node 7", "7", "0", "1")
            row = lab.sh("homenode explain managed")
            assert "sometimes" in row, row
            lab.sh("homenode explain managed --json")
            lab.sh("sleep 6")
            assert pins(lab, "managed") == before
            assert guest.ram_bytes_per_node() == ram
            result = lab.run("setpriv --reuid=65534 --regid=65534 --clear-groups homenode rebalance managed --node 1")
            assert result.status != 0, "an unprivileged user moved a guest"
            lab.sh("setpriv --reuid=65534 --regid=65534 --clear-groups homenode list")
