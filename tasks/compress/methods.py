"""The parameters of every compression pass: what a recipe's list `compress` may say. Compresses nothing.

A pass takes a model in one form and gives one: `torch` (PyTorch weights), `onnx`, `openvino`, `tensorrt` or `cascade`.
Which may follow which is in `tasks.compress.sequence`.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic.dataclasses import dataclass

from tasks.train.bases.base import Base

Share = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Bits = Literal[4, 8]
Layers = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


@dataclass(frozen=True, config={"extra": "forbid"})
class TrimVocabulary:
    """Drop the tokens that the training texts never use from tokenizer and embeddings; PyTorch to PyTorch.

    A text made of kept tokens alone is tokenised as before. Single characters and special tokens always stay.
    """

    kind: Literal["trim_vocabulary"] = "trim_vocabulary"
    min_count: Annotated[int, Field(ge=1)] = 1  # texts that use a token for it to stay
    max_tokens: Annotated[int, Field(ge=1)] | None = None  # the most used of them; None: all
    spare: Annotated[int, Field(ge=0)] = 8000  # others that stay, for texts to come: the first of the vocabulary


@dataclass(frozen=True, config={"extra": "forbid"})
class Prune:
    """Set the least important weights of the encoder's linear layers to zero; PyTorch to PyTorch.

    `magnitude` is |w| (Han et al. 2015), `activation` |w| times the norm of its input (Sun et al. 2024, Wanda). With a
    pattern "n:m" n of every m weights in a row stay. The matrices keep their shape: it is a step before others.
    """

    kind: Literal["prune"] = "prune"
    sparsity: Share = 0.5  # of the weights; with a pattern, the pattern's own
    pattern: Annotated[str, Field(pattern=r"^(unstructured|[1-9]\d?:[1-9]\d?)$")] = "unstructured"
    importance: Literal["magnitude", "activation"] = "activation"

    @model_validator(mode="after")
    def _check_pattern(self) -> "Prune":
        if ":" in self.pattern:
            kept, group = map(int, self.pattern.split(":"))
            if kept >= group:
                raise ValueError(f"the pattern {self.pattern!r} keeps {kept} of every {group} weights, which prunes "
                                 "none; keep fewer, as in 2:4")  # fmt: skip
        return self


@dataclass(frozen=True, config={"extra": "forbid"})
class Shrink:
    """Remove attention heads, feed-forward neurons and whole layers; PyTorch to PyTorch, with smaller matrices.

    `taylor` is the mean over rows of |activation x gradient| of the loss (Molchanov et al. 2017, Michel et al. 2019),
    `magnitude` the norm of the weights that would go.
    """

    kind: Literal["shrink"] = "shrink"
    heads: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of each layer's heads that go
    neurons: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of each layer's feed-forward neurons that go
    layers: Annotated[int, Field(ge=0)] = 0  # how many go: those whose absence changes the answers least
    importance: Literal["taylor", "magnitude"] = "taylor"
    rows: Annotated[int, Field(ge=1)] = 256  # that importance is measured on

    @model_validator(mode="after")
    def _check_any(self) -> "Shrink":
        if not (self.heads or self.neurons or self.layers):
            raise ValueError("shrink removes nothing; give `heads`, `neurons` or `layers`")
        return self


@dataclass(frozen=True, config={"extra": "forbid"})
class Factorise:
    """Replace linear layers by two thin ones: a singular value decomposition weighted by the layer's own inputs.

    Each layer's rank is chosen so that the parameters left go where they keep most of the outputs' energy (Wang et al.
    2024, SVD-LLM); a layer that two matrices would not make smaller stays. PyTorch to PyTorch.
    """

    kind: Literal["factorise"] = "factorise"
    keep: Share = 0.5  # of the parameters of the encoder's linear layers
    activation_aware: bool = True  # False: the plain decomposition of the weights
    rows: Annotated[int, Field(ge=1)] = 256  # that the inputs are measured on


@dataclass(frozen=True, config={"extra": "forbid"})
class Window:
    """Let each token attend to its neighbours only, where the family supports it; PyTorch to PyTorch."""

    kind: Literal["window"] = "window"
    tokens: Annotated[int, Field(ge=2)] = 128  # that a token sees, half on either side


@dataclass(frozen=True, config={"extra": "forbid"})
class DistilInto:
    """Train a shallower or another student on the answers of the model before the first pass; PyTorch to PyTorch."""

    kind: Literal["distil"] = "distil"
    student: Layers | Base = (0,)  # layers of the source to keep, or a base
    epochs: Annotated[int, Field(ge=1, le=1000)] = 4
    learning_rate: Rate = 1e-3
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 64
    temperature: Annotated[float, Field(gt=0, le=100)] = 2.0
    mix: Annotated[float, Field(ge=0, le=1)] = 0.9  # weight of the answers, against that of the labels
    augment: Annotated[int, Field(ge=0, le=100)] = 2  # further texts made of each training text, which get answers only
    seed: int = 13


@dataclass(frozen=True, config={"extra": "forbid"})
class Recover:
    """Train the source, as other passes left it, on the answers of the model before the first pass.

    Weights that `prune` set to zero stay zero, factors stay factors. PyTorch to PyTorch.
    """

    kind: Literal["recover"] = "recover"
    epochs: Annotated[int, Field(ge=1, le=1000)] = 2
    learning_rate: Rate = 2e-4
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    temperature: Annotated[float, Field(gt=0, le=100)] = 2.0
    mix: Annotated[float, Field(ge=0, le=1)] = 0.9
    augment: Annotated[int, Field(ge=0, le=100)] = 0  # as in `distil`
    seed: int = 13


@dataclass(frozen=True, config={"extra": "forbid"})
class Onnx:
    """Export to ONNX, which ONNX Runtime serves; PyTorch to ONNX."""

    kind: Literal["onnx"] = "onnx"
    precision: Literal["fp32", "fp16"] = "fp32"  # fp16 halves the file; faster only where the hardware computes in it


@dataclass(frozen=True, config={"extra": "forbid"})
class OpenVino:
    """Export to OpenVINO; PyTorch to OpenVINO. int8 is NNCF's post-training quantisation, calibrated on real rows."""

    kind: Literal["openvino"] = "openvino"
    precision: Literal["fp32", "bf16", "int8"] = "int8"
    rows: Annotated[int, Field(ge=1)] = 300  # that int8 is calibrated on
    float_layers: Annotated[int, Field(ge=0)] = 0  # as in `int8`


@dataclass(frozen=True, config={"extra": "forbid"})
class TensorRt:
    """Let TensorRT serve the model on an NVIDIA GPU, where it is installed; PyTorch to TensorRT."""

    kind: Literal["tensorrt"] = "tensorrt"
    precision: Literal["fp32", "fp16"] = "fp16"


@dataclass(frozen=True, config={"extra": "forbid"})
class Int8Dynamic:
    """Weights to int8 per channel, activations quantised as they come; ONNX to ONNX.

    `reduce_range` uses 7 bits: set it for CPUs without VNNI, whose 8-bit products saturate.
    """

    kind: Literal["int8"] = "int8"
    reduce_range: bool = False
    float_layers: Annotated[int, Field(ge=0)] = 0  # linear layers that stay float: those that measure most sensitive


@dataclass(frozen=True, config={"extra": "forbid"})
class Int8Static:
    """Weights to int8 per channel, activations by ranges that calibration on real rows found; ONNX to ONNX."""

    kind: Literal["int8_static"] = "int8_static"
    rows: Annotated[int, Field(ge=1)] = 256
    reduce_range: bool = False
    float_layers: Annotated[int, Field(ge=0)] = 0  # as in `int8`


@dataclass(frozen=True, config={"extra": "forbid"})
class WeightOnly:
    """Weights to 4 or 8 bits in blocks, computed with in float: smaller, rarely faster; ONNX to ONNX."""

    kind: Literal["weight_only"] = "weight_only"
    bits: Bits = 4
    block: Literal[16, 32, 64, 128] = 32  # weights that share a scale


@dataclass(frozen=True, config={"extra": "forbid"})
class Cascade:
    """A very cheap stage answers what it is sure of, the model so far the rest; any served form to a cascade.

    The stage is a linear model of n-grams that learns the answers of the model before the first pass. What counts as
    sure is chosen on rows that it never saw: answers taken from it differ from the model's in at most `1 - agreement`
    of all texts, with the stated confidence (Clopper and Pearson 1934; fixed-sequence testing as in Angelopoulos et
    al. 2021, Learn then Test). May stand again: each further one is put in front.
    """

    kind: Literal["cascade"] = "cascade"
    agreement: Annotated[float, Field(gt=0.5, lt=1)] = 0.98
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    max_features: Annotated[int, Field(ge=100)] = 50_000  # of the stage, the most frequent
    augment: Annotated[int, Field(ge=0, le=100)] = 2  # as in `distil`, whose answers to the same texts serve here too
    seed: int = 13


def by_name(value: Any) -> Any:
    """Let `- onnx` stand for `- {kind: onnx}`."""
    return {"kind": value} if isinstance(value, str) else value


CompressPass = Annotated[
    Annotated[
        TrimVocabulary | Prune | Shrink | Factorise | Window | DistilInto | Recover | Onnx | OpenVino | TensorRt
        | Int8Dynamic | Int8Static | WeightOnly | Cascade,
        Field(discriminator="kind"),
    ],
    BeforeValidator(by_name),
]  # fmt: skip
