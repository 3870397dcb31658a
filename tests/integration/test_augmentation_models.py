"""Augmentation that asks models: tiny ones made here and the embedded base; and what is said of wrong ones."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

import tasks.build
from tasks.data.augmentation.augment import EMPTY, REPEATED, SPENT, augment
from tasks.data.augmentation.back_translate import LOST, RAMBLING, TOO_LONG, WORDLESS, BackTranslate
from tasks.data.augmentation.mask_fill import NO_OTHER, NO_WORD, MaskFill
from tasks.data.augmentation.synonyms import NO_NEIGHBOUR, Synonyms
from tasks.data.rows import values
from tasks.data.snapshot import write_table
from tasks.errors import ModelError
from tasks.progress import progress_to
from tasks.records import Snapshot, Table
from tasks.store import Store
from tests.augmentation_support import WORDS, make_masked_model, make_seq2seq, make_tokenizer
from tests.unit.data_rows import rows

TEXTS = [" ".join(random.Random(seed).sample(WORDS, 4)) for seed in range(24)]
FEW = TEXTS[:8]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def masked(folder: Path) -> str:
    return str(make_masked_model(folder / "masked"))


@pytest.fixture(scope="module")
def pair(folder: Path) -> dict[str, str]:
    """Two translators that end soon."""
    return {
        "forward": str(make_seq2seq(folder / "forward", 1, {"</s>": 2.0})),
        "backward": str(make_seq2seq(folder / "backward", 2, {"</s>": 2.0})),
    }


def made_of(method: Any, texts: list[str] = TEXTS, seed: int = 1, **options: Any) -> tuple[list[dict[str, str]], Any]:
    table, (report,) = augment(rows(texts), [method], seed, **options)
    return table.slice(len(texts)).to_pylist(), report


def test_a_hidden_word_becomes_another_word_of_the_vocabulary(masked: str) -> None:
    made, report = made_of(MaskFill(model=masked, share=1, per_text=2))
    assert 24 < len(made) == report.rows_out - report.rows_in <= 48
    for row in made:
        before = TEXTS[int(row["id"].split("+")[0][1:])].split()
        changed = [(old, new) for old, new in zip(before, row["text"].split(), strict=True) if old != new]
        assert len(changed) == 1
        assert changed[0][1] in WORDS
        assert row["source"] == "augment:mask_fill"
    assert report.left_out.get(REPEATED, 0) + len(made) == 48


def test_a_seed_decides_what_is_drawn_and_batches_do_not(masked: str) -> None:
    one, _ = made_of(MaskFill(model=masked, share=0.7))
    assert one == made_of(MaskFill(model=masked, share=0.7))[0]
    assert one == made_of(MaskFill(model=masked, share=0.7, batch_size=1))[0]
    assert one != made_of(MaskFill(model=masked, share=0.7), seed=2)[0]
    shuffled, _ = augment(rows(TEXTS).take([*range(12, 24), *range(12)]), [MaskFill(model=masked, share=0.7)], 1)
    assert shuffled.slice(24).to_pylist() == one


def test_the_likeliest_word_is_what_the_model_says(masked: str) -> None:
    """By hand, without any of the code under test: hide each word in turn and look up the best other one."""
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(masked), AutoModelForMaskedLM.from_pretrained(masked).eval()
    text = "box late bank"
    allowed = set()
    for at, word in enumerate(text.split()):
        hidden = [*text.split()[:at], "[MASK]", *text.split()[at + 1 :]]
        with torch.no_grad():
            scores = model(**tokenizer(" ".join(hidden), return_tensors="pt")).logits[0, at]
        ranked = [tokenizer.convert_ids_to_tokens(int(index)) for index in scores.argsort(descending=True)]
        best = next(other for other in ranked if other in WORDS and other[:3] != word[:3])
        allowed.add(" ".join([*text.split()[:at], best, *text.split()[at + 1 :]]))
    made, _ = made_of(MaskFill(model=masked, share=1, per_text=3, top_k=1), [text])
    assert {row["text"] for row in made} == allowed


def test_texts_without_a_word_to_hide_are_counted_and_placeholders_stay(masked: str) -> None:
    made, report = made_of(MaskFill(model=masked, share=1, per_text=5), ["<EMAIL> 17 is it", "", "lost <CARD> [MASK]"])
    assert made == []
    assert report.left_out == {NO_WORD: 1, NO_OTHER: 1}
    made, _ = made_of(MaskFill(model=masked, share=1, per_text=5), ["lost <CARD> money"])
    assert made
    assert all("<CARD>" in row["text"] for row in made)


def test_the_budget_of_rows_holds_and_progress_is_told(masked: str, pair: dict[str, str]) -> None:
    told: list[tuple[str, int, int]] = []
    with progress_to(lambda *step: told.append(step)):
        made, _ = made_of(MaskFill(model=masked, share=1, per_text=2, max_rows=5, batch_size=2))
        assert len(made) <= 5
        assert told == [("augment mask_fill", done, 6) for done in (2, 4, 6)]
        told.clear()
        made_of(BackTranslate(**pair, share=1, max_rows=5, batch_size=4))
    assert [step for step in told if "forward" in step[0]] == [
        ("augment back_translate forward", done, 5) for done in (4, 5)
    ]
    assert {step[0] for step in told} >= {"augment back_translate backward"}


def test_translations_there_and_back_are_rows(pair: dict[str, str]) -> None:
    made, report = made_of(BackTranslate(**pair, share=1), FEW)
    assert made
    assert len(made) + sum(report.left_out.values()) == len(FEW)
    assert set(report.left_out) <= {REPEATED, WORDLESS, RAMBLING}
    keys = [row["text"] for row in made]
    assert len(set(keys)) == len(keys)
    assert not set(keys) & set(TEXTS)
    assert made == made_of(BackTranslate(**pair, share=1), FEW)[0]
    assert made == made_of(BackTranslate(**pair, share=1, batch_size=1), FEW)[0]
    assert {row["source"] for row in made} == {"augment:back_translate"}


def test_the_second_model_translates_what_the_first_one_made(pair: dict[str, str]) -> None:
    """By hand with transformers' own generate."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    text = TEXTS[0]
    for name in (pair["forward"], pair["backward"]):
        tokenizer, model = AutoTokenizer.from_pretrained(name), AutoModelForSeq2SeqLM.from_pretrained(name).eval()
        inputs = tokenizer(text, return_tensors="pt")
        length = inputs["input_ids"].shape[1]
        with torch.no_grad():
            out = model.generate(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"],
                                 num_beams=2, do_sample=False, max_new_tokens=min(31, 2 * length + 8))  # fmt: skip
        [text] = tokenizer.batch_decode(out, skip_special_tokens=True)
    made, report = made_of(BackTranslate(**pair, share=1, beams=2), TEXTS[:1])
    assert [row["text"] for row in made] == ([text] if not report.left_out else [])


def test_empty_translations_and_too_long_texts_are_left_out(folder: Path, pair: dict[str, str]) -> None:
    silent = str(make_seq2seq(folder / "silent", 3, {"</s>": 1000.0}))
    made, report = made_of(BackTranslate(forward=silent, backward=pair["backward"], share=1))
    assert (made, report.left_out) == ([], {WORDLESS: 24})
    made, report = made_of(BackTranslate(**pair, share=1, max_tokens=8), [" ".join(WORDS), "lost card"])
    assert report.left_out.get(TOO_LONG) == 1


def test_a_lost_placeholder_and_a_rambling_translation_are_left_out(folder: Path, pair: dict[str, str]) -> None:
    _, report = made_of(BackTranslate(**pair, share=1), [f"<CARD> {' '.join(WORDS[:10])}"])
    assert report.left_out == {LOST: 1}
    endless = str(make_seq2seq(folder / "endless", 3, {"</s>": -1000.0, "track": 1000.0}, repeats=True))
    _, report = made_of(BackTranslate(forward=endless, backward=endless, share=1), ["late"])
    assert report.left_out == {RAMBLING: 1}


def test_a_marian_model_in_its_own_files_translates(folder: Path, pair: dict[str, str]) -> None:
    sentencepiece = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")
    marian = folder / "marian"
    shutil.copytree(pair["forward"], marian)
    (marian / "tokenizer.json").unlink()
    for side in ("source", "target"):
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXTS), model_prefix=str(marian / side), vocab_size=32, minloglevel=2
        )
        (marian / f"{side}.model").rename(marian / f"{side}.spm")
    pieces = sentencepiece.SentencePieceProcessor(str(marian / "source.spm"))
    names = [pieces.id_to_piece(index) for index in range(3, pieces.get_piece_size())]
    known = json.loads((marian / "config.json").read_text("utf-8"))["vocab_size"]
    free = [index for index in range(2, known) if index != 6]  # where the model's end of text is
    vocabulary = {"<pad>": 0, "<unk>": 1, "</s>": 6, **dict(zip(names, free, strict=False))}
    (marian / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    (marian / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "MarianTokenizer"}), "utf-8")
    made, report = made_of(BackTranslate(forward=str(marian), backward=pair["backward"], share=1), FEW)
    assert made
    assert len(made) + sum(report.left_out.values()) == len(FEW)


def test_synonyms_of_the_embedded_base_are_near_words_and_no_forms() -> None:
    texts = ["How quickly can I get a refund?", "PLEASE cancel my order", "Money was taken", "<EMAIL> 17 it is"]
    made, report = made_of(Synonyms(share=1), texts)
    found = {row["id"].split("+")[0]: row["text"] for row in made}
    assert found["r0"] in {f"How {word} can I get a refund?" for word in ("rapidly", "swiftly", "instantly", "slowly")}
    assert found["r2"].split()[0] in {"Cash", "Dollars", "Funds"} or found["r2"].startswith("Money was ")
    assert "r3" not in found
    assert report.left_out[NO_NEIGHBOUR] >= 1
    assert made == made_of(Synonyms(share=1), texts)[0]
    assert made != made_of(Synonyms(share=1), texts, seed=5)[0]


def test_no_word_is_near_enough_is_a_warning_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    made, report = made_of(Synonyms(share=1, min_similarity=1), ["cancel my order"])
    assert (made, report.left_out) == ([], {NO_NEIGHBOUR: 1})
    assert "augment synonyms made no rows" in caplog.text


def copy(source: str, target: Path) -> Path:
    return Path(shutil.copytree(source, target))


def test_weights_that_are_pickled_are_never_read(tmp_path: Path, masked: str, pair: dict[str, str]) -> None:
    import torch
    from safetensors.torch import load_file

    for at, (source, method) in enumerate(
        [
            (masked, lambda name: MaskFill(model=name, share=1)),
            (masked, lambda name: Synonyms(base=name, share=1)),
            (pair["forward"], lambda name: BackTranslate(forward=name, backward=pair["backward"], share=1)),
        ]
    ):
        pickled = copy(source, tmp_path / str(at))
        torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
        (pickled / "model.safetensors").unlink()
        with pytest.raises(ModelError, match="pickled weights are never read"):
            made_of(method(str(pickled)))


def test_a_wrong_model_is_one_line_that_names_the_field(
    tmp_path: Path, masked: str, pair: dict[str, str], tiny_base: Path
) -> None:
    maskless = str(make_masked_model(tmp_path / "maskless", mask=False))
    broken = copy(masked, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"nonsense")
    blank = copy(masked, tmp_path / "blank")
    for path in blank.glob("token*"):
        path.unlink()
    mixed = copy(masked, tmp_path / "mixed")
    make_tokenizer(mixed, [*WORDS, "extra"], mask_token="[MASK]")
    missing = str(tmp_path / "missing")
    for method, said in [
        (MaskFill(model="minilm", share=1), r"model: 'minilm' is not a masked language model: its files lack cls\."),
        (MaskFill(model=str(tiny_base), share=1), "model: .* is not a masked language model"),
        (MaskFill(model=maskless, share=1), "model: the tokenizer of .* has no mask token"),
        (MaskFill(model=pair["forward"], share=1), "model: cannot load .* as a masked language model"),
        (MaskFill(model=missing, share=1), "model: there is no folder"),
        (MaskFill(model=str(broken), share=1), "model: cannot load .*deserializ"),
        (MaskFill(model=str(blank), share=1), "model: .* has no tokenizer"),
        (MaskFill(model=str(mixed), share=1), "model: .* failed .*tokenizer belong together"),
        (BackTranslate(forward=masked, backward=pair["backward"], share=1), "forward: cannot load .* as a sequence"),
        (BackTranslate(forward=pair["forward"], backward="minilm", share=1), "backward: cannot load 'minilm' as a seq"),
        (Synonyms(base=missing, share=1), "base: there is no folder"),
    ]:
        with pytest.raises(ModelError, match=said) as caught:
            made_of(method, [*TEXTS, "extra card"])
        assert str(caught.value).startswith(f"augment.{method.kind}.")
        assert "\n" not in str(caught.value)


def test_made_texts_are_no_evaluation_rows(masked: str) -> None:
    free, _ = made_of(MaskFill(model=masked, share=1), TEXTS[:6])
    guarded, report = made_of(MaskFill(model=masked, share=1), TEXTS[:6], protected=[free[0]["text"]])
    assert free[0]["text"] not in {row["text"] for row in guarded}
    assert {row["text"] for row in guarded} < {row["text"] for row in free}
    assert EMPTY not in report.left_out and SPENT not in report.left_out


def test_the_stage_is_made_anew_where_the_model_changes(tmp_path: Path, masked: str) -> None:
    table = rows(
        [*TEXTS, "valid one", "select one", "golden one"], None, ["train"] * 24 + ["valid", "select", "golden"]
    )
    path = tmp_path / "snapshot.parquet"
    digest = write_table(table, path)
    snapshot = Snapshot(str(path), digest, {"train": 24}, ("a",))
    store = Store(str(tmp_path / "store"))
    train = tasks.build.clean_rows(store, snapshot, ())
    model = copy(masked, tmp_path / "model")
    method = MaskFill(model=str(model), share=1)
    first: Table = tasks.build.augment_rows(store, train, snapshot, [method], 1)
    assert tasks.build.augment_rows(store, train, snapshot, [method], 1) == first
    shutil.rmtree(model)
    make_masked_model(model)
    assert tasks.build.augment_rows(store, train, snapshot, [method], 1) == first  # the same files again
    (model / "config.json").write_text((model / "config.json").read_text("utf-8") + " ", "utf-8")
    assert tasks.build.augment_rows(store, train, snapshot, [method], 1).uri != first.uri
    assert first.reports[-1].parameters["model"] == str(model)
    assert "augment:mask_fill" in values(tasks.build.read_table(Path(first.uri), first.digest), "source")
