#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every verb of `homenode` against a daemon over the fake back end that reads a captured host with two nodes: tables
keep to 80 columns, --json is JSON of a version, exit statuses are those of the manual, `top` keeps its shape when the
terminal changes. Usage: test_verbs.py HOMENODE HOMENODED_FAKE SOURCE_ROOT [unittest arguments]"""

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

from control_client import Daemon, wait_for

HOMENODE, FAKE, SOURCE = (os.path.abspath(path) for path in sys.argv[1:4])
CAPTURE = os.path.join(SOURCE, "tests/fixtures/hosts/two-nodes")
# Verbs that answer without a daemon, and how they are asked here.
OFFLINE = {"replay": ["replay", "ROUND"], "simulate": ["simulate", "SCENARIO"]}


class WithDaemon(unittest.TestCase):
    """A daemon that reads the captured machine; g1 has a wrong element, g3 opted in."""

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.directory.cleanup)
        with open(os.path.join(CAPTURE, "domains.ini"), encoding="utf-8") as file:
            guests = file.read().replace("[g1]\n", "[g1]\nplacement=<placement mode='auto' nodeset='5'/>\n")
        guests = guests.replace("[g3]\n", "[g3]\nplacement=<placement mode='auto'/>\n")
        cls.guests = os.path.join(cls.directory.name, "guests.ini")
        with open(cls.guests, "w", encoding="utf-8") as file:
            file.write(guests)
        cls.up = Daemon(FAKE, "--connect", f"fake:{cls.guests}", "--sysroot", os.path.join(CAPTURE, "root"),
                        config="[daemon]\nround-interval = 100ms\n").start()
        cls.addClassCleanup(cls.up.close)
        wait_for(lambda: cls.up.call("query-host")["rounds"] >= 4, "some rounds")

    def run_homenode(self, *arguments, columns="80", socket=True):
        env = {**os.environ, "COLUMNS": columns, "LC_ALL": "C.UTF-8"}
        where = ["--socket", self.up.runtime_dir] if socket else []
        return subprocess.run([HOMENODE, *where, *arguments], capture_output=True, text=True, timeout=60, env=env,
                              check=False)

    def assert_run(self, code, *arguments, **more):
        ended = self.run_homenode(*arguments, **more)
        self.assertEqual(ended.returncode, code, f"{arguments}: {ended.stdout}{ended.stderr}")
        return ended


# Of each verb: what it is asked, its exit status here (a captured machine is never acted upon, so what would change
# something is refused with 1), and whether it prints JSON with --json.
VERBS = {
    "list": ([], 0), "status": ([], 0), "host": ([], 0), "plan": ([], 0), "explain": (["g3"], 0), "history": ([], 0),
    "rebalance": (["g3"], 1), "release": (["g3"], 1), "pause": (["g3"], 0), "resume": (["g3"], 0),
    "enable": (["g2"], 1), "advise": (["g2"], 1), "disable": (["g2"], 1), "doctor": ([], None), "snapshot": ([], 0),
    "report": ([], 0), "metrics": ([], 0), "set": ([], 0), "attach": (["/nonexistent.qmp"], 1),
    "detach": (["/nonexistent.qmp"], 1), "writes": (["g3"], 1),
}
# Not tables: pages and texts for programs.
NOT_TABLES = {"snapshot", "report", "metrics"}
# Always the same form, or none.
NO_JSON = {"report", "top"}


class Verbs(WithDaemon):
    def test_every_verb_is_here(self):
        printed = self.assert_run(0, "--help", socket=False).stdout
        verbs = set(re.findall(r"(?m)^  ([a-z]+) +[A-Z]", printed))
        self.assertGreater(len(verbs), 20)
        self.assertEqual(verbs - set(VERBS) - set(OFFLINE) - {"top"}, set())
        with open(os.path.join(SOURCE, "docs/man/homenode.1"), encoding="utf-8") as file:
            manual = file.read()
        for verb in verbs:
            self.assertRegex(manual, rf"(?m)^\.B[RI]? [^\n]*\b{verb}\b", f"homenode(1) does not tell of {verb}")

    def test_tables_fit_80_columns(self):
        for verb, (arguments, code) in VERBS.items():
            with self.subTest(verb):
                ended = self.run_homenode(verb, *arguments)
                self.assertIn(ended.returncode, (0, 1) if code is None else (code,), ended.stderr)
                if verb in NOT_TABLES:
                    continue
                for line in ended.stdout.splitlines():
                    self.assertLessEqual(len(line), 80, line)
                self.assertEqual(ended.stdout == "", code == 1, ended.stdout)
                # One line that says what to do.
                self.assertEqual(ended.stderr.count("\n"), int(code == 1), ended.stderr)
                self.assertNotIn("\033", ended.stdout)  # no colour into a pipe

    def test_json_has_a_version(self):
        for verb, (arguments, code) in VERBS.items():
            with self.subTest(verb):
                ended = self.run_homenode(verb, *arguments, "--json")
                if verb in NO_JSON or code == 1:
                    continue
                answer = json.loads(ended.stdout)
                self.assertTrue(answer.get("schema") == 1 or answer.get("version") == 1, ended.stdout[:200])

    def test_wide_terminals_are_used(self):
        narrow = self.assert_run(0, "list", columns="80").stdout
        wide = self.assert_run(0, "list", columns="200").stdout
        self.assertGreater(max(map(len, wide.splitlines())), max(map(len, narrow.splitlines())))

    def test_bad_usage(self):
        for arguments in (["explain"], ["frobnicate"], ["list", "--frobnicate"], ["release"], ["explain", "a", "b"],
                          ["snapshot", "--machine", "/x", "--last", "1"], ["snapshot", "--last", "0"], [],
                          ["rebalance", "--node", "-1"], ["top", "--interval", "-3"]):
            with self.subTest(arguments):
                ended = self.assert_run(2, *arguments)
                self.assertEqual((ended.stdout, ended.stderr.count("\n")), ("", 1))

    def test_unknown_domain(self):
        for verb in ("explain", "status", "plan", "rebalance", "pause", "resume", "enable"):
            with self.subTest(verb):
                ended = self.assert_run(4, verb, "g33")
                self.assertRegex(ended.stderr, r"No running domain 'g33'; did you mean: .*g3")

    def test_no_daemon(self):
        with tempfile.TemporaryDirectory() as empty:
            for verb, (arguments, _) in VERBS.items():
                with self.subTest(verb):
                    ended = self.assert_run(3, "--socket", empty, verb, *arguments, socket=False)
                    self.assertIn("systemctl start homenoded", ended.stderr)
                    self.assertEqual(ended.stderr.count("\n"), 1)

    def test_exit_statuses_are_documented(self):
        with open(os.path.join(SOURCE, "docs/man/homenode.1"), encoding="utf-8") as file:
            section = file.read().partition(".SH EXIT STATUS")[2].partition(".SH")[0]
        with open(os.path.join(SOURCE, "cli/cli.h"), encoding="utf-8") as file:
            codes = re.findall(r"HN_EXIT_[A-Z_]+ = (\d)", file.read())
        self.assertEqual(re.findall(r"(?m)^\.B (\d)$", section), codes)

    def test_connect(self):
        ended = self.assert_run(3, "--connect", "qemu:///session", "pause", "g3")
        self.assertIn("not qemu:///session: name the daemon that does with --socket", ended.stderr)
        for uri in (f"fake:{self.guests}", f"--connect=fake:{self.guests}"):
            arguments = [uri] if uri.startswith("--") else ["-c", uri]
            self.assertIn("g3", self.assert_run(0, "list", *arguments).stdout)


class Machine(WithDaemon):
    """snapshot --machine writes what --sysroot reads: observed again, the same is seen."""

    def plan_of(self, guests, root):
        with tempfile.TemporaryDirectory() as directory:
            config = os.path.join(directory, "c")
            with open(config, "w", encoding="utf-8") as file:
                file.write("[daemon]\nround-interval = 100ms\n")
            ended = subprocess.run([FAKE, "--once", "--connect", f"fake:{guests}", "--runtime-dir", directory,
                                    "--sysroot", root, "--config", config], capture_output=True, text=True, timeout=60,
                                   check=False)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        return {verdict["name"]: [verdict[key] for key in ("reason", "sentence", "score-now", "bytes-local-permille")]
                for verdict in json.loads(ended.stdout)["verdicts"]}

    def test_round_trip(self):
        out = os.path.join(self.directory.name, "machine")
        said = self.assert_run(0, "snapshot", "--machine", out).stdout
        self.assertRegex(said, r"machine: \d+ files and links")
        self.assertEqual(os.stat(out).st_mode & 0o777, 0o700)
        self.assertEqual(self.plan_of(os.path.join(out, "domains.ini"), os.path.join(out, "root")),
                         self.plan_of(self.guests, os.path.join(CAPTURE, "root")))
        for folder, _, files in os.walk(os.path.join(CAPTURE, "root")):
            for name in files:
                path = os.path.join(folder, name)
                again = os.path.join(out, "root", os.path.relpath(path, os.path.join(CAPTURE, "root")))
                if os.path.islink(path):
                    self.assertEqual(os.readlink(again), os.readlink(path))
                else:
                    with open(path, "rb") as one, open(again, "rb") as other:
                        self.assertEqual(other.read(), one.read(), path)
        # Never over something that is there.
        self.assertIn("must not exist yet, or be empty",
                      self.assert_run(1, "snapshot", "--machine", out).stderr)

    def test_not_for_everybody(self):
        ended = self.run_homenode("--socket", os.path.join(self.up.runtime_dir, "control-ro"), "snapshot", "--machine",
                                  os.path.join(self.directory.name, "no"), socket=False)
        self.assertEqual(ended.returncode, 5, ended.stderr)
        self.assertFalse(os.path.exists(os.path.join(self.directory.name, "no")))


class Top(WithDaemon):
    """`top` on a pseudo-terminal, whose size changes under it."""

    def start(self, rows, columns, term="xterm"):
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ.update(TERM=term, LC_ALL="C.UTF-8")
            os.environ.pop("COLUMNS", None)
            os.environ.pop("LINES", None)
            # The size is the terminal's before the program looks.
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execv(HOMENODE, [HOMENODE, "--socket", self.up.runtime_dir, "top", "--interval", "1"])
        self.addCleanup(os.close, terminal)
        self.terminal, self.pid, self.drawn = terminal, pid, b""

    def read_until(self, pattern):
        """What was drawn since the last call, once it matches."""
        deadline = time.monotonic() + 30
        while not re.search(pattern, self.drawn):
            self.assertGreater(deadline, time.monotonic(), f"waited for {pattern}: {self.drawn[-2000:]}")
            if select.select([self.terminal], [], [], 1)[0]:
                self.drawn += os.read(self.terminal, 65536)
        drawn, self.drawn = self.drawn, b""
        return drawn

    def resize(self, rows, columns):
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def quit(self):
        os.write(self.terminal, b"q")
        while True:  # a program that still writes must not wait for a reader
            if select.select([self.terminal], [], [], 0.1)[0]:
                try:
                    os.read(self.terminal, 65536)
                except OSError:
                    pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)

    @staticmethod
    def rows_addressed(drawn):
        return [int(row) for row in re.findall(rb"\x1b\[(\d+);\d+H", drawn)] + \
               [int(row) for row in re.findall(rb"\x1b\[(\d+)d", drawn)]

    def test_shows_and_resizes(self):
        self.start(24, 80)
        drawn = self.read_until(rb"g3")
        self.assertLessEqual(max(self.rows_addressed(drawn)), 24)
        # ncurses draws all of a screen anew whose size has changed.
        self.resize(50, 200)
        self.read_until(rb"g3")
        self.resize(10, 40)
        drawn = self.read_until(rb"\x1b\[(H|1;1H)")
        for rows, columns in ((1, 1), (2, 200), (60, 3), (24, 80)):
            self.resize(rows, columns)
        self.read_until(rb"g3")
        for key in b"hnlacmsr \x1b[A\x1b[B?":
            os.write(self.terminal, bytes([key]))
        self.assertEqual(self.quit(), 0)

    def test_ends_when_the_terminal_does(self):
        self.start(24, 80)
        self.read_until(rb"g3")
        os.write(self.terminal, b"\x03")  # interrupt
        _, status = os.waitpid(self.pid, 0)
        self.assertIn(os.waitstatus_to_exitcode(status), (0, -2))

    def test_terminals_that_cannot_be_drawn_on(self):
        for term in ("no-such-terminal", "dumb"):
            self.start(24, 80, term)
            said = self.read_until(rb"use 'homenode status'\r\n")
            self.assertIn(b"homenode: it cannot draw on a terminal of type '%s'" % term.encode(), said)
            _, status = os.waitpid(self.pid, 0)
            self.assertEqual(os.waitstatus_to_exitcode(status), 1)

    def test_not_a_terminal(self):
        ended = self.run_homenode("top")
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn("terminal", ended.stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
