"""Domain adaptation: the encoder learns the language of unlabelled texts before fine-tuning (Gururangan et al. 2020).

Encoders of the BERT kind learn to fill in masked tokens (Devlin et al. 2019), those of the GPT kind the next token.
Others, T5's encoder among them, have no such task here and are refused. Chooses no texts.
"""

import logging
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    DataCollatorForLanguageModeling,
)

from tasks.errors import ModelError
from tasks.train.methods import Adapt
from tasks.train.model import EncoderClassifier
from tasks.train.phases import Notes, run_phase

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

HELD_OUT = 0.1  # the share of the texts that tells how well the language is known
MOST_HELD_OUT = 256
IGNORED = -100  # the label of a token that the loss leaves out

Collate = Callable[[list[dict[str, Any]]], dict[str, Tensor]]


def adapt(
    model: EncoderClassifier,
    tokenizer: "PreTrainedTokenizerBase",
    method: Adapt,
    unlabelled: Sequence[str],
    labelled: Sequence[str],
    *,
    max_length: int,
    precision: str,
    seed: int,
    checkpoint: str = "",
) -> Notes:
    """Train the encoder in place and return what is noted: the texts, and the loss on texts held out before and after.

    Args:
        unlabelled: production's texts.
        labelled: the train rows' texts, which are read too.
        checkpoint: the base's folder or hub id, whose own language head is used where it has one.

    Raises:
        ModelError: the encoder's family has no such task, or the loss is not a finite number.
    """
    texts = _draw(unlabelled, labelled, method.max_texts, seed)
    if not unlabelled:
        log.info("adapt: there are no unlabelled texts, the %d texts of the train rows stand alone", len(texts))
    language, masked = language_model(model, tokenizer, checkpoint)
    rows = _encode(texts, tokenizer, max_length, 1 if masked else 2)  # the first token has none before it
    held_out = rows[: min(MOST_HELD_OUT, int(HELD_OUT * len(rows)))]
    learnt = rows[len(held_out) :]
    if not learnt:
        log.info("adapt: skipped, no text has a token to learn from")
        return {}
    measured = _batches(held_out or learnt, _collator(tokenizer, masked, method.mask_share, seed), method.batch_size)
    before = _mean_loss(language, measured)
    run_phase("adapt", language, learnt, _collator(tokenizer, masked, method.mask_share, seed + 1), loss=_own_loss,
              epochs=method.epochs, learning_rate=method.learning_rate, batch_size=min(method.batch_size, len(learnt)),
              precision=precision, seed=seed)  # fmt: skip
    after = _mean_loss(language, measured)
    log.info("adapt: %d texts, loss %.3f before and %.3f after", len(learnt), before, after)
    return {"adapt_texts": float(len(learnt)), "adapt_loss_before": before, "adapt_loss_after": after}


def language_model(
    model: EncoderClassifier, tokenizer: "PreTrainedTokenizerBase", checkpoint: str = ""
) -> tuple[nn.Module, bool]:
    """Return a language model around the classifier's own encoder, and whether it fills masks or goes on with texts.

    Its head is the checkpoint's, where one is named and has it, else fresh; its weights are the encoder's embeddings
    where the family ties them.

    Raises:
        ModelError: the family has neither, or the tokenizer no mask token.
    """
    config = type(model.encoder.config)
    masked = config in MODEL_FOR_MASKED_LM_MAPPING
    if not masked and config not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(
            f"train.adapt: {model.encoder.config.model_type} encoders have no masked or causal language model to go on "
            "with; choose a base of the BERT or GPT kind, or leave `adapt` out"
        )
    if masked and tokenizer.mask_token is None:
        raise ModelError(
            "train.adapt: the base's tokenizer has no mask token, so that no word can be masked; choose a base that "
            "has one, or leave `adapt` out"
        )
    kind = AutoModelForMaskedLM if masked else AutoModelForCausalLM
    language: Any = _pretrained(kind, checkpoint) if checkpoint else None
    if language is None or _form(language) != _form(model.encoder):
        language = kind.from_config(model.encoder.config)
    setattr(language, language.base_model_prefix, model.encoder)
    language.tie_weights()
    return language, masked


def _form(model: Any) -> tuple[Any, ...]:
    """Return what two models must share for the head of one to fit the other's encoder."""
    return type(model.config), model.config.hidden_size, model.config.vocab_size


def _pretrained(kind: Any, checkpoint: str) -> Any:
    """Return the checkpoint's language model; None where what it holds does not load as one."""
    try:
        return kind.from_pretrained(checkpoint, use_safetensors=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        log.info("adapt: the language head is fresh, the base's does not load (%s)", str(error).splitlines()[:1])
        return None


def _draw(unlabelled: Sequence[str], labelled: Sequence[str], most: int, seed: int) -> list[str]:
    """Return the different texts, shuffled, at most so many."""
    texts = [text for text in dict.fromkeys([*labelled, *unlabelled]) if text.strip()]
    return random.Random(seed).sample(texts, min(most, len(texts)))


def _encode(
    texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", max_length: int, shortest: int
) -> list[dict[str, Any]]:
    """Return the tokens of the texts that have as many of their own."""
    if not texts:
        return []
    found = {**tokenizer([*texts], truncation=True, max_length=max_length, return_special_tokens_mask=True)}
    rows = [{name: values[row] for name, values in found.items()} for row in range(len(texts))]
    return [row for row in rows if row["special_tokens_mask"].count(0) >= shortest]


def _collator(tokenizer: "PreTrainedTokenizerBase", masked: bool, share: float, seed: int) -> Collate:
    """Return what makes batches with labels; each has a label at least, for the mean over none is no number."""
    draw = DataCollatorForLanguageModeling(tokenizer, mlm=masked, mlm_probability=share if masked else None, seed=seed)

    def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        batch: dict[str, Tensor] = {**draw([{**row} for row in rows])}
        batch.pop("special_tokens_mask", None)
        if bool((batch["labels"] == IGNORED).all()):  # then no token was replaced either
            place = rows[0]["special_tokens_mask"].index(0)
            place += int(batch["attention_mask"][0].argmax())  # padded on either side
            batch["labels"][0, place] = batch["input_ids"][0, place]
        return batch

    return collate


def _batches(rows: Sequence[dict[str, Any]], collate: Collate, size: int) -> list[dict[str, Tensor]]:
    return [collate([*rows[start : start + size]]) for start in range(0, len(rows), size)]


@torch.no_grad()
def _mean_loss(language: nn.Module, batches: Sequence[dict[str, Tensor]]) -> float:
    """Return the mean loss over the batches' labelled tokens, without dropout."""
    device, total, tokens = next(language.parameters()).device, 0.0, 0
    language.eval()
    for batch in batches:
        count = int((batch["labels"] != IGNORED).sum())
        total += float(language(**{name: values.to(device) for name, values in batch.items()}).loss) * count
        tokens += count
    language.train()
    return total / max(1, tokens)


def _own_loss(language: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    found: Tensor = language(**inputs).loss
    return found
