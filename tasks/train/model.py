"""The PyTorch classifier: an encoder, pooling and a linear head; loading, saving and predicting. Trains nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase

from serving.classes import predict_classes, tokenizer_function
from serving.predictors import Predictions
from tasks.artifacts import seal
from tasks.errors import ArtifactError
from tasks.records import Candidate
from tasks.train.bases.cost import multiply_adds
from tasks.train.bases.families import encoder_inputs, make_encoder
from tasks.train.bases.reshape import check_runs, fit_shapes


class EncoderClassifier(nn.Module):
    """Encoder, pooling over its tokens, dropout, linear head. What training lowers is in `tasks.train.objectives`."""

    def __init__(self, encoder: PreTrainedModel, labels: int, pooling: str, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler.requires_grad_(False)  # unused here: without gradients, sharded training could not resume
        self.config = encoder.config  # the Trainer looks for it
        self.pooling = pooling
        self.typed = "token_type_ids" in encoder_inputs(encoder)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.config.hidden_size, labels)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        mixed_with: Tensor | None = None,
        share: float = 1.0,
    ) -> dict[str, Tensor]:
        """Return `logits` [batch, labels] and, while it trains, the texts' vectors `pooled` [batch, hidden].

        With `mixed_with` [batch], each text's vector is `share` of its own and the rest of the text's at that place.
        """
        return classify(self, self.vectors(input_ids, attention_mask, token_type_ids), mixed_with, share)

    def vectors(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Return the texts' vectors, [batch, hidden], of tokens [batch, tokens]."""
        extra = {"token_type_ids": token_type_ids} if self.typed and token_type_ids is not None else {}
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **extra)[0]  # [batch, tokens, hidden]
        return pool(hidden, attention_mask, self.pooling)


def classify(model: Any, pooled: Tensor, mixed_with: Tensor | None = None, share: float = 1.0) -> dict[str, Tensor]:
    """Return what a model with `head` and `dropout` answers for texts' vectors [batch, hidden], as its `forward` does.

    With `mixed_with` [batch], each text's vector is `share` of its own and the rest of the text's at that place.
    """
    if mixed_with is not None:
        pooled = share * pooled + (1 - share) * pooled[mixed_with]
    logits = model.head(model.dropout(pooled))
    return {"logits": logits, "pooled": pooled} if model.training else {"logits": logits}


def pool(hidden: Tensor, attention_mask: Tensor, pooling: str) -> Tensor:
    """Return one vector for each text, [batch, hidden], of vectors [batch, tokens, hidden]: mean, first or last."""
    if pooling == "mean":
        return mean_pool(hidden, attention_mask)
    if pooling == "first":
        return hidden[:, 0]
    places = torch.arange(hidden.shape[1], device=hidden.device)
    last = (attention_mask * places).argmax(1)  # padded on either side
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def mean_pool(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """Return the mean over the tokens that are no padding, [batch, hidden], of vectors [batch, tokens, hidden]."""
    mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-6)


def save_artifact(
    folder: Path,
    model: EncoderClassifier,
    tokenizer: PreTrainedTokenizerBase,
    *,
    pooling: str,
    notes: dict[str, float],
    **manifest: Any,
) -> Candidate:
    """Return the model as a sealed torch artifact: config, safetensors and a tokenizer that pads as trained.

    Its notes say too what it costs: `parameters`, and `multiply_adds_per_token` (see `tasks.train.bases.cost`).
    """
    sizes = write_model(folder, model)
    backend = tokenizer.backend_tokenizer
    backend.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    backend.save(str(folder / "tokenizer.json"))
    takes = encoder_inputs(model.encoder)
    inputs = [name for name in tokenizer.model_input_names if name in takes]
    return seal(
        folder, runtime="torch", task="classification", pooling=pooling, inputs=inputs, notes={**notes, **sizes},
        **manifest,
    )  # fmt: skip


def write_model(folder: Path, model: EncoderClassifier) -> dict[str, float]:
    """Write config and safetensors of a model, and return what it costs, for the notes of the artifact."""
    folder.mkdir(parents=True, exist_ok=True)
    model = model.cpu().float()
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "model.safetensors")
    model.encoder.config.save_pretrained(folder)
    return {"parameters": _parameters(model), "multiply_adds_per_token": multiply_adds(model.encoder)}


def _parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def load_artifact(folder: Path, manifest: dict[str, Any]) -> EncoderClassifier:
    """Return the model of a torch artifact in fp32, ready to predict.

    Raises:
        ArtifactError: a file of it is missing or damaged, or its weights are not those of its config.
    """
    try:
        encoder = make_encoder(AutoConfig.from_pretrained(folder, trust_remote_code=False))
        model = EncoderClassifier(encoder, len(manifest["labels"]), manifest["pooling"])
        weights = load_file(folder / "model.safetensors")
        if getattr(encoder, "pooler", None) is None:  # earlier versions of Ratchet kept it
            weights = {name: weight for name, weight in weights.items() if not name.startswith("encoder.pooler.")}
        own = {name.removeprefix("encoder."): weights[name] for name in weights if name.startswith("encoder.")}
        reshaped = fit_shapes(encoder, own)
        model.load_state_dict(weights)
        if reshaped:
            check_runs(encoder)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        found = " ".join(str(error).split())[:300] or type(error).__name__
        raise ArtifactError(
            f"{folder}: expected a torch model's config.json and model.safetensors that fit together; {found}; delete "
            f"{folder.parent} and run again"
        ) from error
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
