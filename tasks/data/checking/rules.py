"""What each expectation asks of the guard's frame, in Great Expectations' terms and in words.

The frame has one row per row of the data and holds flags, counts and shares in small types, never text. Runs nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.data.checking.limits import Severity
from tasks.data.checking.measure import NEAR_LEAK_ROWS, find_leaks, repeats
from tasks.data.checking.profile import count_values, train_targets
from tasks.data.checking.suite import LOOKED_AT, Suite
from tasks.data.rows import SPLITS, shorten

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

COLUMN = "column:"  # before the name of a column of the data, which stands in the frame only to be seen
JUDGED_ROWS = 20  # of a class, expected or there, before its share is compared with the last one
MANY_LABELS = 20  # of which decimal numbers are measurements, not classes such as stars

IN, BETWEEN, NOT_IN = "ExpectColumnValuesToBeInSet", "ExpectColumnValuesToBeBetween", "ExpectColumnValuesToNotBeInSet"
ROW_COUNT, MAXIMUM = "ExpectTableRowCountToBeBetween", "ExpectColumnMaxToBeBetween"

_ABOUT_LABELS = (
    "labels", "class_labels", "required_labels", "forbidden_labels", "known_labels", "min_class_rows",
    "max_class_distance", "max_class_factor",
)  # fmt: skip
_SHARES = {"max_empty_share": "empty", "max_duplicate_share": "duplicate", "max_pii_share": "pii"}
_SHARED = {"empty": "without text", "duplicate": "whose text stands in an earlier row", "pii": "with personal data"}
_FLAGS = {
    "types": ("mended", "text in every column of every row"),
    "ids": ("id_repeats", "every id once"),
    "class_labels": ("decimal_label", f"names, no more than {MANY_LABELS} different decimal numbers"),
    "leakage": ("leak", f"no golden row repeated in train, exactly or, up to {NEAR_LEAK_ROWS} rows, nearly"),
}


@dataclass(frozen=True)
class Check:
    """One expectation as Great Expectations runs it."""

    name: str
    severity: Severity
    allowed: str  # in words
    kind: str  # Great Expectations' class
    parameters: dict[str, Any]


def make_frame(
    table: "pa.Table", measures: "pa.Table", mended: "np.ndarray", suite: Suite, columns: Sequence[str]
) -> "pd.DataFrame":
    """Return what the suite's expectations look at, one row per row of the table.

    `columns` are those that the data came with, `mended` tells which rows had a value missing or no text.
    """
    import pandas as pd
    import pyarrow.compute as pc

    train = pc.equal(table["split"], "train").to_numpy()
    frame = {
        "mended": mended.astype(np.int8),
        "id_repeats": repeats(table["id"].combine_chunks().dictionary_encode().indices.to_numpy()).astype(np.int8),
        "split": _categories(table["split"]),
        "chars": measures["chars"].to_numpy(),
        "key": measures["key"].to_numpy(),
        **{name: measures[name].to_numpy().astype(np.int8) for name in ("empty", "duplicate", "pii")},
        "foreign": _foreign(measures["language"], suite),
        "leak": find_leaks(table, measures).astype(np.int8) if suite.limit("leakage") else np.int8(0),
        "target": _categories(table["target"]),
        "train_target": _categories(table["target"]).where(train),
        **_class_columns(table, train, suite),
        **{f"{COLUMN}{name}": np.int8(0) for name in columns},
    }
    return pd.DataFrame(frame, index=pd.RangeIndex(table.num_rows))


def list_checks(suite: Suite, labels: Sequence[str]) -> list[Check]:
    """Return the checks of all expectations that are on; those about targets only where there are labels."""
    checks = []
    labels = (*labels, suite.out_of_scope) if labels and suite.out_of_scope else labels
    for known in suite.expectations:
        if not known.on or (known.name in _ABOUT_LABELS and not labels):
            continue
        if known.name in ("max_class_distance", "max_class_factor") and suite.last is None:
            continue
        kind, parameters, allowed = _rule(known.name, known.limit, labels)
        checks.append(Check(known.name, known.severity, allowed, kind, parameters))
    return checks


def _rule(name: str, limit: Any, labels: Sequence[str]) -> tuple[str, dict[str, Any], str]:
    """Return Great Expectations' class, its parameters and what is allowed in words."""
    if name in _SHARES:
        flag = _SHARES[name]
        return (
            IN,
            {"column": flag, "value_set": [0], "mostly": _mostly(1 - limit)},
            f"at most {_percent(limit)} {_SHARED[flag]}",
        )
    if name in _FLAGS:
        column, allowed = _FLAGS[name]
        return IN, {"column": column, "value_set": [0]}, allowed
    match name:
        case "columns":
            wanted = [f"{COLUMN}{column}" for column in limit]
            return "ExpectTableColumnsToMatchSet", {"column_set": wanted, "exact_match": False}, _listed(limit)
        case "splits":
            return IN, {"column": "split", "value_set": list(SPLITS)}, _listed(SPLITS)
        case "length":
            parameters = {"column": "chars", "min_value": limit["min"], "max_value": limit["max"]}
            outside = f"{limit['min']} to {limit['max']} characters in all but {_percent(limit['outside'])}"
            return BETWEEN, {**parameters, "mostly": _mostly(1 - limit["outside"])}, outside
        case "languages":
            told = f"at least {_percent(limit['min_share'])} in {_listed(limit['allowed'])} of those that can be told"
            return IN, {"column": "foreign", "value_set": [0.0], "mostly": _mostly(limit["min_share"])}, told
    return _label_rule(name, limit, labels) if name in _ABOUT_LABELS else _count_rule(name, limit)


def _label_rule(name: str, limit: Any, labels: Sequence[str]) -> tuple[str, dict[str, Any], str]:
    match name:
        case "labels":
            return IN, {"column": "target", "value_set": list(labels)}, _listed(labels)
        case "required_labels":
            wanted = {"column": "train_target", "value_set": list(limit)}
            return "ExpectColumnDistinctValuesToContainSet", wanted, f"all of {_listed(limit)} in train"
        case "forbidden_labels":
            return NOT_IN, {"column": "target", "value_set": list(limit)}, f"none of {_listed(limit)}"
        case "known_labels":
            return IN, {"column": "train_target", "value_set": list(limit)}, _listed(limit)
        case "min_class_rows":
            return (
                BETWEEN,
                {"column": "class_rows", "min_value": limit},
                f"at least {limit} training rows of each class",
            )
        case "max_class_distance":
            return MAXIMUM, {"column": "class_distance", "max_value": limit}, f"at most {limit:g} from the last shares"
    return BETWEEN, {"column": "class_factor", "max_value": limit}, f"at most {limit:g} times more or less of a class"


def _count_rule(name: str, limit: Any) -> tuple[str, dict[str, Any], str]:
    match name:
        case "min_rows":
            return ROW_COUNT, {"min_value": limit}, f"at least {limit} rows"
        case "max_rows":
            return ROW_COUNT, {"max_value": limit}, f"at most {limit} rows"
        case "min_distinct_texts":
            distinct = {"column": "key", "min_value": limit}
            return "ExpectColumnUniqueValueCountToBeBetween", distinct, f"at least {limit} different texts"
    return BETWEEN, {"column": "chars", "max_value": limit}, f"at most {limit} characters"


def _class_columns(table: "pa.Table", train: "np.ndarray", suite: Suite) -> dict[str, Any]:
    """Return what is looked at of the classes: their training rows, and their shares against the last snapshot's."""
    counts = count_values(train_targets(table))
    factors, distance = _compare_classes(counts, suite.last.classes if suite.last else {})
    coded = table["target"].combine_chunks().dictionary_encode()
    names, codes = coded.dictionary.to_pylist(), coded.indices.to_numpy()
    decimal = sum(map(_is_decimal, names)) >= len(names) / 2 and len(names) > MANY_LABELS

    def spread(by_class: list[float]) -> "np.ndarray":
        values: np.ndarray = np.array([*by_class, np.nan], dtype=np.float32)[codes]
        return values

    return {
        "class_rows": np.where(train, spread([counts.get(name, 0) for name in names]), np.float32(np.nan)),
        "class_factor": np.where(train, spread([factors.get(name, np.nan) for name in names]), np.float32(np.nan)),
        "class_distance": np.float32(distance),
        "decimal_label": spread([float(decimal and _is_decimal(name)) for name in names]).astype(np.int8),
    }


def _compare_classes(now: dict[str, int], last: dict[str, int]) -> tuple[dict[str, float], float]:
    """Return by which factor each class's share changed, and the distance of all shares beyond what chance makes.

    A class of fewer than `JUDGED_ROWS` rows, both expected and there, is left out of the factors. The distance is the
    total variation, half the sum of |p - q|, less what it is in the mean for a sample of that size from the last
    shares: half the sum of sqrt(2 q (1 - q) / (pi n)), a binomial's mean absolute deviation by its normal limit.
    """
    rows, rows_before = sum(now.values()), sum(last.values())
    if not rows or not rows_before:
        return {}, 0.0
    factors, distance = {}, 0.0
    for name in {**last, **now}:
        share, before = now.get(name, 0) / rows, last.get(name, 0) / rows_before
        distance += (abs(share - before) - np.sqrt(2 * before * (1 - before) / (np.pi * rows))) / 2
        if min(share, before) > 0 and max(share, before) * rows >= JUDGED_ROWS:
            factors[name] = max(share / before, before / share)
    return factors, max(0.0, float(distance))


def _foreign(languages: "pa.ChunkedArray", suite: Suite) -> "np.ndarray":
    """Return 1 for a text in another language than is allowed, 0 for the others, NaN where it was not told."""
    import pyarrow as pa
    import pyarrow.compute as pc

    limit = suite.limit("languages")
    told = languages.is_valid().to_numpy()
    if not limit or told.sum() < LOOKED_AT:
        return np.full(len(languages), np.nan, dtype=np.float32)
    allowed = pc.is_in(languages, value_set=pa.array(limit["allowed"], pa.string())).to_numpy()
    foreign: np.ndarray = np.where(told, np.where(allowed, 0.0, 1.0), np.nan).astype(np.float32)
    return foreign


def _categories(column: "pa.ChunkedArray") -> "pd.Series[Any]":
    import pandas as pd

    coded = column.combine_chunks().dictionary_encode()
    return pd.Series(pd.Categorical.from_codes(coded.indices.to_numpy(), coded.dictionary.to_pylist()))


def _is_decimal(label: str) -> bool:
    """Return whether a label is a number that is not whole."""
    try:
        return not float(label).is_integer()
    except ValueError:
        return False


def _mostly(share: float) -> float:
    """Return the share that must keep to an expectation, so that one at the limit does though it was rounded."""
    return max(0.0, share - 1e-9)


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _listed(names: Sequence[str]) -> str:
    return shorten(", ".join(map(str, names)), 100)
