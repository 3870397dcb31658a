"""The search over passes in a made-up world: does it find the planted best, keep its minutes, stop, and go on equal."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.compress.methods import Onnx
from tasks.compress.searching.choose import AS_FAST, GOOD, Bar, loss_of, order_of_choice
from tasks.compress.searching.front import pareto_front
from tasks.compress.searching.report import CompressReport, Point, passes_in_words
from tasks.compress.searching.spec import CompressSearch
from tasks.errors import ArtifactError, ModelError
from tasks.measure.statistics import paired_difference
from tasks.records import from_json, to_json
from tasks.specs import Limits
from tests.unit.compress_world import ROWS, World, run
from tests.unit.measured import paired_scores


def kinds(point):
    return [method.kind for method in point.passes]


def by_number(report):
    return {point.number: point for point in report.points}


def chosen(report):
    return by_number(report)[report.chosen]


@pytest.fixture(scope="module")
def whole():
    world = World()
    return world, run(world)


def test_the_fastest_that_loses_nothing_of_note_is_found(whole):
    world, report = whole
    best = chosen(report)
    assert kinds(best)[0] == "trim_vocabulary" and kinds(best)[-1] == "cascade" and "distil" in kinds(best)
    assert len(next(method for method in best.passes if method.kind == "distil").student) <= 2
    assert world.loss(best.passes) < 0.01 and best.speedup > 100
    likely = [p for p in report.points if p.passes and p.speedup and not p.misses and p.chance >= GOOD]
    assert best.speedup >= AS_FAST * max(point.speedup for point in likely)
    assert (best.rows, best.state, report.nearest) == (ROWS, "measured", None)
    assert best.speedup == pytest.approx(0.010 / world.seconds_per_text(best.passes))
    assert report.sentence.startswith(f"search: {passes_in_words(best.passes)}: {best.speedup:.1f}x as fast")


def test_the_front_is_that_of_score_speed_and_size_the_fastest_first(whole):
    report = whole[1]
    served = [point for point in report.points if point.passes and point.speedup]
    merits = [(-point.loss, point.speedup, -point.size_bytes) for point in served]
    assert set(report.front) == {served[at].number for at in pareto_front(merits)}
    speeds = [by_number(report)[number].speedup for number in report.front]
    assert speeds == sorted(speeds, reverse=True)
    assert report.chosen in report.front


def test_cheap_ones_come_first_on_few_rows_and_what_survives_gets_more_rows_and_epochs(whole):
    world, report = whole
    first = [kinds(point) for point in report.points[1:5]]
    assert first == [["onnx"], ["onnx", "int8"], ["openvino"], ["onnx", "int8_static"]]
    trained = [number for number, point in enumerate(report.points) if "distil" in kinds(point)]
    assert min(trained) > max(number for number, point in enumerate(report.points) if point.rung == 1)
    assert min(rows for passes, rows in world.answered if passes) == ROWS // 4
    students = [point for point in report.points if "distil" in kinds(point)]
    survivors = [point for point in students if "recover" in kinds(point)]
    started = [point for point in students if not {"recover", "cascade"} & set(kinds(point))]
    assert 0 < len({point.passes[:2] for point in survivors}) <= math.ceil(len(started) / 3) + 1
    assert any(point.rows < ROWS for point in started)
    assert len(set(world.builds)) == len(world.builds)  # nothing was built twice


def test_the_same_search_gives_the_same_report(whole):
    assert run(World()) == whole[1]


def test_a_report_is_json_and_back(whole):
    assert from_json(CompressReport, to_json(whole[1])) == whole[1]


@pytest.mark.parametrize("minutes", [0.5, 1, 2, 4, 8, 12])
def test_the_minutes_are_kept_and_what_they_do_not_reach_for_is_named(minutes):
    world = World()
    report = run(world, minutes)
    assert world.now <= 60 * minutes + 15  # the last step may end after them
    assert report.minutes == pytest.approx(world.now / 60, abs=0.01)
    left = [point for point in report.points if point.state == "left"]
    assert left and all("of the minutes are left" in point.message for point in left)
    assert f"{len(left)} left" in report.sentence
    if minutes >= 1:
        assert chosen(report).speedup > 4  # something is found in any time that reaches for an export


def test_more_minutes_never_find_less():
    speeds = [chosen(run(World(), minutes)).speedup for minutes in (2, 6, 30)]
    assert speeds == sorted(speeds)
    assert speeds[0] < speeds[-1]


def test_what_is_good_enough_is_trained_no_further():
    class Quick(World):
        def loss(self, passes):
            return 0.0 if any(method.kind == "distil" for method in passes) else super().loss(passes)

    world = Quick()
    report = run(world)
    assert not any("recover" in kinds(point) for point in report.points if "distil" in kinds(point))
    assert world.now < 60 * 30 * 2 / 3
    assert chosen(report).speedup > 100


@pytest.mark.parametrize("kill_after", [1, 4, 9, 17, 25])
def test_a_killed_search_goes_on_with_the_minutes_that_it_had_and_comes_to_the_same(kill_after):
    expected = run(World(), 8)
    known: dict[str, float] = {}
    world = World(die_after=kill_after)
    with pytest.raises(KeyboardInterrupt):
        run(world, 8, known)
    world.die_after, before = 10**9, world.now
    again = run(world, 8, known)
    assert again.chosen == expected.chosen and [p.passes for p in again.points] == [p.passes for p in expected.points]
    assert replace(again, minutes=0, points=(), sentence="") == replace(expected, minutes=0, points=(), sentence="")
    assert world.now <= 60 * 8 + 15 and before < world.now
    assert run(world, 8, known) == again  # and once more, with everything stored


def test_what_a_library_raises_for_a_graph_is_a_failed_point_told_with_its_kind(caplog):
    class Odd(World):
        def build(self, passes):
            if passes and passes[-1].kind == "int8":
                raise RuntimeError("no type for\n  val_147")
            return super().build(passes)

    report = run(Odd())
    failed = [point for point in report.points if point.state == "failed"]
    assert {point.message for point in failed} == {"RuntimeError: no type for val_147"}
    assert chosen(report).speedup > 50
    assert "point 2 failed" in caplog.text


@pytest.mark.parametrize("broken", ["openvino", "int8", "distil", "cascade", "trim_vocabulary", "shrink"])
def test_a_sequence_that_fails_is_a_failed_point_and_the_search_goes_on(broken):
    world = World(broken=(broken,))
    report = run(world)
    failed = [point for point in report.points if point.state == "failed"]
    assert failed and all(broken in kinds(point) for point in failed)
    assert {point.message for point in failed} == {f"{broken} does not work here"}
    assert all(point.score is None for point in failed)
    assert broken not in kinds(chosen(report)) and chosen(report).speedup > 5
    assert len(set(world.builds)) == len(world.builds)


def test_a_model_that_does_not_start_fails_alone_among_those_timed_together():
    report = run(World(silent=("int8_static",)))
    failed = [point for point in report.points if point.state == "failed"]
    assert failed and all("int8_static" in kinds(point) for point in failed)
    assert "does not load in a process of its own" in failed[0].message
    assert next(point for point in report.points if kinds(point) == ["onnx", "int8"]).speedup == pytest.approx(5)


def test_where_no_way_of_serving_works_the_sentence_says_why():
    report = run(World(broken=("onnx", "openvino")))
    assert (report.chosen, report.nearest, report.front) == (None, None, ())
    assert "no sequence came to be measured" in report.sentence and "onnx does not work here" in report.sentence


def test_without_an_origin_there_is_no_search():
    class Broken(World):
        def build(self, passes):
            raise ModelError("no base")

    with pytest.raises(ModelError, match="no base"):
        run(Broken())


def test_it_fails_closed_and_names_what_came_nearest_and_by_how_much():
    report = run(World(harm=0.03))
    near = by_number(report)[report.nearest]
    assert report.chosen is None and report.passes is None
    assert near.loss == min(point.loss for point in report.points if point.passes and point.speedup)
    assert near.misses == (f"loses {100 * near.loss:.2f} points, {100 * near.loss - 1:.2f} more than the margin of 1",)
    assert "nothing kept margin and limits, so nothing is proposed" in report.sentence
    assert near.misses[0] in report.sentence


def test_a_limit_is_a_constraint_on_what_is_chosen():
    free = chosen(run(World()))
    limits = Limits(size_mb=free.size_bytes / 1e6 - 1)
    report = run(World(), limits=limits)
    assert chosen(report).size_bytes < free.size_bytes - 1e6
    over = by_number(report)[free.number]
    assert any("is over the limit of" in miss for miss in over.misses)
    impossible = run(World(), limits=Limits(latency_p99_ms=0.001))
    assert impossible.chosen is None
    assert "latency p99" in impossible.sentence and "is over the limit of 0.001 ms" in impossible.sentence


def test_what_the_gate_says_on_select_counts_and_the_next_best_is_proposed():
    free = run(World())

    def objections(passes):
        return ("slice channel=chat is worse",) if passes == chosen(free).passes else ()

    report = run(World(objections=objections))
    assert report.chosen not in (None, free.chosen)
    assert by_number(report)[free.chosen].misses == ("slice channel=chat is worse",)
    none = run(World(objections=lambda passes: ("it is worse",)))
    assert none.chosen is None and "it is worse" in none.sentence


class Wide(World):
    """Where no student of any length keeps the margin alone, and cascades find nothing that n-grams are sure of."""

    def loss(self, passes):
        return super().loss(passes) + (0.02 if any(method.kind == "distil" for method in passes) else 0.0)

    def seconds_per_text(self, passes):
        plain = tuple(each for each in passes if each.kind != "cascade" or isinstance(each.stage, tuple))
        return super().seconds_per_text(plain) * (0.9 if plain != passes else 1.0)


def test_what_is_fast_and_loses_too_much_alone_answers_between_n_grams_and_the_best():
    report = run(Wide(), spec=CompressSearch(passes=("distil", "int8", "cascade")))
    best = chosen(report)
    assert kinds(best)[-2:] == ["cascade", "cascade"] and best.passes[-1].stage == "ngrams"
    middle = best.passes[-2].stage
    assert any(method.kind == "distil" for method in middle) and "distil" not in kinds(best)
    alone = next(point for point in report.points if point.passes == middle)
    assert alone.misses and alone.speedup > best.speedup > 10
    stacked = [point for point in report.points if kinds(point).count("cascade") == 2]
    assert 1 <= len(stacked) <= 2
    assert from_json(CompressReport, to_json(report)) == report
    short = run(Wide(), 4, spec=CompressSearch(passes=("distil", "int8", "cascade")))
    assert all(point.state == "left" for point in short.points if kinds(point).count("cascade") == 2)


def test_the_recipes_own_passes_are_a_point_too():
    own = (Onnx(),)
    report = run(World(), own=own, spec=CompressSearch(passes=("int8",), runtimes=("openvino",)))
    assert own in [point.passes for point in report.points]
    assert [method.kind for method in chosen(report).passes] == ["openvino"]


BAR = Bar(0.01, 0.05, 3000)


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_chance_falls_with_the_loss(won, lost):
    here, more = (loss_of(*paired_scores(1500, 1300, won, each), BAR) for each in (lost, lost + 5))
    assert 0 <= more.chance <= here.chance <= 1
    assert here.value == pytest.approx((lost - won) / 1500) and here.high >= here.value


@pytest.mark.parametrize(("won", "lost"), [(10, 10), (10, 16), (4, 18), (0, 0)])
def test_the_chance_is_that_of_a_golden_set_drawn_alike(won, lost):
    """Against many pairs of sets: the share of golden sets that pass where `select` came out as it did."""
    rng, rows, golden = np.random.default_rng(5), 1500, 3000
    passed = []
    shares = rng.dirichlet([won + 1, lost + 1, rows - won - lost + 1], size=400)  # what may be true, after these rows
    for share in shares:
        gained, gone, _ = rng.multinomial(golden, share)
        scores = paired_scores(golden, golden - gained - gone, gained, gone)
        passed.append(paired_difference(*scores, BAR.level).low > -BAR.margin)
    found = loss_of(*paired_scores(rows, rows - won - lost, won, lost), BAR).chance
    assert found == pytest.approx(np.mean(passed), abs=0.1)


def test_a_surer_point_goes_before_a_faster_one_that_golden_would_hardly_pass():
    point = Point(1, (Onnx(),), 0, "measured", rows=900, score=0.9, loss=0.0, loss_high=0.01, chance=0.9, speedup=10.0)
    risky = replace(point, number=2, chance=0.2, speedup=20.0)
    slower = replace(point, number=3, speedup=5.0)
    missed = replace(point, number=4, speedup=99.0, misses=("too large",))
    untimed = replace(point, number=5, speedup=None)
    order = order_of_choice([risky, slower, point, missed, untimed])
    assert [each.number for each in order] == [1, 3, 2]


def test_of_those_about_as_fast_the_surest_goes_first():
    fast = Point(
        1, (Onnx(),), 0, "measured", rows=900, score=0.9, loss=0.005, loss_high=0.01, chance=0.6, speedup=100.0
    )
    surer = replace(fast, number=2, chance=0.9, speedup=95.0)
    slower = replace(fast, number=3, chance=0.99, speedup=50.0)
    assert [each.number for each in order_of_choice([fast, slower, surer])] == [2, 1, 3]


def test_what_is_wrong_with_the_machine_ends_the_search():
    class Full(World):
        def answer(self, candidate, rows):
            raise OSError("disk is full")

    with pytest.raises(OSError, match="disk is full"):
        run(Full())
    assert issubclass(ArtifactError, Exception)
