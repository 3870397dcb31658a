"""A tiny base model and a small project for tests of the loop: everything real but small."""

import random
from pathlib import Path
from typing import Any

import yaml

WORDS = {
    "refund": ["money", "back", "return", "paid", "charge", "credit"],
    "delivery": ["parcel", "late", "courier", "address", "door", "track"],
    "account": ["password", "login", "email", "locked", "profile", "sign"],
    "praise": ["thanks", "great", "love", "nice", "good", "happy"],
}
FILLER = ["please", "the", "my", "now", "about", "it", "hello", "again", "today", "order", "with", "is", "and", "you"]
LATER = ["zeppelin", "quokka", "fjord", "sphinx", "onyx", "vortex"]  # words that only production uses


def make_tiny_base(folder: Path) -> Path:
    """Return a folder with a one-layer BERT of 32 dimensions and its word-level tokenizer, made here from a seed."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", *FILLER, *LATER, *(word for group in WORDS.values() for word in group)]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder)
    config = BertConfig(vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=32, max_position_embeddings=64)  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def messages(rows: int, seed: int, later: bool = False) -> list[dict[str, str]]:
    """Return distinct messages with a label and a channel; `later` ones use words that training never saw."""
    rng = random.Random(seed)
    made: dict[str, dict[str, str]] = {}
    while len(made) < rows:
        label = rng.choice(list(WORDS))
        hints = rng.sample(WORDS[label], 2)
        if later and label in ("refund", "delivery"):
            hints = rng.sample(LATER[:3] if label == "refund" else LATER[3:], 2)
        text = " ".join(rng.sample(hints + rng.sample(FILLER, 5) + [str(rng.randrange(10_000))], 8))
        made.setdefault(text, {"text": text, "label": label, "channel": rng.choice(["chat", "email"])})
    return [{"id": f"{seed}-{number}", **row} for number, row in enumerate(made.values())]


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    """Write rows as CSV."""
    import csv

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def make_project(root: Path, base: Path, store: Path | None = None, **changes: Any) -> Path:
    """Return the spec of a small project: an undertrained baseline, and levers that mend and compress it.

    Where a store is named, the project keeps what it builds there.
    """
    root.mkdir(parents=True, exist_ok=True)
    if store is not None:
        (root / ".ratchet").mkdir()
        (root / ".ratchet" / "store").symlink_to(store)
    write_csv(root / "train.csv", messages(500, seed=1))
    write_csv(root / "golden.csv", messages(400, seed=2))
    spec: dict[str, Any] = {
        "name": "tiny",
        "data": {
            "source": {"kind": "file", "splits": {"train": "train.csv", "golden": "golden.csv"}},
            "slices": ["channel"],
            "split": {"valid": 0.1, "select": 0.3},
            "leakage": "drop",
            "feedback": {"min_rows": 20, "golden": 0.4},
        },
        "recipe": {"base": str(base), "train": {"epochs": 1, "learning_rate": 0.001, "precision": "fp32"}},
        "levers": [
            {"name": "retrain", "train": {"epochs": 12, "learning_rate": 0.01, "patience": 12, "precision": "fp32"}},
            {"name": "compress", "compress": ["onnx", "int8"]},
        ],
        "benchmark": {"samples": 200, "blocks": 20, "threads": 1},
        "gate": {"margin": 0.03, "slice_margin": 0.1, "cost_margin": 0.95, "max_noise": 5},  # tiny models: all is noise
        "monitor": {"window": 200, "min_rows": 50},
    }
    for key, value in changes.items():
        spec[key] = value
    path = root / "ratchet.yaml"
    path.write_text(yaml.safe_dump(spec), "utf-8")
    return path
