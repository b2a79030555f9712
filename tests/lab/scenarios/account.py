# SPDX-License-Identifier: GPL-2.0-or-later
"""What homenode itself says when a test fails while it runs: not judged, only printed beside the failure."""

import contextlib

from homelab import LabTimeout

SCRIPT = ("homenode host; homenode list; for g in $(homenode list --names); do homenode explain $g; done; "
          "homenode history | tail -n 12; sysctl kernel.numa_balancing")


@contextlib.contextmanager
def given_on_failure(lab):
    """Adds homenode's account to an AssertionError that passes through; the daemon still runs then."""
    try:
        yield
    except AssertionError as error:
        try:
            said = lab.run(SCRIPT, timeout_s=60)
            told = said.out + said.err
        except LabTimeout as timeout:
            told = str(timeout)
        raise AssertionError(f"{error}\n{told}") from error
