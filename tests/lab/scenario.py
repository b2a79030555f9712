# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs scenarios in emulated hosts and reports them as TAP.

Theory of operation. A scenario is a file scenarios/test_NAME.py with functions test_*(lab) and
a few constants that say which host it needs (docs/lab.md). Tests that need the same host share
one boot; every test starts from a host without guests. When the emulated host itself dies, or breaks
a guest, in a way that is known to be the emulator's, the test is run once more on a fresh host, and
that is counted. So is a test whose assertion failed, because an emulated processor can stand still
for seconds; but if it passes then it is told as unsteady, by name and with the first failure, and more
than UNSTEADY_MAX of these in a run are not forgiven.

It must not hide anything: a skip has a reason, and what was not run is reported as failed.
"""

import contextlib
import fcntl
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass

import emulator as emulators
from homelab import CommandFailed, Lab, Skip
from host import Host, LabDied, LabError, state_root, timeout_scale

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "scenarios")
LAB_NAME = "scenario"
TEST_TIMEOUT_S = 300
UNSTEADY_MAX = 2


class TestTimeout(Exception):
    """A test took longer than its scenario allows."""


def chain_of(error):
    """@error, what was being handled when it was raised, and so on."""
    while error:
        yield error
        error = error.__context__


def has_failed_before(error):
    """Whether an assertion had failed when @error was raised."""
    return any(isinstance(earlier, AssertionError) for earlier in chain_of(error.__context__))


def death_behind(error):
    """The first death of the host among what led to @error, or None.

    Tidying up after a dead host fails too, and what it says must not hide why.
    """
    return next((earlier for earlier in reversed(list(chain_of(error))) if isinstance(earlier, LabDied)), None)


@dataclass
class Test:
    """One test function of a scenario file."""

    scenario: str
    module: object
    name: str

    @property
    def full_name(self):
        return f"{self.scenario}:{self.name.removeprefix('test_')}"

    def setting(self, name, default):
        """A constant of the file, such as TOPOLOGY."""
        return getattr(self.module, name, default)


def available():
    """Names of the scenarios at hand."""
    return sorted(match[1] for entry in os.listdir(FOLDER)
                  if (match := re.fullmatch(r"test_([a-z0-9_]+)\.py", entry)))


def load(scenario):
    """The tests of a scenario, in the order of the file."""
    path = os.path.join(FOLDER, f"test_{scenario}.py")
    if not os.path.exists(path):
        raise LabError(f"scenario '{scenario}' does not exist; there are: {', '.join(available())}")
    spec = importlib.util.spec_from_file_location(f"scenario_{scenario}", path)
    module = importlib.util.module_from_spec(spec)
    sys.path[:0] = [folder for folder in (HERE, FOLDER) if folder not in sys.path]
    spec.loader.exec_module(module)
    return [Test(scenario, module, name) for name, value in vars(module).items()
            if name.startswith("test_") and callable(value)]


def select(words):
    """The tests that the words of a command line name: 'scenario' or 'scenario:test'."""
    tests = []
    for word in words:
        scenario, _, wanted = word.partition(":")
        found = load(scenario)
        if wanted:
            names = [test.name.removeprefix("test_") for test in found]
            found = [test for test in found if test.name.removeprefix("test_") == wanted.removeprefix("test_")]
            if not found:
                raise LabError(f"scenario '{scenario}' has no test '{wanted}'; it has: {', '.join(names)}")
        tests += found
    return tests


class Runner:
    """Runs tests and prints TAP; holds the one host that is up."""

    def __init__(self, args):
        self.args = args
        self.lab = None
        self.key = None
        self.broken = {}  # host key → why no such host can be had
        self.number = self.passed = self.failed = self.skipped = self.retried = self.unsteady = self.boots = 0
        self.knocks = self.n_knocks_told = 0

    # --- output ------------------------------------------------------------------------------

    @staticmethod
    def say(text):
        for line in text.rstrip().splitlines():
            print(f"# {line}", flush=True)

    def report(self, test, seconds, failure=None, skip=None):
        """One TAP line, and why, before it."""
        self.number += 1
        if failure:
            self.failed += 1
            self.say(failure)
            print(f"not ok {self.number} - {test.full_name}", flush=True)
        elif skip:
            self.skipped += 1
            print(f"ok {self.number} - {test.full_name} # SKIP {' '.join(skip.split())}", flush=True)
        else:
            self.passed += 1
            self.say(f"{test.full_name}: {seconds:.1f} s")
            print(f"ok {self.number} - {test.full_name}", flush=True)

    # --- the host ----------------------------------------------------------------------------

    def host_key(self, test):
        """What has to be equal for two tests to share a host."""
        return (test.setting("TOPOLOGY", "n2c4"), tuple(test.setting("KERNEL_ARGS", [])),
                tuple(test.setting("PLUGINS", [])), tuple(test.setting("PRELOADS", [])),
                bool(test.setting("NEEDS_BUILD", False)))

    def ensure_host(self, test):
        """Makes the host that the test needs be up; starts a new one when another kind was.

        A host that cannot be had is not tried again for the other tests that need it.
        """
        key = self.host_key(test)
        if self.lab and self.key == key and self.lab.host.pid():
            return
        if key not in self.broken:
            try:
                self.start_host(key)
            except Exception as error:  # whatever it is, these tests cannot run
                self.broken[key] = f"{type(error).__name__}: {error}"
                self.stop_host()
        if key in self.broken:
            raise LabError(f"the host this test needs could not be started: {self.broken[key]}")

    def start_host(self, key):
        """Replaces the host that is up by one of the kind @key."""
        self.stop_host()
        topology, kernel_args, plugins, preloads, needs_build = key
        build = self.args.build or ""
        options = emulators.BootOptions(
            plugins=self.args.plugin + [text.replace("{build}", build) for text in plugins],
            preloads=self.args.preload + [text.replace("{build}", build) for text in preloads],
            kernel_args=self.args.kernel_arg + list(kernel_args))
        self.lab, self.key = Lab(LAB_NAME, topology, self.args.suite, options), key
        self.n_knocks_told = 0
        self.lab.build = build
        took_s = self.lab.up()
        self.boots += 1
        hiccups = len(self.lab.host.status()["hiccups"])
        self.retried += hiccups
        self.say(f"host {topology} up in {took_s:.1f} s" + (f" after {hiccups} hiccup" if hiccups else ""))
        if needs_build:
            subprocess.run([os.path.join(HERE, "lab"), "install", "--name", LAB_NAME, build],
                           check=True, stdout=subprocess.DEVNULL)

    def stop_host(self):
        """Stops the host that is up, if any."""
        if self.lab:
            self.tell_knocks()
            self.lab.down()
        self.lab = None

    def tell_knocks(self):
        """Says when a port was silent and another one was asked, whether or not that helped."""
        heard = self.lab.host.knocks() if self.lab else []
        for knock in heard[self.n_knocks_told:]:
            self.knocks += 1
            self.say(f"a port was silent; on another: {knock}")
        self.n_knocks_told = len(heard)

    # --- tests -------------------------------------------------------------------------------

    def attempt(self, test):
        """Runs one test once; returns (failure text or None, skip reason or None)."""
        limit_s = test.setting("TIMEOUT_S", TEST_TIMEOUT_S) * timeout_scale()

        def expired(*_):
            raise TestTimeout(f"not finished after {limit_s:g} s (TIMEOUT_S of the scenario)")

        before = signal.signal(signal.SIGALRM, expired)
        died = None
        try:
            self.ensure_host(test)
            self.lab.cleanup()
            signal.setitimer(signal.ITIMER_REAL, limit_s)
            getattr(test.module, test.name)(self.lab)
            return None, None
        except Skip as skip:
            return None, str(skip) or "the test gives no reason"
        except Exception as error:  # pylint: disable=broad-except
            signal.setitimer(signal.ITIMER_REAL, 0)
            died = death_behind(error) or self.breakage_behind(error)
            if not died:
                return self.told(error), None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        raise died  # out here, where it does not become a consequence of the tidying up

    def breakage_behind(self, error):
        """A test cannot pass when the emulation broke one of its guests: that is a hiccup too, when there is a sign.

        Nor when the host hangs, which the question finds out where a command was only late before.
        """
        try:
            signs = self.lab.broken() if self.lab and self.lab.host.pid() else ""
        except LabDied as died:
            return None if isinstance(error, AssertionError) else died
        return LabDied(f"broken by the emulation:\n{signs}\nafter which: {type(error).__name__}: {error}",
                       is_hiccup=True) if signs else None

    def told(self, error):
        """What is reported of a test that failed on a living host, or without one."""
        if isinstance(error, (CommandFailed, AssertionError)):
            place = traceback.extract_tb(error.__traceback__)
            where = next((f"{os.path.basename(frame.filename)}:{frame.lineno}: {frame.line}"
                          for frame in reversed(place) if frame.filename.startswith(FOLDER)), "")
            return f"{where}\n{type(error).__name__}: {error}\n{self.lab.diagnostics()}"
        text = "".join(traceback.format_exception(error))
        return text + (self.lab.diagnostics() if self.lab and self.lab.host.pid() else "")

    def attempt_or_die(self, test):
        """As attempt(), and the death of the host or None as a third."""
        try:
            return *self.attempt(test), None
        except LabDied as died:
            return None, None, died

    def once_more(self, test, first_failure):
        """The second attempt of a test that failed: on a fresh host, and if it passes that is told."""
        self.say(f"{test.full_name}: once more after it failed:\n{first_failure}")
        self.stop_host()
        failure, skip, died = self.attempt_or_die(test)
        if not failure and not died:
            self.unsteady += 1
            why = " ".join(first_failure.splitlines()[:2])
            self.say(f"unsteady: {test.full_name} passed the second time only; the first: {why}")
        return failure, skip, died

    def run_test(self, test):
        """Runs one test, and where that is allowed a second time."""
        started_s = time.monotonic()
        if test.setting("NEEDS_BUILD", False) and not self.args.build:
            self.report(test, 0, skip="needs a build of homenode (lab scenario --build DIR)")
            return
        failure, skip, died = self.attempt_or_die(test)
        # A host that dies while a failed test is tidied up changes nothing about the failure.
        if died and died.is_hiccup and not has_failed_before(died):
            self.retried += 1
            self.say(f"{test.full_name}: once more after: {died}")
            self.stop_host()
            failure, skip, died = self.attempt_or_die(test)
        elif failure and self.unsteady < UNSTEADY_MAX:
            failure, skip, died = self.once_more(test, failure)
        failure = str(died) if died else failure
        self.tell_knocks()
        self.report(test, time.monotonic() - started_s, failure, skip)

    def run_all(self, tests):
        """Runs them grouped by host; returns whether none failed."""
        keys = []
        for test in tests:
            if self.host_key(test) not in keys:
                keys.append(self.host_key(test))
        print(f"1..{len(tests)}", flush=True)
        try:
            for test in sorted(tests, key=lambda test: keys.index(self.host_key(test))):
                self.run_test(test)
        finally:
            if self.args.keep:
                self.say(f"left up: lab --name {LAB_NAME}")
            else:
                self.stop_host()
        self.say(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped; "
                 f"{self.boots} boots, {self.retried} retried after a hiccup of the emulator, {self.unsteady} unsteady, "
                 f"{self.knocks} knocks")
        return self.failed == 0


def main(args):
    """The verb `scenario`."""
    if args.list:
        for scenario in available():
            for test in load(scenario):
                print(f"{test.full_name:45} {test.setting('TOPOLOGY', 'n2c4')}")
        return 0
    words = available() if args.all else args.names
    if not words:
        raise LabError(f"scenario: name some, or --all or --list; there are: {', '.join(available())}")
    tests = select(words)
    if not tests:
        raise LabError("scenario: nothing to run")
    # A time-out of the test harness must not leave a host behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.makedirs(state_root(), mode=0o700, exist_ok=True)
    with open(os.path.join(state_root(), ".scenario.lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(LabError):
            Host(LAB_NAME).down()  # what a killed run may have left
        return 0 if Runner(args).run_all(tests) else 1
