"""Training on a CUDA device: number formats, memory that runs out, what goes on after a kill, sharded weights.

Skipped where there is none.
"""

import json
import logging
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file

from tasks.compress.methods import DistilInto, Prune, Recover
from tasks.compress.shaping.distil import distil_into
from tasks.compress.shaping.prune import prune
from tasks.compress.shaping.recover import recover
from tasks.errors import ModelError
from tasks.measure.runtime import load
from tasks.progress import metrics_to
from tasks.records import Candidate
from tasks.train.bases.base import Base, FromConfig
from tasks.train.finetune import finetune
from tasks.train.lesson import Lesson
from tasks.train.methods import Distil, Distributed, FineTune
from tests.compress_support import material_of
from tests.training_support import lesson_rows

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
    pytest.mark.filterwarnings("default"),
]

ROWS, VALID, LABELS = lesson_rows()
METHOD = FineTune(epochs=4, learning_rate=0.003, batch_size=16, dropout=0.0)
GIGABYTE = 2**30


def run(folder: Path, base: Base, method: FineTune = METHOD, **lesson: Any) -> Candidate:
    """Return the model that the method makes of the rows, in a folder of its own."""
    folder.mkdir(exist_ok=True)
    given = {"train": ROWS, "valid": VALID, "labels": LABELS, **lesson}
    return finetune(base, method, Lesson(**given), folder / "model")


def bytes_of(model: Candidate) -> bytes:
    """Return the bytes of a model's weights."""
    return (Path(model.uri) / "model.safetensors").read_bytes()


@pytest.mark.parametrize("precision", ["bf16", "fp16", "tf32", "fp32"])
def test_every_number_format_learns_and_the_model_serves_on_the_cpu(
    precision: Any, tmp_path: Path, tiny_base: Path
) -> None:
    made = run(tmp_path / "run", str(tiny_base), FineTune(epochs=6, learning_rate=0.01, precision=precision))
    assert made.notes["valid_score"] > 0.9
    outputs = load(made).predict([text for text, _ in VALID]).outputs
    assert sum(output == label for output, (_, label) in zip(outputs, VALID, strict=True)) / len(VALID) > 0.85


@pytest.mark.parametrize(
    "changes",
    [
        {"tune": {"kind": "frozen"}, "learning_rate": 0.05, "epochs": 20},
        {"tune": {"kind": "gradual"}},
        {"tune": {"kind": "lora", "rank": 8}},
        {"tune": {"kind": "full", "layer_decay": 0.8}, "r_drop": 1.0, "ema": 0.9},
        {"mixup": 0.4, "focal": 1.0, "class_weights": "balanced", "label_smoothing": 0.1},
        {"contrastive": {"below": 1000, "epochs": 2}},
        {"adapt": {}},
    ],
    ids=lambda changes: "+".join(changes),
)
def test_every_way_of_training_runs_there(changes: dict[str, Any], tmp_path: Path, tiny_base: Path) -> None:
    base: Base = FromConfig("gpt2", tokenizer=str(tiny_base), hidden_size=32) if "adapt" in changes else str(tiny_base)
    method = TypeAdapter(FineTune).validate_python({"epochs": 8, "learning_rate": 0.01, **changes})
    made = run(tmp_path / "run", base, method, unlabelled=tuple(text for text, _ in VALID))
    assert made.notes["valid_score"] > 0.6  # chance: 0.25


def test_a_student_learns_there(tmp_path: Path, tiny_base: Path) -> None:
    teacher = run(tmp_path / "teacher", str(tiny_base))
    method = FineTune(epochs=8, learning_rate=0.01, distil=Distil(student=(0,)))
    student = run(tmp_path / "student", str(tiny_base), method, teachers=(teacher,))
    assert student.notes["valid_score"] > 0.6


def test_the_format_is_chosen_by_the_device(tmp_path: Path, tiny_base: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="tasks.train"):
        run(tmp_path / "run", str(tiny_base), FineTune(epochs=1))
    [line] = [record.message for record in caplog.records if record.message.startswith("precision")]
    assert ("bf16" in line) is torch.cuda.is_bf16_supported()


def test_equal_recipes_make_equal_models(tmp_path: Path, tiny_base: Path) -> None:
    first, again = (run(tmp_path / name, str(tiny_base)) for name in ("first", "again"))
    assert bytes_of(first) == bytes_of(again)


def test_a_training_that_was_stopped_between_two_steps_ends_as_it_would_have(tmp_path: Path, tiny_base: Path) -> None:
    whole = run(tmp_path / "whole", str(tiny_base), work=tmp_path / "whole-work")

    def stop(step: int, metrics: Mapping[str, float]) -> None:
        if step >= 20:
            raise KeyboardInterrupt

    with metrics_to(stop), pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", str(tiny_base), work=tmp_path / "work")
    went_on = run(tmp_path / "stopped", str(tiny_base), work=tmp_path / "work")
    assert bytes_of(went_on) == bytes_of(whole)


def test_a_batch_that_memory_does_not_hold_is_taken_in_parts(
    tmp_path: Path, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = FromConfig("bert", tokenizer=str(tiny_base), hidden_size=1024, layers=8, heads=16, intermediate_size=4096)
    texts = [(" ".join([text] * 40), label) for text, label in ROWS]
    method = FineTune(epochs=1, batch_size=256, max_length=512, precision="bf16")
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(8 * GIGABYTE / total)
    try:
        with caplog.at_level(logging.WARNING, logger="tasks.train"):
            made = run(tmp_path / "run", base, method, train=texts * 3, valid=[])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert made.notes["train_rows"] == 3 * len(ROWS)
    assert any("memory" in record.message for record in caplog.records)


def test_activations_computed_again_take_less_memory(tmp_path: Path, tiny_base: Path) -> None:
    base = FromConfig("bert", tokenizer=str(tiny_base), hidden_size=512, layers=8, heads=8, intermediate_size=2048)
    texts = [(" ".join([text] * 10), label) for text, label in ROWS[:64]]
    peaks = []
    for again in (False, True):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        method = FineTune(epochs=1, batch_size=64, max_length=128, precision="bf16", checkpointing=again)
        run(tmp_path / str(again), base, method, train=texts, valid=[])
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < 0.8 * peaks[0]


def test_a_loss_that_is_no_number_names_step_and_rows(tmp_path: Path, tiny_base: Path) -> None:
    poisoned = tmp_path / "base"
    shutil.copytree(tiny_base, poisoned)
    weights = load_file(poisoned / "model.safetensors")
    vocabulary = json.loads((poisoned / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    weights["embeddings.word_embeddings.weight"][vocabulary["parcel"]] = math.nan
    save_file(weights, poisoned / "model.safetensors", {"format": "pt"})
    ids = tuple(f"{'with' if 'parcel' in text else 'without'}-{number}" for number, (text, _) in enumerate(ROWS))
    with pytest.raises(ModelError, match=r"loss is nan at step \d+") as stopped:
        run(tmp_path / "run", str(poisoned), METHOD, ids=ids)
    assert "with-" in str(stopped.value)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_process_of_a_group_makes_the_model_of_one_alone(strategy: Any, tmp_path: Path, tiny_base: Path) -> None:
    alone = run(tmp_path / "alone", str(tiny_base), FineTune(epochs=1, precision="fp32", dropout=0.0))
    method = FineTune(epochs=1, precision="fp32", dropout=0.0, distributed=Distributed(1, strategy))
    group = run(tmp_path / "group", str(tiny_base), method)
    assert group.notes["train_loss"] == pytest.approx(alone.notes["train_loss"], rel=1e-3)


def test_passes_that_train_keep_zeros_and_learn_the_origins_answers(tmp_path: Path, tiny_base: Path) -> None:
    origin = run(tmp_path / "origin", str(tiny_base), FineTune(epochs=8, learning_rate=0.01))
    material = material_of(origin, ROWS, VALID, tmp_path)
    pruned = prune(Prune(sparsity=0.5), origin, tmp_path / "pruned", material)
    taught = recover(Recover(epochs=3, learning_rate=0.005, augment=1), pruned, tmp_path / "recovered", material)
    student = distil_into(DistilInto(epochs=3, learning_rate=0.005), taught, tmp_path / "student", material)
    before, after = (load_file(Path(made.uri) / "model.safetensors") for made in (pruned, taught))
    zeros = {name: weight == 0 for name, weight in before.items() if ((weight == 0).float().mean() > 0.4)}
    assert zeros and all(bool((after[name][places] == 0).all()) for name, places in zeros.items())
    answers = [load(made).predict([text for text, _ in VALID]).outputs for made in (origin, taught, student)]
    for outputs in answers[1:]:
        assert sum(ours == its for ours, its in zip(outputs, answers[0], strict=True)) / len(VALID) > 0.85
