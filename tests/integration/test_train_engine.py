"""The engine of training: what stops it, what it survives, and that the same recipe comes to the same model."""

import gc
import json
import logging
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tasks.errors import ModelError
from tasks.progress import epochs_to, metrics_to
from tasks.train.bases.loading import load_base
from tasks.train.engine import checkpoints
from tasks.train.engine.precision import choose_precision
from tasks.train.engine.sampler import LengthGrouped
from tasks.train.engine.tokens import encode, token_counts
from tasks.train.engine.trainer import train
from tasks.train.finetune import finetune
from tasks.train.lesson import Lesson
from tasks.train.methods import FineTune
from tasks.train.model import TorchPredictor
from tasks.train.objectives import Objective
from tests.training_support import Child, lesson_rows, result, run_child

METHOD = FineTune(epochs=2, learning_rate=0.01, precision="fp32", dropout=0.0)
ROWS, VALID, LABELS = lesson_rows()


@pytest.fixture(scope="module", autouse=True)
def _fast_collections() -> Iterator[None]:
    """Let what is there already be no part of the garbage collections, of which each training does one."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def parts(tiny_base: Path) -> Callable[..., Any]:
    """A function that trains a fresh model on the tiny rows and returns it, and the notes."""

    def run(method: FineTune = METHOD, valid: bool = True, objective: Any = None, **options: Any) -> Any:
        torch.manual_seed(0)
        model, tokenizer = load_base(str(tiny_base), len(LABELS), "mean", method.dropout)
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = method.dropout  # the encoder's too
        rows, held_out = (
            encode([text for text, _ in part], tokenizer, 32, labels=[LABELS.index(label) for _, label in part])
            for part in (ROWS, VALID if valid else [])
        )
        notes = train(model, tokenizer, objective or Objective(), method, rows, held_out, **options)
        return model, notes

    return run


def weights(model: nn.Module) -> Tensor:
    """Return all weights of a model as one vector."""
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


class Broken(Objective):
    """A loss that is no number from a step on, or that needs more memory than there is for more than some texts."""

    calls = 0

    def __init__(self, nan_from: int = 0, most_texts: int = 1000, most_valid: int = 1000) -> None:
        super().__init__()
        for name, value in {"nan_from": nan_from, "most_texts": most_texts, "most_valid": most_valid}.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "sizes", [])

    def __call__(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        texts, most = len(inputs["labels"]), self.most_texts if model.training else self.most_valid  # type: ignore[attr-defined]
        self.sizes.append(texts)  # type: ignore[attr-defined]
        if texts > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        loss, outputs = super().__call__(model, inputs)
        Broken.calls += model.training
        nan_from = self.nan_from  # type: ignore[attr-defined]
        return loss * (math.nan if nan_from and Broken.calls >= nan_from else 1), outputs


def test_a_loss_that_is_no_number_stops_at_its_step_and_names_the_rows(parts: Callable[..., Any]) -> None:
    Broken.calls = 0
    with pytest.raises(ModelError) as stopped:
        parts(objective=Broken(nan_from=7), row_name=lambda row: f"id-{row}")
    said = str(stopped.value)
    assert said.startswith("the training loss is nan at step 7, on rows id-")
    assert "(and 29 more): lower train.learning_rate" in said
    order = LengthGrouped([8] * 150, 32, METHOD.seed)
    order.set_epoch(1)
    seventh = list(order)[32:64]
    assert ", ".join(f"id-{row}" for row in seventh[:3]) in said


@pytest.mark.parametrize(("most", "accumulate", "used"), [(16, 1, 16), (5, 2, 4)])
def test_out_of_memory_halves_what_passes_at_a_time_and_not_the_batch(
    most: int, accumulate: int, used: int, parts: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    _, plain = parts(replace(METHOD, schedule="cosine"))
    objective = Broken(most_texts=most, most_valid=10)
    with caplog.at_level(logging.WARNING, "tasks"):
        _, notes = parts(replace(METHOD, schedule="cosine", accumulate=accumulate), objective=objective)
    assert used in objective.sizes  # type: ignore[attr-defined]
    assert f"going on with {used} at a time, {32 // used} parts to a batch of 32" in caplog.text
    for name in ("train_loss", "valid_loss", "valid_score"):
        assert notes[name] == pytest.approx(plain[name], abs=1e-4)


def test_out_of_memory_late_goes_on_from_the_last_checkpoint(
    parts: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "EVERY_SECONDS", 0.0)
    objective = Broken()

    def shrink(epoch: float, found: Any) -> None:
        object.__setattr__(objective, "most_texts", 20)

    with caplog.at_level(logging.INFO, "tasks"), epochs_to(shrink):
        parts(objective=objective, work=tmp_path)
    assert "checkpoint-4" in caplog.text
    assert objective.sizes.count(32) == 4 + 1  # type: ignore[attr-defined]
    assert objective.sizes.count(16) == 1 + 8 + 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("where", ["most_texts", "most_valid"])
def test_out_of_memory_with_one_text_says_what_to_do(where: str, parts: Callable[..., Any]) -> None:
    with pytest.raises(ModelError, match=r"out of memory with one text at a time .*: lower train.max_length"):
        parts(replace(METHOD, batch_size=4), objective=Broken(**{where: 0}))


def test_another_error_is_no_lack_of_memory(parts: Callable[..., Any]) -> None:
    def broken(model: nn.Module, inputs: Any) -> Any:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        parts(objective=broken)


def test_the_average_is_that_of_the_weights_after_each_step(parts: Callable[..., Any]) -> None:
    seen: list[Tensor] = []
    method = replace(METHOD, epochs=1, ema=0.8)

    class Watched(Objective):
        def __call__(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            if model.training:
                seen.append(weights(model))  # before this step: after the one before
            return super().__call__(model, inputs)

    averaged, _ = parts(method, valid=False, objective=Watched())
    raw, _ = parts(replace(method, ema=0.0), valid=False)
    after = [*seen[1:], weights(raw)]
    expected = after[0]
    for step in after[1:]:
        expected = 0.8 * expected + 0.2 * step
    torch.testing.assert_close(weights(averaged), expected)
    assert not torch.allclose(weights(raw), expected, atol=1e-4)


def test_the_average_is_what_is_evaluated(parts: Callable[..., Any]) -> None:
    _, notes = parts(replace(METHOD, epochs=3, ema=0.9))
    _, raw = parts(replace(METHOD, epochs=3))
    assert notes["valid_loss"] != pytest.approx(raw["valid_loss"], abs=1e-3)
    assert notes["best_epoch"] == 3


def test_the_notes_are_those_of_the_best_epoch_and_its_weights_are_kept(
    parts: Callable[..., Any], tiny_base: Path, tmp_path: Path
) -> None:
    epochs: list[tuple[float, Any]] = []
    live: list[tuple[int, Any]] = []
    method = replace(METHOD, learning_rate=0.05, epochs=12, patience=3)
    with epochs_to(lambda epoch, found: epochs.append((epoch, found))), metrics_to(lambda at, f: live.append((at, f))):
        made = finetune(str(tiny_base), method, Lesson(ROWS, VALID, LABELS), tmp_path / "model")
    notes = made.notes
    best = min(epochs, key=lambda told: told[1]["valid_loss"])
    assert (notes["best_epoch"], notes["valid_loss"], notes["valid_score"]) == (best[0], *best[1].values())
    assert [epoch for epoch, _ in epochs] == list(range(1, len(epochs) + 1))
    assert notes["epochs_run"] == len(epochs) == min(12, notes["best_epoch"] + 3)
    assert notes["train_rows"] == 150
    assert notes["texts_per_s"] == pytest.approx(150 * len(epochs) / notes["train_seconds"])
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    answers = TorchPredictor(tmp_path / "model", manifest).predict([text for text, _ in VALID])
    right = [said == label for said, (_, label) in zip(answers.outputs, VALID, strict=True)]
    assert sum(right) / len(right) == pytest.approx(notes["valid_score"])
    assert manifest["seed"] == 13
    assert manifest["versions"]["torch"] == version("torch")
    assert {name for _, found in live for name in found} == {
        *("loss", "learning_rate", "grad_norm", "valid_loss", "valid_score")
    }
    assert [at for at, found in live if "loss" in found] == list(range(10, 5 * len(epochs) + 1, 10))


def test_whoever_listens_may_end_the_training(parts: Callable[..., Any], tmp_path: Path) -> None:
    class Pruned(Exception):
        pass

    def prune(epoch: float, found: Any) -> None:
        raise Pruned

    with pytest.raises(Pruned), epochs_to(prune):
        parts(work=tmp_path)
    _, notes = parts(work=tmp_path)
    assert notes["epochs_run"] == 2


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated weights": (
        lambda path: (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:-100]),
        "model.safetensors is not what was written",
    ),
    "no state": (lambda path: (path / "trainer_state.json").unlink(), "trainer_state.json is missing"),
    "rubbish optimizer": (
        lambda path: (path / "optimizer.pt").write_bytes(b"x" * (path / "optimizer.pt").stat().st_size),
        "optimizer.pt is not what was written",
    ),
    "half written": (lambda path: (path / "complete.json").unlink(), "it was not finished"),
    "rubbish seal": (lambda path: (path / "complete.json").write_text("{"), "complete.json cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_corrupt_checkpoint_is_named_and_the_one_before_is_used(
    damage: str,
    parts: Callable[..., Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoints, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "EPOCH_SECONDS", 0.0)
    plain, plain_notes = parts(work=tmp_path)
    folder = tmp_path / "train"
    assert sorted(path.name for path in folder.glob("checkpoint-*")) == ["checkpoint-10", "checkpoint-9"]
    spoil, reason = DAMAGE[damage]
    spoil(folder / "checkpoint-10")
    with caplog.at_level(logging.INFO, "tasks"):
        model, notes = parts(work=tmp_path)
    assert f"checkpoint-10 cannot be used: {reason}" in caplog.text
    assert "going on from checkpoint-9" in caplog.text
    assert torch.equal(weights(model), weights(plain))
    assert notes["valid_loss"] == plain_notes["valid_loss"]
    for path in folder.glob("checkpoint-*"):
        spoil(path)
    with caplog.at_level(logging.WARNING, "tasks"):
        model, _ = parts(work=tmp_path)
    assert "going on from the start" in caplog.text
    assert torch.equal(weights(model), weights(plain))


def test_the_same_recipe_comes_to_the_same_bytes_in_another_process(tmp_path: Path, tiny_base: Path) -> None:
    method = {"mixup": 0.3, "ema": 0.5, "dropout": 0.2}
    children = [Child(str(tmp_path / name), str(tiny_base), "model", method, every_seconds=at)
                for name, at in (("first", 0.0), ("again", 1e9))]  # fmt: skip
    assert [run_child(child) for child in children] == [0, 0]
    assert result(tmp_path / "first", "model") == result(tmp_path / "again", "model")


def test_trainings_in_threads_of_one_process_do_not_disturb_each_other(tmp_path: Path, tiny_base: Path) -> None:
    def run(name: str) -> bytes:
        method = replace(METHOD, epochs=1, dropout=0.3, mixup=0.5)
        finetune(str(tiny_base), method, Lesson(ROWS, VALID, LABELS), tmp_path / name)
        return (tmp_path / name / "model.safetensors").read_bytes()

    alone = run("alone")
    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(run, ["first", "second", "third"])) == {alone}


def test_tokens_are_kept_by_content(tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, tokenizer = load_base(str(tiny_base), 4, "mean", 0.1)
    texts = [text for text, _ in ROWS]
    answers = [[0.5, float(number), -1.0] for number in range(len(texts))]
    plain = encode(texts, tokenizer, 5, labels=[-100] * len(texts), teacher_logits=answers)
    made = encode(texts, tokenizer, 5, tmp_path, labels=[-100] * len(texts), teacher_logits=answers)
    [kept] = tmp_path.iterdir()
    stamp = next(kept.glob("*.arrow")).stat().st_mtime_ns
    again = encode(texts, tokenizer, 5, tmp_path, labels=[1] * len(texts))
    assert next(kept.glob("*.arrow")).stat().st_mtime_ns == stamp
    assert [row["input_ids"] for row in again] == [row["input_ids"] for row in plain]
    assert list(plain) == list(made)
    assert made[3]["teacher_logits"] == answers[3]
    assert token_counts(made) == [len(row["input_ids"]) for row in plain] == token_counts(list(plain))
    assert max(token_counts(made)) == 5
    encode(texts, tokenizer, 6, tmp_path)
    encode(texts[:-1], tokenizer, 5, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    for file in kept.glob("*.arrow"):
        file.write_bytes(file.read_bytes()[:50])
    with caplog.at_level(logging.WARNING, "tasks"):
        assert list(encode(texts, tokenizer, 5, tmp_path, labels=[-100] * len(texts), teacher_logits=answers)) == list(
            made
        )
    assert "cannot be read and are made anew" in caplog.text
    assert len(encode([], tokenizer, 5, tmp_path, labels=[])) == 0


def test_further_numbers_of_a_row_reach_the_objective(tiny_base: Path) -> None:
    model, tokenizer = load_base(str(tiny_base), len(LABELS), "mean", 0.0)
    texts, answers = [text for text, _ in ROWS], [[float(row), 0.0, 1.0, 2.0] for row in range(len(ROWS))]
    rows = encode(texts, tokenizer, 32, labels=[-100] * len(texts), teacher_logits=answers)
    seen: list[Tensor] = []

    def objective(model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        seen.append(inputs["teacher_logits"])
        assert set(inputs["labels"].tolist()) == {-100}
        outputs = model(inputs["input_ids"], inputs["attention_mask"])
        return nn.functional.mse_loss(outputs["logits"], inputs["teacher_logits"] * 0), outputs

    train(model, tokenizer, objective, replace(METHOD, epochs=1), rows, [])  # type: ignore[arg-type]
    assert torch.cat(seen).shape == (150, 4)
    assert sorted(torch.cat(seen)[:, 0].tolist()) == list(range(150))


def test_the_precision_that_is_asked_for_must_be_there() -> None:
    assert choose_precision("fp32").name == "fp32"
    assert choose_precision("bf16").name == "bf16"
    chosen = choose_precision("auto")
    if torch.cuda.is_available():
        assert "compute capability" in chosen.reason
        return
    assert chosen.name in ("bf16", "fp32")
    assert "measured: float32" in chosen.reason
    for asked in ("fp16", "tf32"):
        with pytest.raises(ModelError, match=rf"train.precision: {asked} .* CUDA GPU .*; use auto"):
            choose_precision(asked)


def test_activations_computed_again_change_nothing(parts: Callable[..., Any]) -> None:
    plain, _ = parts(replace(METHOD, dropout=0.1))
    model, _ = parts(replace(METHOD, dropout=0.1, checkpointing=True))
    torch.testing.assert_close(weights(model), weights(plain))


def test_a_class_of_train_that_valid_lacks_is_said_once(
    tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    valid = [(text, label) for text, label in VALID if label != LABELS[1]]
    with caplog.at_level(logging.INFO, "tasks"):
        made = finetune(str(tiny_base), replace(METHOD, epochs=3), Lesson(ROWS, valid, LABELS), tmp_path / "model")
    assert caplog.text.count(f"no row of valid has the label {LABELS[1]}") == 1
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    answers = TorchPredictor(tmp_path / "model", manifest).predict([text for text, _ in valid])
    right = [said == label for said, (_, label) in zip(answers.outputs, valid, strict=True)]
    assert made.notes["valid_score"] == pytest.approx(sum(right) / len(right))


def test_rows_come_in_batches_of_like_length_in_an_order_of_the_epoch() -> None:
    lengths = [(7 * number) % 40 + 1 for number in range(430)]
    order = LengthGrouped(lengths, 16, seed=5)
    first, again = list(order), list(order)
    assert first == again
    assert sorted(first) == list(range(430))
    assert max(lengths) in [lengths[row] for row in first[:16]]
    spread = [
        max(part) - min(part) for part in ([lengths[row] for row in first[at : at + 16]] for at in range(0, 416, 16))
    ]
    assert sum(spread) / len(spread) < 10
    order.set_epoch(1)
    assert list(order) != first
    assert list(LengthGrouped(lengths, 16, seed=6)) != first
    assert [sorted(LengthGrouped(lengths[:few], 16, 1)) for few in (1, 16, 17)] == [
        list(range(few)) for few in (1, 16, 17)
    ]
