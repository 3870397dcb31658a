"""Which function makes which compression pass. A pass takes a candidate and writes the next one into a folder."""

from functools import singledispatch
from pathlib import Path
from typing import Any

from tasks.compress.export import Onnx, export_onnx
from tasks.compress.quantize import Int8Dynamic, quantize_int8
from tasks.records import Candidate


@singledispatch
def compress_pass(method: Any, source: Candidate, folder: Path) -> Candidate:
    """Return the source after the pass, as a sealed artifact in `folder`.

    Raises:
        ModelError: the pass is not legal on this source.
        TypeError: the method is no compression pass.
    """
    raise TypeError(f"{type(method).__name__} is no compression pass")


@compress_pass.register
def _(method: Onnx, source: Candidate, folder: Path) -> Candidate:
    return export_onnx(source, folder)


@compress_pass.register
def _(method: Int8Dynamic, source: Candidate, folder: Path) -> Candidate:
    return quantize_int8(method, source, folder)
