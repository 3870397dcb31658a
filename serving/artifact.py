"""The artifact folder as serving reads it: a manifest that names the runtime and the SHA-256 of every file.

What is measured is this folder run by this room, so what serves is what was judged. Runs no model.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
REST = "rest"  # the folder, in a cascade's, of the model behind its first stage


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
    _check_rest(Path(folder), manifest, files)
    return manifest


def _check_rest(folder: Path, manifest: dict[str, Any], files: dict[str, str]) -> None:
    """Refuse a cascade whose `rest` holds a file that the cascade's own manifest, just checked, knows otherwise."""
    if manifest.get("runtime") != "cascade":
        return
    path = folder / REST / MANIFEST
    if f"{REST}/{MANIFEST}" not in files:
        raise ArtifactInvalid(f"{path}: a cascade needs the model behind its first stage; build it again")
    try:
        rest = json.loads(path.read_text("utf-8"))
        within = dict(rest["files"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArtifactInvalid(f"{path}: expected a model artifact's manifest; {error!r}") from error
    for name, expected in within.items():
        if files.get(f"{REST}/{name}") != expected:
            raise ArtifactInvalid(f"{folder / REST / name}: not what the cascade was built with; build it again")
    inside = {name.removeprefix(f"{REST}/"): value for name, value in files.items() if name.startswith(f"{REST}/")}
    _check_rest(folder / REST, rest, inside)


def file_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
