"""The webhook that production apps send their predictions and feedback to.

The door's order: size, signature over the raw bytes, schema, durable commit, and only then 202. Validates everything it
stores; NUL and lone surrogates in free text become U+FFFD (no database stores them, and one user's message must not
block an app's whole delivery), in names and ids they are refused. Keeps no state of its own and trains nothing.
"""

import asyncio
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, NoReturn

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from starlette.requests import ClientDisconnect

from feedback.errors import EventConflict, FeedbackError, SettingsInvalid, SignatureInvalid, StoreUnavailable
from feedback.payloads import FeedbackBody, PredictionsBody
from feedback.records import Delivery, EventKind, delivery, storable
from feedback.signing import check_secret, verify
from feedback.store import Outcome, Scrub, Store, open_store

MAX_BODY_BYTES = 1024 * 1024
READ_TIMEOUT_S = 30.0
RETRY_AFTER_S = 5
DEFAULT_DATABASE_URL = "sqlite:///.ratchet/feedback.db"
REASONS_SHOWN = 10

_EVENT_ID = re.compile(r"[!-~]{1,255}")

Accept = Callable[[Store, str, bytes, Scrub | None], "Receipt"]


class Receipt(BaseModel):
    """What a sender gets once its event is on disk."""

    status: Literal["accepted", "duplicate"]
    count: int = Field(description="rows in the event")


class Health(BaseModel):
    """What `/healthz` answers while the database does."""

    status: Literal["ok"] = "ok"


_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"description": "signature missing, forged or stale"},
    409: {"description": "event id or prediction id known with other content"},
    413: {"description": "body too large"},
    422: {"description": "not JSON, or not by the schema; names the field"},
    503: {"description": "the database failed and nothing was stored: send the same event again"},
}


def create_app(
    store: Store,
    secrets: Sequence[str],
    max_body_bytes: int = MAX_BODY_BYTES,
    read_timeout_s: float = READ_TIMEOUT_S,
    scrub: Scrub | None = None,
) -> FastAPI:
    """Return the webhook over a store, which lets in events signed with any of the secrets.

    `scrub` takes personal data out of texts before they are stored, and out of outputs and targets that are more than a
    label (one word of letters, digits and dashes); ids, units and slices are the app's own keys and stay as they come.

    Raises:
        SettingsInvalid: there is no secret, or one is not `whsec_` and the base64 of at least 24 bytes.
    """
    known = _checked(secrets)
    app = FastAPI(title="Ratchet feedback", docs_url=None, redoc_url=None)  # the docs pages load scripts from a CDN
    _answer_errors(app)
    receive = _receiver(store, known, max_body_bytes, read_timeout_s, scrub)

    @app.post("/v1/predictions", status_code=202, responses=_REFUSALS, openapi_extra=PredictionsBody.openapi())
    async def post_predictions(request: Request) -> Receipt:
        """Store what models answered in production."""
        return await receive(request, _accept_predictions)

    @app.post("/v1/feedback", status_code=202, responses=_REFUSALS, openapi_extra=FeedbackBody.openapi())
    async def post_feedback(request: Request) -> Receipt:
        """Store what users made of those answers."""
        return await receive(request, _accept_feedback)

    @app.get("/healthz", responses={503: _REFUSALS[503]})
    def healthz() -> Health:
        """Answer while the database does."""
        store.check()
        return Health()

    return app


def _receiver(
    store: Store, secrets: list[str], max_body_bytes: int, read_timeout_s: float, scrub: Scrub | None
) -> Callable[[Request, Accept], Awaitable[Receipt]]:
    """Return what takes a request through the door's order."""

    async def receive(request: Request, accept: Accept) -> Receipt:
        body = await _read_body(request, max_body_bytes, read_timeout_s)
        headers = dict(request.headers)
        await run_in_threadpool(verify, secrets, headers, body)
        return await run_in_threadpool(accept, store, headers["webhook-id"], body, scrub)

    return receive


def from_environment(scrub: Scrub | None = None) -> FastAPI:
    """Return the webhook as the environment says; `flows.webhook` has the same with personal data scrubbed.

    `RATCHET_WEBHOOK_SECRET` holds one or several secrets separated by commas, `RATCHET_DATABASE_URL` the database (a
    SQLite file in `.ratchet/` by default). What is missing or wrong ends the process with one line and exit code 2.
    """
    secrets = [secret.strip() for secret in os.environ.get("RATCHET_WEBHOOK_SECRET", "").split(",") if secret.strip()]
    if not secrets:
        stop("RATCHET_WEBHOOK_SECRET is not set: expected whsec_ and the base64 of at least 24 random bytes")
    try:
        _checked(secrets)
        store = open_store(os.environ.get("RATCHET_DATABASE_URL") or DEFAULT_DATABASE_URL)
    except FeedbackError as error:
        stop(str(error))
    return create_app(store, secrets, scrub=scrub)


def stop(message: str) -> NoReturn:
    """End the process with one line and exit code 2: a setting is missing or wrong."""
    sys.stderr.write(f"ratchet feedback: {message}\n")
    raise SystemExit(2)


def _checked(secrets: Sequence[str]) -> list[str]:
    if not secrets:
        raise SettingsInvalid("webhook secret: expected at least one, got none")
    for secret in secrets:
        check_secret(secret)
    return list(secrets)


async def _read_body(request: Request, max_bytes: int, timeout_s: float) -> bytes:
    """Return the raw body, never holding more than the limit and one chunk."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise _too_large(max_bytes)
    except TimeoutError as error:
        raise HTTPException(408, f"the body took longer than {timeout_s:g} s", {"Connection": "close"}) from error
    except ClientDisconnect as error:
        raise HTTPException(400, "the sender hung up before the body's end") from error
    return bytes(body)


def _too_large(max_bytes: int) -> HTTPException:
    return HTTPException(413, f"body over {max_bytes} bytes: send smaller events", {"Connection": "close"})


def _accept_predictions(store: Store, event_id: str, body: bytes, scrub: Scrub | None) -> Receipt:
    event = _delivery(event_id, "predictions", body)
    rows = [item.row(event.received_at) for item in PredictionsBody.model_validate(_json(body)).predictions]
    return _receipt(store.add_predictions(event, rows, scrub), len(rows))


def _accept_feedback(store: Store, event_id: str, body: bytes, scrub: Scrub | None) -> Receipt:
    event = _delivery(event_id, "feedback", body)
    rows = [item.row(event.received_at) for item in FeedbackBody.model_validate(_json(body)).feedback]
    return _receipt(store.add_feedback(event, rows, scrub), len(rows))


def _receipt(outcome: Outcome, count: int) -> Receipt:
    return Receipt(status=outcome, count=count)


def _delivery(event_id: str, kind: EventKind, body: bytes) -> Delivery:
    if not _EVENT_ID.fullmatch(event_id):
        raise _invalid("webhook-id", "expected at most 255 printable ASCII characters")
    return delivery(event_id, kind, body)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _invalid("body", f"expected JSON: {error}") from error


def _invalid(field: str, message: str) -> HTTPException:
    return HTTPException(422, [{"field": field, "message": message}])


def _answer_errors(app: FastAPI) -> None:
    """Give each error of this room its status; a message never repeats what was sent, but the field's name."""

    def answer(status: int, headers: dict[str, str] | None = None) -> Callable[[Request, Exception], JSONResponse]:
        return lambda _request, error: JSONResponse({"detail": storable(str(error))}, status, headers)

    app.add_exception_handler(SignatureInvalid, answer(401))
    app.add_exception_handler(EventConflict, answer(409))
    app.add_exception_handler(StoreUnavailable, answer(503, {"Retry-After": str(RETRY_AFTER_S)}))
    app.add_exception_handler(ValidationError, _answer_invalid)


def _answer_invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ValidationError)
    found = error.errors(include_url=False, include_context=False, include_input=False)[:REASONS_SHOWN]
    reasons = [
        {"field": storable(".".join(str(step)[:100] for step in reason["loc"]) or "body"), "message": reason["msg"]}
        for reason in found
    ]
    return JSONResponse({"detail": reasons}, 422)
