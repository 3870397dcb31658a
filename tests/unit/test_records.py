"""Every record goes to JSON and back unchanged."""

import json
import math
from dataclasses import fields, is_dataclass, replace

import pytest
from pydantic import ValidationError

import tasks.records
from tasks.compress.methods import Cascade, DistilInto, Int8Dynamic, Onnx, OpenVino
from tasks.compress.searching.report import CompressReport, Point
from tasks.given import Given, Guides, Origin
from tasks.records import (
    Candidate,
    FreshProcess,
    GoldenLook,
    GridPoint,
    Interval,
    LeverTrial,
    OpenLoop,
    Scorecard,
    SliceScore,
    Snapshot,
    StepReport,
    Table,
    Verdict,
    from_json,
    to_json,
)
from tasks.search.report import SearchReport, SearchTrial
from tasks.specs import Lever, Recipe
from tasks.train.bases.base import FromConfig
from tasks.train.methods import Contrastive, Distil, FineTune, Lora
from tests.unit.measured import MACHINE, quality, speed

TEST = tasks.records.Test
CANDIDATE = Candidate("store/fit/k/model", "c" * 64, "torch", 91_000_000, {"loss": 0.25, "epochs": 3.0})
CARD = Scorecard("c" * 64, quality((1.0, 0.0, 0.5)), speed())
VERDICT = Verdict(
    "inconclusive",
    "Inconclusive: the rows cannot tell; käse | \u2028 \U0001f600.",
    (TEST("quality", 0.01, -0.01, 0.03, 0.0, "unsure", 200, 315, 0.02, "detail"),),
    0.025,
)
COMPRESSED = CompressReport(
    (Point(0, (Onnx(), Int8Dynamic()), 1, "measured", rows=100, score=0.93, loss=0.002, loss_high=0.008, speedup=5.1,
           latency_p99_ms=2.5, size_bytes=23, memory_bytes=150, seconds=9.5),
     Point(1, (DistilInto(student=FromConfig("bert")), OpenVino(), Cascade()), 0, "failed", message="no such family")),
    (0,), 0, None, 1.5, "compress search: 2 points", (0.05, 0.1), ("avx512_vnni",),
)  # fmt: skip
SEARCHED = SearchReport(
    "p/tuned/0", (SearchTrial(0, {"epochs": "3"}, "recipe", "failed", None, None, 0.0, 1.5, "no memory", "host:1"),),
    None, 0.5, None, 1.25, "threads", FromConfig("bert"), FineTune(tune=Lora(rank=2), contrastive=Contrastive()),
)  # fmt: skip
RECORDS = [
    Snapshot("s.parquet", "d", {"train": 8, "golden": 2}, ("a", "b"), ("channel",), ("p1", "p2")),
    StepReport("scrub", 10, 9, 3, ("<EMAIL>",)),
    Table("t.parquet", "d", 9, (StepReport("clean", 10, 9, 0),)),
    CANDIDATE,
    Guides(CANDIDATE, (CANDIDATE, CANDIDATE), Table("u.parquet", "u", 3)),
    Given(None, CANDIDATE, None),
    MACHINE,
    SliceScore(10, 0.5),
    quality(),
    Interval(0.9, 0.85, 0.94),
    GridPoint(8, "median", 12.0, 100.0, 1200.0, 9),
    OpenLoop(50.0, 49.0, 100, False, 9.0, None, None),
    FreshProcess(1, 0.5, 0.25),
    speed(),
    speed(latency_p99_ms=21.5),
    CARD,
    Scorecard("c" * 64, quality()),
    VERDICT.tests[0],
    VERDICT,
    LeverTrial("compress", "compress", True, VERDICT, CANDIDATE, CARD),
    LeverTrial("tuned", "search", True, VERDICT, CANDIDATE, CARD, search=SEARCHED),
    SEARCHED,
    LeverTrial("small", "compress_search", True, VERDICT, CANDIDATE, CARD, compression=COMPRESSED),
    COMPRESSED,
    Origin(CANDIDATE, Table("t", "t" * 64, 2), Snapshot("s", "s" * 64, {"train": 2}, ("a", "b"))),
    Guides(CANDIDATE, (CANDIDATE,), Table("t", "t" * 64, 2)),
    Given(CANDIDATE, CANDIDATE, Table("t", "t" * 64, 2)),
    Recipe(),
    Recipe(train=FineTune(distil=Distil(student=(0, 3)))),
    Lever("plain", compress=()),
    Lever("small", train=FineTune(distil=Distil(student=FromConfig("bert"))), claim="quality"),
    GoldenLook("g" * 64, "c" * 64, "d" * 64, ("cost", "quality"), "g" * 64, 1, 0.0247, 0.05, ("0" * 16, "f" * 16)),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_json_and_back(record):
    text = to_json(record)
    assert from_json(type(record), text) == record
    assert "\n" not in text
    assert to_json(from_json(type(record), text)) == text


def test_every_record_of_the_module_is_tried():
    module = vars(tasks.records).values()
    declared = {kind for kind in module if isinstance(kind, type) and is_dataclass(kind)}
    assert declared <= {type(record) for record in RECORDS}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_records_are_frozen(record):
    with pytest.raises(AttributeError):
        setattr(record, fields(record)[0].name, "changed")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused_in_json(value):
    with pytest.raises(ValueError, match="Out of range float"):
        to_json(replace(CANDIDATE, notes={"loss": value}))


def test_equal_records_give_equal_text():
    backwards = replace(CANDIDATE, notes=dict(reversed(list(CANDIDATE.notes.items()))))
    assert to_json(backwards) == to_json(CANDIDATE)
    assert list(json.loads(to_json(CANDIDATE))) == sorted(json.loads(to_json(CANDIDATE)))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"uri": "x"}', to_json(VERDICT)])
def test_what_is_no_such_record_is_refused(text):
    with pytest.raises(ValidationError):
        from_json(Candidate, text)
