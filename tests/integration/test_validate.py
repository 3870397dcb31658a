"""The guard, with the real Great Expectations."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks.data.checking import rules
from tasks.data.checking.limits import ValidateSpec
from tasks.data.checking.measure import measure_rows
from tasks.data.checking.profile import DataProfile, make_profile
from tasks.data.checking.suite import derive_suite
from tasks.data.checking.validate import ValidationReport, name_rows, refuse, validate
from tasks.data.rows import make_rows, with_values
from tasks.data.snapshot import write_table
from tasks.errors import ArtifactError, DataError
from tasks.guard import check, check_feedback, describe
from tasks.records import Snapshot, Table, from_json, to_json
from tasks.store import Store

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
            "target": [LABELS[n // 2 % 2] for n in numbers],
            "split": [("train", "train", "train", "golden")[n % 4] for n in numbers],
            "source": ["file:test.csv" for _ in numbers],
            "line": [str(n + 2) for n in numbers],
        }
    )


def changed(column: str, *new: str) -> pa.Table:
    """Good rows, the first values of one column replaced."""
    return with_values(good(), column, [*new, *good().column(column).to_pylist()[len(new) :]])


def profile_of(table: pa.Table) -> DataProfile:
    return make_profile(table, measure_rows(table), "last")


def look(
    table: pa.Table, spec: ValidateSpec, docs: Path, labels: tuple[str, ...] = LABELS, last: pa.Table | None = None
) -> ValidationReport:
    """Return what the guard finds; `last` are the rows that were accepted last."""
    reference = profile_of(last) if last is not None else None
    return validate(table, derive_suite(reference, sources=[("data.checks", spec)]), labels, docs)


def stopped(table: pa.Table, spec: ValidateSpec, docs: Path, last: pa.Table | None = None) -> str:
    """Return the message that ends the iteration."""
    with pytest.raises(DataError) as caught:
        refuse(look(table, spec, docs, last=last))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_good_rows_pass_and_the_docs_are_written(tmp_path: Path) -> None:
    report = look(good(), ValidateSpec(), tmp_path / "data docs")
    assert (report.passed, report.failures, report.rows, len(report.results)) == (True, (), 40, 14)
    page = Path(report.docs)
    assert page.is_relative_to(tmp_path / "data docs")
    assert "Validation" in page.read_text(encoding="utf-8")
    assert (Path(report.site) / "index.html").is_file()
    assert from_json(ValidationReport, to_json(report)) == report
    refuse(report)


def test_the_same_rows_again_keep_to_all_that_is_derived_from_them(tmp_path: Path) -> None:
    report = look(good(), ValidateSpec(), tmp_path, last=good())
    assert (report.failures, len(report.results)) == ((), 20)


@pytest.mark.parametrize(
    ("name", "table", "spec"),
    [
        ("columns", good().drop_columns("source"), ValidateSpec()),
        ("types", with_values(good(), "text", [None, *good()["text"].to_pylist()[1:]]), ValidateSpec()),  # type: ignore[list-item]
        ("ids", changed("id", "r1"), ValidateSpec()),
        ("splits", changed("split", "test"), ValidateSpec()),
        ("labels", changed("target", "unheard of"), ValidateSpec(min_class_rows=None)),
        ("class_labels", changed("target", *[f"0.{n}" for n in range(11, 51)]), ValidateSpec(min_class_rows=None)),
        ("forbidden_labels", good(), ValidateSpec(forbidden_labels=("cash",))),
        ("required_labels", good(), ValidateSpec(required_labels=("cheque", "cash"))),
        ("known_labels", good(), ValidateSpec(known_labels=("cash",), stop=("known_labels",))),
        ("min_rows", good(12), ValidateSpec()),
        ("max_rows", good(), ValidateSpec(max_rows=39, stop=("max_rows",))),
        ("min_distinct_texts", changed("text", *["same"] * 40), ValidateSpec(leakage=False)),
        ("max_chars", changed("text", "long " * 100), ValidateSpec(max_chars=100, warn=())),
        ("length", good(), ValidateSpec(length={"min": 1, "max": 18}, stop=("length",))),  # type: ignore[arg-type]
        ("max_empty_share", changed("text", *[" "] * 9), ValidateSpec(max_duplicate_share=None)),
        ("max_duplicate_share", changed("text", *["Same", "same "] * 12), ValidateSpec(warn=())),
        ("max_pii_share", changed("text", *[f"me{n}@example.com" for n in range(5)]), ValidateSpec(warn=())),
        ("min_class_rows", changed("target", *["card"] * 40), ValidateSpec(min_class_rows=31, warn=())),
        ("leakage", changed("text", "A question, the 3th"), ValidateSpec()),
    ],
)
def test_a_broken_promise_stops(tmp_path: Path, name: str, table: pa.Table, spec: ValidateSpec) -> None:
    message = stopped(table, spec, tmp_path)
    assert f"({name}: " in message or f"; {name}: " in message
    assert str(tmp_path / "validations") in message


@pytest.mark.parametrize(
    ("name", "table", "last"),
    [
        ("required_labels", changed("target", *["card"] * 40), good()),
        ("min_rows", good(40), good(100)),
        ("max_empty_share", changed("text", *[" "] * 6), good()),
    ],
)
def test_what_the_last_snapshot_had_and_this_has_not_stops(
    tmp_path: Path, name: str, table: pa.Table, last: pa.Table
) -> None:
    assert f"({name}: " in stopped(table, ValidateSpec(leakage=False), tmp_path, last)


@pytest.mark.parametrize(
    ("name", "table", "last"),
    [
        ("known_labels", good(), changed("target", *["card"] * 40)),
        ("max_rows", good(120), good(36)),
        ("max_class_distance", changed("target", *["card"] * 36), good()),
        ("max_class_factor", with_values(good(200), "target", ["card"] * 185 + ["cash"] * 15), good(200)),
        ("length", changed("text", *["much longer than any question that came before it did"] * 4), good()),
        ("max_duplicate_share", changed("text", *["same"] * 20), good()),
        ("max_pii_share", changed("text", *[f"me{n}@example.com" for n in range(5)]), good()),
    ],
)
def test_what_is_odd_against_the_last_snapshot_warns(
    tmp_path: Path, name: str, table: pa.Table, last: pa.Table
) -> None:
    report = look(table, ValidateSpec(leakage=False), tmp_path, last=last)
    assert name in {failure.expectation for failure in report.failures}
    assert report.passed


def test_another_language_than_last_time_warns(tmp_path: Path) -> None:
    english = [f"where is my parcel with the {n} pairs of shoes that i ordered last week" for n in range(40)]
    german = [f"wo bleibt mein Paket mit den {n} Paar Schuhen, das ich letzte Woche bestellt habe" for n in range(40)]
    last = with_values(good(), "text", english)
    assert not look(last, ValidateSpec(leakage=False), tmp_path / "a", last=last).failures
    report = look(with_values(good(), "text", german), ValidateSpec(leakage=False), tmp_path / "b", last=last)
    (failure,) = (failure for failure in report.failures if failure.expectation == "languages")
    assert (failure.severity, failure.allowed) == ("warn", "at least 90 % in en of those that can be told")


def test_a_stop_names_file_line_id_what_came_what_is_allowed_and_the_mend(tmp_path: Path) -> None:
    message = stopped(changed("target", "x", "x"), ValidateSpec(min_class_rows=None), tmp_path)
    assert re.fullmatch(
        r"the data breaks its suite \(labels: 2 of 40 rows \(5 %\), allowed card, cash, e\.g\. test\.csv line 2 "
        r"\(id r0\), test\.csv line 3 \(id r1\) \(stop\)\); see \S+\.html, mend the rows or change the limit in "
        r"`data\.checks` or checks\.yaml \(`ratchet suite`\); the champion is untouched",
        message,
    )


def test_rows_are_named_as_their_source_counts_them() -> None:
    table = good(3)
    for name, values in (("source", ["file:a.csv", "file:a.parquet", "sql"]), ("line", ["2", "7", ""])):
        table = with_values(table, name, values)
    assert name_rows(table, np.arange(3)) == ("a.csv line 2 (id r0)", "a.parquet row 7 (id r1)", "sql (id r2)")
    assert name_rows(good().drop_columns("line"), np.arange(40))[0] == "test.csv (id r0)"
    assert len(name_rows(good(), np.arange(40))) == 20


def test_a_warning_passes_and_is_reported(tmp_path: Path) -> None:
    texts = [f"write to me{n}@example.com" for n in range(30)]
    report = look(changed("text", *texts), ValidateSpec(leakage=False), tmp_path)
    assert report.passed
    (failure,) = report.failures
    assert (failure.expectation, failure.severity, len(failure.rows)) == ("max_pii_share", "warn", 20)
    assert failure.observed == "30 of 40 rows (75 %)"
    docs = Path(report.docs).read_text(encoding="utf-8")
    assert "test.csv line 2 (id r0)" in docs and "line 22" not in docs  # twenty rows, no more
    assert not any("example.com" in path.read_text("utf-8") for path in Path(report.site).rglob("*.html"))


def test_the_docs_load_nothing_from_elsewhere(tmp_path: Path) -> None:
    report = look(changed("target", "x"), ValidateSpec(), tmp_path)
    pages = list(Path(report.site).rglob("*.html"))
    assert len(pages) >= 3
    for page in pages:
        html = page.read_text("utf-8")
        assert not re.search(r"<(script|link|img|iframe|form)\b|@import|url\(|\bsrc=", html), page
    assert {path.suffix for path in Path(report.site).rglob("*") if path.is_file()} == {".html"}


def test_ids_cannot_write_into_the_docs(tmp_path: Path) -> None:
    table = with_values(changed("target", "x", "x"), "id", ["<script>$x</script>", "jane@example.com",
                                                            *[f"r{n}" for n in range(38)]])  # fmt: skip
    report = look(table, ValidateSpec(), tmp_path)
    docs = Path(report.docs).read_text(encoding="utf-8")
    assert "(id &lt;script&gt;$x&lt;/script&gt;)" in docs and "<script>$x" not in docs
    assert "(id &lt;EMAIL&gt;)" in docs and "jane@" not in docs


def test_a_share_at_the_limit_passes(tmp_path: Path) -> None:
    assert look(changed("text", *[" "] * 8), ValidateSpec(), tmp_path).passed


def test_limits_can_be_switched_off_and_answers_have_no_labels(tmp_path: Path) -> None:
    off = dict.fromkeys(("min_rows", "max_chars", "max_empty_share", "max_duplicate_share", "max_pii_share"))
    report = look(changed("target", "free text"), ValidateSpec(**off, min_distinct_texts=None), tmp_path, labels=())
    assert report.passed
    assert [result.expectation for result in report.results] == ["columns", "types", "ids", "splits", "leakage"]


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_no_rows_stop(tmp_path: Path) -> None:
    assert "min_rows: 0, allowed at least 20 rows" in stopped(good(0), ValidateSpec(), tmp_path)
    assert "min_rows" in stopped(good(0), ValidateSpec(), tmp_path, last=good())


def test_all_rows_of_one_text_stop(tmp_path: Path) -> None:
    message = stopped(changed("text", *["same"] * 40), ValidateSpec(), tmp_path)
    assert "min_distinct_texts: 1, allowed at least 10 different texts" in message


def test_a_class_of_one_row_warns_and_names_it(tmp_path: Path) -> None:
    report = look(changed("target", "cheque"), ValidateSpec(), tmp_path, labels=(*LABELS, "cheque"))
    (failure,) = report.failures
    assert (failure.expectation, failure.rows) == ("min_class_rows", ("test.csv line 2 (id r0)",))


def test_a_table_without_text_or_with_other_types_stops_and_does_not_crash(tmp_path: Path) -> None:
    assert "columns: id, line, source, split, target, allowed id, text" in stopped(
        good().drop_columns("text"), ValidateSpec(), tmp_path
    )
    numbers = good().set_column(2, "target", pa.array(range(40)))
    assert "types: 40 of 40 rows (100 %)" in stopped(numbers, ValidateSpec(), tmp_path)


def test_what_cannot_be_computed_stops_even_where_it_would_warn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = rules.make_frame
    monkeypatch.setattr("tasks.data.checking.validate.make_frame", lambda *args: made(*args).drop(columns="duplicate"))
    monkeypatch.setattr("tasks.data.checking.validate._breaking", lambda frame, check: pa.array([], pa.int64()))
    message = stopped(good(), ValidateSpec(), tmp_path)
    assert "max_duplicate_share: could not be computed" in message
    assert "duplicate" in message and len(message) < 1200


# -- the stages --------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def snapshot_of(table: pa.Table, path: Path) -> Snapshot:
    digest = write_table(table, path)
    return Snapshot(str(path), digest, {"train": 30, "golden": 10}, LABELS)


def test_a_check_is_kept_with_its_failures_and_the_profile_of_the_rows(tmp_path: Path, store: Store) -> None:
    snapshot = snapshot_of(changed("target", "x"), tmp_path / "s.parquet")
    report = check(store, snapshot, derive_suite(None))
    assert not report.passed
    (tmp_path / "s.parquet").unlink()
    assert check(store, snapshot, derive_suite(None)) == report
    assert describe(store, snapshot).classes == {"card": 19, "cash": 10, "x": 1}  # without a look at the rows


def test_the_profile_of_a_snapshot_that_was_never_checked_is_made_of_its_rows(tmp_path: Path, store: Store) -> None:
    snapshot = snapshot_of(good(), tmp_path / "s.parquet")
    assert describe(store, snapshot) == make_profile(good(), measure_rows(good()), snapshot.digest)
    gone = snapshot_of(good(44), tmp_path / "t.parquet")
    (tmp_path / "t.parquet").unlink()
    with pytest.raises(ArtifactError):
        describe(store, gone)


def test_another_last_snapshot_is_another_check(tmp_path: Path, store: Store) -> None:
    snapshot = snapshot_of(good(), tmp_path / "s.parquet")
    before, after = (check(store, snapshot, derive_suite(profile_of(last))) for last in (good(), good(100)))
    assert before.passed and not after.passed


def test_rows_out_of_scope_are_no_unknown_labels(tmp_path: Path, store: Store) -> None:
    table = with_values(good(), "target", [*good()["target"].to_pylist()[:-1], "none"])
    assert table["split"][-1].as_py() == "golden"
    snapshot = snapshot_of(table, tmp_path / "s.parquet")
    assert check(store, snapshot, derive_suite(None, out_of_scope="none")).passed
    assert not check(store, snapshot, derive_suite(None)).passed


def feedback(tmp_path: Path, table: pa.Table) -> Table:
    path = tmp_path / "feedback.parquet"
    return Table(str(path), write_table(with_values(table, "split", [""] * table.num_rows), path), table.num_rows)


def test_single_bad_rows_of_feedback_are_held_back_and_the_rest_joins(tmp_path: Path, store: Store) -> None:
    rows = feedback(tmp_path, changed("target", "x", "card", "y"))
    found = check_feedback(store, rows, derive_suite(profile_of(good())), LABELS)
    assert (found.held_back, found.rows.rows, found.report.passed) == ({"labels": 2}, 38, True)
    assert found.examples == {"labels": ("test.csv line 2 (id r0)", "test.csv line 4 (id r2)")}
    assert "min_rows" not in {result.expectation for result in found.report.results}


def test_a_batch_of_feedback_that_breaks_a_stop_does_not_pass(tmp_path: Path, store: Store) -> None:
    rows = feedback(tmp_path, changed("text", *[f"me{n}@example.com" for n in range(9)]))
    warned = check_feedback(store, rows, derive_suite(profile_of(good())), LABELS)
    assert warned.report.passed and [f.expectation for f in warned.report.failures] == ["max_pii_share"]
    strict = derive_suite(profile_of(good()), sources=[("data.checks", ValidateSpec(stop=("max_pii_share",)))])
    refused = check_feedback(store, rows, strict, LABELS)
    assert not refused.report.passed
    assert (refused.rows.rows, refused.held_back) == (40, {})
