#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Unit tests of the lab's driver: what can be judged without booting anything.

They cover the topology parser (every error names its line and what is allowed), the physical
layout, the emulator's arguments, the choice of the emulator, and the frames of a control port against a runner of our own.
"""

import contextlib
import io
import os
import socket
import sys
import tempfile
import threading
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

# pylint: disable=wrong-import-position
import emulator  # noqa: E402
import homelab  # noqa: E402
import topology  # noqa: E402
import port as port_module  # noqa: E402
from host import Host, LabError, shell_quote  # noqa: E402
from port import HEADER, JobTimeout, Port, PortClosed, PortSilent  # noqa: E402

GOOD = """
description = two nodes   # a remark
node0.cpus = 2
node0.memory-mib = 512
node0.distances = 10 20
node1.cpus = 0
node1.memory-mib = 256
node1.distances = 20 10
"""


class TopologyParser(unittest.TestCase):
    def test_good(self):
        parsed = topology.parse(GOOD, "good")
        self.assertEqual(parsed.description, "two nodes")
        self.assertEqual([node.cpus for node in parsed.nodes], [[0, 1], []])
        self.assertEqual(parsed.mem_bytes, 768 << 20)
        self.assertFalse(parsed.has_hmat)

    def test_errors(self):
        # (what is replaced, by what, what the message must hold)
        table = [
            ("node0.cpus = 2", "node0.cpus 2", ["line 3", "key = value"]),
            ("node0.cpus = 2", "node0.cpus =", ["line 3", "key = value"]),
            ("node0.cpus = 2", "node0.cpus = two", ["line 3", "'two'", "0 to 16"]),
            ("node0.cpus = 2", "node0.cpus = -1", ["line 3", "'-1'", "0 to 16"]),
            ("node0.cpus = 2", "node0.cpus = 17", ["line 3", "'17'", "0 to 16"]),
            ("node0.cpus = 2", "node0.cpus = 99999999999", ["line 3", "0 to 16"]),
            ("node0.cpus = 2", "node0.sockets = 2", ["line 3", "node0.sockets", "allowed:", "nodeN.cpus"]),
            ("node0.cpus = 2", "cpus = 2", ["line 3", "'cpus'", "allowed:"]),
            ("node0.cpus = 2", "node9.cpus = 2", ["line 3", "node number", "0 to 7"]),
            ("node0.cpus = 2", "node0.cpus = 2\nnode0.cpus = 2", ["line 4", "line 3", "already"]),
            ("node0.cpus = 2", "node0.cpus = 0", ["0 CPUs", "1 to 16"]),
            ("node0.distances = 10 20", "node0.distances = 10", ["node0.distances", "1 values", "2 nodes"]),
            ("node0.distances = 10 20", "node0.distances = 10 10", ["node0.distances", "11 to 254"]),
            ("node0.distances = 10 20", "node0.distances = 11 20", ["node0.distances", "10"]),
            ("node0.distances = 10 20", "node0.distances = 10 255", ["line 5", "10 to 254"]),
            ("node0.distances = 10 20", "", ["node0.distances", "0 values"]),
            ("node0.memory-mib = 512", "node0.memory-mib = 4097", ["line 4", "0 to 4096"]),
            ("node0.memory-mib = 512", "node0.memory-mib = 4000", ["4256 MiB", "256 to 4096"]),
            ("node1.memory-mib = 256", "node1.memory-mib = 0", ["node1", "neither CPUs nor memory"]),
            ("node1.cpus = 0", "node1.initiator = 1", ["node1.initiator", "with CPUs"]),
            ("node1.cpus = 0", "node0.initiator = 0", ["node0.initiator", "without CPUs"]),
            ("node1.cpus = 0", "node1.latency-ns = 200", ["node1", ".initiator"]),
            ("node1.cpus = 0", "node1.latency-ns = 0", ["line 6", "1 to 65534"]),
            ("node1.cpus = 0", "node1.bandwidth-mib-per-s = 5", ["node1.bandwidth-mib-per-s", ".latency-ns"]),
        ]
        for old, new, expected in table:
            with self.subTest(new=new):
                self.assertIn(old, GOOD)
                with self.assertRaises(topology.TopologyError) as caught:
                    topology.parse(GOOD.replace(old, new), "bad")
                for words in ["bad", *expected]:
                    self.assertIn(words, str(caught.exception))

    def test_gap_and_nothing(self):
        with self.assertRaisesRegex(topology.TopologyError, "node0 is missing"):
            topology.parse("node1.cpus = 1\n", "gap")
        with self.assertRaisesRegex(topology.TopologyError, "no node"):
            topology.parse("description = x\n", "empty")

    def test_unknown_name_lists_those_at_hand(self):
        with self.assertRaisesRegex(topology.TopologyError, "nosuch.*n2c4"):
            topology.read("nosuch")

    def test_every_file_at_hand_parses(self):
        self.assertGreaterEqual(set(topology.names()), {"n2c2", "n2c4", "n4c4-mem", "n4c8-mem", "n3-uneven"})
        for name in topology.names():
            parsed = topology.read(name)
            self.assertTrue(parsed.description)
            covered = sum(end - low for parts in parsed.ranges().values() for low, end in parts)
            self.assertEqual(covered, parsed.mem_bytes, name)


class Layout(unittest.TestCase):
    def ranges(self, *sizes_mib):
        lines = []
        for node, mib in enumerate(sizes_mib):
            distances = " ".join("10" if other == node else "20" for other in range(len(sizes_mib)))
            lines += [f"node{node}.cpus = 1", f"node{node}.memory-mib = {mib}", f"node{node}.distances = {distances}"]
        return topology.parse("\n".join(lines), "layout").ranges()

    def test_hole_below_4_gib(self):
        mib, gib = 1 << 20, 1 << 30
        self.assertEqual(self.ranges(1024, 1024), {0: [(0, gib)], 1: [(gib, 2 * gib)]})
        # One MiB below the size from which the machine splits its memory, and at it.
        self.assertEqual(self.ranges(1024, 1791)[1], [(gib, gib + 1791 * mib)])
        self.assertEqual(self.ranges(1024, 1792)[1], [(gib, 2 * gib), (4 * gib, 4 * gib + 768 * mib)])
        self.assertEqual(self.ranges(2048, 1024), {0: [(0, 2 * gib)], 1: [(4 * gib, 5 * gib)]})
        self.assertEqual(self.ranges(3072, 1024),
                         {0: [(0, 2 * gib), (4 * gib, 5 * gib)], 1: [(5 * gib, 6 * gib)]})

    def test_arguments(self):
        args = topology.read("n4c4-mem").qemu_args()
        self.assertIn("4,sockets=4,cores=1,threads=1", args)
        self.assertIn("node,nodeid=3,memdev=ram3,initiator=0", args)
        self.assertIn("dist,src=0,dst=3,val=25", args)
        self.assertIn("hmat-lb,initiator=0,target=3,hierarchy=memory,data-type=access-latency,latency=250", args)
        self.assertIn("4,sockets=2,cores=2,threads=1", topology.read("n2c4").qemu_args())
        self.assertFalse([arg for arg in topology.read("n2c4").qemu_args() if "hmat" in arg])

    def test_plugins_know_the_run_folder(self):
        found = emulator.Emulator(["qemu"], {}, (10, 0, 0), "test")
        options = emulator.BootOptions(plugins=["/x.so,socket={run_dir}/m.sock"], kernel_args=["quiet2"])
        argv, _ = emulator.command_line(found, "/image", topology.read("n2c2"), "/run/lab", options)
        self.assertEqual(argv[argv.index("-plugin") + 1], "file=/x.so,socket=/run/lab/m.sock")
        self.assertTrue(argv[argv.index("-append") + 1].endswith(" quiet2"))


class WhichEmulator(unittest.TestCase):
    """Fake emulators in a fake image, which tell a version."""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name
        self.images = {name: os.path.join(self.folder, name) for name in ("trixie", "bookworm")}
        self.built = []
        for patch in (mock.patch.object(emulator, "image_dir", self.build),
                      mock.patch.object(emulator.shutil, "which", lambda name: self.own),
                      mock.patch.dict(os.environ)):
            patch.start()
            self.addCleanup(patch.stop)
        os.environ.pop("HN_LAB_QEMU", None)
        self.own = None

    def build(self, suite):
        self.built.append(suite)
        return self.images[suite]

    def program(self, version, *path):
        """An executable that tells @version; in an image it stands for the loader, which is what is run."""
        file = os.path.join(self.folder, *path)
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(file, "w", encoding="ascii") as stream:
            stream.write(f"#!/bin/sh\necho QEMU emulator version {version}\n")
        os.chmod(file, 0o755)
        return file

    def image(self, name, **versions):
        """An image whose loader runs whatever emulator it is given; {'tree': '10.0.2', …}."""
        for folder, version in versions.items():
            self.program(version, name, folder, "usr/bin/qemu-system-x86_64")
        loader = self.program("", name, "tree/usr/lib64/ld-linux-x86-64.so.2")
        with open(loader, "w", encoding="ascii") as stream:
            stream.write('#!/bin/sh\nshift 2; exec "$@"\n')

    def found(self, image):
        return emulator.find(self.images[image]).version

    def test_the_first_that_loses_no_interrupt(self):
        self.image("trixie", tree="10.0.13", emulator="11.1.3")
        self.assertEqual(self.found("trixie"), (11, 1, 3))
        self.own = self.program("10.0.9", "own")
        self.assertEqual(self.found("trixie"), (11, 1, 3))
        self.own = self.program("10.2.0", "own")
        self.assertEqual((self.found("trixie"), emulator.find(self.images["trixie"]).argv), ((10, 2, 0), [self.own]))
        self.assertEqual(set(self.built) - {"trixie"}, set())

    def test_another_image_only_if_need_be(self):
        self.image("trixie", tree="10.0.13", emulator="11.1.3")
        self.image("bookworm", tree="7.2.22")
        self.assertEqual((self.found("bookworm"), self.built), ((11, 1, 3), ["trixie"]))
        self.built.clear()
        self.image("bookworm", tree="10.2.1")
        self.assertEqual((self.found("bookworm"), self.built), ((10, 2, 1), []))

    def test_what_has_to_do(self):
        self.image("trixie", tree="10.0.13")
        self.own = self.program("7.2.22", "own")
        self.assertEqual(self.found("trixie"), (10, 0, 13))
        self.image("trixie", tree="9.2.0")
        with self.assertRaisesRegex(emulator.EmulatorError, "no QEMU 10.0"):
            self.found("trixie")

    def test_at_hand_builds_nothing(self):
        os.environ["HN_LAB_CACHE"] = self.folder
        self.assertIsNone(emulator.at_hand())
        for name, versions in (("bookworm-1", {"tree": "7.2.22"}), ("trixie-1", {"tree": "10.0.13", "emulator": "11.1.3"})):
            self.image(name, **versions)
        self.assertEqual((emulator.at_hand().version, self.built), ((11, 1, 3), []))

    def test_named_by_hand(self):
        os.environ["HN_LAB_QEMU"] = self.program("7.2.22", "named")
        self.assertEqual(self.found("trixie"), (7, 2, 22))
        os.environ["HN_LAB_QEMU"] = "/no/such/qemu"
        with self.assertRaisesRegex(emulator.EmulatorError, "HN_LAB_QEMU is '/no/such/qemu'"):
            self.found("trixie")


class FakeRunner(threading.Thread):
    """The far end of a control port: answers S, then does what the test's function says."""

    def __init__(self, folder, answer, first=b"", deaf_to=0):
        super().__init__(daemon=True)
        self.path = os.path.join(folder, "port")
        self.answer, self.first, self.deaf_to = answer, first, deaf_to
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(self.path)
        self.server.listen(4)
        self.stdin = b""
        self.start()

    def run(self):
        while True:
            link, _ = self.server.accept()
            with link, link.makefile("rwb", buffering=0) as stream, contextlib.suppress(OSError, EOFError):
                self.serve(link, stream)

    @staticmethod
    def exactly(stream, count):
        data = b""
        while len(data) < count:
            part = stream.read(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def serve(self, link, stream):
        link.sendall(self.first)
        while True:
            kind, length = HEADER.unpack(self.exactly(stream, HEADER.size))
            payload = self.exactly(stream, length)
            if kind == b"S":
                if self.deaf_to:
                    self.deaf_to -= 1
                else:
                    link.sendall(HEADER.pack(b"S", length) + payload)
            elif kind == b"I":
                self.stdin += payload
            elif kind == b"E":
                self.answer(link)


def frame(kind, payload=b""):
    return HEADER.pack(kind, len(payload)) + payload


class PortFrames(unittest.TestCase):
    def run_port(self, answer, patience_s=5.0, timeout_s=None, stdin=None, knock=lambda: None, **runner):
        with tempfile.TemporaryDirectory() as folder:
            fake = FakeRunner(folder, answer, **runner)
            port, seen = Port(fake.path, patience_s), {False: b"", True: b""}

            def keep(is_error, data):
                seen[is_error] += data

            try:
                port.connect()
                status = port.run("true", stdin, timeout_s, keep, knock)
            finally:
                port.close()
            return status, seen[False], seen[True], fake.stdin

    def test_output_and_status(self):
        def answer(link):  # in pieces that respect no frame
            data = frame(b"O", b"out") + frame(b"H") + frame(b"F", b"err") + frame(b"X", b"\x07\0\0\0")
            for at in range(0, len(data), 3):
                link.sendall(data[at:at + 3])

        self.assertEqual(self.run_port(answer), (7, b"out", b"err", b""))

    def test_standard_input_arrives_whole(self):
        content = os.urandom(300_000)
        result = self.run_port(lambda link: link.sendall(frame(b"X", b"\0\0\0\0")), stdin=io.BytesIO(content))
        self.assertEqual(result, (0, b"", b"", content))

    def test_words_of_an_earlier_client_are_ignored(self):
        stale = frame(b"O", b"old") + frame(b"X", b"\x01\0\0\0") + frame(b"S", b"x" * 16)
        result = self.run_port(lambda link: link.sendall(frame(b"X", b"\0\0\0\0")), first=stale)
        self.assertEqual(result, (0, b"", b"", b""))

    def test_a_lost_first_word_is_said_again(self):
        result = self.run_port(lambda link: link.sendall(frame(b"X", b"\0\0\0\0")), deaf_to=1)
        self.assertEqual(result[0], 0)

    def test_silence(self):
        with self.assertRaises(PortSilent):
            self.run_port(lambda link: None, patience_s=0.5)
        with self.assertRaises(PortSilent):
            self.run_port(lambda link: None, patience_s=0.5, deaf_to=1000)

    def test_a_slow_reader_is_no_silence(self):
        with tempfile.TemporaryDirectory() as folder:
            fake = FakeRunner(folder, lambda link: link.sendall(frame(b"O", b"x") + frame(b"X", b"\0\0\0\0")))
            port = Port(fake.path, 0.5)
            port.connect()
            status = port.run("true", None, None, lambda is_error, data: threading.Event().wait(1.0))
            port.close()
        self.assertEqual(status, 0)

    def test_timeout_in_spite_of_heartbeats(self):
        def answer(link):
            for _ in range(100):
                link.sendall(frame(b"H"))
                threading.Event().wait(0.05)

        with self.assertRaises(JobTimeout):
            self.run_port(answer, patience_s=2.0, timeout_s=0.5)

    def test_a_host_that_hangs_is_not_taken_for_a_late_job(self):
        # The time is up long before the patience is, and nothing was heard since the job began.
        with mock.patch.object(port_module, "HEARD_LATELY_S", 0.1), self.assertRaises(PortSilent):
            self.run_port(lambda link: None, patience_s=1.0, timeout_s=0.3)

        def answer(link):  # a heartbeat comes after the time is up
            threading.Event().wait(0.6)
            link.sendall(frame(b"H"))
            threading.Event().wait(5)

        with mock.patch.object(port_module, "HEARD_LATELY_S", 0.1), self.assertRaises(JobTimeout):
            self.run_port(answer, patience_s=2.0, timeout_s=0.3)

    def test_a_silent_port_is_knocked_at(self):
        knocked, answered = threading.Event(), []

        def answer(link):  # nothing until somebody knocks, as where an interrupt was lost
            answered.append(knocked.wait(5))
            link.sendall(frame(b"X", b"\x03\0\0\0"))

        with mock.patch.object(port_module, "HEARD_LATELY_S", 0.2):
            self.assertEqual(self.run_port(answer, patience_s=4.0, knock=knocked.set)[0], 3)
        self.assertEqual(answered, [True])

        count = []
        with mock.patch.object(port_module, "HEARD_LATELY_S", 0.2), mock.patch.object(port_module, "KNOCK_AGAIN_S", 0.2), \
                self.assertRaises(PortSilent):
            self.run_port(lambda link: None, patience_s=1.0, knock=lambda: count.append(1))
        self.assertGreater(len(count), 1)

    def test_closed(self):
        with self.assertRaises(PortClosed):
            self.run_port(lambda link: link.shutdown(socket.SHUT_RDWR))


class SmallThings(unittest.TestCase):
    def test_cpu_list(self):
        for text, expected in (("", set()), ("3", {3}), ("0-2,5\n", {0, 1, 2, 5})):
            self.assertEqual(homelab.parse_cpu_list(text), expected)
        with self.assertRaises(ValueError):
            homelab.parse_cpu_list("a-b")

    def test_quote(self):
        self.assertEqual(shell_quote("it's"), "'it'\\''s'")

    def test_lab_name(self):
        for name in ("", "../x", "a b", "-x", "x" * 33):
            with self.assertRaises(LabError):
                Host(name)

    def test_not_up(self):
        with tempfile.TemporaryDirectory() as folder:
            host = Host("none")
            host.run_dir = folder
            with self.assertRaisesRegex(LabError, "not up"):
                host.run("true")
            self.assertEqual(host.status()["state"], "down")
            self.assertFalse(host.down())

    def test_domain_xml(self):
        text = homelab.domain_xml("g", vcpus=3, cells=(32, 64), shared=True, numatune="0-1", cpuset="1")
        for part in ("<memory unit='MiB'>96<", "cpus='0-1' memory='32'", "cpus='2-2' memory='64'", "memfd",
                     "nodeset='0-1'", "cpuset='1'>3<"):
            self.assertIn(part, text)


if __name__ == "__main__":
    unittest.main()
