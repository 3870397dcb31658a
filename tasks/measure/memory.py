"""Peak memory of a process that only loads and serves one artifact. `python -m tasks.measure.memory FOLDER`."""

import json
import subprocess
import sys
from pathlib import Path

from tasks.errors import ArtifactError
from tasks.records import Candidate

TIMEOUT_S = 300
TEXTS = ["a short message", "a message of middling length with a few more words in it"] * 16


def measure_peak_memory(candidate: Candidate) -> int:
    """Return the peak resident bytes of a fresh process that loads the artifact and answers 32 texts.

    Raises:
        ArtifactError: the process failed.
    """
    command = [sys.executable, "-m", "tasks.measure.memory", candidate.uri, candidate.runtime]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise ArtifactError(f"{candidate.uri}: does not load in a process of its own: {done.stderr.strip()[-500:]}")
    return int(json.loads(done.stdout.splitlines()[-1])["peak_bytes"])


def _serve_once(folder: Path, runtime: str) -> None:
    if runtime == "torch":
        from serving.predictors import read_manifest
        from tasks.train.model import TorchPredictor

        TorchPredictor(folder, read_manifest(folder)).predict(TEXTS)
    else:
        from serving.predictors import load_predictor

        load_predictor(folder).predict(TEXTS)


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
    _serve_once(Path(sys.argv[1]), sys.argv[2])
    sys.stdout.write(json.dumps({"peak_bytes": _peak_bytes()}) + "\n")
