"""Personal data in text, replaced by typed placeholders: e-mail, phone and all that `pii` finds.

Used on training rows and wherever a report shows text. It knows no names, and prefers to leave an order number or an
amount alone to replacing it.
"""

import re
from collections.abc import Iterable

from tasks.data.cleaning.pii import Span, find_cards, find_ibans, find_ip_addresses, find_secret_urls

EMAIL = "<EMAIL>"
PHONE = "<PHONE>"
URL = "<URL>"
IP = "<IP>"
IBAN = "<IBAN>"
CARD = "<CARD>"

# Repeats are bounded and begin at a boundary, so that hostile text costs linear time; a run that goes on is no phone.
_HINT = re.compile(r"[\d@]|://|www\.", re.IGNORECASE)  # without one of these there is nothing to find
_EMAIL = re.compile(r"(?<![\w+-])\w[\w.+-]{0,63}@[\w+-]++(?:\.[\w+-]++)++")
_DIGITS = re.compile(
    r"(?<![\w+.,/#$€£-])(?<!\d[ ()])(?<!\d[ ().\-/]{2})\+?\(?\d(?:[ ().\-/]{0,2}\d){6,14}+(?![\w%€£$]|[-./, ()]\d)"
)
_GROUPED = re.compile(r"\(\d{2,5}\)|^\d{3}([-. ])\d{3,4}(\1\d{4})?( \d{1,2})?$|^\d{2,5}([- ./]\d{2,4}){2,4}$")
_DATE = re.compile(r"^(\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{4})")
_AMOUNT = re.compile(
    r"^\d{1,3}(\.\d{3}| 000)+$|\.\d{1,2}$|^\d+\.\d+$|^\d{1,3}(\.\d{1,3}){3}$|^\d{4}([- ])\d{4}\3\d{4}$"
)
_NOT_A_PHONE = re.compile(
    r"\b(order|ref|reference|invoice|ticket|case|tracking|account|acct|iban|amount|transaction|booking|parcel|serial|"
    r"customer|policy|contract|version|code|pin|id|usd|eur|gbp)\b[^\d\n]{0,16}$",
    re.IGNORECASE,
)
_A_PHONE = re.compile(
    r"\b(call|called|calling|phone|telephone|tel|mobile|cell|whatsapp|sms|reach|ring|fax|contact)\b[^\d\n]{0,24}$",
    re.IGNORECASE,
)
_CONTEXT_CHARS = 40
_MAX_ROUNDS = 5


def scrub_text(text: str) -> str:
    """Return the text with personal data replaced by `<EMAIL>`, `<PHONE>`, `<IBAN>`, `<CARD>`, `<IP>` or `<URL>`.

    A run of 7 to 15 digits (the most that E.164 allows) is a phone number when it begins with +, is grouped as phone
    numbers are, or follows a word such as "call"; never after a word such as "order", nor as a date or an amount. A URL
    is replaced as a whole where it carries credentials, else only the personal data in it.
    """
    if not _HINT.search(text):
        return text
    for _ in range(_MAX_ROUNDS):  # a placeholder parts what stood together: look again
        scrubbed = _scrub_once(text)
        if scrubbed == text:
            break
        text = scrubbed
    return text


def has_pii(text: str) -> bool:
    """Return whether the text holds personal data that `scrub_text` replaces."""
    return scrub_text(text) != text


def _scrub_once(text: str) -> str:
    """Return the text after one pass; what is told by form goes before phone numbers, which are told by looks."""
    text = _EMAIL.sub(EMAIL, _replace(text, find_secret_urls(text), URL))
    for find, placeholder in ((find_ip_addresses, IP), (find_ibans, IBAN), (find_cards, CARD)):
        text = _replace(text, find(text), placeholder)
    return _scrub_phones(text)


def _replace(text: str, spans: Iterable[Span], placeholder: str) -> str:
    """Return the text with the spans replaced; of two that overlap, the first."""
    done, end = [], 0
    for first, last in sorted(spans):
        if first >= end:
            done += [text[end:first], placeholder]
            end = last
    return "".join(done) + text[end:]


def _scrub_phones(text: str) -> str:
    """Return the text with phone numbers replaced; a number's context is what stands before it after replacement."""
    done, end, context = [], 0, ""
    for match in _DIGITS.finditer(text):
        context = (context + text[end : match.start()])[-_CONTEXT_CHARS:]
        found = PHONE if _is_phone(match.group(), context) else match.group()
        done += [text[end : match.start()], found]
        context += found
        end = match.end()
    return "".join(done) + text[end:]


def _is_phone(number: str, before: str) -> bool:
    if number.startswith("+"):
        return True
    if _NOT_A_PHONE.search(before) or _DATE.search(number) or _AMOUNT.search(number):
        return False
    national = number.startswith("0") and sum(character.isdigit() for character in number) >= 10
    return national or bool(_GROUPED.search(number) or _A_PHONE.search(before))
