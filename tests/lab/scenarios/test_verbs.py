# SPDX-License-Identifier: GPL-2.0-or-later
"""Every verb of the command against a daemon with a guest of libvirt's, in a terminal's 80 columns."""

import re

import test_loop

TOPOLOGY = "n2c4"
NEEDS_BUILD = True
TIMEOUT_S = 420
# {guest} has opted in; {data} is where homenode's files are.
VERBS = """
list
list --managed --names
status
status {guest}
host
plan
explain {guest}
history
history {guest} --limit 3
doctor
snapshot --output /tmp/round.json
snapshot --last 2 --output /tmp/rounds.json
replay /tmp/round.json
replay /tmp/rounds.json
report --output /tmp/report.html
metrics
simulate {data}/scenarios/idle-wake.sim
set placement.min-gain
set placement.min-gain 7%
pause {guest}
resume {guest}
pause
resume
rebalance {guest} --dry-run
rebalance {guest} --wait
release {guest}
advise {guest}
enable {guest} --temporary
disable --remove {guest}
"""
# These are for QEMUs without libvirt (test_bare_qemu.py), for a terminal (below), and for who may read guests' memory.
ASKED_ELSEWHERE = {"attach", "detach", "top", "writes"}
COLUMNS = 80


def run_verbs(lab, guest):
    """All of VERBS; one that fails is named, and so is a verb of the command that is not among them."""
    data = lab.sh("ls -d /usr/share/homenode /usr/local/share/homenode 2>/dev/null | head -n 1").strip()
    lines = VERBS.format(guest=guest, data=data).strip().splitlines()
    said = lab.sh("exec 2>&1\n" + "".join(
        f"echo '== {line}'\nCOLUMNS={COLUMNS} homenode {line} || {{ echo \"status $?\"; exit 1; }}\n" for line in lines), 180)
    verbs = set(re.findall(r"(?m)^  ([a-z]+) +[A-Z]", lab.sh("homenode --help")))
    missing = verbs - {line.split()[0] for line in lines} - ASKED_ELSEWHERE
    assert len(verbs) > 20 and not missing, f"never asked of a daemon: {missing}"
    long = [line for line in said.splitlines() if len(line) > COLUMNS and not line.startswith(("homenode_", "# "))]
    assert not long, long


def look_at_top(lab, guest):
    """What `homenode top` draws in a terminal of 80 by 24, until q ends it."""
    # A key that comes before the program reads keys may be lost.
    top = lab.sh("(while sleep 1; do printf q; done) 2> /dev/null | TERM=xterm "
                 f"script -qec 'stty rows 24 cols {COLUMNS}; homenode top' /tmp/top > /dev/null; cat /tmp/top", 60)
    assert "node 1" in top and guest in top, top


def test_each_verb_against_a_running_daemon(lab):
    guest = test_loop.start(lab, "managed", "mode='auto'")
    before = test_loop.pins(lab, guest.name)
    with test_loop.agent(lab):
        lab.wait_until(lambda: "managed" in lab.run("homenode list --managed --names").out, 30, "the guest to be managed")
        run_verbs(lab, guest.name)
        look_at_top(lab, guest.name)
        assert test_loop.pins(lab, guest.name) == before, "the last verbs release it"
        # What tools read: every verb that has it gives JSON.
        for verb in ("list", "status", "host", "plan", "history", "doctor", f"explain {guest.name}"):
            lab.sh(f"homenode {verb} --json | grep -q '\"schema\"'")
