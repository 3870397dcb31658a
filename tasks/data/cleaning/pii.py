"""Where personal data with a form of its own stands in a text: IBANs, card numbers, IP addresses, URLs with secrets.

A checksum, a parser or the name of a query key decides, not looks alone. It replaces nothing, and knows neither names,
postal addresses, national identity numbers nor a secret in a URL's path; e-mail and phone are in `scrub`.
"""

import ipaddress
import re
from collections.abc import Iterator
from urllib.parse import unquote

Span = tuple[int, int]  # first character, one past the last

# Characters of an IBAN, then the countries that have so many (SWIFT, "IBAN Registry").
_LENGTHS = """
    15 NO
    16 BE
    18 DK FI FK FO GL NL SD
    19 MK SI
    20 AT BA EE KZ LT LU MN XK
    21 CH HR LI LV
    22 BG BH CR DE GB GE IE ME RS VA
    23 AE GI IL IQ OM SO TL
    24 AD CZ ES MD PK RO SA SE SK TN VG
    25 LY PT ST
    26 IS TR
    27 BI DJ FR GR IT MC MR SM
    28 AL AZ BY CY DO GT HN HU LB NI PL SV
    29 BR EG PS QA UA
    30 JO KW MU YE
    31 MT SC
    32 LC
    33 RU
"""
IBAN_CHARS = {country: int(line.split()[0]) for line in _LENGTHS.strip().splitlines() for country in line.split()[1:]}

# Repeats are bounded or possessive and begin at a boundary, so that hostile text costs linear time.
_IBAN_HEAD = re.compile(r"(?<!\w)[A-Za-z]{2}[0-9]{2}(?=[ -]?[0-9A-Za-z])")
_IN_FOURS = re.compile(r"\w{5,}|\w{4}(?: \w{4})*(?: \w{1,3})?|\w{4}(?:-\w{4})*(?:-\w{1,3})?")
_IBAN_REST = {chars: re.compile(rf"(?:[ -]?[0-9A-Za-z]){{{chars - 4}}}(?!\w)") for chars in set(IBAN_CHARS.values())}

_GROUP = r"[0-9]++(?!\w|[.,][0-9]{1,2}(?![0-9]))"  # not the whole part of an amount
_DIGIT_RUN = re.compile(
    r"(?<!\w)[A-Za-z]{2}[0-9]{2}(?:[ -][0-9]{1,4}+(?!\w))++"  # an IBAN with a wrong digit is no card either
    rf"|(?<![\w+$€£])(?<![0-9]\.)(?<![^\W\d][/-])(?P<groups>{_GROUP}(?:[ -]{_GROUP})*+)"
)
_THIRTEEN_DIGITS = re.compile("[0-9](?:[ -]?[0-9]){12}")
_DIGITS = re.compile("[0-9]+")
_CARD_GROUPS = (
    *[(4, 4, 4, 4, rest) for rest in (3, 2, 1)],
    *[(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (6, 13)],  # most; American Express; Diners Club; UnionPay
    *[(digits,) for digits in range(13, 20)],
)
_IN_BETWEEN = r"(?:\s+(?:number|no|nr|id|is|was))*[\s.:#=]*$"
_NOT_A_CARD = re.compile(
    r"\b(?:order|ref|reference|invoice|ticket|case|tracking|parcel|shipment|serial|booking|transaction|customer|policy|"
    rf"contract|imei|ean|isbn|barcode){_IN_BETWEEN}",
    re.IGNORECASE,
)

_IPV4 = re.compile(
    r"(?<![\w$€£])(?<![0-9]\.)(?<![^\W\d][/-])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?!\.?\w|\s?[$€£%])"
)  # Chrome/120.0.0.0 and name-1.2.3.4 are versions
_IPV6 = re.compile(r"(?<!\w)[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,8}(?:(?:\.[0-9]{1,3}){3})?(?!\w)", re.IGNORECASE)
_A_VERSION = re.compile(
    r"\b(?:version|ver|v|release|build|firmware|software|driver|update|updated|upgrade|upgraded|app|section|clause|"
    r"chapter|article)\b(?:[\s\d.:#=(,-]|\b(?:number|no|nr|is|was|to|and|or)\b)*$",
    re.IGNORECASE,
)

_URL = re.compile(
    r"(?:\b[a-z][a-z0-9+.-]{1,15}://|(?<![\w@.-])(?:www\.|(?:[a-z0-9-]++\.)++[a-z]{2,24}(?=[/?#])))"
    r"[^\s<>\"\u201c\u201d\u00ab\u00bb]*[^\s<>\"\u201c\u201d\u00ab\u00bb\u2018\u2019.,;:!?)\]'}]",
    re.IGNORECASE,
)
_USER = re.compile(r"[a-z0-9+.-]+://[^/?#@]+@", re.IGNORECASE)
_PARAMETER = re.compile(r"[?&;#]([^?&;#=]{1,64})=(?=[^&;#])")
_KEY_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+")
_SECRETS = """
    auth authorization bearer credential credentials csrf hmac jwt key otp pass passphrase passwd password pwd secret
    session sessid sid sig signature token
"""
_SECRET_WORDS = frozenset(_SECRETS.split())
_SECRET_ENDS = ("apikey", "password", "secret", "sessid", "sessionid", "signature", "token")
_CONTEXT_CHARS = 40


def is_iban(text: str) -> bool:
    """Return whether the text, spaces and dashes aside, is an IBAN: a country's length and the checksum hold.

    The checksum is ISO 7064's mod 97-10, as ISO 13616 uses it: the first four characters go to the end, letters become
    10 to 35, and the number leaves the remainder 1. It finds every wrong digit. At least half of the account's
    characters must be digits, as they are in all published examples, so that words are no account; a quarter where it
    is written in one piece or in groups of four, as words are not.
    """
    plain = re.sub("[ -]", "", text).upper()
    if not re.fullmatch("[A-Z]{2}[0-9]{2}[0-9A-Z]+", plain) or len(plain) != IBAN_CHARS.get(plain[:2]):
        return False
    share = 4 if _IN_FOURS.fullmatch(text) else 2
    if share * sum(map(str.isdigit, plain[4:])) < len(plain) - 4 or not 2 <= int(plain[2:4]) <= 98:
        return False
    return int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4])) % 97 == 1


def is_card_number(text: str) -> bool:
    """Return whether the text, spaces and dashes aside, is a payment card number of 13 to 19 digits.

    Its last digit must be right by H. P. Luhn (US patent 2,950,048, 1960), which finds every wrong digit, and its first
    one of 2 to 6, as nearly all payment cards have it (ISO/IEC 7812-1).
    """
    plain = re.sub("[ -]", "", text)
    if not re.fullmatch("[2-6][0-9]{12,18}", plain):
        return False
    digits = [int(digit) for digit in reversed(plain)]
    return (sum(digits[::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])) % 10 == 0


def find_ibans(text: str) -> Iterator[Span]:
    """Yield where IBANs stand, in one piece or in groups parted by single spaces or dashes."""
    for head in _IBAN_HEAD.finditer(text):
        chars = IBAN_CHARS.get(head.group()[:2].upper())
        rest = _IBAN_REST[chars].match(text, head.end()) if chars else None
        if rest and is_iban(text[head.start() : rest.end()]):
            yield head.start(), rest.end()


def find_cards(text: str) -> Iterator[Span]:
    """Yield where payment card numbers stand, in one piece or grouped as on cards, not after a word such as "order"."""
    for run in _DIGIT_RUN.finditer(text) if _THIRTEEN_DIGITS.search(text) else ():
        if run.end() - run.start() < 13 or not run["groups"]:
            continue
        groups = [(match.start(), match.end()) for match in _DIGITS.finditer(text, run.start(), run.end())]
        at = 0
        while at < len(groups):
            taken = _count_card_groups(text, groups[at : at + 5])
            if taken and not _NOT_A_CARD.search(_before(text, groups[at][0])):
                yield groups[at][0], groups[at + taken - 1][1]
            at += max(1, taken)


def find_ip_addresses(text: str) -> Iterator[Span]:
    """Yield where IPv4 addresses stand, versions left out, then IPv6 addresses, forms such as `10::30` left out."""
    if text.count(".") >= 3:
        for match in _IPV4.finditer(text):
            if _is_ip_address(match.group()) and not _A_VERSION.search(_before(text, match.start())):
                yield match.span()
    if text.count(":") >= 2:
        for match in _IPV6.finditer(text):
            found = match.group()
            if found.endswith(":") and not found.endswith("::"):
                found = found[:-1]  # a sentence's own
            if _looks_used(found) and _is_ip_address(found):
                yield match.start(), match.start() + len(found)


def find_secret_urls(text: str) -> Iterator[Span]:
    """Yield where URLs stand that name a user before the host, or have a query key such as `token` or `api_key`."""
    if "=" not in text and not ("@" in text and "://" in text):
        return
    for match in _URL.finditer(text):
        keys = (unquote(key) for key in _PARAMETER.findall(match.group()))
        if _USER.match(match.group()) or any(map(_is_secret, keys)):
            yield match.span()


def _count_card_groups(text: str, groups: list[Span]) -> int:
    """Return how many of the groups of digits, from the first on, are one card number; 0 where they are none."""
    sizes = tuple(end - start for start, end in groups)
    for shape in _CARD_GROUPS:
        count = len(shape)
        if sizes[:count] == shape and is_card_number(text[groups[0][0] : groups[count - 1][1]]):
            return count
    return 0


def _before(text: str, start: int) -> str:
    return text[max(0, start - _CONTEXT_CHARS) : start]


def _is_ip_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _looks_used(text: str) -> bool:
    """Return whether what could be an IPv6 address has eight groups, or begins as those in use do: `2001:`, `::1`."""
    groups = text.split(":")
    return any(map(str.isdigit, text)) and (len(groups[0]) in (0, 4) or len(groups) == 8)


def _is_secret(key: str) -> bool:
    words = [word.lower() for word in _KEY_WORD.findall(key)]
    return not _SECRET_WORDS.isdisjoint(words) or "".join(words).endswith(_SECRET_ENDS)
