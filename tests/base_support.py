"""Tiny base models of every family, made here from configs: the real architectures, two layers of 32 dimensions."""

from pathlib import Path
from typing import Any

from tests.loop_support import FILLER, LATER, WORDS

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
VOCABULARY = [*SPECIAL, *FILLER, *LATER, *(word for group in WORDS.values() for word in group)]
SIZES: dict[str, Any] = {"vocab_size": len(VOCABULARY), "hidden_size": 32, "num_hidden_layers": 2, "pad_token_id": 0,
                         "num_attention_heads": 2, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
WIDE: dict[str, Any] = {"intermediate_size": 64, "max_position_embeddings": 64}
GROUPED: dict[str, Any] = {**WIDE, "num_key_value_heads": 1}
OWN: dict[str, dict[str, Any]] = {  # what the config of a family says beside the sizes
    "bert": WIDE,
    "roberta": {**WIDE, "max_position_embeddings": 65, "type_vocab_size": 1},
    "distilbert": {"hidden_dim": 64, "max_position_embeddings": 64},
    "mpnet": {**WIDE, "max_position_embeddings": 66, "pad_token_id": 1},
    "deberta-v2": {**WIDE, "type_vocab_size": 0, "relative_attention": True, "pos_att_type": ["p2c", "c2p"],
                   "position_buckets": 16, "share_att_key": True, "norm_rel_ebd": "layer_norm"},
    "modernbert": {"intermediate_size": 64, "max_position_embeddings": 1024, "cls_token_id": 1, "sep_token_id": 2},
    "t5": {"d_ff": 64, "d_kv": 16},
    "gpt2": {"n_inner": 64, "n_positions": 64},
    "longformer": {**WIDE, "max_position_embeddings": 130, "attention_window": 16},
    "mistral": GROUPED,
    "mixtral": {**GROUPED, "num_local_experts": 2},
    "phi3": GROUPED,
    "qwen2": GROUPED,
    "qwen3": {**GROUPED, "head_dim": 16},
    "starcoder2": GROUPED,
    "albert": {**WIDE, "embedding_size": 16},
}  # fmt: skip


def make_config(family: str, **changes: Any) -> Any:
    """Return the tiny config of a family."""
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[family](**{**SIZES, **OWN[family], **changes})


def make_tokenizer(pad: str = "<pad>", **options: Any) -> Any:
    """Return a fast word-level tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>",
                                   **({"pad_token": pad} if pad else {}), **options)  # fmt: skip


def make_base(folder: Path, family: str, **changes: Any) -> Path:
    """Return a folder with a tiny base model of a family as its authors publish one: whole, with safetensors."""
    import torch
    from transformers import AutoModel

    torch.manual_seed(0)
    AutoModel.from_config(make_config(family, **changes)).save_pretrained(folder)
    pad = {"gpt2": "", "mpnet": "<s>"}.get(family, "<pad>")  # GPT-2's tokenizer has none
    make_tokenizer(pad, padding_side="left" if family == "gpt2" else "right").save_pretrained(folder)
    return folder
