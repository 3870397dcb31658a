"""Which fields of a step or method name a model: a folder or a hub id. Opens none."""

from functools import singledispatch
from typing import Any


@singledispatch
def model_fields(method: Any) -> tuple[str, ...]:
    """Return the names of the fields that name a model. A step or method that has such fields registers here."""
    return ()
