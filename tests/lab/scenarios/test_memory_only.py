# SPDX-License-Identifier: GPL-2.0-or-later
"""Four nodes, one of them memory-only: six guests find homes, none on the node without CPUs."""

import test_loop

TOPOLOGY = "n4c4-mem"
NEEDS_BUILD = True
TIMEOUT_S = 480
MEMORY_ONLY = 3


def test_six_guests_avoid_the_memory_only_node(lab):
    running = test_loop.start_all(lab, [f"g{i}" for i in range(6)], "mode='auto'", "duty=20", "touch=all", vcpus=2,
                                  mem_mib=48)
    # Two of them start with all their memory where no CPU is. Not while they run: that is nothing this test is about.
    for guest in running[:2]:
        lab.sh(f"virsh suspend {guest.name} && migratepages {guest.pid()} 0-2 {MEMORY_ONLY} && virsh resume {guest.name}",
               timeout_s=60)
    assert running[0].share_on(MEMORY_ONLY) > 0.9
    lab.assert_not_ended(running)
    with test_loop.agent(lab):
        def homes():
            found = {}
            for guest in running:
                found[guest.name] = [node.id for node in lab.topology.nodes
                                     if node.cpus and test_loop.is_home(lab, guest, node.id)]
            return found if all(len(nodes) == 1 for nodes in found.values()) else None

        found = lab.wait_until(homes, 180, "each guest to be at home on one node with CPUs", interval_s=3)
        per_node = {}
        for (node,) in found.values():
            per_node[node] = per_node.get(node, 0) + 1
        # Node 0 has two CPUs, 1 and 2 have one each: 3, 2, 1 guests in whatever order of the last two, or 2, 2, 2.
        assert MEMORY_ONLY not in per_node and max(per_node.values()) <= 4, per_node
