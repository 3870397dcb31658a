"""The step against wrong labels: what it finds, in any order of rows, and what it refuses."""

import random
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from tasks.data.cleaning.clean import apply, clean
from tasks.data.cleaning.confident import fit_discriminant, learn
from tasks.data.cleaning.conflicts import Conflicts
from tasks.data.cleaning.label_errors import LabelErrors, find_label_errors, list_suspects
from tasks.data.cleaning.outliers import Outliers
from tasks.data.rows import values
from tasks.errors import DataError
from tasks.specs import CleanStep
from tests.unit.data_rows import rows

THEMES = {
    "card": ("my card is lost", "block the card", "card was stolen", "a new card please", "the card does not work"),
    "money": ("send money abroad", "transfer money", "where is my money", "money has not come", "money is missing"),
    "login": ("cannot log in", "reset my password", "the password is wrong", "log in fails", "forgot password"),
}
ENDINGS = ("today", "since monday", "in the shop", "again", "at home", "abroad", "on my phone", "please help", "urgent")
STEP = LabelErrors(features="ngrams", action="flag")


def made(wrong: int = 6) -> tuple[list[str], list[str], set[int]]:
    """Texts, labels and which of them are wrong."""
    rng = random.Random(3)
    pairs = [(f"{text} {ending}", label) for label, texts in THEMES.items() for text in texts for ending in ENDINGS]
    rng.shuffle(pairs)
    texts, labels = [text for text, _ in pairs], [label for _, label in pairs]
    chosen = set(rng.sample(range(len(pairs)), wrong))
    for row in chosen:
        labels[row] = next(label for label in THEMES if label != labels[row])
    return texts, labels, chosen


def flagged(step: LabelErrors, texts: list[str], labels: list[str]) -> set[int]:
    return set(map(int, np.flatnonzero(find_label_errors(step, texts, labels).judgement.flagged)))


def test_planted_wrong_labels_are_found_and_dropped() -> None:
    texts, labels, wrong = made()
    assert flagged(STEP, texts, labels) == wrong
    left, report = apply(LabelErrors(features="ngrams"), rows(texts, labels))
    assert set(values(left, "id")) == {f"r{row}" for row in range(len(texts)) if row not in wrong}
    assert (report.rows_in - report.rows_out, report.left_out) == (6, {"dropped, the label looks wrong": 6})
    assert len(report.examples) == 6
    assert report.parameters["folds"] == 5


def test_relabelled_rows_get_the_right_label_and_a_second_time_changes_nothing() -> None:
    texts, labels, wrong = made()
    left, report = apply(LabelErrors(features="ngrams", action="relabel"), rows(texts, labels))
    themes = [next(label for label, known in THEMES.items() if text.startswith(known)) for text in texts]
    assert (values(left, "target"), report.rows_changed, report.rows_out) == (themes, len(wrong), len(texts))
    again, report = apply(LabelErrors(features="ngrams", action="relabel"), left)
    assert again.equals(left)
    assert report.rows_changed == 0


def test_only_what_it_is_sure_of_is_relabelled() -> None:
    texts, labels, wrong = made()
    left, report = apply(LabelErrors(features="ngrams", action="relabel", sure=1.0), rows(texts, labels))
    assert values(left, "target") == labels
    assert report.left_out["flagged, kept: the suggestion is not sure enough"] == len(wrong)


def test_flag_keeps_every_row_and_shows_given_and_suggested_label_without_personal_data() -> None:
    texts, labels, wrong = made()
    row = min(wrong)
    texts[row] += " me@example.com"
    table = rows(texts, labels)
    left, report = apply(STEP, table)
    assert left.equals(table)
    assert report.left_out == {"flagged, kept": len(wrong)}
    assert not any("me@example.com" in example for example in report.examples)
    assert any("<EMAIL>" in example and f"{labels[row]} -> " in example for example in report.examples)


def test_the_order_of_rows_changes_nothing() -> None:
    texts, labels, _ = made()
    found = find_label_errors(STEP, texts, labels).judgement
    order = random.Random(5).sample(range(len(texts)), len(texts))
    other = find_label_errors(STEP, [texts[row] for row in order], [labels[row] for row in order]).judgement
    assert np.array_equal(found.given[order], other.given)
    assert np.array_equal(found.flagged[order], other.flagged)


def test_a_wrongly_labelled_twin_does_not_vouch_for_a_row() -> None:
    texts, labels, wrong = made(4)
    twins = [texts[row].upper() + "!" for row in sorted(wrong)]
    found = flagged(STEP, texts + twins, labels + [labels[row] for row in sorted(wrong)])
    assert found == wrong | set(range(len(texts), len(texts) + len(twins)))


def test_no_more_than_the_share_is_flagged() -> None:
    texts, labels, _ = made()
    assert len(flagged(LabelErrors(features="ngrams", max_share=0.03), texts, labels)) == int(0.03 * len(texts))


def test_a_model_of_some_rows_judges_all() -> None:
    texts, labels, wrong = made(10)
    found = flagged(LabelErrors(features="ngrams", max_rows=100), texts, labels)
    assert len(found & wrong) >= 8
    assert len(found - wrong) <= 6


def test_labels_of_few_rows_and_empty_texts_are_not_judged() -> None:
    texts, labels, _ = made()
    table = rows([*texts, "one of its kind", "", "  "], [*labels, "rare", "card", "login"])
    _, report = apply(STEP, table)
    assert report.left_out == {"flagged, kept": 6, "not judged: no text, or too few texts have the label": 3}


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        ([f"text {row}" for row in range(30)], ["a"] * 30, "needs two labels that at least 5 .* found 1 among 1"),
        ([f"text {row}" for row in range(30)], ["a"] * 29 + ["b"], "found 1 among 2 labels of 30 rows"),
        ([f"text {row}" for row in range(30)], [f"answer {row}" for row in range(30)], "30 different targets"),
        (["same"] * 30, ["a", "b"] * 15, "found 0 among 2"),
        ([""] * 30, ["a", "b"] * 15, "found 0 among 0"),
    ],
)
def test_what_cannot_be_judged_is_refused(texts: list[str], labels: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        clean(rows(texts, labels), [STEP])
    assert "\n" not in str(caught.value)


def test_golden_suspects_are_listed_least_likely_first_and_unknown_labels_left_alone() -> None:
    texts, labels, _ = made()
    golden = rows(["the card is broken", "password is gone, ask me@example.com", "money for rent", "huh"],
                  ["card", "card", "login", "out of scope"], split="golden")  # fmt: skip
    found = list_suspects(STEP, rows(texts, labels), golden).to_pylist()
    assert {(row["id"], row["given"], row["suggested"]) for row in found} == {
        ("r1", "card", "login"),
        ("r2", "login", "money"),
    }
    assert [row["confidence"] for row in found] == sorted(row["confidence"] for row in found)
    assert any("<EMAIL>" in row["text"] for row in found)


def test_the_discriminant_agrees_with_the_reference() -> None:
    """Scores differ from scikit-learn's discriminant of the same covariance by a constant of each row."""
    from sklearn.covariance import ShrunkCovariance
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rng = np.random.default_rng(4)
    labels = rng.integers(0, 3, 200)
    vectors = (rng.normal(size=(200, 6)) + labels[:, None]).astype(np.float32)
    ours = fit_discriminant(vectors, labels, 3)
    centred = vectors - np.stack([vectors[labels == label].mean(0) for label in range(3)])[labels]

    class Pooled(ShrunkCovariance):
        """The covariance within all classes together, whatever class it is asked for."""

        def fit(self, X: Any, y: Any = None) -> Any:  # noqa: N803  the reference's name
            return super().fit(centred)

    reference = LinearDiscriminantAnalysis(
        solver="lsqr", covariance_estimator=Pooled(shrinkage=0.5, assume_centered=True)
    ).fit(vectors, labels)
    wanted, found = reference.decision_function(vectors), ours.scores(vectors) + ours.log_priors
    assert np.allclose(wanted - wanted[:, :1], found - found[:, :1], atol=1e-3)


def test_a_class_that_one_fold_holds_whole_is_not_judged_there() -> None:
    vectors = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2, 2]]
    model = learn(vectors, np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 0, 1, 0, 0]), 3, 0.5)
    assert np.isneginf(model.folds[0].log_priors[2])
    assert np.isfinite(model.temperature)


def test_the_spec_takes_the_steps_and_refuses_what_they_do_not_know() -> None:
    adapter = TypeAdapter(CleanStep)
    assert adapter.validate_python("label_errors") == LabelErrors()
    assert adapter.validate_python({"kind": "outliers", "among": "all"}) == Outliers(among="all")
    assert adapter.validate_python({"kind": "conflicts", "policy": "newest"}) == Conflicts(policy="newest")
    for wrong in ({"kind": "label_errors", "action": "guess"}, {"kind": "label_errors", "folds": 1},
                  {"kind": "outliers", "share": 0.9}, {"kind": "conflicts", "policy": "oldest"}):  # fmt: skip
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)
