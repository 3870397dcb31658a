"""The JSON that the webhook takes: fields, limits and unknown keys refused.

Turns a validated item into the store's rows; reads no request and writes nothing.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from feedback.records import FeedbackRow, PredictionRow, storable

MAX_ITEMS = 1000
MAX_TEXT_CHARS = 100_000
MAX_SLICES = 20
CLOCK_SKEW = timedelta(minutes=5)  # the tolerance of signatures
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)


def _clean(value: Any) -> Any:
    return storable(value) if isinstance(value, str) else value


def _plausible(moment: datetime) -> datetime:
    """Return the moment in UTC; one from the future would stay in every latest window."""
    if moment < EARLIEST or moment > datetime.now(UTC) + CLOCK_SKEW:
        raise ValueError("expected a time after 2000 and not in the future")
    return moment.astimezone(UTC)


FreeText = Annotated[str, BeforeValidator(_clean), StringConstraints(strict=True, max_length=MAX_TEXT_CHARS)]
SliceValue = Annotated[str, BeforeValidator(_clean), StringConstraints(strict=True, max_length=256)]
Name = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]
Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
Moment = Annotated[AwareDatetime, AfterValidator(_plausible)]


class _Payload(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PredictionItem(_Payload):
    """One answer that a model gave."""

    prediction_id: Name
    model_version: Name
    text: FreeText
    output: FreeText
    confidence: Share
    unit: Name | None = Field(None, description="opaque key of the user or session; quotas and votes count by it")
    slices: dict[Name, SliceValue] = Field(default_factory=dict, max_length=MAX_SLICES)
    occurred_at: Moment | None = Field(None, description="with a time zone; the time of arrival where it is left out")

    def row(self, received_at: datetime) -> PredictionRow:
        """Return the store's row."""
        return PredictionRow(
            prediction_id=self.prediction_id,
            model_version=self.model_version,
            text=self.text,
            output=self.output,
            confidence=self.confidence,
            occurred_at=self.occurred_at or received_at,
            unit=self.unit,
            slices=self.slices,
        )


class FeedbackItem(_Payload):
    """One judgement of a prediction: a score, the corrected output, or both."""

    prediction_id: Name
    score: Share | None = None
    target: FreeText | None = Field(None, description="what the output should have been")
    source: Name = "user"
    occurred_at: Moment | None = Field(None, description="with a time zone; the time of arrival where it is left out")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.score is None and self.target is None:
            raise ValueError("expected a score, a target or both")
        return self

    def row(self, received_at: datetime) -> FeedbackRow:
        """Return the store's row."""
        return FeedbackRow(self.prediction_id, self.source, self.occurred_at or received_at, self.score, self.target)


class PredictionsBody(_Payload):
    """The body of `POST /v1/predictions`."""

    predictions: list[PredictionItem] = Field(min_length=1, max_length=MAX_ITEMS)

    @classmethod
    def openapi(cls) -> dict[str, Any]:
        """Return the body's description for OpenAPI."""
        return _described("predictions", PredictionItem)


class FeedbackBody(_Payload):
    """The body of `POST /v1/feedback`."""

    feedback: list[FeedbackItem] = Field(min_length=1, max_length=MAX_ITEMS)

    @classmethod
    def openapi(cls) -> dict[str, Any]:
        """Return the body's description for OpenAPI."""
        return _described("feedback", FeedbackItem)


def _described(name: str, item: type[BaseModel]) -> dict[str, Any]:
    items = {"type": "array", "minItems": 1, "maxItems": MAX_ITEMS, "items": item.model_json_schema()}
    schema = {"type": "object", "required": [name], "additionalProperties": False, "properties": {name: items}}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
