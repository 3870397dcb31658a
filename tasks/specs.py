"""The sections of the spec that the rooms of `tasks/` own, and the lists of what each kind of method offers.

Pydantic validates them once, at the door (`flows.spec`); behind it they are plain frozen dataclasses. A method's own
parameters live beside its function; a new one is added to its union here. Reads no files and checks no data.
"""

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from tasks.compress.methods import CompressPass
from tasks.compress.searching.spec import CompressSearch
from tasks.compress.sequence import check_sequence
from tasks.data.augmentation.augment import FILTERS, Dropout, Swap, Typos
from tasks.data.augmentation.back_translate import BackTranslate
from tasks.data.augmentation.keep_label import KeepLabel
from tasks.data.augmentation.limit import Limit
from tasks.data.augmentation.mask_fill import MaskFill
from tasks.data.augmentation.paraphrase import Paraphrase
from tasks.data.augmentation.rebalance import Rebalance
from tasks.data.augmentation.slots import SwapSlots
from tasks.data.augmentation.synonyms import Synonyms
from tasks.data.checking.limits import ValidateSpec
from tasks.data.cleaning.clean import DropEmpty
from tasks.data.cleaning.conflicts import Conflicts
from tasks.data.cleaning.dedup import ExactDuplicates, NearDuplicates
from tasks.data.cleaning.filter import Filter
from tasks.data.cleaning.label_errors import LabelErrors
from tasks.data.cleaning.normalise import Normalise
from tasks.data.cleaning.outliers import Outliers
from tasks.data.cleaning.scrub_step import Scrub
from tasks.data.reading.sources import FileSource, HubSource, SqlSource
from tasks.measure.quality.metrics import check_metric
from tasks.search.space import Search
from tasks.train.bases.base import Base
from tasks.train.methods import FineTune


def _by_name(value: Any) -> Any:
    """Let `- normalise` stand for `- {kind: normalise}`."""
    return {"kind": value} if isinstance(value, str) else value


def _method_by_name(value: Any) -> Any:
    """Do the same for augmentation, and say where mixup is: it makes no rows."""
    found = _by_name(value)
    if isinstance(found, dict) and found.get("kind") == "mixup":
        raise ValueError("'mixup' makes no rows, it mixes vectors while a model trains; set `mixup` in `train`, as in "
                         "train: {mixup: 0.2}")  # fmt: skip
    return found


CleanStep = Annotated[
    Annotated[
        Normalise | DropEmpty | Filter | Scrub | ExactDuplicates | NearDuplicates | Conflicts | LabelErrors | Outliers,
        Field(discriminator="kind"),
    ],
    BeforeValidator(_by_name),
]
AugmentMethod = Annotated[
    Annotated[
        Typos
        | Swap
        | Dropout
        | SwapSlots
        | Synonyms
        | MaskFill
        | BackTranslate
        | Paraphrase
        | Rebalance
        | Limit
        | KeepLabel,
        Field(discriminator="kind"),
    ],
    BeforeValidator(_method_by_name),
]


def _check_passes(passes: tuple[CompressPass, ...]) -> tuple[CompressPass, ...]:
    """Refuse what no artifact can go through, before a model is trained for it."""
    check_sequence(passes)
    return passes


def _check_methods(methods: tuple[AugmentMethod, ...]) -> tuple[AugmentMethod, ...]:
    """Refuse a filter that has nothing to filter."""
    if methods and methods[0].kind in FILTERS:
        raise ValueError(f"{methods[0].kind!r} filters what the methods before it made; put it after them, as in "
                         f"[swap, {methods[0].kind}]")  # fmt: skip
    return methods


def _with_filter(methods: tuple[AugmentMethod, ...]) -> tuple[AugmentMethod, ...]:
    """Return the methods with `keep_label` after the last one that makes texts, where none stands there.

    It is a part of the recipe like any other, so that what a record says was done is what was done. One that stands
    earlier lends it its parameters, so `teacher: none` switches it off.
    """
    kinds = [method.kind for method in methods]
    last = max((at for at, kind in enumerate(kinds) if kind not in (*FILTERS, "rebalance")), default=None)
    if last is None or "keep_label" in kinds[last:]:
        return methods
    filters = [method for method in methods if isinstance(method, KeepLabel)]
    return (*methods[: last + 1], filters[-1] if filters else KeepLabel(), *methods[last + 1 :])


AugmentMethods = Annotated[tuple[AugmentMethod, ...], AfterValidator(_check_methods), AfterValidator(_with_filter)]
CompressPasses = Annotated[tuple[CompressPass, ...], AfterValidator(_check_passes)]
Source = Annotated[FileSource | HubSource | SqlSource, Field(discriminator="kind")]

EVALUATION = ("valid", "select", "golden")
Share = Annotated[float, Field(gt=0, lt=1)]


def _check_shares(shares: dict[str, float]) -> None:
    """Refuse shares that leave nothing for train."""
    if sum(shares.values()) >= 1:
        raise ValueError(f"the shares of {', '.join(shares)} sum to {sum(shares.values()):g} and leave nothing for "
                         "train; lower them until they sum to less than 1")  # fmt: skip


@dataclass(frozen=True, config={"extra": "forbid"})
class SplitSpec:
    """Shares of the rows that each evaluation set gets where the source does not name it; train gets the rest."""

    valid: Share = 0.1
    select: Share = 0.15
    golden: Share = 0.15
    seed: int = 7
    by: Literal["hash", "time"] = "hash"  # time: the newest rows are golden, then select, valid; the oldest train


@dataclass(frozen=True, config={"extra": "forbid"})
class FeedbackSplit:
    """Whether harvested feedback joins the data, and the shares of it that refresh the evaluation sets."""

    use: bool = True
    min_rows: Annotated[int, Field(ge=1)] = 50  # fewer harvested rows wait for more
    valid: Share = 0.1
    select: Share = 0.15
    golden: Share = 0.3
    refresh: Literal["each_turn", "asked"] = "each_turn"  # asked: what is drawn for golden waits for the command


@dataclass(frozen=True, config={"extra": "forbid"})
class DataSpec:
    """Where rows come from, which columns matter, and how they are split and checked."""

    source: Source
    text: str = "text"
    target: str = "label"
    slices: tuple[str, ...] = ()
    time: str = ""  # the column that says when a row came into being, where there is one
    group: str = ""  # the column of the user or session whose rows stay in one split, where there is one
    out_of_scope: str = ""  # the target of rows that no label fits, where there are such rows
    split: SplitSpec = field(default_factory=SplitSpec)
    leakage: Literal["refuse", "drop"] = "refuse"
    checks: ValidateSpec = field(default_factory=ValidateSpec)
    feedback: FeedbackSplit = field(default_factory=FeedbackSplit)
    unlabelled: Source | None = None  # further texts without labels, in its column `text`, where training reads such
    production_texts: Annotated[int, Field(ge=0)] = 100_000  # of the newest predictions, read without their answers

    @field_validator("split")
    @classmethod
    def _leave_train(cls, split: SplitSpec, info: ValidationInfo) -> SplitSpec:
        """Check the shares of the sets that the source does not name; others are not used."""
        named = info.data["source"].splits if "source" in info.data else EVALUATION
        _check_shares({name: getattr(split, name) for name in EVALUATION if name not in named})
        if split.by == "time" and not info.data.get("time"):
            raise ValueError("`by: time` needs to know when a row came into being; name its column in `data.time`")
        return split

    @field_validator("feedback")
    @classmethod
    def _leave_feedback(cls, feedback: FeedbackSplit) -> FeedbackSplit:
        _check_shares({name: getattr(feedback, name) for name in EVALUATION})
        return feedback


@dataclass(frozen=True, config={"extra": "forbid"})
class Recipe:
    """The complete, declarative description of how a model is made; in a spec, how the baseline is."""

    base: Base = "minilm"
    clean: tuple[CleanStep, ...] = ()
    max_removed: Annotated[float, Field(gt=0, le=1)] = 0.5  # the share of rows that one cleaning step may remove
    augment: AugmentMethods = ()
    train: FineTune = field(default_factory=FineTune)
    compress: CompressPasses = ()


@dataclass(frozen=True, config={"extra": "forbid"})
class Lever:
    """One change to a recipe: exactly one of its parts, which it replaces, or a search for some of them."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
    clean: tuple[CleanStep, ...] | None = None
    augment: AugmentMethods | None = None
    base: Base | None = None
    train: FineTune | None = None
    search: Search | None = None
    compress: CompressPasses | None = None
    compress_search: CompressSearch | None = None
    claim: Literal["quality", "cost"] | None = None  # what it must improve; None: what its stage usually claims


def _check_minutes(minutes: Any) -> Any:
    if isinstance(minutes, int | float) and not isinstance(minutes, bool) and minutes <= 0:
        raise ValueError(
            f"a budget of {minutes:g} minutes tries no lever; give more than 0, or leave it out for no limit"
        )
    return minutes


@dataclass(frozen=True, config={"extra": "forbid"})
class BudgetSpec:
    """How long an iteration may try levers."""

    minutes: Annotated[Annotated[float, Field(gt=0, allow_inf_nan=False)] | None, BeforeValidator(_check_minutes)] = (
        None  # None: as long as they take
    )


@dataclass(frozen=True, config={"extra": "forbid"})
class BenchmarkSpec:
    """How speed is measured: interleaved blocks of batch-1 predictions, then batches, a grid and an open loop."""

    threads: Annotated[int, Field(ge=1, le=256)] | None = None  # None: every core of the machine
    samples: Annotated[int, Field(ge=50, le=100_000)] = 1000  # batch-1 predictions of each artifact
    blocks: Annotated[int, Field(ge=5, le=1000)] = 25
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    grid_batches: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = (1, 8, 32)  # sizes in the grid; empty: no grid
    arrivals: Annotated[int, Field(ge=0, le=100_000)] = 200  # of the open loop, at most; 0: no open loop
    arrival_per_s: Annotated[float, Field(gt=0, le=1e6)] | None = None  # None: half of what the slowest answers
    price_per_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None  # of the machine, in any currency


Family = Literal["column", "label", "length", "language", "found", "robust"]


@dataclass(frozen=True, config={"extra": "forbid"})
class QualitySpec:
    """What is measured of every model's answers beside the row scores."""

    costs: dict[str, dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]] = field(default_factory=dict)
    # costs[target][output] of a wrong answer, 1 where none is given; in the metric `cost`
    robustness: tuple[Literal["typos", "casing", "paraphrase"], ...] = ("typos", "casing", "paraphrase")
    robust_rows: Annotated[int, Field(ge=1)] = 500  # of select and golden, at most as many are perturbed


def _check_guards(guards: dict[str, float]) -> dict[str, float]:
    """Refuse a metric that nobody measures, before anything is trained for it."""
    for name in guards:
        check_metric(name)
    return guards


Guards = Annotated[dict[str, Annotated[float, Field(gt=0, lt=0.5)]], AfterValidator(_check_guards)]


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, config={"extra": "forbid"})
class Limits:
    """What a served model may take at most; a candidate beyond one of them is never promoted."""

    latency_p95_ms: Positive | None = None  # at batch 1, on the machine that the iteration runs on
    latency_p99_ms: Positive | None = None
    memory_mb: Positive | None = None  # peak of a process that only serves it, in 10^6 bytes
    size_mb: Positive | None = None  # of weights and tokenizer on disk, in 10^6 bytes
    cold_start_s: Positive | None = None  # from starting a process to its first answer


@dataclass(frozen=True, config={"extra": "forbid"})
class GateSpec:
    """What a candidate must prove before it may be promoted."""

    margin: Annotated[float, Field(gt=0, lt=0.5)] = 0.01  # the loss of quality that counts as none
    slice_margin: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    slice_min_rows: Annotated[int, Field(ge=1)] = 50  # smaller slices are reported, not judged
    prove: tuple[Family, ...] = ("column",)  # slices that must be shown no worse; others must not be shown worse
    guards: Guards = field(default_factory=lambda: {"macro_f1": 0.05})  # metrics that must be no worse, with margins
    resamples: Annotated[int, Field(ge=1000, le=1_000_000)] = 10_000  # of the bootstrap
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05  # of ever promoting a worse model on one golden set
    min_gain: Annotated[float, Field(gt=0, lt=1)] = 0.1  # a cost claim must save at least this share
    cost_margin: Annotated[float, Field(gt=0, lt=1)] = 0.25  # the extra time per text that a quality claim may cost
    max_noise: Annotated[float, Field(gt=0)] = 0.2  # half-width of a timing ratio's 95 % interval, as a share of it
    limits: Limits = field(default_factory=Limits)
    refresh: Annotated[float, Field(gt=0, le=1)] = 0.5  # the share of new golden rows that restores the budget
    promotion: Literal["auto", "review"] = "auto"


@dataclass(frozen=True, config={"extra": "forbid"})
class RegistrySpec:
    """Which MLflow holds the runs and versions; empty means SQLite in the project's own folder."""

    tracking_uri: str = ""
