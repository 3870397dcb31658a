"""Which sequences of passes a search tries: what the spec allows, cheap ones first, what promises most before others.

Builds and measures none. Every sequence it gives is one that `tasks.compress.sequence` lets through.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from tasks.compress.methods import (
    Cascade,
    CompressPass,
    DistilInto,
    Factorise,
    Int8Dynamic,
    Int8Static,
    Onnx,
    OpenVino,
    Prune,
    Recover,
    Shrink,
    TensorRt,
    TrimVocabulary,
    WeightOnly,
    Window,
)
from tasks.compress.searching.shape import Shape
from tasks.compress.searching.spec import CompressSearch
from tasks.compress.sequence import CASCADE, GIVES, TORCH, check_sequence

Passes = tuple[CompressPass, ...]

SHORT, LONG = 2, 2  # epochs of a first training; those that a survivor gets more, twice as many each time
FURTHER = DistilInto().augment  # texts made of each training text, which a survivor's training has too
AGREEMENTS = (0.98, 0.97, 0.96, 0.985, 0.99)  # of cascades, the likeliest first
MIDDLE = 0.98  # agreement of a trained model between n-grams and the one that answers the rest
HALF = 0.5
NEARLY_SAME = 0.98  # agreement without training that is worth serving as it is
TRIMMED_SAME = 0.99  # agreement from which on a trimmed vocabulary stands before all else: it makes nothing faster


def tails(spec: CompressSearch) -> list[Passes]:
    """Return the ways to serve a torch model that the spec allows, the quickest built first."""
    has, made = set(spec.passes), list[Passes]()
    narrow = bool(has & {"int8", "int8_static"})
    if "onnx" in spec.runtimes:
        made += [(Onnx(),)]
        made += [(Onnx(), Int8Dynamic())] if "int8" in has else []
    if "openvino" in spec.runtimes:
        made += [(OpenVino(precision="int8" if narrow else "bf16"),)]
    if "onnx" in spec.runtimes:
        made += [(Onnx(), Int8Static())] if "int8_static" in has else []
        made += [(Onnx(), WeightOnly(bits=8))] if "weight_only" in has else []
    if "tensorrt" in spec.runtimes:
        made += [(TensorRt(),)]
    return made


def variants(spec: CompressSearch, tail: Passes) -> list[Passes]:
    """Return other ways to serve what the tail serves well: the other runtimes, then layers kept in float."""
    gentler = [
        (*tail[:-1], replace(tail[-1], float_layers=layers))
        for layers in (1, 2)
        if isinstance(tail[-1], Int8Dynamic | Int8Static)
        or (isinstance(tail[-1], OpenVino) and tail[-1].precision == "int8")
    ]
    plain = [(Onnx(),)] if {"int8", "int8_static"} & set(spec.passes) else []  # slower than what it is a variant of
    return [*(each for each in tails(spec) if each != tail and each not in plain), *gentler]


def probes(spec: CompressSearch, shape: Shape) -> list[Passes]:
    """Return what changes a torch model's shape without training it, each alone: its answers say what it costs."""
    fewer = sorted({1, shape.layers // 3, shape.layers // 2} - {0, shape.layers})
    made: dict[str, list[Passes]] = {
        "trim_vocabulary": [(TrimVocabulary(),)],
        "shrink": [*((Shrink(layers=count),) for count in fewer), (Shrink(neurons=HALF),), (Shrink(heads=HALF),)],
        "factorise": [(Factorise(keep=HALF),)],
        "prune": [(Prune(sparsity=HALF),)],
        "window": [(Window(),)] if shape.windows else [],
    }
    return _legal(passes for kind in made if kind in spec.passes for passes in made[kind])


def starts(spec: CompressSearch, shape: Shape, agreements: Mapping[Passes, float]) -> list[Passes]:
    """Return what is worth a short training: students, then what a probe found to cost least for what it removes.

    Args:
        agreements: by probe, the share of answers that stayed as they were.
    """
    front = trimmed(spec, agreements)
    made = [(*front, _student(spec, layers)) for layers in students(shape)] if "distil" in spec.passes else []
    removing = [probe for probe in probes(spec, shape) if probe in agreements and probe[0].kind not in KEEPS_COST]
    removing.sort(key=lambda probe: -agreements[probe] * share_removed(probe, shape))
    recovered = [Recover(epochs=SHORT, seed=spec.seed)] if "recover" in spec.passes else []
    worth = removing[:2] if recovered else [probe for probe in removing if agreements[probe] >= NEARLY_SAME]
    return _legal([*made, *((*front, *probe, *recovered) for probe in worth)])


KEEPS_COST = ("trim_vocabulary", "prune", "window")  # what makes a short text's answer no cheaper


def trimmed(spec: CompressSearch, agreements: Mapping[Passes, float]) -> Passes:
    """Return the trimming of the vocabulary, where it is allowed and does not change answers; else nothing."""
    trim = (TrimVocabulary(),)
    return trim if "trim_vocabulary" in spec.passes and agreements.get(trim, 0.0) >= TRIMMED_SAME else ()


def students(shape: Shape) -> list[tuple[int, ...]]:
    """Return the layers that students keep: one, two and half of them, spread evenly or those that matter most."""
    last = shape.layers - 1
    counts = [count for count in (2, 1, shape.layers // 2) if 0 < count < shape.layers]
    found = [tuple(round(place * last / max(1, count - 1)) for place in range(count)) for count in counts]
    if shape.drops and 2 in counts:
        found.append(tuple(sorted(sorted(range(shape.layers), key=lambda layer: -shape.drops[layer])[:2])))
    return list(dict.fromkeys(found))


def share_removed(passes: Passes, shape: Shape) -> float:
    """Return about which share of the encoder's work the passes remove."""
    left = depth(passes, shape) / shape.layers
    for method in passes:
        if isinstance(method, Shrink):
            left *= 1 - 0.6 * method.neurons - 0.3 * method.heads  # where a layer's work is
        elif isinstance(method, Factorise):
            left *= method.keep
    return 1 - left


def depth(passes: Passes, shape: Shape) -> int:
    """Return how many layers are left after the passes; those of another base count as the source's."""
    layers = shape.layers
    for method in passes:
        if isinstance(method, DistilInto) and isinstance(method.student, tuple):
            layers = len(method.student)
        elif isinstance(method, Shrink):
            layers -= method.layers
    return max(1, layers)


def longer(spec: CompressSearch, shaping: Passes, epochs: int) -> Passes | None:
    """Return the shaping with so many epochs more: of `recover`, or of its distillation from the start; None: neither.

    A recovery behind it is a pass of its own, so that what was trained before is not trained again.
    """
    student = next((method for method in shaping if isinstance(method, DistilInto)), None)
    if "recover" in spec.passes and (student or any(method.kind != "trim_vocabulary" for method in shaping)):
        again = Recover(epochs=epochs, augment=FURTHER, seed=spec.seed)
        if student:  # what was trained from few layers has further to go than what only lost some
            again = replace(again, learning_rate=student.learning_rate / 2, batch_size=student.batch_size)
        return (*shaping, again)
    if student is None:
        return None
    at = shaping.index(student)
    grown = replace(student, epochs=student.epochs + epochs, augment=FURTHER)
    return (*shaping[:at], grown, *shaping[at + 1 :])


def cascaded(spec: CompressSearch, passes: Passes) -> list[Passes]:
    """Return cascades in front of a served model, one for each agreement; none where it has one, or may have none."""
    if "cascade" not in spec.passes or not passes or GIVES[passes[-1].kind] in (TORCH, CASCADE):
        return []
    return _legal((*passes, Cascade(agreement=agreement, seed=spec.seed)) for agreement in AGREEMENTS)


def stacked(spec: CompressSearch, rest: Passes, cheaper: Passes, agreement: float) -> list[Passes]:
    """Return three stages: n-grams before the cheaper served model before the other; none where none may be."""
    if "cascade" not in spec.passes:
        return []
    middle = Cascade(agreement=MIDDLE, stage=cheaper, seed=spec.seed)  # type: ignore[arg-type]
    return _legal([(*rest, middle, Cascade(agreement=agreement, seed=spec.seed))])


def parts_of(passes: Passes) -> tuple[Passes, Passes]:
    """Return the passes that shape a torch model, and those that serve it."""
    count = sum(GIVES[method.kind] == TORCH for method in passes)
    return passes[:count], passes[count:]


def without_cascade(passes: Passes) -> Passes:
    """Return the passes before the first cascade."""
    return tuple(method for method in passes if method.kind != "cascade")


def _student(spec: CompressSearch, layers: tuple[int, ...]) -> DistilInto:
    return DistilInto(student=layers, epochs=SHORT, augment=1, seed=spec.seed)


def _legal(sequences: Iterable[Passes]) -> list[Passes]:
    """Return the sequences that a model can go through, each once."""
    return [passes for passes in dict.fromkeys(sequences) if _passes(check_sequence, passes)]


def _passes(check: Callable[[Sequence[CompressPass]], None], passes: Passes) -> bool:
    try:
        check(passes)
    except ValueError:
        return False
    return True
