"""One Prefect test server and one tiny base model per session."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loop_support import make_tiny_base


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """Give each room's logger its level back: a command that runs in a test's own process keeps them quiet."""
    rooms = [logging.getLogger(name) for name in ("flows", "tasks", "monitoring", "feedback")]
    levels = [room.level for room in rooms]
    yield
    for room, level in zip(rooms, levels, strict=True):
        room.setLevel(level)


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prefect server of the session's own, used by flows in this process and in child processes."""
    home = tmp_path_factory.mktemp("prefect")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ["PREFECT_HOME"] = str(home)
    os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        prefect_test_harness(server_startup_timeout=120),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield str(PREFECT_API_URL.value())


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny base model."""
    return make_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A content store for projects of the same data: what one of them has built, the next one finds."""
    return tmp_path_factory.mktemp("store")
