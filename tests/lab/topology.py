# SPDX-License-Identifier: GPL-2.0-or-later
"""Topology files: what NUMA host the lab emulates.

Theory of operation. A topology file holds `key = value` lines (docs/lab.md lists the keys).
parse() turns its text into a Topology and never opens anything; read() only opens. From the
Topology come the emulator's arguments (qemu_args) and the guest-physical ranges of each node
(ranges), which the locality meter needs to name the node of an address.

It must not start anything or know how the host is booted.
"""

import math
import os
import re
from dataclasses import dataclass, field

MIB = 1 << 20
GIB = 1 << 30
TOTAL_MAX_MIB = 4096
NODES_MAX = 8
CPUS_MAX = 16
LOCAL_DISTANCE = 10
DISTANCE_MAX = 254
# The q35 machine: with this much memory or more, what exceeds 2 GiB lies above 4 GiB; with less,
# everything lies below the hole (QEMU, hw/i386/pc_q35.c).
Q35_SPLIT_FROM_BYTES = 0xB0000000
Q35_LOW_BYTES_WHEN_SPLIT = 0x80000000

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "topologies")
SUFFIX = ".topo"

# key of a node → (lowest, highest value)
_NODE_NUMBERS = {
    "cpus": (0, CPUS_MAX),
    "memory-mib": (0, TOTAL_MAX_MIB),
    "initiator": (0, NODES_MAX - 1),
    "latency-ns": (1, 65534),
    "bandwidth-mib-per-s": (1, 1 << 24),
}
_ALLOWED_KEYS = "description, nodeN.distances, " + ", ".join(
    "nodeN." + key for key in _NODE_NUMBERS
)


class TopologyError(Exception):
    """A topology that cannot be used; the text names the line and what is allowed."""


@dataclass
class Node:
    """One NUMA node of the emulated host."""

    id: int
    cpus: list = field(default_factory=list)
    mem_bytes: int = 0
    distances: list = field(default_factory=list)
    initiator: int = -1
    latency_ns: int = 0
    bandwidth_mib_per_s: int = 0


@dataclass
class Topology:
    """A whole host: its nodes, by id."""

    name: str
    description: str
    nodes: list

    @property
    def cpu_count(self):
        return sum(len(node.cpus) for node in self.nodes)

    @property
    def mem_bytes(self):
        return sum(node.mem_bytes for node in self.nodes)

    @property
    def has_hmat(self):
        return any(node.latency_ns for node in self.nodes)

    def ranges(self):
        """node id → list of (first byte, byte after the last) in the host's physical space.

        Memory is laid out node after node, and interrupted by the hole below 4 GiB.
        """
        total = self.mem_bytes
        low = Q35_LOW_BYTES_WHEN_SPLIT if total >= Q35_SPLIT_FROM_BYTES else total
        result, at = {}, 0
        for node in self.nodes:
            end, parts = at + node.mem_bytes, []
            if at < low and node.mem_bytes:
                parts.append((at, min(end, low)))
            if end > low and node.mem_bytes:
                parts.append((max(at, low) - low + 4 * GIB, end - low + 4 * GIB))
            result[node.id] = parts
            at = end
        return result

    def as_dict(self):
        """Everything as plain JSON-able values (`lab topology NAME --json`)."""
        ranges = self.ranges()
        return {
            "name": self.name,
            "description": self.description,
            "nodes": [
                {
                    "id": node.id,
                    "cpus": node.cpus,
                    "mem_bytes": node.mem_bytes,
                    "ranges": [list(part) for part in ranges[node.id]],
                    "distances": node.distances,
                    "initiator": node.initiator if node.initiator >= 0 else None,
                    "latency_ns": node.latency_ns or None,
                    "bandwidth_mib_per_s": node.bandwidth_mib_per_s or None,
                }
                for node in self.nodes
            ],
        }

    def qemu_args(self):
        """The arguments that make QEMU emulate this host's processors and memory."""
        counts = [len(node.cpus) for node in self.nodes if node.cpus]
        cores = math.gcd(*counts)  # no socket, and so no last-level cache, spans two nodes
        args = ["-smp", f"{self.cpu_count},sockets={self.cpu_count // cores},cores={cores},threads=1"]
        args += ["-m", f"{self.mem_bytes // MIB}M"]
        for node in self.nodes:
            text = f"node,nodeid={node.id}"
            if node.mem_bytes:
                args += ["-object", f"memory-backend-ram,id=ram{node.id},size={node.mem_bytes // MIB}M"]
                text += f",memdev=ram{node.id}"
            if node.cpus:
                text += f",cpus={node.cpus[0]}-{node.cpus[-1]}"
            elif self.has_hmat:
                text += f",initiator={node.initiator}"
            args += ["-numa", text]
        for node in self.nodes:
            for other, distance in enumerate(node.distances):
                args += ["-numa", f"dist,src={node.id},dst={other},val={distance}"]
        return args + (self._hmat_args() if self.has_hmat else [])

    def _hmat_args(self):
        """Latency and bandwidth from each node with CPUs to each memory.

        A file states what a memory offers to its nearest CPUs; for farther ones the latency
        grows and the bandwidth shrinks with the distance.
        """
        args = []
        for source in (node for node in self.nodes if node.cpus):
            for target in (node for node in self.nodes if node.latency_ns):
                nearest = target.id if target.cpus else target.initiator
                ratio = source.distances[target.id] / self.nodes[nearest].distances[target.id]
                common = f"hmat-lb,initiator={source.id},target={target.id},hierarchy=memory"
                latency_ns = round(target.latency_ns * ratio)
                args += ["-numa", f"{common},data-type=access-latency,latency={latency_ns}"]
                if target.bandwidth_mib_per_s:
                    mib = max(1, round(target.bandwidth_mib_per_s / ratio))
                    args += ["-numa", f"{common},data-type=access-bandwidth,bandwidth={mib}M"]
        return args


def _number(text, low, high, where):
    if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise TopologyError(f"{where}: '{text}' is not a whole number from {low} to {high}")
    return int(text)


def _parse_lines(text, name):
    """Returns description and {node id: {key: value}}, each value checked by itself."""
    description, nodes, seen = "", {}, {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#", 1)[0].strip()
        if not line:
            continue
        where = f"topology {name}, line {number}"
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not value:
            raise TopologyError(f"{where}: '{line}' is not of the form 'key = value'")
        if key in seen:
            raise TopologyError(f"{where}: '{key}' was given in line {seen[key]} already")
        seen[key] = number
        if key == "description":
            description = value
            continue
        match = re.fullmatch(r"node([0-9]{1,3})\.([a-z-]+)", key)
        if not match or match[2] not in (*_NODE_NUMBERS, "distances"):
            raise TopologyError(f"{where}: '{key}' is unknown; allowed: {_ALLOWED_KEYS}")
        node = nodes.setdefault(_number(match[1], 0, NODES_MAX - 1, f"{where}, node number"), {})
        if match[2] == "distances":
            node["distances"] = [
                _number(item, LOCAL_DISTANCE, DISTANCE_MAX, f"{where}, {key}")
                for item in value.split()
            ]
        else:
            node[match[2]] = _number(value, *_NODE_NUMBERS[match[2]], f"{where}, {key}")
    return description, nodes


def _check(topology):
    """What concerns several lines at once."""
    name, nodes = f"topology {topology.name}", topology.nodes
    for node in nodes:
        where = f"{name}, node{node.id}"
        if not node.cpus and not node.mem_bytes:
            raise TopologyError(f"{where}: has neither CPUs nor memory; set .cpus or .memory-mib")
        if len(node.distances) != len(nodes):
            raise TopologyError(
                f"{where}.distances: {len(node.distances)} values, but there are {len(nodes)} nodes"
            )
        for other, distance in enumerate(node.distances):
            if (distance == LOCAL_DISTANCE) != (other == node.id):
                raise TopologyError(
                    f"{where}.distances: {distance} to node{other}; it is {LOCAL_DISTANCE} to the "
                    f"node itself, and {LOCAL_DISTANCE + 1} to {DISTANCE_MAX} to any other"
                )
        if node.initiator >= 0 and (node.cpus or node.initiator >= len(nodes)
                                    or not nodes[node.initiator].cpus):
            raise TopologyError(f"{where}.initiator: only for a node without CPUs, naming one with CPUs")
        if node.bandwidth_mib_per_s and not node.latency_ns:
            raise TopologyError(f"{where}.bandwidth-mib-per-s: needs .latency-ns too")
        if topology.has_hmat and not node.cpus and node.initiator < 0:
            raise TopologyError(f"{where}: with latencies given, a node without CPUs needs .initiator")
    if not topology.cpu_count or topology.cpu_count > CPUS_MAX:
        raise TopologyError(f"{name}: {topology.cpu_count} CPUs in all; allowed: 1 to {CPUS_MAX}")
    if not 256 <= topology.mem_bytes // MIB <= TOTAL_MAX_MIB:
        raise TopologyError(f"{name}: {topology.mem_bytes // MIB} MiB in all; allowed: 256 to {TOTAL_MAX_MIB}")


def parse(text, name):
    """Turns the text of a topology file into a Topology, or raises TopologyError."""
    description, raw = _parse_lines(text, name)
    if not raw:
        raise TopologyError(f"topology {name}: no node; give at least node0.cpus and node0.memory-mib")
    missing = sorted(set(range(max(raw) + 1)) - set(raw))
    if missing:
        raise TopologyError(f"topology {name}: node{missing[0]} is missing; ids start at 0 without gaps")
    nodes, first_cpu = [], 0
    for node_id in sorted(raw):
        values = raw[node_id]
        count = values.get("cpus", 0)
        nodes.append(Node(
            id=node_id,
            cpus=list(range(first_cpu, first_cpu + count)),
            mem_bytes=values.get("memory-mib", 0) * MIB,
            distances=values.get("distances", [LOCAL_DISTANCE] if len(raw) == 1 else []),
            initiator=values.get("initiator", -1),
            latency_ns=values.get("latency-ns", 0),
            bandwidth_mib_per_s=values.get("bandwidth-mib-per-s", 0),
        ))
        first_cpu += count
    topology = Topology(name=name, description=description, nodes=nodes)
    _check(topology)
    return topology


def names():
    """The topologies at hand, sorted."""
    return sorted(entry[: -len(SUFFIX)] for entry in os.listdir(FOLDER) if entry.endswith(SUFFIX))


def read(name):
    """Reads a topology by its name, or by the path of a file."""
    path = name if os.sep in name else os.path.join(FOLDER, name + SUFFIX)
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(65536)
    except (OSError, UnicodeDecodeError) as error:
        raise TopologyError(f"topology '{name}': {error}; there are: {', '.join(names())}") from error
    return parse(text, os.path.basename(path).removesuffix(SUFFIX))
