#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs one program on a machine with two NUMA nodes: a throw-away virtual machine whose clock counts instructions.

Theory. QEMU's -icount makes the machine's time the number of instructions it has executed, 2 ns each, so that a ratio of
two times does not depend on what else this machine does, and repeats to within a percent or two. It says how much work a
way of moving takes, not how fast memory is: copying counts 8 bytes an instruction, which is dearer, beside the
bookkeeping, than it is without. The machine cannot run guests; this is for the movers' benchmarks. An
initramfs is made of the program, its shared libraries and vm-init; the kernel is the one of a lab image.

usage: two_node_vm.py --init VM_INIT [--kernel VMLINUZ] [--mib-per-node N] [--accel icount|kvm] -- PROGRAM [ARGUMENT...]
Exit status: the program's; 77 with "machine: ..." where there is no emulator or no kernel.
"""
import argparse
import glob
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile

EMULATOR = "qemu-system-x86_64"
ACCELS = {
    "icount": ["-accel", "tcg,thread=single", "-icount", "shift=1,sleep=off", "-cpu", "max,-erms,-fsrm"],
    "kvm": ["-accel", "kvm", "-cpu", "host"],
}


def cpio(files):
    """The bytes of a "newc" archive of {path: (mode, bytes)}; folders first."""
    out = io.BytesIO()

    def add(name, mode, data):
        fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        out.write(b"070701" + "".join(f"{field:08x}" for field in fields).encode() + name.encode() + b"\0")
        out.write(b"\0" * (-out.tell() % 4) + data)
        out.write(b"\0" * (-out.tell() % 4))

    for folder in sorted({str(parent) for path in files for parent in parents(path)}):
        add(folder, 0o040755, b"")
    for path, (mode, data) in files.items():
        add(path, mode, data)
    add("TRAILER!!!", 0, b"")
    return out.getvalue()


def parents(path):
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def libraries(program):
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return re.findall(r"(?:=> |^\s*)(/\S+) \(0x", listed, re.M)


def initramfs(program, init):
    files = {"init": (0o100755, open(init, "rb").read()), "program": (0o100755, open(program, "rb").read())}
    for library in libraries(program):
        files[library.lstrip("/")] = (0o100755, open(library, "rb").read())
    return cpio(files)


def default_kernel():
    found = sorted(glob.glob(os.path.expanduser("~/.cache/homenode-lab/trixie-*/vmlinuz")))
    return found[-1] if found else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--init", required=True)
    parser.add_argument("--kernel", default=default_kernel())
    parser.add_argument("--mib-per-node", type=int, default=512)
    parser.add_argument("--accel", choices=ACCELS, default="icount")
    parser.add_argument("--timeout-s", type=int, default=900)
    parser.add_argument("program", nargs="+")
    options = parser.parse_args()
    if not shutil.which(EMULATOR):
        print(f"machine: no {EMULATOR}")
        return 77
    if not options.kernel:
        print("machine: no kernel of a lab image (tests/lab/lab up makes one)")
        return 77
    mib = options.mib_per_node
    with tempfile.TemporaryDirectory(prefix="homenode-vm-") as folder:
        initrd = os.path.join(folder, "initrd")
        with open(initrd, "wb") as file:
            file.write(initramfs(options.program[0], options.init))
        argv = [EMULATOR, *ACCELS[options.accel], "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
                "-machine", "q35,sata=off,smbus=off", "-smp", "2,sockets=2", "-m", f"{2 * mib}M"]
        for node in range(2):
            argv += ["-object", f"memory-backend-ram,id=m{node},size={mib}M",
                     "-numa", f"node,nodeid={node},cpus={node},memdev=m{node}"]
        argv += ["-kernel", options.kernel, "-initrd", initrd, "-serial", "stdio", "-append",
                 "console=ttyS0 quiet panic=-1 mitigations=off numa_balancing=disable transparent_hugepage=madvise "
                 "rdinit=/init -- /program " + " ".join(options.program[1:])]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                              timeout=options.timeout_s)
    print(done.stdout.replace("\r", ""), end="")
    print(done.stderr, end="", file=sys.stderr)
    status = re.search(r"vm-init: exit status (\d+)", done.stdout)
    return int(status[1]) if status else 1


if __name__ == "__main__":
    sys.exit(main())
