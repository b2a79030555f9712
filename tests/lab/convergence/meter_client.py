# SPDX-License-Identifier: GPL-2.0-or-later
"""The locality meter in the background of a race: one sample a second, kept as a series."""

import threading
import time

import emulator as emulators
import meter as meters

INTERVAL_S = 1.0


class LabMeter:
    """@host: host.Host, not up yet; @build: meson build directory with the plugin."""

    def __init__(self, host, build, suite):
        self.host = host
        self.argument = meters.plugin_argument(host, emulators.find(emulators.image_dir(suite)), build)
        self._names = frozenset()
        self._samples = []  # (monotonic s, meter.Sample)
        self._lock = threading.Lock()
        self._meter = None
        self._stop = threading.Event()
        self._thread = None
        self.error = None

    def connect(self):
        """Call it once the lab is up."""
        self._meter = meters.for_host(self.host)

    def follow(self, names):
        """Starts counting the accesses of these guests, which run already."""
        self.rest()
        self._names = frozenset(names)
        self._meter.arm()
        self._meter.announce()
        self._samples = []
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def rest(self):
        """Stops counting; the emulated host is back at full speed."""
        if self._thread:
            self._stop.set()
            self._thread.join()
            self._thread = None
            self._meter.disarm()

    def _run(self):
        try:
            while not self._stop.wait(INTERVAL_S):
                sample = self._meter.sample()
                with self._lock:
                    self._samples.append((time.monotonic(), sample))
        except meters.MeterError as error:
            self.error = error

    def series(self):
        """[(monotonic s, share of local accesses of all followed guests)]."""
        if self.error:
            raise meters.MeterError(f"the meter stopped: {self.error}")
        with self._lock:
            samples = list(self._samples)
        shares = [(at_s, sample.share(self._names)) for at_s, sample in samples]
        return [(at_s, share) for at_s, share in shares if share is not None]

    def share_over(self, seconds):
        """The share of local accesses over the next so many seconds."""
        begin_s = time.monotonic()
        time.sleep(seconds)
        self.series()
        with self._lock:
            samples = [sample for at_s, sample in self._samples if at_s > begin_s + INTERVAL_S]
        local = sum(guest.local for sample in samples for name, guest in sample.guests.items() if name in self._names)
        total = sum(guest.total for sample in samples for name, guest in sample.guests.items() if name in self._names)
        if not total:
            raise meters.MeterError(f"no access of {', '.join(sorted(self._names))} was counted in {seconds:g} s")
        return local / total
