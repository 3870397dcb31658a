"""The webhook's door on real databases: what is let in is on disk, and everything else is refused with its reason."""

import json
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from feedback.app import create_app, from_environment
from feedback.errors import SettingsInvalid
from feedback.harvest import HarvestSpec, harvest
from feedback.signing import sign
from feedback.store import Store, open_store
from flows.webhook import from_environment as webhook_from_environment
from tasks.data.cleaning.scrub import scrub_text
from tests.integration.feedback_sender import SECRET, Sender

PREDICTIONS = "/v1/predictions"
FEEDBACK = "/v1/feedback"
PREDICTION = {
    "prediction_id": "p1",
    "model_version": "7",
    "text": "Where is it?",
    "output": "tracking",
    "confidence": 0.9,
    "unit": "user-7",
    "slices": {"channel": "chat"},
    "occurred_at": "2026-01-01T12:00:00+01:00",
}


def predictions(**fields: Any) -> dict[str, Any]:
    return {"predictions": [{**PREDICTION, **fields}]}


def feedback(**fields: Any) -> dict[str, Any]:
    return {"feedback": [{"prediction_id": "p1", "score": 1.0, **fields}]}


def fields_named(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [reason["field"] for reason in answer.json()["detail"]]


def test_predictions_and_feedback_are_stored_before_the_answer(sender: Sender, store: Store) -> None:
    answer = sender.post(PREDICTIONS, predictions())
    assert (answer.status_code, answer.json()) == (202, {"status": "accepted", "count": 1})
    answer = sender.post(FEEDBACK, {"feedback": [{"prediction_id": "p1", "target": "refund"}]})
    assert (answer.status_code, answer.json()) == (202, {"status": "accepted", "count": 1})
    (row,) = store.window()
    assert (row.text, row.unit, row.slices) == ("Where is it?", "user-7", {"channel": "chat"})
    assert row.occurred_at == datetime(2026, 1, 1, 11, tzinfo=UTC)
    ((_, vote, judged),) = store.judged()
    assert (vote.target, vote.score, vote.source, judged) == ("refund", None, "user", row)


def test_a_replay_counts_once(sender: Sender, store: Store) -> None:
    sender.post(FEEDBACK, feedback(), "e1", now=datetime.now(UTC) - timedelta(minutes=2))
    answer = sender.post(FEEDBACK, feedback(), "e1")
    assert (answer.status_code, answer.json()) == (202, {"status": "duplicate", "count": 1})
    assert store.counts().feedback == 1


def test_concurrent_replays_count_once(sender: Sender, store: Store) -> None:
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(sender.post(FEEDBACK, feedback(), "e1").json()["status"]))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(answers) == {"accepted": 1, "duplicate": 5}
    assert store.counts().feedback == 1


def test_a_known_id_with_another_body_is_a_conflict(sender: Sender, store: Store) -> None:
    sender.post(PREDICTIONS, predictions(), "e1")
    answer = sender.post(PREDICTIONS, predictions(prediction_id="p2"), "e1")
    assert answer.status_code == 409
    assert "e1" in answer.json()["detail"]
    answer = sender.post(PREDICTIONS, predictions(output="refund"), "e2")
    assert answer.status_code == 409
    assert "p1" in answer.json()["detail"]
    assert store.counts().events == 1


def test_what_is_not_signed_well_is_refused(sender: Sender, store: Store) -> None:
    body = json.dumps(predictions()).encode()
    forged = Sender(store, secret="whsec_" + "Zm9yZ2Vk" * 4).post(PREDICTIONS, body)
    altered = sender.post(PREDICTIONS, body, headers=sign(SECRET, "e1", body + b" "))
    stale = sender.post(PREDICTIONS, body, now=datetime.now(UTC) - timedelta(minutes=6))
    unsigned = sender.post(PREDICTIONS, body, headers={})
    details = {"forged": forged, "forged, ": altered, "stale": stale, "missing header webhook-id": unsigned}
    for word, answer in details.items():
        assert answer.status_code == 401
        assert word in answer.json()["detail"]
    assert store.counts().events == 0


def test_the_signature_is_checked_before_the_body_is_read_as_json(sender: Sender) -> None:
    assert sender.post(PREDICTIONS, b"{", headers={}).status_code == 401


def test_a_body_over_the_limit_is_refused_by_its_length(store: Store) -> None:
    sender = Sender(store, max_body_bytes=1000)
    answer = sender.post(PREDICTIONS, predictions(text="x" * 1000))
    assert answer.status_code == 413
    assert "1000 bytes" in answer.json()["detail"]
    assert sender.post(PREDICTIONS, predictions()).status_code == 202


def test_ten_megabytes_in_one_row_are_refused(sender: Sender, store: Store) -> None:
    assert sender.post(PREDICTIONS, predictions(text="x" * 10_000_000)).status_code == 413
    assert store.counts().events == 0


def test_a_body_without_length_is_read_no_further_than_the_limit(store: Store) -> None:
    sender, sent = Sender(store, max_body_bytes=1000), 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 100
            yield b"x" * 100

    assert sender.send("POST", PREDICTIONS, endless(), {}).status_code == 413
    assert sent == 1100


def test_a_length_that_lies_is_not_believed(store: Store) -> None:
    sender = Sender(store, max_body_bytes=1000)
    answer = sender.send("POST", PREDICTIONS, b"x" * 2000, {"content-length": "10"})
    assert answer.status_code == 413


def test_a_body_that_trickles_is_given_up(store: Store) -> None:
    sender = Sender(store, read_timeout_s=0.05)

    async def trickle() -> AsyncIterator[bytes]:
        import asyncio

        while True:
            yield b" "
            await asyncio.sleep(0.02)

    assert sender.send("POST", PREDICTIONS, trickle(), {}).status_code == 408


@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b"[" * 100_000, b'{"predictions": ' + b"9" * 5000 + b"}"])
def test_what_is_no_json_is_refused(sqlite_sender: Sender, body: bytes) -> None:
    assert fields_named(sqlite_sender.post(PREDICTIONS, body)) == ["body"]


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ([], "body"),
        ({}, "predictions"),
        ({"predictions": []}, "predictions"),
        ({"predictions": [PREDICTION] * 1001}, "predictions"),
        ({**predictions(), "extra": 1}, "extra"),
        (predictions(colour="red"), "predictions.0.colour"),
        (predictions(**{"\ud800": 1}), "predictions.0"),
        (predictions(**{"\x00" * 500: 1}), "predictions.0." + "\ufffd" * 100),
        (predictions(confidence=1.01), "predictions.0.confidence"),
        (predictions(confidence=float("nan")), "predictions.0.confidence"),
        (predictions(confidence="0.5"), "predictions.0.confidence"),
        (predictions(confidence=True), "predictions.0.confidence"),
        (predictions(text=None), "predictions.0.text"),
        (predictions(text="x" * 100_001), "predictions.0.text"),
        (predictions(prediction_id=""), "predictions.0.prediction_id"),
        (predictions(prediction_id="p\x00"), "predictions.0.prediction_id"),
        (predictions(model_version="\ud800"), "predictions.0.model_version"),
        (predictions(unit="u\n"), "predictions.0.unit"),
        (predictions(slices={"k\x00": "v"}), "predictions.0.slices.k\ufffd.[key]"),
        (predictions(slices={str(n): "v" for n in range(21)}), "predictions.0.slices"),
        (predictions(occurred_at="2026-01-01T12:00:00"), "predictions.0.occurred_at"),
        (predictions(occurred_at="0001-01-01T00:00:00+14:00"), "predictions.0.occurred_at"),
        (predictions(occurred_at="9999-12-31T23:59:59-14:00"), "predictions.0.occurred_at"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_field_named(sqlite_sender: Sender, payload: Any, field: str) -> None:
    assert fields_named(sqlite_sender.post(PREDICTIONS, payload)) == [field]


@pytest.mark.parametrize("fields", [{"score": None}, {"score": -0.1}, {"score": 2}, {"source": ""}, {"label": "x"}])
def test_feedback_that_does_not_fit_is_refused(sqlite_sender: Sender, fields: dict[str, Any]) -> None:
    (field,) = fields_named(sqlite_sender.post(FEEDBACK, feedback(**fields)))
    assert field in ("feedback.0", *(f"feedback.0.{name}" for name in fields))


def test_an_event_id_that_is_none_is_refused(sqlite_sender: Sender) -> None:
    for event_id in ("two words", "x" * 256):
        assert fields_named(sqlite_sender.post(PREDICTIONS, predictions(), event_id)) == ["webhook-id"]


def test_nul_and_surrogates_in_what_users_wrote_are_replaced(sender: Sender, store: Store) -> None:
    body = json.dumps(predictions(text="a\x00b\ud83dc", slices={"k": "\udc00"})).encode()
    assert b"\\u0000" in body
    assert b"\\ud83d" in body
    assert sender.post(PREDICTIONS, body).status_code == 202
    assert sender.post(FEEDBACK, feedback(target="\x00\ud800")).status_code == 202
    (row,) = store.window()
    assert (row.text, row.slices) == ("a\ufffdb\ufffdc", {"k": "\ufffd"})


def test_one_bad_item_refuses_the_whole_event(sender: Sender, store: Store) -> None:
    event_id = str(uuid.uuid4())
    items = [PREDICTION, {**PREDICTION, "prediction_id": "p2", "confidence": 7}]
    assert fields_named(sender.post(PREDICTIONS, {"predictions": items}, event_id)) == ["predictions.1.confidence"]
    assert store.counts().events == 0
    assert sender.post(PREDICTIONS, predictions(), event_id).status_code == 202


def bytes_of(store: Store) -> bytes:
    """Return everything that SQLite has on disk of the store."""
    path = Path(str(store.engine.url.database))
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


@pytest.fixture
def sqlite_store(sqlite_url: str) -> Iterator[Store]:
    """An open store whose bytes can be read."""
    opened = open_store(sqlite_url)
    yield opened
    opened.close()


def test_personal_data_is_nowhere_on_disk(sqlite_store: Store, caplog: pytest.LogCaptureFixture) -> None:
    sender = Sender(sqlite_store, scrub=scrub_text)
    said = "write to ann.secret@mail.example or call 020 7946 0958"
    answers = [
        sender.post(PREDICTIONS, predictions(text=said, output="answer ann.secret@mail.example")),
        sender.post(FEEDBACK, feedback(target="tell ann.secret@mail.example")),
        sender.post(PREDICTIONS, predictions(text=said, confidence="ann.secret@mail.example")),  # refused
        sender.post(PREDICTIONS, predictions(text=said + " today")),  # the same id, another text
    ]
    assert [answer.status_code for answer in answers] == [202, 202, 422, 409]
    ((_, vote, judged),) = sqlite_store.judged()
    assert judged is not None
    assert (judged.text, judged.output) == ("write to <EMAIL> or call <PHONE>", "answer <EMAIL>")
    assert vote.target == "tell <EMAIL>"
    kept = bytes_of(sqlite_store) + caplog.text.encode() + "".join(answer.text for answer in answers).encode()
    assert b"write to <EMAIL> or call <PHONE>" in kept
    assert b"ann.secret" not in kept
    assert b"7946" not in kept


def test_without_scrubbing_texts_are_stored_as_they_come(sqlite_store: Store) -> None:
    Sender(sqlite_store).post(PREDICTIONS, predictions(text="write to ann.secret@mail.example"))
    assert b"ann.secret@mail.example" in bytes_of(sqlite_store)


def test_scrubbing_leaves_labels_slices_and_replays_as_they_are(store: Store) -> None:
    sender = Sender(store, scrub=scrub_text)
    labels = ["card_arrival", "Order Status 24/7", "123", "lost or stolen card", "N/A", "5-10 items", "v1.2.3",
              "0123456789", "0101.21.00.10", "555-123-4567"]  # fmt: skip
    for number, label in enumerate(labels):
        item = predictions(prediction_id=f"p{number}", output=label, slices={"app": "1.2.3.4"}, text="me@x.org")
        assert sender.post(PREDICTIONS, item, f"e{number}").json()["status"] == "accepted"
        assert sender.post(PREDICTIONS, item, f"e{number}").json()["status"] == "duplicate"
        assert sender.post(PREDICTIONS, item, f"again-{number}").json()["status"] == "accepted"
        assert sender.post(FEEDBACK, feedback(prediction_id=f"p{number}", target=label)).status_code == 202
    assert [row.output for row in store.window()] == labels
    assert {row.slices["app"] for row in store.window()} == {"1.2.3.4"}
    assert {vote.target for _, vote, _ in store.judged()} == set(labels)
    assert store.counts().predictions == len(labels)
    changed = predictions(prediction_id="p0", output="another", slices={"app": "1.2.3.4"}, text="me@x.org")
    assert sender.post(PREDICTIONS, changed).status_code == 409


def test_a_prediction_stored_before_scrubbing_is_known_again(store: Store) -> None:
    said = predictions(text="write to me@x.org")
    assert Sender(store).post(PREDICTIONS, said, "e1").status_code == 202
    sender = Sender(store, scrub=scrub_text)
    assert sender.post(PREDICTIONS, said, "e1").json()["status"] == "duplicate"
    assert sender.post(PREDICTIONS, said, "e2").json()["status"] == "accepted"
    assert store.counts().predictions == 1


def test_what_was_stored_before_scrubbing_is_scrubbed_when_it_is_harvested(store: Store) -> None:
    from flows.gather import as_row

    Sender(store).post(PREDICTIONS, predictions(text="write to me@x.org"))
    Sender(store).post(FEEDBACK, feedback())
    (row,) = harvest(store, HarvestSpec()).rows
    assert as_row(row, scrub=True)["text"] == "write to <EMAIL>"
    assert as_row(row, scrub=False)["text"] == "write to me@x.org"


@pytest.mark.parametrize(("setting", "kept"), [("", "to <EMAIL>"), ("on", "to <EMAIL>"), ("OFF", "to me@x.org")])
def test_the_webhook_of_the_environment_scrubs_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, sqlite_url: str, setting: str, kept: str
) -> None:
    monkeypatch.setenv("RATCHET_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("RATCHET_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("RATCHET_SCRUB", setting)
    store = open_store(sqlite_url)
    sender = Sender(store)
    sender.app = webhook_from_environment()
    assert sender.post(PREDICTIONS, predictions(text="to me@x.org")).status_code == 202
    assert [row.text for row in store.window()] == [kept]
    store.close()


def test_a_wrong_setting_of_scrubbing_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RATCHET_SCRUB", "no")
    with pytest.raises(SystemExit) as stop:
        webhook_from_environment()
    assert stop.value.code == 2
    assert capsys.readouterr().err == "ratchet feedback: RATCHET_SCRUB: expected on or off, found 'no'\n"


def test_the_webhook_loads_nothing_heavy() -> None:
    heavy = ("torch", "prefect", "mlflow", "transformers", "pyarrow", "pandas", "numpy", "great_expectations")
    code = f"import sys, flows.webhook; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_health_and_description(sender: Sender) -> None:
    assert sender.send("GET", "/healthz", None, {}).json() == {"status": "ok"}
    described = sender.send("GET", "/openapi.json", None, {}).json()
    schema = described["paths"][FEEDBACK]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]["feedback"]["items"]["properties"]) >= {"prediction_id", "score", "target"}
    assert sender.send("GET", "/docs", None, {}).status_code == 404


def test_no_webhook_is_made_without_a_good_secret(store: Store) -> None:
    for secrets in ([], ["whsec_c2hvcnQ="]):
        with pytest.raises(SettingsInvalid):
            create_app(store, secrets)


@pytest.mark.parametrize(
    ("secret", "url", "message"),
    [
        ("", "", "RATCHET_WEBHOOK_SECRET is not set"),
        ("whsec_c2hvcnQ=", "", "24 random bytes; this one has 5 bytes"),
        (SECRET, "oracle://h/d", "expected sqlite:///path"),
        (SECRET, "sqlite:////proc/none/x.db", "/proc/none"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], secret: str, url: str, message: str
) -> None:
    monkeypatch.setenv("RATCHET_WEBHOOK_SECRET", secret)
    monkeypatch.setenv("RATCHET_DATABASE_URL", url)
    with pytest.raises(SystemExit) as stop:
        from_environment()
    lines = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert len(lines) == 1
    assert message in lines[0]
