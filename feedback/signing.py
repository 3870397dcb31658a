"""Standard Webhooks signatures: what a production app puts on its events and what the webhook checks.

A thin layer over the `standardwebhooks` library (HMAC-SHA256 over id, timestamp and body; five minutes of tolerance)
that knows several secrets, for rotation, and says what is wrong. Keeps no secret and reads no environment.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from feedback.errors import SettingsInvalid, SignatureInvalid

SECRET_PREFIX = "whsec_"  # noqa: S105 - the public prefix, not a secret
SECRET_MIN_BYTES = 24
HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
_MEANINGS = {
    "Message timestamp too old": "stale: webhook-timestamp is more than 5 minutes old; sign again when you retry",
    "Message timestamp too new": "webhook-timestamp is more than 5 minutes ahead; check the sender's clock",
    "Invalid Signature Headers": "webhook-timestamp: expected seconds since 1970",
}
_FORGED = "webhook-signature matches no known secret: forged, or signed with another secret or over other bytes"


def sign(secret: str, event_id: str, body: bytes | str, now: datetime | None = None) -> dict[str, str]:
    """Return the three headers that make the body a signed event; `now` (aware) defaults to the clock.

    Retries of one event keep its id and are signed again.

    Raises:
        SettingsInvalid: the secret is not one.
    """
    text = body if isinstance(body, str) else body.decode("utf-8")
    at = (now or datetime.now(UTC)).astimezone(UTC)  # the library takes the wall clock's digits for UTC
    signature = _webhook(secret).sign(event_id, at, text)
    return dict(zip(HEADERS, (event_id, str(int(at.timestamp())), signature), strict=True))


def verify(secrets: str | Sequence[str], headers: Mapping[str, str], body: bytes) -> None:
    """Return when one of the secrets signed this body under these headers within the last five minutes.

    Raises:
        SignatureInvalid: a header is missing, or the signature is forged or stale.
        SettingsInvalid: a secret is not one.
    """
    present = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in HEADERS if not present.get(name)]
    if missing:
        raise SignatureInvalid(f"missing header {', '.join(missing)}: sign the event as Standard Webhooks says")
    known = [secrets] if isinstance(secrets, str) else secrets
    failures = [_failure(_webhook(secret), present, body) for secret in known]
    if None not in failures:
        raise SignatureInvalid(failures[0] or _FORGED if failures else "no secret is configured")


def check_secret(secret: str) -> None:
    """Return when the secret is `whsec_` and the base64 of at least 24 bytes.

    Raises:
        SettingsInvalid: it is not; the message never shows the secret.
    """
    expected = f"expected {SECRET_PREFIX} and the base64 of at least {SECRET_MIN_BYTES} random bytes"
    if not secret.startswith(SECRET_PREFIX):
        raise SettingsInvalid(f"webhook secret: {expected}; it does not start with {SECRET_PREFIX}")
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SettingsInvalid(f"webhook secret: {expected}; this is not base64") from error
    if len(key) < SECRET_MIN_BYTES:
        raise SettingsInvalid(f"webhook secret: {expected}; this one has {len(key)} bytes")


def _webhook(secret: str) -> Webhook:
    check_secret(secret)
    return Webhook(secret)


def _failure(webhook: Webhook, headers: dict[str, str], body: bytes) -> str | None:
    """Return what is wrong with the signature, or None."""
    try:
        webhook.verify(body, headers, json_parse=False)
    except WebhookVerificationError as error:
        return _MEANINGS.get(str(error), _FORGED)
    except UnicodeDecodeError:
        return "the body is not UTF-8, so it cannot have been signed"
    except ValueError:  # the library splits and decodes the header without looking
        return "webhook-signature: expected `v1,<base64>`, several separated by spaces"
    return None
