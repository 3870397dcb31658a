"""The content-addressed store of what stages made, and the one function that makes its keys.

A folder `<root>/<stage>/<key>` is complete when it holds `record.json`, which is written last: a killed build leaves a
folder without one, and the next build starts it anew. Knows nothing of what the folders hold.
"""

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from tasks.errors import StorageError
from tasks.progress import timed
from tasks.records import from_json, to_json

T = TypeVar("T")

log = logging.getLogger(__name__)

RECORD = "record.json"
FULL_DISK = (os.strerror(errno.ENOSPC), "disk is full")  # what Rust, C++ and SQLite say instead of raising OSError
SIMILARITY = ("data/similarity.py", "data/shingles.py")
PERSONAL = ("data/cleaning/scrub.py", "data/cleaning/pii.py", "data/cleaning/phones.py")
CHECKING = ["data/checking", "data/cleaning/language.py", *SIMILARITY, *PERSONAL]
CLEANING = ["data/cleaning", "data/features.py", "data/embeddings.py", *SIMILARITY]
COMPRESSING = [  # the search over passes decides none of what one of them makes
    *("compress/cascading", "compress/exporting", "compress/quantising", "compress/shaping"),
    *("compress/material.py", "compress/methods.py", "compress/pipeline.py"),
]
CODE = {  # the code that decides what a stage makes; a change of it changes the stage's keys
    "collect": ["data/reading", "data/rows.py", "data/snapshot.py"],
    "similarity": [*SIMILARITY],
    "snapshot": [
        *("data/split.py", "data/units.py", "data/drawing.py", "data/assemble.py", "data/snapshot.py"),
        *SIMILARITY,
    ],
    **dict.fromkeys(("describe", "check", "check_feedback"), CHECKING),
    **dict.fromkeys(("clean", "suspects"), CLEANING),
    "augment": ["data/augmentation", *PERSONAL, *SIMILARITY, "../serving"],
    "fit": ["train"],
    "tokens": ["train/engine/tokens.py"],
    "compress": [*COMPRESSING, "train", "data/augmentation", "data/drawing.py", "../serving"],
    "first_stage": ["compress/cascading", "train", "data/augmentation", "data/drawing.py", "../serving"],
    "layers": ["compress/searching/shape.py", "train", "../serving"],
    "answers": ["train", "../serving"],
    "slices": ["measure/quality/slices.py", "data/cleaning/language.py", *SIMILARITY, *PERSONAL],
    "score": ["measure/quality", "../serving"],
    "screen": ["measure/quality", "../serving"],
    "benchmark": ["measure/speed", "../serving"],
    "profile": ["measure/profiling", "../serving"],
    "memory": ["measure/speed/fresh_process.py", "../serving"],
}


@dataclass(frozen=True)
class Store:
    """The root folder of the store."""

    root: str

    def folder(self, stage: str, key: str) -> Path:
        """Return where a stage keeps what it made under the key."""
        return Path(self.root) / stage / key

    def memory(self, stage: str) -> Path:
        """Return where a stage may keep what single texts come to, which holds while its code stays as it is."""
        return Path(self.root) / "texts" / f"{stage}-{code_digest(stage)[:16]}"

    def build(self, stage: str, key: str, kind: type[T], make: Callable[[Path], T]) -> T:
        """Return the record stored under the key, made by `make` in the given folder where there is none yet.

        A record that names a file of the store which is no longer there counts as none.

        Raises:
            StorageError: the disk is full or cannot be written; nothing is left behind.
        """
        folder = self.folder(stage, key)
        with storage_named(self.root):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _locked(folder.with_suffix(".lock")):
                found = _read_record(folder / RECORD, kind)
                if found is not None and self.holds(found):
                    return found
                with timed(stage):
                    self._make(folder, make)
                return from_json(kind, (folder / RECORD).read_text("utf-8"))

    def holds(self, record: Any) -> bool:
        """Return whether every file and folder of this store that a record names is still there."""
        return all(Path(text).exists() for text in _texts(asdict(record)) if text.startswith(self.root))

    def _make(self, folder: Path, make: Callable[[Path], T]) -> None:
        shutil.rmtree(folder, ignore_errors=True)  # what a killed build left
        folder.mkdir()
        try:
            record = make(folder)
            partial = folder / f"{RECORD}.partial"
            partial.write_text(to_json(record), "utf-8")
            partial.rename(folder / RECORD)
        except Exception as error:
            if _storage_mend(error):
                shutil.rmtree(folder, ignore_errors=True)  # while the lock is held: what lies there is ours
            raise


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in plain data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _read_record(path: Path, kind: type[T]) -> T | None:
    """Return the stored record; None where there is none, or one that another version wrote and this cannot read."""
    if not path.is_file():
        return None
    try:
        return from_json(kind, path.read_text("utf-8"))
    except ValueError as error:
        log.warning("%s cannot be read and is made anew (%s)", path, str(error).splitlines()[0])
        return None


@contextmanager
def storage_named(root: str) -> Iterator[None]:
    """Turn what a full or unwritable disk makes any library raise into a `StorageError` that names the place."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        mend = _storage_mend(error)
        if mend is None:
            raise
        where = getattr(error, "filename", None) or root
        reason = getattr(error, "strerror", None) or (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StorageError(f"{where}: {reason[:300]}; {mend}") from error


def _storage_mend(error: Exception) -> str | None:
    """Return what to do about a disk that is full or cannot be written, None where the error is another."""
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT) or any(words in str(error) for words in FULL_DISK):
        return "free some space there and run again"
    return "mend its rights and run again" if number in (errno.EROFS, errno.EACCES, errno.EPERM) else None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the system frees it when the process dies
        yield


def cache_key(stage: str, *parts: Any) -> str:
    """Return the content key of a stage's output: its code and what it was made from.

    A part is a record with a `digest`, a frozen dataclass, or plain JSON data; where files lie does not count.

    Raises:
        ValueError: a part is None or a handle has no digest: two different inputs would share a key.
    """
    content = json.dumps([stage, code_digest(stage), [_identity(part) for part in parts]], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _identity(part: Any) -> Any:
    if part is None:
        raise ValueError("a cache key's part is None: pass an empty value where there is nothing")
    if isinstance(part, list | tuple):
        return [_identity(item) for item in part]
    if hasattr(part, "digest"):
        if not part.digest:
            raise ValueError(f"{type(part).__name__} without a digest cannot be part of a cache key")
        return part.digest
    return {type(part).__name__: asdict(part)} if is_dataclass(part) and not isinstance(part, type) else part


@cache
def code_digest(stage: str) -> str:
    """Return the SHA-256 of the code that a stage's output depends on."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for name in CODE[stage]:
        path = here / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def available_bytes(path: Path) -> int:
    """Return the free bytes of the disk that holds the path."""
    existing = next(parent for parent in [path, *path.parents] if parent.exists())
    return os.statvfs(existing).f_bavail * os.statvfs(existing).f_frsize
