"""`make bench-data`: the data room at scale on made-up rows, then on real text with planted dirt.

Prints what it measures as tables; the last line is one JSON object. No figure comes from anywhere but this run.
"""

import json
import sys

from tests.bench.figures import show
from tests.bench.labels import measure_real_text
from tests.bench.scale import measure_scale

TARGETS = {  # what each figure should reach, as the sign says
    "seconds_1m": ("<", 90),
    "peak_mb": ("<", 2000),
    "scaling_10x": ("<=", 12),
    "dedup_recall": (">=", 0.98),
    "dedup_precision": (">=", 0.98),
    "speedup_vs_datasketch": (">=", 5),
    "label_error_recall": (">=", 0.80),
    "label_error_precision": (">=", 0.70),
    "ap_ratio": (">=", 2),
    "pii_recall": (">=", 0.98),
    "cleaned_gain_low": (">", 0),
    "original_gap": ("<=", 1),
}


def main() -> None:
    """Run the benchmark."""
    figures: dict[str, float] = {}
    for title, measure in (("made-up rows", measure_scale), ("real text", measure_real_text)):
        sys.stdout.write(f"{title}\n")
        found = measure()
        figures |= show(found, TARGETS)
    sys.stdout.write(json.dumps({name: round(value, 4) for name, value in figures.items()}) + "\n")


if __name__ == "__main__":
    main()
