"""Which parameters of a model lie how deep, told by its modules and by no family's names. Changes nothing."""

from torch import nn

from tasks.errors import ModelError


def encoder_layers(encoder: nn.Module) -> nn.ModuleList:
    """Return an encoder's layers, from the bottom up: its longest list of modules that is not part of another's.

    Raises:
        ModelError: it has no list of modules.
    """
    return find_layers(encoder)[1]


def parameter_depths(model: nn.Module) -> dict[str, int]:
    """Return how deep each parameter lies, by its name: 0 the head, 1 the top layer, 2 the one below, and so on.

    What stands behind the layers (a last norm, a pooler) counts as the head; what stands before them, and embeddings
    on either side (such as of positions that all layers share), as one below the bottom layer.

    Raises:
        ModelError: the model has no list of layers.
    """
    path, layers = find_layers(model)
    names = {name: number for number, (name, _) in enumerate(model.named_parameters())}
    inside = {name: int(name.removeprefix(f"{path}.").split(".")[0]) for name in names if name.startswith(f"{path}.")}
    first = min(names[name] for name in inside)
    embeddings = {
        f"{module_name}.{name}"
        for module_name, module in model.named_modules()
        if isinstance(module, nn.Embedding)
        for name, _ in module.named_parameters()
    }
    bottom = len(layers) + 1
    return {
        name: len(layers) - inside[name] if name in inside else bottom if number < first or name in embeddings else 0
        for name, number in names.items()
    }


def find_layers(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Return where a model's layers are, and the layers, from the bottom up.

    Raises:
        ModelError: it has no list of modules.
    """
    found: dict[str, nn.ModuleList] = {}
    for path, module in model.named_modules():  # outer ones come before those inside them
        if isinstance(module, nn.ModuleList) and not any(path.startswith(f"{outer}.") for outer in found):
            found[path] = module
    if not found:
        raise ModelError(
            f"train.tune: {type(model).__name__} has no layers; choose another base, or tune: full with layer_decay 1"
        )
    path = max(found, key=lambda name: len(found[name]))
    return path, found[path]
