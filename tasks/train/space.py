"""What a search over recipes may vary, how long, and where its trials run. Searches nothing."""

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, config={"extra": "forbid"})
class Range:
    """Numbers from `low` to `high`, both included; whole ones where both are whole."""

    low: float
    high: float
    log: bool = False  # drawn evenly on the logarithmic scale


@dataclass(frozen=True, config={"extra": "forbid"})
class Search:
    """A search for the best `train` section and base: what it varies, its budget, where its trials run."""

    space: dict[str, Range | tuple[Any, ...]] = field(default_factory=dict)  # field of `train`, or `base`; empty: usual
    minutes: Annotated[float, Field(gt=0)] | None = None  # until no further trial begins
    trials: Annotated[int, Field(ge=1)] | None = None  # in all
    parallel: Annotated[int, Field(ge=1, le=1024)] = 1  # trials at a time
    runner: Literal["threads", "processes", "dask", "ray"] = "threads"  # Prefect's task runner
    address: str = ""  # of a Dask or Ray cluster; empty: one on this machine
    prune: bool = True  # stop what is clearly worse after an epoch (successive halving)
    trade: Annotated[float, Field(ge=0)] = 0.0  # the share of accuracy that half the cost per text is worth
    seed: int = 13
