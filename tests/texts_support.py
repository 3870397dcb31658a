"""A tiny base with a mask token, and lessons in tiny languages, for tests of training on texts."""

import random
from pathlib import Path

from tasks.train.lesson import Lesson
from tests.loop_support import FILLER, LATER, WORDS, messages


def make_masking_base(folder: Path, layers: int = 1) -> Path:
    """Return a folder with a BERT of 32 dimensions whose tokenizer has a mask token, made here from a seed."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[MASK]", *FILLER, *LATER, *(word for group in WORDS.values() for word in group)]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]",
                                        mask_token="[MASK]")  # fmt: skip
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder)
    config = BertConfig(vocab_size=len(words), hidden_size=32, num_hidden_layers=layers, num_attention_heads=2,
                        intermediate_size=32, max_position_embeddings=64)  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def domain_texts(rows: int, seed: int) -> list[str]:
    """Return texts of the few words that only production uses: which words come at all is there to learn."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(LATER, k=12)) for _ in range(rows)]


def lesson(rows: int = 80, seed: int = 1, **parts: object) -> Lesson:
    """Return a lesson of messages with four labels."""
    made = [(row["text"], row["label"]) for row in messages(rows + 40, seed)]
    return Lesson(made[:rows], made[rows:], tuple(sorted(WORDS)), **parts)  # type: ignore[arg-type]
