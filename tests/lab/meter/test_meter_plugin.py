#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Purpose: the meter's plugin in a real emulator without a lab: loads, arms, counts by node, disarms.

Theory of operation: a demo guest runs directly on the emulator that a lab would use, with its two vCPUs and its
memory on two emulated nodes. There is no guest mode then, so the guest's memory is announced as an address
range; private slices make the truth: each vCPU touches one node only. Needs QEMU 10 or newer: the
machine's, or one of a lab image which is there already; without one it skips with the reason (TAP).
Arguments: build folder, guest program.
"""
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

# pylint: disable=wrong-import-position
import emulator as emulators  # noqa: E402
import meter  # noqa: E402

MIB = 1 << 20
LIMIT_S = 60


def start(emulator, plugin, folder, program):
    """The guest on two nodes of 64 MiB and one CPU each, working on 16 to 112 MiB."""
    argv = [*emulator.argv, '-accel', 'tcg,thread=multi', '-machine', 'q35', '-cpu', 'max', '-m', '128',
            '-smp', '2', '-nodefaults', '-no-user-config', '-display', 'none', '-vga', 'none',
            '-serial', f'file:{folder}/serial', '-kernel', program, '-append', '-- ws=96 duty=50 report=100',
            '-plugin', f'{plugin},socket={folder}/meter']
    for node in (0, 1):
        argv += ['-object', f'memory-backend-ram,id=ram{node},size=64M',
                 '-numa', f'node,nodeid={node},cpus={node},memdev=ram{node}']
    return subprocess.Popen(argv, env={**os.environ, **emulator.env}, stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_line(folder, word):
    """Until the serial line holds the word."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        try:
            with open(f'{folder}/serial', encoding='ascii', errors='replace') as stream:
                if word in stream.read():
                    return
        except FileNotFoundError:
            pass
        time.sleep(0.05)
    raise AssertionError(f'no {word!r} on the serial line within {LIMIT_S} s')


def check(folder):
    """All that is to be seen; raises AssertionError."""
    nodes = meter.HostNodes(node_of_cpu={0: 0, 1: 1},
                            ranges={0: [(0, 64 * MIB)], 1: [(64 * MIB, 128 * MIB)]},
                            distances={0: [10, 20], 1: [20, 10]})
    with meter.Meter(f'{folder}/meter', nodes) as reader:
        reader.name_of_guest = {1: 'both', 2: 'upper'}
        assert reader.sample().guests == {}, 'counts before it is armed'
        reader.command(f'range 1 {16 * MIB} {64 * MIB}')
        reader.command(f'range 2 {64 * MIB} {112 * MIB}')
        reader.arm()
        sample = reader.measure(1.0)
        lower, upper = sample.guests['both'], sample.guests['upper']
        assert lower.total > 10000 and upper.total > 10000, sample
        assert lower.to_node == lower.from_node == {0: lower.total}, lower
        assert upper.to_node == upper.from_node == {1: upper.total}, upper
        assert sample.share() == 1.0, sample
        reader.disarm()
        reader.sample()
        assert reader.measure(0.5).guests == {}, 'counts after it was disarmed'
        reader.arm()
        assert reader.measure(0.5).guests['both'].total > 1000, 'armed a second time, it counts nothing'
        reader.disarm()
        try:
            reader.command('node 1 2 3')
            raise AssertionError('a part of a MiB was accepted as a node range')
        except meter.MeterError as error:
            assert 'whole MiB' in str(error), error


def main():
    build, program = sys.argv[1:]
    print('1..1', flush=True)
    emulator = emulators.at_hand()
    if emulator is None:
        print('ok 1 counts by node # SKIP no QEMU 10 or newer here, and no lab image (tests/lab/lab image)')
        return 0
    plugin = meter.plugin_file(emulator, build)
    with tempfile.TemporaryDirectory(prefix='meter-') as folder:
        process = start(emulator, plugin, folder, program)
        try:
            wait_for_line(folder, 'event=start')
            check(folder)
        finally:
            process.kill()
            process.wait()
    print(f'# QEMU {".".join(map(str, emulator.version))}, {os.path.basename(plugin)}')
    print('ok 1 counts by node')
    return 0


if __name__ == '__main__':
    sys.exit(main())
