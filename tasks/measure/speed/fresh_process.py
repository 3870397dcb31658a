"""What a process of its own takes that only loads and serves one artifact; run by `python -m`, this is that process.

Its imports are few on purpose: what this module imports counts in the memory and the cold start of every model. Its
speed once warm is measured elsewhere (`tasks.measure.speed.closed_loop`).
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.predictors import Predictor
    from tasks.records import Candidate, FreshProcess

TIMEOUT_S = 300
TEXTS = ["a short message", "a message of middling length with a few more words in it"] * 16


def measure_fresh_process(candidate: "Candidate") -> "FreshProcess":
    """Return the peak resident bytes of a fresh process that answers one text and then 32, and its cold start.

    The cold start runs from here, where the process is started, to its first answer: the interpreter, the runtime's
    import, the artifact's loading and one text. The files are as warm in the system's cache as they happen to be.

    Raises:
        ArtifactError: the process failed or took longer than five minutes.
    """
    from tasks.errors import ArtifactError
    from tasks.records import FreshProcess

    started = time.monotonic()  # system-wide, so that the process can tell how long ago this was
    command = [sys.executable, "-m", __name__, candidate.uri, candidate.runtime, repr(started)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ArtifactError(f"{candidate.uri}: has not answered in {TIMEOUT_S} s in a process of its own") from error
    if done.returncode != 0:
        raise ArtifactError(f"{candidate.uri}: does not load in a process of its own: {done.stderr.strip()[-500:]}")
    return FreshProcess(**json.loads(done.stdout.splitlines()[-1]))


def _serve(folder: Path, runtime: str, started: float) -> dict[str, float]:
    begun = time.monotonic()
    predictor = _load(folder, runtime)
    loaded = time.monotonic()
    predictor.predict(TEXTS[:1])
    answered = time.monotonic()
    predictor.predict(TEXTS)
    return {"peak_memory_bytes": _peak_bytes(), "cold_start_s": answered - started, "load_s": loaded - begun}


def _load(folder: Path, runtime: str) -> "Predictor":
    if runtime == "torch":
        from serving.artifact import read_manifest
        from tasks.train.model import TorchPredictor

        return TorchPredictor(folder, read_manifest(folder))
    from serving.loading import load_predictor

    return load_predictor(folder)


def _peak_bytes() -> int:
    """Return the peak resident bytes of this process; `ru_maxrss` would include the parent's before exec."""
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource

        scale = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_serve(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))) + "\n")
