"""What a training must know where several processes train one model: their options, their shards. Starts none.

Outside such a group every function answers as for the one process that there is.
"""

import copy
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.tensor import DTensor

from tasks.records import Candidate
from tasks.train.methods import FineTune
from tasks.train.processes.job import is_worker

if TYPE_CHECKING:
    from transformers import TrainingArguments

Model = TypeVar("Model", bound=nn.Module)
Chosen = TypeVar("Chosen")

log = logging.getLogger(__name__)

NOT_WRITTEN = Candidate("", "", "torch", 0)  # what a process returns that is not the one that writes


def process_options(method: FineTune, model: nn.Module) -> dict[str, Any]:
    """Return the `TrainingArguments` by which the model is sharded among the processes, where the method says so."""
    if not is_worker() or method.distributed is None or method.distributed.strategy != "fsdp":
        return {}
    return {"fsdp": True, "fsdp_config": {"transformer_layer_cls_to_wrap": _layer_classes(model)}}


def _layer_classes(model: nn.Module) -> list[str]:
    """Return the names of the classes whose instances are sharded one by one: the model's layers."""
    present = {type(module).__name__ for module in model.modules()}
    named = {name for module in model.modules() for name in getattr(module, "_no_split_modules", None) or ()}
    return sorted(named & present)


def let_cpu_shard(arguments: "TrainingArguments") -> None:
    """Let FSDP run on CPUs too: accelerate (1.15) looks at its options only where it sees accelerators."""
    from accelerate.utils import DistributedType

    state = arguments.distributed_state
    if arguments.fsdp and state is not None and state.distributed_type is DistributedType.MULTI_CPU:
        state.distributed_type = DistributedType.MULTI_GPU


def is_main() -> bool:
    """Return whether this process is the one that writes: the first of the group, or the only one."""
    return not is_worker() or int(os.environ.get("RANK", "0")) == 0


def agreed(choose: Callable[[], Chosen]) -> Chosen:
    """Return what the first of all processes chooses; all of them must call it."""
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    state = PartialState()
    chosen: list[Any] = [choose() if state.is_main_process else None]
    if state.num_processes > 1:
        broadcast_object_list(chosen)
    made: Chosen = chosen[0]
    return made


def shell_of(model: Model) -> Model:
    """Return the model without its weights, which take no memory: what gathered shards are put into."""
    empty = {id(part): part.to("meta") for part in model.buffers()}
    weights = {id(part): nn.Parameter(part.to("meta"), part.requires_grad) for part in model.parameters()}
    return copy.deepcopy(model, {**empty, **weights})


def mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean of each value over all processes, on the CPU; all processes must call it."""
    if not is_worker():
        return values
    from accelerate import PartialState
    from accelerate.utils import reduce

    mean: Tensor = reduce(values.to(PartialState().device), reduction="mean")
    return mean.cpu()


def over_processes(values: Tensor) -> Tensor:
    """Return the values [rows, ...] of all processes, as many of each, one after another; all of them must call it.

    Gradients flow back into each: their mean over the processes is that of the loss of all values.
    """
    if not is_worker():
        return values
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(values.contiguous()))  # type: ignore[no-untyped-call]


def is_sharded(model: nn.Module) -> bool:
    """Return whether this process holds only its shards of the model's weights."""
    return any(isinstance(weight, DTensor) for weight in model.parameters())


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return all weights of the model on the CPU, gathered where they are in shards; all processes must call it."""
    return {name: _whole(weight) for name, weight in model.state_dict().items()}


def load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Put whole weights into the model, each process its shards where it is sharded; all processes must call it."""
    given: dict[str, Any] = dict(weights)
    set_model_state_dict(model, given, options=StateDictOptions(full_state_dict=True))


def keep_weights(model: nn.Module, path: Path, about: dict[str, str]) -> None:
    """Write the model's weights as safetensors, by the first process; all processes must call it."""
    if is_sharded(model):
        weights = whole_weights(model)
        if is_main():
            save_file({name: weight.contiguous() for name, weight in weights.items()}, path, about)
    elif is_main():
        save_model(model, str(path), about)


def restore_weights(model: nn.Module, path: Path) -> None:
    """Put weights that were kept into the model; all processes must call it."""
    if is_sharded(model):
        load_weights(model, load_file(path))
    else:
        load_model(model, path)


def gather(model: Model, shell: Model) -> Model:
    """Return the trained model with all its weights on the CPU, put into its shell where they were in shards.

    All processes must call it.
    """
    if not is_sharded(model):
        return model
    shell.load_state_dict(whole_weights(model), assign=True)
    log.info("gathered the shards of %d weights", len(list(shell.parameters())))
    buffers = dict(model.named_buffers())
    for name, buffer in list(shell.named_buffers()):  # those that no state dict holds
        if buffer.is_meta:
            parent, _, own = name.rpartition(".")
            shell.get_submodule(parent)._buffers[own] = _whole(buffers[name])
    return shell


def _whole(weight: Tensor) -> Tensor:
    return (weight.full_tensor() if isinstance(weight, DTensor) else weight).detach().cpu()
