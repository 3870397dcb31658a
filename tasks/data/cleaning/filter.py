"""The cleaning step that removes rows no model should learn from: too short, too long, foreign, boilerplate.

It goes by the form of the text alone; duplicates are `dedup`'s matter, and a text that fits no label is not
told here.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic.dataclasses import dataclass

from tasks.data.cleaning.effects import Effect, Memory, effect_of, make_report, removals
from tasks.data.cleaning.language import LANGUAGES, UNSURE, count_words, tell_languages
from tasks.data.cleaning.row_steps import Looked, look, reads_one_text
from tasks.data.cleaning.scrub import scrub_text
from tasks.data.rows import keep, shorten, values, with_values
from tasks.data.similarity import text_key

if TYPE_CHECKING:
    import pyarrow as pa

MIN_LINE_TEXTS = 10  # distinct ones that hold a line before it is boilerplate, however small the share


def _check_language(code: str) -> str:
    if code not in LANGUAGES:
        raise ValueError(f"no language {code!r} can be told; give ISO 639 codes such as en, de, fr, es or zh, "
                         "or leave languages out")  # fmt: skip
    return code


def _check_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"the pattern {shorten(pattern)!r} is no regular expression ({error}); mend it, or put a "
                         "backslash before each sign that stands for itself") from None  # fmt: skip
    return pattern


@dataclass(frozen=True, config={"extra": "forbid"})
class Filter:
    """Remove rows with fewer words than `min_words`, more than `max_words`, in another language or of a pattern.

    A row goes where its text is told to be in none of `languages` (ISO 639 codes; a text too short to tell stays), and
    where one of the regular expressions `patterns` is found in it. Lines that at least `boilerplate_share` (0 to 1) of
    the distinct texts repeat, and at least 10 of them, are cut out of texts of several lines before that. In scripts
    without spaces each character counts as a word.
    """

    kind: Literal["filter"] = "filter"
    min_words: Annotated[int, Field(ge=1, le=100_000)] = 1
    max_words: Annotated[int, Field(ge=1, le=100_000)] | None = None
    languages: tuple[Annotated[str, AfterValidator(_check_language)], ...] = ()
    patterns: tuple[Annotated[str, Field(min_length=1), AfterValidator(_check_pattern)], ...] = ()
    boilerplate_share: Annotated[float, Field(gt=0, le=1)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_words is not None and self.max_words < self.min_words:
            raise ValueError(f"max_words {self.max_words} is below min_words {self.min_words}, which no text can meet; "
                             "raise max_words or lower min_words")  # fmt: skip
        return self


@reads_one_text.register(Filter)
def _reads_one_text(step: Filter) -> bool:
    return step.boilerplate_share is None


@look.register(Filter)
def _look(step: Filter, texts: Sequence[str]) -> Looked:
    return texts, _tell_reasons(step, texts)


@effect_of.register(Filter)
def _filter(step: Filter, table: "pa.Table", memory: Memory | None = None) -> Effect:
    old = values(table, "text")
    new, reasons = filter_texts(step, old)
    left = keep(with_values(table, "text", new), [not reason for reason in reasons])
    changed = sum(before != after and not reason for before, after, reason in zip(old, new, reasons, strict=True))
    counts = Counter(reason for reason in reasons if reason)
    report = make_report(step.kind, table.num_rows, left.num_rows, changed, _show_each(old, new, reasons), counts)
    gone = {name: reason for name, reason in zip(values(table, "id"), reasons, strict=True) if reason}
    return Effect(left, report, removals(step.kind, list(gone), list(gone.values()), [""] * len(gone)))


def filter_texts(step: Filter, texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the texts without boilerplate lines, and why each of them goes; empty for those that stay.

    As rows go, a line may come to stand in a larger share of those left: cutting and looking go on until neither finds
    anything, so that applying the step again changes nothing.
    """
    new, reasons = list(texts), [""] * len(texts)
    unseen = set(range(len(texts)))
    while True:
        left = [row for row, reason in enumerate(reasons) if not reason]
        for row, text in zip(left, _cut_lines([new[row] for row in left], step.boilerplate_share), strict=True):
            if text != new[row]:
                new[row] = text
                unseen.add(row)
        if not unseen:
            return new, reasons
        looked = sorted(unseen)
        for row, reason in zip(looked, _tell_reasons(step, [new[row] for row in looked]), strict=True):
            reasons[row] = reason
        unseen.clear()


def _cut_lines(texts: Sequence[str], share: float | None) -> list[str]:
    """Return the texts of several lines without those lines that a share of the distinct texts repeats."""
    if share is None:
        return list(texts)
    lines = {text: [(text_key(line), line) for line in text.splitlines()] for text in texts}
    several = {text: pairs for text, pairs in lines.items() if sum(bool(key) for key, _ in pairs) > 1}
    distinct = {text_key(text): text for text in texts}
    counts = Counter(
        chain.from_iterable({key for key, _ in several[text] if key} for text in distinct.values() if text in several)
    )
    repeated = {key for key, count in counts.items() if count >= max(MIN_LINE_TEXTS, share * len(distinct))}
    cut = {
        text: "\n".join(line for key, line in pairs if key not in repeated).strip()
        for text, pairs in several.items()
        if any(key in repeated for key, _ in pairs)
    }
    return [cut.get(text, text) for text in texts]


def _tell_reasons(step: Filter, texts: Sequence[str]) -> list[str]:
    """Return why each text goes, empty for one that stays; languages are told last, as they cost most."""
    patterns = {pattern: re.compile(pattern) for pattern in step.patterns}
    reasons = []
    for text in texts:
        words = count_words(text)
        if words < step.min_words:
            reasons.append("too short")
        elif step.max_words is not None and words > step.max_words:
            reasons.append("too long")
        else:
            found = next((shown for shown, pattern in patterns.items() if pattern.search(text)), None)
            reasons.append("" if found is None else f"with the pattern {shorten(found, 40)!r}")
    if step.languages:
        open_rows = [row for row, reason in enumerate(reasons) if not reason]
        for row, language in zip(open_rows, tell_languages([texts[row] for row in open_rows]), strict=True):
            if language != UNSURE and language not in step.languages:
                reasons[row] = f"in the language {language}"
    return reasons


def _show_each(old: Sequence[str], new: Sequence[str], reasons: Sequence[str]) -> Iterator[str]:
    """Yield an example of each reason, then a second one of each, and so on; texts without personal data."""
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for before, after, reason in zip(old, new, reasons, strict=True):
        if reason or before != after:
            groups[reason].append((before, after))
    shown = ([_show(reason, *pair) for pair in pairs[:10]] for reason, pairs in groups.items())
    return (example for example in chain.from_iterable(zip_longest(*shown)) if example)


def _show(reason: str, before: str, after: str) -> str:
    if reason:
        return f"{reason}: {shorten(scrub_text(before))!r}"
    kept = after.splitlines()
    out = " / ".join(line for line in before.splitlines() if line not in kept and line.strip())
    return f"without {shorten(scrub_text(out))!r}: {shorten(scrub_text(after))!r}"
