"""The guard, with the real Great Expectations."""

from pathlib import Path

import pyarrow as pa
import pytest

from tasks.data.checking.validate import ValidateSpec, ValidationReport, validate
from tasks.data.rows import make_rows, with_values
from tasks.errors import DataError

# Great Expectations 1.24 imports modules of the standard library that are deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_(constants|parse)' is deprecated:DeprecationWarning")

LABELS = ("card", "cash")


def good(count: int = 40) -> pa.Table:
    """Rows that keep every promise."""
    numbers = range(count)
    return make_rows(
        {
            "id": [f"r{n}" for n in numbers],
            "text": [f"a question, the {n}th" for n in numbers],
            "target": [LABELS[n % 2] for n in numbers],
            "split": [("train", "train", "train", "golden")[n % 4] for n in numbers],
            "source": ["test" for _ in numbers],
        }
    )


def changed(column: str, *new: str) -> pa.Table:
    """Good rows, the first values of one column replaced."""
    return with_values(good(), column, [*new, *good().column(column).to_pylist()[len(new) :]])


def test_good_rows_pass_and_the_docs_are_written(tmp_path: Path) -> None:
    report = validate(good(), ValidateSpec(), LABELS, tmp_path / "data docs")
    assert report == ValidationReport(True, 9, (), report.docs)
    page = Path(report.docs)
    assert page.is_relative_to(tmp_path / "data docs")
    assert "Validation" in page.read_text(encoding="utf-8")
    assert (tmp_path / "data docs" / "index.html").is_file()


@pytest.mark.parametrize(
    ("name", "table", "spec"),
    [
        ("ids", changed("id", "r1"), ValidateSpec()),
        ("splits", changed("split", "test"), ValidateSpec()),
        ("labels", changed("target", "unheard of"), ValidateSpec(min_class_rows=None)),
        ("min_rows", good(12), ValidateSpec()),
        ("max_chars", changed("text", "long " * 100), ValidateSpec(max_chars=100, warn=())),
        ("max_empty_share", changed("text", *[" "] * 9), ValidateSpec(max_duplicate_share=None)),
        ("max_duplicate_share", changed("text", *["Same", "same "] * 12), ValidateSpec(warn=())),
        ("max_pii_share", changed("text", *[f"me{n}@example.com" for n in range(5)]), ValidateSpec(warn=())),
        ("min_class_rows", changed("target", *["card"] * 40), ValidateSpec(min_class_rows=31, warn=())),
    ],
)
def test_a_broken_promise_stops(tmp_path: Path, name: str, table: pa.Table, spec: ValidateSpec) -> None:
    with pytest.raises(DataError, match=f"{name}: ") as caught:
        validate(table, spec, LABELS, tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "validations") in str(caught.value)


def test_a_stop_names_rows_and_count(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels: 2 rows \(5 %\) break .*e\.g\. row r0, r1"):
        validate(changed("target", "x", "x"), ValidateSpec(min_class_rows=None), LABELS, tmp_path)


def test_a_warning_passes_and_is_reported(tmp_path: Path) -> None:
    texts = [f"write to me{n}@example.com" for n in range(30)]
    report = validate(changed("text", *texts), ValidateSpec(), LABELS, tmp_path)
    assert report.passed
    (failure,) = report.failures
    assert (failure.expectation, failure.severity, len(failure.rows)) == ("max_pii_share", "warn", 20)
    assert "30 rows (75 %)" in failure.observed
    assert "example.com" not in Path(report.docs).read_text(encoding="utf-8")


def test_a_share_at_the_limit_passes(tmp_path: Path) -> None:
    assert validate(changed("text", *[" "] * 8), ValidateSpec(), LABELS, tmp_path).passed


def test_limits_can_be_switched_off_and_answers_have_no_labels(tmp_path: Path) -> None:
    off = dict.fromkeys(("min_rows", "max_chars", "max_empty_share", "max_duplicate_share", "max_pii_share"))
    report = validate(changed("target", "free text"), ValidateSpec(**off), (), tmp_path)
    assert (report.passed, report.checked) == (True, 2)
