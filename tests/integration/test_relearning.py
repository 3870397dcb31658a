"""The passes that train, `distil` and `recover`: whose answers are learnt, where students start, which zeros stay."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tokenizers import Tokenizer
from torch import Tensor, nn

from tasks.artifacts import open_artifact, seal_onnx
from tasks.compress.material import Material
from tasks.compress.methods import DistilInto, Factorise, Prune, Recover, Shrink, TrimVocabulary
from tasks.compress.pipeline import compress_pass
from tasks.data.augmentation.remix import remix
from tasks.errors import ModelError
from tasks.measure.runtime import load
from tasks.progress import progress_to
from tasks.records import Candidate
from tasks.train.distil import kept_logits, teacher_logits
from tasks.train.engine import checkpoints
from tasks.train.engine.zeros import zeros_kept
from tasks.train.finetune import finetune
from tasks.train.methods import Distil, FineTune
from tasks.train.model import EncoderClassifier, load_artifact, save_artifact
from tasks.train.reopen import open_trained
from tasks.train.start import open_start
from tests.compress_support import material_of
from tests.loop_support import messages
from tests.texts_support import lesson, make_masking_base

TAUGHT = lesson(120)
LABELS = TAUGHT.labels
TEXTS = [row["text"] for row in messages(200, seed=9)]
RECOVER = Recover(epochs=3, learning_rate=0.005, batch_size=32)
DISTIL = DistilInto(student=(0,), epochs=3, learning_rate=0.005, batch_size=32, augment=0)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_masking_base(tmp_path_factory.mktemp("two-layers"), layers=2))


@pytest.fixture(scope="module")
def origin(base: str, tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    fit = FineTune(epochs=8, learning_rate=0.01, max_length=32, precision="fp32", patience=8)
    return finetune(base, fit, TAUGHT, tmp_path_factory.mktemp("origin") / "model")


@pytest.fixture
def material(origin: Candidate, tmp_path: Path) -> Material:
    made = material_of(origin, TAUGHT.train, TAUGHT.valid, tmp_path)
    return replace(made, unlabelled=tuple(TEXTS[:20]))


def changed(origin: Candidate, folder: Path, change: Callable[[EncoderClassifier], object]) -> Candidate:
    """Return the origin with its weights changed in place, as another pass would leave it."""
    model, tokenizer = open_trained(origin, LABELS)
    with torch.no_grad():
        change(model)
    return save_artifact(folder, model, tokenizer, labels=list(LABELS), max_length=32, pooling="mean", notes={})


def weights_of(candidate: Candidate) -> dict[str, Tensor]:
    model = load_artifact(*open_artifact(candidate))
    return {name: weight for name, weight in model.named_parameters() if ".layer." in name and weight.dim() == 2}


def smallest_to_zero(model: EncoderClassifier) -> None:
    for weight in matrices(model):
        weight[weight.abs() < weight.abs().median()] = 0


def two_of_four(model: EncoderClassifier) -> None:
    for weight in matrices(model):
        groups = weight.view(-1, 4)
        groups.scatter_(1, groups.abs().argsort(1)[:, :2], 0.0)


def matrices(model: EncoderClassifier) -> list[Tensor]:
    return [weight for name, weight in model.named_parameters() if ".layer." in name and weight.dim() == 2]


def agreement(made: Candidate, origin: Candidate) -> float:
    says, answers = (load(each).predict(TEXTS).outputs for each in (origin, made))
    return float(np.mean([one == other for one, other in zip(says, answers, strict=True)]))


@pytest.mark.parametrize("prune", [smallest_to_zero, two_of_four])
@pytest.mark.parametrize("method", [RECOVER, DISTIL], ids=["recover", "distil"])
def test_pruned_weights_stay_zero_and_the_others_learn(method, prune, origin, material, tmp_path) -> None:
    source = changed(origin, tmp_path / "pruned", prune)
    before, after = weights_of(source), weights_of(compress_pass(method, source, tmp_path / "made", material))
    assert len(after) == (12 if method is RECOVER else 6)
    for name, weight in after.items():
        zero = before[name] == 0
        assert zero.float().mean() >= 0.45
        assert torch.equal(weight == 0, zero)
        assert not torch.equal(weight, before[name])


def test_a_few_zeros_are_no_pruning(origin, material, tmp_path) -> None:
    source = changed(
        origin, tmp_path / "source", lambda model: [weight.view(-1)[:50].zero_() for weight in matrices(model)]
    )
    after = weights_of(compress_pass(replace(RECOVER, epochs=1), source, tmp_path / "made", material))
    assert all((weight != 0).all() for weight in after.values())


def test_neither_momentum_nor_decay_moves_a_held_weight() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(8, 8)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.5)

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            layer(torch.randn(4, 8)).square().sum().backward()
            optimizer.step()

    with torch.no_grad():
        layer.weight[:, ::2] = 0
    with zeros_kept(layer) as held:
        steps(20)
    assert held == 32
    assert (layer.weight[:, ::2] == 0).all()
    assert (layer.weight[:, 1::2] != 0).all()
    steps(1)  # outside the block everything learns again
    assert (layer.weight != 0).all()


def test_recovery_brings_the_answers_back(origin, material, tmp_path) -> None:
    def thin(model: EncoderClassifier) -> None:
        for weight in [*matrices(model), model.head.weight]:
            weight[weight.abs() < weight.abs().quantile(0.9)] = 0

    source = changed(origin, tmp_path / "thin", thin)
    made = compress_pass(replace(RECOVER, epochs=6), source, tmp_path / "made", material)
    assert agreement(source, origin) < 0.8
    assert agreement(made, origin) > agreement(source, origin) + 0.1
    assert made.notes["best_epoch"] >= 1  # chosen on valid


def test_what_compression_goes_on_with_learns_without_dropout(origin, base) -> None:
    for student, source in (((), origin), ((0,), origin), (base, origin), ((), None)):
        method = FineTune(dropout=0.2, distil=Distil(student=student))
        model, _ = open_start(base, method, replace(TAUGHT, teachers=(origin,), source=source))
        rates = {part.p for part in model.modules() if isinstance(part, nn.Dropout)}
        assert (rates == {0.0}) is (source is not None)


def test_a_student_is_shallower_and_smaller(origin, material, tmp_path) -> None:
    heard = set()
    with progress_to(lambda what, done, total: heard.add((what, total))):
        made = compress_pass(DISTIL, origin, tmp_path / "made", material)
    assert heard == {("answers", 120), ("answers", 20), ("distil", 3 * 5)}  # 140 texts, labelled or not
    assert made.notes["train_rows"] == 140
    assert made.size_bytes < origin.size_bytes
    assert len(load_artifact(*open_artifact(made)).encoder.encoder.layer) == 1
    assert agreement(made, origin) > 0.8
    manifests = [open_artifact(each)[1] for each in (made, origin)]
    assert all(
        manifests[0][name] == manifests[1][name] for name in ("labels", "max_length", "pooling", "inputs", "task")
    )


def test_texts_made_of_the_training_texts_are_learnt_from_too(origin, material, tmp_path) -> None:
    made = compress_pass(replace(DISTIL, augment=2, epochs=1), origin, tmp_path / "made", material)
    further = remix([text for text, _ in material.train], 2, DISTIL.seed)
    assert made.notes["train_rows"] == 140 + len(further)
    assert 230 <= len(further) <= 240
    assert not set(further) & ({text for text, _ in material.train})
    assert len(set(further)) == len(further)
    fewer = remix([text for text, _ in material.train], 1, DISTIL.seed)
    assert further[: len(fewer)] == fewer  # more copies change nothing about the first


def test_another_base_can_be_the_student(origin, material, base, tmp_path) -> None:
    other = str(make_masking_base(tmp_path / "other"))
    made = compress_pass(replace(DISTIL, student=other, epochs=8), origin, tmp_path / "made", material)
    assert len(load_artifact(*open_artifact(made)).encoder.encoder.layer) == 1
    assert agreement(made, origin) > 0.8


def test_the_origin_answers_once_for_all_passes(origin, material, tmp_path) -> None:
    first = compress_pass(DISTIL, origin, tmp_path / "first", material)
    kept = sorted((tmp_path / "answers").iterdir())
    assert [path.suffix for path in kept] == [".safetensors"] * 2  # of train and of the unlabelled texts
    gone = replace(material, origin=replace(origin, uri=str(tmp_path / "gone")), work=tmp_path / "second-work")
    made = compress_pass(replace(RECOVER, temperature=4.0, epochs=1), first, tmp_path / "second", gone)
    assert made.notes["train_rows"] == 140
    assert sorted((tmp_path / "answers").iterdir()) == kept


def test_damaged_answers_are_asked_for_again(origin, tmp_path, caplog) -> None:
    asked = [origin], TEXTS[:9], LABELS, 2.0, "fp32", tmp_path
    first = kept_logits(*asked)
    np.testing.assert_allclose(first, teacher_logits([origin], TEXTS[:9], LABELS, 2.0), atol=1e-5)
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:40])
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(kept_logits(*asked), first)
    assert "cannot be read and are asked for anew" in caplog.text
    kept_logits([origin], TEXTS[:8], LABELS, 2.0, "fp32", tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_source_may_have_another_tokenizer_than_the_origin(origin, material, tmp_path) -> None:
    """Its numbers of words are turned round, so the origin would read its tokens as other words."""
    folder, _ = open_artifact(origin)
    content = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model, tokenizer = open_trained(origin, LABELS)
    words = content.get_vocab()
    special = 3  # their numbers stay
    order = [*range(special), *reversed(range(special, len(words)))]
    turned = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    turned["model"]["vocab"] = {word: order[number] for word, number in words.items()}
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(turned))
    with torch.no_grad():
        table = model.encoder.embeddings.word_embeddings.weight
        table.copy_(table[order].clone())
    source = save_artifact(tmp_path / "turned", model, tokenizer, labels=list(LABELS), max_length=32, pooling="mean",
                           notes={})  # fmt: skip
    assert agreement(source, origin) == 1.0
    made = compress_pass(replace(RECOVER, learning_rate=1e-6, epochs=1, mix=1.0), source, tmp_path / "made", material)
    assert agreement(made, origin) == 1.0
    assert made.notes["train_loss"] < 0.1  # it says what the origin says


@pytest.mark.parametrize(
    "before",
    [
        (TrimVocabulary(spare=0), Prune(sparsity=0.5)),
        (Prune(pattern="2:4"), Recover(epochs=1)),
        (Shrink(heads=0.5, neurons=0.5), Factorise(keep=0.5)),
    ],
    ids=["trimmed and pruned", "pruned and recovered", "shrunk and factorised"],
)
@pytest.mark.parametrize("method", [RECOVER, replace(DISTIL, student=(1,))], ids=["recover", "distil"])
def test_what_other_passes_left_goes_on_as_it_is(method, before, origin, material, tmp_path) -> None:
    source = origin
    for number, each in enumerate(before):
        source = compress_pass(each, source, tmp_path / f"{number}", replace(material, work=None))
    made = compress_pass(method, source, tmp_path / "made", material)
    found, left = (load_artifact(*open_artifact(each)).state_dict() for each in (made, source))
    place = ".layer.0." if method is not RECOVER else ""
    assert found.keys() == {name for name in left if not place or ".layer." not in name or place in name}
    assert all(weight.shape == left[name.replace(place, ".layer.1.") if place else name].shape
               for name, weight in found.items())  # fmt: skip
    if any(isinstance(each, Prune) for each in before):
        assert all((weight == 0).float().mean() >= 0.45 for weight in weights_of(made).values())
    assert made.notes["train_rows"] == 140
    assert agreement(made, origin) > 0.8


class Killed(BaseException):
    """What ends a training here as a kill would: nothing catches it."""


def test_a_killed_pass_goes_on_and_ends_alike(origin, material, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(checkpoints, "EVERY_SECONDS", 0.0)
    source = changed(origin, tmp_path / "pruned", smallest_to_zero)
    seen = []

    def on_step(what: str, done: int, total: int) -> None:
        if what == "distil":
            seen.append(done)
        if done == 8 and seen.count(8) == 1:
            raise Killed

    whole = compress_pass(DISTIL, source, tmp_path / "whole", replace(material, work=None))
    with progress_to(on_step):
        with pytest.raises(Killed):
            compress_pass(DISTIL, source, tmp_path / "killed", material)
        made = compress_pass(DISTIL, source, tmp_path / "again", material)
    assert seen == [*range(1, 9), *range(8, 16)]
    assert (Path(made.uri) / "model.safetensors").read_bytes() == (Path(whole.uri) / "model.safetensors").read_bytes()


def test_errors_name_the_fields_of_the_pass(origin, material, tmp_path) -> None:
    def refused(method: DistilInto | Recover, source: Candidate = origin) -> str:
        with pytest.raises(ModelError) as caught:
            compress_pass(method, source, tmp_path / "made", material)
        return str(caught.value)

    assert refused(replace(DISTIL, student=(0, 5))) == (
        "compress.distil.student: layer 5 was asked for, but this bert has 2 layers, 0 to 1; name some of these"
    )
    nowhere = refused(replace(DISTIL, student=str(tmp_path / "nowhere")))
    assert nowhere.startswith("compress.distil.student: there is no folder")
    source = changed(origin, tmp_path / "broken", lambda model: model.head.weight.fill_(float("nan")))
    for method in (RECOVER, DISTIL):
        told = refused(method, source)
        assert told.startswith("the training loss is nan at step 1, on rows ")
        assert f": lower compress.{method.kind}.learning_rate, or look at these rows" in told
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"")
    assert "needs a torch model, not 'onnx'" in refused(RECOVER, seal_onnx(tmp_path / "onnx", open_artifact(origin)[1]))
    with pytest.raises(ValidationError):
        DistilInto(student=())
