"""Signatures: what the library signs is what is let in, and everything else is refused with its reason."""

import base64
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from feedback.errors import SettingsInvalid, SignatureInvalid
from feedback.signing import check_secret, sign, verify

SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
BODY = b'{"feedback": []}'


def test_what_the_library_signs_is_let_in() -> None:
    now = datetime.now(UTC)
    headers = {
        "Webhook-Id": "e1",
        "Webhook-Timestamp": str(int(now.timestamp())),
        "Webhook-Signature": Webhook(SECRET).sign("e1", now, BODY.decode()),
    }
    verify(SECRET, headers, BODY)


def test_a_signer_in_another_time_zone_is_let_in() -> None:
    verify(SECRET, sign(SECRET, "e1", BODY, datetime.now(timezone(timedelta(hours=5)))), BODY)


def test_any_of_several_secrets_is_let_in() -> None:
    verify([OTHER, SECRET], sign(SECRET, "e1", BODY), BODY)
    verify([SECRET, OTHER], sign(SECRET, "e1", BODY), BODY)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_named(missing: str) -> None:
    headers = sign(SECRET, "e1", BODY)
    del headers[missing]
    with pytest.raises(SignatureInvalid, match=f"missing header {missing}"):
        verify(SECRET, headers, BODY)


def test_another_secret_body_or_id_is_forged() -> None:
    headers = sign(SECRET, "e1", BODY)
    for secret, signed, body in [
        (OTHER, headers, BODY),
        (SECRET, headers, BODY + b" "),
        (SECRET, {**headers, "webhook-id": "e2"}, BODY),
    ]:
        with pytest.raises(SignatureInvalid, match="forged"):
            verify(secret, signed, body)


@pytest.mark.parametrize(("minutes", "word"), [(-6, "stale"), (6, "ahead")])
def test_a_time_beyond_five_minutes_is_refused(minutes: int, word: str) -> None:
    headers = sign(SECRET, "e1", BODY, datetime.now(UTC) + timedelta(minutes=minutes))
    with pytest.raises(SignatureInvalid, match=word):
        verify(SECRET, headers, BODY)


@pytest.mark.parametrize("timestamp", ["soon", "nan", "inf", "1e400", "-"])
def test_a_timestamp_that_is_none_is_refused(timestamp: str) -> None:
    with pytest.raises(SignatureInvalid, match="seconds since 1970"):
        verify(SECRET, {**sign(SECRET, "e1", BODY), "webhook-timestamp": timestamp}, BODY)


def test_a_body_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(SignatureInvalid, match="UTF-8"):
        verify(SECRET, sign(SECRET, "e1", BODY), b"\xff")


@given(st.text(min_size=1))
def test_no_signature_header_gets_past_or_crashes(signature: str) -> None:
    with pytest.raises(SignatureInvalid):
        verify(SECRET, {**sign(SECRET, "e1", BODY), "webhook-signature": signature}, BODY)


def test_without_secrets_nothing_is_let_in() -> None:
    with pytest.raises(SignatureInvalid, match="no secret"):
        verify([], sign(SECRET, "e1", BODY), BODY)


@pytest.mark.parametrize(
    ("secret", "word"),
    [
        ("", "start with"),
        (base64.b64encode(b"k" * 24).decode(), "start with"),
        ("whsec_", "0 bytes"),
        ("whsec_" + base64.b64encode(b"k" * 23).decode(), "23 bytes"),
        ("whsec_not base64 !", "not base64"),
        ("whsec_ключ", "not base64"),
    ],
)
def test_a_weak_secret_is_refused_and_never_shown(secret: str, word: str) -> None:
    with pytest.raises(SettingsInvalid, match=word) as refusal:
        check_secret(secret)
    assert secret.removeprefix("whsec_") == "" or secret.removeprefix("whsec_") not in str(refusal.value)
