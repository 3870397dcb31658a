"""What of a model learns, and how fast: all of it, its head, layer after layer, or adapters. Trains nothing.

`prepare` gives what the Trainer trains, `parameter_groups` what its optimizer is made of, `callbacks` what changes
while it runs, and `merge` the plain model again, whose names and shapes are those of the base.
"""

import logging
import os
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase, TrainerCallback
from transformers.pytorch_utils import Conv1D

from tasks.errors import ModelError
from tasks.train.bases.layers import parameter_depths
from tasks.train.bases.reshape import linear_layers
from tasks.train.methods import FineTune, Frozen, Full, Gradual, Lora, Tune
from tasks.train.model import EncoderClassifier, classify

log = logging.getLogger(__name__)

Rows = Sequence[dict[str, Any]]  # encoded texts
VECTOR_BATCH = 64  # texts


class HeadOnly(nn.Module):
    """The head of a classifier alone, over vectors that its encoder made before: head and dropout are the classifier's.

    Its parameters have the names that they have in the classifier.
    """

    def __init__(self, model: EncoderClassifier) -> None:
        super().__init__()
        self.config = model.config  # the Trainer looks for it
        self.dropout = model.dropout
        self.head = model.head

    def forward(self, vectors: Tensor, mixed_with: Tensor | None = None, share: float = 1.0) -> dict[str, Tensor]:
        """Return what the classifier returns for the texts with these vectors, [batch, hidden]."""
        return classify(self, vectors, mixed_with, share)


def prepare(
    model: EncoderClassifier, tokenizer: PreTrainedTokenizerBase, tune: Tune, rows: Rows, valid: Rows
) -> tuple[nn.Module, Rows, Rows]:
    """Return what is to be trained of the model, which learns in place, and the rows that it is to be given.

    With `Frozen` that is the head: nothing below it learns, so the encoder runs once over each text, without dropout
    and in float32 as it serves, and the rows carry its `vectors`.

    Raises:
        ModelError: an adapter's target is not in the model, or the model has no list of layers.
    """
    if isinstance(tune, Frozen):
        model.requires_grad_(False)
        model.head.requires_grad_(True)
        return HeadOnly(model), with_vectors(model, tokenizer, rows), with_vectors(model, tokenizer, valid)
    if isinstance(tune, Lora):
        add_adapters(model, tune)
    return model, rows, valid


def parameter_groups(model: nn.Module, method: FineTune, decayed: Collection[str]) -> list[dict[str, Any]]:
    """Return the optimizer's groups, the head's first: parameters with their learning rate and weight decay.

    With `layer_decay` d the head and the top layer learn at the method's rate, and each layer below at d times that of
    the layer above it; embeddings lie below the bottom layer (Howard and Ruder 2018, ULMFiT, discriminative
    fine-tuning; as in Clark et al. 2020, ELECTRA).

    Args:
        model: what is trained, as the Trainer has wrapped it.
        method: its learning rate, weight decay and `tune`.
        decayed: names of the parameters that weight decay applies to; `Trainer.get_decay_parameter_names` gives them.
    """
    decay = method.tune.layer_decay if isinstance(method.tune, Full | Gradual) else 1.0
    depths = parameter_depths(model) if decay < 1 else {}
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad or isinstance(method.tune, Gradual):  # what thaws later has its place from the start
            steps = max(0, depths.get(name, 0) - 1)  # below the top layer
            groups.setdefault((steps, name not in decayed), []).append(parameter)
    return [
        {
            "params": groups[steps, plain],
            "lr": method.learning_rate * decay**steps,
            "weight_decay": 0.0 if plain else method.weight_decay,
        }
        for steps, plain in sorted(groups)
    ]


def callbacks(tune: Tune) -> list[TrainerCallback]:
    """Return what the Trainer is to call while it trains."""
    return [_Thaw(tune.share)] if isinstance(tune, Gradual) else []


def merge(model: EncoderClassifier) -> None:
    """Make the trained model a plain one: adapters are added to the weights that they stand beside."""
    from peft import LoraModel

    if isinstance(model.encoder, LoraModel):
        model.encoder = model.encoder.merge_and_unload()


def with_vectors(model: EncoderClassifier, tokenizer: PreTrainedTokenizerBase, rows: Rows) -> Rows:
    """Return encoded rows with the encoder's `vectors` [hidden] of their texts, from batches of similar length."""
    device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu")
    model.to(device).eval()
    rows, names, collate = list(rows), tokenizer.model_input_names, DataCollatorWithPadding(tokenizer)
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]["input_ids"]))
    found: dict[int, np.ndarray] = {}
    for start in range(0, len(order), VECTOR_BATCH):
        places = order[start : start + VECTOR_BATCH]
        batch = collate([{name: rows[place][name] for name in names if name in rows[place]} for place in places])
        with torch.inference_mode():
            vectors = model.vectors(**batch.to(device)).float().cpu().numpy()  # [batch, hidden]
        found.update(zip(places, vectors, strict=True))
    log.info("encoder: %d texts as vectors, once, since only the head learns", len(rows))
    return [{**row, "vectors": found[number]} for number, row in enumerate(rows)]


def add_adapters(model: EncoderClassifier, tune: Lora) -> None:
    """Put low-rank adapters beside the linear layers of the encoder; its own weights no longer learn.

    Raises:
        ModelError: no linear layer's name ends with one of the targets.
    """
    from peft import LoraConfig, LoraModel

    linear = dict(linear_layers(model.encoder))
    chosen = [name for name in linear if not tune.targets or any(_ends(name, target) for target in tune.targets)]
    unknown = [target for target in tune.targets if not any(_ends(name, target) for name in linear)]
    if unknown:
        known = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in linear}))
        raise ModelError(f"train.tune.targets: the encoder has no linear layer {unknown[0]!r}; there are {known}")
    config = LoraConfig(r=tune.rank, lora_alpha=tune.alpha, lora_dropout=tune.dropout, target_modules=chosen,
                        fan_in_fan_out=isinstance(linear[chosen[0]], Conv1D))  # fmt: skip
    model.encoder = LoraModel(model.encoder, config, "default")
    learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    log.info("adapters of rank %d beside %d linear layers: %d weights learn", tune.rank, len(chosen), learning)


def _ends(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


class _Thaw(TrainerCallback):  # type: ignore[misc]
    """Lets layers learn from the top down: which ones follows from the step alone, so that a resumed run goes on alike.

    The weights are frozen when training begins and not before, for DDP shares out only those that learn when it is
    made; so all of them do until then, a second try after an aborted one included.
    """

    def __init__(self, share: float) -> None:
        self._share = share

    def on_init_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        model.requires_grad_(True)

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.on_step_begin(args, state, control, model)

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        depths = parameter_depths(model)
        thawed = thawed_depth(state.global_step, state.max_steps, self._share, max(depths.values()))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(depths[name] <= thawed)


def thawed_depth(step: int, steps: int, share: float, bottom: int) -> int:
    """Return down to which depth a model learns at a step, from 0: the head alone at first, all once `share` is over.

    The time until then is cut in equal parts, one for the head alone and one for each depth but the last.
    """
    frozen_steps = share * steps
    return bottom if step >= frozen_steps else min(bottom, int((step * bottom) / frozen_steps))
