"""Made-up personal data in sentences as customers write them, and what only looks like it, from a seed.

No value is anybody's: numbers are drawn digit by digit, checksums are worked out here, apart from the code under test.
"""

import ipaddress
import random
from collections.abc import Callable, Iterator

Draw = Callable[[random.Random], str]

PHONE_FORMS = [  # # is any digit, N one of 2 to 9
    # United Kingdom
    "020 7### ####", "020 7#######", "0207 ### ####", "(020) 7### ####", "0161 ### ####", "01632 ######",
    "(01632) ######",
    "07### ######", "07#########", "07### ### ###", "07###-######", "+44 20 7### ####", "+44 (0)20 7### ####",
    "+447#########", "+44 7### ######", "0044 7### ######", "44 7### ######", "0800 ### ####", "0345 ### ####",
    # United States and Canada
    "(N##) N##-####", "(N##)N##-####", "N##-N##-####", "N##.N##.####", "N## N## ####", "1-N##-N##-####",
    "1 (N##) N##-####", "+1 N##-N##-####", "+1 (N##) N##-####", "+1N##N######", "+1.N##.N##.####", "1-800-N##-####",
    "N##-N##-#### ext. ###", "(N##) N##-#### x##", "(N##) N##-#### extension ####", "N##/N##-####", "N## - N## - ####",
    # Germany, Austria, Switzerland
    "030 ########", "030 #### ####", "030/########", "030-########", "089 / ### ## ##", "0151 ########",
    "0151/########",
    "0151-########", "0172 ### ## ##", "(030) ########", "+49 30 ########", "+49 (0)30 ########", "+49151########",
    "+49 151 ########", "0049 151 ########", "+49-30-########", "+43 664 #######", "0664 ### ## ##", "044 ### ## ##",
    "+41 44 ### ## ##", "+41 79 ### ## ##", "0041 79 ### ## ##",
    # France, Belgium, Luxembourg
    "01 ## ## ## ##", "06.##.##.##.##", "06-##-##-##-##", "06########", "+33 6 ## ## ## ##", "+33 (0)6 ## ## ## ##",
    "+336########", "0033 6 ## ## ## ##", "0470 ## ## ##", "0470/##.##.##", "02 ### ## ##", "+32 470 ## ## ##",
    # Spain, Portugal, Italy
    "6## ### ###", "91 ### ## ##", "9## ## ## ##", "+34 6## ### ###", "+34 91 ### ## ##", "6##-###-###",
    "+351 91# ### ###", "91# ### ###", "06 #### ####", "3## ### ####", "3## #######", "+39 06 #### ####",
    "+39 3## #######",
    # India, Pakistan, Bangladesh
    "+91 9#### #####", "+91-9#########", "9#### #####", "09#########", "0091 9#### #####", "022 #### ####",
    "022-########",
    "+92 3## #######", "03##-#######", "+880 1###-######",
    # Netherlands, Scandinavia, Poland, Czechia, Greece, Ireland
    "06 ########", "06-########", "020 ### ####", "+31 6 ########", "+31 (0)20 ### ####", "070-### ## ##",
    "+46 70 ### ## ##",
    "+47 9## ## ###", "+45 ## ## ## ##", "+358 40 ### ####", "040 ### ####", "+48 ### ### ###", "5## ### ###",
    "+420 ### ### ###", "+30 69# ### ####", "085 ### ####", "+353 85 ### ####", "(01) ### ####",
    # Brazil, Mexico, Argentina
    "(11) 9####-####", "11 9####-####", "+55 11 9####-####", "+52 55 #### ####", "+54 9 11 ####-####", "55 #### ####",
    # Australia, New Zealand, South Africa, Nigeria, Kenya
    "04## ### ###", "(02) #### ####", "+61 4## ### ###", "+64 21 ### ####", "021 ### ####", "+27 82 ### ####",
    "082 ### ####",
    "+234 803 ### ####", "0803 ### ####", "+254 7## ######",
    # Japan, China, Korea, Hong Kong, Singapore, Emirates, Israel, Turkey, Russia
    "03-####-####", "090-####-####", "+81 90-####-####", "+81-3-####-####", "138 #### ####", "+86 138 #### ####",
    "+86 138########", "010-####-####", "+82 10-####-####", "+852 #### ####", "+65 #### ####", "+971 50 ### ####",
    "050 ### ####", "054-###-####", "+972 54-###-####", "+90 5## ### ## ##", "0 5## ### ## ##", "0(5##) ### ## ##",
    "+7 9## ###-##-##", "8 (9##) ###-##-##", "8 9## ### ## ##", "+7 (9##) ### ## ##",
]  # fmt: skip
BARE_PHONES = ["##########", "7#########", "N##N######", "9#########", "N##-####", "#### ####", "########", "### ####"]

ANY_CONTEXTS = [
    "{}", "{}.", "({})", "my details: {}, please update", "it is {}", "{} is on my account and I never added it",
    "Why do you still have {} on file?", "Can you change it to {}?", "Someone used \"{}\" on my account",
    "hi,\n{}\nthanks", "I gave you {}; nothing happened!", "is this one of yours: {}?", "please remove {} - thank you",
    "\u201c{}\u201d was in the message I got", "use {}, not the old one", "old: {}",
]  # fmt: skip
PHONE_CONTEXTS = [
    "call me on {}", "Call {} please.", "my number is {}", "my phone number's {} now", "phone: {}", "Tel.: {}",
    "tel {}",
    "You can reach me at {} after 5pm", "mobile {}", "text me on {}!", "my cell is {}, ok?", "please ring me back: {}",
    "WhatsApp {}", "I changed my telephone number to {} last week", "my new number: {}", "fax {}", "Ph. {}",
    "contact no {}",
    "please call me on my mobile at {}", "SMS code was sent to {}", "my old phone was {} and I lost it",
    "Meine Nummer ist {}", "appelez-moi au {}", "mi tel\u00e9fono es {}",
]  # fmt: skip
EMAIL_CONTEXTS = [
    "e-mail: {}",
    "email me at {}.",
    "<{}>",
    "mailto:{}",
    "write to {}, please",
    "my email is {}!",
    "cc:{};",
]
IBAN_CONTEXTS = [
    "IBAN: {}",
    "send it to {}.",
    "transfer from {} failed",
    "my IBAN is {}",
    "iban={}",
    "to account {}, please",
]
CARD_CONTEXTS = [
    "card number {}",
    "my card {} was declined",
    "I paid with {}.",
    "Visa {}",
    "card: {} exp 04/27",
    "{} cvv 123",
]
IP_CONTEXTS = ["login from {}", "my IP is {}.", "ip: {}", "http://{}/admin", "from {} at 10:15", "blocked {}, why?"]
IP6_CONTEXTS = ["login from {}", "my IP is {}.", "ip: {}", "[{}]", "from {} at 10:15", "blocked {}, why?"]
URL_CONTEXTS = ["the link {} does not work", "see {}", "I clicked on {}, nothing happened", "({})", "link: {}.", "<{}>"]

NAMES = ["ann", "bob.smith", "maria_lopez", "j.o'neil", "li-wei", "k", "josé", "anna.müller", "x1", "sales", "no-reply"]
TAGS = ["", "", "", "+spam", "+shop-2", "99", "_home", ".jr"]
DOMAINS = ["example", "mail.example", "ex-ample", "a.b.c.example", "müller", "例え", "gmail", "x1"]
ENDS = ["com", "org", "co.uk", "de", "io", "museum", "com.br", "xn--p1ai", "рф", "online"]

IBAN_FORMS = {  # # a digit, A a letter, C either: the account part in the registry's formats
    "AD": "########CCCCCCCCCCCC", "AE": "###################", "AT": "################", "BE": "############",
    "BG": "AAAA######CCCCCCCC", "CH": "#####CCCCCCCCCCCC", "CY": "########CCCCCCCCCCCCCCCC",
    "CZ": "####################",
    "DE": "##################", "DK": "##############", "EE": "################", "ES": "####################",
    "FI": "##############", "FR": "##########CCCCCCCCCCC##", "GB": "AAAA##############", "GI": "AAAACCCCCCCCCCCCCCC",
    "GR": "#######CCCCCCCCCCCCCCCC", "HR": "#################", "HU": "########################",
    "IE": "AAAA##############", "IL": "###################", "IS": "######################",
    "IT": "A##########CCCCCCCCCCCC", "KW": "AAAACCCCCCCCCCCCCCCCCCCCCC", "LI": "#####CCCCCCCCCCCC",
    "LT": "################", "LU": "###CCCCCCCCCCCCC", "LV": "AAAACCCCCCCCCCCCC", "MC": "##########CCCCCCCCCCC##",
    "MT": "AAAA#####CCCCCCCCCCCCCCCCCC", "NL": "AAAA##########", "NO": "###########", "PL": "########################",
    "PT": "#####################", "QA": "AAAACCCCCCCCCCCCCCCCCCCCC", "RO": "AAAACCCCCCCCCCCCCCCC",
    "SA": "##CCCCCCCCCCCCCCCCCC", "SE": "####################", "SI": "###############", "SK": "####################",
    "SM": "A##########CCCCCCCCCCCC", "TR": "######CCCCCCCCCCCCCCCC", "UA": "######CCCCCCCCCCCCCCCCCCC",
}  # fmt: skip
CARD_STARTS = [("4", (4, 4, 4, 4)), ("51", (4, 4, 4, 4)), ("55", (4, 4, 4, 4)), ("2221", (4, 4, 4, 4)), ("34", (4, 6,
5)),
               ("37", (4, 6, 5)), ("6011", (4, 4, 4, 4)), ("65", (4, 4, 4, 4)), ("36", (4, 6, 4)), ("3530", (4, 4, 4,
               4)),
               ("62", (4, 4, 4, 4))]  # fmt: skip
URL_FORMS = [
    "https://shop.example/reset?token={}", "https://shop.example/a/b?x=1&access_token={}&y=2",
    "https://id.example/#access_token={}",
    "https://id.example/cb#state=x&id_token={}", "https://ann:{}@git.example/repo.git", "ftp://{}@files.example/",
    "http://api.example:8080/v1?api_key={}", "https://maps.example/?key={}",
    "https://s3.example/o?X-Amz-Signature={}&e=1",
    "https://x.example/login?user=ann&password={}", "www.shop.example/verify?otp={}",
    "https://x.example/;jsessionid={}",
    "https://x.example/?sig={}", "https://x.example/?client_secret={}", "https://x.example/cb?code=1&session={}",
    "HTTPS://X.EXAMPLE/?TOKEN={}", "https://x.example/?refreshToken={}", "https://x.example/?auth={}",
    "https://x.example/magic?login_token={}", "https://[2001:db8::1]:443/?token={}",
]  # fmt: skip


def fill(form: str, rng: random.Random) -> str:
    """Return the form with `#` as digits, `N` as 2 to 9, `A` as letters and `C` mostly as digits."""
    draw = {"#": "0123456789", "N": "23456789", "A": "ABCDEFGHJKLMNPRSTUVWXYZ", "C": "0123456789" * 3 + "ABCDEF"}
    return "".join(rng.choice(draw[sign]) if sign in draw else sign for sign in form)


def draw_phone(rng: random.Random) -> str:
    """Return a phone number in the writing of one of many countries."""
    return fill(rng.choice(PHONE_FORMS), rng)


def draw_bare_phone(rng: random.Random) -> str:
    """Return a phone number that only its context tells from another number."""
    number = fill(rng.choice(BARE_PHONES), rng)
    return "7" + number[1:] if number.startswith("0") else number


def draw_email(rng: random.Random) -> str:
    """Return an e-mail address: tags, subdomains, domains beyond ASCII."""
    address = f"{rng.choice(NAMES)}{rng.choice(TAGS)}@{rng.choice(DOMAINS)}.{rng.choice(ENDS)}"
    return address.upper() if rng.random() < 0.05 else address


def draw_iban(rng: random.Random) -> str:
    """Return an IBAN whose check digits hold, in one piece, in groups or in lower case."""
    country = rng.choice(sorted(IBAN_FORMS))
    account = fill(IBAN_FORMS[country], rng)
    value = int("".join(str(int(sign, 36)) for sign in account + country + "00"))
    number = f"{country}{98 - value % 97:02}{account}"
    writing = rng.randrange(4)
    if writing:
        number = (" ", " ", "-")[writing - 1].join(number[at : at + 4] for at in range(0, len(number), 4))
    return number.lower() if rng.random() < 0.25 else number


def draw_card(rng: random.Random) -> str:
    """Return a card number whose last digit is right, in one piece or grouped as on the card."""
    start, groups = rng.choice(CARD_STARTS)
    body = start + "".join(rng.choice("0123456789") for _ in range(sum(groups) - len(start) - 1))
    doubled = [int(digit) * (2 - at % 2) for at, digit in enumerate(reversed(body))]
    number = body + str(-sum(digit // 10 + digit % 10 for digit in doubled) % 10)
    parts = [number[sum(groups[:at]) : sum(groups[: at + 1])] for at in range(len(groups))]
    return rng.choice(("", " ", " ", "-")).join(parts)


def draw_ipv4(rng: random.Random) -> str:
    """Return an IPv4 address that a host may have."""
    return f"{rng.randrange(1, 224)}." + ".".join(str(rng.randrange(256)) for _ in range(3))


def draw_ipv6(rng: random.Random) -> str:
    """Return an IPv6 address: full, compressed, in upper case or with an IPv4 address in it."""
    groups = [rng.choice(["2001", "2a02", "fe80", "fd12", "2606"]), *(f"{rng.randrange(65536):x}" for _ in range(7))]
    zeros = rng.randrange(7)
    groups[1 : 1 + zeros] = ["0"] * zeros
    address = ipaddress.IPv6Address(":".join(groups))
    written = rng.choice([address.compressed, address.compressed, address.exploded, f"::ffff:{draw_ipv4(rng)}", "::1"])
    return written.upper() if rng.random() < 0.1 else written


def draw_url(rng: random.Random) -> str:
    """Return a URL that carries a secret."""
    return rng.choice(URL_FORMS).format("".join(rng.choice("abcdefXYZ0123456789-_") for _ in range(16)) + "9")


PLANTED: dict[str, tuple[str, Draw, list[str]]] = {  # the kind: its placeholder, its values, its contexts
    "email": ("<EMAIL>", draw_email, [*ANY_CONTEXTS, *EMAIL_CONTEXTS]),
    "phone": ("<PHONE>", draw_phone, [*ANY_CONTEXTS, *PHONE_CONTEXTS]),
    "bare phone": ("<PHONE>", draw_bare_phone, PHONE_CONTEXTS),
    "iban": ("<IBAN>", draw_iban, [*ANY_CONTEXTS, *IBAN_CONTEXTS]),
    "card": ("<CARD>", draw_card, [*ANY_CONTEXTS, *CARD_CONTEXTS]),
    "ipv4": ("<IP>", draw_ipv4, [*ANY_CONTEXTS, *IP_CONTEXTS]),
    "ipv6": ("<IP>", draw_ipv6, [*ANY_CONTEXTS, *IP6_CONTEXTS]),
    "url": ("<URL>", draw_url, [*ANY_CONTEXTS, *URL_CONTEXTS]),
}


def plant(kind: str, count: int, seed: int) -> Iterator[tuple[str, str, str]]:
    """Yield texts with one value of the kind each: the text, the value, and the text as it should become."""
    rng = random.Random(f"{kind} {seed}")
    placeholder, draw, contexts = PLANTED[kind]
    for _ in range(count):
        value, context = draw(rng), rng.choice(contexts)
        yield context.format(value), value, context.format(placeholder)


NEAR_MISSES = [
    "order {12}", "order number 555-123-4567", "Order #{8}", "my order no. is {10}", "invoice {4}-{6}", "ref {10}",
    "reference: {9}", "ticket 020 7946 0958", "case number {3}-{3}-{4}", "tracking {12}", "tracking number 1Z{9}",
    "parcel {14}", "booking {8}", "transaction id {12}", "account {8}", "account number {10}", "sort code {2}-{2}-{2}",
    "sort code 20-00-00 account {8}", "customer id {7}", "policy {9}", "contract {10}", "serial no {11}", "IMEI {15}",
    "ISBN 978-3-16-148410-0", "EAN {13}", "PIN {4}", "OTP {6}", "code {6}", "postcode SW1A 2AA", "zip 90210-1234",
    "I paid $1,234,567.89", "\u00a31234.56", "1.234.567,89 EUR", "costs 1 234 567 kr", "12,345,678 people",
    "100000 dollars",
    "USD 1234567", "1234567.89", "about 3.14159265", "10 000 000", "balance of 2500000", "rate 1.23456789",
    "2023-10-12 14:30:55", "12/10/2023", "10.12.2023 08:15", "20231012", "20231012143055", "on 12 10 2023 at 14 30",
    "2023-10-12T14:30:55Z", "between 2019 - 2023", "1990-2020", "from 10:30-11:45", "at 12:30:45",
    "12-10-2023 12-11-2023",
    "version 1.2.3.4", "v10.0.19045.3803", "Chrome/120.0.6099.109", "app 5.12.3", "iOS 17.2.1", "build 20231012",
    "section 1.2.3.4", "chapter 3.1.4.1", "size 10x20x30", "model A1234-5678-90", "SKU 1234-5678-90A",
    "part no. 12-3456-7890",
    "top 10 20 30 40 50", "1 2 3 4 5 6 7 8 9 10", "1-2-3-4-5-6-7", "24/7", "50/50", "9/11", "1/2 cup", "$5 - $10",
    "3 x 1234567", "12345678", "1234567890", "{16} is a transaction", "at 1600 Pennsylvania Ave", "24 12 2023",
    "std::vector", "a::b", "00:1A:2B:3C:4D:5E", "10::30", "@ann", "me@home", "a@b", "10 @ 5.50", "user@",
    "ratio 16:9:4",
    "https://shop.example/help?page=2&lang=en", "www.shop.example", "https://x.example/keyboards?color=red#top",
    "http://x.example/order/{10}", "hash {10}abcdef{10}", "DE{2} 1234", "GB29 NWBK", "AB12 CDE", "id {15}",
    "UUID {8}-{4}-4{3}-8{3}-{12}",
    "room 101 202 303", "page 12 of 345", "page 1234567", "flight BA2490", "size 38-40", "weighs 1234567 kg",
    "in 2024 2025",
    "{12} points", "my ticket is {9}", "item 1234-5678", "40 000 000 users", "amount 5000000", "top up 20.00.",
    "exchange 1000 2000 3000", "0.123456789", "-12345678.", "+10", "+ 20 000", "+5%", "+1 for that", "C++20",
    "x+1234567",
]  # fmt: skip


def near_misses(seed: int) -> Iterator[str]:
    """Yield texts that hold no personal data, `{n}` as n digits that are no date, no card and no IBAN by chance."""
    rng = random.Random(seed)
    for text in NEAR_MISSES:
        for digits in range(2, 17):
            text = text.replace(f"{{{digits}}}", "1" + fill("#" * (digits - 1), rng))
        yield text
        yield f"why was {text} not right?"
