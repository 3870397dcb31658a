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
        # Evidently 0.7.23 imports deprecated names of numpy and litestar: not ours to mend.
        warnings.simplefilter("ignore", DeprecationWarning)
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
    """Return Evidently's dataset of the frame, with the descriptors among the checks."""
    from evidently import DataDefinition, Dataset
    from evidently.descriptors import NonLetterCharacterPercentage, TextLength, WordCount

    descriptors = [
        TextLength("text", alias="text_length"),
        WordCount("text", alias="word_count"),
        NonLetterCharacterPercentage("text", alias="non_letter_share"),
        TextLength("output", alias="output_length"),
    ]
    definition = DataDefinition(
        text_columns=["text"],
        categorical_columns=[column for column in frame.columns if column not in ("text", "confidence")],
        numerical_columns=["confidence"],
    )
    wanted = [descriptor for descriptor in descriptors if descriptor.alias in checks]
    return Dataset.from_pandas(frame, data_definition=definition, descriptors=wanted)
