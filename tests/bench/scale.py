"""The scale half of the data benchmark: made-up rows through the stages as an iteration runs them.

Each size runs in a process of its own, whose memory (with its children's) is watched from outside. Near duplicates are
compared with what was planted, and with `datasketch`, the obvious alternative, on the same texts at the same threshold.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from tasks import build, guard
from tasks.data.checking.suite import derive_suite
from tasks.data.checking.validate import refuse
from tasks.data.cleaning.conflicts import Conflicts
from tasks.data.cleaning.dedup import ExactDuplicates, NearDuplicates
from tasks.data.cleaning.filter import Filter
from tasks.data.cleaning.normalise import Normalise
from tasks.data.cleaning.scrub_step import Scrub
from tasks.data.reading.sources import FileSource
from tasks.data.rows import values
from tasks.data.similarity import near_duplicate_clusters, text_key
from tasks.data.snapshot import read_table, write_table
from tasks.measure.quality.scores import read_split
from tasks.records import Snapshot, Table, from_json, to_json
from tasks.specs import DataSpec, SplitSpec
from tasks.store import Store
from tests.bench.million import Planted, make_million

ROWS = 1_000_000
THRESHOLD = 0.8
COMPARED = 200_000  # texts that both get; datasketch takes most of a minute for them
SUITE = derive_suite(None)
SPEC = DataSpec(
    source=FileSource(path="million.csv"), leakage="drop", split=SplitSpec(valid=0.01, select=0.01, golden=0.01)
)
STEPS = (
    Normalise(), Filter(min_words=2, max_words=200), Scrub(), Conflicts(), ExactDuplicates(),
    NearDuplicates(threshold=THRESHOLD),
)  # fmt: skip


def measure_scale() -> dict[str, float]:
    """Return the figures of the scale half, each from this run."""
    small, big = _measure(ROWS // 10), _measure(ROWS)
    return {
        "seconds_1m": big["check"] + big["clean"],
        "peak_mb": big["peak_mb"],
        "scaling_10x": (big["check"] + big["clean"]) / (small["check"] + small["clean"]),
        "dedup_recall": big["recall"],
        "dedup_precision": big["precision"],
        "speedup_vs_datasketch": compare_datasketch(),
        **{f"seconds_1m_{name}": big[name] for name in ("snapshot", "check", "clean", "again")},
        **{f"seconds_1m_{name}": big[name] for name in ("new_snapshot", "new_check", "new_clean")},
        "new_texts_share": big["new_texts_share"],
    }


def _measure(count: int) -> dict[str, float]:
    """Return the seconds of the stages on so many rows, again, and with 1 % new rows; and how near duplicates fared."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        planted = make_million(count)
        extra = make_million(count // 100, seed=8).rows
        extra = extra.set_column(0, "id", [[f"new-{name}" for name in values(extra, "id")]])
        for name, rows in (("first", planted.rows), ("second", pa.concat_tables([planted.rows, extra]))):
            (root / f"{name}.json").write_text(to_json(_store(rows, root / f"{name}.parquet")))
        told = _in_a_process(root)
        recall, precision = _score(told, planted)
    return {**told["seconds"], "peak_mb": told["peak_mb"], "recall": recall, "precision": precision}


def _in_a_process(root: Path) -> dict[str, Any]:
    """Return what a process of its own told of the stages, and its peak memory."""
    command = [sys.executable, "-m", "tests.bench.scale", str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, _watch(process.pid) as peak:
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}")
    return {**json.loads(lines[-1]), "peak_mb": peak["bytes"] / 1e6}


@contextmanager
def _watch(pid: int) -> Iterator[dict[str, float]]:
    """Yield the highest sum of the proportional set sizes of a process and its children, in bytes, while it runs."""
    peak, done = {"bytes": 0.0}, threading.Event()

    def look() -> None:
        while not done.wait(0.2):
            peak["bytes"] = max(peak["bytes"], _tree_bytes(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _tree_bytes(pid: int) -> float:
    total = 0.0
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            total += process.memory_full_info().pss
    except psutil.Error:  # one of them ended while we looked
        return 0.0
    return total


def run_stages(root: Path) -> dict[str, Any]:
    """Return how long the stages took, and the first snapshot and its cleaned rows, as JSON."""
    store = Store(str(root / "store"))
    first, second = (from_json(Table, (root / f"{name}.json").read_text()) for name in ("first", "second"))
    snapshot, cleaned, *once = _stages(store, first)
    once_remembered = _remembered(root)
    _, _, *again = _stages(store, first)
    _, _, *new = _stages(store, second)
    share = _remembered(root) / once_remembered - 1
    names = ("snapshot", "check", "clean")
    seconds = {**dict(zip(names, once, strict=True)), "again": sum(again)}
    seconds |= {f"new_{name}": value for name, value in zip(names, new, strict=True)}
    seconds["new_texts_share"] = share
    return {"seconds": seconds, "snapshot": to_json(snapshot), "cleaned": to_json(cleaned)}


def _remembered(root: Path) -> int:
    """Return how often a step for single texts has looked at a text so far: each result of it is kept."""
    return sum(
        pa.ipc.open_file(pa.memory_map(str(path))).read_all().num_rows for path in root.rglob("texts/*/*/*.arrow")
    )


def _stages(store: Store, rows: Table) -> tuple[Snapshot, Table, float, float, float]:
    """Return the snapshot, the cleaned rows, and the seconds that splitting, checking and cleaning took."""
    started = time.monotonic()
    snapshot = build.snapshot(store, [rows], SPEC)
    split = time.monotonic()
    refuse(guard.check(store, snapshot, SUITE))
    checked = time.monotonic()
    cleaned = build.clean_rows(store, snapshot, STEPS)
    return snapshot, cleaned, split - started, checked - split, time.monotonic() - checked


def _store(rows: pa.Table, path: Path) -> Table:
    return Table(str(path), write_table(rows, path), rows.num_rows)


def _score(told: dict[str, Any], planted: Planted) -> tuple[float, float]:
    """Return recall and precision of the step `near_duplicates`.

    Recall counts the planted pairs whose two rows reached the step; precision the removed rows that stand for a planted
    one: that and the row that stays in its place were made from the same original.
    """
    snapshot, cleaned = from_json(Snapshot, told["snapshot"]), from_json(Table, told["cleaned"])
    near, family = planted.near, planted.family
    removed = read_table(Path(cleaned.removed_uri)).to_pylist()
    before = {row["id"] for row in removed if row["step"] != "near_duplicates"}
    gone = {row["id"]: row["duplicate_of"] for row in removed if row["step"] == "near_duplicates"}
    reached = set(values(read_split(snapshot, "train"), "id")) - before
    pairs = [pair for pair in near.items() if reached.issuperset(pair)]
    left = set(values(read_table(Path(cleaned.uri), cleaned.digest), "id"))
    found = sum(not set(pair) <= left for pair in pairs)
    right = sum(family.get(name, name) == family.get(twin, twin) for name, twin in gone.items())
    return found / len(pairs), right / len(gone)


def compare_datasketch() -> float:
    """Return how many times as long as ours datasketch's MinHashLSH takes to find near duplicates in the same texts."""
    texts = [text_key(text) for text in values(make_million(COMPARED).rows, "text")]
    started = time.monotonic()
    near_duplicate_clusters(texts, THRESHOLD)
    ours = time.monotonic() - started
    started = time.monotonic()
    _datasketch_candidates(texts)
    return (time.monotonic() - started) / ours


def _datasketch_candidates(texts: list[str]) -> int:
    """Return how many texts have a candidate before them; inserted and queried one by one, as its manual shows."""
    from datasketch import MinHash, MinHashLSH

    index, found = MinHashLSH(threshold=THRESHOLD, num_perm=128), 0
    for number, text in enumerate(texts):
        sketch = MinHash(num_perm=128)
        sketch.update_batch({text[at : at + 3].encode() for at in range(max(1, len(text) - 2))})
        found += bool(index.query(sketch))
        index.insert(number, sketch)
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run_stages(Path(sys.argv[1]))) + "\n")
