# SPDX-License-Identifier: GPL-2.0-or-later
"""The emulated host as a thing that is started, used and stopped.

Theory of operation. A lab has a name and a run folder with everything it leaves on this
machine: the emulator's pid, its sockets, the console log, config.json (what was asked for) and
status.json (what happened). up() starts the emulator, waits for the job runner and then for
libvirtd. run() takes a free control port and runs a script there. A host that is silent for too
long is killed and reported with the end of its console. Two hiccups of the emulation are known
(docs/lab.md): an int3 oops, and a host that hangs or ends without a word of its kernel, at boot or later.
up() tries a second time after one of them, once, and counts it; nothing else is ever tried again.

It must not judge what runs inside: that is homelab.py's and the scenarios' business.
"""

import contextlib
import fcntl
import glob
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time

import emulator as emulators
import topology as topologies
from port import JobTimeout, Port, PortClosed, PortSilent

BOOT_TIMEOUT_S = 120.0
LIBVIRT_TIMEOUT_S = 120.0
SILENCE_MAX_S = 60.0
BUSY_PORTS_TIMEOUT_S = 120.0
CONSOLE_TAIL_LINES = 25
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}"
# Debian's virsh asks libvirtd over its socket, which starts with the first question.
READY_SCRIPT = "virsh -q list >/dev/null"
# How each port's runner stands, asked on another port when one is silent.
KNOCK_PATIENCE_S = 8.0
KNOCK_SCRIPT = r"""for p in $(pgrep -f '^/usr/libexec/homenode-lab-runner'); do
    grep -q sigtimedwait /proc/$p/stack && continue  # without a client
    echo "runner $p: $(readlink /proc/$p/fd/* | grep vport), $(grep ^State /proc/$p/status)," $(cat /proc/$p/stack)
done"""
# Where the kernel says why it ended; what follows pushes it out of a short tail.
CAUSE_PATTERN = r"Kernel panic|Oops|BUG:|Out of memory|watchdog"
# The kernel's text patching against threaded emulation (keys.c): an int3 that nobody planted.
HICCUP_PATTERN = r"int3: 0000|Oops: int3|kernel BUG at arch/x86/kernel/alternative"


class LabError(Exception):
    """The lab cannot do what was asked; the text says why and shows the console's end."""


class LabDied(LabError):
    """The emulated host crashed or hung. @is_hiccup: in a way known to be the emulator's."""

    def __init__(self, text, is_hiccup):
        super().__init__(text)
        self.is_hiccup = is_hiccup


class LabTimeout(LabError):
    """A command took longer than allowed, and was killed; the host is well."""


def timeout_scale():
    """Factor on all time-outs: slow machines, and the meter's modelled time, set it above 1."""
    text = os.environ.get("HN_LAB_TIMEOUT_SCALE", "1")
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if not 0.1 <= scale <= 100:
        raise LabError(f"HN_LAB_TIMEOUT_SCALE is '{text}'; allowed: a number from 0.1 to 100")
    return scale


def state_root():
    """Where the run folders lie: HN_LAB_STATE, else the user's run-time folder, else /tmp."""
    if os.environ.get("HN_LAB_STATE"):
        return os.environ["HN_LAB_STATE"]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.access(runtime, os.W_OK):
        return os.path.join(runtime, "homenode-lab")
    return f"/tmp/homenode-lab-{os.getuid()}"


class Host:
    """One lab, by its name; the object holds no state that its run folder does not, but for its emulator as a child."""

    def __init__(self, name="default"):
        if not re.fullmatch(NAME_PATTERN, name):
            raise LabError(f"lab name '{name}': allowed are up to 32 letters, digits, '_', '.', '-'")
        self.name = name
        self.run_dir = os.path.join(state_root(), name)
        self._process = None  # of the emulator, where this object started it

    # --- state -----------------------------------------------------------------------------

    def path(self, file):
        """The path of a file of this lab's run folder."""
        return os.path.join(self.run_dir, file)

    def _read_json(self, file):
        try:
            with open(self.path(file), encoding="utf-8") as stream:
                return json.load(stream)
        except FileNotFoundError:
            return {}

    def _write_json(self, file, value):
        temporary = self.path(file + ".new")
        with open(temporary, "w", encoding="utf-8") as stream:
            json.dump(value, stream, indent=1)
        os.replace(temporary, self.path(file))

    def pid(self):
        """The emulator's pid, or None when it does not run."""
        try:
            with open(self.path("qemu.pid"), encoding="ascii") as stream:
                pid = int(stream.read())
            with open(f"/proc/{pid}/cmdline", "rb") as stream:
                is_ours = self.path("qmp.sock").encode() in stream.read()
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stream:
                is_zombie = stream.read().rpartition(")")[2].split()[0] == "Z"
            return pid if is_ours and not is_zombie else None
        except (OSError, ValueError):
            return None

    def console(self, lines=CONSOLE_TAIL_LINES):
        """The last lines of the console, and of the emulator's own messages; before them the
        lines that tell why a kernel ended."""
        result = []
        for file, title in (("console.log", "console"), ("qemu.log", "emulator")):
            with contextlib.suppress(OSError), open(self.path(file), "rb") as stream:
                text = stream.read().decode(errors="replace").replace("\r", "")
                every = [line for line in text.splitlines() if line.strip()]
                causes = [line for line in every[:-lines] if re.search(CAUSE_PATTERN, line)]
                result += [f"{title}: {line}" for line in causes[-5:] + every[-lines:]]
        return "\n".join(result)

    def status(self):
        """Everything known about the lab, as JSON-able values."""
        config, status = self._read_json("config.json"), self._read_json("status.json")
        pid = self.pid()
        state = "down"
        if pid:
            try:
                state = self.qmp("query-status")["status"]
            except (OSError, LabError):
                state = "unresponsive"
        return {"name": self.name, "state": state, "pid": pid, "run_dir": self.run_dir,
                **config, "hiccups": [], **status}

    def _count_hiccup(self, what):
        status = self._read_json("status.json")
        status.setdefault("hiccups", []).append(
            {"what": what, "unix_time_s": int(time.time()), "console": self.console(10)})
        self._write_json("status.json", status)

    def qmp(self, command, **arguments):
        """One command to the outer QEMU; returns its result."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(10 * timeout_scale())
            link.connect(self.path("qmp.sock"))
            with link.makefile("rb") as stream:  # only to read: a write drops what was read ahead
                stream.readline()  # the greeting
                answer = {}
                for request in ({"execute": "qmp_capabilities"},
                                {"execute": command, "arguments": arguments}):
                    link.sendall(json.dumps(request).encode() + b"\n")
                    answer = {}
                    while "return" not in answer and "error" not in answer:
                        line = stream.readline()
                        if not line:
                            raise LabError(f"the emulator closed its QMP socket during {command}")
                        answer = json.loads(line)
        if "error" in answer:
            raise LabError(f"QMP {command}: {answer['error']['desc']}")
        return answer["return"]

    # --- up and down -----------------------------------------------------------------------

    def up(self, topology="n2c4", suite=emulators.DEFAULT_SUITE, options=None):
        """Starts the lab and returns when libvirtd answers; returns the seconds it took."""
        if self.pid():
            raise LabError(f"lab '{self.name}' is up already (lab down --name {self.name})")
        wanted = topologies.read(topology)
        options = options or emulators.BootOptions()
        image = emulators.image_dir(suite)
        emulator = emulators.find(image)
        shutil.rmtree(self.run_dir, ignore_errors=True)
        os.makedirs(self.run_dir, mode=0o700)
        argv, env = emulators.command_line(emulator, image, wanted, self.run_dir, options)
        self._write_json("config.json", {
            "suite": suite, "image": image, "topology": wanted.as_dict(),
            "emulator": {"version": ".".join(map(str, emulator.version)), "origin": emulator.origin},
            "plugins": options.plugins, "argv": argv,
        })
        started_s = time.monotonic()
        try:
            self._boot(argv, env)
        except LabDied as first:
            if not first.is_hiccup:
                raise
            self._count_hiccup(str(first).splitlines()[0])
            started_s = time.monotonic()
            self._boot(argv, env)
        took_s = time.monotonic() - started_s
        status = self._read_json("status.json")
        self._write_json("status.json", {**status, "boot_s": round(took_s, 1)})
        return took_s

    def _boot(self, argv, env):
        # A socket that an emulator left behind would be taken for that of the one being started.
        for path in glob.glob(self.path("*.sock")):
            os.unlink(path)
        with open(self.path("qemu.log"), "wb") as log:
            self._process = subprocess.Popen(argv, env={**os.environ, **env}, stdin=subprocess.DEVNULL,
                                             stdout=log, stderr=log, start_new_session=True)
        with open(self.path("qemu.pid"), "w", encoding="ascii") as stream:
            stream.write(str(self._process.pid))
        deadline_s = time.monotonic() + BOOT_TIMEOUT_S * timeout_scale()
        while not os.path.exists(self.path(f"port{emulators.PORTS - 1}.sock")):
            if self._process.poll() is not None:
                raise LabDied(f"lab '{self.name}': the emulator ended with {self._process.returncode} at "
                              f"once\n{self.console()}", is_hiccup=False)
            if time.monotonic() > deadline_s:
                raise self._buried("made no control ports", is_boot=True)
            time.sleep(0.05)
        left_s = max(1.0, deadline_s - time.monotonic())
        with self._free_port() as path:
            port = Port(path, left_s)
            try:
                port.connect()
            except (PortSilent, PortClosed) as error:
                raise self._buried(f"did not boot within {BOOT_TIMEOUT_S * timeout_scale():g} s "
                                   f"({error})", is_boot=True) from error
            finally:
                port.close()
        # No pause between attempts: virsh itself waits for the socket-activated daemon.
        script = f"until {READY_SCRIPT} 2>/tmp/virsh.err; do sleep 0.2; done"
        try:
            self.run(script, timeout_s=LIBVIRT_TIMEOUT_S)
        except LabTimeout as error:
            raise self._buried("booted, but libvirtd did not answer", is_boot=True) from error

    def _processors(self):
        """What each emulated processor was doing when the host hung, and which interrupts it has pending."""
        def ask(line):
            return self.qmp("human-monitor-command", **{"command-line": line}).replace("\r", "")

        try:
            found = re.findall(r"CPU#(\d+).*?RIP=([0-9a-f]+) (RFL=\w+ \S+).*?HLT=(\d)", ask("info registers -a"), re.S)
            lines = []
            for cpu, rip, flags, halted in found:
                lines.append(f"processor {cpu}: RIP={rip} {flags} {'halted' if halted == '1' else 'running'}")
                lines += [f"    {line.strip()}" for line in ask(f"info lapic {cpu}").splitlines()
                          if re.match(r"\s*(IRR|ISR|LVTT|Timer)\b", line)]
            return "\n".join(lines)
        except (OSError, LabError, ValueError) as error:
            return f"processors: unknown ({error})"

    def knocks(self):
        """What was heard on another port each time one was silent, since the start; the oldest first."""
        return [knock["heard"] for knock in self._read_json("status.json").get("knocks", [])]

    def _knock(self):
        """A port is silent: asks on another one, and notes what was heard there."""
        heard = bytearray()
        try:
            with self._free_port(patience_s=1.0) as path:
                port = Port(path, KNOCK_PATIENCE_S)
                try:
                    port.connect()
                    port.run(KNOCK_SCRIPT, None, KNOCK_PATIENCE_S, lambda is_error, data: heard.extend(data))
                finally:
                    port.close()
        except (LabError, JobTimeout, PortSilent, PortClosed) as error:
            heard += f"another port: {error}".encode()
        status = self._read_json("status.json")
        status.setdefault("knocks", []).append({"unix_time_s": int(time.time()), "heard": heard.decode(errors="replace")})
        self._write_json("status.json", status)

    def _how_it_ended(self):
        """What is known of an emulator that has ended: with status 0 when its host reset itself, as after a triple fault."""
        status = self._process.poll() if self._process else None
        if status is None:
            return "its emulator has ended"
        return f"its emulator has ended {f'with status {status}' if status >= 0 else f'by signal {-status}'}"

    def _buried(self, what, is_boot=False, is_sudden=False):
        """Kills a host that crashed or hung, and returns the exception to raise.

        A hang or a sudden end is the emulator's if nobody stopped it and the kernel has not said a word about why it ended.
        """
        was_running = self.pid() is not None
        console = self.console()
        if self.knocks():
            console = f"asked on another port {len(self.knocks())} times, at last: {self.knocks()[-1]}\n{console}"
        is_silent = False
        if is_sudden:
            is_paused = was_running and self.status()["state"] == "paused"
            is_silent = not is_paused and not re.search(CAUSE_PATTERN, console)
            console = f"{self._processors()}\n{console}" if was_running else console
        self.kill()
        is_hiccup = is_boot or is_silent or re.search(HICCUP_PATTERN, console) is not None
        end = "killed" if was_running else self._how_it_ended()
        return LabDied(f"lab '{self.name}' {what}: {end}"
                       f"{' (a known hiccup of the emulation)' if is_hiccup else ''}\n{console}",
                       is_hiccup)

    def kill(self):
        """Ends the emulator at once; harmless when it does not run."""
        pid = self.pid()
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        deadline_s = time.monotonic() + 10
        while self.pid() is not None and time.monotonic() < deadline_s:
            time.sleep(0.05)

    def down(self):
        """Stops the lab. Nothing inside is kept, so it is simply switched off; the logs stay."""
        pid = self.pid()
        if pid is None:
            return False
        with contextlib.suppress(OSError, LabError):
            self.qmp("quit")
        deadline_s = time.monotonic() + 10 * timeout_scale()
        while self.pid() is not None and time.monotonic() < deadline_s:
            time.sleep(0.05)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        self.kill()
        return True

    # --- use -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _free_port(self, patience_s=BUSY_PORTS_TIMEOUT_S):
        """Holds the lock of a control port nobody uses, and gives its path."""
        deadline_s = time.monotonic() + patience_s * timeout_scale()
        while True:
            for port in range(emulators.PORTS):
                lock = os.open(self.path(f"port{port}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(lock)
                    continue
                try:
                    yield self.path(f"port{port}.sock")
                finally:
                    os.close(lock)
                return
            if time.monotonic() > deadline_s:
                raise LabError(f"lab '{self.name}': all {emulators.PORTS} control ports are busy")
            time.sleep(0.2)

    def run(self, script, stdin=None, timeout_s=None, on_output=None):
        """Runs a bash script inside as root and returns its exit status.

        @stdin: binary file object or None. @timeout_s is scaled by HN_LAB_TIMEOUT_SCALE.
        @on_output(is_error, data) gets the output as it comes. Raises LabTimeout when the script
        takes too long (it is killed, the host lives), LabDied when the host does not.
        """
        if self.pid() is None:
            raise LabError(f"lab '{self.name}' is not up (lab up --name {self.name})\n{self.console(10)}")
        silence_s = float(os.environ.get("HN_LAB_SILENCE_S", SILENCE_MAX_S)) * timeout_scale()
        with self._free_port() as path:
            port = Port(path, silence_s)
            try:
                port.connect()
                return port.run(script, stdin,
                                None if timeout_s is None else timeout_s * timeout_scale(),
                                on_output or (lambda is_error, data: None), self._knock)
            except JobTimeout as error:
                raise LabTimeout(f"lab '{self.name}': {error}: {shorten(script)}") from error
            except PortSilent as error:
                raise self._buried(f"hangs ({error}) during: {shorten(script)}", is_sudden=True) from error
            except PortClosed as error:
                time.sleep(0.3)  # the emulator may still be writing its last words
                raise self._buried(f"went away during: {shorten(script)}", is_sudden=True) from error
            finally:
                port.close()

    def _checked(self, script, what, stdin=None, on_data=None):
        errors = bytearray()

        def collect(is_error, data):
            if is_error:
                errors.extend(data)
            elif on_data:
                on_data(data)

        if self.run(script, stdin=stdin, timeout_s=300, on_output=collect) != 0:
            raise LabError(f"{what}: {errors.decode(errors='replace').strip()}")

    def push(self, locals_, remote):
        """Copies files and folders into the host.

        One source and a @remote that is no folder there and does not end in '/': the copy gets
        that name. Otherwise they are placed in the folder @remote, which is made.
        """
        for local in locals_:
            if not os.path.exists(local):
                raise LabError(f"push: '{local}' does not exist")
        quoted = shell_quote(remote)
        with tempfile.TemporaryFile() as packed:
            with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
                for local in locals_:
                    tar.add(local, arcname=os.path.basename(os.path.abspath(local)), filter=_as_root)
            packed.seek(0)
            if len(locals_) > 1 or remote.endswith("/"):
                script = f"mkdir -p {quoted} && tar -xzpf - -C {quoted}"
            else:
                base = shell_quote(os.path.basename(os.path.abspath(locals_[0])))
                script = (f"if [ -d {quoted} ]; then exec tar -xzpf - -C {quoted}; fi\n"
                          f"mkdir -p \"$(dirname {quoted})\" && t=$(mktemp -d \"$(dirname {quoted})/.push.XXXXXX\") &&"
                          f" tar -xzpf - -C \"$t\" && mv -fT \"$t\"/{base} {quoted}; s=$?; rm -rf \"$t\"; exit $s")
            self._checked(script, f"push to {remote}", stdin=packed)

    def push_tar(self, stream, remote):
        """Unpacks a gzipped tar stream below the folder @remote."""
        self._checked(f"mkdir -p {shell_quote(remote)} && tar -xzpf - --no-overwrite-dir -C {shell_quote(remote)}",
                      f"unpack in {remote}", stdin=stream)

    def pull(self, remote, local):
        """Copies a file or folder out of the host, to the name @local or into that folder."""
        quoted = shell_quote(remote)
        packed = io.BytesIO()
        self._checked(f"tar -cf - -C \"$(dirname {quoted})\" \"$(basename {quoted})\"",
                      f"pull {remote}", on_data=packed.write)
        packed.seek(0)
        base = os.path.basename(os.path.normpath(remote))
        target = os.path.join(local, base) if os.path.isdir(local) else local
        with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(target))) as folder:
            with tarfile.open(fileobj=packed) as tar:
                tar.extractall(folder, filter="data") if hasattr(tarfile, "data_filter") \
                    else tar.extractall(folder)
            if os.path.isdir(target):
                shutil.rmtree(target)
            os.replace(os.path.join(folder, base), target)


def _as_root(info):
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info


def shell_quote(text):
    """@text as one word of a shell, whatever is in it."""
    return "'" + text.replace("'", "'\\''") + "'"


def shorten(script, length=200):
    """A script on one line, for messages."""
    text = " ".join(script.split())
    return text if len(text) <= length else text[:length] + "…"
