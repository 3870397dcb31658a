"""One pass of a pure function over texts: each distinct text once, in parallel, and remembered from run to run.

Texts go through Hugging Face `datasets` in Arrow batches, on every core where there are many. What a text came to is
kept in Arrow files by the text's hash, so a second pass over the same texts looks them up, and 1 % new texts cost about
1 %. What the functions do is not known here; a function that looks at more than one text has no place in it.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import ArtifactError
from tasks.progress import report_progress

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

log = logging.getLogger(__name__)

Function = Callable[[list[str]], Mapping[str, Any]]  # texts in, columns of the same length out

BATCH = 4_000
PARALLEL_FROM = 20_000  # texts; fewer are done sooner than processes start
_HASH = ("hash_low", "hash_high")


def map_texts(
    name: str, texts: "pa.ChunkedArray", function: Function, schema: "pa.Schema", memory: Path | None = None
) -> "pa.Table":
    """Return the columns that the function makes of the texts, one row per text, in their order.

    `function` is picklable, pure, and gives columns of the `schema`. `memory` is a folder for what texts came to, of
    this function and its parameters alone; None remembers nothing.
    """
    import numpy as np
    import pyarrow as pa

    hashes = _hash_texts(texts)
    order, firsts, places = _distinct(hashes)
    distinct = hashes[firsts]  # ascending
    known = _read_memory(memory, schema) if memory else schema.empty_table()
    stored, at = _look_up(distinct, known, memory)
    missing = np.flatnonzero(~stored)
    log.info("%s: %d texts, %d distinct, %d remembered", name, len(texts), len(distinct), len(distinct) - len(missing))
    made = _run(name, texts.take(pa.array(np.sort(firsts[missing]))), function, schema)
    if memory and len(missing):
        _remember(memory, hashes[np.sort(firsts[missing])], made)
    at[missing] = known.num_rows + np.argsort(np.argsort(firsts[missing]))
    columns = pa.concat_tables([known.select(schema.names), made])
    rows = np.empty(len(texts), np.int64)
    rows[order] = at[places]
    if len(rows) == columns.num_rows and (rows[1:] > rows[:-1]).all():
        return columns  # they are in order, as they are where all texts differ and none was known: no copy
    return columns.take(pa.array(rows))


def _distinct(hashes: "np.ndarray") -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Return an order that sorts the hashes, the first row of each distinct one, and whose turn each sorted row is."""
    import numpy as np

    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    ranked = hashes[order]
    new = np.ones(len(hashes), bool)
    new[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
    return order, order[new], np.cumsum(new) - 1  # lexsort is stable: the first of equals comes first


def _hash_texts(texts: "pa.ChunkedArray") -> "np.ndarray":
    """Return the 128-bit XXH3 hash of each text as two unsigned 64-bit integers; [texts, 2]."""
    import numpy as np
    import xxhash

    digest = xxhash.xxh3_128_digest
    parts = [
        np.frombuffer(b"".join(digest(text.encode()) for text in batch), np.uint64).reshape(-1, 2)
        for batch in batches(texts)
    ]
    return np.concatenate([np.empty((0, 2), np.uint64), *parts])


def batches(texts: "pa.ChunkedArray", size: int = BATCH) -> Iterator[list[str]]:
    """Yield the texts as lists of at most `size`."""
    for start in range(0, len(texts), size):
        yield texts.slice(start, size).to_pylist()


def as_array(texts: "Sequence[str] | pa.ChunkedArray") -> "pa.ChunkedArray":
    """Return texts as Arrow holds them."""
    import pyarrow as pa

    if isinstance(texts, pa.ChunkedArray):
        return texts.cast(pa.large_string())
    return pa.chunked_array([pa.array(texts, pa.large_string())])


def _look_up(distinct: "np.ndarray", known: "pa.Table", memory: Path | None) -> "tuple[np.ndarray, np.ndarray]":
    """Return which hashes are known, and at which row of the known table (anything for the others)."""
    import numpy as np

    if memory is None or not known.num_rows:
        return np.zeros(len(distinct), bool), np.zeros(len(distinct), np.int64)
    held = np.stack([known.column(name).to_numpy() for name in _HASH], axis=1)
    order = np.lexsort((held[:, 1], held[:, 0]))
    low = held[order, 0]
    at = np.searchsorted(low, distinct[:, 0])
    at = order[np.minimum(at, len(order) - 1)]  # equal low halves of unequal texts: one of them is made anew
    return (held[at] == distinct).all(axis=1), at


def _run(name: str, texts: "pa.ChunkedArray", function: Function, schema: "pa.Schema") -> "pa.Table":
    """Return what the function makes of the texts, batch by batch, on every core where they are many."""
    import pyarrow as pa

    if len(texts) < PARALLEL_FROM:
        made = []
        for number, batch in enumerate(batches(texts)):
            report_progress(name, number * BATCH, len(texts))
            made.append(pa.table(dict(function(batch)), schema))
        report_progress(name, len(texts), len(texts))
        return pa.concat_tables([schema.empty_table(), *made])
    return _run_parallel(name, texts, function, schema)


def _run_parallel(name: str, texts: "pa.ChunkedArray", function: Function, schema: "pa.Schema") -> "pa.Table":
    import tempfile

    import datasets
    import pyarrow as pa

    report_progress(name, 0, len(texts))
    with tempfile.TemporaryDirectory() as folder, _fresh_processes(), no_bars():
        made = datasets.Dataset(pa.table({"text": texts})).map(
            _Columns(function),
            batched=True,
            batch_size=BATCH,
            num_proc=os.cpu_count(),
            remove_columns=["text"],
            features=datasets.Features.from_arrow_schema(schema),
            cache_file_name=f"{folder}/made.arrow",
            new_fingerprint=name,
        )
        report_progress(name, len(texts), len(texts))
        return made.data.table.cast(schema)  # memory-mapped: the file lives as long as the table


class _Columns:
    """The function as `datasets` calls it, in a process of its own."""

    def __init__(self, function: Function) -> None:
        self.function = function

    def __call__(self, batch: Mapping[str, list[str]]) -> dict[str, Any]:
        return dict(self.function(batch["text"]))


@contextmanager
def _fresh_processes() -> Iterator[None]:
    """Let `datasets` start its processes from a clean one.

    A forked copy of this process would hold locks of threads that it does not have (Prefect's, torch's, rensa's).
    """
    import multiprocess

    before = multiprocess.get_start_method(allow_none=True)
    multiprocess.set_start_method("forkserver", force=True)
    try:
        yield
    finally:
        multiprocess.set_start_method(before, force=True)


@contextmanager
def no_bars() -> Iterator[None]:
    """Hide the progress bars of `datasets`, which are the terminal's business."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _read_memory(folder: Path, schema: "pa.Schema") -> "pa.Table":
    """Return what texts came to in earlier passes, memory-mapped, with their hashes."""
    import pyarrow as pa

    full = _with_hashes(schema)
    parts = [full.empty_table()]
    for path in sorted(folder.glob("*.arrow")):
        try:
            parts.append(pa.ipc.open_file(pa.memory_map(str(path))).read_all().cast(full))
        except (OSError, pa.ArrowException, ValueError) as error:
            raise ArtifactError(
                f"{path}: what texts came to cannot be read ({error}); delete it and run again"
            ) from error
    return pa.concat_tables(parts)


def _remember(folder: Path, hashes: "np.ndarray", made: "pa.Table") -> None:
    """Add what was made to the memory as one more file, wholly or not at all."""
    import pyarrow as pa

    folder.mkdir(parents=True, exist_ok=True)
    named = {name: pa.array(hashes[:, at]) for at, name in enumerate(_HASH)}
    table = pa.table([*named.values(), *made.columns], _with_hashes(made.schema))
    partial = folder / f".{os.getpid()}.partial"
    with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    partial.rename(folder / f"{len(list(folder.glob('*.arrow'))):06d}-{os.getpid()}.arrow")


def _with_hashes(schema: "pa.Schema") -> "pa.Schema":
    import pyarrow as pa

    return pa.schema([*((name, pa.uint64()) for name in _HASH), *schema])
