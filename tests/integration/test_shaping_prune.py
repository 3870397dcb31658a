"""Weights set to zero: which ones, how many, and in which pattern."""

import pytest
import torch

from tasks.artifacts import open_artifact
from tasks.compress.methods import Prune
from tasks.compress.pipeline import compress_pass
from tasks.compress.shaping.prune import least
from tasks.compress.shaping.shaped import batches
from tasks.errors import ModelError
from tasks.train.bases.reshape import linear_layers, matrix
from tests.compress_support import material_of
from tests.shaping_support import ROWS, made, opened


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return made(tmp_path_factory.mktemp("bert"), "bert")


def weights(candidate):
    return {name: matrix(layer) for name, layer in linear_layers(opened(candidate).encoder)}


def test_magnitude_takes_the_smallest_of_each_matrix(source, tmp_path):
    found = compress_pass(Prune(sparsity=0.3, importance="magnitude"), source, tmp_path, material_of(source))
    befores = weights(source)
    for name, after in weights(found).items():
        before = befores[name]
        assert int((after == 0).sum()) == int(0.3 * before.numel())
        assert before[after == 0].abs().max() <= before[after != 0].abs().min()
        assert torch.equal(after[after != 0], before[after != 0])
    assert found.notes["sparsity"] == pytest.approx(0.3, abs=0.01)


def test_activation_takes_the_smallest_products_of_each_row(source, tmp_path):
    """Against the norms of what really goes into the layers, one text at a time and so without padding."""
    found = compress_pass(Prune(sparsity=0.5), source, tmp_path, material_of(source, ROWS[:12]))
    model, taken = opened(source), {}
    for name, layer in linear_layers(model.encoder):
        layer.register_forward_pre_hook(lambda _, given, name=name: taken.setdefault(name, []).append(given[0][0]))
    folder, manifest = open_artifact(source)
    with torch.no_grad():
        for text, _ in ROWS[:12]:
            model(**next(batches(folder, manifest, [text])))
    befores = weights(source)
    for name, after in weights(found).items():
        before, norms = befores[name], torch.cat(taken[name]).norm(dim=0)
        scores = before.abs() * norms
        assert ((after == 0).sum(1) == before.shape[1] // 2).all()
        for row, gone in zip(scores, after == 0, strict=True):
            assert row[gone].max() <= row[~gone].min() * (1 + 1e-4)


@pytest.mark.parametrize("importance", ["magnitude", "activation"])
def test_a_pattern_keeps_its_number_of_every_group(source, tmp_path, importance):
    found = compress_pass(Prune(pattern="2:4", importance=importance), source, tmp_path, material_of(source, ROWS))
    for after in weights(found).values():
        assert ((after.reshape(-1, 4) != 0).sum(1) == 2).all()
    assert found.notes["sparsity"] == 0.5


def test_what_is_beyond_the_last_whole_group_stays():
    gone = least(torch.tensor([[5.0, 1.0, 3.0, 0.1], [1.0, 2.0, 3.0, 0.0]]), 0.5, "1:3", by_row=True)
    assert gone.tolist() == [[False, True, True, False], [True, True, False, False]]


def test_a_second_pass_starts_from_the_zeros_of_the_first(source, tmp_path):
    first = compress_pass(Prune(sparsity=0.3), source, tmp_path / "1", material_of(source, ROWS))
    second = compress_pass(Prune(sparsity=0.6), first, tmp_path / "2", material_of(source, ROWS))
    zeros = {name: weight == 0 for name, weight in weights(first).items()}
    for name, after in weights(second).items():
        assert (after[zeros[name]] == 0).all()
    assert second.notes["sparsity"] == pytest.approx(0.6, abs=0.02)


def test_what_prunes_nothing_is_refused(source, tmp_path):
    with pytest.raises(ModelError, match=r"pattern '1:99', .* sets no weight to zero.*narrower than a group"):
        compress_pass(Prune(pattern="1:99", importance="magnitude"), source, tmp_path, material_of(source))
    with pytest.raises(ModelError, match=r"prune measures the model on training rows, and there are none"):
        compress_pass(Prune(), source, tmp_path, material_of(source))
