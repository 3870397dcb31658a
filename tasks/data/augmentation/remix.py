"""Texts without labels, made from training texts for a model to answer. Labels none, and adds no training rows.

A text need not have its parent's label, for whoever asks for it is told by a teacher what it is: so it may lie between
two classes, where the training texts say least (Turc et al. 2019 and Jiao et al. 2020, "TinyBERT", distil on such).
"""

import random
from collections.abc import Sequence

from tasks.data.augmentation.augment import Swap, Typos, rewrite

LONGEST = 60  # words of a mixed text
THINNED = Swap(share=1.0, swaps=1, dropout=0.2)
MOST_SLIPS = 3


def remix(texts: Sequence[str], copies: int, seed: int) -> list[str]:
    """Return new texts, each once and none that is there already: `copies` attempts for each text.

    One is the text with slips of the keyboard, which a student of clean texts alone would not learn to bear, or with
    words left out and two exchanged, or a part of it with a part of another text before or after it. Which, follows
    from the seed and the text alone, and from the texts that there are to mix.
    """
    known = set(texts)
    made = dict.fromkeys(
        _remixed(text, texts, random.Random(f"{seed}:{number}:{text!r}")) for number in range(copies) for text in texts
    )
    return [text for text in made if text and text not in known]


def _remixed(text: str, texts: Sequence[str], rng: random.Random) -> str:
    kind = rng.choice(("mistyped", "thinned", "mixed"))
    if kind == "mistyped":
        return rewrite(Typos(share=1.0, per_text=rng.randint(1, MOST_SLIPS)), text, rng)
    if kind == "thinned":
        return rewrite(THINNED, text, rng)
    words, others = text.split(), rng.choice(texts).split()
    head = words[: rng.randint(1, max(1, len(words)))]
    tail = others[rng.randrange(max(1, len(others))) :]
    parts = (head, tail) if rng.random() < 0.5 else (tail, head)
    return " ".join([*parts[0], *parts[1]][:LONGEST])
