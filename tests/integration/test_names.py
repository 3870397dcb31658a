"""The recogniser of names on a tiny model whose weights are set, so that certain words are people for certain."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertForSequenceClassification, BertForTokenClassification, BertModel
from transformers import PreTrainedTokenizerFast as FastTokenizer

from flows.project import open_project
from tasks.build import named_models
from tasks.data.cleaning.clean import DropEmpty, apply
from tasks.data.cleaning.names import find_names, load_recogniser, replace_names
from tasks.data.cleaning.scrub_step import Scrub
from tasks.data.rows import values
from tasks.errors import ModelError
from tests.unit.data_rows import rows

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "ann", "lee", "mc", "##lar", "##en", "my", "name", "is", "email", "call",
"or",
         "filler", ".", ",", "<", ">", "-", "'", "o", "neil", "zo", "##e"]  # fmt: skip
LABELS = ["O", "B-PER", "I-PER", "B-ORG"]
SURE = {"ann": 1, "lee": 2, "mc": 1, "##lar": 2, "##en": 2, "o": 1, "neil": 2, "email": 1}
HALF = {"zo": 1}  # its other piece is no name, so that the word's mean is a half
LABELS_OF = ("PER", "PERSON")


def save_tokenizer(folder: Path) -> None:
    words = Tokenizer(WordPiece({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.normalizer = BertNormalizer(lowercase=True)
    words.pre_tokenizer = BertPreTokenizer()
    words.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    FastTokenizer(
        tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=32,
    ).save_pretrained(folder)  # fmt: skip


def config(**more: Any) -> BertConfig:
    return BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4,
        max_position_embeddings=32, id2label=dict(enumerate(LABELS)), label2id={n: i for i, n in enumerate(LABELS)},
        **more,
    )  # fmt: skip


def save_model(folder: Path) -> Path:
    """Save a model without attention: each word's embedding is one-hot, and the head reads its label off it."""
    model = BertForTokenClassification(config())
    with torch.no_grad():
        for weights in model.parameters():
            weights.zero_()
        model.bert.embeddings.word_embeddings.weight.copy_(torch.eye(len(WORDS), 32))
        for name, norm in model.named_modules():
            if name.endswith("LayerNorm"):
                norm.weight.fill_(1.0)
        model.classifier.weight[0].fill_(0.0)
        model.classifier.bias.copy_(torch.tensor([10.0, 0.0, 0.0, 0.0]))
        for word, label in {**SURE, **HALF}.items():
            model.classifier.weight[label, WORDS.index(word)] = 10.0
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_model(tmp_path_factory.mktemp("ner")))


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("My name is Ann Lee.", "My name is <NAME>."),
        ("Ann", "<NAME>"),
        ("ann, lee or McLaren", "<NAME>, <NAME> or <NAME>"),  # a word of several pieces; a comma parts names
        ("call O'Neil-Lee or filler", "call <NAME> or filler"),
        ("is it, or nobody", "is it, or nobody"),
        ("call <EMAIL> or Ann", "call <EMAIL> or <NAME>"),  # a placeholder is left alone
        ("", ""),
    ],
)
def test_names_are_replaced_and_nothing_else(model: str, text: str, scrubbed: str) -> None:
    assert replace_names([text, "filler filler", text], model, LABELS_OF, 0.5) == [scrubbed, "filler filler", scrubbed]


def test_a_word_counts_by_the_mean_of_its_pieces(model: str) -> None:
    assert replace_names(["zoe"], model, LABELS_OF, 0.6) == ["zoe"]
    assert replace_names(["zoe"], model, LABELS_OF, 0.4) == ["<NAME>"]


@pytest.mark.parametrize("before", [0, 20, 27, 28, 29, 30, 31, 55, 100, 301])
def test_long_texts_are_read_in_windows(model: str, before: int) -> None:
    text = "filler " * before + "Ann McLaren or " + "filler " * 50 + "lee"
    assert replace_names([text, "ann"], model, LABELS_OF, 0.5) == [
        "filler " * before + "<NAME> or " + "filler " * 50 + "<NAME>",
        "<NAME>",
    ]


def test_many_texts_in_any_order_give_the_same(model: str) -> None:
    texts = [f"{'filler ' * (number % 40)}ann" for number in range(100)]
    once = replace_names(texts, model, LABELS_OF, 0.5)
    assert once == [text.replace("ann", "<NAME>") for text in texts]
    assert replace_names(texts[::-1], model, LABELS_OF, 0.5) == once[::-1]


def test_spans_are_of_the_text_itself(model: str) -> None:
    recogniser = load_recogniser(model, LABELS_OF)
    assert find_names(recogniser, ["\u00e9t\u00e9 Ann", "\U0001f600 lee ann"], 0.5) == [[(4, 7)], [(2, 9)]]


def test_the_step_replaces_what_has_a_form_first_and_names_where_asked(model: str) -> None:
    table = rows(["My name is Ann, ann@lee.com", "filler"])
    left, report = apply(Scrub(names=model), table)
    assert values(left, "text") == ["My name is <NAME>, <EMAIL>", "filler"]
    assert (report.rows_changed, report.examples) == (1, ("My name is <NAME>, <EMAIL>",))
    assert values(apply(Scrub(), table)[0], "text") == ["My name is Ann, <EMAIL>", "filler"]


def test_other_labels_may_be_named(model: str) -> None:
    assert replace_names(["ann"], model, ["org"], 0.5) == ["ann"]
    with pytest.raises(ModelError, match=r"has none of the labels NAME of a person, but O, B-PER, I-PER, B-ORG; name"):
        replace_names(["ann"], model, ["NAME"], 0.5)


def test_what_is_no_recogniser_is_refused(tmp_path: Path) -> None:
    def refusal(name: str) -> str:
        with pytest.raises(ModelError) as error:
            load_recogniser(name, LABELS_OF)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "there is no folder ./nowhere; give a folder" in refusal("./nowhere")
    assert "there is no folder /a/b; give a folder" in refusal("/a/b")
    (tmp_path / "empty").mkdir()
    assert "holds no weights" in refusal(str(tmp_path / "empty"))
    pickled = save_model(tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    assert "holds only pickled weights, which are never loaded" in refusal(str(pickled))
    BertForSequenceClassification(config()).save_pretrained(tmp_path / "classifier")
    assert "is BertForSequenceClassification, no token classifier" in refusal(str(tmp_path / "classifier"))
    BertModel(config()).save_pretrained(tmp_path / "encoder")
    assert "is BertModel, no token classifier" in refusal(str(tmp_path / "encoder"))


def test_a_broken_recogniser_is_refused(tmp_path: Path) -> None:
    headless = save_model(tmp_path / "headless")
    BertModel(config(), add_pooling_layer=False).save_pretrained(headless)
    settings = json.loads((headless / "config.json").read_text())
    (headless / "config.json").write_text(json.dumps({**settings, "architectures": ["BertForTokenClassification"]}))
    with pytest.raises(ModelError, match=r"lacks the weights classifier\.bias, classifier\.weight; save it whole"):
        load_recogniser(str(headless), LABELS_OF)
    damaged = save_model(tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="cannot load"):
        load_recogniser(str(damaged), LABELS_OF)
    wordless = save_model(tmp_path / "wordless")
    (wordless / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer|cannot load"):
        load_recogniser(str(wordless), LABELS_OF)


def test_a_recogniser_beside_the_spec_is_found_and_counts_by_its_content(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "recogniser")
    spec = {
        "name": "x", "data": {"source": {"kind": "file", "path": "x.csv"}},
        "recipe": {"clean": [{"kind": "scrub", "names": "recogniser"}, "scrub", "drop_empty"]},
        "levers": [{"name": "one", "clean": [{"kind": "scrub", "names": "recogniser"}]}, {"name": "two", "train": {}}],
    }  # fmt: skip
    (tmp_path / "ratchet.yaml").write_text(json.dumps(spec))
    project = open_project(tmp_path)
    found = Scrub(names=str(folder))
    assert project.spec.recipe.clean == (found, Scrub(), DropEmpty())
    assert [lever.clean for lever in project.spec.levers] == [(found,), None]
    before = named_models(project.spec.recipe.clean)
    assert len(before) == 1
    assert named_models((Scrub(), DropEmpty(), Scrub(names="owner/on-a-hub"))) == ["owner/on-a-hub"]
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "id2label": {"0": "O", "1": "PER"}}))
    assert named_models(project.spec.recipe.clean) != before
