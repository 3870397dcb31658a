"""A limit on all that the methods before it made together. It drops rows by their hashes, and makes none."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.data.augmentation.augment import SPENT, Given, Made, draw, propose


@dataclass(frozen=True, config={"extra": "forbid"})
class Limit:
    """Keep `max_rows` (1 or more) of the rows that the methods before it made, the copies of `rebalance` included."""

    max_rows: Annotated[int, Field(ge=1)]
    kind: Literal["limit"] = "limit"


@propose.register(Limit)
def _limit(method: Limit, given: Given) -> Made:
    ranked = sorted(given.made, key=lambda row: (draw(given, row), row["id"]))
    dropped = {row["id"]: SPENT for row in ranked[method.max_rows :]}
    return Made(left_out={SPENT: len(dropped)} if dropped else {}, dropped=dropped)
