# SPDX-License-Identifier: GPL-2.0-or-later
"""What a scenario is written with: commands, waiting, guests, and where their parts are.

Theory of operation. A Lab is an emulated host in use. sh() runs a script there and raises
CommandFailed with everything needed to understand when it fails. A Guest is a libvirt domain
there; what it tells about threads and memory is read from the host's /proc at the moment of the
question, never remembered. Scenario files (docs/lab.md) get a Lab from scenario.py; other
programs use `with Lab(topology="n2c4") as lab:`.

It must not use homenode to observe: what scenarios check is measured from outside of it.
"""

import re
import shlex
import time
from dataclasses import dataclass

import emulator as emulators
import topology as topologies
from host import Host, LabDied, LabError, LabTimeout, shorten, timeout_scale  # noqa: F401 (for scenarios)

MIB = 1 << 20
OUTPUT_SHOWN_CHARS = 4000
BOOT_SECTOR_PATH = "/run/homenode-lab-boot.img"
# Real mode, no stack, no interrupt: counts a word at 0x8000 for ever.
#   xor ax,ax; mov ds,ax; again: inc word [0x8000]; jmp again
_BOOT_SECTOR = bytes.fromhex("31c08ed8ff060080ebfa").ljust(510, b"\0") + b"\x55\xaa"

# Bytes per node of a process's guest RAM: the mappings that QEMU marks as not to be forked and
# worth huge pages (VmFlags dc and hg, at least 4 MiB), summed from numa_maps. $1: pid.
_RAM_SCRIPT = r"""
awk -v MIN_KB=4096 '
FNR == 1 { file++ }
file == 1 && /^[0-9a-f]+-[0-9a-f]+ / { split($1, part, "-"); start = part[1] }
file == 1 && /^Size:/ { kb = $2 }
file == 1 && /^VmFlags:/ { if (/ dc( |$)/ && / hg( |$)/ && kb >= MIN_KB) { ram[start] = 1; total += kb } }
file == 2 && ($1 in ram) {
    size = 4
    for (i = 2; i <= NF; i++) if ($i ~ /^kernelpagesize_kB=/) size = substr($i, 19)
    for (i = 2; i <= NF; i++) if ($i ~ /^N[0-9]+=/) {
        split(substr($i, 2), part, "="); kib[part[1]] += part[2] * size
    }
}
END { print "total", total + 0; for (node in kib) print node, kib[node] }
' /proc/$1/smaps /proc/$1/numa_maps
"""
_THREADS_SCRIPT = r"""
for t in /proc/$1/task/*; do
    { IFS= read -r comm < "$t/comm"; IFS= read -r stat < "$t/stat"; } 2>/dev/null || continue
    allowed=
    while read -r key value; do [ "$key" = Cpus_allowed_list: ] && allowed=$value; done < "$t/status"
    read -r run wait slices < "$t/schedstat"
    echo "${t##*/}|$comm|${stat##*) }|$allowed|$run|$wait"
done 2>/dev/null
"""


class CommandFailed(AssertionError):
    """A command in the host did not end with status 0."""


class Skip(Exception):
    """Raised by a test that cannot run here; the text says why."""


@dataclass
class Result:
    """What a command left."""

    status: int
    out: str
    err: str


@dataclass
class Thread:
    """One thread of a guest's QEMU, as it was when asked."""

    tid: int
    name: str
    last_cpu: int
    affinity: frozenset
    run_ns: int
    wait_ns: int

    @property
    def vcpu(self):
        """The vCPU it runs, or None for the other threads."""
        match = re.fullmatch(r"CPU (\d+)/(?:KVM|TCG)", self.name)
        return int(match[1]) if match else None


def parse_cpu_list(text):
    """'0-2,5' → {0, 1, 2, 5}; raises ValueError for anything else."""
    result = set()
    for part in text.strip().split(",") if text.strip() else []:
        low, _, high = part.partition("-")
        result |= set(range(int(low), int(high or low) + 1))
    return frozenset(result)


def domain_xml(name, memory_mib=64, vcpus=1, *, kernel=None, cmdline="", disk=None, metadata="",
               cpuset="", numatune="", cells=(), shared=False, prealloc=False, domain_type="kvm"):
    """The XML of a small guest: no devices but a serial line that logs to /var/log/NAME.serial.

    @kernel: path in the host of a multiboot program, with @cmdline; or @disk: a raw image,
    read-only.
    @cpuset: CPUs of all vCPUs ('0-1'). @numatune: nodeset of a restrictive numatune.
    @cells: MiB of each guest NUMA cell (vCPUs are dealt evenly). @shared: memfd-backed RAM.
    @prealloc: QEMU touches all RAM before the guest starts. @metadata: elements, verbatim.
    """
    boot = ""
    if kernel:
        boot = f"<kernel>{kernel}</kernel><cmdline>{cmdline}</cmdline>"
    numa = ""
    if cells:
        share, rest = divmod(vcpus, len(cells))
        first, parts = 0, []
        for cell, mib in enumerate(cells):
            count = share + (cell < rest)
            parts.append(f"<cell id='{cell}' cpus='{first}-{first + count - 1}' memory='{mib}' unit='MiB'/>")
            first += count
        numa = f"<numa>{''.join(parts)}</numa>"
        memory_mib = sum(cells)
    backing = "<source type='memfd'/><access mode='shared'/>" if shared else ""
    backing += "<allocation mode='immediate'/>" if prealloc else ""
    drive = (f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{disk}'/>"
             "<target dev='vda' bus='virtio'/><readonly/><boot order='1'/></disk>") if disk else ""
    tune = f"<numatune><memory mode='restrictive' nodeset='{numatune}'/></numatune>" if numatune else ""
    mode = "<cpu mode='host-passthrough' check='none' migratable='off'>" if domain_type == "kvm" else "<cpu>"
    return (
        f"<domain type='{domain_type}'><name>{name}</name><metadata>{metadata}</metadata>"
        f"<memory unit='MiB'>{memory_mib}</memory>"
        f"<vcpu placement='static'{f' cpuset={chr(39)}{cpuset}{chr(39)}' if cpuset else ''}>{vcpus}</vcpu>"
        f"{tune}<os><type arch='x86_64' machine='q35'>hvm</type>{boot}</os>"
        f"<features><acpi/></features>{mode}{numa}</cpu>"
        f"{f'<memoryBacking>{backing}</memoryBacking>' if backing else ''}"
        "<on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot><on_crash>destroy</on_crash>"
        "<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>"
        "<controller type='usb' model='none'/><memballoon model='none'/>"
        f"{drive}<serial type='file'><source path='/var/log/{name}.serial'/></serial></devices></domain>")


class Guest:
    """A libvirt domain in the emulated host."""

    def __init__(self, lab, name):
        self.lab = lab
        self.name = name

    def start(self):
        """Starts it and returns when libvirt says that it runs."""
        self.lab.sh(f"virsh start {self.name}", timeout_s=120)
        return self

    def destroy(self):
        """Stops it at once; harmless when it does not run."""
        self.lab.run(f"virsh destroy {self.name}", timeout_s=120)

    def undefine(self):
        """Makes libvirt forget it."""
        self.lab.run(f"virsh undefine {self.name} --nvram 2>/dev/null || virsh undefine {self.name}")

    def state(self):
        """libvirt's word: 'running', 'shut off', 'paused', …"""
        return self.lab.sh(f"virsh domstate {self.name}").strip()

    def xml(self, inactive=False):
        """Its XML, live or persistent."""
        return self.lab.sh(f"virsh dumpxml {self.name}{' --inactive' if inactive else ''}")

    def pid(self):
        """The pid of its QEMU in the emulated host."""
        return int(self.lab.sh(f"cat /run/libvirt/qemu/{self.name}.pid"))

    def serial(self):
        """What it has written to its serial line."""
        return self.lab.sh(f"cat /var/log/{self.name}.serial")

    def threads(self):
        """All threads of its QEMU."""
        result = []
        text = self.lab.sh(f"set -- {self.pid()}\n{_THREADS_SCRIPT}")
        for line in text.splitlines():
            tid, name, stat, allowed, run_ns, wait_ns = line.split("|")
            # After the name, `processor` is the 37th of the fields that proc(5) counts from 1.
            result.append(Thread(int(tid), name, int(stat.split()[36]), parse_cpu_list(allowed),
                                 int(run_ns), int(wait_ns)))
        return result

    def vcpus(self):
        """Its vCPU threads, by vCPU number."""
        found = [thread for thread in self.threads() if thread.vcpu is not None]
        return sorted(found, key=lambda thread: thread.vcpu)

    def ram_bytes_per_node(self):
        """node id → bytes of its RAM there (only what has been touched)."""
        text = self.lab.sh(f"set -- {self.pid()}\n{_RAM_SCRIPT}", timeout_s=120)
        values = dict(line.split() for line in text.splitlines())
        if values.pop("total", "0") == "0":
            raise CommandFailed(f"guest {self.name}: no mapping of its QEMU looks like guest RAM")
        return {int(node): int(kib) * 1024 for node, kib in values.items()}

    def share_on(self, node):
        """The part of its touched RAM that lies on @node, 0 to 1."""
        per_node = self.ram_bytes_per_node()
        total = sum(per_node.values())
        return per_node.get(node, 0) / total if total else 0.0

    def vcpu_time_per_node(self, seconds):
        """node id → share of its vCPU run time there, sampled ten times over @seconds."""
        totals, before = {}, {thread.vcpu: thread for thread in self.vcpus()}
        for _ in range(10):
            time.sleep(seconds / 10)
            now = {thread.vcpu: thread for thread in self.vcpus()}
            for vcpu, thread in now.items():
                if vcpu in before:
                    node = self.lab.node_of_cpu(thread.last_cpu)
                    totals[node] = totals.get(node, 0) + thread.run_ns - before[vcpu].run_ns
            before = now
        total = sum(totals.values())
        return {node: ns / total for node, ns in totals.items()} if total else {}

    def cgroup(self):
        """Its machine scope below /sys/fs/cgroup in the emulated host."""
        text = self.lab.sh(f"cat /proc/{self.pid()}/cgroup")
        match = re.search(r"^0::(/machine\.slice/[^/\n]+\.scope)", text, re.M)
        if not match:
            raise CommandFailed(f"guest {self.name} is in no machine scope but in: {text.strip()}")
        return "/sys/fs/cgroup" + match[1]


# Why guests have ended that are defined and do not run.
ENDED_SCRIPT = ("for d in $(virsh list --inactive --name); do echo \"$d: $(virsh domstate $d --reason | head -n 1)\"; "
                "tail -n 3 /var/log/libvirt/qemu/$d.log /var/log/$d.serial 2>/dev/null; done")

CLEANED = "lab: cleaned up"  # in the kernel's log, before each test

# Signs that the emulation broke a guest or a program: no demo guest has an exception or switches itself off before it
# is done, KVM has no errors of its own on a processor, and only what is under test may crash by its own doing.
BROKEN_SCRIPT = r"""
for d in $(virsh list --all --name); do
    { grep -h '^error exception=' /var/log/$d.serial
      awk '/: starting up/ { text = "" } /KVM internal error|KVM: entry failed|kvm run failed/ { text = text $0 "\n" }
           END { printf "%s", text }' /var/log/libvirt/qemu/$d.log
      [ "$(virsh domstate $d --reason | head -n 1)" = "shut off (shutdown)" ] &&
          ! grep -q event=done /var/log/$d.serial && echo "switched itself off"
    } 2>/dev/null | sed "s/^/$d: /"
done
dmesg | awk '/lab: cleaned up/ { text = ""; next } { text = text $0 "\n" } END { printf "%s", text }' |
    grep -E '\]: (segfault at|trap invalid opcode|trap int3|general protection)|traps: ' | grep -v homenode
true"""


class Lab:
    """An emulated host in use."""

    def __init__(self, name="homelab", topology="n2c4", suite=emulators.DEFAULT_SUITE, options=None):
        self.host = Host(name)
        self.suite = suite
        self.options = options or emulators.BootOptions()
        self.topology = topologies.read(topology)
        self._topology_name = topology
        self.build = ""  # the build folder on this machine; scenarios with NEEDS_BUILD have one

    def __enter__(self):
        self.up()
        return self

    def __exit__(self, *_):
        self.down()

    @property
    def run_dir(self):
        """The folder on this machine with the lab's sockets and logs; plugins may put theirs there."""
        return self.host.run_dir

    def up(self):
        """Starts it; returns the seconds until libvirtd answered."""
        return self.host.up(self._topology_name, self.suite, self.options)

    def down(self):
        """Stops it."""
        self.host.down()

    # --- commands and files ----------------------------------------------------------------

    def run(self, script, timeout_s=60, stdin=None):
        """Runs a bash script as root and returns its Result, whatever the status."""
        out, err = bytearray(), bytearray()
        status = self.host.run(script, stdin=stdin, timeout_s=timeout_s,
                               on_output=lambda is_error, data: (err if is_error else out).extend(data))
        return Result(status, out.decode(errors="replace"), err.decode(errors="replace"))

    def sh(self, script, timeout_s=60):
        """Runs a bash script as root; returns its standard output, or raises CommandFailed."""
        result = self.run(script, timeout_s)
        if result.status != 0:
            raise CommandFailed(
                f"exit status {result.status} of: {script.strip()}\n"
                f"standard output:\n{result.out[-OUTPUT_SHOWN_CHARS:]}\n"
                f"standard error:\n{result.err[-OUTPUT_SHOWN_CHARS:]}")
        return result.out

    def spawn(self, unit, command):
        """Starts a long-running command as the transient service @unit (stopped by cleanup)."""
        self.sh(f"systemctl reset-failed {unit} 2>/dev/null; "
                f"systemd-run --quiet --collect --unit={unit} --slice=lab.slice -- {command}")

    def push(self, *paths):
        """push(local…, remote): copies files or folders in."""
        self.host.push(list(paths[:-1]), paths[-1])

    def pull(self, remote, local):
        """Copies a file or folder out."""
        self.host.pull(remote, local)

    def read(self, path):
        """The text of a file in the host."""
        return self.sh(f"cat {shlex.quote(path)}")

    def write(self, path, text):
        """Writes a file of the host, or a kernel tunable, in one go."""
        self.sh(f"cat > {shlex.quote(path)} << 'END-OF-LAB-FILE'\n{text}\nEND-OF-LAB-FILE")

    # --- waiting ---------------------------------------------------------------------------

    def wait_until(self, predicate, timeout_s, what, interval_s=0.5):
        """Calls @predicate until it returns something true, and returns that.

        After @timeout_s (scaled) it raises an AssertionError that names @what and the last value.
        """
        deadline_s = time.monotonic() + timeout_s * timeout_scale()
        while True:
            value = predicate()
            if value:
                return value
            if time.monotonic() >= deadline_s:
                raise AssertionError(f"waited {timeout_s * timeout_scale():g} s in vain for {what}; "
                                     f"last seen: {value!r}")
            time.sleep(interval_s)

    # --- the host --------------------------------------------------------------------------

    def node_of_cpu(self, cpu):
        """The node of a host CPU, by the topology."""
        return next(node.id for node in self.topology.nodes if cpu in node.cpus)

    def cpus_of_node(self, node):
        """The CPUs of a node as a list in the kernel's form: '2-3', '2' or nothing."""
        cpus = self.topology.nodes[node].cpus
        return f"{cpus[0]}-{cpus[-1]}" if len(cpus) > 1 else "".join(map(str, cpus))

    # --- guests ----------------------------------------------------------------------------

    def define(self, xml):
        """Defines a domain and returns its Guest."""
        name = re.search(r"<name>([^<]+)</name>", xml)[1]
        self.sh(f"virsh define /dev/stdin << 'END-OF-DOMAIN'\n{xml}\nEND-OF-DOMAIN")
        return Guest(self, name)

    def boot_sector(self):
        """Puts the smallest possible guest into the host and returns its path there.

        It keeps one CPU busy and touches one page: enough for what is about threads, pins and
        preallocated memory. For anything about access patterns use demo-vms.
        """
        octal = "".join(f"\\{byte:03o}" for byte in _BOOT_SECTOR)
        self.sh(f"printf '{octal}' > {BOOT_SECTOR_PATH}")
        return BOOT_SECTOR_PATH

    def cleanup(self):
        """Removes all guests and everything that spawn() started; marks in the kernel's log where the next test begins."""
        self.sh("for d in $(virsh list --name); do virsh destroy $d; done >/dev/null\n"
                "for d in $(virsh list --all --name); do virsh undefine $d; done >/dev/null\n"
                "systemctl stop lab.slice 2>/dev/null; rm -f /var/log/*.serial; "
                f"echo '<7>{CLEANED}' >/dev/kmsg; true", timeout_s=180)

    def assert_not_ended(self, guests):
        """To be asked before anything under test has run: a guest that has ended by then was ended by the emulation,
        which then counts as its hiccup."""
        gone = [guest.name for guest in guests if guest.state() != "running"]
        if gone:
            raise LabDied(f"guests ended by themselves before anything was done to them: {', '.join(gone)}\n"
                          + self.run(ENDED_SCRIPT, timeout_s=60).out, is_hiccup=True)

    def broken(self):
        """What the emulation broke since the last cleanup(), one per line; "" when there is no sign of that.

        Raises LabDied when the host is found dead.
        """
        try:
            return self.run(BROKEN_SCRIPT, timeout_s=60).out.strip()
        except LabDied:
            raise
        except LabError:
            return ""

    def diagnostics(self):
        """What helps to understand a failed test."""
        script = (f"{ENDED_SCRIPT}; virsh list --all; systemctl --failed --no-legend --plain; "
                  "journalctl -q -n 15 -p warning --no-pager -o short-monotonic; "
                  "journalctl -q -n 25 -u homenoded --no-pager -o short-monotonic; dmesg -l err,crit,alert,emerg | tail -n 5")
        try:
            result = self.run(script, timeout_s=60)
            return (result.out + result.err)[-OUTPUT_SHOWN_CHARS:]
        except LabError as error:
            return f"no diagnostics: {error}"
