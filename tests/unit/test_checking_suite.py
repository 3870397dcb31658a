"""The suite: what is derived, what is written over it, and that a contradiction names both sides."""

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from flows.spec import read_as
from flows.suite import show_suite
from tasks.data.checking.limits import NAMES, LengthRange, ValidateSpec
from tasks.data.checking.profile import DataProfile
from tasks.data.checking.suite import ALWAYS, DEFAULT, LAST, Suite, derive_suite
from tasks.errors import SpecError
from tasks.records import from_json, to_json
from tasks.store import cache_key

LAST_ONE = DataProfile(
    "d" * 64, 1000, ("id", "text", "target", "split", "source"), {"golden": 200, "train": 800}, {"a": 600, "b": 200},
    (10, 40, 90), 0.01, 0.05, 0.02, {"en": 90, "de": 10},
)  # fmt: skip


def read(**content: object) -> ValidateSpec:
    """Read what a user wrote, at the door."""
    return TypeAdapter(ValidateSpec).validate_python(content)


def mistake(**content: object) -> str:
    with pytest.raises(ValidationError) as caught:
        read(**content)
    return str(caught.value)


def severities(suite: Suite) -> dict[str, str]:
    return {known.name: known.severity for known in suite.expectations}


def test_every_expectation_is_in_the_suite_and_can_be_written() -> None:
    suite = derive_suite(None)
    assert tuple(known.name for known in suite.expectations) == NAMES
    assert {*NAMES, "warn", "stop"} == set(ValidateSpec.__dataclass_fields__)


def test_without_a_last_snapshot_nothing_is_compared_with_one() -> None:
    suite = derive_suite(None, columns=("channel",))
    off = {known.name for known in suite.expectations if not known.on}
    assert off == {"required_labels", "forbidden_labels", "known_labels", "max_rows", "max_class_distance",
                   "max_class_factor", "length", "languages"}  # fmt: skip
    assert suite.limit("columns") == ("id", "text", "target", "split", "source", "channel")
    assert (suite.limit("min_rows"), suite.limit("max_pii_share"), suite.last) == (20, 0.1, None)


def test_the_last_snapshot_gives_limits_with_slack() -> None:
    suite = derive_suite(LAST_ONE)
    assert (suite.limit("min_rows"), suite.limit("max_rows")) == (500, 3000)
    assert suite.limit("required_labels") == suite.limit("known_labels") == ("a", "b")
    assert suite.limit("length") == {"min": 5, "max": 180, "outside": 0.05}
    assert (suite.limit("max_empty_share"), suite.limit("max_duplicate_share")) == (0.11, 0.35)
    assert suite.limit("max_pii_share") == 0.12
    assert suite.limit("languages") == {"allowed": ("en",), "min_share": 0.8}
    assert {known.origin for known in suite.expectations} == {ALWAYS, DEFAULT, LAST}


def test_a_declared_language_counts_more_than_the_one_last_seen() -> None:
    assert derive_suite(LAST_ONE, languages=("de",)).limit("languages") == {"allowed": ("de",), "min_share": 0.0}
    assert derive_suite(None, languages=("de", "fr")).limit("languages") == {"allowed": ("de", "fr"), "min_share": 0.5}


def test_too_few_told_languages_expect_none() -> None:
    few = from_json(DataProfile, to_json(LAST_ONE).replace('"de":10,"en":90', '"de":2,"en":20'))
    assert not derive_suite(few).limit("languages")


def test_what_is_written_stands_over_what_is_derived_and_the_file_over_the_spec() -> None:
    spec, file = read(min_rows=30, max_chars=50), read(min_rows=40, length={"min": 1, "max": 9})
    suite = derive_suite(LAST_ONE, sources=[("data.checks", spec), ("checks.yaml", file)])
    origins = {known.name: (known.limit, known.origin) for known in suite.expectations}
    assert origins["min_rows"] == (40, "checks.yaml")
    assert origins["max_chars"] == (50, "data.checks")
    assert origins["max_rows"] == (3000, LAST)
    assert origins["length"] == ({"min": 1, "max": 9, "outside": 0.05}, "checks.yaml")


@pytest.mark.parametrize("off", [None, False, "off"])
def test_off_switches_off_and_a_missing_key_does_not(off: object) -> None:
    suite = derive_suite(LAST_ONE, sources=[("checks.yaml", read(min_rows=off, ids=off, length=off, languages=off))])
    told = {known.name: known.on for known in suite.expectations}
    assert [name for name in NAMES if not told[name]] == ["ids", "forbidden_labels", "min_rows", "length", "languages"]


def test_a_limit_of_nought_is_a_limit() -> None:
    suite = derive_suite(None, sources=[("data.checks", read(max_pii_share=0))])
    assert next(known for known in suite.expectations if known.name == "max_pii_share").on


def test_what_is_odd_warns_and_what_makes_results_wrong_stops() -> None:
    found = severities(derive_suite(LAST_ONE))
    assert {name for name, severity in found.items() if severity == "warn"} == {
        "known_labels", "max_rows", "min_class_rows", "max_class_distance", "max_class_factor", "max_duplicate_share",
        "max_pii_share", "max_chars", "length", "languages",
    }  # fmt: skip


def test_severities_are_named_and_a_written_warn_is_the_whole_list_of_the_first_seven() -> None:
    named = severities(derive_suite(None, sources=[("data.checks", read(warn=["min_rows", "leakage"]))]))
    assert (named["min_rows"], named["leakage"], named["max_chars"], named["length"]) == (
        "warn",
        "warn",
        "stop",
        "warn",
    )
    named = severities(derive_suite(None, sources=[("data.checks", read(stop=["length"]))]))
    assert (named["length"], named["max_chars"], named["min_rows"]) == ("stop", "warn", "stop")
    both = [("data.checks", read(stop=["length"])), ("checks.yaml", read(warn=["length"]))]
    assert severities(derive_suite(None, sources=both))["length"] == "warn"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"min_rows": 9, "max_rows": 5}, "min_rows 9 contradicts max_rows 5"),
        ({"min_distinct_texts": 9, "max_rows": 5}, "min_distinct_texts 9 contradicts max_rows 5"),
        ({"required_labels": ["a"], "forbidden_labels": ["b", "a"]}, "'a' in required_labels contradicts 'a' in forb"),
        ({"length": {"min": 9, "max": 5}}, "min 9 is above max 5"),
        ({"length": {"min": 90, "max": 95}, "max_chars": 50}, "length.min 90 contradicts max_chars 50"),
        ({"max_pii_share": 1.5}, "less than or equal to 1"),
        ({"max_empty_share": -0.1}, "greater than or equal to 0"),
        ({"max_class_factor": 1}, "greater than 1"),
        ({"min_rows": True}, "expected a limit, or `off`, found yes"),
        ({"warn": ["max_chars", "max_chars"]}, "warn names 'max_chars' twice"),
        ({"stop": ["ids", "ids"]}, "stop names 'ids' twice"),
        ({"warn": ["ids"], "stop": ["labels", "ids"]}, "warn and stop both name 'ids'"),
        ({"warn": ["max_pi_share"]}, "unknown expectation 'max_pi_share'; did you mean 'max_pii_share'?"),
        ({"required_labels": ["a", "a"]}, "'a' stands twice"),
        ({"languages": {"allowed": ["xx"]}}, "no language 'xx' can be told"),
    ],
)
def test_a_contradiction_in_one_place_is_refused_at_the_door(content: dict[str, object], told: str) -> None:
    assert told in mistake(**content)


def test_a_contradiction_between_two_places_names_both() -> None:
    sources = [("data.checks", read(min_rows=900)), ("checks.yaml", read(max_rows=100))]
    with pytest.raises(SpecError) as caught:
        derive_suite(None, sources=sources)
    assert str(caught.value) == (
        "the suite contradicts itself: min_rows 900 (data.checks) against max_rows 100 (checks.yaml); "
        "change one of them"
    )


def test_a_derived_limit_gives_way_to_what_is_written() -> None:
    suite = derive_suite(LAST_ONE, sources=[("data.checks", read(min_rows=5000, forbidden_labels=["b"]))])
    assert (suite.limit("min_rows"), suite.limit("max_rows")) == (5000, None)
    assert suite.limit("required_labels") == suite.limit("known_labels") == ("a",)


def test_a_misspelt_key_of_the_file_suggests_the_right_one(tmp_path) -> None:
    path = tmp_path / "checks.yaml"
    path.write_text("min_row: 5\n")
    with pytest.raises(SpecError, match=r"checks.yaml: min_row: unknown key; did you mean 'min_rows'\?"):
        read_as(ValidateSpec, path, "keys", "mend it")


@pytest.mark.parametrize("last", [None, LAST_ONE])
def test_the_suite_as_yaml_reads_back_as_itself(last: DataProfile | None) -> None:
    written = read(forbidden_labels=["yes", "off", "é"], max_chars=None, stop=["length"], types=False)
    suite = derive_suite(last, ("channel",), sources=[("data.checks", written)])
    shown = show_suite(suite)
    again = derive_suite(last, sources=[("checks.yaml", read(**yaml.safe_load(shown)))])
    assert [(known.name, known.on, known.on and known.limit, known.severity) for known in again.expectations] == [
        (known.name, known.on, known.on and known.limit, known.severity) for known in suite.expectations
    ]
    assert all(known.name in shown for known in suite.expectations)
    assert max(map(len, shown.splitlines())) <= 122


def test_a_change_of_the_last_snapshot_or_of_a_limit_is_another_key() -> None:
    suites = [derive_suite(None), derive_suite(LAST_ONE), derive_suite(LAST_ONE, sources=[("f", read(min_rows=3))])]
    other = from_json(DataProfile, to_json(LAST_ONE).replace('"a":600', '"a":601'))
    keys = {cache_key("check", suite) for suite in [*suites, derive_suite(other)]}
    assert len(keys) == 4


def test_plain_records_make_valid_specs() -> None:
    assert read(length=LengthRange(1, 2)).length == LengthRange(1, 2)
