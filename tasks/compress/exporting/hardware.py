"""Whether this machine's CPU gains by int8: measured, not read off its name. Quantises no model of anyone's."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from tasks.compress.exporting.sessions import open_model
from tasks.measure.machine import describe_machine

WIDTH, TOKENS, LAYERS, ROUNDS = 384, 32, 4, 15
WORTH_IT = 1.1  # times as fast as float: below, int8 only makes the file smaller
INT8_INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")

log = logging.getLogger(__name__)


@cache
def measure_int8_speedup() -> float:
    """Return how many times as fast ONNX Runtime multiplies in int8 as in float here; measured once in a process."""
    linear = _linear_layers()
    sessions = [open_model(model, threads=1) for model in (linear, _quantised(linear))]
    rows = np.random.default_rng(0).standard_normal((TOKENS, WIDTH), np.float32)
    fastest = [np.inf, np.inf]
    for _ in range(ROUNDS):  # in turn, so that a busy machine slows both
        for number, session in enumerate(sessions):
            started = time.perf_counter()
            session.run(None, {"rows": rows})
            fastest[number] = min(fastest[number], time.perf_counter() - started)
    return float(fastest[0] / fastest[1])


def note_int8(
    measure: Callable[[], float] = measure_int8_speedup, instructions: Sequence[str] | None = None
) -> dict[str, float]:
    """Return the note `int8_speedup` of an int8 pass, and warn where this CPU does not gain by int8."""
    speedup = measure()
    if speedup < WORTH_IT:
        found = describe_machine().instructions if instructions is None else instructions
        log.warning(
            "compress: int8 products run %.2f times as fast as float on this CPU, %s; set reduce_range: true against "
            "saturation, or use openvino with precision: bf16, or leave the model in fp32", speedup, _lack(found),
        )  # fmt: skip
    return {"int8_speedup": speedup}


def _lack(instructions: Sequence[str]) -> str:
    has = [name for name in INT8_INSTRUCTIONS if name in instructions]
    return f"though it has {', '.join(has)}" if has else f"which has none of {', '.join(INT8_INSTRUCTIONS)}"


def _linear_layers() -> Any:
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((WIDTH, WIDTH), np.float32) / WIDTH**0.5 for _ in range(LAYERS)]
    names = ["rows", *(f"after_{number}" for number in range(LAYERS))]
    nodes = [
        helper.make_node("MatMul", [names[number], f"weight_{number}"], [names[number + 1]], name=f"layer_{number}")
        for number in range(LAYERS)
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, WIDTH]) for name in (names[0], names[-1])]
    graph = helper.make_graph(
        nodes, "linear", ends[:1], ends[1:],
        [numpy_helper.from_array(weight, f"weight_{number}") for number, weight in enumerate(weights)],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _quantised(model: Any) -> Any:
    from tasks.compress.quantising.dynamic import quantise_graph

    return quantise_graph(model)
