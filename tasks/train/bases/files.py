"""What lies in a base model's folder, looked at before anything loads it. Loads no weights and runs nothing."""

import json
from pathlib import Path
from typing import Any

from tasks.errors import ModelError

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")  # endings of weights that run code when they are read
EXPECTED = "a base is a folder with config.json, model.safetensors and tokenizer.json, or a hub id"


def check_folder(folder: Path) -> None:
    """Refuse a folder that is no base model that can be loaded safely.

    Raises:
        ModelError: it is empty, holds an adapter only or pickled weights only, or a file of it is missing or damaged.
    """
    names = {path.name for path in folder.iterdir()}
    if not names:
        raise ModelError(f"recipe.base: the folder '{folder}' is empty; {EXPECTED}")
    if "adapter_config.json" in names:
        raise ModelError(
            f"recipe.base: '{folder}' is a peft adapter (adapter_config.json), not a whole model; merge it into its "
            "base with peft's merge_and_unload(), save that with save_pretrained() and name its folder"
        )
    _check_config(folder)
    _check_weights(folder, names)


def _check_config(folder: Path) -> None:
    path = folder / "config.json"
    try:
        content: Any = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"recipe.base: '{folder}' has no config.json; {EXPECTED}") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"recipe.base: '{path}' is no JSON ({error}); copy the base's config.json again") from error
    if not isinstance(content, dict) or not isinstance(content.get("model_type"), str):
        raise ModelError(
            f"recipe.base: '{path}' says no `model_type`, such as bert; copy the config.json of these weights"
        )


def _check_weights(folder: Path, names: set[str]) -> None:
    if not any(name.endswith(".safetensors") for name in names):
        pickled = sorted(name for name in names if name.endswith(PICKLED))
        if pickled:
            raise ModelError(
                f"recipe.base: '{folder}': refused: safetensors only; {pickled[0]} is pickled, which can run code when "
                "it is read. Where you trust it, convert it with AutoModel.from_pretrained(it).save_pretrained(folder) "
                "of transformers, keep its tokenizer beside that, and name the new folder"
            )
        raise ModelError(f"recipe.base: '{folder}' has no weights (*.safetensors); {EXPECTED}")
    missing = [name for name in _parts(folder) if name not in names]
    if missing:
        raise ModelError(f"recipe.base: '{folder}' lacks {missing[0]}, a part of its weights; copy the base again")
    for name in sorted(name for name in names if name.endswith(".safetensors")):
        _check_safetensors(folder / name)


def _parts(folder: Path) -> list[str]:
    """Return the files that the index of weights in parts names; none where there is no index."""
    path = folder / "model.safetensors.index.json"
    if not path.is_file():
        return []
    try:
        return sorted({str(name) for name in json.loads(path.read_text("utf-8"))["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"recipe.base: '{path}' is no index of weights ({error!r}); copy the base again") from error


def _check_safetensors(path: Path) -> None:
    """Refuse a file that is cut short or is no safetensors: its header tells, and no weight is read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy"):
            return
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"recipe.base: '{path}' is cut short or no safetensors ({error}); copy it again, with config and tokenizer"
        ) from error
