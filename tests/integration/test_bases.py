"""Bases of every family through the whole room: loaded, trained, saved, opened again, exported, quantised; changed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, set_seed

from tasks.artifacts import open_artifact
from tasks.compress.exporting.onnx_export import PARITY_TOLERANCE, export_onnx
from tasks.compress.methods import Int8Dynamic, Onnx
from tasks.compress.quantising.dynamic import quantise_dynamic
from tasks.errors import ArtifactError, ModelError
from tasks.measure.profiling.calls import open_parts
from tasks.measure.runtime import load
from tasks.records import Candidate
from tasks.train.bases.base import Base, FromConfig, Pretrained
from tasks.train.bases.cost import base_cost
from tasks.train.bases.families import WINDOWS, encoder_inputs, keep_layers, make_encoder, set_window
from tasks.train.bases.layers import encoder_layers
from tasks.train.bases.loading import load_base, longest_input
from tasks.train.finetune import finetune
from tasks.train.lesson import Lesson
from tasks.train.methods import FineTune
from tasks.train.model import EncoderClassifier, load_artifact, save_artifact
from tests.base_support import make_base, make_config, make_tokenizer
from tests.compress_support import material_of
from tests.loop_support import messages

PUBLISHED = ("bert", "roberta", "distilbert", "mpnet", "deberta-v2", "modernbert", "t5", "gpt2")
METHOD = FineTune(epochs=2, learning_rate=0.01, batch_size=16, precision="fp32", patience=9)
ROWS = [(row["text"], row["label"]) for row in messages(480, seed=1)]
TRAIN, REST = ROWS[:320], ROWS[320:]
LESSON = Lesson(TRAIN, REST[:40], tuple(sorted({label for _, label in ROWS})))
TEXTS = [text for text, _ in REST]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base of each family and a tokenizer alone."""
    root = tmp_path_factory.mktemp("bases")
    for family in PUBLISHED:
        make_base(root / family, family, num_hidden_layers=1)
    make_tokenizer().save_pretrained(root / "tokenizer")
    return root


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def trained(base: Base, folder: Path, **changes: Any) -> Candidate:
    folder.mkdir()
    return finetune(base, replace(METHOD, **changes), LESSON, folder / "model")


def accuracy(candidate: Candidate) -> float:
    found = load(candidate, 1).predict(TEXTS).outputs
    return float(np.mean([output == label for output, (_, label) in zip(found, REST, strict=True)]))


def fresh(folders: Path, family: str, **changes: Any) -> FromConfig:
    sizes: dict[str, Any] = {"hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 64, **changes}
    return FromConfig(family=family, tokenizer=str(folders / "tokenizer"), **sizes)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", PUBLISHED)
def test_a_base_of_any_family_goes_all_the_way(family: str, folders: Path, tmp_path: Path) -> None:
    made = trained(str(folders / family), tmp_path / "fit", pooling="last" if family == "gpt2" else "mean")
    assert accuracy(made) > 0.7  # by chance: 0.25
    folder, manifest = open_artifact(made)
    assert manifest["inputs"] == ["input_ids", "attention_mask", *(["token_type_ids"] if family == "bert" else [])]
    assert made.notes["multiply_adds_per_token"] == base_cost(str(folders / family)) > 0
    assert made.notes["parameters"] > made.notes["multiply_adds_per_token"]
    again = [load_artifact(folder, manifest) for _ in range(2)]
    parts = open_parts(folder, manifest, 1)
    batch = parts.tokenize(TEXTS[:8])
    inputs = {name: torch.from_numpy(batch[name]) for name in manifest["inputs"]}
    with torch.inference_mode():
        logits = [model(**inputs)["logits"].numpy() for model in again]
    np.testing.assert_array_equal(logits[0], logits[1])
    np.testing.assert_array_equal(logits[0], parts.run(batch))
    exported = export_onnx(Onnx(), made, tmp_path / "onnx", material_of(made))
    assert exported.notes["parity"] < PARITY_TOLERANCE
    before, after = (load(each, 1).predict(TEXTS).probabilities for each in (made, exported))
    np.testing.assert_allclose(before, after, atol=1e-4)  # type: ignore[arg-type]
    small = quantise_dynamic(Int8Dynamic(), exported, tmp_path / "int8", material_of(made))
    assert accuracy(small) > accuracy(made) - 0.1


@pytest.mark.parametrize("family", ["bert", "deberta-v2", "modernbert", "t5", "gpt2"])
def test_a_model_from_a_config_learns_and_begins_the_same_for_the_same_seed(
    family: str, folders: Path, tmp_path: Path
) -> None:
    base = fresh(folders, family)
    made = trained(base, tmp_path / "fit")
    assert accuracy(made) > 0.7
    assert base_cost(base) == made.notes["multiply_adds_per_token"]
    weights = []
    for seed in (13, 13, 14):
        set_seed(seed)
        weights.append(load_base(base, 4, "mean", 0.1)[0].state_dict())
    same, other = (all(torch.equal(weights[0][name], each[name]) for name in each) for each in weights[1:])
    assert same
    assert not other


def test_a_base_from_a_config_has_the_sizes_that_it_was_given(folders: Path) -> None:
    base = fresh(folders, "bert", layers=3, hidden_size=16, max_length=900)
    model, tokenizer = load_base(base, 4, "mean", 0.1)
    assert (model.config.num_hidden_layers, model.config.hidden_size) == (3, 16)
    assert longest_input(model, tokenizer) == 900
    attention, ffn, norms = 4 * (16 * 16 + 16), 2 * 16 * 64 + 64 + 16, 2 * 2 * 16
    assert base_cost(base) == base_cost(model.encoder) == 3 * (attention + ffn + norms) + 2 * 16
    with pytest.raises(ModelError, match=r"hidden_size 32 does not divide by heads 3"):
        load_base(fresh(folders, "gpt2", heads=3), 4, "mean", 0.1)


def test_padding_on_either_side_and_the_length_of_the_batch_change_nothing(folders: Path) -> None:
    for family in PUBLISHED:
        model, tokenizer = load_base(str(folders / family), 4, "last" if family == "gpt2" else "mean", 0.1)
        assert (tokenizer.padding_side, tokenizer.truncation_side) == ("right", "right")
        texts = ["money back please", "parcel late again today with the courier"]
        alone, both = (tokenizer(part, padding=True, return_tensors="pt") for part in (texts[:1], texts))
        assert set(both) == set(encoder_inputs(model.encoder))
        with torch.inference_mode():
            torch.testing.assert_close(model.eval()(**alone)["logits"][0], model(**both)["logits"][0])


def test_positions_before_the_first_token_do_not_count(folders: Path) -> None:
    model, tokenizer = load_base(str(folders / "roberta"), 4, "mean", 0.1)
    assert longest_input(model, tokenizer) == 64  # of 65 rows: the numbers begin after that of the padding
    encoded = tokenizer("money " * 80, truncation=True, max_length=64, return_tensors="pt")
    assert encoded["input_ids"].shape == (1, 64)
    assert model(**encoded)["logits"].isfinite().all()


# -- windows -----------------------------------------------------------------------------------------------------------


def vectors(encoder: PreTrainedModel, words: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        tokens = torch.tensor([words])
        hidden: torch.Tensor = encoder.eval()(input_ids=tokens, attention_mask=torch.ones_like(tokens))[0]
    return hidden[0]  # [tokens, hidden]


@pytest.mark.parametrize("family", sorted(WINDOWS))
def test_a_token_outside_the_window_is_not_seen(family: str) -> None:
    config = make_config(family, num_hidden_layers=1)
    set_window(config, 8)
    if family == "modernbert":
        config.layer_types = ["sliding_attention"]
    torch.manual_seed(0)
    encoder = make_encoder(config)
    words, changed = [5] * 48, [5] * 48
    changed[10] = 6
    moved = (vectors(encoder, words) - vectors(encoder, changed)).abs().amax(1) > 1e-6  # [tokens]
    left = 4 if family in ("modernbert", "longformer") else 0  # decoders look back only
    right = 4 if left else 7
    assert moved.nonzero().flatten().tolist() == list(range(10 - left, 10 + right + 1))


def test_a_window_and_a_thousand_tokens_survive_the_artifact(folders: Path, tmp_path: Path) -> None:
    base = fresh(folders, "modernbert", window=16, max_length=1024, layers=1)
    long = Lesson([(f"{text} the" * 40, label) for text, label in TRAIN[:32]], [], LESSON.labels)
    (tmp_path / "fit").mkdir()
    made = finetune(base, replace(METHOD, epochs=1, max_length=1000), long, tmp_path / "fit" / "model")
    folder, manifest = open_artifact(made)
    assert manifest["max_length"] == 1000
    encoder = load_artifact(folder, manifest).encoder
    assert (encoder.config.local_attention, encoder.config.layer_types) == (16, ["sliding_attention"])
    words = [5] * 900
    changed = [*words[:20], 6, *words[21:]]
    moved = (vectors(encoder, words) - vectors(encoder, changed)).abs().amax(1) > 1e-6
    assert moved.nonzero().flatten().tolist() == list(range(12, 29))
    pretrained = load_base(Pretrained(str(folders / "modernbert"), window=32), 4, "mean", 0.1)[0]
    assert pretrained.config.local_attention == 32


def test_a_family_without_a_window_names_those_that_have_one(folders: Path) -> None:
    for base in (Pretrained(str(folders / "bert"), window=64), fresh(folders, "t5", window=64)):
        with pytest.raises(ModelError, match=r"offers no sliding window.* modernbert, longformer, mistral") as caught:
            load_base(base, 4, "mean", 0.1)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="even one, not 7"):
        set_window(make_config("longformer"), 7)


# -- layers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", PUBLISHED)
def test_a_shallower_copy_runs_the_chosen_layers_only(family: str, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", family, num_hidden_layers=4)
    whole, _ = load_base(str(base), 4, "mean", 0.1)
    before = {name: weight.clone() for name, weight in whole.state_dict().items()}
    chosen = (0, 2, 3) if family == "modernbert" else (2, 0)
    state = torch.get_rng_state()
    shorter = keep_layers(whole.encoder, chosen)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(encoder_layers(shorter)) == shorter.config.num_hidden_layers == len(chosen)
    assert len(encoder_layers(whole.encoder)) == whole.config.num_hidden_layers == 4
    assert all(torch.equal(whole.state_dict()[name], weight) for name, weight in before.items())
    words = list(range(4, 20))
    torch.testing.assert_close(vectors(shorter, words), by_hand(whole.encoder, chosen, words))
    model, tokenizer = load_base(Pretrained(str(base), layers=chosen), 4, "mean", 0.1)
    torch.testing.assert_close(vectors(model.encoder, words), vectors(shorter, words))
    assert base_cost(Pretrained(str(base), layers=chosen)) in range(base_cost(model.encoder), base_cost(str(base)))
    folder, manifest = open_artifact(saved(tmp_path / "saved", model, tokenizer))
    torch.testing.assert_close(vectors(load_artifact(folder, manifest).encoder, words), vectors(shorter, words))


def by_hand(encoder: PreTrainedModel, chosen: tuple[int, ...], words: list[int]) -> torch.Tensor:
    """Return the vectors of an encoder whose list of layers is cut in place, the positions of T5 moved along."""
    layers = encoder_layers(encoder)
    kept = [layers[layer] for layer in chosen]
    if encoder.config.model_type == "t5":
        bias = layers[0].layer[0].SelfAttention.relative_attention_bias
        for place, layer in enumerate(kept):
            layer.layer[0].SelfAttention.has_relative_attention_bias = not place
        kept[0].layer[0].SelfAttention.relative_attention_bias = bias
    del layers[:]
    layers.extend(kept)
    encoder.config.num_hidden_layers = len(kept)
    return vectors(encoder, words)


def saved(folder: Path, model: EncoderClassifier, tokenizer: Any) -> Candidate:
    return save_artifact(folder, model, tokenizer, pooling="mean", labels=list("abcd"), max_length=64, notes={})


def test_layers_that_are_not_there_are_named(folders: Path, tmp_path: Path) -> None:
    base = Pretrained(str(folders / "bert"), layers=(0, 5))
    for asked in (load_base, base_cost):
        with pytest.raises(ModelError, match=r"layer 5 was asked for, but this bert has 1 layers, 0 to 0"):
            asked(base, *([4, "mean", 0.1] if asked is load_base else []))  # type: ignore[operator]
    with pytest.raises(ModelError, match="let layer 0 stay the first"):
        keep_layers(make_encoder(make_config("modernbert")), (1, 0))
    with pytest.raises(ModelError, match="share"):
        keep_layers(make_encoder(make_config("albert", num_hidden_layers=4)), (0, 1))
    with pytest.raises(ModelError, match="no layer was asked for"):
        keep_layers(make_encoder(make_config("bert")), ())


def test_an_artifact_that_does_not_load_is_named(folders: Path, tmp_path: Path) -> None:
    model, tokenizer = load_base(str(folders / "bert"), 4, "mean", 0.1)
    folder, manifest = open_artifact(saved(tmp_path / "saved", model, tokenizer))
    weights = (folder / "model.safetensors").read_bytes()
    for content in (weights[:200], weights[:-40], b""):
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(ArtifactError, match=r"saved: expected .*; delete .* and run again"):
            load_artifact(folder, manifest)
    (folder / "model.safetensors").write_bytes(weights)
    load_artifact(folder, manifest)
    for config in (make_config("bert", num_hidden_layers=2).to_json_string(), "{}", "no JSON"):
        (folder / "config.json").write_text(config, "utf-8")
        with pytest.raises(ArtifactError, match=r"saved: expected .*; delete .* and run again"):
            load_artifact(folder, manifest)
