"""What cleaning removed and changed is on record, row by row."""

from dataclasses import asdict

from tasks.data.cleaning.clean import DropEmpty, clean
from tasks.data.cleaning.dedup import ExactDuplicates, NearDuplicates
from tasks.data.cleaning.filter import Filter
from tasks.data.cleaning.normalise import Normalise
from tasks.data.cleaning.scrub_step import Scrub
from tasks.data.rows import values, with_values
from tests.unit.data_rows import rows

LONG = "how long does the delivery to the islands take this week"


def test_every_removed_row_is_named_with_its_step_its_reason_and_the_row_it_repeats() -> None:
    table = rows(["", LONG, f"{LONG}?", LONG.upper(), "no", "a text of its own", "and one more of its own"])
    done = clean(table, [Normalise(), DropEmpty(), Filter(min_words=2), ExactDuplicates(), NearDuplicates()])
    assert values(done.table, "id") == ["r1", "r5", "r6"]
    assert [tuple(row.values()) for row in done.removed.to_pylist()] == [
        ("drop_empty", "r0", "too short", ""),
        ("filter", "r4", "too short", ""),
        ("exact_duplicates", "r3", "repeats another row", "r1"),
        ("near_duplicates", "r2", "nearly repeats another row", "r1"),
    ]


def test_a_report_has_the_parameters_and_counts_by_reason() -> None:
    done = clean(rows(["one two", "one", "one two three four", "five six"]), [Filter(min_words=2, max_words=3)])
    [report] = done.reports
    assert report.left_out == {"too short": 1, "too long": 1}
    assert (report.parameters["min_words"], report.parameters["max_words"]) == (2, 3)
    assert "kind" not in report.parameters
    assert asdict(report)["examples"] == ("too short: 'one'", "too long: 'one two three four'")


def test_the_most_trusted_label_stays_and_of_its_rows_the_owners() -> None:
    texts, targets = ["same"] * 5 + ["other"], ["b", "a", "a", "b", "a", "a"]
    table = with_values(rows(texts, targets), "source", ["feedback", "feedback", "file", "feedback", "file", "file"])
    assert values(clean(table, [ExactDuplicates()], max_removed=0.9).table, "id") == ["r2", "r5"]
    tied = with_values(
        rows(["same"] * 2 + ["x"] * 3, ["b", "a", "a", "a", "a"]), "source", ["feedback", "file", *"xyz"]
    )
    assert values(clean(tied, [ExactDuplicates()], max_removed=0.9).table, "id")[0] == "r1"


def test_steps_for_single_texts_see_what_the_ones_before_left() -> None:
    done = clean(rows(["&lt;b me@example.com", "  ", "fine text"]), [Normalise(), DropEmpty(), Scrub()])
    assert values(done.table, "text") == ["<b <EMAIL>", "fine text"]
    assert [(report.rows_in, report.rows_out, report.rows_changed) for report in done.reports] == [
        (3, 3, 2),
        (3, 2, 0),
        (2, 2, 1),
    ]
