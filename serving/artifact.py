"""The artifact folder as serving reads it: a manifest that names the runtime and the SHA-256 of every file.

What is measured is this folder run by this room, so what serves is what was judged. Runs no model.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
FIRST = "first"  # the folder, in a cascade's, of its first stage: of n-grams, or a model with a manifest of its own
REST = "rest"  # and the one of the model behind it


class ArtifactInvalid(Exception):
    """The artifact's folder is missing, incomplete or does not match its manifest."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the artifact's manifest after checking every file against its SHA-256.

    Raises:
        ArtifactInvalid: the manifest is missing or unreadable, or a file is missing or differs.
    """
    path = Path(folder) / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text("utf-8"))
        files = dict(manifest["files"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArtifactInvalid(f"{path}: expected a model artifact's manifest; {error!r}") from error
    for name, expected in files.items():
        file = Path(folder) / name
        if not file.is_file() or file_sha256(file) != expected:
            raise ArtifactInvalid(f"{file}: missing or changed since it was built; build or download the model again")
    _check_parts(Path(folder), manifest, files)
    return manifest


def has_model_first(manifest: Mapping[str, Any]) -> bool:
    """Return whether the first stage of the cascade with this manifest is a model, not n-grams."""
    return f"{FIRST}/{MANIFEST}" in manifest.get("files", {})


def _check_parts(folder: Path, manifest: dict[str, Any], files: dict[str, str]) -> None:
    """Refuse a cascade of whose models one holds a file that the cascade's manifest, just checked, knows otherwise."""
    if manifest.get("runtime") != "cascade":
        return
    if f"{REST}/{MANIFEST}" not in files:
        raise ArtifactInvalid(
            f"{folder / REST / MANIFEST}: a cascade needs the model behind its first stage; build it again"
        )
    for part in (FIRST, REST) if has_model_first(manifest) else (REST,):
        _check_part(folder / part, {name.removeprefix(f"{part}/"): value for name, value in files.items()
                                    if name.startswith(f"{part}/")})  # fmt: skip


def _check_part(folder: Path, files: dict[str, str]) -> None:
    """Refuse a part whose own manifest knows a file otherwise than `files`."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        within = dict(manifest["files"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArtifactInvalid(f"{folder / MANIFEST}: expected a model artifact's manifest; {error!r}") from error
    for name, expected in within.items():
        if files.get(name) != expected:
            raise ArtifactInvalid(f"{folder / name}: not what the cascade was built with; build it again")
    _check_parts(folder, manifest, files)


def file_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
