"""Made-up rows in any number, with planted dirt and the truth about it: for the scale half of the data benchmark.

Texts are random words of a made-up vocabulary with the frequencies of natural language (Zipf), so that no two are near
duplicates by chance. Everything follows from the seed.
"""

import random
import string
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa

from tasks.data.rows import make_rows

LABELS = 50
NEAR, EXACT, CONFLICT, PII, MARKUP, SHORT = 0.08, 0.02, 0.01, 0.05, 0.03, 0.01  # shares of all rows


@dataclass(frozen=True)
class Planted:
    """Rows, and which of them were made from which others."""

    rows: pa.Table
    near: dict[str, str]  # id of a near duplicate: id of the row it was made from
    family: dict[str, str]  # id of any row: id of the original it was made from, its own where it is one


def make_million(count: int, seed: int = 7) -> Planted:
    """Return so many rows: originals first, then their copies, shuffled."""
    rng = random.Random(seed)
    texts = _originals(rng, int(count * (1 - NEAR - EXACT - CONFLICT - SHORT)))
    labels = [f"label-{rng.randrange(LABELS)}" for _ in texts]
    rows = [(f"r{number}", text, label) for number, (text, label) in enumerate(zip(texts, labels, strict=True))]
    originals, near = list(rows), {}
    family = {name: name for name, _, _ in rows}
    for _ in range(int(count * NEAR)):
        name, text, label = rng.choice(originals)
        near[f"r{len(rows)}"] = family[f"r{len(rows)}"] = name
        rows.append((f"r{len(rows)}", _edit(rng, text), label))
    for _ in range(int(count * EXACT)):
        name, text, label = rng.choice(originals)
        family[f"r{len(rows)}"] = name
        rows.append((f"r{len(rows)}", rng.choice([text.upper(), f" {text}", text.replace(" ", "  ", 1)]), label))
    for _ in range(int(count * CONFLICT)):
        name, text, label = rng.choice(originals)
        family[f"r{len(rows)}"] = name
        rows.append((f"r{len(rows)}", text, f"{label}-not"))
    while len(rows) < count:
        rows.append((f"r{len(rows)}", "".join(rng.choices(string.ascii_lowercase, k=3)), labels[0]))
    rng.shuffle(rows)
    ids, shown, targets = zip(*rows, strict=True)
    return Planted(
        make_rows(
            {
                "id": ids,
                "text": shown,
                "target": targets,
                "split": [""] * count,
                "source": ["file:million.csv"] * count,
                "line": [str(number) for number in range(2, count + 2)],
            }
        ),
        near,
        family,
    )


def _originals(rng: random.Random, count: int) -> list[str]:
    """Return texts of 6 to 18 words, some with personal data or markup."""
    vocabulary = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 9))) for _ in range(20_000)]
    weights = 1 / (np.arange(len(vocabulary)) + 5)
    numbers = np.random.default_rng(rng.randrange(2**32))
    lengths = numbers.integers(6, 19, count)
    drawn = iter(numbers.choice(len(vocabulary), lengths.sum(), p=weights / weights.sum()))
    texts = []
    for number, length in enumerate(lengths):
        text = " ".join(vocabulary[word] for word in islice(drawn, length))
        draw = rng.random()
        if draw < PII:
            text = f"{text} {rng.choice([f'mail me{number}@example.com', f'call +44 20 7946 {number % 10_000:04d}'])}"
        elif draw < PII + MARKUP:
            text = rng.choice([f"<p>{text}</p>", f"{text} &amp; caf\u00c3\u00a9", f"{text}\u200b  \x07"])
        texts.append(text)
    return texts


def _edit(rng: random.Random, text: str) -> str:
    """Return the text with one letter left out, doubled or replaced, at least eight of ten shingles kept."""
    at = rng.randrange(len(text))
    return text[:at] + rng.choice(["", text[at] * 2, rng.choice(string.ascii_lowercase)]) + text[at + 1 :]
