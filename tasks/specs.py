"""The sections of the spec that the rooms of `tasks/` own, and the lists of what each kind of method offers.

Pydantic validates them once, at the door (`flows.spec`); behind it they are plain frozen dataclasses. A method's own
parameters live beside its function; a new one is added to its union here. Reads no files and checks no data.
"""

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from tasks.compress.export import Onnx
from tasks.compress.quantize import Int8Dynamic
from tasks.data.augment import Swap, Typos
from tasks.data.clean import Conflicts, DropEmpty, Normalise, Scrub
from tasks.data.dedup import ExactDuplicates, NearDuplicates
from tasks.data.sources import FileSource, HubSource, SqlSource
from tasks.data.validate import ValidateSpec
from tasks.train.finetune import FineTune


def _by_name(value: Any) -> Any:
    """Let `- normalise` stand for `- {kind: normalise}`."""
    return {"kind": value} if isinstance(value, str) else value


CleanStep = Annotated[
    Annotated[
        Normalise | DropEmpty | Scrub | ExactDuplicates | NearDuplicates | Conflicts, Field(discriminator="kind")
    ],
    BeforeValidator(_by_name),
]
AugmentMethod = Annotated[Annotated[Typos | Swap, Field(discriminator="kind")], BeforeValidator(_by_name)]
CompressPass = Annotated[Annotated[Onnx | Int8Dynamic, Field(discriminator="kind")], BeforeValidator(_by_name)]
Source = Annotated[FileSource | HubSource | SqlSource, Field(discriminator="kind")]

Share = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True, config={"extra": "forbid"})
class SplitSpec:
    """Shares of the rows that each evaluation set gets where the source does not name it; train gets the rest."""

    valid: Share = 0.1
    select: Share = 0.15
    golden: Share = 0.15
    seed: int = 7


@dataclass(frozen=True, config={"extra": "forbid"})
class FeedbackSplit:
    """Whether harvested feedback joins the data, and the shares of it that refresh the evaluation sets."""

    use: bool = True
    min_rows: Annotated[int, Field(ge=1)] = 50  # fewer harvested rows wait for more
    valid: Share = 0.1
    select: Share = 0.15
    golden: Share = 0.3


@dataclass(frozen=True, config={"extra": "forbid"})
class DataSpec:
    """Where rows come from, which columns matter, and how they are split and checked."""

    source: Source
    text: str = "text"
    target: str = "label"
    slices: tuple[str, ...] = ()
    split: SplitSpec = field(default_factory=SplitSpec)
    leakage: Literal["refuse", "drop"] = "refuse"
    checks: ValidateSpec = field(default_factory=ValidateSpec)
    feedback: FeedbackSplit = field(default_factory=FeedbackSplit)


@dataclass(frozen=True, config={"extra": "forbid"})
class Recipe:
    """The complete, declarative description of how a model is made; in a spec, how the baseline is."""

    base: str = "minilm"
    clean: tuple[CleanStep, ...] = ()
    augment: tuple[AugmentMethod, ...] = ()
    train: FineTune = field(default_factory=FineTune)
    compress: tuple[CompressPass, ...] = ()


@dataclass(frozen=True, config={"extra": "forbid"})
class Lever:
    """One change to a recipe: exactly one of `clean`, `augment`, `train`, `compress`, which it replaces."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
    clean: tuple[CleanStep, ...] | None = None
    augment: tuple[AugmentMethod, ...] | None = None
    train: FineTune | None = None
    compress: tuple[CompressPass, ...] | None = None


@dataclass(frozen=True, config={"extra": "forbid"})
class BenchmarkSpec:
    """How speed is measured: interleaved blocks of batch-1 predictions, then batches."""

    threads: Annotated[int, Field(ge=1, le=256)] | None = None  # None: every core of the machine
    samples: Annotated[int, Field(ge=50, le=100_000)] = 1000  # batch-1 predictions of each artifact
    blocks: Annotated[int, Field(ge=5, le=1000)] = 25
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32


@dataclass(frozen=True, config={"extra": "forbid"})
class GateSpec:
    """What a candidate must prove before it may be promoted."""

    margin: Annotated[float, Field(gt=0, lt=0.5)] = 0.01  # the loss of quality that counts as none
    slice_margin: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    slice_min_rows: Annotated[int, Field(ge=1)] = 50  # smaller slices are reported, not judged
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    min_gain: Annotated[float, Field(gt=0, lt=1)] = 0.1  # a cost claim must save at least this share
    cost_margin: Annotated[float, Field(gt=0, lt=1)] = 0.25  # the extra time per text that a quality claim may cost
    promotion: Literal["auto", "review"] = "auto"


@dataclass(frozen=True, config={"extra": "forbid"})
class RegistrySpec:
    """Which MLflow holds the runs and versions; empty means SQLite in the project's own folder."""

    tracking_uri: str = ""
