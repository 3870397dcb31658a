"""A production app for the tests: it signs events and posts them to a webhook."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import httpx

from feedback.app import create_app
from feedback.signing import sign
from feedback.store import Store

SECRET = "whsec_" + "c2VjcmV0" * 4


class Sender:
    """A production app: signs events and posts them to a webhook that runs in this process."""

    def __init__(self, store: Store, secret: str = SECRET, **options: Any) -> None:
        self.app = create_app(store, [SECRET], **options)
        self.secret = secret

    def post(
        self,
        path: str,
        payload: Any,
        event_id: str | None = None,
        now: datetime | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Send a payload (bytes as they are, anything else as JSON), signed as given."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        signed = sign(self.secret, event_id or str(uuid.uuid4()), body, now)
        return self.send("POST", path, body, signed if headers is None else headers)

    def send(
        self, method: str, path: str, content: bytes | AsyncIterator[bytes] | None, headers: dict[str, str]
    ) -> httpx.Response:
        """Send one raw request."""

        async def request() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://webhook") as client:
                return await client.request(method, path, content=content, headers=headers)

        return asyncio.run(request())
