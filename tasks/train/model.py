"""The PyTorch classifier: an encoder, pooling and a linear head; loading, saving and predicting. Trains nothing."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from serving.predictors import Predictions, predict_classes, tokenizer_function
from tasks.artifacts import seal
from tasks.errors import ModelError
from tasks.records import Candidate
from tasks.train.base import resolve_base


class EncoderClassifier(nn.Module):
    """Encoder, mean or first-token pooling, dropout, linear head; and the loss that training lowers."""

    label_smoothing: float = 0.0
    mixup: float = 0.0

    def __init__(self, encoder: PreTrainedModel, labels: int, pooling: str, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = encoder.config  # the Trainer looks for it
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.config.hidden_size, labels)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return `logits` [batch, labels], and the cross-entropy `loss` where labels are given.

        With `mixup` both are those of mixed texts while the model trains, and of the texts as they are otherwise.
        """
        extra = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **extra)[0]  # [batch, tokens, hidden]
        pooled = mean_pool(hidden, attention_mask) if self.pooling == "mean" else hidden[:, 0]  # [batch, hidden]
        if labels is not None and self.training and self.mixup:
            return self._mixed(pooled, labels)
        logits = self.head(self.dropout(pooled))
        return {"logits": logits} if labels is None else {"loss": self._loss(logits, labels), "logits": logits}

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy with smoothed labels (Szegedy et al. 2016), the mean over the batch."""
        return nn.functional.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing)

    def _mixed(self, pooled: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return logits and loss of the batch's vectors mixed in pairs, in one proportion drawn from Beta(a, a).

        Zhang et al. 2018, "mixup: Beyond empirical risk minimization", on hidden vectors instead of inputs as in
        Verma et al. 2019, "Manifold mixup", and Guo et al. 2019, "Augmenting data with mixup for sentence
        classification". The draws are torch's own, which the training seed sets.
        """
        share = float(torch.distributions.Beta(self.mixup, self.mixup).sample())
        other = torch.randperm(len(pooled)).to(pooled.device)
        logits = self.head(self.dropout(share * pooled + (1 - share) * pooled[other]))
        loss = share * self._loss(logits, labels) + (1 - share) * self._loss(logits, labels[other])
        return {"loss": loss, "logits": logits}


def mean_pool(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """Return the mean over the tokens that are no padding, [batch, hidden], of vectors [batch, tokens, hidden]."""
    mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-6)


def load_base(
    base: str, labels: int, pooling: str, dropout: float
) -> tuple[EncoderClassifier, PreTrainedTokenizerBase]:
    """Return a base encoder with a fresh head, and its fast tokenizer.

    Raises:
        ModelError: nothing loads under that name (unknown, offline, no safetensors), or its tokenizer is no fast one.
    """
    name = resolve_base(base)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        encoder = AutoModel.from_pretrained(name, use_safetensors=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"recipe.base: cannot load {base!r} ({first_line}); give 'minilm', a folder with config, safetensors and "
            "tokenizer, or a hub id that this machine can reach"
        ) from error
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):  # made empty where there are no files
        raise ModelError(f"recipe.base: {base!r} has no tokenizer; put tokenizer.json beside config and safetensors")
    if not tokenizer.is_fast:
        raise ModelError(f"recipe.base: {base!r} has no fast tokenizer (tokenizer.json); choose a base that has one")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
        encoder.config.pad_token_id = tokenizer.pad_token_id
    return EncoderClassifier(encoder, labels, pooling, dropout), tokenizer


def longest_input(model: EncoderClassifier, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many tokens the base takes at most."""
    longest = int(tokenizer.model_max_length)
    return min(longest, int(getattr(model.config, "max_position_embeddings", longest)))


def save_artifact(
    folder: Path, model: EncoderClassifier, tokenizer: PreTrainedTokenizerBase, *, pooling: str, **manifest: Any
) -> Candidate:
    """Return the model as a sealed torch artifact: config, safetensors and a tokenizer that pads as trained."""
    folder.mkdir(parents=True, exist_ok=True)
    model = model.cpu().float()
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "model.safetensors")
    model.encoder.config.save_pretrained(folder)
    backend = tokenizer.backend_tokenizer
    backend.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    backend.save(str(folder / "tokenizer.json"))
    accepted = inspect.signature(model.encoder.forward).parameters
    inputs = [name for name in tokenizer.model_input_names if name in accepted]
    return seal(folder, runtime="torch", task="classification", pooling=pooling, inputs=inputs, **manifest)


def load_artifact(folder: Path, manifest: dict[str, Any]) -> EncoderClassifier:
    """Return the model of a torch artifact in fp32, ready to predict."""
    encoder = AutoModel.from_config(AutoConfig.from_pretrained(folder))
    model = EncoderClassifier(encoder, len(manifest["labels"]), manifest["pooling"])
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()


class TorchPredictor:
    """The classifier in PyTorch fp32 on the CPU, as `transformers` runs it: what a baseline is measured with."""

    def __init__(self, folder: Path, manifest: dict[str, Any], threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._model = load_artifact(folder, manifest)
        self._labels: list[str] = manifest["labels"]
        self._inputs: list[str] = manifest["inputs"]
        self._tokenize = tokenizer_function(folder, manifest["max_length"])

    def predict(self, texts: Sequence[str]) -> Predictions:
        """Return the most probable label of each text with its probability."""
        return predict_classes(texts, self._labels, self._tokenize, self._logits)

    @torch.inference_mode()
    def _logits(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        tensors = {name: torch.from_numpy(batch[name]) for name in self._inputs}
        logits: np.ndarray = self._model(**tensors)["logits"].numpy()
        return logits  # [batch, labels]
