# SPDX-License-Identifier: GPL-2.0-or-later
"""Purpose: the meter for programs that want one number over time: the share of local accesses of guests.

Theory of operation. LabMeter knows a lab before it is up (for the plugin's argument), connects when it is,
and from follow() on samples once a second in a thread. Shares over a time are formed from sums of
accesses, not from averages of shares, so that a guest that accesses more counts more.

It must not stop the lab; an emulator that goes away ends the series and is left to the lab to report.
"""
import threading
import time

import emulator as emulators
import meter

INTERVAL_S = 1.0


class LabMeter:
    """The meter of one lab. Not for use by several threads at once."""

    def __init__(self, host, build_dir, suite=emulators.DEFAULT_SUITE):
        self.host, self.build_dir, self.suite = host, build_dir, suite
        self._reader = None
        self._thread = None
        self._is_ending = threading.Event()
        self._points = []  # (monotonic s at the end, local, total), appended by the thread
        self._error = None

    def plugin_argument(self):
        """For `BootOptions.plugins` or `lab up --plugin`."""
        return meter.plugin_argument(self.host, emulators.find(emulators.image_dir(self.suite)),
                                     self.build_dir)

    def connect(self, _topology=None):
        """Connects to the lab, which is up by now."""
        self._reader = meter.for_host(self.host)

    def follow(self, names):
        """Starts (again) to sample these guests, which run by now; forgets the points so far."""
        self.stop()
        missing = sorted(set(names) - set(self._reader.announce()))
        if missing:
            raise meter.MeterError(f'follow: no such guests in the lab: {", ".join(missing)}')
        self._reader.arm()
        self._points, self._error = [], None
        self._is_ending.clear()
        self._thread = threading.Thread(target=self._sample_on, args=(list(names),), daemon=True)
        self._thread.start()

    def stop(self):
        """Ends sampling and disarms; the points stay."""
        if self._thread is not None:
            self._is_ending.set()
            self._thread.join()
            self._thread = None
            if self._error is None:
                self._reader.disarm()

    def _sample_on(self, names):
        while not self._is_ending.wait(INTERVAL_S):
            try:
                sample = self._reader.sample()
            except Exception as error:  # pylint: disable=broad-except
                self._error = error  # told by the next question
                return
            guests = [guest for name, guest in sample.guests.items() if name in names]
            self._points.append((time.monotonic(), sum(guest.local for guest in guests),
                                 sum(guest.total for guest in guests)))

    def series(self):
        """[(monotonic s, share of local accesses 0..1)] since follow(); seconds without any access are
        left out."""
        return [(at_s, local / total) for at_s, local, total in list(self._points) if total]

    def share_over(self, seconds):
        """Waits so long and returns the share of local accesses meanwhile, or None without any."""
        begin_s = time.monotonic()
        time.sleep(seconds)
        if self._error is not None:
            raise meter.MeterError(f'the meter ended: {self._error}') from self._error
        points = [point for point in list(self._points) if point[0] - INTERVAL_S >= begin_s - 0.5]
        total = sum(point[2] for point in points)
        return sum(point[1] for point in points) / total if total else None
