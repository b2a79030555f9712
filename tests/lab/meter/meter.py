# SPDX-License-Identifier: GPL-2.0-or-later
"""Purpose: read the locality meter: the share of local memory accesses of every guest of a lab.

Theory of operation. The plugin (plugin.c) counts accesses per address space, emulated CPU and NUMA node, and
never resets. Meter keeps the previous reading and turns two readings into a Sample. Which guest an address
space is comes from votes: announce() looks into the emulated host for VMM processes, and tells the plugin
the physical pages of their RAM; a space that mostly touches one guest's pages is that guest, and stays so
until its process is gone, wherever its memory moves. Everything from counters to shares and modelled
times is pure functions of the JSON (deltas(), bind(), guest_samples(), modelled_ns()).

It must not start or stop a lab, and must not decide what is good: that is the scenarios' business.
"""
import csv
import dataclasses
import json
import os
import socket
import struct
import subprocess
import time

PAGE_SHIFT = 12
PAGEMAP_PRESENT = 1 << 63
PAGEMAP_PFN_MASK = (1 << 55) - 1
# Smaller mappings of a VMM are stacks and heaps, not guest RAM.
RAM_MAPPING_MIN_BYTES = 8 << 20
WORDS_PER_COMMAND = 4000
VOTES_MIN = 16
VOTES_SHARE_MIN = 0.8
REANNOUNCE_S = 10.0
API_VERSIONS = (7, 4)  # newest first
UNKNOWN = '?'          # guest-mode accesses of a space that is no announced guest (yet)

# Which processes are VMMs: "PID NAME KIND" lines, then the larger writable mappings of each, "PID START END".
LIST_SCRIPT = r'''
for comm in /proc/[0-9]*/comm; do
  read -r name < "$comm" 2>/dev/null || continue
  case "$name" in qemu-system-*|qemu-kvm*) ;; *) continue ;; esac
  pid=${comm#/proc/}; pid=${pid%/comm}
  guest=$(tr '\0' '\n' < /proc/$pid/cmdline | sed -n '/^-name$/{n;s/^guest=//;s/,.*//;p;q}')
  kind=kvm; grep -qs '/TCG$' /proc/$pid/task/*/comm && kind=tcg
  echo "guest $pid ${guest:-$pid} $kind"
  while read -r range mode _; do
    case "$mode" in rw*) ;; *) continue ;; esac
    start=$((16#${range%-*})); end=$((16#${range#*-}))
    [ $((end - start)) -gt MIN_BYTES ] && echo "ram $pid $start $end"
  done < /proc/$pid/maps
done
true
'''.replace('MIN_BYTES', str(RAM_MAPPING_MIN_BYTES))


class MeterError(Exception):
    """The meter cannot do what was asked; the text says why and what to do."""


# ---- values and pure functions ----

@dataclasses.dataclass
class Costs:
    """Modelled time: what an instruction and an access cost. The factor of a remote access is
    1 + kappa (distance / 10 - 1): 1.93 at distance 20, as measured on the hosts that the
    AutoNUMA tables of 2012 come from."""
    insn_ns: float = 0.5
    local_ns: float = 80.0
    kappa: float = 0.93

    def access_ns(self, distance):
        """Nanoseconds of one access at an ACPI distance (10: local)."""
        return self.local_ns * (1 + self.kappa * (distance / 10 - 1))


@dataclasses.dataclass
class HostNodes:
    """What the reader must know of the emulated host; see from_topology()."""
    node_of_cpu: dict  # emulated CPU → node
    ranges: dict       # node → [(start, end) in physical bytes]
    distances: dict    # node → [distance to node 0, 1, …]

    @classmethod
    def from_topology(cls, topology):
        """From `lab topology NAME --json` or the "topology" of `lab status --json`."""
        nodes = topology['nodes']
        return cls(node_of_cpu={cpu: node['id'] for node in nodes for cpu in node['cpus']},
                   ranges={node['id']: [tuple(part) for part in node['ranges']] for node in nodes},
                   distances={node['id']: node['distances'] for node in nodes})


@dataclasses.dataclass
class GuestSample:
    """One guest in one interval."""
    local: int = 0          # accesses that missed the modelled cache, to the CPU's own node
    total: int = 0          # … to any node
    to_node: dict = dataclasses.field(default_factory=dict)    # node of the page → accesses
    from_node: dict = dataclasses.field(default_factory=dict)  # node of the CPU → accesses
    accesses: int = 0       # with cache hits
    insns: int = 0
    modelled_ns: float = 0.0

    @property
    def local_share(self):
        """0..1, or None if the guest accessed no memory."""
        return self.local / self.total if self.total else None


@dataclasses.dataclass
class Sample:
    """All guests in one interval that ended at t_s."""
    t_s: float
    interval_s: float
    guests: dict

    def share(self, names=None):
        """The local share of several guests together (default: all), or None."""
        wanted = [guest for name, guest in self.guests.items() if names is None or name in names]
        total = sum(guest.total for guest in wanted)
        return sum(guest.local for guest in wanted) / total if total else None

    def as_dict(self):
        """JSON-able values."""
        return {'t_s': round(self.t_s, 3), 'interval_s': round(self.interval_s, 3), 'guests': {
            name: {**dataclasses.asdict(guest), 'local_share': guest.local_share}
            for name, guest in self.guests.items()}}


def modelled_ns(insns, accesses_by_node, distances, costs=None):
    """Modelled nanoseconds of one CPU: insns·a + Σ accesses to node m · c(distance to m).

    accesses_by_node: {node: accesses}; distances: from this CPU's node to each node, by node id. Accesses to
    memory of no node (key None) cost as local ones.
    """
    costs = costs or Costs()
    return insns * costs.insn_ns + sum(
        count * costs.access_ns(10 if node is None else distances[node])
        for node, count in accesses_by_node.items())


def _cells(reading):
    """{(space or ('guest', n), cpu): (accesses, insns, {node index: count})} of a reading."""
    result = {}
    for space in reading['spaces']:
        for cpu, cell in space['vcpus'].items():
            result[space['space'], int(cpu)] = (cell['accesses'], cell['insns'],
                                                dict(enumerate(cell['nodes'])))
    for entry in reading['ranges']:
        result[('guest', entry['guest']), entry['vcpu']] = (
            sum(entry['nodes']), 0, dict(enumerate(entry['nodes'])))
    return result


def deltas(before, after):
    """What happened between two readings, in the shape of _cells(), without what did not change."""
    old, result = _cells(before), {}
    for key, (accesses, insns, nodes) in _cells(after).items():
        old_accesses, old_insns, old_nodes = old.get(key, (0, 0, {}))
        changed = {node: count - old_nodes.get(node, 0) for node, count in nodes.items()
                   if count != old_nodes.get(node, 0)}
        if accesses != old_accesses or insns != old_insns or changed:
            result[key] = (accesses - old_accesses, insns - old_insns, changed)
    return result


def bind(reading, bound, name_of_guest):
    """Space → guest name: what is bound already, and the spaces whose votes are clear by now."""
    result = dict(bound)
    for space in reading['spaces']:
        votes = space['votes']
        total = sum(votes.values())
        if space['space'] in result or total < VOTES_MIN:
            continue
        winner = max(votes, key=votes.get)
        if votes[winner] >= VOTES_SHARE_MIN * total and int(winner) in name_of_guest:
            result[space['space']] = name_of_guest[int(winner)]
    return result


def guest_samples(changes, bound, name_of_guest, nodes, costs=None):
    """{guest name: GuestSample} from deltas(); spaces that are bound to no guest add up under '?'."""
    result = {}
    for (space, cpu), (accesses, insns, by_index) in changes.items():
        name = name_of_guest.get(space[1], UNKNOWN) if isinstance(space, tuple) \
            else bound.get(space, UNKNOWN)
        home = nodes.node_of_cpu[cpu]
        # The plugin's last index stands for memory of no node.
        by_node = {index if index in nodes.ranges else None: count for index, count in by_index.items()}
        guest = result.setdefault(name, GuestSample())
        counted = sum(by_node.values())
        guest.local += by_node.get(home, 0)
        guest.total += counted
        guest.accesses += accesses
        guest.insns += insns
        guest.from_node[home] = guest.from_node.get(home, 0) + counted
        for node, count in by_node.items():
            guest.to_node[node] = guest.to_node.get(node, 0) + count
        guest.modelled_ns += modelled_ns(insns, by_node, nodes.distances[home], costs)
    return result


def parse_guest_list(text):
    """LIST_SCRIPT's output as [{'pid', 'name', 'kind', 'ram': [(start, end)]}]."""
    guests = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 4 and words[0] == 'guest':
            guests[words[1]] = {'pid': int(words[1]), 'name': words[2], 'kind': words[3], 'ram': []}
        elif len(words) == 4 and words[0] == 'ram' and words[1] in guests:
            guests[words[1]]['ram'].append((int(words[2]), int(words[3])))
    return list(guests.values())


def pagemap_spans(data):
    """Physical page spans 'FIRST-END' of raw /proc/PID/pagemap bytes, sorted and merged."""
    pages = sorted({entry & PAGEMAP_PFN_MASK for (entry,) in struct.iter_unpack('<Q', data[:len(data) & ~7])
                    if entry & PAGEMAP_PRESENT})
    spans = []
    for page in pages:
        if spans and spans[-1][1] == page:
            spans[-1][1] = page + 1
        else:
            spans.append([page, page + 1])
    return [f'{first}-{end}' for first, end in spans]


# ---- the meter ----

class Meter:
    """A connection to the plugin.

    socket_path: the plugin's socket. nodes: HostNodes. run: function of a shell script that runs it as
    root in the emulated host and returns its output as bytes; only announce() needs it.
    """

    def __init__(self, socket_path, nodes, run=None, costs=None):
        self.nodes, self.run, self.costs = nodes, run, costs or Costs()
        self.bound, self.name_of_guest, self.pids = {}, {}, {}
        self._announced_s = 0.0
        self._connection = socket.socket(socket.AF_UNIX)
        try:
            self._connection.settimeout(30)
            self._connection.connect(socket_path)
        except OSError as error:
            raise MeterError(f'no meter at {socket_path}: {error}; start the lab with '
                             '--plugin "$(tests/lab/meter/meter plugin)"') from error
        self._stream = self._connection.makefile('rw', encoding='ascii')
        for node, ranges in nodes.ranges.items():
            for start, end in ranges:
                self.command(f'node {start} {end} {node}')
        self._last = self.command('read')
        self._start_ns = self._last['t_ns']

    def close(self):
        """Ends the connection; the plugin goes on as it is."""
        self._stream.close()
        self._connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def command(self, line):
        """Sends one line of the protocol (docs/meter.md) and returns the answer."""
        try:
            self._stream.write(line + '\n')
            self._stream.flush()
            text = self._stream.readline()
        except OSError as error:
            raise MeterError(f'the meter went away during {line[:40]!r}: {error}') from error
        if not text:
            raise MeterError(f'the meter went away during {line[:40]!r}')
        answer = json.loads(text)
        if not answer['ok']:
            raise MeterError(f'meter: {answer["error"]}')
        return answer

    def arm(self):
        """Starts counting; the next sample() is from here."""
        self.command('arm')
        self._last = self.command('read')

    def disarm(self):
        """Stops counting: the emulated host is back at full speed."""
        self.command('disarm')

    def announce(self):
        """Looks which guests there are and tells the plugin their pages. Call it when guests came or
        went; sample() calls it by itself when an unknown guest shows. Returns their names, sorted."""
        if self.run is None:
            raise MeterError('announce: this Meter has no way to run a script in the lab')
        guests = parse_guest_list(self.run(LIST_SCRIPT).decode())[:63]
        old_pids, self.pids = self.pids, {guest['name']: guest['pid'] for guest in guests}
        self.bound = {space: name for space, name in self.bound.items()
                      if name in old_pids and old_pids[name] == self.pids.get(name)}
        self.name_of_guest = {number: guest['name'] for number, guest in enumerate(guests, 1)}
        has_tcg = any(guest['kind'] == 'tcg' for guest in guests)
        was_armed = self._last['is_armed']
        if has_tcg and was_armed:
            self.command('disarm')  # what is translated by now does not look at ranges
        self.command('forget')
        for number, guest in enumerate(guests, 1):
            self._announce_guest(number, guest)
        if has_tcg and was_armed:
            self.command('arm')
        self._announced_s = time.monotonic()
        return sorted(self.pids)

    def _announce_guest(self, number, guest):
        for start, end in guest['ram']:
            if guest['kind'] == 'tcg':
                self.command(f'range {number} {start} {end}')
                continue
            first, count = start >> PAGE_SHIFT << 3, (end - start) >> PAGE_SHIFT << 3
            data = self.run(f'dd if=/proc/{guest["pid"]}/pagemap iflag=skip_bytes,count_bytes '
                            f'skip={first} count={count} bs=1M status=none 2>/dev/null || true')
            spans = pagemap_spans(data)
            for at in range(0, len(spans), WORDS_PER_COMMAND):
                self.command(f'pages {number} ' + ' '.join(spans[at:at + WORDS_PER_COMMAND]))

    def sample(self):
        """What happened since the last sample() or arm()."""
        now = self.command('read')
        self.bound = bind(now, self.bound, self.name_of_guest)
        changes = deltas(self._last, now)
        result = Sample(t_s=(now['t_ns'] - self._start_ns) / 1e9,
                        interval_s=(now['t_ns'] - self._last['t_ns']) / 1e9,
                        guests=guest_samples(changes, self.bound, self.name_of_guest, self.nodes,
                                             self.costs))
        self._last = now
        if UNKNOWN in result.guests and self.run is not None and \
                time.monotonic() - self._announced_s > REANNOUNCE_S:
            self.announce()
        return result

    def watch(self, interval_s=1.0, count=None):
        """Samples for ever, or count of them, one each interval_s."""
        done = 0
        while count is None or done < count:
            time.sleep(interval_s)
            yield self.sample()
            done += 1

    def measure(self, seconds):
        """One sample over so many seconds from now."""
        self.sample()
        time.sleep(seconds)
        return self.sample()


def for_host(host, costs=None):
    """A Meter for a running lab: host is a host.Host whose emulator has the plugin."""
    def run(script):
        output, errors = bytearray(), bytearray()
        status = host.run(script, timeout_s=120,
                          on_output=lambda is_error, data: (errors if is_error else output).extend(data))
        if status:
            raise MeterError(f'in the emulated host: exit status {status}: '
                             f'{errors.decode(errors="replace")[:300]}')
        return bytes(output)

    topology = host.status().get('topology')
    if topology is None:
        raise MeterError(f"lab '{host.name}' is not up")
    return Meter(socket_path(host), HostNodes.from_topology(topology), run, costs)


def socket_path(host):
    """Where a lab's meter listens."""
    return os.path.join(host.run_dir, 'meter.sock')


def api_of_version(version):
    """The plugin interface that QEMU of this version (a tuple) is known to accept: 10.0 takes 2 to 4, 11.1
    at least 7. For versions between them ask plugin_file(), which tries."""
    return 7 if version >= (11, 0) else 4


def plugin_file(emulator, build_dir):
    """The plugin in a build folder that this emulator (emulator.Emulator) accepts: it is tried."""
    tried = []
    for version in API_VERSIONS:
        path = os.path.join(os.path.abspath(build_dir), 'tests', 'lab', 'meter', f'meter-api{version}.so')
        if not os.path.exists(path):
            raise MeterError(f'{path} is not there; build it: meson compile -C {build_dir}')
        # Without its socket the plugin refuses in words of its own, but only after the version check.
        done = subprocess.run([*emulator.argv, '-nodefaults', '-no-user-config', '-machine', 'none',
                               '-display', 'none', '-accel', 'tcg', '-plugin', path],
                              env={**os.environ, **emulator.env}, stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, timeout=60, check=False)
        if 'meter: needs socket=' in done.stderr:
            return path
        tried.append(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no message')
    raise MeterError('the emulator takes none of the plugins: ' + '; '.join(tried))


def plugin_argument(host, emulator, build_dir, cache_kib=256, is_armed=False):
    """What `lab up --plugin` needs to start this lab with a meter."""
    return (f'{plugin_file(emulator, build_dir)},socket={socket_path(host)},cache-kib={cache_kib},'
            f'armed={"on" if is_armed else "off"}')


class CsvWriter:
    """Appends samples to a CSV file: one line per guest and interval."""

    COLUMNS = ('t_s', 'interval_s', 'guest', 'local', 'total', 'local_share', 'accesses', 'insns',
               'modelled_ns')

    def __init__(self, stream):
        self._writer = csv.writer(stream)
        self._writer.writerow(self.COLUMNS)

    def add(self, sample):
        """Writes one sample."""
        for name, guest in sorted(sample.guests.items()):
            share = guest.local_share
            self._writer.writerow((f'{sample.t_s:.3f}', f'{sample.interval_s:.3f}', name, guest.local,
                                   guest.total, '' if share is None else f'{share:.6f}', guest.accesses,
                                   guest.insns, f'{guest.modelled_ns:.0f}'))


def table_lines(sample):
    """A sample as text lines for people."""
    lines = [f'{"t":>8} {"guest":<16} {"local":>8} {"accesses":>12} {"of all":>7}  to node']
    for name, guest in sorted(sample.guests.items()):
        share = '-' if guest.local_share is None else f'{100 * guest.local_share:.2f} %'
        missed = f'{100 * guest.total / guest.accesses:.0f} %' if guest.accesses else '-'
        split = ' '.join(f'{"none" if node is None else node}:{100 * count / max(guest.total, 1):.1f}%'
                         for node, count in sorted(guest.to_node.items(), key=str))
        lines.append(f'{sample.t_s:8.1f} {name:<16} {share:>8} {guest.total:12d} {missed:>7}  {split}')
    return lines
