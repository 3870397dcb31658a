"""Reading one split of a Hugging Face dataset, batch by batch. The one module that knows `datasets` as a source.

Downloads only what the dataset's own loader does, and runs no code that comes with a dataset.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.data.reading.batches import BATCH_ROWS, Batch, Batches, Columns, Part, arrow_values, first_line, pick_columns
from tasks.data.text_pass import no_bars
from tasks.errors import DataError


def read_hub(dataset: str, config: str | None, revision: str | None, split: str, columns: Columns, root: Path) -> Part:
    """Return the records of one split of a Hugging Face dataset, class labels by their names.

    Raises:
        DataError: the dataset cannot be loaded (offline, unknown, no such split) or lacks a column.
    """
    import datasets

    name = f"dataset {dataset} split {split}"
    folder = root / dataset
    try:
        with no_bars():
            data = datasets.load_dataset(
                str(folder) if folder.is_dir() else dataset, name=config, revision=revision, split=split
            )
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"{name}: cannot be loaded ({first_line(error)}); check its id, config and split, or, without a network, "
            "give a local folder"
        ) from error
    wanted = pick_columns(name, data.column_names, columns)
    names = {
        column: feature.int2str
        for column in wanted
        if isinstance(feature := data.features[column], datasets.ClassLabel)
    }
    source = f"hub:{Path(dataset).name if folder.is_dir() else dataset}"
    return Part(name, source, "row", _read_batches(data, wanted, names))


def _read_batches(data: Any, wanted: Sequence[str], names: Mapping[str, Callable[[int], str]]) -> Batches:
    start = 1
    for found in data.select_columns(list(wanted)).with_format("arrow").iter(BATCH_ROWS):
        columns = {column: arrow_values(found.column(column)) for column in wanted}
        for column, label_of in names.items():  # the hub writes -1 where there is no label
            columns[column] = [None if label is None or label < 0 else label_of(label) for label in columns[column]]
        yield Batch(range(start, start := start + found.num_rows), columns)
