"""How fast fine-tuning is against the `Trainer` with its default arguments: same base, rows, epochs and machine.

Ours runs before the default and, for one epoch, after it, so that a machine which grows slower or faster meanwhile
favours neither.
"""

import math
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.records import Candidate
from tasks.train.bases.base import resolve_base
from tasks.train.finetune import finetune
from tasks.train.lesson import Lesson
from tasks.train.methods import FineTune
from tests.bench.train_text import Rows, accuracy, labels_of, say, share_right

OURS = FineTune(epochs=3, learning_rate=2e-4, batch_size=32, max_length=64)


@dataclass(frozen=True)
class Arm:
    """One training: rows that it trained on per second, and its accuracy on test."""

    texts_per_s: float
    accuracy: float


def measure_speed(train: Rows, test: Rows, folder: Path) -> tuple[dict[str, float], Candidate]:
    """Return the figures, and the model that ours made."""
    first, model = _ours(train, test, folder / "first")
    default = train_by_default(train, test)
    again, _ = _ours(train, test, folder / "again", replace(OURS, epochs=1))
    mean = 2 / (1 / first.texts_per_s + 1 / again.texts_per_s)
    say(f"  ours before and after, default between: {first.texts_per_s:.1f}, {again.texts_per_s:.1f} and "
        f"{default.texts_per_s:.1f} texts/s")  # fmt: skip
    say(f"  accuracy: ours {first.accuracy:.4f}, default {default.accuracy:.4f}")
    return {
        "training_speedup": mean / default.texts_per_s,
        "accuracy_gap": 100 * (default.accuracy - first.accuracy),
        "our_texts_per_s": mean,
        "default_texts_per_s": default.texts_per_s,
        "our_accuracy": first.accuracy,
        "default_accuracy": default.accuracy,
    }, model


def _ours(train: Rows, test: Rows, folder: Path, method: FineTune = OURS) -> tuple[Arm, Candidate]:
    folder.mkdir(parents=True)
    lesson = Lesson(train, [], labels_of(train), work=folder / "work", tokens=folder / "tokens")
    started = time.perf_counter()
    model = finetune("minilm", method, lesson, folder / "model")
    seconds = time.perf_counter() - started  # all of it: loading, tokenising, checkpoints, saving
    return Arm(method.epochs * len(train) / seconds, accuracy(model, test)), model


def train_by_default(train: Rows, test: Rows) -> Arm:
    """Return the arm of the `Trainer` on a sequence classifier with every argument at its default."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    set_seed(OURS.seed)
    labels = labels_of(train)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        base = resolve_base("minilm")
        tokenizer = AutoTokenizer.from_pretrained(base)
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(labels))
        encoded = [tokenizer(text, truncation=True) for text, _ in train]
        rows = [{**tokens, "labels": labels.index(label)} for tokens, (_, label) in zip(encoded, train, strict=True)]
        arguments = TrainingArguments(output_dir=folder, num_train_epochs=OURS.epochs, disable_tqdm=True)
        trainer = Trainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer)
        trainer.train()
        seconds = time.perf_counter() - started
        found = trainer.predict([dict(tokenizer(text, truncation=True)) for text, _ in test]).predictions
    outputs = [labels[place] for place in torch.from_numpy(found).argmax(1).tolist()]
    assert math.isfinite(float(found.max()))
    return Arm(OURS.epochs * len(train) / seconds, share_right(outputs, test))
