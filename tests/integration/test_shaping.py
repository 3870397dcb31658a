"""Models of changed shapes go on: through one pass after another, into training, and out to ONNX."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from serving.artifact import file_sha256
from tasks.artifacts import open_artifact
from tasks.compress.methods import Factorise, Int8Dynamic, Onnx, Prune, Shrink, TrimVocabulary
from tasks.compress.pipeline import PASSES, compress_pass
from tasks.errors import ArtifactError, ModelError
from tasks.train.bases.reshape import LowRank
from tasks.train.distil import open_copy
from tasks.train.methods import Lora
from tasks.train.model import load_artifact
from tasks.train.parameters import add_adapters, merge
from tasks.train.reopen import open_tokenizer, open_trained
from tests.compress_support import material_of
from tests.shaping_support import LABELS, ROWS, TEXTS, made, opened, probabilities, save

SHAPING = [
    TrimVocabulary(spare=0),
    Shrink(heads=0.5, neurons=0.25, rows=20),
    Factorise(keep=0.6, rows=20),
    Prune(sparsity=0.2),
]


def run(passes, source, root, rows=ROWS):
    found = source
    for number, method in enumerate(passes):
        found = compress_pass(method, found, root / str(number), material_of(source, rows))
    return found


@pytest.fixture(scope="module")
def shaped(tmp_path_factory):
    """A BERT that all passes went over."""
    root = tmp_path_factory.mktemp("shaped")
    return run(SHAPING, made(root, "bert"), root)


def test_the_manifest_says_what_the_source_said(shaped):
    manifest = open_artifact(shaped)[1]
    assert manifest["labels"] == LABELS
    assert (manifest["pooling"], manifest["max_length"], manifest["task"]) == ("mean", 32, "classification")
    assert set(manifest["files"]) == {"config.json", "model.safetensors", "tokenizer.json"}


def test_it_is_exported_and_quantised_with_equal_answers(shaped, tmp_path):
    exported = run([Onnx()], shaped, tmp_path / "onnx")
    assert exported.notes["parity"] < 1e-4
    assert abs(probabilities(exported, TEXTS) - probabilities(shaped, TEXTS)).max() < 1e-4
    narrow = run([Int8Dynamic()], exported, tmp_path / "int8")
    assert abs(probabilities(narrow, TEXTS) - probabilities(shaped, TEXTS)).max() < 0.2


def test_it_learns_and_keeps_its_shapes(shaped, tmp_path):
    """All weights, adapters beside the factors, and a copy of one of its layers."""
    model, tokenizer = open_trained(shaped, tuple(reversed(LABELS)), dropout=0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batch = tokenizer([text for text, _ in ROWS], return_tensors="pt", padding=True)
    labels = torch.tensor([LABELS[::-1].index(label) for _, label in ROWS])
    losses = []
    for _ in range(12):
        loss = torch.nn.functional.cross_entropy(model.train()(**batch)["logits"], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    saved = save(tmp_path / "learned", model, tokenizer)
    assert saved.notes["parameters"] == shaped.notes["parameters"]
    assert opened(saved).state_dict().keys() == opened(shaped).state_dict().keys()
    add_adapters(model, Lora(rank=2))
    merge(model)
    assert model.state_dict().keys() == opened(shaped).state_dict().keys()


def test_a_student_may_keep_some_of_its_layers(shaped, tmp_path):
    student, tokenizer = open_copy(shaped, [1], tuple(LABELS), dropout=0.0)
    assert student.config.num_hidden_layers == 1
    assert any(isinstance(module, LowRank) for module in student.modules())
    kept = save(tmp_path / "student", student, tokenizer)
    assert probabilities(kept, TEXTS).shape == (len(TEXTS), len(LABELS))


def test_a_rerun_gives_the_same_artifact(shaped, tmp_path):
    source = made(tmp_path, "bert")
    assert run(SHAPING, source, tmp_path).digest == shaped.digest


# -- damaged -----------------------------------------------------------------------------------------------------------


def thinner_query(weights):
    """One of the three that have to be of one size."""
    name = next(name for name in weights if name.endswith("query.weight"))
    weights[name] = weights[name][:16].clone()
    weights[name.replace("weight", "bias")] = weights[name.replace("weight", "bias")][:16].clone()


def factors_that_do_not_meet(weights):
    name = next(name for name in weights if name.endswith("intermediate.dense.weight"))
    weight = weights.pop(name)
    weights[name.replace("weight", "down.weight")] = torch.ones(3, weight.shape[1])
    weights[name.replace("weight", "up.weight")] = torch.ones(weight.shape[0], 4)


def one_factor(weights):
    name = next(name for name in weights if name.endswith("intermediate.dense.weight"))
    weights[name.replace("weight", "down.weight")] = weights.pop(name)


def narrow_neurons(weights):
    name = next(name for name in weights if name.endswith("intermediate.dense.weight"))
    weights[name] = weights[name][:40].clone()
    weights[name.replace("weight", "bias")] = weights[name.replace("weight", "bias")][:40].clone()


def a_vector(weights):
    name = next(name for name in weights if name.endswith("key.weight"))
    weights[name] = weights[name].flatten()


def more_labels(weights):
    weights["head.weight"] = torch.ones(9, weights["head.weight"].shape[1])
    weights["head.bias"] = torch.ones(9)


@pytest.mark.parametrize(
    "damage", [thinner_query, factors_that_do_not_meet, one_factor, narrow_neurons, a_vector, more_labels]
)
def test_weights_that_do_not_fit_together_are_refused_in_one_line(damage, tmp_path):
    folder, manifest = open_artifact(made(tmp_path, "bert"))
    weights = load_file(folder / "model.safetensors")
    damage(weights)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(
        ArtifactError, match=r"model: expected a torch model's .* that fit together; .*delete"
    ) as caught:
        load_artifact(folder, manifest)
    assert "\n" not in str(caught.value)


def test_a_config_that_says_otherwise_is_made_up_for(tmp_path):
    """What of the linear layers the weights themselves tell needs no config."""
    source = made(tmp_path, "bert")
    folder, manifest = open_artifact(source)
    before = opened(source)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text("utf-8")) | {"intermediate_size": 128}
    (copy / "config.json").write_text(json.dumps(config), "utf-8")
    after = load_artifact(copy, manifest)
    assert all(torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items())


@pytest.mark.parametrize("method", [*SHAPING, Shrink(layers=1)], ids=lambda method: method.kind)
def test_a_pass_on_a_served_model_is_refused(method, tmp_path, shaped):
    assert type(method) in PASSES
    exported = replace(shaped, uri=str(tmp_path / "exported"))
    shutil.copytree(shaped.uri, exported.uri)
    path = tmp_path / "exported" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "runtime": "onnx"}, indent=1, sort_keys=True))
    exported = replace(exported, digest=file_sha256(path), runtime="onnx")
    with pytest.raises(ModelError, match=rf"compress: {method.kind} needs a torch model, not 'onnx'"):
        compress_pass(method, exported, tmp_path / "never", material_of(shaped, ROWS))


def test_the_tokenizer_opens_as_the_source_had_it(shaped):
    tokenizer = open_tokenizer(*open_artifact(shaped))
    assert tokenizer.pad_token == "<pad>"
    assert len(tokenizer) == opened(shaped).config.vocab_size
