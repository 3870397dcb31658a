"""Figures of a benchmark, each beside what it should reach."""

import sys
from collections.abc import Mapping

Target = tuple[str, float]  # a sign, such as ">=", and a bound


def show(figures: dict[str, float], targets: Mapping[str, Target]) -> dict[str, float]:
    """Write the figures, a line each, and return them."""
    for name, value in figures.items():
        sign, bound = targets.get(name, ("", ""))
        sys.stdout.write(f"  {name:32}{value:12.4g}  {sign} {bound}\n")
    sys.stdout.flush()
    return figures
