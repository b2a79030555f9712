# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of the built homenoded begin with. The programs and the source tree are the first arguments of each:
HOMENODED HOMENODED_FAKE SOURCE_ROOT [unittest arguments]"""

import os
import subprocess
import sys
import unittest

from control_client import CommandError, Daemon

HOMENODED, FAKE, SOURCE = (os.path.abspath(path) for path in sys.argv[1:4])
AUTO = "<placement mode='auto'/>"
UUID = "6c0f3a1e-0000-4000-8000-00000000000%d"


def run(*arguments, timeout_s=40):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=timeout_s, check=False)


class DaemonTest(unittest.TestCase):
    """Cleans up after itself and checks that no daemon under test ever dies by a signal of its own."""

    def daemon(self, program, *arguments, **more):
        daemon = Daemon(program, *arguments, **more)
        self.addCleanup(daemon.close)
        return daemon

    def assert_fails(self, pattern, function, *arguments, **more):
        with self.assertRaises(CommandError) as caught:
            function(*arguments, **more)
        self.assertRegex(str(caught.exception), pattern)
        return caught.exception


def main():
    """Runs the tests of the file that was started."""
    unittest.main(module="__main__", argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
