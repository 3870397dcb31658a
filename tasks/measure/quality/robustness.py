"""Golden texts as careless or other users would have written them: with typos, in other casing, in other words.

What a text becomes follows from the text, the kind and the seed alone, so every model is asked the same. Digits, e-mail
addresses, URLs and placeholders stay as they are. It scores nothing, and shares no code with the typos that training
may learn (`augmentation`): a model that has learned a generator's habits would pass that generator's own test.
"""

import hashlib
import random
import re
from collections.abc import Callable, Sequence

KINDS = ("typos", "casing", "paraphrase")

_WORDS_PER_TYPO = 6
_MIN_TYPO_LETTERS = 4
_CHUNK = re.compile(r"<[^<>]{1,40}>|\s+|\S+")
_FIXED = re.compile(r"[\d@<>{}\[\]_/\\]|\w\.\w")  # in a chunk: a number, address, URL or placeholder
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_TYPO_WORD = re.compile(rf"[^\W\d_]{{{_MIN_TYPO_LETTERS},}}")

_ROWS = (("qwertyuiop", 0.0), ("asdfghjkl", 0.25), ("zxcvbnm", 0.75))  # keys and how far each row is set in
_PLACES = {key: (x + inset, y) for y, (keys, inset) in enumerate(_ROWS) for x, key in enumerate(keys)}
_REACH = 1.7  # squared, in widths of a key: the six keys around one
_NEARBY = {
    key: "".join(other for other, (u, v) in _PLACES.items() if 0 < (x - u) ** 2 + (y - v) ** 2 < _REACH)
    for key, (x, y) in _PLACES.items()
}

# Function words that few other languages write: a text with too few of them is not taken for English.
_ENGLISH_WORDS = """
    and are been can cannot can't could did didn't do does doesn't don't get has have how i i'm i've isn't it it's my
    need not on please should that the there this to what what's when where which who why with would you your
"""
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_ENGLISH_SHARE = 0.2
_GREETING = re.compile(r"^\W*(hi|hello|hey|hiya|dear|good (morning|afternoon|evening|day)|quick question)\b", re.I)
_THANKS = re.compile(r"\b(thanks|thank you|thx|cheers|regards|appreciated)\W*$", re.I)
_ASKING = re.compile(
    r"^\W*(how|what|when|where|why|which|who|can|could|would|will|should|is|are|am|do|does|did|has|have)\b",
    re.I,
)
_LEAD_INS = ("Hi, ", "Hello, ", "Hey there, ", "Good day, ", "Quick question: ")
_CLOSINGS = ("thanks", "thank you", "thanks in advance", "many thanks", "any help is appreciated")

# Each list says one thing in several ways; any of them may stand for any other.
_SAME: tuple[tuple[str, ...], ...] = (
    ("how do i", "how can i", "what is the way to", "what is the best way to", "what do i have to do to"),
    ("can i", "am i able to"),
    ("can you", "could you", "would you be able to"),
    ("i want to", "i would like to", "i'd like to", "i wish to"),
    ("i need to", "i have to"),
    ("right now", "at the moment", "at present"),
    ("right away", "immediately"),
    ("maybe", "perhaps"),
    ("in order to", "so as to"),
    ("twice", "two times"),
    *((f"tell me {word}", f"let me know {word}") for word in ("how", "what", "when", "where", "why", "if", "which")),
)
_ONE_WAY = {
    "is it possible for me to": "can i",
    "a couple of": "two",
    "half an hour": "thirty minutes",
    "a fortnight": "two weeks",
    "a dozen": "twelve",
}
_VERBS = ("do", "does", "did", "is", "are", "was", "were", "has", "have", "had", "could", "would", "should", "must")
_NEGATIONS = (("can't", "cannot"), ("won't", "will not"), *((f"{verb}n't", f"{verb} not") for verb in _VERBS))
_CONTRACTIONS = (
    *((f"{who}'re", f"{who} are") for who in ("you", "we", "they")),
    *((f"{what}'s", f"{what} is") for what in ("what", "where", "that", "there")),
    *((f"{who}'ll", f"{who} will") for who in ("i", "you", "we")),
    ("i'm", "i am"),
)
_INSTEAD: dict[str, tuple[str, ...]] = {phrase: (other,) for phrase, other in _ONE_WAY.items()} | {
    phrase: tuple(other for other in same if other != phrase)
    for same in (*_SAME, *_NEGATIONS, *_CONTRACTIONS)
    for phrase in same
}
# Where a phrase means something else, or the other would be wrong: "why isn't my", "what's happened", "where I am."
_UNLESS = {
    **dict.fromkeys((short for short, _ in _NEGATIONS), r"(?!\s+(?:i|you|we|they|he|she|it|my|your|the|this|that)\b)"),
    **dict.fromkeys((short for short, _ in _CONTRACTIONS if short.endswith("'s")),
                    r"(?!\s+(?:been|got|gone|had|happened|become|come|changed)\b)"),
    **dict.fromkeys((long for _, long in _CONTRACTIONS), r"(?=\s+\w)"),
}  # fmt: skip
_PHRASE = re.compile(
    r"(?<!\bdo )(?<!\bdid )(?<!['\u2019])\b(?:"
    + "|".join(
        phrase.replace(" ", r"\s+").replace("'", "['\u2019]") + r"\b" + _UNLESS.get(phrase, "")
        for phrase in sorted(_INSTEAD, key=len, reverse=True)
    )
    + ")",
    re.I,
)


def perturb(texts: Sequence[str], kind: str, seed: int = 7) -> list[str | None]:
    """Return each text perturbed, `[texts]`; None where nothing of it can be changed without changing what it says.

    `typos`: about one slip in six words, at least one, each in a word of four letters or more. `casing`: upper, lower,
    title or mixed case. `paraphrase`: contractions, openings, number words, politeness and the final mark exchanged for
    others that say the same, in English; None for texts in which no English word is seen.

    Raises:
        ValueError: the kind is not one of `KINDS`.
    """
    change: Callable[[str, random.Random], str] | None
    change = {"typos": _mistype, "casing": _recase, "paraphrase": _reword}.get(kind)
    if change is None:
        raise ValueError(f"a perturbation is one of {', '.join(KINDS)}, not {kind!r}")
    made = [change(text, random.Random(_digest(f"{seed}:{kind}:{text}"))) for text in texts]
    return [new if new != text else None for new, text in zip(made, texts, strict=True)]


def robust_rows(texts: Sequence[str], limit: int = 500, seed: int = 7) -> list[int]:
    """Return the ascending indices of at most `limit` texts, drawn by the texts' digests: the same for every model.

    A larger limit adds rows and takes none away.

    Raises:
        ValueError: `limit` is below 1.
    """
    if limit < 1:
        raise ValueError(f"the number of rows to perturb must be 1 or more, not {limit}")
    drawn = sorted(range(len(texts)), key=lambda row: (_digest(f"{seed}:rows:{texts[row]}"), row))
    return sorted(drawn[:limit])


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _pieces(text: str) -> list[tuple[str, bool]]:
    """Return the text in pieces, in their order, with whether each may be changed."""
    pieces: list[tuple[str, bool]] = []
    for chunk in _CHUNK.findall(text):
        free = not _FIXED.search(chunk)
        if pieces and pieces[-1][1] == free:
            chunk = pieces.pop()[0] + chunk
        pieces.append((chunk, free))
    return pieces


def _mistype(text: str, rng: random.Random) -> str:
    """Return the text with a slip in some of its longer words, each in another one."""
    start, places = 0, []
    for piece, free in _pieces(text):
        places += [(start + word.start(), start + word.end()) for word in _TYPO_WORD.finditer(piece) if free]
        start += len(piece)
    wanted = max(1, round(len(text.split()) / _WORDS_PER_TYPO))
    made, done = [], 0
    for first, end in sorted(rng.sample(places, min(wanted, len(places)))):
        made += [text[done:first], _slip(text[first:end], rng)]
        done = end
    return "".join([*made, text[done:]])


def _slip(word: str, rng: random.Random) -> str:
    """Return the word with a key beside the right one, two letters swapped, one dropped, or one doubled."""
    at = rng.randrange(len(word))
    before, letter, after = word[:at], word[at], word[at + 1 :]
    near = _NEARBY.get(letter.lower(), "")
    made = [before + after, before + letter + letter + after]
    if near:
        other = rng.choice(near)
        made.append(before + (other.upper() if letter.isupper() else other) + after)
    if after and after[0] != letter:
        made.append(before + after[0] + letter + after[1:])
    return rng.choice(made)


def _recase(text: str, rng: random.Random) -> str:
    """Return the text in the first of four casings, in an order drawn for it, that changes it."""
    styles: list[Callable[[str], str]] = [
        str.upper,
        str.lower,
        lambda piece: _WORD.sub(lambda word: word.group().capitalize(), piece),
        lambda piece: "".join(rng.choice((letter.lower(), letter.upper())) for letter in piece),
    ]
    rng.shuffle(styles)
    pieces = _pieces(text)
    made = ("".join(style(piece) if free else piece for piece, free in pieces) for style in styles)
    return next((new for new in made if new != text), text)


def _reword(text: str, rng: random.Random) -> str:
    """Return an English text in other words; with a greeting or thanks in half of all, and where no word changed."""
    pieces = _pieces(text)
    if not _is_english([piece for piece, free in pieces if free]):
        return text
    made = "".join(_PHRASE.sub(lambda found: _instead(found.group(), rng), piece) if free else piece
                   for piece, free in pieces)  # fmt: skip
    reworded = made != text
    if pieces[-1][1] and rng.random() < 0.5:
        made = _repunctuate(made)
    if not reworded or rng.random() < 0.5:
        made = _embellish(made, rng)
    return made


def _is_english(pieces: Sequence[str]) -> bool:
    words = [word.lower().replace("\u2019", "'") for piece in pieces for word in _WORD.findall(piece)]
    known = sum(word in _ENGLISH for word in words)
    return known > 0 and known >= _ENGLISH_SHARE * len(words)


def _instead(phrase: str, rng: random.Random) -> str:
    """Return what may stand for the phrase, in its casing."""
    new = rng.choice(_INSTEAD[" ".join(phrase.lower().replace("\u2019", "'").split())])
    if phrase.isupper():
        return new.upper()
    if re.search(r"\bI\b", phrase) or phrase[0].isupper():
        new = re.sub(r"\bi\b", "I", new)
    return new[0].upper() + new[1:] if phrase[0].isupper() and not phrase.startswith("I ") else new


def _repunctuate(text: str) -> str:
    """Return the text without its final mark, or with one where it has none."""
    body = text.rstrip()
    if body[-1:] in (".", "?", "!"):
        return body.rstrip(".?!")
    return body + ("?" if _ASKING.search(body) else ".") if body[-1:].isalpha() else text


def _embellish(text: str, rng: random.Random) -> str:
    """Return the text with a greeting before or thanks behind, where it has none yet."""
    made = [] if _GREETING.search(text) else [rng.choice(_LEAD_INS) + text]
    if not _THANKS.search(text):
        closing, body = rng.choice(_CLOSINGS), text.rstrip()
        made.append(f"{body} {closing.capitalize()}." if body.endswith((".", "?", "!")) else f"{body} - {closing}")
    return rng.choice(made) if made else text
