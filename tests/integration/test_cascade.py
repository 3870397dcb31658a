"""The cascade pass on a tiny trained model: what is served, what is shown of it, what is refused."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from serving.artifact import MANIFEST
from serving.runtimes.cascade import CascadePredictor
from tasks.artifacts import open_artifact, seal
from tasks.compress.cascading.front import answers_of
from tasks.compress.methods import Cascade, DistilInto, Int8Dynamic, Onnx, Prune
from tasks.compress.pipeline import compress_pass
from tasks.errors import ModelError
from tasks.measure.runtime import load
from tasks.train.finetune import finetune
from tasks.train.methods import FineTune
from tests.compress_support import material_of
from tests.loop_support import make_tiny_base, messages

FIT = FineTune(epochs=8, learning_rate=0.01, max_length=32, precision="fp32", patience=8)


def rows_of(count, seed):
    """Messages, of which half have the words of two labels, so that two models differ on some of them."""
    rows = [(row["text"], row["label"]) for row in messages(count, seed)]
    mixed = [(" ".join([*one.split()[:4], *two.split()[4:]]), label) for (one, label), (two, _) in pairwise(rows)]
    return [*rows[::2], *mixed[::2]]


TRAIN, VALID, FRESH = [(row["text"], row["label"]) for row in messages(300, 1)], rows_of(500, 2), rows_of(300, 3)
METHOD = Cascade(agreement=0.95)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("cascades")


@pytest.fixture(scope="module")
def material(root):
    from tasks.train.lesson import Lesson

    labels = tuple(sorted({label for _, label in TRAIN}))
    origin = finetune(str(make_tiny_base(root / "base")), FIT, Lesson(TRAIN, VALID, labels), root / "origin")
    return material_of(origin, TRAIN, VALID, root)


@pytest.fixture(scope="module")
def rest(material, root):
    return compress_pass(Onnx(), material.origin, root / "onnx", material)


@pytest.fixture(scope="module")
def made(material, rest, root):
    return compress_pass(METHOD, rest, root / "cascade", material)


def test_what_is_sure_is_answered_in_front_and_the_rest_behind(made, rest, material):
    texts = [*(text for text, _ in FRESH), "nothing of it is known", "\ud800", "quokka"]
    cascade, behind = load(made, 1), load(rest, 1)
    assert isinstance(cascade, CascadePredictor)
    answers, alone = cascade.predict(texts), behind.predict(texts)
    stages = np.array(cascade.stages_of(texts))
    assert 0.3 < (stages == 0).mean() < 1 and stages[-1] == 1
    np.testing.assert_allclose(answers.probabilities[stages == 1], alone.probabilities[stages == 1], atol=1e-6)
    assert (answers.scores[stages == 0] >= made.notes["threshold"]).all()
    differs = np.array(answers.outputs) != np.array(alone.outputs)
    assert differs.mean() <= 1 - METHOD.agreement
    one_by_one = [cascade.predict([text]).outputs[0] for text in texts]
    assert one_by_one == answers.outputs


def test_its_notes_are_what_the_held_out_rows_show(made, material):
    folder, manifest = open_artifact(made)
    texts = [text for text, _ in VALID]
    best, confidences, _ = load(made, 1).first.answers(texts)
    origin = answers_of(material, texts, manifest["labels"], "fp32").argmax(1)
    answered, notes = confidences >= manifest["threshold"], made.notes
    assert notes["coverage"] == answered.mean()
    assert notes["differing"] == (answered & (best != origin)).mean()
    assert notes["differing"] < notes["differing_bound"] <= 1 - METHOD.agreement
    assert notes["threshold_rows"] == len(VALID) and notes["threshold"] == manifest["threshold"]
    right = [manifest["labels"][at] == label for at, (_, label) in zip(best, VALID, strict=True)]
    assert notes["first_accuracy"] == np.mean(right) > 0.7
    assert manifest["runtime"] == "cascade" and (folder / "tokenizer.json").is_file()
    assert json.loads((folder / "rest" / MANIFEST).read_text("utf-8"))["runtime"] == "onnx"


def test_the_same_pass_gives_the_same_bytes(made, rest, material, root):
    """With a first stage that was kept beside the answers, and with one that is fitted anew."""
    assert len(list(material.answers.glob("first-*"))) == 1
    assert compress_pass(METHOD, rest, root / "kept", material).digest == made.digest
    assert compress_pass(METHOD, rest, root / "anew", replace(material, answers=None)).digest == made.digest


def test_a_second_one_stands_in_front_of_the_first(made, material, root):
    """With a laxer agreement, so that it answers more."""
    further = compress_pass(replace(METHOD, agreement=0.9), made, root / "further", material)
    texts = [text for text, _ in FRESH]
    assert (Path(further.uri) / "rest" / "rest" / "model.onnx").is_file()
    first, second = load(further, 1), load(made, 1)
    assert first.rest.threshold == second.threshold > first.threshold
    left = [row for row, stage in enumerate(first.stages_of(texts)) if stage]
    answered = first.predict(texts).outputs
    assert left and [answered[row] for row in left] == second.predict([texts[row] for row in left]).outputs


STUDENT = DistilInto(student=(0,), epochs=1, learning_rate=1e-6)
STAGED = replace(METHOD, agreement=0.9, stage=(Prune(sparsity=0.8), STUDENT, Onnx(), Int8Dynamic()))


def test_a_model_of_its_own_answers_between_n_grams_and_the_rest(rest, material, root):
    """A pruned student in int8; the unlabelled texts that its training may have read do not judge it."""
    small = material.origin
    for number, method in enumerate(STAGED.stage):
        small = compress_pass(method, small, root / f"small{number}", material)
    further = tuple(row["text"] for row in messages(200, 7))
    staged = compress_pass(STAGED, rest, root / "staged", replace(material, stage=small, unlabelled=further))
    three = compress_pass(METHOD, staged, root / "three", material)
    _, manifest = open_artifact(staged)
    assert staged.notes["threshold_rows"] == len(VALID)
    alone, behind, before = load(small, 1), load(rest, 1), load(three, 1).first
    found = [alone.predict([text]) for text, _ in VALID]
    origin = answers_of(material, [text for text, _ in VALID], manifest["labels"], "fp32").argmax(1)
    answered = np.array([each.scores[0] >= staged.notes["threshold"] for each in found])
    differs = np.array([each.outputs[0] for each in found]) != np.array(manifest["labels"])[origin]
    assert staged.notes["coverage"] == answered.mean() > 0.2
    assert staged.notes["differing"] == (answered & differs).mean() < staged.notes["differing_bound"] <= 0.1

    whole, stages = load(three, 1), set()
    for text, _ in FRESH:
        best, confidence, _ = before.judge(text)
        by_model = alone.predict([text])
        if confidence >= three.notes["threshold"]:
            stage, output = 0, manifest["labels"][best]
        elif by_model.scores[0] >= staged.notes["threshold"]:
            stage, output = 1, by_model.outputs[0]
        else:
            stage, output = 2, behind.predict([text]).outputs[0]
        assert whole.predict([text]).outputs == [output] and whole.stages_of([text]) == [stage]
        stages.add(stage)
    assert stages == {0, 1, 2}


def test_unlabelled_texts_are_learned_from_and_judge(rest, material, root):
    """Half of them; a text of `valid` among them stays with the judges."""
    further = [row["text"] for row in messages(200, 7)] + [VALID[0][0], TRAIN[0][0]]
    method = replace(METHOD, agreement=0.98)
    few = replace(material, unlabelled=tuple(further))
    notes = compress_pass(method, rest, root / "unlabelled", few).notes
    assert len(VALID) + 70 < notes["threshold_rows"] < len(VALID) + 130


def test_too_few_rows_are_refused_with_how_many_it_takes(rest, material, root):
    with pytest.raises(ModelError, match=r"agreement of 0\.95 .* on 20 held-out texts: it takes 59 at least; lower"):
        compress_pass(METHOD, rest, root / "few", replace(material, valid=VALID[:20]))


def test_a_stage_that_differs_where_it_is_surest_is_refused(rest, material, root):
    """It knows two words, which say one label; the held-out texts have these, and words of all labels."""
    alike = replace(material, train=[("zeppelin quokka", "refund")] * 4,
                    valid=[(f"{text} zeppelin quokka", label) for text, label in VALID])  # fmt: skip
    with pytest.raises(
        ModelError, match=r"found no threshold .* keeps an agreement of 0\.95: where it is surest of 500"
    ):
        compress_pass(replace(METHOD, augment=0), rest, root / "none", alike)


def test_other_labels_are_refused(rest, material, root):
    with pytest.raises(ModelError, match=r"the model has others: 'loss', 'praise'; train the model"):
        compress_pass(METHOD, rest, root / "labels",
                      replace(material, labels=("account", "delivery", "loss", "refund")))  # fmt: skip


def test_it_needs_a_served_model_that_classifies(material, root):
    with pytest.raises(ModelError, match="needs a served model; put the pass `onnx`"):
        compress_pass(METHOD, material.origin, root / "torch", material)
    (root / "writer").mkdir()
    (root / "writer" / "model.onnx").write_bytes(b"")
    writer = seal(root / "writer", runtime="onnx", notes={}, onnx="model.onnx", task="generation", labels=[])
    with pytest.raises(ModelError, match=r"needs a classification, .* not a generation; drop the pass `cascade`"):
        compress_pass(METHOD, writer, root / "generation", material)
