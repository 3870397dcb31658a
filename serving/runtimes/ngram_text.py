"""How a stage of n-grams reads a text: tokens, pairs of neighbours, character n-grams. Knows no weights.

The fit counts these features and serving adds up their rows, so what they are stands here alone.
"""

import re
from collections.abc import Iterator, Sequence

find_tokens = re.compile(r"\w+|[^\w\s]").findall  # words and single signs, in the order of the text


def neighbours(tokens: Sequence[str]) -> Iterator[str]:
    """Return each token with the next, "a b", the first with "^" before it and the last with "$" after it."""
    return map(" ".join, zip(["^", *tokens], [*tokens, "$"], strict=True))


def character_grams(token: str, shortest: int, longest: int) -> Iterator[str]:
    """Yield the character n-grams of `<token>`, the shortest first, each as often as it occurs."""
    marked = f"<{token}>"
    for size in range(shortest, longest + 1):
        for start in range(len(marked) - size + 1):
            yield marked[start : start + size]
