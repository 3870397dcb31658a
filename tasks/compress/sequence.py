"""Which compression passes may follow which: the form of the model that each takes, and the one that it gives.

Runs no pass. What a pass cannot know of the model before it is built (a family without windows, a CPU without int8
products) the pass itself says.
"""

from collections.abc import Sequence

from tasks.compress.methods import Cascade, CompressPass, Onnx

TORCH, ONNX, OPENVINO, TENSORRT, CASCADE = "torch", "onnx", "openvino", "tensorrt", "cascade"
CALLED = {
    TORCH: "a PyTorch model", ONNX: "an ONNX model", OPENVINO: "an OpenVINO model", TENSORRT: "a TensorRT model",
    CASCADE: "a cascade",
}  # fmt: skip
SHAPING = ("trim_vocabulary", "prune", "shrink", "factorise", "window", "distil", "recover")
GIVES = {
    **dict.fromkeys(SHAPING, TORCH),
    **dict.fromkeys(("onnx", "int8", "int8_static", "weight_only"), ONNX),
    "openvino": OPENVINO,
    "tensorrt": TENSORRT,
    "cascade": CASCADE,
}
TRAINING = ("distil", "recover")  # which run the training room
QUANTISING = ("int8", "int8_static", "weight_only")
EXPORTS = ("onnx", "openvino", "tensorrt")
READING = ("distil", "recover", "cascade", "trim_vocabulary")  # texts without labels, where there are some
REPEATABLE = ("recover", "cascade", "shrink", "prune")
FORGETS = ("trim_vocabulary", "prune", "shrink", "factorise", "window")  # what `distil` into another base would undo


def check_sequence(passes: Sequence[CompressPass]) -> None:
    """Refuse what no model can go through, naming the pass and the mend.

    Raises:
        ValueError: a pass cannot follow the ones before it.
    """
    form, before = TORCH, list[CompressPass]()
    for method in passes:
        flaw = _find_flaw(method, form, before)
        if flaw:
            raise ValueError(flaw)
        form = GIVES[method.kind]
        before.append(method)


def form_of(passes: Sequence[CompressPass]) -> str:
    """Return the form of the model after the passes: torch, onnx, openvino, tensorrt or cascade."""
    return GIVES[passes[-1].kind] if passes else TORCH


def reads_texts(passes: Sequence[CompressPass]) -> bool:
    """Return whether a pass reads texts without labels: it learns the answers to them, or keeps their words."""
    return any(method.kind in READING for method in passes)


def _find_flaw(method: CompressPass, form: str, before: Sequence[CompressPass]) -> str:
    """Return why the pass cannot come after those before it, which gave a model of the form; empty where it can."""
    kind, kinds = method.kind, [each.kind for each in before]
    if kind in kinds and kind not in REPEATABLE:
        return f"the pass {kind!r} stands twice; keep one of them"
    if kind in (*SHAPING, *EXPORTS):
        if form != TORCH:
            return (f"the pass {kind!r} needs a PyTorch model, and {kinds[-1]!r} before it gives {CALLED[form]}; put "
                    f"{kind!r} before {_first_served(kinds)!r}")  # fmt: skip
    elif kind in QUANTISING:
        return _quantising_flaw(kind, form, before)
    elif form == TORCH:
        return (f"the pass {kind!r} needs a served model behind it; put 'onnx' or 'openvino' before it, as in "
                f"[onnx, int8, {kind}]")  # fmt: skip
    elif isinstance(method, Cascade):
        return _stage_flaw(method)
    if kind == "recover" and not kinds:
        return "the pass 'recover' has nothing to recover from; put it after 'prune', 'shrink', 'factorise' or 'distil'"
    return _undone(method, kinds)


def _quantising_flaw(kind: str, form: str, before: Sequence[CompressPass]) -> str:
    earlier = next((each.kind for each in before if each.kind in QUANTISING), None)
    if earlier:
        return f"the pass {kind!r} finds a model that {earlier!r} has quantised already; keep one of them"
    if form != ONNX:
        if form == OPENVINO:
            return f"the pass {kind!r} needs an ONNX model, and 'openvino' has its own: use openvino's precision: int8"
        return f"the pass {kind!r} needs an ONNX model; put 'onnx' before it, as in [onnx, {kind}]"
    if any(isinstance(each, Onnx) and each.precision == "fp16" for each in before):
        return f"the pass {kind!r} needs weights in fp32, and 'onnx' before it gives fp16; leave its precision out"
    return ""


def _stage_flaw(method: Cascade) -> str:
    """Return why the passes of a cascade's own stage cannot make one; empty where they can."""
    if not isinstance(method.stage, tuple):
        return ""
    try:
        check_sequence(method.stage)
    except ValueError as flaw:
        return f"the stage of the pass 'cascade': {flaw}"
    if form_of(method.stage) == TORCH:
        return ("the stage of the pass 'cascade' ends as a PyTorch model, which is not served; put 'onnx' or "
                "'openvino' at its end")  # fmt: skip
    return ""


def _undone(method: CompressPass, kinds: Sequence[str]) -> str:
    """Return which pass before a distillation into another base it would throw away; empty where there is none."""
    if method.kind != "distil" or isinstance(method.student, tuple):
        return ""
    lost = next((kind for kind in kinds if kind in FORGETS), None)
    return f"the pass 'distil' into another base throws away what {lost!r} did; put 'distil' first" if lost else ""


def _first_served(kinds: Sequence[str]) -> str:
    return next(kind for kind in kinds if GIVES[kind] != TORCH)
