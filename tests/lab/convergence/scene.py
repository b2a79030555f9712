# SPDX-License-Identifier: GPL-2.0-or-later
"""The scene: guests started under libvirt and then deliberately misplaced.

Theory of operation. Guests start without any pin or nodeset of an admin (those would bind homenode).
Once their RAM is touched, three of four get all of it on the first node and their vCPUs held on the
last; the fourth keeps its RAM where the wandering vCPUs touched it first, spread. Held means plain thread
affinity, which is not an admin's pin. release() lets the threads run anywhere again: that is the moment
at which a contestant takes over.
"""

import os
import sys
import time

import host as hosts

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
KERNEL = "/root/homenode-guest.elf"


def guest_module():
    """demo-vms/guest as a Python module (its file name has no .py)."""
    import importlib.machinery
    import importlib.util
    path = os.path.join(REPOSITORY, "demo-vms", "guest")
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("homenode_demo_guest", path)
    spec = importlib.util.spec_from_loader("homenode_demo_guest", loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules["homenode_demo_guest"] = module  # dataclasses look their module up
    loader.exec_module(module)
    return module


class SceneError(Exception):
    """The scene could not be set; the text says what was seen."""


class Scene:
    """@host: host.Host that is up; @topology: its dict; the rest shapes the guests."""

    def __init__(self, host, topology, n_guests=4, vcpus=2, mem_mib=128, duty=40, words=(), mode="auto", prefix="demo"):
        self.host, self.topology = host, topology
        self.names = [f"{prefix}{i + 1}" for i in range(n_guests)]
        self.vcpus, self.mem_mib, self.mode = vcpus, mem_mib, mode
        self.words = (f"duty={duty}", *words)
        self.wanted_cpus = vcpus * duty / 100  # of each guest

    def sh(self, script, timeout_s=120):
        """Output of a bash script inside; SceneError when it fails."""
        out, err = bytearray(), bytearray()
        status = self.host.run(script, timeout_s=timeout_s,
                               on_output=lambda is_error, data: (err if is_error else out).extend(data))
        if status != 0:
            raise SceneError(f"inside the emulated host, status {status}: {err.decode(errors='replace').strip()}\n"
                             f"{out.decode(errors='replace').strip()}\nscript: {script[:400]}")
        return out.decode(errors="replace")

    def cpus_of_node(self):
        return [list(node["cpus"]) for node in self.topology["nodes"]]

    def start(self, kernel_elf):
        """Starts all guests and waits until each has touched its RAM."""
        module = guest_module()
        self.host.push([kernel_elf], KERNEL)
        lines = []
        for name in self.names:
            guest = module.Guest(name=name, kernel=KERNEL, vcpus=self.vcpus, mem_mib=self.mem_mib,
                                 placement=f"mode='{self.mode}'" if self.mode else '', words=self.words)
            xml = module.guest_xml(guest)
            lines.append(f"cat > /root/{name}.xml <<'XML'\n{xml}\nXML")
        # All at once: a start waits for a loader that emulation makes slow, not for its neighbours.
        started = " ".join(f"virsh -q create /root/{name}.xml >/dev/null & p=\"$p $!\";" for name in self.names)
        self.sh("set -e\n" + "\n".join(lines) + f"\n{started}\nfor i in $p; do wait $i; done", timeout_s=300)
        deadline_s = time.monotonic() + 120
        pending = list(self.names)
        while pending and time.monotonic() < deadline_s:
            seen = self.sh("grep -l event=start " + " ".join(f"/tmp/{name}.serial" for name in self.names) + " || :")
            pending = [name for name in self.names if f"/tmp/{name}.serial" not in seen.split()]
            if pending:
                time.sleep(0.5)
        if pending:
            raise SceneError(f"guests that did not start within 120 s: {', '.join(pending)}\n"
                             + self.sh(f"tail -n 5 /tmp/{pending[0]}.serial"))

    def misplace(self):
        """Memory on the first node or spread, vCPUs held on the other side."""
        cpus = self.cpus_of_node()
        cpu_nodes = [i for i, node in enumerate(cpus) if node]
        first, last = cpu_nodes[0], cpu_nodes[-1]
        every = ",".join(str(i) for i in range(len(cpus)))
        # Else the kernel's own balancing takes the memory to the CPUs before anybody has looked.
        lines = ["set -e", "sysctl -qw kernel.numa_balancing=0"]
        for index, name in enumerate(self.names):
            is_spread = index % 4 == 3
            held = ",".join(map(str, cpus[first if is_spread else last]))
            lines.append(f"p=$(cat /run/libvirt/qemu/{name}.pid)")
            lines.append(f"taskset -apc {held} $p >/dev/null 2>&1 || :")
            if not is_spread:
                lines.append(f"migratepages $p {every} {first}")
        self.sh("\n".join(lines), timeout_s=300)

    def release(self):
        """Lets every thread run anywhere."""
        every = ",".join(str(cpu) for node in self.cpus_of_node() for cpu in node)
        self.sh("\n".join(f"taskset -apc {every} $(cat /run/libvirt/qemu/{name}.pid) >/dev/null 2>&1 || :"
                          for name in self.names))

    def assert_all_there(self, found):
        """Raises LabDied with what is known of the guests that are not in @found: nobody here ends any."""
        gone = [name for name in self.names if name not in found]
        if gone:
            why = self.sh("".join(f"tail -n 4 /var/log/libvirt/qemu/{name}.log /tmp/{name}.serial || :;" for name in gone)
                          + "dmesg | tail -n 5")
            raise hosts.LabDied(f"guests ended by themselves: {', '.join(gone)}\n{why}", is_hiccup=True)

    def destroy(self):
        self.sh("\n".join(f"virsh -q destroy {name} >/dev/null 2>&1 || :" for name in self.names), timeout_s=300)
