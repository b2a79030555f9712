# SPDX-License-Identifier: GPL-2.0-or-later
"""A client of the control sockets and a daemon under test, for integration tests.

Knows the wire format only (JSON lines); what a verb answers is the tests' business.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time


class CommandError(Exception):
    """An error reply: its class and its sentence."""

    def __init__(self, error):
        super().__init__(error["desc"])
        self.kind = error["class"]


class Client:
    """One connection to a control socket.

    Lines are read through a buffer, commands go straight to the socket. One text stream for both would lose
    events: what it has read ahead of the line it returned is thrown away by its next write(). A reply and the
    event behind it that arrive together, as on a busy machine, are such a case.
    """

    def __init__(self, path, timeout_s=20):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout_s)
        self.socket.connect(path)
        self.lines = self.socket.makefile("rb")
        self.events = []
        assert "QMP" in self.read()
        self.call("qmp_capabilities")

    def read(self):
        """The next line: a reply, or an event that comes before it."""
        line = self.lines.readline()
        if not line:
            raise EOFError("the daemon closed the connection")
        return json.loads(line)

    def send(self, name, **arguments):
        """A command whose reply somebody else reads, if at all."""
        command = {"execute": name}
        if arguments:
            command["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.socket.sendall(json.dumps(command).encode() + b"\n")

    def call(self, name, **arguments):
        """The value returned; '_' in argument names stands for '-'."""
        self.send(name, **arguments)
        while True:
            reply = self.read()
            if "event" in reply:
                self.events.append(reply)
            elif "error" in reply:
                raise CommandError(reply["error"])
            else:
                return reply["return"]

    def close(self):
        self.lines.close()
        self.socket.close()


# What systemd does for a service with sockets (sd_listen_fds(3)): NAMES DESCRIPTOR… -- PROGRAM ARGUMENT…
ACTIVATOR = """
import fcntl, os, sys
end = sys.argv.index("--")
high = [fcntl.fcntl(int(text), fcntl.F_DUPFD, 100) for text in sys.argv[2:end]]
for number, fd in enumerate(high, 3):
    os.dup2(fd, number)
    os.close(fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(high)), LISTEN_FDNAMES=sys.argv[1])
os.execv(sys.argv[end + 1], sys.argv[end + 1:])
"""


class Daemon:
    """A homenoded with a runtime directory of its own, and, where `sockets` (name -> listening socket) are given,
    started as by a supervisor that holds them."""

    def __init__(self, program, *arguments, runtime_dir=None, config=None, sockets=None):
        self.directory = tempfile.TemporaryDirectory(prefix="homenoded-")
        self.runtime_dir = runtime_dir or os.path.join(self.directory.name, "run")
        self.config_file = os.path.join(self.directory.name, "homenode.conf")
        self.log_file = os.path.join(self.directory.name, "log")
        if config is not None:
            self.write_config(config)
            arguments += ("--config", self.config_file)
        self.argv = [program, "--runtime-dir", self.runtime_dir, "--log-level", "debug", *arguments]
        self.process = None
        self.sockets = sockets or {}

    def write_config(self, text):
        with open(self.config_file, "w", encoding="utf-8") as file:
            file.write(text)

    def log(self):
        with open(self.log_file, encoding="utf-8", errors="replace") as file:
            return file.read()

    def start(self):
        fds = [sock.fileno() for sock in self.sockets.values()]
        argv = self.argv if not fds else [sys.executable, "-c", ACTIVATOR, ":".join(self.sockets), *map(str, fds),
                                          "--", *self.argv]
        with open(self.log_file, "ab") as log:
            # pylint: disable=consider-using-with
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, pass_fds=fds)
        wait_for(lambda: self.process.poll() is not None or self.can_connect(), "the control socket")
        if self.process.poll() is not None:
            raise AssertionError(f"homenoded ended with {self.process.returncode}:\n{self.log()}")
        return self

    def can_connect(self):
        path = os.path.join(self.runtime_dir, "control-ro")
        with socket.socket(socket.AF_UNIX) as probe:
            return os.path.exists(path) and probe.connect_ex(path) == 0

    def client(self, is_read_only=False):
        return Client(os.path.join(self.runtime_dir, "control-ro" if is_read_only else "control"))

    def call(self, name, **arguments):
        client = self.client()
        try:
            return client.call(name, **arguments)
        finally:
            client.close()

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        """Ends it as systemd would; its exit status."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def close(self):
        self.kill()
        self.directory.cleanup()


def wait_for(condition, what, timeout_s=20):
    """Waits until condition() is true and returns its value."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s in vain for {what}")
        time.sleep(0.05)
