"""One OpenAI-compatible chat endpoint: requests with a budget, retries with backoff, and what came of them.

It knows neither rows nor prompts, stores nothing, and logs neither texts nor keys.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Semaphore
from typing import TYPE_CHECKING, NamedTuple

from tasks.data.rows import shorten
from tasks.errors import DataError

if TYPE_CHECKING:
    import httpx

BUDGET_SPENT = "the budget of requests is spent"

_MAX_WAIT_S = 60.0
_TRANSIENT = (408, 409, 425, 429)  # and 5xx; other refusals do not go away by asking again


class Chat(NamedTuple):
    """An open endpoint, which threads may share."""

    client: "httpx.Client"
    url: str
    model: str
    key: str
    budget: Semaphore  # the requests left
    retries: int
    backoff_s: float
    temperature: float


class Reply(NamedTuple):
    """What the endpoint answered, or why there is no answer."""

    content: str
    failure: str = ""


@contextmanager
def open_chat(
    url: str, model: str, *, key: str, budget: int, timeout_s: float, retries: int, backoff_s: float, temperature: float
) -> Iterator[Chat]:
    """Yield an endpoint whose chat is at `url` + `/chat/completions`; nothing is asked yet."""
    import httpx

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(timeout=timeout_s, headers=headers) as client:
        address = f"{url.rstrip('/')}/chat/completions"
        yield Chat(client, address, model, key, Semaphore(budget), retries, backoff_s, temperature)


def complete(chat: Chat, instruction: str, message: str) -> Reply:
    """Return the model's answer to a message, or the failure that is left after the retries.

    Raises:
        DataError: the endpoint refuses the request in a way that asking again cannot mend (key, model, address).
    """
    failure = ""
    for attempt in range(chat.retries + 1):
        if not chat.budget.acquire(blocking=False):
            return Reply("", failure or BUDGET_SPENT)
        reply, wait_s = _post(chat, instruction, message)
        if wait_s is None:
            return reply
        failure = reply.failure
        if attempt < chat.retries:
            time.sleep(min(_MAX_WAIT_S, max(wait_s, chat.backoff_s * 2**attempt)))
    return Reply("", failure)


def _post(chat: Chat, instruction: str, message: str) -> tuple[Reply, float | None]:
    """Return the reply, and the least seconds to wait before asking again; None where asking again is no use."""
    import httpx

    messages = [{"role": "system", "content": instruction}, {"role": "user", "content": message}]
    body = {"model": chat.model, "messages": messages, "temperature": chat.temperature}
    try:
        response = chat.client.post(chat.url, json=body)
    except httpx.RequestError as error:
        return Reply("", f"no answer ({type(error).__name__})"), 0.0
    status = response.status_code
    if status == 200:
        return _read_reply(response), None
    if status < 500 and status not in _TRANSIENT:
        said = response.text.replace(chat.key, "***") if chat.key else response.text
        raise DataError(
            f"augment.paraphrase: {chat.url} refused the request with status {status} ({shorten(said, 200)!r}): check "
            "`url`, `model` and the key in `api_key_env`"
        )
    after = response.headers.get("retry-after", "")
    return Reply("", f"no answer (status {status})"), float(after) if after.isascii() and after.isdigit() else 0.0


def _read_reply(response: "httpx.Response") -> Reply:
    try:
        content = response.json()["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return Reply("", "the answer is no chat completion")
    return Reply(content) if isinstance(content, str) else Reply("", "the answer is no chat completion")
