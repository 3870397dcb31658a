"""Which passes may follow which: every combination that makes no sense is refused by name, with its mend."""

import itertools

import pytest
from pydantic import TypeAdapter

from tasks.compress.methods import Cascade, CompressPass
from tasks.compress.searching.report import passes_in_words
from tasks.compress.searching.sequences import (
    AGREEMENTS,
    cascaded,
    depth,
    longer,
    parts_of,
    probes,
    share_removed,
    starts,
    students,
    tails,
    trimmed,
    variants,
)
from tasks.compress.searching.shape import Shape
from tasks.compress.searching.spec import KINDS, CompressSearch
from tasks.compress.sequence import check_sequence, form_of, reads_texts
from tasks.identities import student_identity

READ = TypeAdapter(tuple[CompressPass, ...]).validate_python
INTO_ANOTHER = {"kind": "distil", "student": "hub/small"}


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        (["onnx", "int8", "prune"], "the pass 'prune' needs a PyTorch model, and 'int8' before it gives an ONNX model; "
                                    "put 'prune' before 'onnx'"),
        (["openvino", "shrink0"], "the pass 'shrink' needs a PyTorch model, and 'openvino' before it gives an "
                                  "OpenVINO model"),
        (["onnx", "cascade", "distil"], "the pass 'distil' needs a PyTorch model, and 'cascade' before it gives a "
                                        "cascade"),
        (["onnx", "openvino"], "the pass 'openvino' needs a PyTorch model, and 'onnx' before it gives an ONNX model"),
        (["tensorrt", "onnx"], "the pass 'onnx' needs a PyTorch model, and 'tensorrt' before it gives a TensorRT "
                               "model"),
        (["cascade"], "the pass 'cascade' needs a served model behind it; put 'onnx' or 'openvino' before it"),
        (["trim_vocabulary", "cascade"], "the pass 'cascade' needs a served model behind it"),
        (["onnx", "int8", "int8"], "the pass 'int8' stands twice; keep one of them"),
        (["onnx", "int8", "int8_static"], "the pass 'int8_static' finds a model that 'int8' has quantised already"),
        (["onnx", "weight_only", "int8"], "the pass 'int8' finds a model that 'weight_only' has quantised already"),
        (["openvino", "int8_static"], "the pass 'int8_static' needs an ONNX model, and 'openvino' has its own: use "
                                      "openvino's precision: int8"),
        (["int8"], "the pass 'int8' needs an ONNX model; put 'onnx' before it, as in [onnx, int8]"),
        ([{"kind": "onnx", "precision": "fp16"}, "int8"], "the pass 'int8' needs weights in fp32, and 'onnx' before it "
                                                          "gives fp16; leave its precision out"),
        (["onnx", "cascade", "int8"], "the pass 'int8' needs an ONNX model; put 'onnx' before it"),
        (["recover"], "the pass 'recover' has nothing to recover from; put it after 'prune', 'shrink'"),
        (["trim_vocabulary", "trim_vocabulary"], "the pass 'trim_vocabulary' stands twice"),
        (["trim_vocabulary", INTO_ANOTHER], "the pass 'distil' into another base throws away what 'trim_vocabulary' "
                                            "did; put 'distil' first"),
        (["onnx", {"kind": "cascade", "stage": ["window"]}], "the stage of the pass 'cascade' ends as a PyTorch model, "
                                                             "which is not served; put 'onnx' or 'openvino'"),
        (["onnx", {"kind": "cascade", "stage": ["onnx", "distil"]}], "the stage of the pass 'cascade': the pass "
                                                                     "'distil' needs a PyTorch model, and 'onnx'"),
        (["prune", "recover", INTO_ANOTHER], "the pass 'distil' into another base throws away what 'prune' did"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(passes, message):
    found = READ([{"kind": "shrink", "layers": 1} if each == "shrink0" else each for each in passes])
    with pytest.raises(ValueError) as caught:
        check_sequence(found)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("passes", "form"),
    [
        ([], "torch"),
        (["prune", "recover", "prune", "recover", "onnx", "int8"], "onnx"),
        (["trim_vocabulary", "distil", "recover", "recover", "openvino"], "openvino"),
        ([INTO_ANOTHER, "trim_vocabulary", "onnx", "cascade", "cascade"], "cascade"),
        (["tensorrt", "cascade"], "cascade"),
        (["onnx", {"kind": "cascade", "stage": ["distil", "openvino"]}, "cascade"], "cascade"),
    ],
)
def test_what_makes_sense_is_let_through(passes, form):
    check_sequence(READ(passes))
    assert form_of(READ(passes)) == form


def test_what_learns_is_told():
    assert reads_texts(READ(["distil", "onnx"])) and reads_texts(READ(["onnx", "cascade"]))
    assert reads_texts(READ(["trim_vocabulary", "onnx"])) and not reads_texts(READ(["prune", "onnx", "int8"]))


def test_a_cascades_own_stage_is_told_in_short_and_its_bases_are_in_its_key(tmp_path):
    given = {"kind": "cascade", "agreement": 0.99, "stage": [{"kind": "distil", "student": [0]}, "onnx"]}
    [_, method] = READ(["onnx", given])
    assert passes_in_words([method]) == "cascade (agreement 0.99, stage [distil (student 0), onnx])"
    assert student_identity(method) == student_identity(Cascade()) == ""
    (tmp_path / "config.json").write_text("{}", "utf-8")
    [named] = READ([{"kind": "cascade", "stage": [{"kind": "distil", "student": str(tmp_path)}, "onnx"]}])
    before = student_identity(named)
    (tmp_path / "config.json").write_text("{ }", "utf-8")
    assert before and student_identity(named) not in ("", before)


SPECS = [
    CompressSearch(),
    CompressSearch(passes=()),
    CompressSearch(passes=(*KINDS, "prune", "window", "weight_only"), runtimes=("onnx", "openvino", "tensorrt")),
    *(CompressSearch(passes=(kind,), runtimes=("onnx",)) for kind in KINDS if kind != "recover"),
    CompressSearch(passes=("recover", "shrink"), runtimes=("openvino",)),
]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("layers", [1, 2, 6, 12])
def test_all_that_a_search_tries_can_be_gone_through_and_is_allowed(spec, layers):
    shape = Shape(layers, windows=layers > 2, drops=tuple(0.1 * at for at in range(layers)))
    found = probes(spec, shape)
    first = starts(spec, shape, dict.fromkeys(found, 0.99))
    served = [(*shaping, *tail) for shaping, tail in itertools.product([(), *first], tails(spec))]
    served += [(*parts_of(each)[0], *other) for each in served for other in variants(spec, parts_of(each)[1])]
    more = [grown for each in first if (grown := longer(spec, each, 4))]
    fronts = [each for passes in served for each in cascaded(spec, passes)]
    allowed = {*spec.passes, "onnx", "openvino", "tensorrt"}
    for passes in [*found, *first, *more, *served, *fronts]:
        check_sequence(passes)
        assert {method.kind for method in passes} <= allowed, passes_in_words(passes)
    assert served and (len(fronts) == len(served) * len(AGREEMENTS)) == ("cascade" in spec.passes)


def test_students_keep_one_two_or_half_of_the_layers_and_those_that_matter():
    assert students(Shape(6)) == [(0, 5), (0,), (0, 2, 5)]
    assert students(Shape(6, drops=(0.9, 0.1, 0.2, 0.1, 0.1, 0.3))) == [(0, 5), (0,), (0, 2, 5)]
    assert (0, 2) in students(Shape(6, drops=(0.9, 0.1, 0.4, 0.1, 0.1, 0.3)))
    assert students(Shape(1)) == []


def test_the_least_sensitive_changes_are_trained_first_and_hopeless_trimming_is_left_out():
    spec, shape = CompressSearch(), Shape(6)
    found = probes(spec, shape)
    costs = dict.fromkeys(found, 0.5)
    best = next(probe for probe in found if passes_in_words(probe) == "shrink (layers 3)")
    recovered = [each for each in starts(spec, shape, {**costs, best: 0.9}) if each[-1].kind == "recover"]
    assert recovered[0][:-1] == best
    assert trimmed(spec, costs) == () != trimmed(spec, dict.fromkeys(found, 1.0))
    assert all(each[0].kind == "trim_vocabulary" for each in starts(spec, shape, dict.fromkeys(found, 1.0)))


def test_how_deep_a_model_is_after_its_passes():
    shape = Shape(6)
    assert depth(READ([{"kind": "distil", "student": [0, 5]}, "onnx"]), shape) == 2
    assert depth(READ([{"kind": "shrink", "layers": 2}]), shape) == 4
    assert depth(READ([INTO_ANOTHER]), shape) == 6
    assert share_removed(READ([{"kind": "factorise", "keep": 0.25}]), shape) == 0.75


def test_without_recover_a_student_is_distilled_longer_from_the_start():
    [student] = READ([{"kind": "distil", "student": [0], "epochs": 2}])
    assert longer(CompressSearch(passes=("distil",)), (student,), 4)[0].epochs == 6
    assert [method.kind for method in longer(CompressSearch(), (student,), 4)] == ["distil", "recover"]
    assert longer(CompressSearch(), READ(["trim_vocabulary"]), 4) is None
