"""Text as a person would have typed it: Unicode NFC, mojibake, control characters, HTML and white space mended.

It parses no page: tags go, the text between them stays, and what only looks like markup (`a < b`, `<3`, `<NAME>`) is
text. It removes no rows and no personal data.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic.dataclasses import dataclass

from tasks.data.cleaning.row_steps import Looked, look

_INVISIBLE = re.compile(
    "[\u00ad\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]"
)  # joiners stay: scripts and emoji use them
_PLAIN = re.compile(r"[ -%'-~\n]*")  # ASCII without control characters and ampersands: nothing for ftfy to mend
_SPACES = re.compile(r"[^\S\n\u2028\u2029]+")
_LINE_BREAKS = re.compile(r" ?[\n\u2028\u2029]\s*+")
_MAX_ROUNDS = 10

# The elements of HTML (WHATWG, "HTML Living Standard", index of elements) with the old ones that pages still use, by
# what stands in their place: nothing, a space or a line break.
_INLINE = """
    a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark nobr q rp rt ruby s samp small span
    strike strong sub sup time tt u var wbr
"""
_SPACED = """
    applet area audio base button canvas datalist embed iframe img input map meta link meter noframes noscript object
    optgroup option output param picture progress script select slot source style svg math td template textarea th track
    video
"""
_BLOCK = """
    address article aside blockquote body br caption center col colgroup dd details dialog dir div dl dt fieldset
    figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html legend li main menu nav ol
    p pre search section summary table tbody tfoot thead title tr ul
"""
_STANDS_FOR = {name: sign for sign, names in (("", _INLINE), (" ", _SPACED), ("\n", _BLOCK)) for name in names.split()}
_FLAGS = """
    allowfullscreen async autofocus autoplay checked controls default defer disabled formnovalidate hidden inert ismap
    itemscope loop multiple muted nomodule noshade novalidate nowrap open playsinline readonly required reversed
    selected
"""
# No part of a tag holds `<`, so that each sign is looked at for one tag only: hostile text costs linear time.
_ATTRIBUTE = (
    r"\s*+[a-z_:@*#.-][\w:.@-]*+\s*+=\s*+(?:\"[^\"<]*+\"|'[^'<]*+'|[^\s\"'<>`]++)"
    rf"|\s++(?:{'|'.join(_FLAGS.split())})(?![\w-])"
)
_TAG = re.compile(
    rf"</?({'|'.join(sorted(_STANDS_FOR, key=len, reverse=True))})(?![\w:-])(?:{_ATTRIBUTE})*+\s*+/?>"
    r"|<(?:!doctype\s[^<>]*+|\?xml\s[^<>]*+)>",
    re.IGNORECASE,
)
_OPENING = re.compile(r"<!--|<(script|style)(?=[\s/>])[^<>]*+>", re.IGNORECASE)
_CLOSING = {
    "": re.compile("-->"),
    "script": re.compile(r"</script\s*+>", re.IGNORECASE),
    "style": re.compile(r"</style\s*+>", re.IGNORECASE),
}


@dataclass(frozen=True, config={"extra": "forbid"})
class Normalise:
    """Unicode NFC, mojibake repaired, control characters out, white space collapsed; `html`: no entities, no tags."""

    kind: Literal["normalise"] = "normalise"
    html: bool = True


@look.register(Normalise)
def _look(step: Normalise, texts: Sequence[str]) -> Looked:
    return [normalise_text(text, html=step.html) for text in texts], [""] * len(texts)


def normalise_text(text: str, *, html: bool = True) -> str:
    """Return the text in NFC, mended and with white space collapsed; applying it again changes nothing.

    Line breaks stay (one for a run of them), quotation marks are not straightened: production text has them too. Tags
    of HTML go, comments, scripts and styles with what they hold; a tag that breaks the line leaves a line break. Markup
    that was written as entities goes too (`&lt;b&gt;`): a page escaped twice looks the same as a person who writes
    about tags, and is far more common.
    """
    if _is_clean(text):
        return text
    for _ in range(_MAX_ROUNDS):
        mended = _normalise_once(text, html=html)
        if mended == text:
            break
        text = mended
    return text


def _is_clean(text: str) -> bool:
    """Return whether one line of plain ASCII has nothing to mend, which most texts are told by at once."""
    if not (text.isascii() and text.isprintable()) or "<" in text or "&" in text or "  " in text:
        return False
    return not text or (text[0] != " " and text[-1] != " ")


def _normalise_once(text: str, *, html: bool) -> str:
    if not _PLAIN.fullmatch(text):
        import ftfy

        text = _INVISIBLE.sub("", ftfy.fix_text(text, unescape_html=html, uncurl_quotes=False, normalization="NFC"))
    if html and "<" in text:
        text = _TAG.sub(_stand_in, " ".join(_outside_blocks(text)))
    return _LINE_BREAKS.sub("\n", _SPACES.sub(" ", text)).strip()


def _outside_blocks(text: str) -> Iterator[str]:
    """Yield the text between comments, scripts and styles; one that is never closed is text."""
    at, unclosed = 0, set()
    for opening in _OPENING.finditer(text):
        kind = (opening[1] or "").lower()
        if opening.start() < at or kind in unclosed:
            continue
        closing = _CLOSING[kind].search(text, opening.end())
        if closing is None:
            unclosed.add(kind)
            continue
        yield text[at : opening.start()]
        at = closing.end()
    yield text[at:]


def _stand_in(tag: re.Match[str]) -> str:
    return _STANDS_FOR[tag[1].lower()] if tag[1] else "\n"
