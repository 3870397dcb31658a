"""What an outage may and may not do: an acknowledged event is on disk, an unacknowledged one can be sent again."""

import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, event, select, text
from sqlalchemy.pool import NullPool

from feedback.models import Event
from feedback.signing import sign
from feedback.store import Store, open_store
from tests.integration.feedback_sender import SECRET, Sender

WEBHOOK = (sys.executable, "-m", "uvicorn", "--factory", "feedback.app:from_environment")
SENDERS = 4
ACKNOWLEDGED_BEFORE_KILL = 60


def predictions(prediction_id: str, text: str = "Where is it?") -> dict[str, Any]:
    item = {"prediction_id": prediction_id, "model_version": "7", "text": text, "output": "tracking", "confidence": 0.9}
    return {"predictions": [item]}


def post_until_refused(sender: Sender, size_chars: int) -> tuple[list[str], str, httpx.Response]:
    """Return the acknowledged event ids, the refused one and its answer."""
    acknowledged = []
    for number in range(200):
        answer = sender.post("/v1/predictions", predictions(f"p{number}", "x" * size_chars), f"e{number}")
        if answer.status_code != 202:
            return acknowledged, f"e{number}", answer
        acknowledged.append(f"e{number}")
    raise AssertionError("the disk never filled")


def event_ids(store: Store) -> set[str]:
    with store.reading() as session:
        return set(session.scalars(select(Event.id)))


def assert_refused_and_nothing_lost(
    store: Store, acknowledged: list[str], refused: str, answer: httpx.Response
) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.headers["retry-after"] == "5"
    assert "nothing was stored" in answer.json()["detail"]
    assert event_ids(store) == set(acknowledged)
    assert refused not in acknowledged
    assert store.counts().predictions == len(acknowledged)


def test_a_full_sqlite_database_refuses_and_takes_the_retry(sqlite_url: str) -> None:
    store = open_store(sqlite_url)

    def limit(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA max_page_count = 60")

    event.listen(store.engine, "connect", limit)
    store.close()  # so that every connection from here on has the limit
    acknowledged, refused, answer = post_until_refused(Sender(store), 20_000)
    assert_refused_and_nothing_lost(store, acknowledged, refused, answer)
    assert acknowledged
    assert "full" in answer.json()["detail"]

    event.remove(store.engine, "connect", limit)
    store.close()
    assert Sender(store).post("/v1/predictions", predictions(f"p{refused[1:]}"), refused).status_code == 202
    store.close()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_refuses_and_takes_the_retry(tiny_disk: Path) -> None:
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(b"x" * 300_000)
    store = open_store(f"sqlite:///{tiny_disk}/feedback.db")
    acknowledged, refused, answer = post_until_refused(Sender(store), 20_000)
    assert_refused_and_nothing_lost(store, acknowledged, refused, answer)
    assert acknowledged

    ballast.unlink()
    assert Sender(store).post("/v1/predictions", predictions(f"p{refused[1:]}"), refused).status_code == 202
    store.close()


@contextmanager
def postgres_closed(admin_url: str, name: str) -> Iterator[None]:
    """Close one database to everybody: running connections end, new ones are refused."""
    admin = create_engine(admin_url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with admin.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        ending = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
        connection.execute(ending, {"name": name})
        yield
        connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))


def test_a_postgresql_that_is_down_refuses_and_takes_the_retry(postgres_url: str, postgres_admin_url: str) -> None:
    store = open_store(postgres_url)
    sender = Sender(store)
    assert sender.post("/v1/predictions", predictions("p0"), "e0").status_code == 202
    with postgres_closed(postgres_admin_url, str(store.engine.url.database)):
        refused = sender.post("/v1/predictions", predictions("p1"), "e1")
        assert sender.send("GET", "/healthz", None, {}).status_code == 503
    assert_refused_and_nothing_lost(store, ["e0"], "e1", refused)
    assert sender.post("/v1/predictions", predictions("p1"), "e1").status_code == 202
    store.close()


@contextmanager
def served(database_url: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A real webhook process on a socket that listens already, so that no request comes too early."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = subprocess.Popen(
            [*WEBHOOK, "--fd", str(listening.fileno()), "--log-level", "warning"],
            env={**os.environ, "RATCHET_DATABASE_URL": database_url, "RATCHET_WEBHOOK_SECRET": SECRET},
            pass_fds=[listening.fileno()],
            cwd=Path(__file__).parents[2],
        )
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.close()
        try:
            yield process, address
        finally:
            process.kill()
            process.wait(timeout=10)


def post_until_killed(address: str, acknowledged: list[str], sent: dict[str, bytes], enough: threading.Event) -> None:
    with httpx.Client(base_url=address, timeout=20, trust_env=False) as client:
        while True:
            event_id = str(uuid.uuid4())
            body = f'{{"feedback": [{{"prediction_id": "{event_id}", "score": 1}}]}}'.encode()
            sent[event_id] = body
            try:
                answer = client.post("/v1/feedback", content=body, headers=sign(SECRET, event_id, body))
            except httpx.TransportError:
                return
            assert answer.status_code == 202, answer.text
            acknowledged.append(event_id)
            if len(acknowledged) >= ACKNOWLEDGED_BEFORE_KILL:
                enough.set()


def test_what_was_acknowledged_survives_kill_9(database_url: str) -> None:
    acknowledged: list[str] = []
    sent: dict[str, bytes] = {}
    enough = threading.Event()
    with served(database_url) as (process, address):
        senders = [
            threading.Thread(target=post_until_killed, args=(address, acknowledged, sent, enough), daemon=True)
            for _ in range(SENDERS)
        ]
        for sender in senders:
            sender.start()
        assert enough.wait(60), f"only {len(acknowledged)} events were acknowledged"
        os.kill(process.pid, signal.SIGKILL)
        for sender in senders:
            sender.join(30)

    store = open_store(database_url)
    stored = event_ids(store)
    assert set(acknowledged) <= stored <= set(sent)
    assert store.counts().feedback == len(stored)  # whole events only
    resend = Sender(store)
    for event_id, body in sent.items():
        answer = resend.post("/v1/feedback", body, event_id, datetime.now(UTC))
        assert answer.json()["status"] == ("duplicate" if event_id in stored else "accepted")
    assert store.counts().feedback == len(sent)
    store.close()


def test_a_missing_secret_stops_the_process_with_one_line() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RATCHET_")}
    stopped = subprocess.run(
        [*WEBHOOK, "--port", "0"],
        env=environment,
        capture_output=True,
        cwd=Path(__file__).parents[2],
        timeout=60,
    )
    lines = stopped.stderr.decode().splitlines()
    assert stopped.returncode == 2
    assert len(lines) == 1, lines
    assert lines[0].startswith("ratchet feedback: RATCHET_WEBHOOK_SECRET is not set")
