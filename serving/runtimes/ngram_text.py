"""How a cascade's n-gram stage reads a text: tokens, pairs of neighbours, character n-grams. Knows no weights.

The fit counts these features and serving adds up their weights, so what they are stands here alone.
"""

import re
from collections.abc import Sequence

FIRST, LAST = "^", "$"  # what stands beside a text's first and last token
_TOKEN = re.compile(r"\w+|[^\w\s]")


def tokens(text: str, lower: bool = True) -> list[str]:
    """Return the words and the single signs of a text, in its order."""
    return _TOKEN.findall(text.lower() if lower else text)


def pairs(tokens: Sequence[str]) -> list[str]:
    """Return each token with the one after it, "a b", the ends of the text included; none where there is no token."""
    if not tokens:
        return []
    padded = [FIRST, *tokens, LAST]
    return [f"{one} {next_one}" for one, next_one in zip(padded, padded[1:], strict=False)]


def grams(token: str, min_n: int, max_n: int) -> list[str]:
    """Return the character n-grams of "<token>", `min_n` to `max_n` long, each as often as it occurs."""
    marked = f"<{token}>"
    return [marked[at : at + n] for n in range(min_n, max_n + 1) for at in range(len(marked) - n + 1)]
