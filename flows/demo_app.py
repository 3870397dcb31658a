"""The simulated production app of the demo: asks the champion, and sends what it answered and what users said of it.

It speaks HTTP to the real webhook in a process of its own. Its users are honest: they correct wrong answers and confirm
right ones, but only some of them say anything.
"""

import json
import os
import random
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from feedback.signing import sign
from flows.project import Project
from serving.predictors import Predictions
from tasks.errors import RatchetError
from tasks.measure.runtime import load
from tasks.registry import CHAMPION

SHARE_OF_FEEDBACK = 0.8
ROWS_PER_USER = 5
BATCH = 100


class AppFailed(RatchetError):
    """The webhook did not start or did not accept what it should."""


def ask_champion(project: Project, messages: list[dict[str, str]]) -> tuple[str, Predictions]:
    """Return the champion's version and its answers to the messages."""
    version = project.registry.by_alias(CHAMPION)
    assert version is not None
    candidate = project.registry.read_record(version).candidate
    return version.number, load(candidate).predict([message["text"] for message in messages])


def production_accuracy(project: Project, messages: list[dict[str, str]]) -> float:
    """Return the share of messages that today's champion answers right."""
    _, predictions = ask_champion(project, messages)
    right = [output == message["intent"] for output, message in zip(predictions.outputs, messages, strict=True)]
    return sum(right) / len(right)


class Feed:
    """The webhook in its own process, and a client that signs."""

    def __init__(self, database_url: str, secret: str, state: Path) -> None:
        self._secret = secret
        self._log = state / "webhook.log"
        self._environment = {**os.environ, "RATCHET_DATABASE_URL": database_url, "RATCHET_WEBHOOK_SECRET": secret}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=30, trust_env=False)
        self._last: tuple[str, str, bytes] = ("", "", b"")

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "uvicorn", "--factory", "flows.webhook:from_environment",
                   "--host", "127.0.0.1", "--port", str(self._port)]  # fmt: skip
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=subprocess.STDOUT)
        for _ in range(200):
            try:
                if self._client.get("/healthz").status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.1)
        self.__exit__(None, None, None)
        raise AppFailed(f"the webhook did not start; see {self._log}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        self._process.terminate()
        self._process.wait(20)

    def send_predictions(self, version: str, messages: list[dict[str, str]], predictions: Predictions) -> None:
        """Send every answer, in batches."""
        now = datetime.now(UTC).isoformat()
        rows = [
            {
                "prediction_id": message["id"], "model_version": version, "text": message["text"], "output": output,
                "confidence": float(confidence), "occurred_at": now, "unit": f"user-{number // ROWS_PER_USER}",
                "slices": {"channel": message["channel"]},
            }
            for number, (message, output, confidence) in enumerate(
                zip(messages, predictions.outputs, predictions.scores, strict=True)
            )
        ]  # fmt: skip
        self._post_all("predictions", rows)

    def send_feedback(self, messages: list[dict[str, str]], predictions: Predictions) -> None:
        """Send what some of the users say: a correction where the answer was wrong, a thumbs-up where it was right."""
        rng = random.Random(len(messages))
        now = datetime.now(UTC).isoformat()
        rows: list[dict[str, object]] = []
        for message, output in zip(messages, predictions.outputs, strict=True):
            if rng.random() < SHARE_OF_FEEDBACK:
                said = {"score": 1.0} if output == message["intent"] else {"score": 0.0, "target": message["intent"]}
                rows.append({"prediction_id": message["id"], "source": "app", "occurred_at": now, **said})
        self._post_all("feedback", rows)

    def replay(self) -> str:
        """Return how the webhook answers the last event sent once more."""
        path, event_id, body = self._last
        return str(self._post(path, event_id, body).json()["status"])

    def forge(self) -> int:
        """Return the status code of an event signed with another secret."""
        path, event_id, body = self._last
        headers = sign("whsec_" + "A" * 44, f"{event_id}-forged", body)
        return self._client.post(path, content=body, headers=headers).status_code

    def _post_all(self, kind: str, rows: list[dict[str, object]]) -> None:
        for start in range(0, len(rows), BATCH):
            body = json.dumps({kind: rows[start : start + BATCH]}).encode()
            answer = self._post(f"/v1/{kind}", f"{kind}-{time.time_ns()}", body)
            if answer.status_code != 202:
                raise AppFailed(f"the webhook answered {answer.status_code} to {kind}: {answer.text[:300]}")

    def _post(self, path: str, event_id: str, body: bytes) -> httpx.Response:
        self._last = (path, event_id, body)
        return self._client.post(path, content=body, headers=sign(self._secret, event_id, body))
