"""Smaller matrices: what is left answers as the whole model does with the removed units silent."""

import pytest
import torch
from torch import nn

from tasks.artifacts import open_artifact
from tasks.compress.methods import Factorise, Shrink
from tasks.compress.pipeline import compress_pass
from tasks.compress.shaping.importance import by_magnitude, by_taylor
from tasks.compress.shaping.shaped import batches
from tasks.compress.shaping.shrink import kept_units
from tasks.errors import ModelError
from tasks.train.bases.blocks import HEADS, NEURONS, head_size, heads_of, neurons_of
from tasks.train.bases.layers import encoder_layers
from tasks.train.bases.reshape import matrix, outputs_of
from tasks.train.reopen import open_tokenizer
from tests.base_support import OWN
from tests.compress_support import material_of
from tests.shaping_support import LABELS, ROWS, TEXTS, made, opened, probabilities, save

FOUR = {"num_attention_heads": 4}
CHANGES = {
    "deberta-v2": {"share_att_key": False, **FOUR},
    "t5": {"feed_forward_proj": "gated-gelu"},
}
CUT_HEADS = [family for family in OWN if family in HEADS]
CUT_NEURONS = [
    family for family in OWN if family in NEURONS and family != "qwen2"
]  # as mistral; no such tokenizer here


def silenced(candidate, root, block, size, units):
    """Return an artifact of the same shape whose readers give nothing for these units of each layer."""
    model = opened(candidate)
    for layer in encoder_layers(model.encoder):
        for unit in units:
            matrix(layer.get_submodule(block.reader))[:, unit * size : (unit + 1) * size] = 0
    return save(root, model, open_tokenizer(*open_artifact(candidate)))


def faint(candidate, root, block, size, units):
    """Return an artifact in which these units' weights are the smallest of each layer, but not nothing."""
    model = opened(candidate)
    for layer in encoder_layers(model.encoder):
        for unit in units:
            matrix(layer.get_submodule(block.reader))[:, unit * size : (unit + 1) * size] *= 0.01
            for name in block.makers:
                maker = layer.get_submodule(name)
                total = outputs_of(maker) // block.stacked
                for part in range(block.stacked):
                    rows = slice(part * total + unit * size, part * total + (unit + 1) * size)
                    matrix(maker)[rows] *= 0.01
    return save(root, model, open_tokenizer(*open_artifact(candidate)))


@pytest.mark.parametrize("family", CUT_HEADS)
def test_without_heads_it_answers_as_if_they_were_silent(family, tmp_path):
    source = made(tmp_path, family, **CHANGES.get(family, FOUR))
    config = opened(source).config
    block, size = heads_of(config), head_size(config)
    source = faint(source, tmp_path / "faint", block, size, [1])
    importance = "magnitude" if family in ("bert", "gpt2") else "taylor"
    method = Shrink(heads=0.25, importance=importance, rows=30)
    found = compress_pass(method, source, tmp_path / "small", material_of(source, ROWS))
    expected = silenced(source, tmp_path / "silent", block, size, [1])
    assert found.notes["heads_removed"] == 2
    assert abs(probabilities(found, TEXTS) - probabilities(expected, TEXTS)).max() < 1e-5
    assert abs(probabilities(found, TEXTS) - probabilities(source, TEXTS)).max() > 0
    assert found.notes["parameters"] < source.notes["parameters"]


@pytest.mark.parametrize("family", CUT_NEURONS)
def test_without_neurons_it_answers_as_if_they_were_silent(family, tmp_path):
    source = made(tmp_path, family, **CHANGES.get(family, {}))
    block = neurons_of(opened(source).config)
    units = [*range(3, 19)]
    source = faint(source, tmp_path / "faint", block, 1, units)
    importance = "taylor" if family in ("t5", "phi3", "bert") else "magnitude"
    method = Shrink(neurons=0.25, importance=importance, rows=30)
    found = compress_pass(method, source, tmp_path / "small", material_of(source, ROWS))
    expected = silenced(source, tmp_path / "silent", block, 1, units)
    assert found.notes["neurons_removed"] == 32
    assert getattr(opened(found).config, block.size) == 48
    assert abs(probabilities(found, TEXTS) - probabilities(expected, TEXTS)).max() < 1e-5


def test_taylor_is_how_the_loss_changes_when_a_unit_fades(tmp_path):
    """Against central differences: each unit's inputs scaled a little up and down, text by text."""
    source = made(tmp_path, "bert")
    folder, manifest = open_artifact(source)
    model = opened(source).double()
    readers = {"heads": (encoder_layers(model.encoder)[0].attention.output.dense, 16),
               "neurons": (encoder_layers(model.encoder)[1].output.dense, 1)}  # fmt: skip
    rows = ROWS[:4]
    texts = list(batches(folder, manifest, [text for text, _ in rows]))
    labels = torch.tensor([LABELS.index(label) for _, label in rows])
    found = by_taylor(model, readers, [(texts[0], labels)])

    def losses(reader, size, unit, scale):
        kept = matrix(reader)[:, unit * size : (unit + 1) * size].clone()
        matrix(reader)[:, unit * size : (unit + 1) * size] *= scale
        with torch.no_grad():
            values = nn.functional.cross_entropy(model(**texts[0])["logits"], labels, reduction="none")
        matrix(reader)[:, unit * size : (unit + 1) * size] = kept
        return values

    for name, (reader, size) in readers.items():
        for unit in range(min(4, len(found[name]))):
            slope = (losses(reader, size, unit, 1.001) - losses(reader, size, unit, 0.999)) / 0.002
            assert found[name][unit] == pytest.approx(float(slope.abs().mean()), rel=1e-3, abs=1e-8)


def test_magnitude_is_the_norm_of_what_goes():
    torch.manual_seed(0)
    maker, reader = nn.Linear(6, 2 * 8), nn.Linear(8, 5)
    found = by_magnitude([(maker, 2)], reader, 4)
    weight = maker.weight.detach()
    gone = torch.cat([weight[4:8].flatten(), weight[12:16].flatten(), reader.weight.detach()[:, 4:].flatten()])
    assert found.tolist()[1] == pytest.approx(float(gone.norm()))


def idle(candidate, root, layers):
    """Return an artifact in which these layers add nothing to what goes through them, but for a norm."""
    model = opened(candidate)
    for number in layers:
        layer = encoder_layers(model.encoder)[number]
        for linear in (layer.attention.output.dense, layer.output.dense):
            linear.weight.data.zero_()
            linear.bias.data.zero_()
    return save(root, model, open_tokenizer(*open_artifact(candidate)))


def test_the_layers_that_do_nothing_go(tmp_path):
    source = idle(made(tmp_path, "bert", num_hidden_layers=4), tmp_path / "idle", [0, 2])
    found = compress_pass(Shrink(layers=2, rows=30), source, tmp_path / "small", material_of(source, ROWS))
    assert len(encoder_layers(opened(found).encoder)) == 2
    assert abs(probabilities(found, TEXTS) - probabilities(source, TEXTS)).max() < 1e-3
    assert found.notes["layers_removed"] == 2


def test_layers_heads_and_neurons_go_at_once_and_again(tmp_path):
    source = made(tmp_path, "bert", num_hidden_layers=3, **FOUR)
    material = material_of(source, ROWS)
    thin = compress_pass(Factorise(keep=0.7, rows=30), source, tmp_path / "0", material)
    for start in (source, thin):  # factors are cut too
        root = tmp_path / start.digest[:8]
        first = compress_pass(Shrink(layers=1, heads=0.25, neurons=0.25, rows=30), start, root / "1", material)
        second = compress_pass(Shrink(layers=1, heads=0.4, neurons=0.3, rows=30), first, root / "2", material)
        small = opened(second)
        layer = encoder_layers(small.encoder)[0]
        assert len(encoder_layers(small.encoder)) == small.config.num_hidden_layers == 1
        assert outputs_of(layer.attention.self.query) == 2 * 8
        assert outputs_of(layer.intermediate.dense) == small.config.intermediate_size == 40
        assert probabilities(second, TEXTS).shape == (len(TEXTS), 4)
        assert second.notes["parameters"] < first.notes["parameters"] < start.notes["parameters"]


def test_the_first_layer_stays_where_nothing_can_stand_for_it(tmp_path):
    source = made(tmp_path, "modernbert")
    found = compress_pass(Shrink(layers=1, rows=20), source, tmp_path / "small", material_of(source, ROWS))
    assert found.notes["layers_removed"] == 1


@pytest.mark.parametrize(
    ("family", "method", "said"),
    [
        ("t5", Shrink(heads=0.5), r"the heads of t5 cannot be removed .*or use one of bert, roberta"),
        ("mixtral", Shrink(neurons=0.5), r"mixtral has its feed-forward neurons; leave `neurons` out, or use one of "),
        ("bert", Shrink(layers=2), r"is to remove 2 layers of 2; leave at least one"),
        ("bert", Shrink(heads=0.1), r"shrink removes nothing: the shares are less than one unit"),
    ],
)
def test_what_cannot_be_removed_is_refused_in_one_line(family, method, said, tmp_path):
    source = made(tmp_path, family)
    with pytest.raises(ModelError, match=said) as caught:
        compress_pass(method, source, tmp_path / "small", material_of(source, ROWS))
    assert "\n" not in str(caught.value)


def test_a_label_that_the_model_does_not_know_is_refused(tmp_path):
    source = made(tmp_path, "bert")
    with pytest.raises(ModelError, match=r"expected the model's labels, and a training row has 'odd'"):
        compress_pass(Shrink(heads=0.5), source, tmp_path / "small", material_of(source, [("please", "odd")]))


@pytest.mark.parametrize(
    ("count", "share", "step", "kept"),
    [(12, 0.25, 1, 9), (10, 0.3, 1, 7), (4, 0.9, 1, 1), (1536, 0.25, 8, 1152), (64, 0.3, 8, 48), (30, 0.5, 8, 15)],
)
def test_how_many_stay(count, share, step, kept):
    assert kept_units(count, share, step) == kept
