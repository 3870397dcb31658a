"""The artifact folder: sealing it with a manifest that names every file's SHA-256. Runs no model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving.artifact import FIRST, MANIFEST, REST, ArtifactInvalid, file_sha256, has_model_first, read_manifest
from tasks.errors import ArtifactError
from tasks.records import Candidate

SERVED_BY = {"onnx": "onnxruntime", "openvino": "openvino", "tensorrt": "onnxruntime-gpu"}  # runtime -> package
TIMINGS = ("_seconds", "_per_s", "_speedup")  # notes that differ from run to run
OF_THE_MODEL = ("task", "labels", "max_length", "inputs")  # what no change of the weights or the runtime changes


def seal(folder: Path, *, runtime: str, notes: dict[str, float], **manifest: Any) -> Candidate:
    """Write the manifest over all files of the folder and return the finished candidate."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files.pop(MANIFEST, None)  # of an earlier sealing
    content = {
        "format": 1,
        "runtime": runtime,
        **manifest,
        "notes": {name: value for name, value in notes.items() if not name.endswith(TIMINGS)},  # equal models are equal
        "files": {name: file_sha256(path) for name, path in files.items()},
    }
    (folder / MANIFEST).write_text(json.dumps(content, indent=1, sort_keys=True), "utf-8")
    size = sum(path.stat().st_size for path in files.values())
    return Candidate(str(folder), file_sha256(folder / MANIFEST), runtime, size, notes)


def seal_onnx(
    folder: Path, source: Mapping[str, Any], notes: dict[str, float] | None = None, **manifest: Any
) -> Candidate:
    """Seal `model.onnx` in the folder, made from an artifact with the manifest `source`, as the next candidate."""
    return seal(folder, runtime="onnx", notes=notes or {}, **onnx_manifest(source), **manifest)


def onnx_manifest(source: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the manifest of an ONNX model says that was made from an artifact with the manifest `source`."""
    return {name: source[name] for name in OF_THE_MODEL} | {"onnx": "model.onnx"}


def serving_requirements(candidate: Candidate) -> list[str]:
    """Return the packages that serving the candidate needs: NumPy, tokenizers and its runtimes', nothing else.

    Raises:
        ArtifactError: the artifact is missing or changed, or its runtime is not served.
    """
    needed = dict.fromkeys(_runtimes_of(*open_artifact(candidate)))
    if SERVED_BY["tensorrt"] in needed:
        needed.pop(SERVED_BY["onnx"], None)  # it holds all of this one, and both would lie in one place
    return [*needed, "tokenizers", "numpy"]


def _runtimes_of(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Return the packages of the runtimes that a model and the parts of a cascade need, the last stage's first."""
    if manifest["runtime"] == "cascade":
        parts = [folder / part for part in ((REST, FIRST) if has_model_first(manifest) else (REST,))]
        return [name for part in parts for name in _runtimes_of(part, json.loads((part / MANIFEST).read_text("utf-8")))]
    if manifest["runtime"] not in SERVED_BY:
        raise ArtifactError(f"{folder}: runtime {manifest['runtime']!r} is not served; export the model first")
    return [SERVED_BY[manifest["runtime"]]]


def runtime_behind(candidate: Candidate) -> str:
    """Return the candidate's runtime; a cascade's is that of the model behind all its first stages.

    Raises:
        ArtifactError: the artifact is missing or changed.
    """
    folder, manifest = open_artifact(candidate)
    while manifest["runtime"] == "cascade":
        folder /= REST
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    return str(manifest["runtime"])


def open_artifact(candidate: Candidate) -> tuple[Path, dict[str, Any]]:
    """Return the candidate's folder and its checked manifest.

    Raises:
        ArtifactError: the folder is missing, incomplete or not the one that was built.
    """
    folder = Path(candidate.uri)
    try:
        manifest = read_manifest(folder)
    except ArtifactInvalid as error:
        raise ArtifactError(f"{error}; to do so, delete {folder.parent} and run again") from error
    if file_sha256(folder / MANIFEST) != candidate.digest:
        raise ArtifactError(
            f"{folder}: not the artifact {candidate.digest[:12]} that was built; delete {folder.parent} and run again"
        )
    return folder, manifest
