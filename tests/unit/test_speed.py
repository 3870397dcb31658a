"""Measuring speed on fake models and a fake clock: turns, percentiles, the grid, the open loop, counters and cost."""

import math
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import kstest

from serving.predictors import Predictions
from tasks.errors import ArtifactError
from tasks.measure.speed import closed_loop, counters, fresh_process
from tasks.measure.speed.closed_loop import block_seconds, interleave
from tasks.measure.speed.counters import (
    Reading,
    Usage,
    cost_per_million,
    energy_between,
    gpu_share,
    read_energy,
    summarise_usage,
    usage_since,
)
from tasks.measure.speed.grid import BUDGET_S, MAX_CALLS, MIN_CALLS, measure_grid, texts_of_length
from tasks.measure.speed.latency import Clock, percentile_ms
from tasks.measure.speed.open_loop import LIMIT_S, choose_rate, measure_open_loop, serve_arrivals
from tasks.records import Candidate, FreshProcess, Speed, from_json, to_json
from tasks.specs import BenchmarkSpec
from tests.bench.speed import write_model
from tests.unit.measured import MACHINE

TEXTS = [f"{'word ' * (1 + number % 20)}{number}" for number in range(100)]


class FakeTime:
    """A clock that moves only when a model works or someone sleeps."""

    def __init__(self):
        self.now, self.slept = 100.0, []
        self.clock = Clock(now=lambda: self.now, cpu=lambda: self.now / 2, sleep=self.sleep)

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


class FakeModel:
    """Takes so many seconds per text, and notes who was asked what."""

    def __init__(self, time, seconds, name="model", log=None, stalls=()):
        self.time, self.seconds, self.name, self.calls = time, seconds, name, 0
        self.log, self.stalls = [] if log is None else log, dict(stalls)

    def predict(self, texts):
        self.calls += 1
        self.log.append((self.name, list(texts)))
        self.time.now += self.seconds * len(texts) + self.stalls.get(self.calls, 0.0)
        return Predictions([""] * len(texts), np.zeros(len(texts)))


def words(texts):
    counts = [len(text.split()) for text in texts]
    return {"attention_mask": np.array([[1] * count + [0] * (max(counts) - count) for count in counts])}


@pytest.fixture
def time():
    return FakeTime()


def test_every_block_is_done_by_all_in_turn_and_the_order_is_reversed_every_other_block(time):
    log = []
    models = [FakeModel(time, 0.001, name, log) for name in "abc"]
    interleave(models, [[["x"], ["y"]]] * 4, time.clock)
    turns = [name for name, _ in log][::3]  # one call that is not counted and two that are
    assert "".join(turns) == "abccbaabccba"


def test_the_first_call_of_a_block_is_not_counted_and_the_others_are(time):
    slow_start = FakeModel(time, 0.002, stalls={1: 5.0, 4: 5.0})
    loop = interleave([slow_start], [[["x"], ["y z"]]] * 2, time.clock)[0]
    assert [block.tolist() for block in loop.seconds] == [pytest.approx([0.002, 0.002])] * 2
    assert block_seconds(loop) == pytest.approx((0.002, 0.002))
    assert [usage.wall_s for usage in loop.usages] == pytest.approx([0.004, 0.004])


def test_progress_is_told_block_by_block(time, monkeypatch):
    told = []
    monkeypatch.setattr(closed_loop, "report_progress", lambda *step: told.append(step))
    interleave([FakeModel(time, 0.001)], [[["x"]]] * 3, time.clock, "benchmark")
    assert told == [("benchmark", 1, 3), ("benchmark", 2, 3), ("benchmark", 3, 3)]


@pytest.mark.parametrize(
    ("percent", "count", "supported"),
    [(50, 19, False), (50, 20, True), (95, 199, False), (95, 200, True), (99, 999, False), (99, 1000, True)],
)
def test_a_percentile_needs_ten_samples_beyond_it(percent, count, supported):
    seconds = np.arange(count) / 1000
    found = percentile_ms(seconds, percent)
    assert (found is not None) is supported
    if found is not None:
        assert found == pytest.approx(float(np.percentile(np.arange(count), percent)))


def test_no_samples_have_no_percentile():
    assert percentile_ms(np.empty(0), 50) is None


def test_the_grid_times_every_size_and_length_of_every_model(time):
    models = [FakeModel(time, 0.001, "quick"), FakeModel(time, 0.004, "slow")]
    quick, slow = measure_grid(models, [words, words], TEXTS, (1, 8), time.clock)
    assert [(p.batch_size, p.length) for p in quick] == [(b, n) for b in (1, 8) for n in ("short", "median", "long")]
    for point, other in zip(quick, slow, strict=True):
        assert point.texts_per_s == pytest.approx(1000)
        assert other.texts_per_s == pytest.approx(250)
        assert point.tokens_per_s == pytest.approx(1000 * point.tokens_per_text)
        assert point.tokens_per_text == other.tokens_per_text  # both were asked the same texts
    short, median, long = (point.tokens_per_text for point in quick[3:])
    assert short < median < long


def test_the_grid_asks_the_models_in_turn(time):
    log = []
    measure_grid([FakeModel(time, 0.001, name, log) for name in "ab"], [words] * 2, TEXTS, (1,), time.clock)
    turns = "".join(name for name, _ in log)
    assert turns.startswith("aaabbbbbbaaa")
    assert Counter(turns) == {"a": 3 * MAX_CALLS, "b": 3 * MAX_CALLS}


def test_the_grid_of_a_slow_model_stops_at_the_fewest_calls_and_one_stall_does_not_show(time):
    model = FakeModel(time, BUDGET_S, stalls={2: 60.0})
    points = measure_grid([model], [words], TEXTS, (1,), time.clock)[0]
    assert [point.calls for point in points] == [MIN_CALLS] * 3
    assert [point.texts_per_s for point in points] == pytest.approx([1 / BUDGET_S] * 3)


def test_no_batches_make_no_grid(time):
    assert measure_grid([FakeModel(time, 1), FakeModel(time, 1)], [words] * 2, TEXTS, (), time.clock) == [(), ()]


@pytest.mark.parametrize("count", [1, 8, 100, 150])
@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_texts_of_a_length_lie_about_its_quantile(count, quantile):
    texts = ["x" * length for length in range(101)]
    found = texts_of_length(texts, quantile, count)
    assert len(found) == count
    assert set(found) <= set(texts)
    assert len(set(found)) == min(count, len(texts))
    if count <= 8:
        assert abs(np.mean([len(text) for text in found]) - 100 * quantile) <= 0.5


def test_one_text_is_enough_for_a_batch():
    assert texts_of_length(["only"], 0.9, 3) == ["only"] * 3


def test_latency_counts_from_the_scheduled_arrival(time):
    """Arrivals at 1, 2, 3 and 10 s; the first takes 2.5 s, so that the second waits 1.5 s and the third 0.75 s."""
    model = FakeModel(time, 0.25, stalls={1: 2.25})
    rows = serve_arrivals(model, list("abcd"), np.array([1.0, 2.0, 3.0, 10.0]), time.clock)
    assert rows[:, 0] == pytest.approx([2.5, 1.75, 1.0, 0.25])
    assert rows[:, 1] == pytest.approx([2.5, 0.25, 0.25, 0.25])
    assert rows[:, 2] == pytest.approx([3.5, 3.75, 4.0, 10.25])
    assert time.slept == pytest.approx([1.0, 6.0])
    assert [texts for _, texts in model.log] == [["a"], ["b"], ["c"], ["d"]]


def test_a_stall_shows_in_the_tail_of_the_open_loop_and_not_in_the_closed_one(time):
    """One call of 400 ms at 100 arrivals a second: some 40 texts wait, while a closed loop sees one slow call."""
    stalled = FakeModel(time, 0.002, stalls={30: 0.4})
    closed = interleave([stalled], [[["x"]] * 200], time.clock)[0].seconds[0]
    assert percentile_ms(closed, 95) == pytest.approx(2)
    opened = measure_open_loop([FakeModel(time, 0.002, stalls={30: 0.4})], TEXTS, 100, 200, time.clock)[0]
    assert opened.arrivals == 200
    assert not opened.overloaded
    assert opened.latency_p50_ms < 10
    assert opened.latency_p95_ms > 200


def test_the_open_loop_gives_all_models_the_same_texts_at_the_same_times_in_turn(time):
    log = []
    models = [FakeModel(time, 0.001, name, log) for name in "ab"]
    first, second = measure_open_loop(models, TEXTS, 50, 100, time.clock)
    assert first == second
    assert first.arrivals_per_s == 50
    assert first.achieved_per_s == pytest.approx(50, rel=0.01)
    assert [texts for name, texts in log if name == "a"] == [texts for name, texts in log if name == "b"]
    changes = [name for place, (name, _) in enumerate(log) if place == 0 or log[place - 1][0] != name]
    assert "".join(changes) == "ababa"  # a b, b a, a b, b a


def test_the_arrivals_are_poisson_and_follow_from_the_seed(time):
    """A worker that takes no time sleeps from arrival to arrival: its sleeps are the gaps, exponential in law."""
    gaps = []
    for seed in (0, 0, 1):
        time.slept.clear()
        measure_open_loop([FakeModel(time, 0.0)], TEXTS, 400, 800, time.clock, seed=seed)
        gaps.append(np.array(time.slept))
    assert gaps[0] == pytest.approx(gaps[1])
    assert gaps[0] != pytest.approx(gaps[2])
    assert kstest(gaps[0], "expon", args=(0, 1 / 400)).pvalue > 0.01


def test_more_than_a_worker_can_answer_is_said_and_no_percentile_given(time):
    loop = measure_open_loop([FakeModel(time, 0.02)], TEXTS, 100, 200, time.clock)[0]
    assert loop.overloaded
    assert loop.achieved_per_s == pytest.approx(50, rel=0.05)
    assert (loop.latency_p50_ms, loop.latency_p95_ms, loop.latency_p99_ms) == (None, None, None)


def test_an_overloaded_worker_is_not_waited_for(time):
    begun = time.now
    loop = measure_open_loop([FakeModel(time, 1.0)], TEXTS, 100, 200, time.clock)[0]
    assert loop.overloaded
    assert loop.arrivals < 200
    assert time.now - begun < 6 * (LIMIT_S + 1)


@pytest.mark.parametrize(("rate", "arrivals"), [(5.0, 200), (1e-6, 200), (1000.0, 19), (1000.0, 0)])
def test_too_few_arrivals_are_not_waited_for(time, rate, arrivals):
    model = FakeModel(time, 0.001)
    assert measure_open_loop([model], TEXTS, rate, arrivals, time.clock) == []
    assert model.calls == 0


def test_the_arrivals_stay_within_the_limit_of_time(time):
    begun = time.now
    loop = measure_open_loop([FakeModel(time, 0.001)], TEXTS, 30, 100_000, time.clock)[0]
    assert loop.arrivals == int(30 * LIMIT_S)
    assert time.now - begun < 2 * LIMIT_S


def test_all_get_the_rate_asked_for_or_half_of_what_the_slowest_answers():
    assert choose_rate(None, [100.0, 40.0, 500.0]) == 20
    assert choose_rate(70.0, [100.0, 40.0]) == 70


def test_use_is_of_all_stretches_and_threads():
    usages = [Usage(2.0, 3.0, 10.0, 0.5), Usage(1.0, 1.5, 5.0, 0.25)]
    used = summarise_usage(usages, texts=500, threads=2)
    assert (used.cpu_utilisation, used.gpu_utilisation, used.energy_j_per_1000) == pytest.approx((0.75, 0.375, 30))


def test_a_counter_that_is_missing_once_is_none():
    used = summarise_usage([Usage(2.0, 3.0, 10.0, 0.5), Usage(1.0, 1.5, None, None)], texts=500, threads=2)
    assert (used.gpu_utilisation, used.energy_j_per_1000) == (None, None)
    nothing = summarise_usage([], texts=0, threads=2)
    assert (nothing.cpu_utilisation, nothing.gpu_utilisation, nothing.energy_j_per_1000) == (None, None, None)


def test_usage_is_the_difference_of_two_readings(time, monkeypatch):
    monkeypatch.setattr(counters, "read_energy", lambda: {"intel-rapl:0": (7_000_000, 10**9)})
    monkeypatch.setattr(counters, "gpu_share", lambda: 0.5)
    before = Reading(time.now, time.now / 2, {"intel-rapl:0": (2_000_000, 10**9)})
    time.now += 4
    assert usage_since(before, time.clock) == Usage(4, 2, 5, 0.5)


def write_zone(root, zone, name, counted):
    folder = root / zone
    folder.mkdir()
    for file, value in (("name", name), ("energy_uj", counted), ("max_energy_range_uj", 1000)):
        (folder / file).write_text(f"{value}\n")


def test_energy_is_of_the_packages_only(tmp_path):
    write_zone(tmp_path, "intel-rapl:0", "package-0", 400)
    write_zone(tmp_path, "intel-rapl:1", "package-1", 20)
    write_zone(tmp_path, "intel-rapl:0:0", "core", 300)  # is a part of package-0
    write_zone(tmp_path, "intel-rapl:2", "psys", 900)  # holds both packages
    assert read_energy(tmp_path) == {"intel-rapl:0": (400, 1000), "intel-rapl:1": (20, 1000)}


@pytest.mark.parametrize("harm", ["no folder", "no zone", "no number", "no rights"])
def test_energy_that_cannot_be_read_is_none(tmp_path, harm):
    if harm in ("no number", "no rights"):
        write_zone(tmp_path, "intel-rapl:0", "package-0", "soon" if harm == "no number" else 1)
    if harm == "no rights":  # root may read everything: a folder in the file's place fails for it too
        (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
        (tmp_path / "intel-rapl:0" / "energy_uj").mkdir()
    assert read_energy(tmp_path / "none" if harm == "no folder" else tmp_path) is None


@pytest.mark.parametrize(
    ("before", "after", "joules"),
    [
        ({"p": (100, 10**7)}, {"p": (1_000_100, 10**7)}, 1.0),
        ({"p": (9_000_000, 10**7)}, {"p": (500_000, 10**7)}, 1.5),  # the counter started again
        ({"p": (0, 10), "q": (0, 10**7)}, {"p": (0, 10), "q": (2_000_000, 10**7)}, 2.0),
        (None, {"p": (1, 10)}, None),
        ({"p": (1, 10)}, None, None),
        ({"p": (1, 10)}, {"q": (1, 10)}, None),
    ],
)
def test_energy_between_two_readings(before, after, joules):
    assert energy_between(before, after) == joules


class FakeNvml(SimpleNamespace):
    """Two GPUs, of which kernels ran 30 and 50 % of the time."""

    class NVMLError(Exception):
        """As the driver's."""

    def __init__(self, broken=None):
        super().__init__(
            nvmlInit=lambda: self.fail("init", broken),
            nvmlDeviceGetCount=lambda: self.fail("count", broken) or 2,
            nvmlDeviceGetHandleByIndex=lambda index: index,
            nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=(30, 50)[handle]),
        )

    def fail(self, what, broken):
        if what == broken:
            raise self.NVMLError(what)


@pytest.mark.parametrize(
    ("module", "share"), [(FakeNvml(), 0.4), (FakeNvml("init"), None), (FakeNvml("count"), None), (None, None)]
)
def test_gpu_use_is_the_drivers_or_none(monkeypatch, module, share):
    monkeypatch.setitem(sys.modules, "pynvml", module)
    counters._nvml.cache_clear()
    try:
        assert gpu_share() == share
    finally:
        counters._nvml.cache_clear()


def test_the_cost_of_a_million_requests():
    assert cost_per_million(3.6, 100.0) == pytest.approx(10.0)  # 0.001 a second, ten thousand seconds
    assert cost_per_million(None, 100.0) is None
    assert cost_per_million(0.0, 100.0) == 0


@pytest.fixture
def measure(time, monkeypatch):
    """Measure two fake models, the second four times as fast."""
    candidates = [Candidate(f"/models/{name}", name, "onnx", 1000 + number) for number, name in enumerate("ab")]
    models = {"a": FakeModel(time, 0.008), "b": FakeModel(time, 0.002)}
    monkeypatch.setattr(closed_loop, "load", lambda candidate, threads: models[candidate.digest])
    monkeypatch.setattr(closed_loop, "_tokenizer", lambda candidate: words)
    monkeypatch.setattr(closed_loop, "Clock", lambda: time.clock)
    monkeypatch.setattr(closed_loop, "describe_machine", lambda threads: MACHINE)
    fresh = [FreshProcess(5000 + number, 1.5 + number, 1.0) for number in range(2)]

    def run(texts=TEXTS, **changes):
        return closed_loop.measure_speed(candidates, fresh, texts, BenchmarkSpec(**changes))

    return run


def test_a_speed_holds_what_was_measured(measure):
    slow, quick = measure(samples=1000, blocks=10, price_per_hour=3.6)
    assert slow.session == quick.session
    assert (slow.throughput_b1_per_s, quick.throughput_b1_per_s) == pytest.approx((125, 500))
    assert (slow.throughput_batch_per_s, quick.throughput_batch_per_s) == pytest.approx((125, 500))
    assert (quick.latency_p50_ms, quick.latency_p95_ms, quick.latency_p99_ms) == pytest.approx((2, 2, 2))
    assert quick.block_seconds == pytest.approx([0.002] * 10)
    assert (quick.samples, quick.size_bytes, quick.peak_memory_bytes) == (1000, 1001, 5001)
    assert (quick.cold_start_s, quick.load_s) == (2.5, 1.0)
    assert quick.tokens_b1_per_s == pytest.approx(500 * np.mean([len(text.split()) for text in TEXTS]))
    assert quick.cpu_utilisation == pytest.approx(0.5 / MACHINE.threads)
    assert quick.cost_per_million == pytest.approx(2.0)
    assert [point.batch_size for point in quick.grid] == [1] * 3 + [8] * 3 + [32] * 3
    assert (slow.open_loop.arrivals_per_s, quick.open_loop.arrivals_per_s) == pytest.approx((62.5, 62.5))
    assert from_json(Speed, to_json(quick)) == quick


@pytest.mark.parametrize(("samples", "p95", "p99"), [(50, False, False), (200, True, False), (1000, True, True)])
def test_few_samples_give_no_tail(measure, samples, p95, p99):
    found = measure(samples=samples, blocks=10)[0]
    assert (found.latency_p95_ms is not None, found.latency_p99_ms is not None) == (p95, p99)
    assert math.isfinite(found.latency_p50_ms)


def test_without_a_price_a_grid_or_arrivals_there_are_none(measure):
    found = measure(samples=50, blocks=5, grid_batches=(), arrivals=0)[0]
    assert (found.cost_per_million, found.grid, found.open_loop) == (None, (), None)


def test_one_text_is_served_again_and_again(measure):
    assert measure(texts=["only this"], samples=50, blocks=5)[1].throughput_b1_per_s == pytest.approx(500)


def test_memory_and_cold_start_come_from_one_fresh_process(tmp_path):
    found = fresh_process.measure_fresh_process(write_model(tmp_path))
    assert 20e6 < found.peak_memory_bytes < 1e9
    assert 0 < found.load_s < found.cold_start_s < 60


def test_an_artifact_that_does_not_load_in_a_fresh_process_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"(?s)does not load in a process of its own: .*manifest\.json"):
        fresh_process.measure_fresh_process(Candidate(str(tmp_path), "a", "onnx", 1))


def test_a_process_that_does_not_answer_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(fresh_process, "TIMEOUT_S", 0.001)
    with pytest.raises(ArtifactError, match=r"has not answered in 0\.001 s"):
        fresh_process.measure_fresh_process(Candidate(str(tmp_path), "a", "onnx", 1))
