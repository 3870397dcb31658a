"""The embedded example: made-up messages to a shop's customer support, their intents, and a later production stream.

Everything follows from a seed: the same seed gives the same rows on every machine. The training pool is what a real
one is like: long tails, typos, duplicates, personal data, about 8 % wrong labels, a few empty rows. The golden rows are
the same kind of messages with right labels. The later stream differs in products, phrasings and the mix of intents.
Nothing here cleans, splits or judges; the words are in `tasks.data.example_text` and `tasks.data.example_later`.
"""

import csv
import random
import re
from pathlib import Path

from tasks.data import example_later, example_text

INTENTS = tuple(sorted(example_text.ASKS))
CHANNELS = ("chat", "email")
POOL_ROWS, GOLDEN_ROWS, PRODUCTION_ROWS = 720, 800, 900

WRONG_SHARE = 0.08  # of the pool's labels
CONFUSED_SHARE = 0.65  # of the wrong labels go to a neighbouring intent, the rest anywhere
GARBAGE_SHARE, EXACT_SHARE, NEAR_SHARE = 0.015, 0.04, 0.05  # of the pool's rows
CHAT_SHARE = 0.6
TERSE_SHARE = {"chat": 0.16, "email": 0.08}  # messages that two intents share
TAIL = 0.6  # the n-th phrasing of an intent has weight n ** -TAIL
LATER_SHARE = 0.6  # of production messages use new phrasings, where the intent has any
RISING_SHARE = 0.2  # of all production messages come on top for the rising intent
COPY_SIMILARITY = 0.85  # golden stays under it; Ratchet's leakage check looks for 0.9

_CHOICE = re.compile(r"\(([^()]*)\)")
_QUESTION = re.compile(r"(?i)(can|could|do|has|how|is|to which|what|when|where|which|why|will)\b")
_SLOT = re.compile(r"\{(\w+)\}")

Row = dict[str, str]


def support_messages(rows: int = POOL_ROWS, seed: int = 7) -> list[Row]:
    """Return the training pool: `rows` dicts of `id`, `text`, `intent`, `channel`; about 8 % of intents are wrong."""
    return [{key: row[key] for key in ("id", "text", "intent", "channel")} for row in pool_with_truth(rows, seed)]


def pool_with_truth(rows: int = POOL_ROWS, seed: int = 7) -> list[Row]:
    """Return the training pool with one more key, `true`: the intent the customer had; empty for garbage rows."""
    rng = random.Random(f"{seed}:pool")
    pool: list[Row] = []
    for index in range(rows):
        row = _pool_row(rng, pool)
        pool.append({"id": f"m-{index:05d}", **row, "intent": _label(row["true"], rng)})
    return pool


def golden_messages(rows: int = GOLDEN_ROWS, seed: int = 7, pool_rows: int = POOL_ROWS) -> list[Row]:
    """Return curated rows: as the pool's messages, labels right, none a copy of a row of the pool of `pool_rows` rows.

    A copy has the same letters in the same order, or is nearly the same text. Keys as in `support_messages`.
    """
    rng = random.Random(f"{seed}:golden")
    pool = [row["text"] for row in pool_with_truth(pool_rows, seed)]
    seen = {_letters(text) for text in pool}
    shingles = [_shingles(text) for text in pool]
    golden: list[Row] = []
    while len(golden) < rows:
        row = _message(rng, rng.choice(INTENTS))
        if _letters(row["text"]) in seen or _is_near(_shingles(row["text"]), shingles):
            continue
        seen.add(_letters(row["text"]))
        intent = row.pop("true")
        golden.append({"id": f"g-{len(golden):05d}", **row, "intent": intent})
    return golden


def production_messages(rows: int = PRODUCTION_ROWS, seed: int = 7) -> list[Row]:
    """Return the later stream as it arrives: dicts of `id`, `text`, `channel` and `true`, the customer's intent."""
    rng = random.Random(f"{seed}:production")
    stream: list[Row] = []
    for index in range(rows):
        rising = rng.random() < RISING_SHARE
        intent = example_later.RISING_INTENT if rising else rng.choice(INTENTS)
        stream.append({"id": f"p-{index:05d}", **_message(rng, intent, later=True)})
    return stream


def write_example(folder: Path, seed: int = 7, pool_rows: int = POOL_ROWS, golden_rows: int = GOLDEN_ROWS) -> None:
    """Write `messages.csv` (the pool) and `golden.csv` into the folder, which is made if it is missing."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write_csv(folder / "messages.csv", support_messages(pool_rows, seed))
    _write_csv(folder / "golden.csv", golden_messages(golden_rows, seed, pool_rows))


def _write_csv(path: Path, rows: list[Row]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ("id", "text", "intent", "channel"), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _pool_row(rng: random.Random, pool: list[Row]) -> Row:
    """Return text, channel and true intent: garbage, a copy or near copy of an earlier row, or a new message."""
    draw = rng.random()
    if draw < GARBAGE_SHARE:
        return {"text": rng.choice(example_text.GARBAGE), "channel": rng.choice(CHANNELS), "true": ""}
    if pool and draw < GARBAGE_SHARE + EXACT_SHARE + NEAR_SHARE:
        earlier = rng.choice(pool)
        exact = draw < GARBAGE_SHARE + EXACT_SHARE
        text = earlier["text"] if exact else _near_copy(earlier["text"], rng)
        return {"text": text, "channel": earlier["channel"], "true": earlier["true"]}
    return _message(rng, rng.choice(INTENTS))


def _label(true: str, rng: random.Random) -> str:
    """Return the label an annotator gave: mostly the true intent, now and then a neighbour's or any other."""
    if true and rng.random() >= WRONG_SHARE:
        return true
    neighbours = [other for pair in example_text.TERSE if true in pair for other in pair if other != true]
    if neighbours and rng.random() < CONFUSED_SHARE:
        return rng.choice(neighbours)
    return rng.choice([intent for intent in INTENTS if intent != true])


def _message(rng: random.Random, intent: str, later: bool = False) -> Row:
    channel = "chat" if rng.random() < CHAT_SHARE else "email"
    ask = _fill(_ask(rng, intent, channel, later), rng, later)
    write = _chat if channel == "chat" else _email
    return {"text": write(ask, rng, later), "channel": channel, "true": intent}


def _ask(rng: random.Random, intent: str, channel: str, later: bool) -> str:
    """Return the template of what the customer asks for."""
    new = example_later.LATER_ASKS.get(intent, ())
    if later and new and rng.random() < LATER_SHARE:
        return rng.choice(new)
    if rng.random() < TERSE_SHARE[channel]:
        return rng.choice([text for pair, texts in example_text.TERSE.items() if intent in pair for text in texts])
    asks = example_text.ASKS[intent]
    return rng.choices(asks, [(rank + 1) ** -TAIL for rank in range(len(asks))])[0]


def _chat(ask: str, rng: random.Random, later: bool) -> str:
    parts = [ask]
    if rng.random() < 0.4:
        parts.insert(rng.choice((0, 1)), _fill(rng.choice(example_text.BACKGROUND), rng, later))
    if rng.random() < 0.35:
        parts.insert(0, rng.choice(example_text.GREETINGS["chat"]))
    if rng.random() < 0.3:
        parts.append(rng.choice(example_text.CLOSINGS["chat"]))
    text = rng.choice((" ", ", ", ". ")).join(parts)
    text = text.lower() if rng.random() < 0.6 else text
    text = text.upper() if rng.random() < 0.03 else text
    return _with_typos(text, rng, share=0.07)


def _email(ask: str, rng: random.Random, later: bool) -> str:
    sentences = [ask]
    for background in rng.sample(example_text.BACKGROUND, rng.choice((0, 1, 1, 2))):
        sentences.insert(rng.randint(0, len(sentences)), _fill(background, rng, later))
    body = " ".join(_sentence(words) for words in sentences)
    closing = _fill(rng.choice(example_text.CLOSINGS["email"]), rng, later)
    return _with_typos(f"{rng.choice(example_text.GREETINGS['email'])} {body} {closing}", rng, share=0.01)


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + ("?" if _QUESTION.match(words) else ".")


def _fill(template: str, rng: random.Random, later: bool) -> str:
    """Return the template with its choices made and its slots filled."""
    chosen = _CHOICE.sub(lambda match: rng.choice(match[1].split("|")), template)
    text = _SLOT.sub(lambda match: _slot(match[1], rng, later), chosen)
    return " ".join(text.split())


def _slot(name: str, rng: random.Random, later: bool) -> str:
    words = example_text.SLOTS
    match name:
        case "product" | "product2":
            return rng.choice(example_later.LATER_PRODUCTS if later and rng.random() < 0.7 else words["product"])
        case "order":
            return rng.choice(("#", "", "no. ")) + str(rng.randint(400_000, 999_999))
        case "amount" | "amount2":
            return rng.choice(("{}.{:02d} EUR", "£{}.{:02d}", "{},{:02d}")).format(
                rng.randint(5, 240), rng.randint(0, 99)
            )
        case "date":
            return rng.choice(("{0} {1}", "the {0}th of {1}")).format(rng.randint(4, 19), rng.choice(words["month"]))
        case "email":
            mail = rng.choice(words["name"]).lower().replace(" ", rng.choice((".", "_")))
            return f"{mail}{rng.randint(1, 99)}@example.{rng.choice(('com', 'org', 'net'))}"
        case "phone":
            number = rng.randint(100, 199)
            return rng.choice((f"+1 212 555 0{number}", f"07700 900{number}", f"(020) 7946 0{number}"))
        case "address":
            return f"{rng.randint(1, 120)} {rng.choice(words['street'])}, {rng.choice(words['town'])}"
        case "box":
            return str(rng.randint(100, 499))
        case _:
            return rng.choice(words[name])


def _with_typos(text: str, rng: random.Random, share: float) -> str:
    """Return the text with about `share` of its longer words misspelt."""
    return " ".join(
        _misspell(word, rng) if len(word) > 3 and word.isalpha() and rng.random() < share else word
        for word in text.split(" ")
    )


def _misspell(word: str, rng: random.Random) -> str:
    at = rng.randrange(1, len(word) - 1)
    left, letter, right = word[:at], word[at], word[at + 1 :]
    return rng.choice((left + right, left + letter + letter + right, left + right[0] + letter + right[1:]))


def _near_copy(text: str, rng: random.Random) -> str:
    """Return the text as it comes in a second time: other casing, another ending or a typo."""
    return rng.choice((text.lower(), f"{text} !", f"{text} (sent again)", _with_typos(text, rng, share=0.15)))


def _letters(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalpha())


def _shingles(text: str) -> frozenset[str]:
    """Return the character 3-grams of the text without case and white space runs."""
    words = " ".join(text.casefold().split())
    return frozenset(words[start : start + 3] for start in range(max(1, len(words) - 2)))


def _is_near(shingles: frozenset[str], others: list[frozenset[str]]) -> bool:
    """Return whether the Jaccard similarity to any of the others is at least `COPY_SIMILARITY`."""
    size = len(shingles)
    for other in others:
        if not COPY_SIMILARITY * size <= len(other) <= size / COPY_SIMILARITY:
            continue
        shared = len(shingles & other)
        if shared >= COPY_SIMILARITY * (size + len(other) - shared):
            return True
    return False
