"""Where phone numbers stand in a text: told by how they are written, and where that leaves doubt by the words around.

A phone number has no checksum: the nearest word decides between "call" and "order", and without one an order number or
an amount is rather left alone. It looks nothing up in numbering plans.
"""

import re
from collections.abc import Iterator

Span = tuple[int, int]  # first character, one past the last

# Repeats are bounded and begin at a boundary, so that hostile text costs linear time; a run that goes on is no phone.
_PART = r"[ \u00a0().\-\u2010-\u2013/]"
_RUN = re.compile(
    rf"(?<![\w+/#$€£-])(?<![^A-Za-z][.,])(?<!\d[ \u00a0()])(?<!\d{_PART}{{2}})(?<!\d{_PART}{{3}})"
    rf"\(?\+?\(?\d(?:{_PART}{{0,3}}\d){{6,14}}+"
    rf"(?!(?!x\d{{1,6}}(?!\w))[\w%€£$]|[-.\u2010-\u2013/, \u00a0()]\d| [-/] \d)"
)
_SEVEN_DIGITS = re.compile(r"\D*+(?:\d\D*+){7}")
_EXTENSION = re.compile(r",? ?(?:ext(?:ension|n)?\b\.?|x|#|durchwahl)[ :]?\d{1,6}(?![\w.,]?\d)", re.IGNORECASE)

_AMERICAN = re.compile(r"(?:1-)?\d{3}-\d{3}-\d{4}(?:-\d{1,2})?")  # and what comes next may begin ("2 days ago")
# Shapes of the groups of digits, parted by single dashes, with nine digits and more.
_SHAPE = re.compile(
    r"\d{2,5}(?:-\d{3,4}){2,3}|\d{2}-\d{4,5}-\d{4}"  # Spain, Poland, Japan, Brazil and many more
    r"|\d{2,4}(?:-\d{2,4}){3,4}|\d{2}-\d{4}-\d{6}"  # groups of two at the end; 44 without its plus
    r"|[78]-\d{3}-\d{3}-(?:\d{4}|\d{2}-\d{2})|3\d{2}-\d{6,7}|[6-9]\d{4}-\d{5}"  # Russia; Italy; India
)
_TWOS = re.compile(r"[1-9]\d(?:-\d\d)+")  # "top 10 20 30 40 50"
_AREA = re.compile(r"\(\d{2,5}\)")
_DATE = re.compile(
    r"\(?(?:(?:1[89]|2[01])\d\d([-./])[01]?\d\1[0-3]?\d(?!\d)|[0-3]?\d([-./])[0-3]?\d\2(?:1[89]|2[01])\d\d(?!\d)"
    r"|[0-3]?\d [01]?\d (?:19|20)\d\d(?:$| \d\d$))"
)
_AMOUNT = re.compile(
    r"\d{1,3}(?:\.\d{3}| 000)+$|[\d -]*\.\d{1,2}$|\d+\.\d+$|[1-9]\d{0,2}(?:\.\d{1,3}){3}$|\d{4}([- ])\d{4}\1\d{4}$"
    r"|\d+0{5}$"
)

_OTHER_WORDS = """
    order ref reference invoice ticket case tracking iban booking parcel serial customer policy contract version imei
    isbn ean sku barcode batch usd eur gbp bestellung bestellnummer rechnung kundennummer vorgang commande facture
    pedido factura ordine fattura
"""
_DOUBT_WORDS = """
    account acct amount transaction code pin id model part item article product room rooms page pages flight seat card
    passport licence license receipt balance price
"""
_PHONE_WORDS = """
    call called calling callback phone phoned telephone tel ph mobile cell cellphone landline handset hotline helpline
    whatsapp signal telegram sms dial dialled dialed reach ring rang fax contact telefon telefonnummer handy handynummer
    mobil mobilnummer rufnummer anrufen téléphone tél portable appelez appeler teléfono telefono móvil movil celular
    llame llama llámame llamame llámenme telefone telemóvel cellulare chiamami telefoon
"""
_SPEAKS_OF = {
    word: kind
    for kind, words in (("other", _OTHER_WORDS), ("doubt", _DOUBT_WORDS), ("phone", _PHONE_WORDS))
    for word in words.split()
}
_NUMBER = frozenset({"number", "no", "nr", "nummer", "numéro", "numero", "número"})
_OWNER_WORDS = """
    my our his her their new old other current wrong correct right different meine neue alte mon nouveau mi meu mio
    nuevo mijn
"""
_OWNERS = frozenset(_OWNER_WORDS.split())
_PAIRS = frozenset(
    {(said, whom) for said in ("text", "texted") for whom in ("me", "us", "him", "her", "them")}
    | {(whom, where) for whom in ("me", "us") for where in ("at", "on")}
)
_SENT = frozenset({"sms", "code", "text", "otp", "message", "link"})
_LETTERS = re.compile(r"[^\W\d_]+")
_SENTENCE_END = re.compile(r"[?!]|[^\W\d_]{4}\.\s")  # not the full stop of "ref." and "no."
_REACH = {"phone": 24, "other": 16, "doubt": 16}  # how many characters may stand between the word and the number
_SAYS_PHONE_AFTER = re.compile(
    r"\W{0,3}\b(?:is|was|as)\s(?:my|our|his|her|the)\s(?:\w{1,12}\s)?(?:phone|mobile|cell|landline|number|tel)\b",
    re.IGNORECASE,
)
_SAYS_AMOUNT_AFTER = re.compile(
    r"\s?(?:[a-z]?(?:bn|kr)|people|users|customers|dollars?|euros?|pounds?|rupees?|yen|usd|eur|gbp|inr|points|miles|km|kg|"
    r"times|rows|units|bytes|views|steps)\b",
    re.IGNORECASE,
)
_CONTEXT_CHARS = 40


def find_phones(text: str, placeholder: str = "<PHONE>") -> Iterator[Span]:
    """Yield where phone numbers stand, with their extensions.

    A run of 7 to 15 digits (the most that E.164 allows) is one when it begins with +, is national and long enough, is
    grouped as phone numbers are, or stands near a word such as "call"; never where the nearest word is one such as
    "order", nor as a date or an amount. A number's context is what stands before it when the numbers before it are
    replaced by the placeholder.
    """
    if not _SEVEN_DIGITS.match(text):
        return
    end, context = 0, ""
    for match in _RUN.finditer(text):
        start, last = match.span()
        if start < end:  # the extension of the number before
            continue
        if text[start] == "(" and match.group().count("(") > match.group().count(")"):
            start += 1
        context = (context + text[end:start])[-_CONTEXT_CHARS:]
        if is_phone(text[start:last], context, text[last : last + _CONTEXT_CHARS]):
            extension = _EXTENSION.match(text, last)
            last = extension.end() if extension else last
            yield start, last
            context += placeholder
        else:
            context += text[start:last]
        end = last


def is_phone(number: str, before: str, after: str) -> bool:
    """Return whether a run of digits and what parts them is a phone number between these two contexts."""
    if "+" in number[:2]:
        return True
    if _DATE.match(number) or _AMOUNT.match(number) or _SAYS_AMOUNT_AFTER.match(after):
        return False
    said = _nearest_word(before)
    if said == "other":
        return False
    groups = re.findall(r"\d+", number)
    if said == "phone" or _is_unmistakable(number, groups):
        return True
    return (said == "" and _is_likely(groups)) or _SAYS_PHONE_AFTER.match(after) is not None


def _is_unmistakable(number: str, groups: list[str]) -> bool:
    """Return whether the number has an area code in brackets, or groups as only phone numbers of that length have."""
    digits = sum(map(len, groups))
    if _AREA.search(number):
        return digits >= 8
    return len(groups) > 1 and (
        (digits >= 10 and groups[0][0] == "0") or _AMERICAN.fullmatch("-".join(groups)) is not None
    )


def _is_likely(groups: list[str]) -> bool:
    """Return whether the groups are those of a phone number where no word says what they are."""
    digits, shape = sum(map(len, groups)), "-".join(groups)
    if groups[0][0] == "0" and (digits >= 10 or (digits == 9 and len(groups) > 1)):
        return True
    return digits >= 9 and _SHAPE.fullmatch(shape) is not None and not _TWOS.fullmatch(shape)


def _nearest_word(before: str) -> str:
    """Return what the last telling word of this line speaks of: "phone", "other", a thing in "doubt"; "" for none."""
    tail = re.split(r"[\d\n]", before)[-1]
    ends = [match.end() for match in _SENTENCE_END.finditer(tail)]
    sentence = ends[-1] if ends else 0
    found = list(_LETTERS.finditer(tail))
    words = [match.group().lower() for match in found]
    for at in range(len(words) - 1, -1, -1):
        kind = _kind_of(words[: at + 1])
        if kind and len(tail) - found[at].end() <= _REACH[kind] and (kind == "phone" or found[at].start() >= sentence):
            return kind
    return ""


def _kind_of(words: list[str]) -> str:
    """Return what the last of these words speaks of, together with those before it."""
    word, before = words[-1], words[-2] if len(words) > 1 else ""
    if (word in _NUMBER and before in _OWNERS) or (before, word) in _PAIRS:
        return "phone"
    if (before, word) == ("sent", "to") and not _SENT.isdisjoint(words):
        return "phone"
    return _SPEAKS_OF.get(word, "")
