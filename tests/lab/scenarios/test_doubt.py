# SPDX-License-Identifier: GPL-2.0-or-later
"""Evidence only while in doubt: the kernel's balancing is switched and put back, a fence ends it, writes are measured.

Everything is read from the host, not from homenode: the sysctl, the guest's control group, libvirt's statistics.
"""

import contextlib
import json
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
TIMEOUT_S = 600  # most of it is waiting on a slow machine
CONF = "/etc/homenode/homenode.conf"
HOST_JOURNAL = "/run/homenode/journal/host"
ELF = "/usr/share/homenode/homenode-guest.elf /usr/local/share/homenode/homenode-guest.elf"

guests = scene.guest_module()


def start(lab, name, *words, vcpus=1, mem_mib=64):
    """A managed demo guest that has touched its RAM."""
    elf = lab.sh(f"ls {ELF} 2>/dev/null || true").split()[0]
    settings = guests.Guest(name=name, kernel=elf, vcpus=vcpus, mem_mib=mem_mib, placement="mode='auto'",
                            serial=f"/var/log/{name}.serial", words=words)
    guest = lab.define(guests.guest_xml(settings)).start()
    lab.wait_until(lambda: "event=start" in guest.serial(), 90, f"{name} to have touched its RAM")
    return guest


def balancing(lab):
    return lab.sh("cat /proc/sys/kernel/numa_balancing").strip()


def evidence(lab, name):
    """What homenode says of a guest: {} until there was a round."""
    result = lab.run(f"homenode status {name} --json")
    return json.loads(result.out)["domain"]["evidence"] if result.status == 0 else {}


@contextlib.contextmanager
def daemon(lab, **sections):
    """homenoded as its service runs it; the kernel's balancing is off before. Stopped at the end."""
    lines = "".join(f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
                    for section, keys in sections.items())
    lab.sh(f"sysctl -qw kernel.numa_balancing=0; mkdir -p /etc/homenode; printf '%s' '{lines}' > {CONF}; "
           "systemctl daemon-reload; systemctl start homenoded", timeout_s=90)
    try:
        with account.given_on_failure(lab):
            yield
    finally:
        lab.run(f"systemctl stop homenoded; systemctl reset-failed homenoded; rm {CONF}; "
                "sysctl -qw kernel.numa_balancing=1", timeout_s=120)


QUICK = {"daemon": {"round-interval": "1s"}, "evidence": {"rounds": "6", "recheck": "20min"}}


def test_balancing_is_on_only_while_in_doubt(lab):
    start(lab, "busy", "duty=30", "touch=all")
    with daemon(lab, **QUICK):
        lab.wait_until(lambda: balancing(lab) == "1", 60, "balancing to be on while the guest is in doubt")
        assert "numa_balancing" in lab.read(HOST_JOURNAL)
        # The same doubt asks for one measurement of what the guest writes.
        lab.wait_until(lambda: (evidence(lab, "busy").get("dirty-rate") or {}).get("bytes-per-sec", 0) > 0, 60,
                       "a dirty rate")
        stats = lab.sh("virsh domstats busy --dirtyrate")
        assert re.search(r"dirtyrate\.calc_status=2", stats), stats
        lab.wait_until(lambda: balancing(lab) == "0", 120, "balancing to be off when the guest is known")
        assert evidence(lab, "busy")["state"] not in ("sampling", "unknown"), evidence(lab, "busy")
        assert not lab.run(f"test -e {HOST_JOURNAL}").status == 0, "nothing is left in the journal"

        lab.sh("homenode rebalance busy --node 1")  # an order is a change of what the admin wants
        lab.wait_until(lambda: balancing(lab) == "1", 60, "the doubt to return")
        lab.sh("systemctl kill -s KILL homenoded; sleep 1; systemctl stop homenoded; systemctl reset-failed homenoded; true")
        assert balancing(lab) == "1", "a killed daemon cannot have put it back"
        assert "numa_balancing" in lab.read(HOST_JOURNAL)
        lab.sh("systemctl start homenoded && systemctl stop homenoded", timeout_s=120)
        assert balancing(lab) == "0", "start and stop after the crash put it back"

        lab.sh("systemctl start homenoded", timeout_s=60)
        lab.wait_until(lambda: lab.run("homenode rebalance busy --node 0").status == 0, 60, "homenoded to take an order")
        lab.wait_until(lambda: balancing(lab) == "1", 60, "the doubt to return once more")
        lab.sh("sysctl -qw kernel.numa_balancing=0")  # the admin
        lab.wait_until(lambda: "somebody changed it" in lab.sh("homenode doctor || true"), 60,
                       "the doctor to say whose the switch is")
        assert balancing(lab) == "0", "it was fought over"


def hint_faults(guest, lab):
    """Of the whole guest, by the kernel's count for its control group."""
    text = lab.read(f"{guest.cgroup()}/memory.stat")
    return int(re.search(r"^numa_hint_faults (\d+)$", text, re.M)[1])


def test_fenced_guest_takes_no_hinting_fault(lab):
    guest = start(lab, "fenced", "duty=30", "touch=all")
    with daemon(lab, placement={"fence": "yes", "cooldown": "5s"}, **QUICK):
        lab.wait_until(lambda: evidence(lab, "fenced").get("state") == "fenced", 240, "the guest to be fenced", 2)
        nodes = lab.sh("virsh numatune fenced")
        assert re.search(r"numa_mode\s*:\s*restrictive", nodes) and re.search(r"numa_nodeset\s*:\s*[01]$", nodes, re.M), nodes
        before = hint_faults(guest, lab)
        lab.sh("sleep 20", timeout_s=60)
        assert evidence(lab, "fenced")["state"] == "fenced"
        assert hint_faults(guest, lab) == before
        assert balancing(lab) == "0"
        # It must be open before anything moves, and is open to both nodes afterwards.
        lab.sh("homenode rebalance fenced --node $(virsh numatune fenced | grep -q 'nodeset *: 0' && echo 1 || echo 0) --wait",
               timeout_s=150)
        assert re.search(r"numa_nodeset\s*:\s*0-1$", lab.sh("virsh numatune fenced"), re.M)
