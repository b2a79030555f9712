# SPDX-License-Identifier: GPL-2.0-or-later
"""One contestant through the scene: before, on the way, after; judged from outside.

Theory of operation. Misplaced guests are sampled (before), released, and the contestant starts. Every
few seconds a sample is taken until all guests were at home in CONFIRM samples in a row, or the time is
over. Then a calm phase is watched: whatever still moves there is counted. The meter, where there is one,
counts the guests' accesses all the while.
"""

import dataclasses
import time

import measure

CONFIRM = 2
SAMPLE_EVERY_S = 2.0
# A guest's memory map may waver by pages that the guest process allocates itself.
STILL_BYTES = 2 << 20


@dataclasses.dataclass
class Result:
    contestant: str
    title: str
    converged_s: float = None      # after release; None: not within the time given
    before: object = None          # measure.Sample
    after: object = None
    wanted_per_node: list = dataclasses.field(default_factory=list)  # CPUs, over the calm phase
    ran_per_node: list = dataclasses.field(default_factory=list)     # ns, over the calm phase
    told: str = ""                 # what the contestant itself says of it, afterwards
    late_moves: int = 0            # guests whose memory or home changed in the calm phase
    meter_before: float = None     # share of local accesses, 0..1
    meter_after: float = None
    series: list = dataclasses.field(default_factory=list)        # measure.Sample
    meter_series: list = dataclasses.field(default_factory=list)  # (monotonic s, share)
    released_s: float = 0.0        # time.monotonic()
    calm_s: float = 0.0            # when the calm phase began

    @property
    def imbalance(self):
        """(most - least) / mean of the load that was placed on the nodes with CPUs."""
        return measure.imbalance(self.wanted_per_node)

    def bytes_local(self, sample):
        guests = sample.guests.values()
        return sum(guest.bytes_local() for guest in guests) / max(1, len(guests))

    def as_dict(self):
        def sample_dict(sample):
            return {"at_s": round(sample.at_s - self.released_s, 2),
                    "guests": {guest.name: {"bytes_per_node": guest.bytes_per_node,
                                            "vcpu_ns_per_node": guest.vcpu_ns_per_node}
                               for guest in sample.guests.values()}}
        return {"contestant": self.contestant, "converged_s": self.converged_s,
                "bytes_local_before": self.bytes_local(self.before), "bytes_local_after": self.bytes_local(self.after),
                "guests_at_home": sum(guest.is_converged() for guest in self.after.guests.values()),
                "guests": len(self.after.guests), "wanted_cpus_per_node": self.wanted_per_node,
                "ran_ns_per_node": self.ran_per_node, "imbalance": self.imbalance, "late_moves": self.late_moves,
                "meter_before": self.meter_before, "meter_after": self.meter_after,
                "series": [sample_dict(sample) for sample in self.series],
                "meter_series": [(round(at_s - self.released_s, 2), share) for at_s, share in self.meter_series]}


def _late_moves(samples):
    """How many guests changed place between the first and the last of the samples."""
    moved = 0
    for name, first in samples[0].guests.items():
        homes = {sample.guests[name].best_node() for sample in samples if name in sample.guests}
        last = samples[-1].guests.get(name, first)
        drift = max(abs(a - b) for a, b in zip(first.bytes_per_node, last.bytes_per_node))
        moved += len(homes) > 1 or drift > STILL_BYTES
    return moved


def run(scene, watcher, contestant, by_hand, timeout_s, calm_s, meter=None, show=lambda phase, sample, result: None):
    """Runs @contestant on the guests of @scene (started already). Returns a Result."""
    names = scene.names

    def filled(script):
        return script.replace("{guests}", " ".join(names)).replace("{bind_by_hand}", by_hand)

    result = Result(contestant.name, contestant.title)
    scene.misplace()
    if meter:
        meter.follow(names)
    result.before = watcher.sample(names)
    scene.assert_all_there(result.before.guests)
    if meter:
        result.meter_before = meter.share_over(6.0)
    result.released_s = time.monotonic()
    result.series.append(result.before)
    show("misplaced", result.before, result)
    scene.release()
    result.released_s = time.monotonic()
    scene.sh(filled(contestant.start), timeout_s=300)
    in_a_row = 0
    while time.monotonic() - result.released_s < timeout_s:
        began_s = time.monotonic()
        sample = watcher.sample(names)
        result.series.append(sample)
        if meter:
            result.meter_series = meter.series()
        show("moving", sample, result)
        in_a_row = in_a_row + 1 if sample.is_converged(names) else 0
        if in_a_row == 1:
            result.converged_s = round(sample.at_s - result.released_s, 1)
        elif in_a_row == 0:
            result.converged_s = None
        if in_a_row >= CONFIRM:
            break
        time.sleep(max(0.0, SAMPLE_EVERY_S - (time.monotonic() - began_s)))
    result.calm_s = time.monotonic()
    calm = []
    while len(calm) < 2 or time.monotonic() - result.calm_s < calm_s:
        began_s = time.monotonic()
        calm.append(watcher.sample(names))
        result.series.append(calm[-1])
        show("watching", calm[-1], result)
        time.sleep(max(0.0, 3 * SAMPLE_EVERY_S - (time.monotonic() - began_s)))
    if meter:
        result.meter_after = meter.share_over(6.0)
        result.meter_series = meter.series()
    result.after = calm[-1]
    scene.assert_all_there(result.after.guests)
    wanted = measure.load_per_node(calm, watcher.n_nodes, scene.wanted_cpus)
    ran = measure.ran_per_node(calm, watcher.n_nodes)
    result.wanted_per_node = [wanted[node] for node in watcher.cpu_nodes]
    result.ran_per_node = [ran[node] for node in watcher.cpu_nodes]
    result.late_moves = _late_moves(calm)
    result.told = scene.sh(filled(contestant.tell) + "\n:", timeout_s=120)
    scene.sh(contestant.stop, timeout_s=120)
    return result
