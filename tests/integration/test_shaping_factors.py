"""Factors of linear layers: the best of their rank on the inputs, the bias that makes up, and ranks within a budget."""

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from tasks.artifacts import open_artifact
from tasks.compress.methods import Factorise
from tasks.compress.pipeline import compress_pass
from tasks.compress.shaping.low_rank import Directions, choose_ranks, directions, factors
from tasks.compress.shaping.shaped import batches
from tasks.errors import ModelError
from tasks.train.bases.layers import encoder_layers
from tasks.train.bases.reshape import LowRank, linear_layers
from tasks.train.reopen import open_tokenizer
from tests.compress_support import material_of
from tests.shaping_support import ROWS, TEXTS, made, opened, probabilities, save


def inputs_of(rank: int, seed: int, mean: float = 0.0) -> Tensor:
    """Inputs that vary in few directions, and in some of them much more than in others."""
    torch.manual_seed(seed)
    strengths = torch.logspace(1, -2, rank)
    return (torch.randn(400, rank) * strengths) @ torch.randn(rank, 24) + 0.01 * torch.randn(400, 24) + mean


def products(inputs: Tensor) -> Tensor:
    return inputs.double().T @ inputs.double() / len(inputs)


def error(linear: nn.Module, made_of: nn.Module, inputs: Tensor) -> float:
    with torch.no_grad():
        return float((linear(inputs) - made_of(inputs)).double().square().sum(1).mean())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rank", [1, 3, 8])
def test_no_factors_of_that_rank_are_nearer_on_the_inputs(seed: int, rank: int) -> None:
    inputs = inputs_of(10, seed)
    linear = nn.Linear(24, 16, bias=False)
    found = directions(linear, products(inputs))
    aware = factors(linear, found.basis[:, :rank], None)
    plain = factors(linear, directions(linear, None).basis[:, :rank], None)
    outputs = linear(inputs).detach().double()
    best = float(torch.linalg.svdvals(outputs)[rank:].square().sum() / len(inputs))  # Eckart and Young 1936
    assert error(linear, aware, inputs) == pytest.approx(best, rel=1e-3, abs=1e-8)
    assert error(linear, aware, inputs) <= error(linear, plain, inputs) * (1 + 1e-6)
    assert float(found.energies[rank:].sum()) == pytest.approx(best, rel=1e-2, abs=1e-5 * float(found.energies.sum()))


def test_the_plain_factors_are_the_singular_value_decomposition() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(12, 20)
    left, values, right = torch.linalg.svd(linear.weight.data)
    thin = factors(linear, directions(linear, None).basis[:, :5], None)
    nearest = left[:, :5] @ torch.diag(values[:5]) @ right[:5]
    torch.testing.assert_close(thin.up.weight @ thin.down.weight, nearest, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(thin.up.bias, linear.bias)


def test_the_bias_makes_up_for_the_mean() -> None:
    inputs = inputs_of(10, seed=1, mean=3.0)
    linear = nn.Linear(24, 16)
    mean, second = inputs.double().mean(0), products(inputs)
    without = factors(linear, directions(linear, second).basis[:, :3], None)
    thin = factors(linear, directions(linear, second - mean.outer(mean)).basis[:, :3], mean)
    assert error(linear, thin, inputs) <= error(linear, without, inputs)
    torch.testing.assert_close(thin(inputs).mean(0), linear(inputs).mean(0), atol=1e-4, rtol=1e-4)


def fake(shape: tuple[int, int], energies: list[float]) -> Directions:
    return Directions(torch.eye(shape[0]), torch.tensor(energies, dtype=torch.float64), shape)


def test_ranks_lose_the_least_energy_that_the_budget_allows() -> None:
    """Of layers of one shape the greedy choice is the best one, found here by trying all."""
    layers = {"a": fake((16, 240), [40, 30, 20, 6, 2, 1, 1, 0]), "b": fake((16, 240), [90, 5, 1, 1, 1, 1, 1, 0]),
              "c": fake((16, 240), [20, 19, 18, 17, 16, 5, 3, 2])}  # fmt: skip
    budget, price = 8 * 256 + 100, 256
    ranks = choose_ranks(layers, budget)
    assert None not in ranks.values()

    def lost(chosen: dict[str, int | None]) -> float:
        return sum(float(one.energies[chosen[name] :].sum() / one.energies.sum()) for name, one in layers.items())

    tries = [
        dict(zip(layers, each, strict=True)) for each in product(range(1, 9), repeat=3) if price * sum(each) <= budget
    ]
    assert lost(ranks) == pytest.approx(min(map(lost, tries)))


def test_a_layer_that_two_would_not_make_smaller_stays_whole() -> None:
    layers = {"flat": fake((8, 8), [1.0] * 8), "steep": fake((8, 8), [1.0, *[0.0] * 7])}
    assert choose_ranks(layers, 64 + 16) == {"flat": None, "steep": 1}
    with pytest.raises(ModelError, match=r"may keep 31 parameters, and one direction of each layer takes 32"):
        choose_ranks(layers, 31)


@pytest.mark.parametrize("family", ["bert", "t5", "gpt2"])
@pytest.mark.parametrize("aware", [True, False])
def test_a_factorised_model_opens_again_and_keeps_its_budget(family: str, aware: bool, tmp_path) -> None:
    source = made(tmp_path, family)
    method = Factorise(keep=0.6, rows=40, activation_aware=aware)
    found = compress_pass(method, source, tmp_path / "thin", material_of(source, ROWS))
    before, after = dict(linear_layers(opened(source).encoder)), dict(linear_layers(opened(found).encoder))
    whole = sum(layer.weight.numel() for layer in before.values())
    assert 0.5 * whole < sum(layer.weight.numel() for layer in after.values()) <= 0.6 * whole
    thin = [module for module in opened(found).modules() if isinstance(module, LowRank)]
    assert len(thin) == found.notes["layers_factorised"] > 0
    assert found.notes["parameters"] < source.notes["parameters"]
    again = compress_pass(method, source, tmp_path / "again", material_of(source, ROWS))
    assert again.digest == found.digest


def test_a_thin_layer_answers_the_same_in_the_mean(tmp_path) -> None:
    """Of the first layer that is thin and has a bias, whose inputs are the same before and after."""
    source = made(tmp_path, "bert")
    found = compress_pass(Factorise(keep=0.4, rows=40), source, tmp_path / "thin", material_of(source, ROWS[:40]))
    folder, manifest = open_artifact(source)
    means = []
    for candidate in (source, found):
        model, given = opened(candidate), []
        query = encoder_layers(model.encoder)[0].attention.self.query
        query.register_forward_hook(lambda _, taken, outputs, given=given: given.append(outputs[0]))
        with torch.no_grad():
            for text, _ in ROWS[:40]:  # one at a time: no padding
                model(**next(batches(folder, manifest, [text])))
        means.append(torch.cat(given).mean(0))
    assert isinstance(query, LowRank)
    torch.testing.assert_close(means[1], means[0], atol=1e-4, rtol=1e-4)


def test_what_is_left_out_is_little_where_the_layers_are_of_low_rank(tmp_path) -> None:
    source = made(tmp_path, "bert")
    model = opened(source)
    with torch.no_grad():
        for _, layer in linear_layers(model.encoder):
            left, values, right = torch.linalg.svd(layer.weight, full_matrices=False)
            layer.weight.copy_(left[:, :6] @ torch.diag(values[:6]) @ right[:6])
    low = save(tmp_path / "low", model, open_tokenizer(*open_artifact(source)))
    found = compress_pass(Factorise(keep=0.6, rows=40), low, tmp_path / "thin", material_of(low, ROWS))
    assert abs(probabilities(found, TEXTS) - probabilities(low, TEXTS)).max() < 1e-3
