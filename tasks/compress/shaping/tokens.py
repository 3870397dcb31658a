"""Fewer tokens in a tokenizer, told by its JSON: which must stay, and the JSON without the others.

Knows the models WordPiece, BPE (of bytes too), Unigram and WordLevel. A text that is made of kept tokens alone is
tokenised as before. Touches no weights.
"""

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from tasks.errors import ModelError

Json = dict[str, Any]
BYTE_LENGTH = len("<0x00>")


def vocabulary(content: Json) -> dict[str, int]:
    """Return the tokens of a tokenizer's JSON, added ones too, with their numbers.

    Raises:
        ModelError: its model is of a kind that is not known.
    """
    return {**_of_model(content["model"]), **{token["content"]: token["id"] for token in content["added_tokens"]}}


def _of_model(model: Json) -> dict[str, int]:
    kind = model.get("type")
    if kind == "Unigram":
        return {piece: number for number, (piece, _) in enumerate(model["vocab"])}
    if kind in ("WordPiece", "BPE", "WordLevel"):
        return dict(model["vocab"])
    raise ModelError(
        f"compress: trim_vocabulary knows tokenizers of the kinds WordPiece, BPE, Unigram and WordLevel, not {kind!r}; "
        "leave the pass out"
    )


def needed(content: Json, used: Collection[int]) -> set[int]:
    """Return the numbers of the tokens that stay so that texts made of the `used` ones are tokenised as before.

    Beside these: special and added tokens, single characters at the start of a word and within it, bytes, what a used
    token is merged from, and the least probable piece of a Unigram model, on which the price of an unknown character
    depends.
    """
    model, tokens = content["model"], vocabulary(content)
    stays = set(used) | {tokens[name] for name in _named(content) if name in tokens}
    if content.get("padding"):
        stays.add(content["padding"]["pad_id"])
    stays |= {number for token, number in tokens.items() if _is_character(token, model)}
    if model["type"] == "Unigram":
        stays.add(min(range(len(model["vocab"])), key=lambda number: model["vocab"][number][1]))
        if model.get("unk_id") is not None:
            stays.add(model["unk_id"])
    if model["type"] == "BPE":
        merges = _merges(model)
        names = {number: token for token, number in tokens.items()}
        for number in list(stays):
            stays |= {tokens[_joined(*pair, model)] for pair in _derivation(names[number], merges, model)}
    return stays


def _named(content: Json) -> Iterator[str]:
    """Yield the tokens that the tokenizer itself names: added ones, padding, and what stands for the unknown."""
    yield from (token["content"] for token in content["added_tokens"])
    if content.get("padding"):
        yield content["padding"]["pad_token"]
    if content["model"].get("unk_token"):
        yield content["model"]["unk_token"]
    for part in _processors(content.get("post_processor")):
        yield from part.get("special_tokens", {})
        yield from (part[end][0] for end in ("sep", "cls") if end in part)


def _processors(post: Json | None) -> list[Json]:
    if not post:
        return []
    return [one for part in post["processors"] for one in _processors(part)] if "processors" in post else [post]


def _is_character(token: str, model: Json) -> bool:
    """Tell whether a token is one character, whatever marks its place in the word, or one byte."""
    bare = token.removeprefix(model.get("continuing_subword_prefix") or "")
    bare = bare.removesuffix(model.get("end_of_word_suffix") or "")
    is_byte = len(token) == BYTE_LENGTH and token.startswith("<0x") and token.endswith(">")
    return len(bare) <= 1 or len(token) == 1 or is_byte


# -- byte pair encoding ------------------------------------------------------------------------------------------------


def _merges(model: Json) -> dict[tuple[str, str], int]:
    """Return the merges with their ranks, lowest first."""
    return {_pair(merge): rank for rank, merge in enumerate(model["merges"])}


def _pair(merge: str | Sequence[str]) -> tuple[str, str]:
    """Return the two parts of a merge, of which there are two ways to write it."""
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left, right


def _joined(left: str, right: str, model: Json) -> str:
    return left + right.removeprefix(model.get("continuing_subword_prefix") or "")


def _derivation(token: str, ranks: Mapping[tuple[str, str], int], model: Json) -> list[tuple[str, str]]:
    """Return the merges that make a token, in order.

    They are the same within any word: a merge across the token's ends would have left another token there, so those
    within it happen in the order that they have where it stands alone.
    """
    parts, made = _symbols(token, model), list[tuple[str, str]]()
    while len(parts) > 1:
        pairs = pairwise(parts)
        rank, place = min((ranks.get(pair, len(ranks)), at) for at, pair in enumerate(pairs))
        if rank == len(ranks):
            break  # no text is ever given this token by merging
        left, right = parts[place : place + 2]
        made.append((left, right))
        parts[place : place + 2] = [_joined(left, right, model)]
    return made


def _symbols(token: str, model: Json) -> list[str]:
    """Return the characters that a token is merged from, with the marks of their places in the word."""
    prefix, suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
    inner, ends = bool(prefix) and token.startswith(prefix), bool(suffix) and token.endswith(suffix)
    characters = list(token.removeprefix(prefix).removesuffix(suffix))
    if ends and characters:
        characters[-1] += suffix
    return [prefix + one if inner or place else one for place, one in enumerate(characters)]


# -- the smaller JSON --------------------------------------------------------------------------------------------------


def trimmed(content: Json, kept: Collection[int]) -> tuple[Json, list[int]]:
    """Return the tokenizer's JSON with the kept tokens only, and their former numbers: at i that of the token now i.

    Args:
        content: the tokenizer's JSON, which stays as it is.
        kept: the numbers of the tokens that stay, as `needed` gives them.
    """
    content = copy.deepcopy(content)
    model = content["model"]
    tokens = _of_model(model)
    own = sorted(number for number in tokens.values() if number in kept)
    further = sorted({token["id"] for token in content["added_tokens"]} - set(tokens.values()))
    former = [*own, *further]  # an added token that the model does not know has a number behind all that it knows
    numbers = {old: new for new, old in enumerate(former)}
    _trim_model(model, tokens, numbers)
    for token in content["added_tokens"]:
        token["id"] = numbers[token["id"]]
    if content.get("padding"):
        content["padding"]["pad_id"] = numbers[content["padding"]["pad_id"]]
    for part in _processors(content.get("post_processor")):
        for special in part.get("special_tokens", {}).values():
            special["ids"] = [numbers[number] for number in special["ids"]]
        for end in ("sep", "cls"):
            if end in part:
                part[end][1] = numbers[part[end][1]]
    return content, former


def _trim_model(model: Json, tokens: Mapping[str, int], numbers: Mapping[int, int]) -> None:
    """Leave the model only the tokens that have a new number, under it."""
    if model["type"] == "Unigram":
        model["vocab"] = [entry for number, entry in enumerate(model["vocab"]) if number in numbers]
        if model.get("unk_id") is not None:
            model["unk_id"] = numbers[model["unk_id"]]
        return
    model["vocab"] = {token: numbers[number] for token, number in tokens.items() if number in numbers}
    if model["type"] == "BPE":
        known, ranks = model["vocab"], _merges(model)
        wanted = {merge for token in known for merge in _derivation(token, ranks, model)}
        model["merges"] = [model["merges"][rank] for rank in sorted(ranks[pair] for pair in wanted)]
