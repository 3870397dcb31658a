"""What learns under each `tune`, how fast, in which order, and where training starts."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    GPT2Config,
    GPT2Model,
    ModernBertConfig,
    ModernBertModel,
    T5Config,
    T5EncoderModel,
    Trainer,
    TrainingArguments,
)

from tasks.artifacts import open_artifact, seal
from tasks.compress.exporting.onnx_export import export_onnx
from tasks.compress.methods import Onnx
from tasks.errors import ModelError
from tasks.progress import progress_to
from tasks.records import Candidate
from tasks.train.bases.layers import encoder_layers, parameter_depths
from tasks.train.engine import checkpoints
from tasks.train.finetune import finetune
from tasks.train.lesson import Lesson
from tasks.train.methods import FineTune, Frozen, Full, Gradual, Lora
from tasks.train.model import EncoderClassifier, load_artifact
from tasks.train.parameters import merge, parameter_groups, prepare, thawed_depth, with_vectors
from tasks.train.start import open_start
from tests.compress_support import material_of
from tests.loop_support import messages

ROWS = [(row["text"], row["label"]) for row in messages(96, seed=1)]
LABELS = tuple(sorted({label for _, label in ROWS}))
SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 3, "vocab_size": 50}
FAMILIES: dict[str, Any] = {
    "bert": lambda: BertModel(BertConfig(**SMALL)),
    "deberta": lambda: DebertaV2Model(DebertaV2Config(**SMALL, relative_attention=True, pos_att_type=["c2p", "p2c"])),
    "modernbert": lambda: ModernBertModel(ModernBertConfig(**SMALL, pad_token_id=0, bos_token_id=1, eos_token_id=1,
                                                           cls_token_id=1, sep_token_id=1)),
    "t5": lambda: T5EncoderModel(T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)),
    "gpt2": lambda: GPT2Model(GPT2Config(vocab_size=50, n_embd=16, n_layer=3, n_head=2, bos_token_id=1)),
}  # fmt: skip
DECAY = 0.5


def family_model(family: str) -> EncoderClassifier:
    torch.manual_seed(0)
    return EncoderClassifier(FAMILIES[family](), 4, "mean").eval()


def tokens() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {"input_ids": torch.randint(2, 50, (3, 7)), "attention_mask": torch.ones(3, 7, dtype=torch.int64)}


@pytest.fixture(scope="module")
def deep_base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of three layers, with the tokenizer of the tiny one."""
    folder = tmp_path_factory.mktemp("deep")
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(BertConfig(**{**SMALL, "vocab_size": len(tokenizer)}, max_position_embeddings=64)).save_pretrained(folder)
    return folder


def run(base: Path, folder: Path, *, lesson: Lesson | None = None, **changes: Any) -> Candidate:
    method = FineTune(**{"epochs": 1, "batch_size": 48, "learning_rate": 0.01, "precision": "fp32", **changes})
    folder.mkdir(parents=True)
    return finetune(str(base), method, lesson or Lesson(ROWS, [], LABELS), folder / "model")


def changed(base: Path, made: Candidate) -> dict[str, bool]:
    """Return which of the encoder's tensors differ from the base's, by name; both have the same names."""
    stored = load_file(base / "model.safetensors")
    before = {name: weight for name, weight in stored.items() if not name.startswith("pooler.")}  # nobody runs it
    weights = load_file(Path(made.uri) / "model.safetensors")
    after = {name.removeprefix("encoder."): weights[name] for name in weights if name.startswith("encoder.")}
    assert before.keys() == after.keys()
    return {name: not torch.equal(before[name], after[name]) for name in before}


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_and_depths_are_found_in_every_family(family: str) -> None:
    model = family_model(family)
    layers = encoder_layers(model.encoder)
    assert len(layers) == model.config.num_hidden_layers
    depths = parameter_depths(model)
    assert depths.keys() == dict(model.named_parameters()).keys()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    inside = {id(parameter) for parameter in layers.parameters()}
    for number, layer in enumerate(layers):
        assert {depths[names[id(parameter)]] for parameter in layer.parameters()} == {len(layers) - number}
    for module in model.modules():
        if isinstance(module, nn.Embedding) and id(module.weight) not in inside:  # T5 has one in its first layer
            assert depths[names[id(module.weight)]] == len(layers) + 1
    assert depths["head.weight"] == depths["head.bias"] == 0


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(ModelError, match="has no layers"):
        encoder_layers(nn.Linear(2, 2))


@pytest.mark.parametrize("family", FAMILIES)
def test_each_layer_learns_slower_than_the_one_above(family: str) -> None:
    model = family_model(family)
    method = FineTune(learning_rate=0.01, weight_decay=0.1, tune=Full(layer_decay=DECAY))
    groups = parameter_groups(model, method, frozenset(Trainer.get_decay_parameter_names(None, model)))
    names = {id(parameter): name for name, parameter in model.named_parameters() if parameter.requires_grad}
    rates = {names[id(parameter)]: group["lr"] for group in groups for parameter in group["params"]}
    assert rates.keys() == set(names.values())
    assert sum(len(group["params"]) for group in groups) == len(names)
    layers = model.config.num_hidden_layers
    for name, depth in parameter_depths(model).items():
        assert name not in names.values() or rates[name] == pytest.approx(0.01 * DECAY ** max(0, depth - 1))
    assert max(rates.values()) == rates["head.weight"] == 0.01
    assert min(rates.values()) == pytest.approx(0.01 * DECAY**layers)
    assert groups[0]["lr"] == 0.01


def test_without_layer_decay_the_groups_are_those_of_the_trainer(tmp_path: Path) -> None:
    model = family_model("bert")
    arguments = TrainingArguments(output_dir=str(tmp_path), weight_decay=0.1, learning_rate=0.01, report_to=[],
                                  use_cpu=True)  # fmt: skip
    trainer = Trainer(model=model, args=arguments)
    expected = trainer.create_optimizer().param_groups
    method = FineTune(learning_rate=0.01, weight_decay=0.1)
    found = parameter_groups(model, method, frozenset(trainer.get_decay_parameter_names(model)))
    assert [(group["weight_decay"], [id(each) for each in group["params"]]) for group in found] == [
        (group["weight_decay"], [id(each) for each in group["params"]]) for group in expected
    ]


def test_a_full_training_changes_every_tensor(deep_base: Path, tmp_path: Path) -> None:
    made = run(deep_base, tmp_path / "full", tune=Full(layer_decay=0.8))
    assert all(changed(deep_base, made).values())


def test_a_frozen_training_leaves_the_encoder_as_it_is_and_teaches_the_head(deep_base: Path, tmp_path: Path) -> None:
    lesson = Lesson(ROWS[:64], ROWS[64:], LABELS)
    short, long = (
        run(deep_base, tmp_path / str(epochs), lesson=lesson, tune=Frozen(), epochs=epochs, learning_rate=0.1)
        for epochs in (1, 12)
    )
    assert not any(changed(deep_base, long).values())
    assert long.notes["train_loss"] < short.notes["train_loss"] - 0.01
    assert load_artifact(*open_artifact(long)).head.weight.abs().max() > 0.5


def test_vectors_made_once_are_those_of_the_encoder_in_the_order_of_the_rows(deep_base: Path) -> None:
    model, tokenizer = open_start(str(deep_base), FineTune(dropout=0.5), Lesson(ROWS, [], LABELS))
    model.train()
    encoded = [{**tokenizer(text), "labels": 1} for text, _ in ROWS]
    rows = with_vectors(model, tokenizer, encoded)
    learner, given, none = prepare(model, tokenizer, Frozen(), encoded, [])
    assert (len(none), len(given)) == (0, len(ROWS))
    assert {name for name, parameter in learner.named_parameters()} == {"head.weight", "head.bias"}
    learner.eval()
    for row, source in zip(rows, encoded, strict=True):
        assert row.keys() == source.keys() | {"vectors"}
        alone = {name: torch.tensor([source[name]]) for name in tokenizer.model_input_names}
        with torch.inference_mode():
            torch.testing.assert_close(torch.tensor(row["vectors"]), model.vectors(**alone)[0], atol=1e-5, rtol=1e-5)
            logits = learner(vectors=torch.tensor(row["vectors"]).unsqueeze(0))["logits"]
            torch.testing.assert_close(logits, model(**alone)["logits"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("parts", [{"mixup": 0.5, "r_drop": 1.0}, {"focal": 2.0, "class_weights": "balanced"}])
def test_every_loss_works_on_a_frozen_encoder(deep_base: Path, tmp_path: Path, parts: dict[str, Any]) -> None:
    made = run(deep_base, tmp_path / "made", tune="frozen", batch_size=36, **parts)  # the last batch is smaller
    assert not any(changed(deep_base, made).values())


def test_adapters_change_the_linear_weights_alone_and_export(tiny_base: Path, tmp_path: Path) -> None:
    made = run(tiny_base, tmp_path / "lora", tune=Lora(rank=4, dropout=0.1))
    found = changed(tiny_base, made)
    linear = {name for name in found if name.startswith("encoder.layer") and name.endswith("weight")}
    linear -= {name for name in linear if "LayerNorm" in name}
    assert len(linear) == 6
    assert {name for name, differs in found.items() if differs} == linear
    exported = export_onnx(Onnx(), made, tmp_path / "onnx", material_of(made))
    assert exported.notes["parity"] < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_a_merged_model_answers_as_the_one_with_adapters(family: str) -> None:
    model, fresh = family_model(family), family_model(family)
    learner, _, _ = prepare(model, None, Lora(rank=4), [], [])  # type: ignore[arg-type]
    learner.eval()
    learning = [name for name, parameter in learner.named_parameters() if parameter.requires_grad]
    assert any("lora_A" in name for name in learning)
    assert {name for name in learning if "lora_" not in name} == {"head.weight", "head.bias"}
    with torch.inference_mode():
        torch.testing.assert_close(model(**tokens()), fresh(**tokens()))  # adapters begin as nothing
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.add_(torch.randn_like(parameter) / 10)
        before = model(**tokens())["logits"]
        merge(model)
        after = model(**tokens())["logits"]
    assert model.state_dict().keys() == fresh.state_dict().keys()
    assert not torch.allclose(before, fresh(**tokens())["logits"], atol=1e-2)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


def test_adapters_stand_where_the_targets_say() -> None:
    model = family_model("gpt2")
    prepare(model, None, Lora(rank=2, targets=("c_attn", "mlp.c_fc")), [], [])  # type: ignore[arg-type]
    beside = {name.split(".lora_A")[0].rsplit(".", 2)[-1] for name, _ in model.named_parameters() if "lora_A" in name}
    assert beside == {"c_attn", "c_fc"}


def test_an_unknown_target_is_named_with_what_there_is() -> None:
    with pytest.raises(ModelError, match=r"no linear layer 'qkv'; there are dense, key, query, value$"):
        prepare(family_model("bert"), None, Lora(targets=("query", "qkv")), [], [])  # type: ignore[arg-type]


def test_layers_thaw_from_the_top(deep_base: Path, tmp_path: Path) -> None:
    """Two steps: the head alone, then it with the two upper layers; the third layer would thaw at three quarters."""
    found = changed(deep_base, run(deep_base, tmp_path / "gradual", tune=Gradual(share=1.0)))
    layers = [{differs for name, differs in found.items() if name.startswith(f"encoder.layer.{n}.")} for n in range(3)]
    assert layers == [{False}, {True}, {True}]
    assert {differs for name, differs in found.items() if name.startswith("embeddings")} == {False}


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("bottom", [2, 13])
@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_what_learns_grows_from_the_head_to_everything(share: float, bottom: int, steps: int) -> None:
    depths = [thawed_depth(step, steps, share, bottom) for step in range(steps + 1)]
    assert depths == sorted(depths)
    assert (depths[0], depths[-1]) == (0, bottom)
    assert all(depth == bottom for step, depth in enumerate(depths) if step >= share * steps)
    if share * steps >= bottom:
        assert set(depths) == set(range(bottom + 1))


class Stopped(Exception):
    """What ends a training in the middle."""


@pytest.mark.parametrize(
    "options",
    [
        {"tune": Gradual(share=0.8, layer_decay=0.9), "ema": 0.5},
        {"tune": Lora(rank=2, dropout=0.2), "ema": 0.5},
        {"tune": Full(layer_decay=0.7), "r_drop": 1.0, "focal": 1.0},
        {"tune": Frozen(), "mixup": 0.5},
    ],
    ids=lambda options: options["tune"].kind,
)
def test_a_training_that_goes_on_from_a_checkpoint_ends_as_an_undisturbed_one(
    deep_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(checkpoints, "EVERY_SECONDS", 0.0)
    rows = {"train": ROWS[:64], "valid": ROWS[64:], "labels": LABELS}
    undisturbed = run(deep_base, tmp_path / "whole", lesson=Lesson(**rows), epochs=2, batch_size=12, **options)

    def stop(what: str, done: int, total: int) -> None:
        steps.append(done)
        if len(steps) == 8:
            raise Stopped

    steps: list[int] = []
    lesson = Lesson(**rows, work=tmp_path / "work")
    with progress_to(stop):
        with pytest.raises(Stopped):
            run(deep_base, tmp_path / "stopped", lesson=lesson, epochs=2, batch_size=12, **options)
        made = run(deep_base, tmp_path / "made", lesson=lesson, epochs=2, batch_size=12, **options)
    assert steps == [*range(1, 9), *range(8, 13)]  # the checkpoint of step 7 was the last whole one
    files = [(Path(each.uri) / "model.safetensors").read_bytes() for each in (undisturbed, made)]
    assert files[0] == files[1]
    assert made.notes["valid_loss"] == undisturbed.notes["valid_loss"]


def test_adapters_learn_alike_where_activations_are_computed_again(deep_base: Path, tmp_path: Path) -> None:
    kept, again = (
        load_file(
            Path(run(deep_base, tmp_path / str(on), tune=Lora(rank=2), checkpointing=on).uri) / "model.safetensors"
        )
        for on in (False, True)
    )
    for name, tensor in kept.items():
        torch.testing.assert_close(again[name], tensor)


@pytest.fixture(scope="module")
def champion(deep_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Candidate]:
    folder = tmp_path_factory.mktemp("champion") / "made"
    yield run(deep_base, folder, lesson=Lesson(ROWS[:64], ROWS[64:], LABELS), epochs=8)


def test_the_champions_weights_are_carried_over_by_label(deep_base: Path, champion: Candidate) -> None:
    labels = (LABELS[2], "brand new", LABELS[0])
    method = FineTune(start="champion", dropout=0.3)
    model, _ = open_start(str(deep_base), method, Lesson([], [], labels, parent=champion))
    parent = load_artifact(*open_artifact(champion))
    theirs, ours = parent.encoder.state_dict(), model.encoder.state_dict()
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    for name in ("weight", "bias"):
        mine, old = getattr(model.head, name), getattr(parent.head, name)
        assert torch.equal(mine[0], old[2]) and torch.equal(mine[2], old[0])
        assert not any(torch.equal(mine[1], row) for row in old)
    assert model.dropout.p == 0.3
    model.eval()
    inputs = {name: values % 40 for name, values in tokens().items()}
    torch.testing.assert_close(model(**inputs)["logits"][:, [2, 0]], parent(**inputs)["logits"][:, [0, 2]])


def test_a_training_that_starts_from_the_champion_knows_what_it_knew(
    deep_base: Path, champion: Candidate, tmp_path: Path
) -> None:
    lesson = Lesson(ROWS[:64], ROWS[64:], LABELS, parent=champion)
    cold, warm = (
        run(deep_base, tmp_path / start, lesson=lesson, start=start, learning_rate=1e-4)
        for start in ("base", "champion")
    )
    assert warm.notes["valid_loss"] < 0.8 * cold.notes["valid_loss"]
    assert all(changed(deep_base, warm).values())


def test_without_a_champion_it_is_the_base(deep_base: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        model, _ = open_start(str(deep_base), FineTune(start="champion"), Lesson([], [], LABELS))
    assert "there is no champion yet" in caplog.text
    before = load_file(deep_base / "model.safetensors")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.encoder.state_dict().items())


def resealed(champion: Candidate, folder: Path, **manifest: Any) -> Candidate:
    """Return a copy of the champion with other files or another manifest, sealed anew."""
    old = open_artifact(champion)[1]
    kept = {name: old[name] for name in ("task", "labels", "max_length", "inputs", "pooling", "runtime")}
    return seal(folder, notes={}, **{**kept, **manifest})


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def rewidened(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("intermediate.dense.weight"))
    save_file({**weights, name: torch.zeros(20, 16)}, folder / "model.safetensors")


def other_words(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text("utf-8").replace('"parcel"', '"package"'), "utf-8")


@pytest.mark.parametrize(
    ("change", "manifest", "message"),
    [
        (pickled, {}, "expected weights as safetensors, the only format that is read"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x80\x02}q\x00."), {}, "expected weights as saf"),
        (rewidened, {}, r"intermediate.dense.weight has shape \(20, 16\), not \(16, 16\)"),
        (other_words, {}, "the champion's tokenizer is not that of the base"),
        (lambda folder: None, {"pooling": "first"}, "the champion pools by 'first' and train.pooling is 'mean'"),
        (lambda folder: None, {"runtime": "onnx"}, "expected a torch model as champion, found 'onnx'"),
    ],
)
def test_a_champion_that_does_not_fit_is_refused(
    deep_base: Path, champion: Candidate, tmp_path: Path, change: Any, manifest: dict[str, Any], message: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for path in Path(champion.uri).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    change(folder)
    parent = resealed(champion, folder, **manifest)
    with pytest.raises(ModelError, match=message):
        open_start(str(deep_base), FineTune(start="champion"), Lesson([], [], LABELS, parent=parent))


def test_a_champion_of_another_architecture_is_refused(tiny_base: Path, champion: Candidate) -> None:
    with pytest.raises(ModelError, match=r"architecture is not the base's \(num_hidden_layers 3, not 1\)"):
        open_start(str(tiny_base), FineTune(start="champion"), Lesson([], [], LABELS, parent=champion))
