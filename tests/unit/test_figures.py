"""Figures: well-formed, with every value drawn in its place, and nothing drawn that is not there."""

import itertools
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.figures import STYLE, WIDTH, Bubble, Mark, bars, intervals, over_time, pareto, standalone
from flows.scales import Scale, scale_of, whole_ticks

FINITE = st.floats(-1e6, 1e6, allow_nan=False)
POSITIVE = st.floats(1e-6, 1e6)
NAN, INFINITE = math.nan, math.inf
HOSTILE = "<script>alert('x')</script> & \"quoted\""


def marks(*values, **changes):
    return [replace(Mark(f"m{i}", value, value - 1, value + 1, at=i), **changes) for i, value in enumerate(values)]


def bubbles(*points):
    return [Bubble(f"b{i}", x, y, 10.0 + i, "shown") for i, (x, y) in enumerate(points)]


def parsed(figure):
    """Return the figure as a tree after checking that all numbers in it are numbers inside its frame."""
    tree = ET.fromstring(figure)
    _, _, width, height = (float(side) for side in tree.get("viewBox").split())
    assert width == WIDTH and tree.get("role") == "img" and tree.get("aria-label")
    for element in tree.iter():
        for name in ("cx", "x", "x1", "x2"):
            assert 0 <= float(element.get(name, 0)) <= width, ET.tostring(element)
        for name in ("cy", "y", "y1", "y2"):
            assert 0 <= float(element.get(name, 0)) <= height, ET.tostring(element)
    assert "nan" not in figure.lower() and "inf" not in re.sub(r"<title>.*?</title>", "", figure)
    return tree


def dots(tree):
    return [element for element in tree.iter("circle") if "dot" in element.get("class")]


def places(tree, name):
    return [float(element.get(name)) for element in dots(tree)]


@given(st.lists(FINITE, min_size=2, max_size=8))
def test_a_greater_value_never_stands_left_of_a_smaller_one(values):
    tree = parsed(intervals("t", marks(*values), "unit"))
    across = places(tree, "cx")
    assert len(across) == len(values)
    order = sorted(range(len(values)), key=values.__getitem__)
    assert all(across[one] <= across[two] for one, two in itertools.pairwise(order))


@given(st.lists(FINITE, min_size=2, max_size=8))
def test_over_time_a_greater_value_never_stands_below_a_smaller_one(values):
    tree = parsed(over_time("t", [("lever", marks(*values))], "unit", line=0.0))
    up, across = places(tree, "cy"), places(tree, "cx")
    assert across == sorted(across) and len(set(across)) == len(values)
    order = sorted(range(len(values)), key=values.__getitem__)
    assert all(up[one] >= up[two] for one, two in itertools.pairwise(order))


@given(st.lists(st.tuples(POSITIVE, FINITE), min_size=1, max_size=8))
def test_in_a_pareto_figure_time_goes_right_and_quality_up(points):
    figure = pareto("t", bubbles(*points), "time", "quality")
    circles = {
        element.find("title").text.split(":")[0]: (float(element.get("cx")), float(element.get("cy")))
        for element in parsed(figure).iter("circle")
    }
    drawn = [circles[f"b{i}"] for i in range(len(points))]
    for one, (x1, y1) in zip(points, drawn, strict=True):
        for two, (x2, y2) in zip(points, drawn, strict=True):
            assert x1 <= x2 or one[0] > two[0]
            assert y1 >= y2 or one[1] > two[1]


def test_an_interval_is_drawn_from_its_low_to_its_high_end():
    tree = parsed(intervals("t", [Mark("a", 5, 2, 9), Mark("b", 2, 2, 2), Mark("c", 9, 9, 9)], "unit"))
    [bar, *_] = [line for line in tree.iter("line") if "bar" in line.get("class")]
    middle, low, high = places(tree, "cx")
    assert (float(bar.get("x1")), float(bar.get("x2"))) == (low, high)
    assert low < middle < high


def test_a_line_and_a_bound_stand_where_their_value_would():
    made = [Mark("a", 0, -3, 3, bound=-3.0), Mark("b", -3, -4, 3)]
    tree = parsed(intervals("t", made, "unit", line=0.0))
    [zero] = [line for line in tree.iter("line") if line.get("class") == "zero"]
    [bound] = [line for line in tree.iter("line") if line.get("class") == "bound"]
    assert [float(zero.get("x1")), float(bound.get("x1"))] == places(tree, "cx")


def test_what_was_dropped_is_hollow():
    tree = parsed(over_time("t", [("a", marks(1, 2)), ("b", marks(3, filled=False))], "unit"))
    assert ["hollow" in dot.get("class") for dot in dots(tree)] == [False, False, True]


def test_panels_share_one_scale():
    tree = parsed(over_time("t", [("a", marks(0, 4)), ("b", marks(0, 4))], "unit"))
    up = places(tree, "cy")
    assert up[0] - up[1] == pytest.approx(up[2] - up[3], abs=0.11)


def test_only_marks_of_one_group_are_joined():
    made = [*marks(1, 2, group="g1"), Mark("x", 3, 2, 4, at=5, group="g2"), Mark("y", 3, 2, 4, at=6)]
    tree = parsed(over_time("t", [("", made)], "unit"))
    assert len([line for line in tree.iter("line") if "trail" in line.get("class")]) == 1


def test_the_front_is_drawn_through_its_points_only():
    made = bubbles((1, 80), (0.5, 78), (0.7, 70))
    made = [replace(bubble, on_front=bubble.y > 75) for bubble in made]
    [path] = list(parsed(pareto("t", made, "time", "quality")).iter("path"))
    assert path.get("d").count("H") == 1
    assert not list(parsed(pareto("t", bubbles((1, 80)), "time", "quality")).iter("path"))


def test_a_larger_area_is_a_larger_circle_by_its_root():
    made = [Bubble("a", 1, 1, 400, ""), Bubble("b", 2, 2, 100, "")]
    radii = {float(circle.get("r")) for circle in parsed(pareto("t", made, "x", "y")).iter("circle")}
    assert max(radii) == 2 * min(radii)


def test_labels_of_models_at_one_place_do_not_lie_on_each_other():
    tree = parsed(pareto("t", [Bubble(f"model {i}", 1, 80, 10, "") for i in range(4)], "x", "y"))
    labels = sorted(float(text.get("y")) for text in tree.iter("text") if (text.text or "").startswith("model"))
    assert all(two - one >= 10 for one, two in itertools.pairwise(labels))


def test_bars_are_as_long_as_their_values():
    tree = parsed(bars("t", [("a", 4.0, "4 ms"), ("b", 1.0, "1 ms"), ("c", 0.0, "0 ms")]))
    first, second, none = (float(bar.get("width")) for bar in tree.iter("rect"))
    assert (first / second, none) == (4, 0)
    assert [text.text for text in tree.iter("text")] == ["a", "4 ms", "b", "1 ms", "c", "0 ms"]


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e-9, 1e9])
def test_one_estimate_or_equal_ones_are_drawn(value):
    one = Mark("a", value, value, value, at=3)
    for made in ([one], [one, replace(one, at=4)]):
        assert len(dots(parsed(intervals("t", made, "unit")))) == len(made)
        assert len(dots(parsed(over_time("t", [("p", made)], "unit", line=0.0)))) == len(made)


def test_no_data_is_no_figure():
    assert intervals("t", [], "unit") == over_time("t", [], "unit") == over_time("t", [("a", [])], "unit") == ""
    assert bars("t", []) == bars("t", [("a", 0.0, "")]) == pareto("t", [], "x", "y") == ""


@pytest.mark.parametrize("bad", [NAN, INFINITE, -INFINITE])
def test_what_is_not_finite_is_left_out(bad):
    made = [*marks(1, 2), Mark("bad", bad, 0, 1), Mark("bad", 0, bad, 1), Mark("bad", 0, 0, 1, bound=bad)]
    assert len(dots(parsed(intervals("t", made, "unit")))) == 2
    assert len(dots(parsed(over_time("t", [("p", made)], "unit")))) == 2
    assert intervals("t", made[2:], "unit") == over_time("t", [("p", made[2:])], "unit") == ""
    assert len(list(parsed(bars("t", [("a", 1.0, ""), ("b", bad, ""), ("c", -1.0, "")])).iter("rect"))) == 1
    drawn = parsed(pareto("t", bubbles((1, 2), (bad, 2), (1, bad), (0, 1)), "x", "y"))
    assert len(list(drawn.iter("circle"))) == 1


def test_texts_are_escaped_and_long_names_cut():
    for figure in (
        intervals(HOSTILE, [Mark(HOSTILE, 1, 0, 2, shown=HOSTILE)], HOSTILE),
        over_time(HOSTILE, [(HOSTILE, [Mark(HOSTILE, 1, 0, 2)])], HOSTILE),
        bars(HOSTILE, [(HOSTILE, 1.0, HOSTILE)]),
        pareto(HOSTILE, [Bubble("b", 1, 1, 1, HOSTILE)], HOSTILE, HOSTILE),
    ):
        assert parsed(figure).get("aria-label") == HOSTILE
        assert "<script" not in figure
    long = parsed(bars("t", [("n" * 99, 1.0, "")]))
    assert [len(text.text) for text in long.iter("text") if text.text] == [28]


def test_a_file_of_its_own_has_namespace_and_styles_and_loads_nothing():
    figure = intervals("t", marks(1, 2), "unit")
    tree = ET.fromstring(standalone(figure))
    assert tree.tag == "{http://www.w3.org/2000/svg}svg"
    assert tree[0].text == STYLE
    assert "http" not in figure + STYLE and "url(" not in STYLE


def test_both_schemes_know_every_colour():
    light, dark = STYLE.split("prefers-color-scheme: dark")
    used = set(re.findall(r"var\((--\w+)\)", STYLE))
    for scheme in (light, dark):
        assert used <= set(re.findall(r"(--\w+):", scheme))


@given(st.lists(FINITE, min_size=1, max_size=5), st.integers(2, 8))
def test_ticks_lie_inside_rise_and_are_neither_none_nor_many(values, about):
    scale = scale_of(values, 0, 100)
    ticks = scale.ticks(about)
    assert 2 <= len(ticks) <= 4 * about
    assert ticks == sorted(set(ticks))
    assert scale.low - 1e-6 * abs(scale.low) <= ticks[0] and ticks[-1] <= scale.high + 1e-6 * abs(scale.high)


@given(st.lists(POSITIVE, min_size=1, max_size=5))
def test_a_logarithmic_scale_places_ratios_evenly(values):
    scale = scale_of(values, 0, 100, log=True)
    assert scale.place(math.sqrt(scale.low * scale.high)) == pytest.approx(50)
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks())


def test_what_lies_outside_is_held_at_the_edge():
    scale = Scale(0, 10, 100, 0)
    assert (scale.place(-5), scale.place(5), scale.place(50)) == (100, 50, 0)


@pytest.mark.parametrize(("values", "log"), [([], False), ([NAN], False), ([0.0], True), ([-1.0, 2.0], True)])
def test_a_scale_of_what_it_cannot_show_is_refused(values, log):
    with pytest.raises(ValueError, match="scale needs finite"):
        scale_of(values, 0, 1, log)


@given(st.integers(1, 500), st.integers(0, 500))
def test_whole_ticks_begin_and_end_with_the_range(first, length):
    ticks = whole_ticks(first, first + length)
    assert (ticks[0], ticks[-1]) == (first, first + length)
    assert len(ticks) <= 12
