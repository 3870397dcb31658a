"""Domain adaptation: the encoder learns the language of unlabelled texts before fine-tuning (Gururangan et al. 2020).

Encoders of the BERT kind learn to fill in masked tokens (Devlin et al. 2019), those of the GPT kind the next token.
Others, T5's encoder among them, have no such task here and are refused. Chooses no texts.
"""

import logging
import math
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    DataCollatorForLanguageModeling,
    DataCollatorForTokenClassification,
)

from tasks.errors import ModelError
from tasks.train.engine.sampler import LengthGrouped
from tasks.train.engine.tokens import token_counts
from tasks.train.engine.trainer import Phase
from tasks.train.lesson import Lesson
from tasks.train.methods import Adapt, FineTune
from tasks.train.model import EncoderClassifier
from tasks.train.objectives import NO_LABEL
from tasks.train.phases import Notes, run_phase
from tasks.train.processes.group import mean_over_processes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

HELD_OUT = 0.1  # the share of the texts that tells how well the language is known
MOST_HELD_OUT = 256

Collate = Callable[[list[dict[str, Any]]], dict[str, Tensor]]


def adapt(
    model: EncoderClassifier,
    tokenizer: "PreTrainedTokenizerBase",
    own: Adapt,
    method: FineTune,
    lesson: Lesson,
    checkpoint: str = "",
) -> Notes:
    """Train the encoder in place and return what is noted: the texts, and the loss on texts held out before and after.

    Args:
        own: what the method says of adaptation.
        lesson: its unlabelled texts are production's; those of its train rows are read too.
        checkpoint: the base's folder or hub id, whose own language head is used where it has one.

    Raises:
        ModelError: the encoder's family has no such task, or what `run_phase` raises.
    """
    texts = _draw([text for text, _ in lesson.train], lesson.unlabelled, own.max_texts, method.seed)
    if not lesson.unlabelled:
        log.info("adapt: there are no unlabelled texts, the %d texts of the train rows stand alone", len(texts))
    language, masked = language_model(model, tokenizer, checkpoint)
    rows = _encode(texts, tokenizer, method.max_length, 1 if masked else 2)  # the first token has none before it
    held_out = rows[: min(MOST_HELD_OUT, int(HELD_OUT * len(rows)))]
    learnt = rows[len(held_out) :]
    if not learnt:
        log.info("adapt: skipped, no text has a token to learn from")
        return {}
    collates = [_collator(tokenizer, masked, own.mask_share, method.seed + at) for at in range(2)]
    measured = _batches(held_out or learnt, collates[0], own.batch_size)
    before = _mean_loss(language, measured)
    read = [learnt[row] for row in _order(learnt, own, method.seed)]
    run_phase(Phase("adapt", collates[1]), language, tokenizer, _own_loss, own, method, read, lesson.work,
              lambda row: lesson.row_name(read[row]["text"]))  # fmt: skip
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


def _draw(labelled: Sequence[str], unlabelled: Sequence[str], most: int, seed: int) -> dict[str, int]:
    """Return the different texts with their places among all, shuffled, at most so many."""
    places: dict[str, int] = {}
    for place, text in enumerate((*labelled, *unlabelled)):
        places.setdefault(text, place)
    texts = [text for text in places if text.strip()]
    return {text: places[text] for text in random.Random(seed).sample(texts, min(most, len(texts)))}


def _encode(
    texts: dict[str, int], tokenizer: "PreTrainedTokenizerBase", max_length: int, shortest: int
) -> list[dict[str, Any]]:
    """Return the tokens of the texts that have as many of their own, each with its text's place."""
    if not texts:
        return []
    found = {**tokenizer([*texts], truncation=True, max_length=max_length, return_special_tokens_mask=True)}
    found["text"] = [*texts.values()]
    rows = [{name: values[row] for name, values in found.items()} for row in range(len(texts))]
    return [row for row in rows if row["special_tokens_mask"].count(0) >= shortest]


def _order(rows: Sequence[dict[str, Any]], own: Adapt, seed: int) -> list[int]:
    """Return the places of the rows in the order in which training reads them, for all epochs."""
    grouped, found = LengthGrouped(token_counts(rows), own.batch_size, seed), list[int]()
    for epoch in range(math.ceil(own.epochs)):
        grouped.set_epoch(epoch)
        found += grouped
    return found[: max(1, round(own.epochs * len(rows)))]


def _collator(tokenizer: "PreTrainedTokenizerBase", masked: bool, share: float, seed: int) -> Collate:
    """Return what makes batches with labels; each has a label at least, for the mean over none is no number.

    The masks of a row follow from the seed and its number alone: they are the same however often a training was killed,
    and whatever other rows stand in its batch.
    """
    draw = DataCollatorForLanguageModeling(tokenizer, mlm=masked, mlm_probability=share if masked else None)
    pad = DataCollatorForTokenClassification(tokenizer)

    def mask(row: dict[str, Any]) -> dict[str, Any]:
        tokens, kept = torch.tensor([row["input_ids"]]), torch.tensor([row["special_tokens_mask"]])
        [drawn] = np.random.SeedSequence([seed, row["rows"]]).generate_state(1, np.uint32)
        draw.generator = torch.Generator().manual_seed(int(drawn))
        tokens, labels = draw.torch_mask_tokens(tokens, kept)
        return {**row, "input_ids": tokens[0].tolist(), "labels": labels[0].tolist()}

    def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        learnt = [mask(row) if masked else {**row, "labels": row["input_ids"]} for row in rows]
        batch: dict[str, Tensor] = {**pad(learnt)}
        del batch["special_tokens_mask"], batch["text"]
        if bool((batch["labels"] == NO_LABEL).all()):  # then no token was replaced either
            place = rows[0]["special_tokens_mask"].index(0)
            place += int(batch["attention_mask"][0].argmax())  # padded on either side
            batch["labels"][0, place] = batch["input_ids"][0, place]
        return batch

    return collate


def _batches(rows: Sequence[dict[str, Any]], collate: Collate, size: int) -> list[dict[str, Tensor]]:
    numbered = [{**row, "rows": number} for number, row in enumerate(rows)]
    return [collate(numbered[start : start + size]) for start in range(0, len(rows), size)]


@torch.no_grad()
def _mean_loss(language: nn.Module, batches: Sequence[dict[str, Tensor]]) -> float:
    """Return the mean loss over the batches' labelled tokens, without dropout."""
    device, total, tokens = next(language.parameters()).device, 0.0, 0
    language.eval()
    for batch in batches:
        count = int((batch["labels"] != NO_LABEL).sum())
        texts = {name: values.to(device) for name, values in batch.items() if name != "rows"}
        total += float(language(**texts).loss) * count
        tokens += count
    language.train()
    return total / max(1, tokens)


def _own_loss(language: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the model's mean loss over labelled tokens, such that its mean over processes is that of all tokens."""
    loss: Tensor = language(**inputs).loss
    count = (inputs["labels"] != NO_LABEL).sum().double()
    return loss * (count / mean_over_processes(count).to(count.device)).float(), {}
