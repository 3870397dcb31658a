"""Bases that cannot be used: each is one line that says what was expected, what came and what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.errors import ModelError
from tasks.train.bases.base import Base, FromConfig, Pretrained
from tasks.train.bases.cost import base_cost
from tasks.train.bases.loading import load_base
from tests.base_support import make_base, make_tokenizer

WEIGHTS = "model.safetensors"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base that loads."""
    return make_base(tmp_path_factory.mktemp("whole"), "bert", num_hidden_layers=1)


@pytest.fixture
def base(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to break."""
    folder = tmp_path / "base"
    shutil.copytree(whole, folder)
    return folder


def refusal(base: Base) -> str:
    with pytest.raises(ModelError) as caught:
        load_base(base, 4, "mean", 0.1)
    message = str(caught.value)
    assert message.startswith("recipe.base: ")
    assert "\n" not in message
    assert len(message) < 700
    return message


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def remove(*names: str) -> Callable[[Path], None]:
    def removing(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return removing


def slow_tokenizer(folder: Path) -> None:
    remove(*TOKENIZER)(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "ByT5Tokenizer"}), "utf-8")


def pickled(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    remove(WEIGHTS)(folder)
    torch.save(weights, folder / "pytorch_model.bin")


def truncated(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def rubbish(folder: Path) -> None:
    (folder / "config.json").write_text("{bert", "utf-8")


def no_type(folder: Path) -> None:
    (folder / "config.json").write_text('{"hidden_size": 32}', "utf-8")


def a_list(folder: Path) -> None:
    (folder / "config.json").write_text("[]", "utf-8")


def wrong_value(folder: Path) -> None:
    change_config(folder, hidden_size="wide")


def unknown(folder: Path) -> None:
    change_config(folder, model_type="transmogrifier")


def deeper(folder: Path) -> None:
    change_config(folder, num_hidden_layers=2)


def wider(folder: Path) -> None:
    change_config(folder, intermediate_size=128)


def own_code(folder: Path) -> None:
    change_config(folder, model_type="mystery", auto_map={"AutoConfig": "code.Config", "AutoModel": "code.Model"})
    (folder / "code.py").write_text("raise SystemExit('ran')\n", "utf-8")


def own_tokenizer_code(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text("utf-8")) | {"auto_map": {"AutoTokenizer": ["code.Tokens", None]}}
    content["tokenizer_class"] = "Tokens"
    path.write_text(json.dumps(content), "utf-8")
    (folder / "code.py").write_text("raise SystemExit('ran')\n", "utf-8")


def adapter(folder: Path) -> None:
    remove("config.json", WEIGHTS)(folder)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}), "utf-8")
    save_file({"a": torch.ones(1)}, folder / "adapter_model.safetensors")


def emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def other_words(folder: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([f"new{number}" for number in range(9)])
    tokenizer.save_pretrained(folder)


def lost_part(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
    parts = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}), "utf-8")


def no_padding(folder: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(folder)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (remove(*TOKENIZER), ("tokenizer", "tokenizer.json beside config and safetensors")),
        (slow_tokenizer, ("no fast tokenizer (tokenizer.json), only ByT5Tokenizer", "choose a base")),
        (no_padding, ("no token for padding", "pad_token")),
        (other_words, ("has 57 tokens, its weights know 48", "put the tokenizer.json")),
        (pickled, ("refused: safetensors only", "pytorch_model.bin is pickled", "convert it", "save_pretrained")),
        (truncated, ("model.safetensors' is cut short", "copy it again")),
        (remove(WEIGHTS), ("has no weights (*.safetensors)", "tokenizer.json")),
        (lost_part, ("lacks model-00002-of-00002.safetensors", "copy the base again")),
        (remove("config.json"), ("has no config.json", "a base is a folder with")),
        (rubbish, ("config.json' is no JSON", "copy the base's config.json again")),
        (no_type, ("says no `model_type`", "copy the config.json")),
        (a_list, ("says no `model_type`", "copy the config.json")),
        (wrong_value, ("cannot load", "hidden_size")),
        (unknown, ("architecture is not among", "transformers", "give 'minilm'")),
        (deeper, ("do not match its config: 16 of the bert encoder are missing", "would be random")),
        (wider, ("cannot load", "mismatch", "give 'minilm'")),
        (own_code, ("trust_remote_code, which is refused", "give 'minilm'")),
        (adapter, ("a peft adapter (adapter_config.json)", "merge_and_unload()")),
        (emptied, ("is empty", "a base is a folder with")),
    ],
    ids=lambda value: getattr(value, "__name__", "") if callable(value) else "",
)  # fmt: skip
def test_a_spoilt_base_is_one_line(spoil: Callable[[Path], None], says: tuple[str, ...], base: Path) -> None:
    load_base(str(base), 4, "mean", 0.1)
    spoil(base)
    message = refusal(str(base))
    for part in (*says, str(base)):
        assert part in message
    assert refusal(Pretrained(str(base), layers=(0,))) == message


def test_weights_that_nobody_reads_may_be_missing(base: Path) -> None:
    weights = load_file(base / WEIGHTS)
    pooler = [name for name in weights if name.startswith("pooler.")]
    assert len(pooler) == 2
    save_file({name: weights[name] for name in weights if name not in pooler}, base / WEIGHTS, {"format": "pt"})
    model, _ = load_base(str(base), 4, "mean", 0.1)
    assert not any("pooler" in name for name in model.state_dict())


def test_weights_of_a_model_with_a_head_are_those_of_its_encoder(base: Path) -> None:
    weights = {f"bert.{name}": weight for name, weight in load_file(base / WEIGHTS).items() if "pooler" not in name}
    save_file({**weights, "classifier.weight": torch.ones(2, 32)}, base / WEIGHTS, {"format": "pt"})
    model, _ = load_base(str(base), 4, "mean", 0.1)
    name = "embeddings.word_embeddings.weight"
    assert torch.equal(model.encoder.state_dict()[name], weights[f"bert.{name}"])


def test_a_hub_id_without_a_network_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for base in ("nobody/no-such-base", Pretrained("nobody/no-such-base", window=8)):
        message = refusal(base)
        assert "cannot load 'nobody/no-such-base' (" in message
        assert "hub id that this machine can reach" in message
    assert "nobody/no-such-base" in refusal(FromConfig("bert", tokenizer="nobody/no-such-base"))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    for base in (str(tmp_path / "gone"), FromConfig("t5", tokenizer=str(tmp_path / "gone"))):
        assert f"there is no folder '{tmp_path / 'gone'}'; give 'minilm'" in refusal(base)


def test_code_of_a_tokenizer_is_not_run(base: Path) -> None:
    own_tokenizer_code(base)
    _, tokenizer = load_base(str(base), 4, "mean", 0.1)  # by tokenizer.json, with transformers' own code
    assert type(tokenizer).__module__.startswith("transformers.")
    assert tokenizer.tokenize("money back") == ["money", "back"]


@pytest.mark.parametrize(("family", "says"), [("bart", "an encoder with a decoder"), ("vit", "no model of texts")])
def test_a_family_that_gives_no_vector_for_each_token_is_refused(family: str, says: str, base: Path) -> None:
    from transformers import CONFIG_MAPPING

    (base / "config.json").write_text(CONFIG_MAPPING[family]().to_json_string(), "utf-8")
    with pytest.raises(ModelError, match=says):
        base_cost(str(base))
