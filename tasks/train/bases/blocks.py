"""Where families keep their attention heads and their feed-forward neurons, which can then be removed one by one.

A family is a `model_type` of transformers. Loads nothing, and removes nothing itself.
"""

from dataclasses import dataclass
from typing import Any

from tasks.errors import ModelError


@dataclass(frozen=True)
class Block:
    """Linear layers of one layer of an encoder that meet in the same units: what makes them, and what reads them."""

    makers: tuple[str, ...]  # their outputs are the units
    reader: str  # its inputs are the units
    stacked: int = 1  # how many times each maker holds all units, one after another
    further: tuple[str, ...] = ()  # makers that only some models of the family have
    size: str = ""  # the config's field for the number of units; empty: the config has none for it alone


_BERT_HEADS = Block(tuple(f"attention.self.{name}" for name in ("query", "key", "value")), "attention.output.dense")
_BERT_NEURONS = Block(("intermediate.dense",), "output.dense", size="intermediate_size")
_GATED = Block(("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj", size="intermediate_size")

_T5_READER = "layer.1.DenseReluDense.wo"
_T5_GATED = Block(("layer.1.DenseReluDense.wi_0", "layer.1.DenseReluDense.wi_1"), _T5_READER, size="d_ff")

HEADS = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), _BERT_HEADS),
    "deberta-v2": Block(
        tuple(f"attention.self.{name}" for name in ("query_proj", "key_proj", "value_proj")),
        "attention.output.dense",
        further=("attention.self.pos_key_proj", "attention.self.pos_query_proj"),
    ),
    "distilbert": Block(tuple(f"attention.{name}" for name in ("q_lin", "k_lin", "v_lin")), "attention.out_lin"),
    "modernbert": Block(("attn.Wqkv",), "attn.Wo", stacked=3),
    "gpt2": Block(("attn.c_attn",), "attn.c_proj", stacked=3),
}
NEURONS = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra", "mpnet", "deberta-v2", "longformer"),
                    _BERT_NEURONS),
    "distilbert": Block(("ffn.lin1",), "ffn.lin2", size="hidden_dim"),
    "modernbert": Block(("mlp.Wi",), "mlp.Wo", stacked=2, size="intermediate_size"),
    "gpt2": Block(("mlp.c_fc",), "mlp.c_proj", size="n_inner"),
    "starcoder2": Block(("mlp.c_fc",), "mlp.c_proj", size="intermediate_size"),
    "phi3": Block(("mlp.gate_up_proj",), "mlp.down_proj", stacked=2, size="intermediate_size"),
    **dict.fromkeys(("mistral", "qwen2", "qwen3"), _GATED),
    **dict.fromkeys(("t5", "mt5", "umt5"), Block(("layer.1.DenseReluDense.wi",), _T5_READER, size="d_ff")),
}  # fmt: skip


def heads_of(config: Any) -> Block:
    """Return where the attention heads of an encoder are, by its config.

    Raises:
        ModelError: its heads cannot be removed one by one.
    """
    family = config.model_type
    if family not in HEADS:
        raise ModelError(
            f"compress: the heads of {family} cannot be removed one by one (layers or heads share something, or it is "
            f"not known where they are); leave `heads` out, or use one of {', '.join(HEADS)}"
        )
    return HEADS[family]


def head_size(config: Any) -> int:
    """Return how many dimensions each head has."""
    return int(getattr(config, "attention_head_size", None) or config.hidden_size // config.num_attention_heads)


def neurons_of(config: Any) -> Block:
    """Return where the feed-forward neurons of an encoder are, by its config.

    Raises:
        ModelError: it is not known where they are.
    """
    block = NEURONS.get(config.model_type)
    if block is None:
        raise ModelError(
            f"compress: it is not known where {config.model_type} has its feed-forward neurons; leave `neurons` out, "
            f"or use one of {', '.join(NEURONS)}"
        )
    return _T5_GATED if block.reader == _T5_READER and config.is_gated_act else block
