"""What a lever's `compress_search` may say. Searches nothing."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

Kind = Literal[
    "trim_vocabulary", "prune", "shrink", "factorise", "window", "distil", "recover", "int8", "int8_static",
    "weight_only", "cascade",
]  # fmt: skip
KINDS: tuple[Kind, ...] = (
    "trim_vocabulary", "shrink", "factorise", "distil", "recover", "int8", "int8_static", "cascade",
)  # fmt: skip


@dataclass(frozen=True, config={"extra": "forbid"})
class CompressSearch:
    """Successive halving over sequences of passes: many cheap ones first, what is promising gets more training."""

    minutes: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 15.0
    passes: tuple[Kind, ...] = KINDS  # that it may use beside the exports
    runtimes: Annotated[tuple[Literal["onnx", "openvino", "tensorrt"], ...], Field(min_length=1)] = ("onnx", "openvino")
    seed: int = 13
