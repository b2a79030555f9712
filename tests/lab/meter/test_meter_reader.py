#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Purpose: the meter reader's pure part: differences, votes, shares, modelled time, page spans."""
import io
import os
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import meter  # noqa: E402  pylint: disable=wrong-import-position

NODES = meter.HostNodes(node_of_cpu={0: 0, 1: 1}, ranges={0: [(0, 1 << 30)], 1: [(1 << 30, 2 << 30)]},
                        distances={0: [10, 20], 1: [20, 10]})


def reading(spaces, ranges=()):
    """A reading: spaces is {space: (votes, {cpu: (accesses, insns, nodes)})}."""
    return {'spaces': [
        {'space': space, 'votes': votes, 'vcpus': {
            str(cpu): {'accesses': cell[0], 'insns': cell[1], 'nodes': cell[2]}
            for cpu, cell in cpus.items()}}
        for space, (votes, cpus) in spaces.items()], 'ranges': list(ranges)}


class Deltas(unittest.TestCase):
    def test_only_what_changed(self):
        before = reading({1: ({}, {0: (10, 100, [8])}), 2: ({}, {0: (5, 5, [5])})})
        after = reading({1: ({}, {0: (30, 300, [8, 4]), 1: (1, 2, [0, 1])}), 2: ({}, {0: (5, 5, [5])})})
        self.assertEqual(meter.deltas(before, after),
                         {(1, 0): (20, 200, {1: 4}), (1, 1): (1, 2, {1: 1})})

    def test_ranges_are_guests(self):
        after = reading({}, [{'guest': 3, 'vcpu': 1, 'nodes': [0, 7]}])
        self.assertEqual(meter.deltas(reading({}), after), {(('guest', 3), 1): (7, 0, {1: 7})})


class Bind(unittest.TestCase):
    NAMES = {1: 'a', 2: 'b'}

    def test_clear_votes_bind(self):
        self.assertEqual(meter.bind(reading({5: ({'1': 90, '2': 10}, {})}), {}, self.NAMES), {5: 'a'})

    def test_few_or_split_votes_do_not(self):
        for votes in ({'1': 15}, {'1': 60, '2': 40}, {'9': 100}, {}):
            self.assertEqual(meter.bind(reading({5: (votes, {})}), {}, self.NAMES), {}, votes)

    def test_bound_stays_bound(self):
        self.assertEqual(meter.bind(reading({5: ({'2': 100}, {})}), {5: 'a'}, self.NAMES), {5: 'a'})


class Shares(unittest.TestCase):
    def sample(self, changes):
        guests = meter.guest_samples(changes, {1: 'a'}, {3: 'tcg'}, NODES)
        return meter.Sample(t_s=1.0, interval_s=1.0, guests=guests)

    def test_local_is_cpu_node_equals_page_node(self):
        sample = self.sample({(1, 0): (100, 0, {0: 30, 1: 10}), (1, 1): (100, 0, {0: 20, 1: 40})})
        self.assertEqual(sample.guests['a'].local, 70)
        self.assertEqual(sample.guests['a'].local_share, 0.7)
        self.assertEqual(sample.guests['a'].to_node, {0: 50, 1: 50})
        self.assertEqual(sample.guests['a'].from_node, {0: 40, 1: 60})

    def test_unknown_and_no_node(self):
        sample = self.sample({(9, 0): (5, 0, {0: 5}), (1, 0): (4, 0, {15: 4}),
                              (('guest', 3), 1): (2, 0, {1: 2})})
        self.assertEqual(sample.guests[meter.UNKNOWN].total, 5)
        self.assertEqual(sample.guests['a'].to_node, {None: 4})
        self.assertEqual(sample.guests['a'].local_share, 0.0)
        self.assertEqual(sample.guests['tcg'].local_share, 1.0)
        self.assertAlmostEqual(sample.share(), 7 / 11)
        self.assertEqual(sample.share(['tcg']), 1.0)

    def test_nothing_accessed_is_no_share(self):
        sample = self.sample({(1, 0): (5, 5, {})})
        self.assertIsNone(sample.guests['a'].local_share)
        self.assertIsNone(sample.share())
        self.assertIn('a', '\n'.join(meter.table_lines(sample)))

    def test_csv(self):
        stream = io.StringIO()
        meter.CsvWriter(stream).add(self.sample({(1, 0): (8, 10, {0: 3, 1: 1})}))
        self.assertEqual(stream.getvalue().splitlines()[1].split(',')[:6],
                         ['1.000', '1.000', 'a', '3', '4', '0.750000'])


class ModelledTime(unittest.TestCase):
    COSTS = meter.Costs(insn_ns=1.0, local_ns=100.0, kappa=0.9)

    def test_sum_of_its_terms(self):
        self.assertEqual(meter.modelled_ns(7, {}, [10, 20], self.COSTS), 7)
        self.assertEqual(meter.modelled_ns(0, {0: 2}, [10, 20], self.COSTS), 200)
        self.assertAlmostEqual(meter.modelled_ns(0, {1: 2}, [10, 20], self.COSTS), 380)
        self.assertEqual(meter.modelled_ns(0, {None: 1}, [10, 20], self.COSTS), 100)

    def test_remote_to_local_ratio_at_distance_20(self):
        local = meter.modelled_ns(0, {0: 1000}, [10, 20])
        remote = meter.modelled_ns(0, {1: 1000}, [10, 20])
        self.assertAlmostEqual(remote / local, 1.93)

    def test_guests_add_up_their_cpus_by_each_cpus_distances(self):
        guests = meter.guest_samples({(1, 0): (0, 5, {0: 1}), (1, 1): (0, 5, {0: 1})}, {1: 'a'}, {}, NODES,
                                     self.COSTS)
        self.assertAlmostEqual(guests['a'].modelled_ns, 10 + 100 + 190)


class Parsing(unittest.TestCase):
    def test_guest_list(self):
        text = 'guest 12 web kvm\nram 12 4096 8192\nram 99 1 2\nnoise\nguest 13 db tcg\nram 13 1 2\n'
        self.assertEqual(meter.parse_guest_list(text), [
            {'pid': 12, 'name': 'web', 'kind': 'kvm', 'ram': [(4096, 8192)]},
            {'pid': 13, 'name': 'db', 'kind': 'tcg', 'ram': [(1, 2)]}])

    def test_pagemap(self):
        present = meter.PAGEMAP_PRESENT
        data = struct.pack('<6Q', present | 7, 0, present | 1 << 61 | 5, present | 6, present | 6, 8)
        self.assertEqual(meter.pagemap_spans(data + b'x'), ['5-8'])

    def test_topology(self):
        nodes = meter.HostNodes.from_topology({'nodes': [
            {'id': 0, 'cpus': [0, 1], 'ranges': [[0, 5]], 'distances': [10, 20]},
            {'id': 1, 'cpus': [], 'ranges': [[5, 9]], 'distances': [20, 10]}]})
        self.assertEqual(nodes.node_of_cpu, {0: 0, 1: 0})
        self.assertEqual(nodes.ranges, {0: [(0, 5)], 1: [(5, 9)]})


if __name__ == '__main__':
    unittest.main()
