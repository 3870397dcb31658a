"""What enters and leaves the store: frozen rows of deliveries, predictions and feedback, and text that can be stored.

Plain data, no validation (the webhook's door does that) and no SQL.
"""

import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

EventKind = Literal["predictions", "feedback"]

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True)
class Delivery:
    """One event as it came in: its id counts it once, its digest tells a replay from a conflict."""

    event_id: str
    kind: EventKind
    body_sha256: str
    received_at: datetime


@dataclass(frozen=True)
class PredictionRow:
    """One answer that a model gave in production."""

    prediction_id: str
    model_version: str
    text: str
    output: str
    confidence: float  # in [0, 1]
    occurred_at: datetime
    unit: str | None = None  # opaque key of the user or session
    slices: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FeedbackRow:
    """One judgement of a prediction: a score, a corrected target, or both."""

    prediction_id: str
    source: str
    occurred_at: datetime
    score: float | None = None  # in [0, 1]
    target: str | None = None


def delivery(event_id: str, kind: EventKind, body: bytes, now: datetime | None = None) -> Delivery:
    """Return the delivery of these bytes, received now."""
    return Delivery(event_id, kind, hashlib.sha256(body).hexdigest(), now or datetime.now(UTC))


def storable(text: str) -> str:
    """Return the text with NUL and lone surrogates, which no database stores, as U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)
