#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Unit tests of what judges a race: parsing, shares, load, late moves, the plot; and of the summary."""

import os
import sys
import unittest
import xml.etree.ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE), os.path.dirname(os.path.dirname(HERE))]
sys.dont_write_bytecode = True

import contestants  # noqa: E402
import measure  # noqa: E402
import plot  # noqa: E402
import race  # noqa: E402
import summary  # noqa: E402

CPU_NODE = [0, 0, 1, 1]
LOOKED = """guest a 10
ram a 7f00 default anon=300 N0=100 N1=200 kernelpagesize_kB=4
vcpu a 0 0 0 1000
vcpu a 1 0 2 1000
vcpu a 0 1 0 4000
vcpu a 1 1 3 2000
guest h 11
ram h 7f00 huge N1=8 kernelpagesize_kB=2048
vcpu gone 0 0 0 5
nonsense
"""


def sample(at_s, **guests):
    """A measure.Sample of name=(bytes per node, vCPU ns per node, exec ns)."""
    return measure.Sample(at_s, {name: measure.GuestSample(name, list(b), list(ns), exec_ns)
                                 for name, (b, ns, exec_ns) in guests.items()})


class Measure(unittest.TestCase):
    def test_parse(self):
        guests = measure.parse(LOOKED, CPU_NODE, 2)
        self.assertEqual(sorted(guests), ["a", "h"])
        self.assertEqual(guests["a"].bytes_per_node, [409600, 819200])
        self.assertEqual(guests["a"].vcpu_ns_per_node, [3000, 1000])
        self.assertEqual(guests["a"].exec_ns, 6000)
        self.assertEqual(guests["h"].bytes_per_node, [0, 16 << 20])

    def test_shares(self):
        guest = measure.GuestSample("a", [98, 2], [99, 1])
        self.assertTrue(guest.is_converged(0.98))
        self.assertFalse(guest.is_converged(0.985))
        self.assertEqual(guest.best_node(), 0)
        self.assertAlmostEqual(guest.bytes_local(), 0.98 * 0.99 + 0.02 * 0.01)
        # Memory on one node and vCPUs on the other is no home, however pure both are.
        self.assertFalse(measure.GuestSample("b", [100, 0], [0, 100]).is_converged())
        self.assertEqual(measure.GuestSample("c", [0, 0], [0, 0]).bytes_local(), 0.0)

    def test_load_and_imbalance(self):
        first = sample(0, a=((1, 0), (10, 0), 100), b=((0, 1), (0, 10), 100))
        last = sample(9, a=((1, 0), (10, 0), 400), b=((0, 1), (0, 10), 200))
        load = measure.ran_per_node([first, last], 2)
        self.assertEqual(load, [300.0, 100.0])
        self.assertAlmostEqual(measure.imbalance(load), 1.0)
        # Both want as much, however much they got.
        self.assertEqual(measure.load_per_node([first, last], 2, 0.8), [0.8, 0.8])
        crowd = sample(9, a=((1, 0), (10, 0), 400), b=((0, 1), (5, 5), 200), c=((1, 0), (0, 0), 0))
        self.assertAlmostEqual(measure.imbalance(measure.load_per_node([crowd], 2, 0.8)), 1.0)
        self.assertEqual(measure.imbalance([0, 0]), 0.0)

    def test_cpu_list(self):
        self.assertEqual(measure.cpu_list("0-2,5"), [0, 1, 2, 5])
        self.assertEqual(measure.cpu_list([3, 4]), [3, 4])


class Race(unittest.TestCase):
    def test_late_moves(self):
        big = 64 << 20
        still = [sample(t, a=((big, 0), (5, 0), t)) for t in range(3)]
        self.assertEqual(race._late_moves(still), 0)
        wandered = still[:2] + [sample(2, a=((big - (4 << 20), 4 << 20), (5, 0), 2))]
        self.assertEqual(race._late_moves(wandered), 1)
        there_and_back = [still[0], sample(1, a=((0, big), (0, 5), 1)), still[2]]
        self.assertEqual(race._late_moves(there_and_back), 1)

    def test_by_hand(self):
        text = contestants.bind_by_hand(["x", "y"], [[0, 1], [2, 3], []], 3)
        self.assertIn("vcpupin x $v 0,1 --live", text)
        self.assertIn("migratepages $(cat /run/libvirt/qemu/y.pid) 0,2 1", text)


class Plot(unittest.TestCase):
    def test_is_xml_and_escapes(self):
        text = plot.svg("a < b", "c & d", [("g<1>", [(0, 0.0), (5, 1.0)], True)], [(2, "now & then")])
        root = xml.etree.ElementTree.fromstring(text)
        self.assertTrue(root.tag.endswith("svg"))
        plot.svg("empty", "", [])


class Summary(unittest.TestCase):
    LOG = ['{"name":"a","result":"OK","stdout":"1..3\\nok 1 - x\\nnot ok 2 - y\\nok 3 z # SKIP machine: no kvm\\n"}',
           '{"name":"b","result":"OK","stdout":""}', '{"name":"c","result":"TIMEOUT","stdout":"ok 1 d\\n","returncode":1}',
           '{"name":"e","result":"SKIP","stdout":"1..0 # SKIP not now"}']

    def test_counts(self):
        passed, failures, skips = summary.count(self.LOG, False)
        self.assertEqual((passed, len(failures), len(skips)), (3, 2, 2))

    def test_unsteady_ones_are_found(self):
        log = self.LOG + ['{"name":"lab","result":"OK","stdout":"1..1\\n# unsteady: x passed\\nok 1 - x\\n"}']
        self.assertEqual(summary.unsteady(log), ["unsteady: x passed"])
        self.assertEqual(summary.count(log, True)[0], 4)

    def test_ci_allows_only_forced_skips(self):
        passed, failures, skips = summary.count(self.LOG, True)
        self.assertEqual((passed, len(failures), len(skips)), (3, 3, 1))
        self.assertIn("not now", failures[-1])


if __name__ == "__main__":
    unittest.main()
