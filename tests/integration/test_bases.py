"""Bases of every family through the whole room: loaded, trained, saved, opened again, exported, quantised; and changed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.artifacts import open_artifact
from tasks.compress.export import PARITY_TOLERANCE, export_onnx
from tasks.compress.quantize import Int8Dynamic, quantize_int8
from tasks.measure.profiling.calls import open_parts
from tasks.measure.runtime import load
from tasks.records import Candidate
from tasks.train.bases import Base, FromConfig
from tasks.train.cost import base_cost
from tasks.train.finetune import finetune
from tasks.train.lesson import Lesson
from tasks.train.methods import FineTune
from tasks.train.model import load_artifact
from tests.base_support import make_base, make_tokenizer
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
        make_base(root / family, family)
    make_tokenizer().save_pretrained(root / "tokenizer")
    return root


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def trained(base: Base, folder: Path, **changes: Any) -> Candidate:
    from dataclasses import replace

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
    exported = export_onnx(made, tmp_path / "onnx")
    assert exported.notes["parity"] < PARITY_TOLERANCE
    before, after = (load(each, 1).predict(TEXTS).probabilities for each in (made, exported))
    np.testing.assert_allclose(before, after, atol=1e-4)  # type: ignore[arg-type]
    small = quantize_int8(Int8Dynamic(), exported, tmp_path / "int8")
    assert accuracy(small) > accuracy(made) - 0.1
