"""Distillation: what the teachers say together, where students start, and that they learn it."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from serving.classes import softmax
from tasks.artifacts import open_artifact
from tasks.errors import ArtifactError, ModelError
from tasks.train.distil import teacher_logits, with_answers
from tasks.train.finetune import finetune
from tasks.train.methods import Distil, FineTune
from tasks.train.model import TorchPredictor, load_artifact
from tasks.train.reopen import open_trained
from tasks.train.start import open_start
from tests.loop_support import messages
from tests.texts_support import lesson, make_masking_base

FIT = FineTune(epochs=8, learning_rate=0.01, max_length=32, precision="fp32", patience=8)
TEXTS = [row["text"] for row in messages(200, seed=9)]
LABELS = lesson().labels


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(make_masking_base(tmp_path_factory.mktemp("two-layers"), layers=2))


@pytest.fixture(scope="module")
def teachers(base, tmp_path_factory):
    """Two teachers of different seeds, and one that taught itself the labels the other way round."""
    folder = tmp_path_factory.mktemp("teachers")
    taught = lesson(120)
    turned = replace(taught, labels=tuple(reversed(taught.labels)))
    return [
        finetune(base, FIT, taught, folder / "first"),
        finetune(base, replace(FIT, seed=14), taught, folder / "second"),
        finetune(base, FIT, turned, folder / "turned"),
    ]


def probabilities(candidate, texts):
    folder, manifest = open_artifact(candidate)
    found = TorchPredictor(folder, manifest).predict(texts).probabilities
    return found[:, [manifest["labels"].index(label) for label in LABELS]]


def test_one_teacher_says_its_logits(teachers):
    found = teacher_logits(teachers[:1], TEXTS, LABELS, 2.0)
    np.testing.assert_allclose(softmax(found), probabilities(teachers[0], TEXTS), atol=1e-5)


def test_an_ensemble_says_the_mean_of_the_softened_probabilities(teachers):
    heat = 3.0
    each = [softmax(teacher_logits([teacher], TEXTS, LABELS, 1.0) / heat) for teacher in teachers[:2]]
    together = teacher_logits(teachers[:2], TEXTS, LABELS, heat)
    np.testing.assert_allclose(softmax(together / heat), np.mean(each, axis=0), atol=1e-5)
    assert np.abs(each[0] - each[1]).max() > 0.01


def test_labels_are_matched_by_name(teachers):
    found = teacher_logits(teachers[2:], TEXTS, LABELS, 1.0)
    np.testing.assert_allclose(softmax(found), probabilities(teachers[2], TEXTS), atol=1e-5)
    model, _ = open_trained(teachers[2], LABELS)
    turned = load_artifact(*open_artifact(teachers[2]))
    assert torch.equal(model.head.weight, turned.head.weight.flip(0))


def test_a_teacher_with_other_labels_is_refused(base, teachers, tmp_path):
    row = next(row for row in messages(9, seed=3) if row["label"] == "praise")
    taught = lesson(40, teachers=tuple(teachers[:1]))
    taught = replace(taught, labels=("account", "delivery", "loss", "refund"))
    taught = replace(taught, train=[*((text, label) for text, label in taught.train if label != "praise"),
                                    (row["text"], "loss")], valid=[])  # fmt: skip
    for student in ((), (0,)):
        with pytest.raises(ModelError, match=r"it lacks 'loss'; it has 'praise' besides"):
            finetune(base, replace(FIT, epochs=1, distil=Distil(student=student)), taught, tmp_path / "model")


def test_a_student_of_layers_starts_as_a_copy_of_the_teacher(base, teachers):
    taught = lesson(40, teachers=tuple(teachers[:1]))
    whole, tokenizer = open_start(base, replace(FIT, distil=Distil(student=(0, 1))), taught)
    original = load_artifact(*open_artifact(teachers[0]))
    assert whole.state_dict().keys() == original.state_dict().keys()
    assert all(torch.equal(tensor, original.state_dict()[name]) for name, tensor in whole.state_dict().items())
    assert tokenizer("money back now")["input_ids"] == open_start(base, FIT, taught)[1]("money back now")["input_ids"]
    upper, _ = open_start(base, replace(FIT, distil=Distil(student=(1,))), taught)
    assert upper.encoder.config.num_hidden_layers == 1
    for name, tensor in upper.encoder.encoder.layer[0].state_dict().items():
        assert torch.equal(tensor, original.encoder.encoder.layer[1].state_dict()[name])
    assert torch.equal(upper.head.weight, original.head.weight)


def test_a_layer_that_the_teacher_lacks_is_refused(base, teachers):
    with pytest.raises(ModelError, match=r"train\.distil\.student.*layer 2 was asked for"):
        open_start(base, replace(FIT, distil=Distil(student=(0, 2))), lesson(40, teachers=tuple(teachers[:1])))


def test_a_student_agrees_with_its_teacher_more_than_one_that_learns_labels_alone(base, teachers, tmp_path):
    """A quarter of the labels is wrong, and the teacher was taught the right ones."""
    rng, taught = random.Random(0), lesson(60, seed=5)
    noisy = [(text, rng.choice(LABELS) if rng.random() < 0.33 else label) for text, label in taught.train]
    taught = replace(taught, train=noisy, valid=[], teachers=tuple(teachers[:1]))
    distil = Distil(student=(0,), mix=0.9, temperature=2.0, unlabelled=False)
    student = finetune(base, replace(FIT, distil=distil), taught, tmp_path / "student")
    alone = finetune(base, FIT, replace(taught, teachers=()), tmp_path / "alone")
    says = probabilities(teachers[0], TEXTS).argmax(1)
    agreed, agrees_alone = ((probabilities(each, TEXTS).argmax(1) == says).mean() for each in (student, alone))
    assert agreed > agrees_alone + 0.05
    assert student.size_bytes < teachers[0].size_bytes
    folder, manifest = open_artifact(student)
    assert len(load_artifact(folder, manifest).encoder.encoder.layer) == 1


def test_unlabelled_texts_are_learnt_from_where_the_method_wants_them(base, teachers, tmp_path):
    taught = lesson(30, teachers=tuple(teachers[:1]), work=tmp_path / "work")
    known = taught.train[0][0]
    taught = replace(taught, unlabelled=(*TEXTS, known, TEXTS[0]))
    _, tokenizer = open_start(base, FIT, taught)
    rows = [*with_answers(replace(FIT, distil=Distil(unlabelled=True)), taught, tokenizer)]
    assert [row["labels"] for row in rows[30:]] == [-100] * len(TEXTS)
    assert all(row["labels"] >= 0 for row in rows[:30])
    expected = teacher_logits(teachers[:1], [taught.train[0][0], TEXTS[-1]], LABELS, 2.0)
    np.testing.assert_allclose([rows[0]["teacher_logits"], rows[-1]["teacher_logits"]], expected, atol=1e-5)
    assert len(with_answers(replace(FIT, distil=Distil(unlabelled=False)), taught, tokenizer)) == 30
    made = finetune(base, replace(FIT, epochs=1, distil=Distil()), replace(taught, work=None), tmp_path / "model")
    assert made.notes["train_loss"] > 0


def test_answers_are_asked_for_once(base, teachers, tmp_path):
    taught = lesson(20, teachers=tuple(teachers[:1]), work=tmp_path / "work")
    _, tokenizer = open_start(base, FIT, taught)
    method = replace(FIT, distil=Distil())
    first = [*with_answers(method, taught, tokenizer)]
    gone = replace(teachers[0], uri=str(tmp_path / "gone"))
    assert [*with_answers(method, replace(taught, teachers=(gone,)), tokenizer)] == first  # nobody is left to ask
    with pytest.raises(ArtifactError):
        with_answers(method, replace(taught, teachers=(gone,), work=tmp_path / "other"), tokenizer)
