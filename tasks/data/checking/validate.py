"""Great Expectations as the guard of a snapshot: data that breaks a promise stops or warns before any training.

The one module that knows Great Expectations. It is given lengths, flags and ids of the rows but never their text, so
that no personal data stands in the Data Docs. It changes no rows and judges no model.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

import pydantic
from pydantic import Field

from tasks.data.cleaning.scrub import has_pii
from tasks.data.rows import SPLITS, shorten, values
from tasks.data.similarity import text_key
from tasks.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

log = logging.getLogger(__name__)

Share = Annotated[float, Field(ge=0, le=1)]
Expectation = Literal[
    "min_rows", "max_chars", "max_empty_share", "max_duplicate_share", "max_pii_share", "min_class_rows", "labels"
]
Severity = Literal["stop", "warn"]
Check = tuple[str, str, dict[str, Any]]  # its name, Great Expectations' class and parameters

_SITE = "ratchet"
_SAMPLE_ROWS = 20  # of those that break an expectation
_SHOWN_ROWS = 3
_SEVERITIES = {"stop": "critical", "warn": "warning"}  # ours, Great Expectations'


@pydantic.dataclasses.dataclass(frozen=True, config={"extra": "forbid"})
class ValidateSpec:
    """What a snapshot must keep to; `null` (for `labels`: false) switches one off, those listed in `warn` only warn.

    Shares are from 0 to 1 of all rows, counts at least 1.
    """

    min_rows: Annotated[int, Field(ge=1)] | None = 20
    max_chars: Annotated[int, Field(ge=1)] | None = 10_000  # of one text
    max_empty_share: Share | None = 0.2
    max_duplicate_share: Share | None = 0.5  # rows whose text stands in an earlier row
    max_pii_share: Share | None = 0.1  # rows with an e-mail address or a phone number
    min_class_rows: Annotated[int, Field(ge=1)] | None = 5  # training rows of each class
    labels: bool = True  # every target is one of the snapshot's labels
    warn: tuple[Expectation, ...] = ("max_chars", "max_duplicate_share", "max_pii_share", "min_class_rows")


@dataclass(frozen=True)
class Failure:
    """One expectation that the rows break."""

    expectation: str
    severity: Severity
    observed: str  # what came, in words
    rows: tuple[str, ...]  # ids of at most 20 of the rows that break it; none where it is about the whole table


@dataclass(frozen=True)
class ValidationReport:
    """What the guard found: `passed` unless an expectation of severity `stop` failed."""

    passed: bool
    checked: int  # expectations
    failures: tuple[Failure, ...]
    docs: str  # path of the Data Docs page of this validation


def validate(table: "pa.Table", spec: ValidateSpec, labels: Sequence[str], docs_dir: Path) -> ValidationReport:
    """Return what of the table breaks the spec, after writing the Data Docs site into `docs_dir`.

    `labels` are the targets that are allowed; empty where the task has none, then targets are not looked at.

    Raises:
        DataError: an expectation of severity `stop` failed: its name, row ids and the Data Docs page.
    """
    checks = _list_checks(spec, labels)
    result, docs = _run_suite(_measure(table, bool(labels)), checks, docs_dir.resolve())
    failures = tuple(_read_failure(entry) for entry in result.results if not entry.success)
    stops = [failure for failure in failures if failure.severity == "stop"]
    report = ValidationReport(not stops, len(checks), failures, str(docs))
    for failure in failures:
        log.warning("validate %s: %s (%s)", failure.expectation, failure.observed, failure.severity)
    log.info("validate: %d rows, %d expectations, %d failed", table.num_rows, report.checked, len(failures))
    if stops:
        told = "; ".join(f"{stop.expectation}: {stop.observed}" for stop in stops)
        raise DataError(f"the data breaks `data.checks` ({told}); see {docs}, mend the rows or change the limit")
    return report


def _measure(table: "pa.Table", labelled: bool) -> "pd.DataFrame":
    """Return what is expected of: one row per row of the table, with no text in it."""
    import pandas as pd

    texts, splits, targets = values(table, "text"), values(table, "split"), values(table, "target")
    keys = [text_key(text) for text in texts]
    first = {key: row for row, key in reversed(list(enumerate(keys)))}
    columns: dict[str, list[Any]] = {
        "id": values(table, "id"),
        "split": splits,
        "chars": [len(text) for text in texts],
        "empty": [int(not key) for key in keys],
        "duplicate": [int(first[key] != row) for row, key in enumerate(keys)],
        "pii": [int(has_pii(text)) for text in texts],
    }
    if labelled:
        counts = Counter(target for target, split in zip(targets, splits, strict=True) if split == "train")
        columns |= {"target": targets, "class_rows": [counts[target] for target in targets]}
    return pd.DataFrame(columns)


def _list_checks(spec: ValidateSpec, labels: Sequence[str]) -> list[Check]:
    """Return what every snapshot must have, then what the spec asks for."""
    checks: list[Check] = [
        ("ids", "ExpectColumnValuesToBeUnique", {"column": "id"}),
        ("splits", "ExpectColumnValuesToBeInSet", {"column": "split", "value_set": list(SPLITS)}),
    ]
    if spec.min_rows is not None:
        checks.append(("min_rows", "ExpectTableRowCountToBeBetween", {"min_value": spec.min_rows}))
    if spec.max_chars is not None:
        checks.append(("max_chars", "ExpectColumnValuesToBeBetween", {"column": "chars", "max_value": spec.max_chars}))
    shares = {"empty": spec.max_empty_share, "duplicate": spec.max_duplicate_share, "pii": spec.max_pii_share}
    for flag, share in shares.items():
        if share is not None:
            few = {"column": flag, "value_set": [0], "mostly": 1 - share}
            checks.append((f"max_{flag}_share", "ExpectColumnValuesToBeInSet", few))
    if labels and spec.min_class_rows is not None:
        enough = {"column": "class_rows", "min_value": spec.min_class_rows}
        checks.append(("min_class_rows", "ExpectColumnValuesToBeBetween", enough))
    if labels and spec.labels:
        checks.append(("labels", "ExpectColumnValuesToBeInSet", {"column": "target", "value_set": list(labels)}))
    return [(name, kind, {**limits, "severity": _severity(spec, name)}) for name, kind, limits in checks]


def _severity(spec: ValidateSpec, name: str) -> str:
    return _SEVERITIES["warn" if name in spec.warn else "stop"]


def _run_suite(frame: "pd.DataFrame", checks: Sequence[Check], docs_dir: Path) -> tuple[Any, Path]:
    """Return Great Expectations' result and the page of the Data Docs site that shows it."""
    import great_expectations as gx

    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)  # it asks for INFO
    from great_expectations import expectations
    from great_expectations.checkpoint import UpdateDataDocsAction
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    backend = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs_dir)}
    context.add_data_docs_site(_SITE, {"class_name": "SiteBuilder", "store_backend": backend})
    asset = context.data_sources.add_pandas("ratchet").add_dataframe_asset("snapshot")
    suite = context.suites.add(gx.ExpectationSuite("snapshot"))
    for name, kind, limits in checks:
        suite.add_expectation(getattr(expectations, kind)(**limits, meta={"name": name}))
    rows = asset.add_batch_definition_whole_dataframe("rows")
    guard = context.validation_definitions.add(gx.ValidationDefinition(name="snapshot", data=rows, suite=suite))
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(
            name="snapshot",
            validation_definitions=[guard],
            actions=[UpdateDataDocsAction(name="docs", site_names=[_SITE])],
            result_format={
                "result_format": "SUMMARY",
                "unexpected_index_column_names": ["id"],
                "partial_unexpected_count": _SAMPLE_ROWS,
            },
        )
    )
    ((identifier, result),) = checkpoint.run(batch_parameters={"dataframe": frame}).run_results.items()
    (site,) = context.get_docs_sites_urls(resource_identifier=identifier, site_name=_SITE)
    return result, Path(unquote(urlsplit(str(site["site_url"])).path))


def _read_failure(entry: Any) -> Failure:
    """Return what a failed expectation says: fails closed, so one that could not be computed stops."""
    config, result = entry.expectation_config, entry.result
    severity: Severity = "warn" if config.severity == _SEVERITIES["warn"] and result else "stop"
    rows = tuple(str(row["id"]) for row in result.get("partial_unexpected_index_list") or ())
    if rows:
        shown = ", ".join(rows[:_SHOWN_ROWS])
        share = result["unexpected_percent"]
        observed = f"{result['unexpected_count']} rows ({share:.3g} %) break {_limits(config.kwargs)}, e.g. row {shown}"
    elif result:
        observed = f"{result.get('observed_value')} breaks {_limits(config.kwargs)}"
    else:
        observed = f"could not be computed ({entry.exception_info})"
    return Failure(config.meta["name"], severity, observed, rows)


def _limits(kwargs: dict[str, Any]) -> str:
    """Return an expectation's parameters in words, long sets cut."""
    shown = {name: value for name, value in kwargs.items() if name != "batch_id"}
    return shorten(", ".join(f"{name} {value}" for name, value in shown.items()), 160)
