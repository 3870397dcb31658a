"""What people read of an iteration: tables, the registry's description, the HTML report."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.outcome import COLOURS, Outcome
from flows.reports import (
    REGRESSIONS,
    comparison,
    describe_version,
    interval_chart,
    markdown_table,
    regressions,
    slice_rows,
    test_rows,
    write_report,
)
from serving.predictors import file_sha256
from tasks.data.validate import Failure, ValidationReport
from tasks.measure.gate import decide
from tasks.records import Candidate, LeverTrial, Scorecard, Snapshot, StepReport, Verdict
from tasks.specs import GateSpec
from tests.unit.measured import STEADY, measured, paired_scores, quality, speed

test_rows.__test__ = False  # a function of the module's, no test

SNAPSHOT = Snapshot(
    "s.parquet", "d" * 64, {"train": 80, "valid": 10, "select": 10, "golden": 20}, ("a", "b"), ("channel",)
)
HOSTILE = "<script>alert(1)</script> mail jane@shop.example or call +44 20 7946 0958 | käse"
EMPTY = Outcome(
    3, "unchanged", Verdict("reject", "Nothing changed since iteration 2."), SNAPSHOT, "2026-11-21T00:00:00Z"
)


def stored_card(folder, name, scores, throughput=100.0):
    path = folder / f"{name}.parquet"
    columns = {
        "id": [f"r{row}" for row in range(len(scores))],
        "text": [HOSTILE] * len(scores),
        "target": ["a"] * len(scores),
        "output": ["a" if score else "<b>" for score in scores],
        "confidence": [row / len(scores) for row in range(len(scores))],
        "score": [float(score) for score in scores],
    }
    pq.write_table(pa.table(columns), path)
    timed = speed([100 / throughput * seconds for seconds in STEADY], throughput_b1_per_s=throughput)
    kept = quality(scores, scores_uri=str(path), scores_sha256=file_sha256(path))
    return Scorecard(name, kept, replace(timed, size_bytes=int(90_000_000 * 100 / throughput)))


@pytest.fixture
def full(tmp_path):
    """An outcome with everything that a report can show, and text that would harm it."""
    candidate, champion = paired_scores(40, 20, 3, 12)
    cards = {
        "baseline": stored_card(tmp_path, "baseline", champion, 50.0),
        "champion": stored_card(tmp_path, "champion", champion),
        "candidate": stored_card(tmp_path, "candidate", candidate, 400.0),
    }
    verdict = decide(measured(candidate, factor=0.5), measured(champion, "champion", 1.0), None, ["cost"], GateSpec())
    model = Candidate("u", "c" * 64, "onnx", 1)
    return replace(
        EMPTY,
        result="rejected",
        verdict=verdict,
        cards=cards,
        changed=("clean", "compress"),
        trials=(LeverTrial("<i>lever</i>", "compress", True, verdict, model, cards["candidate"]),),
        cleaning=(StepReport("exact_duplicates", 80, 75, 0, ("<EMAIL>",)),),
        checks=ValidationReport(
            True, 7, (Failure("max_pii_share", "warn", "3 of 80 <rows>", ("r1",)),), "docs/index.html"
        ),
        feedback_rows=12,
        version="4",
        champion_version="3",
    )


class Tags(HTMLParser):
    """The open tags that stay, and all tags that came."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in ("meta", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def rendered(outcome, history, tmp_path):
    path = tmp_path / "report.html"
    write_report(outcome, history, path)
    html = path.read_text("utf-8")
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    assert [name.name for name in tmp_path.iterdir() if name.suffix == ".partial"] == []
    return html, tags.seen


def test_a_report_without_measurements_renders(tmp_path):
    html, tags = rendered(EMPTY, [EMPTY], tmp_path)
    assert "Nothing changed since iteration 2." in html
    assert "unchanged" in html
    assert "table" not in tags


def test_a_full_report_shows_it_all(full, tmp_path):
    first = replace(
        full, iteration=1, result="baseline", cards=dict.fromkeys(("baseline", "champion"), full.cards["champion"])
    )
    promoted = replace(full, iteration=2, result="promoted")
    html, tags = rendered(full, [first, EMPTY, promoted, full], tmp_path)
    for shown in ("What the gate tested", "Slices", "Levers", "had right", "Training data", "Data checks", "History",
                  "EPYC", "400/s (8.00x)", "12 rows from feedback", "version 4"):  # fmt: skip
        assert shown in html, shown
    assert tags.count("section") == 9
    history = html[html.index("History") :]
    assert re.findall(r"<tr><td>(\d)</td><td>(\w+)</td>", history) == [
        ("1", "baseline"), ("2", "promoted"), ("3", "rejected"),
    ]  # fmt: skip


def test_an_outcome_without_the_champions_card_leaves_its_place_in_the_history_empty(full, tmp_path):
    lone = replace(full, iteration=1, cards={"baseline": full.cards["baseline"]})
    uncarded = replace(full, iteration=2, result="promoted", cards={"champion": full.cards["champion"]})
    html, _ = rendered(full, [lone, uncarded, full], tmp_path)
    history = html[html.index("History") :]
    assert re.findall(r"<tr><td>(\d)</td><td>\w+</td><td>(.*?)</td>", history) == [
        ("1", "-"), ("2", "-"), ("3", "80.0 %"),
    ]  # fmt: skip


def test_the_report_loads_nothing_from_elsewhere(full, tmp_path):
    html, tags = rendered(full, [], tmp_path)
    assert not {"script", "link", "img", "iframe"} & set(tags)
    assert not re.findall(r"https?://|url\(", html)


def test_texts_of_users_are_escaped_and_scrubbed(full, tmp_path):
    html, tags = rendered(full, [], tmp_path)
    assert "&lt;script&gt;alert(1)" in html
    assert not {"script", "i", "b", "rows"} & set(tags)
    assert "jane@" not in html
    assert "7946" not in html
    assert "&lt;EMAIL&gt;" in html
    assert "&lt;PHONE&gt;" in html


@pytest.mark.parametrize("result", COLOURS)
def test_every_result_has_a_colour_that_the_page_knows(result, tmp_path):
    html, _ = rendered(replace(EMPTY, result=result), [], tmp_path)
    assert f"--{COLOURS[result]}:" in html
    assert f"border-left: 8px solid var(--{COLOURS[result]})" in html


def test_regressions_are_the_rows_lost_surest_first(full):
    found = regressions(full)
    assert len(found) == REGRESSIONS
    assert {(row["expected"], row["answered"]) for row in found} == {("a", "<b>")}
    assert regressions(EMPTY) == []
    none_lost = replace(full, cards={**full.cards, "candidate": full.cards["champion"]})
    assert regressions(none_lost) == []


def test_costs_are_ratios_to_the_baseline(full):
    rows = {row.role: row for row in comparison(full)}
    assert list(rows) == ["baseline", "champion", "candidate"]
    assert (rows["candidate"].throughput_ratio, rows["candidate"].size_ratio) == (8.0, 0.125)
    assert (rows["baseline"].throughput_ratio, rows["baseline"].size_ratio) == (1.0, 1.0)
    untimed = replace(full, cards={"champion": replace(full.cards["champion"], speed=None)})
    assert comparison(untimed)[0].throughput == "-"


def test_slices_and_tests_are_in_points(full):
    [row] = slice_rows(full)
    assert row == ["channel=chat", "40", "80.0 %", "80.0 %", "57.5 %", "-22.5"]
    kept = test_rows(full)[0]
    assert (kept[1], kept[3], kept[4]) == ("-22.50", "-1.00", "fail")
    assert test_rows(full)[-1][1] == "0.500"


def test_the_description_holds_what_a_reviewer_needs(full):
    text = describe_version(full, {"Report": "/r.html", "Data Docs": ""})
    assert text.startswith(f"**{full.verdict.reason}**")
    for shown in ("Changed: clean, compress", "| candidate |", "| channel=chat | 40 |", "Report: `/r.html`"):
        assert shown in text
    assert "Data Docs" not in text


def test_a_markdown_table_keeps_its_shape():
    table = markdown_table(["a", "b"], [["x|y", 1], ["two\nlines", None], ["<i>", "\\"]])
    assert table.splitlines() == [
        "| a | b |", "| --- | --- |", "| x\\|y | 1 |", "| two lines | None |", "| <i> | \\ |",
    ]  # fmt: skip


def test_the_chart_stays_inside_its_frame(full):
    chart = interval_chart(comparison(full))
    assert [bar["role"] for bar in chart["bars"]] == ["baseline", "champion", "candidate"]
    for bar in chart["bars"]:
        assert 0 <= bar["low"] <= bar["mean"] <= bar["high"] <= 100
    assert interval_chart([]) == {}
