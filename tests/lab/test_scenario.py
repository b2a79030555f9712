#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Unit tests of the scenario runner, without a host: what is tried once more, what is final, and what is told of it."""

import contextlib
import io
import os
import sys
import threading
import types
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

# pylint: disable=wrong-import-position
import homelab  # noqa: E402
import scenario  # noqa: E402
from host import LabDied, LabError, LabTimeout  # noqa: E402
from port import PortSilent  # noqa: E402


class FakeLab:
    """Stands in for an emulated host where only the runner is judged."""

    host = types.SimpleNamespace(pid=lambda: 1, knocks=list)
    signs = []  # what broken() will say, last first

    def cleanup(self):
        """Nothing to clean."""

    def diagnostics(self):
        return "diagnostics"

    def broken(self):
        """Signs of what the emulation broke."""
        return self.signs.pop() if self.signs else ""

    def down(self):
        """Nothing to stop."""


class FakeRunnerOfScenarios(scenario.Runner):
    """Boots nothing."""

    def ensure_host(self, test):
        self.lab = FakeLab()


def run_scenario(**functions):
    """Runs functions as the tests of a scenario; returns (ok, TAP text, runner)."""
    module = types.SimpleNamespace(**functions)
    tests = [scenario.Test("fake", module, name) for name in functions if name.startswith("test_")]
    args = types.SimpleNamespace(build=None, keep=False)
    runner, text = FakeRunnerOfScenarios(args), io.StringIO()
    with contextlib.redirect_stdout(text):
        is_ok = runner.run_all(tests)
    return is_ok, text.getvalue(), runner


class ScenarioRunner(unittest.TestCase):
    def test_passed_failed_skipped(self):
        def passes(_lab):
            pass

        def fails(_lab):
            raise AssertionError("the reason")

        def breaks(_lab):
            raise KeyError("unforeseen")

        def skips(_lab):
            raise homelab.Skip("no such\ndevice")

        is_ok, text, runner = run_scenario(test_a=passes, test_b=fails, test_c=breaks, test_d=skips)
        self.assertFalse(is_ok)
        self.assertEqual((runner.passed, runner.failed, runner.skipped), (1, 2, 1))
        self.assertIn("1..4\n", text)
        self.assertIn("\nok 1 - fake:a\n", text)
        self.assertIn("# AssertionError: the reason\n# diagnostics\nnot ok 2 - fake:b\n", text)
        self.assertIn("KeyError: 'unforeseen'", text)
        self.assertIn("\nok 4 - fake:d # SKIP no such device\n", text)

    def test_failed_twice_is_failed(self):
        calls = []

        def fails(_lab):
            calls.append(1)
            raise AssertionError("always")

        is_ok, text, runner = run_scenario(test_a=fails)
        self.assertEqual((is_ok, len(calls), runner.failed, runner.retried, runner.unsteady), (False, 2, 1, 0, 0))
        self.assertNotIn("unsteady: fake", text)

    def test_unsteady_ones_are_told_and_not_many_are_forgiven(self):
        calls = {}

        def flaky(name):
            def test(_lab):
                calls[name] = calls.get(name, 0) + 1
                assert calls[name] > 1, f"first time of {name}"
            return test

        is_ok, text, runner = run_scenario(test_a=flaky("a"), test_b=flaky("b"))
        self.assertEqual((is_ok, runner.passed, runner.unsteady, calls), (True, 2, 2, {"a": 2, "b": 2}))
        self.assertRegex(text, "# unsteady: fake:b passed the second time only; the first: .*first time of b")
        calls.clear()
        is_ok, _, runner = run_scenario(test_a=flaky("a"), test_b=flaky("b"), test_c=flaky("c"))
        self.assertEqual((is_ok, runner.passed, runner.failed, calls["c"]), (False, 2, 1, 1))

    def test_known_hiccup_is_tried_once_more_and_counted(self):
        calls = []

        def once(_lab):
            calls.append(1)
            if len(calls) == 1:
                raise LabDied("int3", is_hiccup=True)

        is_ok, text, runner = run_scenario(test_a=once)
        self.assertEqual((is_ok, len(calls), runner.retried), (True, 2, 1))
        self.assertIn("once more after: int3", text)

        def always(_lab):
            raise LabDied("int3", is_hiccup=True)

        is_ok, _, runner = run_scenario(test_a=always)
        self.assertEqual((is_ok, runner.failed), (False, 1))

    def test_what_the_emulation_broke_is_tried_once_more_and_counted(self):
        calls = []

        def fails(_lab):
            calls.append(1)
            raise AssertionError("no such guest")

        def fails_once(lab):
            if not calls:
                fails(lab)

        with mock.patch.object(FakeLab, "signs", ["g: error exception=6"]):
            is_ok, text, runner = run_scenario(test_a=fails_once)
        self.assertEqual((is_ok, len(calls), runner.retried), (True, 1, 1), text)
        self.assertIn("once more after: broken by the emulation:\n# g: error exception=6\n"
                      "# after which: AssertionError: no such guest\n", text)

        calls.clear()
        with mock.patch.object(FakeLab, "signs", ["g: error exception=6"]):
            is_ok, text, _ = run_scenario(test_a=fails)
        self.assertEqual((is_ok, len(calls)), (False, 2), text)
        self.assertIn("# AssertionError: no such guest\n# diagnostics\nnot ok 1", text)

    def test_a_host_that_is_found_dead_after_a_late_command_is_a_hiccup(self):
        calls = []

        def late(_lab, error=LabTimeout("not finished after 60 s")):
            calls.append(1)
            if len(calls) == 1:
                raise error

        with mock.patch.object(FakeLab, "broken", side_effect=[LabDied("hangs", is_hiccup=True)]):
            is_ok, text, runner = run_scenario(test_a=late)
        self.assertEqual((is_ok, len(calls), runner.retried, runner.unsteady), (True, 2, 1, 0), text)

        # What failed before the host did is no hiccup.
        calls.clear()
        with mock.patch.object(FakeLab, "broken", side_effect=[LabDied("hangs", is_hiccup=True)]):
            is_ok, text, runner = run_scenario(test_a=lambda lab: late(lab, AssertionError("wrong")))
        self.assertEqual((is_ok, runner.retried, runner.unsteady), (True, 0, 1), text)

    def test_knocks_are_told_once(self):
        heard = []
        with mock.patch.object(FakeLab.host, "knocks", lambda: heard):
            is_ok, text, runner = run_scenario(test_a=lambda lab: heard.append("runner 7: R"), test_b=lambda lab: None)
        self.assertEqual((is_ok, runner.knocks, text.count("a port was silent; on another: runner 7: R")), (True, 1, 1), text)

    def test_hiccup_after_a_failed_assertion_is_final(self):
        calls = []

        def fails_and_dies(_lab):
            calls.append(1)
            try:
                assert len(calls) > 1, "first time"
            finally:
                try:
                    raise PortSilent("no heartbeat")
                except PortSilent as error:
                    raise LabDied("hangs", is_hiccup=True) from error

        is_ok, _, runner = run_scenario(test_a=fails_and_dies)
        self.assertEqual((is_ok, len(calls), runner.retried), (False, 1, 0))

    def test_hiccup_is_not_hidden_by_tidying_up(self):
        for complaint in (LabError("lab is not up"), AssertionError("left behind")):
            calls = []

            def dies_in_the_middle(_lab, calls=calls, complaint=complaint):
                calls.append(1)
                try:
                    if len(calls) == 1:
                        raise LabDied("hangs", is_hiccup=True)
                finally:
                    if len(calls) == 1:
                        raise complaint

            is_ok, text, runner = run_scenario(test_a=dies_in_the_middle)
            self.assertEqual((is_ok, len(calls), runner.retried), (True, 2, 1), text)
            self.assertIn("once more after: hangs", text)

    def test_other_death_is_final(self):
        calls = []

        def dies(_lab):
            calls.append(1)
            raise LabDied("panic", is_hiccup=False)

        is_ok, text, _ = run_scenario(test_a=dies)
        self.assertEqual((is_ok, len(calls)), (False, 1))
        self.assertIn("# panic\nnot ok 1", text)

    def test_overlong_test_fails(self):
        def sleeps(_lab):
            threading.Event().wait(5)

        is_ok, text, _ = run_scenario(TIMEOUT_S=0.2, test_a=sleeps)
        self.assertFalse(is_ok)
        self.assertIn("TIMEOUT_S", text)

    def test_needs_build(self):
        is_ok, text, _ = run_scenario(NEEDS_BUILD=True, test_a=lambda lab: None)
        self.assertTrue(is_ok)
        self.assertIn("# SKIP needs a build", text)

    def test_host_that_cannot_be_had_is_tried_once(self):
        starts = []

        class Broken(scenario.Runner):
            def start_host(self, key):
                starts.append(key)
                raise LabError("no image")

        module = types.SimpleNamespace(test_a=lambda lab: None, test_b=lambda lab: None)
        runner, text = Broken(types.SimpleNamespace(build=None, keep=False)), io.StringIO()
        with contextlib.redirect_stdout(text):
            self.assertFalse(runner.run_all([scenario.Test("fake", module, name) for name in ("test_a", "test_b")]))
        self.assertEqual((len(starts), runner.failed), (1, 2))
        self.assertIn("could not be started: LabError: no image", text.getvalue())

    def test_unknown_names(self):
        with self.assertRaisesRegex(LabError, "nosuch.*there are: .*lab"):
            scenario.select(["nosuch"])
        with self.assertRaisesRegex(LabError, "no test 'nosuch'; it has: nodes_are"):
            scenario.select(["lab:nosuch"])


if __name__ == "__main__":
    unittest.main()
