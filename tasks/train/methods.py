"""The parameters of training: what a recipe's section `train` may say. Trains nothing and loads nothing heavy."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic.dataclasses import dataclass

from tasks.train.bases.base import Base

Rate = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, config={"extra": "forbid"})
class Full:
    """Every weight learns; with `layer_decay` below 1 each layer learns slower than the one above it."""

    kind: Literal["full"] = "full"
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0  # rate of a layer to that above; the top one's is the head's


@dataclass(frozen=True, config={"extra": "forbid"})
class Frozen:
    """Only the head learns, over vectors that the encoder makes once."""

    kind: Literal["frozen"] = "frozen"


@dataclass(frozen=True, config={"extra": "forbid"})
class Gradual:
    """The head learns first, then one layer after another from the top down (Howard and Ruder 2018, ULMFiT)."""

    kind: Literal["gradual"] = "gradual"
    share: Annotated[float, Field(gt=0, le=1)] = 0.5  # of all steps, after which everything learns
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0


@dataclass(frozen=True, config={"extra": "forbid"})
class Lora:
    """Low-rank adapters learn beside frozen weights (Hu et al. 2022); they are merged into them at the end."""

    kind: Literal["lora"] = "lora"
    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0
    dropout: Share = 0.0
    targets: tuple[str, ...] = ()  # endings of module names; empty: every linear layer of the encoder


def by_kind(value: Any) -> Any:
    """Let `frozen` stand for `{kind: frozen}`."""
    return {"kind": value} if isinstance(value, str) else value


Tune = Annotated[Annotated[Full | Frozen | Gradual | Lora, Field(discriminator="kind")], BeforeValidator(by_kind)]


@dataclass(frozen=True, config={"extra": "forbid"})
class Adapt:
    """Masked-language-model training on unlabelled texts before fine-tuning (Gururangan et al. 2020)."""

    epochs: Annotated[float, Field(gt=0, le=100)] = 1
    learning_rate: Rate = 1e-4
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    mask_share: Annotated[float, Field(gt=0, lt=1)] = 0.15
    max_texts: Annotated[int, Field(ge=1)] = 100_000  # drawn where there are more


@dataclass(frozen=True, config={"extra": "forbid"})
class Contrastive:
    """Contrastive training of the encoder on pairs of texts before the head (Tunstall et al. 2022, SetFit).

    `supcon` takes every pair in a batch (Khosla et al. 2020), `cosine` SetFit's drawn pairs, which cost far more texts.
    """

    below: Annotated[int, Field(ge=2)] = 20  # rows of the rarest class, from which on it is skipped
    epochs: Annotated[int, Field(ge=1, le=100)] | None = None  # over rows or pairs; None: 10 of supcon, 1 of cosine
    learning_rate: Rate = 1e-4
    batch_size: Annotated[int, Field(ge=2, le=4096)] = 32  # pairs
    loss: Literal["cosine", "supcon"] = "supcon"
    pairs: Annotated[int, Field(ge=1)] = 20  # of cosine, of each kind for every row
    temperature: Annotated[float, Field(gt=0, le=10)] = 0.1  # of supcon


@dataclass(frozen=True, config={"extra": "forbid"})
class Distil:
    """A student learns from a teacher's logits and from labels (Hinton et al. 2015)."""

    teacher: Literal["recipe", "champion"] = "recipe"  # recipe: the same recipe without distillation, trained first
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (
        13,
    )  # of the recipe's teachers, whose answers are averaged
    student: tuple[Annotated[int, Field(ge=0)], ...] | Base = ()  # layers of the teacher, a base; empty: as the teacher
    temperature: Annotated[float, Field(gt=0, le=100)] = 2.0
    mix: Annotated[float, Field(ge=0, le=1)] = 0.9  # weight of the teacher's answers, against that of the labels
    unlabelled: bool = True  # whether production's unlabelled texts are learnt from too


@dataclass(frozen=True, config={"extra": "forbid"})
class Distributed:
    """Training in several processes, by `accelerate launch`."""

    processes: Annotated[int, Field(ge=1, le=4096)] = 2  # in all
    strategy: Literal["ddp", "fsdp"] = "ddp"
    machines: Annotated[int, Field(ge=1)] = 1  # with as many processes each; the others join by `ratchet join`
    main_address: str = ""  # host:port of this, the first machine, as the others reach it; empty where it is alone


@dataclass(frozen=True, config={"extra": "forbid"})
class FineTune:
    """Hyperparameters of fine-tuning: AdamW, decay after warm-up, best epoch on `valid` kept."""

    epochs: Annotated[int, Field(ge=1, le=1000)] = 3
    learning_rate: Rate = 1e-4
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32  # texts of one step, over all processes
    weight_decay: Share = 0.01
    warmup_share: Share = 0.1
    schedule: Literal["linear", "cosine", "constant"] = "linear"  # after warm-up
    tune: Tune = Full()
    start: Literal["base", "champion"] = "base"
    label_smoothing: Share = 0.0
    mixup: Annotated[float, Field(ge=0, le=10)] = 0.0  # alpha: pairs of texts mixed, their pooled vectors; 0: none
    r_drop: Annotated[float, Field(ge=0, le=100)] = 0.0  # weight of two passes' divergence (Liang et al. 2021); 0: none
    focal: Annotated[float, Field(ge=0, le=10)] = 0.0  # gamma of the focal loss (Lin et al. 2017); 0: cross-entropy
    class_weights: Literal["none", "balanced"] = "none"  # balanced: each class weighs the same in sum
    dropout: Share = 0.1  # before the head
    ema: Share = 0.0  # decay of the moving average of weights that is kept in their place; 0: none
    patience: Annotated[int, Field(ge=1)] = 2  # epochs without a better loss on `valid` before it stops
    max_length: Annotated[int, Field(ge=4, le=8192)] = 128  # tokens
    pooling: Literal["mean", "first", "last"] = "mean"  # last or mean for decoders, whose first token sees no other
    precision: Literal["auto", "bf16", "fp16", "tf32", "fp32"] = "auto"
    accumulate: Annotated[int, Field(ge=1)] = 1  # parts of a batch that pass one after another
    checkpointing: bool = False  # activations are computed again instead of kept
    adapt: Adapt | None = None
    contrastive: Contrastive | None = None
    distil: Distil | None = None
    distributed: Distributed | None = None
    seed: int = 13

    @model_validator(mode="after")
    def _check_together(self) -> "FineTune":
        if isinstance(self.tune, Frozen) and self.r_drop and not self.dropout:
            raise ValueError("with `tune: frozen` only the dropout before the head differs between the two passes of "
                             "`r_drop`, and `dropout` is 0; raise it, or leave r_drop out")  # fmt: skip
        if isinstance(self.tune, Frozen) and self.checkpointing:
            raise ValueError(
                "with `tune: frozen` no activations are kept that `checkpointing` could spare; leave it out"
            )
        if not isinstance(self.tune, Full) and self.distributed and self.distributed.strategy == "fsdp":
            raise ValueError(f"fsdp shards a model all of whose weights learn, and with `tune: {self.tune.kind}` some "
                             "do not; set distributed.strategy: ddp")  # fmt: skip
        if (self.adapt or self.contrastive) and self.distributed and self.distributed.strategy == "fsdp":
            raise ValueError("fsdp shards fine-tuning alone, and `adapt` and `contrastive` train a whole model before "
                             "it; set distributed.strategy: ddp, or leave them out")  # fmt: skip
        if self.start == "champion" and self.distil and self.distil.student != ():
            raise ValueError("`start: champion` and `distil.student` both say where training starts; leave one out")
        return self


def teacher_methods(method: FineTune) -> list[FineTune]:
    """Return how the teachers are trained that the method itself makes: one for each seed, or none."""
    distil = method.distil
    if distil is None or distil.teacher != "recipe":
        return []
    return [replace(method, distil=None, seed=seed) for seed in distil.seeds]


def reads_unlabelled(method: FineTune) -> bool:
    """Return whether the method learns from texts without labels, where there are some."""
    return method.adapt is not None or (method.distil is not None and method.distil.unlabelled)


def learns_from_champion(method: FineTune) -> bool:
    """Return whether the method starts from the champion's model or learns its answers."""
    return method.start == "champion" or (method.distil is not None and method.distil.teacher == "champion")
