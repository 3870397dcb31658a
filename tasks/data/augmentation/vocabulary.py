"""Which words of a text, and of a model's vocabulary, may stand for one another. Loads no model, knows no meaning."""

import re
from collections.abc import Collection, Mapping
from functools import cache

MIN_LETTERS = 3

# Placeholders such as <EMAIL> and [MASK] are matched to be passed over. Parts of addresses, of contractions and of
# words with digits are no words.
_WORD = re.compile(r"<[^<>\s]*>|\[[^\[\]\s]*\]|(?<![\w'\u2019@./-])[^\W\d_]+(?![\w'\u2019@/-]|\.\w)")
_ENDINGS = ("s", "ed", "ing", "ly")
_WORD_STARTS = ("Ġ", "▁")  # how byte-level and SentencePiece vocabularies mark a token that begins a word


def find_words(text: str) -> list[tuple[int, int]]:
    """Return where the words are that may be exchanged, as (start, end): letters only, no placeholder, no stop-word."""
    found = [match.span() for match in _WORD.finditer(text) if match[0][0] not in "<["]
    return [(start, end) for start, end in found if is_content_word(text[start:end])]


def is_content_word(word: str) -> bool:
    """Return whether a word carries meaning of its own: three letters at least, and no stop-word of English."""
    return len(word) >= MIN_LETTERS and word.isalpha() and word.casefold() not in _stop_words()


@cache
def _stop_words() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS  # the negations are among them

    return frozenset(ENGLISH_STOP_WORDS)


def whole_words(vocabulary: Mapping[str, int], special: Collection[str]) -> dict[str, int]:
    """Return the content words that are one token each, with its index; pieces of words are left out.

    Of several tokens of one word, the one with the lowest index. Byte-level vocabularies spell other letters than
    those of ASCII in bytes; such words are left out.
    """
    mark = next((mark for mark in _WORD_STARTS if any(token.startswith(mark) for token in vocabulary)), "")
    found: dict[str, int] = {}
    for token, index in sorted(vocabulary.items(), key=lambda item: item[1]):
        if token in special or token.startswith("##") or not token.startswith(mark):
            continue
        word = token[len(mark) :]
        if is_content_word(word) and (mark != "Ġ" or word.isascii()):
            found.setdefault(word, index)
    return found


def same_lemma(left: str, right: str) -> bool:
    """Return whether two words look like forms of one: one holds the other at an end, or they begin alike.

    It errs towards forms: "contact" and "content" count as one, and so do "usual" and "unusual".
    """
    short, long = sorted((left.casefold(), right.casefold()), key=len)
    shared = next((at for at, letter in enumerate(short) if letter != long[at]), len(short))
    return long.startswith(short) or long.endswith(short) or shared >= min(4, len(short) // 2 + 1)


def may_replace(word: str, other: str) -> bool:
    """Return whether `other` could stand in the place of `word` by its form alone; what it means is not asked.

    Both begin in the same case, and both or neither end as plurals, participles and adverbs of English do.
    """
    alike = all(word.casefold().endswith(end) == other.casefold().endswith(end) for end in _ENDINGS)
    return alike and word[0].isupper() == other[0].isupper() and not same_lemma(word, other)


def with_case_of(word: str, other: str) -> str:
    """Return `other`, which is in lower case, in the case of `word`: upper, capitalised or as it is."""
    if len(word) > 1 and word.isupper():
        return other.upper()
    return other.capitalize() if word[0].isupper() else other
