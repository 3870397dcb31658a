"""The suite of a project's next iteration: derived, read from `checks.yaml`, shown and written as YAML.

What an expectation means is in `tasks.data.checking`. Looks at rows only where the last accepted snapshot has no
profile in the store yet.
"""

import logging
from pathlib import Path
from typing import Any

from flows.project import Project
from flows.spec import read_as
from tasks.data.checking.limits import ValidateSpec
from tasks.data.checking.profile import DataProfile
from tasks.data.checking.suite import DEFAULT, Expectation, Suite, derive_suite
from tasks.data.cleaning.filter import Filter
from tasks.errors import ArtifactError, SpecError
from tasks.guard import describe
from tasks.registry import CHAMPION

log = logging.getLogger(__name__)

CHECKS_FILE = "checks.yaml"
SQLITE = "sqlite:///"
_WIDTH = 100
_MEANING = {
    "columns": "columns that must be there",
    "types": "every value is text, none is missing",
    "ids": "no two rows share an id",
    "splits": "every row is in train, valid, select or golden",
    "labels": "every target is one of the snapshot's labels",
    "class_labels": "targets are names, not many different decimal numbers",
    "required_labels": "labels that train must have",
    "forbidden_labels": "labels that no row may have",
    "known_labels": "labels that are no news in train",
    "min_rows": "rows, at least",
    "max_rows": "rows, at most",
    "min_distinct_texts": "different texts, at least",
    "min_class_rows": "training rows of each class, at least",
    "max_class_distance": "total variation of train's class shares against the last ones, beyond chance",
    "max_class_factor": "by which the share of a class of 20 rows or more may change",
    "max_empty_share": "share of rows without text",
    "max_duplicate_share": "share of rows whose text stands in an earlier row",
    "max_pii_share": "share of rows with personal data",
    "max_chars": "characters of one text, at most",
    "length": "characters that all but the share `outside` of the texts have",
    "languages": "share in one of these, of a sample's texts whose language can be told",
    "leakage": "no training row repeats a golden one, exactly or nearly",
}


def project_suite(project: Project) -> Suite:
    """Return the suite that the project's next iteration is held against.

    What `checks.yaml` says counts most, then `data.checks` of the spec, then what is derived from the champion's
    snapshot and the spec.

    Raises:
        SpecError: what is written does not validate or contradicts itself.
    """
    spec, path = project.spec, checks_path(project)
    sources = [("data.checks", spec.data.checks)]
    if path.is_file():
        mend = "write one with `ratchet suite --write`, or remove the file"
        sources.append((CHECKS_FILE, read_as(ValidateSpec, path, "keys such as `min_rows`", mend)))
    return derive_suite(accepted_profile(project), spec.data.slices, _declared_languages(project), sources,
                        spec.data.out_of_scope)  # fmt: skip


def accepted_profile(project: Project) -> DataProfile | None:
    """Return the profile of the champion's snapshot; None where there is no champion, or its rows are gone."""
    if project.tracking_uri.startswith(SQLITE) and not Path(project.tracking_uri.removeprefix(SQLITE)).exists():
        return None  # and MLflow need not be loaded to say so
    champion = project.registry.by_alias(CHAMPION)
    if champion is None:
        return None
    try:
        return describe(project.store, project.registry.read_record(champion).snapshot)
    except ArtifactError as error:
        log.warning("suite: derived without the last accepted snapshot (%s)", error)
        return None


def checks_path(project: Project) -> Path:
    """Return where the project's own suite lies, or would."""
    return project.root / CHECKS_FILE


def write_suite(project: Project) -> Suite:
    """Write the suite beside the spec, wholly or not at all, and return it.

    Raises:
        SpecError: there is one already.
    """
    path = checks_path(project)
    if path.exists():
        raise SpecError(f"{path}: is there already; edit it, or remove it to have it derived anew")
    suite = project_suite(project)
    partial = path.with_suffix(".partial")
    partial.write_text(show_suite(suite), "utf-8")
    partial.rename(path)
    return suite


def suite_content(suite: Suite, written: Path | None) -> dict[str, Any]:
    """Return the suite as plain data."""
    told = {known.name: {"limit": known.limit if known.on else None, "severity": known.severity,
                         "origin": known.origin} for known in suite.expectations}  # fmt: skip
    return {"expectations": told, "written": str(written) if written else None}


def show_suite(suite: Suite) -> str:
    """Return the suite as commented YAML that reads back as the same limits and severities."""
    rows = f"the last accepted snapshot ({suite.last.rows} rows, {suite.last.digest[:12]})" if suite.last else (
        "the spec alone, for no snapshot was accepted yet")  # fmt: skip
    head = (
        f"# What the data of an iteration must keep to; derived from {rows}.\n"
        "# In checks.yaml beside the spec this is the suite: what stands here counts more than `data.checks`. A line\n"
        "# that is removed is derived anew for each iteration, `off` switches an expectation off. Shares are from 0\n"
        "# to 1. What `stop` names ends the iteration before anything is trained, what `warn` names is reported.\n\n"
    )
    lines = [_show(known) for known in suite.expectations]
    severities = [
        _as_yaml(severity, [known.name for known in suite.expectations if known.severity == severity])
        for severity in ("warn", "stop")
    ]
    return head + "\n".join(lines) + "\n\n" + "".join(severities)


def _show(known: Expectation) -> str:
    if not known.on and known.origin == DEFAULT:
        return f"# {_MEANING[known.name]} ({known.severity}; nothing yet)\n# {known.name}:"
    value = _as_yaml(known.name, known.limit).rstrip("\n") if known.on else f"{known.name}: off"
    return f"# {_MEANING[known.name]} ({known.severity}; {known.origin})\n{value}"


def _as_yaml(name: str, limit: Any) -> str:
    import yaml

    plain = list(limit) if isinstance(limit, tuple) else limit
    if isinstance(plain, dict):
        plain = {key: list(part) if isinstance(part, tuple) else part for key, part in plain.items()}
    flow = not isinstance(plain, list | dict)
    told: str = yaml.safe_dump({name: plain}, default_flow_style=False if flow else None, width=_WIDTH,
                               allow_unicode=True, sort_keys=False)  # fmt: skip
    return told


def _declared_languages(project: Project) -> tuple[str, ...]:
    """Return the languages that a cleaning step of the spec keeps; empty where none names any."""
    recipes = [project.spec.recipe.clean, *(lever.clean or () for lever in project.spec.levers)]
    steps = [step for steps in recipes for step in steps if isinstance(step, Filter)]
    return tuple(dict.fromkeys(code for step in steps for code in step.languages))
