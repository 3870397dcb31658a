"""What a user would take instead: Microsoft Olive's int8 recipe on the same model, run in an environment of its own.

Olive is given the float ONNX export that Ratchet itself starts from, and its answer is served by Ratchet's predictor,
so that nothing but the recipes differs. Its pass `OnnxDynamicQuantization` with default arguments is its int8 recipe
that needs no calibration data; it is run alone and after `OrtTransformersOptimization`, and the faster of the two
counts.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tasks.artifacts import open_artifact, seal_onnx
from tasks.records import Candidate
from tests.bench.train_text import say

OLIVE = ["olive-ai==0.13.0", "onnxruntime==1.31.1", "onnx==1.23.2", "requests==2.34.2", "torch==2.13.0"]
QUIET = {"OLIVE_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
RECIPES = {"olive": ["quantise"], "olive optimised": ["optimise", "quantise"]}
SCRIPT = "import sys, json; from olive import run; run(json.load(open(sys.argv[1])))"


def peers(exported: Candidate, folder: Path) -> dict[str, Candidate]:
    """Return what Olive's recipes make of a float ONNX model, by name.

    Raises:
        subprocess.CalledProcessError: Olive cannot be installed, or its run fails.
    """
    python = _environment(folder / "environment")
    origin, manifest = open_artifact(exported)
    return {name: _run(python, origin, manifest, recipe, folder / name.replace(" ", "-"))
            for name, recipe in RECIPES.items()}  # fmt: skip


def _environment(folder: Path) -> Path:
    """Return the Python of Olive's environment, made where it is not there yet."""
    python = folder / "bin" / "python"
    if not (folder / "ready").is_file():
        say("  installing Olive into an environment of its own")
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *OLIVE], check=True)
        (folder / "ready").touch()
    return python


def _run(python: Path, origin: Path, manifest: dict[str, Any], recipe: list[str], folder: Path) -> Candidate:
    """Return Olive's int8 model as an artifact."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "model").mkdir(parents=True)
    passes: dict[str, Any] = {
        "optimise": {"type": "OrtTransformersOptimization", "model_type": "bert"},
        "quantise": {"type": "OnnxDynamicQuantization"},
    }
    accelerator = {"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}
    config = {
        "input_model": {"type": "ONNXModel", "model_path": str(origin / manifest["onnx"])},
        "systems": {"local": {"type": "LocalSystem", "accelerators": [accelerator]}},
        "target": "local",
        "passes": {name: passes[name] for name in recipe},
        "output_dir": str(folder / "out"),
        "cache_dir": str(folder / "cache"),
    }
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    log = folder / "olive.log"
    with log.open("w") as output:
        command = [str(python), "-c", SCRIPT, str(folder / "config.json")]
        subprocess.run(command, stdout=output, stderr=output, env={**os.environ, **QUIET}, check=True)
    [made] = (folder / "out").glob("*.onnx")
    shutil.copy(made, folder / "model" / "model.onnx")
    shutil.copy(origin / "tokenizer.json", folder / "model")
    return seal_onnx(folder / "model", manifest, weights="int8")
