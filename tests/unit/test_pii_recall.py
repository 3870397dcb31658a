"""How much of planted personal data is found, and that what only looks like it stays."""

import csv
from pathlib import Path

import pytest

from tasks.data.cleaning.scrub import has_pii, scrub_text
from tests.unit.personal_data import NEAR_MISSES, PLANTED, near_misses, plant

SHARED = Path(__file__).parents[3] / "shared" / "data"
VALUES = 1500


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("seed", [1, 2])
def test_planted_values_are_found_and_nothing_around_them_is_touched(kind: str, seed: int) -> None:
    texts = list(plant(kind, VALUES, seed))
    missed = [(text, scrub_text(text)) for text, _, expected in texts if scrub_text(text) != expected]
    assert len(missed) <= 0.02 * len(texts), missed[:5]
    assert all(has_pii(text) for text, _, expected in texts if scrub_text(text) == expected)


@pytest.mark.parametrize("kind", PLANTED)
def test_scrubbed_sentences_stay_as_they_are(kind: str) -> None:
    for text, _, _ in plant(kind, 300, 3):
        assert scrub_text(scrub_text(text)) == scrub_text(text)


@pytest.mark.parametrize("seed", range(3))
def test_what_only_looks_like_personal_data_stays(seed: int) -> None:
    texts = list(near_misses(seed))
    assert len(texts) == 2 * len(NEAR_MISSES)
    assert [(text, scrub_text(text)) for text in texts if scrub_text(text) != text or has_pii(text)] == []


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("order 1234567, call 5551234567", "order 1234567, call <PHONE>"),
        ("I called about order 1234567890", "I called about order 1234567890"),
        ("my account phone number 020 7946 0958", "my account phone number <PHONE>"),
        ("my order number is 5551234567", "my order number is 5551234567"),
        ("5551234567 is my mobile number", "<PHONE> is my mobile number"),
        ("my phone's IMEI is 356938035643809", "my phone's IMEI is 356938035643809"),
        ("555-123-4567x12 or 555-123-4567, ext. 99", "<PHONE> or <PHONE>"),
        ("(020 7946 0958)", "(<PHONE>)"),
        ("((11) 99188-0286)", "(<PHONE>)"),
        ("call 07911123456 or 07911123457", "call <PHONE> or <PHONE>"),
        ("what happened to my order? 020 7946 0958", "what happened to my order? <PHONE>"),
        ("I lost my card 020 7946 0958", "I lost my card <PHONE>"),
        ("the transaction (555) 123-4567 thanks", "the transaction <PHONE> thanks"),
        ("transaction 0207946095", "transaction 0207946095"),
        ("ref. 020 7946 0958", "ref. 020 7946 0958"),
        ("sent 20 000 000 euros", "sent 20 000 000 euros"),
        ("shop.example/reset?token=abc1 and shop.example/a?b=c", "<URL> and shop.example/a?b=c"),
    ],
)
def test_the_nearest_word_decides(text: str, scrubbed: str) -> None:
    assert scrub_text(text) == scrubbed
    assert has_pii(text) == (text != scrubbed)


@pytest.mark.parametrize("name", ["banking77", "banking77_oos", "clinc150"])
def test_questions_of_real_customers_without_personal_data_stay(name: str) -> None:
    files = sorted((SHARED / name).glob("*.csv"))
    if not files:
        pytest.skip(f"{SHARED / name} is not beside this checkout")
    texts = []
    for file in files:
        with file.open(encoding="utf-8", newline="") as lines:
            texts += [row["text"] for row in csv.DictReader(lines)]
    assert len(texts) > 10_000
    assert [text for text in texts if has_pii(text)] == []
