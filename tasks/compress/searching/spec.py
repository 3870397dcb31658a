"""What a lever's `compress_search` may say. Searches nothing."""

from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass

Kind = Literal[
    "trim_vocabulary", "prune", "shrink", "factorise", "window", "distil", "recover", "int8", "int8_static",
    "weight_only", "cascade",
]  # fmt: skip
Runtime = Literal["onnx", "openvino", "tensorrt"]
KINDS: tuple[Kind, ...] = (
    "trim_vocabulary", "shrink", "factorise", "distil", "recover", "int8", "int8_static", "cascade",
)  # fmt: skip

RECOVERED: tuple[Kind, ...] = ("prune", "shrink", "factorise", "window", "distil")  # what a recovery may follow


@dataclass(frozen=True, config={"extra": "forbid"})
class CompressSearch:
    """Successive halving over sequences of passes: many cheap ones first, what is promising gets more training."""

    minutes: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 15.0
    passes: tuple[Kind, ...] = KINDS  # that it may use beside the exports
    runtimes: tuple[Runtime, ...] = ("onnx", "openvino")
    seed: int = 13

    @field_validator("passes")
    @classmethod
    def _check_passes(cls, passes: tuple[Kind, ...]) -> tuple[Kind, ...]:
        """Refuse a kind that stands twice, and a recovery from nothing."""
        twice = next((kind for kind in passes if passes.count(kind) > 1), None)
        if twice:
            raise ValueError(f"{twice!r} stands twice; keep one of them")
        if "recover" in passes and not set(RECOVERED).intersection(passes):
            raise ValueError(f"'recover' trains what another pass left, and none of {', '.join(RECOVERED)} is among "
                             "them; add one, or take it out")  # fmt: skip
        return passes

    @field_validator("runtimes")
    @classmethod
    def _check_runtimes(cls, runtimes: tuple[Runtime, ...]) -> tuple[Runtime, ...]:
        """Refuse a search with nothing to serve by, which a cascade needs behind it too."""
        if not runtimes:
            raise ValueError("no runtime is named, so that nothing could be served; give onnx, openvino or tensorrt")
        return runtimes
