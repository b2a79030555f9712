# SPDX-License-Identifier: GPL-2.0-or-later
"""A KVM guest that libvirt knows nothing of: opted in by a file, moved there and back, given back.

And the one test that every back end must pass, here with libvirt's daemon and real KVM guests of both kinds.
"""

import contextlib
import json
import shlex

import test_loop
from homelab import parse_cpu_list

TOPOLOGY = "n2c4"
NEEDS_BUILD = True
TIMEOUT_S = 420
SOCKETS = "/run/homenode/qemu"


class BareGuest:
    """A demo guest started by hand. Everything is read from /proc, nothing from homenode."""

    def __init__(self, lab, name, vcpus=2, mem_mib=64):
        elf = lab.sh(f"ls {test_loop.ELF} 2>/dev/null || true").split()[0]
        guests = test_loop.guests
        self.lab, self.name, self.mem_mib = lab, name, mem_mib
        self.socket, self.serial = f"{SOCKETS}/{name}.qmp", f"/var/log/{name}.serial"
        settings = guests.Guest(name=name, kernel=elf, vcpus=vcpus, mem_mib=mem_mib, serial=self.serial,
                                qmp=self.socket, words=("duty=20", "touch=all"))
        argv = guests.guest_qemu_argv(settings)
        argv[argv.index("-smp") + 1] = f"{vcpus},sockets={vcpus + 1},cores=1,threads=1,maxcpus={vcpus + 1}"
        self.pipe = f"/run/{name}.monitor"  # a monitor of our own: homenode holds the other one
        argv += ["-chardev", f"pipe,id=ours,path={self.pipe}", "-mon", "chardev=ours,mode=readline"]
        lab.sh(f"rm -f {self.pipe}.*; mkfifo {self.pipe}.in {self.pipe}.out; mkdir -p {SOCKETS}; systemd-run --unit=bare-{name} --collect -- "
               + " ".join(shlex.quote(word) for word in argv))
        lab.wait_until(lambda: "event=start" in lab.run(f"cat {self.serial} 2>/dev/null").out, 90,
                       f"{name} to have touched its RAM")
        self.pid = int(lab.sh(f"systemctl show -P MainPID bare-{name}"))

    def command(self, line):
        self.lab.sh(f"echo {shlex.quote(line)} > {self.pipe}.in")

    def threads(self):
        """{comm tid: allowed CPUs}"""
        text = self.lab.sh(f"cd /proc/{self.pid}/task; for t in *; do "
                           "echo \"$t;$(cat $t/comm);$(sed -n 's/^Cpus_allowed_list:.//p' $t/status)\"; done")
        found = {}
        for line in text.splitlines():
            tid, comm, cpus = line.split(";")
            found[f"{comm} {tid}"] = frozenset(parse_cpu_list(cpus))
        return found

    def vcpus(self):
        return {name: cpus for name, cpus in self.threads().items() if name.startswith("CPU ")}

    def share_on(self, node):
        """Of the largest mapping: nothing else in QEMU is as large as the guest's RAM."""
        pages = {}
        for line in self.lab.sh(f"cat /proc/{self.pid}/numa_maps").splitlines():
            here = {word.split("=")[0]: int(word.split("=")[1]) for word in line.split()
                    if word[0] == "N" and word[1].isdigit()}
            if sum(here.values()) > sum(pages.values()):
                pages = here
        return pages.get(f"N{node}", 0) / max(1, sum(pages.values()))

    def is_home(self, node):
        cpus = frozenset(self.lab.topology.nodes[node].cpus)
        return self.share_on(node) >= 0.98 and all(allowed <= cpus for allowed in self.threads().values())

    def opt_in(self, mode="auto"):
        self.lab.sh(f"echo \"<placement mode='{mode}'/>\" > {self.socket}.homenode")

    def stop(self):
        self.lab.run(f"systemctl stop bare-{self.name}; rm -f {self.socket}* {self.pipe}.*",
                     timeout_s=60)


def everywhere(lab):
    return frozenset(cpu for node in lab.topology.nodes for cpu in node.cpus)


def row_of(lab, name):
    rows = json.loads(lab.sh("homenode list --json"))["domains"]
    return next((row for row in rows if row["name"] == name), None)


def wait_managed(lab, name):
    lab.wait_until(lambda: (row_of(lab, name) or {}).get("mode") == "auto", 30, f"{name} to be managed")


def test_moves_hot_plug_release_quit(lab):
    guest = BareGuest(lab, "bare", vcpus=1)  # with the second one a node of this host is full
    with contextlib.ExitStack() as at_end:
        at_end.callback(guest.stop)
        at_end.enter_context(test_loop.agent(lab))
        lab.wait_until(lambda: row_of(lab, "bare"), 30, "the guest to be seen")
        assert not row_of(lab, "bare")["is-managed"]
        assert set(guest.threads().values()) == {everywhere(lab)}, guest.threads()
        guest.opt_in()
        wait_managed(lab, "bare")
        for node in (1, 0, 1):
            lab.sh(f"homenode rebalance bare --node {node} --wait", timeout_s=120)
            assert guest.is_home(node), (node, guest.share_on(node), guest.threads())
        lab.wait_until(lambda: "home='1'" in lab.run(f"cat {guest.socket}.stats.xml 2>/dev/null").out.replace('"', "'"),
                       40, "the statistics file to tell the last home")

        # A vCPU plugged in while the emulator is pinned is the guest's like the others.
        guest.command("device_add qemu64-x86_64-cpu,id=cpu1,socket-id=1,core-id=0,thread-id=0")
        lab.wait_until(lambda: len(guest.vcpus()) == 2, 30, "the second vCPU")
        lab.wait_until(lambda: row_of(lab, "bare")["vcpus"] == 2, 30, "the second vCPU to be counted")
        lab.sh("homenode rebalance bare --node 0 --wait", timeout_s=120)
        assert guest.is_home(0), (guest.share_on(0), guest.threads())

        lab.sh("homenode release bare", timeout_s=60)
        assert set(guest.threads().values()) == {everywhere(lab)}, guest.threads()

        guest.command("quit")
        lab.wait_until(lambda: row_of(lab, "bare") is None, 30, "the guest to be gone")
        assert lab.run(f"test -e {guest.socket}.stats.xml").status != 0, "statistics were left behind"
        left = lab.sh("ls /run/homenode/journal /run/homenode/journal/corrupt").split()
        assert not [name for name in left if len(name) == 36], f"a journal entry was left: {left}"


def test_beside_libvirt_and_attached(lab):
    """One plan for both kinds; attach, opt-out, wrong element, stop."""
    domain = test_loop.start(lab, "managed", "mode='auto'")
    guest = BareGuest(lab, "bare")
    lab.sh(f"mkdir -p /run/elsewhere; mv {guest.socket} /run/elsewhere/")  # the socket lives on under its new name
    guest.socket = "/run/elsewhere/bare.qmp"
    guest.opt_in()
    with contextlib.ExitStack() as at_end:
        at_end.callback(lab.run, "rm -rf /run/elsewhere")
        at_end.callback(guest.stop)
        at_end.enter_context(test_loop.agent(lab))
        lab.wait_until(lambda: row_of(lab, "managed"), 60, "libvirt's domain")
        assert row_of(lab, "bare") is None
        lab.sh(f"homenode attach {guest.socket}")
        wait_managed(lab, "bare")
        refused = lab.run("homenode attach /run/libvirt/libvirt-sock")
        assert refused.status != 0 and "libvirt" in refused.err, refused
        lab.sh("homenode rebalance bare --node 1 --wait", timeout_s=180)
        assert guest.is_home(1), (guest.threads(), guest.share_on(1))
        lab.wait_until(lambda: any(test_loop.is_home(lab, domain, node) for node in (0, 1)), 60,
                       "libvirt's domain to be at home too")

        guest.opt_in("yes")  # no such mode: left as it is, and told
        lab.wait_until(lambda: row_of(lab, "bare")["status"] == "invalid", 30, "the wrong element to be told")
        assert guest.is_home(1), guest.threads()
        assert lab.run(f"homenode detach {guest.socket}").status != 0, "detached with our pins on it"
        guest.opt_in("off")
        lab.wait_until(lambda: set(guest.threads().values()) == {everywhere(lab)}, 30, "the pins to be given back")
        lab.sh(f"homenode detach {guest.socket}")
        lab.wait_until(lambda: row_of(lab, "bare") is None, 30, "the guest to be let go")


def test_backend_contract(lab):
    """What tests/integration/backend asks of every back end, asked with real guests."""
    lab.push(f"{lab.build}/tests/integration/backend/test-backend-contract", "/root/")
    said = lab.run("G_DEBUG=fatal-warnings /root/test-backend-contract real qemu:///system", timeout_s=360)
    assert said.status == 0, said
    done = [line for line in said.out.splitlines() if line.startswith("ok ") and "SKIP" not in line]
    assert len([line for line in done if "/libvirt-daemon/" in line]) == 9, said
    assert len([line for line in done if "/qmp-real/" in line]) == 9, said
