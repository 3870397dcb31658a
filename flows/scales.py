"""From values to places in a figure: linear and logarithmic scales with round ticks. Draws nothing."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

STEPS = (1.0, 2.0, 5.0, 10.0)
TICKS = 5  # about as many as a phone has room for side by side


@dataclass(frozen=True)
class Scale:
    """A map from [low, high] to [start, end]; logarithmic where `log`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        """Return where a value is drawn, held inside the frame."""
        low, high, at = (_log(each) if self.log else each for each in (self.low, self.high, value))
        share = (at - low) / (high - low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self, about: int = TICKS) -> list[float]:
        """Return round values inside the scale, ascending: at least two, and about as many as asked for."""
        ticks = _log_ticks(self.low, self.high) if self.log else []
        return ticks if len(ticks) >= 3 else _linear_ticks(self.low, self.high, about)


def scale_of(values: Iterable[float], start: float, end: float, log: bool = False) -> Scale:
    """Return the scale that shows all these finite values with a margin around them.

    Raises:
        ValueError: no value, or one that is not finite, or not positive on a logarithmic scale.
    """
    known = list(values)
    if not known or not all(math.isfinite(value) and (value > 0 or not log) for value in known):
        raise ValueError(f"a {'logarithmic ' if log else ''}scale needs finite{' positive' if log else ''} values, "
                         f"not {known}")  # fmt: skip
    low, high = min(known), max(known)
    if log:
        margin = max(1.1, (high / low) ** 0.08)
        return Scale(low / margin, high * margin, start, end, True)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return Scale(low - margin, high + margin, start, end)


def whole_ticks(low: int, high: int) -> list[int]:
    """Return whole numbers from low to high, both among them, few enough to stand side by side."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 10**9) if (high - low) / step <= 10)
    return sorted({low, high, *(tick for tick in range(low, high) if tick % step == 0 and high - tick >= step)})


def _log(value: float) -> float:
    return math.log(max(value, 1e-12))


def _linear_ticks(low: float, high: float, about: float) -> list[float]:
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((step * power for step in STEPS), key=lambda step: abs(math.log(step / rough)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = [float(f"{number * step:.10g}") + 0.0 for number in range(first, last + 1)]
    return ticks if len(ticks) >= 2 else _linear_ticks(low, high, 2 * about)


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**power for power in powers for step in STEPS[:3]]
    inside = [float(f"{tick:.3g}") for tick in ticks if low <= tick <= high]
    return inside if len(inside) <= 7 else [tick for tick in inside if f"{tick:e}"[0] == "1"]
