"""The features and the fit of a cascade's first stage: against brute force, scikit-learn and what serving reads."""

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from serving.classes import softmax
from serving.runtimes.ngram_text import character_grams, find_tokens, neighbours
from serving.runtimes.ngrams import NgramStage
from tasks.compress.cascading.features import MAX_N, MIN_N, find_features, text_rows
from tasks.compress.cascading.linear import cross_entropy, fit, logits
from tasks.compress.cascading.ngram_stage import fit_stage, write_stage
from tests.loop_support import messages

ROWS = messages(240, seed=3)
TEXTS = [row["text"] for row in ROWS]
LABELS = sorted({row["label"] for row in ROWS})
ANSWERS = 0.9 * np.eye(len(LABELS), dtype=np.float32)[[LABELS.index(row["label"]) for row in ROWS]] + 0.1 / len(LABELS)
ODD = ["", " ", "zzzz qqqq", "refund" * 500, "\ud800 lone", "İstanbul ẞ", "???", "money money money back", "mönéy"]


def features_of(text):
    """All features of a text with their counts, by their kinds."""
    tokens = find_tokens(text.lower())
    grams = Counter(gram for token in tokens for gram in character_grams(token, MIN_N, MAX_N))
    return Counter(tokens), grams, Counter(neighbours(tokens))


def dense(texts, features):
    """The rows of the texts as one dense matrix, feature by feature, by the definition."""
    frequencies = features.idf.astype(float)
    names = [(kind, name) for kind, of in enumerate((features.words, features.grams, features.pairs)) for name in of]
    made = np.zeros((len(texts), len(names)))
    for row, text in enumerate(texts):
        found = features_of(text)
        counts = np.array([found[kind][name] for kind, name in names], float)
        mass = (counts * frequencies**2).sum()
        if mass:
            made[row] = counts * frequencies / math.sqrt(mass)
    return made


def test_features_are_those_of_two_texts_and_the_most_frequent():
    features = find_features(TEXTS, 10**6)
    seen = [Counter(), Counter(), Counter()]
    for text in TEXTS:
        for counter, found in zip(seen, features_of(text), strict=True):
            counter.update(found.keys())
    kept = (features.words, features.grams, features.pairs)
    assert [set(of) for of in kept] == [{name for name, count in of.items() if count > 1} for of in seen]
    counts = [of[name] for of, names in zip(seen, kept, strict=True) for name in names]
    assert features.idf == pytest.approx(np.log((1 + len(TEXTS)) / (1 + np.array(counts))) + 1, rel=1e-6)
    few = find_features(TEXTS, 100)
    assert len(few.idf) == 100
    assert few.idf.max() <= np.sort(features.idf)[99]


def test_rows_are_what_their_definition_says():
    features = find_features(TEXTS, 10**6)
    rows = text_rows([*TEXTS[:20], *ODD], features)
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(len(features.idf), 3)).astype(np.float32)
    added = rows.tokens @ (rows.spelling @ weights[: features.inside]) + rows.pairs @ weights[features.inside :]
    np.testing.assert_allclose(rows.scale * added, dense([*TEXTS[:20], *ODD], features) @ weights, atol=2e-4)


def test_the_fit_is_scikit_learns():
    """On hard labels, where both minimise the same loss."""
    features = find_features(TEXTS, 150)
    rows, wide = text_rows(TEXTS, features), dense(TEXTS, features)
    hard = np.eye(len(LABELS), dtype=np.float32)[ANSWERS.argmax(1)]
    ours = fit(rows, hard, 10.0, 200)
    theirs = LogisticRegression(C=10.0, max_iter=500, tol=1e-6).fit(wide, hard.argmax(1))
    np.testing.assert_allclose(softmax(logits(ours, rows)), theirs.predict_proba(wide), atol=5e-3)
    expected = -np.log(theirs.predict_proba(wide)[np.arange(len(hard)), hard.argmax(1)]).mean()
    assert cross_entropy(ours, rows, hard) == pytest.approx(expected, abs=2e-3)


def test_soft_targets_are_learned_as_such():
    features = find_features(TEXTS, 10**5)
    rows = text_rows(TEXTS, features)
    learned = softmax(logits(fit(rows, ANSWERS, 1e5, 300), rows))
    assert np.abs(learned - ANSWERS).max() < 0.05


@pytest.fixture(scope="module")
def stage():
    return fit_stage(TEXTS, ANSWERS, len(TEXTS), 50_000, 13)


def served(stage, folder):
    write_stage(stage, folder)
    return NgramStage(folder, stage.model.bias.size)


def test_serving_answers_what_was_fitted(stage, reader):
    """New texts with unknown words and odd ones too; float16 rows change no answer."""
    texts = [*TEXTS, *(row["text"] for row in messages(200, seed=8, later=True)), *ODD]
    best, confidences, probabilities = reader.answers(texts)
    rows = text_rows(texts, stage.features)
    expected = softmax(logits(stage.model, rows))
    np.testing.assert_allclose(probabilities, expected, atol=5e-3)
    assert (best == expected.argmax(1)).all()
    assert np.array_equal(confidences == 0, rows.scale[:, 0] == 0)
    assert confidences[-len(ODD)] == 0 and confidences[0] > 0.5


@pytest.fixture(scope="module")
def reader(stage, tmp_path_factory):
    return served(stage, tmp_path_factory.mktemp("first"))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_served_as_it_was_fitted(stage, reader, text):
    rows = text_rows([text], stage.features)
    np.testing.assert_allclose(reader.judge(text)[2], softmax(logits(stage.model, rows))[0], atol=5e-3)


def test_equal_input_gives_equal_files(stage, tmp_path):
    write_stage(stage, tmp_path / "one")
    write_stage(fit_stage(TEXTS, ANSWERS, len(TEXTS), 50_000, 13), tmp_path / "two")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(names) == 8
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_rows_beyond_float16_are_written_in_float32(stage, tmp_path):
    huge = stage.model.__class__(stage.model.weights * 1e6, stage.model.bias)
    reader = served(stage.__class__(stage.features, huge, stage.strength), tmp_path)
    assert np.load(tmp_path / "words.npy").dtype == np.float32
    assert np.isfinite(reader.judge(TEXTS[0])[2]).all()
    write_stage(stage, tmp_path)
    assert np.load(tmp_path / "words.npy").dtype == np.float16
    assert json.loads((tmp_path / "words.json").read_text("utf-8"))["min_n"] == MIN_N


@pytest.mark.parametrize("labels", [2, 150])
def test_few_labels_and_many(labels, tmp_path):
    """Every label has its word; the last has a single row."""
    texts = [f"please say word{at % labels} and{at // labels} now" for at in range(6 * labels - 5)]
    answers = np.eye(labels, dtype=np.float32)[[at % labels for at in range(len(texts))]]
    texts, answers = [*texts, "an odd one out"], np.vstack([answers, answers[-1:]])
    best, _, _ = served(fit_stage(texts, answers, len(texts), 50_000, 1), tmp_path).answers(texts)
    assert (best == answers.argmax(1))[:-1].mean() > 0.95


def test_a_language_without_spaces_is_read_by_its_characters(tmp_path):
    """Each text is one token that no other text has; what tells the labels is inside it."""
    rng = np.random.default_rng(5)
    signs = [chr(0x4E00 + at) for at in range(40)]
    marks = {0: "".join(signs[:3]), 1: "".join(signs[3:6]), 2: "".join(signs[6:9])}

    def draw(label):
        filler = ["".join(rng.choice(signs[9:], 6)) for _ in range(2)]
        return filler[0] + marks[label] + filler[1]

    labels = rng.integers(0, 3, 160)
    texts = [draw(label) for label in labels]
    assert max(Counter(find_tokens(text)[0] for text in texts).values()) == 1
    reader = served(fit_stage(texts[:100], np.eye(3, dtype=np.float32)[labels[:100]], 100, 50_000, 1), tmp_path)
    assert (reader.answers(texts[100:])[0] == labels[100:]).mean() > 0.95
