"""Slot swap: a word of one text replaced by what another text of the same class has in its place.

"my card in Paris" and "my phone in Rome" give "my phone in Paris". Texts are of one template when they have as many
words and most of them agree. It knows neither grammar nor entities; words that are inserted or moved are not aligned.
"""

from collections import defaultdict
from typing import Literal

from pydantic.dataclasses import dataclass

from tasks.data.augmentation.augment import Given, Made, MaxRows, Share, chance, choose, propose

Words = list[str]

_PARTNERS = 50  # texts of the same class and length that are looked at for one row
NO_TEMPLATE = "no text of its class has the same template"


@dataclass(frozen=True, config={"extra": "forbid"})
class SwapSlots:
    """A copy of a `share` (0 to 1) of the training rows with a word from another text of the same class and template.

    Such texts have as many words and differ in two of them at least, and in at most a third.
    """

    kind: Literal["swap_slots"] = "swap_slots"
    share: Share = 0.3
    max_rows: MaxRows = None


@propose.register(SwapSlots)
def _swap_slots(method: SwapSlots, given: Given) -> Made:
    groups: dict[tuple[str, int], list[tuple[Words, Words]]] = defaultdict(list)
    for row in sorted(given.parents, key=lambda row: row["id"]):
        own, folded = _words(row["text"])
        groups[row["target"], len(own)].append((own, folded))
    pairs, lonely = [], 0
    for row in choose(method, given):
        rng, (own, folded) = chance(given, row), _words(row["text"])
        group = groups[row["target"], len(own)]
        for partner, other in rng.sample(group, min(_PARTNERS, len(group))):
            slots = _find_slots(folded, other)
            if slots:
                at = rng.choice(slots)
                pairs.append((row, " ".join([*own[:at], partner[at], *own[at + 1 :]])))
                break
        else:
            lonely += 1
    return Made(pairs, {NO_TEMPLATE: lonely} if lonely else {})


def _words(text: str) -> tuple[Words, Words]:
    """Return the words as they stand and as they are compared."""
    words = text.split()
    return words, [word.casefold() for word in words]


def _find_slots(left: Words, right: Words) -> list[int]:
    """Return where two texts of one template differ, [] where they are not of one or an exchange makes nothing new.

    Words are casefolded: those that differ in case only count as equal, as they do between duplicates.
    """
    places = [at for at, (here, there) in enumerate(zip(left, right, strict=True)) if here != there]
    return places if 2 <= len(places) <= len(left) / 3 else []
