"""Dirt planted in clean rows by a seed, with the truth about it: what a cleaning recipe should find and mend.

Wrong labels, near duplicates, personal data in sentences, and foreign or garbage rows. All planted text is made up;
numbers carry right checksums, addresses are of documentation ranges where there are such.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.bench.dirt_text import BOILERPLATE, FOREIGN, PII_SENTENCES

WRONG, NEAR, PERSONAL, UNFIT = 0.10, 0.08, 0.05, 0.03
MASHED = ("asdfghjkl", "qwertyuiop", "zxcvbnm", "hjkl;'", "1234567890")
WORDS = ("mail", "anna", "j.doe", "kim_lee", "office", "r.patel", "marta", "news", "tom.b", "first.last")
HOSTS = ("example.com", "mail.example.org", "example.net", "post.example.co.uk", "firma.example")


@dataclass
class Dirty:
    """Dirty rows (id, text, label) and what was planted in which, by id."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)  # the right label
    near: dict[str, str] = field(default_factory=dict)  # the row it nearly repeats
    personal: dict[str, str] = field(default_factory=dict)  # the value
    kinds: dict[str, str] = field(default_factory=dict)  # of the value
    unfit: dict[str, str] = field(default_factory=dict)  # foreign, mojibake, mash, boilerplate


def plant(rows: Sequence[tuple[str, str]], seed: int) -> Dirty:
    """Return the rows (text, label) with dirt planted; the same for the same rows and seed."""
    rng = random.Random(seed)
    labels = sorted({label for _, label in rows})
    dirty, count = Dirty(), len(rows)
    wrong = set(rng.sample(range(count), round(WRONG * count)))
    personal = set(rng.sample(range(count), round(PERSONAL * count)))
    for row, (text, label) in enumerate(rows):
        name = f"r{row:06d}"
        if row in wrong:
            dirty.wrong[name] = label
            label = rng.choice([other for other in labels if other != label])
        if row in personal:
            kind = rng.choice(sorted(PII))
            dirty.personal[name], dirty.kinds[name] = PII[kind](rng), kind
            text = _mention(rng, text, kind, dirty.personal[name])
        dirty.rows.append((name, text, label))
    for number, row in enumerate(rng.sample(range(count), round(NEAR * count))):
        twin, text, label = dirty.rows[row]
        name = f"n{number:06d}"
        dirty.near[name] = twin
        dirty.rows.append((name, edit(rng, text, dirty.personal.get(twin, "")), label))
        if twin in dirty.wrong:
            dirty.wrong[name] = dirty.wrong[twin]
    for number in range(round(UNFIT * count)):
        kind = rng.choice(sorted(UNFIT_TEXTS))
        name = f"u{number:06d}"
        dirty.unfit[name] = kind
        dirty.rows.append((name, UNFIT_TEXTS[kind](rng), rng.choice(labels)))
    rng.shuffle(dirty.rows)
    return dirty


def plant_wrong_labels(labels: Sequence[str], share: float, seed: int) -> list[str]:
    """Return the labels with a share of them replaced by another label."""
    rng = random.Random(seed)
    wrong = set(rng.sample(range(len(labels)), round(share * len(labels))))
    names = sorted(set(labels))
    return [rng.choice([name for name in names if name != label]) if row in wrong else label
            for row, label in enumerate(labels)]  # fmt: skip


def edit(rng: random.Random, text: str, spared: str = "") -> str:
    """Return the text with one small edit, outside the part that is spared."""
    head, middle, tail = text.partition(spared) if spared else (text, "", "")
    return _edit(rng, head) + middle + tail if head.strip() else head + middle + _edit(rng, tail)


def _edit(rng: random.Random, text: str) -> str:
    if not text.strip():
        return text
    at = rng.randrange(len(text))
    letter = rng.choice("abcdefghijklmnopqrstuvwxyz")
    choices: list[Callable[[], str]] = [
        lambda: text[:at] + text[at + 1 :],
        lambda: text[:at] + letter + text[at + 1 :],
        lambda: text[:at] + letter + text[at:],
        lambda: text.rstrip("?!. ") + rng.choice(("??", "!", " ?", "...")),
        lambda: text.upper() if rng.random() < 0.5 else text.lower(),
        lambda: text.replace(" ", "  ", 2) + " ",
    ]
    return rng.choice(choices)()


def _mention(rng: random.Random, text: str, kind: str, value: str) -> str:
    sentence = rng.choice(PII_SENTENCES[kind]).format(value)
    return f"{text} {sentence}" if rng.random() < 0.7 else f"{sentence} {text}"


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choice("0123456789") for _ in range(count))


def _email(rng: random.Random) -> str:
    tag = rng.choice(("", "", f"+{rng.choice(WORDS)}", _digits(rng, 2)))
    return f"{rng.choice(WORDS)}{tag}@{rng.choice(HOSTS)}"


def _phone(rng: random.Random) -> str:
    forms = (
        "(###) 555-01##", "###-555-01##", "###.555.01##", "+1 ### 555 01##", "+44 7700 900###", "07700 900###",
        "020 7946 0###", "+49 30 ########", "030 ########", "0170 #######", "+33 6 ## ## ## ##", "06 ## ## ## ##",
        "+34 6## ### ###", "+91 98### #####", "+81 3-####-####", "0031 6 ########", "+55 11 9####-####",
    )  # fmt: skip
    form = rng.choice(forms)
    return "".join(rng.choice("23456789") if sign == "#" else sign for sign in form)


def _iban(rng: random.Random) -> str:
    country, length = rng.choice((("DE", 18), ("FR", 23), ("ES", 20), ("AT", 16), ("BE", 12), ("PT", 21)))
    account = _digits(rng, length)
    number = "".join(str(int(sign, 36)) for sign in account + country) + "00"
    iban = f"{country}{98 - int(number) % 97:02d}{account}"
    spaced = " ".join(iban[at : at + 4] for at in range(0, len(iban), 4))
    return rng.choice((iban, spaced))


def _card(rng: random.Random) -> str:
    prefix, length = rng.choice((("4", 16), ("51", 16), ("55", 16), ("37", 15), ("6011", 16)))
    body = prefix + _digits(rng, length - len(prefix) - 1)
    doubled = [int(sign) * (2 if at % 2 == 0 else 1) for at, sign in enumerate(reversed(body))]
    number = body + str(-sum(digit - 9 if digit > 9 else digit for digit in doubled) % 10)
    cuts = (0, 4, 10, 15) if length == 15 else (0, 4, 8, 12, 16)
    parts = [number[start:end] for start, end in pairwise(cuts)]
    return rng.choice(("", " ", "-")).join(parts)


def _ip(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return f"{rng.choice(('192.0.2', '198.51.100', '203.0.113', '10.1.7'))}.{rng.randrange(1, 255)}"
    return f"2001:db8:{rng.randrange(1, 65535):x}::{rng.randrange(1, 65535):x}"


def _url(rng: random.Random) -> str:
    secret = "".join(rng.choice("0123456789abcdef") for _ in range(32))
    forms = (
        "https://app.example.com/reset?token={}",
        "https://api.example.org/v1/me?api_key={}",
        "http://login.example.net/callback?code=7&access_token={}",
        "https://user:{}@files.example.com/a",
    )
    return rng.choice(forms).format(secret)


PII: dict[str, Callable[[random.Random], str]] = {
    "email": _email, "phone": _phone, "iban": _iban, "card": _card, "ip": _ip, "url": _url,
}  # fmt: skip


def _foreign(rng: random.Random) -> str:
    return " ".join(rng.sample(FOREIGN[rng.choice(sorted(FOREIGN))], 2))


def _mojibake(rng: random.Random) -> str:
    """Return Cyrillic or Japanese text read in a wrong encoding, of which bytes were lost."""
    broken = _foreign_of(rng, ("ru", "ja", "uk")).encode("utf-8").decode("latin-1")
    return "".join(sign for sign in broken if rng.random() < 0.8)


def _foreign_of(rng: random.Random, codes: Sequence[str]) -> str:
    return rng.choice(FOREIGN[rng.choice(codes)])


def _mash(rng: random.Random) -> str:
    words = [
        "".join(rng.choice(rng.choice(MASHED)) for _ in range(rng.randint(3, 11))) for _ in range(rng.randint(2, 7))
    ]
    return " ".join(words)


def _boilerplate(rng: random.Random) -> str:
    number = _digits(rng, 4)
    return " ".join(line.format(number) for line in rng.sample(BOILERPLATE, 2))


UNFIT_TEXTS: dict[str, Callable[[random.Random], str]] = {
    "foreign": _foreign, "mojibake": _mojibake, "mash": _mash, "boilerplate": _boilerplate,
}  # fmt: skip
