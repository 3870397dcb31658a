"""Texts made of training texts for a model to answer: mistyped, thinned out, mixed; each new, each the same again."""

from tasks.data.augmentation.remix import remix

TEXTS = [f"please send the {thing} back to my {place} before {day}" for thing in ("card", "parcel", "refund")
         for place in ("home", "office") for day in ("monday", "friday")]  # fmt: skip


def test_every_text_is_new_and_the_seed_decides() -> None:
    made = remix(TEXTS, 3, seed=5)
    assert made == remix(TEXTS, 3, seed=5) != remix(TEXTS, 3, seed=6)
    assert len(set(made)) == len(made) > 2 * len(TEXTS)
    assert set(made).isdisjoint(TEXTS)


def test_some_are_misspelt_some_thinned_out_some_mixed() -> None:
    words = {word for text in TEXTS for word in text.split()}
    made = [text.split() for text in remix(TEXTS, 6, seed=1)]
    misspelt = [text for text in made if not set(text) <= words]
    assert len(made) / 6 < len(misspelt) < len(made) / 2  # about a third
    assert all(len(set(text) - words) <= 3 for text in misspelt)
    assert any(len(text) < 8 for text in made) and any(len(text) > 10 for text in made)


def test_nothing_comes_of_no_copies_and_of_empty_texts() -> None:
    assert remix(TEXTS, 0, seed=1) == []
    assert remix(["", " "], 3, seed=1) == []
