"""Personal data in text: e-mail addresses and phone numbers, replaced by typed placeholders.

Used on training rows and wherever a report shows text. It knows neither names nor card numbers, and prefers to leave an
order number or an amount alone to replacing it.
"""

import re

EMAIL = "<EMAIL>"
PHONE = "<PHONE>"

# Repeats are bounded and begin at a boundary, so that hostile text costs linear time; a run that goes on is no phone.
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
    """Return the text with e-mail addresses replaced by `<EMAIL>` and phone numbers by `<PHONE>`.

    A run of 7 to 15 digits (the most that E.164 allows) is a phone number when it begins with +, is grouped as phone
    numbers are, or follows a word such as "call"; never after a word such as "order", nor as a date or an amount.
    """
    for _ in range(_MAX_ROUNDS):  # a placeholder parts what stood together: look again
        scrubbed = _scrub_phones(_EMAIL.sub(EMAIL, text))
        if scrubbed == text:
            break
        text = scrubbed
    return text


def has_pii(text: str) -> bool:
    """Return whether the text holds an e-mail address or a phone number."""
    return scrub_text(text) != text


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
