"""The energy that a training used: read from the processors' counters where they can be read, else estimated and said
so.

meter = EnergyMeter()
meter.read()                                    now and then
meter.used(seconds=120.0, device="cpu")         # Energy(joules=5400.0, is_measured=True, source="...")
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tuning.training.power import RAPL, Draw, draw_of


@dataclass(frozen=True, slots=True)
class Energy:
    """`source` says where the number comes from, or why there is none."""

    joules: float | None
    is_measured: bool
    source: str


class EnergyMeter:
    """Adds up what the processors' packages use from when it is made (RAPL). Counters start again from 0 within the
    hour, so `read` has to be called more often than that.
    """

    def __init__(
        self, power_w: float | None = None, *, rapl: Path = RAPL, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`power_w` is what the machine is stated to draw while it trains."""
        self._power_w, self._rapl, self._clock = power_w, rapl, clock
        self._started, self._microjoules = clock(), 0
        self._last = self._counters()

    def read(self) -> None:
        """Take in what the counters have gone on by."""
        now = self._counters()
        if now is None or self._last is None or now.keys() != self._last.keys():
            self._last = None
            return
        for name, (count, most) in now.items():
            step = count - self._last[name][0]
            self._microjoules += step if step >= 0 else step + most
        self._last = now

    def used(self, seconds: float, device: str) -> Energy:
        """What a training of so many seconds used; one that was resumed was not watched from its beginning."""
        self.read()
        watched = self._clock() - self._started
        if device == "cpu" and self._last is not None and self._microjoules and watched > 0:
            share = "" if watched >= 0.95 * seconds else f" over {watched:.0f} of {seconds:.0f} s, the rest taken alike"
            joules = self._microjoules / 1e6 * max(seconds / watched, 1.0)
            return Energy(joules, True, f"measured by the processors (RAPL), other programs included{share}")
        draw = Draw(self._power_w, "energy.power_w") if self._power_w is not None else draw_of(device, rapl=self._rapl)
        if draw is None:
            return Energy(None, False, "unknown: the machine does not state its power; set energy.power_w")
        return Energy(draw.watts * seconds, False, f"estimated: {seconds:.0f} s at {draw.watts:g} W, {draw.source}")

    def _counters(self) -> dict[str, tuple[int, int]] | None:
        """Each package's counter and its end; None where one cannot be read."""
        found = {}
        for folder in sorted(self._rapl.glob("intel-rapl:[0-9]")):
            try:
                count, most = (
                    int((folder / name).read_text(encoding="ascii")) for name in ("energy_uj", "max_energy_range_uj")
                )
            except (OSError, ValueError):
                return None
            found[folder.name] = (count, most)
        return found or None
