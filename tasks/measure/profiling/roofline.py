"""What bounds a model: the roofs of this machine as its runtime reaches them, and the rule that names the bound.

There are two roofs, arithmetic and memory: S. Williams, A. Waterman and D. Patterson (Communications of the ACM, 2009).
Times no model and reads no trace.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from serving.runtimes.ort import import_onnxruntime

SIDES = (512, 1024)  # of the square matrices whose product gives the arithmetic roof
WIDE = 4096  # of the matrix that is read once for the memory roof: 67 MB, more than most caches hold
REPEATS = 8
NEAR_ROOF = 0.5  # the share of a roof from which on it bounds
MOSTLY = 0.5  # the share of the model's time from which on matrix products decide
SMALL_US = 20.0  # an operator this short costs about as much to call as to compute

Precision = Literal["float32", "int8"]
Bound = Literal["tokenisation", "python", "compute", "memory", "small products", "small operators"]


@dataclass(frozen=True)
class Parts:
    """Shares of the time of a call; they sum to 1."""

    tokenize: float
    model: float
    python: float  # what is left: batching, softmax, labels


@dataclass(frozen=True)
class Roofs:
    """What the runtime reaches at best on this machine."""

    gflop_per_s: float  # in a large product of square matrices
    gb_per_s: float  # of a large float32 matrix, read once for a product with one vector


@dataclass(frozen=True)
class Products:
    """The matrix products of a model: how much of it they are and how near to the roofs they run."""

    precision: Precision  # of those that take the most time, whose rates these are
    share: float  # of the model's time, in every precision
    gflop_per_s: float
    gb_per_s: float  # of weights and activations, each counted once a product
    roofs: Roofs

    @property
    def of_compute(self) -> float:
        """Return the share of the arithmetic roof that is reached."""
        return self.gflop_per_s / self.roofs.gflop_per_s

    @property
    def of_memory(self) -> float:
        """Return the share of the memory roof that is reached; above 1 where weights stay in the cache."""
        return self.gb_per_s / self.roofs.gb_per_s


def name_bound(
    parts: Parts, products: Products | None, other_us: float, runtime: str, can_batch: bool
) -> tuple[Bound, str]:
    """Return what bounds a call, and one sentence that says why and what would help.

    The largest part decides. Where it is the model: its matrix products if they take at least half of its time, by the
    roof that they are nearer to (below half of both they are too small); else its other operators, which with the pause
    after each take `other_us` microseconds: many small ones, or long ones that work through activations.
    `can_batch` says whether more texts in a call would run as one batch.
    """
    tokenize, model, python = (_percent(share) for share in (parts.tokenize, parts.model, parts.python))
    if parts.tokenize >= max(parts.model, parts.python):
        return "tokenisation", (
            f"Tokenisation bounds it: {tokenize} of the time, the model {model}; send shorter texts or take a base "
            "with a quicker tokenizer, a smaller model would not help."
        )
    if parts.python >= parts.model:
        lever = "send more texts per call" if can_batch else "run more processes"
        return "python", (
            f"Python around the model bounds it: {python} of the time, the model {model}; {lever}, a smaller model "
            "would not help."
        )
    if products is not None and products.share >= MOSTLY:
        return _bound_of_products(products, can_batch)
    return _bound_of_others(0.0 if products is None else products.share, other_us, runtime, can_batch)


def _bound_of_products(products: Products, can_batch: bool) -> tuple[Bound, str]:
    roofs, share = products.roofs, f"take {_percent(products.share)} of the model's time"
    arithmetic = (
        f"run at {_percent(products.of_compute)} of the {roofs.gflop_per_s:.0f} GFLOP/s that this machine reached in "
        f"{products.precision}"
    )
    smaller = "a smaller base" if products.precision == "int8" else "int8 weights (`compress: [onnx, int8]`)"
    if max(products.of_compute, products.of_memory) < NEAR_ROOF:
        lever = "send more texts per call" if can_batch else f"{smaller} would help"
        return "small products", f"Small matrix products bound it: they {share} and only {arithmetic}; {lever}."
    if products.of_compute >= products.of_memory:
        return "compute", f"Arithmetic bounds it: matrix products {share} and {arithmetic}; {smaller} would help."
    lever = "send more texts per call, which read each weight once" if can_batch else f"{smaller} would help"
    return "memory", (
        f"Memory traffic bounds it: matrix products {share} and move {products.gb_per_s:.0f} GB/s, where this machine "
        f"reached {roofs.gb_per_s:.0f}; {lever}."
    )


def _bound_of_others(products: float, other_us: float, runtime: str, can_batch: bool) -> tuple[Bound, str]:
    share = f"{_percent(1 - products)} of the model's time is not matrix products but"
    if other_us >= SMALL_US:
        return "memory", (
            f"Memory traffic bounds it: {share} operators of {other_us:.0f} us each that work through activations; "
            "send shorter texts or take a narrower base."
        )
    batch = "send more texts per call, or " if can_batch else ""
    fewer = (
        "export it (`compress: [onnx]`), which fuses them" if runtime == "torch" else "take a base with fewer layers"
    )
    return "small operators", (
        f"Many small operators bound it: {share} operators of {other_us:.1f} us each; {batch}{fewer}."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def measure_roofs(runtime: str, precision: Precision, threads: int) -> Roofs:
    """Return what the runtime reaches at best with so many threads; takes about 0.3 s.

    PyTorch's product stands for itself, ONNX Runtime's for every other runtime on this machine.
    """
    rng = np.random.default_rng(0)
    fast, plain = _product(runtime, precision, threads), _product(runtime, "float32", threads)
    rates = []
    for side in SIDES:
        square = rng.integers(0, 100, (side, side))
        left, right = (square.astype(kind) for kind in _kinds(precision))
        rates.append(2 * side**3 / _quickest(lambda left=left, right=right: fast(left, right)) / 1e9)  # type: ignore[misc]
    vector, matrix = np.ones((1, WIDE), np.float32), np.ones((WIDE, WIDE), np.float32)
    return Roofs(max(rates), matrix.nbytes / _quickest(lambda: plain(vector, matrix)) / 1e9)


def _kinds(precision: Precision) -> tuple[Any, Any]:
    return (np.uint8, np.int8) if precision == "int8" else (np.float32, np.float32)


def _quickest(work: Callable[[], Any]) -> float:
    """Return the seconds of the quickest of several runs."""
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _product(runtime: str, precision: Precision, threads: int) -> Callable[[np.ndarray, np.ndarray], Any]:
    """Return the runtime's matrix product; PyTorch's uses the threads that are set for the process."""
    if runtime == "torch":
        import torch

        return lambda left, right: torch.mm(torch.from_numpy(left), torch.from_numpy(right))
    from onnx import TensorProto, helper

    name, *kinds = {
        "float32": ("MatMul", TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.FLOAT),
        "int8": ("MatMulInteger", TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32),
    }[precision]
    sides = {"left": ["m", "k"], "right": ["k", "n"], "made": ["m", "n"]}
    left, right, made = (
        helper.make_tensor_value_info(side, kind, sizes)
        for (side, sizes), kind in zip(sides.items(), kinds, strict=True)
    )
    graph = helper.make_graph([helper.make_node(name, ["left", "right"], ["made"])], "product", [left, right], [made])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda left, right: session.run(None, {"left": left, "right": right})
