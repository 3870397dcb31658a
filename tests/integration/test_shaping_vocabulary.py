"""A smaller vocabulary and a narrower window in real models: what they answer, and how they open again."""

import json
from dataclasses import replace

import pytest
import torch

from tasks.artifacts import open_artifact
from tasks.compress.methods import TrimVocabulary, Window
from tasks.compress.pipeline import compress_pass
from tasks.errors import ModelError
from tasks.train.bases.families import WINDOWS
from tests.compress_support import material_of
from tests.shaping_support import TEXTS, known_texts, made, opened, probabilities

USED = [(text, "refund") for text in known_texts()]


@pytest.mark.parametrize("family", ["bert", "roberta", "mpnet", "deberta-v2", "modernbert", "t5", "gpt2"])
def test_a_text_of_kept_tokens_is_answered_as_before(family, tmp_path):
    source = made(tmp_path, family)
    found = compress_pass(TrimVocabulary(spare=0), source, tmp_path / "small", material_of(source, USED))
    model, before = opened(found), opened(source)
    rows = model.encoder.get_input_embeddings().weight.shape[0]
    assert rows == model.config.vocab_size == found.notes["tokens"] < before.config.vocab_size
    assert found.notes["texts_changed"] == 0
    assert found.size_bytes < source.size_bytes
    texts = known_texts()
    assert abs(probabilities(found, texts) - probabilities(source, texts)).max() < 1e-6
    tokens = json.loads((open_artifact(found)[0] / "tokenizer.json").read_text("utf-8"))
    assert tokens["padding"]["pad_id"] == model.config.pad_token_id
    again = compress_pass(TrimVocabulary(spare=0), source, tmp_path / "again", material_of(source, USED))
    assert again.digest == found.digest


def test_numbers_in_the_config_move_with_their_tokens(tmp_path):
    """Padding and end stand behind words that go: each keeps its vector."""
    source = made(tmp_path, "bert", pad="track", eos_token_id=30, bos_token_id=10)
    words = {number: word for word, number in _tokens(source).items()}
    before = opened(source)
    rows = [(f"please {words[30]}", "refund"), ("please", "refund")]
    found = compress_pass(TrimVocabulary(spare=0), source, tmp_path / "small", material_of(source, rows))
    config, now = opened(found).config, _tokens(found)
    assert config.pad_token_id == now["track"] < before.config.pad_token_id
    assert config.eos_token_id == now[words[30]] < 30
    assert config.bos_token_id is None  # its word went
    old, new = (model.encoder.get_input_embeddings().weight for model in (before, opened(found)))
    assert all(torch.equal(new[number], old[_tokens(source)[word]]) for word, number in now.items())
    texts = [text for text, _ in rows]  # of two lengths, so one is padded
    assert abs(probabilities(found, texts) - probabilities(source, texts)).max() < 1e-6


def test_positions_that_are_counted_from_the_padding_stay(tmp_path):
    source = made(tmp_path, "roberta", pad="the", max_position_embeddings=80)
    assert opened(source).config.pad_token_id == 5
    found = compress_pass(
        TrimVocabulary(spare=0), source, tmp_path / "small", material_of(source, [("it now", "refund")])
    )
    assert abs(probabilities(found, ["it now"]) - probabilities(source, ["it now"])).max() < 1e-6
    assert len(_tokens(found)) < len(_tokens(source))


def _tokens(candidate):
    return json.loads((open_artifact(candidate)[0] / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]


def test_only_the_most_used_stay_and_the_notes_say_what_changed(tmp_path):
    source = made(tmp_path, "bert")
    rows = [("please the my", "refund")] * 3 + [("please now", "refund")]
    found = compress_pass(TrimVocabulary(min_count=2, spare=0), source, tmp_path / "2", material_of(source, rows))
    assert found.notes["texts_changed"] == 0.25
    assert {"please", "the", "my"} <= _tokens(found).keys()
    assert "now" not in _tokens(found)
    fewer = compress_pass(TrimVocabulary(max_tokens=1, spare=0), source, tmp_path / "1", material_of(source, rows))
    assert "please" in _tokens(fewer)
    assert "the" not in _tokens(fewer)


def test_unlabelled_texts_keep_their_words_too(tmp_path):
    source = made(tmp_path, "bert")
    material = replace(material_of(source, USED), unlabelled=("zeppelin",))
    assert "zeppelin" in _tokens(compress_pass(TrimVocabulary(spare=0), source, tmp_path / "1", material))
    assert "zeppelin" not in _tokens(
        compress_pass(TrimVocabulary(spare=0), source, tmp_path / "2", material_of(source, USED))
    )
    with pytest.raises(ModelError, match=r"trim_vocabulary keeps what training texts use, and there are none"):
        compress_pass(TrimVocabulary(spare=0), source, tmp_path / "3", material_of(source))


# -- windows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["modernbert", "longformer", "mistral", "qwen3", "phi3"])
def test_a_narrow_window_leaves_short_texts_alone_and_far_words_unseen(family, tmp_path):
    source = made(tmp_path, family, **({"attention_window": 64} if family == "longformer" else {}))
    found = compress_pass(Window(tokens=8), source, tmp_path / "narrow", material_of(source))
    short = [text for text in (" ".join(text.split()[:3]) for text in TEXTS) if text]
    assert abs(probabilities(found, short) - probabilities(source, short)).max() < 1e-5
    before, after = opened(source).encoder, opened(found).encoder
    assert all(torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items())
    tokens = torch.arange(4, 36)[None]
    other = tokens.clone()
    other[0, 0] = 40
    seen = [bool(_changes(encoder, tokens, other)[-1] > 1e-6) for encoder in (before, after)]
    assert seen == [True, "full_attention" in (getattr(after.config, "layer_types", None) or [])]


@torch.no_grad()
def _changes(encoder, tokens, other):
    """Return how much each token's vector changes when another text is read, [tokens]."""
    mask = torch.ones_like(tokens)
    found = [encoder(input_ids=each, attention_mask=mask)[0] for each in (tokens, other)]
    return (found[0] - found[1]).abs().amax(-1)[0]


def test_where_no_layer_slides_all_do_afterwards(tmp_path):
    source = made(tmp_path, "modernbert", layer_types=["full_attention"] * 2)
    found = compress_pass(Window(tokens=8), source, tmp_path / "narrow", material_of(source))
    short = ["please the my", "now about it"]
    assert abs(probabilities(found, short) - probabilities(source, short)).max() < 1e-5
    encoder = opened(found).encoder
    tokens = torch.arange(4, 36)[None]
    other = tokens.clone()
    other[0, 0] = 40
    changes = _changes(encoder, tokens, other)
    assert changes[0] > 1e-6
    assert changes[-1] == 0  # two layers of four tokens on a side


def test_a_family_without_windows_names_those_that_have_one(tmp_path):
    source = made(tmp_path / "bert", "bert")
    with pytest.raises(ModelError, match=r"compress: window: bert offers no sliding window.*") as caught:
        compress_pass(Window(), source, tmp_path / "narrow", material_of(source))
    assert all(family in str(caught.value) for family in WINDOWS)
    assert "\n" not in str(caught.value)
    wide = made(tmp_path / "modernbert", "modernbert")
    with pytest.raises(ModelError, match=r"this modernbert has a window of 128 tokens already; .*not 256"):
        compress_pass(Window(tokens=256), wide, tmp_path / "wide", material_of(wide))
