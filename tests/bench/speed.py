"""How often the interval of a speed ratio covers the truth: two copies of one model, a load switched on and off.

The model is a small ONNX classifier made here and run by ONNX Runtime, the timing is the benchmark's own. A user who
times one model after the other is run beside it. The last line is one JSON object.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from scipy.stats import ttest_ind
from tokenizers import Tokenizer, models, pre_tokenizers

from serving.predictors import Predictor
from tasks.artifacts import seal
from tasks.measure.machine import describe_machine
from tasks.measure.runtime import load
from tasks.measure.speed.closed_loop import block_seconds, interleave
from tasks.measure.speed.latency import Clock
from tasks.measure.speed.ratios import Ratio, block_ratio, noise
from tasks.records import Candidate

SEED = 20_261
LEVEL = 0.95
BLOCKS, CALLS = 25, 10  # of each model in one trial
WORDS, WIDTH, LAYERS = 16, 512, 10
BURN = """
import os, random, sys, time
seed, begin = int(sys.argv[1]), float(sys.argv[2])
rng, parent, on, until = random.Random(seed), os.getppid(), True, begin
while os.getppid() == parent:
    while time.monotonic() >= until:
        on, until = not on, until + rng.uniform(0.5, 1.5)
    if on:
        sum(range(20_000))
    else:
        time.sleep(min(0.01, max(0.0, until - time.monotonic())))
"""


def main() -> None:
    """Run the trials."""
    started = time.monotonic()
    result = speed_coverage()
    shown = f"{result['speed_coverage']:.1%} of {result['speed_trials']:.0f} trials"
    _say(f"two copies of a model under a load switched on and off: the {LEVEL:.0%} interval covers 1 in {shown}")
    _say(f"  its half-width is {result['speed_noise']:.1%} in the median")
    _say(f"  naive: one after the other, Welch's interval: {result['naive_speed_coverage']:.1%}")
    sys.stdout.write(json.dumps({**result, "seconds": time.monotonic() - started}) + "\n")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def speed_coverage(trials: int = 200, naive_trials: int = 40, seed: int = SEED) -> dict[str, float]:
    """Return the share of trials whose interval covers 1 (`speed_coverage`), the same of a naive timing, the width.

    The copies are timed in blocks of about 20 ms in turn, 25 of each: a trial lasts about a second, as a switch does.
    """
    with tempfile.TemporaryDirectory() as folder, background_load(seed):
        candidate = write_model(Path(folder))
        copies = [load(candidate, threads=1) for _ in range(2)]
        texts = _texts(seed)
        interleave(copies, _blocks(texts), Clock())  # warm
        ratios = [_ratio(copies, texts) for _ in range(trials)]
        naive = [_naive_covers(copies, texts) for _ in range(naive_trials)]
    return {
        "speed_coverage": float(np.mean([ratio.low <= 1 <= ratio.high for ratio in ratios])),
        "speed_trials": float(trials),
        "speed_noise": float(np.median([noise(ratio) for ratio in ratios])),
        "naive_speed_coverage": float(np.mean(naive)) if naive else float("nan"),
        "naive_speed_trials": float(naive_trials),
    }


def _ratio(copies: Sequence[Predictor], texts: Sequence[str]) -> Ratio:
    first, second = interleave(copies, _blocks(texts), Clock())
    return block_ratio(block_seconds(first), block_seconds(second), (1 - LEVEL) / 2)


def _naive_covers(copies: Sequence[Predictor], texts: Sequence[str]) -> bool:
    """Return whether the interval of the difference of mean latencies covers 0, one copy timed after the other."""
    calls = [call for block in _blocks(texts) for call in block]
    first, second = (interleave([copy], [calls], Clock())[0].seconds[0] for copy in copies)
    interval = ttest_ind(first, second, equal_var=False).confidence_interval(LEVEL)
    return bool(interval.low <= 0 <= interval.high)


def _texts(seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(f"w{word}" for word in rng.integers(0, WORDS, 16)) for _ in range(CALLS)]


def _blocks(texts: Sequence[str]) -> list[list[list[str]]]:
    return [[[text] for text in texts]] * BLOCKS


@contextmanager
def background_load(seed: int) -> Iterator[None]:
    """Keep every core busy for half to one and a half seconds, leave it for as long, and so on, all cores at once."""
    with ExitStack() as stack:
        begin = time.monotonic()
        for _ in range(describe_machine().cores):
            burner = subprocess.Popen([sys.executable, "-c", BURN, str(seed), repr(begin)])
            stack.callback(_end, burner)
        yield


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def write_model(folder: Path) -> Candidate:
    """Return an ONNX classifier of random weights, some milliseconds per text: embeddings, dense layers, a sum."""
    rng = np.random.default_rng(0)
    shapes = {"words": (WORDS, WIDTH), **{f"dense{n}": (WIDTH, WIDTH) for n in range(LAYERS)}, "head": (WIDTH, 2)}
    weights = [
        numpy_helper.from_array(rng.normal(0, 0.05, shape).astype(np.float32), name) for name, shape in shapes.items()
    ]
    nodes = [helper.make_node("Gather", ["words", "input_ids"], ["x0"])]
    for n in range(LAYERS):
        nodes.append(helper.make_node("MatMul", [f"x{n}", f"dense{n}"], [f"y{n}"]))
        nodes.append(helper.make_node("Erf", [f"y{n}"], [f"x{n + 1}"]))
    nodes.append(helper.make_node("ReduceSum", [f"x{LAYERS}", "middle"], ["pooled"], keepdims=0))
    nodes.append(helper.make_node("MatMul", ["pooled", "head"], ["logits"]))
    weights.append(helper.make_tensor("middle", TensorProto.INT64, [1], [1]))
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "dense", inputs, [output], weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx"
    )
    tokenizer = Tokenizer(models.WordLevel({f"w{word}": word for word in range(WORDS)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return seal(
        folder, runtime="onnx", onnx="model.onnx", labels=["a", "b"], max_length=64, inputs=["input_ids"], notes={}
    )


if __name__ == "__main__":
    main()
