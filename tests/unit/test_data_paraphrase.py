"""Paraphrases from a stub endpoint on loopback: what is sent, what comes of any answer, and what is never done."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import ValidationError

import tasks.build
from tasks.data.augmentation.augment import REPEATED, SPENT, Swap, augment
from tasks.data.augmentation.chat import BUDGET_SPENT
from tasks.data.augmentation.paraphrase import NONSENSE, Paraphrase
from tasks.data.rows import make_rows, values
from tasks.data.snapshot import write_table
from tasks.errors import DataError
from tasks.progress import progress_to
from tasks.records import Snapshot, Table
from tasks.store import Store
from tests.unit.data_rows import rows

TEXTS = [f"message {number} about my late parcel" for number in range(40)]
Answer = Callable[[int, dict[str, Any]], tuple[int, Any, dict[str, str]]]


def chat(content: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": content}}]}


def reword(_: int, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
    return 200, chat(json.dumps([f"in other words: {body['messages'][1]['content']}"])), {}


class Stub(ThreadingHTTPServer):
    """Answers as a test says; remembers what it was sent and how many requests it had at a time."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        self.answer: Answer = reword
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.at_a_time = self.most_at_a_time = 0
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, *_: Any) -> None:
        """Keep quiet where a client has gone."""

    def sent(self) -> list[str]:
        return [body["messages"][1]["content"] for _, _, body in self.seen]


class Handler(BaseHTTPRequestHandler):
    server: Stub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.seen.append((self.path, dict(self.headers), body))
            number = len(self.server.seen)
            self.server.at_a_time += 1
            self.server.most_at_a_time = max(self.server.most_at_a_time, self.server.at_a_time)
        status, content, headers = self.server.answer(number, body)
        with self.server.lock:
            self.server.at_a_time -= 1
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"content-length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Stub()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def method(url: str, **fields: Any) -> Paraphrase:
    return Paraphrase(**{"url": url, "model": "small", "share": 1, "backoff_s": 0, "timeout_s": 5, **fields})


def test_rewordings_become_rows_with_their_provenance(stub: Stub) -> None:
    made, (report,) = augment(rows(TEXTS, ["late"] * 40), [method(stub.url)], 1)
    new = made.slice(40).to_pylist()
    assert [row["text"] for row in sorted(new, key=lambda row: int(row["id"].split("+")[0][1:]))] == [
        f"in other words: {text}" for text in TEXTS
    ]
    assert {(row["target"], row["split"], row["source"]) for row in new} == {("late", "train", "augment:paraphrase")}
    assert {row["id"].split("+")[1] for row in new} == {"paraphrase0"}
    assert (report.rows_in, report.rows_out, report.left_out) == (40, 80, {})
    path, headers, body = stub.seen[0]
    assert (path, body["model"], len(stub.seen)) == ("/v1/chat/completions", "small", 40)
    assert "Authorization" not in headers


def test_nobody_is_asked_where_no_recipe_lists_it(stub: Stub) -> None:
    augment(rows(TEXTS), [Swap()], 1)
    augment(rows(["", "  "]), [method(stub.url)], 1)
    assert stub.seen == []


def test_evaluation_rows_are_neither_sent_nor_made(stub: Stub) -> None:
    table = rows([*TEXTS, "a golden secret"], split=["train"] * 40 + ["golden"])
    made, (report,) = augment(table, [method(stub.url)], 1, [f"In other words: {TEXTS[0]}", "a golden secret"])
    assert not any("golden" in text for text in stub.sent())
    assert f"in other words: {TEXTS[0]}" not in values(made, "text")
    assert report.left_out


def test_personal_data_is_neither_sent_nor_taken_back(stub: Stub) -> None:
    stub.answer = lambda *_: (200, chat('["please write to eve@example.org at once"]'), {})
    made, (report,) = augment(rows(["mail me at bob@example.com or call +49 30 1234567"]), [method(stub.url)], 1)
    assert stub.sent() == ["mail me at <EMAIL> or call <PHONE>"]
    assert "example.com" not in json.dumps([body for _, _, body in stub.seen])
    assert values(made, "text")[1] == "please write to <EMAIL> at once"
    assert not any("example" in example for example in report.examples)


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    keyed = method(stub.url, api_key_env="SOME_KEY")
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(DataError, match="environment variable SOME_KEY is not set; set it"):
        augment(rows(TEXTS), [keyed], 1)
    assert stub.seen == []
    monkeypatch.setenv("SOME_KEY", "sk-se\u20accret")
    with pytest.raises(DataError, match="SOME_KEY holds characters that no key has"):
        augment(rows(TEXTS), [keyed], 1)
    monkeypatch.setenv("SOME_KEY", "sk-secret\n")
    augment(rows(TEXTS[:1]), [keyed], 1)
    assert stub.seen[0][1]["Authorization"] == "Bearer sk-secret"
    stub.answer = lambda *_: (401, {"error": "wrong key sk-secret"}, {})
    with pytest.raises(
        DataError, match=r"refused the request with status 401 .*wrong key \*\*\*.*api_key_env"
    ) as error:
        augment(rows(TEXTS), [keyed], 1)
    assert "sk-secret" not in str(error.value) + repr(keyed) + caplog.text


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 422])
def test_a_refusal_that_asking_again_cannot_mend_stops_at_once(stub: Stub, status: int) -> None:
    stub.answer = lambda *_: (status, b"no such model", {"location": stub.url} if status == 301 else {})
    with pytest.raises(DataError, match=f"status {status}.*no such model.*check `url`, `model`"):
        augment(rows(TEXTS), [method(stub.url, concurrency=2)], 1)
    assert len(stub.seen) <= 10  # of the 40: one block at most


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_fails_once_is_tried_again(stub: Stub, status: int) -> None:
    def answer(number: int, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        return (status, b"later", {"retry-after": "0"}) if number <= 2 else reword(number, body)

    stub.answer = answer
    made, (report,) = augment(rows(TEXTS[:5]), [method(stub.url, retries=2, concurrency=1)], 1)
    assert (made.num_rows, report.left_out, len(stub.seen)) == (10, {}, 7)


def test_waits_double_and_obey_the_endpoint(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("tasks.data.augmentation.chat.time.sleep", waits.append)
    after = iter(["", "30", "3600", "Wed, 21 Oct 2015 07:28:00 GMT"])
    stub.answer = lambda *_: (429, b"", {"retry-after": next(after, "")})
    with pytest.raises(DataError, match=r"no usable answer for 1 of 1 rows \(no answer \(status 429\): 1\)"):
        augment(rows(TEXTS[:1]), [method(stub.url, retries=5, backoff_s=1)], 1)
    assert waits == [1, 30, 60, 8, 16]


def test_an_endpoint_that_is_down_is_an_error_that_says_what_to_do() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(
        DataError, match=r"no usable answer for 16 of 16 rows \(no answer \(ConnectError\): 16\): check"
    ):
        augment(rows(TEXTS), [method(url, retries=1)], 1)


def test_an_endpoint_that_goes_down_midway_is_given_up(stub: Stub) -> None:
    stub.answer = lambda number, body: (503, b"", {}) if number > 32 else reword(number, body)
    with pytest.raises(DataError, match="no usable answer for 16 of 48 rows"):
        augment(rows([f"text number {number}" for number in range(100)]), [method(stub.url, retries=0)], 1)
    assert len(stub.seen) == 48


def test_an_endpoint_that_never_answers_is_given_up(stub: Stub) -> None:
    hold = threading.Event()
    stub.answer = lambda *_: (200 if hold.wait(10) else 500, b"", {})
    try:
        with pytest.raises(DataError, match="ReadTimeout"):
            augment(rows(TEXTS[:2]), [method(stub.url, retries=1, timeout_s=0.1)], 1)
    finally:
        hold.set()
    assert len(stub.seen) == 4


NOT_A_CHAT = [
    b"<html>proxy</html>", b"", b"\xff\xfe", {}, [], 3, None, {"choices": []}, {"choices": [{"message": None}]},
    chat(None), chat(["a list"]), {"choices": "text"}, b"[" * 100_000,
]  # fmt: skip
NO_TEXTS = [
    "", "Sure! Here you are.", "[]", '[""]', '["  "]', "[1, null, {}]", '["open', "][", '["' + "long " * 99 + '"]',
    "[" * 100_000 + "]", "[" * 100_000 + "]" * 100_000,
]  # fmt: skip


def test_nonsense_is_left_out_and_counted(stub: Stub) -> None:
    nonsense = [*NOT_A_CHAT, *map(chat, NO_TEXTS)]

    def answer(number: int, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        at, rest = divmod(number - 1, 3)
        return (200, nonsense[at], {}) if not rest and at < len(nonsense) else reword(number, body)

    stub.answer = answer
    made, (report,) = augment(rows([f"text number {number}" for number in range(80)]), [method(stub.url)], 1)
    assert report.left_out == {"the answer is no chat completion": len(NOT_A_CHAT), NONSENSE: len(NO_TEXTS)}
    assert made.num_rows == 160 - len(nonsense)


@pytest.mark.parametrize("content", [b"<html>proxy</html>", {"choices": []}, chat(""), chat("Sure! Here you are.")])
def test_nothing_but_nonsense_is_an_error(stub: Stub, content: Any) -> None:
    stub.answer = lambda *_: (200, content, {})
    with pytest.raises(DataError, match=r"no usable answer for 16 of 16 rows .*no row was added"):
        augment(rows(TEXTS), [method(stub.url)], 1)


def test_more_than_half_without_an_answer_is_an_error(stub: Stub) -> None:
    stub.answer = lambda number, body: (500, b"", {}) if number % 5 else reword(number, body)
    with pytest.raises(DataError, match=r"no answer \(status 500\): 13\).*leave the method out"):
        augment(rows(TEXTS), [method(stub.url, retries=0)], 1)


@pytest.mark.parametrize("text", ["write to bob@example.com", "The same text"])
def test_the_same_text_is_left_out_and_counted(stub: Stub, text: str) -> None:
    stub.answer = lambda _, body: (200, chat(json.dumps([body["messages"][1]["content"].upper()])), {})
    made, (report,) = augment(rows([text]), [method(stub.url)], 1)
    assert (made.num_rows, report.left_out) == (1, {REPEATED: 1})


def test_several_rewordings_of_one_text_have_ids_of_their_own(stub: Stub) -> None:
    listed = '```json\n["one more", "One  more", "and an\\nother", "\\ud800 odd", "too many"]\n```'
    stub.answer = lambda *_: (200, chat(listed), {})
    made, (report,) = augment(rows(["a text of some words"]), [method(stub.url, per_text=4)], 1)
    new = {row["id"]: row["text"] for row in made.slice(1).to_pylist()}
    assert new == {"r0+paraphrase0": "one more", "r0+paraphrase0.2": "and an other", "r0+paraphrase0.3": "\ufffd odd"}
    assert report.left_out == {REPEATED: 1}
    assert "list of 4 different" in stub.seen[0][2]["messages"][0]["content"]


def test_the_budget_counts_every_try_and_what_it_leaves_out_is_counted(stub: Stub) -> None:
    made, (report,) = augment(rows(TEXTS), [method(stub.url, max_requests=13)], 1)
    assert (made.num_rows, len(stub.seen), report.left_out) == (53, 13, {BUDGET_SPENT: 27})
    stub.seen.clear()
    stub.answer = lambda number, body: (500, b"", {}) if number % 2 else reword(number, body)
    made, (report,) = augment(rows(TEXTS), [method(stub.url, max_requests=20, concurrency=1)], 1)
    assert (made.num_rows, len(stub.seen), report.left_out) == (50, 20, {BUDGET_SPENT: 30})


def test_no_more_requests_at_a_time_than_declared(stub: Stub) -> None:
    def slow(number: int, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        threading.Event().wait(0.01)
        return reword(number, body)

    stub.answer = slow
    augment(rows(TEXTS), [method(stub.url, concurrency=3)], 1)
    assert 2 <= stub.most_at_a_time <= 3


def test_the_seed_draws_the_rows_and_the_answers_order_does_not_matter(stub: Stub) -> None:
    def uneven(number: int, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        threading.Event().wait(0.002 * (number * 7 % 5))
        return reword(number, body)

    half = [method(stub.url, share=0.5, max_requests=15)]
    first = augment(rows(TEXTS), half, 1)[0]
    stub.answer = uneven
    assert augment(rows(TEXTS), half, 1)[0].equals(first)
    assert not augment(rows(TEXTS), half, 2)[0].equals(first)
    assert first.num_rows == 55


@pytest.mark.parametrize(
    "fields",
    [{"url": ""}, {"url": "localhost:8000"}, {"url": "ftp://host/v1"}, {"url": "https://user:key@host/v1"},
     {"url": "http://host/v1?key=3"}, {"model": ""}, {"api_key_env": "sk-12"}, {"per_text": 0}, {"share": 0},
     {"max_requests": 0}, {"timeout_s": 0}, {"retries": -1}, {"concurrency": 0}, {"concurrency": 65},
     {"backoff_s": float("nan")}, {"temperature": 3}, {"api_key": "sk-12"}],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        method(**{"url": "http://host/v1", **fields})


def test_the_stage_keeps_the_answers_and_nothing_half_written(stub: Stub, tmp_path: Any) -> None:
    splits = ["train"] * 20 + ["valid", "select", "golden"]
    table = make_rows(
        {
            "id": [f"r{row}" for row in range(23)], "text": TEXTS[:23], "target": ["a"] * 23,
            "split": splits, "source": ["test"] * 23,
        }
    )  # fmt: skip
    digest = write_table(table, tmp_path / "snapshot.parquet")
    snapshot = Snapshot(
        str(tmp_path / "snapshot.parquet"), digest, {name: splits.count(name) for name in splits}, ("a",)
    )
    store = Store(str(tmp_path / "store"))
    train = tasks.build.clean_rows(store, snapshot, [])
    stub.answer = lambda *_: (503, b"", {})
    with pytest.raises(DataError, match="no usable answer"):
        tasks.build.augment_rows(store, train, snapshot, [method(stub.url, retries=0)], 1)
    assert not list((tmp_path / "store" / "augment").rglob("*.parquet"))
    assert not list((tmp_path / "store" / "augment").rglob("record.json"))
    stub.answer = reword
    stub.seen.clear()
    made: Table = tasks.build.augment_rows(store, train, snapshot, [method(stub.url)], 1)
    assert tasks.build.augment_rows(store, train, snapshot, [method(stub.url)], 1) == made
    assert (made.rows, made.reports[-1].left_out, len(stub.seen)) == (40, {}, 20)


def test_a_budget_of_rows_asks_no_more_than_it_needs_and_progress_is_told(stub: Stub) -> None:
    stub.answer = lambda _, body: (200, chat(json.dumps([f"{body['messages'][1]['content']} {n}" for n in "ab"])), {})
    told: list[tuple[str, int, int]] = []
    with progress_to(lambda *step: told.append(step)):
        made, (report,) = augment(rows(TEXTS), [method(stub.url, per_text=2, max_rows=29)], 1)
    assert (len(stub.seen), made.num_rows, report.left_out) == (15, 69, {SPENT: 1})
    assert told == [("augment paraphrase", 15, 15)]
