"""Splits of rows with groups and times: whole units, no future in train, stable places, clear refusals."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given, settings, target
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tasks.data.rows import make_rows, values
from tasks.data.similarity import near_duplicate_clusters
from tasks.data.split import assign_feedback_splits, assign_splits, check_leakage
from tasks.data.units import join_units
from tasks.errors import DataError, LeakageError
from tasks.specs import DataSpec

SHARES = {"valid": 0.1, "select": 0.15, "golden": 0.15}
WORDS = ["card", "money", "account", "refund", "phone", "delivery", "invoice", "password", "branch", "loan"]


def distinct(count: int) -> list[str]:
    """Texts of which no two are near duplicates."""
    return [f"{WORDS[n % 10] * 2} {n * 7919} {WORDS[n // 10 % 10]} {n * 104729}" for n in range(count)]


def rows(
    texts: Sequence[str],
    *,
    groups: Sequence[str] = (),
    times: Sequence[str] = (),
    targets: Sequence[str] = (),
    split: str | Sequence[str] = "",
) -> pa.Table:
    count = len(texts)
    columns: dict[str, Sequence[str]] = {
        "id": [f"r{number}" for number in range(count)],
        "text": texts,
        "target": targets or ["a"] * count,
        "split": [split] * count if isinstance(split, str) else split,
        "source": ["test"] * count,
    }
    further = {"group": groups, "time": times}
    return make_rows(columns | {name: column for name, column in further.items() if column})


def moment(number: int) -> str:
    return f"2026-01-{1 + number // 24:02d}T{number % 24:02d}:00:00+00:00"


def connected(clusters: Sequence[int], groups: Sequence[str]) -> list[set[int]]:
    """The components by brute force: merge sets that share a row until none do."""
    sets: dict[object, set[int]] = defaultdict(set)
    for row, (cluster, group) in enumerate(zip(clusters, groups, strict=True)):
        sets["cluster", cluster].add(row)
        if group:
            sets["group", group].add(row)
    found: list[set[int]] = []
    for rows_of in sets.values():
        touching = [other for other in found if other & rows_of]
        found = [other for other in found if not other & rows_of] + [rows_of.union(*touching)]
    return found


@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["", "u", "v", "w", "x"])), max_size=25))
def test_units_are_the_connected_components(pairs: list[tuple[int, str]]) -> None:
    first: dict[int, int] = {}
    clusters = [first.setdefault(cluster, row) for row, (cluster, _) in enumerate(pairs)]
    groups = [group for _, group in pairs]
    units = join_units(clusters, groups)
    expected = {row: min(members) for members in connected(clusters, groups) for row in members}
    assert units == [expected[row] for row in range(len(pairs))]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 80), st.integers(0, 400)), min_size=30, max_size=60),
    st.integers(0, 99),
    st.sampled_from(["hash", "time"]),
)
def test_units_never_straddle(drawn: list[tuple[int, int, int]], seed: int, by: str) -> None:
    pool = distinct(201)
    texts = [pool[text] for text, _, _ in drawn]
    groups = [f"u{group}" if group < 40 else "" for _, group, _ in drawn]
    table = rows(texts, groups=groups, times=[moment(time) for _, _, time in drawn])
    units = join_units(near_duplicate_clusters(texts), groups)
    if 2 * max(Counter(units).values()) > len(units) and any(groups):
        with pytest.raises(DataError, match=r"data\.group"):
            assign_splits(table, **SHARES, seed=seed, by=by)
        return
    try:
        split = values(assign_splits(table, **SHARES, seed=seed, by=by), "split")
    except DataError as error:
        assert by == "time" and "leave no rows for" in str(error)
        return
    target(float(len(set(split))))
    of_unit = dict(zip(units, split, strict=True))
    assert [of_unit[unit] for unit in units] == split
    assert check_leakage(assign_splits(table, **SHARES, seed=seed, by=by), "refuse")[1] == 0


def users(count: int, each: int) -> tuple[list[str], list[str]]:
    """The groups and targets of `count` users with `each` rows."""
    return [f"user-{n // each}" for n in range(count * each)], [("a", "b", "c")[n % 3] for n in range(count * each)]


def test_shares_hold_roughly_where_users_stay_whole() -> None:
    groups, targets = users(400, 5)
    split = values(assign_splits(rows(distinct(2000), groups=groups, targets=targets), **SHARES, seed=7), "split")
    for label in "abc":
        counts = Counter(name for name, of in zip(split, targets, strict=True) if of == label)
        for name, share in SHARES.items():
            assert abs(counts[name] / sum(counts.values()) - share) < 0.05


def test_a_users_place_depends_neither_on_order_nor_on_rows_that_come_later() -> None:
    groups, targets = users(300, 4)
    texts = distinct(1300)
    old = values(assign_splits(rows(texts[:1200], groups=groups, targets=targets), **SHARES, seed=7), "split")
    later = [f"user-{n % 40}" for n in range(50)] + [f"new-{n}" for n in range(50)]
    more = rows(texts, groups=[*groups, *later], targets=[*targets, *["a"] * 100])
    new = values(assign_splits(more, **SHARES, seed=7), "split")
    moves = Counter((before, after) for before, after in zip(old, new, strict=False) if before != after)
    assert sum(moves.values()) <= 4 * 2 * 100**0.5
    assert not {("golden", "train"), ("train", "golden")} & set(moves)
    kept = {f"r{row}" for row, split in enumerate(old) if split == "golden"}
    held = values(assign_splits(more, **SHARES, seed=7, sealed=kept), "split")
    assert all(after == "golden" for before, after in zip(old, held, strict=False) if before == "golden")


@settings(deadline=None, max_examples=30)
@given(st.integers(20, 60), st.integers(0, 30), st.integers(0, 9), st.sampled_from(["hash", "time"]))
def test_sealed_rows_stay_golden_whatever_is_appended(before: int, further: int, seed: int, by: str) -> None:
    texts = distinct(100)
    times = [moment(number) for number in range(100)]
    old = assign_splits(rows(texts[:before], times=times[:before]), **SHARES, seed=seed, by=by)
    sealed = {name for name, split in zip(values(old, "id"), values(old, "split"), strict=True) if split == "golden"}
    count = before + further
    grown = rows(texts[:count], times=times[:count])
    split = values(assign_splits(grown, **SHARES, seed=seed, by=by, sealed=sealed), "split")
    assert sealed <= {f"r{row}" for row, name in enumerate(split) if name == "golden"}
    assert {"train", "golden"} <= set(split)


def test_one_group_with_most_rows_is_refused_by_name() -> None:
    table = rows(distinct(100), groups=["ann@example.org"] * 60 + [f"u{n}" for n in range(40)])
    with pytest.raises(DataError, match=r"group .* has 60 of 100 rows") as caught:
        assign_splits(table, **SHARES, seed=7)
    assert "ann@example.org" not in str(caught.value)
    texts = [*distinct(50), *["Thanks!"] * 50]
    joined = rows(texts, groups=[f"u{n % 50}" for n in range(100)])
    with pytest.raises(DataError, match=r"50 groups share texts.*'thanks!' stands in 50 groups"):
        assign_splits(joined, **SHARES, seed=7)


def test_a_big_unit_goes_to_train() -> None:
    groups = ["agency"] * 40 + [f"u{n}" for n in range(60)]
    for seed in range(20):
        split = values(assign_splits(rows(distinct(100), groups=groups), **SHARES, seed=seed), "split")
        assert set(split[:40]) == {"train"}
        assert abs(Counter(split)["golden"] - 15) <= 1


def test_by_time_the_newest_are_golden_and_nothing_in_train_is_newer() -> None:
    times = [moment(number * 37 % 200) for number in range(200)]
    split = values(assign_splits(rows(distinct(200), times=times), **SHARES, seed=7, by="time"), "split")
    of = {name: sorted(t for t, s in zip(times, split, strict=True) if s == name) for name in (*SHARES, "train")}
    assert max(of["train"]) < min(of["valid"]) <= max(of["valid"]) < min(of["select"])
    assert max(of["select"]) < min(of["golden"])
    assert {name: len(found) for name, found in of.items()} == {"valid": 20, "select": 30, "golden": 30, "train": 120}


def test_by_time_a_unit_stands_where_its_newest_row_does() -> None:
    groups = ["old and new" if row in (0, 99) else "" for row in range(100)]
    table = rows(distinct(100), groups=groups, times=[moment(number) for number in range(100)])
    split = values(assign_splits(table, **SHARES, seed=7, by="time"), "split")
    assert split[0] == split[99] == "golden"
    assert split[1] == "train"


def test_by_time_one_moment_is_not_divided_and_the_seal_holds_the_window() -> None:
    days = [moment(24 * (number // 10)) for number in range(100)]
    split = values(assign_splits(rows(distinct(100), times=days), **SHARES, seed=7, by="time"), "split")
    assert [set(split[at : at + 10]) for at in range(0, 100, 10)] == [
        {name} for name in ["train"] * 5 + ["valid"] + ["select"] * 2 + ["golden"] * 2
    ]
    more = [*days, *[moment(24 * 10)] * 30]
    table = rows(distinct(130), times=more)
    held = values(assign_splits(table, **SHARES, seed=7, by="time", sealed={"r80"}), "split")
    assert set(held[80:]) == {"golden"} and "golden" not in held[:80]
    moved = values(assign_splits(table, **SHARES, seed=7, by="time"), "split")
    assert set(moved[100:]) == {"golden"} and moved[80] != "golden"


def test_what_the_source_names_is_drawn_by_nothing() -> None:
    """One group with most rows, and rows without a time: nothing is in the way where there is nothing to draw."""
    named = ["train"] * 6 + ["valid", "select", "golden", "golden"]
    table = rows(distinct(10), groups=["u"] * 6 + [""] * 4, split=named)
    for by in ("hash", "time"):
        assert values(assign_splits(table, **SHARES, seed=7, by=by), "split") == named


@pytest.mark.parametrize(
    ("times", "targets", "told"),
    [
        ([*[moment(0)] * 19, ""], [], "1 of 20 rows have no time (e.g. row r19)"),
        ([], [], "20 of 20 rows have no time"),
        ([moment(1)] * 20, [], "all rows have the time 2026-01-01T01:00:00"),
        ([moment(1)] * 10 + [moment(2)] * 10, [], "the 2 times between"),
        (
            [moment(n) for n in range(20)],
            ["a"] * 18 + ["new"] * 2,
            "label 'new' stands only in rows from 2026-01-01T18",
        ),
    ],
)
def test_times_that_cannot_split_are_refused(times: list[str], targets: list[str], told: str) -> None:
    with pytest.raises(DataError) as caught:
        assign_splits(rows(distinct(20), times=times, targets=targets), **SHARES, seed=7, by="time")
    assert told in str(caught.value)


def test_by_time_a_label_out_of_scope_may_be_new() -> None:
    table = rows(distinct(20), times=[moment(n) for n in range(20)], targets=["a"] * 18 + ["oos"] * 2)
    drawn = assign_splits(table, **SHARES, seed=7, by="time", out_of_scope="oos")
    assert values(drawn, "split")[-1] == "golden"


def test_the_spec_needs_a_time_column_to_split_by_time() -> None:
    spec = {"source": {"kind": "file", "path": "a.csv"}, "split": {"by": "time"}}
    with pytest.raises(ValidationError, match=r"name its column in `data\.time`"):
        TypeAdapter(DataSpec).validate_python(spec)
    assert TypeAdapter(DataSpec).validate_python({**spec, "time": "at"}).split.by == "time"


def mixed() -> pa.Table:
    """A user in train and golden, and one in valid and train; both sets are named."""
    return rows(
        distinct(6),
        groups=["ann@example.org", "bob", "ann@example.org", "bob", "", ""],
        split=["train", "train", "golden", "valid", "train", "golden"],
    )


def test_a_group_on_both_sides_is_refused_by_name() -> None:
    with pytest.raises(LeakageError) as caught:
        check_leakage(mixed(), "refuse")
    message = str(caught.value)
    assert "2 of 6 rows belong to a group that they are evaluated on" in message
    assert "group 'bob' has train row r1 and valid row r3" in message
    assert "ann@example.org" not in message
    assert "\n" not in message


def test_a_group_on_both_sides_keeps_its_evaluation_rows() -> None:
    left, dropped = check_leakage(mixed(), "drop")
    assert (values(left, "id"), dropped) == (["r2", "r3", "r4", "r5"], 2)
    assert check_leakage(left, "refuse") == (left, 0)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["", "u", "v", "w"]), min_size=1, max_size=20), st.integers(0, 20))
def test_feedback_of_a_user_is_drawn_as_one_and_by_nothing_else(groups: list[str], seed: int) -> None:
    table = rows(["same text"] * len(groups), groups=groups)
    split = values(assign_feedback_splits(table, **SHARES, seed=seed), "split")
    by_group = defaultdict(set)
    for group, name in zip(groups, split, strict=True):
        by_group[group].add(name)
    assert all(len(found) == 1 for group, found in by_group.items() if group)
    alone = rows(["another text"] * len(groups), groups=groups, targets=["b"] * len(groups)).slice(len(groups) - 1)
    assert values(assign_feedback_splits(alone, **SHARES, seed=seed), "split") == split[-1:]


def test_feedback_of_users_keeps_its_shares() -> None:
    table = rows(["x"] * 4000, groups=[f"u{n // 2}" for n in range(4000)])
    counts = Counter(values(assign_feedback_splits(table, **SHARES, seed=7), "split"))
    for name, share in SHARES.items():
        assert abs(counts[name] - 4000 * share) < 4 * (2 * 4000 * share * (1 - share)) ** 0.5


def test_feedback_goes_where_its_user_is_already_and_what_is_sealed_stays() -> None:
    table = rows(["x"] * 40, groups=["seen"] * 20 + ["tested"] * 19 + ["seen"])
    placed = {"seen": "train", "tested": "golden"}
    split = values(assign_feedback_splits(table, **SHARES, seed=7, placed=placed, sealed={"r39"}), "split")
    assert split == ["train"] * 20 + ["golden"] * 20
