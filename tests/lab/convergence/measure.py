# SPDX-License-Identifier: GPL-2.0-or-later
"""Where guests run and where their memory lies, seen from outside the agent.

Theory of operation. look.c, inside the emulated host, reads for each guest the largest mapping of its
process in numa_maps - its RAM - and, several times, each vCPU thread's last CPU and run time. The run
time between two looks is charged to the node of the CPU seen at the end. Parsing is a function of text.

It must not use anything of homenode: it is what homenode is judged by.
"""

import dataclasses
import time

LOOKS = 12
LOOK_PAUSE_MS = 100

LOOK = "/root/look"  # look.c, pushed into the emulated host


@dataclasses.dataclass
class GuestSample:
    """One guest at one time. Nodes are indexes of the topology."""

    name: str
    bytes_per_node: list
    vcpu_ns_per_node: list
    exec_ns: int = 0  # of all its vCPUs since they started

    def share_on(self, node):
        """(share of bytes, share of vCPU time) on a node, each 0..1."""
        total_bytes, total_ns = sum(self.bytes_per_node), sum(self.vcpu_ns_per_node)
        return (self.bytes_per_node[node] / total_bytes if total_bytes else 0.0,
                self.vcpu_ns_per_node[node] / total_ns if total_ns else 0.0)

    def best_node(self):
        """The node where bytes and vCPU time together are most at home."""
        return max(range(len(self.bytes_per_node)), key=lambda node: sum(self.share_on(node)))

    def bytes_local(self):
        """Share of its bytes weighted by where its vCPUs run: 1 when both are on one node."""
        total_bytes, total_ns = sum(self.bytes_per_node), sum(self.vcpu_ns_per_node)
        if not total_bytes or not total_ns:
            return 0.0
        return sum(b / total_bytes * ns / total_ns
                   for b, ns in zip(self.bytes_per_node, self.vcpu_ns_per_node))

    def is_converged(self, share=0.98):
        """Both bytes and vCPU time at least that share on one node."""
        return min(self.share_on(self.best_node())) >= share


@dataclasses.dataclass
class Sample:
    at_s: float          # time.monotonic() at its middle
    guests: dict         # name -> GuestSample

    def is_converged(self, names):
        return all(name in self.guests and self.guests[name].is_converged() for name in names)


def parse(text, cpu_node, n_nodes, page_bytes=4096):
    """What look.c printed, as {name: GuestSample}. cpu_node: node of each CPU."""
    guests, last_ns = {}, {}
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "guest":
            guests[words[1]] = GuestSample(words[1], [0] * n_nodes, [0] * n_nodes)
        elif words[0] == "ram" and words[1] in guests:
            sizes = [word for word in words if word.startswith("kernelpagesize_kB=")]
            unit = int(sizes[0].partition("=")[2]) * 1024 if sizes else page_bytes
            for word in words[2:]:
                node, _, count = word.partition("=")
                if node[:1] == "N" and node[1:].isdigit():
                    guests[words[1]].bytes_per_node[int(node[1:])] += int(count) * unit
        elif words[0] == "vcpu" and words[1] in guests:
            name, vcpu, look, cpu, exec_ns = words[1], words[2], int(words[3]), int(words[4]), int(words[5])
            if look > 0 and (name, vcpu) in last_ns and cpu < len(cpu_node):
                delta_ns = exec_ns - last_ns[name, vcpu]
                guests[name].vcpu_ns_per_node[cpu_node[cpu]] += max(0, delta_ns)
            last_ns[name, vcpu] = exec_ns
    for (name, _), exec_ns in last_ns.items():
        guests[name].exec_ns += exec_ns
    return guests


def _looks_per_node(samples, name):
    """Run time of a guest's vCPUs per node, in ns, summed over the looks of all samples it is in."""
    return [sum(node) for node in zip(*(sample.guests[name].vcpu_ns_per_node for sample in samples
                                        if name in sample.guests))]


def load_per_node(samples, n_nodes, wanted_cpus):
    """CPUs that the guests on each node want, over the samples.

    Each guest wants @wanted_cpus: that is known, since the guests are ours, and is apportioned to nodes as its vCPUs'
    run time was in the looks. How long they ran is told by ran_per_node(): where others have work on a node's CPUs, or
    the emulation stalls, it says how much was left to the guests, and nothing about how they were placed.
    """
    load = [0.0] * n_nodes
    for name in samples[-1].guests:
        looks = _looks_per_node(samples, name)
        for node in range(n_nodes):
            load[node] += wanted_cpus * looks[node] / sum(looks) if sum(looks) else 0.0
    return load


def ran_per_node(samples, n_nodes):
    """vCPU run time per node between the first and the last sample, in ns.

    What each guest ran in between is charged to nodes in the proportion seen in the looks.
    """
    load = [0.0] * n_nodes
    for name, last in samples[-1].guests.items():
        looks = _looks_per_node(samples, name)
        ran_ns = last.exec_ns - samples[0].guests[name].exec_ns if name in samples[0].guests else 0
        for node in range(n_nodes):
            load[node] += ran_ns * looks[node] / sum(looks) if sum(looks) else 0.0
    return load


def imbalance(load):
    """(most - least) / mean of the loads of the nodes that have CPUs."""
    mean = sum(load) / max(1, len(load))
    return (max(load) - min(load)) / mean if mean else 0.0


class Watcher:
    """Samples guests of a lab. @host: host.Host; @topology: the dict of `lab topology --json`."""

    def __init__(self, host, topology, look_program):
        self.host = host
        host.push([look_program], LOOK)
        self.n_nodes = len(topology["nodes"])
        self.cpu_node = []
        self.cpu_nodes = [i for i, node in enumerate(topology["nodes"]) if node["cpus"]]
        cpus = {cpu: i for i, node in enumerate(topology["nodes"]) for cpu in cpu_list(node["cpus"])}
        self.cpu_node = [cpus.get(cpu, 0) for cpu in range(max(cpus) + 1)]

    def sample(self, names, looks=LOOKS):
        out = bytearray()
        script = f"exec {LOOK} {looks} {LOOK_PAUSE_MS} {' '.join(names)}"
        began_s = time.monotonic()
        self.host.run(script, timeout_s=60, on_output=lambda is_error, data: None if is_error else out.extend(data))
        guests = parse(out.decode(errors="replace"), self.cpu_node, self.n_nodes)
        return Sample((began_s + time.monotonic()) / 2, guests)


def cpu_list(cpus):
    """CPU numbers of a topology's node: a list already, or the kernel's list format."""
    if not isinstance(cpus, str):
        return list(cpus)
    result = []
    for piece in filter(None, cpus.split(",")):
        first, _, last = piece.partition("-")
        result += range(int(first), int(last or first) + 1)
    return result
