"""Training before fine-tuning: on texts without labels, and on pairs of the few that have one."""

import logging
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from transformers import DataCollatorWithPadding, set_seed

from tasks.errors import ModelError
from tasks.train.adapt import adapt, language_model
from tasks.train.bases.base import FromConfig
from tasks.train.bases.loading import load_base
from tasks.train.contrastive import INVERSE_PENALTY, contrast, cosine_loss, draw_order, embed, regress_head, supcon_loss
from tasks.train.engine.tokens import encode
from tasks.train.engine.trainer import Phase
from tasks.train.finetune import finetune
from tasks.train.lesson import Lesson
from tasks.train.methods import Adapt, Contrastive, FineTune
from tasks.train.phases import once, run_phase
from tests.loop_support import make_tiny_base
from tests.texts_support import domain_texts, lesson, make_masking_base

FAST = Adapt(epochs=6, learning_rate=0.01, batch_size=16)
FEW = Contrastive(below=20, loss="cosine", pairs=3, epochs=2, learning_rate=0.005, batch_size=16)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(make_masking_base(tmp_path_factory.mktemp("masking")))


def opened(base, labels=4):
    set_seed(13)
    return load_base(base, labels, "mean", 0.1)


def run(own):
    field = "adapt" if isinstance(own, Adapt) else "contrastive"
    return FineTune(max_length=32, precision="fp32", seed=5, **{field: own})


def adapted(base, unlabelled, labelled=(), own=FAST):
    model, tokenizer = opened(base)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    taught = Lesson([(text, "a") for text in labelled], [], ("a",), unlabelled=tuple(unlabelled))
    notes = adapt(model, tokenizer, own, run(own), taught)
    return model, tokenizer, before, notes


# -- domain adaptation -------------------------------------------------------------------------------------------------


def test_adaptation_teaches_the_encoder_the_language_of_the_texts(base):
    model, _, before, notes = adapted(base, domain_texts(100, seed=1))
    assert notes["adapt_loss_after"] < 0.8 * notes["adapt_loss_before"]
    assert notes["adapt_texts"] == 90
    after = model.state_dict()
    assert not torch.equal(before["encoder.embeddings.word_embeddings.weight"],
                           after["encoder.embeddings.word_embeddings.weight"])  # fmt: skip
    assert torch.equal(before["head.weight"], after["head.weight"])
    assert [name for name in after if "cls" in name] == []  # the language head does not stay


def test_the_language_model_is_the_encoder_itself_with_tied_weights(base):
    model, tokenizer = opened(base)
    language, masked = language_model(model, tokenizer, base)
    assert masked
    assert language.base_model is model.encoder
    assert language.get_output_embeddings().weight is model.encoder.embeddings.word_embeddings.weight


def test_the_same_seed_gives_the_same_encoder(base):
    first, again = (adapted(base, domain_texts(40, 1), own=replace(FAST, epochs=1)) for _ in range(2))
    assert first[3] == again[3]
    for name, tensor in first[0].state_dict().items():
        assert torch.equal(tensor, again[0].state_dict()[name]), name


def test_without_unlabelled_texts_the_train_texts_stand_alone(base, caplog):
    with caplog.at_level(logging.INFO, "tasks"):
        *_, notes = adapted(base, (), domain_texts(20, 1), replace(FAST, epochs=1))
    assert "there are no unlabelled texts" in caplog.text
    assert notes["adapt_texts"] > 0


def test_no_more_texts_than_wanted_are_read(base):
    *_, notes = adapted(base, [f"please {number} order" for number in range(100)], (), replace(FAST, max_texts=30))
    assert notes["adapt_texts"] == 27  # a tenth is held out


def test_texts_of_one_token_leave_the_loss_a_number(base):
    *_, notes = adapted(base, ["please", "money", "  "], (), replace(FAST, batch_size=1, mask_share=0.01))
    assert notes["adapt_texts"] == 2
    assert np.isfinite(notes["adapt_loss_after"])


@pytest.mark.parametrize("family", ["bert", "deberta-v2", "modernbert", "gpt2"])
def test_every_family_with_a_language_model_can_be_adapted(base, family):
    config = FromConfig(family, base, hidden_size=32, layers=1, heads=2, intermediate_size=32, max_length=64)
    model, tokenizer = load_base(config, 4, "mean", 0.1)
    language, masked = language_model(model, tokenizer)
    assert masked is (family != "gpt2")
    assert language.base_model is model.encoder
    notes = adapt(model, tokenizer, FAST, run(FAST), Lesson([], [], (), unlabelled=tuple(domain_texts(60, 1))))
    assert notes["adapt_loss_after"] < 0.8 * notes["adapt_loss_before"]


def test_what_has_no_language_model_is_refused(base, tmp_path):
    config = FromConfig("t5", base, hidden_size=32, layers=1, heads=2, intermediate_size=32, max_length=64)
    with pytest.raises(ModelError, match=r"train\.adapt: t5 encoders have no masked or causal language model"):
        language_model(*load_base(config, 2, "mean", 0.1))
    with pytest.raises(ModelError, match="no mask token"):
        language_model(*opened(str(make_tiny_base(tmp_path))))


# -- few examples ------------------------------------------------------------------------------------------------------


def few(base, rows=40):
    model, tokenizer = opened(base)
    taught = lesson(rows)
    labels = [taught.labels.index(label) for _, label in taught.train]
    rows = encode([text for text, _ in taught.train], tokenizer, 32, labels=labels)
    return model, tokenizer, taught, [*rows], labels


def separation(model, tokenizer, rows, labels):
    """Mean cosine within classes less that between them."""
    vectors = embed(model, rows, DataCollatorWithPadding(tokenizer))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines, alike = vectors @ vectors.T, np.equal.outer(labels, labels)
    others = ~np.eye(len(labels), dtype=bool)
    return cosines[alike & others].mean() - cosines[~alike].mean()


@pytest.mark.parametrize("loss", ["cosine", "supcon"])
def test_classes_stand_apart_after_contrastive_training(base, loss):
    model, tokenizer, taught, rows, labels = few(base)
    before = separation(model, tokenizer, rows, labels)
    method = replace(FEW, loss=loss, epochs=2 if loss == "cosine" else 12)
    notes = contrast(model, tokenizer, method, run(method), taught, rows)
    assert separation(model, tokenizer, rows, labels) > before + 0.2
    assert notes["contrastive_texts"] == len(draw_order(labels, method, 5))
    assert all(weights.requires_grad for weights in model.head.parameters())


def test_it_is_skipped_where_no_class_is_short_of_rows(base, caplog):
    model, tokenizer, taught, rows, labels = few(base)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    method = replace(FEW, below=min(Counter(labels).values()))
    with caplog.at_level(logging.INFO, "tasks"):
        assert contrast(model, tokenizer, method, run(method), taught, rows) == {}
    assert "contrastive: skipped" in caplog.text
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_pairs_are_of_both_kinds_and_balanced_over_classes():
    labels = [0] * 30 + [1] * 5 + [2]
    method = Contrastive(loss="cosine", below=10, pairs=3)
    order = draw_order(labels, method, seed=1)
    pairs = list(zip(order[0::2], order[1::2], strict=True))
    alike = [pair for pair in pairs if labels[pair[0]] == labels[pair[1]]]
    assert len(pairs) == 2 * len(alike) == 2 * 3 * 10 * 3
    assert Counter(labels[left] for left, _ in pairs) == dict.fromkeys((0, 1, 2), 60)
    assert all(left != right or labels[left] == 2 for left, right in alike)  # a lone row has itself alone
    assert draw_order(labels, method, seed=1) == order != draw_order(labels, method, seed=2)


def test_groups_hold_one_class_and_every_class_has_its_turn():
    labels = [0] * 8 + [1] * 8 + [2] * 3
    order = draw_order(labels, Contrastive(below=20, loss="supcon", epochs=2), seed=1)
    groups = [[labels[place] for place in order[start : start + 4]] for start in range(0, len(order), 4)]
    assert all(len(set(group)) == 1 for group in groups)
    assert len(groups) == 2 * 2 * 3
    for start in range(0, len(groups), 3):
        assert sorted(group[0] for group in groups[start : start + 3]) == [0, 1, 2]


def test_the_losses_agree_with_their_definition():
    torch.manual_seed(0)
    vectors, labels = torch.randn(6, 4), torch.tensor([0, 0, 1, 2, 1, 1])
    pairs = [(0, 1), (2, 3), (4, 5)]
    by_hand = [
        (torch.cosine_similarity(vectors[left], vectors[right], dim=0) - float(labels[left] == labels[right])) ** 2
        for left, right in pairs
    ]
    assert cosine_loss(vectors, labels).item() == pytest.approx(float(sum(by_hand)) / 3, rel=1e-5)
    unit, total, anchors = vectors / vectors.norm(dim=1, keepdim=True), 0.0, 0
    for anchor in range(6):
        alike = [other for other in range(6) if other != anchor and labels[other] == labels[anchor]]
        if alike:
            below = sum(torch.exp(unit[anchor] @ unit[other] / 0.2) for other in range(6) if other != anchor)
            total -= float(sum((unit[anchor] @ unit[other] / 0.2) - torch.log(below) for other in alike)) / len(alike)
            anchors += 1
    assert supcon_loss(vectors, labels, 0.2).item() == pytest.approx(total / anchors, rel=1e-5)
    assert supcon_loss(vectors[:1], labels[:1], 0.2).item() == 0.0


@pytest.mark.parametrize("classes", [(0, 1), (0, 1, 3), (0, 1, 2, 3)])
def test_the_head_gives_the_probabilities_of_the_logistic_regression(base, classes):
    model, tokenizer, _, rows, labels = few(base)
    kept = [place for place, label in enumerate(labels) if label in classes]
    rows, labels = [rows[place] for place in kept], [labels[place] for place in kept]
    vectors = embed(model, rows, DataCollatorWithPadding(tokenizer))
    regress_head(model, vectors, labels)
    scale = np.linalg.norm(vectors, axis=1).mean()
    expected = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000).fit(vectors / scale, labels)
    model.eval()
    with torch.no_grad():
        batch = DataCollatorWithPadding(tokenizer)(rows)
        found = model(batch["input_ids"], batch["attention_mask"])["logits"].softmax(1).numpy()
    np.testing.assert_allclose(found[:, classes], expected.predict_proba(vectors / scale), atol=1e-5)
    assert found.sum(axis=1) - found[:, classes].sum(axis=1) == pytest.approx(0, abs=1e-6)


# -- as parts of a training --------------------------------------------------------------------------------------------


def test_a_phase_that_was_done_is_not_done_again(base, tmp_path):
    def train():
        ran.append(1)
        with torch.no_grad():
            model.head.weight.add_(1.0)
        return {"loss": 0.5}

    ran, drawn, heads = [], [], []
    for _ in range(2):
        model, _ = opened(base)
        notes = once("adapt", model, tmp_path / "work", 3, train)
        drawn.append(torch.rand(1).item())
        heads.append(model.head.weight.detach().clone())
        assert notes["loss"] == 0.5
    assert ran == [1]
    assert torch.equal(*heads)
    assert drawn[0] == drawn[1]  # what follows draws the same


@pytest.mark.parametrize(("phase", "named"), [("adapt", 2), ("contrastive", 4)])  # of a batch of two: texts, pairs
def test_a_loss_that_is_no_number_names_the_phase_and_the_rows(base, phase, named):
    model, tokenizer, taught, rows, _ = few(base)
    model.encoder.get_input_embeddings().weight.data[tokenizer.convert_tokens_to_ids("please")] = float("nan")
    taught = replace(taught, ids=tuple(f"id-{text}" for text, _ in taught.train))
    with pytest.raises(ModelError, match=rf"at step \d+, on rows id-.*: lower train\.{phase}\.learning_rate") as failed:
        if phase == "adapt":
            own = replace(FAST, batch_size=2)
            adapt(model, tokenizer, own, run(own), taught)
        else:
            own = replace(FEW, batch_size=2)
            contrast(model, tokenizer, own, run(own), taught, rows)
    said = str(failed.value)
    assert said.count("id-") == named
    assert any(f"id-{text}" in said for text, _ in taught.train if "please" in text)


def test_a_phase_goes_on_where_memory_runs_out(base, caplog, tmp_path):
    model, tokenizer, taught, rows, _ = few(base)
    sizes = []

    def loss(model, inputs):
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 8:
            raise RuntimeError("out of memory")
        return model(**{name: inputs[name] for name in ("input_ids", "attention_mask")})["pooled"].square().mean(), {}

    phase = Phase("adapt", DataCollatorWithPadding(tokenizer))
    with caplog.at_level(logging.INFO, "tasks"):
        run_phase(phase, model, tokenizer, loss, FAST, run(FAST), rows, tmp_path, taught.row_name)
    assert sizes[0] == 16
    assert set(sizes[1:]) == {8}
    assert "going on with 8 at a time" in caplog.text
    assert "precision: fp32 (as asked)" in caplog.text


def test_a_training_goes_through_its_phases(base, tmp_path):
    method = FineTune(epochs=1, learning_rate=0.001, max_length=32, precision="fp32", patience=1,
                      adapt=replace(FAST, epochs=1), contrastive=replace(FEW, epochs=1, pairs=1))  # fmt: skip
    taught = lesson(40, unlabelled=tuple(domain_texts(40, 1)), work=tmp_path / "work")
    made = [finetune(base, method, taught, tmp_path / name) for name in ("one", "two")]
    notes = made[0].notes
    assert notes["adapt_texts"] > 40
    assert notes["contrastive_texts"] > 0
    assert {"adapt_seconds", "contrastive_seconds", "train_loss"} <= set(notes)
    assert made[1].notes["adapt_seconds"] == notes["adapt_seconds"]  # read, not done again
