"""Tiny models for the tests of augmentation: made here from a seed, of random weights, in the files that a hub has."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORDS = ["lost", "card", "bank", "money", "box", "late", "door", "paid", "fee", "pin", "cash", "track"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<s>", "</s>"]


def make_tokenizer(folder: Path, words: Sequence[str] = WORDS, **special: str) -> Any:
    """Return a word-level tokenizer, saved in the folder; it has the special tokens that are named."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", **special}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **named)
    tokenizer.model_max_length = 32
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_masked_model(folder: Path, mask: bool = True) -> Path:
    """Return a folder with a one-layer BERT that predicts words, and a tokenizer with or without a mask token."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    tokenizer = make_tokenizer(folder, **({"mask_token": "[MASK]"} if mask else {}))
    torch.manual_seed(1)
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=32, max_position_embeddings=32)  # fmt: skip
    BertForMaskedLM(config).save_pretrained(folder)
    return folder


def make_seq2seq(folder: Path, seed: int = 1, bias: dict[str, float] | None = None, repeats: bool = False) -> Path:
    """Return a folder with a one-layer Marian model; `bias` is added to the scores of words that it writes.

    Its own settings keep it from writing a word twice, but for one that `repeats`: random weights like to.
    """
    import torch
    from transformers import MarianConfig, MarianMTModel

    tokenizer = make_tokenizer(folder, eos_token="</s>")
    torch.manual_seed(seed)
    end = tokenizer.convert_tokens_to_ids("</s>")
    config = MarianConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=32,
        pad_token_id=0, eos_token_id=end, decoder_start_token_id=0, forced_eos_token_id=None, init_std=1.0,
    )  # fmt: skip
    model = MarianMTModel(config)
    for word, value in (bias or {}).items():
        model.final_logits_bias[0, tokenizer.convert_tokens_to_ids(word)] += value
    model.generation_config.suppress_tokens = [1, 2, 3, 4, 5]
    model.generation_config.no_repeat_ngram_size = 0 if repeats else 1
    model.save_pretrained(folder)
    return folder
