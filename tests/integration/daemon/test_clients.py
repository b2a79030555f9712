#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Many clients of the built homenoded, and bad ones."""

import collections
import contextlib
import json
import os
import random
import socket
import struct
import tempfile
import threading
import time
import unittest

from control_client import Client, wait_for
from daemon_test import HOMENODED, DaemonTest, main


class ClientOfThisTest(unittest.TestCase):
    """What the other tests rely on: an event that arrives together with a reply is not lost."""

    def test_event_behind_a_reply(self):
        with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.join(directory, "s"))
            listener.listen()
            peers = []

            def serve():
                peers.append(listener.accept()[0])
                # All of it is there before the client reads its second line.
                peers[0].sendall(b'{"QMP":{}}\n{"return":0}\n{"event":"A"}\n{"return":1}\n{"event":"B"}\n{"return":2}\n')

            peer = threading.Thread(target=serve)
            peer.start()
            client = Client(os.path.join(directory, "s"))
            peer.join()
            self.addCleanup(peers[0].close)
            self.assertEqual([client.call("x"), client.call("x")], [1, 2])
            self.assertEqual([event["event"] for event in client.events], ["A", "B"])
            client.close()


class ManyClients(DaemonTest):
    """The loop goes on while clients ask for rounds that take time."""

    def test_parallel_trials(self):
        daemon = self.daemon(HOMENODED, "--connect", "test:///default").start()
        wait_for(lambda: daemon.call("query-host")["rounds"] > 0, "a round")
        clients = [daemon.client(is_read_only=True) for _ in range(8)]
        for client in clients:
            client.send("explain", domain="test")
        fresh = daemon.client(is_read_only=True)
        self.assertEqual(fresh.call("query-host")["schema"], 1)
        for client in clients:
            self.assertIn("return", client.read())
            client.close()
        fresh.close()
        # One that asks and leaves does no harm.
        gone = daemon.client(is_read_only=True)
        gone.send("snapshot")
        gone.close()
        self.assertEqual(daemon.stop(), 0)

    def test_bad_clients(self):
        """Whatever is done on the one socket, whoever uses the other is served, and nothing is left of it."""
        daemon = self.daemon(HOMENODED, "--connect", "test:///default").start()
        wait_for(lambda: daemon.call("query-host")["rounds"] > 0, "a round")
        path = os.path.join(daemon.runtime_dir, "control-ro")
        honest = daemon.client()
        bad = collections.deque()

        def connect(what=b""):
            peer = socket.socket(socket.AF_UNIX)
            bad.append(peer)
            # Not settimeout(): then a full backlog is an error instead of something to wait for.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 20, 0))
            peer.connect(path)
            peer.setblocking(False)
            with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                while what:
                    what = what[peer.send(what):]
            return peer

        def check():
            self.assertEqual(honest.call("query-host")["schema"], 1)
            self.assertEqual(len(honest.call("query-plan")["verdicts"]), 1)

        for _ in range(20):
            connect(b'{"execute":')                                                      # half of a message
        for _ in range(4):
            connect(b'{"execute":"qmp_capabilities"}' + b'{"execute":"snapshot"}' * 20000)  # reads nothing
            connect(random.Random(1).randbytes(1 << 16) * 4)                             # says nothing
            connect(b"[" * (1 << 20))                                                    # does not end
        check()
        slow = connect(b'{"execute":"qmp_capabilities"}{"execute":"snapshot","id":1}')
        slow.settimeout(20)
        said = b""
        while b'"id":1}' not in said:
            said += slow.recv(512)
        self.assertEqual(json.loads(said.splitlines()[-1])["return"]["format"], "homenode-round")
        check()
        for number in range(10000):
            connect()
            if len(bad) > 300:
                bad.popleft().close()
            if number % 1000 == 0:
                check()
        check()
        while bad:
            bad.pop().close()
        wait_for(lambda: self.is_served(daemon), "the socket to be of use again")
        check()
        honest.close()
        self.assertEqual(daemon.stop(), 0)

    @staticmethod
    def is_served(daemon):
        """Whether the read-only socket has room; not until those who went are noticed to have gone."""
        try:
            client = daemon.client(is_read_only=True)
        except (AssertionError, OSError, EOFError):
            return False
        client.close()
        return True


if __name__ == "__main__":
    main()
