#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Purpose: the demo guest does to memory exactly what its first serial line says, and refuses bad
command lines with one clear line; the files beside it are what the generator prints.

Theory of operation: each case starts QEMU (TCG; and KVM where /dev/kvm works) on the generator's command
line, waits for serial lines, and reads guest-physical memory over QMP. Every stored word carries who
stored it in which sweep, so memory itself is the evidence. TAP on standard output; cases that cannot run
here are TAP skips with the reason.
"""
import importlib.machinery
import importlib.util
import os
import shutil
import socket
import json
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
DEMO = os.path.dirname(HERE)
LIMIT_S = 60  # to wait for one serial line; TCG on a loaded machine is slow
MIB = 1 << 20

loader = importlib.machinery.SourceFileLoader('guest', os.path.join(DEMO, 'guest'))
guest_module = importlib.util.module_from_spec(importlib.util.spec_from_loader('guest', loader))
sys.modules['guest'] = guest_module
sys.dont_write_bytecode = True
loader.exec_module(guest_module)


class Running:
    """One QEMU with a demo guest; a context manager that always ends it."""

    def __init__(self, accel, *words, **options):
        self.directory = tempfile.mkdtemp(prefix='demo-guest-')
        self.serial = os.path.join(self.directory, 'serial')
        self.socket_path = os.path.join(self.directory, 'qmp')
        guest = guest_module.Guest(name='t', kernel=guest_module.find_kernel(), accel=accel,
                                   serial=self.serial, qmp=self.socket_path,
                                   emulator=shutil.which('qemu-system-x86_64'), words=words, **options)
        self.stderr = open(os.path.join(self.directory, 'stderr'), 'w+')
        self.process = subprocess.Popen(guest_module.guest_qemu_argv(guest), stderr=self.stderr,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.stream = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.stderr.close()
        if self.stream:
            self.stream.close()
        shutil.rmtree(self.directory)

    def lines(self):
        try:
            with open(self.serial, encoding='ascii', errors='replace') as file:
                text = file.read()
        except FileNotFoundError:
            return []
        return [line.strip() for line in text[:text.rfind('\n') + 1].splitlines() if '=' in line]

    def wait_for(self, what):
        """The first line for which what(dict of its words) is true; dies loudly at the limit."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            for line in self.lines():
                fields = parse_line(line)
                if what(fields):
                    return fields
            if self.process.poll() is not None and not any(what(parse_line(x)) for x in self.lines()):
                break
            time.sleep(0.02)
        self.stderr.seek(0)
        raise AssertionError(f'no such serial line; lines: {self.lines()[-5:]} '
                             f'qemu: {self.stderr.read()[-500:]}')

    def truth(self):
        return self.wait_for(lambda fields: 'slice0' in fields)

    def qmp(self, command, **arguments):
        if self.stream is None:
            self.connection = socket.socket(socket.AF_UNIX)
            self.connection.connect(self.socket_path)
            self.stream = self.connection.makefile('rb')  # only to read: a write drops what was read ahead
            self.stream.readline()
            self.qmp('qmp_capabilities')
        self.connection.sendall(json.dumps({'execute': command, 'arguments': arguments}).encode() + b'\n')
        while True:
            reply = json.loads(self.stream.readline())
            if 'return' in reply:
                return reply['return']
            if 'error' in reply:
                raise AssertionError(reply['error'])

    def memory(self, start, size):
        path = os.path.join(self.directory, 'memory')
        self.qmp('pmemsave', val=start, size=size, filename=path)
        with open(path, 'rb') as file:
            return file.read()

    def words(self, start, end, step):
        """Every step-th word of [start, end) as (vcpu, sweep), or None for a word never stored."""
        data = self.memory(start, end - start)
        result = []
        for at in range(0, len(data), step):
            value, = struct.unpack_from('<Q', data, at)
            assert value == 0 or value >> 48 == 0x484E, f'{start + at:#x} holds {value:#x}'
            result.append(((value >> 32) & 0xFFFF, value & 0xFFFFFFFF) if value else None)
        return result

    def stats(self, vcpu):
        """(touches, sweeps, phase, state, first touches) of one vCPU from its memory."""
        base = int(self.truth()['stats'], 16)
        assert self.memory(base, 8) == b'HNGUEST1'
        return struct.unpack('<5Q', self.memory(base + 64 + 64 * vcpu, 40))

    def cpu_seconds(self):
        with open(f'/proc/{self.process.pid}/stat', encoding='ascii') as file:
            fields = file.read().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def parse_line(line):
    fields = dict(word.split('=', 1) for word in line.split() if '=' in word)
    fields['line'] = line
    return fields


def ranges(text):
    """'0x1-0x2+0x3-0x4' as [(1, 2), (3, 4)]."""
    if text == 'none':
        return []
    return [tuple(int(x, 16) for x in part.split('-')) for part in text.split('+')]


def one_range(text):
    result, = ranges(text)
    return result


def swept(sweeps):
    return lambda fields: 'sweeps' in fields and 't_ms' in fields and \
        all(int(n) >= sweeps for n in fields['sweeps'].split(','))


# ---- cases: each takes the accelerator ----

def case_private(accel):
    with Running(accel, 'pattern=private', 'ws=3', 'base=20', 'stride=page', vcpus=3) as guest:
        truth = guest.truth()
        guest.wait_for(swept(1))
        at = 20 * MIB
        for vcpu in range(3):
            start, end = one_range(truth[f'slice{vcpu}'])
            assert start == at, truth
            assert {w[0] for w in guest.words(start, end, 4096)} == {vcpu}
            assert min(w[1] for w in guest.words(start, end, 4096)) >= 1
            at = end
        assert at == 23 * MIB
        between = guest.words(20 * MIB, 23 * MIB, 8)
        assert [w for i, w in enumerate(between) if i % 512] == [None] * (len(between) // 512 * 511)
        assert set(guest.words(19 * MIB, 20 * MIB, 8)) == {None}
        assert set(guest.words(23 * MIB, 24 * MIB, 8)) == {None}


def case_shared(accel):
    with Running(accel, 'pattern=shared', 'ws=2', 'stride=page', 'seed=5', vcpus=2) as guest:
        truth = guest.truth()
        guest.wait_for(swept(2))
        assert truth['slice0'] == truth['slice1'] == truth['ws']
        start, end = one_range(truth['ws'])
        assert {w[0] for w in guest.words(start, end, 4096)} <= {0, 1}
        touches, sweeps, *_ = guest.stats(1)
        assert sweeps * 512 <= touches <= (sweeps + 1) * 512 + 256, (touches, sweeps)


def case_half(accel):
    with Running(accel, 'pattern=half', 'ws=4', 'stride=page', vcpus=4) as guest:
        truth = guest.truth()
        guest.wait_for(swept(1))
        assert truth['slice0'] == truth['slice1'] and truth['slice2'] == truth['slice3']
        for slice_name, owners in (('slice0', {0, 1}), ('slice2', {2, 3})):
            start, end = one_range(truth[slice_name])
            assert {w[0] for w in guest.words(start, end, 4096)} <= owners


def case_phase(accel):
    with Running(accel, 'pattern=phase', 'phase=2', 'ws=2', 'stride=page', vcpus=2) as guest:
        truth = guest.truth()
        guest.wait_for(lambda f: f.get('event') == 'phase' and f['phase'] == '1')
        time.sleep(0.7)
        guest.qmp('stop')
        first_touched = guest.words(*one_range(truth['slice0']), 4096)
        assert guest.stats(0)[2] == guest.stats(1)[2], 'phases differ'
        owner = guest.stats(0)[2] % 2
        newest = max(first_touched, key=lambda w: w[1])
        assert newest[0] == owner, (newest, owner)


def case_phase_by_nmi(accel):
    """With phase=0 each NMI begins the next phase, once for all vCPUs, whatever they do just then."""
    with Running(accel, 'pattern=phase', 'phase=0', 'ws=2', 'stride=page', 'duty=50', vcpus=2) as guest:
        guest.truth()
        guest.wait_for(lambda f: f.get('event') == 'start')
        for n_pressed in range(1, 6):
            guest.qmp('inject-nmi')
            told = guest.wait_for(lambda f, n=str(n_pressed): f.get('event') == 'phase' and f['phase'] == n)
        now = [int(n) for n in told['sweeps'].split(',')]
        guest.wait_for(swept(max(now) + 2))  # both vCPUs work on
        guest.qmp('stop')
        assert guest.stats(1)[2] == 5, guest.stats(1)


def case_idle_wake(accel):
    with Running(accel, 'pattern=idle-wake', 'idle=3', 'ws=2', 'stride=page', vcpus=2) as guest:
        guest.wait_for(lambda f: f.get('event') == 'idle')
        begin, cpu = time.monotonic(), guest.cpu_seconds()
        time.sleep(1.5)
        used = (guest.cpu_seconds() - cpu) / (time.monotonic() - begin)
        assert used < 0.3, f'{used:.2f} CPUs used while idle'
        assert guest.stats(0)[0] == guest.stats(1)[0] == 0
        guest.wait_for(lambda f: f.get('event') == 'wake')
        guest.wait_for(swept(1))


def case_read_only(accel):
    with Running(accel, 'pattern=private', 'access=read', 'touch=none', 'ws=2', 'stride=page',
                 vcpus=2) as guest:
        truth = guest.truth()
        guest.wait_for(swept(2))
        assert set(guest.words(*one_range(truth['ws']), 8)) == {None}


def case_first_touch(accel):
    idle = ('pattern=idle-wake', 'idle=3600', 'ws=8', 'cold=2')
    for first, expected in (('own', [0, 0, 1, 1]), ('cpu0', [0, 0, 0, 0]),
                            ('interleave', [0, 1, 0, 1])):
        with Running(accel, *idle, f'first={first}', vcpus=2) as guest:
            truth = guest.truth()
            guest.wait_for(lambda f: f.get('event') == 'idle')
            start, _ = one_range(truth['ws'])
            for part, owner in enumerate(expected):
                at = start + part * 2 * MIB
                assert set(guest.words(at, at + 2 * MIB, 4096)) == {(owner, 0)}, (first, part)
            assert None not in guest.words(*one_range(truth['cold']), 4096)


def case_cold_stays_cold(accel):
    with Running(accel, 'ws=2', 'cold=1', 'stride=page', 'access=rw', vcpus=2) as guest:
        truth = guest.truth()
        guest.wait_for(swept(3))
        assert {w[1] for w in guest.words(*one_range(truth['cold']), 4096)} == {0}
        assert min(w[1] for w in guest.words(*one_range(truth['ws']), 4096)) >= 3


def case_touch_all(accel):
    with Running(accel, 'ws=2', 'touch=all', 'stride=page', mem_mib=32, vcpus=2) as guest:
        truth = guest.truth()
        guest.wait_for(swept(1))
        assert one_range(truth['rest'])[1] > 31 * MIB
        assert None not in guest.words(*one_range(truth['rest']), 4096)


def case_thread_alloc_ends(accel):
    with Running(accel, 'pattern=thread-alloc', 'ws=2', 'stride=page', 'sweeps=4', vcpus=2) as guest:
        truth = guest.truth()
        done = guest.wait_for(lambda f: f.get('event') == 'done')
        assert done['sweeps'] == '4,4', done
        # one sweep of 512 pages in common, three of 256 each
        assert int(done['touches']) == 2 * (512 + 3 * 256), done
        assert guest.process.wait(LIMIT_S) == 0
        assert one_range(truth['slice0'])[1] == one_range(truth['slice1'])[0]


def case_duty(accel):
    with Running(accel, 'duty=30', 'ws=4', 'stride=page', vcpus=1) as guest:
        guest.wait_for(lambda f: f.get('event') == 'start')
        begin, cpu = time.monotonic(), guest.cpu_seconds()
        time.sleep(2)
        used = (guest.cpu_seconds() - cpu) / (time.monotonic() - begin)
        # A busy machine gives less than asked for, never more.
        assert 0 < used < 0.55, f'{used:.2f} CPUs used at duty=30'


def case_rate(accel):
    with Running(accel, 'rate=500', 'ws=2', 'stride=page', 'report=200', vcpus=2) as guest:
        guest.wait_for(lambda f: f.get('event') == 'start')
        last = guest.wait_for(lambda f: int(f.get('t_ms', 0)) > 2000)
        first = parse_line([x for x in guest.lines() if 'event=start' in x][0])
        per_second = int(last['touches']) / (int(last['t_ms']) - int(first['t_ms'])) * 1000
        # Again an upper bound only: a busy machine is late.
        assert 0 < per_second < 1100, f'{per_second:.0f} touches/s for 2 vCPUs at rate=500'


def case_bad_lines(accel):
    for words, key, value, allowed in (
            (('pattern=diagonal',), 'pattern', 'diagonal', 'private|shared'),
            (('ws=1000',), 'ws', '1000', '1..111 MiB'),
            (('vcpus=3',), 'vcpus', '3', '1..2'),
            (('sise=3',), 'sise', '3', 'keys pattern|access|ws')):
        with Running(accel, *words, vcpus=2) as guest:
            assert guest.process.wait(LIMIT_S) == 3, 'isa-debug-exit status'
            line, = guest.lines()
            assert line.startswith(f'error key={key} value={value} allowed="{allowed}'), line


def case_q35(accel):
    with Running(accel, 'ws=2', 'stride=page', vcpus=2, machine='q35') as guest:
        guest.truth()
        guest.wait_for(swept(1))


def case_sixteen_vcpus(accel):
    with Running(accel, 'ws=16', 'stride=page', 'duty=20', vcpus=16, cells=2, mem_mib=64) as guest:
        truth = guest.truth()
        guest.wait_for(swept(1))
        for vcpu in range(16):
            assert {w[0] for w in guest.words(*one_range(truth[f'slice{vcpu}']), 4096)} == {vcpu}


def case_six_gib(accel):
    with Running(accel, 'ws=6000', 'touch=none', 'stride=1073741824', vcpus=2, mem_mib=6144) as guest:
        truth = guest.truth()
        guest.wait_for(swept(1))
        low, high = ranges(truth['ws'])
        assert high[0] == 4 << 30 and low[1] - low[0] + high[1] - high[0] == 6000 * MIB, truth
        assert guest.words(4 << 30, (4 << 30) + 8, 8)[0] is not None


def case_files_are_generated(_accel):
    """libvirt/*.xml and qemu/*.sh are what the command in their first comment prints."""
    count = 0
    for folder, mark in (('libvirt', '<!-- '), ('qemu', '# ')):
        for name in sorted(os.listdir(os.path.join(DEMO, folder))):
            with open(os.path.join(DEMO, folder, name), encoding='utf-8') as file:
                text = file.read()
            command = next(line for line in text.splitlines() if 'demo-vms/guest' in line)
            words = command[command.index('demo-vms/guest') + len('demo-vms/guest'):]
            words = words.removesuffix('-->').split()
            printed = subprocess.run([sys.executable, os.path.join(DEMO, 'guest'), *words], text=True,
                                     capture_output=True, check=True).stdout
            assert text.endswith(printed), f'{folder}/{name} differs from: guest {" ".join(words)}'
            count += 1
    assert count >= 8, count


def case_xml_is_valid(_accel):
    validator = shutil.which('virt-xml-validate')
    if not validator:
        return 'no virt-xml-validate (package libvirt-clients)'
    for extra in ([], ['--cells', '2', '--backing', 'memfd', '--cpu', 'host-passthrough'],
                  ['--backing', 'hugetlb', '--mode', 'auto', '--nodeset', '0', '--cpuset', '0-1']):
        xml = subprocess.run([sys.executable, os.path.join(DEMO, 'guest'), 'xml', 'g', '--kernel', '/k',
                              *extra, 'ws=8'], capture_output=True, check=True).stdout
        result = subprocess.run([validator, '-', 'domain'], input=xml, capture_output=True, check=False)
        assert result.returncode == 0, result.stderr
    return None


# Under KVM what depends on it: start-up of vCPUs, halting, timers, real faults. A host whose KVM emulates every
# instruction takes 6 to 10 s for each guest; all else runs under TCG alone.
EVERYWHERE = [case_private, case_idle_wake, case_read_only, case_thread_alloc_ends, case_duty]
TCG_ONLY = [case_shared, case_half, case_phase, case_phase_by_nmi, case_cold_stays_cold, case_bad_lines, case_first_touch,
            case_touch_all, case_rate, case_q35, case_sixteen_vcpus, case_six_gib]
NO_QEMU = [case_files_are_generated, case_xml_is_valid]


def missing(accel):
    """Why an accelerator cannot be used here, or None."""
    if accel is None:
        return None
    if not shutil.which('qemu-system-x86_64'):
        return 'no qemu-system-x86_64 (package qemu-system-x86)'
    if accel == 'kvm' and not os.access('/dev/kvm', os.R_OK | os.W_OK):
        return 'machine: /dev/kvm is not usable'
    return None


def main():
    wanted = sys.argv[1:]
    plan = [(case, accel) for accel, cases in (
        (None, NO_QEMU), ('tcg', EVERYWHERE + TCG_ONLY), ('kvm', EVERYWHERE)) for case in cases]
    plan = [item for item in plan if not wanted or item[0].__name__.removeprefix('case_') in wanted]
    print(f'1..{len(plan)}', flush=True)
    is_failed = False
    for number, (case, accel) in enumerate(plan, 1):
        name = f'{case.__name__.removeprefix("case_")} {accel or ""}'.strip()
        reason, begin = missing(accel), time.monotonic()
        try:
            reason = reason or case(accel)
            print(f'ok {number} {name}' + (f' # SKIP {reason}' if reason else ''), flush=True)
        except (AssertionError, OSError, subprocess.SubprocessError, StopIteration, KeyError) as error:
            is_failed = True
            print(f'not ok {number} {name}\n# {type(error).__name__}: {str(error)[:800]}', flush=True)
        print(f'# {name}: {time.monotonic() - begin:.1f} s', flush=True)
    return 1 if is_failed else 0


if __name__ == '__main__':
    sys.exit(main())
