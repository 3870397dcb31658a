"""Great Expectations as the guard of a snapshot: data that breaks its suite stops or warns before any training.

The one module that knows Great Expectations. It is given lengths, flags, labels and hashes of the rows but never their
text, so that no personal data stands in the Data Docs. It changes no rows and judges no model.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import numpy as np

from tasks.data.checking.docs import make_self_contained
from tasks.data.checking.limits import Severity
from tasks.data.checking.measure import as_rows, measure_rows
from tasks.data.checking.rules import BETWEEN, COLUMN, IN, NOT_IN, Check, list_checks, make_frame
from tasks.data.checking.suite import Suite
from tasks.data.cleaning.scrub import scrub_text
from tasks.data.rows import shorten, values
from tasks.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

log = logging.getLogger(__name__)

SAMPLE_ROWS = 20  # of those that break an expectation
SHOWN_ROWS = 3
_SHOWN_STOPS = 3
_SITE = "ratchet"
_SEVERITIES: dict[Severity, str] = {"stop": "critical", "warn": "warning"}  # ours, Great Expectations'


@dataclass(frozen=True)
class Result:
    """What came of one expectation."""

    expectation: str
    severity: Severity
    passed: bool
    observed: str  # what came, in words
    allowed: str
    rows: tuple[str, ...] = ()  # at most 20 that break it: file, line and id; none where it is about the whole table


@dataclass(frozen=True)
class ValidationReport:
    """What the guard found of every expectation."""

    results: tuple[Result, ...] = ()
    rows: int = 0  # looked at
    docs: str = ""  # path of the Data Docs page of this validation
    site: str = ""  # the folder of the Data Docs

    @property
    def failures(self) -> tuple[Result, ...]:
        """Return the expectations that the rows break."""
        return tuple(result for result in self.results if not result.passed)

    @property
    def stops(self) -> tuple[Result, ...]:
        """Return the failures that end an iteration."""
        return tuple(result for result in self.failures if result.severity == "stop")

    @property
    def passed(self) -> bool:
        """Return whether no expectation of severity `stop` failed."""
        return not self.stops


def validate(
    table: "pa.Table", suite: Suite, labels: Sequence[str], docs_dir: Path, measures: "pa.Table | None" = None
) -> ValidationReport:
    """Return what of the table breaks the suite, after writing the Data Docs site into `docs_dir`.

    `labels` are the targets that are allowed; empty where the task has none, then targets are not looked at.
    `measures` is what `measure_rows` says of the rows, where that is known already.
    """
    rows, mended = as_rows(table)
    measures = measure_rows(rows) if measures is None else measures
    frame = make_frame(rows, measures, mended, suite, table.column_names)
    checks = list_checks(suite, labels)
    broken = {check.name: name_rows(rows, _breaking(frame, check)) for check in checks}
    found, docs = _run_suite(frame, checks, broken, docs_dir.resolve())
    make_self_contained(docs_dir.resolve())
    results = tuple(_read_result(check, found[check.name], broken[check.name]) for check in checks)
    report = ValidationReport(results, table.num_rows, str(docs), str(docs_dir.resolve()))
    for failure in report.failures:
        log.warning("validate %s", describe(failure))
    log.info("validate: %d rows, %d expectations, %d failed", table.num_rows, len(checks), len(report.failures))
    return report


def refuse(report: ValidationReport) -> None:
    """Raise DataError where an expectation of severity `stop` failed: which, the rows and the Data Docs page."""
    if report.passed:
        return
    told = "; ".join(describe(stop) for stop in report.stops[:_SHOWN_STOPS])
    more = len(report.stops) - _SHOWN_STOPS
    raise DataError(
        f"the data breaks its suite ({told}{f'; and {more} more' if more > 0 else ''}); see {report.docs}, mend the "
        "rows or change the limit in `data.checks` or checks.yaml (`ratchet suite`); the champion is untouched"
    )


def describe(result: Result) -> str:
    """Return a result as one line: its name, what came, what is allowed and some of the rows."""
    shown = f", e.g. {', '.join(result.rows[:SHOWN_ROWS])}" if result.rows else ""
    return f"{result.expectation}: {result.observed}, allowed {result.allowed}{shown} ({result.severity})"


def name_rows(table: "pa.Table", rows: "np.ndarray") -> tuple[str, ...]:
    """Return where rows stand in their source, such as "data.csv line 12 (id a)"; without the line if it is unknown."""
    few = table.take(rows[:SAMPLE_ROWS])
    lines = values(few, "line") if "line" in few.column_names else [""] * few.num_rows
    named = zip(values(few, "source"), lines, values(few, "id"), strict=True)
    return tuple(shorten(scrub_text(_name_row(*row)), 160) for row in named)


def _name_row(source: str, line: str, row_id: str) -> str:
    unit = "line" if source.startswith("file:") and not source.endswith(".parquet") else "row"
    parts = (source.removeprefix("file:"), f"{unit} {line}" if line else "", f"(id {row_id})")
    return " ".join(part for part in parts if part)


def _breaking(frame: "pd.DataFrame", check: Check) -> "np.ndarray":
    """Return the first rows that break a check of single rows: Great Expectations would name all, one by one."""
    asked = check.parameters
    if check.kind == BETWEEN:
        values = frame[asked["column"]]
        bad = (values < asked.get("min_value", -np.inf)) | (values > asked.get("max_value", np.inf))
    elif check.kind in (IN, NOT_IN):
        values = frame[asked["column"]]
        bad = values.isin(asked["value_set"]) ^ (check.kind == IN) & values.notna()
    else:
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(bad.to_numpy())[:SAMPLE_ROWS]


def _run_suite(
    frame: "pd.DataFrame", checks: Sequence[Check], broken: dict[str, tuple[str, ...]], docs_dir: Path
) -> tuple[dict[str, Any], Path]:
    """Return Great Expectations' results by name, and the page of the Data Docs site that shows them."""
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
    for check in checks:
        told = {"description": _for_docs(check, broken[check.name]), "severity": _SEVERITIES[check.severity]}
        suite.add_expectation(getattr(expectations, check.kind)(**check.parameters, **told, meta={"name": check.name}))
    rows = asset.add_batch_definition_whole_dataframe("rows")
    guard = context.validation_definitions.add(gx.ValidationDefinition(name="snapshot", data=rows, suite=suite))
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(
            name="snapshot",
            validation_definitions=[guard],
            actions=[UpdateDataDocsAction(name="docs", site_names=[_SITE])],
            result_format={"result_format": "SUMMARY", "partial_unexpected_count": SAMPLE_ROWS},
        )
    )
    ((identifier, result),) = checkpoint.run(batch_parameters={"dataframe": frame}).run_results.items()
    (site,) = context.get_docs_sites_urls(resource_identifier=identifier, site_name=_SITE)
    found = {entry.expectation_config.meta["name"]: entry for entry in result.results}
    return found, Path(unquote(urlsplit(str(site["site_url"])).path))


def _for_docs(check: Check, rows: Sequence[str]) -> str:
    """Return how Data Docs show an expectation; they take it for HTML."""
    shown = f"; rows that do not: {', '.join(rows)}" if rows else ""
    return escape(f"{check.name} ({check.severity}): {check.allowed}{shown}")


def _read_result(check: Check, entry: Any, rows: tuple[str, ...]) -> Result:
    """Return what came of a check: fails closed, so one that could not be computed stops."""
    found = entry.result
    if not found:
        reason = shorten(str(entry.exception_info), 200)
        return Result(check.name, "stop", False, f"could not be computed ({reason})", check.allowed)
    return Result(check.name, check.severity, bool(entry.success), _observed(check, found), check.allowed, rows)


def _observed(check: Check, found: dict[str, Any]) -> str:
    if "unexpected_count" in found:
        looked_at = found["element_count"] - found["missing_count"]
        share = found["unexpected_percent"] or 0.0
        return f"{found['unexpected_count']} of {looked_at} rows ({share:.3g} %)"
    if "partial_missing_list" in found or check.kind == "ExpectColumnDistinctValuesToContainSet":
        missing = found.get("partial_missing_list") or ()
        return f"without {shorten(', '.join(map(str, missing)), 100)}" if missing else "all there"
    observed = found.get("observed_value")
    match observed:
        case list():
            return shorten(", ".join(sorted(name.removeprefix(COLUMN) for name in observed if COLUMN in name)), 100)
        case float() | np.floating():
            return f"{observed:.3g}"
    return str(observed)
