#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""homenode-numad, run as libvirt runs numad, against the very daemon over the fake back end and a captured machine
with two nodes of two CPUs. Usage: test_numad.py HOMENODE_NUMAD HOMENODED_FAKE SOURCE_ROOT [unittest arguments]"""

import os
import signal
import subprocess
import sys
import tempfile
import unittest

SOURCE = os.path.abspath(sys.argv[3])
sys.path.insert(0, os.path.join(SOURCE, "tests/integration/daemon"))
# pylint: disable=wrong-import-position
from control_client import CommandError, Daemon, wait_for  # noqa: E402

NUMAD, FAKE = (os.path.abspath(path) for path in sys.argv[1:3])
SYSROOT = os.path.join(SOURCE, "tests/fixtures/hosts/two-nodes/root")


class Numad(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)

    def daemon(self, guests):
        file = os.path.join(self.directory.name, "guests.ini")
        with open(file, "w", encoding="utf-8") as ini:
            ini.write(guests)
        daemon = Daemon(FAKE, "--connect", f"fake:{file}", "--sysroot", SYSROOT)
        self.addCleanup(daemon.close)
        return daemon.start()

    def argv(self, size, runtime_dir, *options):
        return [NUMAD, "-v", "--socket", runtime_dir, "--sysroot", SYSROOT, *options, "-w", size]

    def ask(self, size, runtime_dir):
        """As libvirt does: exit status 0, a nodeset on standard output. Returns it and who said so."""
        ended = subprocess.run(self.argv(size, runtime_dir), capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertRegex(ended.stdout, r"\A[0-9,-]+\n\Z")
        return ended.stdout.strip(), ended.stderr

    def ask_at_once(self, count, size, runtime_dir):
        running = [subprocess.Popen(self.argv(size, runtime_dir), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                    text=True) for _ in range(count)]
        answers = [process.communicate(timeout=60)[0].strip() for process in running]
        self.assertEqual([process.returncode for process in running], [0] * count)
        return answers

    def test_ten_started_together_spread(self):
        daemon = self.daemon("")
        wait_for(lambda: daemon.call("query-host")["rounds"] > 0, "a round")
        self.assertTrue(daemon.call("query-placement", vcpus=1, mib=40)["is-observed"])
        answers = self.ask_at_once(10, "1:40", daemon.runtime_dir)
        self.assertEqual((answers.count("0"), answers.count("1")), (5, 5), answers)
        self.assertEqual(daemon.call("query-placement", vcpus=1, mib=40)["reserved-guests"], 10)
        self.assertRegex(daemon.log(), r"a guest of 1 vCPUs and 40 MiB is to begin on node [01] \(initial-placement\)")

    def test_a_restart_forgets_nobody(self):
        """Three were told to begin on one node, and have not come when the daemon ends, this way or that."""
        for end in (Daemon.stop, Daemon.kill):
            daemon = self.daemon("")
            runtime_dir = daemon.runtime_dir
            wait_for(lambda: daemon.call("query-host")["rounds"] > 0, "a round")
            before = [self.ask("1:40", runtime_dir)[0] for _ in range(3)]
            end(daemon)
            daemon.start()
            self.assertEqual(daemon.call("query-placement", vcpus=1, mib=40)["reserved-guests"], 3)
            answers = before + [self.ask("1:40", runtime_dir)[0] for _ in range(3)]
            self.assertEqual((answers.count("0"), answers.count("1")), (3, 3), answers)
            # What is damaged is said and passed over.
            daemon.stop()
            with open(os.path.join(runtime_dir, "promises"), "w", encoding="utf-8") as file:
                file.write("version 1\nnonsense\nend\n")
            daemon.start()
            self.assertEqual(daemon.call("query-placement", vcpus=1, mib=40)["reserved-guests"], 0)
            self.assertIn("not understood", daemon.log())

    def test_before_any_round(self):
        """libvirtd starts its guests, and the daemon cannot list them yet."""
        daemon = self.daemon("[fake]\nconnected=false\n")
        answers = self.ask_at_once(4, "1:40", daemon.runtime_dir)
        self.assertEqual((answers.count("0"), answers.count("1")), (2, 2), answers)
        self.assertFalse(daemon.call("query-placement", vcpus=1, mib=40)["is-observed"])
        self.assertEqual(daemon.call("query-host")["rounds"], 0)

    def test_sizes(self):
        daemon = self.daemon("")
        wait_for(lambda: daemon.call("query-host")["rounds"] > 0, "a round")
        self.assertEqual(self.ask("4:64", daemon.runtime_dir)[0], "0-1")       # more vCPUs than a node has CPUs
        self.assertEqual(self.ask("1:100000", daemon.runtime_dir)[0], "0-1")   # more than the host has
        self.assertEqual(self.ask("500:99999999999999", daemon.runtime_dir)[0], "0-1")
        for arguments in ({"vcpus": 0}, {"vcpus": 8193}, {"vcpus": 1, "mib": -1}):
            with self.assertRaisesRegex(CommandError, "allowed is"):
                daemon.call("reserve-placement", **arguments)

    def test_who_may_not_reserve(self):
        daemon = self.daemon("")
        wait_for(lambda: daemon.call("query-host")["rounds"] > 0, "a round")
        client = daemon.client(is_read_only=True)
        self.addCleanup(client.close)
        with self.assertRaises(CommandError) as caught:
            client.call("reserve-placement", vcpus=1)
        self.assertEqual(caught.exception.kind, "ReadOnlySocket")
        only_ro = os.path.join(self.directory.name, "ro")
        os.mkdir(only_ro)
        os.symlink(os.path.join(daemon.runtime_dir, "control-ro"), os.path.join(only_ro, "control-ro"))
        answers = [self.ask("1:40", only_ro) for _ in range(3)]
        self.assertEqual(len({nodeset for nodeset, _ in answers}), 1)          # nothing remembered
        self.assertIn("not reserved (no permission)", answers[0][1])
        self.assertEqual(daemon.call("query-placement", vcpus=1)["reserved-guests"], 0)

    def test_without_daemon(self):
        daemon = self.daemon("")
        self.assertIn("by homenoded", self.ask("1:40", daemon.runtime_dir)[1])
        daemon.signal(signal.SIGSTOP)                                          # hangs
        nodeset, source = self.ask("1:40", daemon.runtime_dir)
        self.assertIn(nodeset, ("0", "1"))
        self.assertIn("by load and free memory of the nodes", source)
        daemon.signal(signal.SIGCONT)
        daemon.kill()                                                          # left its sockets behind
        self.assertIn("by load and free memory of the nodes", self.ask("1:40", daemon.runtime_dir)[1])
        self.assertIn("by load and free memory of the nodes", self.ask("1:40", "/nonexistent")[1])

    def test_command_line(self):
        def run(*arguments):
            return subprocess.run([NUMAD, *arguments], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(run("-V").stdout.split()[0], "homenode-numad")
        helped = run("--help")
        self.assertEqual(helped.returncode, 0)
        with open(os.path.join(SOURCE, "docs/man/homenode-numad.8"), encoding="utf-8") as file:
            manual = file.read().replace("\\-", "-")
        for option in ("-w", "-v", "--help", "--version", "--socket", "--sysroot"):
            self.assertIn(option, helped.stdout)
            self.assertIn(option, manual)
        daemon_of_numad = run("-i", "15")
        self.assertEqual((daemon_of_numad.returncode, daemon_of_numad.stdout), (1, ""))
        self.assertEqual(len(daemon_of_numad.stderr.splitlines()), 1)
        self.assertIn("homenoded balances", daemon_of_numad.stderr)
        # The machine the test runs on, whatever it is.
        live = run("--socket=/nonexistent", "-w", "1:1")
        self.assertEqual(live.returncode, 0)
        self.assertRegex(live.stdout, r"\A[0-9,-]+\n\Z")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
