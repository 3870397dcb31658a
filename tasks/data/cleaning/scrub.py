"""Personal data in text, replaced by typed placeholders: e-mail and all that `pii` and `phones` find.

Used on training rows and wherever a report shows text. It knows no names, and prefers to leave an order number or an
amount alone to replacing it.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from tasks.data.cleaning.phones import find_phones
from tasks.data.cleaning.pii import Span, find_cards, find_ibans, find_ip_addresses, find_secret_urls

EMAIL = "<EMAIL>"
PHONE = "<PHONE>"
URL = "<URL>"
IP = "<IP>"
IBAN = "<IBAN>"
CARD = "<CARD>"

_DIGIT = re.compile(r"\d")
_FOUR_DIGITS = re.compile(r"\d(?:\D*+\d){3}")  # the fewest that anything without colons has
_EMAIL = re.compile(  # bounded or possessive and from a boundary on, so that hostile text costs linear time
    r"(?<![\w+-])\w[\w.+'\u2019-]{0,63}@[\w+-]++(?:\.[\w+-]++)++"
)
_MAX_ROUNDS = 5


def scrub_text(text: str) -> str:
    """Return the text with personal data replaced by `<EMAIL>`, `<PHONE>`, `<IBAN>`, `<CARD>`, `<IP>` or `<URL>`.

    A URL is replaced as a whole where it carries credentials, else only the personal data in it. Scrubbing again
    changes nothing.
    """
    for _ in range(_MAX_ROUNDS):  # a placeholder parts what stood together: look again
        if not _may_hold_any(text):
            break
        scrubbed = text
        for find, placeholder in _FINDERS:
            scrubbed = _replace(scrubbed, find(scrubbed), placeholder)
        if scrubbed == text:
            break
        text = scrubbed
    return text


def has_pii(text: str) -> bool:
    """Return whether the text holds personal data that `scrub_text` replaces; stops at the first that it finds."""
    return _may_hold_any(text) and any(next(iter(find(text)), None) is not None for find, _ in _FINDERS)


def find_emails(text: str) -> Iterator[Span]:
    """Yield where e-mail addresses stand."""
    if "@" in text:
        for match in _EMAIL.finditer(text):
            yield match.span()


def _may_hold_any(text: str) -> bool:
    """Return whether it is worth looking: most texts are let through by this alone."""
    if "@" in text or "=" in text:
        return True
    first = _DIGIT.search(text)
    return first is not None and (text.count(":") >= 2 or _FOUR_DIGITS.match(text, first.start()) is not None)


def _replace(text: str, spans: Iterable[Span], placeholder: str) -> str:
    """Return the text with the spans replaced; of two that overlap, the first."""
    done, end = [], 0
    for first, last in sorted(spans):
        if first >= end:
            done += [text[end:first], placeholder]
            end = last
    return "".join(done) + text[end:] if done else text


_FINDERS: tuple[tuple[Callable[[str], Iterator[Span]], str], ...] = (
    (find_secret_urls, URL),  # as a whole, before the address or the key in it is found
    (find_emails, EMAIL),
    (find_ip_addresses, IP),
    (find_ibans, IBAN),
    (find_cards, CARD),
    (find_phones, PHONE),  # told by looks, so after what is told by form
)
