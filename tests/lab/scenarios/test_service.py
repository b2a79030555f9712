# SPDX-License-Identifier: GPL-2.0-or-later
"""The service under a real systemd: sockets that systemd holds, metrics from a daemon without a network, orders that
outlive a restart. No guests."""

import json

TOPOLOGY = "n2c4"
NEEDS_BUILD = True
TIMEOUT_S = 420  # a dozen starts of a process on a slow machine
SOCKETS = "homenoded.socket homenoded-ro.socket homenoded-metrics.socket"


def host(lab):
    return json.loads(lab.sh("homenode host --json", timeout_s=90))


def test_sockets_of_systemd(lab):
    lab.sh(f"systemctl daemon-reload; systemctl stop homenoded; systemctl start {SOCKETS}", timeout_s=90)
    try:
        assert lab.run("systemctl is-active homenoded").out.strip() == "inactive"
        # The first question starts it.
        assert host(lab)["schema"] == 1
        assert lab.run("systemctl is-active homenoded").out.strip() == "active"
        look = "stat -c '%a %i %n' /run/homenode/control /run/homenode/control-ro"
        before = lab.sh(look)
        assert [line.split()[0] for line in before.splitlines()] == ["660", "666"], before
        lab.wait_until(lambda: host(lab)["rounds"] > 0, 60, "the first round")

        # It has no network of its own, and is scraped all the same.
        own = lab.sh("readlink /proc/$(systemctl show -P MainPID homenoded)/ns/net /proc/1/ns/net").split()
        assert own[0] != own[1], own
        text = lab.sh("exec 3<>/dev/tcp/127.0.0.1/9177; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3")
        assert " 200 OK" in text.splitlines()[0] and text.endswith("# EOF\n"), text[:300]
        assert "homenode_node_memory_bytes" in text

        # What was ordered outlives an upgrade and a crash; commands wait for the next daemon.
        lab.sh("homenode pause")
        lab.sh("systemctl restart homenoded; homenode list", timeout_s=120)
        assert host(lab)["is-paused"]
        lab.sh("systemctl kill -s KILL homenoded; homenode list", timeout_s=120)
        assert host(lab)["is-paused"]
        lab.sh("homenode resume")
        assert not host(lab)["is-paused"]
        assert lab.sh(look) == before

        # The daemon may write hardly anywhere; the machine it captures its client writes.
        lab.sh("homenode snapshot --machine /var/tmp/machine && test -s /var/tmp/machine/root/proc/zoneinfo")
        again = lab.sh("homenoded --once --connect none --sysroot /var/tmp/machine/root --runtime-dir /var/tmp/again",
                       timeout_s=120)
        assert json.loads(again)["schema"] == 1
    finally:
        lab.run(f"systemctl stop {SOCKETS} homenoded; systemctl reset-failed homenoded; "
                "rm -rf /var/tmp/machine /var/tmp/again", timeout_s=120)
