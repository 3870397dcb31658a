"""Altered copies of training texts for a first stage to learn from: the origin answers them, so they need no label.

A linear stage sees in them which words the origin's answers hang on (as Ribeiro et al. 2016, LIME, ask about one text;
Tang et al. 2019, "Distilling task-specific knowledge from BERT", drop words so for a student). Answers nothing itself.
"""

import random
from collections.abc import Sequence

DROPPED = 0.25  # of the words of a text


def vary(texts: Sequence[str], count: int, seed: int, but: Sequence[str] = ()) -> list[str]:
    """Return at most `count` altered copies of each text, none of which is one of them or of `but`.

    By turns some words are dropped, or the text's beginning is followed by another's end. Where a text has no spaces
    its characters count as words.
    """
    rng, there = random.Random(seed), {*texts, *but}
    made = dict[str, None]()
    for number, text in enumerate(text for text in texts for _ in range(count)):
        made[_splice(text, rng.choice(texts), rng) if number % 2 else _drop(text, rng)] = None
    return [text for text in made if text not in there]


def _drop(text: str, rng: random.Random) -> str:
    words, between = _words(text)
    return between.join([word for word in words if rng.random() >= DROPPED] or words)


def _splice(text: str, other: str, rng: random.Random) -> str:
    (words, between), (further, _) = _words(text), _words(other)
    return between.join([*words[: rng.randint(1, max(len(words), 1))], *further[rng.randrange(max(len(further), 1)) :]])


def _words(text: str) -> tuple[list[str], str]:
    """Return a text's words, or the characters of a text without spaces, and what joins them."""
    words = text.split()
    return (words, " ") if len(words) > 1 else (list(text), "")
