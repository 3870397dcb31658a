"""Trimming a tokenizer: whatever is made of kept tokens alone is tokenised as before, for every kind of tokenizer."""

import json
import random
from functools import cache
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from tasks.compress.shaping.tokens import needed, trimmed, vocabulary
from tasks.compress.shaping.vocabulary import count_tokens, most_used
from tasks.errors import ModelError

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
LETTERS = "abcdeé"
KINDS = ("wordpiece", "bpe", "bpe-bytes", "bpe-ends", "unigram", "unigram-bytes", "wordlevel")


def corpus() -> list[str]:
    """Words with a grammar, so that there is something to merge."""
    rng = random.Random(3)
    syllables = ["".join(pair) for pair in product("bcd", "aeé")]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(120)]
    return [" ".join(rng.choices(words, k=8)) for _ in range(300)]


def trained(kind: str) -> Tokenizer:
    """Return a tokenizer of a kind, trained on the corpus."""
    if kind == "wordpiece":
        made = Tokenizer(models.WordPiece(unk_token="<unk>"))
        trainer: Any = trainers.WordPieceTrainer(vocab_size=150, special_tokens=SPECIAL, show_progress=False)
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    elif kind.startswith("bpe"):
        ends = {"end_of_word_suffix": "</w>"} if kind == "bpe-ends" else {}
        made = Tokenizer(models.BPE(unk_token="<unk>", **ends))
        in_bytes = kind == "bpe-bytes"
        made.pre_tokenizer = pre_tokenizers.ByteLevel() if in_bytes else pre_tokenizers.Whitespace()
        trainer = trainers.BpeTrainer(
            vocab_size=420 if in_bytes else 150, special_tokens=SPECIAL, show_progress=False, **ends,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if in_bytes else [],
        )  # fmt: skip
    elif kind == "wordlevel":
        made = Tokenizer(models.WordLevel(unk_token="<unk>"))
        made.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer = trainers.WordLevelTrainer(vocab_size=80, special_tokens=SPECIAL, show_progress=False)
    else:
        made = Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        further = [f"<0x{byte:02X}>" for byte in range(256)] if kind == "unigram-bytes" else []
        trainer = trainers.UnigramTrainer(vocab_size=150 + len(further), special_tokens=[*SPECIAL, *further],
                                          unk_token="<unk>", show_progress=False)  # fmt: skip
    made.train_from_iterator(corpus(), trainer)
    return made


@cache
def whole(kind: str) -> Tokenizer:
    """Return the tokenizer as a model has it: start, end, padding, and one token that only the tokenizer knows."""
    made = trained(kind)
    if kind == "unigram-bytes":
        content = json.loads(made.to_str())
        content["model"]["byte_fallback"] = True
        made = Tokenizer.from_str(json.dumps(content))
    made.add_special_tokens([AddedToken("<mask>", special=True)])
    ends = [(name, made.token_to_id(name)) for name in ("<s>", "</s>")]
    made.post_processor = (
        processors.RobertaProcessing(ends[1], ends[0], trim_offsets=False, add_prefix_space=False) if kind == "bpe"
        else processors.Sequence([processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)])
    )  # fmt: skip
    made.enable_padding(pad_id=made.token_to_id("<pad>"), pad_token="<pad>")
    return made


def trim(tokenizer: Tokenizer, used: set[int]) -> tuple[Tokenizer, list[int]]:
    content = json.loads(tokenizer.to_str())
    smaller, former = trimmed(content, needed(content, used))
    return Tokenizer.from_str(json.dumps(smaller)), former


texts = st.lists(
    st.one_of(st.sampled_from(sorted({word for line in corpus() for word in line.split()})),
              st.text(LETTERS + "xß☃", min_size=1, max_size=8), st.sampled_from(["<mask>", "<s>"])),
    max_size=8,
).map(" ".join)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_of_kept_tokens_is_tokenised_as_before(kind: str) -> None:
    tokenizer = whole(kind)
    numbers = sorted(tokenizer.get_vocab().values())

    @settings(deadline=None, max_examples=150, derandomize=True)
    @given(learned=st.lists(texts, max_size=4), chance=st.sets(st.sampled_from(numbers), max_size=30), text=texts)
    def check(learned: list[str], chance: set[int], text: str) -> None:
        used = chance | set(count_tokens(tokenizer, learned))
        smaller, former = trim(tokenizer, used)
        assert set(former) >= used
        for each in (*learned, text):
            old, new = tokenizer.encode(each), smaller.encode(each)
            if set(former) >= set(old.ids):
                assert [former[number] for number in new.ids] == old.ids
                assert new.tokens == old.tokens
        padded = smaller.encode_batch(["", text])
        assert len(padded[0].ids) == len(padded[1].ids)
        assert {padded[0].ids[place] for place, one in enumerate(padded[0].attention_mask) if not one} <= {
            former.index(tokenizer.token_to_id("<pad>"))
        }

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_what_no_text_uses_goes_and_characters_stay(kind: str) -> None:
    tokenizer = whole(kind)
    learned = corpus()[:2]
    smaller, former = trim(tokenizer, set(count_tokens(tokenizer, learned)))
    before, after = tokenizer.get_vocab(), smaller.get_vocab()
    assert len(after) == len(former) < len(before)
    assert {token for token in before if len(token) == 1} <= after.keys()
    assert {*SPECIAL, "<mask>"} <= after.keys()
    assert {token for token in before if token.startswith("<0x")} <= after.keys()
    assert sorted(after.values()) == list(range(len(after)))
    assert all(before[token] == former[number] for token, number in after.items())
    if kind != "wordlevel":  # whatever it is, it can still be read
        assert "<unk>" not in smaller.encode(" ".join(corpus()[5:9])).tokens


def test_the_merges_of_other_tokens_go() -> None:
    tokenizer = whole("bpe")
    smaller, _ = trim(tokenizer, set())
    assert json.loads(smaller.to_str())["model"]["merges"] == []
    longest = max(tokenizer.get_vocab(), key=lambda token: (not token.startswith("<"), len(token)))
    smaller, _ = trim(tokenizer, {tokenizer.token_to_id(longest)})
    merges = json.loads(smaller.to_str())["model"]["merges"]
    assert 1 <= len(merges) < len(longest)  # its own derivation and nothing else: at most a merge for each gap
    assert longest in smaller.encode(longest).tokens


def test_an_unknown_character_costs_what_it_cost() -> None:
    """Its price hangs on the least probable piece: were that to go, 'xab' and an unknown character would be cheaper."""
    scores = {"<unk>": 0, "zz": -30, "xa": -19, "bé": -19, "cde": -1, "xab": -1, **dict.fromkeys("xabcdez", -19)}
    tokenizer = Tokenizer(models.Unigram([(piece, float(score)) for piece, score in scores.items()], unk_id=0))
    assert tokenizer.encode("xabécde").tokens == ["xa", "bé", "cde"]
    smaller, former = trim(tokenizer, {tokenizer.token_to_id(piece) for piece in ("xa", "bé", "cde", "xab")})
    assert smaller.encode("xabécde").tokens == ["xa", "bé", "cde"]
    assert len(former) == len(scores)
    assert "xab" not in trim(tokenizer, set())[0].get_vocab()


def test_merges_may_be_written_either_way() -> None:
    content = json.loads(whole("bpe").to_str())
    content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]
    used = set(count_tokens(whole("bpe"), corpus()[:3]))
    smaller, former = trimmed(content, needed(content, used))
    same, _ = trim(whole("bpe"), used)
    assert Tokenizer.from_str(json.dumps(smaller)).get_vocab() == same.get_vocab()
    assert len(former) == same.get_vocab_size()


def test_an_unknown_kind_is_refused_in_one_line() -> None:
    content = json.loads(whole("wordpiece").to_str())
    content["model"]["type"] = "Oracle"
    with pytest.raises(ModelError, match=r"knows tokenizers of the kinds WordPiece, BPE.* not 'Oracle'") as caught:
        vocabulary(content)
    assert "\n" not in str(caught.value)


def test_a_token_counts_once_for_each_text() -> None:
    tokenizer = whole("wordlevel")
    word = corpus()[0].split()[0]
    number = tokenizer.token_to_id(word)
    counts = count_tokens(tokenizer, [f"{word} {word}", word, ""])
    assert counts[number] == 2
    assert number in most_used(counts, 2, None)
    assert number not in most_used(counts, 3, None)
    ends = {tokenizer.token_to_id("<s>"), tokenizer.token_to_id("</s>")}
    assert most_used(counts, 1, 2) == ends  # padding was counted in no text but the empty one
