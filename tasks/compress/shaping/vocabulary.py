"""The pass that trims the vocabulary: tokens that no training text uses go from tokenizer and embeddings.

Trains nothing. A text with a dropped token is read in smaller pieces from then on; any other is read as before.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.compress.material import Material
from tasks.compress.methods import TrimVocabulary
from tasks.compress.shaping.shaped import open_source, seal_shaped
from tasks.compress.shaping.tokens import needed, trimmed, vocabulary
from tasks.errors import ModelError
from tasks.records import Candidate

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)

CHUNK = 1000  # texts tokenised at once
TOKENIZER = "tokenizer.json"


def trim_vocabulary(method: TrimVocabulary, source: Candidate, folder: Path, material: Material) -> Candidate:
    """Return the source without the tokens that the training texts do not use, as an artifact in `folder`.

    Its notes: `tokens` left, `tokens_dropped`, and `texts_changed`, the share of the training texts that are tokenised
    otherwise than before.

    Raises:
        ModelError: the source is no torch model, its tokenizer is of a kind that is not known, or there are no texts.
    """
    from tokenizers import Tokenizer

    from tasks.train.bases.loading import places_before
    from tasks.train.bases.rebuild import with_words

    origin, manifest, model = open_source(source, method.kind)
    texts = [*(text for text, _ in material.train), *material.unlabelled]
    if not texts:
        raise ModelError("compress: trim_vocabulary keeps what training texts use, and there are none")
    content = json.loads((origin / TOKENIZER).read_text("utf-8"))
    before = Tokenizer.from_str(json.dumps({**content, "truncation": None, "padding": None}))
    used = most_used(count_tokens(before, texts), method.min_count, method.max_tokens)
    kept = needed(content, used | spared(vocabulary(content), needed(content, used), method.spare))
    if places_before(model.encoder):  # positions are counted from the number of the padding, which has to stay
        kept |= {number for number in vocabulary(content).values() if number <= model.config.pad_token_id}
    smaller, former = trimmed(content, kept)
    after = _checked(smaller, content, former)
    changed = _changed(before, after, former, texts)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TOKENIZER).write_text(json.dumps(smaller, ensure_ascii=False), "utf-8")
    model.encoder = with_words(model.encoder, former)
    model.config = model.encoder.config
    notes = {"tokens": len(former), "tokens_dropped": len(vocabulary(content)) - len(former),
             "texts_changed": changed / len(texts)}  # fmt: skip
    log.info("trim_vocabulary: %d of %d tokens stay; %d of %d texts are tokenised otherwise", len(former),
             len(vocabulary(content)), changed, len(texts))  # fmt: skip
    return seal_shaped(folder, model, folder, manifest, notes)


def count_tokens(tokenizer: "Tokenizer", texts: Iterable[str]) -> Counter[int]:
    """Return in how many of the texts each token stands, by its number."""
    counts: Counter[int] = Counter()
    for ids in _encoded(tokenizer, list(texts)):
        counts.update(set(ids))
    return counts


def most_used(counts: Counter[int], min_count: int, max_tokens: int | None) -> set[int]:
    """Return the tokens that at least `min_count` texts use, of these the `max_tokens` most used; None: all."""
    enough = sorted((-count, number) for number, count in counts.items() if count >= min_count)
    return {number for _, number in enough[:max_tokens]}


def spared(numbers: dict[str, int], kept: set[int], count: int) -> set[int]:
    """Return so many further tokens: those with the lowest numbers, as trainers of tokenizers put frequent ones first.

    Placeholders such as BERT's `[unused7]`, which no text gives, are none of them.
    """
    others = sorted(number for token, number in numbers.items() if number not in kept and "[unused" not in token)
    return set(others[:count])


def _encoded(tokenizer: "Tokenizer", texts: list[str]) -> Iterable[list[int]]:
    from serving.classes import encodable

    for start in range(0, len(texts), CHUNK):
        encodings = tokenizer.encode_batch([encodable(text) for text in texts[start : start + CHUNK]])
        yield from (encoding.ids for encoding in encodings)


def _checked(smaller: dict[str, Any], content: dict[str, Any], former: list[int]) -> "Tokenizer":
    """Return the smaller tokenizer, opened, that neither cuts nor pads.

    Raises:
        ModelError: it does not open, or gives a token another number than the weights will have for it.
    """
    from tokenizers import Tokenizer

    names = {number: token for token, number in vocabulary(content).items()}
    try:
        tokenizer = Tokenizer.from_str(json.dumps({**smaller, "truncation": None, "padding": None}))
    except Exception as error:  # the library raises nothing narrower
        raise ModelError(
            f"compress: trim_vocabulary leaves a tokenizer that does not open ({error}); leave the pass out"
        ) from error
    wrong = [names[old] for new, old in enumerate(former) if tokenizer.token_to_id(names[old]) != new]
    if wrong:
        raise ModelError(
            f"compress: trim_vocabulary expected {wrong[0]!r} under another number than the tokenizer gives it; two "
            "tokens may have the same text; leave the pass out"
        )
    return tokenizer


def _changed(before: "Tokenizer", after: "Tokenizer", former: list[int], texts: list[str]) -> int:
    """Return how many of the texts are tokenised otherwise than before, all kept tokens included.

    Raises:
        ModelError: one of them is though it uses kept tokens only, so the tokenizer has something that is not known.
    """
    kept, changed = set(former), 0
    for text, old, new in zip(texts, _encoded(before, texts), _encoded(after, texts), strict=True):
        if [former[number] for number in new] != old:
            changed += 1
            if kept.issuperset(old):
                raise ModelError(
                    f"compress: trim_vocabulary would tokenise {text[:80]!r} otherwise though it uses no token that "
                    "went; this tokenizer has a part that the pass does not know; leave it out"
                )
    return changed
