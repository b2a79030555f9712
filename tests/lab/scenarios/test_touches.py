# SPDX-License-Identifier: GPL-2.0-or-later
"""The touch matrix where there is no KVM.

Theory of operation as in test_evidence.py: the guest says who touches what, and everything is waited for by its evidence.
"""

import test_evidence
import test_loop

TOPOLOGY = "n2c4"
NEEDS_BUILD = True
TIMEOUT_S = 300


def show(text):
    """A figure for the log of the run."""
    print(f"# touches: {text}", flush=True)


def define(lab, name, *words, **settings):
    """A demo guest, not started."""
    elf = lab.sh(f"ls {test_loop.ELF} 2>/dev/null || true").split()[0]
    return lab.define(test_loop.guests.guest_xml(test_loop.guests.Guest(
        name=name, kernel=elf, serial=f"/var/log/{name}.serial", words=words, **settings)))


def wait_for_work(lab, guest):
    """Returns when it has touched its RAM and begun its pattern."""
    lab.wait_until(lambda: "event=start" in guest.serial(), 90, f"{guest.name} to have touched its RAM")
    guest.truth = test_evidence.slices(guest)


def protect_writes(lab, guest):
    """Write-protects all of its process's pages by clearing their soft-dirty bits: each page's next write faults.

    What a window of dirty logging does for a guest with KVM, whoever maps the page; without KVM logging can end QEMU."""
    lab.sh(f"echo 4 > /proc/{guest.pid()}/clear_refs", timeout_s=60)


def test_a_guest_without_kvm_is_known_too(lab):
    """Its faults are QEMU's own: the threads of its vCPUs fault at addresses of QEMU's."""
    guest = define(lab, "soft", "pattern=private", "ws=16", "stride=page", "duty=50", accel="tcg", vcpus=2, mem_mib=48,
                   placement="mode='advise'").start()
    wait_for_work(lab, guest)
    with test_evidence.sampling(lab, "all"):
        def known():
            protect_writes(lab, guest)
            found = test_evidence.domains(lab)[guest.name]
            part, right = test_evidence.judge(found, guest.truth)
            show(f"soft: known {part:.2f} right {right:.2f} {found['touches']}")
            return (right, found) if part >= test_evidence.COVERED else None

        right, found = lab.wait_until(known, 120, "the guest's chunks to be known", interval_s=1)
    assert found["is-kvm"] is False, found["is-kvm"]
    assert found["touches"]["n-touches"] > 0, found["touches"]
    assert right >= test_evidence.RIGHT, right
