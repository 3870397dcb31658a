"""What people read of an iteration: tables, the registry's description, the HTML report."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.chronicle import comparable_models, reigns
from flows.costs import grid_rows, open_loop_rows, speed_rows
from flows.drawings import draw
from flows.effects import effects_of
from flows.outcome import COLOURS, Outcome
from flows.page import EXAMPLES, lever_rows, slice_families, write_report
from flows.recipes import difference, recipe_changes
from flows.reports import (
    REGRESSIONS,
    comparison,
    describe_slices,
    describe_version,
    markdown_table,
    metric_rows,
    regressions,
    slice_cells,
    slices,
    test_rows,
)
from flows.show import check_lines
from serving.artifact import file_sha256
from tasks.compress.methods import Int8Dynamic, Onnx
from tasks.data.checking.validate import Result, ValidationReport
from tasks.data.cleaning.clean import DropEmpty
from tasks.errors import RegistryError
from tasks.guard import FeedbackCheck
from tasks.measure.gate.comparisons import COST_GAIN, QUALITY_KEPT
from tasks.measure.profiling.profile import Operator, Profile
from tasks.measure.profiling.roofline import Parts
from tasks.records import (
    Candidate,
    GridPoint,
    Interval,
    LeverTrial,
    OpenLoop,
    Scorecard,
    SliceScore,
    Snapshot,
    StepReport,
    Table,
    Test,
    Verdict,
    from_json,
)
from tasks.specs import Lever, Recipe
from tasks.suspects import Suspect, SuspectTable
from tasks.train.methods import FineTune
from tests.unit.measured import STEADY, paired_scores, quality, speed

test_rows.__test__ = False  # a function of the module's, no test
Test.__test__ = False  # a record

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
    timed = speed(
        [100 / throughput * seconds for seconds in STEADY], throughput_b1_per_s=throughput, cold_start_s=1.5,
        grid=(GridPoint(8, "short", 5.0, 2 * throughput, 10 * throughput, 5),),
        open_loop=OpenLoop(40.0, 39.5, 500, False, 9.0, 14.0, None),
    )  # fmt: skip
    mean = float(scores.mean())
    kept = quality(
        scores, scores_uri=str(path), scores_sha256=file_sha256(path),
        slices={
            "channel=chat": SliceScore(40, mean), "label=<i>odd</i>": SliceScore(12, 0.5 + 0.104 * mean),
            "label=b": SliceScore(28, 1 - mean),
        },
        metrics={"ece": Interval(0.05, 0.03, 0.08), "f1[a]": Interval(0.8, 0.7, 0.9)},
    )  # fmt: skip
    return Scorecard(name, kept, replace(timed, size_bytes=int(90_000_000 * 100 / throughput)))


TESTS = (
    Test(QUALITY_KEPT, -0.225, -0.34, -0.1, -0.01, "fail", 40),
    Test("slice channel=chat is no worse than the champion's", -0.225, -0.34, -0.1, -0.05, "fail", 40),
    Test("slice label=b is not shown worse than the champion's", 0.225, 0.1, 0.34, -0.05, "pass", 28),
    Test(COST_GAIN, 0.5, 0.48, 0.52, 0.9, "pass", 12),
)


CHECKS = ValidationReport(
    (
        Result("max_pii_share", "warn", False, "3 of 80 <rows>", "at most 1 % <of>", ("data.csv line 7 (id <r1>)",)),
        Result("ids", "stop", True, "0 of 80 rows", "every id once"),
    ),
    80, "docs/index.html", "docs",
)  # fmt: skip


def test_the_terminal_says_what_the_data_and_feedback_broke(full):
    told = check_lines(full)
    assert told == [
        "data: max_pii_share: 3 of 80 <rows>, allowed at most 1 % <of>, e.g. data.csv line 7 (id <r1>) (warn)",
        "feedback: 2 rows held back by max_chars",
    ]
    stop = ValidationReport((Result("max_pii_share", "stop", False, "9 rows", "none"),), 12)
    left_out = replace(full, checks=None, feedback_check=replace(full.feedback_check, report=stop))
    assert check_lines(left_out)[1:] == [
        "feedback: max_pii_share: 9 rows, allowed none (stop)", "feedback: all of it was left out of this iteration",
    ]  # fmt: skip
    assert check_lines(EMPTY) == []


def test_a_report_of_checks_of_an_earlier_version_can_still_be_read():
    old = '{"passed":true,"checked":7,"failures":[],"docs":"docs/validations/a.html"}'
    assert from_json(ValidationReport, old) == ValidationReport(docs="docs/validations/a.html")


@pytest.fixture
def full(tmp_path):
    """An outcome with everything that a report can show, and text that would harm it."""
    candidate, champion = paired_scores(40, 20, 3, 12)
    cards = {
        "baseline": stored_card(tmp_path, "baseline", champion, 50.0),
        "champion": stored_card(tmp_path, "champion", champion),
        "candidate": stored_card(tmp_path, "candidate", candidate, 400.0),
    }
    verdict = Verdict("reject", "Reject: it does not hold that <quality> is no worse.", TESTS, 0.01, 2, 0.03)
    model = Candidate("u", "c" * 64, "onnx", 1)
    return replace(
        EMPTY,
        result="rejected",
        verdict=verdict,
        cards=cards,
        changed=("clean", "compress"),
        trials=(LeverTrial("<i>lever</i>", "compress", True, verdict, model, cards["candidate"], 0.25, 12.0),),
        cleaning=(
            StepReport(
                "exact_duplicates",
                80,
                70,
                0,
                ("jane@shop.example", *map(str, range(2, 13))),
                {"repeats <another> row": 10},
                {"threshold": 0.9, "note": "", "teacher": 8 * "0a1b2c3d"},
            ),
            StepReport("typos", 70, 90, 0, left_out={"near <an> evaluation row": 4}),
        ),
        checks=CHECKS,
        feedback_check=FeedbackCheck(
            Table("u", "d", 12),
            {"max_chars": 2},
            {"max_chars": ("feedback (id <f-1>)", "feedback (id f-2)")},
            ValidationReport(CHECKS.results[1:], 12, "feedback/index.html", "feedback"),
        ),
        feedback_rows=12,
        drift="2 of 7 checks drifted: <text>",
        profile=PROFILE,
        paired={"accuracy": Interval(-0.225, -0.34, -0.1), "ece": Interval(0.01, -0.02, 0.04)},
        version="4",
        champion_version="3",
    )


@pytest.fixture
def history(full):
    """Three iterations: the first model, a promotion, and a rejection."""
    both = dict.fromkeys(("baseline", "champion"), full.cards["baseline"])
    first = replace(EMPTY, iteration=1, result="baseline", cards=both, champion_version="1")
    cards = {**both, "candidate": full.cards["champion"]}
    promoted = replace(full, iteration=2, result="promoted", cards=cards, champion_version="3")
    return [first, promoted, full]


PROFILE = Profile("c" * 64, "onnx", 2, 500, 1, 0.0042, Parts(0.1, 0.85, 0.05),
                  (Operator("MatMul", 0.7, 24.0, 80.0), Operator("<Softmax>", 0.1, 6.0, 20.0)), None,
                  "arithmetic", "Arithmetic bounds it.", "trace.json")  # fmt: skip


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


def rendered(outcome, history, tmp_path, **more):
    path = tmp_path / "report.html"
    write_report(outcome, history, path, **more)
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
    assert not {"table", "svg"} & set(tags)
    assert tags.count("section") == 2


def test_a_full_report_shows_it_all(full, history, tmp_path):
    html, tags = rendered(
        full, history, tmp_path, rested={"swap": "rested: clearly worse"},
        recipe_changes=[("train.epochs", "6", "<9>")],
    )  # fmt: skip
    shown = ("Reject: it does not hold", "Look 2 at this golden set", "checks drifted", "12 rows from feedback",
             "version 4", "Quality and cost", "EPYC", "400/s (8.00x)", "All metrics",
             "candidate better by (paired)", "-22.5 (-34.0 to -10.0)", "+0.010 (-0.020 to +0.040)",
             "ece (lower is better)", "f1[a]",
             "What the gate tested", "Slices", "had right", "What changed", "train.epochs", "rested: clearly worse",
             "So far", "What levers were worth", "Speed and cost in detail", "cold start", "39.5/s",
             "Where the time goes", "Arithmetic bounds it.", "Training data",
             "4: near &lt;an&gt; evaluation row", "Data checks",
             "2 expectations of 80 rows, 1 not met", "3 of 80 &lt;rows&gt;", "at most 1 % &lt;of&gt;",
             "data.csv line 7 (id &lt;r1&gt;)", "every id once", "12 rows joined the data",
             "2 held back by max_chars (feedback (id &lt;f-1&gt;), feedback (id f-2))",
             "Where the numbers come from")  # fmt: skip
    positions = [html.index(text) for text in shown]
    assert tags.count("svg") == 10
    assert tags.count("section") == 14
    assert positions[0] < min(positions[1:])  # the verdict and its reason come first


def test_every_figure_of_the_report_is_well_formed(full, history):
    figures = draw(full, history)
    assert set(figures) == {"quality", "time", "size", "slices", "pareto", "champions", "effects-quality",
                            "effects-time", "profile-parts", "profile-operators"}  # fmt: skip
    for figure in figures.values():
        ET.fromstring(figure)


def test_the_first_iteration_has_its_model_and_no_history(history, tmp_path):
    html, _ = rendered(history[0], history[:1], tmp_path)
    assert "The first model" in html or "the first model" in html
    for absent in ("So far", "What levers were worth", "had right", "Judged slices"):
        assert absent not in html
    assert "Slices" in html


def test_champions_are_those_at_the_end_of_each_iteration(history, full):
    lone = replace(full, iteration=4, cards={"baseline": full.cards["baseline"]})
    found = reigns([*history, EMPTY, lone])
    assert [(reign.iteration, reign.promoted) for reign in found] == [(1, True), (2, True), (3, False)]
    assert [reign.quality.scores_uri.split("/")[-1] for reign in found] == [
        "baseline.parquet", "champion.parquet", "champion.parquet",
    ]  # fmt: skip


def test_models_that_compare_are_counted_and_the_others_left_out(history, full):
    models, left_out = comparable_models(history)
    assert {(model.digest, model.roles): round(model.time_ratio, 3) for model in models} == {
        ("baseline", ("baseline",)): 1.0, ("champion", ("champion",)): 0.5, ("candidate", ("candidate",)): 0.125,
    }  # fmt: skip
    assert left_out == 0
    assert {model.digest for model in models if model.on_front} == {"champion", "candidate"}
    other = {role: replace(card, quality=replace(card.quality, rows_digest="rows-2"), candidate=f"old {role}")
             for role, card in full.cards.items()}  # fmt: skip
    models, left_out = comparable_models([replace(full, iteration=1, cards=other), *history])
    assert (len(models), left_out) == (3, 3)
    untimed = {role: replace(card, speed=None) for role, card in full.cards.items()}
    assert comparable_models([*history, replace(full, cards=untimed)]) == ([], 0)
    assert comparable_models([]) == ([], 0)


def test_the_report_says_how_many_models_were_left_out(full, history, tmp_path):
    other = {role: replace(card, quality=replace(card.quality, rows_digest="rows-2"), candidate=f"old {role}")
             for role, card in full.cards.items()}  # fmt: skip
    html, _ = rendered(full, [replace(full, iteration=1, cards=other), *history], tmp_path)
    assert "3 earlier models were measured on others and left out" in " ".join(html.split())


def test_a_cleaning_step_is_shown_with_parameters_what_went_and_what_is_left(full, history, tmp_path):
    html, _ = rendered(full, history, tmp_path)
    assert "threshold 0.9, teacher 0a1b2c3d0a1b<" in html
    assert "note" not in html[html.index("exact_duplicates") : html.index("typos")]
    assert "10: repeats &lt;another&gt; row" in html
    assert re.findall(r'class="bar" style="width: ([\d.]+)%', html) == ["87.5", "100.0"]


def test_at_most_ten_scrubbed_examples_of_a_cleaning_step_are_shown(full, history, tmp_path):
    html, _ = rendered(full, history, tmp_path)
    start = html.index("exact_duplicates: examples")
    examples = re.findall(r"<li>(.*?)</li>", html[start : html.index("</details>", start)])
    assert examples[:3] == ["&lt;EMAIL&gt;", "2", "3"]
    assert len(examples) == EXAMPLES


def test_golden_suspects_are_listed_and_a_reason_stands_where_none_could_be_sought(full, history, tmp_path):
    suspect = Suspect("g7", "where is <EMAIL>", "card", "login", 0.004, 0.91)
    html, _ = rendered(replace(full, suspects=SuspectTable("", "d", 3, (suspect,))), history, tmp_path)
    assert "Golden rows that a person should look at" in html
    assert "The label of 3 golden rows" in html
    assert "where is &lt;EMAIL&gt;" in html
    html, _ = rendered(replace(full, suspects=SuspectTable("", "d", 0, (), "too few rows")), history, tmp_path)
    assert "too few rows" in html
    assert "Golden rows that a person" not in rendered(full, history, tmp_path)[0]


def test_the_report_loads_nothing_from_elsewhere(full, history, tmp_path):
    html, tags = rendered(full, history, tmp_path)
    assert not {"script", "link", "img", "iframe", "image", "use"} & set(tags)
    assert not re.findall(r"https?://|url\(|@import| src=", html)


def test_texts_of_users_are_escaped_and_scrubbed(full, history, tmp_path):
    html, tags = rendered(full, history, tmp_path, recipe_changes=[("a", "<b>", "<i>")])
    assert "&lt;script&gt;alert(1)" in html
    assert not {"script", "i", "b", "rows", "quality", "text", "softmax"} & (set(tags) - {"text"})
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
    rows = [slice_cells(full, row) for row in slices(full)]
    assert rows[0] == ["channel=chat", "40", "80.0 %", "80.0 %", "57.5 %", "-22.5", "fail"]
    assert [row[0] for row in rows] == ["channel=chat", "label=b", "label=<i>odd</i>"]
    assert rows[2][-2:] == ["-2.3", "not judged"]
    kept = test_rows(TESTS)[0]
    assert (kept[1], kept[3], kept[4]) == ("-22.50", "-1.00", "fail")
    assert test_rows(TESTS)[-2][1] == "0.500"
    assert test_rows(TESTS)[-1] == [
        "slices, 1 of them: each is not shown worse than the champion's",
        "",
        "",
        "",
        "pass",
    ]


def test_slices_stand_by_family_the_worst_judged_first(full):
    assert [(family, [row.name for row in rows]) for family, rows in slice_families(full)] == [
        ("channel", ["channel=chat"]), ("label", ["label=b", "label=<i>odd</i>"]),
    ]  # fmt: skip
    assert slice_families(EMPTY) == []


def test_a_slice_that_one_model_lacks_has_no_change(full):
    card = full.cards["champion"]
    bare = replace(full, verdict=EMPTY.verdict, cards={
        **full.cards, "champion": replace(card, quality=replace(card.quality, slices={})),
    })  # fmt: skip
    assert [(row.change, row.test, "champion" in row.means) for row in slices(bare)] == [(None, None, False)] * 3
    assert slice_cells(bare, slices(bare)[0])[3:6] == ["-", "57.5 %", "-"]
    assert describe_slices(EMPTY) == ""


def test_a_description_fits_into_mlflow_and_keeps_what_must_be_proved(full):
    card = full.cards["candidate"]
    many = {f"label={n:03}": SliceScore(60, 0.5) for n in range(200)} | dict(card.quality.slices)
    cards = {role: replace(c, quality=replace(c.quality, slices=many)) for role, c in full.cards.items()}
    text = describe_version(replace(full, cards=cards), {"report": "here"})
    assert len(text) <= 5000
    assert "channel=chat" in text
    assert text.count("label=") == 11
    proofs = tuple(replace(TESTS[1], name=f"slice channel={n:03} is no worse than the champion's") for n in range(200))
    crowded = replace(full, cards=cards, verdict=replace(full.verdict, tests=(*TESTS, *proofs)))
    text = describe_version(crowded, {"report": "here"})
    assert len(text) <= 5000
    assert text.startswith(f"**{full.verdict.reason}**")
    assert text.endswith("What did not fit here is in the report.")
    assert "report: `here`" in text


def test_metrics_begin_with_the_one_that_is_judged(full):
    assert metric_rows(full)[0][:2] == ["accuracy", "80.0 % (70.0 to 90.0)"]
    ece = ["ece (lower is better)", *["0.050 (0.030 to 0.080)"] * 3]
    assert metric_rows(full)[1] == [*ece, "+0.010 (-0.020 to +0.040)"]
    assert metric_rows(replace(full, paired={}))[1] == ece
    assert metric_rows(replace(full, paired={"accuracy": full.paired["accuracy"]}))[1] == [*ece, "-"]
    assert [row[0] for row in metric_rows(full, per_label=True)] == ["f1[a]"]
    lacking = replace(full.cards["champion"], quality=replace(full.cards["champion"].quality, metrics={}))
    assert metric_rows(replace(full, cards={**full.cards, "champion": lacking}))[1][2] == "-"
    assert metric_rows(EMPTY) == []


def test_costs_are_shown_where_they_were_measured(full):
    assert ["cold start: process to first answer", "1.50 s", "1.50 s", "1.50 s"] in speed_rows(full)
    assert "cost of a million texts" not in {row[0] for row in speed_rows(full)}
    assert grid_rows(full) == [["8", "short (5 tokens)", "100/s", "200/s", "800/s", "4.00x"]]
    assert open_loop_rows(full)[0] == ["baseline", "40.0/s", "39.5/s", "9.0 / 14.0 / - ms"]
    untimed = replace(full, cards={role: replace(card, speed=None) for role, card in full.cards.items()})
    assert speed_rows(untimed) == grid_rows(untimed) == open_loop_rows(untimed) == []


def test_an_overloaded_model_has_no_latencies(full):
    card = full.cards["champion"]
    loop = replace(card.speed.open_loop, overloaded=True)
    slow = replace(full, cards={"champion": replace(card, speed=replace(card.speed, open_loop=loop))})
    assert open_loop_rows(slow)[0][3].startswith("overloaded")


def test_a_percentile_that_was_not_measured_is_a_dash(full):
    card = full.cards["champion"]
    few = replace(full, cards={"champion": replace(card, speed=replace(card.speed, latency_p95_ms=None))})
    assert comparison(few)[0].latency == "9.5 / - / - ms"


def test_a_lever_stands_with_its_last_trial_and_why_it_rests(full, history):
    [row] = lever_rows(effects_of(history), {"<i>lever</i>": "rested: worse"})
    assert (row.trials, row.kept, row.size, row.seconds, row.rested) == (2, 2, "0.25", "12 s", "rested: worse")
    assert (row.quality, row.time) == ("-22.5 (-34.0 to -10.0)", "0.50 (0.48 to 0.52)")


def test_two_recipes_differ_field_by_field():
    before = Recipe(clean=(DropEmpty(),), train=FineTune(epochs=2))
    after = replace(before, clean=(), train=replace(before.train, epochs=3), compress=(Onnx(), Int8Dynamic()))
    changes = {name: (old, new) for name, old, new in difference(before, after)}
    assert changes["clean"] == ("drop_empty (min_chars 1)", "none")
    assert changes["train.epochs"] == ("2", "3")
    assert changes["compress"][0] == "none" and changes["compress"][1].startswith("onnx")
    assert set(changes) == {"clean", "train.epochs", "compress"}
    assert difference(before, before) == []


def registry_of(tags=None, fails=False):
    """A stand-in for the registry: every version was made by the default recipe."""

    def version(number):
        if fails:
            raise RegistryError(f"no version {number}")
        return SimpleNamespace(number=number, tags=(tags or {}).get(number, {}))

    def read_record(found):
        return SimpleNamespace(recipe=Recipe(train=FineTune(epochs=int(found.number))))

    return SimpleNamespace(version=version, read_record=read_record)


@pytest.mark.parametrize(("version", "judged_against"), [("", "3"), ("4", "2")])
def test_the_recipe_is_compared_with_the_champion_that_was_judged_against(full, version, judged_against):
    levers = (Lever("longer", train=FineTune(epochs=9)), Lever("idle", clean=(DropEmpty(),)))
    project = SimpleNamespace(registry=registry_of({"4": {"judged_against": "2"}}), spec=SimpleNamespace(levers=levers))
    kept = replace(full, version=version, changed=("new-data", "longer"))
    assert recipe_changes(project, kept) == [("train.epochs", judged_against, "9")]
    assert recipe_changes(project, replace(kept, changed=())) == []
    assert recipe_changes(project, replace(kept, result="baseline")) == []


def test_a_report_does_without_a_recipe_that_cannot_be_read(full, caplog):
    project = SimpleNamespace(registry=registry_of(fails=True), spec=SimpleNamespace(levers=()))
    assert recipe_changes(project, full) == []
    assert "the champion's recipe cannot be read" in caplog.text


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
