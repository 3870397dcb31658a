"""Distances between two frames, by Evidently: the only module that knows it. What counts as drift is not decided here.

Evidently takes 3.5 seconds to import, so it is imported where it is used.
"""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


def column_distances(
    reference: "pd.DataFrame", current: "pd.DataFrame", checks: Mapping[str, tuple[str, float]], html_path: Path
) -> dict[str, float]:
    """Return the distance for each check and write an HTML report of them, self-contained, to `html_path`.

    `checks` maps a column, or one of the descriptors `text_length`, `word_count`, `non_letter_share` (percent) and
    `output_length`, to Evidently's name of the method and the threshold that the report shows. The content of texts
    that have no words to tell them apart cannot be measured; that check is then missing in the answer.
    """
    with warnings.catch_warnings():
        # Not ours to mend: Evidently 0.7.23 imports deprecated names of numpy and litestar, and stops its text
        # classifier after 50 rounds on purpose.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "Maximum number of iteration reached")
        try:
            snapshot = _run(reference, current, checks)
        except ValueError as error:  # scikit-learn's: no vocabulary is left
            if "text" not in checks:
                raise
            log.warning("drift: the texts have no words to compare (%s); their content is left out", error)
            snapshot = _run(reference, current, {name: check for name, check in checks.items() if name != "text"})
        Path(html_path).parent.mkdir(parents=True, exist_ok=True)
        snapshot.save_html(str(html_path))
    return {metric["config"]["column"]: float(metric["value"]) for metric in snapshot.dict()["metrics"]}


def _run(reference: "pd.DataFrame", current: "pd.DataFrame", checks: Mapping[str, tuple[str, float]]) -> Any:
    from evidently import Report
    from evidently.metrics import ValueDrift

    metrics = [
        ValueDrift(column=name, method=method, threshold=threshold) for name, (method, threshold) in checks.items()
    ]
    return Report(metrics).run(_described(current, checks), _described(reference, checks))


def _described(frame: "pd.DataFrame", checks: Mapping[str, object]) -> Any:
    """Return Evidently's dataset of the columns and descriptors among the checks."""
    from evidently import DataDefinition, Dataset
    from evidently.descriptors import NonLetterCharacterPercentage, TextLength, WordCount

    descriptors = [
        TextLength("text", alias="text_length"),
        WordCount("text", alias="word_count"),
        NonLetterCharacterPercentage("text", alias="non_letter_share"),
        TextLength("output", alias="output_length"),
    ]
    wanted = [descriptor for descriptor in descriptors if descriptor.alias in checks]
    texts = ["text", "output"] if "output_length" in checks else ["text"]
    numbers = [column for column in ("confidence",) if column in checks]
    labels = [column for column in frame.columns if column in checks and column not in texts + numbers]
    definition = DataDefinition(text_columns=texts, numerical_columns=numbers, categorical_columns=labels)
    return Dataset.from_pandas(frame[texts + numbers + labels], data_definition=definition, descriptors=wanted)
