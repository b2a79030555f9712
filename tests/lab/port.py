# SPDX-License-Identifier: GPL-2.0-or-later
"""The driver's end of a control port: runs one script in the emulated host.

Theory of operation. A port is a unix socket that QEMU connects to a virtio-serial port, behind
which runner.c waits; its head describes the frames. Closing the socket kills the job, so a
time-out needs no answer. While a job runs the runner sends a heartbeat every 2 s: silence for
much longer means that the host is wedged, however long the job may take.

It must not know about topologies, images or processes; it only talks.
"""

import os
import selectors
import socket
import struct
import time

HEADER = struct.Struct("<cI")
CHUNK_BYTES = 1 << 16
SYNC_PATIENCE_S = 5.0
RECONNECT_PAUSE_S = 3.0  # the runner has to see that nobody is there: longer than its CLIENT_GRACE_MS
ASK_AGAIN_S = 0.5
HEARD_LATELY_S = 10.0  # five heartbeats
KNOCK_AGAIN_S = 15.0


class PortSilent(Exception):
    """Nothing came for the time allowed: the host is wedged or not up yet."""


class PortClosed(Exception):
    """The emulator closed the socket: it has gone."""


class JobTimeout(Exception):
    """The job took longer than its caller allowed, and was killed."""


class Port:
    """One session on one port. The caller holds the port's lock."""

    def __init__(self, path, patience_s):
        self._path = path
        self._patience_s = patience_s
        self._socket = None
        self._received = bytearray()

    def close(self):
        """Ends the session; a job that still runs is killed by the runner."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._received.clear()

    def connect(self):
        """Opens the port and waits until its runner answers, for at most the patience."""
        deadline_s = time.monotonic() + self._patience_s
        while True:
            self.close()
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self._socket.connect(self._path)
                self._sync(min(deadline_s, time.monotonic() + max(SYNC_PATIENCE_S, self._patience_s / 8)))
                return
            except (ConnectionError, FileNotFoundError) as error:
                self.close()
                raise PortClosed(str(error)) from error
            except PortSilent:
                # The rest of a dead client's frame may have swallowed ours: once more from scratch.
                self.close()
                if time.monotonic() >= deadline_s:
                    raise
                time.sleep(RECONNECT_PAUSE_S)

    def _sync(self, deadline_s):
        """Asks until the runner answers; a question that meets it between two clients is lost."""
        nonce = os.urandom(16)
        self._socket.setblocking(True)
        while True:
            self._socket.sendall(HEADER.pack(b"S", len(nonce)) + nonce)
            ask_again_s = min(deadline_s, time.monotonic() + ASK_AGAIN_S)
            try:
                while True:
                    kind, payload = self._frame(ask_again_s)
                    if kind == b"S" and payload == nonce:
                        return
            except PortSilent:
                if time.monotonic() >= deadline_s:
                    raise

    def _frame(self, deadline_s):
        """Waits for one whole frame."""
        while True:
            frame = self._take_frame()
            if frame:
                return frame
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise PortSilent(f"no answer on {self._path}")
            self._socket.settimeout(left_s)
            try:
                self._fill()
            except TimeoutError as error:
                raise PortSilent(f"no answer on {self._path}") from error

    def _fill(self):
        data = self._socket.recv(CHUNK_BYTES)
        if not data:
            raise PortClosed(f"{self._path}: closed by the emulator")
        self._received += data

    def _take_frame(self):
        if len(self._received) < HEADER.size:
            return None
        kind, length = HEADER.unpack_from(self._received)
        end = HEADER.size + length
        if len(self._received) < end:
            return None
        payload = bytes(self._received[HEADER.size:end])
        del self._received[:end]
        return kind, payload

    def run(self, script, stdin, timeout_s, on_output, knock=lambda: None):
        """Runs @script (text) with bash and returns its exit status.

        @stdin: a binary file object or None. @on_output(is_error, data) gets the output as it
        comes. Raises JobTimeout, PortSilent or PortClosed. A host that is silent when the time is up
        is asked for its heartbeat first: a job that is late and a host that hangs are two things. @knock is called
        when nothing was heard for some heartbeats, and again later: what is heard because of it counts.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        text = script.encode()
        outgoing = bytearray(HEADER.pack(b"R", len(text)) + text)
        is_stdin_open = True
        self._socket.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            heard_s = time.monotonic()
            knock_s = heard_s + HEARD_LATELY_S
            while True:
                if not outgoing and is_stdin_open:
                    data = stdin.read(CHUNK_BYTES) if stdin else b""
                    outgoing += HEADER.pack(b"I" if data else b"E", len(data)) + data
                    is_stdin_open = bool(data)
                events = selectors.EVENT_READ | (selectors.EVENT_WRITE if outgoing else 0)
                selector.modify(self._socket, events)
                now_s = time.monotonic()
                is_late = deadline_s is not None and now_s >= deadline_s
                if is_late and now_s < heard_s + HEARD_LATELY_S:
                    raise JobTimeout(f"not finished after {timeout_s:g} s")
                wait_s = max(0.0, min(heard_s + self._patience_s, knock_s) - now_s)
                if deadline_s is not None and not is_late:
                    wait_s = min(wait_s, deadline_s - now_s)
                ready = selector.select(wait_s)
                # Judged only when there is nothing to read: this process may have been stopped.
                now_s = time.monotonic()
                if not ready and now_s >= heard_s + self._patience_s:
                    raise PortSilent(f"no heartbeat for {self._patience_s:g} s")
                if not ready and now_s >= knock_s:
                    knock()
                    knock_s = time.monotonic() + KNOCK_AGAIN_S
                for _, mask in ready:
                    if mask & selectors.EVENT_WRITE:
                        self._send_some(outgoing)
                    if mask & selectors.EVENT_READ:
                        self._fill_nonblocking()
                while (frame := self._take_frame()) is not None:
                    kind, payload = frame
                    if kind == b"X":
                        return struct.unpack("<I", payload)[0]
                    if kind in (b"O", b"F"):
                        on_output(kind == b"F", payload)  # may block for long
                    heard_s = time.monotonic()
                    knock_s = heard_s + HEARD_LATELY_S

    def _send_some(self, outgoing):
        try:
            sent = self._socket.send(outgoing)
        except BlockingIOError:
            return
        except ConnectionError as error:
            raise PortClosed(f"{self._path}: {error}") from error
        del outgoing[:sent]

    def _fill_nonblocking(self):
        try:
            self._fill()
        except BlockingIOError:
            pass
        except ConnectionError as error:
            raise PortClosed(f"{self._path}: {error}") from error
