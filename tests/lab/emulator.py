# SPDX-License-Identifier: GPL-2.0-or-later
"""The outer emulator: which QEMU runs the emulated host, and its command line.

Theory of operation. QEMU 7.2 crashes now and then when it emulates several processors in threads, so the emulator has to
be 10.0 or newer. Before 10.2 its emulation of SVM changes a processor's pending interrupts without a lock, and now and
then one that comes at that instant is lost: a host that waits for it hangs. So the machine's own is taken when it is 10.2
or newer; else the one that the image script unpacked from backports, or the one inside the image's tree, each run through
that tree's own dynamic loader with that tree's libraries, firmware and modules, so that neither root nor chroot is needed.
Where none is 10.2, the first that is 10.0 has to do.

It must not start anything but `qemu --version` and the image script.
"""

import glob
import itertools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field

HERE = os.path.dirname(os.path.abspath(__file__))
SUITES = ("bookworm", "trixie", "forky", "sid")
DEFAULT_SUITE = "trixie"
VERSION_MIN = (10, 0)
VERSION_WANTED = (10, 2)
PORTS = 8
PORT_PREFIX = "homenode.lab."  # runner.c looks for this
TB_SIZE_MIB = 512

# What each is for is told in docs/lab.md, "Command line".
KERNEL_ARGS = (
    "root=/dev/nvme0n1 rw rootfstype=ext4 console=ttyS0 quiet loglevel=4 "
    "tsc=reliable no_timer_check clocksource=tsc mitigations=off nowatchdog audit=0 apparmor=0 selinux=0 "
    "panic=-1 oops=panic random.trust_cpu=on cgroup_no_v1=all fsck.mode=skip systemd.show_status=0"
)


class EmulatorError(Exception):
    """No usable emulator or image; the text says what to do."""


@dataclass
class Emulator:
    """A QEMU that can be run: argv prefix, environment, version."""

    argv: list
    env: dict
    version: tuple
    origin: str


@dataclass
class BootOptions:
    """What `lab up` was asked for beyond the topology."""

    plugins: list = field(default_factory=list)
    preloads: list = field(default_factory=list)
    kernel_args: list = field(default_factory=list)
    tb_size_mib: int = TB_SIZE_MIB


def image_dir(suite):
    """Builds the image of @suite if needed, and returns its folder."""
    if suite not in SUITES:
        raise EmulatorError(f"suite '{suite}' is unknown; allowed: {', '.join(SUITES)}")
    done = subprocess.run([os.path.join(HERE, "image"), "--suite", suite],
                          stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise EmulatorError(f"the image of {suite} could not be built (see above)")
    return done.stdout.strip()


def _version(argv, env):
    try:
        done = subprocess.run([*argv, "--version"], env={**os.environ, **env}, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    except OSError:
        return None
    match = re.search(r"version (\d+)\.(\d+)(?:\.(\d+))?", done.stdout)
    return tuple(int(part or 0) for part in match.groups()) if match else None


def _from_tree(image, folder):
    """The emulator of a folder of an image, with the libraries of its tree; or None."""
    libraries = os.path.join(image, "tree/usr/lib/x86_64-linux-gnu")
    root = os.path.join(image, folder)
    argv = [os.path.join(image, "tree/usr/lib64/ld-linux-x86-64.so.2"),
            "--library-path", f"{libraries}:{libraries}/pulseaudio",
            os.path.join(root, "usr/bin/qemu-system-x86_64")]
    env = {"QEMU_MODULE_DIR": os.path.join(root, "usr/lib/x86_64-linux-gnu/qemu")}
    version = _version(argv, env)
    for data in (os.path.join(root, "usr/share/qemu"), os.path.join(image, "tree/usr/share/seabios")):
        argv += ["-L", data]
    return Emulator(argv, env, version, root) if version else None


def _of_image(image):
    """The emulators of an image, the preferred first."""
    yield _from_tree(image, "emulator")
    yield _from_tree(image, "tree")


def _of_machine():
    """The machine's own emulator, if any."""
    own = shutil.which("qemu-system-x86_64")
    if own:
        yield Emulator([own], {}, _version([own], {}), own)


def _candidates(image):
    """Emulators for @image, the preferred first; the last resort is another suite's image, built if need be."""
    yield from _of_machine()
    yield from _of_image(image)
    default = image_dir(DEFAULT_SUITE)
    if default != image:
        yield from _of_image(default)


def _named():
    """What HN_LAB_QEMU names, or None where it is not set."""
    named = os.environ.get("HN_LAB_QEMU")
    if not named:
        return None
    version = _version([named], {})
    if not version:
        raise EmulatorError(f"HN_LAB_QEMU is '{named}', which does not tell a version of QEMU")
    return Emulator([named], {}, version, named)


def _best(candidates):
    """The first that is as new as wanted, else the first that will do, else None."""
    will_do = None
    for emulator in candidates:
        if emulator is None or not emulator.version or emulator.version < VERSION_MIN:
            continue
        if emulator.version >= VERSION_WANTED:
            return emulator
        will_do = will_do or emulator
    return will_do


def find(image):
    """Returns the emulator to use with @image: what HN_LAB_QEMU names, else the machine's, the image's, or trixie's."""
    found = _named() or _best(_candidates(image))
    if found is None:
        raise EmulatorError("no QEMU 10.0 or newer: neither on this machine nor in the image; "
                            "HN_LAB_QEMU may name one")
    return found


def at_hand():
    """As find(), of what is here already, or None; builds nothing."""
    cache = os.environ.get("HN_LAB_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "homenode-lab")
    images = sorted(glob.glob(os.path.join(cache, "*-*")))
    return _named() or _best(itertools.chain(_of_machine(), *map(_of_image, images)))


def command_line(emulator, image, topology, run_dir, options):
    """Returns argv and environment of the outer QEMU; its files lie in @run_dir.

    {run_dir} in a plugin's arguments stands for that folder, for sockets of its own.
    """
    argv, env = list(emulator.argv), dict(emulator.env)
    if options.preloads:
        if argv[0].endswith("/ld-linux-x86-64.so.2"):
            argv[1:1] = ["--preload", " ".join(options.preloads)]
        else:
            env["LD_PRELOAD"] = " ".join(options.preloads)
    argv += [
        "-name", f"homenode-lab-{os.path.basename(run_dir)}", "-no-user-config", "-nodefaults",
        "-display", "none", "-no-reboot",
        "-machine", "q35,sata=off,smbus=off,vmport=off" + (",hmat=on" if topology.has_hmat else ""),
        "-accel", f"tcg,thread=multi,tb-size={options.tb_size_mib}",
        "-cpu", "max,-erms,-fsrm,-la57",
        *topology.qemu_args(),
        "-kernel", os.path.join(image, "vmlinuz"),
        "-append", " ".join([KERNEL_ARGS, *options.kernel_args]),
        "-drive", f"file={image}/root.img,format=raw,if=none,id=root,snapshot=on,cache=unsafe",
        "-device", "nvme,drive=root,serial=root",
        "-chardev", f"file,id=console,path={run_dir}/console.log", "-serial", "chardev:console",
        "-qmp", f"unix:{run_dir}/qmp.sock,server=on,wait=off",
        "-device", f"virtio-serial-pci,max_ports={PORTS + 1}",
    ]
    for port in range(PORTS):
        argv += ["-chardev", f"socket,id=port{port},path={run_dir}/port{port}.sock,server=on,wait=off",
                 "-device", f"virtserialport,chardev=port{port},nr={port + 1},name={PORT_PREFIX}{port}"]
    for plugin in options.plugins:
        plugin = plugin.replace("{run_dir}", run_dir)
        argv += ["-plugin", plugin if plugin.startswith("file=") else f"file={plugin}"]
    return argv, env
